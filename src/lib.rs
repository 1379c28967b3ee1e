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
pub mod check;
pub mod cli;
pub mod commands;
pub mod config;
pub mod error;
pub(crate) mod files;
pub mod freshness;
pub(crate) mod http;
pub(crate) mod id;
pub(crate) mod init;
pub mod logging;
pub(crate) mod manual;
pub(crate) mod port;
pub(crate) mod progress;
#[doc(hidden)]
pub mod pure;
pub mod report;
pub(crate) mod secrets;
pub mod signals;
pub(crate) mod sync;
pub(crate) mod tally;
pub(crate) mod text;

use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::{FutureExt, Shared};
use jiff::{SignedDuration, Timestamp};

use azure::arm::Arm;
use azure::graph::{Graph, GraphError};
use azure::queries::{Groups, Part, Query, Which};
use azure::subscriptions;
use config::{Config, Mode, Payload, QueryConfig};
use error::{RunError, Stop};
use http::Http;
use port::dead_letter::DeadLetters;
use port::preview;
use port::webhook::{Outcome, Webhook};
use progress::Seen;
use report::Report;
use sync::change::Change;
use sync::outbox::Outbox;
use sync::resume::{Found, Plan};
use sync::{full, incremental, plan, resend};
use tally::Tally;
use text::Inert;

/// What a run is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// Read what the mode and the checkpoint say, and deliver it.
    Sync,
    /// Deliver what these lower-case ids name, as it is now.
    Resend(Vec<String>),
}

/// One run: reads, delivers, and tells what happened. Errors are logged as they arise. When `stop` is ready, the run ends in
/// good order.
pub async fn run(config: &Config, work: &Work, stop: impl Future<Output = Stop>) -> Report {
    let started = Instant::now();
    let mut report = Report::new(match work {
        Work::Sync => config.mode.name(),
        Work::Resend(_) => "resend",
    });
    report.dry_run = config.dry_run;
    let stop = async {
        tokio::select! {
            stop = stop => stop,
            () = sleep_for(config.run_timeout) => Stop::TimedOut,
        }
    }
    .shared();
    if let Err(error) = Box::pin(execute(config, work, stop, &mut report)).await {
        report.fail(&error);
    }
    report.elapsed = started.elapsed();
    report
}

async fn sleep_for(timeout: Option<Duration>) {
    match timeout {
        Some(timeout) => tokio::time::sleep(timeout).await,
        None => std::future::pending().await,
    }
}

async fn execute<S>(config: &Config, work: &Work, stop: Shared<S>, report: &mut Report) -> Result<(), RunError>
where
    S: Future<Output = Stop>,
{
    // Whatever must be there is looked for before anything is sent.
    let http = Arc::new(Http::new(config.port.concurrency.get(), config.limits.clone())?);
    let webhook = match &config.port.ingest_url {
        Some(url) if !config.dry_run => Some(Webhook::new(&config.port, url, &http)?),
        _ => None,
    };
    let dead_letters =
        config.dead_letter_file.as_deref().filter(|_| !config.dry_run).map(DeadLetters::open).transpose()?;
    let found = Found::open(config).await?;
    if let (Some(found), Work::Sync) = (&found, work) {
        found.check_filters(config.mode)?;
    }
    let session = async {
        let arm = Arm::new(&config.azure, Arc::clone(&http))?;
        sync(config, work, arm, webhook.as_ref(), found, Tally::new(dead_letters), stop, report).await
    };
    let result = Box::pin(session).await;
    report.retried = http.retried();
    result
}

