//! A signal or the run timeout ends the process soon, whatever it waits for and whoever started it.
#![cfg(unix)]

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use sandbox::Sandbox;
use sandbox::faults::{Fault, Rule};
use sandbox::requests::Route;
use serde_json::Value as Json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Command;

use crate::harness::{Program, Small, break_down, of_resources, start};
use crate::remembered::{remembering, signal, until};

const SIGNALS: [(&str, i32); 2] = [("INT", 130), ("TERM", 143)];

/// A named pipe, whose readers block until somebody writes.
async fn pipe(sandbox: &Sandbox, name: &str) -> PathBuf {
    let path = sandbox.directory().join(name);
    assert!(Command::new("mkfifo").arg(&path).status().await.unwrap().success());
    path
}

/// Resolves when somebody reads the pipe. The reader then blocks while the returned file is open.
async fn reader(pipe: &Path) -> std::fs::File {
    let pipe = pipe.to_owned();
    tokio::task::spawn_blocking(move || std::fs::File::options().write(true).open(pipe).unwrap()).await.unwrap()
}

/// The C library looks up names without dots in this file before it asks a name server; a pipe blocks that forever.
async fn unresolved(sandbox: &Sandbox, program: Program) -> (Program, PathBuf) {
    let aliases = pipe(sandbox, "aliases").await;
    (program.env("HOSTALIASES", &aliases), aliases)
}

#[cfg(target_env = "gnu")]
#[tokio::test]
async fn a_name_that_is_never_resolved_does_not_hold_up_the_end() {
    for (variable, url) in
        [("AZURE_AUTHORITY_HOST", "https://nowhere"), ("PORT_WEBHOOK_INGEST_URL", "https://nowhere/key")]
    {
        let small = Small::start().await;
        let program = Program::full(&small.sandbox).env(variable, url);
        let (program, aliases) = unresolved(&small.sandbox, program).await;
        let child = program.into_command().spawn().unwrap();
        let _hanging = reader(&aliases).await;
        let asked = Instant::now();
        signal(&child, "-TERM").await;
        let output = child.wait_with_output().await.unwrap();
        assert!(asked.elapsed() < Duration::from_secs(9), "{variable}: {:?}", asked.elapsed());
        assert_eq!(output.status.code(), Some(143));
        let report: Json = serde_json::from_slice(&output.stdout).unwrap();
        assert!(report["errors"].to_string().contains("stopped by SIGTERM before"), "{report}");

        std::fs::remove_file(&aliases).unwrap();
        let program = Program::full(&small.sandbox).env(variable, url).env("RUN_TIMEOUT_SECONDS", "1");
        let (program, aliases) = unresolved(&small.sandbox, program).await;
        let (run, _hanging) = tokio::join!(program.run(), reader(&aliases));
        assert!(run.took < Duration::from_secs(10), "{variable}: {run}");
        run.exits(1).tells(&["stopped after RUN_TIMEOUT_SECONDS"]);
    }
}

