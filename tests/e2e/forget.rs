//! `forget`: deletes a subscription that is gone for good from the catalog and the checkpoint, only on request.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use sandbox::Sandbox;
use sandbox::expected::Scope;
use sandbox::faults::{Fault, Rule};
use sandbox::requests::Route;
use sandbox::settings::{EstateSize, Settings};
use serde_json::Value as Json;

use crate::harness::{DAY, MINUTE, Program, Run, Small, assert_equal, break_down, envelopes, settled, start};
use crate::remembered::{entries, file, remembering, signal, state, summary, until};

/// The text of the warning that a run logs.
const UNLISTED: &str = "is not listed any more";

fn posts(sandbox: &Sandbox) -> u64 {
    sandbox.requests().count(Route::Webhook)
}

async fn tick(sandbox: &Sandbox) -> Run {
    sandbox.clock().advance(15 * MINUTE);
    remembering(sandbox).run().await
}

/// After a full run, the second subscription is no longer listed. Returns its GUID.
async fn lost(settings: Settings) -> (Sandbox, Arc<str>) {
    let sandbox = start(settings).await;
    remembering(&sandbox).run().await.exits(0);
    let guid = sandbox.estate().subscriptions()[1].guid.clone();
    sandbox.estate().show_subscription(&guid, false);
    sandbox.port().settle().await;
    sandbox.port().forget_deliveries().await;
    (sandbox, guid)
}

fn forget(sandbox: &Sandbox, guid: &str) -> Program {
    sandbox.clock().advance(MINUTE);
    remembering(sandbox).args(["forget", guid])
}

/// The ids that the checkpoint holds for a subscription.
async fn held(sandbox: &Sandbox, guid: &str) -> BTreeSet<String> {
    let entries = entries(sandbox).await;
    let held = entries.iter().filter(|entry| entry["state"] != "nothing").map(|entry| entry["id"].as_str().unwrap());
    held.filter(|id| id.contains(guid)).map(str::to_owned).collect()
}

async fn is_remembered(sandbox: &Sandbox, guid: &str) -> bool {
    let summary = summary(sandbox).await;
    let id = format!("/subscriptions/{guid}");
    summary["subscriptions"].as_array().unwrap().iter().any(|of| of["id"] == id.as_str())
}

#[tokio::test]
async fn what_is_gone_for_good_is_deleted_children_first_and_forgotten() {
    let (sandbox, guid) = lost(settled()).await;
    let held = held(&sandbox, &guid).await;
    assert!(held.len() > 40, "{held:?}");
    let run = forget(&sandbox, &guid.to_uppercase()).args(["--yes"]).run().await.exits(0);
    assert_eq!((run.count("deletes"), run.count("upserts")), (held.len() as u64, 0), "{run}");
    assert_eq!(run.report()["mode"], "forget");
    assert_eq!(run.report()["unlisted"], Json::Null);
    let sent = envelopes(&sandbox).await;
    assert!(sent.iter().all(|one| one.operation == "delete"));
    let ids: Vec<&str> = sent.iter().map(crate::harness::Envelope::id).collect();
    assert_eq!(ids.iter().copied().collect::<BTreeSet<_>>(), held.iter().map(String::as_str).collect());
    assert_eq!(ids.len(), held.len(), "each is deleted once");
    let depth = |id: &&str| match (id.contains("/providers/"), id.contains("/resourcegroups/")) {
        (true, _) => 0,
        (false, true) => 1,
        (false, false) => 2,
    };
    assert!(ids.iter().map(depth).is_sorted(), "{ids:#?}");
    assert!(!is_remembered(&sandbox, &guid).await);
    assert_equal(&sandbox, &Scope::default(), &run).await;
    let run = tick(&sandbox).await.exits(0).does_not_say(&[UNLISTED]);
    assert_eq!(run.count("upserts") + run.count("deletes"), 0, "{run}");
}

#[tokio::test]
async fn one_that_returns_after_it_was_forgotten_is_sent_again() {
    let (sandbox, guid) = lost(settled()).await;
    forget(&sandbox, &guid).args(["--yes"]).run().await.exits(0);
    sandbox.estate().show_subscription(&guid, true);
    let run = tick(&sandbox).await.exits(0);
    assert_equal(&sandbox, &Scope::default(), &run).await;
}

