//! The binary: parse, log, run, exit.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use anstream::AutoStream;
use azure_incremental::actions::{Actions, neutralize};
use azure_incremental::cli::{Cli, Command};
use azure_incremental::commands::check::Form;
use azure_incremental::commands::init::apply;
use azure_incremental::commands::{self, check, checkpoint, drift, forget, queries};
use azure_incremental::config::{
    Config, ConfigError, DryRun, ErrorReporting, LogConfig, LogFormat, QueryConfig, SetUpConfig, Variables,
    checkpoint_file, forget_id, resend_ids, spelling_hints,
};
use azure_incremental::error::Exit;
use azure_incremental::logging::{self, Place};
use azure_incremental::report::Report;
use azure_incremental::signals::{self, Watch};
use azure_incremental::{Vanished, Work, run, unfinished};
use tokio::runtime::Builder;

fn main() -> ExitCode {
    #[expect(clippy::expect_used, reason = "without a thread and a few files nothing can be done")]
    let watch = signals::watch().expect("the process may have another thread");
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let mut cli = Cli::read(&arguments).unwrap_or_else(|error| error.exit());
    let job = Actions::detect(&|name: &str| std::env::var_os(name));
    let read = Variables::read(cli.env_file.as_deref());
    let exit = read.and_then(|variables| {
        if cli.env_file.is_some() {
            let of_file = |name: &str| variables.of_file(name).map(str::to_owned);
            cli = cli.clone().filled(&arguments, of_file).unwrap_or_else(|error| error.exit());
        }
        let hints = spelling_hints(&variables.names());
        execute(&cli, &variables, &hints, job.as_ref(), watch).inspect_err(|_| {
            if ErrorReporting::of(&cli.settings).format == LogFormat::Text {
                print(&mut io::stderr(), &neutralize(&warnings(&hints)));
            }
        })
    });
    exit.unwrap_or_else(|error| refuse(&cli, &error, job.as_ref())).into()
}

fn warnings(hints: &[String]) -> String {
    hints.iter().map(|hint| format!("warning: {hint}\n")).collect()
}

/// Reports invalid settings in the format that the settings ask for.
fn refuse(cli: &Cli, error: &ConfigError, job: Option<&Actions>) -> Exit {
    _ = job.inspect(|job| job.refuse(error));
    let ErrorReporting { format, mode, dry_run } = ErrorReporting::of(&cli.settings);
    match format {
        LogFormat::Text => print(&mut io::stderr(), &neutralize(&error.complaint())),
        LogFormat::Json => {
            logging::init(&LogConfig { format: LogFormat::Json, filter: "error".into() });
            error.0.iter().for_each(|problem| tracing::error!("{problem}"));
            let mode = match &cli.command {
                None => mode.name(),
                Some(Command::Resend(_)) => "resend",
                Some(Command::Forget(_)) => "forget",
                // Other commands are not runs and have no report.
                Some(_) => return Exit::Configuration,
            };
            tell(&Report::refused(mode, dry_run, error), format);
        }
    }
    Exit::Configuration
}

