//! Reading a source and posting to a sink side by side, whatever the source is.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::time::Duration;

use tokio::sync::mpsc::Receiver;

use super::problems::Shortfall;
use super::{Run, Work};
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::engine::{Counted, Counts, Delivery, Engine, Fatal, Novelty, Order, Replica, Settled, Shard, Source, Tally};
use crate::error::{Problem, Stop};
use crate::model::{Change, Operation};
use crate::progress::{self, Seen};
use crate::text::printable;

/// How often what is settled is saved, at least.
const SAVED_EVERY: Duration = Duration::from_millis(100);

/// What is to be posted, and what carries it out.
pub(super) struct Posts<'a> {
    pub(super) delivery: &'a Delivery<'a>,
    pub(super) orders: Receiver<Order>,
}

/// What came of reading and posting.
pub(super) struct Exchanged<'a, T> {
    /// `None`: it did not come to its end.
    pub(super) read: Option<T>,
    pub(super) problems: Vec<Box<dyn Problem>>,
    pub(super) tally: Tally<'a>,
}

impl<S: Future<Output = Stop>> Run<'_, S> {
    /// Reads a source and posts to a sink side by side, until both came to their end, or the run is to stop. Draws what is
    /// `seen` of it.
    pub(super) async fn exchange<S2: Source, T>(
        &self,
        engine: &Engine<'_, S2, Checkpoint>,
        reading: impl Future<Output = Result<T, Fatal<CheckpointError>>>,
        Posts { delivery, orders }: Posts<'_>,
        seen: Option<impl Fn(u64) -> Seen>,
    ) -> Exchanged<'_, T> {
        let tally = RefCell::new(Tally::new(self.dead_letters.as_ref()));
        tally.borrow_mut().starts_at(engine.start());
        let done = &Cell::new(0);
        let reading = async {
            let read = tokio::select! {
                read = reading => Some(read),
                _ = self.stop.clone() => None,
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
        let seen = seen.filter(|_| self.config.dry_run.is_none());
        let (read, posted) = tokio::select! {
            both = async { tokio::join!(reading, posting) } => both,
            never = progress::draw(seen.map(|seen| move || seen(done.get()))) => match never {},
            never = self.keep_saving() => match never {},
        };
        let mut problems: Vec<Box<dyn Problem>> = Vec::new();
        let read = match read {
            Some(Ok(read)) => Some(read),
            // Why nobody takes the rest is told by who posts.
            Some(Err(Fatal::Stopped)) | None => None,
            Some(Err(Fatal::Replica(error))) => {
                problems.push(Box::new(if done.get() == 0 { error.before_posts() } else { error }));
                None
            }
        };
        if let Err(error) = posted {
            problems.push(Box::new(error));
        }
        Exchanged { read, problems, tally: tally.into_inner() }
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

    /// What was not delivered.
    pub(super) fn shortfalls<S2: Source>(
        &self,
        engine: &Engine<'_, S2, Checkpoint>,
        listed: &[Shard],
        tally: &Tally<'_>,
    ) -> impl Iterator<Item = Box<dyn Problem>> {
        let Counts { still_refused: still_rejected, unreadable, .. } = engine.counts();
        let Counted { rejected, unproven, failed, .. } = tally.counted();
        let is_trusted = tally.is_trustworthy();
        let rejection = match self.mapped {
            _ if is_trusted => Shortfall::Rejected,
            Some(_) => Shortfall::AllUnmappable,
            None => Shortfall::AllRejected,
        };
        let distrusted = if is_trusted { Ok(()) } else { engine.distrust_rejections(listed) };
        let some = |count: u64, shortfall: fn(u64) -> Shortfall| {
            (count > 0).then(|| Box::new(shortfall(count)) as Box<dyn Problem>)
        };
        [
            some(unreadable, Shortfall::Unreadable),
            some(failed, Shortfall::NotDelivered),
            some(unproven, Shortfall::Unproven),
            some(rejected, rejection),
            match distrusted {
                Err(Fatal::Replica(error)) => Some(Box::new(error)),
                Err(Fatal::Stopped) | Ok(()) => None,
            },
            some(still_rejected, Shortfall::StillRejected),
        ]
        .into_iter()
        .flatten()
    }
}
