//! The syntax and help of the command line. Values stay strings here; `config` parses them.

mod flags;
mod help;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

pub use flags::Flag;
pub(crate) use flags::variables;
pub(crate) use help::{ENVIRONMENT, EXAMPLES, EXIT_CODES, command, completing};

/// Keeps a Port catalog in sync with an Azure estate, and with Entra ID.
///
/// One run reads changes from Azure Resource Graph, and with ENTRA_KINDS or a mapping file from Microsoft Graph, sends them
/// to Port, prints a report, and exits with a code that says what happened. Every flag has an environment variable. The flag
/// takes precedence, and an empty variable counts as unset.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "azure-incremental",
    version = env!("VERSION_AND_COMMIT"),
    after_help = help::SHORT,
    after_long_help = help::long(),
    max_term_width = 100
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub settings: Settings,

    /// Read variables that are not set from this file: lines of NAME=value, with or without quotes; a $ stands for itself
    /// [default: none]
    #[arg(long, value_name = "FILE", global = true, help_heading = "Output")]
    pub env_file: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Check everything that a run needs
    ///
    /// Says what is wrong and how to fix it. It is read-only unless --probe is given.
    Check(CheckArgs),
    /// Compare Port's catalog with Azure
    ///
    /// What is missing in Port, what is different, and what is extra. Reads both, and writes nothing.
    #[command(override_usage = "azure-incremental drift [OPTIONS] [--all]")]
    Drift(DriftArgs),
    /// Print the queries that the next run would send
    ///
    /// They are ready to paste into Resource Graph Explorer in the portal. With a checkpoint they read from where it ends.
    Queries,
    /// Send the current state of some resources
    ///
    /// Resources, groups or subscriptions: an upsert of each, or, only with --allow-delete, a delete of what no longer exists.
    // By default, clap lists variables that are set as parts of the usage.
    #[command(override_usage = "azure-incremental resend [OPTIONS] [ID]... [--from <FILE>] [--allow-delete]")]
    Resend(ResendArgs),
    /// Delete a subscription that is gone for good
    ///
    /// From the catalog, and from the checkpoint.
    #[command(override_usage = "azure-incremental forget [OPTIONS] <SUBSCRIPTION> [--yes]")]
    Forget(ForgetArgs),
    /// Print the files that Port and GitHub need, or set Port up
    ///
    /// Blueprints, mappings and workflows, with the given settings filled in.
    #[command(
        override_usage = "azure-incremental init [OPTIONS] [FILE]... [--write <DIR> [--force]]\n       azure-incremental init [OPTIONS] --apply [--yes] [--gh-secret]"
    )]
    Init(InitArgs),
    /// Show what a checkpoint holds
    ///
    /// By subscription and type, as a list, or what is known of one entity.
    #[command(override_usage = "azure-incremental checkpoint [OPTIONS] [FILE] [--list | --id <ID>]")]
    Checkpoint(CheckpointArgs),
    /// Print a shell completion script
    #[command(override_usage = "azure-incremental completions <SHELL>")]
    Completions(CompletionsArgs),
    /// Print the manual page for man(1)
    Man,
}

/// Which files to print or write, and where; or what to set up.
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct InitArgs {
    /// Only these files: blueprints.json, mapping.json, mapping-batch.json, security.json, entities.yml, azure-incremental-sync.yml, azure-full-sync.yml
    #[arg(value_name = "FILE")]
    pub files: Vec<String>,

    /// Write the files to this directory; existing files that differ are reported and left unchanged
    #[arg(long, value_name = "DIR")]
    pub write: Option<PathBuf>,

    /// With --write, replace existing files that differ
    #[arg(long, requires = "write")]
    pub force: bool,

    /// Create or complete the blueprints in Port, and, without MAPPING_FILE, the webhook with its mapping and signature; shows
    /// what would change, asks, and prints the URL of a new webhook
    #[arg(long, conflicts_with_all = ["files", "write"])]
    pub apply: bool,

    /// With --apply, do not ask; needed where there is no terminal to ask on
    #[arg(long, requires = "apply")]
    pub yes: bool,

    /// With --apply, hand the webhook's URL to `gh secret set PORT_WEBHOOK_INGEST_URL`, and do not print it
    #[arg(long, requires = "apply")]
    pub gh_secret: bool,
}

/// Which shell to complete for.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct CompletionsArgs {
    /// The shell to complete for
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

/// How much to check.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct CheckArgs {
    /// Also post one envelope to Port, with an operation that no mapping handles
    #[arg(long)]
    pub probe: bool,
}

