//! Checks everything that a run needs, and says for each part whether it is right, or what is wrong and how to fix it.
//! It is read-only, except that it creates and removes a file next to the checkpoint to see whether it can, and posts
//! only on request. No question is asked twice, and independent ones are asked in parallel.

mod entra;
mod output;
mod port;

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use reqwest::Url;
use reqwest::header::HeaderMap;
use serde::Deserialize;

use crate::azure::api::{Api, ApiError};
use crate::azure::subscriptions::{self, Subscription};
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::cli::CheckArgs;
use crate::config::{CheckpointConfig, Config, EntraKind, Limits, Mode, ScopeTerms};
use crate::engine::{DeadLetters, Replica};
use crate::error::Exit;
use crate::freshness::ForPeople;
use crate::http::{self, Http, RequestError};
use crate::run::{self, Mapped, RunError};
use crate::sources::resource_graph::GraphError;
use crate::sources::resource_graph::client::{Client, QuotaTold};
use crate::sources::resource_graph::queries::{self, Query};
use crate::text::printable;
use entra::entra;
pub use output::Form;
use output::Told;
use port::{port, probe};

/// Azure rejects tokens whose times differ by more than this.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_mins(5);

/// The maximum size of the page of a host that is only tested for reachability.
const LARGEST_ANSWER: usize = 1 << 20;

/// How long to wait for an answer. Short, because a person is waiting.
const PATIENCE: Duration = Duration::from_secs(10);

/// Names to show on a line.
const SHOWN: usize = 8;

/// Checks everything, prints a line each, and returns the exit code that a run would end with.
pub async fn run(config: &Config, hints: &[String], args: &CheckArgs, form: Form, output: impl Write) -> Exit {
    let mut told = Told::new();
    told.ok("configuration", configuration(config));
    for hint in hints {
        told.note("configuration", hint);
    }
    let limits = Limits {
        retries: 0,
        azure_timeout: PATIENCE,
        sign_in_timeout: PATIENCE,
        post_timeout: PATIENCE,
        ..config.limits.clone()
    };
    match Http::new(config.port.concurrency.get(), limits, config.network.clone()) {
        Ok(http) => {
            let http = Arc::new(http);
            let (clock, azure, entra, port) =
                tokio::join!(clock(config, &http), azure(config, &http), entra(config, &http), port(config, &http));
            for found in [clock, azure, entra, port] {
                told.add(found);
            }
            if let Some(url) = config.port.ingest_url.as_ref().filter(|_| args.probe) {
                probe(config, url, &http, &mut told).await;
            }
        }
        Err(error) => told.wrong("network", &error),
    }
    checkpoint(config, &mut told).await;
    match &config.dead_letter_file {
        None => told.skip("dead letters", "DEAD_LETTER_FILE is not set: what Port rejects is only logged"),
        Some(path) => match DeadLetters::try_to_open(path) {
            Ok(()) => told.ok("dead letters", format!("{} can be written", path.display())),
            Err(error) => told.wrong("dead letters", &error),
        },
    }
    output::show(&told, form, output);
    told.exit()
}

fn configuration(config: &Config) -> String {
    let types = match config.scope.resource_types.len() {
        0 => "all types".to_owned(),
        count => format!("{count} types"),
    };
    let filtered = if config.scope.is_filtered() { "groups by their tags" } else { "all groups" };
    format!(
        "mode {}, {types}, {filtered}, {}",
        config.mode.name(),
        config.azure.resource_manager.origin().ascii_serialization()
    )
}

