//! Port's own API: routes requests to handlers, and what the handlers share.
use std::borrow::Cow;
use std::sync::MutexGuard;
use std::time::Instant;

use bytes::Bytes;
use hyper::header::{HeaderName, HeaderValue, USER_AGENT};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value as Json, json};

use super::limits::Class;
use super::shapes::mismatch;
use super::{Kept, Port, audit, auth, blueprints, bulk, entities, search, webhooks};
use crate::catalog::Author;
use crate::lock;
use crate::requests::Route;
use crate::server::{Reply, json as reply, with_header};
use crate::settings::{ApiSettings, PORT_CLIENT_ID};

/// A request and its context.
pub(super) struct Ask<'a> {
    pub port: &'a Port,
    pub settings: ApiSettings,
    pub author: Author,
    query: Vec<(String, String)>,
    body: &'a Bytes,
}

/// A successful answer.
pub(super) struct Outcome {
    pub status: StatusCode,
    pub body: Json,
}

/// 200 with a value under this name.
pub(super) fn done(name: &str, value: Json) -> Outcome {
    Outcome { status: StatusCode::OK, body: json!({"ok": true, name: value}) }
}

pub(super) fn nothing() -> Outcome {
    Outcome { status: StatusCode::OK, body: json!({"ok": true}) }
}

#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub status: StatusCode,
    pub code: &'static str,
    pub message: String,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    pub(super) fn invalid(message: String) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_request", message)
    }

    pub(super) fn absent(what: &str, identifier: &str) -> Self {
        let message = format!("{what} with identifier \"{identifier}\" was not found");
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    pub(super) fn forbidden() -> Self {
        let message = "You do not have permission to perform this action";
        Self::new(StatusCode::FORBIDDEN, "forbidden", message)
    }
}

impl Ask<'_> {
    pub(super) fn kept(&self) -> MutexGuard<'_, Kept> {
        lock(&self.port.kept)
    }

    /// The body, if it matches this shape.
    pub(super) fn body(&self, shape: &str) -> Result<Json, Refusal> {
        let body: Json = serde_json::from_slice(self.body)
            .map_err(|error| Refusal::invalid(format!("body is not JSON: {error}")))?;
        match mismatch(shape, &body) {
            None => Ok(body),
            Some(reason) => Err(Refusal::invalid(reason)),
        }
    }

    /// The same as an object.
    pub(super) fn object(&self, shape: &str) -> Result<Map<String, Json>, Refusal> {
        match self.body(shape)? {
            Json::Object(fields) => Ok(fields),
            _ => Err(Refusal::invalid("body must be object".to_owned())),
        }
    }

    pub(super) fn param(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(of, _)| of == name).map(|(_, value)| value.as_str())
    }

    /// All values of a parameter, in any notation: `a=1&a=2`, `a[]=1`, `a=1,2`.
    pub(super) fn params(&self, name: &str) -> Vec<&str> {
        let is = |of: &str| of == name || of.strip_suffix("[]") == Some(name);
        self.query.iter().filter(|(of, _)| is(of)).flat_map(|(_, value)| value.split(',')).collect()
    }

    pub(super) fn flag(&self, name: &str) -> Result<bool, Refusal> {
        match self.param(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(Refusal::invalid(format!("querystring/{name} must be boolean"))),
        }
    }

    /// The same for a required parameter.
    pub(super) fn required_flag(&self, name: &str) -> Result<bool, Refusal> {
        if self.param(name).is_none() {
            return Err(Refusal::invalid(format!("querystring must have required property '{name}'")));
        }
        self.flag(name)
    }
}

/// The decoded segments of a path.
fn parts_of(path: &str) -> Vec<Cow<'_, str>> {
    path.trim_matches('/').split('/').map(|part| percent_decode_str(part).decode_utf8_lossy()).collect()
}

/// The route of a request, for the log and for faults.
pub(crate) fn route(method: &Method, path: &str) -> Route {
    let parts = parts_of(path);
    let parts: Vec<&str> = parts.iter().map(AsRef::as_ref).collect();
    match (method.as_str(), parts.get(1..).unwrap_or_default()) {
        (_, ["auth", ..]) => Route::PortToken,
        (_, ["webhooks", ..]) => Route::PortWebhook,
        (_, ["audit-log"]) => Route::PortAudit,
        ("POST", ["blueprints", _, "entities", "bulk"]) => Route::PortBulk,
        ("POST", ["blueprints", _, "bulk", "entities", "delete"]) | ("DELETE", ["blueprints", _, "entities", _]) => {
            Route::PortDelete
        }
        ("POST", ["blueprints", _, "entities", "search"] | ["entities", "search"])
        | ("GET", ["blueprints", _, "entities" | "entities-count"]) => Route::PortSearch,
        (_, ["blueprints", _, "entities", ..]) => Route::PortEntity,
        _ => Route::PortBlueprint,
    }
}

fn class(method: &Method, route: Route) -> Class {
    match route {
        Route::PortToken => Class::Unauthenticated,
        Route::PortEntity if *method == Method::POST => Class::Upsert,
        Route::PortEntity | Route::PortDelete => Class::Entities,
        Route::PortBulk => Class::Bulk,
        Route::PortSearch => Class::Search,
        Route::PortBlueprint => Class::Blueprints,
        _ => Class::Other,
    }
}

