//! How a round is split into pages: slices of members, repeats, conflicts, empty pages.
use std::collections::{BTreeMap, BTreeSet};

use sandbox::directory::GroupKind;
use sandbox::faults::{Fault, Rule};
use sandbox::requests::Route;
use sandbox::settings::Repeats;
use serde_json::{Value as Json, json};

use crate::{Asking, GROUPS, Round, USERS, field, id_of, removed, texts};

#[tokio::test]
async fn a_page_has_at_most_two_hundred_objects() {
    let asking = Asking::new().await;
    let (_, users) = asking.group_of(450);
    let round = asking.round(USERS).await;
    assert_eq!(round.pages.iter().map(Vec::len).collect::<Vec<_>>(), [200, 200, 50]);
    assert_eq!(round.ids(), texts(&users));
}

#[tokio::test]
async fn objects_come_in_any_order_or_in_that_of_their_making() {
    let asking = Asking::new().await;
    let (_, users) = asking.group_of(30);
    let made: Vec<String> = users.iter().map(ToString::to_string).collect();
    let order = async || asking.round(USERS).await.items().map(id_of).collect::<Vec<_>>();
    assert_ne!(order().await, made);
    asking.set(|entra| entra.delta.shuffled = false);
    assert_eq!(order().await, made);
}

#[tokio::test]
async fn an_empty_page_in_the_middle_says_where_the_next_is() {
    let asking = Asking::with(|entra| {
        entra.delta.page = 2;
        entra.delta.empty_page_in = Some(2);
    })
    .await;
    let (_, users) = asking.group_of(5);
    let round = asking.round(USERS).await;
    assert_eq!(round.pages.iter().map(Vec::len).collect::<Vec<_>>(), [2, 0, 2, 0, 1]);
    assert_eq!(round.ids(), texts(&users));
}

/// The pages that contain a group.
fn pages_of(round: &Round, group: &str) -> Vec<usize> {
    let has = |page: &Vec<Json>| page.iter().any(|item| item["id"] == group);
    round.pages.iter().enumerate().filter(|(_, page)| has(page)).map(|(place, _)| place).collect()
}

#[tokio::test]
async fn the_members_of_a_group_come_in_slices_on_pages_that_do_not_follow_one_another() {
    let asking = Asking::with(|entra| {
        entra.delta.slice = 10..=10;
        entra.delta.page = 2;
        entra.delta.shuffled = false;
    })
    .await;
    let (large, users) = asking.group_of(25);
    for _ in 0..3 {
        asking.group_of(1);
    }
    let round = asking.round(GROUPS).await;
    assert_eq!(round.members()[&large.to_string()], users.iter().map(|id| (id.to_string(), true)).collect());
    assert_eq!(pages_of(&round, &large.to_string()), [0, 2]);

    // The same in a later round.
    for user in &users {
        asking.sandbox.tenant().leave(large, *user);
    }
    for (group, _) in [asking.group_of(1), asking.group_of(1), asking.group_of(1)] {
        assert!(asking.sandbox.tenant().is_alive(group));
    }
    let later = asking.round(&round.link).await;
    assert_eq!(later.members()[&large.to_string()], users.iter().map(|id| (id.to_string(), false)).collect());
    assert_eq!(pages_of(&later, &large.to_string()), [0, 2]);
}

#[tokio::test]
async fn each_group_of_a_shuffled_round_has_all_its_members() {
    let asking = Asking::with(|entra| {
        entra.delta.slice = 1..=4;
        entra.delta.page = 3;
    })
    .await;
    let groups: BTreeMap<String, BTreeSet<String>> =
        (0..6).map(|size| asking.group_of(3 * size)).map(|(group, users)| (group.to_string(), texts(&users))).collect();
    let round = asking.round(GROUPS).await;
    let told = round.members().into_iter().map(|(group, members)| (group, members.into_keys().collect()));
    assert_eq!(told.collect::<BTreeMap<_, BTreeSet<_>>>(), groups);
    assert!(round.items().filter(|item| item["members@delta"] == json!([])).count() == 0, "none is absent");
}

