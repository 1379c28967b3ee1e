//! The contents of a checkpoint, as shown by the program.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use sandbox::Sandbox;
use serde_json::Value as Json;
use tokio::process::{Child, Command};

use crate::harness::{Program, Run};

pub(crate) fn file(sandbox: &Sandbox) -> PathBuf {
    sandbox.directory().join("checkpoint")
}

/// A run with the sandbox's own checkpoint.
pub(crate) fn remembering(sandbox: &Sandbox) -> Program {
    Program::new(sandbox).checkpoint(&file(sandbox))
}

/// The first two runs: one reads everything, the other confirms it.
pub(crate) async fn confirmed(sandbox: &Sandbox) -> Run {
    remembering(sandbox).run().await.exits(0);
    remembering(sandbox).run().await.exits(0)
}

/// `azure-incremental checkpoint` on a file, in JSON.
fn showing(file: &Path) -> Program {
    Program::bare().env("LOG_FORMAT", "json").args(["checkpoint", file.to_str().unwrap()])
}

/// The numbers in the checkpoint.
pub(crate) async fn summary(sandbox: &Sandbox) -> Json {
    showing(&file(sandbox)).run().await.exits(0).report()
}

/// All entries of the checkpoint.
pub(crate) async fn entries(sandbox: &Sandbox) -> Vec<Json> {
    let run = showing(&file(sandbox)).args(["--list"]).run().await.exits(0);
    run.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The checkpoint's entry for an entity; `null` if there is none.
pub(crate) async fn entry(sandbox: &Sandbox, id: &str) -> Json {
    entries(sandbox).await.into_iter().find(|entry| entry["id"] == id).unwrap_or_default()
}

pub(crate) async fn state(sandbox: &Sandbox, id: &str) -> String {
    entry(sandbox, id).await["state"].as_str().unwrap_or_default().to_owned()
}

/// The time up to which a subscription's records have been read.
pub(crate) async fn since(sandbox: &Sandbox, guid: &str) -> String {
    mark(sandbox, guid, "since").await
}

/// When a subscription was last compared in full.
pub(crate) async fn compared(sandbox: &Sandbox, guid: &str) -> String {
    mark(sandbox, guid, "full").await
}

async fn mark(sandbox: &Sandbox, guid: &str, name: &str) -> String {
    let summary = summary(sandbox).await;
    let id = format!("/subscriptions/{guid}");
    let mut subscriptions = summary["subscriptions"].as_array().unwrap().iter();
    let of = subscriptions.find(|of| of["id"] == id.as_str());
    of.and_then(|of| of[name].as_str()).unwrap_or("never").to_owned()
}

/// Files next to the checkpoint whose names start with the checkpoint's.
pub(crate) fn set_aside(file: &Path, why: &str) -> Vec<PathBuf> {
    let start = format!("{}.{why}-", file.file_name().unwrap().to_str().unwrap());
    let files = std::fs::read_dir(file.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(&start)).collect()
}

pub(crate) fn why_full(run: &Run) -> String {
    run.report()["fullBecause"].as_str().unwrap_or_default().to_owned()
}

/// Waits for another process.
pub(crate) async fn until(what: &str, mut is: impl FnMut() -> bool) {
    let wait = async {
        while !is() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.unwrap_or_else(|_| panic!("waiting for {what}"));
}

pub(crate) async fn signal(child: &Child, signal: &str) {
    let pid = child.id().expect("it runs").to_string();
    let status = Command::new("kill").args([signal, &pid]).stdout(Stdio::null()).status().await.unwrap();
    assert!(status.success());
}
