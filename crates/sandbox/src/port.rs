//! A small Port: accepts posts to its webhook, answers at once, and applies the mapping afterwards in order of arrival.
//! It rejects silently, except for an audit log that posters cannot see. Port's own API serves the same catalog.
mod api;
mod audit;
mod auth;
mod blueprints;
mod bulk;
mod checks;
mod entities;
mod limits;
mod query;
mod search;
pub mod shapes;
mod webhooks;
mod worker;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, mpsc};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode, http::request::Parts};
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;

use crate::catalog::{Catalog, Store};
use crate::lock;
use crate::requests::Route;
use crate::server::{Reply, json, with_header};
use crate::settings::{ApiSettings, PortSettings, RateLimit};
use audit::{Audit, Event};
use auth::Tokens;
use limits::Limits;
use webhooks::Webhooks;
use worker::{Job, Worker};

pub(crate) use api::route;

pub struct Port {
    settings: PortSettings,
    jobs: mpsc::Sender<Job>,
    kept: Arc<Mutex<Kept>>,
    bodies: AtomicU64,
    bytes: AtomicU64,
    window: Mutex<Option<(Instant, u32)>>,
    /// Posts to apply later.
    late: Mutex<Vec<Delivery>>,
    /// API requests to execute later.
    late_asked: Mutex<Vec<(Parts, Bytes)>>,
    api: Arc<Mutex<ApiSettings>>,
    webhooks: Mutex<Webhooks>,
    tokens: Tokens,
    limits: Limits,
    numbers: AtomicU64,
    /// The webhook host's origin; known once its port is.
    origin: OnceLock<String>,
}

/// The results of the posts.
struct Kept {
    store: Store,
    audit: Vec<String>,
    audit_log: Audit,
    dangling: Vec<String>,
    dropped: u64,
    deliveries: Vec<Delivery>,
    /// The blueprints that got a catalog page.
    pages: Vec<String>,
}

impl Kept {
    /// Records why a post was rejected.
    fn refuse(&mut self, event: Event, reason: String) {
        self.audit_log.add(Event { failure: Some(reason.clone()), ..event });
        self.audit.push(reason);
    }
}

/// One accepted post.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The key of its webhook.
    key: String,
    at: Instant,
    pub headers: HeaderMap,
    pub query: Option<String>,
    pub body: Bytes,
}

impl Port {
    /// Starts the thread that applies the mapping; it ends when `Port` is dropped.
    pub(crate) fn start(settings: PortSettings) -> Result<Self, String> {
        let store = Store::new(&settings.blueprints)?.keeping_deleted(settings.keeps_deleted);
        let kept = Kept {
            store,
            audit: Vec::new(),
            audit_log: Audit::default(),
            dangling: Vec::new(),
            dropped: 0,
            deliveries: Vec::new(),
            pages: Vec::new(),
        };
        let kept = Arc::new(Mutex::new(kept));
        let (jobs, queue) = mpsc::channel();
        let (dangling, record) = (settings.dangling, settings.record);
        let api = Arc::new(Mutex::new(settings.api.clone()));
        let mut webhooks = Webhooks::new();
        let mut given = None;
        if settings.api.webhooks.given {
            let (identifier, webhook) = webhooks::given(&settings)?;
            given = Some((webhook.key.clone(), webhook.hook()?));
            webhooks.insert(identifier, webhook);
        }
        let (ready, started) = mpsc::channel();
        let of_worker = (kept.clone(), api.clone());
        // jq values are not `Send`, so they are compiled on the thread that uses them.
        std::thread::spawn(move || {
            let mut worker = Worker::new(dangling, record, of_worker);
            let _ = ready.send(given.map_or(Ok(()), |(key, hook)| worker.set_up(key, Some(hook))));
            for job in queue {
                worker.work(job);
            }
        });
        started.recv().unwrap_or_else(|_| Err("the worker did not start".to_owned()))?;
        Ok(Self {
            jobs,
            kept,
            bodies: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            window: Mutex::default(),
            late: Mutex::default(),
            late_asked: Mutex::default(),
            api,
            webhooks: Mutex::new(webhooks),
            tokens: Tokens::default(),
            limits: Limits::default(),
            numbers: AtomicU64::new(0),
            origin: OnceLock::new(),
            settings,
        })
    }

