//! The memory between runs: a replica of the catalog in one database file.
//!
//! What is put lies in memory over the entries of the file. A save is one durable transaction: it appends what was put to a
//! journal in the file, or, once there is much of it, writes everything where it belongs, in the order of the keys. Both are
//! cheap, and the file is good at any time.

mod codec;
mod error;
mod file;
mod overlay;
mod shards;
mod staged;
mod table;
#[cfg(all(test, unix))]
mod damage_tests;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use redb::Database;
use tokio::sync::Mutex;
use tokio::task::{JoinHandle, spawn_blocking};

use self::codec::{Keys, Packed};
pub(crate) use self::error::{CheckpointError, Fault};
use self::file::Opened;
use self::overlay::{Overlay, merge};
use self::shards::{Shard, Shards};
use self::table::{Batch, Entries, Loaded, Tables};
use crate::engine::{Entry, Mark, Replica, Terms};
use crate::model::{Id, Stage};

/// How many entries lie in memory before they are written where they belong: some 5 MB of them.
const MOST_OVER: usize = 20_000;

/// Of that, what may be left in the journal at the end: it is read at every opening.
const LEFT_OVER: usize = 20;

/// The journal holds several entries of a key that is put again and again; so many times as many as lie in memory.
const JOURNAL: usize = 4;

/// A file smaller than this is not worth compacting.
const SMALL: u64 = 4 << 20;

pub(crate) struct Checkpoint {
    path: PathBuf,
    mode: Mode,
    /// `None` where there is no file.
    database: Option<Arc<Database>>,
    most_over: usize,
    memory: RefCell<Memory>,
    /// The entries of the file, as long as nobody changes them.
    tables: RefCell<Option<Rc<Tables>>>,
    /// The save that is under way; also one that nobody waits for any more.
    saving: Mutex<Option<Saving>>,
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
    /// The terms, or the account of the last run, changed since the last save.
    is_changed: bool,
    /// The number of the next save in the journal.
    next: u64,
}

struct Saving {
    task: JoinHandle<Result<Vec<(Arc<str>, u64)>, Fault>>,
    taken: Taken,
}

/// What a save takes with it; it comes back if the save fails.
struct Taken {
    keys: Vec<Arc<[u8]>>,
    shards: BTreeSet<Arc<str>>,
    is_meta: bool,
    folds: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Now,
    AtTheEnd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    All,
    Open,
}

/// What the checkpoint holds, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) held: u64,
    pub(crate) open: u64,
}

impl Checkpoint {
    /// Opens the file of a run, for this process alone: another one is waited for, and what cannot serve is set aside.
    pub(crate) async fn open(path: &Path) -> Result<Self, CheckpointError> {
        Self::open_with(path, MOST_OVER).await
    }

    /// The same, with so many entries in memory at most.
    pub(crate) async fn open_with(path: &Path, most_over: usize) -> Result<Self, CheckpointError> {
        let opened = file::open(path).await?;
        Self::new(path, Mode::Write, Some(opened), most_over)
    }

    /// Opens the file to look at it; without a file it is empty. Nothing is ever written. What is put of leaves is dropped, and
    /// the rest is kept for this run.
    pub(crate) async fn open_to_read(path: &Path) -> Result<Self, CheckpointError> {
        let opened = file::open_to_read(path).await?;
        Self::new(path, Mode::Read, opened, MOST_OVER)
    }

    /// One without a file.
    pub(crate) fn stateless() -> Self {
        Self::with(Path::new(""), Mode::Forget, None, (Overlay::default(), Shards::default(), Loaded::default()), MOST_OVER)
    }

    fn new(path: &Path, mode: Mode, opened: Option<Opened>, most_over: usize) -> Result<Self, CheckpointError> {
        let (database, mut loaded) = match opened {
            Some(Opened { database, loaded }) => (Some(database), loaded),
            None => (None, Loaded::default()),
        };
        let overlay = Overlay::from_journal(std::mem::take(&mut loaded.journal));
        let shards = Shards::new(std::mem::take(&mut loaded.shards)).ok_or_else(|| CheckpointError::Read {
            path: path.to_owned(),
            source: Fault::Malformed("two shards have one number"),
        })?;
        Ok(Self::with(path, mode, database, (overlay, shards, loaded), most_over))
    }

