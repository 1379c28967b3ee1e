//! The tables of the file: what they hold, how they are read, and the one transaction by which they change.

use std::collections::BTreeMap;
use std::sync::Arc;

use redb::{
    Database, ReadOnlyTable, ReadTransaction, ReadableDatabase as _, ReadableTable as _, TableDefinition, TableError,
    WriteTransaction,
};

use super::blocks;
use super::codec::{self, Keys, Packed, Put};
use super::error::Fault;
use super::overlay::{Number, Save};
use super::shards::Shard;
use crate::engine::{Mark, Rows};

/// The version of this layout.
pub(super) const FORMAT: u32 = 1;

/// Small things by name.
const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
/// A shard's number, the two times of its mark, and how many of its entries are held, those in the journal among them.
type Row = (u32, Option<i64>, Option<i64>, u64);
const SHARDS: TableDefinition<&str, Row> = TableDefinition::new("shards");
/// The entries, in [`blocks`].
const BLOCKS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("blocks");
/// The keys of those entries that are open.
const OPEN: TableDefinition<&[u8], ()> = TableDefinition::new("open");
/// What was put and is not among the entries yet, a save after the other.
const JOURNAL: TableDefinition<Number, &[u8]> = TableDefinition::new("journal");

pub(super) const SINK: &str = "sink";
pub(super) const SCOPE: &str = "scope";
pub(super) const LAST: &str = "last";
/// One kind per line, with `AWAITED` before those of which no row was shown yet.
pub(super) const KINDS: &str = "kinds";
pub(super) const AWAITED: &str = "?";
/// Where sources go on with shards, a JSON object by the names of the shards.
pub(super) const CURSORS: &str = "cursors";
const FORMAT_KEY: &str = "format";

/// What a run holds in memory from the beginning.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub(super) shards: Vec<(Arc<str>, Shard)>,
    pub(super) sink: Option<String>,
    pub(super) scope: Option<String>,
    pub(super) last: Option<String>,
    pub(super) kinds: BTreeMap<Arc<str>, Rows>,
    pub(super) cursors: BTreeMap<String, String>,
    /// What the saves in the journal have.
    pub(super) journal: Vec<(Number, Vec<Put>)>,
}

/// The format that a file says it has.
pub(super) fn format(database: &Database) -> Result<u32, Fault> {
    let meta = database.begin_read()?.open_table(META)?;
    let format = meta.get(FORMAT_KEY)?.ok_or(Fault::Malformed("it does not name its format"))?;
    Ok(u32::from_le_bytes(format.value().try_into().map_err(|_| Fault::Malformed("its format is not a number"))?))
}

/// Makes the tables of a new file.
pub(super) fn create(database: &Database) -> Result<(), Fault> {
    let transaction = database.begin_write()?;
    transaction.open_table(META)?.insert(FORMAT_KEY, &FORMAT.to_le_bytes()[..])?;
    transaction.open_table(SHARDS)?;
    transaction.open_table(BLOCKS)?;
    transaction.open_table(OPEN)?;
    transaction.open_table(JOURNAL)?;
    Ok(transaction.commit()?)
}

pub(super) fn load(database: &Database) -> Result<Loaded, Fault> {
    let transaction = database.begin_read()?;
    Tables::open(&transaction)?;
    let meta = transaction.open_table(META)?;
    let text = |name| match meta.get(name)? {
        Some(bytes) => {
            String::from_utf8(bytes.value().to_vec()).map(Some).map_err(|_| Fault::Malformed("a name is not text"))
        }
        None => Ok(None),
    };
    let kind = |line: &str| match line.strip_prefix(AWAITED) {
        Some(kind) => (kind.into(), Rows::Awaited),
        None => (line.into(), Rows::Shown),
    };
    let kinds = text(KINDS)?.unwrap_or_default().lines().map(kind).collect();
    let cursors = text(CURSORS)?.map_or(Ok(BTreeMap::new()), |text| serde_json::from_str(&text));
    let cursors = cursors.map_err(|_| Fault::Malformed("the cursors cannot be read"))?;
    let (sink, scope, last) = (text(SINK)?, text(SCOPE)?, text(LAST)?);
    let mut loaded = Loaded { sink, scope, last, kinds, cursors, ..Loaded::default() };
    let time = |time: Option<i64>| match time.map(codec::timestamp) {
        Some(None) => Err(Fault::Malformed("a mark is not a time")),
        Some(time) => Ok(time),
        None => Ok(None),
    };
    for shard in transaction.open_table(SHARDS)?.iter()? {
        let (name, row) = shard?;
        let (number, since, full, held) = row.value();
        let mark = Mark { since: time(since)?, full: time(full)? };
        loaded.shards.push((name.value().into(), Shard::saved(number, mark, held)));
    }
    for save in transaction.open_table(JOURNAL)?.iter()? {
        let (number, bytes) = save?;
        let entries = codec::from_journal(bytes.value()).ok_or(Fault::Malformed("the journal cannot be read"))?;
        loaded.journal.push((number.value(), entries));
    }
    Ok(loaded)
}

