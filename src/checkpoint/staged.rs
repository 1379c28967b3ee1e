//! A file whose writes wait in memory until it has been found good; of one that is only read, for ever.
//!
//! Checking a database, and repairing what a killed run left, writes. Until the file is known to be ours and of a format that we
//! know, it stays as it is.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock};

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};

const BLOCK: u64 = 4096;

#[derive(Clone, Debug)]
pub(super) struct Staged(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    file: FileBackend,
    /// Others may read the file at the same time.
    shares: bool,
    /// `None` once writes go to the file.
    stage: RwLock<Option<Stage>>,
}

#[derive(Debug)]
struct Stage {
    length: u64,
    /// How much of the file is still its own: what is cut off does not come back.
    kept: u64,
    blocks: BTreeMap<u64, Vec<u8>>,
}

impl Staged {
    pub(super) fn new(file: FileBackend, shares: bool) -> io::Result<Self> {
        let stage = RwLock::new(Some(Stage::of(&file)?));
        Ok(Self(Arc::new(Inner { file, shares, stage })))
    }

    /// Looks at the file again: before it was locked, another process may have written to it.
    fn locked(&self, is_locked: bool) -> Result<bool, BackendError> {
        let mut stage = self.0.stage.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(stage) = stage.as_mut().filter(|stage| is_locked && stage.blocks.is_empty()) {
            *stage = Stage::of(&self.0.file).map_err(BackendError::Io)?;
        }
        Ok(is_locked)
    }

    /// Writes what has been waiting; from now on nothing waits. The first block, which says where everything else is, comes last:
    /// until then the file is what it was.
    pub(super) fn release(&self) -> io::Result<()> {
        let mut stage = self.0.stage.write().unwrap_or_else(PoisonError::into_inner);
        let Some(Stage { length, blocks, .. }) = stage.take() else { return Ok(()) };
        let file = &self.0.file;
        if length > file.len()? {
            file.set_len(length)?;
        }
        let write = |(number, block): (&u64, &Vec<u8>)| {
            let offset = number * BLOCK;
            let within = usize::try_from(length.saturating_sub(offset)).unwrap_or(usize::MAX);
            file.write(offset, block.get(..within).unwrap_or(block))
        };
        if !blocks.is_empty() {
            blocks.range(1..).try_for_each(write)?;
            file.sync_data()?;
            blocks.range(..1).try_for_each(write)?;
            file.sync_data()?;
        }
        if length < file.len()? {
            file.set_len(length)?;
        }
        Ok(())
    }

    /// Does this to the file, or to what waits.
    fn on<T>(
        &self,
        to_file: impl FnOnce(&FileBackend) -> io::Result<T>,
        to_stage: impl FnOnce(&FileBackend, &mut Stage) -> io::Result<T>,
    ) -> io::Result<T> {
        let file = &self.0.file;
        // Once the file is written to, nobody waits for another here.
        if self.0.stage.read().unwrap_or_else(PoisonError::into_inner).is_none() {
            return to_file(file);
        }
        match self.0.stage.write().unwrap_or_else(PoisonError::into_inner).as_mut() {
            Some(stage) => to_stage(file, stage),
            None => to_file(file),
        }
    }
}

impl Stage {
    fn of(file: &FileBackend) -> io::Result<Self> {
        let length = file.len()?;
        Ok(Self { length, kept: length, blocks: BTreeMap::new() })
    }

    fn read(&self, file: &FileBackend, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let end = offset.saturating_add(out.len() as u64);
        if end > self.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.read_file(file, offset, out)?;
        for (number, block) in self.blocks.range(offset / BLOCK..end.div_ceil(BLOCK)) {
            let start = number * BLOCK;
            let (skip_block, skip_out) = (gap(start, offset), gap(offset, start));
            out.iter_mut().skip(skip_out).zip(block.iter().skip(skip_block)).for_each(|(to, from)| *to = *from);
        }
        Ok(())
    }

    /// What the file says; beyond it are zeros.
    fn read_file(&self, file: &FileBackend, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let of_file = gap(offset, self.kept).min(out.len());
        let (of_file, beyond) = out.split_at_mut(of_file);
        beyond.fill(0);
        if of_file.is_empty() { Ok(()) } else { file.read(offset, of_file) }
    }

    fn write(&mut self, file: &FileBackend, offset: u64, data: &[u8]) -> io::Result<()> {
        let end = offset.saturating_add(data.len() as u64);
        for number in offset / BLOCK..end.div_ceil(BLOCK) {
            let start = number * BLOCK;
            let mut block = match self.blocks.remove(&number) {
                Some(block) => block,
                None => {
                    let mut block = vec![0; gap(0, BLOCK)];
                    self.read_file(file, start, &mut block)?;
                    block
                }
            };
            let (skip_block, skip_data) = (gap(start, offset), gap(offset, start));
            block.iter_mut().skip(skip_block).zip(data.iter().skip(skip_data)).for_each(|(to, from)| *to = *from);
            self.blocks.insert(number, block);
        }
        self.length = self.length.max(end);
        Ok(())
    }

    fn set_len(&mut self, length: u64) {
        if length < self.length {
            self.kept = self.kept.min(length);
            self.blocks.retain(|number, _| number * BLOCK < length);
            // What is cut off within a block is zeros if the file grows again.
            if let Some(mut last) = self.blocks.last_entry() {
                let within = gap(last.key() * BLOCK, length);
                last.get_mut().iter_mut().skip(within).for_each(|byte| *byte = 0);
            }
        }
        self.length = length;
    }
}

/// How far it is from one offset forward to another; zero if that lies before it.
fn gap(from: u64, to: u64) -> usize {
    usize::try_from(to.saturating_sub(from)).unwrap_or(usize::MAX)
}

type End = Bound<u64>;

impl StorageBackend for Staged {
    fn len(&self) -> io::Result<u64> {
        self.on(StorageBackend::len, |_, stage| Ok(stage.length))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        // Only one of both is called.
        let out = std::cell::RefCell::new(out);
        self.on(
            |file| file.read(offset, &mut out.borrow_mut()),
            |file, stage| stage.read(file, offset, &mut out.borrow_mut()),
        )
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.on(
            |file| file.set_len(length),
            |_, stage| {
                stage.set_len(length);
                Ok(())
            },
        )
    }

    fn sync_data(&self) -> io::Result<()> {
        self.on(StorageBackend::sync_data, |_, _| Ok(()))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.on(|file| file.write(offset, data), |file, stage| stage.write(file, offset, data))
    }

    fn close(&self) -> io::Result<()> {
        self.0.file.close()
    }

    fn try_lock_range(&self, start: End, end: End) -> Result<bool, BackendError> {
        let file = &self.0.file;
        self.locked(if self.0.shares {
            file.try_lock_shared_range(start, end)
        } else {
            file.try_lock_range(start, end)
        }?)
    }

    fn try_lock_shared_range(&self, start: End, end: End) -> Result<bool, BackendError> {
        self.0.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: End, end: End) -> Result<(), BackendError> {
        if self.0.shares { self.0.file.lock_shared_range(start, end) } else { self.0.file.lock_range(start, end) }
    }

    fn lock_shared_range(&self, start: End, end: End) -> Result<(), BackendError> {
        self.0.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: End, end: End) -> Result<(), BackendError> {
        self.0.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: End, end: End) -> Result<bool, BackendError> {
        self.0.file.query_lock_range(start, end)
    }
}
