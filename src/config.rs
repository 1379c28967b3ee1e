//! From the command line and the environment to a [`Config`]: everything parsed, bounded and typed. No raw string leaves
//! here, and every wrong value is reported at once.

mod sign_in;
mod signing;

use std::ffi::OsString;
use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};

use crate::azure::cloud::Cloud;
use crate::cli::{ResendArgs, Settings};
use crate::http::PROXIES;
use crate::id::lower;
use crate::text::printable;

pub(crate) use sign_in::SECRET_VARIABLES;
pub use sign_in::{Application, CredentialConfig, CredentialKind, Identity};
pub use signing::SigningConfig;

/// Everything that a run needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// `SYNC_MODE`. A checkpoint may make an incremental run a full one all the same.
    pub mode: Mode,
    /// Where changes come from.
    pub azure: AzureConfig,
    /// Where they go.
    pub port: PortConfig,
    /// Which of them.
    pub scope: Scope,
    /// How far back an incremental run without a checkpoint reads: 1 minute to 14 days, as long as Azure keeps records.
    pub window: Duration,
    /// `None`: the run is stateless.
    pub checkpoint: Option<CheckpointConfig>,
    /// `None`: envelopes that Port refuses are logged, and nothing else.
    pub dead_letter_file: Option<PathBuf>,
    /// 1 second to a day; `None`: a run takes as long as it takes.
    pub run_timeout: Option<Duration>,
    /// Print what would be posted, and change nothing anywhere.
    pub dry_run: bool,
    /// Not a setting: the same in every run of the binary.
    pub limits: Limits,
}

/// What is remembered from run to run.
#[derive(Clone, Debug)]
pub struct CheckpointConfig {
    /// The file; `.lock` and `.tmp` stand beside it.
    pub file: PathBuf,
    /// How far before the last run changes are read again, up to a day: records appear late, and their details later still
    /// ("Get resource changes", Azure Resource Graph).
    pub overlap: Duration,
    /// How old the last full run may be, 1 hour to a year; `None`: as old as it is.
    pub full_every: Option<Duration>,
    /// What becomes of groups that leave the scope of the tag filters.
    pub out_of_scope: OutOfScope,
}

/// What to do with the entities of a group that left the scope.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutOfScope {
    /// They are deleted, resources first.
    #[default]
    Delete,
    /// For catalogs that several filters feed.
    Keep,
}

/// What a run reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// What changed.
    #[default]
    Incremental,
    /// Everything that exists.
    Full,
}

impl Mode {
    /// As `SYNC_MODE` names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Incremental => "incremental",
            Self::Full => "full",
        }
    }
}

/// Who signs in, where, and how many subscriptions one query names.
#[derive(Clone, Debug)]
pub struct AzureConfig {
    /// The one credential of the run.
    pub credential: CredentialConfig,
    /// `AZURE_TENANT_ID`, or empty where the credential needs none.
    pub tenant_id: String,
    /// The origin of the sign-in host, https.
    pub authority_host: reqwest::Url,
    /// The origin of Resource Manager, https: the access token goes there and nowhere else.
    pub resource_manager: reqwest::Url,
    /// 1 to 1,000 subscriptions, the most that Resource Graph takes in a query.
    pub batch_size: NonZeroUsize,
}

/// Where envelopes go.
#[derive(Clone, Debug)]
pub struct PortConfig {
    /// `None` in a dry run only, which needs none.
    pub ingest_url: Option<SecretUrl>,
    /// Posts in flight at once, 1 to 200.
    pub concurrency: NonZeroUsize,
    /// What one post carries.
    pub payload: Payload,
    /// `None`: posts are not signed.
    pub signing: Option<SigningConfig>,
}

/// What one post carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Payload {
    /// One envelope, as the guide's mapping reads it.
    #[default]
    Single,
    /// Many envelopes in a list, for a mapping with `itemsToParse`.
    Batch,
}

/// Which part of the estate belongs in the catalog.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Empty: all.
    pub resource_types: Vec<ResourceType>,
    /// Of groups, and so of what is in them.
    pub tag_filters: TagFilters,
    /// Whether envelopes tell who made a change.
    pub change_actor: bool,
}

