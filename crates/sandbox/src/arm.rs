//! Resource Manager: what all its answers have in common, and the list of subscriptions.
pub(crate) mod by_id;

use hyper::header::{HeaderName, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Method, StatusCode, http::request::Parts};
use serde_json::{Value as Json, json};

use crate::estate::Subscription;
use crate::lock;
use crate::server::{Reply, json as reply, with_header};
use crate::settings::TENANT;
use crate::signin::BadToken;
use crate::world::World;

const API_VERSION: &str = "2022-12-01";

/// Adds the headers that all of Resource Manager's answers have: a request id for support.
pub(crate) fn finish(mut answer: Reply) -> Reply {
    with_header(
        &mut answer,
        HeaderName::from_static("x-ms-request-id"),
        HeaderValue::from_static("5a4db0c0-0000-4000-8000-000000000000"),
    );
    answer
}

/// An error in the format of Resource Manager and its providers.
pub(crate) fn error(status: StatusCode, code: &str, message: &str, details: &[(&str, &str)]) -> Reply {
    let details: Vec<Json> = details.iter().map(|(code, message)| json!({"code": code, "message": message})).collect();
    let mut error = json!({"code": code, "message": message});
    if !details.is_empty() {
        error["details"] = details.into();
    }
    reply(status, json!({"error": error}).to_string())
}

/// The answer to an unauthenticated request.
pub(crate) fn unauthorized(bad: BadToken) -> Reply {
    let (code, message) = match bad {
        BadToken::Missing => ("AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing."),
        BadToken::Unknown => ("InvalidAuthenticationToken", "The access token is invalid."),
        BadToken::Expired => ("ExpiredAuthenticationToken", "The access token expiry UTC time is earlier than now."),
    };
    let mut answer = error(StatusCode::UNAUTHORIZED, code, message, &[]);
    let challenge = r#"Bearer authorization_uri="https://login.microsoftonline.com/", error="invalid_token""#;
    with_header(&mut answer, WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    answer
}

/// `GET /subscriptions`: those that the principal can read, page by page.
pub(crate) fn subscriptions(world: &World, parts: &Parts) -> Reply {
    if let Err(bad) = world.sign_in.principal(parts) {
        return unauthorized(bad);
    }
    if parts.method != Method::GET {
        return error(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", "Only GET is supported.", &[]);
    }
    let query = |wanted: &str| {
        let pairs = url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes());
        pairs.into_owned().find_map(|(name, value)| name.eq_ignore_ascii_case(wanted).then_some(value))
    };
    if query("api-version").as_deref() != Some(API_VERSION) {
        let message = format!("The api-version is missing or invalid; the sandbox knows '{API_VERSION}'.");
        return error(StatusCode::BAD_REQUEST, "InvalidApiVersionParameter", &message, &[]);
    }
    let Ok(from) = query("$skiptoken").map_or(Ok(0), |token| token.parse::<usize>()) else {
        return error(StatusCode::BAD_REQUEST, "InvalidSkipToken", "The skip token is invalid.", &[]);
    };
    let estate = lock(&world.estate);
    let visible = || estate.subscriptions().iter().filter(|s| s.visible);
    let twice = visible().filter(|s| s.listed_twice).map(|s| listed(s, &s.guid.to_ascii_uppercase()));
    let all: Vec<Json> = visible().map(|s| listed(s, &s.guid)).chain(twice).collect();
    let page = world.settings.azure.listing_page.max(1);
    let value: Vec<&Json> = all.iter().skip(from).take(page).collect();
    let mut body = json!({"value": value, "count": {"type": "Total", "value": all.len()}});
    if all.len() > from.saturating_add(page) {
        let next = format!("{}/subscriptions?api-version={API_VERSION}&$skiptoken={}", world.arm_origin(), from + page);
        body["nextLink"] = next.into();
    }
    let mut answer = reply(StatusCode::OK, body.to_string());
    let remaining = HeaderName::from_static("x-ms-ratelimit-remaining-tenant-reads");
    with_header(&mut answer, remaining, HeaderValue::from_static("249"));
    answer
}

fn listed(subscription: &Subscription, guid: &str) -> Json {
    let mut listed = json!({
        "id": format!("/subscriptions/{guid}"),
        "authorizationSource": "RoleBased",
        "managedByTenants": [],
        "subscriptionId": guid,
        "tenantId": TENANT,
        "displayName": *subscription.name,
        "state": *subscription.state,
        "subscriptionPolicies": {
            "locationPlacementId": "Public_2014-09-01", "quotaId": *subscription.quota_id, "spendingLimit": "Off",
        },
    });
    if let Some(tags) = &subscription.tags {
        listed["tags"] = (**tags).clone();
    }
    listed
}
