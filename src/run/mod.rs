//! One run: what is discovered, planned, transferred and settled. The only place that sees all parts.

mod entra;
mod mapped;
mod plan;
mod problems;
mod prune;
mod survey;
mod unseen;
mod workflow;
mod writing;

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::{FutureExt, Shared};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc::Receiver;

use crate::azure::api::Api;
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::config::{AzureConfig, Config, Mode, ScopeTerms};
use crate::engine::{
    AnySink, Counted, Counts, DeadLetters, Delivery, Engine, Fatal, Novelty, Order, Replica, Settled, Shard, Source,
    Tally, Unsent, Vanished,
};
use crate::error::Stop;
use crate::http::Http;
use crate::model::{Change, Id, Operation};
use crate::progress::{self, Seen};
use crate::report::Report;
use crate::sources::resource_graph::arm_id::id_of;
use crate::sources::resource_graph::{Look, ResourceGraph, Subscription};
use crate::text::printable;
pub(crate) use mapped::Mapped;
pub(crate) use plan::{Reach, extent};
pub(crate) use problems::RunError;
use problems::Shortfall;
pub(crate) use survey::{Survey, survey};
pub(crate) use writing::catalog;
use writing::pages_at_once;

/// How often what is settled is saved, at least.
const SAVED_EVERY: Duration = Duration::from_millis(100);

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
    let mut report = blank(config, work);
    let stop = stop.shared();
    let outcome = async {
        let run = tokio::select! {
            // Another process may have the checkpoint open.
            run = Run::prepare(config, work, stop.clone()) => run?,
            stop = stop.clone() => return Err(stop.into()),
        };
        let result = Box::pin(run.go(&mut report)).await;
        report.retried += run.http.retried();
        let closed = run.replica.close().await;
        let is_posted = report.differing() > 0;
        result.and(closed.map_err(|error| if is_posted { error } else { error.before_posts() }.into()))
    };
    if let Err(error) = Box::pin(outcome).await {
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
}

/// What came of reading and posting.
struct Exchanged<'a, T> {
    /// `None`: it did not come to its end.
    read: Option<T>,
    stopped: Option<Stop>,
    tally: Tally<'a>,
}

/// What Azure says that there is.
struct Estate {
    source: ResourceGraph,
    listed: Vec<Subscription>,
    look: Look,
    /// The start of the run, on Azure's clock.
    start: Timestamp,
}

