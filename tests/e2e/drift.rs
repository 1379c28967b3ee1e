//! `drift`: reports the differences between catalog and estate, and changes nothing.

use std::path::PathBuf;

use reqwest::{Client, Method};
use sandbox::faults::{Fault, Rule};
use sandbox::requests::Route;
use sandbox::settings::{PORT_CLIENT_ID, PORT_CLIENT_SECRET};
use sandbox::{Host, Sandbox};
use serde_json::{Value as Json, json};
use tokio::process::Command;

use crate::harness::{Program, Run, Small, break_down, of_resources, settled, start};

const RESOURCES: &str = "azureCloudResources";

fn drift_of(program: Program) -> Program {
    program.args(["drift"])
}

/// With the example mapping, over the API.
async fn drift(sandbox: &Sandbox) -> Run {
    drift_of(Program::over_the_api(sandbox)).run().await
}

/// With the webhook's own mapping.
fn drift_of_webhook(sandbox: &Sandbox) -> Program {
    let program = drift_of(Program::new(sandbox));
    sandbox.port_env().into_iter().fold(program, |program, (name, value)| program.env(&name, value))
}

async fn written(sandbox: &Sandbox) {
    Program::over_the_api(sandbox).env("SYNC_MODE", "full").run().await.exits(0);
}

async fn posted(sandbox: &Sandbox) {
    Program::full(sandbox).run().await.exits(0);
    sandbox.port().settle().await;
}

/// A number of a blueprint.
fn number(run: &Run, blueprint: &str, name: &str) -> u64 {
    run.report()["blueprints"][blueprint][name].as_u64().unwrap_or_else(|| panic!("no {blueprint}.{name}; {run}"))
}

/// The identifiers listed under this name.
fn listed(run: &Run, name: &str) -> Vec<String> {
    let report = run.report();
    let list = report[name].as_array().unwrap_or_else(|| panic!("no list {name}; {run}"));
    list.iter().map(|one| one["identifier"].as_str().unwrap().to_owned()).collect()
}

/// A user who changes things in Port.
struct User<'a> {
    sandbox: &'a Sandbox,
    client: Client,
    token: String,
}

impl<'a> User<'a> {
    async fn of(sandbox: &'a Sandbox) -> Self {
        let mut user = Self { sandbox, client: sandbox.client().unwrap().build().unwrap(), token: String::new() };
        let credentials = json!({"clientId": PORT_CLIENT_ID, "clientSecret": PORT_CLIENT_SECRET});
        let answer = user.ask(Method::POST, "/v1/auth/access_token", &credentials).await;
        user.token = answer["accessToken"].as_str().unwrap().to_owned();
        user
    }

    async fn ask(&self, method: Method, path: &str, body: &Json) -> Json {
        let url = self.sandbox.origin(Host::PortApi) + path;
        let request = self.client.request(method, url).bearer_auth(&self.token).body(body.to_string());
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.text().await.unwrap());
        serde_json::from_str(&answer.text().await.unwrap()).unwrap()
    }

    /// Writes some fields of an entity.
    async fn write(&self, entity: &Json) {
        let path = format!("/v1/blueprints/{RESOURCES}/entities?upsert=true&merge=true");
        self.ask(Method::POST, &path, entity).await;
    }
}

fn file(sandbox: &Sandbox, name: &str) -> PathBuf {
    sandbox.directory().join(name)
}

/// A mapping for resources only, with these lines of `mappings` after the blueprint.
fn mapping(sandbox: &Sandbox, identifier: &str, more: &str) -> PathBuf {
    let path = file(sandbox, "mapping.yml");
    let text = format!(
        "resources:\n- kind: resource\n  selector:\n    query: 'true'\n  port:\n    entity:\n      mappings:\n        \
         identifier: '{identifier}'\n        blueprint: '\"{RESOURCES}\"'\n{more}"
    );
    std::fs::write(&path, text).unwrap();
    path
}

/// The number of requests so far that change something in Port.
fn writes(sandbox: &Sandbox) -> usize {
    let entries = sandbox.requests().entries();
    let routes = [Route::PortBulk, Route::PortDelete, Route::PortEntity, Route::Webhook];
    entries.iter().filter(|entry| routes.contains(&entry.route)).count()
}