#[tokio::test]
async fn a_round_folds_what_happened_or_tells_all_of_it_from_old_to_new() {
    let asking = Asking::new().await;
    let (group, users) = asking.group_of(1);
    let ada = users[0];
    let (of_users, of_groups) = (asking.round(USERS).await.link, asking.round(GROUPS).await.link);
    {
        let mut tenant = asking.sandbox.tenant();
        for name in ["b", "c"] {
            tenant.rename(ada, name);
        }
        tenant.leave(group, ada);
        tenant.join(group, ada);
        tenant.delete(ada);
    }
    assert_eq!(*asking.round(&of_users).await.only(), removed(ada, "changed"));
    asking.sandbox.tenant().restore(ada);
    let folded = asking.round(&of_groups).await;
    assert_eq!(folded.members()[&group.to_string()], [(ada.to_string(), true)].into());

    asking.set(|entra| entra.delta.repeats = Repeats::OldThenNew);
    let told = asking.round(&of_users).await;
    let items: Vec<&Json> = told.items().collect();
    assert_eq!(field(items.iter().copied(), "displayName"), [&json!("b"), &json!("c"), &Json::Null, &json!("c")]);
    assert_eq!(*items[2], removed(ada, "changed"));
    let told = asking.round(&of_groups).await;
    let joined: Vec<bool> = told.items().map(|item| item["members@delta"][0].get("@removed").is_none()).collect();
    assert_eq!(joined, [false, true]);
}

#[tokio::test]
async fn repeats_may_contradict_one_another() {
    let asking = Asking::with(|entra| {
        entra.delta.repeats = Repeats::Conflicting;
        entra.delta.shuffled = false;
    })
    .await;
    let ada = asking.user("a");
    let link = asking.round(USERS).await.link;
    for name in ["b", "c"] {
        asking.sandbox.tenant().rename(ada, name);
    }
    let round = asking.round(&link).await;
    assert_eq!(field(round.items(), "displayName"), ["c", "b"]);
}

#[tokio::test]
async fn a_first_round_may_repeat_objects_as_they_were() {
    let asking = Asking::with(|entra| entra.delta.shuffled = false).await;
    let (_, users) = asking.group_of(100);
    for user in &users {
        asking.sandbox.tenant().rename(*user, "new");
    }
    for (repeats, old_is_last) in [(Repeats::OldThenNew, false), (Repeats::Conflicting, true)] {
        asking.set(|entra| entra.delta.repeats = repeats);
        let round = asking.round(USERS).await;
        let mut names: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for item in round.items() {
            names.entry(id_of(item)).or_default().push(item["displayName"].as_str().unwrap());
        }
        let twice = users.iter().map(|id| &names[&id.to_string()]).filter(|names| names.len() > 1);
        let last: BTreeSet<bool> = twice.map(|names| names[1] != "new").collect();
        assert_eq!(last, [old_is_last].into(), "{repeats:?}");
    }
}

#[tokio::test]
async fn what_was_told_before_may_come_once_more() {
    let asking = Asking::new().await;
    let (ada, alan) = (asking.user("Ada L"), asking.user("Alan T"));
    let link = asking.round(USERS).await.link;
    asking.sandbox.tenant().rename(ada, "b");
    let link = asking.round(&link).await.link;
    asking.sandbox.tenant().rename(alan, "b");
    assert_eq!(asking.round(&link).await.ids(), texts(&[alan]));
    asking.set(|entra| entra.delta.replayed = 1);
    assert_eq!(asking.round(&link).await.ids(), texts(&[ada, alan]));
}

