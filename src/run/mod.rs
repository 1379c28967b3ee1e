//! One run: what is discovered, planned, transferred and settled. The only place that sees all parts.

mod entra;
mod exchange;
mod mapped;
mod plan;
mod problems;
mod prune;
mod survey;
mod unseen;
mod workflow;
mod writing;

use std::cell::{RefCell, RefMut};
use std::sync::Arc;
use std::time::Instant;

use futures::future::{FutureExt, Shared};
use jiff::{SignedDuration, Timestamp};

use crate::azure::api::Api;
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::config::{Config, Mode, ScopeTerms};
use crate::engine::{DeadLetters, Delivery, Engine, Fatal, Replica, Shard, Unsent, Vanished};
use crate::error::Stop;
use crate::http::Http;
use crate::model::Id;
use crate::progress::Seen;
use crate::report::Report;
use crate::sources::resource_graph::arm_id::id_of;
use crate::sources::resource_graph::{Look, ResourceGraph, Subscription};
use exchange::{Exchanged, Posts};
pub(crate) use mapped::Mapped;
use plan::Plan;
pub(crate) use plan::{Reach, extent};
pub(crate) use problems::RunError;
use problems::Shortfall;
pub(crate) use survey::{Survey, survey};
pub(crate) use writing::catalog;
use writing::pages_at_once;

/// Clocks further apart than this are told of.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_mins(5);

/// What a run is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// Read what the mode and the checkpoint say, and deliver it.
    Sync,
    /// Deliver what these lower-case ids name, as it is now.
    Resend { ids: Vec<String>, vanished: Vanished },
    /// Delete what the checkpoint holds of this subscription, `/subscriptions/GUID` in lower case, and forget it.
    Forget(String),
}

/// One run: reads, delivers, and tells what happened. Errors are logged as they arise. When `stop` is ready, the run ends in
/// good order.
pub async fn run(config: &Config, work: &Work, stop: impl Future<Output = Stop>) -> Report {
    let started = Instant::now();
    let report = RefCell::new(blank(config, work));
    let stop = stop.shared();
    let outcome = async {
        let run = tokio::select! {
            // Another process may have the checkpoint open.
            run = Run::prepare(config, work, stop.clone(), &report) => run?,
            stop = stop.clone() => return Err(stop.into()),
        };
        let result = Box::pin(run.go()).await;
        run.report().retried += run.http.retried();
        let closed = run.replica.close().await;
        let is_posted = report.borrow().differing() > 0;
        result.and(closed.map_err(|error| if is_posted { error } else { error.before_posts() }.into()))
    };
    let outcome = Box::pin(outcome).await;
    let mut report = report.into_inner();
    if let Err(error) = outcome {
        report.fail(&error);
    }
    report.elapsed = started.elapsed();
    report
}

/// The report of a run that was to stop, and did not end.
pub fn unfinished(config: &Config, work: &Work, stop: Stop) -> Report {
    let mut report = blank(config, work);
    report.note(&RunError::Unfinished(stop));
    report
}

fn blank(config: &Config, work: &Work) -> Report {
    let mut report = Report::new(match work {
        Work::Sync => config.mode.name(),
        Work::Resend { .. } => "resend",
        Work::Forget(_) => "forget",
    });
    report.dry_run = config.dry_run;
    report
}

/// What a run has before it asks anybody: all of it is there, and may be used.
struct Run<'a, S: Future<Output = Stop>> {
    config: &'a Config,
    work: &'a Work,
    stop: Shared<S>,
    http: Arc<Http>,
    replica: Checkpoint,
    dead_letters: Option<DeadLetters>,
    /// `None`: envelopes are posted to a webhook.
    mapped: Option<Mapped>,
    report: &'a RefCell<Report>,
}

/// What Azure says that there is.
struct Estate {
    source: ResourceGraph,
    listed: Vec<Subscription>,
    /// The same, as the engine sees them.
    shards: Vec<Shard>,
    /// The start of the run, on Azure's clock.
    start: Timestamp,
}