#[tokio::test]
async fn after_a_run_over_the_api_both_are_equal_and_nothing_is_written() {
    let sandbox = start(of_resources(120)).await;
    let checkpoint = file(&sandbox, "checkpoint");
    let run = Program::over_the_api(&sandbox).checkpoint(&checkpoint).env("SYNC_MODE", "full").run();
    run.await.exits(0);
    let (before, kept) = (writes(&sandbox), std::fs::read(&checkpoint).unwrap());
    let run = drift_of(Program::over_the_api(&sandbox)).checkpoint(&checkpoint).run().await.exits(0);
    assert_eq!(
        ["azure", "port", "same", "extra"].map(|name| number(&run, RESOURCES, name)),
        [120, 120, 120, 0],
        "{run}"
    );
    assert_eq!(number(&run, "azureSubscription", "same"), 2, "{run}");
    assert_eq!(writes(&sandbox), before, "nothing is written to Port");
    assert!(std::fs::read(&checkpoint).unwrap() == kept, "nor to the checkpoint");
}

#[tokio::test]
async fn after_a_run_over_the_webhook_both_are_equal_by_its_own_mapping() {
    for payload in ["single", "batch"] {
        let mut settings = of_resources(30);
        if payload == "batch" {
            settings.port.mapping = sandbox::settings::MAPPING_BATCH.to_owned();
        }
        let sandbox = start(settings).await;
        Program::full(&sandbox).env("PORT_WEBHOOK_PAYLOAD", payload).run().await.exits(0);
        sandbox.port().settle().await;
        let before = sandbox.port().received();
        let run = drift_of_webhook(&sandbox).env("PORT_WEBHOOK_PAYLOAD", payload).run().await.exits(0);
        assert_eq!(["azure", "port", "same"].map(|name| number(&run, RESOURCES, name)), [30, 30, 30], "{run}");
        assert_eq!(sandbox.port().received(), before, "nothing is posted");
    }
}

#[tokio::test]
async fn what_is_missing_different_or_extra_is_told_with_both_values() {
    let small = Small::start().await;
    let sandbox = &small.sandbox;
    written(sandbox).await;
    let user = User::of(sandbox).await;
    user.write(&json!({"identifier": "stray", "title": "Stray"})).await;
    user.write(&json!({"identifier": &*small.vault.to_lowercase(), "properties": {"location": "moon"},
        "relations": {"resourceGroup": null}}))
        .await;
    let late = sandbox.estate().create_resource(&small.group, "a/b", "Late", "eastus", None).unwrap();
    let run = drift(sandbox).await.exits(5);
    assert_eq!(listed(&run, "missing"), [late.to_lowercase()], "{run}");
    assert_eq!(listed(&run, "extra"), ["stray"], "{run}");
    assert_eq!(listed(&run, "different"), [small.vault.to_lowercase()], "{run}");
    let fields = &run.report()["different"][0]["fields"];
    let group = json!({"azure": small.group.to_lowercase(), "port": null});
    assert_eq!(
        *fields,
        json!({"properties.location": {"azure": "eastus", "port": "moon"}, "relations.resourceGroup": group}),
        "{run}"
    );
    written(sandbox).await;
    let text = drift_of(Program::over_the_api(sandbox)).env("LOG_FORMAT", "text").run().await.exits(5);
    text.says(&["extra in Port: 1", &format!("  {RESOURCES} stray"), "different: Port does not hold what Azure has"])
        .does_not_say(&["missing in Port", "moon"]);
}

#[tokio::test]
async fn null_is_absence_on_either_side() {
    let small = Small::start().await;
    let sandbox = &small.sandbox;
    written(sandbox).await;
    assert!(sandbox.port().with_catalog(|catalog| catalog.count(RESOURCES)) == 1);
    drift(sandbox).await.exits(0);
    let user = User::of(sandbox).await;
    user.write(&json!({"identifier": &*small.vault.to_lowercase(), "properties": {"tags": {"a": "b"}}})).await;
    let run = drift(sandbox).await.exits(5);
    let tags = &run.report()["different"][0]["fields"]["properties.tags"];
    assert_eq!(*tags, json!({"azure": null, "port": {"a": "b"}}), "{run}");
}

