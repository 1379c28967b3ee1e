//! Saving: one transaction after the other, whether or not anyone waits for it.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::Instant;

use super::codec;
use super::error::{CheckpointError, Fault};
use super::overlay::{Folds, Save};
use super::shards::Shard;
use super::table::{self, Batch, Held};
use super::{Checkpoint, Mode};
use crate::engine::Rows;

/// Of the entries that may lie in memory, the part that may be left in the journal at the end: it is read at every opening.
const LEFT_OVER: usize = 20;

/// A save that folds makes room for this part of what may lie in memory on top, so that the next one need not.
const SPARE: usize = 8;

/// The journal holds several entries of a key that is put again and again; so many times as many as lie in memory.
const JOURNAL: usize = 8;

/// A save that is under way.
pub(super) struct Saving {
    task: JoinHandle<Result<Held, Fault>>,
    taken: Taken,
}

/// What a save takes with it; it comes back if the save fails.
struct Taken {
    save: Arc<Save>,
    shards: BTreeSet<Arc<str>>,
    is_meta: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    Now,
    AtTheEnd,
}

impl Checkpoint {
    pub(super) async fn write(&self, when: When) -> Result<(), CheckpointError> {
        let failed = |source| CheckpointError::Write { path: self.path.clone(), source };
        let mut saving = self.saving.lock().await;
        self.last_save.set(Instant::now());
        // One whose waiting was given up goes first, so that none overtakes another.
        if saving.is_some() {
            // Its failure is no news: what it had is saved now.
            _ = self.finish(&mut saving).await;
        }
        let Some(database) = self.database.as_ref().filter(|_| self.mode == Mode::Write) else { return Ok(()) };
        let Some((batch, taken)) = self.batch(when).map_err(failed)? else { return Ok(()) };
        let database = Arc::clone(database);
        let task = spawn_blocking(move || table::commit(&database, batch));
        *saving = Some(Saving { task, taken });
        self.finish(&mut saving).await.map_err(failed)
    }

    /// Waits for the save that is under way, and takes note of how it ended.
    pub(super) async fn finish(&self, saving: &mut Option<Saving>) -> Result<(), Fault> {
        let Some(Saving { task, .. }) = saving else { return Ok(()) };
        let result = task.await.map_err(Fault::from).flatten();
        let Some(Saving { taken, .. }) = saving.take() else { return Ok(()) };
        let Taken { save, shards, is_meta } = taken;
        let mut memory = self.memory.borrow_mut();
        // From now on they are read as they are after it.
        self.tables.take();
        match result {
            Ok(held) => {
                memory.overlay.saved(&save);
                self.has_folded.set(self.has_folded.get() || !save.part.is_empty());
                for (name, held) in held {
                    memory.shards.set_held(&name, held);
                }
                Ok(())
            }
            Err(fault) => {
                memory.overlay.failed(Arc::unwrap_or_clone(save));
                memory.shards.restore_changed(shards);
                memory.is_changed |= is_meta;
                Err(fault)
            }
        }
    }

    /// All that is to be saved; `None` if nothing is.
    fn batch(&self, when: When) -> Result<Option<(Batch, Taken)>, Fault> {
        let memory = &mut *self.memory.borrow_mut();
        let overlay = &mut memory.overlay;
        let (most, journalled) = (self.sizes.over, overlay.count_journalled());
        let is_much = match when {
            When::Now => journalled > JOURNAL * most,
            When::AtTheEnd => journalled > most / LEFT_OVER,
        };
        let folds = match overlay.len().checked_sub(most) {
            _ if is_much => Folds::Everything,
            Some(beyond) if overlay.count_unsaved() > 0 => Folds::Part(beyond + most / SPARE),
            _ => Folds::Part(0),
        };
        let has_entries = folds == Folds::Everything || overlay.count_unsaved() > 0;
        if !has_entries && !memory.shards.is_changed() && !memory.is_changed {
            return Ok(None);
        }
        if folds != Folds::Part(0) {
            // What is read while it folds is read as it was before, beneath what lies over it.
            self.tables()?;
        }
        let save = Arc::new(overlay.begin(folds));
        let changed = memory.shards.take_changed();
        let folded: BTreeSet<u32> = save.part.iter().filter_map(|(key, _)| codec::number(key)).collect();
        let is_written = |name: &Arc<str>, shard: &Shard| changed.contains(name) || folded.contains(&shard.number);
        let shards = memory.shards.iter().filter(|(name, shard)| is_written(name, shard));
        let shards = shards.map(|(name, shard)| (Arc::clone(name), *shard)).collect();
        let is_meta = std::mem::replace(&mut memory.is_changed, false);
        let mut meta = Vec::new();
        if is_meta {
            let terms = memory.terms.iter();
            meta.extend(
                terms.flat_map(|terms| [(table::SINK, terms.sink.clone()), (table::SCOPE, terms.scope.clone())]),
            );
            meta.extend(memory.last.iter().map(|last| (table::LAST, last.clone())));
            let line = |(kind, rows): (&Arc<str>, &Rows)| match rows {
                Rows::Shown => kind.to_string(),
                Rows::Awaited => format!("{}{kind}", table::AWAITED),
            };
            let kinds: Vec<String> = memory.kinds.iter().map(line).collect();
            meta.push((table::KINDS, kinds.join("\n")));
            let cursors = serde_json::to_string(&memory.cursors);
            meta.push((table::CURSORS, cursors.map_err(|error| Fault::Io(error.into()))?));
        }
        let batch = Batch { save: Arc::clone(&save), block: self.sizes.block, shards, meta };
        Ok(Some((batch, Taken { save, shards: changed, is_meta })))
    }
}
