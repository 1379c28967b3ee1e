//! Keeps a Port catalog in step with an Azure estate.
//!
//! One run has one direction of flow. Data comes in at the left and leaves at the right; nothing flows back.
//!
//! ```text
//! env/flags ─▶ Config ─▶ credential ─▶ subscriptions ─▶ queries ─▶ pages of rows ─▶ changes ─▶ envelopes ─▶ webhook ─▶ report
//!                                └──────────── azure ────────────┘      └ sync ┘   └─────── port ───────┘
//! ```
//!
//! The binary is thin: it parses, logs, calls [`run`], and exits. All else is here. Most modules are private to the crate;
//! `cargo doc --document-private-items --open` shows them.
//!
//! # The modules, in the order of the flow
//!
//! | module | owns |
//! | --- | --- |
//! | [`cli`] | the command line: syntax and help, every value still a string |
//! | [`config`] | strings to typed, bounded settings; every wrong one told at once |
//! | `http` | the client, one bounded attempt, and the one rule by which attempts are repeated |
//! | `azure::credential`, `azure::sign_in` | a token, and how credentials reach the world |
//! | `azure::arm` | an authorised request to Resource Manager, within its rate |
//! | `azure::subscriptions` | what the principal can read |
//! | `azure::kql`, `azure::queries` | the text of the queries; the only place where a user's text enters them |
//! | `azure::quota`, `azure::graph` | asking Resource Graph: pages, the proof that nothing is missing, partitions |
//! | `sync::plan`, `sync::resume` | what a run reads of each subscription, and why |
//! | `sync::change`, `sync::story` | a row with its key fields typed; the rest passes through as it came |
//! | `sync::incremental`, `sync::full`, `sync::crossing`, `sync::resend` | the ways to read an estate |
//! | `sync::ledger` | what is to be sent, with a checkpoint: scope, pending, delivered before |
//! | `sync::checkpoint`, `sync::store` | what is remembered between runs, and its file |
//! | `sync::outbox` | the order in which changes must arrive, and the parents that they need |
//! | `port::envelope`, `port::signature` | a change as Port's mapping reads it, and its signature |
//! | `port::webhook`, `port::preview` | posting, or printing in a dry run |
//! | `port::dead_letter` | envelopes that Port refused for themselves |
//! | `tally`, [`freshness`] | what became of the envelopes |
//! | [`report`], [`actions`] | the run in numbers, for a person, a machine, or GitHub |
//! | [`error`] | what can end a run badly, and the one way from there to an exit code |
//!
//! Beside the flow stand [`check`] (the same parts, asked one by one), [`commands`] (what only prints), [`logging`],
//! [`signals`], `progress`, `text`, which makes words from outside safe to print, `secrets`, which it hides in them, `files`,
//! which are ours alone, and `pure`, by which the bench and the fuzz targets reach the parts that compute.
//!
//! A module imports nothing that stands later in the flow; only this file sees both ends. So a second source can come in beside
//! `azure`, or a second sink beside `port`, without a change to the other side.
//!
//! # Where to begin a common change
//!
//! - **A setting**: [`cli::Settings`], then [`config`]; `--help`, the README's table and `.env.example` are held together by tests.
//! - **A column of the envelope**: `azure::queries`, and the list in `tests/kql/check.mjs`. Rows pass through, so nothing else
//!   changes unless the program itself has to know the column: then `sync::change`.
//! - **A kind of credential**: [`config::Identity`], then `azure::credential`.
//! - **When something is sent, or not**: `sync::ledger` with a checkpoint, `sync::outbox` without.
//! - **A message**: where it arises; what to do about it, in [`error`]; its row in `docs/troubleshooting.md`.
//! - **What a service answers**: the sandbox in `crates/sandbox/`, which tests, demo and bench share.
//!
//! # What holds everywhere
//!
//! - Ids are compared in lower case only; times are Azure's, not this machine's.
//! - A page of rows is parsed once, and a row copied once, into the body that it is posted in; memory is a few pages, however
//!   large the estate.
//! - An answer counts when its rows are proven complete, a change when Port has accepted it.
//! - Text from outside is data: it is escaped in queries, logs and summaries, and secrets show in none of them.

#![warn(clippy::pedantic)]
#![allow(
    clippy::cast_precision_loss,
    clippy::doc_markdown,
    clippy::format_collect,
    clippy::format_push_string,
    clippy::match_same_arms,
    clippy::missing_errors_doc,
    clippy::must_use_candidate,
    clippy::return_self_not_must_use,
    clippy::similar_names,
    clippy::single_match_else,
    reason = "of taste: errors are told in a sentence, help texts are no Markdown, figures for people may be rounded"
)]

pub mod actions;
pub mod azure;
mod checkpoint;
pub mod cli;
pub mod commands;
pub mod config;
pub(crate) mod engine;
pub mod error;
pub(crate) mod files;
pub mod freshness;
pub(crate) mod http;
pub(crate) mod id;
pub mod logging;
pub(crate) mod model;
pub(crate) mod progress;
#[doc(hidden)]
pub mod pure;
pub mod report;
pub(crate) mod retry;
mod run;
pub(crate) mod secrets;
pub mod signals;
pub(crate) mod sinks;
pub(crate) mod sources;
pub(crate) mod text;

pub use run::{Work, run};
