//! What the queries find, and what they do not.

use std::collections::BTreeSet;
use std::time::Duration;

use sandbox::estate::lower;
use sandbox::faults::{Fault, Rule};
use sandbox::names::tags;
use sandbox::requests::Route;
use sandbox::settings::Lags;

use crate::harness::{
    DAY, Envelope, MINUTE, Program, Small, break_down, envelopes, outline, resource_ids, settled, start,
};

const ROW: [&str; 9] =
    ["id", "resourceId", "sourceResourceId", "name", "type", "location", "tags", "subscriptionId", "resourceGroup"];

fn columns(envelope: &Envelope) -> BTreeSet<&str> {
    envelope.data.as_object().unwrap().keys().map(String::as_str).collect()
}

fn has(envelope: &Envelope, more: &[&str]) {
    let columns = columns(envelope);
    for column in ROW.iter().chain(more) {
        assert!(columns.contains(column), "{column} is missing: {}", envelope.body);
    }
}

#[tokio::test]
async fn a_row_of_a_full_run_has_its_columns() {
    let sandbox = start(settled()).await;
    Program::full(&sandbox).run().await.exits(0);
    let envelopes = envelopes(&sandbox).await;
    assert_eq!(envelopes.len(), 3 + 12 + 120);
    for envelope in &envelopes {
        has(envelope, if envelope.is_resource() { &["rgTags"] } else { &[] });
    }
}

#[tokio::test]
async fn a_row_of_an_incremental_run_has_its_columns() {
    let small = Small::start().await;
    small.sandbox.estate().retag_group(&small.group, tags(&[("a", "b")]));
    small.sandbox.estate().retag_resource(&small.vault, tags(&[("c", "d")]));
    Program::new(&small.sandbox).run().await.exits(0);
    let envelopes = envelopes(&small.sandbox).await;
    let [subscription, group, vault] = &envelopes[..] else { panic!("{:?}", outline(&envelopes)) };
    has(subscription, &[]);
    has(group, &["changeType", "changeTime"]);
    has(vault, &["changeType", "changeTime", "changedProperties", "rgTags"]);
    assert_eq!(vault.data["changeType"], "Update");
    assert_eq!(vault.data["changedProperties"]["tags.c"]["newValue"], "d");
    assert_eq!(vault.data["rgTags"]["a"], "b");
}

/// The sandbox's ids have mixed case, as Azure's do.
#[tokio::test]
async fn keys_are_in_lower_case_and_names_as_they_are_shown() {
    let sandbox = start(settled()).await;
    Program::full(&sandbox).run().await.exits(0);
    let envelopes = envelopes(&sandbox).await;
    let estate = sandbox.estate();
    for envelope in &envelopes {
        for key in ["resourceId", "sourceResourceId", "type", "subscriptionId", "resourceGroup"] {
            let value = envelope.data[key].as_str().unwrap();
            assert_eq!(value, lower(value), "{key} of {}", envelope.body);
        }
        assert_eq!(lower(envelope.data["id"].as_str().unwrap()), envelope.id());
    }
    let mut shown = 0;
    for envelope in envelopes.iter().filter(|envelope| envelope.is_resource()) {
        let resource = &estate.resources()[envelope.id()];
        assert_eq!(envelope.data["name"], resource.short_name());
        assert_eq!(envelope.data["location"], *resource.location);
        assert_eq!(envelope.data["type"], lower(&resource.kind.name));
        let group = &estate.groups()[&resource.group];
        assert_eq!(envelope.data["resourceGroup"], lower(&group.name));
        let rg_tags = group.tags.as_deref().cloned().unwrap_or_default();
        assert_eq!(envelope.data["rgTags"], rg_tags, "groups join whatever their case: {}", envelope.body);
        shown += 1;
    }
    assert_eq!(shown, estate.resources().len());
}

#[tokio::test]
async fn management_groups_are_no_containers() {
    let sandbox = start(settled()).await;
    Program::full(&sandbox).run().await.exits(0);
    let all = envelopes(&sandbox).await;
    assert!(all.iter().all(|envelope| envelope.is_resource() || envelope.is_group() || envelope.is_subscription()));
    assert!(all.iter().all(|envelope| !envelope.body.to_lowercase().contains("managementgroups")));
}

