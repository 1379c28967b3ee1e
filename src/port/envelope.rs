//! A change as Port's mapping reads it. Pure.

use std::collections::{BTreeMap, HashSet};
use std::iter::Peekable;
use std::vec;

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::value::RawValue;

use crate::config::Payload;
use crate::id::Id;
use crate::sync::change::{Change, Operation, Subject};

/// Changes in one unit of work and of logging.
pub(crate) const CHUNK: usize = 100;

const BEFORE: &[u8] = br#"{"data":"#;
const MIDDLE: &[u8] = br#","operation":""#;
const TYPE: &[u8] = br#"","type":""#;
const AFTER: &[u8] = br#""}"#;

/// Around the envelopes of a body that carries many.
const LIST: &[u8] = br#"{"items":["#;
const LIST_END: &[u8] = b"]}";

/// The largest body that Port takes; it answers 413 to a larger one.
const LARGEST: usize = 512 << 10;

/// Divides changes among posts, in their order: one a post, or as many as fit, up to a chunk. No id is in a post twice, since
/// Port does not say in which order it takes what a body holds.
pub(crate) struct Parcels {
    changes: Peekable<vec::IntoIter<Change>>,
    payload: Payload,
    ids: HashSet<Id>,
}

impl Parcels {
    pub(crate) fn new(payload: Payload, changes: Vec<Change>) -> Self {
        Self { changes: changes.into_iter().peekable(), payload, ids: HashSet::new() }
    }
}

impl Iterator for Parcels {
    type Item = Vec<Change>;

    fn next(&mut self) -> Option<Vec<Change>> {
        let first = self.changes.next()?;
        if self.payload == Payload::Single {
            return Some(vec![first]);
        }
        let mut size = LIST.len() + length(&first) + LIST_END.len();
        self.ids.clear();
        self.ids.insert(first.id);
        let mut parcel = Vec::with_capacity(CHUNK.min(self.changes.len() + 1));
        parcel.push(first);
        while parcel.len() < CHUNK {
            let fits = |change: &Change| size + 1 + length(change) <= LARGEST && self.ids.insert(change.id);
            let Some(change) = self.changes.next_if(fits) else { break };
            size += 1 + length(&change);
            parcel.push(change);
        }
        Some(parcel)
    }
}

/// The body of a post. An envelope for which that would be too large, even alone, goes without its `changedProperties`.
pub(crate) fn body(payload: Payload, parcel: &[Change]) -> Bytes {
    let (open, close) = match payload {
        Payload::Single => (&b""[..], &b""[..]),
        Payload::Batch => (LIST, LIST_END),
    };
    let frame = open.len() + close.len();
    let slim = match parcel {
        [alone] if frame + length(alone) > LARGEST => without_changed_properties(alone),
        _ => None,
    };
    let envelopes = slim.as_ref().map_or(parcel, std::slice::from_ref);
    let size = envelopes.iter().map(|change| length(change) + 1).sum::<usize>();
    let mut body = BytesMut::with_capacity(frame + size);
    body.put_slice(open);
    for (place, change) in envelopes.iter().enumerate() {
        if place > 0 {
            body.put_u8(b',');
        }
        for part in parts(change) {
            body.put_slice(part);
        }
    }
    body.put_slice(close);
    body.freeze()
}

/// The whole of one envelope: `{"data": {…the row…}, "operation": "upsert"|"delete", "type": "resource"|"resourceContainer"}`.
pub(crate) fn envelope(change: &Change) -> Bytes {
    parts(change).concat().into()
}

fn length(change: &Change) -> usize {
    parts(change).into_iter().map(<[u8]>::len).sum()
}

fn parts(change: &Change) -> [&[u8]; 7] {
    let operation: &[u8] = match change.operation {
        Operation::Upsert => b"upsert",
        Operation::Delete => b"delete",
    };
    let kind: &[u8] = match change.subject {
        Subject::Resource => b"resource",
        Subject::Group | Subject::Subscription => b"resourceContainer",
    };
    [BEFORE, &change.row, MIDDLE, operation, TYPE, kind, AFTER]
}

