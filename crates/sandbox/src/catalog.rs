//! Port's catalog: the entities, and what the operations of a webhook mapping do to them.
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::LazyLock;

use regex::Regex;
use serde::Deserialize;
use serde_json::Value as Json;

/// Of blueprint and identifier.
pub(crate) type Key = (String, String);

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entity {
    pub title: Option<String>,
    pub properties: BTreeMap<String, Json>,
    pub relations: BTreeMap<String, Json>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Catalog {
    pub entities: BTreeMap<Key, Entity>,
}

impl Catalog {
    /// How many entities a blueprint has.
    pub fn count(&self, blueprint: &str) -> usize {
        self.entities.keys().filter(|(of, _)| of == blueprint).count()
    }
}

/// What a mapping makes of a body.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Operation {
    Upsert { blueprint: String, identifier: String, entity: Entity },
    Delete { blueprint: String, identifier: String, dependents: bool },
}

/// The parts of a blueprint that entities are held to.
#[derive(Clone, Debug, Deserialize)]
struct Blueprint {
    identifier: String,
    schema: Schema,
    #[serde(default)]
    relations: BTreeMap<String, Relation>,
}

#[derive(Clone, Debug, Deserialize)]
struct Schema {
    properties: BTreeMap<String, Property>,
}

#[derive(Clone, Debug, Deserialize)]
struct Property {
    #[serde(rename = "type")]
    ty: String,
}

#[derive(Clone, Debug, Deserialize)]
struct Relation {
    target: String,
}

/// A catalog with the blueprints that it keeps to.
#[derive(Debug)]
pub(crate) struct Store {
    blueprints: HashMap<String, Blueprint>,
    pub catalog: Catalog,
    /// Who relates to an entity, whether that is there or not.
    related: HashMap<Key, BTreeSet<Key>>,
}

impl Store {
    pub(crate) fn new(blueprints: &str) -> Result<Self, String> {
        let blueprints: Vec<Blueprint> =
            serde_json::from_str(blueprints).map_err(|error| format!("blueprints: {error}"))?;
        let blueprints = blueprints.into_iter().map(|b| (b.identifier.clone(), b)).collect();
        Ok(Self { blueprints, catalog: Catalog::default(), related: HashMap::new() })
    }

    /// Refuses what Port would, with the reason that its audit log would show.
    pub(crate) fn check(&self, operation: &Operation) -> Result<(), String> {
        let (Operation::Upsert { blueprint, identifier, .. } | Operation::Delete { blueprint, identifier, .. }) =
            operation;
        let known = self.blueprints.get(blueprint).ok_or_else(|| format!("no blueprint {blueprint}"))?;
        if !is_legal(identifier) {
            return Err(format!("illegal identifier {identifier:?}"));
        }
        let Operation::Upsert { entity, .. } = operation else { return Ok(()) };
        for (name, value) in &entity.properties {
            let property =
                known.schema.properties.get(name).ok_or_else(|| format!("{blueprint} has no property {name}"))?;
            if !is_of_type(value, &property.ty) {
                return Err(format!("{identifier}: property {name} is no {}: {value}", property.ty));
            }
        }
        for (name, value) in &entity.relations {
            if !known.relations.contains_key(name) {
                return Err(format!("{blueprint} has no relation {name}"));
            }
            match value {
                Json::Null => {}
                Json::String(target) if is_legal(target) => {}
                _ => return Err(format!("{identifier}: relation {name} is no identifier: {value}")),
            }
        }
        Ok(())
    }

    /// The entities that an upsert relates to and that are not there.
    pub(crate) fn missing_targets(&self, operation: &Operation) -> Vec<Key> {
        let Operation::Upsert { blueprint, entity, .. } = operation else { return Vec::new() };
        self.targets(blueprint, entity).filter(|target| !self.catalog.entities.contains_key(target)).collect()
    }

    pub(crate) fn apply(&mut self, operation: Operation) {
        match operation {
            Operation::Upsert { blueprint, identifier, entity } => self.upsert((blueprint, identifier), entity),
            Operation::Delete { blueprint, identifier, dependents } => self.delete((blueprint, identifier), dependents),
        }
    }

    fn upsert(&mut self, key: Key, new: Entity) {
        let mut entity = self.catalog.entities.remove(&key).unwrap_or_default();
        self.unrelate(&key, &entity);
        entity.title = new.title.or(entity.title);
        entity.properties.extend(new.properties);
        entity.relations.extend(new.relations);
        let targets: Vec<Key> = self.targets(&key.0, &entity).collect();
        for target in targets {
            self.related.entry(target).or_default().insert(key.clone());
        }
        self.catalog.entities.insert(key, entity);
    }

