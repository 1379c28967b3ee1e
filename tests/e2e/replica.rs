//! The checkpoint is a replica of the catalog: a run sends the differences, whatever happened to either.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sandbox::Sandbox;
use sandbox::expected::Scope;
use sandbox::faults::{Fault, Rule};
use sandbox::names;
use sandbox::requests::Route;
use serde_json::Value as Json;

use crate::harness::{
    DAY, MINUTE, Program, Run, Small, assert_equal, break_down, envelopes, of_resources, passing, settled, start,
};
use crate::remembered::{
    compared, confirmed, entry, file, remembering, set_aside, signal, state, summary, until, why_full,
};

pub(crate) const HOUR: Duration = Duration::from_secs(60 * 60);
pub(crate) const TICK: Duration = Duration::from_secs(20 * 60);
pub(crate) const PRODUCTION: &str = r#"{"include": {"Environment": "Production"}}"#;

pub(crate) fn posts(sandbox: &Sandbox) -> u64 {
    sandbox.requests().count(Route::Webhook)
}

/// A regular run, one interval after the previous one.
pub(crate) async fn tick(sandbox: &Sandbox) -> Run {
    sandbox.clock().advance(TICK);
    remembering(sandbox).run().await
}

/// Three ticks after a failure the catalog is right, and the next one has nothing to send.
pub(crate) async fn assert_heals(sandbox: &Sandbox, scope: &Scope, run: impl Fn() -> Program) {
    for _ in 0..3 {
        sandbox.clock().advance(TICK);
        run().run().await.exits(0);
    }
    let before = posts(sandbox);
    sandbox.clock().advance(TICK);
    let quiet = run().run().await.exits(0);
    assert_equal(sandbox, scope, &quiet).await;
    assert_eq!(posts(sandbox), before, "{quiet}");
}

#[tokio::test]
async fn an_idle_run_and_a_full_run_over_an_unchanged_estate_post_nothing_and_resend_all_posts_everything_once() {
    let sandbox = start(settled()).await;
    confirmed(&sandbox).await;
    assert_eq!(posts(&sandbox), 135);

    assert_eq!(tick(&sandbox).await.exits(0).report()["mode"], "incremental");
    assert_eq!(posts(&sandbox), 135, "an idle run");
    sandbox.clock().advance(TICK);
    let full = remembering(&sandbox).args(["--mode", "full"]).run().await.exits(0);
    assert_eq!((full.report()["mode"].as_str(), full.count("skipped")), (Some("full"), 135), "{full}");
    sandbox.clock().advance(DAY);
    assert_eq!(tick(&sandbox).await.exits(0).report()["mode"], "full");
    assert_eq!(posts(&sandbox), 135, "full runs");

    sandbox.port().forget_deliveries().await;
    let all = remembering(&sandbox).args(["--resend-all"]).run().await.exits(0);
    assert_eq!((all.report()["mode"].as_str(), all.count("upserts")), (Some("full"), 135), "{all}");
    let sent = envelopes(&sandbox).await;
    let ids: std::collections::BTreeSet<&str> = sent.iter().map(|envelope| envelope.id()).collect();
    assert_eq!((sent.len(), ids.len()), (135, 135));
    tick(&sandbox).await.exits(0);
    assert_eq!(posts(&sandbox), 2 * 135);
}

/// What a checkpoint holds for certain while a run has it open, according to a copy.
async fn certain(sandbox: &Sandbox) -> u64 {
    let copy = sandbox.directory().join("copy");
    std::fs::copy(file(sandbox), &copy).unwrap();
    let run =
        Program::bare().env("LOG_FORMAT", "json").args(["checkpoint", "--list", copy.to_str().unwrap()]).run().await;
    run.out.matches("\"state\":\"held\"").count() as u64
}

