//! Ways to run the program: workflows, the action, the release, the image, and examples for other platforms.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed, which is what it is for"
)]

mod action;
mod as_code;
mod containers;
mod pipelines;
mod release;
mod systemd;
mod workflows;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

const EVERY_15_MINUTES: &str = "*/15 * * * *";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn documents(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// The files in a folder with this ending, as paths from the root.
fn files(folder: &str, ending: &str) -> Vec<String> {
    let mut found: Vec<String> = fs::read_dir(root().join(folder))
        .unwrap()
        .map(|entry| format!("{folder}/{}", entry.unwrap().file_name().into_string().unwrap()))
        .filter(|path| path.ends_with(ending))
        .collect();
    found.sort();
    assert!(!found.is_empty(), "{folder} has nothing that ends in {ending}");
    found
}

/// The program's output.
fn program(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_azure-incremental")).args(arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// All variables that the program reads: those in `--help`, and those that only signing in uses.
static KNOWN: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
    let of = |pattern: &str, text: &str| -> Vec<String> {
        Regex::new(pattern).unwrap().captures_iter(text).map(|found| found[1].to_owned()).collect()
    };
    let help = program(&["--help"]);
    let (settings, rest) = help.split_once("from the environment only").expect("--help lists what has no flag");
    let mut known: BTreeSet<String> = BTreeSet::new();
    known.extend(of(r"\[env: ([A-Z_]+)", settings));
    known.extend(of(r"(?m)^  ([A-Z][A-Z_]+)  ", rest));
    known.extend(of(r#""([A-Z]+_[A-Z_]+)""#, &read("src/config/sign_in.rs")));
    assert!(
        known.contains("SYNC_MODE") && known.contains("RUST_LOG") && known.contains("SYSTEM_ACCESSTOKEN"),
        "{known:?}"
    );
    known
});

fn assert_known<'a>(file: &str, names: impl IntoIterator<Item = &'a str>, its_own: &[&str]) {
    let names: Vec<&str> = names.into_iter().collect();
    assert!(!names.is_empty(), "{file} sets nothing");
    let unknown: Vec<&&str> = names.iter().filter(|name| !KNOWN.contains(**name) && !its_own.contains(name)).collect();
    assert!(unknown.is_empty(), "{file} sets {unknown:?}, which the program does not read");
}

/// The keys of a mapping.
fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap_or_else(|| panic!("no mapping: {value}")).keys().map(String::as_str).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("no list: {value}"))
}

/// A new directory with a copy of these files.
fn copy(paths: &[&str]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for path in paths {
        let to: PathBuf = directory.path().join(path);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(root().join(path), to).unwrap();
    }
    directory
}
