//! Following the links gives the current state, whatever happens in the directory and however the deltas report it.
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sandbox::directory::{Directory, Id, Kind, Value, life};
use sandbox::rng::Rng;
use sandbox::settings::{DeltaSettings, DirectorySize, Repeats};
use serde_json::Value as Json;

use crate::{Asking, GROUPS, USERS, id_of, settings};

const MINUTE: Duration = Duration::from_secs(60);

/// A copy built only from deltas, except for the groups of users who reappear.
#[derive(Default)]
struct Copy {
    links: BTreeMap<&'static str, String>,
    users: BTreeMap<String, Json>,
    groups: BTreeMap<String, String>,
    members: BTreeMap<String, BTreeSet<String>>,
}

type Shown = (BTreeMap<String, (Json, Json)>, BTreeMap<String, (String, BTreeSet<String>)>);

impl Copy {
    async fn follow(&mut self, asking: &Asking) {
        for first in [USERS, GROUPS] {
            let from = self.links.get(first).cloned().unwrap_or_else(|| first.to_owned());
            let round = asking.round(&from).await;
            for item in round.items() {
                if first == USERS { self.see_user(asking, item).await } else { self.see_group(item) }
            }
            self.links.insert(first, round.link);
        }
    }

    async fn see_user(&mut self, asking: &Asking, item: &Json) {
        let id = id_of(item);
        if item.get("@removed").is_some() {
            self.users.remove(&id);
            return;
        }
        // Changes to the groups while the user was deleted are silent; a user who is gone by now has none.
        let groups = asking.get(&format!("/v1.0/users/{id}/memberOf?$select=id&$top=999")).await;
        for group in groups.body["value"].as_array().into_iter().flatten() {
            self.members.entry(id_of(group)).or_default().insert(id.clone());
        }
        self.users.insert(id, item.clone());
    }

    fn see_group(&mut self, item: &Json) {
        let id = id_of(item);
        if item.get("@removed").is_some() {
            self.groups.remove(&id);
            return;
        }
        self.groups.insert(id.clone(), item["displayName"].as_str().unwrap().to_owned());
        let members = self.members.entry(id).or_default();
        for member in item["members@delta"].as_array().into_iter().flatten() {
            if member.get("@removed").is_some() {
                members.remove(&id_of(member));
            } else {
                members.insert(id_of(member));
            }
        }
    }

    fn shown(&self) -> Shown {
        let user =
            |(id, item): (&String, &Json)| (id.clone(), (item["displayName"].clone(), item["department"].clone()));
        let group = |(id, name): (&String, &String)| {
            let members = self.members[id].iter().filter(|member| self.users.contains_key(*member));
            (id.clone(), (name.clone(), members.cloned().collect()))
        };
        (self.users.iter().map(user).collect(), self.groups.iter().map(group).collect())
    }
}

fn text(directory: &Directory, id: Id, name: &str) -> Json {
    match directory.value(id, name) {
        Some(Value::Text(text)) => (**text).into(),
        _ => Json::Null,
    }
}

fn truth(directory: &Directory) -> Shown {
    let users: BTreeSet<_> = directory.ids(Kind::User).into_iter().collect();
    let shown = users
        .iter()
        .map(|id| (id.to_string(), (text(directory, *id, "displayName"), text(directory, *id, "department"))));
    let groups = directory.ids(Kind::Group).into_iter().map(|id| {
        let members = directory.members(id).into_iter().filter(|member| users.contains(member));
        let name = text(directory, id, "displayName").as_str().unwrap().to_owned();
        (id.to_string(), (name, members.map(|member| member.to_string()).collect()))
    });
    (shown.collect(), groups.collect())
}

async fn follow_through(seed: u64, change: impl FnOnce(&mut DeltaSettings)) {
    let mut settings = settings(|entra| {
        entra.units = None;
        entra.token_lifetime = 10_000 * MINUTE;
        entra.replicas.delta = Duration::ZERO..=5 * MINUTE;
        change(&mut entra.delta);
    });
    settings.directory = DirectorySize { users: 40, groups: 8, memberships: 80, ..DirectorySize::default() };
    let asking = Asking::of(settings).await;
    asking.sandbox.clock().advance(5 * MINUTE);
    let (mut copy, mut rng) = (Copy::default(), Rng::new(seed));
    for _ in 0..6 {
        for _ in 0..4 {
            life::tick(&mut asking.sandbox.tenant(), &mut rng, 10);
            asking.sandbox.clock().advance(MINUTE);
        }
        copy.follow(&asking).await;
    }
    asking.sandbox.clock().advance(6 * MINUTE);
    copy.follow(&asking).await;
    assert_eq!(copy.shown(), truth(&asking.sandbox.tenant()), "seed {seed}");
}

#[tokio::test]
async fn a_copy_that_follows_the_links_equals_the_directory() {
    for seed in 0..4 {
        follow_through(seed, |_| {}).await;
    }
}

#[tokio::test]
async fn so_does_one_that_is_told_all_of_it_in_small_pages() {
    for seed in 0..4 {
        follow_through(seed, |delta| {
            delta.page = 3;
            delta.slice = 1..=3;
            delta.empty_page_in = Some(3);
            delta.repeats = Repeats::OldThenNew;
            delta.first_round_removed = true;
        })
        .await;
    }
}

#[tokio::test]
async fn so_does_one_that_is_told_everything_again() {
    for seed in 0..4 {
        follow_through(seed, |delta| delta.replayed = 25).await;
    }
}