impl<'a, S: Future<Output = Stop>> Run<'a, S> {
    /// Looks for whatever must be there before anything is sent.
    async fn prepare(
        config: &'a Config,
        work: &'a Work,
        stop: Shared<S>,
        report: &'a RefCell<Report>,
    ) -> Result<Self, RunError> {
        let http = Arc::new(Http::new(config.port.concurrency.get(), config.limits.clone(), config.network.clone())?);
        let mapped = config.port.mapping_file.as_deref().map(Mapped::read).transpose()?;
        let dead_letters = config
            .dead_letter_file
            .as_deref()
            .filter(|_| config.dry_run.is_none())
            .map(DeadLetters::open)
            .transpose()?;
        let replica = match &config.checkpoint {
            None => Checkpoint::stateless(),
            Some(checkpoint) if config.dry_run.is_some() => Checkpoint::open_to_read(&checkpoint.file).await?,
            Some(checkpoint) => Checkpoint::open(&checkpoint.file).await?,
        };
        let run = Self { config, work, stop, http, replica, dead_letters, mapped, report };
        run.check_filters()?;
        Ok(run)
    }

    /// Refuses to widen the scope to everything because a filter is not there any more, unless a full run was asked for.
    fn check_filters(&self) -> Result<(), RunError> {
        let (Some(checkpoint), Some(was)) = (&self.config.checkpoint, self.replica.terms()) else { return Ok(()) };
        let gone = ScopeTerms::parse(&was.scope).missing_from(&ScopeTerms::of(&self.config.scope));
        match gone.filter(|_| self.config.mode == Mode::Incremental && *self.work == Work::Sync) {
            Some(variable) => Err(RunError::FilterGone { file: checkpoint.file.clone(), variable }),
            None => Ok(()),
        }
    }

