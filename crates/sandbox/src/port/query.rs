//! The rules of entity searches.
use std::cmp::Ordering;

use jiff::Timestamp;
use serde_json::Value as Json;

use super::api::Refusal;
use crate::catalog::{Entity, Key, Store, moment};

pub(super) enum Query {
    All(Vec<Self>),
    Any(Vec<Self>),
    Rule { subject: Subject, operator: Operator, value: Json },
}

pub(super) enum Subject {
    /// `$title` and the like, without the `$`.
    Meta(String),
    Property(String),
    Relation(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Is,
    IsNot,
    In,
    NotIn,
    Contains,
    ContainsNot,
    ContainsAny,
    Begins,
    Ends,
    Empty,
    NotEmpty,
    Above,
    AtLeast,
    Below,
    AtMost,
    Between,
}

impl Operator {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "=" => Self::Is,
            "!=" => Self::IsNot,
            "in" => Self::In,
            "notIn" => Self::NotIn,
            "contains" => Self::Contains,
            "doesNotContains" => Self::ContainsNot,
            "containsAny" => Self::ContainsAny,
            "beginsWith" => Self::Begins,
            "endsWith" => Self::Ends,
            "isEmpty" => Self::Empty,
            "isNotEmpty" => Self::NotEmpty,
            ">" => Self::Above,
            ">=" => Self::AtLeast,
            "<" => Self::Below,
            "<=" => Self::AtMost,
            "between" => Self::Between,
            _ => return None,
        })
    }
}

impl Query {
    pub(super) fn everything() -> Self {
        Self::All(Vec::new())
    }

    pub(super) fn parse(json: &Json) -> Result<Self, Refusal> {
        if let Some(combinator) = json.get("combinator") {
            let rules = json.get("rules").and_then(Json::as_array);
            let rules = rules.ok_or_else(|| Refusal::invalid("a query must have rules".to_owned()))?;
            let rules = rules.iter().map(Self::parse).collect::<Result<_, _>>()?;
            return match combinator.as_str() {
                Some("and") => Ok(Self::All(rules)),
                Some("or") => Ok(Self::Any(rules)),
                _ => Err(Refusal::invalid(format!("no combinator {combinator}"))),
            };
        }
        let text = |name: &str| json.get(name).and_then(Json::as_str);
        let operator = text("operator").and_then(Operator::parse);
        let operator = operator.ok_or_else(|| Refusal::invalid(format!("no operator in the rule {json}")))?;
        let subject = match (text("property"), text("relation")) {
            (Some(property), _) => match property.strip_prefix('$') {
                Some(meta) => Subject::Meta(meta.to_owned()),
                None => Subject::Property(property.to_owned()),
            },
            (None, Some(relation)) => Subject::Relation(relation.to_owned()),
            (None, None) => return Err(Refusal::invalid(format!("no property in the rule {json}"))),
        };
        let value = match (operator, json.get("value")) {
            (Operator::Empty | Operator::NotEmpty, _) => Json::Null,
            (Operator::In | Operator::NotIn | Operator::ContainsAny, Some(Json::Array(_)))
            | (Operator::Between, Some(Json::Object(_))) => json["value"].clone(),
            (Operator::In | Operator::NotIn | Operator::ContainsAny | Operator::Between, _) | (_, None) => {
                return Err(Refusal::invalid(format!("no such value in the rule {json}")));
            }
            (_, Some(value)) => value.clone(),
        };
        Ok(Self::Rule { subject, operator, value })
    }

    pub(super) fn takes(&self, store: &Store, key: &Key, entity: &Entity) -> bool {
        match self {
            Self::All(rules) => rules.iter().all(|rule| rule.takes(store, key, entity)),
            Self::Any(rules) => rules.iter().any(|rule| rule.takes(store, key, entity)),
            Self::Rule { subject, operator, value } => holds(&subject.of(store, key, entity), *operator, value),
        }
    }

    /// Whether entities of a blueprint can match.
    pub(super) fn may_take(&self, blueprint: &str) -> bool {
        match self {
            Self::All(rules) => rules.iter().all(|rule| rule.may_take(blueprint)),
            Self::Any(rules) => rules.iter().any(|rule| rule.may_take(blueprint)),
            Self::Rule { subject: Subject::Meta(meta), operator, value } if meta == "blueprint" => {
                holds(&blueprint.into(), *operator, value)
            }
            Self::Rule { .. } => true,
        }
    }
}

