//! `init --apply`: sets up Port with one command, and keeps what a user has there.

use std::fs;
use std::path::Path;

use sandbox::directory::Kind;
use sandbox::expected::{DirectoryScope, Scope};
use sandbox::faults::{Fault, Rule};
use sandbox::requests::Route;
use sandbox::settings::{DirectorySize, LEAST_ROLES, Role, Settings};
use sandbox::{Host, Sandbox};
use serde_json::{Value as Json, json};

use crate::harness::{MINUTE, Program, Run, assert_equal, break_down, of_resources, passing, start};

const SECRET: &str = "marked-secret-of-the-webhook";
const MAPPING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/port/entities.yml");

/// A Port without any setup.
fn bare() -> Settings {
    let mut settings = of_resources(40);
    settings.port.blueprints = "[]".into();
    settings.port.api.webhooks.given = false;
    settings
}

/// With Port's credentials and nothing else.
fn apply(sandbox: &Sandbox) -> Program {
    let program = Program::bare().env("SSL_CERT_FILE", sandbox.authority_file()).args(["init", "--apply"]);
    sandbox.port_env().into_iter().fold(program, |program, (name, value)| program.env(&name, value))
}

/// Requests to Port that may change something: method and path, and body.
fn writes(sandbox: &Sandbox) -> Vec<(String, Json)> {
    let (entries, origin) = (sandbox.requests().entries(), sandbox.origin(Host::PortApi));
    let setting_up = entries
        .iter()
        .filter(|entry| matches!(entry.route, Route::PortBlueprint | Route::PortWebhook))
        .filter(|entry| {
            // Rejected requests wrote nothing.
            !entry.target.starts_with("GET ") && entry.status.is_some_and(|status| status < 300)
        });
    setting_up.map(|entry| (entry.target.replace(&origin, ""), serde_json::from_slice(&entry.body).unwrap())).collect()
}

fn targets(sandbox: &Sandbox) -> Vec<String> {
    writes(sandbox).into_iter().map(|(target, _)| target).collect()
}

fn secrets_are_kept(run: Run) -> Run {
    run.does_not_say(&["marked-secret", "s4ndb0xPortSecret"])
}

#[tokio::test]
async fn from_nothing_port_is_set_up_for_a_run_by_webhook() {
    for payload in ["single", "batch"] {
        let sandbox = start(bare()).await;
        let apply = || apply(&sandbox).env("PORT_WEBHOOK_SECRET", SECRET).env("PORT_WEBHOOK_PAYLOAD", payload);
        let made = secrets_are_kept(apply().args(["--yes"]).run().await.exits(0));
        let url = made.out.strip_suffix('\n').unwrap();
        assert!(url.starts_with("https://") && !url.contains(['\n', ' ']), "{made}");
        assert!(!made.err.contains(url), "{made}");
        for line in [
            "+ blueprint azureCloudResources\n",
            "    + relation resourceGroup to azureResourceGroup\n",
            "+ webhook azure-incremental\n    + mapping: create",
            "    + security: signed posts alone are applied\n",
        ] {
            assert!(made.err.contains(line), "{line}: {made}");
        }
        assert_eq!(sandbox.port().pages().len(), 3, "each has a page in the catalog");
        let run = Program::full(&sandbox)
            .env("PORT_WEBHOOK_INGEST_URL", url)
            .env("PORT_WEBHOOK_SECRET", SECRET)
            .env("PORT_WEBHOOK_PAYLOAD", payload)
            .run()
            .await
            .exits(0);
        assert_equal(&sandbox, &Scope::default(), &run).await;
        let before = targets(&sandbox).len();
        let again = apply().run().await.exits(0).says(&["nothing to change"]);
        assert_eq!((targets(&sandbox).len(), again.out.as_str()), (before, ""), "nothing is written twice; {again}");
    }
}