    /// How the API behaves. Changes apply from the next request, except for the initial webhook.
    pub fn api_settings(&self) -> MutexGuard<'_, ApiSettings> {
        lock(&self.api)
    }

    /// Revokes the API's current token.
    pub fn revoke_token(&self) {
        self.tokens.revoke();
    }

    /// How many different API tokens were issued.
    pub fn tokens_given(&self) -> u64 {
        self.tokens.count()
    }

    /// The blueprints that got a catalog page.
    pub fn pages(&self) -> Vec<String> {
        lock(&self.kept).pages.clone()
    }

    pub(crate) fn set_origin(&self, origin: String) {
        let _ = self.origin.set(origin);
    }

    fn webhook_url(&self, key: &str) -> String {
        format!("{}/{key}", self.origin.get().map_or("", String::as_str))
    }

    fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The webhook's answer, before the body is applied.
    pub(crate) fn accept(&self, parts: &Parts, body: Bytes) -> Reply {
        let key = match self.admit(parts) {
            Ok(key) => key,
            Err((status, body)) => return json(status, body),
        };
        if body.len() > self.settings.body_limit {
            return too_large();
        }
        let window = match self.settings.rate_limit.map(|limit| self.take(limit)) {
            Some((false, headers)) => {
                return with_headers(
                    json(StatusCode::TOO_MANY_REQUESTS, r#"{"ok":false,"error":"too_many_requests"}"#),
                    headers,
                );
            }
            Some((true, headers)) => headers,
            None => Vec::new(),
        };
        self.count(body.len());
        if !self.settings.sink {
            let _ = self.jobs.send(Job::Deliver(delivery(key, parts, body)));
        }
        with_headers(accepted(), window)
    }

    /// Takes a request without answering, to execute it later.
    pub(crate) fn keep_back(&self, route: Route, parts: Parts, body: Bytes) {
        if Route::PORT.contains(&route) {
            lock(&self.late_asked).push((parts, body));
        } else if let Ok(key) = self.admit(&parts) {
            lock(&self.late).push(delivery(key, &parts, body));
        }
    }

    /// Executes the requests that were held back; the API's answers are dropped.
    pub async fn apply_late(&self) {
        for late in std::mem::take(&mut *lock(&self.late)) {
            let _ = self.jobs.send(Job::Deliver(late));
        }
        let asked = std::mem::take(&mut *lock(&self.late_asked));
        for (parts, body) in asked {
            self.answer(&parts, &body).await;
        }
    }

    /// The key of the webhook that this was sent to, or the error answer.
    pub(crate) fn admit(&self, parts: &Parts) -> Result<String, (StatusCode, &'static str)> {
        let key = parts.uri.path().strip_prefix('/').unwrap_or_default();
        if !lock(&self.webhooks).values().any(|webhook| webhook.key == key) {
            return Err((StatusCode::NOT_FOUND, r#"{"ok":false,"error":"webhook_not_found"}"#));
        }
        if parts.method != Method::POST {
            return Err((StatusCode::METHOD_NOT_ALLOWED, r#"{"ok":false,"error":"method_not_allowed"}"#));
        }
        Ok(key.to_owned())
    }

    pub(crate) fn count(&self, length: usize) {
        self.bodies.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(length as u64, Ordering::Relaxed);
    }

    /// Counts a request against the limit; returns whether it is within, and the rate limit headers.
    fn take(&self, limit: RateLimit) -> (bool, Vec<(&'static str, String)>) {
        let mut window = lock(&self.window);
        let (opened, taken) = match *window {
            Some((opened, taken)) if opened.elapsed() < limit.period => (opened, taken + 1),
            _ => (Instant::now(), 1),
        };
        *window = Some((opened, taken));
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let reset = since_epoch + limit.period.saturating_sub(opened.elapsed());
        let headers = vec![
            ("x-ratelimit-limit", limit.requests.to_string()),
            ("x-ratelimit-period", limit.period.as_secs().to_string()),
            ("x-ratelimit-remaining", limit.requests.saturating_sub(taken).to_string()),
            ("x-ratelimit-reset", reset.as_secs_f64().ceil().to_string()),
        ];
        (taken <= limit.requests, headers)
    }

    /// Returns once everything accepted so far is applied.
    pub async fn settle(&self) {
        let (done, applied) = oneshot::channel();
        if self.jobs.send(Job::Barrier(done)).is_ok() {
            let _ = applied.await;
        }
    }

    pub fn catalog(&self) -> Catalog {
        lock(&self.kept).store.catalog.clone()
    }

    /// Reads the catalog in place, for one too large to copy.
    pub fn with_catalog<T>(&self, read: impl FnOnce(&Catalog) -> T) -> T {
        read(&lock(&self.kept).store.catalog)
    }

    /// Empties the catalog and resets the blueprints.
    pub fn clear(&self) -> Result<(), String> {
        let store = Store::new(&self.settings.blueprints)?;
        lock(&self.kept).store = store.keeping_deleted(self.settings.keeps_deleted);
        Ok(())
    }

    /// What Port rejected, and why.
    pub fn audit(&self) -> Vec<String> {
        lock(&self.kept).audit.clone()
    }

    /// Upserts that arrived before the entities that they relate to.
    pub fn dangling(&self) -> Vec<String> {
        lock(&self.kept).dangling.clone()
    }

    /// Posts dropped because their identifier had been seen before.
    pub fn dropped(&self) -> u64 {
        lock(&self.kept).dropped
    }

    /// Accepted bodies in order of arrival, if recorded; call `settle` first.
    pub fn deliveries(&self) -> Vec<Delivery> {
        lock(&self.kept).deliveries.clone()
    }

    /// Forgets the recorded bodies, including those accepted but not yet applied.
    pub async fn forget_deliveries(&self) {
        self.settle().await;
        lock(&self.kept).deliveries.clear();
    }

    /// The number of accepted bodies, and their bytes.
    pub fn received(&self) -> (u64, u64) {
        (self.bodies.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }
}

fn delivery(key: String, parts: &Parts, body: Bytes) -> Delivery {
    let query = parts.uri.query().map(str::to_owned);
    Delivery { key, at: Instant::now(), headers: parts.headers.clone(), query, body }
}

pub(crate) fn too_large() -> Reply {
    json(StatusCode::PAYLOAD_TOO_LARGE, r#"{"ok":false,"error":"payload_too_large"}"#)
}

/// Queued: not applied yet.
pub(crate) fn accepted() -> Reply {
    json(StatusCode::ACCEPTED, r#"{"ok":true,"message":"queued"}"#)
}

fn with_headers(mut reply: Reply, headers: Vec<(&'static str, String)>) -> Reply {
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            with_header(&mut reply, HeaderName::from_static(name), value);
        }
    }
    reply
}

/// HMAC-SHA256 in hexadecimal, as defined in RFC 2104, independent of the code under test.
pub fn hmac_sha256(key: &[u8], message: &[u8]) -> String {
    let mut block = [0_u8; 64];
    if key.len() > block.len() {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let inner = Sha256::new().chain_update(block.map(|byte| byte ^ 0x36)).chain_update(message).finalize();
    let outer = Sha256::new().chain_update(block.map(|byte| byte ^ 0x5c)).chain_update(inner).finalize();
    outer.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hmac_is_that_of_rfc_4231() {
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(hmac_sha256(b"Jefe", b"what do ya want for nothing?"), expected);
        let expected = "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54";
        let message = b"Test Using Larger Than Block-Size Key - Hash Key First";
        assert_eq!(hmac_sha256(&[0xaa; 131], message), expected);
    }
}
