//! Goes through everything that a run needs, and says for each whether it is right, or what is wrong and how to fix it. It
//! reads only, but for a file beside the checkpoint that is made and removed, to see that there can be one; a post is sent only
//! where it is asked for.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use reqwest::Url;
use reqwest::header::HeaderMap;
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use crate::azure::arm::{Arm, ArmError};
use crate::azure::subscriptions::{self, Subscription};
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::config::{CheckpointConfig, Config, LogFormat, Mode, Payload, ScopeTerms, SecretUrl};
use crate::engine::{DeadLetters, Replica};
use crate::error::{Exit, Problem};
use crate::freshness::ForPeople;
use crate::http::{self, Http, RequestError};
use crate::run::RunError;
use crate::sinks::webhook::{self, Webhook};
use crate::sources::resource_graph::GraphError;
use crate::sources::resource_graph::client::{Client, QuotaTold};
use crate::sources::resource_graph::queries::{self, Query};
use crate::text::{inert, printable, printable_up_to};

/// Azure refuses tokens whose times are further off than this.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_mins(5);

/// Of a host that is only knocked at: whatever page it shows.
const LARGEST_ANSWER: usize = 1 << 20;

/// Characters of a line: an error and what to do about it.
const LONGEST_LINE: usize = 2000;

/// Names that a line shows.
const SHOWN: usize = 8;

/// What is well, what deserves a look, and what is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ok,
    Note,
    Wrong,
}

/// Tells of one thing after another, and remembers the worst.
struct Telling<W> {
    output: W,
    format: LogFormat,
    exit: Exit,
}

impl<W: Write> Telling<W> {
    fn tell(&mut self, state: State, what: &str, text: &str) {
        let text = printable_up_to(text, LONGEST_LINE).to_string();
        let word = match state {
            State::Ok => "ok",
            State::Note => "note",
            State::Wrong => "wrong",
        };
        let line = match self.format {
            LogFormat::Text => format!("{word:<6} {what:<18} {text}\n"),
            LogFormat::Json => format!("{}\n", json!({ "state": word, "check": what, "text": text })),
        };
        // A reader that closed the pipe has seen what it wanted.
        _ = self.output.write_all(inert(&line).as_bytes());
    }

    fn ok(&mut self, what: &str, text: impl AsRef<str>) {
        self.tell(State::Ok, what, text.as_ref());
    }

    fn note(&mut self, what: &str, text: impl AsRef<str>) {
        self.tell(State::Note, what, text.as_ref());
    }

    fn wrong(&mut self, what: &str, error: &impl Problem) {
        self.exit = self.exit.or_worse(error.exit());
        match error.advice() {
            Some(advice) => self.tell(State::Wrong, what, &format!("{error}; {advice}")),
            None => self.tell(State::Wrong, what, &error.to_string()),
        }
    }
}

