//! Adds to an existing blueprint what it lacks, and keeps everything else.

use serde_json::{Value as Json, json};

use super::{BLUEPRINTS, list};
use crate::config::Coverage;
use crate::port::Object;
use crate::text::printable;

/// The parts of a blueprint: their path, and the name of a member.
const PARTS: [(&[&str], &str); 5] = [
    (&["schema", "properties"], "property"),
    (&["relations"], "relation"),
    (&["mirrorProperties"], "mirror property"),
    (&["calculationProperties"], "calculation property"),
    (&["aggregationProperties"], "aggregation property"),
];

/// Parts that refer to other blueprints, or are computed from such. They can only be set once all blueprints exist.
const LEADS_ON: [&str; 4] = ["relations", "mirrorProperties", "calculationProperties", "aggregationProperties"];

/// A blueprint with the missing parts added.
pub(super) struct Merged {
    pub(super) blueprint: Object,
    /// Descriptions of what was added.
    pub(super) added: Vec<String>,
    /// What exists but does not meet the requirements; it is left unchanged.
    pub(super) problems: Vec<String>,
}

/// The blueprints that are needed. The targets of relations come first.
pub(super) fn wanted(coverage: Coverage) -> Vec<Object> {
    #[expect(clippy::expect_used, reason = "it is a part of the program, and tests read it")]
    serde_json::from_str(&list(BLUEPRINTS, coverage)).expect("a list of objects")
}

pub(super) fn identifier(blueprint: &Object) -> &str {
    blueprint.get("identifier").and_then(Json::as_str).unwrap_or_default()
}

/// The blueprint without references to others.
pub(super) fn bare(blueprint: &Object) -> Object {
    let mut bare = blueprint.clone();
    bare.retain(|key, _| !LEADS_ON.contains(&key.as_str()));
    bare
}

/// Descriptions of a blueprint's parts.
pub(super) fn told(blueprint: &Object) -> Vec<String> {
    let members = |(path, kind): (&'static [&'static str], &'static str)| {
        let members = members(blueprint, path).into_iter().flatten();
        members.map(move |(name, member)| described(kind, name, member))
    };
    PARTS.into_iter().flat_map(members).collect()
}

/// The existing blueprint, with what the wanted one has in addition.
pub(super) fn merge(there: &Object, wanted: &Object) -> Merged {
    let mut merged = Merged { blueprint: there.clone(), added: Vec::new(), problems: Vec::new() };
    for (path, kind) in PARTS {
        for (name, member) in members(wanted, path).into_iter().flatten() {
            match members(there, path).and_then(|members| members.get(name)) {
                Some(found) => merged.problems.extend(mismatch(identifier(wanted), kind, name, found, member)),
                None => match members_to_change(&mut merged.blueprint, path) {
                    Some(members) => {
                        members.insert(name.clone(), member.clone());
                        merged.added.push(described(kind, name, member));
                    }
                    None => {
                        let place = path.join(".");
                        merged.problems.push(format!("{place} of blueprint {} is no object", identifier(wanted)));
                    }
                },
            }
        }
    }
    merged
}

fn members<'a>(blueprint: &'a Object, path: &[&str]) -> Option<&'a Object> {
    let (last, before) = path.split_last()?;
    let holder = before.iter().try_fold(blueprint, |object, key| object.get(*key)?.as_object())?;
    holder.get(*last)?.as_object()
}

/// Null counts as absent.
fn members_to_change<'a>(blueprint: &'a mut Object, path: &[&str]) -> Option<&'a mut Object> {
    path.iter().try_fold(blueprint, |object, key| {
        let value = object.entry(*key).or_insert(Json::Null);
        if value.is_null() {
            *value = json!({});
        }
        value.as_object_mut()
    })
}

/// Why an existing part does not meet the requirements. Its title, description and appearance are up to the user.
fn mismatch(blueprint: &str, kind: &str, name: &str, there: &Json, wanted: &Json) -> Option<String> {
    let (is, should_be) = match kind {
        "property" | "relation" => (shape(kind, there), shape(kind, wanted)),
        _ => return None,
    };
    (is != should_be).then(|| format!(
        "{kind} {name} of blueprint {blueprint} is {is} in Port and should be {should_be}; it was left as it is: rename or delete it \
         in Port and run this again, or let your mapping write another one"
    ))
}

fn is_many(relation: &Json) -> bool {
    relation.get("many") == Some(&Json::Bool(true))
}

fn shape(kind: &str, member: &Json) -> String {
    let text = |key: &str| printable(member.get(key).and_then(Json::as_str).unwrap_or("nothing")).to_string();
    match kind {
        "relation" if is_many(member) => format!("to many {}", text("target")),
        "relation" => format!("to {}", text("target")),
        _ => format!("of type {}", text("type")),
    }
}

