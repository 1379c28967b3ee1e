//! Saving: one transaction after the other, whether or not anyone waits for it.

use std::sync::Arc;

use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::Instant;

use super::error::{CheckpointError, Fault};
use super::overlay::{Folds, Journal, Save};
use super::table::{self, Batch};
use super::{Checkpoint, Mode};
use crate::engine::Rows;

/// A save that folds makes room for this part of what may lie in memory on top, so that the next one need not.
const SPARE: usize = 8;

/// The journal holds several entries of a key that is put again and again: so many times as many as may lie in memory, until it
/// begins anew.
const JOURNAL: usize = 4;

/// At the end it holds few that do not lie in memory, this part of those that may: all are read at the next opening.
const LEFT_OVER: usize = 20;

/// A save that is under way.
pub(super) struct Saving {
    task: JoinHandle<Result<(), Fault>>,
    taken: Taken,
}

/// What a save takes with it; it comes back if the save fails.
struct Taken {
    save: Arc<Save>,
    shard_numbers: Vec<u32>,
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
        let Taken { save, shard_numbers, is_meta } = taken;
        let mut memory = self.memory.borrow_mut();
        // From now on they are read as they are after it.
        self.tables.take();
        match result {
            Ok(()) => {
                memory.overlay.saved(&save);
                self.has_folded.set(self.has_folded.get() || !save.part.is_empty());
                Ok(())
            }
            Err(fault) => {
                memory.overlay.failed(&save);
                memory.shards.restore_changed(&shard_numbers);
                memory.is_changed |= is_meta;
                Err(fault)
            }
        }
    }

    /// All that is to be saved; `None` if nothing is.
    fn batch(&self, when: When) -> Result<Option<(Batch, Taken)>, Fault> {
        let memory = &mut *self.memory.borrow_mut();
        let overlay = &mut memory.overlay;
        let most = self.sizes.over;
        let has_entries = overlay.count_unsaved() > 0;
        let at_most = match overlay.len().checked_sub(most) {
            Some(beyond) if has_entries => beyond + most / SPARE,
            _ => 0,
        };
        let folds = Folds { at_most, at_least: at_most.saturating_sub(most) };
        let most_journalled = match when {
            When::Now => JOURNAL * most.max(overlay.len()),
            When::AtTheEnd => overlay.len() + most / LEFT_OVER,
        };
        let is_long = overlay.count_journalled() > most_journalled;
        if !has_entries && !is_long && !memory.shards.are_changed() && !memory.is_changed {
            return Ok(None);
        }
        let journal = if is_long { Journal::BeginsAnew } else { Journal::GoesOn };
        if folds.at_most > 0 {
            // What is read while it folds is read as it was before, beneath what lies over it.
            self.tables()?;
        }
        let (save, puts) = overlay.begin(folds, journal);
        let save = Arc::new(save);
        let shards = memory.shards.take_changed();
        let shard_numbers = shards.iter().map(|(_, shard)| shard.number).collect();
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
            meta.push((table::CURSORS, serde_json::to_string(&memory.cursors)?));
        }
        let batch = Batch { save: Arc::clone(&save), journal: puts, block: self.sizes.block, shards, meta };
        Ok(Some((batch, Taken { save, shard_numbers, is_meta })))
    }
}
