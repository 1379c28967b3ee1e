//! The action: `action.yml`, and how `.ci/fetch` handles good and bad releases.

use serde_json::Value;

use super::{assert_known, keys, list, read, text, yaml};

fn action() -> Value {
    yaml(&read("action.yml"))
}

fn step<'a>(action: &'a Value, name: &str) -> &'a Value {
    list(&action["runs"]["steps"]).iter().find(|step| step["name"] == name).unwrap_or_else(|| panic!("no step {name}"))
}

#[test]
fn every_input_reaches_the_program_by_its_environment_and_no_other_way() {
    let action = action();
    let steps = list(&action["runs"]["steps"]);
    for step in steps.iter().filter(|step| !step["run"].is_null()) {
        assert!(!text(&step["run"]).contains("${{"), "{step}");
        assert_eq!(step["shell"], "bash", "{step}");
    }
    for input in keys(&action["inputs"]) {
        let uses = |value: &Value| value.to_string().contains(&format!("inputs.{input}"));
        assert!(steps.iter().any(|step| ["env", "with"].iter().any(|part| uses(&step[*part]))), "{input} is not used");
    }
    assert_known("action.yml", keys(&step(&action, "Sync")["env"]), &["BINARY"]);
}

#[test]
fn an_input_that_is_not_given_leaves_the_variable_of_its_name() {
    let action = action();
    for (name, value) in step(&action, "Sync")["env"].as_object().unwrap() {
        if name != "BINARY" {
            assert!(text(value).ends_with(&format!("|| env.{name} }}}}")), "{name}: {value}");
        }
    }
}

#[test]
fn the_checkpoint_is_restored_by_its_prefix_and_saved_whatever_happened() {
    let action = action();
    let (restore, save) = (step(&action, "Restore the checkpoint"), step(&action, "Save the checkpoint"));
    assert_eq!(restore["with"]["key"], save["with"]["key"]);
    assert_eq!(restore["with"]["path"], save["with"]["path"]);
    let key = text(&save["with"]["key"]);
    let prefix = text(&restore["with"]["restore-keys"]);
    assert!(key.starts_with(prefix) && prefix.ends_with('@'), "one name may begin as another does: {prefix} {key}");
    assert!(key.contains("github.run_id") && key.contains("github.run_attempt"), "{key}");
    assert!(text(&save["if"]).starts_with("always() && "), "{save}");
    let file = text(&step(&action, "Sync")["env"]["CHECKPOINT_FILE"]);
    let path = text(&save["with"]["path"]).replace("${{ inputs.checkpoint-name }}", "{0}");
    assert!(path.contains("{0}"), "one job may sync two scopes");
    assert!(file.contains(&format!("format('{path}', inputs.checkpoint-name)")), "{file}");
}

#[test]
fn the_outputs_are_those_that_the_program_sets() {
    let action = action();
    let program = read("src/actions.rs");
    for (name, output) in action["outputs"].as_object().unwrap() {
        assert_eq!(output["value"], format!("${{{{ steps.sync.outputs.{name} }}}}"));
        assert!(program.contains(&format!("{name}={{")), "the program sets no {name}");
    }
    assert_eq!(step(&action, "Sync")["id"], "sync");
}

#[cfg(unix)]
mod fetch {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;
    use std::process::Command;

    use super::super::root;

    /// A curl that answers from a directory as GitHub does: with files, 404, and a redirect from the latest release to
    /// its tag.
    const CURL: &str = r#"#!/usr/bin/env bash
while (($# > 1)); do
    case $1 in
        --output) output=$2; shift 2 ;;
        --write-out) fact=$2; shift 2 ;;
        --proto) [[ $2 == '=https' ]] || exit 2; shift 2 ;;
        --retry) shift 2 ;;
        *) shift ;;
    esac
