//! Pruning removes from Port what Azure no longer has and no checkpoint knows. Each safety check is tested with the
//! deletion that it prevents.

use std::path::PathBuf;

use reqwest::header::{AUTHORIZATION, USER_AGENT};
use sandbox::Sandbox;
use sandbox::faults::{Fault, Rule};
use sandbox::requests::Route;
use serde_json::{Value as Json, json};

use crate::harness::{DAY, Program, Run, Small, break_down, empty, passing, start};

const OURS: &str = "azure-incremental/0.0.1 (7d0f1c0a-3a52-4b0e-9a6c-5b1de0c0ffee)";

/// A small estate that was written to Port and compared twice, and an entity of ours that does not exist in Azure.
struct Left {
    small: Small,
    checkpoint: PathBuf,
    stale: String,
}

impl Left {
    /// A day later.
    async fn behind() -> Self {
        let left = Self::with(empty()).await;
        left.small.sandbox.clock().advance(DAY);
        left
    }

    async fn with(settings: sandbox::settings::Settings) -> Self {
        let small = Small::with(settings).await;
        let sandbox = &small.sandbox;
        let checkpoint = sandbox.directory().join("checkpoint");
        // Enough that one entity is a small fraction.
        for number in 0..20 {
            let name = format!("vault-{number:02}");
            sandbox.estate().create_resource(&small.group, "Microsoft.KeyVault/vaults", &name, "eastus", None).unwrap();
        }
        sandbox.clock().advance(4 * DAY);
        let stale = format!("{}-of-long-ago", small.vault);
        write(sandbox, OURS, &stale).await;
        let left = Self { small, checkpoint, stale };
        left.run(&[]).await.exits(0);
        left.run(&[]).await.exits(0);
        assert!(left.has(&left.stale), "nothing but a listing of the catalog tells of it");
        left
    }

    async fn run(&self, more: &[(&str, &str)]) -> Run {
        let mut program =
            Program::over_the_api(&self.small.sandbox).checkpoint(&self.checkpoint).env("SYNC_MODE", "full");
        for (name, value) in more {
            program = program.env(name, value);
        }
        program.run().await
    }

    async fn prune(&self, more: &[(&str, &str)]) -> Run {
        self.run(&[&[("PRUNE", "true")], more].concat()).await
    }

    fn has(&self, identifier: &str) -> bool {
        self.small.sandbox.port().with_catalog(|catalog| {
            catalog.entities.keys().any(|key| key.0 == "azureCloudResources" && key.1 == identifier)
        })
    }
}

/// Writes an entity as another author, or as an earlier version of this program.
async fn write(sandbox: &Sandbox, agent: &str, identifier: &str) {
    write_to(sandbox, agent, "azureCloudResources", json!({"identifier": identifier})).await;
}

async fn write_to(sandbox: &Sandbox, agent: &str, blueprint: &str, entity: Json) {
    let client = sandbox.client().unwrap().build().unwrap();
    let env: std::collections::HashMap<String, String> = sandbox.port_env().into_iter().collect();
    let base = &env["PORT_BASE_URL"];
    let body = json!({"clientId": env["PORT_CLIENT_ID"], "clientSecret": env["PORT_CLIENT_SECRET"]});
    let post = |path: &str, body: Json| {
        client
            .post(format!("{base}{path}"))
            .header("content-type", "application/json")
            .header(USER_AGENT, agent)
            .body(body.to_string())
    };
    let answer = post("/v1/auth/access_token", body).send().await.unwrap().text().await.unwrap();
    let token: Json = serde_json::from_str(&answer).unwrap();
    let path =
        format!("/v1/blueprints/{blueprint}/entities?upsert=true&merge=true&create_missing_related_entities=false");
    let request =
        post(&path, entity).header(AUTHORIZATION, format!("Bearer {}", token["accessToken"].as_str().unwrap()));
    let answer = request.send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
}

#[tokio::test]
async fn what_is_ours_and_not_in_azure_any_more_is_deleted_and_nothing_else() {
    let left = Left::behind().await;
    let before = left.small.sandbox.port().catalog().entities.len();
    let shown = left.prune(&[("DRY_RUN", "true")]).await.exits(0);
    let line = serde_json::json!({"blueprint": "azureCloudResources", "delete": left.stale}).to_string();
    assert!(shown.out.lines().any(|printed| printed == line), "{shown}");
    assert!(left.has(&left.stale), "{shown}");
    let run = left.prune(&[]).await.exits(0);
    assert_eq!(run.count("pruned"), 1, "{run}");
    assert!(!left.has(&left.stale), "{run}");
    assert_eq!(left.small.sandbox.port().catalog().entities.len(), before - 1);
    assert_eq!(left.prune(&[]).await.exits(0).count("pruned"), 0);
}

#[tokio::test]
async fn what_somebody_else_wrote_is_kept() {
    let left = Left::behind().await;
    let sandbox = &left.small.sandbox;
    for agent in ["port-ocean/azure/0.1.0/mine/exporter", "azure-incremental/0.1.0 (another-tenant)"] {
        let other = format!("{}-of-others", left.stale);
        write(sandbox, agent, &other).await;
        sandbox.clock().advance(DAY);
        left.prune(&[]).await.exits(0);
        assert!(left.has(&other), "{agent}");
    }
}

