//! A change as Port's mapping reads it. Pure.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::value::RawValue;

use crate::sync::change::{Change, Operation, Subject};

/// Changes in one unit of work and of logging.
pub(crate) const CHUNK: usize = 100;

const BEFORE: &[u8] = br#"{"data":"#;
const MIDDLE: &[u8] = br#","operation":""#;
const TYPE: &[u8] = br#"","type":""#;
const AFTER: &[u8] = br#""}"#;

/// The largest body that Port takes; it answers 413 to a larger one.
const LARGEST: usize = 512 << 10;

/// The body to post: [`body`], without `changedProperties` where it would be too large with them.
pub(crate) fn fitting_body(change: &Change) -> Bytes {
    let whole = body(change);
    if whole.len() <= LARGEST {
        return whole;
    }
    let Ok(mut row) = serde_json::from_slice::<BTreeMap<String, &RawValue>>(&change.row) else { return whole };
    row.remove("changedProperties");
    match serde_json::to_vec(&row) {
        Ok(row) => body(&Change { row: row.into(), ..change.clone() }),
        Err(_) => whole,
    }
}

/// The whole of one envelope: `{"data": {…the row…}, "operation": "upsert"|"delete", "type": "resource"|"resourceContainer"}`.
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
    fn an_envelope_that_is_too_large_goes_out_without_its_changed_properties() {
        let row = |extra: &str| {
            let row =
                format!(r#"{{"resourceId":"/subscriptions/s/x","type":"a/b","changedProperties":{{"a":"{extra}"}}}}"#);
            Change::parse(row.into()).unwrap()
        };
        assert!(std::str::from_utf8(&fitting_body(&row("b"))).unwrap().contains("changedProperties"));
        assert_eq!(
            fitting_body(&row(&"b".repeat(LARGEST))),
            r#"{"data":{"resourceId":"/subscriptions/s/x","type":"a/b"},"operation":"upsert","type":"resource"}"#
        );
    }

    #[test]
    fn a_group_that_is_gone_is_a_delete_of_a_container() {
        let row = r#"{"resourceId":"/subscriptions/s/resourcegroups/g","type":"microsoft.resources/subscriptions/resourcegroups","changeType":"Delete"}"#;
        let change = Change::parse(Bytes::from_static(row.as_bytes())).unwrap();
        assert_eq!(body(&change), format!(r#"{{"data":{row},"operation":"delete","type":"resourceContainer"}}"#));
    }
}
