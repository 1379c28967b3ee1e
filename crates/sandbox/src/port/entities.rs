//! The routes for single entities, and what all writes of entities share.
use std::collections::BTreeSet;

use hyper::StatusCode;
use serde_json::{Map, Value as Json, json};

use super::api::{Ask, Outcome, Refusal, done, nothing};
use super::audit::Event;
use super::checks::{check, unfit};
use super::query::Query;
use super::search::found;
use super::shapes::mismatch;
use crate::catalog::{Author, Entity, Key, Looks, PROTECTED, Store};
use crate::settings::{Blocking, EntitySettings};

/// The query parameters of a write.
#[derive(Clone, Copy)]
pub(super) struct Flags {
    pub upsert: bool,
    pub merge: bool,
    pub create_missing: bool,
    pub validation_only: bool,
}

impl Flags {
    pub(super) fn of(ask: &Ask<'_>) -> Result<Self, Refusal> {
        Ok(Self {
            upsert: ask.required_flag("upsert")?,
            merge: ask.flag("merge")?,
            create_missing: ask.flag("create_missing_related_entities")?,
            validation_only: ask.flag("validation_only")?,
        })
    }
}

/// A validated entity that is ready to be stored.
pub(super) struct Checked {
    pub key: Key,
    pub exists: bool,
    entity: Entity,
    looks: Looks,
    ghosts: Vec<Key>,
}

impl Checked {
    pub(super) fn put(self, store: &mut Store, author: &Author) {
        for ghost in self.ghosts {
            // It may exist by now without having been seen.
            if !store.catalog.entities.contains_key(&ghost) {
                store.put(ghost, Entity::default(), author);
            }
        }
        store.put(self.key.clone(), self.entity, author);
        if let Some(stamp) = store.stamps.get_mut(&self.key) {
            stamp.looks = self.looks;
        }
    }
}

/// Validates an entity against its blueprint and its relations. Entities in `unseen` count as missing.
pub(super) fn checked(
    store: &Store,
    settings: &EntitySettings,
    blueprint: &str,
    fields: &Json,
    flags: Flags,
    unseen: &BTreeSet<Key>,
) -> Result<Checked, Refusal> {
    let known = store.blueprints.get(blueprint).ok_or_else(|| Refusal::absent("Blueprint", blueprint))?;
    let key = (blueprint.to_owned(), identifier(store, blueprint, fields.get("identifier"))?);
    let before = store.catalog.entities.get(&key);
    if before.is_some() && !flags.upsert {
        let message = format!("Entity with identifier \"{}\" already exists", key.1);
        return Err(Refusal::new(StatusCode::CONFLICT, "identifier_taken", message));
    }
    let kept = before.filter(|_| flags.merge);
    let mut entity = kept.cloned().unwrap_or_default();
    let mut looks = kept.and_then(|_| store.stamps.get(&key)).map(|stamp| stamp.looks.clone()).unwrap_or_default();
    if let Some(title) = fields.get("title") {
        entity.title = title.as_str().map(str::to_owned);
    }
    if let Some(icon) = fields.get("icon") {
        looks.icon = icon.as_str().map(str::to_owned);
    }
    if let Some(team) = fields.get("team") {
        looks.team = Some(team.clone()).filter(|team| !team.is_null());
    }
    let part = |name: &str| fields.get(name).and_then(Json::as_object).into_iter().flatten();
    for (name, value) in part("properties") {
        if !known.schema.properties.contains_key(name) {
            if settings.refuses_unknown {
                let message = format!("Blueprint \"{blueprint}\" has no property \"{name}\"");
                return Err(unfit("blueprint_schema_mismatch", message));
            }
        } else if value.is_null() {
            if settings.null_removes {
                entity.properties.remove(name);
            }
        } else {
            entity.properties.insert(name.clone(), value.clone());
        }
    }
    let is_there =
        |target: &Key| *target == key || (store.catalog.entities.contains_key(target) && !unseen.contains(target));
    let mut sent = Entity::default();
    for (name, value) in part("relations") {
        let relation = known.relations.get(name).ok_or_else(|| {
            let message = format!("Blueprint \"{blueprint}\" has no relation \"{name}\"");
            unfit("blueprint_schema_mismatch", message)
        })?;
        if value.is_null() {
            entity.relations.remove(name);
            continue;
        }
        let value =
            if value.is_object() { related(store, &relation.target, value, relation.many)? } else { value.clone() };
        sent.relations.insert(name.clone(), value);
    }
    // Existing relations are not checked again.
    let ghosts: Vec<Key> = store.targets(blueprint, &sent).filter(|target| !is_there(target)).collect();
    entity.relations.extend(sent.relations);
    check(known, &entity, settings)?;
    if let Some((of, target)) = ghosts.iter().find(|(of, _)| !flags.create_missing || PROTECTED.contains(&of.as_str()))
    {
        let message = format!("Entity with identifier \"{target}\" does not exist in the blueprint \"{of}\"");
        return Err(Refusal::new(StatusCode::NOT_FOUND, "not_found", message));
    }
    let exists = before.is_some();
    Ok(Checked { key, exists, entity, looks, ghosts })
}