fn execute(
    cli: &Cli,
    variables: &Variables,
    hints: &[String],
    job: Option<&Actions>,
    watch: Watch,
) -> Result<Exit, ConfigError> {
    let environment = &|name: &str| variables.get(name);
    let printed = if let Some(Command::Queries) = &cli.command {
        let log = LogConfig::load(&cli.settings, environment);
        let (log, config) = ConfigError::both(log, QueryConfig::load(&cli.settings, environment))?;
        logging::init(&log.quieter());
        Some(runtime(queries::show(&config)))
    } else if let Some(Command::Init(args)) = cli.command.as_ref()
        && args.apply
    {
        let log = LogConfig::load(&cli.settings, environment);
        let (log, config) = ConfigError::both(log, SetUpConfig::load(args, &cli.settings, environment))?;
        logging::init(&log.quieter());
        let printed = runtime(apply::run(&config, args));
        _ = job.inspect(|job| job.hide(&printed.output));
        Some(printed)
    } else {
        commands::print(cli.command.as_ref(), &cli.settings, environment)?
    };
    if let Some(printed) = printed {
        print(&mut io::stdout(), &printed.output);
        print(&mut io::stderr(), &neutralize(&(warnings(hints) + &printed.complaints)));
        return Ok(printed.exit);
    }
    if let Some(Command::Checkpoint(args)) = &cli.command {
        let (file, log) =
            ConfigError::both(checkpoint_file(args, &cli.settings), LogConfig::load(&cli.settings, environment))?;
        logging::init(&log.quieter());
        return Ok(runtime(checkpoint::show(file, args, log.format, io::stdout(), io::stderr())));
    }
    let work = match &cli.command {
        Some(Command::Resend(args)) => {
            let vanished = if args.allow_delete { Vanished::Delete } else { Vanished::Leave };
            resend_ids(args).map(|ids| Work::Resend { ids, vanished })
        }
        Some(Command::Forget(args)) => forget_id(args, &cli.settings).map(Work::Forget),
        _ => Ok(Work::Sync),
    };
    let config = ConfigError::both(Config::load(&cli.settings, environment), work);
    let (log, (mut config, work)) = ConfigError::both(LogConfig::load(&cli.settings, environment), config)?;
    if let Some(Command::Check(args)) = &cli.command {
        logging::init(&log.quieter());
        return Ok(runtime(check::run(&config, hints, args, Form::of(log.format), AutoStream::auto(io::stdout()))));
    }
    if let Some(Command::Drift(args)) = &cli.command {
        config.check_comparable()?;
        logging::init(&log.quieter());
        let output = AutoStream::auto(io::stdout());
        let stop = watch.run(config.run_timeout, |_| ());
        return Ok(runtime(drift::run(&config, args, log.format, stop, output)));
    }
    if config.dry_run.is_some() && log.format == LogFormat::Text && io::stdout().is_terminal() {
        config.dry_run = Some(DryRun::Counts);
    }
    _ = job.inspect(|job| job.begin());
    let place = if job.is_some() { Place::Job } else { Place::Shell };
    let warnings = logging::init_in(place, &log);
    hints.iter().for_each(|hint| tracing::warn!("{hint}"));
    let job = job.cloned();
    let finish = move |report: &Report| {
        _ = job.as_ref().inspect(|job| job.end(report, &warnings.texts()));
        tell(report, log.format);
    };
    let report = runtime(async {
        if let (Some(Command::Forget(args)), Work::Forget(id)) = (&cli.command, &work)
            && let Err(report) = forget::confirm(args, &config, id, log.format).await
        {
            return *report;
        }
        let final_message = {
            let (config, work, finish) = (config.clone(), work.clone(), finish.clone());
            move |stop| finish(&unfinished(&config, &work, stop))
        };
        run(&config, &work, watch.run(config.run_timeout, final_message)).await
    });
    finish(&report);
    Ok(report.exit)
}

// In a dry run, standard output is reserved for what would be posted.
fn tell(report: &Report, format: LogFormat) {
    let mut output: Box<dyn Write> = match report.dry_run {
        Some(_) => Box::new(AutoStream::auto(io::stderr())),
        None => Box::new(AutoStream::auto(io::stdout())),
    };
    print(&mut output, &neutralize(&(report.render(format) + "\n")));
}

// A reader that closed the pipe has seen enough.
fn print(output: &mut impl Write, text: &str) {
    _ = output.write_all(text.as_bytes());
}

/// A single thread for everything that waits: the work between two answers usually costs less than moving it to another
/// thread. Longer work is moved. Does not wait for blocked threads, such as a DNS lookup.
fn runtime<T>(work: impl Future<Output = T>) -> T {
    #[expect(clippy::expect_used, reason = "without a few files nothing can be done")]
    let runtime = Builder::new_current_thread().enable_all().build().expect("the process may open files");
    let result = runtime.block_on(work);
    runtime.shutdown_background();
    result
}