impl Port {
    /// Answers a request to the API.
    pub(crate) async fn answer(&self, parts: &Parts, body: &Bytes) -> Reply {
        let settings = self.api_settings().clone();
        let route = route(&parts.method, parts.uri.path());
        let is_known = route == Route::PortToken || self.tokens.is_good(parts);
        let class = if is_known { class(&parts.method, route) } else { Class::Unauthenticated };
        let taken = settings.rates.as_ref().map(|rates| self.limits.take(rates, class, Instant::now()));
        let query = parts.uri.query().unwrap_or_default().as_bytes();
        let agent = parts.headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
        let author = Author::new(PORT_CLIENT_ID, agent, settings.entities.first_source_stays);
        let limit = settings.body_limit;
        let ask = Ask {
            port: self,
            settings,
            author,
            query: url::form_urlencoded::parse(query).into_owned().collect(),
            body,
        };
        let outcome = if taken.as_ref().is_some_and(|taken| !taken.granted) {
            Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", "Rate limit exceeded"))
        } else if !is_known {
            Err(Refusal::new(StatusCode::UNAUTHORIZED, "unauthorized", "Unauthorized"))
        } else if body.len() > limit {
            let message = "Request body is too large";
            Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", message))
        } else {
            let path = parts_of(parts.uri.path());
            let path: Vec<&str> = path.iter().map(AsRef::as_ref).collect();
            dispatch(&ask, &parts.method, &path).await
        };
        let mut answer = match outcome {
            Ok(Outcome { status, body }) => reply(status, body.to_string()),
            Err(Refusal { status, code, message }) => {
                reply(status, json!({"ok": false, "error": code, "message": message}).to_string())
            }
        };
        let trace = ("x-trace-id", format!("5a4db0{:010x}", self.next_number()));
        for (name, value) in taken.map(|taken| taken.headers).unwrap_or_default().into_iter().chain([trace]) {
            if let Ok(value) = HeaderValue::try_from(value) {
                with_header(&mut answer, HeaderName::from_static(name), value);
            }
        }
        answer
    }
}

async fn dispatch(ask: &Ask<'_>, method: &Method, path: &[&str]) -> Result<Outcome, Refusal> {
    let ["v1", rest @ ..] = path else { return Err(no_route(method, path)) };
    match (method.as_str(), rest) {
        ("POST", ["auth", "access_token"]) => auth::sign_in(ask),
        ("GET", ["blueprints"]) => Ok(blueprints::all(ask)),
        ("POST", ["blueprints"]) => blueprints::create(ask),
        ("GET", ["blueprints", of]) => blueprints::one(ask, of),
        ("PUT", ["blueprints", of]) => blueprints::replace(ask, of),
        ("PATCH", ["blueprints", of]) => blueprints::change(ask, of),
        ("DELETE", ["blueprints", of]) => blueprints::delete(ask, of),
        ("GET", ["blueprints", of, "entities"]) => search::list(ask, of),
        ("GET", ["blueprints", of, "entities-count"]) => search::count(ask, of),
        ("POST", ["blueprints", of, "entities"]) => entities::create(ask, of),
        ("POST", ["blueprints", of, "entities", "bulk"]) => bulk::upsert(ask, of),
        ("POST", ["blueprints", of, "entities", "search"]) => search::page(ask, of),
        ("POST", ["blueprints", of, "bulk", "entities", "delete"]) => bulk::delete(ask, of),
        ("GET", ["blueprints", of, "entities", id]) => entities::one(ask, of, id),
        ("PUT", ["blueprints", of, "entities", id]) => entities::change(ask, of, id, "entity", false),
        ("PATCH", ["blueprints", of, "entities", id]) => entities::change(ask, of, id, "entityPatch", true),
        ("DELETE", ["blueprints", of, "entities", id]) => entities::delete(ask, of, id),
        ("POST", ["entities", "search"]) => search::everywhere(ask),
        ("GET", ["webhooks"]) => webhooks::all(ask),
        ("POST", ["webhooks"]) => webhooks::create(ask).await,
        ("GET", ["webhooks", of]) => webhooks::one(ask, of),
        ("PUT", ["webhooks", of]) => webhooks::replace(ask, of).await,
        ("PATCH", ["webhooks", of]) => webhooks::change(ask, of).await,
        ("DELETE", ["webhooks", of]) => webhooks::delete(ask, of).await,
        ("GET", ["audit-log"]) => audit::read(ask),
        _ => Err(no_route(method, path)),
    }
}

fn no_route(method: &Method, path: &[&str]) -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "not_found", format!("Route {method}:/{} not found", path.join("/")))
}

/// Merges the fields of an object into another. Fields named in `deep` are merged recursively if both are objects.
pub(super) fn merge(onto: &mut Map<String, Json>, from: Map<String, Json>, deep: &[&str]) {
    for (name, value) in from {
        match (onto.get_mut(&name), value) {
            (Some(Json::Object(before)), Json::Object(new)) if deep.contains(&name.as_str()) => {
                // `deep` also applies to nested fields: `schema` and its `properties`.
                merge(before, new, deep);
            }
            (_, value) => drop(onto.insert(name, value)),
        }
    }
}