#[tokio::test]
async fn a_resource_that_changed_often_has_one_row_with_its_latest_change_and_current_values() {
    let small = Small::start().await;
    {
        let mut estate = small.sandbox.estate();
        let id = estate
            .create_resource(&small.group, "Microsoft.Web/sites", "New Site", "eastus", tags(&[("n", "1")]))
            .unwrap();
        for n in ["2", "3", "4"] {
            estate.retag_resource(&id, tags(&[("n", n)]));
        }
        estate.recase_resource(&id, "NEW site");
    }
    let run = Program::new(&small.sandbox).run().await.exits(0);
    let envelopes = envelopes(&small.sandbox).await;
    let sites: Vec<&Envelope> = envelopes.iter().filter(|envelope| envelope.is_resource()).collect();
    let [site] = &sites[..] else { panic!("{:?}; {run}", outline(&envelopes)) };
    assert_eq!(site.data["changeType"], "Update");
    assert_eq!(site.data["name"], "NEW site");
    assert_eq!(site.data["tags"]["n"], "4");
    assert_eq!(site.data["location"], "eastus", "the resource's, and not the record's, which may have none");
}

/// Answers 400 to a query with more joins than this, as Resource Graph does.
fn at_most(joins: usize) -> Rule {
    let refused = Fault::status(400).with_body(
        r#"{"error":{"code":"BadRequest","message":"x","details":[{"code":"DisallowedMaxNumberOfRemoteTables"}]}}"#,
    );
    let is_over = move |body: &[u8]| String::from_utf8_lossy(body).matches("| join ").count() > joins;
    Rule::new(refused).when(is_over)
}