#[tokio::test]
async fn ten_examples_of_each_kind_are_shown_or_all() {
    let sandbox = start(of_resources(30)).await;
    let run = drift(&sandbox).await.exits(5);
    assert_eq!((number(&run, RESOURCES, "missing"), listed(&run, "missing").len()), (30, 10), "{run}");
    let all = drift_of(Program::over_the_api(&sandbox)).args(["--all"]).run().await.exits(5);
    assert_eq!(listed(&all, "missing").len(), 40, "subscriptions, groups and resources; {all}");
    let text = drift_of(Program::over_the_api(&sandbox)).env("LOG_FORMAT", "text").run().await.exits(5);
    text.says(&["missing in Port: 40", "and 30 more; --all prints them"]);
}

#[tokio::test]
async fn what_port_would_refuse_is_told_with_why() {
    let small = Small::start().await;
    let sandbox = &small.sandbox;
    sandbox.estate().create_resource(&small.group, "a/b", "With space", "eastus", None).unwrap();
    let by_name = mapping(sandbox, ".name", "");
    let run = drift_of(Program::over_the_api(sandbox)).env("MAPPING_FILE", by_name).run().await.exits(5);
    assert_eq!(run.report()["refused"], 1, "{run}");
    let refusal = &run.report()["refusals"][0];
    assert_eq!(refusal["identifier"], "With space", "{run}");
    assert!(refusal["why"].as_str().unwrap().contains("' '"), "{run}");
    let of_type =
        mapping(sandbox, ".name | gsub(\" \"; \"_\")", "        properties:\n          location: .name | length\n");
    let run = drift_of(Program::over_the_api(sandbox)).env("MAPPING_FILE", of_type).run().await.exits(5);
    assert_eq!(run.report()["refused"], 2, "a number is no location; {run}");
}

#[tokio::test]
async fn a_property_and_a_blueprint_that_port_does_not_have_are_told() {
    let small = Small::start().await;
    let sandbox = &small.sandbox;
    let odd = mapping(sandbox, ".name", "        properties:\n          colour: .location\n");
    let run = drift_of(Program::over_the_api(sandbox)).env("MAPPING_FILE", &odd).run().await.exits(5);
    run.says(&["blueprint azureCloudResources has no property colour, which the mapping sets"]);
    let text = std::fs::read_to_string(&odd).unwrap().replace(RESOURCES, "none");
    std::fs::write(&odd, text).unwrap();
    let run = drift_of(Program::over_the_api(sandbox)).env("MAPPING_FILE", &odd).run().await.exits(5);
    let run = run.says(&["Port has no blueprint none"]);
    assert_eq!(number(&run, "none", "missing"), 1, "{run}");
}

#[tokio::test]
async fn a_blueprint_that_a_row_names_is_read_when_it_shows() {
    let small = Small::start().await;
    let sandbox = &small.sandbox;
    let path = mapping(sandbox, ".name", "        title: .name\n");
    let text = std::fs::read_to_string(&path).unwrap().replace(
        "'\"azureCloudResources\"'",
        "if .type == \"microsoft.keyvault/vaults\" then \"azureCloudResources\" else \"azureResourceGroup\" end",
    );
    std::fs::write(&path, text).unwrap();
    Program::over_the_api(sandbox).env("MAPPING_FILE", &path).env("SYNC_MODE", "full").run().await.exits(0);
    let run = drift_of(Program::over_the_api(sandbox)).env("MAPPING_FILE", &path).run().await.exits(0);
    assert_eq!(number(&run, RESOURCES, "same"), 1, "{run}");
}