impl Scope {
    /// Whether the tags of groups decide what is in it.
    pub(crate) fn is_filtered(&self) -> bool {
        !self.tag_filters.is_empty()
    }
}

/// A resource type, `namespace/type`, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ResourceType(String);

impl ResourceType {
    /// In lower case, as queries compare it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ResourceType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let parts: Vec<&str> = text.split('/').collect();
        let legal = |part: &&str| {
            !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
        };
        if parts.len() >= 2 && parts.iter().all(legal) {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(format!(
                "\"{}\" is not a resource type: expected namespace/type, such as microsoft.keyvault/vaults",
                printable(text)
            ))
        }
    }
}

/// Conditions on the tags of resource groups: every one of `include`, and none of `exclude`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TagFilters {
    /// All must hold.
    pub include: Vec<TagCondition>,
    /// None may hold.
    pub exclude: Vec<TagCondition>,
}

impl<'de> Deserialize<'de> for TagFilters {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Fields {
            #[serde(default, deserialize_with = "tag_conditions")]
            include: Vec<TagCondition>,
            #[serde(default, deserialize_with = "tag_conditions")]
            exclude: Vec<TagCondition>,
        }

        /// A struct may also come as a list of its fields; a list of filters would then be none.
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with \"include\", \"exclude\" or both")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                Fields::deserialize(MapAccessDeserializer::new(map))
            }
        }

        let Fields { include, exclude } = deserializer.deserialize_map(Object)?;
        Ok(Self { include, exclude })
    }
}

impl TagFilters {
    /// Whether every group is in scope.
    pub fn is_empty(&self) -> bool {
        self.include.is_empty() && self.exclude.is_empty()
    }
}

/// A tag's name and value, as they were given; both match case-insensitively, the value as a whole. An empty value asks for a
/// tag that is there and empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagCondition {
    /// Never empty.
    pub name: String,
    /// Without wildcards.
    pub value: String,
}

/// Reads an object of strings. A name that is there twice is an error: the last one would silently win.
fn tag_conditions<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<TagCondition>, D::Error> {
    struct Conditions;

    impl<'de> Visitor<'de> for Conditions {
        type Value = Vec<TagCondition>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object of tag names to values, both strings")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut conditions: Vec<TagCondition> = Vec::new();
            while let Some((name, value)) = map.next_entry::<String, String>()? {
                if name.is_empty() {
                    return Err(serde::de::Error::custom("a tag's name is empty"));
                }
                if conditions.iter().any(|other| lower(&other.name) == lower(&name)) {
                    return Err(serde::de::Error::custom(format!(
                        "the tag \"{}\" is there twice (tag names ignore case)",
                        printable(&name)
                    )));
                }
                conditions.push(TagCondition { name, value });
            }
            Ok(conditions)
        }
    }

    deserializer.deserialize_map(Conditions)
}

/// A URL that holds a key: it is never shown, not even in `Debug`.
#[derive(Clone)]
pub struct SecretUrl(SecretString, String);

impl SecretUrl {
    /// The whole URL, to send a request to.
    pub(crate) fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Scheme, host and port: what may be shown.
    pub fn origin(&self) -> &str {
        &self.1
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/[redacted]", self.1)
    }
}

/// How the log and the report are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For machines: the log as JSON lines, the report as one object.
    Json,
}

/// Times and sizes that have one right value in production, and others where a caller embeds the engine.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How often a failed request is tried again.
    pub retries: usize,
    /// The first wait before a retry; each further one is twice as long, up to `backoff_max`, plus jitter.
    pub backoff: Duration,
    /// The longest wait that is not asked for by a server.
    pub backoff_max: Duration,
    /// The longest wait that a `Retry-After` is believed for.
    pub retry_after_max: Duration,
    /// For one request to Azure, its answer included.
    pub azure_timeout: Duration,
    /// For signing in, all attempts together.
    pub sign_in_timeout: Duration,
    /// For one post, its answer included.
    pub post_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            retries: 5,
            backoff: Duration::from_millis(500),
            backoff_max: Duration::from_secs(30),
            retry_after_max: Duration::from_secs(120),
            azure_timeout: Duration::from_secs(60),
            sign_in_timeout: Duration::from_secs(25),
            post_timeout: Duration::from_secs(20),
        }
    }
}