#[tokio::test]
async fn a_first_full_run_that_is_cut_short_five_times_goes_on_where_it_was() {
    let sandbox = start(of_resources(2000)).await;
    let there = 2 + 8 + 2000;
    for by in ["-TERM", "-KILL", "-KILL", "-TERM", "-KILL"] {
        let is_killed = by == "-KILL";
        if is_killed {
            // This many are accepted; the next ones wait for an answer that never comes.
            break_down(&sandbox, Route::Webhook, Rule::new(Fault::Hang).after(300));
        }
        let before = posts(&sandbox);
        let mut child = remembering(&sandbox).into_command().spawn().unwrap();
        until("posts", || posts(&sandbox) >= before + 325).await;
        if is_killed {
            // Only the file is left: accepted posts are in it although their page is unfinished.
            let (accepted, _) = sandbox.port().received();
            let wait = async { while certain(&sandbox).await < accepted {} };
            tokio::time::timeout(Duration::from_secs(30), wait).await.expect("what was accepted is saved soon");
        }
        signal(&child, by).await;
        child.wait().await.unwrap();
        sandbox.faults().clear();
    }
    let run = remembering(&sandbox).run().await.exits(0);
    assert!(why_full(&run).contains("did not finish"), "{run}");
    assert_equal(&sandbox, &Scope::default(), &run).await;
    let (accepted, _) = sandbox.port().received();
    assert!(accepted * 100 <= there * 102, "{accepted} posts for {there} entities; {run}");
    println!("{accepted} posts for {there} entities");
}

#[tokio::test]
async fn what_a_killed_run_posts_again_is_little_more_than_what_was_under_way() {
    let mut settings = of_resources(2000);
    settings.port.post_latency = Duration::from_millis(50);
    let sandbox = start(settings).await;
    let before = posts(&sandbox);
    let mut child = remembering(&sandbox).into_command().spawn().unwrap();
    until("posts", || posts(&sandbox) >= before + 800).await;
    child.kill().await.unwrap();
    let run = remembering(&sandbox).run().await.exits(0);
    assert_equal(&sandbox, &Scope::default(), &run).await;
    let (accepted, _) = sandbox.port().received();
    // 25 in flight, and those of the last tenth of a second, on a machine that may be busy.
    assert!(accepted < 2010 + 300, "{accepted} posts; {run}");
}

#[tokio::test]
async fn everything_that_is_to_be_sent_again_is_sent_by_the_next_run_where_this_one_is_cut_short() {
    let sandbox = start(settled()).await;
    remembering(&sandbox).run().await.exits(0);
    sandbox.port().clear().unwrap();
    sandbox.port().forget_deliveries().await;
    let before = posts(&sandbox);
    let mut child = remembering(&sandbox).args(["--resend-all"]).into_command().spawn().unwrap();
    until("posts", || posts(&sandbox) >= before + 30).await;
    signal(&child, "-KILL").await;
    child.wait().await.unwrap();
    let run = remembering(&sandbox).run().await.exits(0);
    assert!(why_full(&run).contains("did not finish"), "{run}");
    assert_equal(&sandbox, &Scope::default(), &run).await;
}

/// A group with this many vaults that Port rejects, and one that it accepts.
async fn poisoned(count: usize, fault: Fault) -> (Small, Vec<Arc<str>>) {
    let small = Small::start().await;
    confirmed(&small.sandbox).await;
    let ids = (0..count)
        .map(|number| {
            let (mut estate, name) = (small.sandbox.estate(), format!("poison-{number}"));
            estate.create_resource(&small.group, "Microsoft.KeyVault/vaults", &name, "eastus", None).unwrap()
        })
        .collect();
    break_down(&small.sandbox, Route::Webhook, Rule::new(fault).containing("/vaults/poison-"));
    (small, ids)
}

#[tokio::test]
async fn an_envelope_that_fails_forever_costs_its_own_retry_only_and_so_do_ten_of_them() {
    for count in [1, 10] {
        let (small, ids) = poisoned(count, passing(500)).await;
        let sandbox = &small.sandbox;
        for number in 0..10 {
            sandbox.estate().retag_resource(&small.vault, names::tags(&[("n", &number.to_string())]));
            let before = posts(sandbox);
            let run = tick(sandbox).await.exits(1).tells(&["were not delivered"]);
            assert_eq!(run.report()["mode"], "incremental", "{run}");
            assert_eq!((run.count("upserts"), run.count("failed")), (1, count as u64), "{run}");
            assert_eq!(posts(sandbox) - before - run.count("retried"), 1 + count as u64, "{run}");
        }
        for id in &ids {
            assert_eq!(state(sandbox, id).await, "unknown");
        }
        sandbox.faults().clear();
        let run = tick(sandbox).await.exits(0);
        assert_eq!(run.count("upserts"), count as u64, "{run}");
        assert_equal(sandbox, &Scope::default(), &run).await;
    }
}