async fn azure(config: &Config, http: &Arc<Http>) -> Told {
    let mut told = Told::new();
    if !config.resources {
        told.skip("subscriptions", "AZURE_SOURCES names Entra ID alone");
        return told;
    }
    let arm = match Api::resource_manager(&config.azure, Arc::clone(http)) {
        Ok(arm) => arm,
        Err(error) => {
            told.wrong("sign-in", &error);
            told.skip("subscriptions", "without signing in, nothing can be asked");
            return told;
        }
    };
    let credential = &config.azure.credential;
    let listed = subscriptions::list(&arm).await;
    if let Err(ApiError::Credential(error)) = &listed {
        told.wrong("sign-in", error);
        told.skip("subscriptions", "without signing in, nothing can be asked");
        return told;
    }
    let tenant = match config.azure.tenant_id.as_str() {
        "" => String::new(),
        tenant => format!(" in tenant {}", printable(tenant)),
    };
    told.ok("sign-in", format!("{}{tenant}, as {}", credential.kind().name(), credential.because));
    let listed = match listed {
        Ok(listed) if listed.is_empty() => {
            told.wrong("subscriptions", &RunError::NoSubscription);
            told.skip("resources", "there is no subscription to ask about");
            return told;
        }
        Ok(listed) => listed,
        Err(error) => {
            told.wrong("subscriptions", &RunError::Listing(error));
            told.skip("resources", "there is no subscription to ask about");
            return told;
        }
    };
    tell_subscriptions(&listed, &mut told);
    let start = arm.first_date().unwrap_or_else(Timestamp::now);
    Asking { config, client: Client::new(arm), listed: &listed }.all(start, &mut told).await;
    told
}

async fn clock(config: &Config, http: &Http) -> Told {
    let mut told = Told::new();
    let (host, origin) = if config.resources {
        ("Resource Manager", &config.azure.resource_manager)
    } else {
        ("Microsoft Graph", &config.azure.microsoft_graph)
    };
    match reach(http, origin.clone()).await {
        Ok(headers) => tell_clock(host, &headers, Timestamp::now(), &mut told),
        Err(error) => told.wrong(host, &error),
    }
    told
}

fn tell_clock(host: &str, headers: &HeaderMap, now: Timestamp, told: &mut Told) {
    let Some(date) = http::date(headers) else {
        let problem = format!("{host}'s answer has no usable Date header; runs go by this machine's clock");
        return told.note("clock", problem);
    };
    let off = now.duration_since(date);
    let off_by = ForPeople(off.unsigned_abs());
    if off.abs() > CLOCK_TOLERANCE {
        let way = if off.is_positive() { "ahead of" } else { "behind" };
        told.note("clock", format!("{off_by} {way} Azure's; set it, as sign-in may be refused (runs go by Azure's)"));
    } else {
        told.ok("clock", format!("within {off_by} of Azure's"));
    }
}

fn tell_subscriptions(listed: &[Subscription], told: &mut Told) {
    let names: Vec<String> = listed.iter().map(|one| printable(&one.name).to_string()).collect();
    told.ok("subscriptions", format!("{} can be read: {}", listed.len(), some(&names)));
    for Subscription { id, name, state, quota_id, .. } in listed.iter().filter(|one| one.may_be_left_out()) {
        let shown = |text: &str| if text.is_empty() { "not told".to_owned() } else { printable(text).to_string() };
        told.note(
            "subscriptions",
            format!(
                "Resource Graph may leave out {} ({id}): its state is {}, its quota id {}",
                printable(name),
                shown(state),
                shown(quota_id)
            ),
        );
    }
}

/// The first few names.
fn some(names: &[String]) -> String {
    let shown = names.get(..SHOWN).unwrap_or(names).join(", ");
    if names.len() > SHOWN { format!("{shown}, …") } else { shown }
}

/// The columns of a row that are read.
#[derive(Deserialize)]
struct Row {
    #[serde(default)]
    name: Option<String>,
    #[serde(default, rename = "type")]
    kind: Option<String>,
}

/// Sends small queries to Resource Graph, over all subscriptions.
struct Asking<'a> {
    config: &'a Config,
    client: Client,
    listed: &'a [Subscription],
}

