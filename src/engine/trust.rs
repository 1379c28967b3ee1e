//! Whether the rejected parcels are to blame for their rejections.

use super::{Engine, Fatal, Replica, Shard, Source, State};

impl<S: Source, R: Replica> Engine<'_, S, R> {
    /// Takes back the rejections noted in this run: the sink accepted nothing, so the sink itself may be at fault. The
    /// entities are sent again.
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
