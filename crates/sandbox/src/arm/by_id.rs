//! Resource Manager: reads of a single object by id, and of providers.
//!
//! `GET /subscriptions/{id}`, `…/resourcegroups/{name}`, `…/providers/{namespace}`, and any resource by its id, each
//! with its own `api-version`.
use hyper::StatusCode;
use hyper::http::request::Parts;
use serde_json::json;

use super::{error, unauthorized};
use crate::estate::{Estate, lower};
use crate::lock;
use crate::server::{Reply, json as reply};
use crate::world::World;

/// The API version of subscriptions, groups and providers.
const VERSION: &str = "2021-04-01";
/// The API versions of every type of every provider; one is a preview.
const OF_TYPES: [&str; 2] = ["2024-05-01-preview", "2023-11-01"];

pub(crate) fn get(world: &World, parts: &Parts) -> Reply {
    if let Err(bad) = world.sign_in.principal(parts) {
        return unauthorized(bad);
    }
    let path = percent_encoding::percent_decode_str(parts.uri.path()).decode_utf8_lossy().into_owned();
    let id = lower(path.trim_end_matches('/'));
    let query = parts.uri.query().unwrap_or_default();
    let version = url::form_urlencoded::parse(query.as_bytes())
        .find_map(|(name, value)| (name == "api-version").then(|| value.into_owned()))
        .unwrap_or_default();
    let estate = lock(&world.estate);
    let words: Vec<&str> = id.split('/').collect();
    let missing = |code: &str| error(StatusCode::NOT_FOUND, code, &format!("'{id}' was not found."), &[]);
    let ["", "subscriptions", guid, rest @ ..] = &words[..] else { return missing("InvalidResourceType") };
    let subscription = estate.subscriptions().iter().find(|one| one.visible && lower(&one.guid) == *guid);
    let Some(subscription) = subscription.filter(|one| !one.deleted) else { return missing("SubscriptionNotFound") };
    if !subscription.grants(&id) && !matches!(rest, [] | ["providers", _]) {
        let message = "The client does not have authorization to perform action 'read' over the scope.";
        return error(StatusCode::FORBIDDEN, "AuthorizationFailed", message, &[]);
    }
    let is_version = match rest {
        [] | ["resourcegroups", _] | ["providers", _] => version == VERSION || version == super::API_VERSION,
        _ => OF_TYPES.contains(&version.as_str()),
    };
    if !is_version {
        let message = format!("The api-version '{version}' is invalid.");
        return error(StatusCode::BAD_REQUEST, "InvalidApiVersionParameter", &message, &[]);
    }
    match rest {
        [] => reply(StatusCode::OK, json!({"id": id}).to_string()),
        ["resourcegroups", _] if estate.groups().contains_key(id.as_str()) => found(&id),
        ["resourcegroups", _] => missing("ResourceGroupNotFound"),
        ["providers", namespace] => provider(&estate, namespace),
        ["resourcegroups", group, ..]
            if !estate.groups().contains_key(&*format!("/subscriptions/{guid}/resourcegroups/{group}")) =>
        {
            missing("ResourceGroupNotFound")
        }
        _ if estate.resources().contains_key(id.as_str()) => found(&id),
        _ => missing("ResourceNotFound"),
    }
}

fn found(id: &str) -> Reply {
    reply(StatusCode::OK, json!({"id": id}).to_string())
}

/// A provider is registered if it has ever had a resource here.
fn provider(estate: &Estate, namespace: &str) -> Reply {
    let mut types: Vec<String> = estate
        .kinds()
        .filter_map(|kind| kind.split_once('/').filter(|(of, _)| of.eq_ignore_ascii_case(namespace)))
        .map(|(_, ty)| ty.to_owned())
        .collect();
    types.sort();
    types.dedup();
    if types.is_empty() {
        let message = format!("The resource namespace '{namespace}' is invalid.");
        return error(StatusCode::NOT_FOUND, "InvalidResourceNamespace", &message, &[]);
    }
    let types: Vec<_> = types.iter().map(|ty| json!({"resourceType": ty, "apiVersions": OF_TYPES})).collect();
    reply(StatusCode::OK, json!({"namespace": namespace, "resourceTypes": types}).to_string())
}