#[tokio::test]
async fn what_azure_has_is_kept_though_no_row_shows_it() {
    let mut settings = empty();
    settings.lags.row = 3 * DAY..=3 * DAY;
    settings.lags.record = 3 * DAY..=3 * DAY;
    let left = Left::with(settings).await;
    let sandbox = &left.small.sandbox;
    let late = sandbox
        .estate()
        .create_resource(&left.small.group, "Microsoft.KeyVault/vaults", "late", "eastus", None)
        .unwrap();
    write(sandbox, OURS, &late).await;
    sandbox.clock().advance(DAY);
    let run = left.prune(&[]).await.exits(0).says(&["1 entities were not read, and are in Azure: they are kept"]);
    assert!(left.has(&late) && !left.has(&left.stale), "{run}");
}

#[tokio::test]
async fn more_than_the_limit_deletes_nothing() {
    let left = Left::behind().await;
    let run = left.prune(&[("PRUNE_LIMIT_PERCENT", "1")]).await.exits(1);
    run.tells(&["nothing was pruned: 1 of 24 entities would go, which is more than 1 %"]);
    assert!(left.has(&left.stale));
}

#[tokio::test]
async fn a_list_of_ports_that_is_not_whole_deletes_nothing() {
    let left = Left::behind().await;
    break_down(&left.small.sandbox, Route::PortSearch, Rule::new(passing(500)));
    left.prune(&[]).await.exits(1);
    assert!(left.has(&left.stale));
}

#[tokio::test]
async fn where_resource_manager_does_not_say_that_it_is_gone_it_is_kept() {
    let left = Left::behind().await;
    let sandbox = &left.small.sandbox;
    for (fault, code) in [
        (
            Fault::Status {
                status: 404,
                headers: Vec::new(),
                body: r#"{"error":{"code":"InvalidResourceType"}}"#.into(),
            },
            0,
        ),
        (
            Fault::Status {
                status: 403,
                headers: Vec::new(),
                body: r#"{"error":{"code":"AuthorizationFailed"}}"#.into(),
            },
            0,
        ),
        (passing(500), 1),
    ] {
        break_down(sandbox, Route::Resource, Rule::new(fault));
        let run = left.prune(&[]).await.exits(code);
        assert!(left.has(&left.stale), "{run}");
        sandbox.faults().clear();
    }
    assert_eq!(left.prune(&[]).await.exits(0).count("pruned"), 1, "nothing else kept it");
}

#[tokio::test]
async fn of_a_subscription_that_was_not_looked_at_nothing_is_deleted() {
    let left = Left::behind().await;
    let sandbox = &left.small.sandbox;
    break_down(sandbox, Route::Graph, Rule::new(passing(500)).containing("resources\\n| extend"));
    let run = left.prune(&[]).await.exits(1);
    assert!(left.has(&left.stale), "{run}");
}

#[tokio::test]
async fn what_may_have_been_changed_in_port_since_the_run_began_is_kept() {
    // Port's clock is the real one, and here Azure's is too.
    let mut settings = sandbox::settings::Settings { estate: empty().estate, ..Default::default() };
    settings.azure.quota = empty().azure.quota;
    let left = Left::with(settings).await;
    left.prune(&[]).await.exits(0);
    assert!(left.has(&left.stale));
}

#[tokio::test]
async fn what_others_relate_to_is_kept_and_told() {
    let left = Left::behind().await;
    let sandbox = &left.small.sandbox;
    // A group of ours that is gone, and another author's entity that relates to it.
    let group = format!("{}-of-long-ago", left.small.group);
    write_to(sandbox, OURS, "azureResourceGroup", json!({"identifier": group})).await;
    let other = json!({"identifier": "theirs", "relations": {"resourceGroup": group}});
    write_to(sandbox, "somebody else", "azureCloudResources", other).await;
    sandbox.clock().advance(DAY);
    let run = left.prune(&[]).await.exits(1).tells(&["1 entities are not in Azure, and could not be deleted"]);
    assert_eq!(run.count("pruned"), 1, "{run}");
    let has = |key: (&str, &str)| {
        sandbox.port().with_catalog(|catalog| catalog.entities.keys().any(|one| (&*one.0, &*one.1) == key))
    };
    assert!(has(("azureResourceGroup", &group)) && has(("azureCloudResources", "theirs")), "{run}");
}

#[tokio::test]
async fn pruning_needs_a_mapping_and_a_checkpoint() {
    let sandbox = start(empty()).await;
    Program::over_the_api(&sandbox)
        .env("PRUNE", "true")
        .run()
        .await
        .exits(2)
        .says(&["PRUNE needs MAPPING_FILE and CHECKPOINT_FILE"]);
    let webhook = Program::new(&sandbox).env("PRUNE", "true").checkpoint(&sandbox.directory().join("c")).run().await;
    webhook.exits(2).says(&["PRUNE needs MAPPING_FILE and CHECKPOINT_FILE"]);
}