#[tokio::test]
async fn an_envelope_that_is_always_rejected_is_sent_once_and_so_are_ten_of_them() {
    for count in [1, 10] {
        let (small, ids) = poisoned(count, Fault::status(422)).await;
        let sandbox = &small.sandbox;
        for number in 0..10 {
            sandbox.estate().retag_resource(&small.vault, names::tags(&[("n", &number.to_string())]));
            let before = posts(sandbox);
            let run = tick(sandbox).await;
            assert_eq!(run.report()["mode"], "incremental", "{run}");
            assert_eq!(run.count("upserts"), 1, "{run}");
            let rejected = if number == 0 { count as u64 } else { 0 };
            assert_eq!(posts(sandbox) - before, 1 + rejected, "{run}");
            // Its record is found again during the overlap.
            run.exits(if number < 6 { 4 } else { 0 });
        }
        for id in &ids {
            assert_eq!(state(sandbox, id).await, "rejected");
            sandbox.estate().touch_resource(id);
        }
        sandbox.faults().clear();
        let run = tick(sandbox).await.exits(0);
        assert_eq!(run.count("upserts"), count as u64, "{run}");
        assert_equal(sandbox, &Scope::default(), &run).await;
    }
}

/// Two groups in production, each with a vault. The checkpoint of the first run is kept.
struct Kept {
    small: Small,
    other: Arc<str>,
    copy: PathBuf,
}

impl Kept {
    async fn new() -> Self {
        let small = Small::start().await;
        let other = {
            let mut estate = small.sandbox.estate();
            let production = || names::tags(&[("Environment", "Production")]);
            estate.retag_group(&small.group, production());
            let group = estate.create_group(&small.subscription, "Rg-Two", "westeurope", production()).unwrap();
            estate.create_resource(&group, "Microsoft.KeyVault/vaults", "Vault-2", "eastus", None).unwrap();
            group
        };
        small.sandbox.clock().advance(DAY);
        let kept = Self { copy: small.sandbox.directory().join("copy"), small, other };
        kept.run().run().await.exits(0);
        std::fs::copy(file(&kept.small.sandbox), &kept.copy).unwrap();
        kept.small.sandbox.clock().advance(TICK);
        kept
    }

    fn run(&self) -> Program {
        remembering(&self.small.sandbox).env("RESOURCE_GROUP_TAG_FILTERS", PRODUCTION)
    }

    /// Restores the old checkpoint, as if nothing had been stored since.
    fn go_back(&self) {
        std::fs::copy(&self.copy, file(&self.small.sandbox)).unwrap();
    }

    async fn heals(&self) {
        let scope = Scope { include: vec![("environment".into(), "production".into())], ..Scope::default() };
        assert_heals(&self.small.sandbox, &scope, || self.run()).await;
    }
}

#[tokio::test]
async fn a_file_that_went_back_in_time_while_a_group_left_the_scope_does_no_harm() {
    let kept = Kept::new().await;
    let sandbox = &kept.small.sandbox;
    sandbox.estate().retag_group(&kept.other, names::tags(&[("Environment", "Test")]));
    let run = kept.run().run().await.exits(0);
    assert_eq!(run.count("deletes"), 2, "{run}");
    kept.go_back();
    kept.heals().await;
    // It returns while the checkpoint is from before it left.
    sandbox.estate().retag_group(&kept.other, names::tags(&[("Environment", "Production")]));
    sandbox.clock().advance(TICK);
    kept.go_back();
    kept.heals().await;
}

#[tokio::test]
async fn a_file_that_went_back_in_time_while_a_resource_changed_and_changed_back_does_no_harm() {
    let kept = Kept::new().await;
    let Small { sandbox, vault, .. } = &kept.small;
    sandbox.estate().retag_resource(vault, names::tags(&[("n", "b")]));
    assert_eq!(kept.run().run().await.exits(0).count("upserts"), 1);
    kept.go_back();
    sandbox.clock().advance(TICK);
    sandbox.estate().retag_resource(vault, None);
    kept.heals().await;
}

#[tokio::test]
async fn a_file_that_went_back_in_time_while_a_subscription_was_renamed_and_renamed_back_does_no_harm() {
    let kept = Kept::new().await;
    let Small { sandbox, subscription, .. } = &kept.small;
    let name = sandbox.estate().subscriptions()[0].name.clone();
    assert!(sandbox.estate().rename_subscription(subscription, "Renamed"));
    assert_eq!(kept.run().run().await.exits(0).count("upserts"), 1);
    kept.go_back();
    sandbox.clock().advance(TICK);
    assert!(sandbox.estate().rename_subscription(subscription, &name));
    kept.heals().await;
}

