//! The vocabulary of sources, engine, sinks and checkpoint: plain data that knows no vendor.

mod change;
mod finding;
mod id;
mod names;

pub(crate) use change::{Actor, Change, Operation};
pub(crate) use finding::{Finding, Record, RecordKind, Scope};
pub(crate) use id::{ById, Id, Ids, Stage};
pub(crate) use names::Names;
