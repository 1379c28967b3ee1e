//! Port's side: envelopes, and the webhook that takes them.

pub(crate) mod dead_letter;
pub(crate) mod envelope;
pub(crate) mod preview;
pub(crate) mod signature;
pub(crate) mod webhook;