/// Checks all, a line each, and tells what exit code a run would have come to for it. With `probe`, one envelope is posted that
/// no mapping reads.
pub async fn run(config: &Config, hints: &[String], probe: bool, format: LogFormat, output: impl Write) -> Exit {
    let mut telling = Telling { output, format, exit: Exit::Ok };
    telling.ok("configuration", configuration(config));
    for hint in hints {
        telling.note("configuration", hint);
    }
    match Http::new(config.port.concurrency.get(), config.limits.clone(), config.network.clone()) {
        Ok(http) => {
            let http = Arc::new(http);
            azure(config, &http, &mut telling).await;
            port(config, &http, probe, &mut telling).await;
        }
        Err(error) => telling.wrong("network", &error),
    }
    checkpoint(config, &mut telling).await;
    if let Some(path) = &config.dead_letter_file {
        match DeadLetters::try_to_open(path) {
            Ok(()) => telling.ok("dead letters", format!("{} can be written", path.display())),
            Err(error) => telling.wrong("dead letters", &error),
        }
    }
    telling.exit
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

async fn azure(config: &Config, http: &Arc<Http>, telling: &mut Telling<impl Write>) {
    let manager = &config.azure.resource_manager;
    match reach(http, manager.clone()).await {
        Ok(headers) => clock(&headers, Timestamp::now(), telling),
        Err(error) => return telling.wrong("Resource Manager", &error),
    }
    let arm = match Arm::new(&config.azure, Arc::clone(http)) {
        Ok(arm) => arm,
        Err(error) => return telling.wrong("sign-in", &error),
    };
    let credential = &config.azure.credential;
    let listed = match subscriptions::list(&arm).await {
        Ok(listed) => listed,
        Err(ArmError::Credential(error)) => return telling.wrong("sign-in", &error),
        Err(error) => return telling.wrong("subscriptions", &RunError::Listing(error)),
    };
    telling.ok("sign-in", format!("{}, as {}", credential.kind().name(), credential.because));
    if listed.is_empty() {
        return telling.wrong("subscriptions", &RunError::NoSubscription);
    }
    tell_subscriptions(&listed, telling);
    let start = arm.first_date().unwrap_or_else(Timestamp::now);
    Asking { config, client: Client::new(arm), listed: &listed }.all(start, telling).await;
}

fn clock(headers: &HeaderMap, now: Timestamp, telling: &mut Telling<impl Write>) {
    let Some(date) = http::date(headers) else {
        return telling
            .note("clock", "Resource Manager's answer has no usable Date header; runs go by this machine's clock");
    };
    let off = now.duration_since(date);
    let off_by = ForPeople(off.unsigned_abs());
    if off.abs() > CLOCK_TOLERANCE {
        let way = if off.is_positive() { "ahead of" } else { "behind" };
        telling
            .note("clock", format!("{off_by} {way} Azure's; set it, as sign-in may be refused (runs go by Azure's)"));
    } else {
        telling.ok("clock", format!("within {off_by} of Azure's"));
    }
}

fn tell_subscriptions(listed: &[Subscription], telling: &mut Telling<impl Write>) {
    telling.ok("subscriptions", format!("{} can be read", listed.len()));
    for Subscription { id, name, state, quota_id, .. } in listed.iter().filter(|one| one.may_be_left_out()) {
        let told = |text: &str| if text.is_empty() { "not told".to_owned() } else { printable(text).to_string() };
        telling.note(
            "subscriptions",
            format!(
                "Resource Graph may leave out {} ({id}): its state is {}, its quota id {}",
                printable(name),
                told(state),
                told(quota_id)
            ),
        );
    }
}

/// A few of many names.
fn some(names: &[String]) -> String {
    let shown = names.get(..SHOWN).unwrap_or(names).join(", ");
    if names.len() > SHOWN { format!("{shown}, …") } else { shown }
}

/// What is read of a row.
#[derive(Deserialize)]
struct Row {
    #[serde(default)]
    name: Option<String>,
    #[serde(default, rename = "type")]
    kind: Option<String>,
}

/// Small questions to Resource Graph, over all subscriptions.
struct Asking<'a> {
    config: &'a Config,
    client: Client,
    listed: &'a [Subscription],
}

impl Asking<'_> {
    async fn all(&self, start: Timestamp, telling: &mut Telling<impl Write>) {
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
        for query in tables {
            match self.ask(query.name(), &query.whole(scope), 1).await {
                Ok((total, _, quota)) => {
                    telling.ok(query.name(), format!("{total} found"));
                    announced = quota.or(announced);
                }
                Err(error) => telling.wrong(query.name(), &error),
            }
        }
        match announced {
            Some(QuotaTold { remaining, resets_after }) => {
                let resets_after = resets_after.unwrap_or_else(|| "?".into());
                telling.ok("quota", format!("{remaining} queries left, reset in {resets_after}"));
            }
            None => telling.note("quota", "Resource Graph does not state it; assuming 15 queries per 5 seconds"),
        }
        if scope.is_filtered() {
            self.groups(telling).await;
        }
        if !scope.resource_types.is_empty() {
            self.types(telling).await;
        }
    }

    async fn groups(&self, telling: &mut Telling<impl Write>) {
        match self.ask("groups", &queries::groups_in_scope(&self.config.scope), SHOWN as u64 + 1).await {
            Ok((0, ..)) => telling.note(
                "tag filters",
                "no group matches: nothing but subscriptions and deletes would be sent; compare RESOURCE_GROUP_TAG_FILTERS with \
                 the groups' tags",
            ),
            Ok((total, rows, _)) => {
                let names: Vec<String> = rows.into_iter().filter_map(|row| row.name).collect();
                telling.ok("tag filters", format!("{total} groups in scope: {}", some(&names)));
            }
            Err(error) => telling.wrong("tag filters", &error),
        }
    }

    async fn types(&self, telling: &mut Telling<impl Write>) {
        let types = &self.config.scope.resource_types;
        match self.ask("types", &queries::types_that_exist(types), 1000).await {
            Ok((_, rows, _)) => {
                let found: BTreeSet<String> = rows.into_iter().filter_map(|row| row.kind).collect();
                let missing: Vec<String> =
                    types.iter().map(|one| one.as_str().to_owned()).filter(|one| !found.contains(one)).collect();
                if missing.is_empty() {
                    telling.ok("resource types", format!("each of {} has resources", types.len()));
                } else {
                    telling.note(
                        "resource types",
                        format!(
                            "no resource has the type {} now; check the spelling in RESOURCE_TYPES",
                            some(&missing)
                        ),
                    );
                }
            }
            Err(error) => telling.wrong("resource types", &error),
        }
    }

    /// The number of rows over all batches, the first `rows` of each, and what was told of the quota last.
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
            // One that is no object has neither.
            whole.1.extend(answered.rows.iter().filter_map(|row| serde_json::from_str(row.get()).ok()));
            whole.2 = answered.quota;
        }
        Ok(whole)
    }
}

