//! The tokens in links: what they allow, and for how long.
use std::time::Duration;

use sandbox::directory::Kind;
use sandbox::settings::Stale;
use serde_json::json;

use crate::{Asking, GROUPS, USERS};

const DAY: Duration = Duration::from_secs(24 * 3600);

#[tokio::test]
async fn a_round_ends_with_a_link_that_the_next_begins_with() {
    let asking = Asking::new().await;
    let ada = asking.user("Ada L");
    let first = asking.round(USERS).await;
    assert_eq!(first.only()["id"], ada.to_string());
    assert!(first.link.contains("/users/delta?$deltatoken="), "{}", first.link);
    assert!(asking.round(&first.link).await.ids().is_empty());
    asking.sandbox.tenant().rename(ada, "Ada K");
    assert_eq!(asking.round(&first.link).await.only()["displayName"], "Ada K");
    assert_eq!(asking.round(&first.link).await.only()["displayName"], "Ada K", "a link can be used again");
}

#[tokio::test]
async fn the_latest_token_comes_without_what_there_is() {
    let asking = Asking::new().await;
    let before = asking.user("Ada L");
    let latest = asking.round(&format!("{USERS}&$deltatoken=latest")).await;
    assert_eq!((latest.pages.len(), latest.ids().len()), (1, 0));
    let after = asking.user("Alan T");
    assert_ne!(before, after);
    assert_eq!(asking.round(&latest.link).await.only()["id"], after.to_string());
}

#[tokio::test]
async fn a_link_of_seven_days_is_too_old() {
    let asking = Asking::with(|entra| entra.token_lifetime = 30 * DAY).await;
    let link = asking.round(USERS).await.link;
    asking.sandbox.clock().advance(7 * DAY - Duration::from_secs(1));
    let renewed = asking.round(&link).await.link;
    asking.sandbox.clock().advance(Duration::from_secs(1));
    let message = asking.refused(&link, 400, "syncStateNotFound").await;
    assert!(message.contains("synchronized again"), "{message}");
    asking.set(|entra| entra.delta.stale = Stale::Gone);
    let gone = asking.get(&link).await;
    let location = gone.header("location").unwrap().to_owned();
    assert_eq!(gone.status, 410);
    assert!(location.ends_with("/users/delta?$select=id,displayName,department&$deltaToken="), "{location}");
    assert!(asking.round(&location).await.link.contains("$deltatoken="));
    asking.set(|entra| entra.delta.stale = Stale::ResyncRequired);
    asking.refused(&link, 410, "resyncRequired").await;
    asking.round(&renewed).await;
}

#[tokio::test]
async fn the_seven_days_may_count_from_the_first_link_of_a_line() {
    let asking = Asking::with(|entra| {
        entra.token_lifetime = 30 * DAY;
        entra.delta.link_renewed = false;
    })
    .await;
    let link = asking.round(USERS).await.link;
    asking.sandbox.clock().advance(6 * DAY);
    let renewed = asking.round(&link).await.link;
    asking.sandbox.clock().advance(DAY);
    asking.refused(&renewed, 400, "syncStateNotFound").await;
}

#[tokio::test]
async fn a_reset_ends_the_links_of_its_kind_in_the_middle_of_a_round_too() {
    let asking = Asking::with(|entra| {
        entra.delta.page = 1;
        entra.delta.stale = Stale::Gone;
    })
    .await;
    asking.group_of(2);
    let groups = asking.round(GROUPS).await.link;
    let page = asking.get(USERS).await.ok();
    asking.sandbox.entra().reset(Kind::User);
    assert_eq!(asking.get(page["@odata.nextLink"].as_str().unwrap()).await.status, 410);
    assert_eq!(asking.round(USERS).await.ids().len(), 2);
    asking.round(&groups).await;
}

#[tokio::test]
async fn what_is_no_token_is_refused() {
    let asking = Asking::new().await;
    let link = asking.round(USERS).await.link;
    for url in [
        "/v1.0/users/delta?$deltatoken=garbage".to_owned(),
        "/v1.0/users/delta?$skiptoken=garbage".to_owned(),
        link.replace("$deltatoken", "$skiptoken"),
        link.replace("/users/", "/groups/"),
        format!("{link}0"),
        format!("{link}&$select=id"),
    ] {
        asking.refused(&url, 400, "BadRequest").await;
    }
    assert_eq!(asking.get(&link).await.ok()["value"], json!([]));
}

#[tokio::test]
async fn a_link_to_the_next_page_may_expire_in_a_delta_and_in_a_list() {
    let asking = Asking::with(|entra| entra.delta.page = 1).await;
    asking.group_of(2);
    for first in [USERS, "/v1.0/users?$top=1"] {
        asking.set(|entra| entra.delta.page_link_lifetime = None);
        let next = asking.get(first).await.ok()["@odata.nextLink"].as_str().unwrap().to_owned();
        asking.sandbox.clock().advance(Duration::from_secs(600));
        asking.get(&next).await.ok();
        asking.set(|entra| entra.delta.page_link_lifetime = Some(Duration::from_secs(600)));
        asking.refused(&next, 400, "Directory_ExpiredPageToken").await;
    }
    asking.refused("/v1.0/users?$skiptoken=garbage", 400, "Directory_InvalidPageToken").await;
}
