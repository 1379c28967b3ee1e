//! Microsoft Graph over the directory: routes requests to handlers, and what the handlers share.
mod batch;
mod delta;
mod limits;
mod lists;
mod members;
mod refusal;
mod render;
mod rights;
mod round;
mod select;
mod sign_ins;
mod token;

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use hyper::header::{HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode, Uri};

use crate::directory::{Directory, Id, Kind, Slot};
use crate::faults::{Fault, Faults};
use crate::lock;
use crate::requests::Route;
use crate::rng::Rng;
use crate::server::{Reply, json as reply, with_header};
use crate::settings::EntraSettings;
use crate::signin::Grant;
use crate::world::World;
use limits::{Bucket, Window};
use refusal::Refusal;
use round::Rounds;
use token::Seal;

const VERSION: &str = "v1.0";

pub struct Entra {
    settings: Mutex<EntraSettings>,
    rng: Mutex<Rng>,
    seal: Seal,
    rounds: Rounds,
    /// The ids that deltas are filtered by; tokens hold the index.
    filters: Mutex<Vec<Arc<[Id]>>>,
    /// How often the delta of each kind was reset.
    resets: [AtomicU32; Kind::TRACKED.len()],
    bucket: Bucket,
    sign_ins: Window,
    sign_ins_asked: AtomicU32,
    units: AtomicU64,
    /// Known once the port is.
    origin: OnceLock<String>,
}

impl Entra {
    pub(crate) fn new(settings: EntraSettings, seed: u64) -> Self {
        Self {
            settings: Mutex::new(settings),
            rng: Mutex::new(Rng::new(seed)),
            seal: Seal::new(seed),
            rounds: Rounds::default(),
            filters: Mutex::default(),
            resets: Default::default(),
            bucket: Bucket::default(),
            sign_ins: Window::default(),
            sign_ins_asked: AtomicU32::new(0),
            units: AtomicU64::new(0),
            origin: OnceLock::new(),
        }
    }

    /// How Microsoft Graph behaves. Changes apply from the next request, those of roles from the next token.
    pub fn settings(&self) -> MutexGuard<'_, EntraSettings> {
        lock(&self.settings)
    }

    /// Invalidates all links of this kind's delta, including those to next pages.
    pub fn reset(&self, kind: Kind) {
        if let Some(resets) = self.resets.get(kind as usize) {
            resets.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The resource units that all requests so far have cost.
    pub fn units(&self) -> u64 {
        self.units.load(Ordering::Relaxed)
    }

    pub(crate) fn set_origin(&self, origin: String) {
        let _ = self.origin.set(origin);
    }

    pub(crate) fn origin(&self) -> &str {
        self.origin.get().map_or("", String::as_str)
    }
}

/// A request and its context.
struct Ask<'a> {
    entra: &'a Entra,
    faults: &'a Faults,
    directory: &'a Directory,
    settings: &'a EntraSettings,
    grant: &'a Grant,
    method: Method,
    /// Excludes the version.
    path: Vec<String>,
    query: Vec<(String, String)>,
    /// `ConsistencyLevel`.
    is_eventual: bool,
    /// `Prefer: return=minimal`.
    is_minimal: bool,
    body: &'a [u8],
}

impl Ask<'_> {
    fn param(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(of, _)| of.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Whether the request may use features that need `ConsistencyLevel: eventual`.
    fn is_advanced(&self) -> bool {
        self.is_eventual && self.param("$count") == Some("true")
    }

    /// The position of the replica that answers.
    fn position(&self, lag: &RangeInclusive<Duration>) -> u32 {
        let lag = if self.is_advanced() { &self.settings.replicas.index } else { lag };
        self.directory.position(lock(&self.entra.rng).between(lag))
    }

    /// The index of an object of this kind, by the text of its id.
    fn slot(&self, kind: Kind, id: &str) -> Option<Slot> {
        let slot = id.parse().ok().and_then(|id| self.directory.slot(id))?;
        (self.directory.object(slot).kind == kind).then_some(slot)
    }

    fn route(&self) -> Route {
        let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        let asks_for_sign_ins = self.query.iter().any(|(_, value)| value.contains("signInActivity"));
        route_of(&path, asks_for_sign_ins)
    }
}