/// How much of what differs to print.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct DriftArgs {
    /// Print every entity that differs, not only ten of each kind; keeps all of them in memory
    #[arg(long)]
    pub all: bool,
}

/// What to show of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct CheckpointArgs {
    /// The checkpoint [default: CHECKPOINT_FILE]
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,

    /// Print every entity, one JSON object per line
    #[arg(long, conflicts_with = "id")]
    pub list: bool,

    /// Print what is known of one resource, group or subscription
    #[arg(long, value_name = "ID")]
    pub id: Option<String>,
}

/// What to send.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[group(required = true, multiple = true)]
pub struct ResendArgs {
    /// Ids of resources, such as /subscriptions/ID/resourceGroups/NAME/providers/TYPE/NAME
    #[arg(value_name = "ID")]
    pub ids: Vec<String>,

    /// Send everything named in this file of dead letters, as written by DEAD_LETTER_FILE
    #[arg(long, value_name = "FILE")]
    pub from: Option<PathBuf>,

    /// Delete from the catalog what Resource Graph no longer knows; otherwise nothing is sent for it
    #[arg(long)]
    pub allow_delete: bool,
}

/// What to forget.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct ForgetArgs {
    /// The subscription's id: a GUID, or /subscriptions/GUID
    #[arg(value_name = "SUBSCRIPTION")]
    pub subscription: String,

    /// Delete without asking; needed where there is no terminal to ask on
    #[arg(long)]
    pub yes: bool,
}

/// The settings of a run, unparsed.
#[derive(Clone, Debug, Default, Args)]
pub struct Settings {
    /// How to sign in: `client-secret`, `github-oidc`, `workload-identity`, `azure-pipelines`, `client-certificate`,
    /// `managed-identity` or `azure-cli` [default: inferred from the environment]
    #[arg(long, env = "AZURE_CREDENTIAL", value_name = "KIND", help_heading = "Azure")]
    pub credential: Option<String>,

    /// Directory (tenant) id of the service principal; required, except with `managed-identity` and `azure-cli`
    #[arg(long, env = "AZURE_TENANT_ID", value_name = "ID", help_heading = "Azure")]
    pub azure_tenant_id: Option<String>,

    /// Application (client) id of the service principal; required, except with `managed-identity` and `azure-cli`
    #[arg(long, env = "AZURE_CLIENT_ID", value_name = "ID", help_heading = "Azure")]
    pub azure_client_id: Option<String>,

    /// `AzurePublic`, `AzureUSGovernment` (DoD regions included) or `AzureChina` [default: AzurePublic]
    #[arg(long, env = "AZURE_CLOUD", value_name = "CLOUD", help_heading = "Azure")]
    pub azure_cloud: Option<String>,

    /// Sign-in endpoint, https [default: the cloud's]
    #[arg(long, env = "AZURE_AUTHORITY_HOST", value_name = "URL", help_heading = "Azure")]
    pub azure_authority_host: Option<String>,

    /// Audience of the ID token that a job of GitHub signs in with [default: the cloud's, such as api://AzureADTokenExchange]
    #[arg(long, env = "AZURE_OIDC_AUDIENCE", value_name = "AUDIENCE", help_heading = "Azure")]
    pub azure_oidc_audience: Option<String>,

    /// Resource Manager endpoint, https [default: the cloud's]
    #[arg(long, env = "AZURE_RESOURCE_MANAGER_ENDPOINT", value_name = "URL", help_heading = "Azure")]
    pub azure_resource_manager_endpoint: Option<String>,

    /// What is synced: `resources`, `entra` or both, separated by commas [default: both where both are set up]
    #[arg(long, env = "AZURE_SOURCES", value_name = "SOURCES", help_heading = "Scope")]
    pub azure_sources: Option<String>,

    /// What of Entra ID is synced: `users`, `groups`, `applications`, `servicePrincipals`, separated by commas, or `all`
    /// [default: nothing]
    #[arg(long, env = "ENTRA_KINDS", value_name = "KINDS", help_heading = "Scope")]
    pub entra_kinds: Option<String>,

    /// Which side says who is in which group: `group` (a group names its members), `user` (a user names the groups), `both` or
    /// `none` [default: group]
    #[arg(long, env = "ENTRA_MEMBERSHIP", value_name = "SIDE", help_heading = "Scope")]
    pub entra_membership: Option<String>,