#[tokio::test]
async fn with_kinds_of_entra_id_port_is_set_up_for_them_as_well() {
    for payload in ["single", "batch"] {
        let sandbox = start(Settings { directory: DirectorySize::default(), ..bare() }).await;
        let apply = || apply(&sandbox).env("PORT_WEBHOOK_PAYLOAD", payload).args(["--yes"]);
        let url = apply().run().await.exits(0).does_not_say(&["entra-id"]).out;
        let made = apply().env("ENTRA_KINDS", "all").run().await.exits(0);
        for line in [
            "+ blueprint entra-id-group\n",
            "    + relation members to many entra-id-user\n",
            "~ webhook azure-incremental\n    + mapping: create entra-id-user\n",
        ] {
            assert!(made.err.contains(line), "{line}: {made}");
        }
        apply().env("ENTRA_KINDS", "all").run().await.exits(0).says(&["nothing to change"]);
        let run = async || {
            sandbox.clock().advance(15 * MINUTE);
            let program = Program::new(&sandbox).checkpoint(&sandbox.directory().join("checkpoint"));
            let program =
                sandbox.port_env().into_iter().fold(program, |program, (name, value)| program.env(&name, value));
            let program = program.env("PORT_WEBHOOK_INGEST_URL", url.trim()).env("PORT_WEBHOOK_PAYLOAD", payload);
            let program = program.env("ENTRA_KINDS", "all").env("VERIFY", "true");
            let run = program.run().await.exits(0);
            assert_equal(&sandbox, &Scope::default(), &run).await;
            let differences = sandbox.diff_of_tenant(&DirectoryScope::default()).await;
            assert!(differences.is_empty(), "{payload}: {differences:#?}; {run}");
        };
        run().await;
        // Unknown members of a group clear nothing, and a deleted user takes no group along.
        sandbox.entra().settings().roles = Some(LEAST_ROLES.map(str::to_owned).into());
        {
            let mut tenant = sandbox.tenant();
            let (users, groups) = (tenant.ids(Kind::User), tenant.ids(Kind::Group));
            let group = *groups.iter().max_by_key(|group| tenant.members(**group).len()).unwrap();
            tenant.hide_members(group, true);
            tenant.rename(group, "Renamed");
            let other = *groups.iter().find(|other| **other != group).unwrap();
            tenant.join(other, users[0]);
            tenant.delete(users[1]);
        }
        run().await;
    }
}

#[tokio::test]
async fn init_prints_what_entra_id_needs_where_it_is_to_be_synced() {
    let init = |file: &str, kinds: &str| Program::bare().env("ENTRA_KINDS", kinds).args(["init", file]).run();
    for file in ["blueprints.json", "mapping.json", "mapping-batch.json"] {
        for (kinds, is_there) in [("", false), ("users", true)] {
            let printed = init(file, kinds).await.exits(0);
            let list: Vec<Json> = serde_json::from_str(&printed.out).unwrap();
            assert!(list.iter().any(|one| one.to_string().contains("azureSubscription")), "{printed}");
            let is_of_entra = |one: &Json| one.to_string().contains("entra-id-group");
            assert_eq!(list.iter().any(is_of_entra), is_there, "{file}: {printed}");
        }
    }
    let workflow = init("azure-incremental-sync.yml", "users,groups").await.exits(0);
    assert!(workflow.out.contains("ENTRA_KINDS: 'users,groups'"), "{workflow}");
    init("mapping.json", "devices").await.exits(2).says(&["ENTRA_KINDS", "devices"]);
}

#[tokio::test]
async fn with_a_mapping_file_blueprints_alone_are_set_up_for_a_run_by_api() {
    let sandbox = start(bare()).await;
    let apply = || apply(&sandbox).env("MAPPING_FILE", MAPPING);
    let made = apply().args(["--yes"]).run().await.exits(0).does_not_say(&["webhook"]);
    assert_eq!(sandbox.requests().count(Route::PortWebhook), 0, "{made}");
    let run = Program::over_the_api(&sandbox).env("SYNC_MODE", "full").run().await.exits(0);
    assert_equal(&sandbox, &Scope::default(), &run).await;
    apply().run().await.exits(0).says(&["nothing to change"]);
    apply().args(["--gh-secret"]).run().await.exits(2).says(&["there is no webhook"]);
}

