//! What a row tells of the change itself, for the report and the log: nothing that decides anything.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::ser::{SerializeMap, Serializer};
use serde_json::value::RawValue;

use super::change::{Change, Text};

/// Who or what made a change, as far as its record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Actor {
    pub(crate) client_type: String,
    pub(crate) operation: String,
}

/// Columns that are read for the log alone and stay out of the envelope.
const LOGGED: [&str; 2] = ["clientType", "operation"];

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Story<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow, default)]
    change_time: Text<'a>,
}

impl Story<'_> {
    /// The type of the resource.
    pub(crate) fn kind(&self) -> &str {
        &self.kind.0
    }

    /// When it was changed, as its record says.
    pub(crate) fn changed_at(&self) -> Option<Timestamp> {
        self.change_time.0.parse().ok()
    }
}

impl Change {
    /// Empty where the row is not as expected.
    pub(crate) fn story(&self) -> Story<'_> {
        serde_json::from_slice(&self.row).unwrap_or_default()
    }
}

/// The actor of a row that has the columns of the log, and the row without them.
pub(super) fn take_actor(row: &Bytes, client_type: &str, operation: &str) -> Option<(Actor, Bytes)> {
    if client_type.is_empty() && operation.is_empty() {
        return None;
    }
    let columns: Columns<'_> = serde_json::from_slice(row).ok()?;
    let mut rest = Vec::with_capacity(row.len());
    let mut serializer = serde_json::Serializer::new(&mut rest);
    let mut map = serializer.serialize_map(None).ok()?;
    for (name, value) in columns.0.iter().filter(|(name, _)| !LOGGED.contains(&&**name)) {
        map.serialize_entry(name, value).ok()?;
    }
    map.end().ok()?;
    Some((Actor { client_type: client_type.to_owned(), operation: operation.to_owned() }, rest.into()))
}

/// The actor in the column that rides in the envelope.
pub(super) fn told_actor(attributes: &RawValue) -> Option<Actor> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Attributes<'a> {
        #[serde(borrow, default)]
        client_type: Text<'a>,
        #[serde(borrow, default)]
        operation: Text<'a>,
    }
    let Attributes { client_type, operation } = serde_json::from_str(attributes.get()).ok()?;
    let says_something = !(client_type.0.is_empty() && operation.0.is_empty());
    says_something.then(|| Actor { client_type: client_type.0.into_owned(), operation: operation.0.into_owned() })
}

/// The columns of a row in their order, which the hash of an envelope depends on.
struct Columns<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Columns<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ColumnsVisitor;

        impl<'de> Visitor<'de> for ColumnsVisitor {
            type Value = Columns<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a row")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut columns = Vec::new();
                while let Some((Text(name), value)) = map.next_entry()? {
                    columns.push((name, value));
                }
                Ok(Columns(columns))
            }
        }

        deserializer.deserialize_map(ColumnsVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::azure::graph::Row;

    #[test]
    fn what_is_read_for_the_log_alone_stays_out_of_the_envelope() {
        let bare = r#"{"resourceId":"/subscriptions/s/é","z":{"b": 1,"a":[]},"type":"a/b","changeTime":"2026-01-02T03:04:05.6789012Z"}"#;
        let row = bare.replace(r#""type""#, r#""clientType":"Azure Portal","type""#);
        let row = row.replacen(r#"{"resourceId""#, r#"{"operation":"a.b/c/write","resourceId""#, 1);
        let change = Change::parse(row.into()).unwrap();
        assert_eq!(std::str::from_utf8(&change.row).unwrap(), bare);
        let actor = change.actor.as_deref().unwrap();
        assert_eq!((&*actor.client_type, &*actor.operation), ("Azure Portal", "a.b/c/write"));
        let plain = Change::parse(bare.into()).unwrap();
        assert_eq!(plain.content(), change.content(), "whatever the log's level, the envelope is the same");
        assert!(plain.actor.is_none());
    }

    #[test]
    fn what_rides_in_the_envelope_is_logged_as_well() {
        let row = r#"{"resourceId":"/subscriptions/s/x","type":"a/b","changeAttributes":{"changedBy":"a@b.c","clientType":"CLI","operation":null}}"#;
        let change = Change::parse(row.into()).unwrap();
        assert_eq!(change.row, row.as_bytes());
        assert_eq!(change.actor.as_deref().unwrap().client_type, "CLI");
        for odd in ["null", "[]", "\"x\""] {
            let row = format!(r#"{{"resourceId":"/subscriptions/s/x","type":"a/b","changeAttributes":{odd}}}"#);
            assert!(Change::parse(row.into()).unwrap().actor.is_none(), "{odd}");
        }
    }

    #[test]
    fn a_change_tells_its_type_and_its_time() {
        let row = r#"{"resourceId":"/subscriptions/s/x","type":"a/b","changeTime":"2026-01-02T03:04:05.6789012Z"}"#;
        let change = Change::parse(row.into()).unwrap();
        assert_eq!(change.story().kind(), "a/b");
        assert_eq!(change.story().changed_at().unwrap().as_millisecond(), 1_767_323_045_678);
        let row = r#"{"resourceId":"/subscriptions/s/x","type":"a/b","changeTime":null}"#;
        assert!(Change::parse(row.into()).unwrap().story().changed_at().is_none());
    }
}
