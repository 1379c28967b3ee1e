//! What `check` reports about everything that a run needs.

use sandbox::Sandbox;
use sandbox::faults::{Fault, Rule};
use sandbox::requests::Route;
use sandbox::settings::{DirectorySize, Settings};
use serde_json::Value as Json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::harness::{Program, Run, break_down, empty, envelopes, settled, start};
use crate::remembered::{file, remembering, until};

fn check(sandbox: &Sandbox) -> Program {
    Program::new(sandbox).without("LOG_FORMAT").args(["check"])
}

/// There is a line for it with this text.
#[track_caller]
fn assert_told(run: &Run, state: &str, what: &str, text: &str) {
    let mut lines = run.out.lines().filter(|line| line.get(7..).is_some_and(|line| line.starts_with(what)));
    let told = lines.any(|line| line.starts_with(state) && line.contains(text));
    assert!(told, "{state} {what} {text:?}; {run}");
}

#[tokio::test]
async fn check_tells_that_all_is_well_and_posts_nothing() {
    let sandbox = start(settled()).await;
    let run = Program::new(&sandbox).without("LOG_FORMAT").args(["check"]).run().await.exits(0);
    for line in ["configuration", "sign-in", "subscriptions", "resources", "quota", "webhook", "checkpoint"] {
        assert!(run.out.lines().any(|told| told.starts_with("ok") && told.contains(line)), "{line}; {run}");
    }
    assert!(!run.out.contains("wrong"), "{run}");
    assert!(envelopes(&sandbox).await.is_empty());
}