impl<'a, S: Future<Output = Stop>> Run<'a, S> {
    /// Looks for whatever must be there before anything is sent.
    async fn prepare(config: &'a Config, work: &'a Work, stop: Shared<S>) -> Result<Self, RunError> {
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
        let run = Self { config, work, stop, http, replica, dead_letters, mapped };
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

    /// Signs in, lists what can be read, and asks what Resource Graph looks at of it.
    async fn discover(&self, report: &mut Report) -> Result<Estate, RunError> {
        let AzureConfig { batch_size, .. } = &self.config.azure;
        let arm = Api::resource_manager(&self.config.azure, Arc::clone(&self.http))?;
        let pages = pages_at_once(&self.config.port);
        let scope = Mapped::scope(self.mapped.as_ref(), &self.config.scope);
        let source = ResourceGraph::new(arm, scope, *batch_size, pages);
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
        report.subscriptions = listed.len() as u64;
        Ok(Estate { source, listed, look, start })
    }

    /// Reads, compares and delivers, and tells what became of it.
    async fn transfer(
        &self,
        sink: &dyn AnySink,
        delivery: &Delivery<'_>,
        estate: &Estate,
        report: &mut Report,
    ) -> Result<(), RunError> {
        let plan = self.plan(estate, sink.identity());
        if *self.work == Work::Sync {
            report.mode = plan.mode.name();
            report.full_because.clone_from(&plan.full_because);
            report.since = plan.since;
            report.notes.extend(self.missed_deletes(&plan, estate.start));
        }
        let Estate { source, listed, look, start } = estate;
        look.failures.iter().for_each(|error| report.fail(error));
        let shard = |one: &Subscription| {
            let (id, root) = (one.root.id.clone(), Some(one.root.clone()));
            Shard { sight: look.sight(&id), id, root }
        };
        let listed: &Vec<Shard> = &listed.iter().map(shard).collect();
        if let Work::Forget(id) = self.work {
            self.check_forget(id, listed, &plan.settings.terms.sink)?;
        }
        let (engine, orders) = Engine::new(source, sink, &self.replica, &plan.settings, *start);
        let seen = |posted| Seen {
            rows: source.client().rows(),
            total: source.client().announced(),
            posted,
            same: engine.counts().same,
        };
        let Exchanged { read, stopped, tally } =
            Box::pin(self.exchange(&engine, (delivery, orders), self.read(&engine, listed), (plan.mode, seen), report))
                .await;
        report.queries += source.client().queries();
        report.rows += source.client().rows();
        report.duplicates += source.client().duplicates();
        engine.take_failures().iter().filter(|error| !error.is_stop()).for_each(|error| report.fail(error));
        Self::tell_unread(estate, report);
        let is_read = plan.mode == Mode::Full && read.is_some() && report.errors.is_empty();
        if let Some(Some(shortfall)) = read {
            report.fail(&shortfall);
        }
        let unlisted = self.unlisted(listed)?;
        if *self.work == Work::Sync {
            self.tell_unlisted(&unlisted);
        }
        report.unlisted = unlisted.iter().map(|id| id.as_str().to_owned()).collect();
        if is_read {
            self.tell_unmatched(estate);
        }
        Self::tell_uncovered(estate, &engine.counts(), report);
        Self::tell_missing(&engine.counts());
        report.add(&tally, &engine.counts());
        self.settle(&engine, listed, &tally, report);
        stopped.map_or(Ok(()), |stop| Err(stop.into()))
    }

    /// Reads a source and posts to a sink side by side, until both came to their end, or the run is to stop.
    async fn exchange<S2: Source, T>(
        &self,
        engine: &Engine<'_, S2, Checkpoint>,
        (delivery, orders): (&Delivery<'_>, Receiver<Order>),
        reading: impl Future<Output = Result<T, Fatal<CheckpointError>>>,
        (mode, seen): (Mode, impl Fn(u64) -> Seen),
        report: &mut Report,
    ) -> Exchanged<'_, T> {
        let tally = RefCell::new(Tally::new(self.dead_letters.as_ref()));
        tally.borrow_mut().starts_at(engine.start());
        let done = Cell::new(0);
        let reading = async {
            let read = tokio::select! {
                read = reading => Ok(read),
                stop = self.stop.clone() => Err(stop),
            };
            engine.close();
            read
        };
        let posting = delivery.run(orders, self.stop.clone(), |parcel, outcome| {
            done.set(done.get() + 1);
            let settled = tally.borrow_mut().record(&*parcel, &outcome);
            if engine.settle(&*parcel, settled) == Novelty::New {
                tally.borrow_mut().note_new(parcel.change());
            }
            self.tell_sent(parcel.change(), settled);
        });
        let is_drawn = mode == Mode::Full && self.config.dry_run.is_none();
        let progress = progress::draw(is_drawn.then_some(|| seen(done.get())));
        let (read, posted) = tokio::select! {
            both = async { tokio::join!(reading, posting) } => both,
            never = progress => match never {},
            never = self.keep_saving() => match never {},
        };
        let mut stopped = self.stop.clone().now_or_never();
        let read = match read {
            Ok(Ok(read)) => Some(read),
            // Why nobody takes the rest is told by who posts.
            Ok(Err(Fatal::Stopped)) => None,
            Ok(Err(Fatal::Replica(error))) => {
                report.fail(&if done.get() == 0 { error.before_posts() } else { error });
                None
            }
            Err(stop) => {
                stopped = Some(stop);
                None
            }
        };
        if let Err(error) = &posted {
            report.fail(error);
        }
        Exchanged { read, stopped, tally: tally.into_inner() }
    }

    /// Whoever names what is to be sent is told of each that it was.
    fn tell_sent(&self, change: &Change, settled: Settled) {
        if settled == Settled::Accepted && self.config.dry_run.is_none() && matches!(self.work, Work::Resend { .. }) {
            let what = match change.operation {
                Operation::Upsert => "upsert",
                Operation::Delete => "delete",
            };
            tracing::info!("accepted: {what} of {}", printable(change.id.as_str()));
        }
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

    /// Saves what is settled while posts are under way: a page of them takes seconds, and whoever kills the run now would have
    /// them posted again.
    async fn keep_saving(&self) -> Infallible {
        loop {
            let due = self.replica.last_save() + SAVED_EVERY;
            tokio::time::sleep_until(due).await;
            // The engine may have saved meanwhile.
            if self.replica.last_save() + SAVED_EVERY <= due {
                // If it fails, the engine's next save tells.
                _ = self.replica.save().await;
            }
        }
    }

    /// Tells what was not delivered.
    fn settle<S2: Source>(
        &self,
        engine: &Engine<'_, S2, Checkpoint>,
        listed: &[Shard],
        tally: &Tally<'_>,
        report: &mut Report,
    ) {
        report.start = Some(engine.start());
        let Counts { still_refused: still_rejected, unreadable, .. } = engine.counts();
        if unreadable > 0 {
            report.fail(&Shortfall::Unreadable(unreadable));
        }
        let Counted { rejected, unproven, failed, .. } = tally.counted();
        if failed > 0 {
            report.fail(&Shortfall::NotDelivered(failed));
        }
        if unproven > 0 {
            report.fail(&Shortfall::Unproven(unproven));
        }
        if !tally.is_trustworthy() {
            report.fail(&match self.mapped {
                Some(_) => Shortfall::AllUnmappable(rejected),
                None => Shortfall::AllRejected(rejected),
            });
            if let Err(Fatal::Replica(error)) = engine.distrust_rejections(listed) {
                report.fail(&error);
            }
        } else if rejected > 0 {
            report.fail(&Shortfall::Rejected(rejected));
        }
        if still_rejected > 0 {
            report.fail(&Shortfall::StillRejected(still_rejected));
        }
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
