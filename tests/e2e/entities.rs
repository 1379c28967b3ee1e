//! Entities over Port's API: they are written as mapped, and Port reports the outcome of each.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sandbox::Sandbox;
use sandbox::expected::Scope;
use sandbox::faults::{Fault, Rule};
use sandbox::requests::Route;

use crate::harness::{DAY, Program, Run, Small, assert_equal, break_down, empty, of_resources, passing, start};

/// The bodies of the requests to a route so far.
fn asked(sandbox: &Sandbox, route: Route) -> Vec<String> {
    let entries = sandbox.requests().entries();
    let of_route = entries.iter().filter(|entry| entry.route == route);
    of_route.map(|entry| String::from_utf8(entry.body.to_vec()).unwrap()).collect()
}

async fn full(sandbox: &Sandbox, checkpoint: &Path) -> Run {
    Program::over_the_api(sandbox).checkpoint(checkpoint).env("SYNC_MODE", "full").run().await
}

fn file(sandbox: &Sandbox, name: &str) -> PathBuf {
    sandbox.directory().join(name)
}

/// A mapping for resources only, with this identifier and these additional lines of `mappings`.
fn mapping(sandbox: &Sandbox, identifier: &str, more: &str) -> PathBuf {
    let path = file(sandbox, "mapping.yml");
    let text = format!(
        "resources:\n- kind: resource\n  selector:\n    query: 'true'\n  port:\n    entity:\n      mappings:\n        \
         identifier: '{identifier}'\n        blueprint: '\"azureCloudResources\"'\n{more}"
    );
    std::fs::write(&path, text).unwrap();
    path
}

fn identifiers(sandbox: &Sandbox, blueprint: &str) -> Vec<String> {
    sandbox.port().with_catalog(|catalog| {
        catalog.entities.keys().filter(|key| key.0 == blueprint).map(|key| key.1.clone()).collect()
    })
}

#[tokio::test]
async fn a_full_run_writes_what_the_webhook_would_have_made_in_bulk_and_parents_first() {
    let sandbox = start(of_resources(120)).await;
    let checkpoint = file(&sandbox, "checkpoint");
    let run = full(&sandbox, &checkpoint).await.exits(0);
    assert_equal(&sandbox, &Scope::default(), &run).await;
    let bulks = asked(&sandbox, Route::PortBulk);
    assert!((8..=10).contains(&bulks.len()), "{}", bulks.len());
    assert!(sandbox.port().dangling().is_empty());
    let again = full(&sandbox, &checkpoint).await.exits(0);
    assert_eq!(again.count("upserts"), 0, "{again}");
    let idle = Program::over_the_api(&sandbox).checkpoint(&checkpoint).run().await.exits(0);
    assert_eq!(asked(&sandbox, Route::PortBulk).len(), bulks.len(), "nothing is written twice; {idle}");
}

#[tokio::test]
async fn what_changes_and_what_goes_is_written_and_deleted_under_its_own_name() {
    let small = Small::start().await;
    let sandbox = &small.sandbox;
    let checkpoint = file(sandbox, "checkpoint");
    full(sandbox, &checkpoint).await.exits(0);
    sandbox.estate().delete_resource(&small.vault);
    let run = Program::over_the_api(sandbox).checkpoint(&checkpoint).run().await.exits(0);
    assert_equal(sandbox, &Scope::default(), &run).await;
    assert_eq!(run.count("deletes"), 1, "{run}");
}

#[tokio::test]
async fn an_entity_whose_identifier_changes_is_deleted_under_its_old_one() {
    let small = Small::start().await;
    let sandbox = &small.sandbox;
    let checkpoint = file(sandbox, "checkpoint");
    let run =
        |mapping: PathBuf| Program::over_the_api(sandbox).checkpoint(&checkpoint).env("MAPPING_FILE", mapping).run();
    run(mapping(sandbox, ".name", "")).await.exits(0);
    assert_eq!(identifiers(sandbox, "azureCloudResources"), ["Vault-1"]);
    let renamed =
        run(mapping(sandbox, ".name | ascii_downcase", "")).await.exits(0).says(&["MAPPING_FILE has changed"]);
    assert_eq!(identifiers(sandbox, "azureCloudResources"), ["vault-1"], "{renamed}");
    let text =
        std::fs::read_to_string(mapping(sandbox, ".name | ascii_downcase", "")).unwrap().replace("'true'", "'false'");
    let none = file(sandbox, "none.yml");
    std::fs::write(&none, text).unwrap();
    let gone = run(none).await.exits(0);
    assert!(
        identifiers(sandbox, "azureCloudResources").is_empty(),
        "what a mapping no longer makes is deleted; {gone}"
    );
}