    fn with(
        path: &Path,
        mode: Mode,
        database: Option<Database>,
        (overlay, shards, loaded): (Overlay, Shards, Loaded),
        most_over: usize,
    ) -> Self {
        let terms = loaded.sink.zip(loaded.scope).map(|(sink, scope)| Terms { sink, scope });
        let memory = Memory { overlay, shards, terms, last: loaded.last, is_changed: false, next: loaded.next };
        Self {
            path: path.to_owned(),
            mode,
            database: database.map(Arc::new),
            most_over,
            memory: RefCell::new(memory),
            tables: RefCell::default(),
            saving: Mutex::new(None),
            has_folded: Cell::new(false),
        }
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
        let names: Vec<_> = self.memory.borrow().shards.iter().map(|(name, _)| Arc::clone(name)).collect();
        let mut totals = Totals::default();
        for name in names {
            totals.held += self.held_in(&name).map_err(|fault| self.cannot_read(fault))?;
        }
        totals.open = self.count_open().map_err(|fault| self.cannot_read(fault))?;
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

    async fn write(&self, when: When) -> Result<(), CheckpointError> {
        let failed = |source| CheckpointError::Write { path: self.path.clone(), source };
        let mut saving = self.saving.lock().await;
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
    async fn finish(&self, saving: &mut Option<Saving>) -> Result<(), Fault> {
        let Some(Saving { task, .. }) = saving else { return Ok(()) };
        let result = task.await.map_err(Fault::from).flatten();
        let Some(Saving { taken: Taken { keys, shards, is_meta, folds }, .. }) = saving.take() else { return Ok(()) };
        let mut memory = self.memory.borrow_mut();
        // From now on they are read as they are after it.
        self.tables.take();
        match result {
            Ok(held) => {
                if folds {
                    memory.overlay.folded();
                    memory.next = 0;
                    self.has_folded.set(true);
                } else if !keys.is_empty() {
                    memory.overlay.journalled(keys.len());
                    memory.next += 1;
                }
                for (name, held) in held {
                    memory.shards.set_held(&name, held);
                }
                Ok(())
            }
            Err(fault) => {
                memory.overlay.failed(keys);
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
        let folds = match when {
            When::Now => overlay.len() > self.most_over || overlay.count_journalled() > JOURNAL * self.most_over,
            When::AtTheEnd => overlay.count_journalled() > self.most_over / LEFT_OVER,
        };
        let has_entries = folds || overlay.count_unsaved() > 0;
        if !has_entries && !memory.shards.is_changed() && !memory.is_changed {
            return Ok(None);
        }
        if folds {
            // What is read while it folds is read as it was before, beneath what lies over it.
            self.tables()?;
        }
        let keys = overlay.begin();
        let entries = match has_entries {
            _ if folds => Entries::Fold(overlay.all()),
            true => Entries::Journal(memory.next, overlay.journal(&keys)),
            false => Entries::Unchanged,
        };
        let changed = memory.shards.take_changed();
        let folded = if folds { overlay.numbers() } else { BTreeSet::new() };
        let is_written = |name: &Arc<str>, shard: &Shard| changed.contains(name) || folded.contains(&shard.number);
        let shards = memory.shards.iter().filter(|(name, shard)| is_written(name, shard));
        let shards = shards.map(|(name, shard)| (Arc::clone(name), *shard)).collect();
        let is_meta = std::mem::replace(&mut memory.is_changed, false);
        let mut meta = Vec::new();
        if is_meta {
            let terms = memory.terms.iter();
            meta.extend(terms.flat_map(|terms| [(table::SINK, terms.sink.clone()), (table::SCOPE, terms.scope.clone())]));
            meta.extend(memory.last.iter().map(|last| (table::LAST, last.clone())));
        }
        Ok(Some((Batch { entries, shards, meta }, Taken { keys, shards: changed, is_meta, folds })))
    }

    fn tables(&self) -> Result<Option<Rc<Tables>>, Fault> {
        let Some(database) = &self.database else { return Ok(None) };
        let mut tables = self.tables.borrow_mut();
        if let Some(tables) = &*tables {
            return Ok(Some(Rc::clone(tables)));
        }
        Ok(Some(Rc::clone(tables.insert(Rc::new(Tables::begin(database)?)))))
    }

    /// What is below what was put.
    fn below(&self, key: &[u8]) -> Result<Option<Packed>, Fault> {
        self.tables()?.map_or(Ok(None), |tables| tables.entry(key))
    }

    fn entry_of(&self, id: &Id) -> Result<Option<Entry>, Fault> {
        let memory = self.memory.borrow();
        let Some(shard) = memory.shards.get(id.shard()) else { return Ok(None) };
        let key = codec::key(shard.number, id);
        let value = match memory.overlay.get(&key) {
            Some(slot) => slot.value,
            None => self.below(&key)?,
        };
        Ok(value.and_then(|value| value.entry()))
    }

    /// The next entries of a range.
    fn page(&self, which: Which, keys: &Keys, most: usize) -> Result<Vec<(Vec<u8>, Packed)>, Fault> {
        let memory = self.memory.borrow();
        let over = memory.overlay.range(keys).map(|(key, slot)| {
            let value = slot.value.filter(|value| which == Which::All || value.is_open());
            (Arc::clone(key), value)
        });
        match (self.tables()?, which) {
            (None, _) => merge(std::iter::empty(), over, most),
            (Some(tables), Which::All) => merge(tables.entries(keys)?, over, most),
            (Some(tables), Which::Open) => merge(tables.open_entries(keys)?, over, most),
        }
    }

    fn entries_of(&self, which: Which, shard: &Id, after: Option<&Id>, most: usize) -> Result<Vec<(Id, Entry)>, Fault> {
        let Some(number) = self.number(shard) else { return Ok(Vec::new()) };
        let keys = Keys::of_shard(number);
        let keys = match after {
            Some(after) => keys.after(codec::key(number, after)),
            None => keys,
        };
        found(shard.shard(), self.page(which, &keys, most)?)
    }

    fn children_of(&self, parent: &Id, after: Option<&Id>, most: usize) -> Result<Vec<(Id, Entry)>, Fault> {
        let Some(number) = self.number(parent) else { return Ok(Vec::new()) };
        let after = after.map(|after| codec::key(number, after));
        let leaves = Keys::of_leaves(number, parent);
        let leaves = match &after {
            Some(after) => leaves.after(after.clone()),
            None => leaves,
        };
        let mut children = self.page(Which::All, &leaves, most)?;
        if parent.stage() == Stage::Root {
            let mut containers = Keys::of_containers(number);
            if let Some(after) = &after {
                containers = containers.from(codec::beyond_container(after));
            }
            while children.len() < most {
                let Some((key, value)) = self.page(Which::All, &containers, 1)?.pop() else { break };
                // What is in it is passed over.
                containers = containers.from(codec::beyond_container(&key));
                if !codec::is_in_container(&key) {
                    children.push((key, value));
                }
            }
        }
        found(parent.shard(), children)
    }

    fn number(&self, id: &Id) -> Option<u32> {
        self.memory.borrow().shards.get(id.shard()).map(|shard| shard.number)
    }

    fn held_in(&self, shard: &str) -> Result<u64, Fault> {
        let memory = &mut *self.memory.borrow_mut();
        let Some(&Shard { number, held, .. }) = memory.shards.get(shard) else { return Ok(0) };
        let mut change = 0;
        for (key, slot) in memory.overlay.range_mut(&Keys::of_shard(number)) {
            let was_held = match slot.was_held {
                Some(was_held) => was_held,
                None => self.below(key)?.is_some_and(|value| value.is_held()),
            };
            slot.was_held = Some(was_held);
            change += i64::from(slot.value.is_some_and(|value| value.is_held())) - i64::from(was_held);
        }
        Ok(held.saturating_add_signed(change))
    }

    fn count_open(&self) -> Result<u64, Fault> {
        let tables = self.tables()?;
        let mut count = tables.as_ref().map_or(Ok(0), |tables| tables.count_open())?;
        for (key, slot) in self.memory.borrow().overlay.iter() {
            let was_open = tables.as_ref().map_or(Ok(false), |tables| tables.is_open(key))?;
            let change = i64::from(slot.value.is_some_and(|value| value.is_open())) - i64::from(was_open);
            count = count.saturating_add_signed(change);
        }
        Ok(count)
    }

    fn shard_ids(&self) -> Result<Vec<Id>, Fault> {
        let shards: Vec<_> =
            self.memory.borrow().shards.iter().map(|(name, shard)| (Arc::clone(name), *shard)).collect();
        let mut ids = Vec::new();
        for (name, shard) in shards {
            let keys = Keys::of_shard(shard.number);
            if shard.mark != Mark::default() || !self.page(Which::All, &keys, 1)?.is_empty() {
                let length = name.len();
                ids.push(Id::new(name, length, length).ok_or(Fault::Malformed("the name of a shard is too long"))?);
            }
        }
        Ok(ids)
    }

    fn cannot_read(&self, source: Fault) -> CheckpointError {
        CheckpointError::Read { path: self.path.clone(), source }
    }
}

fn found(shard: &str, found: Vec<(Vec<u8>, Packed)>) -> Result<Vec<(Id, Entry)>, Fault> {
    let decode = |(key, value): (Vec<u8>, Packed)| Some((codec::id(shard, &key)?, value.entry()?));
    found.into_iter().map(|found| decode(found).ok_or(Fault::Malformed("an entry cannot be read"))).collect()
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

    fn entry(&self, id: &Id) -> Result<Option<Entry>, CheckpointError> {
        self.entry_of(id).map_err(|fault| self.cannot_read(fault))
    }

    fn put(&self, id: &Id, entry: Option<Entry>) -> Result<(), CheckpointError> {
        if self.mode != Mode::Write && id.stage() == Stage::Leaf {
            return Ok(());
        }
        let memory = &mut *self.memory.borrow_mut();
        if entry.is_none() && memory.shards.get(id.shard()).is_none() {
            return Ok(());
        }
        let key = codec::key(memory.shards.number(id.shard()), id);
        memory.overlay.put(key, entry.as_ref().map(Packed::new));
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

    fn held(&self, shard: &Id) -> Result<u64, CheckpointError> {
        self.held_in(shard.shard()).map_err(|fault| self.cannot_read(fault))
    }

    fn shards(&self) -> Result<Vec<Id>, CheckpointError> {
        self.shard_ids().map_err(|fault| self.cannot_read(fault))
    }

    fn mark(&self, shard: &Id) -> Mark {
        self.memory.borrow().shards.get(shard.shard()).map_or_else(Mark::default, |shard| shard.mark)
    }

    fn set_mark(&self, shard: &Id, mark: Mark) {
        self.memory.borrow_mut().shards.set_mark(shard.shard(), mark);
    }

    async fn save(&self) -> Result<(), CheckpointError> {
        self.write(When::Now).await
    }
}
