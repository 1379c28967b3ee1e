//! The sandbox as a separate process. The bench talks to it in lines: one request, one answer.
use std::collections::HashMap;
use std::fs;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use clap::{Args, ValueEnum as _};
use sandbox::Sandbox;
use sandbox::clock::Clock;
use sandbox::directory::{Directory, Kind};
use sandbox::requests::Route;
use sandbox::settings::{DirectorySize, EstateSize, QuotaSettings, Settings};
use serde::{Deserialize, Serialize};

/// The example mapping, which makes the same entities as the webhook's mapping.
const MAPPING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/port/entities.yml");

/// The path that resources are written to.
pub(crate) const BULK: &str = "/v1/blueprints/azureCloudResources/entities/bulk";

/// A sandbox to be measured against.
#[derive(Args, Clone, Debug)]
pub(crate) struct Shape {
    #[arg(long)]
    pub(crate) subscriptions: usize,
    #[arg(long, default_value_t = 0)]
    pub(crate) resources: usize,
    #[arg(long, default_value_t = 0)]
    pub(crate) query_latency_ms: u64,
    #[arg(long, default_value_t = 0)]
    pub(crate) post_latency_ms: u64,
    /// Of sign-in and of the listing of subscriptions
    #[arg(long, default_value_t = 0)]
    pub(crate) other_latency_ms: u64,
    #[arg(long, value_enum, default_value_t = Quota::Ample)]
    pub(crate) quota: Quota,
    /// Keep what is posted
    #[arg(long)]
    pub(crate) record: bool,
    /// Entities are written over Port's API, without limits
    #[arg(long)]
    pub(crate) api: bool,
    /// The largest tenant of Entra ID, and nothing of Azure
    #[arg(long)]
    pub(crate) tenant: bool,
}

/// What is done about the quota of Resource Graph.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quota {
    /// One that nothing waits for is announced: where none is, 15 in 5 s are assumed
    Ample,
    /// 15 queries in five seconds, announced and enforced
    Announced,
    /// None is announced, and none enforced
    Silent,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            subscriptions: 4,
            resources: 0,
            query_latency_ms: 0,
            post_latency_ms: 0,
            other_latency_ms: 0,
            quota: Quota::Ample,
            record: false,
            api: false,
            tenant: false,
        }
    }
}

impl Shape {
    pub(crate) fn groups(&self) -> usize {
        self.resources / 50
    }

    pub(crate) fn entities(&self) -> usize {
        self.subscriptions + self.groups() + self.resources
    }

    fn settings(&self) -> Settings {
        let size = EstateSize { subscriptions: self.subscriptions, groups: self.groups(), resources: self.resources };
        // Frozen and with a stopped clock, so that every run sends the same requests.
        let mut settings = Settings { frozen: true, clock: Clock::stopped(), estate: size, ..Settings::default() };
        settings.directory = if self.tenant { DirectorySize::largest() } else { DirectorySize::none() };
        settings.entra.latency = Duration::from_millis(self.query_latency_ms);
        settings.entra.units = None;
        settings.azure.query_latency = Duration::from_millis(self.query_latency_ms);
        settings.azure.other_latency = Duration::from_millis(self.other_latency_ms);
        settings.port.post_latency = Duration::from_millis(self.post_latency_ms);
        settings.azure.quota = match self.quota {
            Quota::Ample => Some(QuotaSettings { queries: 10_000, window: Duration::from_secs(1) }),
            Quota::Announced => Some(QuotaSettings { queries: 15, window: Duration::from_secs(5) }),
            Quota::Silent => None,
        };
        settings.port.sink = !self.record;
        settings.port.api.latency = Duration::from_millis(self.post_latency_ms);
        settings.port.api.rates = None;
        settings.port.record = self.record;
        // Nothing reads what is posted, so a mapping that makes nothing is the fastest.
        "[]".clone_into(&mut settings.port.mapping);
        settings
    }

    fn arguments(&self) -> Vec<String> {
        let mut arguments: Vec<String> = [
            ("--subscriptions", self.subscriptions as u64),
            ("--resources", self.resources as u64),
            ("--query-latency-ms", self.query_latency_ms),
            ("--post-latency-ms", self.post_latency_ms),
            ("--other-latency-ms", self.other_latency_ms),
        ]
        .iter()
        .flat_map(|(name, value)| [(*name).to_owned(), value.to_string()])
        .collect();
        let quota = self.quota.to_possible_value();
        arguments.extend(quota.map(|quota| format!("--quota={}", quota.get_name())));
        arguments.extend(self.record.then(|| "--record".to_owned()));
        arguments.extend(self.api.then(|| "--api".to_owned()));
        arguments.extend(self.tenant.then(|| "--tenant".to_owned()));
        arguments
    }
}

