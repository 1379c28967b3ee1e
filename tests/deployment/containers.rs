//! The image, and how to run it: Kubernetes, Docker Compose, Container Apps.

use regex::Regex;
use serde_json::{Value, json};

use super::{EVERY_15_MINUTES, assert_known, documents, keys, list, read, text, yaml};

const STATE: &str = "/var/lib/azure-incremental";

#[test]
fn the_image_is_empty_but_for_the_binary_and_does_not_run_as_root() {
    let source = read("Dockerfile").replace("\\\n", " ");
    let instructions: Vec<(&str, &str)> =
        source.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(' ')).collect();
    let last = instructions.iter().rposition(|(name, _)| *name == "FROM").unwrap();
    assert_eq!(instructions[last].1, "scratch");
    let of = |wanted: &str| -> Vec<&str> {
        instructions[last..].iter().filter(|(name, _)| *name == wanted).map(|(_, rest)| *rest).collect()
    };
    assert_eq!(of("USER"), ["65532:65532"]);
    assert_eq!(of("WORKDIR"), [STATE], "where the relative path of .env.example is");
    assert_eq!(of("ENTRYPOINT"), ["[\"/usr/local/bin/azure-incremental\"]"]);
    assert!(of("COPY").iter().any(|copy| copy.ends_with("/etc/ssl/certs/ca-certificates.crt")));
    assert!(of("COPY").iter().any(|copy| copy.ends_with(STATE) && copy.contains("--chown=65532:65532")));
    assert!(of("RUN").is_empty(), "there is no shell");
}

#[test]
fn every_base_image_is_pinned_by_its_exact_version() {
    let version = Regex::new(r"^[a-z]+:\d+\.\d+\.\d+(-alpine\d+\.\d+)?$").unwrap();
    let source = read("Dockerfile");
    let from = Regex::new(r"(?m)^FROM (?:--platform=\S+ )?(\S+)").unwrap();
    for found in from.captures_iter(&source) {
        assert!(&found[1] == "scratch" || version.is_match(&found[1]), "{}", &found[1]);
    }
    let gitlab = yaml(&read("examples/gitlab/.gitlab-ci.yml"));
    assert!(version.is_match(text(&gitlab["sync"]["image"])));
}

#[test]
fn what_the_image_is_built_from_is_all_that_the_builder_is_sent() {
    let ignored = read(".dockerignore");
    let sent: Vec<&str> = ignored.lines().filter_map(|line| line.strip_prefix('!')).collect();
    assert!(ignored.lines().any(|line| line == "*"));
    let source = read("Dockerfile");
    let copied: Vec<&str> = source
        .lines()
        .filter_map(|line| line.strip_prefix("COPY "))
        .filter(|rest| !rest.starts_with("--"))
        .flat_map(|rest| rest.split(' ').rev().skip(1))
        .collect();
    assert!(copied.len() >= 6);
    assert!(copied.iter().all(|path| sent.contains(path)), "copied {copied:?}, sent {sent:?}");
    assert!(sent.iter().all(|path| copied.contains(path)), "sent {sent:?}, copied {copied:?}");
}

fn manifest(kind: &str) -> Value {
    let found = documents(&read("examples/kubernetes/cronjob.yaml"));
    found.into_iter().find(|document| document["kind"] == kind).unwrap_or_else(|| panic!("no {kind}"))
}

#[test]
fn in_kubernetes_no_two_runs_overlap_and_none_is_tried_again() {
    let spec = &manifest("CronJob")["spec"];
    assert_eq!(spec["schedule"], EVERY_15_MINUTES);
    assert_eq!(spec["concurrencyPolicy"], "Forbid");
    // Below 200 seconds, a controller that checks every 10 s may never start a job; above the interval, ticks would
    // pile up.
    assert!(spec["startingDeadlineSeconds"].as_u64().is_some_and(|seconds| (200..900).contains(&seconds)));
    let job = &spec["jobTemplate"]["spec"];
    assert_eq!(job["backoffLimit"], 0);
    assert_eq!(job["template"]["spec"]["restartPolicy"], "Never");
}

