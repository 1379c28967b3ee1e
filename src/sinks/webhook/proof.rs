//! Reads posts back from the catalog: a 202 only confirms receipt, and the mapping may silently drop an envelope.
//!
//! A post counts as delivered once the catalog shows what the webhook's own mapping makes of its envelopes. If it does
//! not show in time, the post is not delivered and stays in doubt; if the audit log says that it was refused, it never
//! will. Waiting posts share their lookups: whoever holds `turn` queries for all of them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio::sync::{Mutex, Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::envelope::{Envelope, body};
use super::error::WebhookError;
use crate::comparison::{Blueprint, Hook, HookError, Normal, differences, of_url};
use crate::config::{Payload, PortConfig, SecretUrl, Verify};
use crate::error::Cause;
use crate::mapping::Operation;
use crate::port::{Port, PortError, Refusal};
use crate::text::printable;

/// The time between two lookups: the minimum and the maximum.
const SOON: Duration = Duration::from_millis(500);
const SELDOM: Duration = Duration::from_secs(5);

/// Port's clock has a resolution of one second.
const ROUNDED: SignedDuration = SignedDuration::from_secs(2);

/// Envelopes that may wait to show at once, if each has its own post.
pub(super) const WAITING: usize = 500;

/// Maximum differing fields to name in a message.
const NAMED: usize = 3;

/// Blueprint and identifier.
type Key = (String, String);

/// Verifies the posts of a webhook.
pub(crate) struct Proof {
    port: Port,
    hook: Hook,
    limit: Duration,
    /// Limits posts in flight to the configured number; far more may wait to show.
    posts: Semaphore,
    blueprints: RefCell<BTreeMap<String, Rc<Blueprint>>>,
    waited_for: RefCell<BTreeMap<Key, Waited>>,
    /// Whoever holds it looks for all waiting posts.
    turn: Mutex<Pace>,
    /// A post did not show in time, and nothing has shown since: others wait for less time.
    is_silent: Cell<bool>,
    may_read_audit: Cell<bool>,
}

/// When to look next.
struct Pace {
    next: Instant,
    wait: Duration,
}

/// An entity that was posted.
#[derive(Clone)]
struct Waited {
    /// The expected state: absent, or matching each of these.
    wanted: Option<Vec<(usize, Normal)>>,
    /// When it was posted, on Port's clock.
    since: Timestamp,
    /// Posts that wait for this entity.
    posts: usize,
    shown: Shown,
}

#[derive(Clone)]
enum Shown {
    AsPosted,
    /// What Port holds instead, as of the last lookup.
    NotYet(Cause),
    /// What the audit log says.
    Refused(String),
}

impl Proof {
    /// Signs in to Port's API and reads the webhook with this URL.
    pub(crate) async fn begin(
        port: Port,
        config: &PortConfig,
        url: &SecretUrl,
        verify: Verify,
    ) -> Result<Self, HookError> {
        port.sign_in().await?;
        let hook = of_url(&port, url).await?;
        Ok(Self {
            port,
            hook,
            limit: verify.limit,
            posts: Semaphore::new(config.concurrency.get()),
            blueprints: RefCell::default(),
            waited_for: RefCell::default(),
            turn: Mutex::new(Pace { next: Instant::now(), wait: SOON }),
            is_silent: Cell::new(false),
            may_read_audit: Cell::new(true),
        })
    }

    /// Notes about the webhook, one sentence each.
    pub(crate) fn notes(&self) -> &[String] {
        &self.hook.notes
    }