impl Asking<'_> {
    async fn all(&self, start: Timestamp, told: &mut Told) {
        let scope = &self.config.scope;
        let window = SignedDuration::try_from(self.config.window).unwrap_or(SignedDuration::MAX);
        let since = start.checked_sub(window).unwrap_or(Timestamp::MIN);
        let tables = [
            Query::Containers,
            Query::Resources,
            Query::ChangedContainers { since },
            Query::ChangedResources { since },
        ];
        let mut announced = None;
        let counts = join_all(tables.iter().map(async |query| self.ask(query.name(), &query.whole(scope), 1).await));
        let (counts, groups, types) = tokio::join!(counts, self.groups(), self.types());
        for (query, count) in tables.iter().zip(counts) {
            match count {
                Ok((total, _, quota)) => {
                    told.ok(query.name(), format!("{total} found"));
                    announced = quota.or(announced);
                }
                Err(error) => told.wrong(query.name(), &error),
            }
        }
        match announced {
            Some(QuotaTold { remaining, resets_after }) => {
                let resets_after = resets_after.unwrap_or_else(|| "?".into());
                told.ok("quota", format!("{remaining} queries left, reset in {resets_after}"));
            }
            None => told.note("quota", "Resource Graph does not state it; assuming 15 queries per 5 seconds"),
        }
        told.add(groups);
        told.add(types);
    }

    async fn groups(&self) -> Told {
        let mut told = Told::new();
        if !self.config.scope.is_filtered() {
            return told;
        }
        match self.ask("groups", &queries::groups_in_scope(&self.config.scope), SHOWN as u64 + 1).await {
            Ok((0, ..)) => told.note(
                "tag filters",
                "no group matches: nothing but subscriptions and deletes would be sent; compare RESOURCE_GROUP_TAG_FILTERS with \
                 the groups' tags",
            ),
            Ok((total, rows, _)) => {
                let names: Vec<String> = rows.into_iter().filter_map(|row| row.name).collect();
                told.ok("tag filters", format!("{total} groups in scope: {}", some(&names)));
            }
            Err(error) => told.wrong("tag filters", &error),
        }
        told
    }

    async fn types(&self) -> Told {
        let mut told = Told::new();
        let types = &self.config.scope.resource_types;
        if types.is_empty() {
            return told;
        }
        match self.ask("types", &queries::types_that_exist(types), 1000).await {
            Ok((_, rows, _)) => {
                let found: BTreeSet<String> = rows.into_iter().filter_map(|row| row.kind).collect();
                let missing: Vec<String> =
                    types.iter().map(|one| one.as_str().to_owned()).filter(|one| !found.contains(one)).collect();
                if missing.is_empty() {
                    told.ok("resource types", format!("each of {} has resources", types.len()));
                } else {
                    told.note(
                        "resource types",
                        format!(
                            "no resource has the type {} now; check the spelling in RESOURCE_TYPES",
                            some(&missing)
                        ),
                    );
                }
            }
            Err(error) => told.wrong("resource types", &error),
        }
        told
    }

    /// The number of rows over all batches, the first `rows` of each, and the last quota reported.
    async fn ask(
        &self,
        name: &'static str,
        text: &str,
        rows: u64,
    ) -> Result<(u64, Vec<Row>, Option<QuotaTold>), GraphError> {
        let mut whole = (0, Vec::new(), None);
        for batch in self.listed.chunks(self.config.azure.batch_size.get()) {
            let subscriptions: Vec<&str> = batch.iter().map(|one| one.id.as_str()).collect();
            let answered = self.client.ask(name, text, &subscriptions, rows).await?;
            whole.0 = u64::saturating_add(whole.0, answered.total);
            // Rows that are not objects have neither.
            whole.1.extend(answered.rows.iter().filter_map(|row| serde_json::from_str(row.get()).ok()));
            whole.2 = answered.quota;
        }
        Ok(whole)
    }
}

