//! Endpoints that lag behind one another, and what clients see of it.
use std::collections::BTreeSet;
use std::time::Duration;

use sandbox::directory::Id;
use sandbox::settings::NO_LAG;

use crate::{Asking, GROUPS, USERS, id_of, texts};

const MINUTE: Duration = Duration::from_secs(60);

async fn members(asking: &Asking, group: Id) -> BTreeSet<String> {
    asking.list(&format!("/v1.0/groups/{group}/members?$select=id")).await.iter().map(id_of).collect()
}

#[tokio::test]
async fn a_change_shows_when_the_replica_of_the_delta_has_it() {
    let asking = Asking::with(|entra| entra.replicas.delta = MINUTE..=MINUTE).await;
    let ada = asking.user("Ada L");
    let link = asking.round(USERS).await.link;
    assert!(asking.round(&link).await.ids().is_empty());
    asking.sandbox.clock().advance(MINUTE);
    assert_eq!(asking.round(&link).await.ids(), texts(&[ada]));
}

#[tokio::test]
async fn the_delta_may_be_ahead_of_the_members_and_the_members_of_the_delta() {
    let asking = Asking::new().await;
    let (group, users) = asking.group_of(1);
    asking.sandbox.clock().advance(2 * MINUTE);
    let link = asking.round(GROUPS).await.link;
    asking.sandbox.tenant().leave(group, users[0]);
    asking.set(|entra| entra.replicas.members = MINUTE..=MINUTE);
    assert_eq!(asking.round(&link).await.members()[&group.to_string()], [(users[0].to_string(), false)].into());
    assert_eq!(members(&asking, group).await, texts(&users));
    asking.set(|entra| {
        entra.replicas.members = NO_LAG;
        entra.replicas.delta = MINUTE..=MINUTE;
    });
    assert!(asking.round(&link).await.ids().is_empty());
    assert!(members(&asking, group).await.is_empty());
    asking.sandbox.clock().advance(MINUTE);
    assert_eq!(asking.round(&link).await.ids(), texts(&[group]));
}

#[tokio::test]
async fn one_read_of_members_may_be_older_than_the_one_before() {
    let asking = Asking::with(|entra| entra.replicas.members = Duration::ZERO..=MINUTE).await;
    let (group, users) = asking.group_of(1);
    asking.sandbox.clock().advance(2 * MINUTE);
    asking.sandbox.tenant().leave(group, users[0]);
    asking.sandbox.clock().advance(MINUTE / 2);
    let mut seen = Vec::new();
    for _ in 0..40 {
        seen.push(members(&asking, group).await.len());
    }
    assert!(seen.windows(2).any(|two| two == [0, 1]), "{seen:?}");
    asking.sandbox.clock().advance(MINUTE);
    assert!(members(&asking, group).await.is_empty());
}

#[tokio::test]
async fn lists_single_objects_and_the_index_have_lags_of_their_own() {
    let asking = Asking::new().await;
    let ada = asking.user("Ada L");
    let one = format!("/v1.0/users/{ada}");
    asking.set(|entra| entra.replicas.list = MINUTE..=MINUTE);
    assert!(asking.list("/v1.0/users").await.is_empty());
    asking.get(&one).await.ok();
    asking.set(|entra| {
        entra.replicas.list = NO_LAG;
        entra.replicas.object = MINUTE..=MINUTE;
        entra.replicas.index = MINUTE..=MINUTE;
    });
    assert_eq!(asking.list("/v1.0/users").await.len(), 1);
    asking.refused(&one, 404, "Request_ResourceNotFound").await;
    let advanced = asking.get_eventual("/v1.0/users?$count=true").await.ok();
    assert_eq!(advanced["value"].as_array().unwrap().len(), 0);
}

#[tokio::test]
async fn a_link_is_good_though_a_later_replica_is_behind_it() {
    let asking = Asking::new().await;
    let ada = asking.user("Ada L");
    let link = asking.round(USERS).await.link;
    asking.set(|entra| entra.replicas.delta = MINUTE..=MINUTE);
    let behind = asking.round(&link).await;
    assert!(behind.ids().is_empty());
    asking.sandbox.tenant().rename(ada, "b");
    asking.sandbox.clock().advance(MINUTE);
    assert_eq!(asking.round(&behind.link).await.only()["displayName"], "b");
}