#[tokio::test]
async fn without_an_entry_a_delete_goes_by_what_the_record_tells() {
    let small = Small::start().await;
    let sandbox = &small.sandbox;
    let checkpoint = file(sandbox, "checkpoint");
    full(sandbox, &checkpoint).await.exits(0);
    std::fs::remove_file(&checkpoint).unwrap();
    sandbox.estate().delete_resource(&small.vault);
    let run = full(sandbox, &checkpoint).await.exits(0);
    assert_equal(sandbox, &Scope::default(), &run).await;
}

#[tokio::test]
async fn what_is_not_told_of_a_deleted_resource_is_left_and_counted() {
    let small = Small::start().await;
    let sandbox = &small.sandbox;
    let checkpoint = file(sandbox, "checkpoint");
    let by_name = mapping(sandbox, ".name + .location", "");
    let run = || Program::over_the_api(sandbox).checkpoint(&checkpoint).env("MAPPING_FILE", &by_name).run();
    run().await.exits(0);
    std::fs::remove_file(&checkpoint).unwrap();
    sandbox.estate().delete_resource(&small.vault);
    run().await.exits(0).says(&["1 deletes could not be made"]);
    assert_eq!(identifiers(sandbox, "azureCloudResources").len(), 1);
}

#[tokio::test]
async fn an_entity_that_port_rejects_is_a_dead_letter_and_the_others_are_written() {
    let mut settings = empty();
    settings.port.api.entities.bulk.illegal_fails_all = true;
    let small = Small::with(settings).await;
    let sandbox = &small.sandbox;
    sandbox.estate().create_resource(&small.group, "Microsoft.Web/sites", "a b", "eastus", None).unwrap();
    let (checkpoint, letters) = (file(sandbox, "checkpoint"), file(sandbox, "letters"));
    let run = || {
        Program::over_the_api(sandbox)
            .checkpoint(&checkpoint)
            .env("MAPPING_FILE", mapping(sandbox, ".name", ""))
            .env("DEAD_LETTER_FILE", &letters)
            .env("SYNC_MODE", "full")
            .run()
    };
    run().await.exits(4).says(&["Port rejected 1 changes individually"]);
    assert_eq!(identifiers(sandbox, "azureCloudResources"), ["Vault-1"]);
    let letter = std::fs::read_to_string(&letters).unwrap();
    assert!(letter.contains(r#""identifier":"a b""#) && letter.contains(r#""status":422"#), "{letter}");
    run().await.exits(4).says(&["that Port rejected in an earlier run were found again"]);
    assert_eq!(std::fs::read_to_string(&letters).unwrap().lines().count(), 1, "it is not posted again");
}

#[tokio::test]
async fn of_a_row_of_which_port_rejects_one_entity_the_other_is_written_whatever_comes_between() {
    let small = Small::start().await;
    let sandbox = &small.sandbox;
    sandbox.estate().create_resource(&small.group, "Microsoft.Web/sites", "site", "eastus", None).unwrap();
    let path = mapping(sandbox, ".name", "");
    let text = std::fs::read_to_string(&path).unwrap();
    let item = text.split_once('\n').unwrap().1;
    // The vault makes one entity and the site two, which go in two requests.
    let second = item.replace("'true'", "'.name == \"site\"'").replace("azureCloudResources", "azureResourceGroup");
    std::fs::write(&path, format!("{text}{}", second.replace("identifier: '.name'", "identifier: '\"second\"'")))
        .unwrap();
    sandbox.port().api_settings().entities.bulk.fails.push(("site".to_owned(), 422));
    break_down(sandbox, Route::PortBulk, Rule::new(passing(503)).containing("\"second\"").times(1));
    let run = Program::over_the_api(sandbox).env("MAPPING_FILE", &path).env("SYNC_MODE", "full").run().await.exits(4);
    assert_eq!(identifiers(sandbox, "azureCloudResources"), ["Vault-1"]);
    assert_eq!(identifiers(sandbox, "azureResourceGroup"), ["second"], "{run}");
}

#[tokio::test]
async fn what_relates_to_something_that_is_not_there_waits_for_it_and_then_pends() {
    let small = Small::start().await;
    let sandbox = &small.sandbox;
    let checkpoint = file(sandbox, "checkpoint");
    let relation = "        relations:\n          resourceGroup: .tags.owner\n";
    let run = || {
        let mapping = mapping(sandbox, ".name", relation);
        Program::over_the_api(sandbox).checkpoint(&checkpoint).env("MAPPING_FILE", mapping).run()
    };
    let tags = Some(std::sync::Arc::new(serde_json::json!({"owner": "nobody"})));
    sandbox.estate().create_resource(&small.group, "Microsoft.Web/sites", "site", "eastus", tags).unwrap();
    run().await.exits(1).says(&["not_found", "1 changes were not delivered"]);
    assert_eq!(identifiers(sandbox, "azureCloudResources"), ["Vault-1"]);
    // The next run asks for it again, although nothing has changed.
    run().await.exits(1).says(&["1 changes were not delivered"]);
}

#[tokio::test]
async fn a_token_that_is_refused_is_asked_for_anew_once() {
    let sandbox = start(of_resources(60)).await;
    break_down(&sandbox, Route::PortBulk, Rule::new(Fault::Revoked).times(1));
    let run = full(&sandbox, &file(&sandbox, "checkpoint")).await.exits(0);
    assert_equal(&sandbox, &Scope::default(), &run).await;
    assert_eq!(sandbox.port().tokens_given(), 2, "{run}");
}

#[tokio::test]
async fn wrong_credentials_end_a_run_with_ports_words_before_anything_is_read() {
    for status in [401, 404] {
        let mut settings = empty();
        settings.port.api.wrong_credentials = status;
        let sandbox = start(settings).await;
        let run = Program::over_the_api(&sandbox).env("PORT_CLIENT_SECRET", "marked-wrong-secret").run().await.exits(3);
        let run = run.says(&["PORT_CLIENT_ID and PORT_CLIENT_SECRET"]).does_not_say(&["marked-wrong-secret"]);
        assert!(asked(&sandbox, Route::Graph).is_empty(), "{run}");
    }
}

#[tokio::test]
async fn throttles_errors_and_answers_that_are_lost_delay_and_lose_nothing() {
    let sandbox = start(of_resources(200)).await;
    break_down(&sandbox, Route::PortBulk, Rule::new(passing(429)).times(2));
    break_down(&sandbox, Route::PortBulk, Rule::new(passing(503)).after(4).times(2));
    break_down(&sandbox, Route::PortBulk, Rule::new(Fault::Reset).after(8).times(2));
    let run = full(&sandbox, &file(&sandbox, "checkpoint")).await.exits(0);
    assert_equal(&sandbox, &Scope::default(), &run).await;
}

#[tokio::test]
async fn what_port_does_not_name_as_deleted_is_asked_for_alone_until_all_of_it_is_gone() {
    let mut settings = of_resources(60);
    settings.port.api.entities.bulk.spares = Some("/".into());
    let sandbox = start(settings).await;
    let checkpoint = file(&sandbox, "checkpoint");
    full(&sandbox, &checkpoint).await.exits(0);
    let resources: Vec<_> = sandbox.estate().resources().keys().cloned().collect();
    for id in &resources {
        sandbox.estate().delete_resource(id);
    }
    for fault in [passing(429), passing(503), Fault::Reset] {
        break_down(&sandbox, Route::PortDelete, Rule::new(fault).chance(0.07));
    }
    let run = Program::over_the_api(&sandbox).checkpoint(&checkpoint).run().await.exits(0);
    assert_equal(&sandbox, &Scope::default(), &run).await;
    let asked = asked(&sandbox, Route::PortDelete).len();
    assert!(asked < 2 * resources.len(), "{asked} requests; what is gone is not deleted again");
}

#[tokio::test]
async fn answers_are_matched_by_index_and_an_entity_that_none_tells_of_is_not_taken_for_written() {
    let mut settings = of_resources(60);
    settings.port.api.entities.bulk.reversed = true;
    settings.port.api.entities.bulk.forgets = Some("vaults".into());
    let sandbox = start(settings).await;
    let checkpoint = file(&sandbox, "checkpoint");
    let run = full(&sandbox, &checkpoint).await.exits(1).says(&["does not say what became of the entity"]);
    assert!(run.count("failed") > 0, "{run}");
    sandbox.port().api_settings().entities.bulk.forgets = None;
    let run = Program::over_the_api(&sandbox).checkpoint(&checkpoint).run().await.exits(0);
    assert_equal(&sandbox, &Scope::default(), &run).await;
}

#[tokio::test]
async fn a_blueprint_that_is_missing_is_named_and_nothing_is_taken_for_written() {
    let small = Small::start().await;
    let sandbox = &small.sandbox;
    let path = mapping(sandbox, ".name", "");
    std::fs::write(&path, std::fs::read_to_string(&path).unwrap().replace("azureCloudResources", "nonesuch")).unwrap();
    let run = Program::over_the_api(sandbox).env("MAPPING_FILE", &path).env("SYNC_MODE", "full").run().await.exits(1);
    run.says(&[
        "Blueprint with identifier \\\"nonesuch\\\" was not found",
        "check that the blueprints of MAPPING_FILE are there",
    ]);
}

#[tokio::test]
async fn only_the_columns_that_the_mapping_reads_are_asked_for() {
    let small = Small::start().await;
    let sandbox = &small.sandbox;
    let path = mapping(sandbox, ".name", "        title: .sku.name\n");
    Program::over_the_api(sandbox).env("MAPPING_FILE", &path).env("SYNC_MODE", "full").run().await.exits(0);
    let queries: Vec<String> =
        asked(sandbox, Route::Graph).into_iter().filter(|text| text.contains("rgTags, sku")).collect();
    assert!(!queries.is_empty());
    assert!(asked(sandbox, Route::Graph).iter().all(|text| !text.contains("rgTags, sku,") && !text.contains("zones")));
}

#[tokio::test]
async fn what_is_wrong_with_a_mapping_is_told_by_line_and_expression_before_anybody_is_asked() {
    let sandbox = start(empty()).await;
    let path = mapping(&sandbox, ".name | nonesuch", "        titel: .name\n");
    let run = Program::over_the_api(&sandbox).env("MAPPING_FILE", &path).run().await.exits(2);
    run.says(&["MAPPING_FILE", "line 8", "nonesuch", "line 10", "titel"]);
    assert!(asked(&sandbox, Route::PortToken).is_empty() && asked(&sandbox, Route::Token).is_empty());
    Program::over_the_api(&sandbox).env("MAPPING_FILE", "/nonesuch.yml").run().await.exits(2).says(&["/nonesuch.yml"]);
}

#[tokio::test]
async fn a_mapping_and_a_webhook_together_are_refused_and_so_is_a_mapping_without_credentials() {
    let sandbox = start(empty()).await;
    let both =
        Program::over_the_api(&sandbox).env("PORT_WEBHOOK_INGEST_URL", sandbox.webhook_url()).run().await.exits(2);
    both.says(&["MAPPING_FILE is set, and PORT_WEBHOOK_INGEST_URL as well"]);
    for name in ["PORT_CLIENT_ID", "PORT_CLIENT_SECRET"] {
        let without = Program::over_the_api(&sandbox).without(name).run().await.exits(2);
        without.says(&[&format!("{name} is not set")]);
    }
    let wrong = Program::over_the_api(&sandbox).env("PORT_BASE_URL", "http://api.example").run().await.exits(2);
    wrong.says(&["PORT_BASE_URL", "https"]);
}

#[tokio::test]
async fn a_dry_run_prints_each_entity_and_writes_none() {
    let small = Small::start().await;
    let run = Program::over_the_api(&small.sandbox)
        .without("PORT_CLIENT_ID")
        .without("PORT_CLIENT_SECRET")
        .env("SYNC_MODE", "full")
        .env("DRY_RUN", "true")
        .run()
        .await
        .exits(0);
    let lines: Vec<serde_json::Value> = run.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let blueprints: Vec<&str> = lines.iter().map(|line| line["blueprint"].as_str().unwrap()).collect();
    assert_eq!(blueprints, ["azureSubscription", "azureResourceGroup", "azureCloudResources"], "{run}");
    assert_eq!(lines[2]["entity"]["title"], "Vault-1");
    assert!(asked(&small.sandbox, Route::PortToken).is_empty());
}

#[tokio::test]
async fn further_columns_go_with_the_webhooks_envelopes() {
    let small = Small::start().await;
    let run = |columns: &'static str| Program::full(&small.sandbox).env("RESOURCE_COLUMNS", columns).run();
    run("properties, sku").await.exits(0);
    let envelopes = crate::harness::envelopes(&small.sandbox).await;
    let vault = envelopes.iter().find(|envelope| envelope.is_resource()).unwrap();
    assert!(vault.data["properties"].is_object(), "{}", vault.body);
    small.sandbox.clock().advance(DAY + Duration::from_secs(1));
    run("price").await.exits(2).says(&["RESOURCE_COLUMNS names \\\"price\\\"", "zones"]);
}

#[tokio::test]
async fn check_signs_in_to_port_and_looks_for_each_blueprint_of_the_mapping() {
    let small = Small::start().await;
    let sandbox = &small.sandbox;
    let right = Program::over_the_api(sandbox).args(["check"]).run().await.exits(0);
    right.says(&["signed in at", "azureCloudResources"]);
    let path = mapping(sandbox, ".name", "");
    std::fs::write(&path, std::fs::read_to_string(&path).unwrap().replace("azureCloudResources", "nonesuch")).unwrap();
    let wrong = Program::over_the_api(sandbox).env("MAPPING_FILE", &path).args(["check"]).run().await.exits(2);
    wrong.says(&["entities of blueprint nonesuch, which Port does not have"]);
    let refused =
        Program::over_the_api(sandbox).env("PORT_CLIENT_SECRET", "wrong").args(["check"]).run().await.exits(3);
    refused.says(&["check PORT_CLIENT_ID and PORT_CLIENT_SECRET"]);
    assert!(asked(sandbox, Route::PortBulk).is_empty(), "check writes nothing");
}