#[tokio::test]
async fn a_file_that_went_back_in_time_while_a_delete_was_delivered_does_no_harm() {
    let kept = Kept::new().await;
    let Small { sandbox, vault, group, .. } = &kept.small;
    sandbox.estate().delete_resource(vault);
    assert_eq!(kept.run().run().await.exits(0).count("deletes"), 1);
    kept.go_back();
    // It is recreated unchanged before anybody notices.
    sandbox.clock().advance(TICK);
    sandbox.estate().create_resource(group, "Microsoft.KeyVault/vaults", "Vault-1", "eastus", None).unwrap();
    kept.heals().await;
    sandbox.estate().delete_resource(vault);
    sandbox.clock().advance(TICK);
    kept.go_back();
    kept.heals().await;
}

#[tokio::test]
async fn a_file_that_went_back_in_time_while_the_webhooks_key_was_rotated_and_back_does_no_harm() {
    let kept = Kept::new().await;
    let Small { sandbox, vault, .. } = &kept.small;
    // Another URL for the same catalog.
    let rotated = format!("{}?rotated", sandbox.webhook_url());
    let run = kept.run().env("PORT_WEBHOOK_INGEST_URL", &rotated).run().await.exits(0);
    assert!(why_full(&run).contains("another catalog"), "{run}");
    assert_eq!(run.count("upserts"), 5, "nobody knows what it holds: {run}");
    sandbox.clock().advance(TICK);
    sandbox.estate().delete_resource(vault);
    sandbox.estate().retag_group(&kept.other, names::tags(&[("Environment", "Test")]));
    let run = kept.run().env("PORT_WEBHOOK_INGEST_URL", &rotated).run().await.exits(0);
    assert_eq!(run.count("deletes"), 3, "{run}");
    kept.go_back();
    kept.heals().await;
    sandbox.clock().advance(TICK);
    kept.run().env("PORT_WEBHOOK_INGEST_URL", &rotated).run().await.exits(0);
    sandbox.estate().retag_group(&kept.other, names::tags(&[("Environment", "Production")]));
    kept.heals().await;
}

#[tokio::test]
async fn what_went_without_a_record_is_found_by_a_full_run_deleted_once_it_stays_gone_and_comes_back_by_itself() {
    let small = Small::start().await;
    let Small { sandbox, vault, group, subscription } = &small;
    confirmed(sandbox).await;
    sandbox.clock().advance(MINUTE);
    assert!(sandbox.estate().unrecorded(|estate| estate.delete_resource(vault)));
    for _ in 0..3 {
        assert_eq!(tick(sandbox).await.exits(0).count("deletes"), 0, "nothing tells of it");
    }
    assert_eq!(state(sandbox, vault).await, "held");

    let before = compared(sandbox, subscription).await;
    sandbox.clock().advance(DAY);
    let full = remembering(sandbox).run().await.exits(0);
    assert_eq!((full.report()["mode"].as_str(), full.count("deletes")), (Some("full"), 0), "{full}");
    assert_ne!(compared(sandbox, subscription).await, before);
    assert!(entry(sandbox, vault).await["absent"].is_string(), "it is missed, and asked for");
    assert_eq!(tick(sandbox).await.exits(0).count("deletes"), 0, "for 20 minutes only");
    let run = tick(sandbox).await.exits(0);
    assert_eq!(run.count("deletes"), 1, "{run}");
    assert_equal(sandbox, &Scope::default(), &run).await;

    sandbox.clock().advance(5 * HOUR);
    sandbox.estate().unrecorded(|estate| {
        estate.create_resource(group, "Microsoft.KeyVault/vaults", "Vault-1", "eastus", None).unwrap();
    });
    let run = tick(sandbox).await.exits(0);
    assert_eq!((run.report()["mode"].as_str(), run.count("upserts")), (Some("incremental"), 1), "{run}");
    assert_equal(sandbox, &Scope::default(), &run).await;
}

