//! Which requests hit which fault.
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde::Deserialize;

use super::{Fault, Shift};
use crate::lock;
use crate::requests::{ROUTES, Route};
use crate::rng::Rng;

/// Over the request's target and body.
type Predicate = Arc<dyn Fn(&str, &[u8]) -> bool + Send + Sync>;

/// A fault, and the requests that it applies to.
#[derive(Clone)]
pub struct Rule {
    fault: Fault,
    skip: usize,
    times: Option<usize>,
    chance: f64,
    when: Option<Predicate>,
    applied: bool,
}

impl Rule {
    /// Applies to every request, until removed.
    pub fn new(fault: Fault) -> Self {
        let is_of_later_pages = matches!(fault, Fault::Unstable(shift) if !matches!(shift, Shift::Lacking(_)));
        let rule = Self { fault, skip: 0, times: None, chance: 1.0, when: None, applied: false };
        if is_of_later_pages { rule.later_pages() } else { rule }
    }

    /// Applies only to the next `times` matching requests.
    pub fn times(mut self, times: usize) -> Self {
        self.times = Some(times);
        self
    }

    /// Lets the first `skip` matching requests pass.
    pub fn after(mut self, skip: usize) -> Self {
        self.skip = skip;
        self
    }

    /// Applies to a request only with this probability.
    pub fn chance(mut self, probability: f64) -> Self {
        self.chance = probability;
        self
    }

    /// Applies only to requests with a matching body; all conditions must hold.
    pub fn when(self, is: impl Fn(&[u8]) -> bool + Send + Sync + 'static) -> Self {
        self.where_both(move |_, body| is(body))
    }

    /// Port's API and Microsoft Graph only: applies to requests whose method, path and query contain this text.
    pub fn asking(self, text: &str) -> Self {
        let text = text.to_owned();
        self.where_both(move |target, _| target.contains(&text))
    }

    fn where_both(mut self, is: impl Fn(&str, &[u8]) -> bool + Send + Sync + 'static) -> Self {
        self.when = Some(match self.when.take() {
            None => Arc::new(is),
            Some(before) => Arc::new(move |target, body| before(target, body) && is(target, body)),
        });
        self
    }

    /// Applies only to Resource Graph pages after the first.
    pub fn later_pages(self) -> Self {
        self.containing("\"$skipToken\":\"")
    }

    /// Applies only to queries for a part of a large result.
    pub fn parts(self) -> Self {
        self.containing("| where hash(")
    }

    /// Applies only to queries over more than this many subscriptions.
    pub fn over(self, subscriptions: usize) -> Self {
        self.when(move |body| named(body).len() > subscriptions)
    }

    /// Applies only to queries that name this subscription.
    pub fn naming(self, guid: &str) -> Self {
        let guid = guid.to_owned();
        self.when(move |body| named(body).iter().any(|named| named.eq_ignore_ascii_case(&guid)))
    }

    /// Applies only to requests whose body contains this text.
    pub fn containing(self, text: &str) -> Self {
        let text = text.to_owned().into_bytes();
        self.when(move |body| memmem(body, &text))
    }

    /// The request is still executed; only its answer is lost.
    pub fn applied(mut self) -> Self {
        self.applied = true;
        self
    }
}

/// The subscriptions that a query names.
fn named(body: &[u8]) -> Vec<String> {
    #[derive(Deserialize)]
    struct Query {
        subscriptions: Vec<String>,
    }
    serde_json::from_slice(body).map(|Query { subscriptions }| subscriptions).unwrap_or_default()
}

fn memmem(body: &[u8], text: &[u8]) -> bool {
    text.is_empty() || body.windows(text.len()).any(|window| window == text)
}

/// Identifies a rule, to remove it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleId(u64);

#[derive(Default)]
struct Rules {
    rules: Vec<(RuleId, Route, Rule)>,
}

pub struct Faults {
    rules: Mutex<(Rules, Rng)>,
    /// The number of rules for each route; nearly always none.
    active: [AtomicUsize; ROUTES],
    next: AtomicU64,
}

impl Faults {
    pub(crate) fn new(seed: u64) -> Self {
        let rules = Mutex::new((Rules::default(), Rng::new(seed)));
        Self { rules, active: Default::default(), next: AtomicU64::new(0) }
    }

    /// Adds a rule. If several match a request, the first one added applies.
    pub fn add(&self, route: Route, rule: Rule) -> RuleId {
        let id = RuleId(self.next.fetch_add(1, Ordering::Relaxed));
        lock(&self.rules).0.rules.push((id, route, rule));
        self.active[route as usize].fetch_add(1, Ordering::Release);
        id
    }

    pub fn remove(&self, id: RuleId) {
        self.keep(|of| of != id);
    }

    pub fn clear(&self) {
        self.keep(|_| false);
    }

    fn keep(&self, keep: impl Fn(RuleId) -> bool) {
        lock(&self.rules).0.rules.retain(|(id, route, _)| {
            let kept = keep(*id);
            if !kept {
                self.active[*route as usize].fetch_sub(1, Ordering::Release);
            }
            kept
        });
    }

    /// Whether a route has any rules.
    pub(crate) fn any(&self, route: Route) -> bool {
        self.active[route as usize].load(Ordering::Acquire) > 0
    }

    /// The fault for this request, and whether the request is still executed.
    pub(crate) fn pick(&self, route: Route, target: &str, body: &[u8]) -> Option<(Fault, bool)> {
        if !self.any(route) {
            return None;
        }
        let (rules, rng) = &mut *lock(&self.rules);
        for (_, of, rule) in &mut rules.rules {
            if *of != route || rule.times == Some(0) || rule.when.as_ref().is_some_and(|is| !is(target, body)) {
                continue;
            }
            if rule.skip > 0 {
                rule.skip -= 1;
                continue;
            }
            if rule.chance < 1.0 && !rng.chance(rule.chance) {
                continue;
            }
            if let Some(times) = &mut rule.times {
                *times -= 1;
            }
            return Some((rule.fault.clone(), rule.applied));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statuses(faults: &Faults, bodies: &[&str]) -> Vec<bool> {
        bodies.iter().map(|body| faults.pick(Route::Webhook, "", body.as_bytes()).is_some()).collect()
    }

    #[test]
    fn a_rule_takes_the_requests_it_is_for() {
        let faults = Faults::new(1);
        faults.add(Route::Webhook, Rule::new(Fault::status(503)).after(1).times(2).containing("x"));
        assert_eq!(statuses(&faults, &["x", "a", "x", "b", "xx", "x"]), [false, false, true, false, true, false]);
        assert!(faults.pick(Route::Graph, "", b"x").is_none());
    }

    #[test]
    fn a_rule_that_is_removed_takes_none() {
        let faults = Faults::new(1);
        let id = faults.add(Route::Webhook, Rule::new(Fault::Hang));
        assert!(faults.any(Route::Webhook));
        faults.remove(id);
        assert!(!faults.any(Route::Webhook));
        assert_eq!(statuses(&faults, &["x"]), [false]);
    }
}
