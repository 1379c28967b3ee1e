//! A hash of what an upsert says about its entity: the row without the columns about how and when the change was found.

use crate::engine::{Content, ContentHasher};
use crate::http::{brackets, string};

/// Columns that only change records have.
const OF_THE_RECORD: [&[u8]; 4] =
    [br#""changeType""#, br#""changeTime""#, br#""changedProperties""#, br#""changeAttributes""#];

/// Initial capacity; no row has more columns.
const COLUMNS: usize = 32;

/// Hashes an envelope's type and row: the raw text of each column, sorted by name. The row is one line of JSON; if it is not
/// an object, it is hashed as is.
pub(super) fn content(kind: &[u8], row: &[u8], mut hasher: ContentHasher) -> Content {
    hasher.write(kind);
    match columns(row) {
        Some(mut columns) => {
            // Stable, so that duplicate names keep their order.
            columns.sort_by(|one, other| one.name.cmp(other.name));
            for column in columns.iter().filter(|column| !OF_THE_RECORD.contains(&column.name)) {
                hasher.write(b",");
                hasher.write(column.name);
                hasher.write(b":");
                hasher.write(column.value);
            }
        }
        None => hasher.write(row),
    }
    hasher.finish()
}

/// A column of a row: its name including the quotes, and its raw value.
struct Column<'a> {
    name: &'a [u8],
    value: &'a [u8],
}

/// The columns of a row. Values are not parsed: the source has already validated the JSON.
fn columns(row: &[u8]) -> Option<Vec<Column<'_>>> {
    let mut rest = row.trim_ascii().strip_prefix(b"{")?.strip_suffix(b"}")?.trim_ascii();
    let mut columns = Vec::with_capacity(COLUMNS);
    while !rest.is_empty() {
        let (name, after) = rest.split_at_checked(string(rest)?)?;
        let after = after.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
        let (value, after) = after.split_at_checked(value(after)?)?;
        columns.push(Column { name, value });
        rest = match after.trim_ascii_start() {
            [] => &[],
            [b',', next @ ..] => next.trim_ascii_start(),
            _ => return None,
        };
    }
    Some(columns)
}

/// The length of the JSON value at the start of `text`.
fn value(text: &[u8]) -> Option<usize> {
    match text.first()? {
        b'"' => string(text),
        b'{' | b'[' => nested(text),
        _ => {
            let end = text.iter().position(|byte| *byte == b',' || byte.is_ascii_whitespace());
            Some(end.unwrap_or(text.len()))
        }
    }
}

