//! A change as Port's mapping reads it. Pure.

use bytes::{BufMut, Bytes, BytesMut};

use crate::sync::change::{Change, Operation, Subject};

/// Changes in one unit of work and of logging.
pub(crate) const CHUNK: usize = 100;

const BEFORE: &[u8] = br#"{"data":"#;
const MIDDLE: &[u8] = br#","operation":""#;
const TYPE: &[u8] = br#"","type":""#;
const AFTER: &[u8] = br#""}"#;

/// The body of one post: `{"data": {…the row…}, "operation": "upsert"|"delete", "type": "resource"|"resourceContainer"}`.
pub(crate) fn body(change: &Change) -> Bytes {
    let operation: &[u8] = match change.operation {
        Operation::Upsert => b"upsert",
        Operation::Delete => b"delete",
    };
    let kind: &[u8] = match change.subject {
        Subject::Resource => b"resource",
        Subject::Group | Subject::Subscription => b"resourceContainer",
    };
    let size = BEFORE.len() + MIDDLE.len() + TYPE.len() + AFTER.len() + change.row.len() + operation.len() + kind.len();
    let mut body = BytesMut::with_capacity(size);
    for part in [BEFORE, &change.row, MIDDLE, operation, TYPE, kind, AFTER] {
        body.put_slice(part);
    }
    body.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::azure::graph::Row;

    #[test]
    fn a_resource_that_changed_is_an_upsert_around_its_row() {
        let row = r#"{"resourceId":"/subscriptions/s/x","type":"a/b","name":"é \"x\"","changeType":"Create"}"#;
        let change = Change::parse(Bytes::from_static(row.as_bytes())).unwrap();
        assert_eq!(body(&change), format!(r#"{{"data":{row},"operation":"upsert","type":"resource"}}"#));
    }

    #[test]
    fn a_group_that_is_gone_is_a_delete_of_a_container() {
        let row = r#"{"resourceId":"/subscriptions/s/resourcegroups/g","type":"microsoft.resources/subscriptions/resourcegroups","changeType":"Delete"}"#;
        let change = Change::parse(Bytes::from_static(row.as_bytes())).unwrap();
        assert_eq!(body(&change), format!(r#"{{"data":{row},"operation":"delete","type":"resourceContainer"}}"#));
    }
}