/// From now on, Resource Graph hides the row of an id.
fn hide_row(sandbox: &Sandbox, id: &str) {
    let id = id.to_owned();
    let edit = Fault::edit(move |answer| {
        let Ok(mut answer) = serde_json::from_str::<Json>(&answer) else { return answer };
        let Some(rows) = answer["data"].as_array_mut() else { return answer.to_string() };
        let before = rows.len();
        rows.retain(|row| !row.to_string().to_lowercase().contains(&format!("\"{id}\"")));
        let gone = (before - rows.len()) as u64;
        for count in ["count", "totalRecords"] {
            if let Some(number) = answer[count].as_u64() {
                answer[count] = (number - gone).into();
            }
        }
        answer.to_string()
    });
    break_down(sandbox, Route::Graph, Rule::new(edit));
}

#[tokio::test]
async fn a_row_that_was_missing_for_a_moment_is_not_deleted() {
    let small = Small::start().await;
    let Small { sandbox, vault, .. } = &small;
    remembering(sandbox).run().await.exits(0);
    sandbox.clock().advance(DAY);
    hide_row(sandbox, vault);
    let full = remembering(sandbox).run().await.exits(0);
    assert_eq!(full.report()["mode"], "full");
    assert!(entry(sandbox, vault).await["absent"].is_string(), "{full}");
    sandbox.faults().clear();
    let before = posts(sandbox);
    for _ in 0..3 {
        tick(sandbox).await.exits(0);
    }
    assert_eq!(posts(sandbox), before);
    assert!(entry(sandbox, vault).await["absent"].is_null());
}

#[tokio::test]
async fn a_mass_that_went_without_a_record_is_held_back_for_a_day_with_a_warning() {
    let small = Small::start().await;
    let Small { sandbox, group, .. } = &small;
    let mass: Vec<Arc<str>> = (0..30)
        .map(|number| {
            let (mut estate, name) = (sandbox.estate(), format!("mass-{number}"));
            estate.create_resource(group, "Microsoft.KeyVault/vaults", &name, "eastus", None).unwrap()
        })
        .collect();
    remembering(sandbox).run().await.exits(0);
    sandbox.clock().advance(DAY);
    for id in &mass {
        assert!(sandbox.estate().unrecorded(|estate| estate.delete_resource(id)));
    }
    let full = remembering(sandbox).run().await.exits(0);
    assert_eq!((full.report()["mode"].as_str(), full.count("deletes")), (Some("full"), 0), "{full}");
    let warning = "30 entities are missing, more than 20 and more than a tenth of their subscription";
    for _ in 0..5 {
        sandbox.clock().advance(4 * HOUR);
        let run = remembering(sandbox).run().await.exits(0).says(&[warning]);
        assert_eq!(run.count("deletes"), 0, "{run}");
    }
    sandbox.clock().advance(4 * HOUR);
    let run = remembering(sandbox).run().await.exits(0).does_not_say(&[warning]);
    assert_eq!(run.count("deletes"), 30, "{run}");
    assert_equal(sandbox, &Scope::default(), &run).await;
}

#[tokio::test]
async fn of_a_subscription_that_leaves_the_list_and_returns_nothing_is_sent_again() {
    let sandbox = start(settled()).await;
    remembering(&sandbox).run().await.exits(0);
    let guid = sandbox.estate().subscriptions()[1].guid.clone();
    let before = posts(&sandbox);
    for _ in 0..2 {
        sandbox.estate().show_subscription(&guid, false);
        tick(&sandbox).await.exits(0).says(&["is not listed any more", &guid]);
        sandbox.clock().advance(DAY);
        assert_eq!(tick(&sandbox).await.exits(0).report()["mode"], "full");
        assert_eq!(summary(&sandbox).await["held"], 135, "what it holds is remembered");
        sandbox.estate().show_subscription(&guid, true);
        for _ in 0..2 {
            let back = tick(&sandbox).await.exits(0);
            assert_eq!(posts(&sandbox), before, "{back}");
        }
    }
    // Changes in the meantime are found.
    sandbox.estate().show_subscription(&guid, false);
    tick(&sandbox).await.exits(0);
    sandbox.estate().rename_subscription(&guid, "Renamed");
    sandbox.estate().show_subscription(&guid, true);
    let back = tick(&sandbox).await.exits(0);
    assert_eq!(posts(&sandbox), before + 1, "{back}");
    assert_equal(&sandbox, &Scope::default(), &back).await;
}