/// An answer that may become part of another.
struct Plain {
    status: StatusCode,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

fn kind_of(segment: &str) -> Option<Kind> {
    Kind::TRACKED.into_iter().find(|kind| kind.segment() == segment)
}

fn is_delta(segment: &str) -> bool {
    matches!(segment, "delta" | "delta()" | "microsoft.graph.delta()")
}

/// The route of a request, for the log and for faults.
pub(crate) fn route(uri: &Uri) -> Route {
    let path: Vec<&str> = uri.path().trim_matches('/').split('/').collect();
    let asks_for_sign_ins = uri.query().is_some_and(|query| query.contains("signInActivity"));
    route_of(path.get(1..).unwrap_or_default(), asks_for_sign_ins)
}

fn route_of(path: &[&str], asks_for_sign_ins: bool) -> Route {
    use Route::*;
    let of = |kind: Option<Kind>, routes: [Route; 4]| kind.map_or(EntraObject, |kind| routes[kind as usize]);
    match path {
        [kind, delta] if is_delta(delta) => {
            of(kind_of(kind), [EntraUserDelta, EntraGroupDelta, EntraApplicationDelta, EntraPrincipalDelta])
        }
        ["users"] if asks_for_sign_ins => EntraSignIns,
        [kind] if kind_of(kind).is_some() => {
            of(kind_of(kind), [EntraUsers, EntraGroups, EntraApplications, EntraPrincipals])
        }
        ["groups", _, "members", ..] => EntraMembers,
        ["users", _, "memberOf" | "transitiveMemberOf", ..] => EntraMemberOf,
        ["directoryObjects", "getByIds"] => EntraByIds,
        ["directory", "deletedItems", ..] => EntraDeleted,
        ["$batch"] => EntraBatch,
        _ => EntraObject,
    }
}

/// Answers a request to Microsoft Graph.
pub(crate) fn answer(world: &World, parts: &Parts, body: &[u8]) -> Reply {
    let directory = world.tenant();
    let settings = world.entra.settings().clone();
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let plain = match world.sign_in.grant(parts, directory.now_ms()) {
        Err(bad) => Refusal::unauthorized(bad).plain(),
        Ok(grant) => {
            let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
            let (version, path, query) = split(path);
            let ask = Ask {
                entra: &world.entra,
                faults: &world.faults,
                directory: &directory,
                settings: &settings,
                grant: &grant,
                method: parts.method.clone(),
                path,
                query,
                is_eventual: header("consistencylevel").eq_ignore_ascii_case("eventual"),
                is_minimal: header("prefer").contains("return=minimal"),
                body,
            };
            if version == VERSION { respond(&ask) } else { Refusal::no_segment(&version).plain() }
        }
    };
    let mut answer = reply(plain.status, plain.body);
    for (name, value) in plain.headers {
        if let Ok(value) = HeaderValue::try_from(value) {
            with_header(&mut answer, HeaderName::from_static(name), value);
        }
    }
    answer
}

/// Splits a target into the version, the remaining segments, and the query.
fn split(target: &str) -> (String, Vec<String>, Vec<(String, String)>) {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let decoded = |part: &str| percent_encoding::percent_decode_str(part).decode_utf8_lossy().into_owned();
    let mut path = path.trim_matches('/').split('/').map(decoded);
    let version = path.next().unwrap_or_default();
    (version, path.collect(), url::form_urlencoded::parse(query.as_bytes()).into_owned().collect())
}

/// Charges for a request, and answers it if enough units are left.
fn respond(ask: &Ask<'_>) -> Plain {
    let cost = limits::cost(ask);
    ask.entra.units.fetch_add(cost.into(), Ordering::Relaxed);
    let taken = ask.settings.units.map(|units| ask.entra.bucket.take(units, ask.directory, cost, Instant::now()));
    let mut headers = vec![("x-ms-resource-unit", cost.to_string())];
    let outcome = match taken {
        Some(taken) => {
            headers.extend(taken.headers);
            if taken.is_granted { dispatch(ask) } else { Err(Refusal::throttled()) }
        }
        None => dispatch(ask),
    };
    let mut plain = match outcome {
        Ok(body) => Plain { status: StatusCode::OK, headers: Vec::new(), body },
        Err(refusal) => refusal.plain(),
    };
    plain.headers.extend(headers);
    plain
}

fn dispatch(ask: &Ask<'_>) -> Result<Vec<u8>, Refusal> {
    let path: Vec<&str> = ask.path.iter().map(String::as_str).collect();
    match (ask.method.as_str(), &path[..]) {
        ("POST", ["$batch"]) => batch::answer(ask),
        ("POST", ["directoryObjects", "getByIds"]) => lists::by_ids(ask),
        ("GET", ["directory", "deletedItems", of]) => lists::deleted(ask, of),
        ("GET", ["groups", id, "members", cast @ ..]) => members::members(ask, id, cast),
        ("GET", ["users", id, "memberOf", cast @ ..]) => members::member_of(ask, id, cast),
        ("GET", ["users", id, "transitiveMemberOf", cast @ ..]) => members::transitive_member_of(ask, id, cast),
        ("GET", [of, rest @ ..]) => {
            let kind = kind_of(of).ok_or_else(|| Refusal::no_segment(of))?;
            match rest {
                [] if ask.route() == Route::EntraSignIns => sign_ins::list(ask),
                [] => lists::list(ask, kind),
                [delta] if is_delta(delta) => delta::round(ask, kind),
                [id] => lists::one(ask, kind, id),
                [_, other, ..] => Err(Refusal::no_segment(other)),
            }
        }
        (_, [of, ..]) => Err(Refusal::no_segment(of)),
        (_, []) => Err(Refusal::no_segment("")),
    }
}

/// The answer to a part of a batch that hits a status fault.
fn faulty(ask: &Ask<'_>, target: &str) -> Option<Plain> {
    let Some((Fault::Status { status, headers, body }, _)) = ask.faults.pick(ask.route(), target, ask.body) else {
        return None;
    };
    let after = headers.into_iter().filter(|(name, _)| name.eq_ignore_ascii_case("retry-after"));
    let headers = after.map(|(_, value)| ("retry-after", value)).collect();
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::IM_A_TEAPOT);
    Some(Plain { status, headers, body: body.into_bytes() })
}
