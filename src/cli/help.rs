//! The parts of `-h`, `--help` and completions that do not come from the settings themselves.

use clap::builder::PossibleValuesParser;
use clap::{Arg, Command, CommandFactory, ValueHint};

use super::Cli;

/// Settings without a flag.
pub(crate) const ENVIRONMENT: &str = "\
AZURE_CLIENT_SECRET                client secret of the service principal
AZURE_CLIENT_CERTIFICATE_PATH      certificate of the service principal (a PKCS#12 file)
AZURE_CLIENT_CERTIFICATE_PASSWORD  password of the certificate file
PORT_WEBHOOK_INGEST_URL            required, unless there is a mapping: URL of Port's webhook, with its key
PORT_WEBHOOK_SECRET                secret of Port's webhook; signs every post
PORT_CLIENT_SECRET                 the secret that belongs to PORT_CLIENT_ID
RUST_LOG                           log filter, such as warn or debug [default: info]
NO_COLOR                           never use colours
CLICOLOR_FORCE                     always use colours
HTTPS_PROXY                        proxy for outgoing requests
NO_PROXY                           hosts to reach without the proxy: names, addresses, networks; * for all
SSL_CERT_FILE                      file of certificates to trust instead of the system's (Linux)";

pub(crate) const EXIT_CODES: &str = "\
0  everything found was accepted
1  something was not read or not accepted
2  invalid settings or usage
3  the credentials do not work, or the principal cannot read any subscription
4  everything was delivered except changes that Port rejected individually
5  drift: the catalog is not as Azure is
130, 143  stopped by SIGINT or SIGTERM";

pub(crate) const EXAMPLES: &str = "\
azure-incremental check
azure-incremental --mode full
azure-incremental --change-window-minutes 60 --resource-types microsoft.keyvault/vaults
azure-incremental --dry-run | jq .data.resourceId
azure-incremental drift --all
azure-incremental queries --mode full
azure-incremental resend --from dead-letters.jsonl
azure-incremental forget 00000000-0000-0000-0000-000000000000
azure-incremental init --write port
azure-incremental init --apply --dry-run
azure-incremental checkpoint checkpoint.redb
azure-incremental completions bash > /etc/bash_completion.d/azure-incremental";

/// The end of `-h`: what most people need, on a screen of 80 columns.
pub(super) const SHORT: &str = "\
Required settings:
  AZURE_TENANT_ID, AZURE_CLIENT_ID   who signs in; none with az or an identity
  AZURE_CLIENT_SECRET                its secret, unless you sign in without one
  PORT_WEBHOOK_INGEST_URL            where to post, unless there is a mapping

Common settings:
  PORT_WEBHOOK_SECRET                signs every post
  --env-file FILE                    read variables from this file
  --checkpoint-file FILE             keep what was delivered, and go on
  --mode MODE                        incremental or full [default: incremental]
  --change-window-minutes MINUTES    how far back without a checkpoint
  --resource-types TYPES             only these types of resources
  --resource-group-tag-filters JSON  only these groups, and what is in them
  --run-timeout-seconds SECONDS      stop cleanly after this time
  --dry-run                          print what would be sent, send nothing
  --log-format FORMAT                text or json [default: text]

'azure-incremental --help' lists all settings and the exit codes.";

/// The end of `--help`.
pub(super) fn long() -> String {
    let indented = |text: &str| text.lines().map(|line| format!("  {line}\n")).collect::<String>();
    format!(
        "Read from the environment only:\n{}\nExit codes:\n{}\nExamples:\n{}",
        indented(ENVIRONMENT),
        indented(EXIT_CODES),
        indented(EXAMPLES).trim_end()
    )
}

/// The syntax. A setting may come before or after a command. The values of variables are hidden.
pub(crate) fn command() -> Command {
    let is_setting = |argument: &Arg| argument.get_env().is_some();
    Cli::command()
        .mut_args(|argument| {
            let is_setting = is_setting(&argument);
            let argument = argument.hide_short_help(true);
            if is_setting { argument.global(true).hide_env_values(true) } else { argument }
        })
        .mut_subcommands(|command| command.disable_version_flag(true))
}

/// The same, for help: a command's help lists only its own options, not all settings again.
pub(super) fn helping() -> Command {
    command().mut_subcommands(|command| {
        let name = format!("azure-incremental {}", command.get_name());
        let end = "Every setting may follow as well: 'azure-incremental --help' lists them.";
        let about = command.get_long_about().or(command.get_about()).cloned().unwrap_or_default();
        let alone = command.clone().bin_name(name).about(about).long_about(None).after_help(end);
        let help = alone.mut_args(|argument| argument.hide_short_help(false)).max_term_width(100).render_help();
        command.override_help(help)
    })
}

/// Values to complete, by argument id. `config` parses them, and reports other values with a suitable message.
const VALUES: [(&str, &[&str]); 8] = [
    (
        "credential",
        &[
            "client-secret",
            "github-oidc",
            "workload-identity",
            "azure-pipelines",
            "client-certificate",
            "managed-identity",
            "azure-cli",
        ],
    ),
    ("azure_cloud", &["AzurePublic", "AzureUSGovernment", "AzureChina"]),
    ("port_webhook_payload", &["single", "batch"]),
    ("mode", &["incremental", "full"]),
    ("out_of_scope", &["delete", "keep"]),
    ("entra_membership", &["group", "user", "both", "none"]),
    ("entra_service_principals", &["own", "all"]),
    ("log_format", &["text", "json"]),
];

/// The same, for completions: with the known values of settings, and with file names for paths.
pub(crate) fn completing() -> Command {
    let complete = |argument: Arg| {
        let id = argument.get_id().as_str();
        let values = VALUES.iter().find(|(of, _)| *of == id).map(|(_, values)| *values);
        let hint = match id {
            "checkpoint_file" | "dead_letter_file" | "env_file" | "file" | "from" => ValueHint::FilePath,
            "write" => ValueHint::DirPath,
            _ => ValueHint::Other,
        };
        match values {
            Some(values) => argument.value_parser(PossibleValuesParser::new(values)),
            None if argument.get_action().takes_values() => argument.value_hint(hint),
            None => argument,
        }
    };
    command().mut_args(complete).mut_subcommands(|command| command.mut_args(complete))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_help_fits_a_screen_and_names_flags_that_there_are() {
        let help = command().term_width(80).render_help().to_string();
        assert!(help.lines().count() < 40, "{help}");
        assert!(help.ends_with(&format!("{SHORT}\n")), "no line is broken: {help}");
        let known: Vec<String> =
            command().get_arguments().filter_map(|argument| Some(format!("--{}", argument.get_long()?))).collect();
        for flag in SHORT.split_whitespace().filter(|word| word.starts_with("--")) {
            assert!(flag == "--help'" || flag == "--help" || known.iter().any(|known| known == flag), "{flag}");
        }
    }

    #[test]
    fn the_help_of_a_command_lists_its_own_options_alone() {
        for name in ["check", "drift", "resend", "forget", "init", "checkpoint"] {
            let error = helping().try_get_matches_from(["azure-incremental", name, "-h"]).unwrap_err().to_string();
            assert!(!error.contains("--azure-cloud") && error.contains("Every setting may follow"), "{error}");
            assert!(
                error.contains(&format!("Usage: azure-incremental {name}")) && error.lines().count() < 25,
                "{error}"
            );
        }
    }
}
