//! Whether a rejection is the fault of what was sent.

use super::{Engine, Fatal, Replica, Shard, Source, State};

impl<S: Source, R: Replica> Engine<'_, S, R> {
    /// Takes back what was noted as rejected in this run: the sink accepted nothing, so it may be the sink that is wrong. It is
    /// sent again.
    pub(crate) fn distrust_rejections(&self, listed: &[Shard]) -> Result<(), Fatal<R::Error>> {
        for shard in listed {
            self.each_entry(&shard.id, |id, entry| match entry.state {
                State::Refused(_) if entry.at == Some(self.start) => self.put(&id, entry.doubted()),
                _ => Ok(()),
            })?;
        }
        Ok(())
    }
}
