//! The middle: compares what a source shows with what the replica holds, and sends the difference to a sink.
//!
//! It knows changes, shards, containers and leaves, and no vendor.
#![allow(dead_code, reason = "being built beside what it replaces")]

mod replica;
mod sink;
mod source;

pub(crate) use replica::{Absent, Content, Entry, Mark, Replica, State, Terms};
pub(crate) use sink::{Fault, Limits, Outcome, Parcel, Sink, SinkError};
pub(crate) use source::{Answer, Found, Intake, Reading, Source, Window};
