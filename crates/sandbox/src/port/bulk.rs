//! Bulk writes and deletes of one blueprint's entities.
use std::collections::BTreeSet;

use hyper::StatusCode;
use serde_json::{Value as Json, json};

use super::api::{Ask, Outcome, Refusal, done};
use super::entities::{Flags, checked, coerce, event, may_go};
use super::shapes::mismatch;
use crate::catalog::Key;

/// `POST /v1/blueprints/{}/entities/bulk`: 200 if all succeed, otherwise 207.
pub(super) fn upsert(ask: &Ask<'_>, blueprint: &str) -> Result<Outcome, Refusal> {
    let (flags, settings) = (Flags::of(ask)?, &ask.settings.entities);
    let mut body = ask.body("bulkOfAny")?;
    let mut sent = body["entities"].as_array_mut().map(std::mem::take).unwrap_or_default();
    for entity in &mut sent {
        coerce(entity, settings);
    }
    let illegal: Vec<Option<String>> = sent.iter().map(|entity| mismatch("entity", entity)).collect();
    if let Some((place, Some(reason))) = illegal.iter().enumerate().find(|(_, reason)| reason.is_some())
        && settings.bulk.illegal_fails_all
    {
        return Err(Refusal::invalid(reason.replacen("body", &format!("body/entities/{place}"), 1)));
    }
    let kept = &mut *ask.kept();
    if !kept.store.blueprints.contains_key(blueprint) {
        return Err(Refusal::absent("Blueprint", blueprint));
    }
    let (mut entities, mut errors, mut unseen) = (Vec::new(), Vec::new(), BTreeSet::new());
    for (index, (entity, illegal)) in sent.iter().zip(illegal).enumerate() {
        let named = entity["identifier"].as_str();
        if settings.bulk.forgets.as_ref().is_some_and(|text| named.is_some_and(|named| named.contains(text))) {
            continue;
        }
        let fails = settings.bulk.fails.iter().find(|(identifier, _)| named == Some(identifier.as_str()));
        let ready = match (illegal, fails) {
            (Some(reason), _) => Err(Refusal::invalid(reason)),
            (None, Some((_, status))) => Err(failing(*status)),
            (None, None) => Ok(()),
        };
        match ready.and_then(|()| checked(&kept.store, settings, blueprint, entity, flags, &unseen)) {
            Ok(checked) => {
                let (key, created) = (checked.key.clone(), !checked.exists);
                if !flags.validation_only {
                    checked.put(&mut kept.store, &ask.author);
                    let action = if created { "CREATE" } else { "UPDATE" };
                    kept.audit_log.add(event(ask, action, blueprint, Some(key.1.clone()), None));
                }
                entities.push(json!({"identifier": key.1, "created": created, "index": index}));
                if created && !settings.bulk.sees_itself {
                    unseen.insert(key);
                }
            }
            Err(refusal) => {
                kept.audit_log.add(event(ask, "CREATE", blueprint, named.map(str::to_owned), Some(&refusal)));
                let Refusal { status, code, message } = refusal;
                errors.push(json!({
                    "identifier": named.unwrap_or("unknown"), "index": index, "statusCode": status.as_u16(),
                    "error": code, "message": message,
                }));
            }
        }
    }
    if settings.bulk.reversed {
        entities.reverse();
        errors.reverse();
    }
    let status = if errors.is_empty() { StatusCode::OK } else { StatusCode::MULTI_STATUS };
    let body = json!({"ok": errors.is_empty(), "entities": entities, "errors": errors});
    Ok(Outcome { status, body })
}

fn failing(status: u16) -> Refusal {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    Refusal::new(status, "sandbox", "A fault of the sandbox")
}

/// `POST /v1/blueprints/{}/bulk/entities/delete`: if dependents are kept, all or nothing.
pub(super) fn delete(ask: &Ask<'_>, blueprint: &str) -> Result<Outcome, Refusal> {
    let (dependents, settings) = (ask.required_flag("delete_dependents")?, &ask.settings.entities);
    let body = ask.body("bulkDelete")?;
    let kept = &mut *ask.kept();
    if !kept.store.blueprints.contains_key(blueprint) {
        return Err(Refusal::absent("Blueprint", blueprint));
    }
    let asked = body["entities"].as_array().into_iter().flatten().filter_map(Json::as_str);
    let is_spared = |of: &str| settings.bulk.spares.as_ref().is_some_and(|text| of.contains(text));
    let keys: BTreeSet<Key> = asked
        .filter(|identifier| !is_spared(identifier))
        .map(|identifier| (blueprint.to_owned(), identifier.to_owned()))
        .filter(|key| kept.store.catalog.entities.contains_key(key))
        .collect();
    if keys.is_empty() && settings.bulk.absent_is_404 {
        return Err(Refusal::new(StatusCode::NOT_FOUND, "not_found", "None of the entities was found"));
    }
    if !dependents {
        keys.iter().try_for_each(|key| may_go(&kept.store, key, &keys, settings))?;
    }
    for key in &keys {
        kept.store.delete(key, dependents);
        kept.audit_log.add(event(ask, "DELETE", blueprint, Some(key.1.clone()), None));
    }
    let deleted: Vec<Json> = keys.into_iter().map(|(_, identifier)| identifier.into()).collect();
    Ok(done("deletedEntities", deleted.into()))
}
