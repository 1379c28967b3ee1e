//! Turns the command line and the environment into a [`Config`] in which every value is parsed, bounded and typed. All invalid
//! values are reported at once.

mod azure;
mod certificates;
mod checkpoint;
mod cloud;
mod columns;
mod credential;
mod drift;
mod entra;
mod error;
mod forget;
mod limits;
mod log;
mod mode;
mod names;
mod port;
mod proxies;
mod reader;
mod resend;
mod scope;
mod scope_terms;
mod secret_url;
mod set_up;
mod sign_in;
mod signing;
mod tag_filters;
#[cfg(test)]
mod testing;
mod url;
mod value;
mod variables;
mod workflow;

use std::path::PathBuf;
use std::time::Duration;

use crate::cli::Settings;
use port::Need;
use reader::Reader;
use value::Form;

pub use azure::AzureConfig;
pub use checkpoint::{CheckpointConfig, OutOfScope, checkpoint_file};
pub use columns::Columns;
pub(crate) use columns::{FURTHER, those_of};
pub use credential::{Application, CredentialConfig, CredentialKind, Identity};
pub use entra::{Entra, EntraKind, EntraMember, EntraMembership, EntraUsers};
pub use error::{ConfigError, Problem};
pub use forget::forget_id;
pub use limits::Limits;
pub use log::{LogConfig, LogFormat};
pub use mode::Mode;
use mode::ModeSettings;
pub use names::spelling_hints;
pub use port::{Payload, PortApi, PortConfig, Verify};
pub use proxies::Proxies;
pub use reader::Environment;
pub use resend::resend_ids;
pub use scope::{ResourceType, Scope};
pub(crate) use scope_terms::ScopeTerms;
pub use secret_url::SecretUrl;
pub use set_up::{Coverage, SetUpConfig, WebhookConfig};
pub(crate) use sign_in::SECRET_VARIABLES;
pub use signing::SigningConfig;
pub use tag_filters::{TagCondition, TagFilters};
pub use variables::Variables;
pub use workflow::WorkflowRun;
pub(crate) use workflow::is_job;

/// Everything a run needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// `SYNC_MODE`. The checkpoint can still turn an incremental run into a full one.
    pub mode: Mode,
    /// Proxies and trusted certificates.
    pub network: NetworkConfig,
    /// Where changes come from.
    pub azure: AzureConfig,
    /// Where envelopes go.
    pub port: PortConfig,
    /// Which part of the estate is synced.
    pub scope: Scope,
    /// `AZURE_SOURCES`: whether Azure's resources are synced.
    pub resources: bool,
    /// Which parts of Entra ID are synced, if any. With a mapping file, the mapping decides the kinds.
    pub entra: Option<Entra>,
    /// How far back an incremental run without a checkpoint reads: 1 minute to 6 days, the period for which change
    /// records are reliable.
    pub window: Duration,
    /// `None`: the run is stateless.
    pub checkpoint: Option<CheckpointConfig>,
    /// `None`: envelopes that Port rejects are only logged.
    pub dead_letter_file: Option<PathBuf>,
    /// 1 second to a day; `None`: no limit.
    pub run_timeout: Option<Duration>,
    /// Posts everything in scope again, whatever the checkpoint says. `mode` is then full.
    pub resend_all: bool,
    /// Deletes entities that this program wrote and Azure no longer has, if they are at most this percentage of what it
    /// wrote. `mode` is then full.
    pub prune: Option<u64>,
    /// Prints what would be posted and changes nothing. `None` for a real run.
    pub dry_run: Option<DryRun>,
    /// `None` outside GitHub Actions.
    pub workflow_run: Option<WorkflowRun>,
    /// Not configurable: the same in every run of the binary.
    pub limits: Limits,
}

impl Config {
    /// Loads everything a run needs, or returns every invalid setting.
    pub fn load(settings: &Settings, environment: Environment<'_>) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(settings, environment);
        let dry_run = reader.flag("DRY_RUN", settings.dry_run.as_deref());
        let ModeSettings { mode, resend_all, prune } = reader.mode_settings();
        let entra = reader.entra();
        let (resources, has_entra) = reader.sources(&entra.kinds);
        let config = Self {
            mode,
            network: NetworkConfig { proxies: reader.proxies(), certificates: reader.certificates() },
            azure: reader.azure(),
            port: reader.port(if dry_run { Need::Optional } else { Need::Required }),
            scope: reader.scope(),
            resources,
            entra: has_entra.then_some(entra),
            window: reader.window(),
            checkpoint: reader.checkpoint(),
            dead_letter_file: reader
                .set("DEAD_LETTER_FILE", settings.dead_letter_file.as_deref(), Form::Plain)
                .map(PathBuf::from),
            run_timeout: reader
                .optional_count("RUN_TIMEOUT_SECONDS", settings.run_timeout_seconds.as_deref(), 1, 86_400)
                .map(Duration::from_secs),
            resend_all,
            prune,
            dry_run: dry_run.then_some(DryRun::Envelopes),
            workflow_run: WorkflowRun::detect(environment),
            limits: Limits::default(),
        };
        reader.finish(config)
    }
}

/// What a dry run prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DryRun {
    /// Every envelope, for programs.
    Envelopes,
    /// The counts per type, for people.
    Counts,
}

/// How to report invalid settings: the relevant settings, as far as they can be parsed.
#[derive(Clone, Copy, Debug)]
pub struct ErrorReporting {
    /// `LOG_FORMAT`.
    pub format: LogFormat,
    /// `SYNC_MODE`.
    pub mode: Mode,
    /// `DRY_RUN`.
    pub dry_run: Option<DryRun>,
}

impl ErrorReporting {
    /// Uses the default for invalid values.
    pub fn of(settings: &Settings) -> Self {
        let mut reader = Reader::new(settings, &|_| None);
        Self {
            format: reader.log_format(),
            mode: reader.mode(),
            dry_run: reader.flag("DRY_RUN", settings.dry_run.as_deref()).then_some(DryRun::Envelopes),
        }
    }
}

/// How to reach hosts and authenticate them.
#[derive(Clone, Debug, Default)]
pub struct NetworkConfig {
    /// The proxies to use.
    pub proxies: Proxies,
    /// The certificates to trust; `None` for the system's.
    pub certificates: Option<Vec<reqwest::Certificate>>,
}

/// The settings that queries depend on. Loading them needs no credentials.
#[derive(Clone, Debug)]
pub struct QueryConfig {
    /// Decides which queries are sent.
    pub mode: Mode,
    /// Becomes the filters in the queries.
    pub scope: Scope,
    /// How far back queries for changes reach without a checkpoint.
    pub window: Duration,
    /// Decides how far back they reach with one.
    pub checkpoint: Option<CheckpointConfig>,
    /// Decides which columns are read.
    pub mapping_file: Option<PathBuf>,
}

impl QueryConfig {
    /// Like [`Config::load`], for fewer settings.
    pub fn load(settings: &Settings, environment: Environment<'_>) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(settings, environment);
        let config = Self {
            mode: reader.mode_settings().mode,
            scope: reader.scope(),
            window: reader.window(),
            checkpoint: reader.checkpoint(),
            mapping_file: reader.mapping_file(),
        };
        reader.finish(config)
    }
}
