//! The report, the log, and the exit code when several apply.

use std::collections::BTreeSet;

use sandbox::faults::{Fault, Rule};
use sandbox::names::tags;
use sandbox::requests::Route;
use serde_json::Value as Json;

use crate::harness::{Program, Small, break_down, envelopes, passing, settled, start};

#[tokio::test]
async fn the_report_counts_what_was_done() {
    let sandbox = start(settled()).await;
    {
        let mut estate = sandbox.estate();
        let ids: Vec<_> = estate.resources().keys().take(30).cloned().collect();
        for id in &ids[..10] {
            estate.delete_resource(id);
        }
        for id in &ids[10..] {
            estate.touch_resource(id);
        }
    }
    break_down(&sandbox, Route::Graph, Rule::new(passing(503)).times(1));
    break_down(&sandbox, Route::Webhook, Rule::new(passing(503)).times(2).after(4));
    let run = Program::new(&sandbox).run().await.exits(0);
    let sent = envelopes(&sandbox).await;
    let upserts = sent.iter().filter(|envelope| envelope.is_upsert()).count() as u64;
    let counts = [
        ("subscriptions", 3),
        // Changed containers, changed resources, and their groups by id.
        ("queries", 4),
        ("rows", 43),
        ("upserts", upserts),
        ("deletes", 10),
        ("unresolved", 0),
        ("retried", 3),
        ("failed", 0),
        ("exit", 0),
    ];
    for (field, count) in counts {
        assert_eq!(run.count(field), count, "{field}; {run}");
    }
    let report = run.report();
    assert_eq!(report["mode"], "incremental");
    assert_eq!(report["errors"], Json::Array(Vec::new()));
    let seconds = report["seconds"].as_f64().unwrap();
    assert!(seconds > 0.0 && seconds <= run.took.as_secs_f64(), "{run}");
}

#[tokio::test]
async fn for_a_person_the_report_is_a_few_aligned_lines_on_standard_output() {
    let sandbox = start(settled()).await;
    let run = Program::full(&sandbox).without("LOG_FORMAT").run().await.exits(0);
    let fields: Vec<(&str, &str)> =
        run.out.lines().filter_map(|line| line.split_once(' ')).map(|(name, rest)| (name, rest.trim())).collect();
    for (name, value) in
        [("mode", "full"), ("subscriptions", "3"), ("queries", "5"), ("rows", "135"), ("upserts", "135")]
    {
        assert!(fields.contains(&(name, value)), "{name} {value}; {run}");
    }
    let names: BTreeSet<&str> = fields.iter().map(|(name, _)| *name).collect();
    for name in ["read", "deletes", "changed", "time", "result"] {
        assert!(names.contains(name), "{name}; {run}");
    }
    for name in ["unresolved", "retried", "failed", "skipped", "duplicates"] {
        assert!(!names.contains(name), "it is 0: {name}; {run}");
    }
    // Numbers are right-aligned.
    let numbers = run.out.lines().filter(|line| line.ends_with(|c: char| c.is_ascii_digit()));
    let widths: BTreeSet<usize> = numbers.map(str::len).collect();
    assert_eq!(widths.len(), 1, "{run}");
    assert!(run.out.lines().count() <= 24, "{run}");
    assert!(!run.out.contains("INFO") && run.err.contains("INFO"), "the log is on standard error; {run}");
}

#[tokio::test]
async fn for_a_machine_the_report_is_one_json_object_and_so_is_each_line_of_the_log() {
    let sandbox = start(settled()).await;
    break_down(&sandbox, Route::Graph, Rule::new(passing(503)).times(1));
    for flag in ["json", "JSON"] {
        let run = Program::full(&sandbox).env("LOG_FORMAT", flag).run().await.exits(0);
        assert!(run.report().is_object());
        assert_eq!(run.out.lines().count(), 1, "{run}");
        assert!(!run.err.is_empty());
        for line in run.err.lines() {
            let line: Json = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
            assert!(line["level"].is_string(), "{line}");
        }
    }
}

#[tokio::test]
async fn the_log_is_as_loud_as_it_is_told_to_be() {
    let sandbox = start(settled()).await;
    let run = Program::full(&sandbox).env("RUST_LOG", "off").run().await.exits(0);
    assert_eq!(run.err, "", "{run}");
    break_down(&sandbox, Route::Graph, Rule::new(passing(503)).times(1));
    let run = Program::full(&sandbox).env("RUST_LOG", "warn").run().await.exits(0).says(&["trying again"]);
    assert!(!run.err.contains("INFO"), "{run}");
    let run = Program::full(&sandbox).env("RUST_LOG", "debug").run().await.exits(0);
    assert!(run.err.contains("DEBUG"), "{run}");
}

