//! The command line: syntax and help, nothing else. Every value stays a string here; `config` makes typed ones of them.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

/// Settings that have no flag.
pub(crate) const ENVIRONMENT: &str = "\
AZURE_CLIENT_SECRET                the service principal's secret
AZURE_CLIENT_CERTIFICATE_PATH      its certificate, instead
AZURE_CLIENT_CERTIFICATE_PASSWORD  what opens the certificate's file
PORT_WEBHOOK_INGEST_URL            the URL of Port's webhook; it holds the webhook's key
PORT_WEBHOOK_SECRET                the webhook's secret, to sign what is posted
RUST_LOG                           filters the log, such as warn or debug [default: info]
NO_COLOR                           no colours, not even on a terminal
CLICOLOR_FORCE                     colours even where there is no terminal
HTTPS_PROXY                        the proxy on the way out
NO_PROXY                           hosts that are reached without it
SSL_CERT_FILE                      certificates to trust instead of the system's (Linux)";

pub(crate) const EXIT_CODES: &str = "\
0  everything found was accepted
1  failed: something was not read or not accepted
2  configuration or usage
3  no usable credentials, or the principal can read no subscription
4  all delivered but for envelopes that Port refused for themselves
130, 143  stopped by SIGINT or SIGTERM";

pub(crate) const EXAMPLES: &str = "\
azure-incremental check
azure-incremental --mode full
azure-incremental --change-window-minutes 60 --resource-types microsoft.keyvault/vaults
azure-incremental --dry-run | jq .data.resourceId
azure-incremental queries --mode full
azure-incremental resend --from dead-letters.jsonl
azure-incremental init --write port
azure-incremental completions bash > /etc/bash_completion.d/azure-incremental";

fn after_help() -> String {
    let indented = |text: &str| text.lines().map(|line| format!("  {line}\n")).collect::<String>();
    format!(
        "Read from the environment only:\n{}\nExit codes:\n{}\nExamples:\n{}",
        indented(ENVIRONMENT),
        indented(EXIT_CODES),
        indented(EXAMPLES).trim_end()
    )
}

/// Keeps a Port catalog in step with an Azure estate.
///
/// One run reads what changed from Azure Resource Graph, posts it to a Port webhook, reports, and exits with a code
/// that says what happened. Every flag has an environment variable; the flag wins, and an empty variable counts as unset.
#[derive(Debug, Parser)]
#[command(
    name = "azure-incremental",
    version = env!("VERSION_AND_COMMIT"),
    after_help = after_help(),
    max_term_width = 100
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub settings: Settings,
}

#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Go through everything that a run needs, and tell what is wrong and how to mend it; reads only
    Check(CheckArgs),
    /// Print the queries that a run would send, ready for the portal's Resource Graph Explorer
    Queries,
    /// Send some resources, groups or subscriptions as they are now: an upsert, or a delete of what is gone
    // Left to itself, clap takes variables that are set for parts of the usage.
    #[command(override_usage = "azure-incremental resend [OPTIONS] [ID]... [--from <FILE>]")]
    Resend(ResendArgs),
    /// Print what Port and GitHub need: blueprints, mappings and workflows, filled in with the settings given
    #[command(override_usage = "azure-incremental init [OPTIONS] [FILE]... [--write <DIR> [--force]]")]
    Init(InitArgs),
    /// Print a completion script for a shell
    #[command(override_usage = "azure-incremental completions <SHELL>")]
    Completions(CompletionsArgs),
    /// Print the manual page, for man(1)
    Man,
}

/// What to set up, and where.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct InitArgs {
    /// Only these: blueprints.json, mapping.json, mapping-batch.json, security.json, azure-incremental-sync.yml, azure-full-sync.yml
    #[arg(value_name = "FILE")]
    pub files: Vec<String>,

    /// Write the files into this directory; what is there and differs is left as it is, and named
    #[arg(long, value_name = "DIR")]
    pub write: Option<PathBuf>,

    /// With --write, replace files that differ
    #[arg(long, requires = "write")]
    pub force: bool,
}

/// Which shell.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct CompletionsArgs {
    /// Of which shell
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

/// How far to go.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct CheckArgs {
    /// Also post one envelope to Port, of an operation that no mapping reads
    #[arg(long)]
    pub probe: bool,
}

/// What to send again.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[group(required = true, multiple = true)]
pub struct ResendArgs {
    /// Azure resource ids, such as /subscriptions/…/resourceGroups/…/providers/…
    #[arg(value_name = "ID")]
    pub ids: Vec<String>,