async fn port(config: &Config, http: &Http, probe: bool, telling: &mut Telling<impl Write>) {
    let Some(secret) = &config.port.ingest_url else {
        return telling.note("webhook", "PORT_WEBHOOK_INGEST_URL is not set, as a dry run allows");
    };
    // The origin alone: the key in the path stays here.
    match secret.origin().parse() {
        Ok(origin) => match reach(http, origin).await {
            Ok(_) => telling.ok(
                "webhook",
                format!(
                    "{} answers over {}; nothing was posted, so its key was not tested (--probe tests it)",
                    secret.origin(),
                    scheme(secret)
                ),
            ),
            Err(error) => return telling.wrong("webhook", &error),
        },
        Err(_) => telling.note("webhook", "its URL has no host"),
    }
    if probe {
        let webhook = match Webhook::new(&config.azure.tenant_id, &config.port, secret, http) {
            Ok(webhook) => webhook,
            Err(error) => return telling.wrong("probe", &error),
        };
        let probed = webhook.post(envelope(config.port.payload), &Uuid::new_v4().to_string()).await;
        match probed {
            Ok(_) => telling.ok("probe", "Port accepted an envelope that no mapping handles; its audit log shows it"),
            Err(error) => telling.wrong("probe", &error),
        }
    }
}

fn scheme(url: &SecretUrl) -> &'static str {
    if url.origin().starts_with("https:") { "TLS" } else { "plain http" }
}

/// An envelope of an operation and a type that no mapping reads.
fn envelope(payload: Payload) -> Bytes {
    let envelope = json!({
        "data": { "resourceId": "", "type": "azure-incremental/probe", "name": "azure-incremental check --probe" },
        "operation": "probe",
        "type": "probe",
    });
    match payload {
        Payload::Single => envelope.to_string().into(),
        Payload::Batch => json!({ "items": [envelope] }).to_string().into(),
    }
}

async fn checkpoint(config: &Config, telling: &mut Telling<impl Write>) {
    const WHAT: &str = "checkpoint";
    let Some(CheckpointConfig { file, .. }) = &config.checkpoint else {
        let minutes = config.window.as_secs() / 60;
        return telling.ok(WHAT, format!("none: every incremental run reads the last {minutes} minutes"));
    };
    if let Err(error) = Checkpoint::try_to_write(file) {
        return telling.wrong(WHAT, &error);
    }
    // As a dry run does: nothing of it is written.
    let held = match Checkpoint::open_to_read(file).await {
        Ok(held) => held,
        Err(error @ CheckpointError::Damaged { .. }) => {
            return telling.note(WHAT, format!("{error}; the next run sets it aside and reads everything"));
        }
        Err(error @ CheckpointError::InUse { .. }) => return telling.note(WHAT, error.to_string()),
        Err(error) => return telling.wrong(WHAT, &error),
    };
    let Some(was) = held.terms() else {
        return telling.note(WHAT, format!("{} does not exist yet; the next run reads everything", file.display()));
    };
    let (then, now) = (ScopeTerms::parse(&was.scope), ScopeTerms::of(&config.scope));
    if let Some(variable) = then.missing_from(&now).filter(|_| config.mode == Mode::Incremental) {
        return telling.wrong(WHAT, &RunError::FilterGone { file: file.clone(), variable });
    }
    if let Some(url) = &config.port.ingest_url
        && was.sink != webhook::identity(&config.azure.tenant_id, &config.port, url.expose())
    {
        let file = file.display();
        return telling.note(
            WHAT,
            format!(
                "{file} was made for another webhook, tenant or payload format; the next run sends everything again"
            ),
        );
    }
    if let Some(variable) = now.changed_from(&then) {
        return telling.note(WHAT, format!("{variable} has changed; the next run compares everything"));
    }
    let times = || -> Result<String, CheckpointError> {
        let marks: Vec<_> = held.shards()?.iter().map(|shard| held.mark(shard)).collect();
        let now = Timestamp::now();
        let ago = |at: Option<Timestamp>| {
            at.map_or("never".into(), |at| format!("{} ago", ForPeople(now.duration_since(at).unsigned_abs())))
        };
        let since = marks.iter().filter_map(|mark| mark.since).min();
        let full = marks.iter().filter_map(|mark| mark.full).max();
        let totals = held.totals()?;
        Ok(format!(
            "{} subscriptions, {} entities held, {} in doubt; read up to {} or later, last compared in full {}",
            marks.len(),
            totals.held,
            totals.in_doubt,
            ago(since),
            ago(full)
        ))
    };
    match times() {
        Ok(text) => telling.ok(WHAT, text),
        Err(error) => telling.wrong(WHAT, &error),
    }
}

