//! Oddities of real tenants: duplicate rows, invisible subscriptions, wrong clocks, late rows.

use std::time::Duration;

use sandbox::Sandbox;
use sandbox::dates::Date;
use sandbox::estate::{Level, Twin};
use sandbox::expected::Scope;
use sandbox::faults::{Fault, Rule};
use sandbox::names::tags;
use sandbox::requests::Route;

use crate::harness::{
    DAY, MINUTE, Program, Run, Small, assert_equal, break_down, envelopes, outline, queries, settled, start,
};
use crate::remembered::{confirmed, remembering, since, state, summary};

const HOUR: Duration = Duration::from_secs(60 * 60);
const HOUR_MS: i64 = 60 * 60 * 1000;

async fn tick(sandbox: &Sandbox) -> Run {
    sandbox.clock().advance(15 * MINUTE);
    remembering(sandbox).run().await
}

fn posts(sandbox: &Sandbox) -> u64 {
    sandbox.requests().count(Route::Webhook)
}

#[tokio::test]
async fn what_resource_graph_has_twice_is_one_in_every_run() {
    for twin in [Twin::alike(), Twin::recased(), Twin::recased().with_tags(tags(&[("other", "tags")]))] {
        let small = Small::start().await;
        let Small { sandbox, subscription, group, vault } = &small;
        let root = format!("/subscriptions/{subscription}");
        for id in [&**vault, &**group, &root] {
            sandbox.estate().show_twice(id, twin.clone());
        }
        let first = remembering(sandbox).run().await.exits(0);
        assert!(first.count("duplicates") >= 2 && first.has_said("more than one row"), "{first}");
        assert_eq!((first.count("upserts"), first.report()["mode"].as_str()), (3, Some("full")), "{first}");
        // The service decides which of the two rows comes first.
        for _ in 0..4 {
            let again = tick(sandbox).await.exits(0);
            assert_eq!((again.count("upserts"), again.count("deletes")), (0, 0), "{again}");
        }
        sandbox.estate().touch_resource(vault);
        let changed = tick(sandbox).await.exits(0);
        assert_eq!(changed.count("upserts"), 1, "a record is newer than what was sent; {changed}");
        let again = tick(sandbox).await.exits(0);
        assert_eq!(again.count("upserts"), 0, "{again}");
    }
}

#[tokio::test]
async fn a_subscription_that_nothing_is_seen_of_is_noted_once_and_costs_nothing() {
    let sandbox = start(settled()).await;
    confirmed(&sandbox).await;
    let idle = tick(&sandbox).await.exits(0).count("queries");
    let guid = sandbox.estate().add_subscription("Directory", None);
    sandbox.estate().describe_subscription(&guid, "Enabled", "AAD_2015-09-01");
    sandbox.estate().never_know(&guid);
    let first = tick(&sandbox).await.exits(0);
    let first = first.says(&["note: Resource Graph does not look at subscription Directory"]);
    assert_eq!((first.count("upserts"), first.count("queries"), first.count("notCovered")), (1, idle, 0), "{first}");
    let before = posts(&sandbox);
    for _ in 0..2 {
        let next = tick(&sandbox).await.exits(0);
        assert!(!next.err.contains("does not look at"), "{next}");
        assert_eq!((next.count("queries"), next.report()["mode"].as_str()), (idle, Some("incremental")), "{next}");
    }
    assert_eq!(posts(&sandbox), before);
}

#[tokio::test]
async fn where_no_subscription_is_known_the_run_is_no_failure() {
    let small = Small::start().await;
    let Small { sandbox, subscription, .. } = &small;
    sandbox.estate().never_know(subscription);
    for _ in 0..2 {
        sandbox.requests().clear();
        let run = tick(sandbox).await.exits(0);
        assert_eq!(sandbox.requests().count(Route::Graph), 1, "{run}");
    }
    Program::new(sandbox).run().await.exits(0);
    Program::full(sandbox).run().await.exits(0);
}

#[tokio::test]
async fn a_subscription_that_is_known_late_is_read_in_full_when_it_shows() {
    let sandbox = start(settled()).await;
    confirmed(&sandbox).await;
    let guid = {
        let mut estate = sandbox.estate();
        let guid = estate.add_subscription("New", None);
        let group = estate.create_group(&guid, "rg-new", "eastus", None).unwrap();
        estate.create_resource(&group, "Microsoft.KeyVault/vaults", "new", "eastus", None).unwrap();
        let from = sandbox.clock().now_ms() + 3 * HOUR_MS;
        estate.know_from(&guid, from);
        guid
    };
    assert_eq!(tick(&sandbox).await.exits(0).count("upserts"), 1, "the subscription is listed");
    sandbox.clock().advance(5 * HOUR);
    let run = tick(&sandbox).await.exits(0);
    assert_equal(&sandbox, &Scope::default(), &run).await;
    assert_ne!(since(&sandbox, &guid).await, "never");
}

