//! Port's catalog: the entities, and how the operations of a webhook mapping change them.
mod blueprint;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, LazyLock};

use jiff::Timestamp;
use regex::Regex;
use serde_json::{Map, Value as Json};

pub(crate) use blueprint::{Blueprint, PROTECTED, Property};

/// Blueprint and identifier.
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

/// An operation that a mapping makes from a body.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Operation {
    Upsert { blueprint: String, identifier: String, entity: Entity },
    Delete { blueprint: String, identifier: String, dependents: bool },
}

/// Who created and last changed something, and when, in milliseconds since the epoch.
#[derive(Clone, Debug)]
pub(crate) struct Stamp {
    pub created: (i64, Arc<str>),
    pub updated: (i64, Arc<str>),
    /// The User-Agent that wrote the entity.
    pub source: Arc<str>,
    pub looks: Looks,
}

/// Fields that no mapping of the sandbox sets and no comparison includes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Looks {
    pub icon: Option<String>,
    pub team: Option<Json>,
}

/// Who writes, and with which program.
#[derive(Clone, Debug)]
pub(crate) struct Author {
    pub by: Arc<str>,
    pub source: Arc<str>,
    /// Entities written by an earlier author keep that author's mark.
    pub is_late: bool,
}

impl Author {
    pub(crate) fn new(by: &str, source: &str, is_late: bool) -> Self {
        Self { by: by.into(), source: source.into(), is_late }
    }
}

impl Stamp {
    pub(crate) fn new(author: &Author, before: Option<&Self>) -> Self {
        let now = (Timestamp::now().as_millisecond(), author.by.clone());
        let created = before.map_or_else(|| now.clone(), |before| before.created.clone());
        let source = before.filter(|_| author.is_late).map_or(&author.source, |before| &before.source).clone();
        let looks = before.map(|before| before.looks.clone()).unwrap_or_default();
        Self { created, updated: now, source, looks }
    }

    pub(crate) fn show(&self) -> Map<String, Json> {
        let moments = [("created", &self.created), ("updated", &self.updated)];
        let of = |(what, (at, by)): (&str, &(i64, Arc<str>))| {
            [(format!("{what}At"), moment(*at).into()), (format!("{what}By"), (**by).into())]
        };
        moments.into_iter().flat_map(of).collect()
    }
}