done
echo "$1" >>"$GITHUB/asked"
path=$GITHUB/${1#https://github.com/}
[[ $path != */releases/latest ]] || { printf '%s' "https://github.com/o/r/releases/tag/$(cat "$path")"; exit; }
[[ -f $path ]] || { [[ $fact != '%{http_code}' ]] || printf 404; exit 22; }
cp "$path" "$output"
[[ $fact != '%{http_code}' ]] || printf 200
"#;

    /// A GitHub runner, and the releases that it can fetch.
    struct Runner {
        directory: tempfile::TempDir,
        action: String,
        environment: Vec<(&'static str, String)>,
    }

    impl Runner {
        /// On Linux, for an action used as `repository@reference` whose sources have this version.
        fn new(repository: &str, reference: &str, version: &str) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let action = format!("{}/_actions/{repository}/{reference}", directory.path().display());
            let write = |path: &str, text: &str, mode: u32| {
                let path = Path::new(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
                fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
            };
            let manifest = format!("[package]\nversion = \"{version}\"\nrepository = \"https://github.com/own/er\"\n");
            write(&format!("{action}/Cargo.toml"), &manifest, 0o644);
            write(&format!("{}/bin/curl", directory.path().display()), CURL, 0o755);
            fs::create_dir_all(directory.path().join("temp")).unwrap();
            let environment = vec![
                ("ACTION_REPOSITORY", repository.to_owned()),
                ("ACTION_REF", reference.to_owned()),
                ("RUNNER_OS", "Linux".into()),
                ("RUNNER_ARCH", "X64".into()),
            ];
            Self { directory, action, environment }
        }

        fn set(mut self, name: &'static str, value: &str) -> Self {
            self.environment.retain(|(known, _)| *known != name);
            self.environment.push((name, value.into()));
            self
        }

        /// Adds a release for a version and target; its binary prints them.
        fn has(self, repository: &str, version: &str, target: &str) -> Self {
            let releases = self.directory.path().join("github").join(repository).join("releases");
            let release = releases.join("download").join(version);
            let name = format!("azure-incremental-{version}-{target}");
            let script = r#"
                mkdir -p "$1/$2" && cd "$1" && printf '#!/bin/sh\necho %s\n' "$2" >"$2/azure-incremental"
                chmod +x "$2/azure-incremental" && tar -czf "$2.tar.gz" "$2" && rm -r "$2"
                sha256sum -- *.tar.gz >SHA256SUMS"#;
            let done = Command::new("bash").args(["-ec", script, "-"]).arg(&release).arg(&name).status().unwrap();
            assert!(done.success());
            fs::write(releases.join("latest"), version).unwrap();
            self
        }

        /// The output of the fetched binary, or why there is none; and the requests.
        fn fetch(&self) -> (Result<String, String>, String) {
            let path = self.directory.path();
            let output = Command::new("bash")
                .arg(root().join(".ci/fetch"))
                .env_clear()
                .env("PATH", format!("{}/bin:{}", path.display(), std::env::var("PATH").unwrap()))
                .env("GITHUB", path.join("github"))
                .env("GITHUB_ACTION_PATH", &self.action)
                .env("GITHUB_OUTPUT", path.join("output"))
                .env("RUNNER_TEMP", path.join("temp"))
                .envs(self.environment.iter().map(|(name, value)| (name, value)))
                .output()
                .unwrap();
            let asked = fs::read_to_string(path.join("github/asked")).unwrap_or_default();
            if !output.status.success() {
                assert!(!path.join("output").exists(), "it failed, and told where the binary is");
                return (Err(String::from_utf8(output.stderr).unwrap()), asked);
            }
            let told = fs::read_to_string(path.join("output")).unwrap();
            let binary = told.trim().strip_prefix("binary=").unwrap();
            let said = Command::new(binary).output().unwrap();
            (Ok(String::from_utf8(said.stdout).unwrap().trim().into()), asked)
        }

        fn gives(&self, expected: &str) {
            let (found, asked) = self.fetch();
            assert_eq!(found.as_deref(), Ok(expected), "{asked}");
        }

        fn refuses(&self, expected: &str) {
            let (found, asked) = self.fetch();
            let message = found.expect_err(&asked);
            assert!(message.contains("::error title=azure-incremental::"), "{message}");
            assert!(message.contains(expected), "{message}");
        }
    }

    const LINUX: &str = "x86_64-unknown-linux-musl";

    #[test]
    fn a_tag_gets_its_own_release() {
        let runner = Runner::new("o/r", "v1.2.3", "1.2.3").has("o/r", "v1.2.3", LINUX).has("o/r", "v2.0.0", LINUX);
        runner.gives("azure-incremental-v1.2.3-x86_64-unknown-linux-musl");
    }

    #[test]
    fn a_commit_gets_the_release_of_its_version_and_a_branch_that_is_not_released_the_latest() {
        let commit = "0057852bfaa89a56745cba8c7296529d2fc39830";
        let runner = Runner::new("o/r", commit, "1.2.3").has("o/r", "v1.2.3", LINUX).has("o/r", "v2.0.0", LINUX);
        runner.gives("azure-incremental-v1.2.3-x86_64-unknown-linux-musl");
        let runner = Runner::new("o/r", "main", "3.0.0").has("o/r", "v2.0.0", LINUX);
        runner.gives("azure-incremental-v2.0.0-x86_64-unknown-linux-musl");
    }

    #[test]
    fn a_version_that_is_asked_for_wins() {
        let runner = || Runner::new("o/r", "v1.2.3", "1.2.3").has("o/r", "v1.0.0", LINUX).has("o/r", "v2.0.0", LINUX);
        runner().set("VERSION", "1.0.0").gives("azure-incremental-v1.0.0-x86_64-unknown-linux-musl");
        runner().set("VERSION", "latest").gives("azure-incremental-v2.0.0-x86_64-unknown-linux-musl");
        runner().set("VERSION", "1.1.0").refuses("v1.1.0 of o/r cannot be fetched");
        runner().set("VERSION", "../../x").refuses("version: expected latest, or a version");
    }

    #[test]
    fn a_tag_without_a_release_gets_no_other_one() {
        Runner::new("o/r", "v1.2.3", "1.2.3").has("o/r", "v2.0.0", LINUX).refuses("v1.2.3 of o/r cannot be fetched");
    }

    #[test]
    fn within_another_action_it_is_not_taken_for_that_one() {
        let runner = Runner::new("own/er", "v1.2.3", "1.2.3").has("own/er", "v1.2.3", LINUX);
        let runner = runner.set("ACTION_REPOSITORY", "other/action").set("ACTION_REF", "v9");
        runner.gives("azure-incremental-v1.2.3-x86_64-unknown-linux-musl");
    }

    #[test]
    fn each_kind_of_runner_gets_its_binary() {
        for (os, architecture, target) in [
            ("Linux", "X64", "x86_64-unknown-linux-musl"),
            ("Linux", "ARM64", "aarch64-unknown-linux-musl"),
            ("macOS", "X64", "x86_64-apple-darwin"),
            ("macOS", "ARM64", "aarch64-apple-darwin"),
        ] {
            let runner = Runner::new("o/r", "v1.2.3", "1.2.3").has("o/r", "v1.2.3", target);
            let runner = runner.set("RUNNER_OS", os).set("RUNNER_ARCH", architecture);
            runner.gives(&format!("azure-incremental-v1.2.3-{target}"));
        }
        let runner = Runner::new("o/r", "v1.2.3", "1.2.3").has("o/r", "v1.2.3", LINUX);
        runner
            .set("RUNNER_OS", "Windows")
            .refuses("no checksum of azure-incremental-v1.2.3-x86_64-pc-windows-msvc.zip");
        let runner = Runner::new("o/r", "v1.2.3", "1.2.3").has("o/r", "v1.2.3", LINUX);
        runner.set("RUNNER_ARCH", "X86").refuses("there is no binary for Linux on X86");
    }

    #[test]
    fn an_archive_that_is_not_the_one_released_is_never_unpacked() {
        let runner = Runner::new("o/r", "v1.2.3", "1.2.3").has("o/r", "v1.2.3", LINUX);
        let release = runner.directory.path().join("github/o/r/releases/download/v1.2.3");
        let archive = release.join(format!("azure-incremental-v1.2.3-{LINUX}.tar.gz"));
        fs::write(&archive, "evil").unwrap();
        runner.refuses("is not what was released: its SHA-256 is ");
        fs::write(release.join("SHA256SUMS"), "0  other.tar.gz\n").unwrap();
        runner.refuses("has no checksum of azure-incremental-v1.2.3");
    }
}
