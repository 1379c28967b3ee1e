//! The real binary, from environment to exit code, against a small Azure and a small Port over TLS.
//!
//! Everything is in one crate, so that it is linked only once.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that panics has failed, which is what it is for"
)]

#[path = "../soak/engine.rs"]
mod engine;
mod harness;

// Tests start in order of their names. These take the longest, so they come first.
mod across_subscriptions;
mod across_tenants;
mod at_the_webhook;

mod check;
mod command_line;
mod configuration;
mod convergence;
mod credentials;
mod documentation;
mod drift;
mod entities;
mod entra;
mod entra_memberships;
mod entra_sign_ins;
mod envelopes;
mod filters;
mod forget;
mod full;
mod interrupted;
mod living;
mod matrix;
mod memory;
mod operator;
mod pruning;
mod queries;
mod quiet;
mod reading;
mod reliability;
mod remembered;
mod replica;
mod report;
mod safety;
mod setting_up;
mod settings;
mod sign_in;
mod signing;
mod stopping;
mod verifying;