/// A run with an unusable checkpoint: it is set aside unchanged and reported, and everything is read.
async fn assert_begins_anew(sandbox: &Sandbox, file: &Path, why: &str) -> PathBuf {
    let run = Program::new(sandbox).checkpoint(file).run().await.exits(0);
    let run = run.says(&["cannot be used", file.to_str().unwrap()]);
    assert!(why_full(&run).starts_with("the checkpoint cannot be used: "), "{run}");
    assert_eq!((run.report()["mode"].as_str(), run.count("upserts")), (Some("full"), 135), "{run}");
    assert_equal(sandbox, &Scope::default(), &run).await;
    Program::new(sandbox).checkpoint(file).run().await.exits(0);
    let quiet = Program::new(sandbox).checkpoint(file).run().await.exits(0);
    assert_eq!((quiet.report()["mode"].as_str(), quiet.count("upserts")), (Some("incremental"), 0), "{quiet}");
    let aside = set_aside(&std::fs::canonicalize(file).unwrap(), why);
    assert_eq!(aside.len(), 1, "{aside:?}");
    aside.into_iter().next().unwrap()
}

#[tokio::test]
async fn a_checkpoint_that_cannot_serve_is_set_aside_untouched_and_a_new_one_begins() {
    let sandbox = start(settled()).await;
    remembering(&sandbox).run().await.exits(0);
    let good = std::fs::read(file(&sandbox)).unwrap();
    let mut flipped = good.clone();
    let middle = flipped.len() / 2;
    flipped[..middle].iter_mut().step_by(97).for_each(|byte| *byte ^= 0x10);
    let contents: [(&str, &[u8], &str); 5] = [
        ("noise", b"not a database at all", "corrupt"),
        ("truncated", &good[..good.len() / 3], "corrupt"),
        ("flipped", &flipped, "corrupt"),
        ("empty", b"", "corrupt"),
        ("json", br#"{"version": 3, "lineage": "of another program"}"#, "old"),
    ];
    for (name, content, why) in contents {
        let path = sandbox.directory().join(name);
        std::fs::write(&path, content).unwrap();
        // A read-only command reports it and leaves it alone.
        let shown = Program::bare().args(["checkpoint", path.to_str().unwrap()]).run().await.exits(1);
        shown.says(&["is damaged", path.to_str().unwrap()]);
        assert_eq!(std::fs::read(&path).unwrap(), content);
        let aside = assert_begins_anew(&sandbox, &path, why).await;
        assert!(std::fs::read(&aside).unwrap() == content, "{name} is set aside as it was");
    }
    let directory = sandbox.directory().join("directory");
    std::fs::create_dir(&directory).unwrap();
    std::fs::write(directory.join("something"), "kept").unwrap();
    let aside = assert_begins_anew(&sandbox, &directory, "corrupt").await;
    assert_eq!(std::fs::read_to_string(aside.join("something")).unwrap(), "kept");
}

#[tokio::test]
async fn whoever_looks_at_a_checkpoint_in_use_is_told_so_at_once() {
    let small = Small::start().await;
    break_down(&small.sandbox, Route::Webhook, Rule::new(Fault::Hang));
    let mut child = remembering(&small.sandbox).into_command().spawn().unwrap();
    until("a post", || posts(&small.sandbox) > 0).await;
    let path = file(&small.sandbox);
    let shown = Program::bare().args(["checkpoint", path.to_str().unwrap()]).run().await.exits(1);
    let shown = shown.says(&["is in use by another process", path.to_str().unwrap()]);
    assert!(shown.took < Duration::from_secs(8), "{shown}");
    child.kill().await.unwrap();
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_place_where_nothing_can_be_written_ends_the_run_before_anything_is_posted() {
    let sandbox = start(settled()).await;
    for place in ["/proc/checkpoint", "/sys/checkpoint", "/nonexistent/checkpoint"] {
        let run = Program::new(&sandbox).checkpoint(Path::new(place)).run().await.exits(2);
        run.says(&["CHECKPOINT_FILE", place, "cannot be written", "set CHECKPOINT_FILE to another path"]);
    }
    assert_eq!(sandbox.requests().total(), 0);
}

#[cfg(unix)]
#[tokio::test]
async fn through_a_symbolic_link_the_file_behind_it_is_used_and_the_link_stays() {
    let sandbox = start(settled()).await;
    let elsewhere = sandbox.directory().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let (link, real) = (sandbox.directory().join("link"), elsewhere.join("checkpoint"));
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let run = || Program::new(&sandbox).checkpoint(&link).run();
    run().await.exits(0);
    run().await.exits(0);
    let quiet = run().await.exits(0);
    assert_eq!((quiet.report()["mode"].as_str(), quiet.count("upserts")), (Some("incremental"), 0), "{quiet}");
    let is_link = || std::fs::symlink_metadata(&link).unwrap().is_symlink();
    assert!(is_link() && std::fs::metadata(&real).unwrap().is_file());

    std::fs::write(&real, "not a database at all").unwrap();
    let aside = assert_begins_anew(&sandbox, &link, "corrupt").await;
    assert_eq!(std::fs::canonicalize(&aside).unwrap().parent(), std::fs::canonicalize(&elsewhere).ok().as_deref());
    assert!(is_link());
    let (first, second) = (Program::bare(), Program::bare());
    let by_link = first.env("LOG_FORMAT", "json").args(["checkpoint", link.to_str().unwrap()]).run().await.exits(0);
    let by_name = second.env("LOG_FORMAT", "json").args(["checkpoint", real.to_str().unwrap()]).run().await.exits(0);
    assert_eq!((&by_link.report()["held"], by_name.count("held")), (&by_name.report()["held"], 135));
}

/// A single file mounted into a container: it can be written but not renamed.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_file_that_is_mounted_by_itself_is_used_and_replaced_in_place() {
    let namespace = ["unshare", "--map-root-user", "--mount"];
    if !std::process::Command::new(namespace[0]).args(&namespace[1..]).arg("true").status().is_ok_and(|it| it.success())
    {
        eprintln!("skipped: this machine gives no user a mount of his own");
        return;
    }
    let sandbox = start(settled()).await;
    let [folder, mounted] = ["host", "container"].map(|name| sandbox.directory().join(name));
    [&folder, &mounted].into_iter().for_each(|folder| fs::create_dir(folder).unwrap());
    let [real, mounted] = [folder, mounted].map(|folder| folder.join("checkpoint"));
    [&real, &mounted].into_iter().for_each(|file| fs::write(file, "").unwrap());
    let run = || {
        let mount = r#"mount --bind "$0" "$1" && shift && exec "$@""#;
        let paths = [real.to_str().unwrap(), mounted.to_str().unwrap()];
        Program::new(&sandbox)
            .checkpoint(&mounted)
            .within(&[&namespace[..], &["sh", "-c", mount], &paths].concat())
            .run()
    };
    run().await.exits(0);
    run().await.exits(0);
    let quiet = run().await.exits(0);
    assert_eq!((quiet.report()["mode"].as_str(), quiet.count("held")), (Some("incremental"), 135), "{quiet}");
    fs::write(&real, "not a database at all").unwrap();
    let run = run().await.exits(0).says(&["was copied to"]);
    assert_eq!((run.count("upserts"), run.count("held")), (135, 135), "{run}");
    assert_eq!(fs::metadata(&mounted).unwrap().len(), 0, "nothing is written beside the mount");
}

/// The program with a file size limit, as on a full disk.
#[cfg(target_os = "linux")]
fn on_a_disk_of(bytes: u64, program: Program) -> Program {
    let limit = "trap '' XFSZ; ulimit -f $0; exec \"$@\"";
    program.within(&["bash", "-c", limit, &bytes.div_ceil(1024).to_string()])
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_disk_that_is_full_before_anything_is_posted_exits_2_and_one_that_fills_up_exits_1() {
    let sandbox = start(of_resources(6000)).await;
    let narrow = remembering(&sandbox).env("RESOURCE_TYPES", "a/none").env("SYNC_MODE", "full");
    narrow.run().await.exits(0);
    let size = fs::metadata(file(&sandbox)).unwrap().len();
    sandbox.requests().clear();
    let wide = || remembering(&sandbox).env("SYNC_MODE", "full");
    on_a_disk_of(size, wide()).run().await.exits(2).tells(&["CHECKPOINT_FILE", "cannot be written"]);
    assert_eq!(sandbox.requests().count(Route::Webhook), 0);

    on_a_disk_of(size + (250 << 10), wide()).run().await.exits(1).tells(&["cannot write the checkpoint"]);
    let posted = sandbox.requests().count(Route::Webhook);
    assert!((1..6000).contains(&posted), "{posted}");
    let run = wide().run().await.exits(0);
    assert_equal(&sandbox, &Scope::default(), &run).await;
}
