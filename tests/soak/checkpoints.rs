//! What happens to a checkpoint between two runs.

use super::story::{Plot, Story};

/// Snapshots kept, covering eight hours.
const KEPT: usize = 24;

/// The checkpoint after a run.
pub(crate) struct Snapshot {
    bytes: Vec<u8>,
    /// The start of the last run that left nothing to do.
    right_at: i64,
}

impl<P: Plot> Story<P> {
    /// Keeps a copy of the current checkpoint.
    pub(crate) fn keep_checkpoint(&mut self) {
        if let Ok(bytes) = std::fs::read(self.workflows[0].file()) {
            self.snapshots.push(Snapshot { bytes, right_at: self.right_at });
        }
        self.snapshots.drain(..self.snapshots.len().saturating_sub(KEPT));
    }

    /// Restores one of the copies.
    pub(crate) fn roll_back(&mut self) {
        if let Some(Snapshot { bytes, right_at }) = self.snapshots.get(self.rng.below(self.snapshots.len())) {
            std::fs::write(self.workflows[0].file(), bytes).unwrap();
            self.right_at = *right_at;
        }
    }

    /// Deletes it, truncates it or flips a bit.
    pub(crate) fn lose_checkpoint(&mut self) {
        let file = self.workflows[0].file();
        let Ok(mut bytes) = std::fs::read(file) else { return };
        let at = self.rng.below(bytes.len());
        match self.rng.below(3) {
            0 => return std::fs::remove_file(file).unwrap(),
            1 => bytes.truncate(at),
            _ => bytes[at] ^= 0x40,
        }
        std::fs::write(file, bytes).unwrap();
    }
}
