//! What a run reads, and why: by the mode, the checkpoint, and what both say of the subscriptions.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{Estate, Mapped, Run, Work};
use crate::checkpoint::Checkpoint;
use crate::config::{CheckpointConfig, Mode, ScopeTerms};
use crate::engine::{Bounds, First, Full, RECORDS_KEPT, Replica, Resend, Settings, Terms};
use crate::error::Stop;
use crate::model::Id;

/// What a run reads, and why.
pub(super) struct Plan {
    pub(super) settings: Settings,
    pub(super) mode: Mode,
    pub(super) full_because: Option<String>,
    /// From when on changes are read, where not everything is.
    pub(super) since: Option<Timestamp>,
}

/// What decides how far back is read.
pub(crate) struct Reach<'a> {
    pub(crate) replica: &'a Checkpoint,
    /// The subscriptions.
    pub(crate) listed: &'a [Id],
    /// The start of the run, on Azure's clock.
    pub(crate) start: Timestamp,
}

/// When everything is read, and how far before their marks changes are.
pub(crate) fn extent(mode: Mode, checkpoint: Option<&CheckpointConfig>, window: Duration) -> (Full, SignedDuration) {
    match checkpoint {
        Some(checkpoint) if mode == Mode::Incremental => {
            (Full::Every(signed(checkpoint.full_every)), signed(checkpoint.overlap))
        }
        Some(checkpoint) => (Full::Now, signed(checkpoint.overlap)),
        None if mode == Mode::Incremental => (Full::Never { window: signed(window) }, SignedDuration::ZERO),
        None => (Full::Now, SignedDuration::ZERO),
    }
}

impl Reach<'_> {
    /// Why all rows of every subscription are read, where that was not asked for.
    pub(crate) fn why_full(&self, terms: &Terms, full: Full) -> Option<String> {
        let Full::Every(every) = full else { return None };
        if let Some(why) = self.replica.replaced() {
            return Some(format!("the checkpoint cannot be used: {why}"));
        }
        let Some(was) = self.replica.terms() else { return Some("there is no checkpoint yet".into()) };
        if was.sink != terms.sink {
            return Some("the checkpoint was made for another catalog, tenant or payload format".into());
        }
        if let Some(variable) = ScopeTerms::parse(&terms.scope).changed_from(&ScopeTerms::parse(&was.scope)) {
            return Some(format!("{variable} has changed"));
        }
        let last: Vec<Option<Timestamp>> = self.listed.iter().map(|id| self.replica.mark(id).full).collect();
        let is_due = |last: &Option<Timestamp>| last.is_none_or(|last| self.start.duration_since(last) >= every);
        if !last.iter().all(is_due) {
            return None;
        }
        Some(match last.iter().flatten().max() {
            Some(last) => format!("the last full comparison was at {last:.0}, at least {} hours ago", every.as_hours()),
            None => "the last full comparison did not finish, or is to be confirmed by another one".into(),
        })
    }

    /// From when on changes are read, at the earliest; `None` where that is of no subscription.
    pub(crate) fn since(&self, full: Full, overlap: SignedDuration) -> Option<Timestamp> {
        match full {
            Full::Now => None,
            Full::Never { window } => Some(before(self.start, window)),
            Full::Every(_) => self.oldest_mark(overlap),
        }
    }

    /// The time up to which the records of all subscriptions with a mark have been read, less the overlap.
    pub(crate) fn oldest_mark(&self, overlap: SignedDuration) -> Option<Timestamp> {
        self.listed.iter().filter_map(|id| self.replica.mark(id).since).min().map(|since| before(since, overlap))
    }
}

impl<S: Future<Output = Stop>> Run<'_, S> {
    /// What is read of the estate, by the mode and the checkpoint.
    pub(super) fn plan(&self, estate: &Estate, sink: String) -> Plan {
        let config = self.config;
        let terms = Terms { sink, scope: Mapped::terms(self.mapped.as_ref(), &config.scope).to_text() };
        let (full, overlap) = extent(config.mode, config.checkpoint.as_ref(), config.window);
        let listed: &Vec<Id> = &estate.listed.iter().map(|one| one.root.id.clone()).collect();
        let reach = Reach { replica: &self.replica, listed, start: estate.start };
        let full_because = reach.why_full(&terms, full);
        let since = if full_because.is_none() { reach.since(full, overlap) } else { None };
        let leaving = self.leaving();
        let resend = match self.work {
            Work::Sync if config.resend_all => Resend::All,
            Work::Resend { .. } => Resend::All,
            Work::Sync | Work::Forget(_) => Resend::Nothing,
        };
        let mode = if full_because.is_some() { Mode::Full } else { config.mode };
        Plan {
            settings: Settings {
                terms,
                overlap,
                full,
                first: First::Confirmed,
                leaving,
                resend,
                bounds: Bounds::default(),
            },
            mode,
            full_because,
            since,
        }
    }

    /// A full run finds what is gone by comparison; one that knows nothing of earlier runs has only the records.
    pub(super) fn missed_deletes(&self, plan: &Plan, start: Timestamp) -> Option<String> {
        (plan.mode == Mode::Full && self.replica.terms().is_none()).then(|| {
            let since = before(start, RECORDS_KEPT);
            format!("nothing is known of earlier runs: deletes before {since:.0} may be missed, as Azure may have dropped their records")
        })
    }
}

/// A time so long before another.
fn before(time: Timestamp, back: SignedDuration) -> Timestamp {
    time.checked_sub(back).unwrap_or(Timestamp::MIN)
}

/// Settings are bounded to a year and less.
fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}
