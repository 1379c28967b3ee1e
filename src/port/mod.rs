//! Port's side: envelopes, and the webhook that takes them.
//!
//! A webhook answers 202 before its mapping is applied ("Webhook", Port's documentation). So what is known here is that Port has
//! an envelope, not what became of it; all else about the mapping shows in Port's audit log only.

pub(crate) mod dead_letter;
pub(crate) mod envelope;
pub(crate) mod preview;
pub(crate) mod signature;
pub(crate) mod webhook;
