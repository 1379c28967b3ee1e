//! With a checkpoint: whatever fails between two runs, the catalog converges to the truth, and no run that missed
//! something reports success.

use std::time::Duration;

use sandbox::Sandbox;
use sandbox::expected::Scope;
use sandbox::faults::{Fault, Rule};
use sandbox::names;
use sandbox::requests::Route;
use sandbox::settings::{Lags, MAPPING_BATCH};

use crate::harness::{MINUTE, Program, Run, Small, break_down, empty, envelopes, outline, passing, settled, start};
use crate::remembered::{remembering, state};

const HOUR: Duration = Duration::from_secs(60 * 60);
const PRODUCTION: &str = r#"{"include": {"Environment": "Production"}}"#;
const GROUP: &str = r#""type":"microsoft.resources/subscriptions/resourcegroups""#;
const SUBSCRIPTION: &str = r#""type":"microsoft.resources/subscriptions","#;

async fn assert_equal(sandbox: &Sandbox, run: &Run) {
    crate::harness::assert_equal(sandbox, &Scope::default(), run).await;
}

fn late_rows(by: Duration) -> Lags {
    Lags { record: Duration::ZERO..=Duration::ZERO, row: by..=by }
}

fn prompt() -> Lags {
    late_rows(Duration::ZERO)
}

impl Small {
    /// Creates a resource in its group now.
    fn add(&self, name: &str) -> std::sync::Arc<str> {
        let mut estate = self.sandbox.estate();
        estate.create_resource(&self.group, "microsoft.keyvault/vaults", name, "eastus", None).unwrap()
    }
}

#[tokio::test]
async fn what_a_webhook_refused_while_it_was_wrong_is_sent_again() {
    let small = Small::start().await;
    remembering(&small.sandbox).run().await.exits(0);
    let new = ["a", "b", "c"].map(|name| small.add(name));
    small.sandbox.clock().advance(MINUTE);
    break_down(&small.sandbox, Route::Webhook, Rule::new(Fault::status(422)));
    remembering(&small.sandbox).run().await.exits(1).tells(&["the webhook itself may be wrong"]);
    small.sandbox.faults().clear();
    let run = remembering(&small.sandbox).run().await.exits(0);
    assert_eq!(run.count("upserts"), new.len() as u64, "they, and not their group, which is held; {run}");
    assert_equal(&small.sandbox, &run).await;
}

#[tokio::test]
async fn a_group_that_failed_is_sent_again_though_what_is_in_it_was_delivered() {
    let small = Small::start().await;
    remembering(&small.sandbox).run().await.exits(0);
    small.sandbox.clock().advance(MINUTE);
    small.sandbox.estate().retag_group(&small.group, names::tags(&[("n", "1")]));
    small.sandbox.estate().touch_resource(&small.vault);
    break_down(&small.sandbox, Route::Webhook, Rule::new(passing(503)).containing(GROUP));
    let run = remembering(&small.sandbox).run().await.exits(1);
    assert_eq!((run.count("upserts"), run.count("failed")), (1, 1), "{run}");
    // Now it is rejected, while another one is accepted.
    small.sandbox.faults().clear();
    break_down(&small.sandbox, Route::Webhook, Rule::new(Fault::status(400)).containing(GROUP));
    small.add("other");
    small.sandbox.clock().advance(MINUTE);
    let run = remembering(&small.sandbox).run().await.exits(4);
    assert_eq!((run.count("upserts"), run.count("failed")), (1, 1), "{run}");
    let before = envelopes(&small.sandbox).await.len();
    let run = remembering(&small.sandbox).run().await.exits(4).tells(&["found again"]);
    assert_eq!(run.count("failed"), 1, "it is found again, and not sent again as it is; {run}");
    assert_eq!(envelopes(&small.sandbox).await.len(), before);
    small.sandbox.faults().clear();
    let id = small.group.to_string();
    remembering(&small.sandbox).args(["resend", &id]).run().await.exits(0);
    let run = remembering(&small.sandbox).run().await.exits(0);
    assert_equal(&small.sandbox, &run).await;
}

