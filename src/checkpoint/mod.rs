//! The memory between runs: a replica of the catalog in one database file.
//!
//! What is put lies in memory over the entries of the file. A save is one durable transaction: it appends what was put to a
//! journal in the file. Once much lies in memory, each save also writes a part of it where it belongs, in the order of the keys,
//! so that none takes long; the rest stays in the journal when the file is closed. The file is good at any time.

mod added;
mod blocks;
mod codec;
#[cfg(test)]
#[cfg(unix)]
#[allow(clippy::print_stderr, reason = "what was measured is told")]
mod damage_tests;
mod error;
mod file;
mod list;
mod overlay;
mod reading;
mod saving;
mod shards;
mod staged;
mod table;
#[cfg(test)]
#[allow(clippy::print_stderr, reason = "what was measured is told")]
mod tests;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use redb::Database;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use self::codec::Packed;
pub(crate) use self::error::{CheckpointError, Fault};
use self::file::Opened;
use self::overlay::Overlay;
use self::reading::Which;
use self::saving::{Saving, When};
use self::shards::Shards;
use self::table::{Loaded, Tables};
use crate::engine::{Entry, Mark, Replica, Rows, Terms};
use crate::model::{ById, Id, Stage};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// How many entries lie in memory before some are written where they belong.
    over: usize,
    /// The bytes of a block before it is divided.
    block: usize,
}

impl Default for Sizes {
    fn default() -> Self {
        // Some 0.8 MB in memory.
        Self { over: 3_000, block: blocks::LARGEST }
    }
}

/// A file smaller than this is not worth compacting.
const SMALL: u64 = 512 << 10;

pub(crate) struct Checkpoint {
    /// Why the file that was there could not be used.
    replaced: Option<String>,
    path: PathBuf,
    mode: Mode,
    /// `None` where there is no file.
    database: Option<Arc<Database>>,
    sizes: Sizes,
    memory: RefCell<Memory>,
    /// What is known of shards and containers that were asked for: everything in them asks again.
    parents: RefCell<ById<Option<Packed>>>,
    /// The entries of the file, as long as nobody changes them.
    tables: RefCell<Option<Rc<Tables>>>,
    /// The save that is under way; also one that nobody waits for any more.
    saving: Mutex<Option<Saving>>,
    /// When somebody last saved.
    last_save: Cell<Instant>,
    has_folded: Cell<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Write,
    /// Nothing is ever written.
    Read,
    /// There is no file.
    Forget,
}

struct Memory {
    overlay: Overlay,
    shards: Shards,
    terms: Option<Terms>,
    last: Option<String>,
    kinds: BTreeMap<Arc<str>, Rows>,
    cursors: BTreeMap<String, String>,
    /// The terms, the kinds, the cursors, or the account of the last run, changed since the last save.
    is_changed: bool,
}

/// Whether an entry that is stored so, once read and stored again, says the same; `None` where it is none.
pub(crate) fn entry_survives(stored: &[u8]) -> Option<bool> {
    let entry = codec::Packed::from_bytes(stored)?.entry()?;
    Some(codec::Packed::new(&entry).entry() == Some(entry))
}

/// Entries that are looked at together.
const PAGE: usize = 1000;

/// What the checkpoint holds, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) held: u64,
    /// Of these, those of which the catalog may not have what it should.
    pub(crate) in_doubt: u64,
}

impl Checkpoint {
    /// Opens the file of a run, for this process alone: another one is waited for, and what cannot serve is set aside.
    pub(crate) async fn open(path: &Path) -> Result<Self, CheckpointError> {
        Self::open_with(path, Sizes::default()).await
    }

    /// The same, with other sizes.
    pub(crate) async fn open_with(path: &Path, sizes: Sizes) -> Result<Self, CheckpointError> {
        let opened = file::open(path).await?;
        Self::new(path, Mode::Write, Some(opened), sizes)
    }

    /// Opens the file to look at it; without a file it is empty. Nothing is ever written. What is put of leaves is dropped, and
    /// the rest is kept for this run.
    pub(crate) async fn open_to_read(path: &Path) -> Result<Self, CheckpointError> {
        let opened = file::open_to_read(path).await?;
        Self::new(path, Mode::Read, opened, Sizes::default())
    }

    /// Whether a run could write the file. Nothing is changed.
    pub(crate) fn try_to_write(path: &Path) -> Result<(), CheckpointError> {
        file::try_to_write(path)
    }

