//! The binary: parse, log, run, exit.

use std::io::{self, Write};
use std::process::ExitCode;

use azure_incremental::actions::{Actions, inert};
use azure_incremental::cli::{Cli, Command};
use azure_incremental::commands::{self, check, checkpoint, forget};
use azure_incremental::config::{Config, ConfigError, LogConfig, checkpoint_file, forget_id, resend_ids};
use azure_incremental::error::Exit;
use azure_incremental::logging::{self, Place};
use azure_incremental::report::Report;
use azure_incremental::signals::{self, Watch};
use azure_incremental::{Work, run, unfinished};
use clap::Parser;
use tokio::runtime::Builder;

fn main() -> ExitCode {
    #[expect(clippy::expect_used, reason = "without a thread and a few files nothing can be done")]
    let watch = signals::watch().expect("the process may have another thread");
    let cli = Cli::parse();
    let job = Actions::detect(&|name: &str| std::env::var_os(name));
    let refuse = |error: ConfigError| {
        print(&mut io::stderr(), &inert(&error.complaint()));
        job.as_ref().inspect(|job| job.refuse(&error));
        Exit::Configuration
    };
    execute(&cli, job.as_ref(), watch).unwrap_or_else(refuse).into()
}

fn execute(cli: &Cli, job: Option<&Actions>, watch: Watch) -> Result<Exit, ConfigError> {
    let environment = &|name: &str| std::env::var_os(name);
    if let Some(printed) = commands::print(cli.command.as_ref(), &cli.settings, environment)? {
        print(&mut io::stdout(), &printed.output);
        print(&mut io::stderr(), &inert(&printed.complaints));
        return Ok(printed.exit);
    }
    if let Some(Command::Checkpoint(args)) = &cli.command {
        let (file, log) =
            ConfigError::both(checkpoint_file(args, &cli.settings), LogConfig::load(&cli.settings, environment))?;
        logging::init(&log.quieter());
        return Ok(runtime(checkpoint::show(file, args, log.format, io::stdout(), io::stderr())));
    }
    let work = match &cli.command {
        Some(Command::Resend(args)) => resend_ids(args).map(Work::Resend),
        Some(Command::Forget(args)) => forget_id(args, &cli.settings).map(Work::Forget),
        _ => Ok(Work::Sync),
    };
    let config = ConfigError::both(Config::load(&cli.settings, environment), work);
    let (log, (config, work)) = ConfigError::both(LogConfig::load(&cli.settings, environment), config)?;
    if let Some(Command::Check(args)) = &cli.command {
        logging::init(&log.quieter());
        return Ok(runtime(check::run(&config, args.probe, log.format, io::stdout())));
    }
    _ = job.inspect(|job| job.begin());
    let place = if job.is_some() { Place::Job } else { Place::Shell };
    let warnings = logging::init_in(place, &log);
    let (job, dry_run) = (job.cloned(), config.dry_run);
    let tell = move |report: &Report| {
        _ = job.as_ref().inspect(|job| job.end(report, &warnings.texts()));
        let mut output: Box<dyn Write> = if dry_run { Box::new(io::stderr()) } else { Box::new(io::stdout()) };
        print(&mut output, &inert(&(report.render(log.format) + "\n")));
    };
    let report = runtime(async {
        if let (Some(Command::Forget(args)), Work::Forget(id)) = (&cli.command, &work)
            && let Err(report) = forget::confirm(args, &config, id, log.format).await
        {
            return *report;
        }
        let last_words = {
            let (config, work, tell) = (config.clone(), work.clone(), tell.clone());
            move |stop| tell(&unfinished(&config, &work, stop))
        };
        run(&config, &work, watch.run(config.run_timeout, last_words)).await
    });
    tell(&report);
    Ok(report.exit)
}

// A reader that closed the pipe has seen what it wanted.
fn print(output: &mut impl Write, text: &str) {
    _ = output.write_all(text.as_bytes());
}

/// One thread: the run waits for the network, and what it computes between two answers is less than handing it over costs. What
/// hangs in another thread, such as a question to a name server, is not waited for.
fn runtime<T>(work: impl Future<Output = T>) -> T {
    #[expect(clippy::expect_used, reason = "without a few files nothing can be done")]
    let runtime = Builder::new_current_thread().enable_all().build().expect("the process may open files");
    let result = runtime.block_on(work);
    runtime.shutdown_background();
    result
}
