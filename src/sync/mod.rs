//! From an estate to the changes that its catalog needs: what to read, in which order, and what of it to send.

pub(crate) mod change;
pub(crate) mod full;
pub(crate) mod incremental;
pub(crate) mod outbox;
