//! Azure Pipelines and GitLab CI.

use super::{EVERY_15_MINUTES, assert_known, keys, list, read, text, yaml};

#[test]
fn in_azure_pipelines_runs_wait_for_one_another_every_15_minutes() {
    let pipeline = yaml(&read("examples/azure-devops/azure-pipelines.yml"));
    assert_eq!(pipeline["schedules"][0]["cron"], EVERY_15_MINUTES);
    assert_eq!(pipeline["schedules"][0]["always"], true);
    assert_eq!(pipeline["lockBehavior"], "sequential");
    assert_eq!((&pipeline["trigger"], &pipeline["pr"]), (&"none".into(), &"none".into()));
}

#[test]
fn in_azure_pipelines_the_service_connection_signs_in_and_the_checkpoint_outlives_a_failure() {
    let pipeline = yaml(&read("examples/azure-devops/azure-pipelines.yml"));
    let steps = list(&pipeline["jobs"][0]["steps"]);
    let task = |name: &str| steps.iter().find(|step| step["task"] == name).unwrap_or_else(|| panic!("no {name}"));
    let sync = task("AzureCLI@2");
    assert_eq!(sync["env"]["SYSTEM_ACCESSTOKEN"], "$(System.AccessToken)");
    assert_eq!(sync["env"]["AZURE_CREDENTIAL"], "azure-pipelines");
    assert_known("azure-pipelines.yml", keys(&sync["env"]), &[]);
    // Azure Pipelines would expand a macro inside the script text.
    let macros = regex::Regex::new(r"\$\([A-Za-z]+[.)]").unwrap();
    for script in steps.iter().filter_map(|step| step["bash"].as_str()).chain([text(&sync["inputs"]["inlineScript"])]) {
        assert!(!script.contains("${{") && !macros.is_match(script), "{script}");
    }
    let restore = task("DownloadPipelineArtifact@2");
    assert_eq!(restore["inputs"]["runId"], "$(checkpointRun)");
    assert!(text(&restore["condition"]).contains("ne(variables.checkpointRun, '')"), "the first run finds none");
    let look = steps.iter().find(|step| step["displayName"] == "Look for the checkpoint").unwrap();
    let script = text(&look["bash"]);
    assert!(
        script.contains("statusFilter=completed") && !script.contains("resultFilter"),
        "cancelled ones too: {script}"
    );
    assert!(script.contains("curl --config -"), "the token is in no list of arguments: {script}");
    let save = task("PublishPipelineArtifact@1");
    assert!(text(&save["condition"]).contains("always()"));
    assert!(text(&save["inputs"]["artifact"]).starts_with("checkpoint-redb1-"));
    assert_eq!(save["inputs"]["targetPath"], restore["inputs"]["path"]);
    assert!(text(&sync["env"]["CHECKPOINT_FILE"]).starts_with(text(&save["inputs"]["targetPath"])));
}

#[test]
fn in_gitlab_jobs_wait_for_one_another_and_the_checkpoint_outlives_a_failure() {
    let source = read("examples/gitlab/.gitlab-ci.yml");
    let sync = &yaml(&source)["sync"];
    assert!(source.contains(EVERY_15_MINUTES), "the schedule is made in GitLab; the file says which");
    assert_eq!(sync["resource_group"], "azure-sync");
    assert_eq!(sync["interruptible"], false);
    assert_eq!(sync["cache"]["when"], "always");
    let file = text(&sync["variables"]["CHECKPOINT_FILE"]);
    assert!(file.starts_with(&format!("$CI_PROJECT_DIR/{}", text(&sync["cache"]["paths"][0]))), "{file}");
    assert_known(".gitlab-ci.yml", keys(&sync["variables"]), &["GIT_STRATEGY", "VERSION"]);
}

#[test]
fn in_gitlab_the_id_token_signs_in_from_a_file_that_nobody_else_reads() {
    let sync = &yaml(&read("examples/gitlab/.gitlab-ci.yml"))["sync"];
    assert_eq!(sync["id_tokens"]["AZURE_ID_TOKEN"]["aud"], "api://AzureADTokenExchange");
    assert_eq!(sync["variables"]["AZURE_CREDENTIAL"], "workload-identity");
    let script: Vec<&str> = list(&sync["script"]).iter().map(text).collect();
    let at = |part: &str| script.iter().position(|line| line.contains(part)).unwrap_or_else(|| panic!("no {part}"));
    assert!(at("umask 077") < at("\"$AZURE_ID_TOKEN\" >"));
    assert!(at("export AZURE_FEDERATED_TOKEN_FILE=") < at("./azure-incremental"));
}