#[tokio::test]
async fn check_notes_what_matches_nothing() {
    let sandbox = start(settled()).await;
    let run = Program::new(&sandbox)
        .without("LOG_FORMAT")
        .env("RESOURCE_TYPES", "contoso.nothing/here")
        .env("RESOURCE_GROUP_TAG_FILTERS", r#"{"include": {"nobody": "has this"}}"#)
        .args(["check"])
        .run()
        .await
        .exits(0);
    assert!(run.out.contains("no group matches") && run.out.contains("contoso.nothing/here"), "{run}");
}

#[tokio::test]
async fn check_explains_what_is_wrong_with_the_exit_code_of_a_run() {
    let sandbox = start(settled()).await;
    let check = || Program::new(&sandbox).without("LOG_FORMAT").args(["check"]);
    let run = check().env("AZURE_CLIENT_SECRET", "wrong").run().await.exits(3);
    assert!(run.out.contains("AADSTS7000215") && run.out.contains("not its id"), "{run}");
    assert!(run.out.contains("webhook"), "the rest is checked all the same; {run}");
    let run = check().env("PORT_WEBHOOK_INGEST_URL", "https://127.0.0.1:9/x").run().await.exits(1);
    assert!(run.out.lines().any(|line| line.starts_with("wrong  webhook")), "{run}");
    let run = check().env("AZURE_TENANT_ID", "").run().await.exits(2);
    assert!(run.err.contains("AZURE_TENANT_ID"), "{run}");
    break_down(&sandbox, Route::Graph, Rule::new(Fault::status(400)));
    let run = check().run().await.exits(1);
    assert_eq!(run.out.lines().filter(|line| line.starts_with("wrong")).count(), 4, "{run}");
}

#[tokio::test]
async fn check_names_what_matches() {
    let sandbox = start(settled()).await;
    let group = {
        let mut estate = sandbox.estate();
        let group = estate.groups().keys().next().unwrap().clone();
        estate.retag_group(&group, Some(serde_json::json!({"Only": "Here"}).into()));
        group
    };
    let name = group.rsplit('/').next().unwrap();
    let run = check(&sandbox)
        .env("RESOURCE_TYPES", "Microsoft.KeyVault/vaults")
        .env("RESOURCE_GROUP_TAG_FILTERS", r#"{"include": {"only": "here"}}"#)
        .run()
        .await
        .exits(0);
    assert_told(&run, "ok", "tag filters", &format!("1 groups in scope: {name}"));
    assert_told(&run, "ok", "resource types", "each of 1 has resources");
    assert_told(&run, "ok", "configuration", "1 types, groups by their tags");
}

#[tokio::test]
async fn check_posts_only_where_it_is_asked_to_and_what_no_mapping_reads() {
    for payload in ["single", "batch"] {
        let sandbox = start(settled()).await;
        let probe = || check(&sandbox).env("PORT_WEBHOOK_PAYLOAD", payload).args(["--probe"]);
        assert_told(&probe().run().await.exits(0), "ok", "probe", "Port accepted an envelope");
        sandbox.port().settle().await;
        let deliveries = sandbox.port().deliveries();
        let [delivery] = deliveries.as_slice() else { panic!("one post: {deliveries:?}") };
        assert!(String::from_utf8_lossy(&delivery.body).contains("azure-incremental/probe"));
        assert!(sandbox.port().with_catalog(|catalog| catalog.entities.is_empty()));
        for (status, said) in [
            (404, "check PORT_WEBHOOK_INGEST_URL against the URL that Port shows"),
            (400, "status 400"),
            (503, "status 503"),
        ] {
            sandbox.faults().clear();
            break_down(&sandbox, Route::Webhook, Rule::new(Fault::retry_after(status, "0")));
            let run = probe().run().await;
            assert_ne!(run.code, 0, "{run}");
            assert_told(&run, "wrong", "probe", said);
        }
    }
}

#[tokio::test]
async fn check_tells_from_when_on_the_next_run_reads() {
    let sandbox = start(settled()).await;
    let at = |name: &str| sandbox.directory().join(name);
    let check = |file: &str| check(&sandbox).checkpoint(&at(file));
    assert_told(&check("none.json").run().await.exits(0), "note", "checkpoint", "the next run reads everything");
    Program::full(&sandbox).checkpoint(&at("good.json")).run().await.exits(0);
    let run = check("good.json").run().await.exits(0);
    assert_told(&run, "ok", "checkpoint", "3 subscriptions, 135 entities held, 0 in doubt; read up to");
    let run = check("good.json").env("PORT_WEBHOOK_INGEST_URL", "").args(["--dry-run"]).run().await.exits(0);
    assert_told(&run, "ok", "checkpoint", "3 subscriptions, 135 entities held, 0 in doubt; read up to");
    assert_told(&run, "note", "webhook", "PORT_WEBHOOK_INGEST_URL is not set");
    std::fs::write(at("broken.json"), "{").unwrap();
    let broken = "broken.json is damaged: an older version of this program wrote it; the next run sets it aside";
    assert_told(&check("broken.json").run().await.exits(0), "note", "checkpoint", broken);
    std::fs::create_dir(at("directory.json")).unwrap();
    assert_told(
        &check("directory.json").run().await.exits(0),
        "note",
        "checkpoint",
        "directory.json is damaged: it is a directory",
    );
    assert_told(&check("nowhere/at.json").run().await.exits(2), "wrong", "checkpoint", "nowhere does not exist");
    let letters = |file: &str| check("good.json").env("DEAD_LETTER_FILE", at(file));
    assert_told(&letters("letters").run().await.exits(0), "ok", "dead letters", "can be written");
    assert!(!at("letters").exists());
    let run = letters("nowhere/letters").run().await.exits(2);
    assert_told(&run, "wrong", "dead letters", "nowhere does not exist");
    let filters = r#"{"include": {"team": "platform"}}"#;
    Program::full(&sandbox)
        .env("RESOURCE_GROUP_TAG_FILTERS", filters)
        .checkpoint(&at("filtered.json"))
        .run()
        .await
        .exits(0);
    let run = check("filtered.json").run().await.exits(2);
    assert_told(&run, "wrong", "checkpoint", "RESOURCE_GROUP_TAG_FILTERS");
}

#[tokio::test]
async fn check_tells_that_the_checkpoint_holds_nothing_yet_and_that_a_run_has_it_in_use() {
    let sandbox = start(settled()).await;
    let check = || check(&sandbox).checkpoint(&file(&sandbox));
    remembering(&sandbox).env("AZURE_CLIENT_SECRET", "wrong").run().await.exits(3);
    let holds_nothing = "holds nothing yet; the next run reads everything";
    assert_told(&check().run().await.exits(0), "note", "checkpoint", holds_nothing);
    break_down(&sandbox, Route::Webhook, Rule::new(Fault::Hang).containing("upsert"));
    // The check already sent a request to the host.
    let before = sandbox.requests().count(Route::Webhook);
    let mut child = remembering(&sandbox).into_command().spawn().unwrap();
    until("a post", || sandbox.requests().count(Route::Webhook) > before).await;
    assert_told(&check().run().await.exits(0), "note", "checkpoint", "is in use by another process");
    child.kill().await.unwrap();
    assert_told(&check().run().await.exits(0), "ok", "checkpoint", "3 subscriptions, ");
}

#[tokio::test]
async fn check_tells_of_subscriptions_that_cannot_be_read_or_are_idle() {
    assert_told(&check(&start(empty()).await).run().await.exits(3), "wrong", "subscriptions", "Reader");
    let sandbox = start(settled()).await;
    let disabled = Fault::edit(|page| page.replacen(r#""state":"Enabled""#, r#""state":"Disabled""#, 1));
    break_down(&sandbox, Route::Subscriptions, Rule::new(disabled));
    let run = check(&sandbox).run().await.exits(0);
    assert_told(&run, "ok", "subscriptions", "3 can be read");
    assert_told(&run, "note", "subscriptions", "its state is Disabled, its quota id EnterpriseAgreement_2014-09-01");
    sandbox.faults().clear();
    for (policies, said) in [
        (r#""quotaId":"AAD_2015-09-01""#, Some("its state is Enabled, its quota id AAD_2015-09-01")),
        (r#""quotaId":"aad_2015-09-01""#, Some("its state is Enabled, its quota id aad_2015-09-01")),
        (r#""quotaId":null"#, None),
        (r#""quotaId":"PayAsYouGo_2014-09-01""#, None),
    ] {
        let policies = Fault::edit(move |page| page.replace(r#""quotaId":"EnterpriseAgreement_2014-09-01""#, policies));
        break_down(&sandbox, Route::Subscriptions, Rule::new(policies));
        let run = check(&sandbox).run().await.exits(0);
        let names: Vec<_> = sandbox.estate().subscriptions().iter().map(|one| one.guid.to_string()).collect();
        let noted = run.out.lines().filter(|line| line.starts_with("note   subscriptions"));
        match said {
            Some(said) => {
                assert!(noted.clone().all(|line| line.contains(said)), "{run}");
                assert!(names.iter().all(|guid| noted.clone().any(|line| line.contains(guid.as_str()))), "{run}");
            }
            None => assert_eq!(noted.count(), 0, "{run}"),
        }
        sandbox.faults().clear();
    }
    let bare =
        Fault::edit(|page| page.replace(r#""subscriptionPolicies""#, r#""x""#).replace(r#""state":"Enabled","#, ""));
    break_down(&sandbox, Route::Subscriptions, Rule::new(bare));
    let run = check(&sandbox).run().await.exits(0);
    assert_told(&run, "note", "subscriptions", "its state is not told, its quota id not told");
    sandbox.faults().clear();
    break_down(&sandbox, Route::Subscriptions, Rule::new(Fault::status(403)));
    assert_told(&check(&sandbox).run().await.exits(1), "wrong", "subscriptions", "Reader");
}

#[tokio::test]
async fn check_tells_which_kinds_of_entra_id_can_be_read_and_which_role_is_missing() {
    let mut settings = Settings { directory: DirectorySize::default(), ..empty() };
    settings.port.add_entra(false);
    let sandbox = start(settings).await;
    let with_entra = |program: Program| {
        let program = program.env("AZURE_SOURCES", "entra").env("ENTRA_KINDS", "all");
        program.checkpoint(&sandbox.directory().join("checkpoint"))
    };
    let check = || with_entra(check(&sandbox));
    let run = check().run().await.exits(0);
    assert_told(&run, "ok", "Entra ID", "users, groups, applications, servicePrincipals can be read");
    assert_told(&run, "ok", "clock", "of Azure's");
    assert_told(&run, "skip", "subscriptions", "AZURE_SOURCES names Entra ID alone");
    with_entra(Program::new(&sandbox)).run().await.exits(0);
    let run = check().run().await.exits(0);
    assert_told(&run, "ok", "checkpoint", "0 subscriptions, 4 kinds of Entra ID, 94 entities held, 0 in doubt");
    sandbox.entra().settings().roles = Some(vec!["User.Read.All".to_owned()]);
    let run = check().run().await.exits(1);
    assert_told(&run, "ok", "Entra ID", "users can be read");
    assert_told(&run, "wrong", "Entra ID", "grant it the application permission GroupMember.Read.All");
    assert_told(&run, "wrong", "Entra ID", "grant it the application permission Application.Read.All");
    let run = check().env("AZURE_CLIENT_SECRET", "wrong").run().await.exits(3);
    assert_told(&run, "wrong", "Entra ID", "AADSTS7000215");
    assert_eq!(run.out.lines().filter(|line| line.starts_with("wrong")).count(), 1, "{run}");
}

#[tokio::test]
async fn check_names_the_request_whose_answer_makes_no_sense() {
    let sandbox = start(settled()).await;
    for (fault, said) in [(Fault::Html, "begins with <!DOCTYPE html>"), (Fault::Bomb, "larger than 20 MB")] {
        sandbox.faults().clear();
        break_down(&sandbox, Route::Graph, Rule::new(fault));
        let run = check(&sandbox).run().await.exits(1);
        assert_told(&run, "wrong", "resources", "/providers/Microsoft.ResourceGraph/resources failed");
        assert_told(&run, "wrong", "resources", said);
    }
}

#[tokio::test]
async fn numbers_that_no_estate_has_are_told_and_end_no_program() {
    let sandbox = start(settled()).await;
    let huge =
        Fault::edit(|page| page.replacen(r#""totalRecords":"#, r#""totalRecords":18446744073709551615,"x":"#, 1));
    break_down(&sandbox, Route::Graph, Rule::new(huge));
    let run = check(&sandbox).env("SUBSCRIPTION_BATCH_SIZE", "1").run().await.exits(0);
    assert_told(&run, "ok", "resources", "18446744073709551615 found");
    let run = Program::full(&sandbox).run().await.exits(1);
    assert!(!run.has_said("panicked"), "{run}");
}

#[tokio::test]
async fn check_knocks_at_a_webhook_without_tls_past_every_proxy() {
    let sandbox = start(settled()).await;
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/key", port.local_addr().unwrap());
    let answers = tokio::spawn(async move {
        loop {
            let (mut stream, _) = port.accept().await.unwrap();
            let mut request = Vec::new();
            // A post of the probe ends with its body.
            while !(request.starts_with(b"GET") && request.ends_with(b"\r\n\r\n") || request.ends_with(b"}")) {
                assert!(stream.read_buf(&mut request).await.unwrap() > 0);
            }
            let answer = "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    // If the proxy were used, nothing would answer.
    let proxy = "http://127.0.0.1:9";
    let run = check(&sandbox)
        .env("PORT_WEBHOOK_INGEST_URL", url)
        .env("HTTP_PROXY", proxy)
        .env("http_proxy", proxy)
        .args(["--probe"])
        .run()
        .await
        .exits(0);
    assert_told(&run, "ok", "webhook", "plain http");
    assert_told(&run, "ok", "probe", "Port accepted an envelope");
    answers.abort();
}

#[tokio::test]
async fn check_tells_in_json_a_line_each() {
    let sandbox = start(settled()).await;
    let run = check(&sandbox).env("LOG_FORMAT", "json").run().await.exits(0);
    let lines: Vec<Json> = run.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(
        lines.iter().all(|line| (line["state"] == "ok" || line["state"] == "skip") && line["text"].is_string()),
        "{run}"
    );
    assert!(lines.iter().any(|line| line["check"] == "sign-in"), "{run}");
}
