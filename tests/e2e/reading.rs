//! Paging, proof of completeness, quota, retries.

use std::time::{Duration, Instant};

use sandbox::expected::Scope;
use sandbox::faults::{Fault, Rule, Shift};
use sandbox::life;
use sandbox::requests::Route;
use sandbox::rng::Rng;
use sandbox::settings::{EstateSize, QuotaSettings};
use serde_json::Value as Json;

use crate::harness::{
    Program, assert_equal, break_down, envelopes, of_resources, passing, queries, settled, start, table,
};
use crate::remembered::until;

/// The queries of one table.
fn of_table<'a>(asked: &'a [Json], name: &str) -> Vec<&'a Json> {
    asked.iter().filter(|query| table(query) == name).collect()
}

fn text(query: &Json) -> &str {
    query["query"].as_str().unwrap()
}

fn is_partitioned(query: &Json) -> bool {
    text(query).contains("hash(")
}

#[tokio::test]
async fn pages_follow_one_another_over_the_skip_token_in_a_stable_order() {
    let mut settings = settled();
    // The service may put fewer rows on a page than requested.
    settings.azure.page_rows = 50;
    let sandbox = start(settings).await;
    let run = Program::full(&sandbox).run().await.exits(0);
    assert_equal(&sandbox, &Scope::default(), &run).await;
    let asked = queries(&sandbox);
    let pages = of_table(&asked, "resources");
    assert_eq!(pages.len(), 3, "{run}");
    assert!(pages[0]["options"].get("$skipToken").is_none());
    assert!(pages[1..].iter().all(|page| page["options"]["$skipToken"].is_string()));
    for query in &asked {
        assert_eq!(query["options"]["$top"], 1000);
        assert!(text(query).lines().last().unwrap().starts_with("| order by resourceId"), "{query}");
    }
    assert_eq!(run.count("rows"), 135);
}

#[tokio::test]
async fn after_the_look_at_the_subscriptions_everything_is_asked_at_once() {
    let mut settings = of_resources(3_000);
    settings.azure.query_latency = Duration::from_millis(500);
    let sandbox = start(settings).await;
    let run = Program::full(&sandbox).env("PORT_WEBHOOK_PAYLOAD", "batch").run().await.exits(0);
    // The records of containers and resources, the containers, and the resources in four parts.
    assert_eq!((run.count("queries"), sandbox.requests().most_in_flight(Route::Graph)), (1 + 7, 7), "{run}");
}

#[tokio::test]
async fn a_result_of_more_than_a_page_is_read_in_parts_that_fit_one() {
    let sandbox = start(of_resources(3_000)).await;
    let run = Program::full(&sandbox).run().await.exits(0);
    assert_equal(&sandbox, &Scope::default(), &run).await;
    let asked = queries(&sandbox);
    let parts: Vec<&Json> = of_table(&asked, "resources").into_iter().filter(|query| is_partitioned(query)).collect();
    assert!(parts.len() >= 3, "{run}");
    assert!(parts.iter().all(|part| part["options"].get("$skipToken").is_none()), "each fits a page; {run}");
    let upserts = envelopes(&sandbox).await.iter().filter(|envelope| envelope.is_resource()).count();
    assert_eq!(upserts, 3_000, "each resource is sent once; {run}");
}

#[tokio::test]
async fn all_records_of_a_resource_stay_together_when_changes_are_read_in_parts() {
    let sandbox = start(of_resources(900)).await;
    Program::full(&sandbox).run().await.exits(0);
    // Several records per resource, and more resources than fit on two pages.
    life::burst(&mut sandbox.estate(), &mut Rng::new(7), 6_000);
    sandbox.requests().clear();
    sandbox.port().forget_deliveries().await;
    let run = Program::new(&sandbox).run().await.exits(0);
    assert_equal(&sandbox, &Scope::default(), &run).await;
    let asked = queries(&sandbox);
    let parts: Vec<&Json> =
        of_table(&asked, "resourcechanges").into_iter().filter(|query| is_partitioned(query)).collect();
    assert!(parts.len() >= 3, "{run}");
    for part in parts {
        let text = text(part);
        assert!(text.find("hash(") < text.find("summarize"), "before the records are summed up: {text}");
        assert!(text.contains("hash(resourceId)"), "by the id of the target: {text}");
    }
    let sent = envelopes(&sandbox).await;
    let mut ids: Vec<&str> = sent.iter().map(crate::harness::Envelope::id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), sent.len(), "one envelope each");
}

