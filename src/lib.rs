//! Keeps a Port catalog in step with an Azure estate.
//!
//! A run compares what the source shows with what it remembers of the catalog, and sends the difference. Data comes in at the
//! left and leaves at the right; what became of it goes back along one wire.
//!
//! ```text
//!                ┌ resource_graph ┐                                            ┌ webhook  ┐
//! config ─▶ azure┤                ├─ findings ─▶ engine: decide, order, deliver ┤ entities ├─▶ Port
//!                └ directory      ┘ ◀─ questions ── replica ◀── outcomes ───────┘ preview  └
//!                                            one file: entries, marks            ─▶ report, exit code
//! ```
//!
//! The binary is thin: it parses, logs, calls [`run()`], and exits. Everything else is here. Most modules are private to the
//! crate; `cargo doc --document-private-items --open` shows them.
//!
//! # The rooms
//!
//! | room | owns |
//! | --- | --- |
//! | [`cli`] | the command line: syntax and help, every value still a string |
//! | [`config`] | strings to typed, bounded settings; all invalid ones are reported at once |
//! | `http` | the client, one bounded attempt, errors and what they say, bounded JSON |
//! | `model` | ids, changes, findings: plain data that knows no vendor |
//! | `engine` | what is read, decided, intended, posted and settled; the traits of source, sink and replica |
//! | [`azure`] | signing in, Resource Manager, the list of subscriptions, whether something exists |
//! | `sources::resource_graph` | query texts, quota, pages and their proof, coverage, rows as findings |
//! | `sources::directory` | Microsoft Graph: deltas and their links, objects as rows, the members of groups |
//! | `port` | Port's API: its token, its limits, one attempt at a request, entities in bulk |
//! | `jq` | jq as Port evaluates it, bounded in time, memory and stack |
//! | `mapping` | a mapping of Port's exporters: the entities that a row becomes |
//! | `comparison` | entities as Port holds them, beside what a mapping makes of a row |
//! | `sinks::answers` | whose fault it is that a post was not accepted |
//! | `sinks::webhook` | the envelope, its signature and its post, and whether Port shows what was posted |
//! | `sinks::entities` | mapped entities, written in bulk |
//! | `sinks::preview` | a dry run |
//! | `checkpoint` | the replica in one file: an embedded database, its integrity, what is set aside |
//! | [`report`], [`actions`], `progress` | the run in numbers, for a person, a machine, or GitHub |
//! | `run` | one run: discover, plan, transfer, settle |
//! | [`commands`] | what is not a run: check, checkpoint, drift, forget's question, init, queries, completions, the manual |
//!
//! Each room may also use the utilities: [`error`] (exit codes, and what every error must say of them), `text` (makes words from
//! outside safe to print), `secrets` (hides them there), `files`, `offload` (another thread for what takes long), `retry`,
//! [`freshness`], [`logging`], [`signals`], `id`. `pure` is for the bench and the fuzz targets. The tables in `tests/house.rs`
//! say which room may import which, and fail what they do not allow.
//!
//! So a further source comes in beside `resource_graph`, or a further sink beside `webhook`, as one folder and one match arm in
//! `run`, without a change to the other side.
//!
//! # The rules of the engine
//!
//! `engine::rules` names them. In short: the checkpoint holds one entry for each entity of the catalog. A source says what is
//! present, gone or missed, and which shards an answer covered. The engine compares, writes down durably what it is about to
//! post, posts, and settles the answers. Marks follow reading alone: what was not delivered is an entry that says so, asked for
//! by id and sent again in the next run. `engine::model_test` plays random histories against these rules.
//!
//! # Where to begin a common change
//!
//! - **A setting**: [`cli::Settings`], then [`config`]; `--help`, the table in `docs/settings.md` and `.env.example` are held together by tests.
//! - **A column of the envelope**: `resource_graph::queries`, and the list in `tests/kql/check.mjs`. Rows pass through, so nothing
//!   else changes unless the program itself has to know the column: then `resource_graph::row`.
//! - **A kind of credential**: [`config::Identity`], then `azure::credential`.
//! - **When something is sent, or not**: `engine::decide`; show the history that needs it in `engine::model_test`.
//! - **A kind of sink**: a folder in `sinks`, and a match arm in `run`.
//! - **A message**: where it arises, with what to do about it; its row in `docs/troubleshooting.md`.
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