#[tokio::test]
async fn what_changes_in_the_middle_of_a_round_comes_in_the_next() {
    let asking = Asking::with(|entra| entra.delta.page = 1).await;
    let (group, users) = asking.group_of(2);
    let page = asking.get(USERS).await.ok();
    asking.sandbox.tenant().purge(users[0]);
    asking.sandbox.tenant().rename(users[1], "b");
    let new = asking.user("Ada L");
    let rest = asking.round(page["@odata.nextLink"].as_str().unwrap()).await;
    let seen: BTreeSet<String> = rest.ids().into_iter().chain([id_of(&page["value"][0])]).collect();
    assert_eq!(seen, texts(&users), "a round shows one moment");
    assert_eq!(asking.round(&rest.link).await.ids(), texts(&[users[0], users[1], new]));
    assert!(asking.sandbox.tenant().is_alive(group));
}

#[tokio::test]
async fn what_is_purged_after_a_first_round_was_cut_never_comes_again() {
    let asking = Asking::with(|entra| entra.delta.page = 1).await;
    asking.group_of(3);
    let seen = id_of(&asking.get(USERS).await.ok()["value"][0]);
    asking.sandbox.tenant().purge(seen.parse().unwrap());
    let again = asking.round(USERS).await;
    assert_eq!(again.ids().len(), 2);
    let rest = asking.round(&again.link).await.ids();
    assert!(!again.ids().contains(&seen) && rest.is_empty());
}

#[tokio::test]
async fn a_round_is_the_same_after_others_were_read() {
    let asking = Asking::with(|entra| entra.delta.page = 5).await;
    asking.group_of(20);
    let page = asking.get(USERS).await.ok();
    let next = page["@odata.nextLink"].as_str().unwrap();
    let before = asking.get(next).await.ok()["value"].clone();
    for name in 0..10 {
        asking.user(&format!("Other {name}"));
        asking.round(USERS).await;
    }
    assert_eq!(asking.get(next).await.ok()["value"], before);
}

#[tokio::test]
async fn links_may_lead_to_another_origin_or_past_tls() {
    let asking = Asking::with(|entra| entra.delta.page = 1).await;
    asking.group_of(2);
    for origin in ["https://elsewhere.example", "http://127.0.0.1:1"] {
        let rule = asking.sandbox.faults().add(Route::EntraUserDelta, Rule::new(Fault::foreign_links(origin)));
        let page = asking.get(USERS).await.ok();
        let next = page["@odata.nextLink"].as_str().unwrap();
        assert!(next.starts_with(&format!("{origin}/v1.0/users/delta?$skiptoken=")), "{next}");
        asking.sandbox.faults().remove(rule);
        let path = next.strip_prefix(origin).unwrap();
        assert_eq!(asking.round(path).await.ids().len(), 1);
    }
}

#[tokio::test]
async fn faults_are_for_endpoints_and_for_what_is_asked_of_them() {
    let asking = Asking::with(|entra| entra.delta.page = 1).await;
    asking.sandbox.tenant().create_group("a", GroupKind::Security);
    asking.group_of(2);
    let later = Rule::new(Fault::status(504)).asking("$skiptoken=").times(1);
    asking.sandbox.faults().add(Route::EntraUserDelta, later);
    asking.round(GROUPS).await;
    let next = asking.get(USERS).await.ok()["@odata.nextLink"].as_str().unwrap().to_owned();
    assert_eq!(asking.get(&next).await.status, 504);
    asking.round(&next).await;
    let slow = Rule::new(Fault::Slow(std::time::Duration::from_millis(50))).times(1);
    asking.sandbox.faults().add(Route::EntraGroupDelta, slow);
    let asked = std::time::Instant::now();
    asking.round(GROUPS).await;
    assert!(asked.elapsed().as_millis() >= 50);
    asking.sandbox.faults().add(Route::EntraUserDelta, Rule::new(Fault::Truncated).times(1));
    let request = asking.client.get(asking.sandbox.origin(sandbox::Host::MicrosoftGraph) + USERS);
    let cut = request.bearer_auth(&asking.token).send().await.unwrap();
    assert_eq!(cut.status(), 200);
    assert!(cut.json::<Json>().await.is_err());
    let counted = asking.sandbox.requests().count(Route::EntraUserDelta);
    assert_eq!(counted, asking.sandbox.requests().statuses(Route::EntraUserDelta).values().sum::<usize>() as u64);
}