#[tokio::test]
async fn where_joins_are_refused_the_same_is_found_without_them() {
    let small = Small::start().await;
    {
        let mut estate = small.sandbox.estate();
        let out = estate.create_group(&small.subscription, "Out", "eastus", tags(&[("Team", "b")])).unwrap();
        estate.create_resource(&out, "Microsoft.Web/sites", "New Site", "eastus", tags(&[("n", "1")])).unwrap();
        let gone = estate.create_resource(&out, "Microsoft.Web/sites", "gone", "eastus", None).unwrap();
        estate.delete_resource(&gone);
        estate.retag_group(&small.group, tags(&[("Team", "a")]));
        estate.retag_resource(&small.vault, tags(&[("c", "d")]));
    }
    let filters = [("RESOURCE_TYPES", "[]"), ("RESOURCE_GROUP_TAG_FILTERS", r#"{"include":{"team":"a"}}"#)];
    for (name, value) in filters {
        for mode in ["incremental", "full"] {
            let mut found = Vec::new();
            for most in [3, 1, 0] {
                small.sandbox.faults().clear();
                small.sandbox.requests().clear();
                break_down(&small.sandbox, Route::Graph, at_most(most));
                let before = envelopes(&small.sandbox).await.len();
                Program::new(&small.sandbox).args(["--mode", mode]).env(name, value).run().await.exits(0);
                let mut bodies: Vec<String> =
                    envelopes(&small.sandbox).await.into_iter().skip(before).map(|envelope| envelope.body).collect();
                bodies.sort_unstable();
                let refused = small.sandbox.requests().statuses(Route::Graph).get(&400).copied().unwrap_or_default();
                assert!(
                    refused <= 4 && (refused == 0) == (most == 3 || most == 1 && mode == "full"),
                    "{refused} of {most}"
                );
                found.push(bodies);
            }
            assert!(found[0].len() >= 3);
            assert_eq!(found[0], found[1], "{mode} {value}");
            assert_eq!(found[0], found[2], "{mode} {value}");
        }
    }
}

#[tokio::test]
async fn what_was_made_and_deleted_within_the_window_is_deleted() {
    let small = Small::start().await;
    {
        let mut estate = small.sandbox.estate();
        let id = estate.create_resource(&small.group, "Microsoft.Web/sites", "brief", "eastus", None).unwrap();
        estate.delete_resource(&id);
    }
    Program::new(&small.sandbox).run().await.exits(0);
    let envelopes = envelopes(&small.sandbox).await;
    let site = envelopes.iter().find(|envelope| envelope.is_resource()).unwrap();
    assert_eq!((site.operation.as_str(), site.ty()), ("delete", "microsoft.web/sites"));
}

#[tokio::test]
async fn what_was_deleted_and_made_again_is_upserted() {
    let small = Small::start().await;
    small.sandbox.estate().recreate_resource(&small.vault, tags(&[("again", "yes")]));
    let run = Program::new(&small.sandbox).run().await.exits(0);
    let envelopes = envelopes(&small.sandbox).await;
    let vaults: Vec<&Envelope> = envelopes.iter().filter(|envelope| envelope.is_resource()).collect();
    assert_eq!(vaults.len(), 1, "{run}");
    assert!(vaults[0].is_upsert() && vaults[0].data["tags"]["again"] == "yes", "{}", vaults[0].body);
}

#[tokio::test]
async fn a_delete_has_a_type_whatever_was_deleted() {
    let small = Small::start().await;
    small.sandbox.estate().delete_group(&small.group);
    let run = Program::new(&small.sandbox).run().await.exits(0);
    let envelopes = envelopes(&small.sandbox).await;
    let deletes: Vec<(&str, &str)> =
        envelopes.iter().filter(|one| !one.is_upsert()).map(|one| (one.ty(), one.kind.as_str())).collect();
    let expected = [
        ("microsoft.keyvault/vaults", "resource"),
        ("microsoft.resources/subscriptions/resourcegroups", "resourceContainer"),
    ];
    assert_eq!(deletes, expected, "{run}");
    assert_eq!(run.count("deletes"), 2);
}

#[tokio::test]
async fn the_window_is_as_long_as_it_is_said_to_be_by_azures_clock() {
    let small = Small::start().await;
    let make = |name: &str| {
        small.sandbox.estate().create_resource(&small.group, "Microsoft.Web/sites", name, "eastus", None).unwrap()
    };
    // Fifteen days from now: with this machine's clock, the query would find nothing or fail.
    let early = make("early");
    small.sandbox.clock().advance(15 * MINUTE);
    let late = make("late");
    small.sandbox.clock().advance(10 * MINUTE);
    Program::new(&small.sandbox).run().await.exits(0);
    assert_eq!(resource_ids(&envelopes(&small.sandbox).await), BTreeSet::from([late.to_string()]));
    small.sandbox.port().forget_deliveries().await;
    Program::new(&small.sandbox).env("CHANGE_WINDOW_MINUTES", "26").run().await.exits(0);
    let both = BTreeSet::from([early.to_string(), late.to_string()]);
    assert_eq!(resource_ids(&envelopes(&small.sandbox).await), both);
    small.sandbox.port().forget_deliveries().await;
    small.sandbox.clock().advance(6 * MINUTE);
    Program::new(&small.sandbox).run().await.exits(0);
    assert!(envelopes(&small.sandbox).await.is_empty());
}

#[tokio::test]
async fn an_upsert_whose_current_row_is_missing_is_not_sent_but_counted() {
    let small = Small::start().await;
    let hour = Duration::from_secs(3600);
    small.sandbox.estate().set_lags(Lags { record: Duration::ZERO..=Duration::ZERO, row: hour..=hour });
    {
        let mut estate = small.sandbox.estate();
        estate.create_resource(&small.group, "Microsoft.Web/sites", "unseen", "eastus", None).unwrap();
        estate.create_group(&small.subscription, "unseen", "eastus", None).unwrap();
        // The row still shows the old tags, but it exists.
        estate.retag_resource(&small.vault, tags(&[("a", "b")]));
    }
    let run = Program::new(&small.sandbox).run().await.exits(0);
    let sent = envelopes(&small.sandbox).await;
    assert!(sent.iter().all(|envelope| !envelope.id().contains("unseen")), "{:?}", outline(&sent));
    assert_eq!((run.count("unresolved"), run.count("upserts")), (2, 3), "{run}");
}

#[tokio::test]
async fn a_run_with_nothing_in_its_window_sends_nothing() {
    let sandbox = start(settled()).await;
    sandbox.clock().advance(DAY);
    let run = Program::new(&sandbox).run().await.exits(0);
    assert!(envelopes(&sandbox).await.is_empty());
    assert_eq!(run.count("rows"), 0);
}
