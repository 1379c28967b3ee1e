//! The list of subscriptions, and the batches made from it.

use std::collections::BTreeSet;

use futures::future::join_all;
use sandbox::Host;
use sandbox::expected::Scope;
use sandbox::faults::{Fault, Rule};
use sandbox::requests::Route;
use sandbox::settings::{EstateSize, Settings};

use crate::harness::{Program, assert_equal, break_down, envelopes, passing, queries, settled, start};

fn seven() -> Settings {
    let mut settings = settled();
    settings.estate = EstateSize { subscriptions: 7, groups: 14, resources: 40 };
    settings
}

fn guids(sandbox: &sandbox::Sandbox) -> BTreeSet<String> {
    sandbox.estate().subscriptions().iter().map(|subscription| subscription.guid.to_string()).collect()
}

#[tokio::test]
async fn all_pages_of_the_list_are_read() {
    let mut settings = seven();
    settings.azure.listing_page = 2;
    let sandbox = start(settings).await;
    let run = Program::full(&sandbox).run().await.exits(0);
    assert_eq!(run.count("subscriptions"), 7);
    assert_eq!(sandbox.requests().count(Route::Subscriptions), 4);
    assert_equal(&sandbox, &Scope::default(), &run).await;
}

#[tokio::test]
async fn each_batch_of_subscriptions_has_its_queries() {
    for (size, batches) in [("3", 3), ("7", 1), ("1000", 1), ("1", 7)] {
        let sandbox = start(seven()).await;
        let run = Program::full(&sandbox).env("SUBSCRIPTION_BATCH_SIZE", size).run().await.exits(0);
        let asked = queries(&sandbox);
        assert_eq!(asked.len(), batches * 5, "{run}");
        for text in asked.iter().map(|query| &query["query"]) {
            let of_this = asked.iter().filter(|query| query["query"] == *text);
            let named: Vec<String> = of_this
                .flat_map(|query| query["subscriptions"].as_array().unwrap())
                .map(|guid| guid.as_str().unwrap().to_owned())
                .collect();
            assert_eq!(named.len(), 7, "each is asked about once");
            assert_eq!(named.into_iter().collect::<BTreeSet<_>>(), guids(&sandbox));
        }
        let most = asked.iter().map(|query| query["subscriptions"].as_array().unwrap().len()).max();
        assert!(most <= size.parse().ok(), "{most:?}");
        assert_equal(&sandbox, &Scope::default(), &run).await;
    }
}

#[tokio::test]
async fn a_batch_that_fails_does_not_keep_the_others_from_being_delivered() {
    let sandbox = start(seven()).await;
    let lost = guids(&sandbox).pop_first().unwrap();
    break_down(&sandbox, Route::Graph, Rule::new(Fault::status(400)).containing(&lost));
    let run = Program::full(&sandbox).env("SUBSCRIPTION_BATCH_SIZE", "1").run().await.exits(1).tells(&["Sandbox400"]);
    let differences = sandbox.diff(&Scope::default()).await;
    assert!(!differences.is_empty());
    let elsewhere = differences.iter().find(|line| !line.contains(&lost));
    assert_eq!(elsewhere, None, "the other six are whole; {run}");
}

#[tokio::test]
async fn a_subscription_with_which_every_query_fails_fails_alone_and_is_named() {
    let fails = |fault: Fault| async move {
        let sandbox = start(seven()).await;
        let lost = guids(&sandbox).pop_first().unwrap();
        break_down(&sandbox, Route::Graph, Rule::new(fault).containing(&lost));
        let directory = tempfile::tempdir().unwrap();
        let program = || Program::new(&sandbox).checkpoint(&directory.path().join("checkpoint"));
        let run = program().run().await.exits(1).tells(&[&format!("(/subscriptions/{lost}) could not be read")]);
        assert_eq!(run.report()["errors"].as_array().unwrap().len(), 1, "{run}");
        let differences = sandbox.diff(&Scope::default()).await;
        let elsewhere = differences.iter().find(|line| !line.contains(&lost));
        assert_eq!(elsewhere, None, "the other six are whole; {run}");
        sandbox.faults().clear();
        let run = program().run().await.exits(0);
        assert_equal(&sandbox, &Scope::default(), &run).await;
    };
    // They mostly wait, so they run in parallel.
    join_all([passing(500), Fault::status(403), Fault::Reset, Fault::Html].map(fails)).await;
}

#[tokio::test]
async fn a_query_that_is_too_heavy_over_many_subscriptions_is_asked_over_fewer() {
    let sandbox = start(seven()).await;
    let is_heavy = |body: &[u8]| {
        let query: serde_json::Value = serde_json::from_slice(body).unwrap();
        query["subscriptions"].as_array().unwrap().len() > 3
    };
    break_down(&sandbox, Route::Graph, Rule::new(Fault::status(504)).when(is_heavy));
    let run = Program::full(&sandbox).run().await.exits(0).says(&["SUBSCRIPTION_BATCH_SIZE=2 saves later runs"]);
    assert_equal(&sandbox, &Scope::default(), &run).await;
}

