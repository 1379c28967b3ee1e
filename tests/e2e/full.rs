//! A full run: everything that exists, and deletes that were missed.

use jiff::Timestamp;
use sandbox::expected::Scope;
use sandbox::names::tags;
use sandbox::settings::Dangling;

use crate::harness::{DAY, Program, Run, Small, assert_equal, envelopes, outline, settled, start};

#[tokio::test]
async fn a_full_run_makes_an_empty_catalog_equal_to_the_estate() {
    let mut settings = settled();
    // Port accepts no entity before those that it relates to.
    settings.port.dangling = Dangling::Refuse;
    let sandbox = start(settings).await;
    let run = Program::full(&sandbox).run().await.exits(0);
    assert_equal(&sandbox, &Scope::default(), &run).await;
    assert_eq!(sandbox.port().audit(), Vec::<String>::new());
    let entities = sandbox.port().with_catalog(|catalog| catalog.entities.len() as u64);
    assert_eq!((run.count("upserts"), run.count("deletes")), (entities, 0));
}

#[tokio::test]
async fn a_full_run_that_knows_nothing_of_earlier_ones_says_which_deletes_may_be_missed() {
    let sandbox = start(settled()).await;
    let checkpoint = sandbox.directory().join("checkpoint.redb");
    let run = Program::full(&sandbox).without("LOG_FORMAT").run().await.exits(0);
    let note = run.out.lines().find(|line| line.starts_with("note ")).unwrap_or_else(|| panic!("{run}"));
    let before: Timestamp = note.split_whitespace().find_map(|word| word.parse().ok()).unwrap();
    let ago = sandbox.clock().now_ms() - before.as_millisecond();
    assert_eq!(ago / 3_600_000, 6 * 24, "{run}");

    let notes = |run: Run| run.exits(0).report()["notes"].as_array().map_or(0, Vec::len);
    assert_eq!(notes(Program::full(&sandbox).checkpoint(&checkpoint).run().await), 1, "it has just been made");
    assert_eq!(notes(Program::full(&sandbox).checkpoint(&checkpoint).run().await), 0);
    assert_eq!(notes(Program::new(&sandbox).run().await), 0, "a window is no comparison");
}

#[tokio::test]
async fn a_full_run_repairs_missed_deletes_and_updates() {
    let sandbox = start(settled()).await;
    Program::full(&sandbox).run().await.exits(0);
    {
        let mut estate = sandbox.estate();
        let group = estate.groups().keys().next().unwrap().clone();
        estate.delete_group(&group);
        let ids: Vec<_> = estate.resources().keys().step_by(3).cloned().collect();
        for (number, id) in ids.iter().enumerate() {
            match number % 3 {
                0 => drop(estate.delete_resource(id)),
                1 => drop(estate.retag_resource(id, tags(&[("mended", "yes")]))),
                _ => drop(estate.recreate_resource(id, tags(&[("again", "yes")]))),
            }
        }
    }
    // Nothing ran for days.
    sandbox.clock().advance(5 * DAY);
    let stale = sandbox.diff(&Scope::default()).await;
    assert!(stale.len() > 20, "{stale:?}");
    let run = Program::full(&sandbox).run().await.exits(0);
    assert_equal(&sandbox, &Scope::default(), &run).await;
    assert!(run.count("deletes") > 10, "{run}");
}

#[tokio::test]
async fn deletes_of_the_last_6_days_are_sent_after_the_upserts_children_first() {
    let small = Small::start().await;
    {
        let mut estate = small.sandbox.estate();
        let group = estate.create_group(&small.subscription, "Early", "eastus", None).unwrap();
        estate.delete_group(&group);
    }
    small.sandbox.clock().advance(DAY + DAY / 24);
    let site = {
        let mut estate = small.sandbox.estate();
        let group = estate.create_group(&small.subscription, "Late", "eastus", None).unwrap();
        let site = estate.create_resource(&group, "Microsoft.Web/sites", "site", "eastus", None).unwrap();
        estate.delete_group(&group);
        // Recreated under the same id, so it exists now.
        estate.recreate_resource(&small.vault, None);
        site
    };
    small.sandbox.clock().advance(5 * DAY);
    let run = Program::full(&small.sandbox).run().await.exits(0);
    let subscription = format!("/subscriptions/{}", small.subscription);
    let late = format!("{subscription}/resourcegroups/late");
    let sent = envelopes(&small.sandbox).await;
    let expected = [
        ("upsert", &*subscription),
        ("upsert", &*small.group),
        ("upsert", &*small.vault),
        ("delete", &*site),
        ("delete", &*late),
    ];
    assert_eq!(outline(&sent), expected, "{run}");
    assert_eq!((run.count("upserts"), run.count("deletes")), (3, 2));
}
