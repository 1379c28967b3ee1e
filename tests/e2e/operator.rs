//! An operator's tools: dry run, init, GitHub Actions, completions, freshness, and the checkpoint command.

use std::collections::BTreeSet;
use std::process::Stdio;

use sandbox::Sandbox;
use sandbox::estate::lower;
use sandbox::faults::{Fault, Rule};
use sandbox::requests::Route;
use serde_json::Value as Json;

use crate::harness::{MINUTE, Program, Small, break_down, envelopes, passing, resource_ids, settled, start};
use crate::remembered::{compared, confirmed, file, remembering, since};

#[tokio::test]
async fn commands_that_only_print_need_no_credentials() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let run = Program::bare().args(["completions", shell]).run().await.exits(0);
        assert!(run.out.contains("azure-incremental"), "{run}");
    }
    let run = Program::bare().args(["man"]).run().await.exits(0);
    assert!(run.out.contains(".TH azure-incremental"), "{run}");
    let run = Program::bare().args(["-V"]).run().await.exits(0);
    assert!(run.out.starts_with(concat!("azure-incremental ", env!("CARGO_PKG_VERSION"))), "{run}");
    let run = Program::bare().args(["init"]).run().await.exits(0);
    assert!(run.out.contains("# ==> mapping-batch.json"), "{run}");
    let run = Program::bare().args(["init", "blueprints.json"]).run().await.exits(0);
    assert!(serde_json::from_str::<Json>(&run.out).unwrap().is_array());
    Program::bare().args(["init", "nothing.json"]).run().await.exits(2).says(&["nothing.json"]);
}

#[tokio::test]
async fn help_is_coloured_only_where_that_is_wished_for() {
    let coloured = |run: crate::harness::Run| run.exits(0).out.contains('\u{1b}');
    let help = || Program::bare().args(["--help"]);
    assert!(!coloured(help().run().await));
    assert!(coloured(help().env("CLICOLOR_FORCE", "1").run().await));
    assert!(!coloured(help().env("CLICOLOR_FORCE", "1").env("NO_COLOR", "1").run().await));
}

