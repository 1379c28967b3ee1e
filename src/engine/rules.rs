//! The rules of the replica by name. Each can be taken out in a test, which must then find a history that goes wrong.

/// A rule that the engine follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Rule {
    /// Records are read again over the overlap.
    Overlap,
    /// A mark moves only after an answer that was complete.
    Proof,
    /// A mark moves only after an answer that looked at the shard.
    Cover,
    /// All rows are read again after a day.
    Daily,
    /// The first full read of a shard counts once another one agrees with it.
    Confirmed,
    /// A full read reads the records as well.
    FullRecords,
    /// Without a mark, all records that are kept are read.
    Retention,
    /// What is missing from a full read is asked for.
    Suspects,
    /// What is missed is noted before it is asked for.
    Noted,
    /// What is new, has a record and no row, is watched.
    WatchNew,
    /// What is held, has a record and no row, is asked for.
    DoubtHeld,
    /// What is unknown is asked for.
    AskUnknown,
    /// What is in a container that is missed is asked for with it.
    Along,
    /// What was deleted for being absent, or never showed, is asked for once an hour.
    Watch,
    /// The watch begins when the delete was accepted.
    WatchAnew,
    /// An answer that did not look at a shard says nothing of what is missing.
    Covering,
    /// What is missing is gone only after a while.
    Wait,
    /// A mass of what is missing is gone only after a day.
    Guard,
    /// What a record says is deleted needs no wait.
    Proven,
    /// A container's own row decides its scope.
    OwnScope,
    /// A container whose scope differs from its entry's is read afresh.
    Differs,
    /// A container whose fresh record may have moved it is read afresh.
    Afresh,
    /// What a container that is read afresh holds is in doubt until it was sent.
    OneWrite,
    /// A container that is gone by proof takes along what is in it.
    GoneChildren,
    /// A record that is newer than what was sent last makes it be sent.
    Fresh,
    /// What was rejected is not sent again as it is.
    Refused,
    /// A fresh delete is sent though nothing is held.
    GoneFresh,
    /// No delete is sent of what is in a container that is known to be out of scope …
    KnownOut,
    /// … and was before the window.
    KnownSince,
    /// A deleted entity is remembered while its record may be read again.
    Tombstone,
    /// Parents are settled before their children are sent.
    Order,
    /// One content of an entity in a run.
    Once,
    /// What is about to be posted is in doubt, durably.
    Intend,
    /// The children of a parent that was not there are sent again.
    Relation,
    /// A parent that was there keeps its children.
    There,
    /// With another sink nothing holds.
    Sink,
    /// With another scope everything is compared.
    Scope,
    /// What is older than the records are kept does not hold.
    Old,
    /// An entity with which every query fails holds up no other.
    Poison,
}

/// Whether the engine follows a rule: it does.
#[cfg(not(test))]
pub(crate) const fn holds(_: Rule) -> bool {
    true
}

#[cfg(test)]
pub(crate) use switched::{holds, without};

#[cfg(test)]
mod switched {
    use std::cell::Cell;

    use super::Rule;

    thread_local! {
        static OFF: Cell<Option<Rule>> = const { Cell::new(None) };
    }

    pub(crate) fn holds(rule: Rule) -> bool {
        OFF.get() != Some(rule)
    }

    /// Does something without a rule.
    pub(crate) fn without<T>(rule: Option<Rule>, act: impl FnOnce() -> T) -> T {
        OFF.set(rule);
        let result = act();
        OFF.set(None);
        result
    }
}