/// One setting that is wrong: which, and what is allowed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{variable} {problem}")]
pub struct Problem {
    /// The variable, or the argument where there is none.
    pub variable: &'static str,
    /// A clause that goes on from its name. A secret's value is never in it.
    pub problem: String,
}

/// Every setting that is wrong.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct ConfigError(pub Vec<Problem>);

impl ConfigError {
    /// What a person is told, a problem a line.
    pub fn complaint(&self) -> String {
        let problems: String = self.0.iter().map(|problem| format!("error: {problem}\n")).collect();
        problems + "\nFor all settings, try 'azure-incremental --help'.\n"
    }

    /// Two parts of the configuration, or what is wrong with either.
    pub fn both<A, B>(a: Result<A, Self>, b: Result<B, Self>) -> Result<(A, B), Self> {
        match (a, b) {
            (Ok(a), Ok(b)) => Ok((a, b)),
            (Err(mut a), Err(b)) => {
                a.0.extend(b.0);
                Err(a)
            }
            (Err(error), _) | (_, Err(error)) => Err(error),
        }
    }
}

/// Looks an environment variable up; `std::env::var_os` outside tests.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

impl Config {
    /// What a run needs, or everything that is wrong with it.
    pub fn load(settings: &Settings, environment: Environment<'_>) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(settings, environment);
        reader.proxies();
        let dry_run = reader.flag("DRY_RUN", settings.dry_run.as_deref());
        let config = Self {
            mode: reader.mode(),
            azure: reader.azure(),
            port: reader.port(dry_run),
            scope: reader.scope(),
            window: reader.window(),
            checkpoint: reader.checkpoint(),
            dead_letter_file: set(settings.dead_letter_file.as_deref()).map(PathBuf::from),
            run_timeout: reader
                .optional_count("RUN_TIMEOUT_SECONDS", settings.run_timeout_seconds.as_deref(), 1, 86_400)
                .map(Duration::from_secs),
            dry_run,
            limits: Limits::default(),
        };
        reader.finish(config)
    }
}

/// What the queries depend on, which needs no credentials.
#[derive(Clone, Debug)]
pub struct QueryConfig {
    /// Which queries.
    pub mode: Mode,
    /// What filters become in them.
    pub scope: Scope,
    /// How far back those of changes reach.
    pub window: Duration,
}

impl QueryConfig {
    /// The same as [`Config::load`], of fewer settings.
    pub fn load(settings: &Settings, environment: Environment<'_>) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(settings, environment);
        let config = Self { mode: reader.mode(), scope: reader.scope(), window: reader.window() };
        reader.finish(config)
    }
}

/// The lower-case ids that are to be sent again, each once: those on the command line and in a file of dead letters. An error
/// names every id that is none, and every line that cannot be read.
pub fn resend_ids(args: &ResendArgs) -> Result<Vec<String>, ConfigError> {
    let mut problems = Vec::new();
    let mut ids: Vec<String> = args.ids.clone();
    if let Some(path) = &args.from {
        match std::fs::read_to_string(path) {
            Ok(text) => {
                for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
                    match dead_letter_id(line) {
                        Ok(id) => ids.push(id),
                        Err(error) => problems.push(Problem {
                            variable: "--from",
                            problem: format!(
                                "{}, line {}: not a dead letter: {}",
                                path.display(),
                                number + 1,
                                printable(&error.to_string())
                            ),
                        }),
                    }
                }
            }
            Err(error) => {
                problems.push(Problem { variable: "--from", problem: format!("{}: {error}", path.display()) });
            }
        }
    }
    for id in &mut ids {
        *id = lower(id.trim().trim_end_matches('/'));
        if id.strip_prefix("/subscriptions/").is_none_or(str::is_empty) {
            problems.push(Problem {
                variable: "ID",
                problem: format!("\"{}\" is not a resource id: expected /subscriptions/…", printable(id)),
            });
        }
    }
    ids.sort();
    ids.dedup();
    if problems.is_empty() { Ok(ids) } else { Err(ConfigError(problems)) }
}

