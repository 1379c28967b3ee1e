//! Keeps a Port catalog in step with an Azure estate.
//!
//! One run has one direction of flow. Data comes in at the left and leaves at the right; nothing flows back.
//!
//! ```text
//! env/flags ─▶ Config ─▶ credential ─▶ subscriptions ─▶ queries ─▶ pages of rows ─▶ changes ─▶ envelopes ─▶ webhook ─▶ report
//!                                └──────────── azure ────────────┘      └ sync ┘   └─────── port ───────┘
//! ```
//!
//! A module imports nothing that stands later in the flow; only this file sees both ends.

pub mod azure;
pub mod cli;
pub mod config;
pub mod error;
pub(crate) mod http;
pub(crate) mod id;
pub mod logging;
pub(crate) mod port;
pub mod report;
pub(crate) mod sync;
pub(crate) mod text;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use jiff::Timestamp;

use azure::arm::Arm;
use azure::graph::{Graph, GraphError};
use azure::queries::{Part, Query};
use azure::subscriptions::{self, Subscription};
use config::{Config, Mode, QueryConfig, Scope};
use error::{Exit, RunError};
use http::Http;
use port::webhook::{Outcome, Webhook};
use report::Report;
use sync::change::{Change, Operation};
use sync::outbox::Outbox;
use sync::{full, incremental};
use text::printable;

/// How far back a full run looks for deletes. Azure keeps change records for 14 days ("Get resource changes").
const DELETES_KEPT: Duration = Duration::from_secs(13 * 24 * 3600);

/// Batches of subscriptions that are read side by side.
const BATCHES_AT_ONCE: usize = 2;

/// Refused so often in a row, it is the webhook that is wrong and not the envelopes.
const REFUSED_IN_A_ROW: u64 = 10;

/// One run: reads what the mode says, delivers it, and tells what happened. Errors are logged as they arise.
pub async fn run(config: &Config) -> Report {
    let started = Instant::now();
    let mut report = Report::new(config.mode);
    if let Err(error) = sync_all(config, &mut report).await {
        report.fail(&error);
    }
    report.elapsed = started.elapsed();
    report
}

async fn sync_all(config: &Config, report: &mut Report) -> Result<(), RunError> {
    let http = Arc::new(Http::new(config.port.concurrency.get(), config.limits.clone())?);
    let result = deliver_all(config, &http, report).await;
    report.retried = http.retried();
    result
}

async fn deliver_all(config: &Config, http: &Arc<Http>, report: &mut Report) -> Result<(), RunError> {
    let arm = Arm::new(&config.azure, Arc::clone(http))?;
    let webhook = Webhook::new(&config.port, http)?;
    let subscriptions = subscriptions::list(&arm).await.map_err(RunError::Subscriptions)?;
    report.subscriptions = subscriptions.len() as u64;
    if subscriptions.is_empty() {
        return Err(RunError::NoSubscription);
    }
    let start = arm.first_date().unwrap_or_else(|| {
        tracing::warn!("Resource Manager's answer has no usable Date header; going by this machine's clock");
        Timestamp::now()
    });
    tracing::info!("{} subscriptions, in Azure it is {start:.0}", subscriptions.len());

    let graph = Graph::new(arm);
    let (outbox, blocks) = Outbox::new(&subscriptions, !config.scope.tag_filters.is_empty());
    let reading = async {
        let errors = read_all(config, &graph, start, &subscriptions, &outbox).await;
        (errors, outbox.finish().await.unwrap_or_default())
    };
    let mut tally = Tally::default();
    let posting = webhook.deliver(blocks, |change, outcome| tally.record(change, outcome));
    let ((errors, unresolved), posted) = tokio::join!(reading, posting);

    report.queries = graph.queries();
    report.rows = graph.rows();
    report.unresolved = unresolved;
    for error in errors {
        report.fail(&error.into());
    }
    tally.conclude(report);
    posted.map_err(RunError::from)
}

