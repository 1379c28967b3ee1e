//! Rows as JSON that is mostly passed through: string columns, and the removal of columns.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::ser::{SerializeMap, Serializer};
use serde_json::value::RawValue;

/// A string column: borrowed if the JSON allows it, empty if it is null.
#[derive(Default)]
pub(super) struct Text<'a>(pub(super) Cow<'a, str>);

impl Text<'_> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or null")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Text::default())
            }
        }

        deserializer.deserialize_any(TextVisitor)
    }
}

/// JSON without line breaks, which can only be whitespace between tokens: files of rows have one row per line.
pub(super) fn on_one_line(json: Bytes) -> Bytes {
    if !(json.contains(&b'\n') || json.contains(&b'\r')) {
        return json;
    }
    json.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }).collect()
}

/// A row without some of its columns; the others are unchanged, in the same order.
pub(super) fn without(row: &[u8], names: &[&str]) -> Result<Bytes, serde_json::Error> {
    let mut columns = Columns::parse(row)?;
    columns.0.retain(|(name, _)| !names.contains(&&**name));
    columns.to_json()
}

/// The columns of a row in their order, which the hash of its content may depend on.
pub(super) struct Columns<'a>(pub(super) Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Columns<'a> {
    pub(super) fn parse(row: &'a [u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(row)
    }

    pub(super) fn to_json(&self) -> Result<Bytes, serde_json::Error> {
        let mut row = Vec::new();
        let mut serializer = serde_json::Serializer::new(&mut row);
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()?;
        Ok(row.into())
    }
}

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
