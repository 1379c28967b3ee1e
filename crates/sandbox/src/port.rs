//! A small Port: takes what is posted to its webhook, answers at once, and applies the mapping behind the answer, in the order
//! of arrival. What it refuses it refuses silently, but for an audit log that nobody who posts can see.
use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode, http::request::Parts};
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;

use crate::catalog::{Catalog, Store};
use crate::lock;
use crate::mapping::{Mapping, Path, Request};
use crate::server::{Reply, json, with_header};
use crate::settings::{Dangling, PortSettings, RateLimit, Security, WEBHOOK_KEY};

pub struct Port {
    settings: PortSettings,
    jobs: mpsc::Sender<Job>,
    kept: Arc<Mutex<Kept>>,
    bodies: AtomicU64,
    bytes: AtomicU64,
    window: Mutex<Option<(Instant, u32)>>,
    /// What is applied later.
    late: Mutex<Vec<Delivery>>,
}

/// What came of the posts.
struct Kept {
    store: Store,
    audit: Vec<String>,
    dangling: Vec<String>,
    dropped: u64,
    deliveries: Vec<Delivery>,
}

/// One accepted post.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub headers: HeaderMap,
    pub query: Option<String>,
    pub body: Bytes,
}

enum Job {
    Deliver(Delivery),
    Barrier(oneshot::Sender<()>),
}

impl Port {
    /// Starts the thread that applies the mapping; it ends when the `Port` is dropped.
    pub(crate) fn start(settings: PortSettings) -> Result<Self, String> {
        let store = Store::new(&settings.blueprints)?;
        let kept = Kept { store, audit: Vec::new(), dangling: Vec::new(), dropped: 0, deliveries: Vec::new() };
        let kept = Arc::new(Mutex::new(kept));
        let (jobs, queue) = mpsc::channel();
        let (ready, started) = mpsc::channel();
        let (of_worker, its_kept) = (settings.clone(), kept.clone());
        // jq values are not `Send`: what is compiled on the thread stays there.
        std::thread::spawn(move || match Worker::new(of_worker, its_kept) {
            Ok(mut worker) => {
                let _ = ready.send(Ok(()));
                for job in queue {
                    worker.work(job);
                }
            }
            Err(error) => {
                let _ = ready.send(Err(error));
            }
        });
        started.recv().unwrap_or_else(|_| Err("the worker did not start".to_owned()))?;
        let (bodies, bytes) = (AtomicU64::new(0), AtomicU64::new(0));
        Ok(Self { settings, jobs, kept, bodies, bytes, window: Mutex::default(), late: Mutex::default() })
    }

    /// What a webhook answers, before anything has come of the body.
    pub(crate) fn accept(&self, parts: &Parts, body: Bytes) -> Reply {
        if let Err((status, body)) = admit(parts) {
            return json(status, body);
        }
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
            let query = parts.uri.query().map(str::to_owned);
            let _ = self.jobs.send(Job::Deliver(Delivery { headers: parts.headers.clone(), query, body }));
        }
        with_headers(accepted(), window)
    }

    /// Takes a body without an answer, to be applied later.
    pub(crate) fn keep_back(&self, parts: &Parts, body: Bytes) {
        if admit(parts).is_ok() {
            let query = parts.uri.query().map(str::to_owned);
            lock(&self.late).push(Delivery { headers: parts.headers.clone(), query, body });
        }
    }

    /// Applies what was kept back.
    pub fn apply_late(&self) {
        for late in std::mem::take(&mut *lock(&self.late)) {
            let _ = self.jobs.send(Job::Deliver(late));
        }
    }

    pub(crate) fn count(&self, length: usize) {
        self.bodies.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(length as u64, Ordering::Relaxed);
    }

    /// Counts a request against the limit; whether it is within, and the headers that say so.
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

    /// Returns when everything accepted so far is applied.
    pub async fn settle(&self) {
        let (done, applied) = oneshot::channel();
        if self.jobs.send(Job::Barrier(done)).is_ok() {
            let _ = applied.await;
        }
    }

    pub fn catalog(&self) -> Catalog {
        lock(&self.kept).store.catalog.clone()
    }

    /// Reads the catalog where it stands, for one too large to copy.
    pub fn with_catalog<T>(&self, read: impl FnOnce(&Catalog) -> T) -> T {
        read(&lock(&self.kept).store.catalog)
    }

    /// Takes everything out of the catalog.
    pub fn clear(&self) -> Result<(), String> {
        lock(&self.kept).store = Store::new(&self.settings.blueprints)?;
        Ok(())
    }

    /// What Port refused, and why.
    pub fn audit(&self) -> Vec<String> {
        lock(&self.kept).audit.clone()
    }

    /// Upserts that came before what they relate to.
    pub fn dangling(&self) -> Vec<String> {
        lock(&self.kept).dangling.clone()
    }

    /// Posts dropped because their identifier was seen before.
    pub fn dropped(&self) -> u64 {
        lock(&self.kept).dropped
    }

    /// Accepted bodies, where they are recorded, in the order of arrival; `settle` first.
    pub fn deliveries(&self) -> Vec<Delivery> {
        lock(&self.kept).deliveries.clone()
    }

    /// Forgets the recorded bodies, those that are accepted and not applied yet among them.
    pub async fn forget_deliveries(&self) {
        self.settle().await;
        lock(&self.kept).deliveries.clear();
    }

    /// Bodies accepted, and their bytes.
    pub fn received(&self) -> (u64, u64) {
        (self.bodies.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }
}

