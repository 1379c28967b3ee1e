//! Runs the binary against a sandbox and reads the results.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;
use sandbox::Sandbox;
use sandbox::clock::Clock;
use sandbox::expected::Scope;
use sandbox::faults::{Fault, Rule};
use sandbox::requests::Route;
use sandbox::settings::{EstateSize, QuotaSettings, Settings};
use serde_json::Value as Json;
use tokio::process::Command;

pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The maximum duration of a run.
const PATIENCE: Duration = Duration::from_secs(100);

/// An old estate of three subscriptions, twelve groups and 120 resources, with a stopped clock. Keeps every body that
/// Port accepts.
pub(crate) fn settled() -> Settings {
    let mut settings = Settings { clock: Clock::stopped(), ..Settings::default() };
    settings.port.record = true;
    // Several runs of a test share one quota, and none should wait for it; the quota has its own tests.
    settings.azure.quota = Some(QuotaSettings { queries: 10_000, window: Duration::ZERO });
    settings
}

/// An estate with this many resources.
pub(crate) fn of_resources(resources: usize) -> Settings {
    let mut settings = settled();
    settings.estate = EstateSize { subscriptions: 2, groups: 8, resources };
    settings
}

/// An empty estate.
pub(crate) fn empty() -> Settings {
    let mut settings = settled();
    settings.estate = EstateSize { subscriptions: 0, groups: 0, resources: 0 };
    settings
}

pub(crate) async fn start(settings: Settings) -> Sandbox {
    Sandbox::start(settings).await.expect("the sandbox starts")
}

/// A sandbox with one old subscription that has one group with one vault.
pub(crate) struct Small {
    pub(crate) sandbox: Sandbox,
    pub(crate) subscription: Arc<str>,
    pub(crate) group: Arc<str>,
    pub(crate) vault: Arc<str>,
}

impl Small {
    pub(crate) async fn start() -> Self {
        Self::with(empty()).await
    }

    pub(crate) async fn with(settings: Settings) -> Self {
        let sandbox = start(settings).await;
        let (subscription, group, vault) = {
            let mut estate = sandbox.estate();
            let subscription = estate.add_subscription("One", None);
            let group = estate.create_group(&subscription, "Rg-One", "westeurope", None).unwrap();
            let vault = estate.create_resource(&group, "Microsoft.KeyVault/vaults", "Vault-1", "eastus", None).unwrap();
            (subscription, group, vault)
        };
        sandbox.clock().advance(15 * DAY);
        Self { sandbox, subscription, group, vault }
    }
}

/// A run of the binary to be started.
pub(crate) struct Program(Command);

impl Program {
    /// With an empty environment.
    pub(crate) fn bare() -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_azure-incremental"));
        command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        // The second is the path for coverage data, if coverage is measured.
        for name in ["PATH", "LLVM_PROFILE_FILE"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        Self(command)
    }

    /// Pointed at a sandbox, a moment after the last change there, and reporting in JSON.
    pub(crate) fn new(sandbox: &Sandbox) -> Self {
        // Changes of one id have different times although the clock is stopped, so later ones show later.
        sandbox.clock().advance(Duration::from_secs(1));
        let mut program = Self::bare().env("LOG_FORMAT", "json");
        program.0.envs(sandbox.env());
        program
    }

    pub(crate) fn full(sandbox: &Sandbox) -> Self {
        Self::new(sandbox).env("SYNC_MODE", "full")
    }

    /// Writes entities over Port's API, with the example mapping.
    pub(crate) fn over_the_api(sandbox: &Sandbox) -> Self {
        let mapping = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/port/entities.yml");
        let mut program = Self::new(sandbox).without("PORT_WEBHOOK_INGEST_URL").env("MAPPING_FILE", mapping);
        program.0.envs(sandbox.port_env());
        program
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.0.env(name, value);
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.0.env_remove(name);
        self
    }

    pub(crate) fn args<const N: usize>(mut self, args: [&str; N]) -> Self {
        self.0.args(args);
        self
    }