    /// Which users: `members` (no guests), `enabled`, both separated by a comma, or `all` [default: all]
    #[arg(long, env = "ENTRA_USERS", value_name = "FILTER", help_heading = "Scope")]
    pub entra_users: Option<String>,

    /// Which service principals: `own` (without Microsoft's) or `all` [default: all]
    #[arg(long, env = "ENTRA_SERVICE_PRINCIPALS", value_name = "FILTER", help_heading = "Scope")]
    pub entra_service_principals: Option<String>,

    /// Sync the day on which each user last signed in [default: false]
    #[arg(long, env = "ENTRA_SIGN_IN_ACTIVITY", value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true", help_heading = "Scope")]
    pub entra_sign_in_activity: Option<String>,

    /// Delete a mass of users, groups, applications or service principals that are gone: more than 100 at once, and more than
    /// 20 % of their kind [default: false]
    #[arg(long, env = "ALLOW_MASS_DELETE", value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true", help_heading = "Reliability")]
    pub allow_mass_delete: Option<String>,

    /// Microsoft Graph endpoint, https [default: the cloud's]
    #[arg(long, env = "MICROSOFT_GRAPH_ENDPOINT", value_name = "URL", help_heading = "Azure")]
    pub microsoft_graph_endpoint: Option<String>,

    /// Subscriptions per query, 1 to 1000 [default: 1000]
    #[arg(long, env = "SUBSCRIPTION_BATCH_SIZE", value_name = "N", help_heading = "Azure")]
    pub subscription_batch_size: Option<String>,

    /// Posts in flight at once, 1 to 200 [default: 25]
    #[arg(long, env = "PORT_WEBHOOK_CONCURRENCY", value_name = "N", help_heading = "Port")]
    pub port_webhook_concurrency: Option<String>,

    /// Envelopes per post: `single` (one) or `batch` (up to 100, for a mapping with itemsToParse) [default: single]
    #[arg(long, env = "PORT_WEBHOOK_PAYLOAD", value_name = "PAYLOAD", help_heading = "Port")]
    pub port_webhook_payload: Option<String>,

    /// With PORT_WEBHOOK_SECRET, the header that carries the signature [default: x-port-signature]
    #[arg(long, env = "PORT_WEBHOOK_SIGNATURE_HEADER", value_name = "HEADER", help_heading = "Port")]
    pub port_webhook_signature_header: Option<String>,

    /// With PORT_WEBHOOK_SECRET, the prefix of the signature [default: sha256=]
    #[arg(long, env = "PORT_WEBHOOK_SIGNATURE_PREFIX", value_name = "PREFIX", help_heading = "Port")]
    pub port_webhook_signature_prefix: Option<String>,

    /// Write entities over Port's API, as this mapping (YAML, as Port's own Azure exporters have) makes them, in place of posting
    /// envelopes to a webhook [default: none]
    #[arg(long, env = "MAPPING_FILE", value_name = "FILE", help_heading = "Port")]
    pub mapping_file: Option<String>,

    /// With MAPPING_FILE, VERIFY, `drift` or `init --apply`, the client id of the organization's credentials in Port;
    /// PORT_CLIENT_SECRET is the other half
    #[arg(long, env = "PORT_CLIENT_ID", value_name = "ID", help_heading = "Port")]
    pub port_client_id: Option<String>,

    /// With MAPPING_FILE, VERIFY, `drift` or `init --apply`, the region of the organization in Port: `eu`, `us`, or an https
    /// URL [default: eu]
    #[arg(long, env = "PORT_BASE_URL", value_name = "REGION", help_heading = "Port")]
    pub port_base_url: Option<String>,

    /// What to read: `incremental` (what changed) or `full` (everything that exists) [default: incremental]
    #[arg(long, env = "SYNC_MODE", value_name = "MODE", help_heading = "Scope")]
    pub mode: Option<String>,

    /// How far back an incremental run reads without a checkpoint, 1 to 8640; Azure itself may show a change up to 30 hours
    /// late if Resource Manager was not notified of it [default: 15]
    #[arg(long, env = "CHANGE_WINDOW_MINUTES", value_name = "MINUTES", help_heading = "Scope")]
    pub change_window_minutes: Option<String>,

    /// Sync only these resource types: a JSON array or a comma-separated list; case-insensitive [default: all]
    #[arg(long, env = "RESOURCE_TYPES", value_name = "TYPES", help_heading = "Scope")]
    pub resource_types: Option<String>,

