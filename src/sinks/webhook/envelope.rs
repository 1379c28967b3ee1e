//! A change in the form that Port's mapping reads. Pure.

use std::borrow::Borrow;
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::value::RawValue;

use super::content::content;
use crate::config::Payload;
use crate::engine::{Content, ContentHasher, LANDING, Limits, Parcel};
use crate::model::{Change, Operation};

/// Maximum envelopes in a list.
const MOST: NonZeroUsize = NonZeroUsize::new(100).unwrap();

const BEFORE: &[u8] = br#"{"data":"#;
const MIDDLE: &[u8] = br#","operation":""#;
const TYPE: &[u8] = br#"","type":""#;
const AFTER: &[u8] = br#""}"#;

/// Wraps the envelopes of a batch body.
const LIST: &[u8] = br#"{"items":["#;
const LIST_END: &[u8] = b"]}";

/// The largest body that Port accepts; it answers 413 to a larger one.
const LARGEST: usize = 512 << 10;

/// `{"data": {…the row…}, "operation": "upsert"|"delete", "type": "resource"|"resourceContainer"}`.
#[derive(Clone, Debug)]
pub(crate) struct Envelope {
    change: Change,
    content: OnceCell<Content>,
}

impl Envelope {
    pub(crate) fn new(change: Change) -> Self {
        Self { change, content: OnceCell::new() }
    }

    fn length(&self) -> usize {
        self.parts().into_iter().map(<[u8]>::len).sum()
    }

    fn parts(&self) -> [&[u8]; 7] {
        let operation: &[u8] = match self.change.operation {
            Operation::Upsert => b"upsert",
            Operation::Delete => b"delete",
        };
        [BEFORE, &self.change.row, MIDDLE, operation, TYPE, self.kind(), AFTER]
    }

    fn kind(&self) -> &'static [u8] {
        self.change.label.as_bytes()
    }

    fn without_changed_properties(&self) -> Option<Self> {
        let mut row: BTreeMap<String, &RawValue> = serde_json::from_slice(&self.change.row).ok()?;
        row.remove("changedProperties");
        Some(Self::new(Change { row: serde_json::to_vec(&row).ok()?.into(), ..self.change.clone() }))
    }
}

impl Parcel for Envelope {
    fn change(&self) -> &Change {
        &self.change
    }

    fn content(&self, hasher: &ContentHasher) -> Content {
        *self.content.get_or_init(|| content(self.kind(), &self.change.row, hasher.clone()))
    }

    /// Includes the comma after it.
    fn size(&self) -> usize {
        self.length() + 1
    }

    /// The complete envelope, whatever its size.
    fn letter(&self) -> Bytes {
        self.parts().concat().into()
    }
}

/// How many posts may be in flight, and how many envelopes and bytes each may carry.
pub(crate) fn limits(payload: Payload, in_flight: NonZeroUsize) -> Limits {
    let (parcels, bytes) = match payload {
        Payload::Single => (NonZeroUsize::MIN, LARGEST),
        // The last envelope has no comma after it.
        Payload::Batch => (MOST, LARGEST + 1 - LIST.len() - LIST_END.len()),
    };
    Limits { in_flight, parcels, deletes: parcels, bytes, landing: LANDING }
}

/// The body of a post. An envelope that would be too large even alone is sent without its `changedProperties`.
pub(crate) fn body(payload: Payload, envelopes: &[impl Borrow<Envelope>]) -> Bytes {
    let mut envelopes: Vec<&Envelope> = envelopes.iter().map(Borrow::borrow).collect();
    let (open, close) = match payload {
        Payload::Single => (&b""[..], &b""[..]),
        Payload::Batch => (LIST, LIST_END),
    };
    let frame = open.len() + close.len();
    let slim = match envelopes[..] {
        [alone] if frame + alone.length() > LARGEST => alone.without_changed_properties(),
        _ => None,
    };
    if let Some(slim) = &slim {
        envelopes = vec![slim];
    }
    let mut body = BytesMut::with_capacity(frame + envelopes.iter().map(|envelope| envelope.size()).sum::<usize>());
    body.put_slice(open);
    for (place, envelope) in envelopes.iter().enumerate() {
        if place > 0 {
            body.put_u8(b',');
        }
        for part in envelope.parts() {
            body.put_slice(part);
        }
    }
    body.put_slice(close);
    body.freeze()
}