    /// Waits for a free slot to post.
    pub(super) async fn post(&self) -> Option<SemaphorePermit<'_>> {
        self.posts.acquire().await.ok()
    }

    /// The outcomes of envelopes posted at `at` by Port's clock, each in a body of this form.
    pub(super) async fn outcomes(
        &self,
        envelopes: &[&Envelope],
        payload: Payload,
        at: Option<Timestamp>,
    ) -> Vec<Result<(), WebhookError>> {
        let since = at.unwrap_or_else(Timestamp::now);
        let since = since.checked_sub(ROUNDED).unwrap_or(since);
        let mut waiting = Vec::with_capacity(envelopes.len());
        for envelope in envelopes {
            let made = self.hook.mapping.operations(&body(payload, &[*envelope]));
            waiting.push(self.wait_for(made, since).await);
        }
        let patience = if self.is_silent.get() { SELDOM.min(self.limit) } else { self.limit };
        let end = Instant::now() + patience;
        let keys: Vec<&Key> = waiting.iter().flatten().flatten().collect();
        while keys.iter().any(|key| self.is_open(key)) {
            if timeout_at(end, self.look(&keys)).await.is_err() {
                self.is_silent.set(true);
                break;
            }
        }
        let outcomes: Vec<_> = waiting.iter().map(|one| self.outcome(one)).collect();
        for key in keys {
            self.leave(key);
        }
        outcomes
    }

    /// Registers the entities that an envelope's operations make, or says why it makes none.
    async fn wait_for(&self, made: Vec<Result<Operation, Cause>>, since: Timestamp) -> Result<Vec<Key>, Cause> {
        let mut wanted: BTreeMap<Key, Option<Vec<Value>>> = BTreeMap::new();
        let mut dropped = None;
        for operation in made {
            match operation {
                Ok(Operation::Upsert(entity)) => {
                    let body = serde_json::from_slice(&entity.body)?;
                    let key = (entity.blueprint, entity.identifier);
                    wanted.entry(key).or_default().get_or_insert_default().push(body);
                }
                Ok(Operation::Delete { blueprint, identifier, .. }) => {
                    wanted.insert((blueprint, identifier), None);
                }
                Err(why) => dropped = Some(why),
            }
        }
        if let Some(why) = dropped.filter(|_| wanted.is_empty()) {
            return Err(Cause::told(format!("the webhook's mapping makes nothing of it: {why}"), why));
        }
        let mut found = Vec::with_capacity(wanted.len());
        for (key, bodies) in wanted {
            let blueprint = self.blueprint(&key.0).await?;
            if bodies.is_some() && !blueprint.is_there() {
                return Err(format!("Port has no blueprint {}", printable(&key.0)).into());
            }
            let normals = |bodies: Vec<Value>| bodies.iter().filter_map(|body| blueprint.normal(body)).collect();
            found.push((key, bodies.map(normals)));
        }
        let mut waited_for = self.waited_for.borrow_mut();
        let keys = found.into_iter().map(|(key, wanted)| {
            let posts = waited_for.get(&key).map_or(0, |waited| waited.posts) + 1;
            let shown = Shown::NotYet("was not looked for".into());
            waited_for.insert(key.clone(), Waited { wanted, since, posts, shown });
            key
        });
        Ok(keys.collect())
    }

    async fn blueprint(&self, name: &str) -> Result<Rc<Blueprint>, PortError> {
        let known = self.blueprints.borrow().get(name).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let read = Rc::new(Blueprint::read(&self.port, name, self.hook.mapping.field_sets(name)).await?);
        self.blueprints.borrow_mut().insert(name.to_owned(), Rc::clone(&read));
        Ok(read)
    }

    fn is_open(&self, key: &Key) -> bool {
        self.waited_for.borrow().get(key).is_some_and(|waited| matches!(waited.shown, Shown::NotYet(_)))
    }

    fn leave(&self, key: &Key) {
        let mut waited_for = self.waited_for.borrow_mut();
        let Some(waited) = waited_for.get_mut(key) else { return };
        waited.posts -= 1;
        if waited.posts == 0 {
            waited_for.remove(key);
        }
    }

    fn outcome(&self, keys: &Result<Vec<Key>, Cause>) -> Result<(), WebhookError> {
        let keys = keys.as_ref().map_err(|why| WebhookError::Unshown(why.clone()))?;
        let waited_for = self.waited_for.borrow();
        let mut unshown = None;
        for (key, waited) in keys.iter().filter_map(|key| Some((key, waited_for.get(key)?))) {
            let of = || format!("{} of {}", printable(&key.1), printable(&key.0));
            match &waited.shown {
                Shown::AsPosted => {}
                Shown::Refused(why) => return Err(WebhookError::Refused(format!("{}: {}", of(), printable(why)))),
                Shown::NotYet(what) => {
                    let audit = if self.may_read_audit.get() {
                        "its audit log does not say why"
                    } else {
                        "these credentials may not read its audit log, which says why"
                    };
                    let text = format!("{} {what}; {audit}", of());
                    unshown = Some(WebhookError::Unshown(Cause::told(text, what.clone())));
                }
            }
        }
        unshown.map_or(Ok(()), Err)
    }

    /// Looks for everything that is waited for once it is time, unless another task has found these keys by then.
    async fn look(&self, keys: &[&Key]) {
        let mut pace = self.turn.lock().await;
        if !keys.iter().any(|key| self.is_open(key)) {
            return;
        }
        sleep_until(pace.next).await;
        let open = self.open();
        let mut found = 0;
        for (name, keys) in &open {
            found += self.look_at(name, keys).await;
        }
        self.look_for_refusals().await;
        pace.wait = if found > 0 { SOON } else { SELDOM.min(pace.wait * 2) };
        pace.next = Instant::now() + pace.wait;
    }

    /// The identifiers that have not shown yet, by blueprint.
    fn open(&self) -> BTreeMap<String, Vec<String>> {
        let mut open: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for ((blueprint, identifier), waited) in self.waited_for.borrow().iter() {
            if matches!(waited.shown, Shown::NotYet(_)) {
                open.entry(blueprint.clone()).or_default().push(identifier.clone());
            }
        }
        open
    }

    /// How many of these entities of a blueprint show now.
    async fn look_at(&self, name: &str, identifiers: &[String]) -> usize {
        let Ok(blueprint) = self.blueprint(name).await else { return 0 };
        let mut held: BTreeMap<String, Value> = BTreeMap::new();
        let names: Vec<&str> = identifiers.iter().map(String::as_str).collect();
        let asked = blueprint.named(&self.port, &names, |identifier, entity| _ = held.insert(identifier, entity)).await;
        let mut waited_for = self.waited_for.borrow_mut();
        let mut found = 0;
        for identifier in identifiers {
            let Some(waited) = waited_for.get_mut(&(name.to_owned(), identifier.clone())) else { continue };
            let shown = match &asked {
                Ok(()) => waited.compare(&blueprint, held.get(identifier)),
                Err(error) => Shown::NotYet(Cause::told(format!("could not be looked for: {error}"), error.clone())),
            };
            found += usize::from(matches!(shown, Shown::AsPosted));
            waited.shown = shown;
        }
        if found > 0 {
            self.is_silent.set(false);
        }
        found
    }

    /// Searches the audit log for entities that do not show.
    async fn look_for_refusals(&self) {
        let earliest = {
            let waited_for = self.waited_for.borrow();
            let open = waited_for.values().filter(|waited| matches!(waited.shown, Shown::NotYet(_)));
            open.map(|waited| waited.since).min()
        };
        let Some(earliest) = earliest.filter(|_| self.may_read_audit.get()) else { return };
        let refusals = match self.port.refusals(&self.hook.identifier, earliest).await {
            Ok(Some(refusals)) => refusals,
            Ok(None) => return self.may_read_audit.set(false),
            Err(error) => return tracing::debug!("Port's audit log could not be read: {error}"),
        };
        for ((_, identifier), waited) in self.waited_for.borrow_mut().iter_mut() {
            let is_of =
                |refusal: &&Refusal| refusal.names(identifier) && refusal.at().is_none_or(|at| at >= waited.since);
            if let (Shown::NotYet(_), Some(refusal)) = (&waited.shown, refusals.iter().find(is_of)) {
                waited.shown = Shown::Refused(refusal.reason());
            }
        }
    }
}

impl Waited {
    fn compare(&self, blueprint: &Blueprint, held: Option<&Value>) -> Shown {
        match (&self.wanted, held) {
            (None, None) => Shown::AsPosted,
            (None, Some(_)) => Shown::NotYet("is still there".into()),
            (Some(_), None) => Shown::NotYet("is not there".into()),
            (Some(wanted), Some(held)) => {
                let fields = |(place, normal): &(usize, Normal)| {
                    blueprint.normal_by(*place, held).map_or(Vec::new(), |held| differences(normal, &held))
                };
                let fields: Vec<String> =
                    wanted.iter().flat_map(fields).map(|one| printable(&one.field).to_string()).take(NAMED).collect();
                if fields.is_empty() {
                    Shown::AsPosted
                } else {
                    Shown::NotYet(format!("has other values in {}", fields.join(", ")).into())
                }
            }
        }
    }
}