#[tokio::test]
async fn a_run_that_fails_reports_too() {
    let sandbox = start(settled()).await;
    break_down(&sandbox, Route::Subscriptions, Rule::new(Fault::status(400)));
    let run = Program::full(&sandbox).run().await.exits(1);
    assert_eq!((run.count("exit"), run.count("upserts")), (1, 0), "{run}");
    assert!(!run.errors().is_empty(), "{run}");
    let run = Program::full(&sandbox).without("LOG_FORMAT").run().await.exits(1);
    let names: Vec<&str> = run.out.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(names, ["mode", "time", "result"], "nothing was counted; {run}");
    assert!(run.out.contains("failed"), "{run}");
}

#[tokio::test]
async fn the_report_tells_what_is_new_what_changed_and_what_was_deleted_of_each_type() {
    let small = Small::start().await;
    let checkpoint = small.sandbox.directory().join("kept.redb");
    let run = || Program::new(&small.sandbox).checkpoint(&checkpoint);
    run().run().await.exits(0);
    {
        let mut estate = small.sandbox.estate();
        estate.create_resource(&small.group, "Microsoft.KeyVault/vaults", "Vault-2", "eastus", None).unwrap();
        estate.retag_resource(&small.vault, tags(&[("a", "b")]));
    }
    let report = run().run().await.exits(0).report();
    let expected = serde_json::json!({"upserts": 2, "new": 1, "deletes": 0, "failed": 0});
    assert_eq!(report["types"]["microsoft.keyvault/vaults"], expected, "{report}");
    assert_eq!(report["checkpoint"], checkpoint.to_str().unwrap());
    small.sandbox.estate().delete_resource(&small.vault);
    let run = run().without("LOG_FORMAT").run().await.exits(0);
    assert!(run.out.contains("- 1  microsoft.keyvault/vaults"), "{run}");
    assert!(run.out.contains("compared with") && run.out.contains("changes since"), "{run}");
}

#[tokio::test]
async fn what_is_tried_again_often_is_told_a_few_times_with_its_sum() {
    let sandbox = start(settled()).await;
    break_down(&sandbox, Route::Webhook, Rule::new(passing(503)).after(15).times(40));
    let run = Program::full(&sandbox).run().await.exits(0);
    assert_eq!(run.count("retried"), 40, "{run}");
    assert_eq!(run.err.matches("trying again").count(), 6, "{run}");
    assert!(run.err.contains("32 retries so far"), "{run}");
}

#[tokio::test]
async fn where_several_endings_hold_the_worst_is_told() {
    // Credentials rejected for one batch (3), another batch unreadable (1), an envelope rejected (4).
    let cases: [(&[u16], Option<u16>, i32); 5] = [
        (&[401, 400], Some(422), 3),
        (&[401], Some(422), 3),
        (&[400], Some(422), 1),
        (&[], Some(422), 4),
        (&[401, 400], None, 3),
    ];
    let refuse = |status| Rule::new(Fault::status(status)).after(5).times(1);
    for (graph, webhook, code) in cases {
        let sandbox = start(settled()).await;
        let guids: Vec<_> = sandbox.estate().subscriptions().iter().map(|one| one.guid.clone()).collect();
        for (status, guid) in graph.iter().zip(&guids) {
            break_down(&sandbox, Route::Graph, Rule::new(Fault::status(*status)).containing(guid));
        }
        if let Some(status) = webhook {
            break_down(&sandbox, Route::Webhook, refuse(status));
        }
        let run = Program::full(&sandbox).env("SUBSCRIPTION_BATCH_SIZE", "1").run().await.exits(code);
        assert_eq!(run.count("exit"), code as u64, "{run}");
        let errors = run.report()["errors"].as_array().unwrap().len();
        assert_eq!(errors, graph.len() + usize::from(webhook.is_some()), "each is told; {run}");
    }
    // And one undelivered envelope (1), with one that was rejected (4).
    let sandbox = start(settled()).await;
    let last = sandbox.estate().resources().keys().last().unwrap().clone();
    break_down(&sandbox, Route::Webhook, refuse(422));
    let this = format!(r#""resourceId":"{last}""#);
    break_down(&sandbox, Route::Webhook, Rule::new(passing(500)).containing(&this));
    let run = Program::full(&sandbox).run().await.exits(1);
    assert_eq!(run.count("failed"), 2, "{run}");
}