fn dead_letter_id(line: &str) -> Result<String, serde_json::Error> {
    #[derive(Deserialize)]
    struct Letter {
        envelope: Envelope,
    }
    #[derive(Deserialize)]
    struct Envelope {
        data: Data,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Data {
        resource_id: String,
    }
    serde_json::from_str(line).map(|letter: Letter| letter.envelope.data.resource_id)
}

/// How to log, which must be known before anything can be logged.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// Of the log and the report.
    pub format: LogFormat,
    /// The directives of `RUST_LOG`.
    pub filter: String,
}

/// The filter where none is set.
const LOG_FILTER: &str = "info";

impl LogConfig {
    /// For a command that tells all of interest itself: only warnings, unless more is asked for.
    #[must_use]
    pub fn quieter(&self) -> Self {
        let filter = if self.filter == LOG_FILTER { "warn" } else { &self.filter };
        Self { format: self.format, filter: filter.into() }
    }

    /// `LOG_FORMAT` and `RUST_LOG`, or what is wrong with them.
    pub fn load(settings: &Settings, environment: Environment<'_>) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(settings, environment);
        let format = reader.choice(
            "LOG_FORMAT",
            settings.log_format.as_deref(),
            &[("text", LogFormat::Text), ("json", LogFormat::Json)],
        );
        let filter = reader.variable("RUST_LOG").unwrap_or_else(|| LOG_FILTER.into());
        if let Err(error) = tracing_subscriber::EnvFilter::try_new(&filter) {
            let why = error.to_string();
            reader.wrong("RUST_LOG", format!("is \"{}\": {}", printable(&filter), printable(&why)));
        }
        reader.finish(Self { format, filter })
    }
}