/// Whether there is a webhook where this was sent; else what is answered.
pub(crate) fn admit(parts: &Parts) -> Result<(), (StatusCode, &'static str)> {
    if parts.uri.path().strip_prefix('/') != Some(WEBHOOK_KEY) {
        return Err((StatusCode::NOT_FOUND, r#"{"ok":false,"error":"webhook_not_found"}"#));
    }
    if parts.method != Method::POST {
        return Err((StatusCode::METHOD_NOT_ALLOWED, r#"{"ok":false,"error":"method_not_allowed"}"#));
    }
    Ok(())
}

pub(crate) fn too_large() -> Reply {
    json(StatusCode::PAYLOAD_TOO_LARGE, r#"{"ok":false,"error":"payload_too_large"}"#)
}

/// Queued: nothing has come of it yet.
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

/// The other side of the queue.
struct Worker {
    settings: PortSettings,
    mapping: Mapping,
    identifier: Option<Path>,
    seen: HashSet<String>,
    kept: Arc<Mutex<Kept>>,
}

impl Worker {
    fn new(settings: PortSettings, kept: Arc<Mutex<Kept>>) -> Result<Self, String> {
        let mapping = Mapping::parse(&settings.mapping)?;
        let identifier = settings.identifier_path.as_deref().map(Path::compile).transpose()?;
        Ok(Self { settings, mapping, identifier, seen: HashSet::new(), kept })
    }

    fn work(&mut self, job: Job) {
        match job {
            Job::Barrier(done) => {
                let _ = done.send(());
            }
            Job::Deliver(delivery) => {
                if let Err(reason) = self.deliver(&delivery) {
                    lock(&self.kept).audit.push(reason);
                }
                if self.settings.record {
                    lock(&self.kept).deliveries.push(delivery);
                }
            }
        }
    }

    fn deliver(&mut self, delivery: &Delivery) -> Result<(), String> {
        if let Some(security) = &self.settings.security
            && !is_signed(security, delivery)
        {
            return Err("signature is missing or wrong".to_owned());
        }
        let headers = delivery
            .headers
            .iter()
            .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
        let query = url::form_urlencoded::parse(delivery.query.as_deref().unwrap_or_default().as_bytes());
        let request = Request::parse(&delivery.body, headers, query.into_owned())?;
        if let Some(identifier) = self.identifier.as_ref().and_then(|path| path.read(&request))
            && !self.seen.insert(identifier)
        {
            lock(&self.kept).dropped += 1;
            return Ok(());
        }
        let operations = self.mapping.operations(&request);
        let kept = &mut *lock(&self.kept);
        for operation in operations {
            let checked = operation.and_then(|operation| kept.store.check(&operation).map(|()| operation));
            match checked {
                Ok(operation) => {
                    let missing = kept.store.missing_targets(&operation);
                    let refused = !missing.is_empty() && self.settings.dangling == Dangling::Refuse;
                    let notes = missing.into_iter().map(|(blueprint, target)| format!("no {blueprint} {target} yet"));
                    if refused {
                        kept.audit.extend(notes);
                    } else {
                        kept.dangling.extend(notes);
                        kept.store.apply(operation);
                    }
                }
                Err(reason) => kept.audit.push(reason),
            }
        }
        Ok(())
    }
}

fn is_signed(security: &Security, delivery: &Delivery) -> bool {
    let expected = format!("{}{}", security.prefix, hmac_sha256(security.secret.as_bytes(), &delivery.body));
    delivery.headers.get(&security.header).is_some_and(|given| given.as_bytes() == expected.as_bytes())
}

/// HMAC-SHA256 in hexadecimal, by its definition in RFC 2104: not by the code under test.
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
