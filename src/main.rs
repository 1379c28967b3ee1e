//! The binary: parse, log, run, exit.

use std::io::{self, Write};
use std::process::ExitCode;

use azure_incremental::cli::{Cli, Command};
use azure_incremental::config::{Config, ConfigError, LogConfig, QueryConfig, resend_ids};
use azure_incremental::error::Exit;
use azure_incremental::report::Report;
use azure_incremental::{Work, logging, manual, queries, run, signals};
use clap::Parser;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match execute(&cli) {
        Ok(exit) => exit.into(),
        Err(error) => {
            let problems: Vec<String> = error.0.iter().map(|problem| format!("error: {problem}\n")).collect();
            _ = write!(io::stderr(), "{}\nFor all settings, try 'azure-incremental --help'.\n", problems.concat());
            Exit::Configuration.into()
        }
    }
}

fn execute(cli: &Cli) -> Result<Exit, ConfigError> {
    let environment = &|name: &str| std::env::var_os(name);
    let log = LogConfig::load(&cli.settings, environment);
    let (output, exit) = match &cli.command {
        Some(Command::Completions(args)) => (manual::completions(args.shell), Exit::Ok),
        Some(Command::Man) => (manual::man(), Exit::Ok),
        Some(Command::Queries) => {
            log?;
            (queries(&QueryConfig::load(&cli.settings, environment)?), Exit::Ok)
        }
        command => {
            let work = match command {
                Some(Command::Resend(args)) => resend_ids(args).map(Work::Resend),
                _ => Ok(Work::Sync),
            };
            let config = ConfigError::both(Config::load(&cli.settings, environment), work);
            let (log, (config, work)) = ConfigError::both(log, config)?;
            logging::init(&log);
            let report = start(&config, &work);
            let rendered = report.render(log.format) + "\n";
            if config.dry_run {
                _ = io::stderr().write_all(rendered.as_bytes());
                return Ok(report.exit);
            }
            (rendered, report.exit)
        }
    };
    // A reader that closed the pipe has seen what it wanted.
    _ = io::stdout().write_all(output.as_bytes());
    Ok(exit)
}

#[tokio::main]
async fn start(config: &Config, work: &Work) -> Report {
    run(config, work, signals::stop()).await
}
