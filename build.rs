//! Tells the program which commit it was built from, if that is known.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=BUILD_COMMIT");
    let version = std::env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let commit = told().or_else(of_repository).or_else(of_package);
    match commit {
        Some(commit) => println!("cargo:rustc-env=VERSION_AND_COMMIT={version} ({commit})"),
        // An archive without history: only the version is known.
        None => println!("cargo:rustc-env=VERSION_AND_COMMIT={version}"),
    }
}

/// The commit given by the builder, for example of an image that is built without the history.
fn told() -> Option<String> {
    std::env::var("BUILD_COMMIT").ok().and_then(|commit| short(&commit))
}

/// The commit of the repository whose root this is. A repository that merely contains this folder has other commits.
fn of_repository() -> Option<String> {
    let root = std::env::var_os("CARGO_MANIFEST_DIR")?;
    let top = git(&["rev-parse", "--show-toplevel"])?;
    if Path::new(&top).canonicalize().ok()? != Path::new(&root).canonicalize().ok()? {
        return None;
    }
    let commit = git(&["log", "-1", "--abbrev=12", "--format=%h %cs"])?;
    // Commits and branch switches write to this file.
    let log = git(&["rev-parse", "--git-path", "logs/HEAD"])?;
    if Path::new(&log).exists() {
        println!("cargo:rerun-if-changed={log}");
    }
    Some(commit)
}

/// The commit of a published package, where cargo records it.
fn of_package() -> Option<String> {
    let text = std::fs::read_to_string(".cargo_vcs_info.json").ok()?;
    let (_, rest) = text.split_once("\"sha1\"")?;
    rest.split('"').nth(1).and_then(short)
}

fn short(commit: &str) -> Option<String> {
    let commit: String = commit.trim().chars().take(12).collect();
    (commit.len() >= 7 && commit.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(commit)
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}