/// Reads all batches, each to its end whatever becomes of the others, and tells what failed.
async fn read_all(
    config: &Config,
    graph: &Graph,
    start: Timestamp,
    subscriptions: &[Subscription],
    outbox: &Outbox<'_>,
) -> Vec<GraphError> {
    let ids: Vec<&str> = subscriptions.iter().map(|subscription| subscription.id.as_str()).collect();
    let since = since(config.mode, config.window, start);
    let readings = ids.chunks(config.azure.batch_size.get()).map(|batch| async move {
        match config.mode {
            Mode::Incremental => incremental::read(graph, &config.scope, since, batch, outbox).await,
            Mode::Full => full::read(graph, &config.scope, since, batch, outbox).await,
        }
    });
    stream::iter(readings)
        .buffer_unordered(BATCHES_AT_ONCE)
        .filter_map(async |result| result.err())
        // Nobody took the rest: the webhook's own error tells why.
        .filter(|error| std::future::ready(!matches!(error, GraphError::Stopped(_))))
        .collect()
        .await
}

/// From when on changes are read, or deletes in a full run.
fn since(mode: Mode, window: Duration, start: Timestamp) -> Timestamp {
    let back = match mode {
        Mode::Incremental => window,
        Mode::Full => DELETES_KEPT,
    };
    start.checked_sub(back).unwrap_or(Timestamp::MIN)
}

/// The queries that a run would send, each under a line with its name, ready for the Resource Graph Explorer.
pub fn queries(config: &QueryConfig) -> String {
    let since = since(config.mode, config.window, Timestamp::now());
    let scope: &Scope = &config.scope;
    let queries: Vec<Query<'_>> = match config.mode {
        Mode::Incremental => incremental::queries(scope, since).into(),
        Mode::Full => full::queries(scope, since).into(),
    };
    let texts: Vec<String> =
        queries.iter().map(|query| format!("// {}\n{}\n", query.name(), query.text(Part::WHOLE))).collect();
    texts.join("\n")
}

/// What became of the envelopes.
#[derive(Default)]
struct Tally {
    upserts: u64,
    deletes: u64,
    refused: u64,
    failed: u64,
    refused_in_a_row: u64,
    webhook_is_wrong: bool,
}

impl Tally {
    fn record(&mut self, change: &Change, outcome: &Outcome) {
        match outcome {
            Outcome::Accepted => {
                self.refused_in_a_row = 0;
                match change.operation {
                    Operation::Upsert => self.upserts += 1,
                    Operation::Delete => self.deletes += 1,
                }
            }
            Outcome::Refused(error) => {
                self.refused += 1;
                self.refused_in_a_row += 1;
                self.webhook_is_wrong |= self.refused_in_a_row >= REFUSED_IN_A_ROW;
                tracing::error!("refused: {}: {error}", printable(&change.resource_id()));
            }
            Outcome::Failed(error) => {
                self.failed += 1;
                tracing::error!("not delivered: {}: {error}", printable(&change.resource_id()));
            }
        }
    }

    fn conclude(self, report: &mut Report) {
        report.upserts = self.upserts;
        report.deletes = self.deletes;
        report.failed = self.refused + self.failed;
        if self.failed > 0 {
            report.fail(&RunError::NotDelivered(self.failed));
        }
        if self.refused > 0 {
            let wrong = self.webhook_is_wrong || self.upserts + self.deletes == 0;
            report.fail(&if wrong {
                RunError::AllRefused(self.refused)
            } else {
                RunError::EnvelopesRefused(self.refused)
            });
        }
    }
}

impl Report {
    fn new(mode: Mode) -> Self {
        Self {
            mode,
            subscriptions: 0,
            queries: 0,
            rows: 0,
            upserts: 0,
            deletes: 0,
            unresolved: 0,
            retried: 0,
            failed: 0,
            elapsed: Duration::ZERO,
            exit: Exit::Ok,
            errors: Vec::new(),
        }
    }

    /// Notes and logs what went wrong.
    fn fail(&mut self, error: &RunError) {
        let message = match error.advice() {
            Some(advice) => format!("{error}; {advice}"),
            None => error.to_string(),
        };
        tracing::error!("{message}");
        self.exit = self.exit.or_worse(error.exit());
        self.errors.push(message);
    }
}