#[tokio::test]
async fn what_is_not_listed_any_more_is_told_in_every_run_until_it_returns_or_is_forgotten() {
    let (sandbox, guid) = lost(settled()).await;
    let since = crate::remembered::since(&sandbox, &guid).await;
    let summary_file = sandbox.directory().join("summary");
    let show = || Program::bare().args(["checkpoint", file(&sandbox).to_str().unwrap()]).run();
    show().await.exits(0).does_not_say(&["azure-incremental forget"]);
    for wait in [15 * MINUTE, 15 * MINUTE, DAY, 8 * DAY] {
        sandbox.clock().advance(wait);
        let output = sandbox.directory().join("output");
        let run = remembering(&sandbox).in_a_job(&summary_file, &output).run().await.exits(0);
        let run = run.says(&[UNLISTED, &guid, &format!("last read at {}", &since[..19]), "azure-incremental forget"]);
        assert_eq!(run.report()["unlisted"], serde_json::json!([format!("/subscriptions/{guid}")]), "{run}");
        assert!(run.err.contains("::warning title=azure-incremental::subscription"), "{run}");
        let summary = std::fs::read_to_string(&summary_file).unwrap();
        assert!(summary.contains("Not listed any more") && summary.contains(&*guid), "{summary}");
        let shown = show().await.exits(0);
        let told = shown.out.split("\n\n").filter(|part| part.contains("azure-incremental forget")).collect::<Vec<_>>();
        assert!(matches!(told[..], [part] if part.contains(&*guid)), "{shown}");
    }
    sandbox.estate().show_subscription(&guid, true);
    tick(&sandbox).await.exits(0).does_not_say(&[UNLISTED]);
    let run = tick(&sandbox).await.exits(0);
    assert_equal(&sandbox, &Scope::default(), &run).await;
}

#[tokio::test]
async fn of_many_that_are_not_listed_any_more_some_are_named() {
    let mut settings = settled();
    settings.estate = EstateSize { subscriptions: 13, groups: 13, resources: 13 };
    let sandbox = start(settings).await;
    remembering(&sandbox).run().await.exits(0);
    let guids: Vec<_> = sandbox.estate().subscriptions().iter().skip(1).map(|one| one.guid.clone()).collect();
    for guid in &guids {
        sandbox.estate().show_subscription(guid, false);
    }
    let run = tick(&sandbox).await.exits(0).says(&["2 more subscriptions are not listed any more"]);
    assert_eq!(run.err.matches(UNLISTED).count(), 10, "{run}");
    assert_eq!(run.report()["unlisted"].as_array().unwrap().len(), 12, "{run}");
}

