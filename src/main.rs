//! The binary: parse, log, run, exit.

use std::io::{self, Write};
use std::process::ExitCode;

use azure_incremental::cli::{Cli, Command};
use azure_incremental::config::{Config, ConfigError, LogConfig, resend_ids};
use azure_incremental::error::Exit;
use azure_incremental::report::Report;
use azure_incremental::{Work, commands, logging, run, signals};
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
    if let Some(printed) = commands::print(cli.command.as_ref(), &cli.settings, environment)? {
        print(&mut io::stdout(), &printed.output);
        print(&mut io::stderr(), &printed.complaints);
        return Ok(printed.exit);
    }
    let work = match &cli.command {
        Some(Command::Resend(args)) => resend_ids(args).map(Work::Resend),
        _ => Ok(Work::Sync),
    };
    let config = ConfigError::both(Config::load(&cli.settings, environment), work);
    let log = LogConfig::load(&cli.settings, environment);
    let (log, (config, work)) = ConfigError::both(log, config)?;
    logging::init(&log);
    let report = start(&config, &work);
    let rendered = report.render(log.format) + "\n";
    if config.dry_run {
        print(&mut io::stderr(), &rendered)
    } else {
        print(&mut io::stdout(), &rendered)
    }
    Ok(report.exit)
}

/// A reader that closed the pipe has seen what it wanted.
fn print(output: &mut impl Write, text: &str) {
    _ = output.write_all(text.as_bytes());
}

#[tokio::main]
async fn start(config: &Config, work: &Work) -> Report {
    run(config, work, signals::stop()).await
}
