//! Where a run goes on from: the checkpoint that it finds, and what it reads because of that.

use std::path::PathBuf;
use std::sync::Mutex;

use jiff::{SignedDuration, Timestamp};

use super::checkpoint::{Checkpoint, Identity, Unusable};
use super::ledger::Ledger;
use super::outbox::Memory;
use super::plan::{self, Batch, How};
use super::store::{Store, StoreError};
use crate::azure::subscriptions::Subscription;
use crate::config::{CheckpointConfig, Config, Mode};
use crate::text::printable;

/// A filter that the checkpoint was made with is not set any more, which would widen the scope to everything.
#[derive(Debug, thiserror::Error)]
#[error("the checkpoint {} cannot be used: {why}", .path.display())]
pub(crate) struct FilterGone {
    path: PathBuf,
    why: Unusable,
}

/// A checkpoint's file, locked, and what it holds.
pub(crate) struct Found {
    config: CheckpointConfig,
    store: Store,
    identity: Identity,
    checkpoint: Result<Checkpoint, Unusable>,
}

/// What a run reads, and what it remembers.
pub(crate) struct Plan<'a> {
    pub(crate) memory: Option<Memory>,
    pub(crate) batches: Vec<Batch<'a>>,
    pub(crate) mode: Mode,
    /// Why it is a full run, where that was not asked for.
    pub(crate) full_because: Option<String>,
}

impl Found {
    /// Opens the checkpoint of the configuration, where it names one, before anything is sent.
    pub(crate) async fn open(config: &Config) -> Result<Option<Self>, StoreError> {
        let Some(checkpoint) = &config.checkpoint else { return Ok(None) };
        let store =
            if config.dry_run { Store::read_only(&checkpoint.file) } else { Store::open(&checkpoint.file).await? };
        let bytes = store.read()?;
        let webhook = config.port.ingest_url.as_ref();
        let mut identity =
            Identity::new(&config.azure.tenant_id, webhook.map_or("", |url| url.expose()), &config.scope);
        if let (None, Some(bytes)) = (webhook, &bytes) {
            identity.adopt_webhook(bytes);
        }
        let found = match bytes {
            Some(bytes) => Checkpoint::parse(&bytes, &identity),
            None => Err(Unusable::Missing),
        };
        Ok(Some(Self { config: checkpoint.clone(), store, identity, checkpoint: found }))
    }

    /// How many subscriptions it knows, from when the oldest of them is read on, and when everything was read; or why it cannot
    /// be used.
    pub(crate) fn times(&self, now: Timestamp) -> Result<(usize, Option<Timestamp>, Option<Timestamp>), Unusable> {
        let found = self.checkpoint.as_ref().map_err(Clone::clone)?;
        found.check_time(now)?;
        let oldest = found.subscriptions.values().map(|mark| mark.since).min();
        Ok((found.subscriptions.len(), oldest, found.full_at))
    }

    /// Refuses to widen the scope to everything because a filter is not there any more, unless a full run was asked for.
    pub(crate) fn check_filters(&self, mode: Mode) -> Result<(), FilterGone> {
        match &self.checkpoint {
            Err(why @ Unusable::FilterGone(_)) if mode != Mode::Full => {
                Err(FilterGone { path: self.config.file.clone(), why: why.clone() })
            }
            _ => Ok(()),
        }
    }

    /// The memory for a run that only sends what it is told to; none where there is no usable checkpoint.
    pub(crate) fn into_memory(self, start: Timestamp, filtered: bool) -> Option<Memory> {
        let checkpoint = self.checkpoint.ok()?;
        Some(memory(&self.config, self.store, checkpoint, start, filtered))
    }

    /// What a run goes by that starts at `start`, on Azure's clock.
    pub(crate) fn plan<'a>(
        self,
        config: &Config,
        subscriptions: &'a [Subscription],
        start: Timestamp,
    ) -> Result<Plan<'a>, StoreError> {
        let Self { config: settings, store, identity, checkpoint } = self;
        let size = config.azure.batch_size.get();
        let filtered = config.scope.is_filtered();
        let found = checkpoint.and_then(|found| found.check_time(start).map(|()| found));
        let (mut checkpoint, full_because) = match found {
            Ok(found) => {
                let due = full_is_due(&found, &settings, start).filter(|_| config.mode == Mode::Incremental);
                (found, due)
            }
            Err(why) => {
                let why_it_is = printable(&why.to_string()).to_string();
                tracing::warn!(
                    "the checkpoint {} cannot be used: {why_it_is}; reading everything",
                    settings.file.display()
                );
                let aside = match why {
                    Unusable::Missing => None,
                    Unusable::Corrupt(_) | Unusable::Version(_) => Some("corrupt"),
                    // It is somebody's, who may want it back.
                    _ => Some("replaced"),
                };
                if let Some(aside) = aside {
                    tracing::warn!("it is kept as {}", store.set_aside(aside)?.display());
                }
                (Checkpoint::new(identity), Some(format!("the checkpoint cannot be used: {why_it_is}")))
            }
        };
        let mode = if full_because.is_some() { Mode::Full } else { config.mode };
        if mode == Mode::Full {
            checkpoint.begin_anew();
        }
        let batches = plan::by_checkpoint(subscriptions, &checkpoint, start, signed(settings.overlap), size);
        let memory = memory(&settings, store, checkpoint, start, filtered);
        for gone in memory.ledger().forget_unlisted(subscriptions) {
            tracing::warn!(
                "subscription {} is not listed any more; what the catalog has of it is left as it is",
                printable(&gone)
            );
        }
        Ok(Plan { memory: Some(memory), batches, mode, full_because })
    }
}

impl<'a> Plan<'a> {
    /// What a run without a checkpoint reads.
    pub(crate) fn stateless(config: &Config, subscriptions: &'a [Subscription], start: Timestamp) -> Self {
        let how = match config.mode {
            Mode::Incremental => How::Changes(plan::before(start, signed(config.window))),
            Mode::Full => How::Everything,
        };
        let batches = plan::alike(subscriptions, how, config.azure.batch_size.get());
        Self { memory: None, batches, mode: config.mode, full_because: None }
    }

    /// What a run reads that only sends what it is told to: nothing of itself.
    pub(crate) fn nothing(memory: Option<Memory>) -> Self {
        Self { memory, batches: Vec::new(), mode: Mode::Incremental, full_because: None }
    }
}

fn memory(
    settings: &CheckpointConfig,
    store: Store,
    checkpoint: Checkpoint,
    start: Timestamp,
    filtered: bool,
) -> Memory {
    let ledger = Ledger::new(checkpoint, start, signed(settings.overlap), filtered, settings.out_of_scope);
    Memory { ledger: Mutex::new(ledger), store }
}

fn full_is_due(checkpoint: &Checkpoint, settings: &CheckpointConfig, start: Timestamp) -> Option<String> {
    if checkpoint.subscriptions.values().all(|mark| mark.unread) {
        return Some("the last run that was to read everything did not come to its end".into());
    }
    let every = signed(settings.full_every);
    match checkpoint.full_at {
        Some(last) if start.duration_since(last) < every => None,
        Some(last) => Some(format!("the last full run was at {last:.0}, {} hours ago or more", every.as_hours())),
        None => Some("no full run has succeeded yet".into()),
    }
}

/// Settings are bounded to a year and less.
fn signed(duration: std::time::Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}
