//! Which settings were given by a flag, and where the others come from.

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Command, FromArgMatches};

use super::help::{command, helping};
use super::{Cli, Settings};

impl Cli {
    /// Parses the arguments; the first is the program's name.
    pub fn read(arguments: &[OsString]) -> Result<Self, clap::Error> {
        let mut command = command();
        let matches = command.try_get_matches_from_mut(arguments).map_err(|error| match error.kind() {
            // Builds the full help only here, so that a run does not pay for it.
            ErrorKind::DisplayHelp => helping().try_get_matches_from(arguments).err().unwrap_or(error),
            _ => error,
        })?;
        Self::of(&matches, &command)
    }

    /// Parses the arguments again. `found` gives the values of settings that were not given as flags.
    pub fn filled(self, arguments: &[OsString], found: impl Fn(&str) -> Option<String>) -> Result<Self, clap::Error> {
        let command = command();
        let open = flags(&command).into_iter().filter(|flag| !self.settings.flags.contains(flag));
        let more = open.filter_map(|flag| Some(format!("{}={}", flag.name, found(&flag.variable)?).into()));
        let (program, rest) = arguments.split_at(arguments.len().min(1));
        let arguments = program.iter().cloned().chain(more).chain(rest.iter().cloned());
        let mut cli = Self::from_arg_matches(&command.try_get_matches_from(arguments)?)?;
        cli.settings.flags = self.settings.flags;
        Ok(cli)
    }

    fn of(matches: &ArgMatches, command: &Command) -> Result<Self, clap::Error> {
        let mut cli = Self::from_arg_matches(matches)?;
        let is_given = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
        cli.settings.flags = flags(command).into_iter().filter(|flag| is_given(&flag.id)).collect();
        Ok(cli)
    }
}

/// A flag and the variable that it overrides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    id: String,
    name: String,
    variable: String,
}

fn flags(command: &Command) -> Vec<Flag> {
    let flag = |argument: &clap::Arg| {
        Some(Flag {
            id: argument.get_id().to_string(),
            name: format!("--{}", argument.get_long()?),
            variable: argument.get_env()?.to_str()?.to_owned(),
        })
    };
    command.get_arguments().filter_map(flag).collect()
}

/// The variables of the settings that have a flag.
pub(crate) fn variables() -> Vec<String> {
    flags(&command()).into_iter().map(|flag| flag.variable).collect()
}

impl Settings {
    /// The flag instead of the variable if the value came from there, so that messages name what the user wrote.
    pub(crate) fn named<'a>(&'a self, variable: &'a str) -> &'a str {
        self.flags.iter().find(|flag| flag.variable == variable).map_or(variable, |flag| &flag.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(given: &[&str]) -> Vec<OsString> {
        std::iter::once("azure-incremental").chain(given.iter().copied()).map(Into::into).collect()
    }

    #[test]
    fn what_is_not_given_is_filled_and_what_is_given_stays() {
        let found = |name: &str| match name {
            "SYNC_MODE" => Some("full".to_owned()),
            "RESEND_ALL" => Some("true".to_owned()),
            "DEAD_LETTER_FILE" => Some("-x y=z".to_owned()),
            _ => None,
        };
        for given in [&["check", "--mode", "incremental", "--probe"][..], &["--mode=incremental", "check", "--probe"]] {
            let given = arguments(given);
            let cli = Cli::read(&given).unwrap().filled(&given, found).unwrap();
            assert_eq!(cli.settings.mode.as_deref(), Some("incremental"));
            assert_eq!(cli.settings.resend_all.as_deref(), Some("true"));
            assert_eq!(cli.settings.dead_letter_file.as_deref(), Some("-x y=z"));
            assert_eq!((cli.settings.named("SYNC_MODE"), cli.settings.named("RESEND_ALL")), ("--mode", "RESEND_ALL"));
            assert_eq!(cli.command, Some(super::super::Command::Check(super::super::CheckArgs { probe: true })));
        }
    }
}