/// Reads settings one by one and remembers what was wrong with them.
struct Reader<'a> {
    settings: &'a Settings,
    environment: Environment<'a>,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    fn new(settings: &'a Settings, environment: Environment<'a>) -> Self {
        Self { settings, environment, problems: Vec::new() }
    }

    fn finish<T>(self, config: T) -> Result<T, ConfigError> {
        if self.problems.is_empty() { Ok(config) } else { Err(ConfigError(self.problems)) }
    }

    fn wrong(&mut self, variable: &'static str, problem: String) {
        self.problems.push(Problem { variable, problem });
    }

    /// A variable that has no flag; an empty one counts as unset.
    fn variable(&mut self, name: &'static str) -> Option<String> {
        match (self.environment)(name)?.into_string() {
            Ok(value) => Some(value).filter(|value| !value.trim().is_empty()),
            Err(_) => {
                self.wrong(name, "is not valid UTF-8".into());
                None
            }
        }
    }

    fn mode(&mut self) -> Mode {
        let modes = [("incremental", Mode::Incremental), ("full", Mode::Full)];
        self.choice("SYNC_MODE", self.settings.mode.as_deref(), &modes)
    }

    fn azure(&mut self) -> AzureConfig {
        let credential = self.credential();
        let clouds = Cloud::ALL.map(|cloud| (cloud.name(), cloud));
        let cloud = self.choice("AZURE_CLOUD", self.settings.azure_cloud.as_deref(), &clouds);
        AzureConfig {
            tenant_id: credential.tenant_id().unwrap_or_default().to_owned(),
            credential,
            authority_host: self.endpoint(
                "AZURE_AUTHORITY_HOST",
                self.settings.azure_authority_host.as_deref(),
                cloud.authority_host(),
            ),
            resource_manager: self.endpoint(
                "AZURE_RESOURCE_MANAGER_ENDPOINT",
                self.settings.azure_resource_manager_endpoint.as_deref(),
                cloud.resource_manager(),
            ),
            batch_size: self.count(
                "SUBSCRIPTION_BATCH_SIZE",
                self.settings.subscription_batch_size.as_deref(),
                1000,
                1000,
            ),
        }
    }

    fn port(&mut self, dry_run: bool) -> PortConfig {
        let concurrency =
            self.count("PORT_WEBHOOK_CONCURRENCY", self.settings.port_webhook_concurrency.as_deref(), 200, 25);
        let payload = self.choice(
            "PORT_WEBHOOK_PAYLOAD",
            self.settings.port_webhook_payload.as_deref(),
            &[("single", Payload::Single), ("batch", Payload::Batch)],
        );
        PortConfig { ingest_url: self.ingest_url(dry_run), concurrency, payload, signing: self.signing() }
    }

    /// The client ignores a proxy that it cannot read, and would go past it in silence. It may hold a password, so no message
    /// shows it.
    fn proxies(&mut self) {
        for name in PROXIES {
            let Some(value) = self.variable(name) else { continue };
            let value = value.trim();
            let whole = if value.contains("://") { value.to_owned() } else { format!("http://{value}") };
            let url = reqwest::Url::parse(&whole).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
            if url.is_none() || !value.bytes().all(|byte| byte.is_ascii_graphic()) || value.matches('@').count() > 1 {
                self.wrong(
                    name,
                    "must be the address of a proxy, such as http://proxy.example:8080, with what is special in a password \
                     percent-encoded; its value is not shown"
                        .into(),
                );
            }
        }
    }

    /// The URL holds a key, so no message shows it.
    fn ingest_url(&mut self, dry_run: bool) -> Option<SecretUrl> {
        const NAME: &str = "PORT_WEBHOOK_INGEST_URL";
        let value = self.variable(NAME);
        if value.is_none() && dry_run {
            return None;
        }
        let value = self.required(NAME, value.as_deref(), "the URL of Port's webhook (Data sources > Webhook)");
        if value.is_empty() {
            return None;
        }
        match reqwest::Url::parse(&value) {
            Ok(url) if has_user_info(&url) => {
                self.wrong(
                    NAME,
                    "must not hold a user or a password before its host, which Port does not ask for; its value is not shown"
                        .into(),
                );
                None
            }
            Ok(url) if url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url)) => {
                Some(SecretUrl(url.as_str().into(), url.origin().ascii_serialization()))
            }
            Ok(_) => {
                self.wrong(
                    NAME,
                    "must be an https URL (http only to a loopback address); its value is not shown".into(),
                );
                None
            }
            Err(error) => {
                self.wrong(NAME, format!("is not a URL: {error}; its value is not shown"));
                None
            }
        }
    }

    fn scope(&mut self) -> Scope {
        Scope {
            resource_types: self.resource_types(),
            tag_filters: self.tag_filters(),
            change_actor: self.flag("INCLUDE_CHANGE_ACTOR", self.settings.include_change_actor.as_deref()),
        }
    }

    fn resource_types(&mut self) -> Vec<ResourceType> {
        const NAME: &str = "RESOURCE_TYPES";
        let Some(text) = set(self.settings.resource_types.as_deref()) else { return Vec::new() };
        let names: Vec<String> = if text.starts_with('[') {
            match serde_json::from_str(text) {
                Ok(names) => names,
                Err(error) => {
                    self.wrong(
                        NAME,
                        format!(
                            "is {}: not a JSON array of strings ({}); expected for example \
                             [\"microsoft.keyvault/vaults\"]",
                            printable(text),
                            printable(&error.to_string())
                        ),
                    );
                    return Vec::new();
                }
            }
        } else {
            text.split(',').map(str::to_owned).collect()
        };
        let mut types = Vec::new();
        for name in names {
            match name.parse() {
                Ok(resource_type) => types.push(resource_type),
                Err(problem) => self.wrong(NAME, format!("is {}: {problem}", printable(text))),
            }
        }
        types.sort();
        types.dedup();
        types
    }

    fn tag_filters(&mut self) -> TagFilters {
        let Some(text) = set(self.settings.resource_group_tag_filters.as_deref()) else { return TagFilters::default() };
        serde_json::from_str(text).unwrap_or_else(|error| {
            self.wrong(
                "RESOURCE_GROUP_TAG_FILTERS",
                format!(
                    "is {}: {}; expected for example {{\"include\": {{\"Environment\": \"Production\"}}, \
                     \"exclude\": {{\"Temporary\": \"true\"}}}}",
                    printable(text),
                    printable(&error.to_string())
                ),
            );
            TagFilters::default()
        })
    }

    fn window(&mut self) -> Duration {
        let minutes =
            self.count("CHANGE_WINDOW_MINUTES", self.settings.change_window_minutes.as_deref(), 20160, 15).get();
        Duration::from_secs(minutes as u64 * 60)
    }

    fn checkpoint(&mut self) -> Option<CheckpointConfig> {
        let settings = self.settings;
        let overlap =
            self.optional_count("CHANGE_OVERLAP_MINUTES", settings.change_overlap_minutes.as_deref(), 0, 1440);
        let full_every =
            self.optional_count("FULL_SYNC_EVERY_HOURS", settings.full_sync_every_hours.as_deref(), 1, 8760);
        let out_of_scope = self.choice(
            "OUT_OF_SCOPE",
            settings.out_of_scope.as_deref(),
            &[("delete", OutOfScope::Delete), ("keep", OutOfScope::Keep)],
        );
        Some(CheckpointConfig {
            file: set(settings.checkpoint_file.as_deref())?.into(),
            overlap: Duration::from_secs(overlap.unwrap_or(120) * 60),
            full_every: full_every.map(|hours| Duration::from_secs(hours * 3600)),
            out_of_scope,
        })
    }

    fn required(&mut self, variable: &'static str, value: Option<&str>, meaning: &str) -> String {
        let value = value.map(str::trim).unwrap_or_default();
        if value.is_empty() && !self.problems.iter().any(|problem| problem.variable == variable) {
            self.wrong(variable, format!("is not set; it is {meaning}"));
        }
        value.to_owned()
    }

    fn count(&mut self, variable: &'static str, value: Option<&str>, most: u64, default: usize) -> NonZeroUsize {
        let count = self.optional_count(variable, value, 1, most).and_then(|count| usize::try_from(count).ok());
        NonZeroUsize::new(count.unwrap_or(default)).unwrap_or(NonZeroUsize::MIN)
    }

    fn optional_count(&mut self, variable: &'static str, value: Option<&str>, least: u64, most: u64) -> Option<u64> {
        let text = set(value)?;
        let count = text.parse().ok().filter(|count| (least..=most).contains(count));
        if count.is_none() {
            self.wrong(variable, format!("is \"{}\": expected a whole number from {least} to {most}", printable(text)));
        }
        count
    }

    fn flag(&mut self, variable: &'static str, value: Option<&str>) -> bool {
        self.choice(variable, value, &[("true", true), ("false", false), ("1", true), ("0", false)])
    }

    /// One of a few names, in any case.
    fn choice<T: Copy + Default>(
        &mut self,
        variable: &'static str,
        value: Option<&str>,
        choices: &[(&'static str, T)],
    ) -> T {
        let Some(text) = set(value) else { return T::default() };
        match choices.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)) {
            Some((_, choice)) => *choice,
            None => {
                let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
                self.wrong(variable, format!("is \"{}\": expected {}", printable(text), names.join(" or ")));
                T::default()
            }
        }
    }

    /// An https origin: the token is sent there.
    fn endpoint(&mut self, variable: &'static str, value: Option<&str>, default: reqwest::Url) -> reqwest::Url {
        let Some(text) = set(value) else { return default };
        // Microsoft's own tools take a bare host name as well.
        let whole = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
        let problem = match reqwest::Url::parse(&whole) {
            Ok(url) if url.scheme() != "https" => "must be an https URL: the access token depends on it".into(),
            Ok(url)
                if url.path() != "/" || url.query().is_some() || url.fragment().is_some() || has_user_info(&url) =>
            {
                "must be a host only, such as https://management.azure.com".into()
            }
            Ok(url) => return url,
            Err(error) => format!("is not a URL: {error}"),
        };
        self.wrong(variable, format!("{}: {problem}", quoted(text)));
        default
    }
}

/// A value that is there; an empty one counts as unset, as Actions passes it for a missing secret.
fn set(value: Option<&str>) -> Option<&str> {
    value.map(str::trim).filter(|value| !value.is_empty())
}

/// What a URL of the configuration is, unless it may hold a password.
fn quoted(url: &str) -> String {
    if url.contains('@') {
        "is not shown, as it may hold a password".into()
    } else {
        format!("is \"{}\"", printable(url))
    }
}

fn has_user_info(url: &reqwest::Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

fn is_loopback(url: &reqwest::Url) -> bool {
    match url.host_str() {
        Some("localhost") => true,
        Some(host) => host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback()),
        None => false,
    }
}
