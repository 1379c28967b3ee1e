//! The middle: compares what a source shows with what the replica holds, and sends the difference to a sink.
//!
//! It knows changes, shards, containers and leaves, and no vendor.
#![allow(dead_code, reason = "being built beside what it replaces")]

mod dead_letters;
mod delivery;
mod health;
mod replica;
mod sink;
mod source;
mod tally;

pub(crate) use dead_letters::{DeadLetterError, DeadLetters};
pub(crate) use delivery::{Delivered, Delivery, DeliveryError, LANDING, Order, Wave};
pub(crate) use replica::{Absent, Content, Entry, Mark, Replica, State, Terms};
pub(crate) use sink::{Fault, Letter, Limits, Outcome, Parcel, Receipt, Sink, SinkError};
pub(crate) use source::{Answer, Found, Intake, Reading, Source, Window};
pub(crate) use tally::{KindCounts, Settled, Tally};