#[tokio::test]
async fn however_port_behaves_where_nothing_is_published_it_is_set_up() {
    for duplicate in [409, 422] {
        for is_deep in [false, true] {
            for shows_secret in [false, true] {
                let mut settings = bare();
                settings.port.api.blueprints.duplicate = duplicate;
                settings.port.api.blueprints.patch_is_deep = is_deep;
                settings.port.api.webhooks.patch_is_deep = is_deep;
                settings.port.api.webhooks.shows_secret = shows_secret;
                settings.port.api.webhooks.created = if is_deep { 200 } else { 201 };
                let sandbox = start(settings).await;
                // If the answer to a creation is lost, the next attempt finds the object.
                for route in [Route::PortBlueprint, Route::PortWebhook] {
                    let is_post = |body: &[u8]| !body.is_empty();
                    break_down(&sandbox, route, Rule::new(passing(503)).when(is_post).applied().times(1));
                }
                let apply = || apply(&sandbox).env("PORT_WEBHOOK_SECRET", SECRET).args(["--yes"]);
                let made = secrets_are_kept(apply().run().await.exits(0));
                assert!(made.out.starts_with("https://"), "{made}");
                secrets_are_kept(apply().run().await.exits(0)).says(&["nothing to change"]);
                let other = |program: Program| program.env("PORT_WEBHOOK_SIGNATURE_HEADER", "x-other");
                let changed = secrets_are_kept(other(apply()).run().await.exits(0));
                assert!(
                    changed.err.contains("~ security: signatureHeaderName; the secret is sent as well"),
                    "{changed}"
                );
                assert_eq!(changed.out, "", "the webhook is not new");
                let (target, body) = writes(&sandbox).pop().unwrap();
                assert_eq!(target, "PATCH /v1/webhooks/azure-incremental");
                assert_eq!(body.as_object().unwrap().keys().collect::<Vec<_>>(), ["security"]);
                let run = Program::full(&sandbox)
                    .env("PORT_WEBHOOK_INGEST_URL", made.out.trim())
                    .env("PORT_WEBHOOK_SECRET", SECRET);
                let run = other(run).run().await.exits(0);
                assert_equal(&sandbox, &Scope::default(), &run).await;
                secrets_are_kept(other(apply()).run().await.exits(0)).says(&["nothing to change"]);
            }
        }
    }
}

/// A user's own blueprints: one with its own properties, relation and texts, but without what is needed.
fn of_a_user(tags: &str) -> String {
    json!([
        {"identifier": "team", "title": "Team", "schema": {"properties": {}}},
        {
            "identifier": "azureSubscription", "title": "Abos", "icon": "Cloud", "description": "Ours",
            "schema": {
                "properties": {"tags": {"type": tags, "title": "Labels"}, "owner": {"type": "string"}},
                "required": ["owner"],
            },
            "relations": {"team": {"title": "Team", "target": "team", "required": false, "many": false}},
            "mirrorProperties": {"lead": {"path": "team.$title"}},
        },
    ])
    .to_string()
}

#[tokio::test]
async fn what_a_user_has_of_a_blueprint_stays() {
    let mut settings = bare();
    settings.port.blueprints = of_a_user("object");
    let sandbox = start(settings).await;
    let run = apply(&sandbox).args(["--yes"]).run().await.exits(0);
    assert!(
        run.err.contains("~ blueprint azureSubscription\n    + property subscriptionId of type string\n+ blueprint azureResourceGroup"),
        "{run}"
    );
    let writes = writes(&sandbox);
    let (_, sent) = writes.iter().find(|(target, _)| target == "PUT /v1/blueprints/azureSubscription").unwrap();
    let mut wanted: Json = serde_json::from_str::<Json>(&of_a_user("object")).unwrap()[1].take();
    wanted["schema"]["properties"]["subscriptionId"] = json!({"title": "Subscription ID", "type": "string"});
    for (part, value) in wanted.as_object().unwrap() {
        assert_eq!(&sent[part], value, "{part}");
    }
    assert!(sent.get("createdAt").is_none() && sent.get("updatedBy").is_none(), "{sent}");
    apply(&sandbox).run().await.exits(0).says(&["nothing to change"]);
}

