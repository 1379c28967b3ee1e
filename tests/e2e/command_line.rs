//! How shells and man(1) handle what the program prints about its command line.
#![cfg(unix)]

use std::process::Stdio;

use tokio::process::Command;

use crate::harness::Program;

/// The completions of a real bash for the last of these words, in a directory with two files.
async fn completed(words: &[&str]) -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("completion.bash"), script().await).unwrap();
    std::fs::write(directory.path().join("letters one.jsonl"), "").unwrap();
    // As bash calls it: the command, the word, and the previous word. `compopt` needs a terminal.
    let call = r#"
        source completion.bash; compopt() { :; }
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
        function=$(complete -p azure-incremental | sed 's/.*-F \([^ ]*\).*/\1/')
        "$function" "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        [ ${#COMPREPLY[@]} -eq 0 ] || printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let mut bash = Command::new("bash");
    bash.args(["--noprofile", "--norc", "-c", call, "bash", "azure-incremental"]).args(words);
    let output = bash.current_dir(directory.path()).stdin(Stdio::null()).output().await.unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

async fn script() -> String {
    Program::bare().args(["completions", "bash"]).run().await.exits(0).out
}

#[tokio::test]
async fn bash_completes_commands_options_values_and_files_before_and_after_a_command() {
    assert_eq!(completed(&["che"]).await, ["check", "checkpoint"]);
    assert_eq!(completed(&["--resource-t"]).await, ["--resource-types"]);
    assert_eq!(completed(&["check", "--pro"]).await, ["--probe"]);
    assert_eq!(completed(&["check", "--resource-t"]).await, ["--resource-types"]);
    assert!(completed(&["check", "--"]).await.contains(&"--help".to_owned()));
    assert_eq!(completed(&["resend", "--fr"]).await, ["--from"]);
    assert_eq!(completed(&["--mode", "full", "resend", "--fr"]).await, ["--from"]);
    assert_eq!(completed(&["checkpoint", "--l"]).await, ["--list", "--log-format"]);
    assert_eq!(completed(&["--mode", ""]).await, ["incremental", "full"]);
    assert_eq!(completed(&["check", "--mode", "f"]).await, ["full"]);
    assert_eq!(completed(&["--azure-cloud", "AzureU"]).await, ["AzureUSGovernment"]);
    assert_eq!(completed(&["--credential", "azure-"]).await, ["azure-pipelines", "azure-cli"]);
    assert_eq!(completed(&["completions", "z"]).await, ["zsh"]);
    assert_eq!(completed(&["--checkpoint-file", "let"]).await, ["letters one.jsonl"]);
    assert_eq!(completed(&["resend", "--from", "let"]).await, ["letters one.jsonl"]);
    assert_eq!(completed(&["help", "res"]).await, ["resend"]);
}

#[tokio::test]
async fn a_formatter_finds_nothing_to_warn_of_in_the_manual_page() {
    let page = Program::bare().args(["man"]).run().await.exits(0).out;
    for section in ["ENVIRONMENT", "\"EXIT STATUS\"", "EXAMPLES"] {
        assert!(page.lines().any(|line| line == format!(".SH {section}")), "{section}");
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("azure-incremental.1");
    std::fs::write(&path, page).unwrap();
    // Skipped without groff.
    if let Ok(output) = Command::new("groff").args(["-man", "-ww", "-z"]).arg(&path).output().await {
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
