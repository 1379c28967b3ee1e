//! Failures of Port's webhook, and how a run handles them.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use sandbox::Host;
use sandbox::expected::Scope;
use sandbox::faults::{Fault, Rule};
use sandbox::requests::Route;
use sandbox::settings::{RateLimit, WEBHOOK_KEY};
use serde_json::Value as Json;

use crate::harness::{
    Envelope, Program, Small, assert_equal, break_down, envelopes, of_resources, passing, settled, start,
};
use crate::remembered::remembering;

/// Text that only a resource's envelope contains.
const RESOURCE: &str = r#""type":"resource"}"#;

#[tokio::test]
async fn a_webhook_that_says_it_is_none_from_the_start_ends_the_run_after_fifty_posts() {
    for status in [401, 403, 404, 405, 410] {
        let sandbox = start(settled()).await;
        break_down(&sandbox, Route::Webhook, Rule::new(Fault::status(status)));
        let program = Program::full(&sandbox).env("PORT_WEBHOOK_CONCURRENCY", "1");
        let run = program.run().await.exits(1).tells(&[&status.to_string(), "PORT_WEBHOOK_INGEST_URL"]);
        assert_eq!(sandbox.requests().count(Route::Webhook), 50, "{status}: {run}");
        assert_eq!(run.count("upserts"), 0, "{run}");

        // A webhook that has accepted something is not a wrong one: every post is attempted, and the run fails.
        sandbox.faults().clear();
        sandbox.requests().clear();
        break_down(&sandbox, Route::Webhook, Rule::new(Fault::status(status)).after(20));
        let program = Program::full(&sandbox).env("PORT_WEBHOOK_CONCURRENCY", "1");
        let run = program.run().await.exits(1).tells(&["115 changes were not delivered"]);
        assert!(run.err.contains(&format!("status {status}")), "{run}");
        assert_eq!(sandbox.requests().count(Route::Webhook), 135, "{status}: {run}");
        assert_eq!((run.count("upserts"), run.count("failed")), (20, 115), "{run}");
    }
}

#[tokio::test]
async fn a_wrong_key_ends_the_run_soon() {
    let sandbox = start(settled()).await;
    let url = sandbox.webhook_url().replace(WEBHOOK_KEY, "wrong");
    let run = Program::full(&sandbox).env("PORT_WEBHOOK_INGEST_URL", url).run().await.exits(1);
    assert!(sandbox.requests().count(Route::Webhook) <= 50 + 25, "fifty, and those in flight; {run}");
}