#[tokio::test]
async fn a_resource_that_several_parts_of_a_mapping_make_is_compared_by_each() {
    let small = Small::start().await;
    let sandbox = &small.sandbox;
    let path = mapping(sandbox, ".name", "        title: .name\n");
    let text = std::fs::read_to_string(&path).unwrap();
    let (_, first) = text.split_once("resources:\n").unwrap();
    let second = first.replace("        title: .name\n", "        properties:\n          location: .location\n");
    std::fs::write(&path, format!("{text}{second}")).unwrap();
    Program::over_the_api(sandbox).env("MAPPING_FILE", &path).env("SYNC_MODE", "full").run().await.exits(0);
    let drift = || drift_of(Program::over_the_api(sandbox)).env("MAPPING_FILE", &path).run();
    let run = drift().await.exits(0);
    assert_eq!(["azure", "port", "same"].map(|name| number(&run, RESOURCES, name)), [1, 1, 1], "{run}");
    User::of(sandbox).await.write(&json!({"identifier": "Vault-1", "properties": {"location": "moon"}})).await;
    let run = drift().await.exits(5);
    assert_eq!(["same", "different"].map(|name| number(&run, RESOURCES, name)), [0, 1], "{run}");
}

#[tokio::test]
async fn what_a_user_changes_in_the_webhooks_mapping_counts() {
    let small = Small::start().await;
    let sandbox = &small.sandbox;
    posted(sandbox).await;
    drift_of_webhook(sandbox).run().await.exits(0);
    let user = User::of(sandbox).await;
    let webhooks = user.ask(Method::GET, "/v1/webhooks", &Json::Null).await;
    let webhook = &webhooks["integrations"][0];
    let path = format!("/v1/webhooks/{}", webhook["identifier"].as_str().unwrap());
    let changed = async |location: &str| {
        let mut mappings = webhook["mappings"].clone();
        for entry in mappings.as_array_mut().unwrap() {
            if entry["blueprint"] == RESOURCES && entry["operation"] == "create" {
                entry["entity"]["properties"]["location"] = location.into();
            }
        }
        user.ask(Method::PATCH, &path, &json!({"mappings": mappings})).await;
        let run = drift_of_webhook(sandbox).run().await.exits(5);
        let location = run.report()["different"][0]["fields"]["properties.location"].clone();
        (location, run)
    };
    let (location, run) = changed(".body.data.location + '!'").await;
    assert_eq!(location, json!({"azure": "eastus!", "port": "eastus"}), "{run}");
    // Port reads a `'` as a quote only at the edge of a word.
    let (location, run) = changed(".body.data.location | split('/') | .[0]").await;
    assert_eq!(location, json!({"azure": null, "port": "eastus"}), "{run}");
    run.says(&["entity.properties.location for null: "]);
    user.ask(Method::PATCH, &path, &json!({"enabled": false})).await;
    drift_of_webhook(sandbox).run().await.says(&["is disabled: Port drops what is posted to it"]);
}

#[tokio::test]
async fn what_pages_lost_while_entities_came_and_went_is_not_missing() {
    let mut settings = settled();
    settings.port.api.reading.pages_by_offset = true;
    settings.estate.resources = 1_100;
    let sandbox = start(settings).await;
    written(&sandbox).await;
    // As if one entity had moved to a page that was already read, and another had come twice.
    let shifted = Fault::edit(|answer| {
        let mut answer: Json = serde_json::from_str(&answer).unwrap();
        let entities = answer["entities"].as_array_mut().unwrap();
        let second = entities[1].clone();
        entities[0] = second;
        answer.to_string()
    });
    break_down(
        &sandbox,
        Route::PortSearch,
        Rule::new(shifted).when(|body| body.windows(6).any(|part| part == b"\"from\"")),
    );
    let run = drift(&sandbox).await.exits(0);
    assert_eq!(["azure", "same", "missing"].map(|name| number(&run, RESOURCES, name)), [1_100, 1_100, 0], "{run}");
}

#[tokio::test]
async fn pages_that_lead_in_a_circle_are_an_error() {
    let small = Small::start().await;
    // A cursor that starts the sandbox over again.
    let circle = Fault::edit(|answer| answer.replacen('{', "{\"next\":\"6e30\",", 1));
    break_down(&small.sandbox, Route::PortSearch, Rule::new(circle));
    let run = drift(&small.sandbox).await.exits(1);
    run.says(&["its pages lead in a circle"]);
}