impl Subject {
    fn of(&self, store: &Store, key: &Key, entity: &Entity) -> Json {
        let stamp = || store.stamps.get(key);
        match self {
            Self::Property(name) => entity.properties.get(name).cloned().unwrap_or_default(),
            Self::Relation(name) => entity.relations.get(name).cloned().unwrap_or_default(),
            Self::Meta(name) => match name.as_str() {
                "identifier" => key.1.clone().into(),
                "blueprint" => key.0.clone().into(),
                "title" => entity.title.clone().into(),
                "createdAt" => stamp().map(|stamp| moment(stamp.created.0)).into(),
                "updatedAt" => stamp().map(|stamp| moment(stamp.updated.0)).into(),
                "createdBy" => stamp().map(|stamp| &*stamp.created.1).into(),
                "updatedBy" => stamp().map(|stamp| &*stamp.updated.1).into(),
                "datasource" => stamp().map(|stamp| &*stamp.source).into(),
                "icon" => stamp().and_then(|stamp| stamp.looks.icon.clone()).into(),
                "team" => stamp().and_then(|stamp| stamp.looks.team.clone()).unwrap_or_default(),
                _ => Json::Null,
            },
        }
    }
}

fn holds(is: &Json, operator: Operator, value: &Json) -> bool {
    let within = |any: &Json| any.as_array().is_some_and(|any| any.contains(is));
    let contains = |value: &Json| match is {
        Json::Array(items) => items.contains(value),
        Json::String(text) => value.as_str().is_some_and(|part| text.contains(part)),
        _ => false,
    };
    let texts = || Some((is.as_str()?, value.as_str()?));
    let ordered = |wanted: &[Ordering], value: &Json| compared(is, value).is_some_and(|is| wanted.contains(&is));
    let is_empty = || is.is_null() || *is == "" || is.as_array().is_some_and(Vec::is_empty);
    match operator {
        Operator::Is => is == value,
        Operator::IsNot => is != value,
        Operator::In => within(value),
        Operator::NotIn => !within(value),
        Operator::Contains => contains(value),
        Operator::ContainsNot => !contains(value),
        Operator::ContainsAny => value.as_array().is_some_and(|any| any.iter().any(contains)),
        Operator::Begins => texts().is_some_and(|(is, value)| is.starts_with(value)),
        Operator::Ends => texts().is_some_and(|(is, value)| is.ends_with(value)),
        Operator::Empty => is_empty(),
        Operator::NotEmpty => !is_empty(),
        Operator::Above => ordered(&[Ordering::Greater], value),
        Operator::AtLeast => ordered(&[Ordering::Greater, Ordering::Equal], value),
        Operator::Below => ordered(&[Ordering::Less], value),
        Operator::AtMost => ordered(&[Ordering::Less, Ordering::Equal], value),
        Operator::Between => {
            ordered(&[Ordering::Greater, Ordering::Equal], &value["from"])
                && ordered(&[Ordering::Less, Ordering::Equal], &value["to"])
        }
    }
}

/// Compares numbers and times; nothing else is ordered.
fn compared(left: &Json, right: &Json) -> Option<Ordering> {
    let moment = |value: &Json| value.as_str()?.parse::<Timestamp>().ok();
    match (moment(left), moment(right)) {
        (Some(left), Some(right)) => Some(left.cmp(&right)),
        _ => left.as_f64()?.partial_cmp(&right.as_f64()?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rules_hold_where_they_say() {
        let yes = [
            (json!("a"), "=", json!("a")),
            (json!("a"), "in", json!(["b", "a"])),
            (json!("a"), "notIn", json!(["b"])),
            (json!("abc"), "contains", json!("b")),
            (json!(["a", "b"]), "contains", json!("b")),
            (json!(["a", "b"]), "containsAny", json!(["c", "b"])),
            (json!("abc"), "beginsWith", json!("ab")),
            (json!("abc"), "endsWith", json!("bc")),
            (Json::Null, "isEmpty", Json::Null),
            (json!(2), ">", json!(1)),
            (json!("2026-01-01T00:00:00.000Z"), "<", json!("2026-01-01T00:00:01Z")),
            (
                json!("2026-01-02T00:00:00Z"),
                "between",
                json!({"from": "2026-01-02T00:00:00Z", "to": "2026-01-03T00:00:00Z"}),
            ),
        ];
        for (is, operator, value) in yes {
            assert!(holds(&is, Operator::parse(operator).unwrap(), &value), "{is} {operator} {value}");
        }
        let no = [
            (json!("a"), "!=", json!("a")),
            (json!("abc"), "contains", json!("x")),
            (json!("a"), ">", json!("b")),
            (json!("abc"), "doesNotContains", json!("b")),
            (json!("a"), "isEmpty", Json::Null),
        ];
        for (is, operator, value) in no {
            assert!(!holds(&is, Operator::parse(operator).unwrap(), &value), "{is} {operator} {value}");
        }
    }

    #[test]
    fn a_query_that_is_none_is_refused() {
        let bad = [
            json!({"combinator": "xor", "rules": []}),
            json!({"combinator": "and"}),
            json!({"property": "a", "operator": "like", "value": "b"}),
            json!({"operator": "=", "value": "b"}),
            json!({"property": "a", "operator": "in", "value": "b"}),
            json!({"property": "a", "operator": "="}),
        ];
        for query in bad {
            assert!(Query::parse(&query).is_err(), "{query}");
        }
    }
}