    /// Started by another command, which gets the program and its arguments as its own last arguments.
    pub(crate) fn within(self, command: &[&str]) -> Self {
        let program = self.0.as_std();
        let mut within = Command::new(command[0]);
        within.args(&command[1..]).arg(program.get_program()).args(program.get_args());
        within.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        within.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        Self(within)
    }

    /// Uses this checkpoint.
    pub(crate) fn checkpoint(self, file: &Path) -> Self {
        self.env("CHECKPOINT_FILE", file)
    }

    /// As a step of a GitHub Actions job that reads these files.
    pub(crate) fn in_a_job(self, summary: &Path, output: &Path) -> Self {
        self.env("GITHUB_ACTIONS", "true").env("GITHUB_STEP_SUMMARY", summary).env("GITHUB_OUTPUT", output)
    }

    /// The command itself, for tests that do more than wait for its end.
    pub(crate) fn into_command(self) -> Command {
        self.0
    }

    /// Runs it on a terminal of 80 columns, where standard output and standard error are one.
    pub(crate) async fn run_on_a_terminal(mut self) -> Run {
        let started = Instant::now();
        let screen = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        rustix::pty::grantpt(&screen).unwrap();
        rustix::pty::unlockpt(&screen).unwrap();
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&screen, size).unwrap();
        let name = rustix::pty::ptsname(&screen, Vec::new()).unwrap().into_string().unwrap();
        let open = || File::options().read(true).write(true).open(&name).unwrap();
        let mut child = self.0.env("TERM", "xterm").stdout(open()).stderr(open()).spawn().unwrap();
        // Only the program holds the other end, so the output ends with it.
        drop(self);
        let reading = tokio::task::spawn_blocking(move || {
            let mut shown = Vec::new();
            // A terminal without writers returns an error instead of an end of file.
            _ = File::from(screen).read_to_end(&mut shown);
            shown
        });
        let code = tokio::time::timeout(PATIENCE, child.wait()).await.expect("the run ends").unwrap().code();
        let out = String::from_utf8(reading.await.unwrap()).unwrap().replace("\r\n", "\n");
        Run { code: code.unwrap_or(-1), out, err: String::new(), took: started.elapsed() }
    }

    pub(crate) async fn run(mut self) -> Run {
        let started = Instant::now();
        let output = tokio::time::timeout(PATIENCE, self.0.output()).await.expect("the run ends").expect("it starts");
        Run {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).expect("the report is UTF-8"),
            err: String::from_utf8(output.stderr).expect("the log is UTF-8"),
            took: started.elapsed(),
        }
    }
}

/// The results of a run.
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) took: Duration,
}

impl Run {
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "the exit code; {self}");
        self
    }

    /// The combined output contains each of these texts.
    #[track_caller]
    pub(crate) fn says(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(self.has_said(text), "it does not say {text:?}; {self}");
        }
        self
    }

    #[track_caller]
    pub(crate) fn does_not_say(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(!self.has_said(text), "it says {text:?}; {self}");
        }
        self
    }

    pub(crate) fn has_said(&self, text: &str) -> bool {
        self.err.contains(text) || self.out.contains(text)
    }

    #[track_caller]
    pub(crate) fn report(&self) -> Json {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("no report in JSON: {error}; {self}"))
    }

    /// A number in the report.
    #[track_caller]
    pub(crate) fn count(&self, field: &str) -> u64 {
        self.report()[field].as_u64().unwrap_or_else(|| panic!("the report has no number {field}; {self}"))
    }

    /// The errors in the report.
    #[track_caller]
    pub(crate) fn errors(&self) -> String {
        let report = self.report();
        let errors = report["errors"].as_array().unwrap_or_else(|| panic!("the report has no errors; {self}"));
        errors.iter().filter_map(Json::as_str).collect::<Vec<_>>().join("\n")
    }

    #[track_caller]
    pub(crate) fn tells(self, texts: &[&str]) -> Self {
        let errors = self.errors();
        for text in texts {
            assert!(errors.contains(text), "no error of the report says {text:?}; {self}");
        }
        self
    }
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { code, out, err, took } = self;
        write!(f, "exit {code} after {took:?}\n--- standard output\n{out}\n--- standard error\n{err}\n---")
    }
}

