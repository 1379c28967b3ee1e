//! Sign-ins, which have their own rules.
use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::{Asking, field};

const ALL: &str = "/v1.0/users?$select=id,signInActivity";
const UNLICENSED: &str = "Authentication_RequestFromNonPremiumTenantOrB2CTenant";

#[tokio::test]
async fn sign_ins_are_listed_and_who_never_did_has_none_or_the_year_one() {
    let asking = Asking::new().await;
    let (ada, never) = (asking.user("Ada L"), asking.user("Alan T"));
    asking.sandbox.tenant().sign_in(ada);
    let page = asking.get(ALL).await.ok();
    assert_eq!(page["value"][0]["signInActivity"]["lastSignInDateTime"], "2023-11-14T22:13:20Z");
    assert_eq!(page["value"][1], json!({"id": never.to_string()}));
    asking.set(|entra| entra.sign_ins.never_is_year_one = true);
    let page = asking.get(ALL).await.ok();
    assert_eq!(page["value"][1]["signInActivity"]["lastSignInDateTime"], "0001-01-01T00:00:00Z");
    let one = asking.get(&format!("/v1.0/users/{ada}?$select=signInActivity")).await.ok();
    assert_eq!(one["signInActivity"]["lastSignInDateTime"], "2023-11-14T22:13:20Z");
    assert_eq!(asking.sandbox.requests().count(sandbox::requests::Route::EntraSignIns), 2);
}

#[tokio::test]
async fn a_larger_page_than_the_most_is_an_error_that_says_it() {
    let asking = Asking::with(|entra| entra.sign_ins.rate = None).await;
    asking.group_of(600);
    for most in [500, 120, 999] {
        asking.set(|entra| entra.sign_ins.page = most);
        let message = asking.refused(&format!("{ALL}&$top={}", most + 1), 400, "BadRequest").await;
        assert_eq!(message, format!("Cannot query data for more than {most} users at a time."));
        let page = asking.get(&format!("{ALL}&$top={most}")).await.ok();
        assert_eq!(page["value"].as_array().unwrap().len(), most.min(600));
    }
    assert_eq!(asking.list(ALL).await.len(), 600);
}

#[tokio::test]
async fn without_a_licence_all_or_most_requests_fail() {
    let asking = Asking::with(|entra| entra.sign_ins.rate = None).await;
    let statuses = async || {
        let mut granted = 0;
        for _ in 0..10 {
            let answer = asking.get(ALL).await;
            granted += usize::from(answer.status == 200);
            if answer.status != 200 {
                answer.is(403, UNLICENSED);
            }
        }
        granted
    };
    for (unlicensed, granted) in [(0, 10), (9, 1), (10, 0)] {
        asking.set(|entra| entra.sign_ins.unlicensed = unlicensed);
        assert_eq!(statuses().await, granted);
    }
    asking.get("/v1.0/users").await.ok();
}

#[tokio::test]
async fn sign_ins_take_a_role_of_their_own() {
    let asking = Asking::with(|entra| entra.roles = Some(vec!["User.Read.All".to_owned()])).await;
    asking.refused(ALL, 403, "Authorization_RequestDenied").await;
}

#[tokio::test]
async fn a_filter_finds_who_signed_in_since_and_who_has_vanished_as_well() {
    let asking = Asking::with(|entra| entra.sign_ins.rate = None).await;
    let (before, after, vanished) = (asking.user("Ada L"), asking.user("Alan T"), asking.user("Grace H"));
    asking.sandbox.tenant().sign_in(before);
    asking.sandbox.clock().advance(Duration::from_secs(60));
    for user in [after, vanished] {
        asking.sandbox.tenant().sign_in(user);
    }
    asking.sandbox.tenant().purge(vanished);
    let path = |filter: &str| format!("{ALL}&$filter={filter}");
    let since = "signInActivity/lastSignInDateTime ge 2023-11-14T22:14:00Z";
    let found = async || asking.list(&path(since)).await;
    let ids = |found: &[Json]| field(found, "id").into_iter().cloned().collect::<Vec<_>>();
    assert_eq!(ids(&found().await), [after.to_string(), vanished.to_string()]);
    asking.set(|entra| entra.sign_ins.shows_vanished = false);
    assert_eq!(ids(&found().await), [after.to_string()]);
    let both = format!("{since} and accountEnabled eq true");
    asking.refused(&path(&both), 400, "Request_UnsupportedQuery").await;
}

#[tokio::test]
async fn five_requests_in_ten_seconds_are_all_there_are() {
    let asking = Asking::new().await;
    for _ in 0..5 {
        asking.get(ALL).await.ok();
    }
    let refused = asking.get(ALL).await;
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=10).contains(&wait));
    refused.is(429, "TooManyRequests");
    asking.get("/v1.0/users").await.ok();
}
