//! `VERIFY`: posts to the webhook are read back over Port's API until the catalog shows them.

use std::path::PathBuf;
use std::time::Duration;

use sandbox::Sandbox;
use sandbox::faults::{Fault, Rule};
use sandbox::names::tags;
use sandbox::requests::Route;
use sandbox::settings::{MAPPING, MAPPING_BATCH, Settings};
use serde_json::Value as Json;

use crate::harness::{Program, Run, Small, empty, of_resources, start};

const RESOURCES: &str = "azureCloudResources";

/// How the example mapping makes identifiers.
const ESCAPED: &str =
    r#".body.data.resourceId | gsub(\"(?<c>[^\\\\p{L}0-9@_.+:/-])\"; \"=\" + (.c | explode[0] | tostring) + \"=\")"#;

fn verifying(sandbox: &Sandbox) -> Program {
    let program =
        sandbox.port_env().into_iter().fold(Program::new(sandbox), |run, (name, value)| run.env(&name, value));
    program.env("VERIFY", "true")
}

/// With a checkpoint and a dead-letter file.
fn remembering(sandbox: &Sandbox) -> (Program, PathBuf) {
    let letters = sandbox.directory().join("letters");
    let program = verifying(sandbox).checkpoint(&sandbox.directory().join("checkpoint"));
    (program.env("DEAD_LETTER_FILE", &letters), letters)
}

fn with_mapping(mapping: String) -> Settings {
    let mut settings = empty();
    settings.port.mapping = mapping;
    settings
}

fn set_lag(sandbox: &Sandbox, lag: Duration) {
    sandbox.port().api_settings().webhooks.lag = lag;
}

fn holds(sandbox: &Sandbox, identifier: &str) -> bool {
    sandbox.port().with_catalog(|catalog| catalog.entities.contains_key(&(RESOURCES.to_owned(), identifier.to_owned())))
}

/// The number of requests to a route.
fn asked(sandbox: &Sandbox, route: Route) -> usize {
    sandbox.requests().entries().iter().filter(|entry| entry.route == route).count()
}

fn letters(file: &PathBuf) -> Vec<Json> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn a_run_ends_once_the_catalog_shows_all_that_it_posted() {
    for (payload, mapping) in [("single", MAPPING), ("batch", MAPPING_BATCH)] {
        let mut settings = of_resources(150);
        settings.port.mapping = mapping.to_owned();
        let sandbox = start(settings).await;
        set_lag(&sandbox, Duration::from_millis(700));
        let run =
            verifying(&sandbox).env("SYNC_MODE", "full").env("PORT_WEBHOOK_PAYLOAD", payload).run().await.exits(0);
        // Read without waiting for the queue.
        assert_eq!(sandbox.port().with_catalog(|catalog| catalog.count(RESOURCES)), 150, "{run}");
        let (posts, looks) = (asked(&sandbox, Route::Webhook), asked(&sandbox, Route::PortSearch));
        assert!(looks < 60, "{payload}: all posts look together: {looks} looks at {posts} posts");
    }
}

#[tokio::test]
async fn a_delete_counts_once_it_is_gone() {
    let small = Small::start().await;
    let sandbox = &small.sandbox;
    remembering(sandbox).0.env("SYNC_MODE", "full").run().await.exits(0);
    assert!(holds(sandbox, &small.vault.to_lowercase()));
    sandbox.estate().delete_resource(&small.vault);
    set_lag(sandbox, Duration::from_secs(1));
    let run = remembering(sandbox).0.run().await.exits(0);
    assert_eq!(run.count("deletes"), 1, "{run}");
    assert!(!holds(sandbox, &small.vault.to_lowercase()));
}

#[tokio::test]
async fn what_ports_mapping_refuses_is_a_dead_letter_with_ports_reason() {
    let small = Small::with(with_mapping(MAPPING.replace(ESCAPED, ".body.data.resourceId"))).await;
    let sandbox = &small.sandbox;
    sandbox.estate().create_resource(&small.group, "a/b", "With space", "eastus", None).unwrap();
    sandbox.clock().advance(Duration::from_secs(3600));
    let (run, file) = remembering(sandbox);
    let run = run.env("SYNC_MODE", "full").run().await.exits(4);
    let run = run.tells(&["Port rejected 1 changes individually"]).says(&["illegal identifier", "did not apply it"]);
    assert!(run.took < Duration::from_secs(60), "the audit log tells before the time is over; {run}");
    let letters = letters(&file);
    assert_eq!(letters.len(), 1, "{run}");
    assert!(letters[0].to_string().contains("illegal identifier"), "{letters:?}");
    assert!(holds(sandbox, &small.vault.to_lowercase()), "{run}");
    let posts = asked(sandbox, Route::Webhook);
    let again = remembering(sandbox).0.env("SYNC_MODE", "full").run().await.exits(4);
    assert_eq!(asked(sandbox, Route::Webhook), posts, "what is refused is not posted again; {again}");
}

/// A first run whose post shows only after the timeout.
async fn late(small: &Small) -> Run {
    let sandbox = &small.sandbox;
    set_lag(sandbox, Duration::from_secs(8));
    let run = remembering(sandbox).0.env("SYNC_MODE", "full").env("VERIFY_TIMEOUT_SECONDS", "1").run().await;
    run.exits(4)
}

