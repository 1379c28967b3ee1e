//! Catalogs that take changes.
//!
//! A new kind of sink is a folder here, which implements [`crate::engine::Sink`] and knows no other sink and no source, and an arm
//! of the match in `run.rs` that chooses one. All that sinks have in common is the engine's: order, retries, what is posted
//! together, and what becomes of the rejected.

pub(crate) mod answers;
pub(crate) mod entities;
pub(crate) mod preview;
pub(crate) mod webhook;