/// An envelope that Port accepted.
#[derive(Clone, Debug)]
pub(crate) struct Envelope {
    pub(crate) operation: String,
    pub(crate) kind: String,
    pub(crate) data: Json,
    pub(crate) body: String,
    pub(crate) delivery: String,
}

impl Envelope {
    pub(crate) fn id(&self) -> &str {
        self.data["resourceId"].as_str().unwrap_or_default()
    }

    pub(crate) fn ty(&self) -> &str {
        self.data["type"].as_str().unwrap_or_default()
    }

    pub(crate) fn is_upsert(&self) -> bool {
        self.operation == "upsert"
    }

    pub(crate) fn is_resource(&self) -> bool {
        self.kind == "resource"
    }

    pub(crate) fn is_group(&self) -> bool {
        self.ty() == "microsoft.resources/subscriptions/resourcegroups"
    }

    pub(crate) fn is_subscription(&self) -> bool {
        self.ty() == "microsoft.resources/subscriptions"
    }
}

/// The envelopes that Port has accepted so far, in order of arrival.
pub(crate) async fn envelopes(sandbox: &Sandbox) -> Vec<Envelope> {
    sandbox.port().settle().await;
    let deliveries = sandbox.port().deliveries();
    deliveries
        .iter()
        .map(|delivery| {
            let body = String::from_utf8(delivery.body.to_vec()).expect("an envelope is UTF-8");
            let json: Json = serde_json::from_str(&body).expect("an envelope is JSON");
            let text = |name: &str| json[name].as_str().unwrap_or_default().to_owned();
            let header = delivery.headers.get("x-delivery-id").expect("every post has a delivery id");
            Envelope {
                operation: text("operation"),
                kind: text("type"),
                data: json["data"].clone(),
                delivery: header.to_str().unwrap().to_owned(),
                body,
            }
        })
        .collect()
}

/// The operations and ids of these envelopes.
pub(crate) fn outline(envelopes: &[Envelope]) -> Vec<(&str, &str)> {
    envelopes.iter().map(|envelope| (envelope.operation.as_str(), envelope.id())).collect()
}

/// The ids of the resources among them.
pub(crate) fn resource_ids(envelopes: &[Envelope]) -> BTreeSet<String> {
    envelopes.iter().filter(|one| one.is_resource()).map(|one| one.id().to_owned()).collect()
}

/// The queries sent to Resource Graph, including retries.
pub(crate) fn queries(sandbox: &Sandbox) -> Vec<Json> {
    let entries = sandbox.requests().entries();
    let graph = entries.iter().filter(|entry| entry.route == Route::Graph);
    graph.map(|entry| serde_json::from_slice(&entry.body).expect("a query is JSON")).collect()
}

/// The first table that a query reads.
pub(crate) fn table(query: &Json) -> &str {
    query["query"].as_str().and_then(|text| text.lines().next()).unwrap_or_default()
}

/// Injects a fault from now on.
pub(crate) fn break_down(sandbox: &Sandbox, route: Route, rule: Rule) {
    let _ = sandbox.faults().add(route, rule);
}

/// A transient failure that may be retried at once.
pub(crate) fn passing(status: u16) -> Fault {
    Fault::retry_after(status, "0")
}

/// Keeps the text of each answer of Resource Graph, as sent.
pub(crate) fn keep_answers(sandbox: &Sandbox) -> Arc<Mutex<Vec<String>>> {
    let kept = Arc::new(Mutex::new(Vec::new()));
    let keeper = Arc::clone(&kept);
    let keep = Fault::edit(move |answer| {
        keeper.lock().unwrap().push(answer.clone());
        answer
    });
    break_down(sandbox, Route::Graph, Rule::new(keep));
    kept
}

/// Asserts that the catalog matches the estate.
pub(crate) async fn assert_equal(sandbox: &Sandbox, scope: &Scope, run: &Run) {
    let differences = sandbox.diff(scope).await;
    let shown: Vec<&String> = differences.iter().take(20).collect();
    assert!(shown.is_empty(), "the catalog differs in {} places: {shown:#?}; {run}", differences.len());
}