async fn checkpoint(config: &Config, told: &mut Told) {
    const WHAT: &str = "checkpoint";
    let Some(CheckpointConfig { file, .. }) = &config.checkpoint else {
        let minutes = config.window.as_secs() / 60;
        return told.ok(WHAT, format!("none: every incremental run reads the last {minutes} minutes"));
    };
    if let Err(error) = Checkpoint::try_to_write(file) {
        return told.wrong(WHAT, &error);
    }
    // Opened as in a dry run: nothing is written.
    let held = match Checkpoint::open_to_read(file).await {
        Ok(held) => held,
        Err(error @ CheckpointError::Damaged { .. }) => {
            return told.note(WHAT, format!("{error}; the next run sets it aside and reads everything"));
        }
        Err(error @ CheckpointError::InUse { .. }) => return told.note(WHAT, error.to_string()),
        Err(error) => return told.wrong(WHAT, &error),
    };
    let Some(was) = held.terms() else {
        let is_so = if file.exists() { "holds nothing yet" } else { "does not exist yet" };
        return told.note(WHAT, format!("{} {is_so}; the next run reads everything", file.display()));
    };
    let mapped = config.port.mapping_file.as_deref().and_then(|file| Mapped::read(file).ok());
    let (then, now) = (ScopeTerms::parse(&was.scope), Mapped::terms(mapped.as_ref(), &config.scope));
    if let Some(variable) = then.missing_from(&now).filter(|_| config.mode == Mode::Incremental) {
        return told.wrong(WHAT, &RunError::FilterGone { file: file.clone(), variable });
    }
    if run::catalog(config).is_some_and(|catalog| was.sink != catalog) {
        let file = file.display();
        return told.note(
            WHAT,
            format!(
                "{file} was made for another catalog, tenant or payload format; the next run sends everything again"
            ),
        );
    }
    if let Some(variable) = now.changed_from(&then) {
        return told.note(WHAT, format!("{variable} has changed; the next run compares everything"));
    }
    let times = || -> Result<String, CheckpointError> {
        let shards = held.shards()?;
        let kinds = shards.iter().filter(|shard| EntraKind::of(shard).is_some()).count();
        let subscriptions = shards.len() - kinds;
        let of_entra = if kinds > 0 { format!(", {kinds} kinds of Entra ID") } else { String::new() };
        let marks: Vec<_> = shards.iter().map(|shard| held.mark(shard)).collect();
        let now = Timestamp::now();
        let ago = |at| format!("{} ago", ForPeople(now.duration_since(at).unsigned_abs()));
        let since = marks.iter().filter_map(|mark| mark.since).min();
        let full = marks.iter().filter_map(|mark| mark.full).max();
        let since = since.map_or("no read has finished".into(), |at| format!("read up to {} or later", ago(at)));
        let full = full.map_or("never compared in full".into(), |at| format!("last compared in full {}", ago(at)));
        let totals = held.totals()?;
        Ok(format!(
            "{subscriptions} subscriptions{of_entra}, {} entities held, {} in doubt; {since}, {full}",
            totals.held, totals.in_doubt
        ))
    };
    match times() {
        Ok(text) => told.ok(WHAT, text),
        Err(error) => told.wrong(WHAT, &error),
    }
}

/// Whether a host answers at all. Any answer to an unauthenticated request counts.
async fn reach(http: &Http, origin: Url) -> Result<HeaderMap, RequestError> {
    let label = format!("GET {}", origin.origin().ascii_serialization());
    let client = http.client_for(&origin)?;
    let answer = http.attempt(client.get(origin), http.limits().post_timeout, LARGEST_ANSWER).await;
    answer.map(|answer| answer.headers).map_err(|failure| RequestError::new(label, failure))
}

#[cfg(test)]
mod tests {
    use reqwest::header::{DATE, HeaderValue};

    use super::*;

    fn clock_told(headers: &HeaderMap, now: Timestamp) -> String {
        let (mut told, mut output) = (Told::new(), Vec::new());
        tell_clock("Resource Manager", headers, now, &mut told);
        output::show(&told, Form::Plain, &mut output);
        String::from_utf8(output).unwrap()
    }

    #[test]
    fn a_clock_is_compared_with_azures() {
        let mut headers = HeaderMap::new();
        headers.insert(DATE, HeaderValue::from_static("Wed, 21 Oct 2015 07:28:00 GMT"));
        let at = |seconds: i64| clock_told(&headers, Timestamp::from_second(1_445_412_480 + seconds).unwrap());
        assert!(at(2).starts_with("ok") && at(-299).starts_with("ok"));
        assert!(at(301).contains("ahead of") && at(-4000).contains("1 h 6 min behind"));
        assert!(clock_told(&HeaderMap::new(), Timestamp::UNIX_EPOCH).starts_with("note"));
    }

    #[test]
    fn of_many_names_a_few_are_shown() {
        let names: Vec<String> = (0..20).map(|name| name.to_string()).collect();
        assert_eq!(some(&names), "0, 1, 2, 3, 4, 5, 6, 7, …");
        assert_eq!(some(&names[..2]), "0, 1");
    }
}
