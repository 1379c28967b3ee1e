//! The schemas of requests to Port's API and of its answers, from its OpenAPI description, stored in `shapes.json`; and
//! the subset of JSON Schema that they need.
use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};

use regex::Regex;
use serde_json::{Map, Value as Json};

use crate::lock;

static SHAPES: LazyLock<Json> = LazyLock::new(|| serde_json::from_str(include_str!("shapes.json")).unwrap_or_default());

/// Why a value does not match this shape; `None` if it does.
pub fn mismatch(shape: &str, value: &Json) -> Option<String> {
    check(named(shape), value, "body").err()
}

fn named(shape: &str) -> &'static Json {
    let found = &SHAPES[shape];
    assert!(!found.is_null(), "shapes.json has no {shape}");
    found
}

fn check(shape: &Json, value: &Json, at: &str) -> Result<(), String> {
    let Json::Object(shape) = shape else { return Ok(()) };
    if let Some(name) = shape.get("$ref").and_then(Json::as_str) {
        return check(named(name), value, at);
    }
    if let Some(ty) = shape.get("type")
        && !is_of(ty, value)
    {
        return Err(format!("{at} must be {ty}"));
    }
    if let Some(constant) = shape.get("const")
        && constant != value
    {
        return Err(format!("{at} must be equal to constant {constant}"));
    }
    if let Some(Json::Array(of)) = shape.get("enum")
        && !of.contains(value)
    {
        return Err(format!("{at} must be equal to one of the allowed values"));
    }
    if let Some(Json::Array(any)) = shape.get("anyOf")
        && !any.iter().any(|shape| check(shape, value, at).is_ok())
    {
        let reasons: Vec<String> = any.iter().filter_map(|shape| check(shape, value, at).err()).collect();
        return Err(reasons.join(", "));
    }
    match value {
        Json::String(text) => check_text(shape, text, at),
        Json::Number(number) => check_number(shape, number.as_f64().unwrap_or_default(), at),
        Json::Array(items) => check_items(shape, items, at),
        Json::Object(fields) => check_fields(shape, fields, at),
        Json::Null | Json::Bool(_) => Ok(()),
    }
}

fn is_of(ty: &Json, value: &Json) -> bool {
    match ty {
        Json::Array(any) => any.iter().any(|ty| is_of(ty, value)),
        _ => match value {
            Json::Null => ty == "null",
            Json::Bool(_) => ty == "boolean",
            Json::Number(_) => ty == "number",
            Json::String(_) => ty == "string",
            Json::Array(_) => ty == "array",
            Json::Object(_) => ty == "object",
        },
    }
}

fn check_text(shape: &Map<String, Json>, text: &str, at: &str) -> Result<(), String> {
    bounds(shape, ["minLength", "maxLength"], text.chars().count(), at, "characters")?;
    let Some(pattern) = shape.get("pattern").and_then(Json::as_str) else { return Ok(()) };
    // The only look-around in use excludes two identifiers.
    let (plain, excepted) = match pattern.strip_prefix(r"^(?!\.{1,2}$)") {
        Some(rest) => (format!("^{rest}"), text == "." || text == ".."),
        None => (pattern.to_owned(), false),
    };
    if excepted || !matches(&plain, text) {
        return Err(format!("{at} must match pattern \"{pattern}\""));
    }
    Ok(())
}

fn matches(pattern: &str, text: &str) -> bool {
    static COMPILED: LazyLock<Mutex<HashMap<String, Option<Regex>>>> = LazyLock::new(Mutex::default);
    let mut compiled = lock(&COMPILED);
    if !compiled.contains_key(pattern) {
        compiled.insert(pattern.to_owned(), Regex::new(pattern).ok());
    }
    compiled.get(pattern).and_then(Option::as_ref).is_some_and(|regex| regex.is_match(text))
}

fn check_number(shape: &Map<String, Json>, number: f64, at: &str) -> Result<(), String> {
    let bound = |name: &str| shape.get(name).and_then(Json::as_f64);
    if bound("minimum").is_some_and(|least| number < least) || bound("maximum").is_some_and(|most| number > most) {
        return Err(format!("{at} is out of bounds"));
    }
    Ok(())
}

