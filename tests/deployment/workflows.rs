//! The project's own workflows, and those that users copy.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::{Value, json};

use super::{EVERY_15_MINUTES, assert_known, files, keys, list, program, read, text, yaml};

const OWN: &str = "azure-incremental/azure-incremental";

fn own_and_examples() -> Vec<String> {
    [files(".github/workflows", ".yml"), files("examples/github", ".yml")].concat()
}

fn jobs(workflow: &Value) -> impl Iterator<Item = (&String, &Value)> {
    workflow["jobs"].as_object().expect("a workflow has jobs").iter()
}

fn steps(workflow: &Value) -> impl Iterator<Item = &Value> {
    jobs(workflow).flat_map(|(_, job)| list(&job["steps"]))
}

#[test]
fn every_action_is_pinned_by_its_commit() {
    let uses = Regex::new(r"(?m)^\s*(?:- )?uses: (.*)$").unwrap();
    let pinned = Regex::new(r"^([\w.-]+/[\w.-]+)(?:/[\w./-]+)?@([0-9a-f]{40}) # v(\d+\.\d+\.\d+)$").unwrap();
    // Before the first release there is no commit to pin.
    let ours = format!("{OWN}@v{} # zizmor: ignore[unpinned-uses] no release to pin yet", env!("CARGO_PKG_VERSION"));
    let mut commits: BTreeMap<String, (String, String)> = BTreeMap::new();
    for path in own_and_examples().into_iter().chain(["action.yml".into()]) {
        for found in uses.captures_iter(&read(&path)) {
            if found[1] == ours {
                continue;
            }
            let parts = pinned.captures(&found[1]).unwrap_or_else(|| panic!("{path}: {}", &found[1]));
            let commit = (parts[2].to_owned(), parts[3].to_owned());
            let first = commits.entry(parts[1].to_owned()).or_insert_with(|| commit.clone());
            assert_eq!(*first, commit, "{path}: {} is pinned in two ways", &parts[1]);
        }
    }
    assert!(commits.len() >= 5, "{commits:?}");
}

#[test]
fn a_workflow_may_do_nothing_and_its_jobs_what_they_name() {
    for path in own_and_examples() {
        let workflow = yaml(&read(&path));
        let permissions = &workflow["permissions"];
        assert!(*permissions == json!({}) || *permissions == json!({ "id-token": "write" }), "{path}: {permissions}");
        for (name, job) in jobs(&workflow) {
            let Some(granted) = job["permissions"].as_object() else {
                assert!(path.starts_with("examples/github/minimal"), "{path}: {name} names no permissions");
                continue;
            };
            let writes: Vec<&str> =
                granted.iter().filter(|(_, right)| *right == "write").map(|(of, _)| of.as_str()).collect();
            match (path.as_str(), name.as_str()) {
                (".github/workflows/release.yml", "image") => {
                    assert_eq!(writes, ["attestations", "id-token", "packages"])
                }
                (".github/workflows/release.yml", "release") => {
                    assert_eq!(writes, ["attestations", "contents", "id-token"]);
                }
                _ => assert!(writes.is_empty() || writes == ["id-token"], "{path}: {name} may write {writes:?}"),
            }
        }
    }
}

#[test]
fn no_expression_is_pasted_into_a_script() {
    let mut scripts = 0;
    for path in own_and_examples() {
        let workflow = yaml(&read(&path));
        for step in steps(&workflow).filter(|step| !step["run"].is_null()) {
            assert!(!text(&step["run"]).contains("${{"), "{path}: {}", step["run"]);
            scripts += 1;
        }
        assert!(workflow["on"]["pull_request_target"].is_null(), "{path} would give strangers its rights");
    }
    assert!(scripts > 10);
}

#[test]
fn a_failure_within_a_pipe_fails_its_step() {
    // GitHub runs bash with pipefail only if the shell is named explicitly.
    let pipe = Regex::new(r"[^|]\|[^|]").unwrap();
    for path in own_and_examples() {
        let workflow = yaml(&read(&path));
        let named = workflow["defaults"]["run"]["shell"] == "bash";
        for step in steps(&workflow).filter(|step| step["run"].as_str().is_some_and(|script| pipe.is_match(script))) {
            assert!(named || step["shell"] == "bash", "{path}: {}", step["run"]);
        }
    }
}

#[test]
fn a_checkout_leaves_no_credentials_behind_and_a_job_ends_some_day() {
    for path in own_and_examples() {
        let workflow = yaml(&read(&path));
        for step in steps(&workflow) {
            if step["uses"].as_str().is_some_and(|uses| uses.starts_with("actions/checkout@")) {
                assert_eq!(step["with"]["persist-credentials"], false, "{path}");
            }
        }
        for (name, job) in jobs(&workflow) {
            let bounded = job["timeout-minutes"].as_u64().is_some_and(|minutes| minutes <= 180);
            assert!(bounded || path.starts_with("examples/github/minimal"), "{path}: {name}");
        }
    }
}