#[tokio::test]
async fn a_subscription_that_is_out_of_sight_keeps_its_time_and_is_named_until_it_returns() {
    let small = Small::start().await;
    let Small { sandbox, subscription, vault, .. } = &small;
    sandbox.estate().add_subscription("Two", None);
    confirmed(sandbox).await;
    let before = since(sandbox, subscription).await;
    sandbox.estate().sight().overlook(subscription);
    sandbox.estate().retag_resource(vault, tags(&[("while", "away")]));
    for _ in 0..14 {
        let run = tick(sandbox).await.exits(0);
        let run = run.says(&["does not look at subscription One", "any more; it was last read at"]);
        assert_eq!((run.count("notCovered"), run.count("deletes")), (1, 0), "{run}");
    }
    assert_eq!(since(sandbox, subscription).await, before);
    sandbox.estate().sight().clear();
    let back = tick(sandbox).await.exits(0);
    assert_eq!((back.count("notCovered"), back.count("upserts")), (0, 1), "{back}");
    assert_equal(sandbox, &Scope::default(), &back).await;
}

#[tokio::test]
async fn with_rights_on_some_groups_only_runs_are_incremental_once_all_is_read() {
    let small = Small::start().await;
    let Small { sandbox, subscription, group, vault } = &small;
    sandbox.estate().grant_groups(subscription, [group.clone()]);
    confirmed(sandbox).await;
    assert_eq!(state(sandbox, vault).await, "held");
    let run = tick(sandbox).await.exits(0);
    assert_eq!((run.report()["mode"].as_str(), run.count("notCovered")), (Some("incremental"), 0), "{run}");
}

#[tokio::test]
async fn marks_follow_the_clock_of_resource_graph_whatever_the_date_header_says() {
    let dates = [
        Date::Off(3 * HOUR_MS),
        Date::Off(-3 * HOUR_MS),
        Date::Absent,
        Date::Jumping(vec![0, 5 * HOUR_MS, -5 * HOUR_MS]),
    ];
    for date in dates {
        let small = Small::start().await;
        let Small { sandbox, subscription, vault, .. } = &small;
        sandbox.dates().set_all(&date);
        confirmed(sandbox).await;
        for number in 0..3 {
            sandbox.estate().retag_resource(vault, tags(&[("n", &number.to_string())]));
            let run = tick(sandbox).await.exits(0);
            assert_eq!(run.count("upserts"), 1, "{date:?}: {run}");
            let tells = run.has_said("going by Resource Graph's clock");
            assert!(tells == matches!(date, Date::Off(_)) || matches!(date, Date::Jumping(_)), "{date:?}: {run}");
        }
        let mark: jiff::Timestamp = since(sandbox, subscription).await.parse().unwrap();
        let behind = sandbox.clock().now_ms() - mark.as_millisecond();
        assert!((0..60_000).contains(&behind), "{date:?}: {behind} ms");
    }
}

#[tokio::test]
async fn rows_of_a_new_subscription_that_come_in_steps_are_found_without_waiting_for_a_day() {
    let sandbox = start(settled()).await;
    let guid = sandbox.estate().subscriptions()[0].guid.to_string();
    let until = sandbox.clock().now_ms() + HOUR_MS / 6;
    sandbox.estate().sight().withhold(&guid, 50, until);
    remembering(&sandbox).run().await.exits(0);
    assert!(!sandbox.diff(&Scope::default()).await.is_empty());
    let run = tick(&sandbox).await.exits(0);
    assert_equal(&sandbox, &Scope::default(), &run).await;
}

#[tokio::test]
async fn what_is_withheld_for_hours_or_comes_and_goes_is_not_deleted() {
    let sandbox = start(settled()).await;
    confirmed(&sandbox).await;
    let (guid, group) = {
        let estate = sandbox.estate();
        (estate.subscriptions()[0].guid.to_string(), estate.groups().keys().last().unwrap().clone())
    };
    let until = sandbox.clock().now_ms() + 6 * HOUR_MS;
    sandbox.estate().sight().withhold(&guid, 100, until);
    sandbox.estate().sight().flicker(&group);
    for tick_number in 0..8 {
        sandbox.clock().advance(HOUR);
        let mode = if tick_number % 3 == 0 { "full" } else { "incremental" };
        let run = remembering(&sandbox).args(["--mode", mode]).run().await.exits(0);
        assert_eq!(run.count("deletes"), 0, "{run}");
    }
    assert_eq!(summary(&sandbox).await["held"], 135);
}