fn check_items(shape: &Map<String, Json>, items: &[Json], at: &str) -> Result<(), String> {
    bounds(shape, ["minItems", "maxItems"], items.len(), at, "items")?;
    let Some(of) = shape.get("items") else { return Ok(()) };
    items.iter().enumerate().try_for_each(|(place, item)| check(of, item, &format!("{at}/{place}")))
}

fn check_fields(shape: &Map<String, Json>, fields: &Map<String, Json>, at: &str) -> Result<(), String> {
    let known = shape.get("properties").and_then(Json::as_object);
    if let Some(Json::Array(required)) = shape.get("required")
        && let Some(lacking) = required.iter().filter_map(Json::as_str).find(|name| !fields.contains_key(*name))
    {
        return Err(format!("{at} must have required property '{lacking}'"));
    }
    for (name, value) in fields {
        let at = format!("{at}/{name}");
        if let Some(names) = shape.get("propertyNames") {
            check(names, &Json::from(name.as_str()), &at)?;
        }
        match (known.and_then(|known| known.get(name)), shape.get("additionalProperties")) {
            (Some(shape), _) => check(shape, value, &at)?,
            (None, Some(Json::Bool(false))) => return Err(format!("{at} must NOT have additional properties")),
            (None, Some(others)) => check(others, value, &at)?,
            (None, None) => {}
        }
    }
    Ok(())
}

fn bounds(shape: &Map<String, Json>, names: [&str; 2], is: usize, at: &str, of: &str) -> Result<(), String> {
    let [least, most] = names.map(|name| shape.get(name).and_then(Json::as_u64));
    match (least, most) {
        (Some(least), _) if (is as u64) < least => Err(format!("{at} must NOT have fewer than {least} {of}")),
        (_, Some(most)) if is as u64 > most => Err(format!("{at} must NOT have more than {most} {of}")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_reference_and_pattern_in_the_shapes_is_good() {
        fn walk(shape: &Json) {
            match shape {
                Json::Array(items) => items.iter().for_each(walk),
                Json::Object(fields) => {
                    for (name, value) in fields {
                        match (name.as_str(), value.as_str()) {
                            ("$ref", Some(of)) => drop(named(of)),
                            ("pattern", Some(pattern)) => {
                                drop(Regex::new(&pattern.replace(r"(?!\.{1,2}$)", "")).unwrap())
                            }
                            _ => walk(value),
                        }
                    }
                }
                _ => {}
            }
        }
        walk(&SHAPES);
    }

    #[test]
    fn a_body_that_does_not_fit_its_shape_is_told_where() {
        assert_eq!(mismatch("token", &json!({"clientId": "a", "clientSecret": "b"})), None);
        let cases = [
            ("token", json!([]), "body must be \"object\""),
            ("token", json!({"clientId": "a"}), "body must have required property 'clientSecret'"),
            (
                "token",
                json!({"clientId": "a", "clientSecret": "b", "c": 1}),
                "body/c must NOT have additional properties",
            ),
            ("bulkDelete", json!({"entities": []}), "body/entities must NOT have fewer than 1 items"),
            (
                "webhook",
                json!({"title": "x".repeat(31), "enabled": true}),
                "body/title must NOT have more than 30 characters",
            ),
            ("search", json!({"limit": 1001}), "body/limit is out of bounds"),
        ];
        for (shape, body, reason) in cases {
            assert_eq!(mismatch(shape, &body).as_deref(), Some(reason));
        }
    }

    #[test]
    fn identifiers_are_held_to_ports_rule() {
        let entity = |identifier: &str| mismatch("entity", &json!({"identifier": identifier}));
        assert_eq!(entity("/subscriptions/a=32=b/日本é\\"), None);
        for bad in ["", ".", "..", "a b", "a(b)", "a\n", &"x".repeat(1001)] {
            assert!(entity(bad).is_some(), "{bad:?}");
        }
        let blueprint = |identifier: &str| {
            mismatch("blueprint", &json!({"identifier": identifier, "title": "T", "schema": {"properties": {}}}))
        };
        assert_eq!(blueprint("azure/vm"), None);
        assert!(blueprint("a=b").is_some() && blueprint(&"x".repeat(101)).is_some());
    }
}