#[tokio::test]
async fn an_envelope_that_port_rejects_individually_exits_4_and_the_others_arrive() {
    for status in [400, 413, 422] {
        let sandbox = start(settled()).await;
        let refused = sandbox.estate().resources().keys().last().unwrap().clone();
        let this = format!(r#""resourceId":"{refused}""#);
        break_down(&sandbox, Route::Webhook, Rule::new(Fault::status(status)).containing(&this));
        let run = Program::full(&sandbox).run().await.exits(4).tells(&["Port rejected 1 changes individually"]);
        assert!(run.err.contains(&*refused), "the log names it; {run}");
        assert_eq!((run.count("upserts"), run.count("failed"), run.count("retried")), (134, 1, 0), "{run}");
        assert_eq!(sandbox.requests().count(Route::Webhook), 135, "it is not tried again; {run}");
        let differences = sandbox.diff(&Scope::default()).await;
        assert_eq!(differences.len(), 1, "{differences:?}; {run}");
    }
}

/// Consecutive ones, and with an accepted one in between; even more than the posts after which a run gives up a wrong
/// webhook.
#[tokio::test]
async fn rejections_never_end_a_run_that_had_something_accepted_however_many_they_are() {
    for rejected in [[10, 0], [5, 5], [60, 0]] {
        let sandbox = start(settled()).await;
        for (after, times) in [5, 6].into_iter().zip(rejected) {
            let reject = Rule::new(Fault::status(422)).after(after).times(times).containing(RESOURCE);
            break_down(&sandbox, Route::Webhook, reject);
        }
        let run = Program::full(&sandbox).env("PORT_WEBHOOK_CONCURRENCY", "1").run().await.exits(4);
        let rejected = rejected.iter().sum::<usize>() as u64;
        assert_eq!((run.count("failed"), run.count("upserts")), (rejected, 135 - rejected), "{run}");
    }
}

#[tokio::test]
async fn where_nothing_at_all_is_accepted_it_is_the_webhook_that_is_wrong() {
    let small = Small::start().await;
    small.sandbox.estate().delete_resource(&small.vault);
    break_down(&small.sandbox, Route::Webhook, Rule::new(Fault::status(400)));
    Program::new(&small.sandbox).run().await.exits(1).tells(&["webhook", "Port's audit log"]);
    assert_eq!(small.sandbox.requests().count(Route::Webhook), 1);
}

#[tokio::test]
async fn a_body_larger_than_port_takes_is_sent_without_what_changed() {
    let mut settings = crate::harness::empty();
    settings.azure.gzip = false;
    let small = Small::with(settings).await;
    small.sandbox.estate().touch_resource(&small.vault);
    // Like a change of a large template.
    let large = Fault::edit(|answer| {
        answer.replace(r#""previousValue":"1.2""#, &format!(r#""previousValue":"{}""#, "x".repeat(600_000)))
    });
    break_down(&small.sandbox, Route::Graph, Rule::new(large));
    let run = Program::new(&small.sandbox).run().await.exits(0);
    let sent = envelopes(&small.sandbox).await;
    let vault = sent.iter().find(|envelope| envelope.is_resource()).unwrap();
    assert!(vault.data.get("changedProperties").is_none() && vault.body.len() < 2_000, "{run}");
    assert_equal(&small.sandbox, &Scope::default(), &run).await;
}

#[tokio::test]
async fn passing_failures_of_port_are_tried_again() {
    for (status, said) in [
        (408, "trying again in"),
        (429, "is used up; waiting 0 s"),
        (500, "trying again in"),
        (502, "trying again in"),
        (503, "trying again in"),
        (504, "trying again in"),
    ] {
        let sandbox = start(settled()).await;
        break_down(&sandbox, Route::Webhook, Rule::new(passing(status)).times(5).after(10));
        let run = Program::full(&sandbox).run().await.exits(0).says(&[said]);
        assert_eq!((run.count("retried"), run.count("failed")), (5, 0), "{status}: {run}");
        assert_equal(&sandbox, &Scope::default(), &run).await;
    }
}

#[tokio::test]
async fn an_envelope_that_fails_for_good_fails_the_run_and_the_others_arrive() {
    let sandbox = start(settled()).await;
    let lost = sandbox.estate().resources().keys().last().unwrap().clone();
    let this = format!(r#""resourceId":"{lost}""#);
    break_down(&sandbox, Route::Webhook, Rule::new(passing(500)).containing(&this));
    let run = Program::full(&sandbox).run().await.exits(1).tells(&["1 changes"]);
    assert!(run.err.contains(&*lost), "the log names it; {run}");
    assert_eq!(sandbox.requests().statuses(Route::Webhook)[&500], 6, "six attempts; {run}");
    assert_eq!((run.count("upserts"), run.count("failed")), (134, 1), "{run}");
}

#[tokio::test]
async fn a_webhook_that_throttles_is_waited_for() {
    let mut settings = settled();
    settings.port.rate_limit = Some(RateLimit { requests: 100, period: Duration::from_secs(2) });
    let sandbox = start(settings).await;
    // With one post at a time, each answer is read before the next post, so nothing is throttled.
    let run = Program::full(&sandbox).env("PORT_WEBHOOK_CONCURRENCY", "1").run().await.exits(0);
    assert_eq!(sandbox.requests().throttled(), 0, "{run}");
    assert!(run.took >= Duration::from_secs(2), "{run}");
    assert_equal(&sandbox, &Scope::default(), &run).await;
}

#[tokio::test]
async fn a_webhook_that_refuses_for_its_rate_limit_is_waited_for() {
    let mut settings = settled();
    settings.port.rate_limit = Some(RateLimit { requests: 100, period: Duration::from_secs(2) });
    let sandbox = start(settings).await;
    let run = Program::full(&sandbox).run().await.exits(0);
    assert_eq!(run.count("upserts"), 135, "{run}");
    // As many as were in flight when the limit was reached, and hardly more.
    assert!(sandbox.requests().throttled() <= 3 * 25, "{run}");
    assert_equal(&sandbox, &Scope::default(), &run).await;
}

#[tokio::test]
async fn a_webhook_that_throttles_without_a_hint_is_waited_for_and_not_taken_to_be_down() {
    let sandbox = start(settled()).await;
    let begin = Arc::new(OnceLock::new());
    let is_shut = move |_: &[u8]| begin.get_or_init(Instant::now).elapsed() < Duration::from_secs(6);
    break_down(&sandbox, Route::Webhook, Rule::new(Fault::status(429)).after(100).when(is_shut));
    let run =
        Program::full(&sandbox).run().await.exits(0).says(&["throttles and does not say for how long; waiting 4 s"]);
    assert_eq!((run.count("upserts"), run.count("failed")), (135, 0), "{run}");
    assert!(run.count("retried") <= 25 + 3, "one at a time, after 1, 2 and 4 s: {run}");
    assert!((6..12).contains(&run.took.as_secs()), "{run}");
    assert_equal(&sandbox, &Scope::default(), &run).await;
}

/// Accepts this many posts per period, counted from the first; others get 429 without `Retry-After`.
fn limited(most: u32, period: Duration) -> Rule {
    let window = Mutex::new(None);
    Rule::new(Fault::status(429)).when(move |_| {
        let mut window = window.lock().unwrap();
        let (since, posts) = window.get_or_insert((Instant::now(), 0));
        if since.elapsed() >= period {
            (*since, *posts) = (Instant::now(), 0);
        }
        *posts += 1;
        *posts > most
    })
}

/// As with forty posts a minute and a catalog that takes an hour, in runs that are stopped earlier.
#[tokio::test]
async fn a_full_run_against_a_slow_webhook_goes_on_where_the_last_was_stopped_and_posts_nothing_twice() {
    let sandbox = start(of_resources(300)).await;
    break_down(&sandbox, Route::Webhook, limited(40, Duration::from_secs(1)));
    let mut unfinished = 0;
    let last = loop {
        let before = sandbox.port().received().0;
        let run = remembering(&sandbox).env("RUN_TIMEOUT_SECONDS", "2").run().await;
        assert_eq!(run.report()["mode"], "full", "{run}");
        let accepted = sandbox.port().received().0 - before;
        assert!(run.took < Duration::from_secs(6), "what waits for its turn is not waited for: {run}");
        if run.code == 0 {
            break run;
        }
        let run = run.exits(1).tells(&["RUN_TIMEOUT_SECONDS"]).does_not_say(&["is down"]);
        assert!(accepted > 0, "it gets on: {run}");
        assert_eq!((run.count("upserts"), run.count("failed")), (accepted, 0), "{run}");
        unfinished += 1;
        // Some forty are accepted in a run of 2 s; on a busy machine, fewer.
        assert!(unfinished < 20, "{run}");
    };
    assert!(unfinished >= 2, "{last}");
    let sent = envelopes(&sandbox).await;
    let ids: BTreeSet<&str> = sent.iter().map(Envelope::id).collect();
    assert_eq!((sent.len(), ids.len()), (310, 310), "{last}");
    assert_equal(&sandbox, &Scope::default(), &last).await;
}

#[tokio::test]
async fn a_success_that_is_not_ports_counts_for_nothing_and_says_who_may_have_answered() {
    let page = "<!DOCTYPE html><html><title>Sign in to your account</title></html>";
    for (status, body) in
        [(202, page), (200, page), (207, r#"{"ok":true}"#), (200, r#"{"status":"healthy"}"#), (200, ""), (204, "")]
    {
        let small = Small::start().await;
        break_down(&small.sandbox, Route::Webhook, Rule::new(Fault::status(status).with_body(body)));
        let run = Program::full(&small.sandbox).run().await.exits(1).tells(&[
            &format!("status {status} with"),
            "is not what Port answers",
            "a sign-in page or a proxy",
            "PORT_WEBHOOK_INGEST_URL",
        ]);
        assert_eq!(run.count("upserts"), 0, "{run}");
        small.sandbox.requests().clear();
        let check = Program::new(&small.sandbox).args(["check", "--probe"]).run().await;
        check.exits(1).says(&["is not what Port answers", "a sign-in page or a proxy"]);
    }
    let sandbox = start(settled()).await;
    break_down(&sandbox, Route::Webhook, Rule::new(Fault::status(202).with_body("")).times(20));
    Program::full(&sandbox).run().await.exits(0);
}

#[tokio::test]
async fn fifty_of_two_hundred_that_port_says_no_to_are_rejected_each_and_all_others_arrive() {
    for (status, body) in [(200, r#"{"ok":false,"message":"no"}"#), (202, r#"{"ok":false}"#), (422, r#"{"ok":false}"#)]
    {
        for skip in [0, 10, 150] {
            let sandbox = start(of_resources(190)).await;
            let no = Rule::new(Fault::status(status).with_body(body)).after(skip).times(50);
            break_down(&sandbox, Route::Webhook, no);
            let run = Program::full(&sandbox).env("PORT_WEBHOOK_CONCURRENCY", "5").run().await.exits(4);
            let run =
                run.tells(&["Port rejected 50 changes individually"]).does_not_say(&["may be wrong", "not yours"]);
            assert_eq!((run.count("upserts"), run.count("failed"), run.count("retried")), (150, 50, 0), "{run}");
        }
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (sandbox, other) = (start(settled()).await, start(settled()).await);
    break_down(&sandbox, Route::Webhook, Rule::new(Fault::Redirect(other.webhook_url())));
    let run = Program::full(&sandbox).run().await.exits(1);
    assert_eq!(other.connections(Host::Port), 0, "{run}");
}

/// Slow, because each attempt waits before the next, so these run in parallel.
#[tokio::test]
async fn a_webhook_that_is_down_ends_the_run_within_a_minute() {
    let refused = async {
        let sandbox = start(of_resources(2_500)).await;
        sandbox.set_up(Host::Port, false).await;
        let run = Program::full(&sandbox).run().await.exits(1).tells(&["refused", &sandbox.origin(Host::Port)]);
        (run, sandbox)
    };
    let failing = async {
        let sandbox = start(of_resources(2_500)).await;
        break_down(&sandbox, Route::Webhook, Rule::new(Fault::status(503)));
        let run = Program::full(&sandbox).run().await.exits(1).tells(&["503"]);
        (run, sandbox)
    };
    let midway = async {
        let sandbox = start(of_resources(2_500)).await;
        break_down(&sandbox, Route::Webhook, Rule::new(Fault::Reset).after(100));
        let run = Program::full(&sandbox).run().await.exits(1);
        assert!(run.count("upserts") >= 50, "{run}");
        (run, sandbox)
    };
    let (refused, failing, midway) = tokio::join!(refused, failing, midway);
    for (run, sandbox) in [refused, failing, midway] {
        assert!(run.took < Duration::from_secs(60), "{run}");
        let errors: Json = run.report()["errors"].clone();
        assert!(errors.to_string().contains("down"), "{run}");
        let posts = sandbox.requests().count(Route::Webhook);
        assert!(posts < 600, "it stops trying: {posts} posts; {run}");
    }
}

/// A post times out after 20 s and is retried.
#[tokio::test]
async fn a_post_that_is_never_answered_is_given_up_and_tried_again() {
    let sandbox = start(settled()).await;
    break_down(&sandbox, Route::Webhook, Rule::new(Fault::Hang).after(50).times(1));
    let run = Program::full(&sandbox).run().await.exits(0).says(&["no answer within 20 s"]);
    assert_eq!(run.count("retried"), 1, "{run}");
    assert!((20..30).contains(&run.took.as_secs()), "{run}");
    assert_equal(&sandbox, &Scope::default(), &run).await;
}

/// A connection takes this many posts at once and 25 use it, so most wait longer for it than a post may take.
#[tokio::test]
async fn with_http2_waiting_for_a_free_stream_is_no_part_of_the_time_that_a_post_has() {
    let slow = async {
        let mut settings = of_resources(25);
        settings.net.streams = 1;
        settings.port.post_latency = Duration::from_millis(900);
        let sandbox = start(settings).await;
        let run = Program::full(&sandbox).run().await.exits(0).does_not_say(&["no answer within", "trying again"]);
        assert_eq!((run.count("upserts"), run.count("retried")), (35, 0), "{run}");
        assert!(run.took > Duration::from_secs(25), "{run}");
        assert_equal(&sandbox, &Scope::default(), &run).await;
    };
    let hanging = async {
        let mut settings = of_resources(100);
        settings.net.streams = 2;
        let sandbox = start(settings).await;
        break_down(&sandbox, Route::Webhook, Rule::new(Fault::Hang).after(50).times(2));
        let run = Program::full(&sandbox).run().await.exits(0).says(&["no answer within 20 s"]);
        assert_eq!(
            (run.count("upserts"), run.count("retried")),
            (110, 2),
            "only the two that were on their way: {run}"
        );
        assert_equal(&sandbox, &Scope::default(), &run).await;
    };
    tokio::join!(slow, hanging);
}