    /// One without a file.
    pub(crate) fn stateless() -> Self {
        Self::with(
            Path::new(""),
            Mode::Forget,
            None,
            (Overlay::default(), Shards::default(), Loaded::default()),
            Sizes::default(),
        )
    }

    fn new(path: &Path, mode: Mode, opened: Option<Opened>, sizes: Sizes) -> Result<Self, CheckpointError> {
        let (database, mut loaded, replaced) = match opened {
            Some(Opened { database, loaded, replaced }) => (Some(database), loaded, replaced),
            None => (None, Loaded::default(), None),
        };
        let shards = Shards::new(std::mem::take(&mut loaded.shards)).ok_or_else(|| CheckpointError::Read {
            path: path.to_owned(),
            source: Fault::Malformed("two shards have one number"),
        })?;
        let overlay = Overlay::from_journal(std::mem::take(&mut loaded.journal), &shards);
        Ok(Self { replaced, ..Self::with(path, mode, database, (overlay, shards, loaded), sizes) })
    }

    fn with(
        path: &Path,
        mode: Mode,
        database: Option<Database>,
        (overlay, shards, loaded): (Overlay, Shards, Loaded),
        sizes: Sizes,
    ) -> Self {
        let terms = loaded.sink.zip(loaded.scope).map(|(sink, scope)| Terms { sink, scope });
        let Loaded { last, kinds, cursors, .. } = loaded;
        let memory = Memory { overlay, shards, terms, last, kinds, cursors, is_changed: false };
        Self {
            path: path.to_owned(),
            replaced: None,
            mode,
            database: database.map(Arc::new),
            sizes,
            memory: RefCell::new(memory),
            parents: RefCell::default(),
            tables: RefCell::default(),
            saving: Mutex::new(None),
            last_save: Cell::new(Instant::now()),
            has_folded: Cell::new(false),
        }
    }

    /// Why the file that was there could not be used, if there was one.
    pub(crate) fn replaced(&self) -> Option<&str> {
        self.replaced.as_deref()
    }

    /// The account of the last run that was saved, as JSON.
    pub(crate) fn last_run(&self) -> Option<String> {
        self.memory.borrow().last.clone()
    }

    pub(crate) fn set_last_run(&self, last: String) {
        let mut memory = self.memory.borrow_mut();
        if memory.last.as_ref() != Some(&last) {
            memory.last = Some(last);
            memory.is_changed = true;
        }
    }

    pub(crate) fn totals(&self) -> Result<Totals, CheckpointError> {
        let held = self.memory.borrow().shards.iter().map(|(_, shard)| shard.held).sum();
        let mut totals = Totals { held, in_doubt: 0 };
        for shard in self.shards()? {
            let mut after = None;
            loop {
                let page = self.open_entries(&shard, after.as_ref(), PAGE)?;
                let Some((last, _)) = page.last() else { break };
                after = Some(last.clone());
                totals.in_doubt += page.iter().filter(|(_, entry)| entry.is_in_doubt()).count() as u64;
            }
        }
        Ok(totals)
    }

    /// Saves what is left, and closes the file; one that is mostly free space gets smaller.
    pub(crate) async fn close(self) -> Result<(), CheckpointError> {
        self.write(When::AtTheEnd).await?;
        self.tables.take();
        let Some(database) = self.database.and_then(Arc::into_inner).filter(|_| self.mode == Mode::Write) else {
            return Ok(());
        };
        let (path, has_folded) = (self.path.clone(), self.has_folded.get());
        let closed = spawn_blocking(move || close(database, &path, has_folded)).await;
        closed.map_err(Fault::from).flatten().map_err(|source| CheckpointError::Write { path: self.path, source })
    }

    /// What is kept at hand of a shard or a container is over.
    fn forget_parent(&self, id: &Id) {
        if id.stage() != Stage::Leaf {
            self.parents.borrow_mut().remove(id);
        }
    }

    /// When somebody last saved, whether or not there was anything to save.
    pub(crate) fn last_save(&self) -> Instant {
        self.last_save.get()
    }

    fn cannot_read(&self, source: Fault) -> CheckpointError {
        CheckpointError::Read { path: self.path.clone(), source }
    }
}

/// After a run that wrote entries, a file of which more than half is free is compacted.
fn close(mut database: Database, path: &Path, has_folded: bool) -> Result<(), Fault> {
    let size = std::fs::metadata(path)?.len();
    if has_folded && size > SMALL && table::used(&database)? < size / 2 {
        database.compact()?;
    }
    Ok(database.close()?)
}

