//! Kusto's text operations: case, tests, and conversion of other values to text.

use std::borrow::Cow;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value as Json;

use super::ast::TextTest;
use super::value::Value;

/// The lower case of a character, if that is a single character, as in .NET's `ToLowerInvariant`.
fn lower_char(c: char) -> char {
    let mut lower = c.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(only), None) => only,
        _ => c,
    }
}

fn upper_char(c: char) -> char {
    let mut upper = c.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(only), None) => only,
        _ => c,
    }
}

/// `text` in lower case; borrowed if it already is.
pub(crate) fn lower(text: &str) -> Cow<'_, str> {
    if !text.is_ascii() {
        return Cow::Owned(text.chars().map(lower_char).collect());
    }
    match text.bytes().any(|b| b.is_ascii_uppercase()) {
        true => Cow::Owned(text.to_ascii_lowercase()),
        false => Cow::Borrowed(text),
    }
}

pub(crate) fn upper(text: &str) -> String {
    match text.is_ascii() {
        true => text.to_ascii_uppercase(),
        false => text.chars().map(upper_char).collect(),
    }
}

/// Whether two texts are equal, ignoring case.
fn same(a: &str, b: &str) -> bool {
    if a.is_ascii() && b.is_ascii() {
        return a.eq_ignore_ascii_case(b);
    }
    a.chars().map(lower_char).eq(b.chars().map(lower_char))
}

/// Whether `text` passes the test against `pattern`.
pub(crate) fn passes(test: TextTest, fold: bool, text: &str, pattern: &str) -> bool {
    match (test, fold) {
        (TextTest::Equals, true) => same(text, pattern),
        (_, true) => passes(test, false, &lower(text), &lower(pattern)),
        (TextTest::Equals, false) => text == pattern,
        (TextTest::Contains, false) => text.contains(pattern),
        (TextTest::StartsWith, false) => text.starts_with(pattern),
        (TextTest::EndsWith, false) => text.ends_with(pattern),
        (TextTest::Has, false) => has(text, pattern),
    }
}

/// Whether `text` contains `term` without adjacent letters or digits.
fn has(text: &str, term: &str) -> bool {
    if term.is_empty() {
        return true;
    }
    text.match_indices(term).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + term.len()..].chars().next();
        !before.is_some_and(char::is_alphanumeric) && !after.is_some_and(char::is_alphanumeric)
    })
}

/// A value as formatted by `tostring`: empty for null, compact JSON for arrays and objects.
pub(crate) fn shown(value: &Value) -> Cow<'_, str> {
    match value {
        Value::Null => Cow::Borrowed(""),
        Value::Bool(true) => Cow::Borrowed("true"),
        Value::Bool(false) => Cow::Borrowed("false"),
        Value::Long(number) => Cow::Owned(number.to_string()),
        Value::Real(number) => Cow::Owned(format!("{number:?}")),
        Value::String(text) => Cow::Borrowed(text),
        Value::DateTime(milliseconds) => Cow::Owned(shown_time(*milliseconds)),
        Value::Dynamic(json) => match json.as_ref() {
            Json::String(text) => Cow::Borrowed(text),
            json => Cow::Owned(json.to_string()),
        },
    }
}

/// The same as a string cell; strings are shared, not copied.
pub(crate) fn to_string(value: &Value) -> Value {
    match value {
        Value::String(_) => value.clone(),
        _ => string(&shown(value)),
    }
}

pub(crate) fn string(text: &str) -> Value {
    Value::String(Arc::from(text))
}

/// Whether a value is null or empty text.
pub(crate) fn is_missing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Dynamic(json) => json.as_str() == Some(""),
        _ => false,
    }
}

/// Kusto's times have a resolution of 100 nanoseconds, and all digits are shown.
fn shown_time(milliseconds: i64) -> String {
    match Timestamp::from_millisecond(milliseconds) {
        Ok(instant) => format!("{instant:.7}"),
        Err(_) => String::new(),
    }
}

/// A value as an element of an array or property bag.
pub(crate) fn to_json(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(truth) => Json::Bool(*truth),
        Value::Long(number) => Json::from(*number),
        Value::Real(number) => Json::from(*number),
        Value::String(_) | Value::DateTime(_) => Json::String(shown(value).into_owned()),
        Value::Dynamic(json) => json.as_ref().clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_whose_other_case_is_two_letters_stays_as_it_is() {
        assert_eq!(lower("İSTANBUL ÄÖ Σ"), "İstanbul äö σ");
        assert_eq!(upper("straße ä"), "STRAßE Ä");
    }

    #[test]
    fn case_is_folded_beyond_ascii() {
        assert!(passes(TextTest::Equals, true, "GRÖSSE", "grösse"));
        assert!(!passes(TextTest::Equals, true, "grösse", "grosse"));
        assert!(passes(TextTest::EndsWith, true, "Größe-ÄB", "äb"));
    }

    #[test]
    fn has_finds_whole_terms_only() {
        let has = |text, term| passes(TextTest::Has, true, text, term);
        assert!(has("rg-Prod-01", "prod"));
        assert!(!has("production", "prod"));
        assert!(has("aprod prod", "prod"));
    }

    #[test]
    fn values_show_as_kusto_shows_them() {
        assert_eq!(shown(&Value::DateTime(678)), "1970-01-01T00:00:00.6780000Z");
        assert_eq!(shown(&Value::Real(1.0)), "1.0");
        assert_eq!(shown(&Value::from_json(serde_json::json!({"a": [1, "x"]}))), r#"{"a":[1,"x"]}"#);
        assert_eq!(shown(&Value::Null), "");
    }
}
