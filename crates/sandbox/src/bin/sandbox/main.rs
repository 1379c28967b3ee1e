//! The sandbox as a program: serves a small Azure and a small Port, or demonstrates the real program against them.

mod demo;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use sandbox::Sandbox;
use sandbox::expected::Scope;
use sandbox::faults::{Fault, Rule};
use sandbox::life;
use sandbox::requests::Route;
use sandbox::rng::Rng;
use sandbox::settings::{EstateSize, Lags, MAPPING_BATCH, QuotaSettings, Settings};

/// A small Azure and a small Port on loopback, over TLS
#[derive(Parser)]
#[command(name = "sandbox")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve until Ctrl-C, and print the variables that point the program here
    Serve(Serve),
    /// Run the program against a living estate, and show that the catalog equals it
    Demo {
        /// The program to run
        #[arg(long)]
        binary: PathBuf,
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
}

#[derive(Args)]
struct Serve {
    #[arg(long, default_value_t = 2_000)]
    resources: usize,
    #[arg(long, default_value_t = 80)]
    groups: usize,
    #[arg(long, default_value_t = 4)]
    subscriptions: usize,
    /// The same seed makes the same estate, and the same changes
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Records of change show up to so many minutes late
    #[arg(long, default_value_t = 5, value_name = "MINUTES")]
    record_lag: u64,
    /// Rows of current state show up to so many minutes late
    #[arg(long, default_value_t = 1, value_name = "MINUTES")]
    row_lag: u64,
    /// Answer 429 with this probability
    #[arg(long, default_value_t = 0.0, value_name = "PROBABILITY")]
    throttle: f64,
    /// Answer 503 with this probability
    #[arg(long, default_value_t = 0.0, value_name = "PROBABILITY")]
    fail: f64,
    /// Close the connection in place of an answer with this probability
    #[arg(long, default_value_t = 0.0, value_name = "PROBABILITY")]
    hangup: f64,
    #[arg(long, default_value_t = 0, value_name = "MS")]
    query_latency_ms: u64,
    /// Of a post to the webhook, and of a request to Port's API
    #[arg(long, default_value_t = 0, value_name = "MS")]
    post_latency_ms: u64,
    /// Queries that a principal has in five seconds
    #[arg(long, default_value_t = 15, value_name = "QUERIES")]
    quota: u32,
    /// Leave queries and requests to Port's API uncounted
    #[arg(long)]
    no_quota: bool,
    /// Changes in the estate each second
    #[arg(long, default_value_t = 0, value_name = "CHANGES")]
    life: usize,
    /// Apply the mapping for bodies of many envelopes
    #[arg(long)]
    batch: bool,
    /// Point the program at Port's API, and not at the webhook
    #[arg(long)]
    api: bool,
    /// Count the bodies that are posted, and apply none of them
    #[arg(long)]
    sink: bool,
    /// Keep the estate as it is and answers in memory, to serve them as fast as can be
    #[arg(long, conflicts_with = "life")]
    frozen: bool,
    /// Ports of sign-in, Resource Manager, the webhook, Port's API and Microsoft Graph; by default any that are free
    #[arg(long, value_parser = five_ports, value_name = "PORT,PORT,PORT,PORT,PORT")]
    ports: Option<[u16; 5]>,
}

fn five_ports(text: &str) -> Result<[u16; 5], String> {
    let ports: Result<Vec<u16>, _> = text.split(',').map(str::parse).collect();
    ports
        .ok()
        .and_then(|ports| ports.try_into().ok())
        .ok_or_else(|| "give five ports, as in 8441,8442,8443,8444,8445".to_owned())
}

impl Serve {
    fn settings(&self) -> Settings {
        let minutes = |minutes: u64| Duration::ZERO..=Duration::from_secs(60 * minutes);
        let mut settings = Settings {
            seed: self.seed,
            estate: EstateSize { subscriptions: self.subscriptions, groups: self.groups, resources: self.resources },
            lags: Lags { record: minutes(self.record_lag), row: minutes(self.row_lag) },
            frozen: self.frozen,
            ..Settings::default()
        };
        let quota = QuotaSettings { queries: self.quota, window: Duration::from_secs(5) };
        settings.azure.quota = (!self.no_quota).then_some(quota);
        settings.azure.query_latency = Duration::from_millis(self.query_latency_ms);
        settings.port.post_latency = Duration::from_millis(self.post_latency_ms);
        settings.port.api.latency = settings.port.post_latency;
        if self.no_quota {
            settings.port.api.rates = None;
        }
        settings.port.sink = self.sink;
        if self.batch {
            MAPPING_BATCH.clone_into(&mut settings.port.mapping);
        }
        settings.net.ports = self.ports.unwrap_or_default();
        settings
    }

    fn add_faults(&self, sandbox: &Sandbox) {
        for route in Route::every() {
            let faults = [
                (Fault::retry_after(429, "1"), self.throttle),
                (Fault::status(503), self.fail),
                (Fault::Reset, self.hangup),
            ];
            for (fault, probability) in faults.into_iter().filter(|(_, probability)| *probability > 0.0) {
                sandbox.faults().add(route, Rule::new(fault).chance(probability));
            }
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Serve(arguments) => serve(&arguments).await.map(|()| ExitCode::SUCCESS),
        Command::Demo { binary, seed } => demo::run(&binary, seed).await,
    };
    result.unwrap_or_else(|error| {
        let _ = writeln!(io::stderr(), "error: {error}");
        ExitCode::FAILURE
    })
}

async fn serve(arguments: &Serve) -> io::Result<()> {
    let sandbox = Sandbox::start(arguments.settings()).await?;
    arguments.add_faults(&sandbox);
    let mut out = io::stdout();
    let mut env = sandbox.env();
    if arguments.api {
        env.retain(|(name, _)| name != "PORT_WEBHOOK_INGEST_URL");
        env.extend(sandbox.port_env());
    }
    for (name, value) in env {
        writeln!(out, "export {name}='{value}'")?;
    }
    out.flush()?;
    let mut notes = io::stderr();
    let size = arguments.settings().estate;
    writeln!(notes, "Serving {} resources in {} groups; Ctrl-C ends it.", size.resources, size.groups)?;
    let mut rng = Rng::new(arguments.seed);
    let mut second = tokio::time::interval(Duration::from_secs(1));
    let stop = tokio::signal::ctrl_c();
    tokio::pin!(stop);
    loop {
        tokio::select! {
            _ = second.tick() => life::tick(&mut sandbox.estate(), &mut rng, arguments.life),
            stopped = &mut stop => {
                stopped?;
                break;
            }
        }
    }
    let differences = sandbox.diff(&Scope::default()).await.len();
    let entities = sandbox.port().with_catalog(|catalog| catalog.entities.len());
    writeln!(notes, "The catalog has {entities} entities, and differs from the estate in {differences} places.")
}