/// The identifier as sent, or of the single entity that the search finds, or a generated one.
fn identifier(store: &Store, blueprint: &str, sent: Option<&Json>) -> Result<String, Refusal> {
    match sent {
        Some(Json::String(identifier)) => Ok(identifier.clone()),
        Some(search) => {
            let found = found(store, blueprint, &Query::parse(search)?, 2);
            match &found[..] {
                [one] => Ok(one.clone()),
                _ => {
                    let message = format!("The search of an identifier found {} entities, not one", found.len());
                    Err(Refusal::new(StatusCode::NOT_FOUND, "not_found", message))
                }
            }
        }
        None => Ok(format!("entity_{:012}", store.catalog.entities.len())),
    }
}

/// A relation given as a search.
fn related(store: &Store, target: &str, search: &Json, many: bool) -> Result<Json, Refusal> {
    let found = found(store, target, &Query::parse(search)?, 101);
    match &found[..] {
        all if many && all.len() <= 100 => Ok(json!(all)),
        [one] if !many => Ok(json!(one)),
        all => Err(unfit("invalid_request", format!("The search of a relation found {} entities", all.len()))),
    }
}

/// Turns a numeric identifier into text and drops a null title, if the settings allow it.
pub(super) fn coerce(entity: &mut Json, settings: &EntitySettings) {
    let Json::Object(fields) = entity else { return };
    if settings.coerces {
        if let Some(number) = fields.get("identifier").and_then(Json::as_number).map(ToString::to_string) {
            fields.insert("identifier".to_owned(), number.into());
        }
        fields.retain(|name, value| !(value.is_null() && ["title", "icon", "team"].contains(&name.as_str())));
    }
}

pub(super) fn show(ask: &Ask<'_>, store: &Store, key: &Key, entity: &Entity) -> Map<String, Json> {
    let mut shown = Map::new();
    shown.insert("identifier".to_owned(), key.1.clone().into());
    let title = entity.title.as_ref().unwrap_or(&key.1);
    shown.insert("title".to_owned(), title.clone().into());
    if let Some(stamp) = store.stamps.get(key) {
        if !ask.settings.reading.published_alone {
            shown.insert("blueprint".to_owned(), key.0.clone().into());
            shown.extend(stamp.show());
        }
        if let Some(icon) = &stamp.looks.icon {
            shown.insert("icon".to_owned(), icon.clone().into());
        }
        shown.insert("team".to_owned(), stamp.looks.team.clone().unwrap_or_else(|| json!([])));
    }
    let properties = entity.properties.iter().filter(|(_, value)| !value.is_null());
    let properties: Map<String, Json> = properties.map(|(name, value)| (name.clone(), value.clone())).collect();
    shown.insert("properties".to_owned(), Json::Object(properties));
    let relations = store.blueprints.get(&key.0).into_iter().flat_map(|blueprint| &blueprint.relations);
    let relations = relations.map(|(name, relation)| {
        let none = if relation.many { json!([]) } else { Json::Null };
        (name.clone(), entity.relations.get(name).cloned().unwrap_or(none))
    });
    shown.insert("relations".to_owned(), Json::Object(relations.collect()));
    shown
}

/// `POST /v1/blueprints/{}/entities`.
pub(super) fn create(ask: &Ask<'_>, blueprint: &str) -> Result<Outcome, Refusal> {
    let flags = Flags::of(ask)?;
    let mut entity = ask.body("object")?;
    coerce(&mut entity, &ask.settings.entities);
    if let Some(reason) = mismatch("entity", &entity) {
        return Err(Refusal::invalid(reason));
    }
    let shown = write(ask, blueprint, &entity, flags)?;
    Ok(Outcome { status: StatusCode::CREATED, body: json!({"ok": true, "entity": shown}) })
}