/// As PID 1 of a container, for which signals have no default action. It gets this signal once the pipe is opened for
/// writing.
fn as_the_first(program: Program, signal: &str, pipe: &Path) -> Program {
    let script = format!(r#"(read _ < '{}'; kill -{signal} 1) & exec "$@""#, pipe.display());
    program.within(&["unshare", "--pid", "--fork", "--kill-child", "sh", "-c", &script, "sh"])
}

/// Whether this machine lets a test run something as PID 1.
async fn may_be_the_first() -> bool {
    let unshare = Command::new("unshare").args(["--pid", "--fork", "true"]).stderr(Stdio::null()).status().await;
    unshare.is_ok_and(|status| status.success())
}

/// Something that waits forever, and how to detect that it does.
#[derive(Clone, Copy, Debug)]
enum Waiting {
    Check,
    Resend,
    Reading,
    Locked,
}

/// Starts it, stops it with a signal, and returns its output and how long it took to end.
async fn stopped(waiting: Waiting, name: &str, code: i32, is_first: bool) -> (String, Duration) {
    let small = Small::start().await;
    let sandbox = &small.sandbox;
    let trigger = pipe(sandbox, "trigger").await;
    let input = pipe(sandbox, "input").await;
    let first = match waiting {
        Waiting::Locked => {
            break_down(sandbox, Route::Webhook, Rule::new(Fault::Hang));
            let first = remembering(sandbox).into_command().spawn().unwrap();
            until("a post", || sandbox.requests().count(Route::Webhook) > 0).await;
            Some(first)
        }
        _ => None,
    };
    let (posts, _) = sandbox.port().received();
    let before = sandbox.requests().count(Route::Graph);
    let program = remembering(sandbox);
    let program = match waiting {
        Waiting::Check | Waiting::Resend => {
            break_down(sandbox, Route::Graph, Rule::new(Fault::Hang));
            program.args(if matches!(waiting, Waiting::Check) {
                ["check", "--probe"]
            } else {
                ["resend", &small.vault]
            })
        }
        Waiting::Reading => program.args(["resend", "--from", input.to_str().unwrap()]),
        Waiting::Locked => program,
    };
    let program = if is_first { as_the_first(program, name, &trigger) } else { program };
    let mut child = program.into_command().spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut written = String::new();
    let _hanging = match waiting {
        Waiting::Check | Waiting::Resend => {
            until("a query", || sandbox.requests().count(Route::Graph) > before).await;
            None
        }
        Waiting::Reading => Some(reader(&input).await),
        Waiting::Locked => {
            while !written.contains("waiting up to 10 s") {
                assert!(log.read_line(&mut written).await.unwrap() > 0, "{written}");
            }
            None
        }
    };
    let asked = Instant::now();
    if is_first {
        drop(reader(&trigger).await);
    } else {
        signal(&child, &format!("-{name}")).await;
    }
    let status = tokio::time::timeout(Duration::from_secs(20), child.wait()).await.expect("it ends").unwrap();
    let took = asked.elapsed();
    log.read_to_string(&mut written).await.unwrap();
    child.stdout.take().unwrap().read_to_string(&mut written).await.unwrap();
    assert_eq!(status.code(), Some(code), "{waiting:?} SIG{name}: {written}");
    assert_eq!(sandbox.port().received().0, posts, "{waiting:?}: {written}");
    drop(first);
    (written, took)
}

#[tokio::test]
async fn whatever_waits_before_anything_is_sent_ends_at_once_by_either_signal_also_as_the_first_process() {
    let may_be_first = may_be_the_first().await;
    for waiting in [Waiting::Check, Waiting::Resend, Waiting::Reading, Waiting::Locked] {
        for (name, code) in SIGNALS {
            for is_first in if may_be_first { vec![false, true] } else { vec![false] } {
                let (written, took) = stopped(waiting, name, code, is_first).await;
                assert!(took < Duration::from_secs(2), "{waiting:?} SIG{name}: {took:?}");
                assert!(written.contains(&format!("stopped by SIG{name}")), "{waiting:?}: {written}");
            }
        }
    }
}

/// Its only thread is blocked in a write, where no event reaches it.
#[tokio::test]
async fn a_run_whose_log_nobody_reads_ends_soon_after_its_time_and_its_report_comes_first() {
    let sandbox = start(of_resources(500)).await;
    break_down(&sandbox, Route::Webhook, Rule::new(Fault::status(422)));
    let started = Instant::now();
    let mut child = Program::full(&sandbox).env("RUN_TIMEOUT_SECONDS", "4").into_command().spawn().unwrap();
    let mut out = String::new();
    child.stdout.take().unwrap().read_to_string(&mut out).await.unwrap();
    let status = child.wait().await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    assert_eq!(status.code(), Some(1), "{out}");
    let report: Json = serde_json::from_str(&out).unwrap();
    assert!(report["errors"].to_string().contains("something hung"), "{report}");
}
