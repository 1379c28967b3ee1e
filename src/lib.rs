//! Keeps a Port catalog in sync with an Azure estate.
//!
//! A run compares what the source returns with what it remembers of the catalog, and sends the differences. Data enters
//! on the left and leaves on the right; the outcomes flow back along one path.
//!
//! ```text
//!                ┌ resource_graph ┐                                            ┌ webhook  ┐
//! config ─▶ azure┤                ├─ findings ─▶ engine: decide, order, deliver ┤ entities ├─▶ Port
//!                └ directory      ┘ ◀─ questions ── replica ◀── outcomes ───────┘ preview  └
//!                                            one file: entries, marks            ─▶ report, exit code
//! ```
//!
//! The binary is thin: it parses, logs, calls [`run()`], and exits. Everything else is here. Most modules are private;
//! `cargo doc --document-private-items --open` shows them.
//!
//! # Modules
//!
//! | module | owns |
//! | --- | --- |
//! | [`cli`] | the command line: syntax and help; all values are still strings |
//! | [`config`] | parsing strings into typed, bounded settings; reports all invalid ones at once |
//! | `http` | the client, one bounded attempt, errors and their messages, bounded JSON |
//! | `model` | ids, changes, findings: plain, vendor-neutral data |
//! | `engine` | what to read, decide, record, post and settle; the traits for sources, sinks and the replica |
//! | [`azure`] | sign-in, Resource Manager, the list of subscriptions, whether a resource exists |
//! | `sources::resource_graph` | query texts, quota, pages and their proof, coverage, rows as findings |
//! | `sources::directory` | Microsoft Graph: deltas and their links, objects as rows, group members |
//! | `port` | Port's API: its token, its rate limits, one attempt at a request, bulk requests |
//! | `jq` | jq as Port evaluates it, bounded in time, memory and stack |
//! | `mapping` | a mapping of Port's exporters: the entities that a row becomes |
//! | `comparison` | comparing Port's entities with those that a mapping makes |
//! | `sinks::answers` | who is at fault if a post was not accepted |
//! | `sinks::webhook` | the envelope, its signature and its post, and whether Port shows the result |
//! | `sinks::entities` | mapped entities, written in bulk |
//! | `sinks::preview` | a dry run |
//! | `checkpoint` | the replica in one file: an embedded database, its integrity, files set aside |
//! | [`report`], [`actions`], `progress` | the run in numbers, for people, programs and GitHub |
//! | `run` | one run: discover, plan, transfer, settle |
//! | [`commands`] | other commands: check, checkpoint, drift, forget's prompt, init, queries, completions, the manual |
//!
//! Every module may also use the utilities: [`error`] (exit codes, and what every error must define for them), `text`
//! (makes text from outside safe to print), `secrets` (hides them in such text), `files`, `offload` (another thread for
//! long computations), `retry`, [`freshness`], [`logging`], [`signals`], `id`. `pure` is for the bench and the fuzz
//! targets. The tables in `tests/house.rs` define which module may import which, and the tests there enforce them.
//!
//! So a new source next to `resource_graph`, or a new sink next to `webhook`, is one folder and one match arm in `run`,
//! without a change to the other side.
//!
//! # The rules of the engine
//!
//! `engine::rules` lists them. In short: the checkpoint holds one entry for each entity of the catalog. A source says
//! what is present, gone or missed, and which shards an answer covered. The engine compares, durably records what it is
//! about to post, posts, and settles the answers. Marks follow reading only: an undelivered change is recorded in its
//! entry, is asked for by id, and is sent again in the next run. `engine::model_test` plays random histories against
//! these rules.
//!
//! # Where to start common changes
//!
//! - **A setting**: [`cli::Settings`], then [`config`]. Tests check that `--help`, the table in `docs/settings.md` and
//!   `.env.example` agree.
//! - **A column of the envelope**: `resource_graph::queries`, and the list in `tests/kql/check.mjs`. Rows pass through
//!   unchanged, so nothing else changes unless the program itself needs the column: then `resource_graph::row`.
//! - **A kind of credential**: [`config::Identity`], then `azure::credential`.
//! - **When something is sent**: `engine::decide`; add the history that needs it to `engine::model_test`.
//! - **A kind of sink**: a folder in `sinks`, and a match arm in `run`.
//! - **A message**: where the error occurs, with advice; and its row in `docs/troubleshooting.md`.
//! - **What a service answers**: the sandbox in `crates/sandbox/`, which tests, demo and bench share.
//!
//! # General rules
//!
//! - Ids are only compared in lower case; times are Azure's, not this machine's.
//! - A page of rows is parsed once, and a row is copied once, into the body of its post; memory use is a few pages,
//!   however large the estate.
//! - An answer counts once its rows are proven complete, and a change once Port has accepted it.
//! - Text from outside is data: it is escaped in queries, logs and summaries, and none of them show secrets.

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
pub(crate) mod comparison;
pub mod config;
pub(crate) mod engine;
pub mod error;
pub(crate) mod files;
pub mod freshness;
pub(crate) mod http;
pub(crate) mod id;
pub(crate) mod jq;
pub mod logging;
pub(crate) mod mapping;
pub(crate) mod model;
pub(crate) mod offload;
pub(crate) mod port;
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

pub use engine::Vanished;
pub use run::{Work, run, unfinished};