    fn delete(&mut self, key: Key, dependents: bool) {
        let Some(entity) = self.catalog.entities.remove(&key) else { return };
        self.unrelate(&key, &entity);
        if dependents {
            for dependent in self.related.get(&key).cloned().unwrap_or_default() {
                self.delete(dependent, true);
            }
        }
    }

    fn unrelate(&mut self, key: &Key, entity: &Entity) {
        let targets: Vec<Key> = self.targets(&key.0, entity).collect();
        for target in targets {
            if let Some(sources) = self.related.get_mut(&target) {
                sources.remove(key);
                if sources.is_empty() {
                    self.related.remove(&target);
                }
            }
        }
    }

    fn targets<'a>(&'a self, blueprint: &str, entity: &'a Entity) -> impl Iterator<Item = Key> + 'a {
        let relations = self.blueprints.get(blueprint).map(|known| &known.relations);
        entity.relations.iter().filter_map(move |(name, value)| {
            let relation = relations?.get(name)?;
            Some((relation.target.clone(), value.as_str()?.to_owned()))
        })
    }
}

/// Whether Port takes this as an entity's identifier.
pub(crate) fn is_legal(identifier: &str) -> bool {
    static LEGAL: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"^[\p{L}0-9@_.+:\\/=-]+$").ok());
    let matches = LEGAL.as_ref().is_some_and(|legal| legal.is_match(identifier));
    // `$` is the end of the text and nothing else in Port's JavaScript too.
    matches && identifier != "." && identifier != ".." && identifier.chars().count() <= 1000
}

fn is_of_type(value: &Json, ty: &str) -> bool {
    match value {
        Json::Null => true,
        Json::Bool(_) => ty == "boolean",
        Json::Number(_) => ty == "number",
        Json::String(_) => ty == "string",
        Json::Array(_) => ty == "array",
        Json::Object(_) => ty == "object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::BLUEPRINTS;
    use serde_json::json;

    fn upsert(blueprint: &str, identifier: &str, relation: Option<(&str, &str)>) -> Operation {
        let relations = relation.iter().map(|(name, target)| ((*name).to_owned(), json!(target))).collect();
        let entity = Entity { relations, ..Entity::default() };
        Operation::Upsert { blueprint: blueprint.into(), identifier: identifier.into(), entity }
    }

    fn family() -> Store {
        let mut store = Store::new(BLUEPRINTS).unwrap();
        store.apply(upsert("azureSubscription", "s", None));
        store.apply(upsert("azureResourceGroup", "g", Some(("subscription", "s"))));
        store.apply(upsert("azureCloudResources", "r", Some(("resourceGroup", "g"))));
        store
    }

    fn delete(dependents: bool) -> Operation {
        Operation::Delete { blueprint: "azureSubscription".into(), identifier: "s".into(), dependents }
    }

    #[test]
    fn a_delete_takes_its_dependents_along_unless_told_not_to() {
        let mut store = family();
        store.apply(delete(true));
        assert!(store.catalog.entities.is_empty());
        let mut store = family();
        store.apply(delete(false));
        assert_eq!(store.catalog.entities.len(), 2);
    }

    #[test]
    fn an_upsert_replaces_what_is_given_and_keeps_the_rest() {
        let mut store = family();
        let mut entity = Entity { title: Some("name".into()), ..Entity::default() };
        entity.properties.insert("location".into(), json!("here"));
        let operation = Operation::Upsert { blueprint: "azureResourceGroup".into(), identifier: "g".into(), entity };
        assert_eq!(store.check(&operation), Ok(()));
        store.apply(operation);
        store.apply(upsert("azureResourceGroup", "g", None));
        let group = &store.catalog.entities[&("azureResourceGroup".into(), "g".into())];
        assert_eq!(group.title.as_deref(), Some("name"));
        assert_eq!(group.relations["subscription"], "s");
    }

    #[test]
    fn a_relation_that_is_moved_no_longer_makes_a_dependent() {
        let mut store = family();
        store.apply(upsert("azureResourceGroup", "g", Some(("subscription", "other"))));
        store.apply(delete(true));
        assert_eq!(store.catalog.entities.len(), 2);
    }

    #[test]
    fn identifiers_are_held_to_ports_rule() {
        assert!(is_legal("/subscriptions/a=32=b/日本é"));
        for bad in ["", ".", "..", "a b", "a(b)", "a'b", "a\n", &"x".repeat(1001)] {
            assert!(!is_legal(bad), "{bad:?}");
        }
    }

    #[test]
    fn a_property_of_another_type_is_refused() {
        let store = family();
        let mut entity = Entity::default();
        entity.properties.insert("tags".into(), json!("not an object"));
        let operation = Operation::Upsert { blueprint: "azureResourceGroup".into(), identifier: "g".into(), entity };
        assert!(store.check(&operation).is_err());
    }
}