/// PUT and PATCH of an existing entity.
pub(super) fn change(
    ask: &Ask<'_>,
    blueprint: &str,
    identifier: &str,
    shape: &str,
    merge: bool,
) -> Result<Outcome, Refusal> {
    let mut entity = ask.body(shape)?;
    find(&ask.kept().store, blueprint, identifier)?;
    entity["identifier"] = identifier.into();
    let create_missing = ask.flag("create_missing_related_entities")?;
    let flags = Flags { upsert: true, merge, create_missing, validation_only: false };
    Ok(done("entity", write(ask, blueprint, &entity, flags)?))
}

fn write(ask: &Ask<'_>, blueprint: &str, sent: &Json, flags: Flags) -> Result<Json, Refusal> {
    let kept = &mut *ask.kept();
    let checked = match checked(&kept.store, &ask.settings.entities, blueprint, sent, flags, &BTreeSet::new()) {
        Ok(checked) => checked,
        Err(refusal) => {
            let identifier = sent["identifier"].as_str().map(str::to_owned);
            kept.audit_log.add(event(ask, "CREATE", blueprint, identifier, Some(&refusal)));
            return Err(refusal);
        }
    };
    let (key, exists) = (checked.key.clone(), checked.exists);
    if flags.validation_only {
        return Ok(json!({"identifier": key.1}));
    }
    checked.put(&mut kept.store, &ask.author);
    let action = if exists { "UPDATE" } else { "CREATE" };
    kept.audit_log.add(event(ask, action, blueprint, Some(key.1.clone()), None));
    Ok(kept.store.catalog.entities.get(&key).map(|entity| Json::Object(show(ask, &kept.store, &key, entity))).into())
}

pub(super) fn event(
    ask: &Ask<'_>,
    action: &'static str,
    blueprint: &str,
    identifier: Option<String>,
    refusal: Option<&Refusal>,
) -> Event {
    Event {
        action,
        resource: "entity",
        blueprint: Some(blueprint.to_owned()),
        identifier,
        by: ask.author.by.to_string(),
        failure: refusal.map(|refusal| refusal.message.clone()),
        ..Event::default()
    }
}

pub(super) fn find(store: &Store, blueprint: &str, identifier: &str) -> Result<Key, Refusal> {
    let key = (blueprint.to_owned(), identifier.to_owned());
    if !store.blueprints.contains_key(blueprint) {
        Err(Refusal::absent("Blueprint", blueprint))
    } else if store.catalog.entities.contains_key(&key) {
        Ok(key)
    } else {
        Err(Refusal::absent("Entity", identifier))
    }
}

pub(super) fn one(ask: &Ask<'_>, blueprint: &str, identifier: &str) -> Result<Outcome, Refusal> {
    let kept = ask.kept();
    let key = find(&kept.store, blueprint, identifier)?;
    let entity = &kept.store.catalog.entities[&key];
    Ok(done("entity", Json::Object(show(ask, &kept.store, &key, entity))))
}

/// `DELETE /v1/blueprints/{}/entities/{}`.
pub(super) fn delete(ask: &Ask<'_>, blueprint: &str, identifier: &str) -> Result<Outcome, Refusal> {
    let dependents = ask.required_flag("delete_dependents")?;
    let kept = &mut *ask.kept();
    let key = find(&kept.store, blueprint, identifier)?;
    if !dependents {
        may_go(&kept.store, &key, &BTreeSet::new(), &ask.settings.entities)?;
    }
    kept.store.delete(&key, dependents);
    kept.audit_log.add(event(ask, "DELETE", blueprint, Some(key.1), None));
    Ok(nothing())
}

/// Whether no remaining entity blocks a delete that keeps dependents.
pub(super) fn may_go(
    store: &Store,
    key: &Key,
    going: &BTreeSet<Key>,
    settings: &EntitySettings,
) -> Result<(), Refusal> {
    let blocks = |dependent: &Key| {
        let required = || {
            let relations = store.blueprints.get(&dependent.0).into_iter().flat_map(|known| &known.relations);
            relations.into_iter().any(|(_, relation)| relation.required && relation.target == key.0)
        };
        !going.contains(dependent) && dependent != key && (settings.blocking == Blocking::All || required())
    };
    if store.dependents(key).iter().any(blocks) {
        let message = format!("Entity with identifier \"{}\" has dependents", key.1);
        let status = StatusCode::from_u16(settings.blocked).unwrap_or(StatusCode::CONFLICT);
        return Err(Refusal::new(status, "has_dependents", message));
    }
    Ok(())
}