/// Whether a host answers at all, whatever it says to somebody who has not signed in.
async fn reach(http: &Http, origin: Url) -> Result<HeaderMap, RequestError> {
    let label = format!("GET {}", origin.origin().ascii_serialization());
    let client = http.client_for(&origin)?;
    let attempt = || async {
        let request = client.get(origin.clone());
        let answer = http.attempt(request, http.limits().post_timeout, LARGEST_ANSWER).await;
        answer.map(|answer| answer.headers).map_err(|failure| RequestError::new(label.as_str(), failure))
    };
    http.retrying(&label, None, |error| error.is_transient().then_some(Duration::ZERO), attempt).await
}

#[cfg(test)]
mod tests {
    use reqwest::header::{DATE, HeaderValue};

    use super::*;

    fn told(tell: impl FnOnce(&mut Telling<Vec<u8>>)) -> (String, Exit) {
        let mut telling = Telling { output: Vec::new(), format: LogFormat::Text, exit: Exit::Ok };
        tell(&mut telling);
        (String::from_utf8(telling.output).unwrap(), telling.exit)
    }

    #[test]
    fn what_is_wrong_is_told_with_what_to_do_and_decides_the_exit() {
        let (text, exit) = told(|telling| {
            telling.ok("one", "well");
            telling.wrong("subscriptions", &RunError::NoSubscription);
            telling.note("two", "a\nb\u{1b}[31m ##[error]");
        });
        assert_eq!(exit, Exit::Credentials);
        assert!(text.contains("Reader"), "{text}");
        assert!(text.lines().count() == 3 && !text.contains('\u{1b}') && !text.contains("##["), "{text}");
    }

    #[test]
    fn a_clock_is_compared_with_azures() {
        let mut headers = HeaderMap::new();
        headers.insert(DATE, HeaderValue::from_static("Wed, 21 Oct 2015 07:28:00 GMT"));
        let at = |seconds: i64| {
            told(|telling| clock(&headers, Timestamp::from_second(1_445_412_480 + seconds).unwrap(), telling)).0
        };
        assert!(at(2).starts_with("ok") && at(-299).starts_with("ok"));
        assert!(at(301).contains("ahead of") && at(-4000).contains("1 h 6 min behind"));
        assert!(told(|telling| clock(&HeaderMap::new(), Timestamp::UNIX_EPOCH, telling)).0.starts_with("note"));
    }

    #[test]
    fn no_mapping_reads_the_probe() {
        for mapping in
            [include_str!("../../examples/port/mapping.json"), include_str!("../../examples/port/mapping-batch.json")]
        {
            assert!(!mapping.contains("probe"));
        }
        assert!(serde_json::from_slice::<serde_json::Value>(&envelope(Payload::Batch)).unwrap()["items"].is_array());
    }

    #[test]
    fn of_many_names_a_few_are_shown() {
        let names: Vec<String> = (0..20).map(|name| name.to_string()).collect();
        assert_eq!(some(&names), "0, 1, 2, 3, 4, 5, 6, 7, …");
        assert_eq!(some(&names[..2]), "0, 1");
    }
}