#[expect(clippy::too_many_arguments, clippy::too_many_lines, reason = "the one place where everything meets")]
async fn sync<S>(
    config: &Config,
    work: &Work,
    arm: Arm,
    webhook: Option<&Webhook<'_>>,
    found: Option<Found>,
    mut tally: Tally,
    stop: Shared<S>,
    report: &mut Report,
) -> Result<(), RunError>
where
    S: Future<Output = Stop>,
{
    let subscriptions = tokio::select! {
        list = subscriptions::list(&arm) => list.map_err(RunError::Subscriptions)?,
        stop = stop.clone() => return Err(stop.into()),
    };
    report.subscriptions = subscriptions.len() as u64;
    if subscriptions.is_empty() {
        return Err(RunError::NoSubscription);
    }
    let start = arm.first_date().unwrap_or_else(|| {
        tracing::warn!("Resource Manager's answer has no usable Date header; going by this machine's clock");
        Timestamp::now()
    });
    tracing::info!("{} subscriptions, in Azure it is {start:.0}", subscriptions.len());
    tally.starts_at(start);

    let filtered = config.scope.is_filtered();
    let Plan { memory, mut batches, mode, full_because } = match (work, found) {
        (Work::Sync, Some(found)) => found.plan(config, &subscriptions, start)?,
        (Work::Sync, None) => Plan::stateless(config, &subscriptions, start),
        (Work::Resend(_), found) => Plan::nothing(found.and_then(|found| found.into_memory(start, filtered))),
    };
    if *work == Work::Sync {
        report.mode = mode.name();
        report.full_because = full_because;
    }
    let is_full = mode == Mode::Full;

    let graph = Graph::new(arm, pages_at_once(config.port.payload));
    let (outbox, blocks) = Outbox::new(&subscriptions, filtered, memory.as_ref());
    let reading = async {
        let read = async {
            let errors = match work {
                Work::Sync => match outbox.announce(is_full).await {
                    Ok(()) => sync::read(&graph, &config.scope, start, &mut batches, &outbox)
                        .await
                        .into_iter()
                        .map(RunError::from)
                        .collect(),
                    Err(error) => vec![RunError::from(GraphError::from(error))],
                },
                Work::Resend(ids) => match resend::read(&graph, &config.scope, ids, &subscriptions, &outbox).await {
                    Ok(0) => Vec::new(),
                    Ok(unknown) => vec![RunError::NotLookedUp(unknown)],
                    Err(error) => vec![error.into()],
                },
            };
            let finished = outbox.finish().await.map_err(GraphError::from);
            (errors, finished)
        };
        tokio::select! {
            read = read => Ok(read),
            stop = stop.clone() => Err(stop),
        }
    };
    let done = Cell::new(0);
    let record = |change: &Change, outcome: &Outcome| {
        done.set(done.get() + 1);
        let fate = tally.record(change, outcome);
        if let Some(memory) = &memory {
            memory.ledger().record(change, fate);
        }
    };
    let posting = async {
        match webhook {
            Some(webhook) => webhook.deliver(blocks, stop.clone(), record).await.map_err(RunError::from),
            None => Ok(preview::deliver(blocks, stop.clone(), record, Inert(io::stdout())).await?),
        }
    };
    let progress = progress::draw(is_full && !config.dry_run, || Seen {
        rows: graph.rows(),
        total: graph.announced(),
        posted: done.get(),
    });
    let (read, posted) = tokio::select! {
        both = async { tokio::join!(reading, posting) } => both,
        never = progress => match never {},
    };

    report.queries = graph.queries();
    report.rows = graph.rows();
    let mut stopped = stop.now_or_never();
    match read {
        Ok((errors, finished)) => {
            let finished = finished.map(|unresolved| report.unresolved = unresolved).map_err(RunError::from);
            // Where nobody took the rest, what ended the posts tells why.
            let errors = errors.into_iter().chain(finished.err());
            errors.filter(|error| !error.is_stop()).for_each(|error| report.fail(&error));
        }
        Err(stop) => stopped = Some(stop),
    }
    let mut still_refused = 0;
    if let Some(memory) = &memory {
        let moves = posted.is_ok() && stopped.is_none() && tally.is_trustworthy();
        let (bytes, counts) = {
            let mut ledger = memory.ledger();
            if moves {
                ledger.advance(&batches, is_full);
            }
            if posted.is_err() || !tally.is_trustworthy() {
                ledger.forget_refusals();
            }
            ledger.close()
        };
        report.skipped = counts.skipped;
        report.pending = counts.pending;
        still_refused = counts.still_refused;
        memory.store.write(bytes.map_err(RunError::Checkpoint)?).await?;
    }
    tally.conclude(still_refused, report);
    if let Err(error) = posted {
        report.fail(&error);
    }
    stopped.map_or(Ok(()), |stop| Err(stop.into()))
}

/// How many pages are read ahead of the posts. Posted one by one, a page takes as long as ten queries, and more of them would
/// only wait, in memory. Posted in lists, it takes as long as a query: the quota's 15 then read ten thousand rows in one go,
/// these and the first pages and what was deleted.
fn pages_at_once(payload: Payload) -> usize {
    match payload {
        Payload::Single => 2,
        Payload::Batch => 11,
    }
}

/// The queries that a run without a checkpoint would send, each under a line with its name, ready for the Resource Graph
/// Explorer.
pub fn queries(config: &QueryConfig) -> String {
    let now = Timestamp::now();
    let queries: Vec<Query<'_>> = match config.mode {
        Mode::Incremental => {
            let which =
                Which::Since(plan::before(now, SignedDuration::try_from(config.window).unwrap_or(SignedDuration::MAX)));
            incremental::queries(&config.scope, which, Groups::InScope).into()
        }
        Mode::Full => full::queries(&config.scope, plan::deletes_since(now), Groups::InScope).into(),
    };
    let texts: Vec<String> =
        queries.iter().map(|query| format!("// {}\n{}\n", query.name(), query.text(Part::WHOLE))).collect();
    texts.join("\n")
}