#[tokio::test]
async fn a_dry_run_prints_what_a_run_would_post_and_leaves_no_trace() {
    let sandbox = start(settled()).await;
    let checkpoint = sandbox.directory().join("dry.json");
    let run = Program::full(&sandbox)
        .without("PORT_WEBHOOK_INGEST_URL")
        .checkpoint(&checkpoint)
        .args(["--dry-run"])
        .run()
        .await
        .exits(0);
    assert!(envelopes(&sandbox).await.is_empty());
    assert!(
        std::fs::read_dir(sandbox.directory())
            .unwrap()
            .all(|entry| { !entry.unwrap().file_name().to_string_lossy().starts_with("dry.json") })
    );
    let lines: Vec<Json> = run.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let first_resource = lines.iter().position(|line| line["type"] == "resource").unwrap();
    assert!(lines[first_resource..].iter().all(|line| line["type"] == "resource"), "parents go first");
    Program::full(&sandbox).run().await.exits(0);
    let posted = envelopes(&sandbox).await;
    let printed: std::collections::BTreeSet<String> = lines
        .iter()
        .filter(|line| line["type"] == "resource")
        .map(|line| line["data"]["resourceId"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(printed, resource_ids(&posted));
    assert_eq!(lines.len(), posted.len());
}

#[tokio::test]
async fn a_dry_run_whose_reader_has_gone_is_no_error() {
    let sandbox = start(settled()).await;
    let mut command = Program::full(&sandbox).without("LOG_FORMAT").args(["--dry-run"]).into_command();
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().await.unwrap();
    assert_eq!(output.status.code(), Some(0));
    let report = String::from_utf8(output.stderr).unwrap();
    assert!(report.contains("closed before everything was printed"), "{report}");
}

#[tokio::test]
async fn on_a_terminal_a_dry_run_is_a_list_by_type_with_a_total_and_colours() {
    let sandbox = start(settled()).await;
    let checkpoint = sandbox.directory().join("kept.redb");
    Program::full(&sandbox).checkpoint(&checkpoint).run().await.exits(0);
    let gone = sandbox.estate().resources().keys().next().unwrap().clone();
    sandbox.estate().delete_resource(&gone);
    let dry = || Program::new(&sandbox).checkpoint(&checkpoint).args(["--dry-run"]).without("LOG_FORMAT");
    let run = dry().run_on_a_terminal().await.exits(0);
    let kind = gone.rsplit('/').nth(1).unwrap();
    assert!(run.out.contains(&"\u{1b}[31m- 1\u{1b}[0m".to_string()) && run.out.contains(kind), "{run}");
    assert!(run.out.contains("everything found was counted") && !run.out.contains(r#""operation""#), "{run}");
    let all = dry().env("SYNC_MODE", "full").env("RESEND_ALL", "true").env("NO_COLOR", "1");
    let run = all.run_on_a_terminal().await.exits(0);
    let types: BTreeSet<String> = sandbox.estate().resources().values().map(|one| lower(&one.kind.name)).collect();
    assert!(types.iter().all(|kind| run.out.contains(&format!("  {kind}\n"))), "{run}");
    assert!(run.out.contains(&format!("in all, of {} types", types.len() + 2)) && !run.out.contains('\u{1b}'), "{run}");
    let run = dry().env("LOG_FORMAT", "json").run_on_a_terminal().await.exits(0);
    assert!(run.out.contains(r#""operation":"delete""#), "{run}");
}

#[tokio::test]
async fn a_job_of_githubs_gets_annotations_a_summary_and_outputs() {
    let sandbox = start(settled()).await;
    let file = |name: &str| sandbox.directory().join(name);
    let program = || Program::full(&sandbox).in_a_job(&file("summary"), &file("output"));
    let run = program().run().await.exits(0);
    assert!(run.err.starts_with("::group::") && run.err.contains("\n::endgroup::"), "{run}");
    let summary = std::fs::read_to_string(file("summary")).unwrap();
    assert!(summary.contains("full run") && summary.contains("<code>microsoft."), "{summary}");
    let upserts = run.count("upserts");
    let output = std::fs::read_to_string(file("output")).unwrap();
    assert_eq!(output, format!("upserts={upserts}\ndeletes=0\nfailed=0\nexit-reason=ok\n"));
    break_down(&sandbox, Route::Subscriptions, Rule::new(Fault::status(403)));
    let run = program().run().await.exits(1);
    assert!(run.err.lines().any(|line| line.starts_with("::error title=azure-incremental::")), "{run}");
    assert!(std::fs::read_to_string(file("output")).unwrap().ends_with("exit-reason=failed\n"));
    let run = program().env("SYNC_MODE", "sideways").run().await.exits(2);
    assert!(run.err.contains("::error title=azure-incremental::SYNC_MODE"), "{run}");
}

#[tokio::test]
async fn a_job_of_githubs_is_told_that_its_checkpoint_is_older_than_the_last_run() {
    let sandbox = start(settled()).await;
    let [summary, output, kept] = ["summary", "output", "kept"].map(|name| sandbox.directory().join(name));
    let run = |number: u64| {
        _ = std::fs::remove_file(&summary);
        remembering(&sandbox)
            .in_a_job(&summary, &output)
            .env("GITHUB_WORKFLOW_REF", "o/r/.github/workflows/sync.yml@refs/heads/main")
            .env("GITHUB_RUN_NUMBER", number.to_string())
    };
    let is_told =
        || std::fs::read_to_string(&summary).unwrap().contains("older than the last run of this workflow: run 41");
    run(41).run().await.exits(0);
    std::fs::copy(file(&sandbox), &kept).unwrap();
    run(42).run().await.exits(0);
    assert!(!is_told());
    // Run 42 failed to save.
    std::fs::copy(&kept, file(&sandbox)).unwrap();
    run(43).run().await.exits(0);
    assert!(is_told());
    run(44).run().await.exits(0);
    assert!(!is_told());
}

#[tokio::test]
async fn who_made_a_change_is_delivered_only_where_that_is_wished_for() {
    let sandbox = start(settled()).await;
    {
        let mut estate = sandbox.estate();
        let ids: Vec<_> = estate.resources().keys().take(3).cloned().collect();
        ids.iter().for_each(|id| {
            estate.touch_resource(id);
        });
    }
    let run = Program::new(&sandbox).run().await.exits(0);
    let freshness = &run.report()["freshness"];
    assert_eq!(freshness["changes"], 3, "{run}");
    let [least, median, most] = ["min", "median", "max"].map(|of| freshness[format!("{of}Seconds")].as_f64().unwrap());
    assert!(least <= median && median <= most, "{run}");
    let plain = envelopes(&sandbox).await;
    assert!(plain.iter().all(|envelope| envelope.data["changeAttributes"].is_null()));

    let run = Program::new(&sandbox).without("LOG_FORMAT").env("RUST_LOG", "debug").run().await.exits(0);
    assert!(run.err.contains("clientType=") && !run.err.contains("ops@example.com"), "{run}");
    let logged = envelopes(&sandbox).await.split_off(plain.len());
    let bodies = |envelopes: &[crate::harness::Envelope]| -> std::collections::BTreeSet<String> {
        envelopes.iter().map(|envelope| envelope.body.clone()).collect()
    };
    assert_eq!(bodies(&logged), bodies(&plain), "what is logged changes no envelope");

    Program::new(&sandbox).args(["--include-change-actor"]).run().await.exits(0);
    let told = envelopes(&sandbox).await.split_off(plain.len() + logged.len());
    let attributed = told.iter().filter(|envelope| envelope.data["changeAttributes"]["changedBy"].is_string());
    assert_eq!(attributed.count(), 3);
}

/// `azure-incremental checkpoint` in text form, for the sandbox's checkpoint.
fn shown<const N: usize>(sandbox: &Sandbox, args: [&str; N]) -> Program {
    Program::bare().args(["checkpoint", file(sandbox).to_str().unwrap()]).args(args)
}

#[tokio::test]
async fn a_person_who_looks_at_a_checkpoint_reads_what_it_holds_what_is_in_doubt_and_how_the_last_run_ended() {
    let small = Small::start().await;
    let Small { sandbox, subscription, group, vault } = &small;
    let root = format!("/subscriptions/{subscription}");
    confirmed(sandbox).await;
    let times = [since(sandbox, subscription).await, compared(sandbox, subscription).await];
    let [read, compared] = times.each_ref().map(|time| &time[..19]);
    let show = |id: &str| shown(sandbox, ["--id", id]).run();
    let whole = shown(sandbox, []).run().await.exits(0).says(&["\n3 entities held, 0 in doubt\n", &root]);
    let whole = whole.says(&["\n    3 held, 0 in doubt\n", "\nlast run: full, started ", ", exit 0\n"]);
    let whole = whole.says(&[&format!("read up to {read}"), &format!("last compared in full {compared}")]);
    whole.says(&["1  microsoft.keyvault/vaults\n"]).does_not_say(&["    in doubt  ", "not listed", "{"]);
    let text = show(&vault.to_uppercase()).await.exits(0).says(&[vault, "held: the catalog accepted content "]);
    text.says(&["last answered in the run of "]).does_not_say(&["in doubt", "{"]);
    show(group).await.exits(0).says(&["held: ", "its tags put it in scope"]);
    let times = [format!("records have been read up to {read}"), format!("last compared in full at {compared}")];
    show(&root).await.exits(0).says(&times.each_ref().map(String::as_str));

    sandbox.clock().advance(MINUTE);
    sandbox.estate().touch_resource(vault);
    break_down(sandbox, Route::Webhook, Rule::new(passing(500)).containing("/vaults/"));
    remembering(sandbox).run().await.exits(1);
    let whole = shown(sandbox, []).run().await.exits(0).says(&["\n3 entities held, 1 in doubt\n", ", exit 1\n"]);
    let why = format!("\n    in doubt  {vault}: Port has not accepted it yet, or did not answer\n");
    whole.says(&["\nlast run: incremental, started ", &why]);
    show(vault).await.exits(0).says(&["in doubt: something may or may not have arrived; the next run asks for it"]);
    show(&format!("{vault}-2")).await.exits(1).says(&["-2 is not in the checkpoint"]);
    show("vault-1").await.exits(2).says(&["vault-1 is not an id: expected /subscriptions/"]);
}

#[tokio::test]
async fn where_there_is_no_checkpoint_to_look_at_or_nothing_in_it_that_is_an_error_and_said_as_one() {
    let sandbox = start(settled()).await;
    for why in ["does not exist yet", "holds nothing yet: no run has read anything"] {
        if why.starts_with("holds") {
            // A run creates its file before it signs in.
            remembering(&sandbox).env("AZURE_CLIENT_SECRET", "wrong").run().await.exits(3);
        }
        for args in [&[][..], &["--list"], &["--id", "/subscriptions/x"]] {
            let mut command = shown(&sandbox, []).into_command();
            let output = command.args(args).output().await.unwrap();
            let err = String::from_utf8(output.stderr).unwrap();
            assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b""[..]), "{err}");
            assert_eq!(err, format!("error: {} {why}\n", file(&sandbox).display()));
        }
    }
}