#[tokio::test]
async fn where_azure_cannot_be_read_nothing_is_said_of_extra() {
    let sandbox = start(of_resources(20)).await;
    written(&sandbox).await;
    let guid = sandbox.estate().subscriptions()[0].guid.to_string();
    break_down(&sandbox, Route::Graph, Rule::new(Fault::status(403)).naming(&guid));
    let run = drift(&sandbox).await.exits(1);
    assert_eq!(run.report()["extra"], Json::Null, "{run}");
    assert_eq!(number(&run, RESOURCES, "different"), 0, "{run}");
    assert!(!run.errors().is_empty(), "{run}");
}

#[tokio::test]
async fn what_may_be_of_a_subscription_that_is_not_looked_at_is_not_extra() {
    let sandbox = start(of_resources(20)).await;
    written(&sandbox).await;
    let guid = sandbox.estate().subscriptions()[0].guid.to_string();
    sandbox.estate().never_know(&guid);
    let run = drift(&sandbox).await.exits(0);
    assert_eq!(number(&run, RESOURCES, "extra"), 0, "{run}");
    assert!(number(&run, RESOURCES, "same") < 20, "{run}");
    let run = run.says(&["1 subscriptions could not be read whole", &guid]);
    drop(run);
    let of_other = sandbox.estate().resources().keys().find(|id| !id.contains(&guid)).cloned().unwrap();
    sandbox.estate().delete_resource(&of_other);
    let run = drift(&sandbox).await.exits(5);
    assert_eq!(listed(&run, "extra"), [of_other.to_lowercase()], "{run}");
}

#[tokio::test]
async fn what_is_wrong_with_the_settings_or_the_credentials_is_told_by_the_exit_code() {
    let small = Small::start().await;
    let sandbox = &small.sandbox;
    let without = drift_of(Program::new(sandbox)).env("LOG_FORMAT", "text").run().await.exits(2);
    without.says(&["PORT_CLIENT_ID is not set: drift reads what Port holds over its API"]);
    let wrong = drift_of(Program::over_the_api(sandbox)).env("PORT_CLIENT_SECRET", "not-the-right-one").run().await;
    wrong.exits(3).says(&["check PORT_CLIENT_ID and PORT_CLIENT_SECRET"]);
    let other = format!("{}/anotherKeyThanThis", sandbox.origin(Host::Port));
    let other = drift_of_webhook(sandbox).env("PORT_WEBHOOK_INGEST_URL", other).run().await.exits(2);
    other.says(&["no webhook in Port has the URL PORT_WEBHOOK_INGEST_URL"]).does_not_say(&["anotherKeyThanThis"]);
    break_down(sandbox, Route::PortSearch, Rule::new(Fault::status(400)));
    drift(sandbox).await.exits(1).says(&["Port: POST ", "status 400"]);
    sandbox.faults().clear();
    let failing = mapping(sandbox, ".name", "").display().to_string();
    let text = std::fs::read_to_string(&failing).unwrap().replace("query: 'true'", "query: .name");
    std::fs::write(&failing, text).unwrap();
    let run = drift_of(Program::over_the_api(sandbox)).env("MAPPING_FILE", failing).run().await.exits(1);
    run.says(&["1 rows could not be mapped, so that nothing is known of their entities"]);
}

#[tokio::test]
async fn a_signal_ends_it_with_its_code() {
    let small = Small::start().await;
    let sandbox = &small.sandbox;
    break_down(sandbox, Route::PortSearch, Rule::new(Fault::retry_after(503, "60")));
    let mut child = drift_of(Program::over_the_api(sandbox)).into_command().spawn().unwrap();
    while !sandbox.requests().entries().iter().any(|entry| entry.route == Route::PortSearch) {
        tokio::task::yield_now().await;
    }
    assert!(Command::new("kill").arg(child.id().unwrap().to_string()).status().await.unwrap().success());
    assert_eq!(child.wait().await.unwrap().code(), Some(143));
}