/// The entries as they were at the last save that folded.
pub(super) struct Tables {
    blocks: ReadOnlyTable<&'static [u8], &'static [u8]>,
    open: ReadOnlyTable<&'static [u8], ()>,
}

type Found = Result<(Vec<u8>, Packed), Fault>;

impl Tables {
    pub(super) fn begin(database: &Database) -> Result<Self, Fault> {
        Ok(Self::open(&database.begin_read()?)?)
    }

    fn open(transaction: &ReadTransaction) -> Result<Self, TableError> {
        Ok(Self { blocks: transaction.open_table(BLOCKS)?, open: transaction.open_table(OPEN)? })
    }

    pub(super) fn entry(&self, key: &[u8]) -> Result<Option<Packed>, Fault> {
        blocks::entry(&self.blocks, key)
    }

    pub(super) fn entries<'a>(&self, keys: &'a Keys) -> Result<impl Iterator<Item = Found> + use<'a>, Fault> {
        blocks::entries(&self.blocks, keys)
    }

    /// The open entries of a range, but those of which the key is hidden.
    pub(super) fn open_entries(
        &self,
        keys: &Keys,
        is_hidden: impl Fn(&[u8]) -> bool,
    ) -> Result<impl Iterator<Item = Found>, Fault> {
        let range = self.open.range::<&[u8]>(keys.bounds())?;
        let shown = range.filter(move |found| !found.as_ref().is_ok_and(|(key, _)| is_hidden(key.value())));
        Ok(shown.map(|found| {
            let (key, _) = found?;
            let entry = self.entry(key.value())?.ok_or(Fault::Malformed("an open entry is missing"))?;
            Ok((key.value().to_vec(), entry))
        }))
    }
}

/// All that one save changes.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) save: Arc<Save>,
    /// What goes into the journal, in order.
    pub(super) journal: Vec<Put>,
    /// A block that gets larger than this is divided.
    pub(super) block: usize,
    pub(super) shards: Vec<(Arc<str>, Shard)>,
    pub(super) meta: Vec<(&'static str, String)>,
}

/// Does it durably, all of it or nothing.
pub(super) fn commit(database: &Database, batch: Batch) -> Result<(), Fault> {
    let Batch { save, journal, block, shards, meta } = batch;
    let transaction = database.begin_write()?;
    if !(journal.is_empty() && save.stale.is_empty()) {
        let mut table = transaction.open_table(JOURNAL)?;
        if !journal.is_empty() {
            table.insert(save.number, &codec::journal(&journal)[..])?;
        }
        for number in &save.stale {
            table.remove(number)?;
        }
    }
    if !save.part.is_empty() {
        fold(&transaction, &save.part, block)?;
    }
    if !shards.is_empty() {
        let mut table = transaction.open_table(SHARDS)?;
        for (name, Shard { number, mark, held, .. }) in shards {
            let [since, full] = [mark.since, mark.full].map(|time| time.map(codec::nanoseconds));
            table.insert(&*name, (number, since, full, held))?;
        }
    }
    if !meta.is_empty() {
        let mut table = transaction.open_table(META)?;
        for (name, text) in meta {
            table.insert(name, text.as_bytes())?;
        }
    }
    Ok(transaction.commit()?)
}

fn fold(transaction: &WriteTransaction, puts: &[Put], largest: usize) -> Result<(), Fault> {
    let mut open = transaction.open_table(OPEN)?;
    blocks::put(&mut transaction.open_table(BLOCKS)?, largest, puts, |(key, value), before| {
        let is_open = |value: Option<&Packed>| value.is_some_and(Packed::is_open);
        match (is_open(before.as_ref()), is_open(value.as_ref())) {
            (false, true) => _ = open.insert(&**key, ())?,
            (true, false) => _ = open.remove(&**key)?,
            _ => {}
        }
        Ok(())
    })
}

/// How many bytes of the file the tables take.
pub(super) fn used(database: &Database) -> Result<u64, Fault> {
    let transaction = database.begin_write()?;
    let stats = transaction.stats()?;
    let pages = stats.leaf_pages().saturating_add(stats.branch_pages());
    let used = pages.saturating_mul(stats.page_size() as u64);
    transaction.abort()?;
    Ok(used)
}
