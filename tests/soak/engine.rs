//! The real engine in this process, with waits that a test need not sit through.

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

/// Set in the process that a test runs alone in.
const ALONE: &str = "AZURE_INCREMENTAL_TEST_ALONE";

/// Runs the test with this path in a process of its own, whose `SSL_CERT_FILE` is there from the beginning: the engine trusts a sandbox as it
/// trusts anyone, by the system's roots.
pub(crate) fn alone(path: &str, body: impl FnOnce()) {
    if std::env::var_os(ALONE).is_some() {
        if let Ok(filter) = std::env::var("RUST_LOG") {
            logging::init(&LogConfig { format: LogFormat::Text, filter });
        }
        return body();
    }
    let (_, test) = path.split_once("::").unwrap();
    let roots = tempfile::NamedTempFile::new().unwrap();
    // Reading all that the system trusts takes longer than many a run.
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
    /// It was cut off, as by SIGKILL.
    Killed,
}

/// Makes this process trust a sandbox.
pub(crate) fn trust(sandbox: &Sandbox) {
    let roots = PathBuf::from(std::env::var_os("SSL_CERT_FILE").unwrap());
    std::fs::copy(sandbox.authority_file(), roots).unwrap();
}

/// A configuration for a sandbox: the one that the program would read from the environment, with quick waits. What `more` says
/// of the environment goes before what the sandbox does.
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

/// One run, to its end or cut off after so many steps; how it ended, and how many it took. It has a runtime of its own, so that nothing of it outlives it.
pub(crate) fn go(config: &Config, work: &Work, steps: Option<u64>) -> (Ended, u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (report, taken) = runtime.block_on(cut(steps, run(config, work, std::future::pending())));
    // Waits for a write that was under way, which a dead process could not finish after the next one has begun.
    drop(runtime);
    (report.map_or(Ended::Killed, |report| Ended::Reported(Box::new(report))), taken)
}

/// Drops a future after it was polled so many times: between any two of its steps. Tells how often it was polled.
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
