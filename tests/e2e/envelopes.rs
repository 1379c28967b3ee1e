//! Posts: their bytes, order, headers and number.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sandbox::faults::{Fault, Rule};
use sandbox::names::tags;
use sandbox::requests::Route;
use serde_json::Value as Json;
use serde_json::value::RawValue;

use crate::harness::{
    Envelope, Program, Small, break_down, envelopes, keep_answers, of_resources, outline, passing, settled, start,
};

/// The raw rows in Resource Graph's answers.
fn rows(answers: &[String]) -> Vec<String> {
    #[derive(serde::Deserialize)]
    struct Answer {
        data: Vec<Box<RawValue>>,
    }
    let rows = |answer: &String| serde_json::from_str::<Answer>(answer).unwrap().data;
    answers.iter().flat_map(rows).map(|row| row.get().to_owned()).collect()
}

#[tokio::test]
async fn an_envelope_is_the_row_as_it_came_with_the_operation_and_the_type() {
    let sandbox = start(settled()).await;
    let answers = keep_answers(&sandbox);
    {
        let mut estate = sandbox.estate();
        let ids: Vec<_> = estate.resources().keys().take(20).cloned().collect();
        for id in &ids[..10] {
            estate.retag_resource(id, tags(&[("odd \u{1F600}", "\"quoted\" \\ \u{7} <é> \u{2028}"), ("größe", "x")]));
        }
        for id in &ids[10..] {
            estate.delete_resource(id);
        }
        let group = estate.groups().keys().last().unwrap().clone();
        estate.retag_group(&group, tags(&[("a", "b")]));
    }
    Program::new(&sandbox).run().await.exits(0);
    let sent: BTreeSet<String> = envelopes(&sandbox).await.into_iter().map(|envelope| envelope.body).collect();
    let rows = rows(&answers.lock().unwrap());
    let changed = rows.iter().filter(|row| row.contains(r#""changeType""#)).count();
    // Their groups are queried by id.
    assert!(changed == 21 && rows.len() > changed, "{changed} of {}", rows.len());
    for row in rows {
        // A subscription is sent as it is listed; its own row only shows that it was covered.
        let is_of_subscription = row.contains(r#""type":"microsoft.resources/subscriptions","#);
        if (is_of_subscription && !row.contains("changeType")) || row.contains("azureTime") {
            continue;
        }
        // Columns that only the run needs are dropped.
        let row = row.replace(r#","movesScope":0"#, "");
        let fields: BTreeMap<String, Json> = serde_json::from_str(&row).unwrap();
        let operation =
            if fields.get("changeType").is_some_and(|change| change == "Delete") { "delete" } else { "upsert" };
        let is_container = fields["type"].as_str().unwrap().starts_with("microsoft.resources/subscriptions");
        let kind = if is_container { "resourceContainer" } else { "resource" };
        let body = format!(r#"{{"data":{row},"operation":"{operation}","type":"{kind}"}}"#);
        assert!(sent.contains(&body), "{body} is not among {sent:#?}");
    }
}

#[tokio::test]
async fn every_post_is_json_over_https_with_a_delivery_id_of_its_own() {
    let sandbox = start(settled()).await;
    Program::full(&sandbox).run().await.exits(0);
    let sent = envelopes(&sandbox).await;
    for delivery in sandbox.port().deliveries() {
        assert_eq!(delivery.headers["content-type"], "application/json");
        assert!(delivery.headers["user-agent"].to_str().unwrap().starts_with("azure-incremental/"));
    }
    let unique: BTreeSet<&str> = sent.iter().map(|envelope| envelope.delivery.as_str()).collect();
    assert_eq!(unique.len(), sent.len());
    // They are random: no other run has the same.
    sandbox.port().forget_deliveries().await;
    Program::full(&sandbox).run().await.exits(0);
    let again = envelopes(&sandbox).await;
    assert_eq!(again.len(), sent.len());
    assert!(again.iter().all(|envelope| !unique.contains(envelope.delivery.as_str())));
}

#[tokio::test]
async fn every_retry_of_an_envelope_carries_the_same_delivery_id() {
    let mut settings = settled();
    settings.port.identifier_path = Some(r#".headers["x-delivery-id"]"#.into());
    let sandbox = start(settings).await;
    // Port accepted it, but the answer was lost.
    let lost = Rule::new(passing(503)).times(3).applied();
    break_down(&sandbox, Route::Webhook, lost.containing("microsoft.storage"));
    let run = Program::full(&sandbox).run().await.exits(0);
    assert_eq!(run.count("retried"), 3);
    let mut bodies: BTreeMap<String, Vec<Envelope>> = BTreeMap::new();
    for envelope in envelopes(&sandbox).await {
        bodies.entry(envelope.delivery.clone()).or_default().push(envelope);
    }
    let repeated: Vec<&Vec<Envelope>> = bodies.values().filter(|copies| copies.len() > 1).collect();
    assert_eq!(repeated.iter().map(|copies| copies.len() - 1).sum::<usize>(), 3, "{run}");
    assert!(repeated.iter().all(|copies| copies.iter().all(|copy| copy.body == copies[0].body)));
    let distinct: BTreeSet<&str> = bodies.values().map(|copies| copies[0].id()).collect();
    assert_eq!(distinct.len(), bodies.len(), "an envelope has one id");
    assert_eq!(sandbox.port().dropped(), 3, "so that Port can drop the copies");
}

fn position(sent: &[Envelope], is: impl Fn(&Envelope) -> bool) -> impl Iterator<Item = usize> {
    sent.iter().enumerate().filter(move |(_, one)| is(one)).map(|(place, _)| place).collect::<Vec<_>>().into_iter()
}

#[tokio::test]
async fn a_full_run_sends_subscriptions_then_groups_then_resources_then_deletes_of_containers() {
    let sandbox = start(of_resources(1_200)).await;
    {
        let mut estate = sandbox.estate();
        let [one, two] = [0, 1].map(|place| estate.groups().keys().nth(place).unwrap().clone());
        estate.delete_group(&one);
        estate.delete_group(&two);
    }
    Program::full(&sandbox).run().await.exits(0);
    let sent = envelopes(&sandbox).await;
    let last = |is: &dyn Fn(&Envelope) -> bool| position(&sent, is).max().unwrap();
    let first = |is: &dyn Fn(&Envelope) -> bool| position(&sent, is).min().unwrap();
    let upsert = |is: fn(&Envelope) -> bool| move |one: &Envelope| one.is_upsert() && is(one);
    let delete = |is: fn(&Envelope) -> bool| move |one: &Envelope| !one.is_upsert() && is(one);
    assert!(last(&upsert(Envelope::is_subscription)) < first(&upsert(Envelope::is_group)));
    assert!(last(&upsert(Envelope::is_group)) < first(&upsert(Envelope::is_resource)));
    assert!(last(&upsert(Envelope::is_resource)) < first(&delete(Envelope::is_resource)));
    assert!(last(&delete(Envelope::is_resource)) < first(&delete(Envelope::is_group)));
    assert_eq!(position(&sent, delete(Envelope::is_group)).count(), 2);
}

#[tokio::test]
async fn each_upserted_resource_finds_its_group_and_subscription_sent_before_it_once() {
    let sandbox = start(settled()).await;
    {
        let mut estate = sandbox.estate();
        let ids: Vec<_> = estate.resources().keys().step_by(2).cloned().collect();
        for id in ids {
            estate.touch_resource(&id);
        }
    }
    let run = Program::new(&sandbox).run().await.exits(0);
    let sent = envelopes(&sandbox).await;
    let mut arrived: BTreeSet<&str> = BTreeSet::new();
    for envelope in &sent {
        if envelope.is_resource() {
            let subscription = format!("/subscriptions/{}", envelope.data["subscriptionId"].as_str().unwrap());
            let group = format!("{subscription}/resourcegroups/{}", envelope.data["resourceGroup"].as_str().unwrap());
            assert!(arrived.contains(group.as_str()), "{group} comes before {}; {run}", envelope.id());
            assert!(arrived.contains(subscription.as_str()), "{subscription} comes before it; {run}");
        }
        assert!(arrived.insert(envelope.id()), "{} is sent once; {run}", envelope.id());
    }
    assert_eq!(sent.iter().filter(|one| one.is_resource()).count(), 60);
    sandbox.port().settle().await;
    assert_eq!(sandbox.port().dangling(), Vec::<String>::new(), "no relation lacks its target");
    assert_eq!(sandbox.port().audit(), Vec::<String>::new(), "Port refuses nothing");
}

#[tokio::test]
async fn parents_are_whole_container_rows() {
    let small = Small::start().await;
    small.sandbox.estate().retag_subscription(&small.subscription, tags(&[("S", "1")]));
    small.sandbox.estate().retag_group(&small.group, tags(&[("G", "2")]));
    // Older than the window, so that the parents only come from the listing and the join.
    small.sandbox.clock().advance(Duration::from_secs(3600));
    small.sandbox.estate().touch_resource(&small.vault);
    Program::new(&small.sandbox).run().await.exits(0);
    let sent = envelopes(&small.sandbox).await;
    let [subscription, group, _] = &sent[..] else { panic!("{:?}", outline(&sent)) };
    let guid = &*small.subscription;
    let id = format!("/subscriptions/{guid}");
    let same = |envelope: &Envelope, expected: Json| {
        assert_eq!((envelope.operation.as_str(), envelope.kind.as_str()), ("upsert", "resourceContainer"));
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(&envelope.data[name], value, "{name} of {}", envelope.body);
        }
        assert_eq!(envelope.data["id"].as_str().unwrap().to_lowercase(), envelope.id());
    };
    same(
        subscription,
        serde_json::json!({
            "resourceId": id, "type": "microsoft.resources/subscriptions", "name": "One", "location": "",
            "tags": {"S": "1"}, "subscriptionId": guid, "resourceGroup": "",
        }),
    );
    same(
        group,
        serde_json::json!({
            "resourceId": *small.group, "type": "microsoft.resources/subscriptions/resourcegroups", "name": "Rg-One",
            "location": "westeurope", "tags": {"G": "2"}, "subscriptionId": guid, "resourceGroup": "rg-one",
        }),
    );
}

#[tokio::test]
async fn a_delete_brings_no_parents_along() {
    let small = Small::start().await;
    small.sandbox.estate().delete_resource(&small.vault);
    Program::new(&small.sandbox).run().await.exits(0);
    assert_eq!(outline(&envelopes(&small.sandbox).await), [("delete", &*small.vault)]);
}

#[tokio::test]
async fn a_group_that_the_join_does_not_find_is_not_made_up() {
    let small = Small::start().await;
    let hour = Duration::from_secs(3600);
    {
        let mut estate = small.sandbox.estate();
        let zero = Duration::ZERO..=Duration::ZERO;
        estate.set_lags(sandbox::settings::Lags { record: hour..=hour, row: hour..=hour });
        let group = estate.create_group(&small.subscription, "Unseen", "eastus", None).unwrap();
        estate.set_lags(sandbox::settings::Lags { record: zero.clone(), row: zero });
        estate.create_resource(&group, "Microsoft.Web/sites", "seen", "eastus", None).unwrap();
    }
    Program::new(&small.sandbox).run().await.exits(0);
    let sent = envelopes(&small.sandbox).await;
    assert!(sent.iter().all(|envelope| !envelope.is_group()), "{:?}", outline(&sent));
    assert!(sent.iter().any(|envelope| envelope.id().ends_with("/sites/seen")), "{:?}", outline(&sent));
}

#[tokio::test]
async fn so_many_posts_are_in_flight_and_no_more() {
    for (setting, most) in [(Some("1"), 1), (Some("7"), 7), (None, 25)] {
        let mut settings = settled();
        settings.port.post_latency = Duration::from_millis(10);
        let sandbox = start(settings).await;
        let mut program = Program::full(&sandbox);
        if let Some(setting) = setting {
            program = program.env("PORT_WEBHOOK_CONCURRENCY", setting);
        }
        program.run().await.exits(0);
        assert_eq!(sandbox.requests().most_in_flight(Route::Webhook), most);
    }
}

#[tokio::test]
async fn one_slow_post_does_not_hold_up_the_rest_of_its_kind() {
    let mut settings = of_resources(500);
    settings.port.post_latency = Duration::from_millis(1);
    let sandbox = start(settings).await;
    // The first resources are in flight by then.
    break_down(&sandbox, Route::Webhook, Rule::new(Fault::Slow(Duration::from_secs(8))).after(30).times(1));
    let run = Program::full(&sandbox).run().await.exits(0);
    let entries = sandbox.requests().entries();
    let posts: Vec<_> = entries.iter().filter(|entry| entry.route == Route::Webhook).collect();
    // They are recorded when they end.
    let slow = posts.last().unwrap();
    let meanwhile = posts.iter().filter(|post| post.at > slow.at).count();
    assert!(meanwhile > 400, "only {meanwhile} posts began while one was slow; {run}");
}
