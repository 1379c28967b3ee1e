//! Completions and the manual page.

use std::io;

use clap::{Arg, Command};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, italic, roman};

use crate::cli::{ENVIRONMENT, EXAMPLES, EXIT_CODES, command, completing};

/// The completion script of a shell.
pub(crate) fn completions(shell: Shell) -> String {
    let mut command = completing();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, &name, &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    match shell {
        // clap_complete encodes the hyphen of the name differently where it looks up a command and where it lists it.
        Shell::Bash => script.replace(&name.replace('-', "__subcmd__"), &name.replace('-', "__")),
        _ => script,
    }
}

/// The manual page in troff.
pub(crate) fn man() -> String {
    let mut page = Vec::new();
    // Writing to memory cannot fail.
    _ = write_man(&mut page);
    String::from_utf8_lossy(&page).into_owned()
}

fn write_man(page: &mut Vec<u8>) -> io::Result<()> {
    let mut command = command();
    command.build();
    let source = concat!("azure-incremental ", env!("CARGO_PKG_VERSION"));
    Man::new(command.clone()).manual("User Commands").source(source).date(date()).render_title(page)?;

    let mut rest = Roff::new();
    rest.control("SH", ["NAME"]);
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    rest.text([roman(format!("{} - {about}", command.get_name()))]);
    rest.control("SH", ["SYNOPSIS"]);
    rest.text([bold(command.get_name()), roman(" ["), italic("options"), roman("] ["), italic("command"), roman("]")]);
    rest.control("SH", ["DESCRIPTION"]);
    for line in command.get_long_about().map(ToString::to_string).unwrap_or_default().lines() {
        if line.is_empty() {
            rest.control("PP", []);
        } else {
            rest.text([roman(line)]);
        }
    }
    rest.control("SH", ["OPTIONS"]);
    let mut heading = None;
    for arg in command.get_arguments().filter(|arg| arg.get_help_heading().is_some()) {
        if heading.replace(arg.get_help_heading()) != Some(arg.get_help_heading()) {
            rest.control("SS", arg.get_help_heading());
        }
        option(&mut rest, arg);
    }
    rest.control("SH", ["COMMANDS"]);
    for command in command.get_subcommands().filter(|command| command.get_name() != "help") {
        subcommand(&mut rest, command);
    }
    for (title, text) in [("ENVIRONMENT", ENVIRONMENT), ("EXIT STATUS", EXIT_CODES), ("EXAMPLES", EXAMPLES)] {
        rest.control("SH", [title]);
        rest.control("nf", []);
        for line in text.lines() {
            rest.text([roman(line)]);
        }
        rest.control("fi", []);
    }
    rest.to_writer(page)
}

/// The date of the commit, for the page's footer. It must not be empty: the footer would otherwise show the source.
fn date() -> &'static str {
    let (_, commit) = env!("VERSION_AND_COMMIT").split_once(" (").unwrap_or_default();
    commit.trim_end_matches(')').split_once(' ').map_or("undated", |(_, date)| date)
}

/// A command with its own options; the settings are listed above.
fn subcommand(page: &mut Roff, command: &Command) {
    page.control("SS", [command.get_name()]);
    page.text([roman(command.get_about().map(ToString::to_string).unwrap_or_default())]);
    let own = |arg: &&Arg| !(arg.is_global_set() || matches!(arg.get_id().as_str(), "help" | "version"));
    for arg in command.get_arguments().filter(own) {
        option(page, arg);
    }
}

fn option(page: &mut Roff, arg: &Arg) {
    page.control("TP", []);
    let value = arg.get_value_names().and_then(|names| names.first()).map(ToString::to_string).unwrap_or_default();
    match arg.get_long() {
        Some(long) if arg.get_action().takes_values() => {
            page.text([bold(format!("--{long}")), roman(" "), italic(value)])
        }
        Some(long) => page.text([bold(format!("--{long}"))]),
        None => page.text([italic(value)]),
    };
    page.text([roman(arg.get_help().map(ToString::to_string).unwrap_or_default())]);
    if let Some(variable) = arg.get_env() {
        page.control("br", []);
        page.text([roman("Variable: "), bold(variable.to_string_lossy())]);
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;
    use crate::cli::Cli;
    use crate::config::{Config, ConfigError, LogConfig, Problem};

    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        command().debug_assert();
    }

    #[test]
    fn every_shell_completes_the_commands_and_the_settings() {
        for shell in Shell::value_variants() {
            let script = completions(*shell);
            for word in ["resend", "resource-types", "completions"] {
                assert!(script.contains(word), "{shell}: {word}");
            }
        }
    }

    #[test]
    fn every_value_that_completes_is_one_that_the_setting_takes() {
        let mut count = 0;
        for argument in completing().get_arguments().filter(|argument| argument.get_env().is_some()) {
            let flag = format!("--{}", argument.get_long().unwrap());
            for value in argument.get_possible_values() {
                let given = format!("{flag}={}", value.get_name());
                let cli = Cli::read(&["azure-incremental".into(), given.clone().into()]).unwrap();
                let ConfigError(problems) = Config::load(&cli.settings, &|_| None).unwrap_err();
                let log = LogConfig::load(&cli.settings, &|_| None);
                // Whether certificates are built in does not matter here.
                let is_wrong = |problem: &Problem| problem.variable == flag && !problem.problem.contains("this build");
                assert!(log.is_ok() && !problems.iter().any(is_wrong), "{given}: {problems:?}");
                count += 1;
            }
        }
        assert!(count >= 18, "{count} values");
    }

    #[test]
    fn the_manual_page_has_every_setting_command_and_exit_code() {
        let page = man().replace("\\-", "-");
        let title = page.lines().find(|line| line.starts_with(".TH")).unwrap();
        let end = concat!(" \"azure-incremental ", env!("CARGO_PKG_VERSION"), "\" \"User Commands\"");
        assert!(title.ends_with(&format!(" {}{end}", date())), "{title}");
        let mut command = command();
        command.build();
        for arg in command.get_arguments() {
            if let Some(variable) = arg.get_env() {
                let variable = variable.to_string_lossy();
                assert!(page.contains(&*variable), "{variable}");
            }
        }
        for command in command.get_subcommands().filter(|command| command.get_name() != "help") {
            assert!(page.contains(command.get_name()), "{}", command.get_name());
        }
        for line in EXIT_CODES.lines() {
            assert!(page.contains(line), "{line}");
        }
    }
}
