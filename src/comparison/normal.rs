//! The normal form in which entities from both sides are compared: the fields that a mapping sets, with relations as
//! sets. Null fields are left out, because Port treats null as absent.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::{Map, Value};

use crate::mapping::FieldSet;

/// The fields by name: `title`, `properties.location`, `relations.resourceGroup`.
pub(crate) type Normal = BTreeMap<String, Value>;

/// A field that differs between the two sides; `None` where it is absent.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Difference {
    pub(crate) field: String,
    pub(crate) azure: Option<Value>,
    pub(crate) port: Option<Value>,
}

/// The normal form of an entity, limited to the fields of a set.
pub(crate) fn normal(set: &FieldSet, entity: &Value) -> Normal {
    let mut normal = Normal::new();
    let mut put = |name: String, value: Option<&Value>| {
        if let Some(value) = value.filter(|value| !value.is_null()) {
            normal.insert(name, value.clone());
        }
    };
    if set.has_title {
        put("title".to_owned(), entity.get("title"));
    }
    let field = |part: &str, name: &String| entity.get(part)?.get(name);
    for name in &set.properties {
        put(format!("properties.{name}"), field("properties", name));
    }
    for name in &set.relations {
        let related = field("relations", name).map(related);
        put(format!("relations.{name}"), related.as_ref());
    }
    normal
}

/// The targets of a relation: one, several in any order, or none.
fn related(value: &Value) -> Value {
    let Value::Array(items) = value else { return value.clone() };
    let mut items: Vec<&Value> = items.iter().collect();
    items.sort_by_cached_key(ToString::to_string);
    items.dedup();
    match items[..] {
        [] => Value::Null,
        [one] => one.clone(),
        _ => items.into_iter().cloned().collect(),
    }
}

/// Whether an entity sets exactly these fields.
pub(crate) fn is_of(set: &FieldSet, entity: &Value) -> bool {
    let fields = |name: &str| entity.get(name).and_then(Value::as_object);
    let has_all = |fields: Option<&Map<String, Value>>, is_in: &dyn Fn(&String) -> bool, count: usize| {
        let mut names = fields.into_iter().flat_map(Map::keys);
        fields.map_or(0, Map::len) == count && names.all(is_in)
    };
    // Relations that Port resolves by search are not in the set.
    let relations: Option<Map<String, Value>> = fields("relations").map(|fields| {
        let told = fields.iter().filter(|(_, value)| !value.is_object());
        told.map(|(name, value)| (name.clone(), value.clone())).collect()
    });
    set.has_title == entity.get("title").is_some()
        && has_all(fields("properties"), &|name| set.properties.contains(name), set.properties.len())
        && has_all(relations.as_ref(), &|name| set.relations.contains(name), set.relations.len())
}

pub(crate) fn differences(azure: &Normal, port: &Normal) -> Vec<Difference> {
    let names = azure.keys().chain(port.keys().filter(|name| !azure.contains_key(*name)));
    let differs = |name: &&String| hash(azure.get(*name)) != hash(port.get(*name));
    names
        .filter(differs)
        .map(|name| Difference { field: name.clone(), azure: azure.get(name).cloned(), port: port.get(name).cloned() })
        .collect()
}

/// A short hash of a normal form.
pub(crate) fn content(normal: &Normal) -> u64 {
    let mut hasher = DefaultHasher::new();
    for (name, value) in normal {
        name.hash(&mut hasher);
        feed(value, &mut hasher);
    }
    hasher.finish()
}

fn hash(value: Option<&Value>) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.is_some().hash(&mut hasher);
    if let Some(value) = value {
        feed(value, &mut hasher);
    }
    hasher.finish()
}

/// Hashes numbers as doubles, as Port stores them, so 1 equals 1.0. The order of an object's keys does not matter.
fn feed(value: &Value, hasher: &mut DefaultHasher) {
    match value {
        Value::Null => 0_u8.hash(hasher),
        Value::Bool(is) => (1_u8, is).hash(hasher),
        Value::Number(number) => {
            let number = number.as_f64().unwrap_or_default() + 0.0;
            (2_u8, number.to_bits()).hash(hasher);
        }
        Value::String(text) => (3_u8, text).hash(hasher),
        Value::Array(items) => {
            (4_u8, items.len()).hash(hasher);
            for item in items {
                feed(item, hasher);
            }
        }
        Value::Object(fields) => {
            (5_u8, fields.len()).hash(hasher);
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_unstable_by_key(|(name, _)| *name);
            for (name, value) in fields {
                name.hash(hasher);
                feed(value, hasher);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set() -> FieldSet {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        FieldSet { has_title: true, properties: names(&["a", "o"]), relations: names(&["r"]) }
    }

    fn of(entity: &Value) -> Normal {
        normal(&set(), entity)
    }

    #[test]
    fn null_is_absence_and_what_the_mapping_does_not_set_does_not_count() {
        let made = json!({"identifier": "x", "title": "t", "properties": {"a": null, "o": {"k": 1, "l": null}}, "relations": {"r": null}});
        let held = json!({"identifier": "x", "title": "t", "team": [], "properties": {"o": {"l": null, "k": 1.0}, "other": 2}});
        assert_eq!(content(&of(&made)), content(&of(&held)));
        assert!(differences(&of(&made), &of(&held)).is_empty());
        let emptied = json!({"title": "t", "properties": {"o": {"k": 1}}});
        assert_ne!(content(&of(&held)), content(&of(&emptied)), "a null inside of a value is one");
    }

    #[test]
    fn relations_are_sets() {
        let related = |value: Value| content(&of(&json!({"relations": {"r": value}})));
        assert_eq!(related(json!(["a", "b", "a"])), related(json!(["b", "a"])));
        assert_eq!(related(json!(["a"])), related(json!("a")));
        assert_eq!(related(json!([])), related(Value::Null));
        assert_ne!(related(json!("a")), related(json!("b")));
    }

    #[test]
    fn a_difference_tells_both_values() {
        let (made, held) = (json!({"title": "t", "properties": {"a": "x"}}), json!({"properties": {"a": "y"}}));
        let told = differences(&of(&made), &of(&held));
        let told: Vec<_> = told.iter().map(|one| (&*one.field, one.azure.clone(), one.port.clone())).collect();
        assert_eq!(told, [("properties.a", Some(json!("x")), Some(json!("y"))), ("title", Some(json!("t")), None),]);
        assert_ne!(content(&of(&made)), content(&of(&held)));
    }

    #[test]
    fn an_entity_is_of_the_shape_whose_fields_it_sets() {
        let whole = json!({"title": null, "properties": {"a": 1, "o": null}, "relations": {"r": "x"}});
        assert!(is_of(&set(), &whole));
        let searched =
            json!({"title": null, "properties": {"a": 1, "o": null}, "relations": {"r": {"combinator": "and"}}});
        assert!(!is_of(&set(), &searched));
        assert!(!is_of(&set(), &json!({"title": "t", "properties": {"a": 1}, "relations": {"r": "x"}})));
    }
}