fn described(kind: &str, name: &str, member: &Json) -> String {
    match kind {
        "property" | "relation" => format!("{kind} {name} {}", shape(kind, member)),
        _ => format!("{kind} {name}"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn object(value: Json) -> Object {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_a_blueprint_relates_to_stands_before_it() {
        let mut before = BTreeSet::new();
        for blueprint in wanted(Coverage::ResourcesAndEntra) {
            let relations = members(&blueprint, &["relations"]).unwrap();
            // Users and groups refer to each other.
            let is_before = |(name, relation): (&String, &Json)| {
                before.contains(relation["target"].as_str().unwrap()) || name == "groups"
            };
            assert!(relations.iter().all(is_before));
            assert!(members(&bare(&blueprint), &["relations"]).is_none());
            before.insert(identifier(&blueprint).to_owned());
        }
        assert_eq!(before.len(), 7);
    }

    #[test]
    fn what_is_of_another_type_or_leads_elsewhere_is_told_and_left() {
        let there = object(json!({
            "identifier": "b", "title": "Mine", "schema": {"properties": {"tags": {"type": "array"}}},
            "relations": {"group": {"target": "other", "many": false}, "more": {"target": "x", "many": true}},
        }));
        let wanted = object(json!({
            "identifier": "b", "title": "B", "schema": {"properties": {"tags": {"type": "object"}, "p": {"type": "string"}}},
            "relations": {"group": {"target": "g"}, "more": {"target": "x"}},
        }));
        let merged = merge(&there, &wanted);
        assert_eq!(merged.added, ["property p of type string"]);
        let said = merged.problems.join("\n");
        for text in [
            "tags of blueprint b is of type array",
            "group of blueprint b is to other",
            "more of blueprint b is to many x",
        ] {
            assert!(said.contains(text), "{said}");
        }
        assert_eq!(merged.blueprint["schema"]["properties"]["tags"]["type"], "array");
        assert_eq!(merged.blueprint["title"], "Mine");
    }

    #[test]
    fn a_part_that_is_absent_or_null_is_made_and_one_that_is_something_else_is_left() {
        let wanted = object(json!({"identifier": "b", "schema": {"properties": {"p": {"type": "string"}}}}));
        for there in [json!({}), json!({"schema": null}), json!({"schema": {"properties": null}})] {
            assert_eq!(merge(&object(there), &wanted).blueprint["schema"], wanted["schema"]);
        }
        let odd = object(json!({"schema": {"properties": []}}));
        let merged = merge(&odd, &wanted);
        assert_eq!((merged.blueprint, merged.added.len(), merged.problems.len()), (odd, 0, 1));
    }

    /// With few names, so that they collide; parts may be missing or null.
    fn blueprint() -> impl Strategy<Value = Object> {
        let member = prop_oneof![
            prop::sample::select(vec!["string", "object", "array"]).prop_map(|ty| json!({"type": ty, "title": "T"})),
            (prop::sample::select(vec!["a", "b"]), any::<bool>())
                .prop_map(|(target, many)| json!({"target": target, "many": many})),
        ];
        let members = || {
            let some = prop::collection::btree_map("[a-d]", member.clone(), 0..4);
            prop_oneof![Just(None), Just(Some(Json::Null)), some.prop_map(|members| Some(json!(members)))]
        };
        let parts = [members(), members(), members(), members(), members()];
        (parts, any::<bool>()).prop_map(|(parts, has_more)| {
            let mut blueprint = object(json!({"identifier": "x", "title": "X"}));
            for ((path, _), members) in PARTS.into_iter().zip(parts) {
                let Some(members) = members else { continue };
                match path {
                    [outer, inner] => {
                        drop(blueprint.insert((*outer).into(), json!({*inner: members, "required": ["a"]})));
                    }
                    _ => drop(blueprint.insert(path[0].into(), members)),
                }
            }
            if has_more {
                blueprint.insert("ownership".into(), json!({"type": "Direct"}));
            }
            blueprint
        })
    }

    /// Whether one value contains all of the other, unchanged. Null counts as absent.
    fn is_within(part: &Json, whole: &Json) -> bool {
        match (part, whole) {
            (Json::Object(part), Json::Object(whole)) => {
                part.iter().all(|(key, value)| is_within(value, whole.get(key).unwrap_or(&Json::Null)))
            }
            (Json::Null, _) => true,
            (part, whole) => part == whole,
        }
    }

    proptest! {
        #[test]
        fn merging_keeps_all_that_is_there_and_adds_all_that_is_missing(there in blueprint(), wanted in blueprint()) {
            let merged = merge(&there, &wanted);
            prop_assert!(is_within(&Json::Object(there.clone()), &Json::Object(merged.blueprint.clone())));
            for (path, _) in PARTS {
                for (name, member) in members(&wanted, path).into_iter().flatten() {
                    let found = members(&merged.blueprint, path).and_then(|members| members.get(name));
                    let before = members(&there, path).and_then(|members| members.get(name));
                    prop_assert_eq!(found, Some(before.unwrap_or(member)));
                }
            }
        }

        #[test]
        fn merging_twice_is_merging_once(there in blueprint(), wanted in blueprint()) {
            let once = merge(&there, &wanted);
            let twice = merge(&once.blueprint, &wanted);
            prop_assert_eq!(once.blueprint, twice.blueprint);
            prop_assert!(twice.added.is_empty());
            prop_assert_eq!(once.problems, twice.problems);
        }
    }
}