#[tokio::test]
async fn a_property_of_another_type_is_told_and_left_and_all_else_is_set_up() {
    let mut settings = bare();
    settings.port.blueprints = of_a_user("array");
    let sandbox = start(settings).await;
    let said = [
        "property tags of blueprint azureSubscription is of type array in Port and should be of type object",
        "rename",
    ];
    apply(&sandbox).args(["--dry-run"]).run().await.exits(1).says(&said);
    let run = apply(&sandbox).args(["--yes"]).run().await.exits(1).says(&said);
    assert_eq!(run.err.matches(said[0]).count(), 1, "{run}");
    assert!(run.out.starts_with("https://"), "{run}");
    apply(&sandbox).run().await.exits(1).says(&["nothing to change"]).says(&said);
    let of_tags = writes(&sandbox).into_iter().filter(|(target, _)| target.contains("azureSubscription"));
    assert!(of_tags.map(|(_, body)| body).all(|body| body["schema"]["properties"]["tags"]["type"] == "array"));
}

#[tokio::test]
async fn the_mapping_changes_with_the_payload() {
    let sandbox = start(bare()).await;
    apply(&sandbox).args(["--yes"]).run().await.exits(0);
    let run = apply(&sandbox).env("PORT_WEBHOOK_PAYLOAD", "batch").args(["--yes"]).run().await.exits(0);
    assert!(run.err.contains("~ webhook azure-incremental\n    ~ mapping: create azureSubscription: "), "{run}");
    let (target, body) = writes(&sandbox).pop().unwrap();
    assert_eq!(target, "PATCH /v1/webhooks/azure-incremental");
    let mapping = body["mappings"].as_array().unwrap();
    assert!(mapping.len() == 6 && mapping.iter().all(|entry| entry["itemsToParse"] == ".body.items"), "{body}");
    let deletes =
        mapping.iter().filter(|entry| entry["operation"] == json!({"type": "delete", "deleteDependents": false}));
    assert_eq!(deletes.count(), 3, "{body}");
}