/// A time in Port's format.
pub(crate) fn moment(ms: i64) -> String {
    Timestamp::from_millisecond(ms).unwrap_or_default().strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// A catalog with its blueprints.
#[derive(Debug)]
pub(crate) struct Store {
    pub blueprints: BTreeMap<String, Blueprint>,
    pub catalog: Catalog,
    pub stamps: HashMap<Key, Stamp>,
    /// Which entities relate to an entity, whether it exists or not.
    related: HashMap<Key, BTreeSet<Key>>,
    /// An entity deleted without its dependents stays in their relations.
    keeps_deleted: bool,
}

impl Store {
    pub(crate) fn new(blueprints: &str) -> Result<Self, String> {
        let raw: Vec<Map<String, Json>> =
            serde_json::from_str(blueprints).map_err(|error| format!("blueprints: {error}"))?;
        let stamp = Stamp::new(&Author::new("sandbox", "sandbox", false), None);
        let mut blueprints: BTreeMap<_, _> = Blueprint::protected(&stamp).collect();
        for raw in raw {
            let identifier =
                raw.get("identifier").and_then(Json::as_str).ok_or("blueprints: no identifier")?.to_owned();
            blueprints.insert(identifier, Blueprint::parse(raw, stamp.clone())?);
        }
        Ok(Self {
            blueprints,
            catalog: Catalog::default(),
            stamps: HashMap::new(),
            related: HashMap::new(),
            keeps_deleted: false,
        })
    }

    pub(crate) fn keeping_deleted(self, keeps_deleted: bool) -> Self {
        Self { keeps_deleted, ..self }
    }

    /// Replaces a blueprint. Its entities lose properties that were removed or have another type, and relations that
    /// were removed or have another target.
    pub(crate) fn put_blueprint(&mut self, identifier: &str, new: Blueprint) {
        let Some(old) = self.blueprints.get(identifier).cloned() else {
            self.blueprints.insert(identifier.to_owned(), new);
            return;
        };
        let lost = |(name, property): &(&String, &Property)| {
            new.schema.properties.get(*name).is_none_or(|new| new.ty != property.ty)
        };
        let properties: Vec<&String> = old.schema.properties.iter().filter(lost).map(|(name, _)| name).collect();
        let relations = old.relations.iter().filter(|(name, relation)| {
            new.relations.get(*name).is_none_or(|new| new.target != relation.target || new.many != relation.many)
        });
        let relations: Vec<&String> = relations.map(|(name, _)| name).collect();
        if !properties.is_empty() || !relations.is_empty() {
            let keys: Vec<Key> = self.of(identifier, "").map(|(key, _)| key.clone()).collect();
            for key in keys {
                let Some(mut entity) = self.catalog.entities.remove(&key) else { continue };
                self.unrelate(&key, &entity);
                entity.properties.retain(|name, _| !properties.contains(&name));
                entity.relations.retain(|name, _| !relations.contains(&name));
                self.relate(&key, &entity);
                self.catalog.entities.insert(key, entity);
            }
        }
        self.blueprints.insert(identifier.to_owned(), new);
    }

    /// The entities of a blueprint, starting at an identifier.
    pub(crate) fn of(&self, blueprint: &str, from: &str) -> impl Iterator<Item = (&Key, &Entity)> {
        let first = (blueprint.to_owned(), from.to_owned());
        let blueprint = blueprint.to_owned();
        self.catalog.entities.range(first..).take_while(move |((of, _), _)| *of == blueprint)
    }

    /// Rejects what Port would, with the reason for its audit log.
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
            let relation = known.relations.get(name).ok_or_else(|| format!("{blueprint} has no relation {name}"))?;
            match value {
                Json::Null => {}
                Json::String(target) if is_legal(target) => {}
                Json::Array(targets)
                    if relation.many && targets.iter().all(|target| target.as_str().is_some_and(is_legal)) => {}
                _ => return Err(format!("{identifier}: relation {name} is no identifier: {value}")),
            }
        }
        Ok(())
    }

    /// The missing entities that an upsert relates to.
    pub(crate) fn missing_targets(&self, operation: &Operation) -> Vec<Key> {
        let Operation::Upsert { blueprint, entity, .. } = operation else { return Vec::new() };
        self.targets(blueprint, entity).filter(|target| !self.catalog.entities.contains_key(target)).collect()
    }

    pub(crate) fn apply(&mut self, operation: Operation, author: &Author) {
        match operation {
            Operation::Upsert { blueprint, identifier, entity } => {
                let key = (blueprint, identifier);
                let entity = self.merged(&key, entity);
                self.put(key, entity, author);
            }
            Operation::Delete { blueprint, identifier, dependents } => {
                self.delete(&(blueprint, identifier), dependents);
            }
        }
    }

    /// The entity after an upsert.
    pub(crate) fn merged(&self, key: &Key, new: Entity) -> Entity {
        let mut entity = self.catalog.entities.get(key).cloned().unwrap_or_default();
        entity.title = new.title.or(entity.title);
        entity.properties.extend(new.properties);
        entity.relations.extend(new.relations);
        entity
    }

    /// Replaces an entity.
    pub(crate) fn put(&mut self, key: Key, entity: Entity, author: &Author) {
        if let Some(before) = self.catalog.entities.remove(&key) {
            self.unrelate(&key, &before);
        }
        self.relate(&key, &entity);
        self.stamps.insert(key.clone(), Stamp::new(author, self.stamps.get(&key)));
        self.catalog.entities.insert(key, entity);
    }

    /// Deletes an entity, and with `dependents` all entities that relate to it.
    pub(crate) fn delete(&mut self, key: &Key, dependents: bool) {
        let Some(entity) = self.catalog.entities.remove(key) else { return };
        self.stamps.remove(key);
        self.unrelate(key, &entity);
        for dependent in self.dependents(key) {
            if dependents {
                self.delete(&dependent, true);
            } else if !self.keeps_deleted {
                self.forget(&dependent, key);
            }
        }
    }

    /// Removes a deleted entity from another entity's relations.
    fn forget(&mut self, dependent: &Key, gone: &Key) {
        let Some(mut entity) = self.catalog.entities.remove(dependent) else { return };
        self.unrelate(dependent, &entity);
        let relations = self.blueprints.get(&dependent.0).map(|known| &known.relations);
        for (name, value) in &mut entity.relations {
            if relations.and_then(|known| known.get(name)).is_none_or(|relation| relation.target != gone.0) {
                continue;
            }
            match value {
                Json::Array(targets) => targets.retain(|target| target.as_str() != Some(&gone.1)),
                Json::String(target) if *target == gone.1 => *value = Json::Null,
                _ => {}
            }
        }
        self.relate(dependent, &entity);
        self.catalog.entities.insert(dependent.clone(), entity);
    }

    /// The entities that relate to an entity.
    pub(crate) fn dependents(&self, key: &Key) -> BTreeSet<Key> {
        self.related.get(key).cloned().unwrap_or_default()
    }

    fn relate(&mut self, key: &Key, entity: &Entity) {
        let targets: Vec<Key> = self.targets(&key.0, entity).collect();
        for target in targets {
            self.related.entry(target).or_default().insert(key.clone());
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

    /// The entities that an entity relates to.
    pub(crate) fn targets<'a>(&'a self, blueprint: &str, entity: &'a Entity) -> impl Iterator<Item = Key> + 'a {
        let relations = self.blueprints.get(blueprint).map(|known| &known.relations);
        let of = move |(name, value): (&String, &'a Json)| {
            let relation = relations?.get(name)?;
            let target = |value: &'a Json| Some((relation.target.clone(), value.as_str()?.to_owned()));
            let many = value.as_array().map(Vec::as_slice).unwrap_or_else(|| std::slice::from_ref(value));
            Some(many.iter().filter_map(target))
        };
        entity.relations.iter().filter_map(of).flatten()
    }
}

/// Whether Port accepts this as an entity's identifier.
pub(crate) fn is_legal(identifier: &str) -> bool {
    static LEGAL: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"^[\p{L}0-9@_.+:\\/=-]+$").ok());
    let matches = LEGAL.as_ref().is_some_and(|legal| legal.is_match(identifier));
    // In Port's JavaScript, too, `$` only matches the end of the text.
    matches && identifier != "." && identifier != ".." && identifier.chars().count() <= 1000
}