#[tokio::test]
async fn a_delete_that_failed_is_sent_again_after_its_group_left_the_scope() {
    let small = Small::start().await;
    let run = || remembering(&small.sandbox).env("RESOURCE_GROUP_TAG_FILTERS", PRODUCTION).run();
    small.sandbox.estate().retag_group(&small.group, names::tags(&[("Environment", "Production")]));
    let left_over = small.add("left-over");
    small.sandbox.clock().advance(MINUTE);
    run().await.exits(0);
    small.sandbox.estate().retag_group(&small.group, names::tags(&[("Environment", "Test")]));
    small.sandbox.clock().advance(MINUTE);
    let this = format!(r#""resourceId":"{left_over}""#);
    break_down(&small.sandbox, Route::Webhook, Rule::new(passing(503)).containing(&this));
    run().await.exits(1);
    small.sandbox.faults().clear();
    let before = envelopes(&small.sandbox).await.len();
    small.sandbox.clock().advance(MINUTE);
    run().await.exits(0);
    let sent = envelopes(&small.sandbox).await.split_off(before);
    assert!(outline(&sent).contains(&("delete", &*left_over)), "{sent:?}");
    let quiet = run().await.exits(0);
    assert_eq!((quiet.count("upserts"), quiet.count("deletes")), (0, 0), "{quiet}");
}

#[tokio::test]
async fn a_delete_is_not_concluded_from_its_record_while_the_row_shows() {
    let small = Small::start().await;
    remembering(&small.sandbox).run().await.exits(0);
    // The record of a delete shows at once, but the row disappears late.
    small.sandbox.estate().set_lags(late_rows(4 * HOUR));
    small.sandbox.estate().delete_resource(&small.vault);
    small.sandbox.clock().advance(MINUTE);
    assert_eq!(remembering(&small.sandbox).run().await.exits(0).count("deletes"), 0);
    small.sandbox.clock().advance(3 * HOUR);
    let full = remembering(&small.sandbox).args(["--mode", "full"]).run().await.exits(0);
    assert_eq!(full.count("deletes"), 0, "{full}");
    // By now the record is older than the overlap: the next full run finds the row gone, and the one after it confirms
    // that.
    small.sandbox.clock().advance(24 * HOUR);
    let full = remembering(&small.sandbox).run().await.exits(0);
    assert_eq!((full.report()["mode"].as_str(), full.count("deletes")), (Some("full"), 0), "{full}");
    small.sandbox.clock().advance(HOUR);
    let run = remembering(&small.sandbox).run().await.exits(0);
    assert_eq!((run.count("deletes"), run.count("unresolved")), (1, 0), "{run}");
    assert_equal(&small.sandbox, &run).await;
}

#[tokio::test]
async fn a_delete_whose_row_goes_late_is_sent_once_the_row_is_gone() {
    let small = Small::start().await;
    remembering(&small.sandbox).run().await.exits(0);
    small.sandbox.estate().set_lags(late_rows(HOUR));
    small.sandbox.estate().delete_resource(&small.vault);
    small.sandbox.clock().advance(MINUTE);
    assert_eq!(remembering(&small.sandbox).run().await.exits(0).count("deletes"), 0);
    small.sandbox.clock().advance(HOUR);
    let run = remembering(&small.sandbox).run().await.exits(0);
    assert_eq!(run.count("deletes"), 1, "the overlap reads its record again; {run}");
    assert_equal(&small.sandbox, &run).await;
}

#[tokio::test]
async fn what_was_made_again_is_not_deleted_while_its_row_is_late() {
    let small = Small::start().await;
    Program::full(&small.sandbox).run().await.exits(0);
    for group in [false, true] {
        small.sandbox.estate().set_lags(prompt());
        let group_id = small.group.clone();
        if group {
            small.sandbox.estate().delete_group(&group_id);
        } else {
            small.sandbox.estate().delete_resource(&small.vault);
        }
        small.sandbox.clock().advance(HOUR);
        small.sandbox.estate().set_lags(late_rows(4 * HOUR));
        if group {
            let mut estate = small.sandbox.estate();
            estate.create_group(&small.subscription, "Rg-One", "westeurope", None).unwrap();
        } else {
            let mut estate = small.sandbox.estate();
            estate.create_resource(&group_id, "Microsoft.KeyVault/vaults", "Vault-1", "eastus", None).unwrap();
        }
        small.sandbox.clock().advance(MINUTE);
        let run = Program::full(&small.sandbox).run().await.exits(0);
        let id = if group { &*group_id } else { &*small.vault };
        let sent = envelopes(&small.sandbox).await;
        assert!(!outline(&sent).contains(&("delete", id)), "{id}: {run}");
        small.sandbox.clock().advance(5 * HOUR);
    }
}

#[tokio::test]
async fn a_full_run_that_did_not_finish_is_finished_by_the_next() {
    for (fault, only) in [(passing(503), "Vault-1"), (Fault::status(404), "")] {
        let small = Small::start().await;
        remembering(&small.sandbox).run().await.exits(0);
        // How to repair a catalog: empty it, and send everything again.
        small.sandbox.port().clear().unwrap();
        small.sandbox.clock().advance(MINUTE);
        break_down(&small.sandbox, Route::Webhook, Rule::new(fault).containing(only));
        remembering(&small.sandbox).args(["--resend-all"]).run().await.exits(1);
        small.sandbox.faults().clear();
        assert_eq!(state(&small.sandbox, &small.vault).await, "unknown");
        let run = remembering(&small.sandbox).run().await.exits(0);
        let failed = if only.is_empty() { 3 } else { 1 };
        assert_eq!(run.count("upserts"), failed, "what failed, and nothing else; {run}");
        assert_equal(&small.sandbox, &run).await;
        let quiet = remembering(&small.sandbox).run().await.exits(0);
        assert_eq!((quiet.report()["mode"].as_str(), quiet.count("upserts")), (Some("incremental"), 0), "{quiet}");
    }
}

#[tokio::test]
async fn one_envelope_that_is_turned_away_holds_back_no_other() {
    for (payload, status) in [("single", 403), ("batch", 403), ("single", 405)] {
        let mut settings = settled();
        if payload == "batch" {
            MAPPING_BATCH.clone_into(&mut settings.port.mapping);
        }
        let sandbox = start(settings).await;
        let disliked = sandbox.estate().resources().keys().last().unwrap().clone();
        let this = format!(r#""resourceId":"{disliked}""#);
        break_down(&sandbox, Route::Webhook, Rule::new(Fault::status(status)).containing(&this));
        let run = Program::full(&sandbox).env("PORT_WEBHOOK_PAYLOAD", payload).run().await.exits(1);
        let run = run.tells(&["1 changes were not delivered"]);
        assert!(run.err.contains(&*disliked), "the log names it; {run}");
        assert_eq!((run.count("upserts"), run.count("failed")), (134, 1), "{run}");
    }
}

#[tokio::test]
async fn a_subscription_that_port_refused_is_told_of_until_it_changes() {
    let small = Small::start().await;
    break_down(&small.sandbox, Route::Webhook, Rule::new(Fault::status(400)).containing(SUBSCRIPTION));
    remembering(&small.sandbox).run().await.exits(4);
    for _ in 0..2 {
        small.sandbox.clock().advance(MINUTE);
        let run = remembering(&small.sandbox).run().await.exits(4).tells(&["1 entities", "found again"]);
        assert_eq!((run.count("upserts"), run.count("failed")), (0, 1), "{run}");
    }
    small.sandbox.faults().clear();
    small.sandbox.estate().rename_subscription(&small.subscription, "Renamed");
    small.sandbox.clock().advance(MINUTE);
    let run = remembering(&small.sandbox).run().await.exits(0);
    assert_equal(&small.sandbox, &run).await;
}

#[tokio::test]
async fn a_success_that_is_not_ports_is_none() {
    let small = Small::start().await;
    break_down(&small.sandbox, Route::Webhook, Rule::new(Fault::Html));
    let run = remembering(&small.sandbox).run().await.exits(1);
    run.tells(&["does not exist or is not yours", "status 200 with text/html", "PORT_WEBHOOK_INGEST_URL"]);
    small.sandbox.faults().clear();
    let run = remembering(&small.sandbox).run().await.exits(0);
    assert_equal(&small.sandbox, &run).await;
}

#[tokio::test]
async fn what_is_late_out_of_scope_is_not_sent_once_it_shows() {
    let mut settings = empty();
    settings.lags = prompt();
    let small = Small::with(settings).await;
    let run = || remembering(&small.sandbox).env("RESOURCE_GROUP_TAG_FILTERS", PRODUCTION).run();
    run().await.exits(0);
    small.sandbox.estate().set_lags(late_rows(2 * HOUR));
    small.add("elsewhere");
    small.sandbox.clock().advance(MINUTE);
    assert_eq!(run().await.exits(0).count("unresolved"), 1);
    small.sandbox.clock().advance(3 * HOUR);
    let told = run().await.exits(0);
    assert_eq!((told.count("unresolved"), told.count("upserts")), (0, 0), "{told}");
}

#[tokio::test]
async fn a_resource_that_is_gone_is_named_before_its_delete_is_sent_by_hand() {
    let small = Small::start().await;
    let id = format!("{}-misspelt", small.vault);
    let resend = || Program::new(&small.sandbox).args(["resend", &id]);
    let told = format!("{id} does not exist");
    assert_eq!(resend().run().await.exits(1).says(&[&told]).count("deletes"), 0);
    assert_eq!(resend().args(["--allow-delete"]).run().await.exits(0).says(&[&told]).count("deletes"), 1);
}
