//! The consumer of the queue: applies posts to webhooks, in order of arrival.
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio::sync::oneshot;

use super::audit::Event;
use super::checks;
use super::{Delivery, Kept, hmac_sha256};
use crate::catalog::{Author, Entity, Key, Operation, Store};
use crate::lock;
use crate::mapping::{Mapping, Path, Request};
use crate::settings::{ApiSettings, Dangling, EntitySettings, Security};

pub(super) enum Job {
    Deliver(Delivery),
    /// Replaces or removes a webhook; rejects an invalid mapping.
    SetUp {
        key: String,
        hook: Option<Hook>,
        done: oneshot::Sender<Result<(), String>>,
    },
    Barrier(oneshot::Sender<()>),
}

/// A webhook's configuration.
pub(super) struct Hook {
    pub webhook: String,
    pub mapping: String,
    pub security: Option<(Algorithm, Security)>,
    pub identifier_path: Option<String>,
    pub is_enabled: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Sha256,
    /// The plain secret.
    Plain,
}

/// A compiled webhook.
struct Compiled {
    hook: Hook,
    mapping: Mapping,
    identifier: Option<Path>,
    seen: HashSet<String>,
    posts: u64,
}

pub(super) struct Worker {
    dangling: Dangling,
    record: bool,
    kept: Arc<Mutex<Kept>>,
    api: Arc<Mutex<ApiSettings>>,
    hooks: HashMap<String, Compiled>,
}

impl Worker {
    pub(super) fn new(
        dangling: Dangling,
        record: bool,
        (kept, api): (Arc<Mutex<Kept>>, Arc<Mutex<ApiSettings>>),
    ) -> Self {
        Self { dangling, record, kept, api, hooks: HashMap::new() }
    }

    pub(super) fn work(&mut self, job: Job) {
        match job {
            Job::Barrier(done) => {
                let _ = done.send(());
            }
            Job::SetUp { key, hook, done } => {
                let _ = done.send(self.set_up(key, hook));
            }
            Job::Deliver(delivery) => {
                let lag = lock(&self.api).webhooks.lag;
                std::thread::sleep((delivery.at + lag).saturating_duration_since(Instant::now()));
                self.deliver(&delivery);
                if self.record {
                    lock(&self.kept).deliveries.push(delivery);
                }
            }
        }
    }

    pub(super) fn set_up(&mut self, key: String, hook: Option<Hook>) -> Result<(), String> {
        let before = self.hooks.remove(&key);
        let Some(hook) = hook else { return Ok(()) };
        match Compiled::new(hook, before.as_ref()) {
            Ok(compiled) => {
                self.hooks.insert(key, compiled);
                Ok(())
            }
            Err(reason) => {
                self.hooks.extend(before.map(|before| (key, before)));
                Err(reason)
            }
        }
    }

    fn deliver(&mut self, delivery: &Delivery) {
        let Some(compiled) = self.hooks.get_mut(&delivery.key).filter(|compiled| compiled.hook.is_enabled) else {
            return;
        };
        compiled.posts += 1;
        let operations = compiled.operations(delivery);
        let author = Author::new("webhook", &format!("webhook/{}", compiled.hook.webhook), false);
        let settings = lock(&self.api).entities.clone();
        let kept = &mut *lock(&self.kept);
        let operations = match operations {
            Ok(Some(operations)) => operations,
            Ok(None) => {
                kept.dropped += 1;
                return;
            }
            Err(reason) => return kept.refuse(compiled.event("CREATE", None), reason),
        };
        for operation in operations {
            let operation = match operation {
                Ok(operation) => operation,
                Err(reason) => {
                    kept.refuse(compiled.event("CREATE", None), reason);
                    continue;
                }
            };
            let (action, key) = named(&operation);
            let event = compiled.event(action, Some(&key));
            if let Err(reason) = check(&kept.store, &operation, &settings) {
                kept.refuse(event, reason);
                continue;
            }
            let missing = kept.store.missing_targets(&operation);
            let bare = if self.dangling == Dangling::Create { missing.clone() } else { Vec::new() };
            let refused = !missing.is_empty() && self.dangling == Dangling::Refuse;
            let notes = missing.into_iter().map(|(blueprint, target)| format!("no {blueprint} {target} yet"));
            if refused {
                notes.for_each(|note| kept.refuse(event.clone(), note));
            } else {
                kept.dangling.extend(notes);
                kept.audit_log.add(event);
                for key in bare {
                    kept.store.put(key, Entity::default(), &author);
                }
                kept.store.apply(operation, &author);
            }
        }
    }
}

/// Rejects what the blueprint does not allow, both in the request and in the resulting entity.
fn check(store: &Store, operation: &Operation, settings: &EntitySettings) -> Result<(), String> {
    store.check(operation)?;
    let Operation::Upsert { blueprint, identifier, entity } = operation else { return Ok(()) };
    let Some(known) = store.blueprints.get(blueprint) else { return Ok(()) };
    let merged = store.merged(&(blueprint.clone(), identifier.clone()), entity.clone());
    checks::check(known, &merged, settings).map_err(|refusal| format!("{identifier}: {}", refusal.message))
}

fn named(operation: &Operation) -> (&'static str, Key) {
    match operation {
        Operation::Upsert { blueprint, identifier, .. } => ("UPDATE", (blueprint.clone(), identifier.clone())),
        Operation::Delete { blueprint, identifier, .. } => ("DELETE", (blueprint.clone(), identifier.clone())),
    }
}

impl Compiled {
    fn new(hook: Hook, before: Option<&Self>) -> Result<Self, String> {
        let mapping = Mapping::parse(&hook.mapping)?;
        let identifier = hook.identifier_path.as_deref().map(Path::compile).transpose()?;
        let (seen, posts) = before.map(|before| (before.seen.clone(), before.posts)).unwrap_or_default();
        Ok(Self { hook, mapping, identifier, seen, posts })
    }

    fn event(&self, action: &'static str, key: Option<&Key>) -> Event {
        Event {
            action,
            resource: "entity",
            blueprint: key.map(|(blueprint, _)| blueprint.clone()),
            identifier: key.map(|(_, identifier)| identifier.clone()),
            webhook: Some((self.hook.webhook.clone(), format!("{}-{}", self.hook.webhook, self.posts))),
            by: "webhook".to_owned(),
            failure: None,
        }
    }

    /// The operations of a post; `None` if its identifier was seen before.
    fn operations(&mut self, delivery: &Delivery) -> Result<Option<Vec<Result<Operation, String>>>, String> {
        if let Some((algorithm, security)) = &self.hook.security
            && !is_signed(*algorithm, security, delivery)
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
            return Ok(None);
        }
        Ok(Some(self.mapping.operations(&request)))
    }
}

fn is_signed(algorithm: Algorithm, security: &Security, delivery: &Delivery) -> bool {
    let signature = match algorithm {
        Algorithm::Sha256 => hmac_sha256(security.secret.as_bytes(), &delivery.body),
        Algorithm::Plain => security.secret.clone(),
    };
    let expected = format!("{}{signature}", security.prefix);
    delivery.headers.get(&security.header).is_some_and(|given| given.as_bytes() == expected.as_bytes())
}