#[tokio::test]
async fn what_does_not_show_in_time_is_posted_again_in_the_next_run() {
    let small = Small::start().await;
    let sandbox = &small.sandbox;
    let run = late(&small).await.tells(&["3 changes were taken by Port and do not show in its catalog"]);
    assert_eq!((run.count("upserts"), run.count("failed"), run.count("inDoubt")), (0, 3, 3), "{run}");
    let run = run.says(&["is not there; its audit log does not say why"]);
    assert!(letters(&remembering(sandbox).1).is_empty(), "it may still come; {run}");
    set_lag(sandbox, Duration::ZERO);
    let run = remembering(sandbox).0.run().await.exits(0);
    assert_eq!((run.count("upserts"), run.count("inDoubt")), (3, 0), "{run}");
}

#[tokio::test]
async fn what_port_takes_and_loses_is_posted_until_it_is_there() {
    let small = Small::start().await;
    let sandbox = &small.sandbox;
    let taken = Fault::Status { status: 202, headers: Vec::new(), body: r#"{"ok":true}"#.to_owned() };
    sandbox.faults().add(Route::Webhook, Rule::new(taken).after(2).times(1));
    let full = || remembering(sandbox).0.env("SYNC_MODE", "full").env("VERIFY_TIMEOUT_SECONDS", "1").run();
    let run = full().await.exits(4);
    assert_eq!((run.count("upserts"), run.count("inDoubt")), (2, 1), "{run}");
    assert!(!holds(sandbox, &small.vault.to_lowercase()));
    let run = remembering(sandbox).0.run().await.exits(0);
    assert!(holds(sandbox, &small.vault.to_lowercase()), "{run}");
}

#[tokio::test]
async fn an_audit_log_that_may_not_be_read_is_said_so() {
    let small = Small::start().await;
    small.sandbox.faults().add(Route::PortAudit, Rule::new(Fault::status(403)));
    late(&small).await.says(&["these credentials may not read its audit log, which says why"]);
    assert_eq!(asked(&small.sandbox, Route::PortAudit), 1);
}

#[tokio::test]
async fn fields_that_show_other_values_are_named() {
    let small = Small::start().await;
    let sandbox = &small.sandbox;
    remembering(sandbox).0.env("SYNC_MODE", "full").run().await.exits(0);
    sandbox.estate().retag_resource(&small.vault, tags(&[("colour", "blue")]));
    set_lag(sandbox, Duration::from_secs(8));
    let run = remembering(sandbox).0.env("VERIFY_TIMEOUT_SECONDS", "1").run().await.exits(4);
    run.says(&["has other values in properties.tags"]);
}

#[tokio::test]
async fn an_envelope_that_the_mapping_leaves_out_is_no_failure_and_one_that_it_cannot_make_is_one() {
    let of_type = r#".body.type == \"resource\" and .body.operation == \"upsert\""#;
    let left_out = format!(r#"{of_type} and .body.data.name != \"Vault-1\""#);
    let small = Small::with(with_mapping(MAPPING.replace(of_type, &left_out))).await;
    remembering(&small.sandbox).0.env("SYNC_MODE", "full").run().await.exits(0);
    assert!(!holds(&small.sandbox, &small.vault.to_lowercase()));
    let small = Small::with(with_mapping(MAPPING.replacen(ESCAPED, ".body.data.nothing", 1))).await;
    let run = remembering(&small.sandbox).0.env("SYNC_MODE", "full").run().await.exits(4);
    run.says(&["the webhook's mapping makes nothing of it: azureCloudResources: no identifier"]);
}

#[tokio::test]
async fn a_catalog_in_which_nothing_shows_does_not_cost_the_whole_time_for_each_post() {
    let sandbox = start(of_resources(40)).await;
    set_lag(&sandbox, Duration::from_secs(300));
    let run = verifying(&sandbox)
        .env("SYNC_MODE", "full")
        .env("PORT_WEBHOOK_CONCURRENCY", "1")
        .env("VERIFY_TIMEOUT_SECONDS", "2");
    let run = run.run().await.exits(4);
    assert!(run.took < Duration::from_secs(30), "{run}");
}

#[tokio::test]
async fn the_webhook_has_to_be_one_of_ports() {
    let small = Small::start().await;
    let posts = || asked(&small.sandbox, Route::Webhook);
    let url = |key: &str| {
        let env = small.sandbox.env();
        let (_, url) = env.iter().find(|(name, _)| *name == "PORT_WEBHOOK_INGEST_URL").unwrap();
        format!("{}/{key}", url.rsplit_once('/').unwrap().0)
    };
    let run = verifying(&small.sandbox).env("PORT_WEBHOOK_INGEST_URL", url("another")).run().await.exits(2);
    run.tells(&["no webhook in Port has the URL PORT_WEBHOOK_INGEST_URL"]);
    verifying(&small.sandbox).env("PORT_CLIENT_SECRET", "wrong").run().await.exits(3);
    assert_eq!(posts(), 0, "it is known before anything is posted");
}

#[tokio::test]
async fn check_looks_for_the_webhook_and_settings_that_do_not_fit_are_named() {
    let small = Small::start().await;
    verifying(&small.sandbox).args(["check"]).run().await.exits(0).says(&["what is posted can be read back"]);
    let wrong = verifying(&small.sandbox).env("PORT_CLIENT_SECRET", "wrong").args(["check"]).run().await.exits(3);
    wrong.says(&["check PORT_CLIENT_ID and PORT_CLIENT_SECRET"]);
    let alone = Program::new(&small.sandbox).env("VERIFY", "true").run().await.exits(2);
    alone.says(&["PORT_CLIENT_ID is not set"]);
    let mapped = Program::over_the_api(&small.sandbox).env("VERIFY", "true").run().await.exits(2);
    mapped.says(&["VERIFY is for a webhook"]);
}
