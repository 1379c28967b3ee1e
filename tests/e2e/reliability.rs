//! With a checkpoint: nothing late, down, killed or rejected is lost, and nothing is sent twice needlessly.

use std::time::Duration;

use sandbox::expected::Scope;
use sandbox::faults::{Fault, Rule};
use sandbox::names;
use sandbox::requests::Route;
use sandbox::settings::Lags;
use sandbox::{Host, Sandbox};
use serde_json::Value as Json;

use crate::harness::{DAY, Envelope, MINUTE, Program, Small, empty, envelopes, outline, settled, start};
use crate::remembered::{
    confirmed, entries, entry, file, remembering, set_aside, signal, since, state, summary, until, why_full,
};

const PRODUCTION: &str = r#"{"include": {"Environment": "Production"}}"#;

async fn assert_equal(sandbox: &Sandbox, scope: &Scope) {
    let differences = sandbox.diff(scope).await;
    assert!(differences.is_empty(), "{differences:#?}");
}

#[tokio::test]
async fn the_first_run_reads_everything_the_second_confirms_it_and_the_next_reads_only_what_changed() {
    let sandbox = start(settled()).await;
    let first = remembering(&sandbox).run().await.exits(0);
    assert!(why_full(&first).contains("there is no checkpoint yet"), "{first}");
    assert_equal(&sandbox, &Scope::default()).await;

    sandbox.clock().advance(15 * MINUTE);
    let second = remembering(&sandbox).run().await.exits(0);
    assert!(why_full(&second).contains("to be confirmed"), "{second}");
    assert_eq!((second.count("skipped"), second.count("upserts")), (135, 0), "{second}");
    sandbox.requests().clear();

    sandbox.clock().advance(15 * MINUTE);
    let third = remembering(&sandbox).run().await.exits(0);
    assert_eq!(third.report()["mode"], "incremental");
    assert_eq!(sandbox.requests().total(), 5, "sign-in, subscriptions, three queries; {third}");
}