fn without_changed_properties(change: &Change) -> Option<Change> {
    let mut row: BTreeMap<String, &RawValue> = serde_json::from_slice(&change.row).ok()?;
    row.remove("changedProperties");
    Some(Change { row: serde_json::to_vec(&row).ok()?.into(), ..change.clone() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::azure::graph::Row;

    fn change(row: &str) -> Change {
        Change::parse(row.to_owned().into()).unwrap()
    }

    fn sized(name: usize, size: usize) -> Change {
        change(&format!(r#"{{"resourceId":"/subscriptions/s/{name}","type":"a/b","name":"{}"}}"#, "é".repeat(size / 2)))
    }

    fn single(change: Change) -> Bytes {
        body(Payload::Single, &[change])
    }

    #[test]
    fn a_resource_that_changed_is_an_upsert_around_its_row() {
        let row = r#"{"resourceId":"/subscriptions/s/x","type":"a/b","name":"é \"x\"","changeType":"Create"}"#;
        assert_eq!(single(change(row)), format!(r#"{{"data":{row},"operation":"upsert","type":"resource"}}"#));
    }

    #[test]
    fn an_envelope_that_is_too_large_goes_out_without_its_changed_properties() {
        let row = |extra: &str| {
            change(&format!(
                r#"{{"resourceId":"/subscriptions/s/x","type":"a/b","changedProperties":{{"a":"{extra}"}}}}"#
            ))
        };
        let slim =
            r#"{"data":{"resourceId":"/subscriptions/s/x","type":"a/b"},"operation":"upsert","type":"resource"}"#;
        assert!(std::str::from_utf8(&single(row("b"))).unwrap().contains("changedProperties"));
        assert_eq!(single(row(&"b".repeat(LARGEST))), slim);
        let list = body(Payload::Batch, &[row(&"b".repeat(LARGEST - length(&row(""))))]);
        assert_eq!(list, format!(r#"{{"items":[{slim}]}}"#), "the list around it counts");
    }

    #[test]
    fn a_group_that_is_gone_is_a_delete_of_a_container() {
        let row = r#"{"resourceId":"/subscriptions/s/resourcegroups/g","type":"microsoft.resources/subscriptions/resourcegroups","changeType":"Delete"}"#;
        assert_eq!(single(change(row)), format!(r#"{{"data":{row},"operation":"delete","type":"resourceContainer"}}"#));
    }

    #[test]
    fn a_chunk_goes_out_in_one_body() {
        let changes: Vec<Change> = (0..250).map(|name| sized(name, 10)).collect();
        let sizes: Vec<usize> = Parcels::new(Payload::Batch, changes).map(|parcel| parcel.len()).collect();
        assert_eq!(sizes, [100, 100, 50]);
    }

    #[test]
    fn one_body_never_holds_an_id_twice() {
        let changes: Vec<Change> = [1, 2, 1, 1, 3].map(|name| sized(name, 10)).into();
        let sizes: Vec<usize> = Parcels::new(Payload::Batch, changes).map(|parcel| parcel.len()).collect();
        assert_eq!(sizes, [2, 1, 2]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn bodies_hold_every_envelope_once_in_order_and_within_the_limit(
            envelopes in prop::collection::vec((0_usize..200, prop_oneof![20 => 0_usize..2_000, 1 => 0_usize..500_000]), 0..200)
        ) {
            let changes: Vec<Change> = envelopes.iter().map(|(name, size)| sized(*name, *size)).collect();
            let mut found = Vec::new();
            for parcel in Parcels::new(Payload::Batch, changes.clone()) {
                let whole = body(Payload::Batch, &parcel);
                prop_assert!(parcel.len() <= CHUNK && whole.len() <= LARGEST);
                let ids: HashSet<Id> = parcel.iter().map(|change| change.id).collect();
                prop_assert_eq!(ids.len(), parcel.len());
                let list: BTreeMap<String, Vec<Box<RawValue>>> = serde_json::from_slice(&whole).unwrap();
                prop_assert_eq!(list.keys().collect::<Vec<_>>(), ["items"]);
                found.extend(list.into_values().flatten().map(|item| item.get().to_owned()));
            }
            let whole: Vec<String> =
                changes.iter().map(|change| String::from_utf8(envelope(change).into()).unwrap()).collect();
            prop_assert!(found == whole);
            let singles = Parcels::new(Payload::Single, changes.clone());
            prop_assert!(singles.zip(&changes).all(|(parcel, change)| parcel.len() == 1 && parcel[0].id == change.id));
        }
    }
}
