//! The real engine in this process, with short waits.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::path::PathBuf;
use std::pin::pin;
use std::process::Command;
use std::task::Poll;
use std::time::Duration;

use azure_incremental::cli::Settings;
use azure_incremental::config::{Config, Limits, LogConfig, LogFormat};
use azure_incremental::report::Report;
use azure_incremental::{Work, logging, run};
use sandbox::Sandbox;

/// Set in the separate process of a test.
const ALONE: &str = "AZURE_INCREMENTAL_TEST_ALONE";

/// Runs the test with this path in a separate process with `SSL_CERT_FILE` set from the start, so that the engine
/// trusts a sandbox like any host, by the system's roots.
pub(crate) fn alone(path: &str, body: impl FnOnce()) {
    if std::env::var_os(ALONE).is_some() {
        if let Ok(filter) = std::env::var("RUST_LOG") {
            logging::init(&LogConfig { format: LogFormat::Text, filter });
        }
        return body();
    }
    let (_, test) = path.split_once("::").unwrap();
    let roots = tempfile::NamedTempFile::new().unwrap();
    // Reading all of the system's certificates would take longer than many a run.
    let no_more = tempfile::tempdir().unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(ALONE, "1")
        .env("SSL_CERT_FILE", roots.path())
        .env("SSL_CERT_DIR", no_more.path())
        .output()
        .unwrap();
    if !output.status.success() {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        panic!("{}\n{}", text(&output.stdout), text(&output.stderr));
    }
}

/// How a run ended.
pub(crate) enum Ended {
    /// By itself.
    Reported(Box<Report>),
    /// Cut off, as by SIGKILL.
    Killed,
}

/// Makes this process trust a sandbox.
pub(crate) fn trust(sandbox: &Sandbox) {
    let roots = PathBuf::from(std::env::var_os("SSL_CERT_FILE").unwrap());
    std::fs::copy(sandbox.authority_file(), roots).unwrap();
}

/// A configuration for a sandbox, as the program would read it from the environment, but with short waits. `more` takes
/// precedence over the sandbox's environment.
pub(crate) fn config(sandbox: &Sandbox, settings: Settings, more: &[(String, String)]) -> Config {
    let mut environment: BTreeMap<String, String> = sandbox.env().into_iter().collect();
    environment.extend(more.iter().cloned());
    let value = |name: &str| environment.get(name).cloned();
    let settings = Settings {
        azure_tenant_id: value("AZURE_TENANT_ID"),
        azure_client_id: value("AZURE_CLIENT_ID"),
        port_client_id: value("PORT_CLIENT_ID"),
        port_base_url: value("PORT_BASE_URL"),
        azure_authority_host: value("AZURE_AUTHORITY_HOST"),
        azure_resource_manager_endpoint: value("AZURE_RESOURCE_MANAGER_ENDPOINT"),
        microsoft_graph_endpoint: value("MICROSOFT_GRAPH_ENDPOINT"),
        ..settings
    };
    let mut config = Config::load(&settings, &|name| value(name).map(Into::into)).unwrap();
    config.limits = Limits {
        backoff: Duration::from_millis(2),
        backoff_max: Duration::from_millis(10),
        retry_after_max: Duration::from_millis(10),
        azure_timeout: Duration::from_secs(5),
        post_timeout: Duration::from_secs(2),
        sign_ins_apart: Duration::ZERO,
        ..Limits::default()
    };
    config
}

/// Runs the engine to its end or for this many steps. Returns how it ended and the steps taken. Uses its own runtime,
/// so that nothing outlives the run.
pub(crate) fn go(config: &Config, work: &Work, steps: Option<u64>) -> (Ended, u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (report, taken) = runtime.block_on(cut(steps, run(config, work, std::future::pending())));
    // Waits for a write in progress, which a killed process could not finish after the next one has started.
    drop(runtime);
    (report.map_or(Ended::Killed, |report| Ended::Reported(Box::new(report))), taken)
}

/// Drops a future after this many polls, between any two of its steps. Returns the number of polls.
async fn cut<F: Future>(steps: Option<u64>, future: F) -> (Option<F::Output>, u64) {
    let mut future = pin!(future);
    let mut taken = 0;
    let output = poll_fn(|context| {
        if steps.is_some_and(|steps| taken >= steps) {
            return Poll::Ready(None);
        }
        taken += 1;
        future.as_mut().poll(context).map(Some)
    })
    .await;
    (output, taken)
}