#[tokio::test]
async fn without_a_yes_nothing_is_deleted() {
    let (sandbox, guid) = lost(settled()).await;
    let held = held(&sandbox, &guid).await;
    let before = posts(&sandbox);
    let run = forget(&sandbox, &guid).run().await.exits(2).tells(&["no terminal to ask on", "--yes"]);
    let shown: Json = serde_json::from_str(run.err.lines().next().unwrap()).unwrap();
    assert_eq!(shown["held"], held.len(), "{run}");
    assert!(shown["types"]["microsoft.resources/subscriptions"] == 1 && shown["first"].is_array(), "{run}");
    let text = forget(&sandbox, &guid).without("LOG_FORMAT").run().await.exits(2);
    assert!(text.err.contains(&format!("{} entities to delete", held.len())), "{text}");
    assert!(text.err.contains("  microsoft.resources/subscriptions/resourcegroups\n"), "{text}");
    assert_eq!(posts(&sandbox), before);
    assert_eq!(sandbox.requests().count(Route::Subscriptions), 1, "nobody was asked but the person");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn on_a_terminal_a_person_is_asked() {
    let (sandbox, guid) = lost(settled()).await;
    let answered = |answer: &str| {
        let script = format!("printf '{answer}\\n' | script -qec \"$0 $*\" /dev/null");
        forget(&sandbox, &guid).within(&["sh", "-c", &script])
    };
    let before = posts(&sandbox);
    for no in ["n", "", "never"] {
        let run = answered(no).run().await;
        assert!(run.out.contains("[y/N]") && run.out.contains("the answer was not yes"), "{run}");
    }
    assert_eq!(posts(&sandbox), before);
    let run = answered("y").run().await;
    assert!(run.out.contains(r#""mode":"forget""#), "{run}");
    assert!(!is_remembered(&sandbox, &guid).await);
}

#[tokio::test]
async fn one_that_is_still_listed_is_refused_whatever_is_said() {
    let small = Small::start().await;
    remembering(&small.sandbox).run().await.exits(0);
    let before = posts(&small.sandbox);
    for args in [["forget", &small.subscription, "--yes"], ["forget", &small.subscription, "--dry-run"]] {
        let run = remembering(&small.sandbox).args(args).run().await;
        assert_eq!(run.code, 2, "{run}");
        assert!(run.has_said("still listed") && run.has_said("role"), "{run}");
    }
    assert_eq!(posts(&small.sandbox), before);
    assert_eq!(state(&small.sandbox, &small.vault).await, "held");
}

#[tokio::test]
async fn what_cannot_be_forgotten_is_told_with_the_exit_code_of_a_wrong_setting() {
    let (sandbox, guid) = lost(settled()).await;
    let before = posts(&sandbox);
    let unknown = "11111111-2222-3333-4444-555555555555";
    forget(&sandbox, unknown).args(["--yes"]).run().await.exits(2).tells(&["holds nothing", unknown]);
    let nowhere = sandbox.directory().join("nowhere");
    forget(&sandbox, &guid).args(["--yes"]).checkpoint(&nowhere).run().await.exits(2).tells(&["holds nothing"]);
    assert!(!nowhere.exists(), "no checkpoint is made");
    let run = Program::new(&sandbox).args(["forget", &guid, "--yes"]).run().await.exits(2);
    assert!(run.err.contains("CHECKPOINT_FILE is not set"), "{run}");
    for text in ["One", "/subscriptions/x", &format!("/subscriptions/{guid}/resourceGroups/g")] {
        let run = forget(&sandbox, text).args(["--yes"]).run().await.exits(2);
        assert!(run.err.contains("SUBSCRIPTION is"), "{run}");
    }
    forget(&sandbox, &guid).args(["--yes"]).env("AZURE_CLIENT_SECRET", "wrong").run().await.exits(3);
    break_down(&sandbox, Route::Subscriptions, Rule::new(Fault::status(403)));
    forget(&sandbox, &guid).args(["--yes"]).run().await.exits(1).tells(&["listing the subscriptions"]);
    sandbox.faults().clear();
    let other = forget(&sandbox, &guid).args(["--yes"]).env("PORT_WEBHOOK_PAYLOAD", "batch");
    other.run().await.exits(2).tells(&["was made for another catalog"]);
    assert_eq!(posts(&sandbox), before);
    assert!(is_remembered(&sandbox, &guid).await);
}

#[tokio::test]
async fn the_only_subscription_can_be_forgotten() {
    let small = Small::start().await;
    remembering(&small.sandbox).run().await.exits(0);
    small.sandbox.estate().show_subscription(&small.subscription, false);
    tick(&small.sandbox).await.exits(3);
    let id = format!("/Subscriptions/{}/", small.subscription);
    let run = forget(&small.sandbox, &id).args(["--yes"]).run().await.exits(0);
    assert_eq!((run.count("deletes"), run.count("subscriptions")), (3, 0), "{run}");
    assert!(small.sandbox.port().with_catalog(|catalog| catalog.entities.is_empty()));
}

#[tokio::test]
async fn a_dry_run_prints_the_deletes_and_changes_nothing() {
    let (sandbox, guid) = lost(settled()).await;
    let held = held(&sandbox, &guid).await;
    let (before, bytes) = (posts(&sandbox), std::fs::read(file(&sandbox)).unwrap());
    let run = forget(&sandbox, &guid).args(["--dry-run"]).run().await.exits(0);
    let lines: Vec<Json> = run.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ids: BTreeSet<String> = lines.iter().map(|line| line["data"]["resourceId"].as_str().unwrap().into()).collect();
    assert!(lines.iter().all(|line| line["operation"] == "delete"));
    assert_eq!((ids, lines.len()), (held.clone(), held.len()));
    assert_eq!(posts(&sandbox), before);
    assert!(std::fs::read(file(&sandbox)).unwrap() == bytes, "the checkpoint is as it was");
}

#[tokio::test]
async fn what_could_not_be_deleted_stays_held_and_the_next_forget_goes_on_with_it() {
    for fault in [Fault::retry_after(500, "0"), Fault::status(422)] {
        let small = Small::start().await;
        let sandbox = &small.sandbox;
        remembering(sandbox).run().await.exits(0);
        let other = sandbox.estate().add_subscription("Two", None);
        sandbox.estate().show_subscription(&small.subscription, false);
        tick(sandbox).await.exits(0);
        let letters = sandbox.directory().join("letters");
        break_down(sandbox, Route::Webhook, Rule::new(fault).containing("/vaults/"));
        let forget = || forget(sandbox, &small.subscription).args(["--yes"]).env("DEAD_LETTER_FILE", &letters);
        let run = forget().run().await.exits(1).tells(&["1 entities of the subscription are still held"]);
        assert_eq!((run.count("deletes"), run.count("failed")), (2, 1), "{run}");
        assert_eq!(held(sandbox, &small.subscription).await, BTreeSet::from([small.vault.to_string()]));
        tick(sandbox).await.exits(0).says(&[UNLISTED, "last read at"]);
        if std::fs::metadata(&letters).is_ok_and(|file| file.len() > 0) {
            let resend =
                remembering(sandbox).args(["resend", "--from", letters.to_str().unwrap()]).run().await.exits(1);
            assert!(resend.err.contains("its subscription is not listed"), "{resend}");
        }
        sandbox.faults().clear();
        let run = forget().run().await.exits(0);
        assert_eq!(run.count("deletes"), 1, "{run}");
        assert!(!is_remembered(sandbox, &small.subscription).await && is_remembered(sandbox, &other).await);
        assert_equal(sandbox, &Scope::default(), &run).await;
    }
}

/// How an interrupted forget ends.
#[derive(Clone, Copy, Debug)]
enum Cut {
    Signal(&'static str),
    Timeout,
    Down,
}

#[tokio::test]
async fn cut_short_it_goes_on_or_everything_is_sent_again_where_the_subscription_returns() {
    for cut in [Cut::Signal("-TERM"), Cut::Signal("-KILL"), Cut::Timeout, Cut::Down] {
        for returns in [false, true] {
            let mut settings = settled();
            settings.estate = EstateSize { subscriptions: 2, groups: 4, resources: 1500 };
            let (sandbox, guid) = lost(settings).await;
            let before = posts(&sandbox);
            let trouble = match cut {
                Cut::Down => Rule::new(Fault::status(404)).after(100),
                Cut::Signal(_) | Cut::Timeout => Rule::new(Fault::Slow(Duration::from_millis(60))),
            };
            break_down(&sandbox, Route::Webhook, trouble);
            let program = forget(&sandbox, &guid).args(["--yes"]);
            let code = match cut {
                Cut::Signal(name) => {
                    let mut child = program.into_command().spawn().unwrap();
                    until("posts", || posts(&sandbox) > before + 100).await;
                    signal(&child, name).await;
                    child.wait().await.unwrap().code()
                }
                Cut::Timeout => Some(program.env("RUN_TIMEOUT_SECONDS", "1").run().await.code),
                Cut::Down => Some(program.run().await.code),
            };
            let expected = match cut {
                Cut::Signal("-KILL") => None,
                Cut::Signal(_) => Some(143),
                Cut::Timeout | Cut::Down => Some(1),
            };
            assert_eq!(code, expected, "{cut:?}");
            sandbox.faults().clear();
            assert!(is_remembered(&sandbox, &guid).await, "{cut:?}");
            let run = if returns {
                sandbox.estate().show_subscription(&guid, true);
                tick(&sandbox).await.exits(0);
                tick(&sandbox).await.exits(0)
            } else {
                forget(&sandbox, &guid).args(["--yes"]).run().await.exits(0)
            };
            assert_equal(&sandbox, &Scope::default(), &run).await;
            assert_eq!(is_remembered(&sandbox, &guid).await, returns, "{cut:?}");
        }
    }
}

#[tokio::test]
async fn a_job_of_githubs_gets_its_report() {
    let (sandbox, guid) = lost(settled()).await;
    let held = held(&sandbox, &guid).await.len();
    let at = |name: &str| sandbox.directory().join(name);
    let output = || std::fs::read_to_string(at("output")).unwrap();
    let program = || forget(&sandbox, &guid).in_a_job(&at("summary"), &at("output"));
    program().run().await.exits(2);
    assert!(output().ends_with("exit-reason=configuration\n"), "{}", output());
    program().args(["--yes"]).run().await.exits(0);
    assert!(output().ends_with(&format!("upserts=0\ndeletes={held}\nfailed=0\nexit-reason=ok\n")), "{}", output());
    assert!(std::fs::read_to_string(at("summary")).unwrap().contains("forget run"));
}