/// The length of the array or object at the start of `text`.
fn nested(text: &[u8]) -> Option<usize> {
    let mut depth = 0_usize;
    for (bracket, rest) in brackets(text) {
        match bracket {
            b'{' | b'[' => depth += 1,
            _ => depth = depth.checked_sub(1)?,
        }
        if depth == 0 {
            return Some(text.len() - rest.len());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::value::RawValue;

    use super::*;

    const FULL: &str = r#"{"id":"/subscriptions/0B1F6471-1BF0-4DDA-AEC3-111122223333/resourceGroups/rg-Payments-12/providers/Microsoft.Storage/storageAccounts/payments1","resourceId":"/subscriptions/0b1f6471-1bf0-4dda-aec3-111122223333/resourcegroups/rg-payments-12/providers/microsoft.storage/storageaccounts/payments1","name":"payments\"1\\","type":"microsoft.storage/storageaccounts","location":"westeurope","tags":{"Environment":"Production","a}":"{[\\\"","n":[1,[]]},"subscriptionId":"0b1f6471-1bf0-4dda-aec3-111122223333","resourceGroup":"rg-payments-12","rgId":"/subscriptions/0B1F6471-1BF0-4DDA-AEC3-111122223333/resourceGroups/rg-Payments-12","rgName":"rg-Payments-12","rgLocation":"westeurope","rgTags":null,"count":-1.5e3}"#;

    fn of(row: &str) -> Content {
        of_kind("resource", row)
    }

    fn of_kind(kind: &str, row: &str) -> Content {
        content(kind.as_bytes(), row.as_bytes(), ContentHasher::of_catalog(""))
    }

    #[test]
    fn how_it_was_found_out_is_no_part_of_it() {
        let record = r#""changeType":"Update","changeTime":"2026-01-02T03:04:05Z","changedProperties":{"a,}":"b"},"changeAttributes":null"#;
        let found = FULL.replace("}END", "").replacen(r#""location""#, &format!(r#"{record},"location""#), 1);
        assert_ne!(found, FULL);
        assert_eq!(of(&found), of(FULL));
        let last = format!("{},{record}}}", FULL.strip_suffix('}').unwrap());
        assert_eq!(of(&last), of(FULL));
        let first = format!("{{{record},{}", FULL.strip_prefix('{').unwrap());
        assert_eq!(of(&first), of(FULL));
        let nested = FULL.replacen(r#""n":[1"#, r#""changeType":"Update","n":[1"#, 1);
        assert_ne!(of(&nested), of(FULL), "a tag of that name is one");
    }

    #[test]
    fn the_same_columns_in_another_order_are_the_same() {
        let one = r#"{"a":{"x":1},"b":"2","c":[]}"#;
        let other = r#" { "c" : [] , "b":"2","a":{"x":1} } "#;
        assert_eq!(of(one), of(other));
        assert_ne!(of(one), of(r#"{"a":{"x":1},"b":"2"}"#));
        assert_ne!(of(one), of(r#"{"a":"2","b":{"x":1},"c":[]}"#));
    }

    #[test]
    fn a_container_is_not_a_resource() {
        assert_ne!(of("{}"), of_kind("resourceContainer", "{}"));
    }

    #[test]
    fn it_is_the_same_in_every_version() {
        let mut expected = ContentHasher::of_catalog("");
        expected.write(r#"resource,"a":"é","b":1"#.as_bytes());
        assert_eq!(of(r#"{"b":1,"a":"é"}"#), expected.finish());
    }

    #[test]
    fn what_is_no_object_has_one_too() {
        let odd = ["", "{", "{}", "[]", "null", "{\"a\"}", "{\"a\":", "{\"a\":\"\\", "{\"a\":[}", "{\"a\":1 2}"];
        for (place, one) in odd.iter().enumerate().skip(3) {
            for other in &odd[..place] {
                assert_ne!(of(one), of(other), "{one} and {other}");
            }
        }
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<f64>().prop_map(Into::into),
            any::<String>().prop_map(Into::into),
        ];
        leaf.prop_recursive(3, 20, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
                prop::collection::vec((any::<String>(), inner), 0..4)
                    .prop_map(|entries| serde_json::Value::Object(entries.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn columns_are_found_as_a_parser_finds_them(
            row in prop::collection::btree_map(any::<String>(), json(), 0..8),
            spaced in any::<bool>(),
        ) {
            let text = if spaced { serde_json::to_string_pretty(&row) } else { serde_json::to_string(&row) }.unwrap();
            let parsed: BTreeMap<String, &RawValue> = serde_json::from_str(&text).unwrap();
            let found: BTreeMap<String, &str> = columns(text.as_bytes())
                .unwrap()
                .into_iter()
                .map(|column| {
                    let name = serde_json::from_slice(column.name).unwrap();
                    (name, std::str::from_utf8(column.value).unwrap())
                })
                .collect();
            let parsed: BTreeMap<String, &str> = parsed.into_iter().map(|(name, value)| (name, value.get())).collect();
            prop_assert_eq!(found, parsed);
        }

        #[test]
        fn odd_bytes_do_no_harm(row in prop::collection::vec(any::<u8>(), 0..200), text in "[{}\\[\\]\":,\\\\ a1]{0,60}") {
            content(b"resource", &row, ContentHasher::of_catalog(""));
            of(&text);
        }
    }
}