impl Replica for Checkpoint {
    type Error = CheckpointError;

    fn remembers(&self) -> bool {
        self.mode != Mode::Forget
    }

    fn terms(&self) -> Option<Terms> {
        self.memory.borrow().terms.clone()
    }

    fn set_terms(&self, terms: Terms) {
        let mut memory = self.memory.borrow_mut();
        if memory.terms.as_ref() != Some(&terms) {
            memory.terms = Some(terms);
            memory.is_changed = true;
        }
    }

    fn rows_of(&self, kind: &str) -> Option<Rows> {
        if self.remembers() { self.memory.borrow().kinds.get(kind).copied() } else { Some(Rows::Shown) }
    }

    fn note_rows(&self, kind: &Arc<str>, rows: Rows) {
        let memory = &mut *self.memory.borrow_mut();
        if memory.kinds.get(kind) != Some(&rows) {
            memory.kinds.insert(Arc::clone(kind), rows);
            memory.is_changed = true;
        }
    }

    fn entry(&self, id: &Id) -> Result<Option<Entry>, CheckpointError> {
        if self.mode == Mode::Forget && id.stage() == Stage::Leaf {
            return Ok(None);
        }
        self.entry_of(id).map_err(|fault| self.cannot_read(fault))
    }

    fn put(&self, id: &Id, entry: Option<Entry>) -> Result<(), CheckpointError> {
        if entry.is_none() && self.memory.borrow().shards.get(id.shard()).is_none() {
            return Ok(());
        }
        self.update(id, |_| entry)
    }

    fn update(&self, id: &Id, change: impl FnOnce(Option<Entry>) -> Option<Entry>) -> Result<(), CheckpointError> {
        if self.mode != Mode::Write && id.stage() == Stage::Leaf {
            // Whoever changes it is told of what there is all the same.
            _ = change(self.entry(id)?);
            return Ok(());
        }
        self.forget_parent(id);
        let memory = &mut *self.memory.borrow_mut();
        let shard = memory.shards.get_or_new(id.shard());
        let key = codec::key(shard.number, id);
        let change = |value: Option<Packed>| change(value.and_then(|value| value.entry())).as_ref().map(Packed::new);
        let more = memory.overlay.update(&key, || self.below(&key), change);
        shard.add_held(more.map_err(|fault| self.cannot_read(fault))?);
        Ok(())
    }

    fn entries(&self, shard: &Id, after: Option<&Id>, most: usize) -> Result<Vec<(Id, Entry)>, CheckpointError> {
        self.entries_of(Which::All, shard, after, most).map_err(|fault| self.cannot_read(fault))
    }

    fn open_entries(&self, shard: &Id, after: Option<&Id>, most: usize) -> Result<Vec<(Id, Entry)>, CheckpointError> {
        self.entries_of(Which::Open, shard, after, most).map_err(|fault| self.cannot_read(fault))
    }

    fn children(&self, parent: &Id, after: Option<&Id>, most: usize) -> Result<Vec<(Id, Entry)>, CheckpointError> {
        self.children_of(parent, after, most).map_err(|fault| self.cannot_read(fault))
    }

    fn held(&self, shard: &Id) -> u64 {
        self.memory.borrow().shards.get(shard.shard()).map_or(0, |shard| shard.held)
    }

    fn shards(&self) -> Result<Vec<Id>, CheckpointError> {
        self.shard_ids().map_err(|fault| self.cannot_read(fault))
    }

    fn mark(&self, shard: &Id) -> Mark {
        self.memory.borrow().shards.get(shard.shard()).map_or_else(Mark::default, |shard| shard.mark)
    }

    fn set_mark(&self, shard: &Id, mark: Mark) {
        self.memory.borrow_mut().shards.get_or_new(shard.shard()).set_mark(mark);
    }

    fn cursor(&self, shard: &Id) -> Option<String> {
        self.memory.borrow().cursors.get(shard.shard()).cloned()
    }

    fn set_cursor(&self, shard: &Id, cursor: Option<String>) {
        let memory = &mut *self.memory.borrow_mut();
        let before = match &cursor {
            Some(cursor) => memory.cursors.insert(shard.shard().to_owned(), cursor.clone()),
            None => memory.cursors.remove(shard.shard()),
        };
        memory.is_changed |= before != cursor;
    }

    async fn save(&self) -> Result<(), CheckpointError> {
        self.write(When::Now).await
    }
}
