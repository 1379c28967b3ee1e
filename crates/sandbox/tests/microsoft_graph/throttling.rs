//! Resource units: the cost of requests, and what happens when they run out.
use std::time::Duration;

use sandbox::settings::{RetryAfter, UnitSettings};
use serde_json::json;

use crate::{Asking, USERS};

fn units(units: u32, retry_after: RetryAfter) -> UnitSettings {
    UnitSettings { units: Some(units), period: Duration::from_secs(3600), retry_after }
}

#[tokio::test]
async fn requests_cost_what_the_table_says() {
    let asking = Asking::new().await;
    let (group, users) = asking.group_of(1);
    let cases = [
        ("/v1.0/users".to_owned(), 2),
        ("/v1.0/users?$select=id".to_owned(), 1),
        ("/v1.0/users?$select=id,signInActivity".to_owned(), 1),
        (USERS.to_owned(), 1),
        ("/v1.0/groups".to_owned(), 1),
        ("/v1.0/groups?$expand=members".to_owned(), 2),
        ("/v1.0/applications".to_owned(), 2),
        ("/v1.0/servicePrincipals".to_owned(), 1),
        (format!("/v1.0/groups/{group}/members"), 3),
        (format!("/v1.0/groups/{group}/members?$top=19"), 2),
        (format!("/v1.0/groups/{group}/members?$top=999&$select=id"), 2),
        (format!("/v1.0/users/{}/memberOf?$top=1&$select=id", users[0]), 1),
    ];
    let mut all = 0;
    for (path, cost) in cases {
        let answer = asking.get(&path).await;
        assert_eq!((answer.status, answer.header("x-ms-resource-unit")), (200, Some(&*cost.to_string())), "{path}");
        assert_eq!(answer.header("x-ms-throttle-limit-percentage"), None);
        all += cost;
    }
    let answer = asking.post("/v1.0/directoryObjects/getByIds", &json!({"ids": [group.to_string()]})).await;
    assert_eq!(answer.header("x-ms-resource-unit"), Some("3"));
    assert_eq!(asking.sandbox.entra().units(), all + 3);
}

#[tokio::test]
async fn from_four_fifths_on_an_answer_says_how_much_is_used_and_then_there_is_no_more() {
    let asking = Asking::with(|entra| entra.units = Some(units(10, RetryAfter::Seconds))).await;
    let mut percentages = Vec::new();
    for _ in 0..10 {
        let answer = asking.get(USERS).await;
        percentages.extend(answer.header("x-ms-throttle-limit-percentage").map(str::to_owned));
        answer.ok();
    }
    // The first may be slightly below four fifths, because the bucket refills constantly.
    assert_eq!(percentages[percentages.len() - 2..], ["0.90", "1.00"]);
    assert!(percentages.len() <= 3, "{percentages:?}");
    let refused = asking.get(USERS).await;
    assert!(refused.header("retry-after").unwrap().parse::<u64>().unwrap() > 300);
    assert_eq!(refused.header("x-ms-throttle-information"), Some("ResourceUnitLimitExceeded"));
    assert!(refused.header("x-ms-throttle-scope").is_some());
    refused.is(429, "TooManyRequests");
}

#[tokio::test]
async fn a_refusal_may_say_nothing_or_too_little_of_when_to_come_back() {
    for (retry_after, header) in [(RetryAfter::Absent, None), (RetryAfter::Empty, Some(""))] {
        let asking = Asking::with(|entra| entra.units = Some(units(1, retry_after))).await;
        asking.get(USERS).await.ok();
        let refused = asking.get(USERS).await;
        assert_eq!((refused.status, refused.header("retry-after")), (429, header));
    }
}

#[tokio::test]
async fn the_bucket_is_that_of_the_tenants_size() {
    let asking = Asking::with(|entra| {
        entra.units = Some(UnitSettings { units: None, ..units(1, RetryAfter::Seconds) });
    })
    .await;
    // Enough parallel requests to use four fifths of a small tenant's units.
    let ids = json!({"requests": (0..20).map(|id| json!({"id": id.to_string(), "method": "GET", "url": "/users"})).collect::<Vec<_>>()});
    let spent = async |batches: usize| {
        for _ in 0..batches {
            asking.post("/v1.0/$batch", &ids).await.ok();
        }
        asking.get(USERS).await.header("x-ms-throttle-limit-percentage").map(str::to_owned)
    };
    assert_eq!(spent(68).await, None);
    assert_eq!(spent(1).await.as_deref(), Some("0.81"));
    asking.group_of(50);
    assert_eq!(spent(0).await, None, "of 5,000");
    asking.group_of(451);
    assert_eq!(spent(50).await, None, "of 8,000");
}

#[tokio::test]
async fn without_a_limit_there_are_no_refusals() {
    let asking = Asking::with(|entra| entra.units = None).await;
    let answer = asking.get(USERS).await;
    assert_eq!((answer.status, answer.header("x-ms-resource-unit")), (200, Some("1")));
}