    /// Further columns of Resource Graph that envelopes carry, such as `properties,sku`: a JSON array or a comma-separated list
    /// [default: none]
    #[arg(long, env = "RESOURCE_COLUMNS", value_name = "COLUMNS", help_heading = "Scope")]
    pub resource_columns: Option<String>,

    /// Sync only resource groups with these tags, and the resources in them: `{"include": {"Environment": "Production"},
    /// "exclude": {"Temporary": "true"}}`; a group must match all of include and none of exclude [default: none]
    #[arg(long, env = "RESOURCE_GROUP_TAG_FILTERS", value_name = "JSON", help_heading = "Scope")]
    pub resource_group_tag_filters: Option<String>,

    /// Include in each envelope who made the change, as `changeAttributes` with `changedBy`, `clientType` and `operation`; this
    /// includes email addresses [default: false]
    #[arg(long, env = "INCLUDE_CHANGE_ACTOR", value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true", help_heading = "Scope")]
    pub include_change_actor: Option<String>,

    /// With a checkpoint, what to do with the entities of a group that left the scope: `delete` or `keep` [default: delete]
    #[arg(long, env = "OUT_OF_SCOPE", value_name = "WHAT", help_heading = "Scope")]
    pub out_of_scope: Option<String>,

    /// Record in this file what was delivered, and continue from there [default: none; every run reads the window]
    #[arg(long, env = "CHECKPOINT_FILE", value_name = "FILE", help_heading = "Reliability")]
    pub checkpoint_file: Option<String>,

    /// With a checkpoint, how far before it changes are read again, because records appear late, 0 to 1440 [default: 120]
    #[arg(long, env = "CHANGE_OVERLAP_MINUTES", value_name = "MINUTES", help_heading = "Reliability")]
    pub change_overlap_minutes: Option<String>,

    /// With a checkpoint, compare everything that exists when the last full comparison is this old, 1 to 8760 [default: 24]
    #[arg(long, env = "FULL_SYNC_EVERY_HOURS", value_name = "HOURS", help_heading = "Reliability")]
    pub full_sync_every_hours: Option<String>,

    /// Post everything in scope again, whatever the checkpoint says about it; makes the run a full one [default: false]
    #[arg(long, env = "RESEND_ALL", value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true", help_heading = "Reliability")]
    pub resend_all: Option<String>,

    /// With MAPPING_FILE, delete from Port what this program wrote and Azure no longer has, once everything was read; makes the
    /// run a full one [default: false]
    #[arg(long, env = "PRUNE", value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true", help_heading = "Reliability")]
    pub prune: Option<String>,

    /// With PRUNE, how much of what this program wrote to Port may be deleted at most, in percent, 0 to 100 [default: 10]
    #[arg(long, env = "PRUNE_LIMIT_PERCENT", value_name = "PERCENT", help_heading = "Reliability")]
    pub prune_limit_percent: Option<String>,

    /// Read back over Port's API what was posted to the webhook, until its catalog shows it [default: false]
    #[arg(long, env = "VERIFY", value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true", help_heading = "Reliability")]
    pub verify: Option<String>,

    /// With VERIFY, how long an envelope may take to show, in seconds, 1 to 3600 [default: 120]
    #[arg(long, env = "VERIFY_TIMEOUT_SECONDS", value_name = "SECONDS", help_heading = "Reliability")]
    pub verify_timeout_seconds: Option<String>,

    /// Append envelopes that Port rejects individually to this file, one JSON object per line [default: only log them]
    #[arg(long, env = "DEAD_LETTER_FILE", value_name = "FILE", help_heading = "Reliability")]
    pub dead_letter_file: Option<String>,

    /// Stop cleanly after this time, 1 to 86400 [default: no limit]
    #[arg(long, env = "RUN_TIMEOUT_SECONDS", value_name = "SECONDS", help_heading = "Reliability")]
    pub run_timeout_seconds: Option<String>,

    /// Do everything except post: print envelopes to standard output as JSON lines, and the report to standard error. The
    /// checkpoint stays unchanged, and PORT_WEBHOOK_INGEST_URL is not needed [default: false]
    #[arg(long, env = "DRY_RUN", value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true", help_heading = "Output")]
    pub dry_run: Option<String>,

    /// Format of the log and the report: `text` or `json` [default: text]
    #[arg(long, env = "LOG_FORMAT", value_name = "FORMAT", help_heading = "Output")]
    pub log_format: Option<String>,

    /// The flags among them that were given.
    #[arg(skip)]
    pub flags: Vec<Flag>,
}