#[test]
fn in_kubernetes_the_container_has_no_rights_and_bounded_resources() {
    let job = manifest("CronJob");
    let pod = &job["spec"]["jobTemplate"]["spec"]["template"];
    let spec = &pod["spec"];
    assert_eq!(pod["metadata"]["labels"]["azure.workload.identity/use"], "true");
    assert_eq!(spec["securityContext"]["runAsNonRoot"], true);
    assert_eq!(spec["securityContext"]["runAsUser"], 65532);
    assert_eq!(spec["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    assert_eq!(spec["automountServiceAccountToken"], false);
    assert_eq!(spec["serviceAccountName"], manifest("ServiceAccount")["metadata"]["name"]);
    let container = &spec["containers"][0];
    let expected = json!({
        "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": { "drop": ["ALL"] }
    });
    assert_eq!(container["securityContext"], expected);
    assert_eq!(container["resources"]["limits"]["memory"], "192Mi");
    assert_eq!(container["volumeMounts"][0]["mountPath"], STATE);
    let claim = &spec["volumes"][0]["persistentVolumeClaim"]["claimName"];
    assert_eq!(*claim, manifest("PersistentVolumeClaim")["metadata"]["name"]);
    assert_known("cronjob.yaml", list(&container["env"]).iter().map(|entry| text(&entry["name"])), &[]);
}

#[test]
fn a_run_ends_by_itself_before_it_is_ended() {
    let job = manifest("CronJob");
    let spec = &job["spec"]["jobTemplate"]["spec"];
    let environment = list(&spec["template"]["spec"]["containers"][0]["env"]);
    let timeout = environment.iter().find(|entry| entry["name"] == "RUN_TIMEOUT_SECONDS").unwrap();
    let timeout: u64 = text(&timeout["value"]).parse().unwrap();
    assert!(timeout + 60 <= spec["activeDeadlineSeconds"].as_u64().unwrap());

    let bicep = read("examples/container-apps/main.bicep");
    let number = |pattern: &str| -> u64 { Regex::new(pattern).unwrap().captures(&bicep).unwrap()[1].parse().unwrap() };
    let (timeout, limit) = (number(r"'RUN_TIMEOUT_SECONDS', value: '(\d+)'"), number(r"replicaTimeout: (\d+)"));
    assert!(timeout + 60 <= limit && limit <= 900, "the next run of Container Apps does not wait for this one");
}

#[test]
fn with_compose_the_container_has_no_rights() {
    let compose = yaml(&read("examples/compose/compose.yaml"));
    let service = &compose["services"]["azure-incremental"];
    assert_eq!(service["read_only"], true);
    assert_eq!(service["user"], "65532:65532");
    assert_eq!(service["cap_drop"], json!(["ALL"]));
    assert_eq!(service["security_opt"], json!(["no-new-privileges:true"]));
    assert_eq!(service["restart"], "no");
    assert_eq!(service["volumes"], json!([format!("state:{STATE}")]));
    assert!(text(&service["environment"]["CHECKPOINT_FILE"]).starts_with(STATE));
    assert_known("compose.yaml", keys(&service["environment"]), &[]);
    assert!(read("examples/compose/compose.yaml").contains(&format!("#   {EVERY_15_MINUTES} ")));
}

#[test]
fn in_container_apps_one_run_every_15_minutes_keeps_its_checkpoint_and_its_secrets() {
    let bicep = read("examples/container-apps/main.bicep");
    for expected in [
        "cronExpression: '*/15 * * * *'",
        "parallelism: 1",
        "replicaRetryLimit: 0",
        "storageType: 'AzureFile'",
        "type: 'UserAssigned'",
        "{ name: 'PORT_WEBHOOK_INGEST_URL', secretRef: 'port-webhook-ingest-url' }",
        "@secure()\nparam portWebhookIngestUrl string\n",
        "@secure()\nparam portWebhookSecret string = ''\n",
    ] {
        assert!(bicep.contains(expected), "{expected}");
    }
    let name = Regex::new(r"name: '([A-Z][A-Z_]+)'").unwrap();
    let names: Vec<_> = name.captures_iter(&bicep).map(|found| found[1].to_owned()).collect();
    assert_known("main.bicep", names.iter().map(String::as_str), &[]);
    assert!(!Regex::new(r"output .*(?i:key|secret|url)").unwrap().is_match(&bicep));
}
