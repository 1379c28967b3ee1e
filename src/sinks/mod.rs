//! Catalogs that receive changes.
//!
//! A new kind of sink needs a folder here that implements [`crate::engine::Sink`] and depends on no other sink and no
//! source, and an arm of the match in `run.rs`. The engine owns what all sinks share: order, retries, batching, and
//! rejected parcels.

pub(crate) mod answers;
pub(crate) mod entities;
pub(crate) mod preview;
pub(crate) mod webhook;