    /// Where whatever happens is told. It is never held across an await.
    fn report(&self) -> RefMut<'_, Report> {
        self.report.borrow_mut()
    }

    /// An error if the run is to stop.
    fn check_stop(&self) -> Result<(), RunError> {
        self.stop.clone().now_or_never().map_or(Ok(()), |stop| Err(stop.into()))
    }

    /// Reads Azure's resources, compares and delivers. What Azure says that there is; `None` if that is not to be read.
    async fn sync_resources(&self, delivery: &Delivery<'_>) -> Result<Option<Estate>, RunError> {
        if !self.has_resources() {
            return Ok(None);
        }
        let estate = self.discover().await?;
        let plan = self.plan(&estate, delivery.sink().identity());
        if *self.work == Work::Sync {
            let mut report = self.report();
            report.mode = plan.mode.name();
            report.full_because.clone_from(&plan.full_because);
            report.since = plan.since;
            report.notes.extend(self.missed_deletes(&plan, estate.start));
        }
        self.transfer(delivery, &estate, &plan).await?;
        Ok(Some(estate))
    }

    /// Signs in, lists what can be read, and asks what Resource Graph looks at of it.
    async fn discover(&self) -> Result<Estate, RunError> {
        let arm = Api::resource_manager(&self.config.azure, Arc::clone(&self.http))?;
        let scope = Mapped::scope(self.mapped.as_ref(), &self.config.scope);
        let source = ResourceGraph::new(arm, scope, self.config.azure.batch_size, pages_at_once(&self.config.port));
        let discovering = async {
            let listed = source.shards().await?;
            if let Work::Forget(_) = self.work {
                // The one to forget may have been the only one; nothing is read.
                return Ok((listed, Look::default()));
            }
            if listed.is_empty() {
                return Err(RunError::NoSubscription);
            }
            let ids: Vec<Id> = listed.iter().map(|one| one.root.id.clone()).collect();
            Ok((listed, source.look(&ids).await))
        };
        let (listed, look) = tokio::select! {
            discovered = discovering => discovered?,
            stop = self.stop.clone() => return Err(stop.into()),
        };
        let start = start(look.now, source.client().arm().first_date());
        tracing::info!("{} subscriptions; Azure time: {start:.0}", listed.len());
        self.report().subscriptions = listed.len() as u64;
        look.failures.iter().for_each(|error| self.report().fail(error));
        let shard = |one: &Subscription| {
            let (id, root) = (one.root.id.clone(), Some(one.root.clone()));
            Shard { sight: look.sight(&id), id, root }
        };
        let shards = listed.iter().map(shard).collect();
        Ok(Estate { source, listed, shards, start })
    }

    /// Reads, compares and delivers.
    async fn transfer(&self, delivery: &Delivery<'_>, estate: &Estate, plan: &Plan) -> Result<(), RunError> {
        let Estate { source, shards, start, .. } = estate;
        if let Work::Forget(id) = self.work {
            self.check_forget(id, shards, &plan.settings.terms.sink)?;
        }
        let (engine, orders) = Engine::new(source, delivery.sink(), &self.replica, &plan.settings, *start);
        let seen = (plan.mode == Mode::Full).then_some(|posted| Seen {
            rows: source.client().rows(),
            total: source.client().announced(),
            posted,
            same: engine.counts().same,
        });
        let reading = self.read(&engine, shards);
        let exchanged = Box::pin(self.exchange(&engine, reading, Posts { delivery, orders }, seen)).await;
        self.settle(&engine, estate, plan.mode, exchanged)?;
        self.check_stop()
    }

    /// Counts what came of it, and tells what was not read, found or delivered.
    fn settle(
        &self,
        engine: &Engine<'_, ResourceGraph, Checkpoint>,
        estate: &Estate,
        mode: Mode,
        Exchanged { read, problems, tally }: Exchanged<'_, Option<Shortfall>>,
    ) -> Result<(), RunError> {
        let client = estate.source.client();
        self.report().queries += client.queries();
        self.report().rows += client.rows();
        self.report().duplicates += client.duplicates();
        for error in problems {
            self.report().fail(error.as_ref());
        }
        engine.take_failures().iter().filter(|error| !error.is_stop()).for_each(|error| self.report().fail(error));
        self.tell_unread(estate);
        let is_read = mode == Mode::Full && read.is_some() && self.report().errors.is_empty();
        if let Some(Some(shortfall)) = read {
            self.report().fail(&shortfall);
        }
        let unlisted = self.unlisted(&estate.shards)?;
        if *self.work == Work::Sync {
            self.tell_unlisted(&unlisted);
        }
        self.report().unlisted = unlisted.iter().map(|id| id.as_str().to_owned()).collect();
        if is_read {
            self.tell_unmatched(estate);
        }
        let counts = engine.counts();
        self.tell_uncovered(estate, &counts);
        Self::tell_missing(&counts);
        self.report().add(engine.start(), &tally, &counts);
        self.shortfalls(engine, &estate.shards, &tally).for_each(|error| self.report().fail(error.as_ref()));
        Ok(())
    }

    /// Has the engine do its work. What is left undone of it, beside what it tells itself.
    async fn read(
        &self,
        engine: &Engine<'_, ResourceGraph, Checkpoint>,
        listed: &[Shard],
    ) -> Result<Option<Shortfall>, Fatal<CheckpointError>> {
        Ok(match self.work {
            Work::Sync => {
                engine.run(listed).await?;
                None
            }
            Work::Resend { ids, vanished } => match engine.resend(listed, &to_ids(ids), *vanished).await? {
                Unsent { unknown: count @ 1.., .. } => Some(Shortfall::NotLookedUp(count)),
                Unsent { vanished: count @ 1.., .. } => Some(Shortfall::Vanished(count)),
                Unsent { .. } => None,
            },
            Work::Forget(id) => {
                let Some(id) = id_of(id) else { return Ok(None) };
                let held = engine.delete_all(&id).await?;
                // What a dry run prints stays held.
                (held > 0 && self.config.dry_run.is_none()).then_some(Shortfall::StillHeld(held))
            }
        })
    }
}

/// When a run starts on Azure's clock: as Resource Graph says, on whose records everything rests; else as Resource Manager's
/// `Date` says, which a proxy may have written.
fn start(told: Option<Timestamp>, date: Option<Timestamp>) -> Timestamp {
    if let (Some(told), Some(date)) = (told, date)
        && date.duration_since(told).abs() > CLOCK_TOLERANCE
    {
        tracing::warn!(
            "Resource Manager's answers are dated {date:.0}, Resource Graph says that it is {told:.0}; going by Resource Graph's clock"
        );
    }
    told.or(date).unwrap_or_else(|| {
        tracing::warn!("no answer of Azure's tells the time; going by this machine's clock");
        Timestamp::now()
    })
}

fn to_ids(ids: &[String]) -> Vec<Id> {
    ids.iter().filter_map(|id| id_of(id)).collect()
}