#[tokio::test]
async fn what_was_in_a_group_that_is_gone_goes_with_it_once_it_was_asked_for() {
    let small = Small::start().await;
    let Small { sandbox, group, vault, .. } = &small;
    confirmed(sandbox).await;
    sandbox.requests().clear();
    sandbox.estate().delete_group_alone(group);
    let run = tick(sandbox).await.exits(0);
    assert_eq!(run.count("deletes"), 2, "{run}");
    let asked = queries(sandbox);
    let is_asked = |query: &serde_json::Value| query["query"].as_str().unwrap().contains(&format!("in ('{vault}')"));
    assert!(asked.iter().any(is_asked), "{asked:#?}");
    sandbox.clock().advance(DAY);
    assert_equal(sandbox, &Scope::default(), &run).await;
}

#[tokio::test]
async fn what_is_in_the_tenant_is_kept_like_what_is_in_the_subscription_that_it_names() {
    let small = Small::start().await;
    let Small { sandbox, subscription, .. } = &small;
    confirmed(sandbox).await;
    let [own, tenant] = [Level::Subscription, Level::Tenant].map(|level| {
        let kind = "Microsoft.Security/pricings";
        sandbox.estate().create_resource_at(level, subscription, kind, "Plan", None).unwrap()
    });
    assert_eq!(&*tenant, "/providers/microsoft.security/pricings/plan");
    let created = tick(sandbox).await.exits(0);
    assert_eq!((created.count("upserts"), created.count("inDoubt")), (2, 0), "{created}");
    assert_equal(sandbox, &Scope::default(), &created).await;
    for mode in ["full", "incremental"] {
        sandbox.clock().advance(MINUTE);
        let idle = remembering(sandbox).args(["--mode", mode]).run().await.exits(0);
        assert_eq!((idle.count("upserts"), idle.count("unresolved")), (0, 0), "{idle}");
        assert!(!idle.has_said("left out"), "{idle}");
    }

    sandbox.port().forget_deliveries().await;
    sandbox.estate().sight().hide_row(&tenant);
    for _ in 0..4 {
        sandbox.clock().advance(15 * MINUTE);
        remembering(sandbox).args(["--mode", "full"]).run().await.exits(0);
    }
    let sent = envelopes(sandbox).await;
    assert_eq!(outline(&sent), [("delete", &*tenant)], "it was asked for by its id, and the other is there");
    sandbox.estate().sight().clear();
    let id = format!("/subscriptions/{subscription}/{tenant}");
    assert_eq!(state(sandbox, &id).await, "nothing");
    remembering(sandbox).args(["resend", &id]).run().await.exits(0);
    let back = tick(sandbox).await.exits(0);
    assert_equal(sandbox, &Scope::default(), &back).await;

    sandbox.estate().delete_resource(&tenant);
    let gone = tick(sandbox).await.exits(0);
    assert_eq!((gone.count("deletes"), state(sandbox, &own).await.as_str()), (1, "held"), "{gone}");
    assert_equal(sandbox, &Scope::default(), &gone).await;
}

#[tokio::test]
async fn what_is_in_the_tenant_and_was_rejected_or_is_in_an_answer_that_fails_is_found_by_its_own_id() {
    let small = Small::start().await;
    let Small { sandbox, subscription, vault, .. } = &small;
    confirmed(sandbox).await;
    let kind = "Microsoft.Security/pricings";
    let tenant = sandbox.estate().create_resource_at(Level::Tenant, subscription, kind, "plan", None).unwrap();
    sandbox.estate().retag_resource(vault, tags(&[("a", "b")]));
    sandbox.estate().sight().poison(vault);
    let run = tick(sandbox).await.exits(1).tells(&["1 entities could not be read"]);
    assert_eq!(run.count("upserts"), 1, "the other row: {run}");
    sandbox.estate().sight().clear();

    let letters = sandbox.directory().join("letters");
    let rejected = Rule::new(Fault::status(422)).containing(&tenant);
    sandbox.estate().retag_resource(&tenant, tags(&[("c", "d")]));
    break_down(sandbox, Route::Webhook, rejected);
    sandbox.clock().advance(15 * MINUTE);
    remembering(sandbox).env("DEAD_LETTER_FILE", &letters).run().await.exits(4);
    sandbox.faults().clear();
    let run = remembering(sandbox).args(["resend", "--from", letters.to_str().unwrap()]).run().await.exits(0);
    assert_equal(sandbox, &Scope::default(), &run).await;
}
