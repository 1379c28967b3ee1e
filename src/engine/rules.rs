//! The engine's rules by name. A test can switch each one off, and must then find a history that goes wrong.

/// A rule that the engine follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Rule {
    /// Records are read again over the overlap.
    Overlap,
    /// A mark moves only after a complete answer.
    Proof,
    /// A mark moves only after an answer that covers the shard.
    Cover,
    /// All rows are read again after a day.
    Daily,
    /// The first full read of a shard counts once another one agrees with it.
    Confirmed,
    /// A full read reads the records as well.
    FullRecords,
    /// Without a mark, all records that are kept are read.
    Retention,
    /// Entities missing from a full read are asked for.
    Suspects,
    /// Missing entities are noted before they are asked for.
    Noted,
    /// A new entity with a record but no row is watched.
    WatchNew,
    /// A held entity with a record but no row is asked for.
    DoubtHeld,
    /// Entities in an unknown state are asked for.
    AskUnknown,
    /// Entities in a missing container are asked for along with it.
    Along,
    /// Entities that were deleted for being absent, or never showed, are asked for once an hour.
    Watch,
    /// The watch restarts when the delete is accepted.
    RestartWatch,
    /// An answer that does not cover a shard says nothing about entities missing from it.
    Covering,
    /// A missing entity counts as gone only after a while.
    Wait,
    /// If very many entities are missing, they count as gone only after a day.
    Guard,
    /// An entity that a record says was deleted counts as gone at once.
    Proven,
    /// A container's own row decides its scope.
    OwnScope,
    /// A container whose scope differs from its entry's is re-read.
    Differs,
    /// A container whose fresh record may have changed its scope is re-read.
    Reread,
    /// Everything in a container that is re-read is in doubt until it is sent.
    OneWrite,
    /// A container that is proven gone takes its contents along.
    GoneChildren,
    /// A record newer than what was sent last makes the entity be sent again.
    Fresh,
    /// A rejected entity is not sent again unchanged.
    Refused,
    /// A fresh delete is sent even if nothing is held.
    GoneFresh,
    /// No delete is sent for an entity in a container that is known to be out of scope …
    KnownOut,
    /// … since before the window.
    KnownSince,
    /// A deleted entity is remembered while its record may be read again.
    Tombstone,
    /// Parents are settled before their children are sent.
    Order,
    /// A run sends only one content of an entity.
    Once,
    /// An entity is marked as in doubt, durably, before it is posted.
    Intend,
    /// The children of a parent that was missing are sent again.
    Relation,
    /// The children of a parent that was there are not sent again.
    There,
    /// With another sink, no entry is valid.
    Sink,
    /// With another scope, everything is compared.
    Scope,
    /// Entries older than the retention of records are not valid.
    Old,
    /// An entity that makes every query fail does not hold up the others.
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

    /// Runs `act` without a rule.
    pub(crate) fn without<T>(rule: Option<Rule>, act: impl FnOnce() -> T) -> T {
        OFF.set(rule);
        let result = act();
        OFF.set(None);
        result
    }
}