#[tokio::test]
async fn a_result_whose_rows_shift_between_pages_is_read_again_in_parts() {
    for shift in [Shift::Removed, Shift::Added, Shift::Swapped] {
        let mut settings = settled();
        settings.azure.page_rows = 50;
        let sandbox = start(settings).await;
        break_down(&sandbox, Route::Graph, Rule::new(Fault::Unstable(shift)));
        let run = Program::full(&sandbox).run().await.exits(0).says(&["is inconsistent"]);
        assert_equal(&sandbox, &Scope::default(), &run).await;
        let asked = queries(&sandbox);
        let mut parts = of_table(&asked, "resources")
            .into_iter()
            .filter(|query| query["subscriptions"].as_array().unwrap().len() == 1);
        assert!(parts.next().is_some(), "{shift:?}: {run}");
    }
}

#[tokio::test]
async fn a_result_that_never_adds_up_fails_the_run_and_says_so() {
    let faults = [
        // One more than exist.
        Fault::edit(|answer| {
            let records = answer.split_once(r#""totalRecords":"#).unwrap().1.split(',').next().unwrap().to_owned();
            let more = records.parse::<u64>().unwrap() + 1;
            answer.replacen(&format!(r#""totalRecords":{records}"#), &format!(r#""totalRecords":{more}"#), 1)
        }),
        // Marked as truncated.
        Fault::edit(|answer| answer.replace(r#""resultTruncated":"false""#, r#""resultTruncated":"true""#)),
        // The same as a boolean.
        Fault::edit(|answer| answer.replace(r#""resultTruncated":"false""#, r#""resultTruncated":true"#)),
    ];
    for fault in faults {
        let sandbox = start(settled()).await;
        break_down(&sandbox, Route::Graph, Rule::new(fault).containing("\"query\":\"resources\\n"));
        let run = Program::full(&sandbox).run().await.exits(1).tells(&["query for resources", "proven complete"]);
        assert!(sandbox.requests().count(Route::Graph) < 200, "it gives up in time; {run}");
    }
}

/// An answer with a second row before one of each table's rows, with the same id and other tags.
fn twice() -> Fault {
    Fault::edit(|answer| {
        let mut json: Json = serde_json::from_str(&answer).unwrap();
        let rows = json["data"].as_array_mut().unwrap();
        if let Some(mut twin) = rows.last().filter(|row| row["tags"].is_object()).cloned() {
            twin["tags"] = serde_json::json!({"zz": "twin"});
            rows.insert(0, twin);
            for count in ["totalRecords", "count"] {
                json[count] = (json[count].as_u64().unwrap() + 1).into();
            }
        }
        json.to_string()
    })
}

#[tokio::test]
async fn an_id_that_is_twice_in_one_answer_is_one_and_counted() {
    let sandbox = start(settled()).await;
    break_down(&sandbox, Route::Graph, Rule::new(twice()));
    let run = Program::full(&sandbox).run().await.exits(0).says(&["more than one row of some resources, such as /sub"]);
    assert!(run.count("duplicates") >= 1 && !run.has_said("is inconsistent"), "{run}");
    assert_equal(&sandbox, &Scope::default(), &run).await;
}

#[tokio::test]
async fn an_answer_that_contradicts_itself_is_read_again() {
    let edit = |from: &'static str, to: &'static str| Fault::edit(move |answer| answer.replacen(from, to, 1));
    let faults = [
        edit("{", r#"{"error":{"code":"InternalServerError","message":"x"},"#),
        edit(r#""count":"#, r#""count":1"#),
        edit(r#""resultTruncated":"false""#, r#""resultTruncated":"True""#),
        edit(r#""resultTruncated":"false""#, r#""resultTruncated":true"#),
        edit(r#""resultTruncated":"false""#, r#""resultTruncated":"partly""#),
    ];
    for (number, fault) in faults.into_iter().enumerate() {
        let sandbox = start(settled()).await;
        let asked = "\"query\":\"resources\\n";
        break_down(&sandbox, Route::Graph, Rule::new(fault.clone()).containing(asked).times(1));
        let run = Program::full(&sandbox).run().await.exits(0);
        assert_equal(&sandbox, &Scope::default(), &run).await;
        assert!(queries(&sandbox).len() > 4, "{number}: it is asked again; {run}");
        sandbox.faults().clear();
        break_down(&sandbox, Route::Graph, Rule::new(fault).containing(asked));
        Program::full(&sandbox).run().await.exits(1);
    }
}

#[tokio::test]
async fn an_answer_too_large_for_the_service_is_asked_for_in_smaller_parts() {
    let mut settings = of_resources(400);
    settings.azure.payload_limit = 60_000;
    let sandbox = start(settings).await;
    let run = Program::full(&sandbox).run().await.exits(0);
    let statuses = sandbox.requests().statuses(Route::Graph);
    assert!(statuses[&400] >= 1, "{statuses:?}; {run}");
    assert_equal(&sandbox, &Scope::default(), &run).await;
    let asked = queries(&sandbox);
    assert!(of_table(&asked, "resources").into_iter().any(is_partitioned), "{run}");
}

#[tokio::test]
async fn rows_too_large_for_the_service_fail_the_run_which_names_each_and_reads_the_rest() {
    let mut settings = settled();
    settings.estate = EstateSize { subscriptions: 1, groups: 1, resources: 4 };
    settings.azure.payload_limit = 500;
    let sandbox = start(settings).await;
    let started = Instant::now();
    let run = Program::full(&sandbox)
        .run()
        .await
        .exits(1)
        .tells(&["5 entities could not be read: every query that includes them"]);
    let names = run.err.matches("; everything else is read").count();
    assert!(run.has_said("ResponsePayloadTooLarge") && names == 5, "{run}");
    assert_eq!(run.count("upserts"), 1, "the subscription: everything else is read; {run}");
    assert!(started.elapsed() < Duration::from_secs(60), "{run}");
}

#[tokio::test]
async fn a_subscription_that_resource_graph_leaves_out_fails_the_run_and_says_what_to_do() {
    let mut settings = settled();
    settings.azure.subscription_limit_hit = true;
    let sandbox = start(settings).await;
    Program::full(&sandbox).run().await.exits(1).tells(&["subscriptions out", "SUBSCRIPTION_BATCH_SIZE"]);
}

#[tokio::test]
async fn a_run_that_keeps_to_the_announced_quota_sees_no_429() {
    let mut settings = settled();
    settings.estate = EstateSize { subscriptions: 12, groups: 24, resources: 60 };
    settings.azure.quota = Some(QuotaSettings { queries: 15, window: Duration::from_secs(1) });
    let sandbox = start(settings).await;
    let run = Program::full(&sandbox).env("SUBSCRIPTION_BATCH_SIZE", "1").run().await.exits(0);
    let statuses = sandbox.requests().statuses(Route::Graph);
    assert_eq!(statuses.into_iter().collect::<Vec<_>>(), [(200, 60)], "{run}");
    assert_eq!(run.count("retried"), 0);
    assert_equal(&sandbox, &Scope::default(), &run).await;
}

#[tokio::test]
async fn a_run_that_is_told_no_quota_keeps_to_fifteen_queries_in_five_seconds() {
    let mut settings = settled();
    settings.estate = EstateSize { subscriptions: 5, groups: 10, resources: 20 };
    settings.azure.quota = None;
    let sandbox = start(settings).await;
    let run = Program::full(&sandbox).env("SUBSCRIPTION_BATCH_SIZE", "1").run().await.exits(0);
    let entries = sandbox.requests().entries();
    let times: Vec<Instant> =
        entries.iter().filter(|entry| entry.route == Route::Graph).map(|entry| entry.at).collect();
    assert_eq!(times.len(), 25, "{run}");
    assert!(times[15] - times[0] >= Duration::from_millis(4_900), "{run}");
    assert!(run.took < Duration::from_secs(9), "the others go out side by side: {run}");
    assert_equal(&sandbox, &Scope::default(), &run).await;
}

#[tokio::test]
async fn a_quota_that_others_use_up_is_waited_for() {
    let sandbox = start(settled()).await;
    let used_up = Fault::status(429)
        .with_header("x-ms-user-quota-remaining", "0")
        .with_header("x-ms-user-quota-resets-after", "00:00:02")
        .with_header("retry-after", "0");
    break_down(&sandbox, Route::Graph, Rule::new(used_up).times(1));
    let run = Program::full(&sandbox).run().await.exits(0).says(&["trying again in 2.0 s"]);
    let entries = sandbox.requests().entries();
    let graph: Vec<_> = entries.iter().filter(|entry| entry.route == Route::Graph).collect();
    assert_eq!(graph.len(), 6, "{run}");
    assert_eq!(graph[0].status, Some(429), "{run}");
    let gap = graph[1].at - graph[0].at;
    assert!(gap >= Duration::from_millis(1_900), "what was announced is waited for: {gap:?}; {run}");
    assert_equal(&sandbox, &Scope::default(), &run).await;
}

/// Resource Manager's bucket: 250 at once, and 25 more per second.
#[tokio::test]
async fn requests_to_resource_manager_keep_to_its_bucket() {
    let mut settings = settled();
    settings.estate = EstateSize { subscriptions: 285, groups: 0, resources: 0 };
    settings.azure.listing_page = 1;
    let sandbox = start(settings).await;
    let run = Program::new(&sandbox).run().await.exits(0);
    assert_eq!(run.count("subscriptions"), 285);
    let entries = sandbox.requests().entries();
    let times: Vec<Instant> =
        entries.iter().filter(|entry| entry.route == Route::Subscriptions).map(|e| e.at).collect();
    assert_eq!(times.len(), 285);
    let first = times[0];
    for (sent, at) in times.iter().enumerate() {
        let granted = 250.0 + 25.0 * (*at - first).as_secs_f64();
        // A request may be in flight for a moment, and the latency of the first is unknown.
        assert!(sent as f64 <= granted + 5.0, "{sent} requests within {:?}", *at - first);
    }
}

#[tokio::test]
async fn passing_failures_of_azure_are_tried_again_and_logged() {
    let sandbox = start(settled()).await;
    for route in [Route::Subscriptions, Route::Graph] {
        for status in [408, 429, 500, 502, 503, 504] {
            sandbox.faults().clear();
            sandbox.requests().clear();
            break_down(&sandbox, route, Rule::new(passing(status)).times(1));
            let run = Program::new(&sandbox).run().await.exits(0).says(&["trying again in"]);
            assert_eq!(run.count("retried"), 1, "{route:?} {status}: {run}");
            assert_eq!(sandbox.requests().statuses(route)[&status], 1);
        }
    }
}

/// A broken connection has no Retry-After, so these take long and run in parallel.
#[tokio::test]
async fn connections_that_break_are_tried_again() {
    let broken = async |route: Route, fault: Fault| {
        let sandbox = start(settled()).await;
        break_down(&sandbox, route, Rule::new(fault.clone()).times(2));
        let run = Program::full(&sandbox).run().await.exits(0).says(&["trying again in"]);
        assert!(run.count("retried") >= 1, "{route:?} {fault:?}: {run}");
        assert_equal(&sandbox, &Scope::default(), &run).await;
    };
    tokio::join!(
        broken(Route::Token, Fault::Reset),
        broken(Route::Subscriptions, Fault::Reset),
        broken(Route::Graph, Fault::Reset),
        broken(Route::Webhook, Fault::Reset),
        broken(Route::Token, Fault::ResetInBody),
        broken(Route::Subscriptions, Fault::ResetInBody),
        broken(Route::Graph, Fault::ResetInBody),
        broken(Route::Webhook, Fault::ResetInBody),
    );
}

#[tokio::test]
async fn a_request_is_tried_again_up_to_five_times() {
    let mut settings = settled();
    settings.estate = EstateSize { subscriptions: 1, groups: 4, resources: 10 };
    let sandbox = start(settings).await;
    break_down(&sandbox, Route::Graph, Rule::new(passing(503)).containing("\"query\":\"resourcechanges"));
    let run = Program::new(&sandbox).run().await.exits(1).tells(&["503"]);
    // And once more, with one retry, to find out which rows make it fail.
    assert_eq!(sandbox.requests().statuses(Route::Graph)[&503], 6 + 2, "{run}");
    assert_eq!(run.count("retried"), 5 + 1, "{run}");

    sandbox.faults().clear();
    sandbox.requests().clear();
    break_down(&sandbox, Route::Graph, Rule::new(passing(503)).times(5));
    let run = Program::new(&sandbox).run().await.exits(0);
    assert_eq!(run.count("retried"), 5, "{run}");
}

#[tokio::test]
async fn what_will_not_pass_is_not_tried_again() {
    let sandbox = start(settled()).await;
    // A query may be rejected because of one of the three subscriptions.
    for (fault, most) in [
        (Fault::status(400), 2),
        (Fault::status(403), 6),
        (Fault::status(404), 6),
        (Fault::Redirect("https://x.invalid".into()), 2),
    ] {
        sandbox.faults().clear();
        sandbox.requests().clear();
        break_down(&sandbox, Route::Graph, Rule::new(fault.clone()));
        let run = Program::new(&sandbox).run().await;
        assert_ne!(run.code, 0, "{fault:?}: {run}");
        assert_eq!(run.count("retried"), 0, "{fault:?}: {run}");
        assert!(sandbox.requests().count(Route::Graph) <= most, "the two of a batch, each once; {fault:?}: {run}");
    }
}

#[tokio::test]
async fn an_answer_that_makes_no_sense_fails_the_run_and_says_which() {
    let edit = |from: &'static str, to: &'static str| Fault::edit(move |answer| answer.replace(from, to));
    let faults = [
        Fault::Html,
        Fault::Garbage,
        Fault::Empty,
        Fault::Deep,
        Fault::Truncated,
        Fault::LyingGzip,
        edit(r#""data":["#, r#""data":[null,"#),
        edit(r#""resourceId""#, r#""resource""#),
        edit(r#""totalRecords""#, r#""records""#),
        edit(r#""data""#, r#""rows""#),
    ];
    let sandbox = start(settled()).await;
    for fault in faults {
        sandbox.faults().clear();
        break_down(&sandbox, Route::Graph, Rule::new(fault.clone()));
        let run = Program::full(&sandbox).run().await;
        assert_eq!(run.code, 1, "{fault:?}: {run}");
        assert!(run.errors().contains("the query for"), "{fault:?}: {run}");
        assert_eq!(sandbox.port().received().0, 0, "{fault:?}: {run}");
    }
}

/// In seconds and as a date, both longer than the first backoff.
#[tokio::test]
async fn retry_after_is_obeyed() {
    let date = (jiff::Timestamp::now() + jiff::SignedDuration::from_secs(5)).strftime("%a, %d %b %Y %H:%M:%S GMT");
    let waited = async |after: &str| {
        let sandbox = start(settled()).await;
        break_down(&sandbox, Route::Subscriptions, Rule::new(Fault::retry_after(503, after)).times(1));
        Program::new(&sandbox).run().await.exits(0);
        let entries = sandbox.requests().entries();
        let lists: Vec<_> = entries.iter().filter(|entry| entry.route == Route::Subscriptions).collect();
        assert_eq!(lists.len(), 2);
        (lists[0].at, lists[1].at)
    };
    let date = date.to_string();
    let started = Instant::now();
    let (seconds, date) = tokio::join!(waited("2"), waited(&date));
    assert!(seconds.1 - seconds.0 >= Duration::from_secs(2), "{seconds:?}");
    // A date has no fractions of a second.
    assert!(date.1 - started >= Duration::from_secs(4), "{date:?}");
    assert!(date.1 - started < Duration::from_secs(9), "{date:?}");
}

#[tokio::test]
async fn reading_and_posting_overlap() {
    let sandbox = start(of_resources(3_000)).await;
    // The last page does not arrive.
    break_down(&sandbox, Route::Graph, Rule::new(Fault::Hang).later_pages().after(1));
    let mut child = Program::full(&sandbox).into_command().spawn().unwrap();
    until("resources are posted", || sandbox.port().received().0 > 2 + 8).await;
    child.kill().await.unwrap();
}
