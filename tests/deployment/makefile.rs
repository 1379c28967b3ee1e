//! The commands of the Makefile that a newcomer runs.

use std::fs;
use std::process::Command;

/// What `make run` would run, in a folder with this `.env`, or none.
fn run(dot_env: Option<&str>, checkpoint: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("Makefile"), super::read("Makefile")).unwrap();
    if let Some(text) = dot_env {
        fs::write(folder.path().join(".env"), text).unwrap();
    }
    let mut make = Command::new("make");
    make.args(["--dry-run", "run"])
        .current_dir(folder.path())
        .env_remove("MAKEFLAGS")
        .env("CHECKPOINT_FILE", checkpoint);
    let output = make.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn make_run_keeps_a_checkpoint_unless_another_one_is_named() {
    for (dot_env, checkpoint, is_added) in [
        (None, "", true),
        (Some("AZURE_TENANT_ID=x\n#CHECKPOINT_FILE=other\n"), "", true),
        (Some("AZURE_TENANT_ID=x\nCHECKPOINT_FILE=other\n"), "", false),
        (Some(" export CHECKPOINT_FILE = other\n"), "", false),
        (None, "other", false),
    ] {
        let run = run(dot_env, checkpoint);
        assert_eq!(run.contains("--checkpoint-file checkpoint.redb"), is_added, "{dot_env:?} {checkpoint:?}: {run}");
        assert_eq!(run.contains("--env-file .env"), dot_env.is_some(), "{run}");
    }
}