/// The body of a post of one envelope: a line of a dry run.
pub(crate) fn line(envelope: &Envelope) -> Bytes {
    body(Payload::Single, &[envelope])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Id, Stage};

    fn envelope(id: &str, container_end: usize, operation: Operation, row: &str) -> Envelope {
        let shard_end = container_end.min("/subscriptions/s".len());
        let id = Id::new(id, shard_end, container_end).unwrap();
        let label = if id.stage() == Stage::Leaf { "resource" } else { "resourceContainer" };
        let row = row.to_owned().into();
        Envelope::new(Change { id, operation, label, kind: "a/b".into(), changed_at: None, actor: None, row })
    }

    fn resource(row: &str) -> Envelope {
        envelope("/subscriptions/s/x", 16, Operation::Upsert, row)
    }

    fn sized(name: usize, size: usize) -> Envelope {
        let row =
            format!(r#"{{"resourceId":"/subscriptions/s/{name}","type":"a/b","name":"{}"}}"#, "é".repeat(size / 2));
        envelope(&format!("/subscriptions/s/{name}"), 16, Operation::Upsert, &row)
    }

    #[test]
    fn a_resource_that_changed_is_an_upsert_around_its_row() {
        let row = r#"{"resourceId":"/subscriptions/s/x","type":"a/b","name":"é \"x\"","changeType":"Create"}"#;
        let body = format!(r#"{{"data":{row},"operation":"upsert","type":"resource"}}"#);
        assert_eq!(line(&resource(row)), body);
        assert_eq!(resource(row).letter(), body);
    }

    #[test]
    fn an_envelope_that_is_too_large_goes_out_without_its_changed_properties() {
        let row = |extra: &str| {
            resource(&format!(
                r#"{{"resourceId":"/subscriptions/s/x","type":"a/b","changedProperties":{{"a":"{extra}"}}}}"#
            ))
        };
        let slim =
            r#"{"data":{"resourceId":"/subscriptions/s/x","type":"a/b"},"operation":"upsert","type":"resource"}"#;
        assert!(std::str::from_utf8(&line(&row("b"))).unwrap().contains("changedProperties"));
        assert_eq!(line(&row(&"b".repeat(LARGEST))), slim);
        let list = body(Payload::Batch, &[row(&"b".repeat(LARGEST - row("").length()))]);
        assert_eq!(list, format!(r#"{{"items":[{slim}]}}"#), "the list around it counts");
    }

    #[test]
    fn a_group_that_is_gone_is_a_delete_of_a_container() {
        let row = r#"{"resourceId":"/subscriptions/s/resourcegroups/g","type":"microsoft.resources/subscriptions/resourcegroups","changeType":"Delete"}"#;
        let id = "/subscriptions/s/resourcegroups/g";
        let group = envelope(id, id.len(), Operation::Delete, row);
        assert_eq!(line(&group), format!(r#"{{"data":{row},"operation":"delete","type":"resourceContainer"}}"#));
    }

    #[test]
    fn a_subscription_is_a_container() {
        let subscription = envelope("/subscriptions/s", 16, Operation::Upsert, "{}");
        assert_eq!(line(&subscription), r#"{"data":{},"operation":"upsert","type":"resourceContainer"}"#);
    }

    #[test]
    fn a_record_of_a_change_says_the_same_of_its_entity_as_a_full_read() {
        let bare = resource(r#"{"resourceId":"/subscriptions/s/x","tags":{"a":"b"}}"#);
        let record =
            resource(r#"{"resourceId":"/subscriptions/s/x","tags":{"a":"b"},"changeType":"Update","changeTime":"x"}"#);
        let hasher = &ContentHasher::of_catalog("");
        assert_eq!(bare.content(hasher), record.content(hasher));
        let other = resource(r#"{"resourceId":"/subscriptions/s/x","tags":{"a":"c"}}"#);
        assert_ne!(bare.content(hasher), other.content(hasher));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn bodies_hold_every_envelope_once_in_order(sizes in prop::collection::vec(0_usize..2_000, 2..100)) {
            let envelopes: Vec<Envelope> = sizes.iter().enumerate().map(|(name, size)| sized(name, *size)).collect();
            let whole = body(Payload::Batch, &envelopes);
            let list: BTreeMap<String, Vec<Box<RawValue>>> = serde_json::from_slice(&whole).unwrap();
            prop_assert_eq!(list.keys().collect::<Vec<_>>(), ["items"]);
            let found: Vec<String> = list.into_values().flatten().map(|item| item.get().to_owned()).collect();
            let expected: Vec<String> =
                envelopes.iter().map(|envelope| String::from_utf8(envelope.letter().into()).unwrap()).collect();
            prop_assert!(found == expected);
        }

        #[test]
        fn envelopes_within_the_limit_make_a_body_that_port_takes(
            sizes in prop::collection::vec(0_usize..60_000, 2..30), slack in 0_usize..2
        ) {
            let limit = limits(Payload::Batch, NonZeroUsize::MIN).bytes;
            let mut envelopes: Vec<Envelope> = sizes.iter().enumerate().map(|(name, size)| sized(name, *size)).collect();
            let sum = |envelopes: &[Envelope]| envelopes.iter().map(Parcel::size).sum::<usize>();
            while sum(&envelopes) > limit {
                envelopes.pop();
            }
            // Fills the rest of the body.
            let room = limit - sum(&envelopes);
            if room > 200 {
                envelopes.push(sized(99, room - sized(99, 0).size() - slack));
            }
            prop_assert!(sum(&envelopes) <= limit && body(Payload::Batch, &envelopes).len() <= LARGEST);
        }
    }
}
