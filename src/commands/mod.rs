//! Commands that are not runs: those that print, and those that read.

mod ask;
pub mod check;
pub mod checkpoint;
pub mod drift;
pub mod forget;
pub mod init;
mod manual;
pub mod queries;

use crate::cli::{Command, InitArgs, Settings};
use crate::config::{ConfigError, Entra, Environment, Problem, QueryConfig};
use crate::error::Exit;

/// The output and exit code of a command that only prints.
pub struct Printed {
    /// For standard output.
    pub output: String,
    /// For standard error.
    pub complaints: String,
    /// `Ok`, or `Failed` if a file was not written.
    pub exit: Exit,
}

/// The output of the command; `None` if it is not one that only prints. Invalid settings are an error, found before
/// anything is printed or written.
pub fn print(
    command: Option<&Command>,
    settings: &Settings,
    environment: Environment<'_>,
) -> Result<Option<Printed>, ConfigError> {
    let output = match command {
        Some(Command::Completions(args)) => manual::completions(args.shell),
        Some(Command::Man) => manual::man(),
        Some(Command::Init(args)) => {
            // Validates the settings that are filled in.
            ConfigError::both(QueryConfig::load(settings, environment), Entra::check(settings, environment))?;
            return initialise(args, settings).map(Some);
        }
        Some(
            Command::Check(_)
            | Command::Checkpoint(_)
            | Command::Drift(_)
            | Command::Queries
            | Command::Resend(_)
            | Command::Forget(_),
        )
        | None => {
            return Ok(None);
        }
    };
    Ok(Some(Printed { output, complaints: String::new(), exit: Exit::Ok }))
}

fn initialise(args: &InitArgs, settings: &Settings) -> Result<Printed, ConfigError> {
    let settings = given(settings);
    let wrong = |error: init::InitError| {
        let variable = if args.write.is_some() { "--write" } else { "FILE" };
        ConfigError(vec![Problem { variable: variable.into(), problem: error.to_string() }])
    };
    let Some(directory) = &args.write else {
        let output = init::print(&args.files, &settings).map_err(wrong)?;
        return Ok(Printed { output, complaints: String::new(), exit: Exit::Ok });
    };
    let mut printed = Printed { output: String::new(), complaints: String::new(), exit: Exit::Ok };
    let existing = if args.force { init::Existing::Replace } else { init::Existing::Keep };
    for done in init::write(directory, &args.files, &settings, existing).map_err(wrong)? {
        match done {
            Ok(line) => printed.output += &format!("{line}\n"),
            Err(error) => {
                printed.complaints += &format!("error: {error}\n");
                printed.exit = Exit::Failed;
            }
        }
    }
    Ok(printed)
}

/// The given settings that a workflow should have too. There, ids and secrets come from the repository's secrets, and
/// files are the workflow's own.
fn given(settings: &Settings) -> Vec<init::Setting> {
    let all = [
        ("AZURE_CLOUD", &settings.azure_cloud),
        ("AZURE_AUTHORITY_HOST", &settings.azure_authority_host),
        ("AZURE_OIDC_AUDIENCE", &settings.azure_oidc_audience),
        ("AZURE_RESOURCE_MANAGER_ENDPOINT", &settings.azure_resource_manager_endpoint),
        ("MICROSOFT_GRAPH_ENDPOINT", &settings.microsoft_graph_endpoint),
        ("AZURE_SOURCES", &settings.azure_sources),
        ("ENTRA_KINDS", &settings.entra_kinds),
        ("ENTRA_MEMBERSHIP", &settings.entra_membership),
        ("ENTRA_USERS", &settings.entra_users),
        ("ENTRA_SERVICE_PRINCIPALS", &settings.entra_service_principals),
        ("ENTRA_SIGN_IN_ACTIVITY", &settings.entra_sign_in_activity),
        ("SUBSCRIPTION_BATCH_SIZE", &settings.subscription_batch_size),
        ("PORT_WEBHOOK_CONCURRENCY", &settings.port_webhook_concurrency),
        ("PORT_WEBHOOK_PAYLOAD", &settings.port_webhook_payload),
        ("PORT_WEBHOOK_SIGNATURE_HEADER", &settings.port_webhook_signature_header),
        ("PORT_WEBHOOK_SIGNATURE_PREFIX", &settings.port_webhook_signature_prefix),
        ("CHANGE_WINDOW_MINUTES", &settings.change_window_minutes),
        ("RESOURCE_TYPES", &settings.resource_types),
        ("RESOURCE_GROUP_TAG_FILTERS", &settings.resource_group_tag_filters),
        ("INCLUDE_CHANGE_ACTOR", &settings.include_change_actor),
        ("OUT_OF_SCOPE", &settings.out_of_scope),
        ("CHANGE_OVERLAP_MINUTES", &settings.change_overlap_minutes),
        ("FULL_SYNC_EVERY_HOURS", &settings.full_sync_every_hours),
    ];
    all.into_iter()
        .filter_map(|(name, value)| Some((name, value.as_deref()?.trim().to_owned())))
        .filter(|(_, value)| !value.is_empty())
        .collect()
}