#[test]
fn runners_are_named_by_their_version() {
    let versioned = Regex::new(r"^(ubuntu-24\.04(-arm)?|macos-15(-intel)?|windows-2025)$").unwrap();
    for path in own_and_examples() {
        let workflow = yaml(&read(&path));
        for (name, job) in jobs(&workflow) {
            let matrix = job["strategy"]["matrix"]["include"].as_array().cloned().unwrap_or_default();
            let runners: Vec<&Value> = match job["runs-on"].as_str() {
                Some("${{ matrix.runner }}") => matrix.iter().map(|entry| &entry["runner"]).collect(),
                _ => vec![&job["runs-on"]],
            };
            assert!(!runners.is_empty(), "{path}: {name}");
            for runner in runners {
                assert!(versioned.is_match(text(runner)), "{path}: {name} runs on {runner}");
            }
        }
    }
}

#[test]
fn no_two_syncs_overlap_and_none_is_cancelled() {
    for path in files("examples/github", ".yml") {
        let workflow = yaml(&read(&path));
        match &workflow["concurrency"] {
            Value::String(group) => assert_eq!(group, "azure-sync", "{path}"),
            concurrency => {
                assert_eq!(*concurrency, json!({ "group": "azure-sync", "cancel-in-progress": false }), "{path}");
            }
        }
    }
}

#[test]
fn users_sync_every_15_minutes_and_fully_by_hand() {
    for path in files("examples/github", ".yml") {
        let on = &yaml(&read(&path))["on"];
        assert!(keys(on).contains(&"workflow_dispatch"), "{path}");
        match path.ends_with("azure-full-sync.yml") {
            true => assert!(on["schedule"].is_null(), "{path}"),
            false => assert_eq!(on["schedule"], json!([{ "cron": EVERY_15_MINUTES }]), "{path}"),
        }
    }
}

#[test]
fn users_set_variables_and_inputs_that_there_are() {
    let action = yaml(&read("action.yml"));
    let inputs = keys(&action["inputs"]);
    let commented = Regex::new(r"(?m)^\s*# ([A-Z_]+): ").unwrap();
    for path in files("examples/github", ".yml") {
        let source = read(&path);
        let workflow = yaml(&source);
        let sync = steps(&workflow).find(|step| {
            let uses = step["uses"].as_str().is_some_and(|uses| uses.starts_with(&format!("{OWN}@")));
            uses || step["name"] == "Sync"
        });
        let sync = sync.unwrap_or_else(|| panic!("{path} syncs nothing"));
        for input in sync["with"].as_object().into_iter().flat_map(|with| with.keys()) {
            assert!(inputs.contains(&input.as_str()), "{path}: there is no input {input}");
        }
        if let Some(variables) = sync["env"].as_object() {
            assert_known(&path, variables.keys().map(String::as_str), &[]);
            assert!(variables.contains_key("PORT_WEBHOOK_SECRET"), "{path}: posts could not be signed");
        }
        let commented: Vec<_> = commented.captures_iter(&source).map(|found| found[1].to_owned()).collect();
        if !commented.is_empty() {
            assert_known(&path, commented.iter().map(String::as_str), &[]);
        }
    }
}

#[test]
fn what_init_prints_is_a_workflow_with_the_settings_given() {
    for file in ["azure-incremental-sync.yml", "azure-full-sync.yml"] {
        let filters = r#"{"include": {"Owner": "O'Connor: ${{ secrets.X }}"}}"#;
        let printed = program(&["init", file, "--resource-group-tag-filters", filters, "--resource-types", "a/b"]);
        let workflow = yaml(&printed);
        let sync = steps(&workflow).last().unwrap();
        assert_eq!(sync["env"]["RESOURCE_TYPES"], "a/b", "{printed}");
        assert_eq!(sync["env"]["AZURE_TENANT_ID"], "${{ secrets.AZURE_TENANT_ID }}", "{printed}");
        let written = text(&sync["env"]["RESOURCE_GROUP_TAG_FILTERS"]);
        // GitHub evaluates the only expression in it to the text that starts an expression.
        assert_eq!(written.replace("${{ ''${{'' }}", "${{").replace("${{ '${{' }}", "${{"), filters, "{printed}");
        assert_eq!(printed.matches("RESOURCE_TYPES").count(), 1, "{printed}");
    }
}

#[test]
fn the_readme_shows_the_smallest_workflow_as_it_is_in_the_examples() {
    let file = read("examples/github/minimal-oidc.yml");
    let workflow: String = file.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect();
    assert!(workflow.lines().count() <= 15, "{workflow}");
    assert!(read("README.md").contains(&workflow), "{workflow}");
}