/// The requests to a sandbox since the last call.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub(crate) requests: u64,
    pub(crate) queries: u64,
    pub(crate) posts: u64,
    /// Pages of Microsoft Graph.
    pub(crate) pages: u64,
    pub(crate) throttled: u64,
}

/// The sandbox process: serves until its input ends.
pub(crate) fn serve(shape: &Shape) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let sandbox = runtime.block_on(Sandbox::start(shape.settings()))?;
    let mut out = io::stdout();
    let mut env = sandbox.env();
    if shape.api {
        env.retain(|(name, _)| name != "PORT_WEBHOOK_INGEST_URL");
        env.extend(sandbox.port_env());
        env.push(("MAPPING_FILE".to_owned(), MAPPING.to_owned()));
    }
    if shape.tenant {
        let entra = [("ENTRA_KINDS", "all"), ("AZURE_SOURCES", "entra")];
        env.extend(entra.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
    writeln!(out, "{}", serde_json::to_string(&env)?)?;
    for line in io::stdin().lines() {
        let line = line?;
        if line == "shift" {
            shift(&mut sandbox.tenant());
            sandbox.clock().advance(Duration::from_secs(900));
        }
        let answer = match line.strip_prefix("bodies ") {
            Some(path) => {
                runtime.block_on(sandbox.port().settle());
                let mut bodies = Vec::new();
                let deliveries = sandbox.port().deliveries().into_iter().map(|delivery| delivery.body);
                let entries = sandbox.requests().entries().into_iter();
                let of_resources = entries.filter(|entry| entry.target.contains(BULK)).map(|entry| entry.body);
                for body in deliveries.chain(of_resources) {
                    bodies.extend_from_slice(&body);
                    bodies.push(b'\n');
                }
                fs::write(path, bodies)?;
                String::new()
            }
            None => {
                let requests = sandbox.requests();
                let counts = Counts {
                    requests: requests.total(),
                    queries: requests.count(Route::Graph),
                    posts: requests.count(Route::Webhook) + requests.count(Route::PortBulk),
                    pages: Route::ENTRA.iter().map(|route| requests.count(*route)).sum(),
                    throttled: requests.throttled() as u64,
                };
                requests.clear();
                serde_json::to_string(&counts)?
            }
        };
        writeln!(out, "{answer}")?;
    }
    Ok(())
}

/// Adds one member to the largest group and removes another.
fn shift(tenant: &mut Directory) {
    let users = tenant.ids(Kind::User);
    let groups = tenant.ids(Kind::Group);
    let Some(largest) = groups.into_iter().max_by_key(|group| tenant.members(*group).len()) else { return };
    let members = tenant.members(largest);
    if let Some(member) = members.first() {
        tenant.leave(largest, *member);
    }
    if let Some(other) = users.iter().find(|user| !members.contains(user)) {
        tenant.join(largest, *other);
    }
}

/// A running sandbox; dropping it stops the process.
pub(crate) struct Service {
    child: Child,
    ask: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    pub(crate) env: HashMap<String, String>,
}

impl Service {
    pub(crate) fn start(shape: &Shape) -> io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("serve").args(shape.arguments()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let (Some(ask), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("the sandbox cannot be talked to"));
        };
        let mut service = Self { child, ask: Some(ask), answers: BufReader::new(answers), env: HashMap::new() };
        let env: Vec<(String, String)> = serde_json::from_str(&service.answer()?)?;
        service.env.extend(env);
        Ok(service)
    }

    /// Adds one member to the largest group and removes another.
    pub(crate) fn shift(&mut self) -> io::Result<()> {
        self.ask("shift")?;
        self.answer().map(drop)
    }

    /// The requests since the last call.
    pub(crate) fn counts(&mut self) -> io::Result<Counts> {
        self.ask("counts")?;
        Ok(serde_json::from_str(&self.answer()?)?)
    }

    /// Writes the posted bodies to a file, one per line.
    pub(crate) fn bodies(&mut self, path: &str) -> io::Result<()> {
        self.ask(&format!("bodies {path}"))?;
        self.answer().map(drop)
    }

    fn ask(&mut self, line: &str) -> io::Result<()> {
        let ask = self.ask.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        writeln!(ask, "{line}")
    }

    fn answer(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        if line.is_empty() { Err(io::Error::other("the sandbox ended")) } else { Ok(line) }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.ask = None;
        let _ = self.child.wait();
    }
}
