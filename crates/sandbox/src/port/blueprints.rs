//! The routes of blueprints.
use hyper::StatusCode;
use serde_json::{Map, Value as Json, json};

use super::api::{Ask, Outcome, Refusal, done, merge, nothing};
use super::audit::Event;
use crate::catalog::{Blueprint, PROTECTED, Stamp, Store};

pub(super) fn all(ask: &Ask<'_>) -> Outcome {
    done("blueprints", ask.kept().store.blueprints.values().map(Blueprint::show).collect())
}

pub(super) fn one(ask: &Ask<'_>, identifier: &str) -> Result<Outcome, Refusal> {
    let kept = ask.kept();
    let blueprint = kept.store.blueprints.get(identifier).ok_or_else(|| Refusal::absent("Blueprint", identifier))?;
    Ok(done("blueprint", blueprint.show()))
}

/// `POST /v1/blueprints`, which also creates a catalog page unless told not to.
pub(super) fn create(ask: &Ask<'_>) -> Result<Outcome, Refusal> {
    let makes_page = ask.param("create_catalog_page").is_none() || ask.flag("create_catalog_page")?;
    let raw = ask.object("blueprint")?;
    let identifier = raw.get("identifier").and_then(Json::as_str).unwrap_or_default().to_owned();
    if identifier.starts_with('_') {
        return Err(protected(&identifier));
    }
    if ask.kept().store.blueprints.contains_key(&identifier) {
        let status = StatusCode::from_u16(ask.settings.blueprints.duplicate).unwrap_or(StatusCode::CONFLICT);
        let message = format!("Blueprint with identifier \"{identifier}\" already exists");
        return Err(Refusal::new(status, "identifier_taken", message));
    }
    let shown = put(ask, &identifier, raw, "CREATE")?;
    if makes_page {
        ask.kept().pages.push(identifier);
    }
    Ok(Outcome { status: StatusCode::CREATED, body: json!({"ok": true, "blueprint": shown}) })
}

/// PUT: removes keys that are not given.
pub(super) fn replace(ask: &Ask<'_>, identifier: &str) -> Result<Outcome, Refusal> {
    let raw = ask.object("blueprintPut")?;
    may_change(&ask.kept().store, identifier)?;
    Ok(done("blueprint", put(ask, identifier, raw, "UPDATE")?))
}

/// PATCH: keeps keys that are not given.
pub(super) fn change(ask: &Ask<'_>, identifier: &str) -> Result<Outcome, Refusal> {
    let given = ask.object("blueprintPatch")?;
    may_change(&ask.kept().store, identifier)?;
    let mut raw = ask.kept().store.blueprints.get(identifier).map(|b| b.raw.clone()).unwrap_or_default();
    let deep: &[&str] =
        if ask.settings.blueprints.patch_is_deep { &["schema", "properties", "relations"] } else { &[] };
    merge(&mut raw, given, deep);
    Ok(done("blueprint", put(ask, identifier, raw, "UPDATE")?))
}

pub(super) fn delete(ask: &Ask<'_>, identifier: &str) -> Result<Outcome, Refusal> {
    let mut kept = ask.kept();
    may_change(&kept.store, identifier)?;
    let is_target = |(of, blueprint): (&String, &Blueprint)| {
        of != identifier && blueprint.relations.values().any(|relation| relation.target == identifier)
    };
    let has_entities = kept.store.of(identifier, "").next().is_some();
    if has_entities || kept.store.blueprints.iter().any(is_target) {
        let message = format!("Blueprint with identifier \"{identifier}\" has dependents");
        return Err(Refusal::new(StatusCode::CONFLICT, "has_dependents", message));
    }
    kept.store.blueprints.remove(identifier);
    kept.audit_log.add(event(ask, identifier, "DELETE"));
    Ok(nothing())
}

fn may_change(store: &Store, identifier: &str) -> Result<(), Refusal> {
    if PROTECTED.contains(&identifier) {
        return Err(protected(identifier));
    }
    store.blueprints.get(identifier).map(|_| ()).ok_or_else(|| Refusal::absent("Blueprint", identifier))
}

fn protected(identifier: &str) -> Refusal {
    let message = format!("Blueprint \"{identifier}\" is protected");
    Refusal::new(StatusCode::FORBIDDEN, "protected_resource", message)
}

fn put(ask: &Ask<'_>, identifier: &str, mut raw: Map<String, Json>, action: &'static str) -> Result<Json, Refusal> {
    raw.insert("identifier".to_owned(), identifier.into());
    for stamp in ["createdAt", "createdBy", "updatedAt", "updatedBy", "id"] {
        raw.remove(stamp);
    }
    let kept = &mut *ask.kept();
    let stamp = Stamp::new(&ask.author, kept.store.blueprints.get(identifier).map(|before| &before.stamp));
    let blueprint = Blueprint::parse(raw, stamp).map_err(Refusal::invalid)?;
    for (name, relation) in &blueprint.relations {
        if relation.target != identifier && !kept.store.blueprints.contains_key(&relation.target) {
            return Err(Refusal::absent("Blueprint", &relation.target));
        }
        if relation.many && relation.required {
            let message = format!("Relation \"{name}\" cannot be both many and required");
            return Err(Refusal::invalid(message));
        }
    }
    let shown = blueprint.show();
    kept.store.put_blueprint(identifier, blueprint);
    kept.audit_log.add(event(ask, identifier, action));
    Ok(shown)
}

fn event(ask: &Ask<'_>, identifier: &str, action: &'static str) -> Event {
    let identifier = Some(identifier.to_owned());
    Event { action, resource: "blueprint", identifier, by: ask.author.by.to_string(), ..Event::default() }
}