#[cfg(unix)]
#[tokio::test]
async fn only_its_owner_may_read_the_checkpoint() {
    use std::os::unix::fs::PermissionsExt;
    let sandbox = start(settled()).await;
    remembering(&sandbox).run().await.exits(0);
    assert_eq!(std::fs::metadata(file(&sandbox)).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn a_record_that_shows_up_late_is_read_and_what_was_delivered_is_not_sent_again() {
    let mut settings = empty();
    settings.lags = Lags { record: 50 * MINUTE..=50 * MINUTE, row: Duration::ZERO..=Duration::ZERO };
    let small = Small::with(settings).await;
    confirmed(&small.sandbox).await;
    small.sandbox.clock().advance(MINUTE);
    small.sandbox.estate().retag_resource(&small.vault, names::tags(&[("late", "yes")]));

    small.sandbox.clock().advance(20 * MINUTE);
    let early = remembering(&small.sandbox).run().await.exits(0);
    assert_eq!(early.count("upserts"), 0);
    small.sandbox.clock().advance(40 * MINUTE);
    let late = remembering(&small.sandbox).run().await.exits(0);
    assert_eq!(late.count("upserts"), 1, "the vault, and not its group, which is held; {late}");
    assert_equal(&small.sandbox, &Scope::default()).await;

    small.sandbox.clock().advance(15 * MINUTE);
    let again = remembering(&small.sandbox).run().await.exits(0);
    assert_eq!((again.count("upserts"), again.count("skipped")), (0, 2), "the vault and the subscription; {again}");
}

#[tokio::test]
async fn without_an_overlap_nothing_is_read_twice() {
    let small = Small::start().await;
    confirmed(&small.sandbox).await;
    small.sandbox.clock().advance(MINUTE);
    small.sandbox.estate().touch_resource(&small.vault);
    small.sandbox.clock().advance(MINUTE);
    let once = remembering(&small.sandbox).env("CHANGE_OVERLAP_MINUTES", "0").run().await.exits(0);
    assert_eq!(once.count("rows"), 1);
    small.sandbox.clock().advance(MINUTE);
    let twice = remembering(&small.sandbox).env("CHANGE_OVERLAP_MINUTES", "0").run().await.exits(0);
    assert_eq!(twice.count("rows"), 0);
}

#[tokio::test]
async fn a_subscription_that_is_new_or_comes_back_is_read_whole_and_one_that_vanishes_is_left_alone() {
    let small = Small::start().await;
    remembering(&small.sandbox).run().await.exits(0);
    small.sandbox.clock().advance(MINUTE);
    let new = {
        let mut estate = small.sandbox.estate();
        let new = estate.add_subscription("Two", None);
        let group = estate.create_group(&new, "Rg-Two", "westeurope", None).unwrap();
        estate.create_resource(&group, "Microsoft.Web/sites", "Site-2", "eastus", None).unwrap();
        new
    };
    // By now, no change record shows it any more.
    small.sandbox.clock().advance(12 * DAY);
    small.sandbox.estate().forget();
    remembering(&small.sandbox).run().await.exits(0);
    assert_equal(&small.sandbox, &Scope::default()).await;

    small.sandbox.clock().advance(MINUTE);
    small.sandbox.estate().show_subscription(&new, false);
    let gone = remembering(&small.sandbox).run().await.exits(0).says(&["is not listed any more", &new]);
    assert_eq!(gone.count("deletes"), 0);
    small.sandbox.clock().advance(MINUTE);
    remembering(&small.sandbox).run().await.exits(0).says(&["is not listed any more", "last read at"]);

    small.sandbox.estate().show_subscription(&new, true);
    let site = small.sandbox.estate().resources().keys().last().unwrap().clone();
    small.sandbox.estate().retag_resource(&site, names::tags(&[("meanwhile", "1")]));
    small.sandbox.clock().advance(MINUTE);
    remembering(&small.sandbox).run().await.exits(0);
    assert_equal(&small.sandbox, &Scope::default()).await;
}

#[tokio::test]
async fn a_subscription_is_sent_when_its_name_or_tags_change_and_not_otherwise() {
    let small = Small::start().await;
    remembering(&small.sandbox).run().await.exits(0);
    small.sandbox.port().forget_deliveries().await;
    small.sandbox.clock().advance(MINUTE);
    small.sandbox.estate().rename_subscription(&small.subscription, "Renamed");
    small.sandbox.clock().advance(MINUTE);
    remembering(&small.sandbox).run().await.exits(0);
    let sent = envelopes(&small.sandbox).await;
    assert_eq!(outline(&sent), [("upsert", format!("/subscriptions/{}", small.subscription).as_str())]);
    small.sandbox.clock().advance(MINUTE);
    let again = remembering(&small.sandbox).run().await.exits(0);
    assert_eq!(again.count("upserts"), 0);
}

#[tokio::test]
async fn a_corrupt_checkpoint_is_set_aside_and_everything_is_read() {
    for (content, why, told) in [
        ("{\"version\":1,", "old", "an older version of this program wrote it"),
        ("no database", "corrupt", "cannot be used"),
    ] {
        let sandbox = start(settled()).await;
        std::fs::write(file(&sandbox), content).unwrap();
        let run = remembering(&sandbox).run().await.exits(0).says(&[why, told]);
        assert!(why_full(&run).contains(told), "{run}");
        let kept = set_aside(&file(&sandbox), why);
        assert_eq!(std::fs::read_to_string(&kept[0]).unwrap(), content);
        assert_eq!(summary(&sandbox).await["held"], 135);
        assert_equal(&sandbox, &Scope::default()).await;
    }
}

#[tokio::test]
async fn a_checkpoint_of_another_webhook_or_scope_means_a_full_run() {
    let signed = |program: Program| {
        program.env("PORT_WEBHOOK_SECRET", "another").env("PORT_WEBHOOK_SIGNATURE_HEADER", "x-signature")
    };
    type Edit<'a> = &'a dyn Fn(Program) -> Program;
    let narrower = r#"{"include": {"Environment": "Test"}}"#;
    let edits: [(&str, Edit<'_>); 3] = [
        ("the checkpoint was made for another catalog", &signed),
        ("the checkpoint was made for another catalog", &|program| program.env("PORT_WEBHOOK_PAYLOAD", "batch")),
        ("RESOURCE_GROUP_TAG_FILTERS has changed", &|program| program.env("RESOURCE_GROUP_TAG_FILTERS", narrower)),
    ];
    let sandbox = start(settled()).await;
    let run = || remembering(&sandbox).env("RESOURCE_GROUP_TAG_FILTERS", PRODUCTION);
    for (why, edit) in edits {
        edit(run()).args(["--mode", "full"]).run().await.exits(0);
        let after = run().run().await.exits(0);
        assert_eq!(after.report()["mode"], "full", "{after}");
        assert!(why_full(&after).contains(why), "{after}");
        run().run().await.exits(0);
        assert_eq!(run().run().await.exits(0).report()["mode"], "incremental");
    }
}

#[tokio::test]
async fn a_checkpoint_from_the_future_is_no_proof_and_means_a_full_run() {
    let ahead = settled();
    let clock = ahead.clock.clone();
    let sandbox = start(ahead).await;
    let now = clock.now_ms();
    clock.advance(400 * DAY);
    remembering(&sandbox).run().await.exits(0);
    let future = file(&sandbox).with_extension("future");
    std::fs::rename(file(&sandbox), &future).unwrap();

    let mut settings = settled();
    settings.clock = sandbox::clock::Clock::at(now);
    let sandbox = start(settings).await;
    let run = Program::new(&sandbox).checkpoint(&future).run().await.exits(0);
    assert_eq!((run.count("upserts"), run.report()["mode"].as_str()), (135, Some("full")), "{run}");
    assert_equal(&sandbox, &Scope::default()).await;
}

#[tokio::test]
async fn a_filter_that_is_gone_stops_the_run_before_any_request_unless_a_full_one_is_asked_for() {
    let sandbox = start(settled()).await;
    for (variable, value) in
        [("RESOURCE_GROUP_TAG_FILTERS", PRODUCTION), ("RESOURCE_TYPES", "microsoft.keyvault/vaults")]
    {
        remembering(&sandbox).args(["--mode", "full"]).env(variable, value).run().await.exits(0);
        sandbox.requests().clear();
        remembering(&sandbox).run().await.exits(2).says(&[variable, "not set any more", "--mode full"]);
        assert_eq!(sandbox.requests().total(), 0);
        remembering(&sandbox).args(["--mode", "full"]).run().await.exits(0);
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_written_stops_the_run_before_any_request() {
    let sandbox = start(settled()).await;
    for variable in ["CHECKPOINT_FILE", "DEAD_LETTER_FILE"] {
        Program::new(&sandbox)
            .env(variable, "/nonexistent/directory/file")
            .run()
            .await
            .exits(2)
            .says(&[variable, "/nonexistent/directory/file"]);
    }
    assert_eq!(sandbox.requests().total(), 0);
}

#[tokio::test]
async fn after_an_outage_of_the_webhook_the_next_run_delivers_what_was_not() {
    let small = Small::start().await;
    remembering(&small.sandbox).run().await.exits(0);
    small.sandbox.clock().advance(MINUTE);
    small.sandbox.estate().touch_resource(&small.vault);
    small.sandbox.clock().advance(MINUTE);
    small.sandbox.set_up(Host::Port, false).await;
    remembering(&small.sandbox).run().await.exits(1);
    // Whether the mark advances depends on when the outage is detected, but the change is kept either way.
    assert_eq!(state(&small.sandbox, &small.vault).await, "unknown", "what was not delivered is an entry in doubt");
    small.sandbox.set_up(Host::Port, true).await;
    // Later than the overlap: only the checkpoint still knows it.
    small.sandbox.clock().advance(5 * 60 * MINUTE);
    let mended = remembering(&small.sandbox).run().await.exits(0);
    assert_eq!(mended.count("upserts"), 1, "{mended}");
    assert_equal(&small.sandbox, &Scope::default()).await;
}

#[tokio::test]
async fn a_batch_that_fails_holds_back_no_other() {
    let sandbox = start(settled()).await;
    let run = || remembering(&sandbox).env("SUBSCRIPTION_BATCH_SIZE", "1");
    run().run().await.exits(0);
    sandbox.clock().advance(15 * MINUTE);
    let guids: Vec<String> = sandbox.estate().subscriptions().iter().map(|one| one.guid.to_string()).collect();
    let before = since(&sandbox, &guids[0]).await;
    sandbox.faults().add(Route::Graph, Rule::new(Fault::status(400)).containing(&guids[0]));
    run().run().await.exits(1);
    assert_eq!(since(&sandbox, &guids[0]).await, before);
    assert_ne!(since(&sandbox, &guids[1]).await, before);
    assert_ne!(since(&sandbox, &guids[2]).await, before);
}

#[tokio::test]
async fn a_killed_run_leaves_no_memory_to_be_trusted_and_loses_nothing() {
    let small = Small::start().await;
    remembering(&small.sandbox).run().await.exits(0);
    small.sandbox.clock().advance(MINUTE);
    small.sandbox.estate().touch_resource(&small.vault);
    small.sandbox.clock().advance(MINUTE);
    remembering(&small.sandbox).run().await.exits(0);
    assert_eq!(state(&small.sandbox, &small.vault).await, "held");

    small.sandbox.estate().retag_resource(&small.vault, names::tags(&[("n", "2")]));
    small.sandbox.clock().advance(MINUTE);
    let hang = small.sandbox.faults().add(Route::Webhook, Rule::new(Fault::Hang));
    let before = small.sandbox.requests().count(Route::Webhook);
    let mut child = remembering(&small.sandbox).into_command().spawn().unwrap();
    until("a post", || small.sandbox.requests().count(Route::Webhook) > before).await;
    child.kill().await.unwrap();
    assert_eq!(state(&small.sandbox, &small.vault).await, "unknown", "written down before the post");
    small.sandbox.faults().remove(hang);

    small.sandbox.clock().advance(MINUTE);
    let next = remembering(&small.sandbox).run().await.exits(0);
    assert_eq!(next.count("upserts"), 1, "{next}");
    assert_equal(&small.sandbox, &Scope::default()).await;
}

#[tokio::test]
async fn an_envelope_that_port_refuses_is_kept_as_a_dead_letter_and_holds_nothing_back() {
    let small = Small::start().await;
    let letters = small.sandbox.directory().join("dead-letters.jsonl");
    let run = || remembering(&small.sandbox).env("DEAD_LETTER_FILE", &letters);
    run().run().await.exits(0);
    let before = since(&small.sandbox, &small.subscription).await;
    small.sandbox.clock().advance(MINUTE);
    let site = {
        let mut estate = small.sandbox.estate();
        estate.touch_resource(&small.vault);
        estate.create_resource(&small.group, "Microsoft.Web/sites", "site", "eastus", None).unwrap()
    };
    small.sandbox.clock().advance(MINUTE);
    let refusal = Fault::status(422).with_body(r#"{"ok":false,"error":"x","message":"no such vault"}"#);
    let is_vault = |body: &[u8]| String::from_utf8_lossy(body).contains("/vaults/vault-1\"");
    let rule = small.sandbox.faults().add(Route::Webhook, Rule::new(refusal).when(is_vault));
    let refused = run().run().await.exits(4).says(&["vault-1", "422", "no such vault"]);
    assert_eq!(refused.count("failed"), 1);
    assert_ne!(since(&small.sandbox, &small.subscription).await, before, "the checkpoint moves");
    assert_eq!(state(&small.sandbox, &small.vault).await, "rejected");
    let letter: Json = serde_json::from_str(std::fs::read_to_string(&letters).unwrap().trim()).unwrap();
    assert_eq!(letter["status"], 422);
    assert_eq!(letter["reason"], "no such vault");
    assert_eq!(letter["envelope"]["operation"], "upsert");
    assert_eq!(letter["envelope"]["data"]["resourceId"], *small.vault);

    // Read again, it is not sent again unchanged; the run says so.
    let posts = small.sandbox.requests().count(Route::Webhook);
    small.sandbox.clock().advance(MINUTE);
    run().run().await.exits(4).says(&["found again"]);
    assert_eq!(small.sandbox.requests().count(Route::Webhook), posts);

    // Once repaired, it is sent by hand in its current state.
    small.sandbox.faults().remove(rule);
    small.sandbox.port().forget_deliveries().await;
    let resend = run().args(["resend", "--from", letters.to_str().unwrap()]).run().await.exits(0);
    assert_eq!(resend.report()["mode"], "resend");
    let sent = envelopes(&small.sandbox).await;
    assert!(sent.iter().any(|one| one.id() == &*small.vault), "{:?}", outline(&sent));
    assert!(!sent.iter().any(|one| one.id() == &*site));
    small.sandbox.clock().advance(MINUTE);
    run().run().await.exits(0);
    assert_equal(&small.sandbox, &Scope::default()).await;
}

#[tokio::test]
async fn resend_sends_what_exists_as_it_is_and_deletes_what_does_not() {
    let small = Small::start().await;
    Program::full(&small.sandbox).run().await.exits(0);
    small.sandbox.port().forget_deliveries().await;
    let gone = format!("{}/providers/Microsoft.Web/sites/gone", small.group);
    let run = Program::new(&small.sandbox)
        .args([
            "resend",
            &small.vault.to_uppercase().replace("/SUBSCRIPTIONS", "/subscriptions"),
            &gone,
            "--allow-delete",
        ])
        .run()
        .await
        .exits(0)
        .says(&[
            &format!("accepted: upsert of {}", small.vault),
            &format!("accepted: delete of {}", gone.to_lowercase()),
        ]);
    let sent = envelopes(&small.sandbox).await;
    let resources: Vec<(&str, &str)> =
        sent.iter().filter(|one| one.is_resource()).map(|one| (one.operation.as_str(), one.id())).collect();
    assert_eq!(resources, [("upsert", &*small.vault), ("delete", &*gone.to_lowercase())], "{run}");
}

#[tokio::test]
async fn resend_deletes_what_does_not_exist_only_where_that_is_allowed() {
    let small = Small::start().await;
    let gone = format!("{}/providers/Microsoft.Web/sites/gone", small.group);
    let run = Program::new(&small.sandbox).args(["resend", &small.vault, &gone]).run().await.exits(1);
    let run =
        run.says(&["nothing is sent", "add --allow-delete"]).tells(&["1 of the ids are unknown", "--allow-delete"]);
    assert_eq!((run.count("upserts"), run.count("deletes")), (2, 0), "the other is sent, with its group; {run}");
}

#[tokio::test]
async fn resend_never_deletes_what_is_out_of_scope_or_cannot_be_looked_up() {
    let small = Small::start().await;
    let run = Program::new(&small.sandbox)
        .env("RESOURCE_TYPES", "microsoft.web/sites")
        .args(["resend", &small.vault])
        .run()
        .await
        .exits(0)
        .says(&["out of scope"]);
    assert_eq!((run.count("upserts"), run.count("deletes")), (0, 0));
    let elsewhere = "/subscriptions/11111111-2222-3333-4444-555555555555/resourceGroups/g";
    let run = Program::new(&small.sandbox).args(["resend", elsewhere]).run().await.exits(1);
    assert_eq!(run.count("deletes"), 0);
    Program::new(&small.sandbox)
        .args(["resend", "my-vault"])
        .run()
        .await
        .exits(2)
        .says(&["my-vault", "/subscriptions/"]);
}

#[tokio::test]
async fn a_signal_lets_posts_in_flight_end_and_tells_what_was_done() {
    for (name, code) in [("-INT", 130), ("-TERM", 143)] {
        let small = Small::start().await;
        small.sandbox.faults().add(Route::Webhook, Rule::new(Fault::Slow(Duration::from_millis(700))));
        let child = remembering(&small.sandbox).into_command().spawn().unwrap();
        until("a post", || small.sandbox.requests().count(Route::Webhook) > 0).await;
        signal(&child, name).await;
        let output = child.wait_with_output().await.unwrap();
        assert_eq!(output.status.code(), Some(code));
        let report: Json = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["exit"], code);
        assert_eq!(report["upserts"], 1, "the subscription was in flight; nothing went out after it");
        assert_eq!(since(&small.sandbox, &small.subscription).await, "never");
        small.sandbox.faults().clear();
        remembering(&small.sandbox).run().await.exits(0);
        assert_equal(&small.sandbox, &Scope::default()).await;
    }
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let small = Small::start().await;
    small.sandbox.faults().add(Route::Webhook, Rule::new(Fault::Hang));
    let mut child = Program::full(&small.sandbox).into_command().spawn().unwrap();
    until("a post", || small.sandbox.requests().count(Route::Webhook) > 0).await;
    signal(&child, "-TERM").await;
    // The program reports when the first has arrived.
    let mut log = tokio::io::BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("second signal") {
        line.clear();
        tokio::io::AsyncBufReadExt::read_line(&mut log, &mut line).await.unwrap();
    }
    let started = std::time::Instant::now();
    let status = loop {
        signal(&child, "-TERM").await;
        if let Ok(status) = tokio::time::timeout(Duration::from_millis(200), child.wait()).await {
            break status.unwrap();
        }
    };
    assert_eq!(status.code(), Some(143));
    assert!(started.elapsed() < Duration::from_secs(8), "it did not wait for what was in flight");
}

#[tokio::test]
async fn a_run_ends_in_good_order_when_its_time_is_up() {
    let small = Small::start().await;
    small.sandbox.faults().add(Route::Graph, Rule::new(Fault::Hang).after(1));
    let run = remembering(&small.sandbox).env("RUN_TIMEOUT_SECONDS", "1").run().await.exits(1);
    run.says(&["RUN_TIMEOUT_SECONDS"]);
    assert_eq!(since(&small.sandbox, &small.subscription).await, "never");
}

#[tokio::test]
async fn two_runs_on_one_host_keep_apart_and_the_second_waits_and_then_names_the_file() {
    let small = Small::start().await;
    small.sandbox.faults().add(Route::Webhook, Rule::new(Fault::Hang));
    let mut first = remembering(&small.sandbox).into_command().spawn().unwrap();
    until("a post", || small.sandbox.requests().count(Route::Webhook) > 0).await;
    let posts = small.sandbox.requests().count(Route::Webhook);
    let second = remembering(&small.sandbox).run().await.exits(1).tells(&["is in use by another process"]);
    let path = file(&small.sandbox);
    let second = second.tells(&[path.to_str().unwrap()]).says(&["waiting up to 10 s"]);
    assert!(second.took >= Duration::from_secs(10), "{second}");
    assert_eq!(small.sandbox.requests().count(Route::Webhook), posts);
    first.kill().await.unwrap();
    small.sandbox.faults().clear();
    remembering(&small.sandbox).run().await.exits(0);
    let files = std::fs::read_dir(small.sandbox.directory()).unwrap().map(|entry| entry.unwrap().path());
    let left: Vec<_> = files.filter(|path| path.to_string_lossy().contains("checkpoint")).collect();
    assert_eq!(left, [path], "the file has no companions");
}

#[tokio::test]
async fn a_full_run_comes_of_itself_when_the_last_is_old() {
    let small = Small::start().await;
    let run = || remembering(&small.sandbox).env("FULL_SYNC_EVERY_HOURS", "24");
    confirmed(&small.sandbox).await;
    small.sandbox.clock().advance(23 * 60 * MINUTE);
    assert_eq!(run().run().await.exits(0).report()["mode"], "incremental");
    small.sandbox.clock().advance(2 * 60 * MINUTE);
    let full = run().run().await.exits(0);
    assert_eq!(full.report()["mode"], "full");
    assert!(why_full(&full).contains("the last full comparison was at"), "{full}");
    small.sandbox.clock().advance(MINUTE);
    assert_eq!(run().run().await.exits(0).report()["mode"], "incremental");
}

/// One group in production with a vault in it, and one that is not in production.
async fn in_production() -> Small {
    let small = Small::start().await;
    small.sandbox.estate().retag_group(&small.group, names::tags(&[("environment", "production")]));
    small.sandbox.clock().advance(15 * DAY);
    remembering(&small.sandbox).env("RESOURCE_GROUP_TAG_FILTERS", PRODUCTION).run().await.exits(0);
    small.sandbox.port().forget_deliveries().await;
    small.sandbox.clock().advance(MINUTE);
    small
}

fn production() -> Scope {
    Scope { include: vec![("environment".into(), "production".into())], ..Scope::default() }
}

#[tokio::test]
async fn a_group_whose_tags_change_takes_its_resources_out_of_the_catalog_and_back() {
    let small = in_production().await;
    let run = || remembering(&small.sandbox).env("RESOURCE_GROUP_TAG_FILTERS", PRODUCTION);
    small.sandbox.estate().retag_group(&small.group, names::tags(&[("environment", "test")]));
    small.sandbox.clock().advance(MINUTE);
    run().run().await.exits(0);
    let sent = envelopes(&small.sandbox).await;
    assert_eq!(outline(&sent), [("delete", &*small.vault), ("delete", &*small.group)], "children first");
    assert_equal(&small.sandbox, &production()).await;

    small.sandbox.clock().advance(MINUTE);
    assert_eq!(run().run().await.exits(0).count("deletes"), 0, "a group that is not in scope deletes nothing");

    small.sandbox.port().forget_deliveries().await;
    small.sandbox.estate().retag_group(&small.group, names::tags(&[("ENVIRONMENT", "Production")]));
    small.sandbox.clock().advance(MINUTE);
    run().run().await.exits(0);
    let sent = envelopes(&small.sandbox).await;
    assert_eq!(outline(&sent), [("upsert", &*small.group), ("upsert", &*small.vault)]);
    assert_equal(&small.sandbox, &production()).await;
}

#[tokio::test]
async fn what_left_the_scope_is_kept_where_that_is_asked_for_and_without_a_checkpoint() {
    let small = in_production().await;
    small.sandbox.estate().retag_group(&small.group, names::tags(&[("environment", "test")]));
    small.sandbox.clock().advance(MINUTE);
    let filtered = |program: Program| program.env("RESOURCE_GROUP_TAG_FILTERS", PRODUCTION);
    let stateless = filtered(Program::new(&small.sandbox)).run().await.exits(0);
    let keeping = filtered(remembering(&small.sandbox)).env("OUT_OF_SCOPE", "keep").run().await.exits(0);
    assert_eq!((stateless.count("deletes"), keeping.count("deletes")), (0, 0));
    assert!(envelopes(&small.sandbox).await.iter().all(|one: &Envelope| one.operation == "upsert"));
}

#[tokio::test]
async fn what_is_deleted_in_a_group_that_is_kept_as_it_leaves_the_scope_is_deleted_once() {
    let small = in_production().await;
    small.sandbox.estate().delete_resource(&small.vault);
    small.sandbox.estate().retag_group(&small.group, names::tags(&[("environment", "test")]));
    let mut deletes = Vec::new();
    for _ in 0..3 {
        small.sandbox.clock().advance(MINUTE);
        let keeping = remembering(&small.sandbox).env("OUT_OF_SCOPE", "keep");
        let run = keeping.env("RESOURCE_GROUP_TAG_FILTERS", PRODUCTION).run().await.exits(0);
        deletes.push(run.count("deletes"));
    }
    assert_eq!(deletes, [1, 0, 0]);
}

#[tokio::test]
async fn a_record_without_its_row_is_watched_until_the_row_is_there() {
    let mut settings = empty();
    settings.lags = Lags { record: Duration::ZERO..=Duration::ZERO, row: 5 * 60 * MINUTE..=5 * 60 * MINUTE };
    let small = Small::with(settings).await;
    remembering(&small.sandbox).run().await.exits(0);
    small.sandbox.clock().advance(MINUTE);
    let site =
        small.sandbox.estate().create_resource(&small.group, "Microsoft.Web/sites", "site", "eastus", None).unwrap();
    small.sandbox.clock().advance(MINUTE);
    let early = remembering(&small.sandbox).run().await.exits(0);
    assert_eq!((early.count("upserts"), early.count("unresolved")), (0, 1), "{early}");
    let watched = entry(&small.sandbox, &site).await;
    assert_eq!(watched["state"], "nothing");
    assert!(watched["absent"].is_string(), "{watched}");
    // After the overlap, only watching it brings it back.
    for _ in 0..6 {
        small.sandbox.clock().advance(60 * MINUTE);
        remembering(&small.sandbox).run().await.exits(0);
    }
    assert_equal(&small.sandbox, &Scope::default()).await;
    assert!(entries(&small.sandbox).await.iter().all(|entry| entry["absent"].is_null()));
}
