//! The binary: parse, log, run, exit.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use anstream::AutoStream;
use azure_incremental::actions::{Actions, neutralize};
use azure_incremental::cli::{CheckArgs, CheckpointArgs, Cli, Command, DriftArgs};
use azure_incremental::commands::check::Form;
use azure_incremental::commands::init::apply;
use azure_incremental::commands::{self, Printed, check, checkpoint, drift, forget, queries};
use azure_incremental::config::{
    Config, ConfigError, DryRun, Environment, ErrorReporting, LogConfig, LogFormat, QueryConfig, SetUpConfig,
    Variables, checkpoint_file, forget_id, resend_ids, spelling_hints,
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
        let environment = &|name: &str| variables.get(name);
        let call = Call { cli: &cli, environment, hints: &hints, job: job.as_ref() };
        call.execute(watch).inspect_err(|_| {
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

/// What the process was called with, and where it runs.
struct Call<'a> {
    cli: &'a Cli,
    environment: Environment<'a>,
    hints: &'a [String],
    job: Option<&'a Actions>,
}

impl Call<'_> {
    fn execute(&self, watch: Watch) -> Result<Exit, ConfigError> {
        if let Some(printed) = self.printed()? {
            print(&mut io::stdout(), &printed.output);
            print(&mut io::stderr(), &neutralize(&(warnings(self.hints) + &printed.complaints)));
            return Ok(printed.exit);
        }
        match &self.cli.command {
            Some(Command::Checkpoint(args)) => self.checkpoint(args),
            Some(Command::Check(args)) => self.check(args),
            Some(Command::Drift(args)) => self.drift(args, watch),
            _ => self.run(watch),
        }
    }

    /// The output of a command that only prints; `None` for any other.
    fn printed(&self) -> Result<Option<Printed>, ConfigError> {
        let settings = &self.cli.settings;
        match &self.cli.command {
            Some(Command::Queries) => {
                let (log, config) = self.with_log(QueryConfig::load(settings, self.environment))?;
                logging::init(&log.quieter());
                Ok(Some(runtime(queries::show(&config))))
            }
            Some(Command::Init(args)) if args.apply => {
                let (log, config) = self.with_log(SetUpConfig::load(args, settings, self.environment))?;
                logging::init(&log.quieter());
                let printed = runtime(apply::run(&config, args));
                _ = self.job.inspect(|job| job.hide(&printed.output));
                Ok(Some(printed))
            }
            command => commands::print(command.as_ref(), settings, self.environment),
        }
    }

    fn checkpoint(&self, args: &CheckpointArgs) -> Result<Exit, ConfigError> {
        let (file, log) = ConfigError::both(checkpoint_file(args, &self.cli.settings), self.log())?;
        logging::init(&log.quieter());
        Ok(runtime(checkpoint::show(file, args, log.format, io::stdout(), io::stderr())))
    }

    fn check(&self, args: &CheckArgs) -> Result<Exit, ConfigError> {
        let (log, config) = self.with_log(self.config())?;
        logging::init(&log.quieter());
        let output = AutoStream::auto(io::stdout());
        Ok(runtime(check::run(&config, self.hints, args, Form::of(log.format), output)))
    }

    fn drift(&self, args: &DriftArgs, watch: Watch) -> Result<Exit, ConfigError> {
        let (log, config) = self.with_log(self.config())?;
        config.check_comparable()?;
        logging::init(&log.quieter());
        let output = AutoStream::auto(io::stdout());
        let stop = watch.run(config.run_timeout, |_| ());
        Ok(runtime(drift::run(&config, args, log.format, stop, output)))
    }

    fn run(&self, watch: Watch) -> Result<Exit, ConfigError> {
        let (log, (mut config, work)) = self.with_log(ConfigError::both(self.config(), self.work()))?;
        if config.dry_run.is_some() && log.format == LogFormat::Text && io::stdout().is_terminal() {
            config.dry_run = Some(DryRun::Counts);
        }
        _ = self.job.inspect(|job| job.begin());
        let place = if self.job.is_some() { Place::Job } else { Place::Shell };
        let warnings = logging::init_in(place, &log);
        self.hints.iter().for_each(|hint| tracing::warn!("{hint}"));
        let job = self.job.cloned();
        let finish = move |report: &Report| {
            _ = job.as_ref().inspect(|job| job.end(report, &warnings.texts()));
            tell(report, log.format);
        };
        let report = runtime(async {
            if let (Some(Command::Forget(args)), Work::Forget(id)) = (&self.cli.command, &work)
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

    /// What a run is to do.
    fn work(&self) -> Result<Work, ConfigError> {
        match &self.cli.command {
            Some(Command::Resend(args)) => {
                let vanished = if args.allow_delete { Vanished::Delete } else { Vanished::Leave };
                resend_ids(args).map(|ids| Work::Resend { ids, vanished })
            }
            Some(Command::Forget(args)) => forget_id(args, &self.cli.settings).map(Work::Forget),
            _ => Ok(Work::Sync),
        }
    }

    fn config(&self) -> Result<Config, ConfigError> {
        Config::load(&self.cli.settings, self.environment)
    }

    fn log(&self) -> Result<LogConfig, ConfigError> {
        LogConfig::load(&self.cli.settings, self.environment)
    }

    /// Settings with those of the log, or the problems of both.
    fn with_log<T>(&self, config: Result<T, ConfigError>) -> Result<(LogConfig, T), ConfigError> {
        ConfigError::both(self.log(), config)
    }
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