#[tokio::test]
async fn without_a_yes_nothing_is_changed() {
    let sandbox = start(bare()).await;
    let run =
        apply(&sandbox).run().await.exits(2).says(&["+ blueprint azureSubscription", "no terminal to ask on", "--yes"]);
    assert!(targets(&sandbox).is_empty(), "{run}");
    let run = apply(&sandbox).args(["--dry-run"]).run().await.exits(0).says(&["+ webhook azure-incremental"]);
    assert!(targets(&sandbox).is_empty() && run.out.is_empty(), "{run}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn on_a_terminal_a_person_is_asked() {
    let sandbox = start(bare()).await;
    let answered = |answer: &str| {
        let script = format!("printf '{answer}\\n' | script -qec \"$0 $*\" /dev/null");
        apply(&sandbox).within(&["sh", "-c", &script])
    };
    let run = answered("n").run().await.says(&["Apply? [y/N]", "the answer was not yes"]);
    assert!(targets(&sandbox).is_empty(), "{run}");
    answered("y").run().await.says(&["done", "https://"]);
    assert!(!targets(&sandbox).is_empty());
}

#[tokio::test]
async fn credentials_that_do_not_work_or_may_not_are_told_with_ports_words() {
    let mut settings = bare();
    settings.port.api.role = Role::Member;
    let sandbox = start(settings).await;
    let run = apply(&sandbox).args(["--yes"]).run().await.exits(1);
    let run = run.says(&["status 403 (forbidden): You do not have permission", "administrator"]);
    assert!(targets(&sandbox).is_empty(), "{run}");
    let wrong = apply(&sandbox).env("PORT_CLIENT_SECRET", "marked-secret-that-is-wrong").args(["--yes"]).run().await;
    secrets_are_kept(wrong.exits(3)).says(&["PORT_CLIENT_ID and PORT_CLIENT_SECRET"]);
    apply(&sandbox).without("PORT_CLIENT_ID").run().await.exits(2).says(&["PORT_CLIENT_ID is not set"]);
}

#[tokio::test]
async fn a_throttle_is_waited_out_and_a_blueprint_that_another_run_makes_meanwhile_is_taken() {
    for duplicate in [409, 422] {
        let mut settings = of_resources(40);
        settings.port.api.webhooks.given = false;
        settings.port.api.blueprints.duplicate = duplicate;
        let sandbox = start(settings).await;
        let absent = r#"{"ok":false,"error":"not_found","message":"Blueprint was not found"}"#;
        break_down(&sandbox, Route::PortBlueprint, Rule::new(Fault::status(404).with_body(absent)).times(3));
        break_down(&sandbox, Route::PortWebhook, Rule::new(passing(429)).times(1));
        let run = apply(&sandbox).args(["--yes"]).run().await.exits(0);
        assert!(run.err.contains("+ blueprint azureSubscription"), "they were not there when it looked; {run}");
        assert_eq!(targets(&sandbox), ["POST /v1/webhooks"], "they were there with all that they need; {run}");
    }
}

#[tokio::test]
async fn what_is_refused_for_another_reason_is_told() {
    let sandbox = start(bare()).await;
    let rule =
        Rule::new(Fault::status(422).with_body(r#"{"ok":false,"error":"invalid_request","message":"no such icon"}"#));
    break_down(&sandbox, Route::PortBlueprint, rule.when(|body| !body.is_empty()));
    apply(&sandbox).args(["--yes"]).run().await.exits(1).says(&["invalid_request", "no such icon"]);
}

#[tokio::test]
async fn in_a_job_of_github_the_log_hides_the_url() {
    let sandbox = start(bare()).await;
    let run = apply(&sandbox).args(["--yes"]).env("GITHUB_ACTIONS", "true").run().await.exits(0);
    assert!(run.err.ends_with(&format!("::add-mask::{}", run.out)), "{run}");
}

/// A directory with a `gh` that runs this script.
#[cfg(unix)]
fn gh(directory: &Path, script: &str) -> std::ffi::OsString {
    use std::os::unix::fs::PermissionsExt;
    let bin = directory.join("bin");
    fs::create_dir_all(&bin).unwrap();
    fs::write(bin.join("gh"), format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(bin.join("gh"), fs::Permissions::from_mode(0o755)).unwrap();
    let rest = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(std::iter::once(bin).chain(std::env::split_paths(&rest))).unwrap()
}

#[cfg(unix)]
#[tokio::test]
async fn the_url_is_handed_to_gh_over_standard_input_and_not_shown() {
    let sandbox = start(bare()).await;
    let directory = sandbox.directory();
    let run = |script: &str| {
        apply(&sandbox)
            .args(["--yes", "--gh-secret"])
            .env("PATH", gh(directory, script))
            .env("PORT_WEBHOOK_SECRET", SECRET)
            .run()
    };
    // gh's error message may contain it.
    let failed = run("echo \"no repository: $(cat)\" >&2; exit 1").await.exits(1);
    let failed = secrets_are_kept(failed).says(&["gh secret set PORT_WEBHOOK_INGEST_URL failed", "no repository"]);
    assert!(failed.out.is_empty() && !failed.err.contains("wbhk"), "{failed}");
    let given = directory.join("given");
    let keep = format!("echo \"$*\" >{0}; env >>{0}; cat >>{0}", given.display());
    let set = run(&keep).await.exits(0).says(&["nothing to change", "is set"]);
    assert!(set.out.is_empty() && !set.err.contains("wbhk"), "{set}");
    let given = fs::read_to_string(given).unwrap();
    let (arguments, rest) = given.split_once('\n').unwrap();
    assert_eq!(arguments, "secret set PORT_WEBHOOK_INGEST_URL");
    assert!(rest.lines().last().unwrap().contains("/wbhk") && !rest.contains("marked-secret"), "{rest}");
    let missing = apply(&sandbox).args(["--gh-secret"]).env("PORT_WEBHOOK_SECRET", SECRET).env("PATH", "/nonesuch");
    missing.run().await.exits(1).says(&["gh secret set PORT_WEBHOOK_INGEST_URL failed", "from Port (Data sources)"]);
}