#[tokio::test]
async fn a_link_to_the_next_page_that_leads_elsewhere_is_not_followed() {
    let mut settings = seven();
    settings.azure.listing_page = 2;
    let sandbox = start(settings).await;
    let (own, foreign) = (sandbox.origin(Host::ResourceManager), sandbox.origin(Host::Port));
    break_down(&sandbox, Route::Subscriptions, Rule::new(Fault::edit(move |page| page.replace(&own, &foreign))));
    Program::full(&sandbox).run().await.exits(1).tells(&["another host"]);
    assert_eq!(sandbox.connections(Host::Port), 0, "the token stays where it belongs");
}

#[tokio::test]
async fn links_that_lead_in_a_circle_end() {
    let mut settings = seven();
    settings.azure.listing_page = 2;
    let sandbox = start(settings).await;
    let back = Fault::edit(|page| page.replace("$skiptoken=4", "$skiptoken=2"));
    break_down(&sandbox, Route::Subscriptions, Rule::new(back));
    Program::full(&sandbox).run().await.exits(1).tells(&["already read"]);
    assert!(sandbox.requests().count(Route::Subscriptions) < 5);
}

/// A listing with a second entry for a subscription, in different case, before or after all others.
fn listed_again(guid: &str, name: &str, state: &str, is_first: bool) -> Fault {
    let again = serde_json::json!({"subscriptionId": guid.to_uppercase(), "displayName": name, "state": state});
    Fault::edit(move |page| {
        let mut page: serde_json::Value = serde_json::from_str(&page).unwrap();
        let entries = page["value"].as_array_mut().unwrap();
        entries.insert(if is_first { 0 } else { entries.len() }, again.clone());
        page.to_string()
    })
}

#[tokio::test]
async fn a_subscription_that_is_listed_twice_is_one_and_the_same_in_every_run() {
    let sandbox = start(seven()).await;
    let guid = guids(&sandbox).pop_first().unwrap();
    sandbox.estate().rename_subscription(&guid, "middle");
    let directory = tempfile::tempdir().unwrap();
    for (name, state, sent) in [
        ("middle", "Enabled", Some("middle")),
        ("a", "Enabled", Some("a")),
        ("z", "Enabled", Some("middle")),
        ("a", "Disabled", None),
    ] {
        for is_first in [true, false] {
            sandbox.faults().clear();
            sandbox.port().forget_deliveries().await;
            break_down(&sandbox, Route::Subscriptions, Rule::new(listed_again(&guid, name, state, is_first)));
            let run = Program::new(&sandbox).checkpoint(&directory.path().join("checkpoint")).run().await.exits(0);
            assert_eq!(run.count("subscriptions"), 7);
            assert_eq!(run.err.matches("lists 1 subscriptions more than once").count(), 1, "{run}");
            let envelopes = envelopes(&sandbox).await;
            let own = envelopes.iter().filter(|one| one.id().ends_with(&guid));
            let names: Vec<&str> = own.filter_map(|one| one.data["name"].as_str()).collect();
            // The reverse order of the same entries changes nothing.
            let sent = sent.filter(|_| is_first);
            assert_eq!(names, Vec::from_iter(sent), "{name} {state} {is_first}: {run}");
        }
    }
}

#[tokio::test]
async fn what_the_principal_cannot_read_is_left_alone() {
    let sandbox = start(seven()).await;
    let hidden = guids(&sandbox).pop_first().unwrap();
    sandbox.estate().show_subscription(&hidden, false);
    let run = Program::full(&sandbox).run().await.exits(0);
    assert_eq!(run.count("subscriptions"), 6);
    assert_equal(&sandbox, &Scope::default(), &run).await;
    assert!(envelopes(&sandbox).await.iter().all(|envelope| !envelope.body.contains(&hidden)));
}

#[tokio::test]
async fn a_list_that_makes_no_sense_ends_the_run() {
    let sandbox = start(seven()).await;
    let cut = Fault::edit(|page| page.replace("subscriptionId", "subscription"));
    let id = |id: &'static str| Fault::edit(move |page| page.replacen(r#""subscriptionId":""#, id, 1));
    let ids = [r#""subscriptionId":"x"#, r#""subscriptionId":"../\u001b[2J"#, r#""subscriptionId":"","x":""#].map(id);
    let others = [Fault::Html, Fault::Garbage, Fault::Empty, Fault::Deep, Fault::Truncated, Fault::Endless, cut];
    let faults = ids.into_iter().chain(others);
    for fault in faults {
        sandbox.faults().clear();
        break_down(&sandbox, Route::Subscriptions, Rule::new(fault.clone()));
        let run = Program::full(&sandbox).run().await;
        assert_eq!(run.code, 1, "{fault:?}: {run}");
        assert!(run.errors().contains("listing the subscriptions"), "{fault:?}: {run}");
        assert!(!run.err.contains('\u{1b}'), "{run}");
    }
    assert_eq!(sandbox.requests().count(Route::Graph) + sandbox.requests().count(Route::Webhook), 0);
}

#[tokio::test]
async fn a_list_that_is_forbidden_tells_which_role_is_missing() {
    let sandbox = start(seven()).await;
    break_down(&sandbox, Route::Subscriptions, Rule::new(Fault::status(403)));
    let run = Program::full(&sandbox).run().await.tells(&["403", "Reader"]);
    assert!([1, 3].contains(&run.code), "{run}");
    assert_eq!(sandbox.requests().count(Route::Subscriptions), 1, "it is not tried again");
}
