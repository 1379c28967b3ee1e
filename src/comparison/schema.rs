//! What Port would reject in an entity: an invalid identifier, or fields that do not match the blueprint.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};

use jiff::Timestamp;
use reqwest::Url;
use serde::Deserialize;
use serde_json::Value;

use crate::mapping::FieldSet;
use crate::text::printable_up_to;

/// Maximum characters of an identifier ("Create an entity", Port's API reference).
const LONGEST_IDENTIFIER: usize = 1000;

/// Maximum characters of a value in a message.
const SHOWN: usize = 60;

/// The parts of a blueprint that its entities must match.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Schema {
    #[serde(default)]
    schema: Properties,
    #[serde(default)]
    relations: BTreeMap<String, Value>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Properties {
    #[serde(default)]
    properties: BTreeMap<String, Property>,
    #[serde(default)]
    required: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct Property {
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    format: String,
}

impl Schema {
    pub(crate) fn has_property(&self, name: &str) -> bool {
        self.schema.properties.contains_key(name)
    }

    pub(crate) fn has_relation(&self, name: &str) -> bool {
        self.relations.contains_key(name)
    }

    /// The properties and relations in these sets that the blueprint lacks.
    pub(crate) fn unknown(&self, sets: &[FieldSet]) -> Vec<String> {
        let properties = sets.iter().flat_map(|set| &set.properties).filter(|name| !self.has_property(name));
        let relations = sets.iter().flat_map(|set| &set.relations).filter(|name| !self.has_relation(name));
        let properties = properties.map(|name| format!("property {name}"));
        let all: BTreeSet<String> = properties.chain(relations.map(|name| format!("relation {name}"))).collect();
        all.into_iter().collect()
    }

    /// Why Port would reject the fields of an entity.
    pub(crate) fn complaint(&self, entity: &Value) -> Option<String> {
        let value = |name: &str| entity.get("properties")?.get(name).filter(|value| !value.is_null());
        let missing = self.schema.required.iter().find(|name| value(name).is_none());
        if let Some(name) = missing {
            return Some(format!("property {name} is required and empty"));
        }
        self.schema.properties.iter().find_map(|(name, property)| {
            let value = value(name)?;
            let wanted = property.unmet_by(value)?;
            Some(format!("property {name} is no {wanted}: {}", printable_up_to(&value.to_string(), SHOWN)))
        })
    }
}

impl Property {
    /// The type or format that the value does not match. Unknown types and formats are left to Port.
    fn unmet_by(&self, value: &Value) -> Option<&str> {
        let is_of_type = match self.kind.as_str() {
            "string" => value.is_string(),
            "number" => value.is_number(),
            "boolean" => value.is_boolean(),
            "object" => value.is_object(),
            "array" => value.is_array(),
            _ => true,
        };
        if !is_of_type {
            return Some(&self.kind);
        }
        let text = value.as_str()?;
        let fits = match self.format.as_str() {
            "date-time" => text.parse::<Timestamp>().is_ok(),
            "url" => Url::parse(text).is_ok(),
            "email" => text.split_once('@').is_some_and(|(name, host)| !name.is_empty() && host.contains('.')),
            "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
            "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
            _ => true,
        };
        (!fits).then_some(&self.format)
    }
}

/// Why Port would reject an identifier: it must match `^(?!\.{1,2}$)[\p{L}0-9@_.+:\\/=-]+$` and have at most 1,000
/// characters.
pub(crate) fn illegal(identifier: &str) -> Option<String> {
    let is_allowed = |c: &char| c.is_ascii_digit() || is_letter(*c) || "@_.+:\\/=-".contains(*c);
    if identifier.chars().count() > LONGEST_IDENTIFIER {
        return Some(format!("its identifier has more than {LONGEST_IDENTIFIER} characters"));
    }
    if ["", ".", ".."].contains(&identifier) {
        return Some("its identifier is not one that Port takes".to_owned());
    }
    let wrong = identifier.chars().find(|c| !is_allowed(c))?;
    Some(format!("its identifier has the character {wrong:?}, which Port does not take"))
}

/// `\p{L}`. `char::is_alphabetic` also accepts marks and numbers.
fn is_letter(c: char) -> bool {
    c.is_ascii_alphabetic() || (!c.is_ascii() && LETTER.is_match(c.encode_utf8(&mut [0; 4])))
}

static LETTER: std::sync::LazyLock<regex::Regex> = std::sync::LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "a constant, which tests compile")]
    regex::Regex::new(r"\A\p{L}\z").expect("it is one")
});

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_identifier_is_letters_digits_and_few_signs() {
        for right in ["/a/B_1", "é日本ß", "a=32=b", "x".repeat(1000).as_str(), "..."] {
            assert_eq!(illegal(right), None, "{right}");
        }
        for wrong in ["a b", "a(b)", "#", "", "..", "a\u{301}", "½", "😀", "x".repeat(1001).as_str()] {
            assert!(illegal(wrong).is_some(), "{wrong}");
        }
    }

    #[test]
    fn a_value_has_the_type_and_the_format_of_its_property() {
        let schema: Schema = serde_json::from_value(json!({"schema": {"required": ["n"], "properties": {
            "n": {"type": "number"}, "d": {"type": "string", "format": "date-time"}, "u": {"type": "string", "format": "url"},
            "m": {"type": "string", "format": "email"}, "x": {"type": "string", "format": "team"}}}}))
        .unwrap();
        let complaint = |properties: Value| schema.complaint(&json!({"properties": properties}));
        let right = json!({"n": 1, "d": "2026-01-01T00:00:00Z", "u": "https://a/b", "m": "a@b.c", "x": "?"});
        assert_eq!(complaint(right), None);
        for wrong in [
            json!({}),
            json!({"n": "1"}),
            json!({"n": 1, "d": "yesterday"}),
            json!({"n": 1, "u": "a b"}),
            json!({"n": 1, "m": "a"}),
        ] {
            assert!(complaint(wrong.clone()).is_some(), "{wrong}");
        }
    }
}