    /// A file of dead letters, as DEAD_LETTER_FILE writes it; all that it names are sent
    #[arg(long, value_name = "FILE")]
    pub from: Option<PathBuf>,
}

/// The settings of a run, as they were typed.
#[derive(Clone, Debug, Default, Args)]
pub struct Settings {
    /// How to sign in: `client-secret`, `github-oidc`, `workload-identity`, `azure-pipelines`, `client-certificate`,
    /// `managed-identity` or `azure-cli` [default: the one that the environment is set up for]
    #[arg(
        long,
        env = "AZURE_CREDENTIAL",
        value_name = "KIND",
        global = true,
        hide_env_values = true,
        help_heading = "Azure"
    )]
    pub credential: Option<String>,

    /// Directory (tenant) id of the service principal
    #[arg(
        long,
        env = "AZURE_TENANT_ID",
        value_name = "ID",
        global = true,
        hide_env_values = true,
        help_heading = "Azure"
    )]
    pub azure_tenant_id: Option<String>,

    /// Application (client) id of the service principal
    #[arg(
        long,
        env = "AZURE_CLIENT_ID",
        value_name = "ID",
        global = true,
        hide_env_values = true,
        help_heading = "Azure"
    )]
    pub azure_client_id: Option<String>,

    /// `AzurePublic`, `AzureUSGovernment` or `AzureChina` [default: AzurePublic]
    #[arg(
        long,
        env = "AZURE_CLOUD",
        value_name = "CLOUD",
        global = true,
        hide_env_values = true,
        help_heading = "Azure"
    )]
    pub azure_cloud: Option<String>,

    /// Sign-in endpoint, https [default: the cloud's]
    #[arg(
        long,
        env = "AZURE_AUTHORITY_HOST",
        value_name = "URL",
        global = true,
        hide_env_values = true,
        help_heading = "Azure"
    )]
    pub azure_authority_host: Option<String>,

    /// Resource Manager endpoint, https [default: the cloud's]
    #[arg(
        long,
        env = "AZURE_RESOURCE_MANAGER_ENDPOINT",
        value_name = "URL",
        global = true,
        hide_env_values = true,
        help_heading = "Azure"
    )]
    pub azure_resource_manager_endpoint: Option<String>,

    /// Subscriptions asked about in one query, 1 to 1000 [default: 1000]
    #[arg(
        long,
        env = "SUBSCRIPTION_BATCH_SIZE",
        value_name = "N",
        global = true,
        hide_env_values = true,
        help_heading = "Azure"
    )]
    pub subscription_batch_size: Option<String>,

    /// Posts in flight at once, 1 to 200 [default: 25]
    #[arg(
        long,
        env = "PORT_WEBHOOK_CONCURRENCY",
        value_name = "N",
        global = true,
        hide_env_values = true,
        help_heading = "Port"
    )]
    pub port_webhook_concurrency: Option<String>,

    /// One envelope a post, or up to 100, for a mapping with itemsToParse: `single` or `batch` [default: single]
    #[arg(
        long,
        env = "PORT_WEBHOOK_PAYLOAD",
        value_name = "PAYLOAD",
        global = true,
        hide_env_values = true,
        help_heading = "Port"
    )]
    pub port_webhook_payload: Option<String>,

    /// With PORT_WEBHOOK_SECRET, the header that carries the signature [default: x-port-signature]
    #[arg(
        long,
        env = "PORT_WEBHOOK_SIGNATURE_HEADER",
        value_name = "HEADER",
        global = true,
        hide_env_values = true,
        help_heading = "Port"
    )]
    pub port_webhook_signature_header: Option<String>,

    /// With PORT_WEBHOOK_SECRET, what stands before the signature [default: sha256=]
    #[arg(
        long,
        env = "PORT_WEBHOOK_SIGNATURE_PREFIX",
        value_name = "PREFIX",
        global = true,
        hide_env_values = true,
        help_heading = "Port"
    )]
    pub port_webhook_signature_prefix: Option<String>,

    /// What to read: `incremental` (what changed) or `full` (everything that exists) [default: incremental]
    #[arg(long, env = "SYNC_MODE", value_name = "MODE", global = true, hide_env_values = true, help_heading = "Scope")]
    pub mode: Option<String>,

    /// How far back an incremental run without a checkpoint reads, 1 to 20160 [default: 15]
    #[arg(
        long,
        env = "CHANGE_WINDOW_MINUTES",
        value_name = "MINUTES",
        global = true,
        hide_env_values = true,
        help_heading = "Scope"
    )]
    pub change_window_minutes: Option<String>,

    /// Only these types of resources: a JSON array, or comma-separated; case-insensitive [default: all]
    #[arg(
        long,
        env = "RESOURCE_TYPES",
        value_name = "TYPES",
        global = true,
        hide_env_values = true,
        help_heading = "Scope"
    )]
    pub resource_types: Option<String>,

    /// Only groups with these tags, and what is in them: `{"include": {"Environment": "Production"}, "exclude":
    /// {"Temporary": "true"}}`; all of include must match and none of exclude [default: none]
    #[arg(
        long,
        env = "RESOURCE_GROUP_TAG_FILTERS",
        value_name = "JSON",
        global = true,
        hide_env_values = true,
        help_heading = "Scope"
    )]
    pub resource_group_tag_filters: Option<String>,

    /// Let envelopes tell who made a change, as `changeAttributes` with `changedBy`, `clientType` and `operation`; they hold
    /// people's addresses [default: false]
    #[arg(
        long,
        env = "INCLUDE_CHANGE_ACTOR",
        value_name = "true|false",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        global = true,
        hide_env_values = true,
        help_heading = "Scope"
    )]
    pub include_change_actor: Option<String>,

    /// What becomes of the entities of a group that left the scope: `delete` or `keep` [default: delete]
    #[arg(
        long,
        env = "OUT_OF_SCOPE",
        value_name = "WHAT",
        global = true,
        hide_env_values = true,
        help_heading = "Scope"
    )]
    pub out_of_scope: Option<String>,

    /// Remember in this file what was delivered, and read from there on [default: none; every run reads the window]
    #[arg(
        long,
        env = "CHECKPOINT_FILE",
        value_name = "FILE",
        global = true,
        hide_env_values = true,
        help_heading = "Reliability"
    )]
    pub checkpoint_file: Option<String>,

    /// With a checkpoint, how far before it changes are read again, as records appear late, 0 to 1440 [default: 120]
    #[arg(
        long,
        env = "CHANGE_OVERLAP_MINUTES",
        value_name = "MINUTES",
        global = true,
        hide_env_values = true,
        help_heading = "Reliability"
    )]
    pub change_overlap_minutes: Option<String>,

    /// With a checkpoint, compare everything that exists when the last full comparison is this old, 1 to 8760 [default: 24]
    #[arg(
        long,
        env = "FULL_SYNC_EVERY_HOURS",
        value_name = "HOURS",
        global = true,
        hide_env_values = true,
        help_heading = "Reliability"
    )]
    pub full_sync_every_hours: Option<String>,

    /// Post everything in scope again, whatever the checkpoint says of it; makes the run a full one [default: false]
    #[arg(
        long,
        env = "RESEND_ALL",
        value_name = "true|false",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        global = true,
        hide_env_values = true,
        help_heading = "Reliability"
    )]
    pub resend_all: Option<String>,

    /// Append envelopes that Port refuses for themselves to this file, a JSON object a line [default: they are logged]
    #[arg(
        long,
        env = "DEAD_LETTER_FILE",
        value_name = "FILE",
        global = true,
        hide_env_values = true,
        help_heading = "Reliability"
    )]
    pub dead_letter_file: Option<String>,

    /// Stop in good order after so long, 1 to 86400 [default: never]
    #[arg(
        long,
        env = "RUN_TIMEOUT_SECONDS",
        value_name = "SECONDS",
        global = true,
        hide_env_values = true,
        help_heading = "Reliability"
    )]
    pub run_timeout_seconds: Option<String>,

    /// Do everything but post: envelopes go to standard output as JSON lines, the report to standard error. No checkpoint is
    /// moved, and PORT_WEBHOOK_INGEST_URL is not needed [default: false]
    #[arg(
        long,
        env = "DRY_RUN",
        value_name = "true|false",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        global = true,
        hide_env_values = true,
        help_heading = "Output"
    )]
    pub dry_run: Option<String>,

    /// `text` for people, `json` for machines: the log and the report [default: text]
    #[arg(
        long,
        env = "LOG_FORMAT",
        value_name = "FORMAT",
        global = true,
        hide_env_values = true,
        help_heading = "Output"
    )]
    pub log_format: Option<String>,
}