pub(crate) fn is_of_type(value: &Json, ty: &str) -> bool {
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

    fn author() -> Author {
        Author::new("me", "test", false)
    }

    fn family() -> Store {
        let mut store = Store::new(BLUEPRINTS).unwrap();
        store.apply(upsert("azureSubscription", "s", None), &author());
        store.apply(upsert("azureResourceGroup", "g", Some(("subscription", "s"))), &author());
        store.apply(upsert("azureCloudResources", "r", Some(("resourceGroup", "g"))), &author());
        store
    }

    fn delete(dependents: bool) -> Operation {
        Operation::Delete { blueprint: "azureSubscription".into(), identifier: "s".into(), dependents }
    }

    #[test]
    fn a_delete_takes_its_dependents_along_unless_told_not_to() {
        let mut store = family();
        store.apply(delete(true), &author());
        assert!(store.catalog.entities.is_empty());
        let mut store = family();
        store.apply(delete(false), &author());
        assert_eq!(store.catalog.entities.len(), 2);
    }

    #[test]
    fn an_upsert_replaces_what_is_given_and_keeps_the_rest() {
        let mut store = family();
        let mut entity = Entity { title: Some("name".into()), ..Entity::default() };
        entity.properties.insert("location".into(), json!("here"));
        let operation = Operation::Upsert { blueprint: "azureResourceGroup".into(), identifier: "g".into(), entity };
        assert_eq!(store.check(&operation), Ok(()));
        store.apply(operation, &author());
        store.apply(upsert("azureResourceGroup", "g", None), &author());
        let group = &store.catalog.entities[&("azureResourceGroup".into(), "g".into())];
        assert_eq!(group.title.as_deref(), Some("name"));
        assert_eq!(group.relations["subscription"], "s");
    }

    #[test]
    fn a_relation_that_is_moved_no_longer_makes_a_dependent() {
        let mut store = family();
        store.apply(upsert("azureResourceGroup", "g", Some(("subscription", "other"))), &author());
        store.apply(delete(true), &author());
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
    fn a_relation_to_one_is_no_list() {
        let entity = |value| Entity { relations: [("subscription".to_owned(), value)].into(), ..Entity::default() };
        let check = |value| {
            let (blueprint, identifier) = ("azureResourceGroup".into(), "g".into());
            family().check(&Operation::Upsert { blueprint, identifier, entity: entity(value) })
        };
        assert_eq!(check(json!("s")), Ok(()));
        assert!(check(json!(["s"])).is_err());
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
