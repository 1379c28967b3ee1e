//! Searching, listing and counting entities.
use std::fmt::Write as _;

use hyper::StatusCode;
use serde_json::{Map, Value as Json, json};

use super::api::{Ask, Outcome, Refusal, done};
use super::entities::show;
use super::query::Query;
use crate::catalog::{Entity, Key, Store};

/// The identifiers of a blueprint's entities that match a query, up to `most`.
pub(super) fn found(store: &Store, blueprint: &str, query: &Query, most: usize) -> Vec<String> {
    let all = store.of(blueprint, "").filter(|(key, entity)| query.takes(store, key, entity));
    all.take(most).map(|((_, identifier), _)| identifier.clone()).collect()
}

/// `POST /v1/blueprints/{}/entities/search`: a page, and a token for the next.
pub(super) fn page(ask: &Ask<'_>, blueprint: &str) -> Result<Outcome, Refusal> {
    let body = ask.object("search")?;
    let names = |name: &str| -> Vec<&str> {
        body.get(name).and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str).collect()
    };
    let (include, exclude) = (names("include"), names("exclude"));
    let limit = body.get("limit").and_then(Json::as_u64).unwrap_or(200) as usize;
    let query = body.get("query").map_or(Ok(Query::everything()), Query::parse)?;
    let from = body.get("from").and_then(Json::as_str).map(Place::parse).transpose()?;
    let kept = ask.kept();
    let store = &kept.store;
    if !store.blueprints.contains_key(blueprint) {
        return Err(Refusal::absent("Blueprint", blueprint));
    }
    let (first, skip) = match &from {
        Some(Place::After(identifier)) => (identifier.as_str(), 0),
        Some(Place::Behind(so_many)) => ("", *so_many),
        None => ("", 0),
    };
    let is_new = |key: &Key| !matches!(&from, Some(Place::After(identifier)) if *identifier == key.1);
    let all = store.of(blueprint, first).filter(|(key, entity)| is_new(key) && query.takes(store, key, entity));
    let mut found: Vec<(&Key, &Entity)> = all.skip(skip).take(limit + 1).collect();
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|((_, identifier), _)| {
        if ask.settings.reading.pages_by_offset {
            Place::Behind(skip + limit)
        } else {
            Place::After(identifier.clone())
        }
    });
    let entities = found.into_iter().map(|(key, entity)| {
        let mut shown = show(ask, store, key, entity);
        let is_wanted = |name: &str| (include.is_empty() || include.contains(&name)) && !exclude.contains(&name);
        narrow(&mut shown, |part, name| is_wanted(&bare(part, name)));
        Json::Object(shown)
    });
    let mut answer = done("entities", entities.collect());
    if let Some(next) = next {
        answer.body["next"] = next.show().into();
    }
    Ok(answer)
}

/// The start of a page, opaque to clients.
enum Place {
    After(String),
    Behind(usize),
}

impl Place {
    fn show(&self) -> String {
        let text = match self {
            Self::After(identifier) => format!("i{identifier}"),
            Self::Behind(so_many) => format!("n{so_many}"),
        };
        text.bytes().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }

    fn parse(hex: &str) -> Result<Self, Refusal> {
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        let bytes: Option<Vec<u8>> = hex.as_bytes().chunks(2).map(byte).collect();
        let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
        let place = match text.split_at_checked(1) {
            Some(("i", identifier)) => Some(Self::After(identifier.to_owned())),
            Some(("n", so_many)) => so_many.parse().ok().map(Self::Behind),
            _ => None,
        };
        place.ok_or_else(|| Refusal::invalid("body/from is not where a page begins".to_owned()))
    }
}

/// The name of an entity's field in the paged search: `$title`, `location`.
fn bare(part: Option<&str>, name: &str) -> String {
    if part.is_some() { name.to_owned() } else { format!("${name}") }
}

/// Its name in searches without pages: `title`, `properties.location`.
fn dotted(part: Option<&str>, name: &str) -> String {
    part.map_or_else(|| name.to_owned(), |part| format!("{part}.{name}"))
}

/// Removes unwanted fields from an entity.
fn narrow(shown: &mut Map<String, Json>, is_wanted: impl Fn(Option<&str>, &str) -> bool) {
    for part in ["properties", "relations"] {
        if let Some(Json::Object(fields)) = shown.get_mut(part) {
            fields.retain(|name, _| is_wanted(Some(part), name));
        }
    }
    shown.retain(|name, value| match name.as_str() {
        "properties" | "relations" => value.as_object().is_some_and(|fields| !fields.is_empty()),
        name => is_wanted(None, name),
    });
}

/// `POST /v1/entities/search`: all blueprints, without pages.
pub(super) fn everywhere(ask: &Ask<'_>) -> Result<Outcome, Refusal> {
    let query = Query::parse(&ask.body("query")?)?;
    let failed = &ask.settings.reading.failed_blueprints;
    if !failed.is_empty() && !ask.flag("allow_partial_results")? {
        return Err(timed_out());
    }
    let kept = ask.kept();
    let readable = kept.store.catalog.entities.iter().filter(|((blueprint, _), _)| !failed.contains(blueprint));
    let mut answer = unpaged(ask, &kept.store, readable.filter(|(key, entity)| query.takes(&kept.store, key, entity)))?;
    let readable = kept.store.blueprints.keys().filter(|of| !failed.contains(of) && query.may_take(of));
    answer.body["matchingBlueprints"] = readable.cloned().collect();
    if !failed.is_empty() {
        answer.body["failedBlueprints"] = json!(failed);
    }
    Ok(answer)
}

/// `GET /v1/blueprints/{}/entities`: all entities, without pages.
pub(super) fn list(ask: &Ask<'_>, blueprint: &str) -> Result<Outcome, Refusal> {
    let kept = ask.kept();
    if !kept.store.blueprints.contains_key(blueprint) {
        return Err(Refusal::absent("Blueprint", blueprint));
    }
    unpaged(ask, &kept.store, kept.store.of(blueprint, ""))
}

fn unpaged<'a>(
    ask: &Ask<'_>,
    store: &Store,
    found: impl Iterator<Item = (&'a Key, &'a Entity)>,
) -> Result<Outcome, Refusal> {
    if ask.settings.reading.unpaged_gone {
        return Err(Refusal::new(StatusCode::GONE, "gone", "This route is gone; use the search with pages"));
    }
    let found: Vec<_> = found.take(ask.settings.reading.unpaged_limit + 1).collect();
    if found.len() > ask.settings.reading.unpaged_limit {
        return Err(timed_out());
    }
    let (include, exclude) = (ask.params("include"), ask.params("exclude"));
    let is_wanted = |name: &str| (include.is_empty() || include.contains(&name)) && !exclude.contains(&name);
    let entities = found.into_iter().map(|(key, entity)| {
        let mut shown = show(ask, store, key, entity);
        narrow(&mut shown, |part, name| {
            is_wanted(&dotted(part, name)) && part.is_none_or(|part| !exclude.contains(&part))
        });
        Json::Object(shown)
    });
    Ok(done("entities", entities.collect()))
}

fn timed_out() -> Refusal {
    Refusal::new(StatusCode::GATEWAY_TIMEOUT, "gateway_timeout", "The request took too long")
}

/// `GET /v1/blueprints/{}/entities-count`.
pub(super) fn count(ask: &Ask<'_>, blueprint: &str) -> Result<Outcome, Refusal> {
    let kept = ask.kept();
    if !kept.store.blueprints.contains_key(blueprint) {
        return Err(Refusal::absent("Blueprint", blueprint));
    }
    Ok(done("count", kept.store.of(blueprint, "").count().into()))
}
