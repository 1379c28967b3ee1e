//! Who may send requests, how often, and what is logged of it.
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::Method;
use sandbox::faults::{Fault, Rule};
use sandbox::requests::Route;
use sandbox::settings::{PORT_CLIENT_ID, PORT_CLIENT_SECRET, Rate, Rates, Reset, Role, Window};
use serde_json::{Value as Json, json};

use crate::{Asking, GROUPS, SUBSCRIPTIONS, refused};

#[tokio::test]
async fn the_same_token_is_given_until_it_expires() {
    let lifetime = Duration::from_secs(3);
    let asking = Asking::with(|api| (api.token_lifetime, api.rates) = (lifetime, None)).await;
    let again = asking.sign_in().await.is(200, "token");
    assert_eq!(again["accessToken"], asking.token.as_str());
    assert!(again["expiresIn"].as_u64().unwrap() < 3);
    asking.get("/v1/blueprints", 200, "blueprints").await;
    let mut status = 200;
    while status == 200 {
        status = asking.ask(Method::GET, "/v1/blueprints", &Json::Null).await.status;
    }
    assert_eq!(status, 401);
    assert_ne!(asking.sign_in().await.body["accessToken"], asking.token.as_str());
    assert_eq!(asking.sandbox.port().tokens_given(), 2);
}

#[tokio::test]
async fn wrong_credentials_are_told() {
    let asking = Asking::new().await;
    let path = "/v1/auth/access_token";
    let wrong = json!({"clientId": PORT_CLIENT_ID, "clientSecret": "guess"});
    refused(&asking, Method::POST, path, &wrong, 401, "invalid_credentials").await;
    asking.set(|api| api.wrong_credentials = 404);
    refused(&asking, Method::POST, path, &wrong, 404, "invalid_credentials").await;
    refused(&asking, Method::POST, path, &json!({"clientId": PORT_CLIENT_ID}), 422, "invalid_request").await;
    let other = json!({"clientId": "another", "clientSecret": PORT_CLIENT_SECRET});
    refused(&asking, Method::POST, path, &other, 404, "invalid_credentials").await;
    asking.set(|api| api.clients.push("another".into()));
    asking.ask(Method::POST, path, &other).await.is(200, "token");
}

#[tokio::test]
async fn every_route_wants_a_token_that_is_good() {
    let mut asking = Asking::with(|api| api.rates = None).await;
    let good = std::mem::replace(&mut asking.token, "eyJ.unknown".into());
    let routes = [
        (Method::GET, "/v1/blueprints".to_owned()),
        (Method::GET, "/v1/webhooks".to_owned()),
        (Method::GET, "/v1/audit-log".to_owned()),
        (Method::GET, format!("{SUBSCRIPTIONS}/a")),
        (Method::POST, format!("{SUBSCRIPTIONS}/bulk?upsert=true")),
        (Method::POST, format!("{SUBSCRIPTIONS}/search")),
        (Method::POST, "/v1/blueprints/azureSubscription/bulk/entities/delete?delete_dependents=false".to_owned()),
        (Method::POST, "/v1/entities/search".to_owned()),
    ];
    for (method, path) in routes {
        refused(&asking, method, &path, &json!({}), 401, "unauthorized").await;
    }
    asking.token = good;
    asking.get("/v1/blueprints", 200, "blueprints").await;
    asking.sandbox.faults().add(Route::PortBlueprint, Rule::new(Fault::Revoked).after(1).times(1));
    asking.get("/v1/blueprints", 200, "blueprints").await;
    refused(&asking, Method::GET, "/v1/blueprints", &Json::Null, 401, "unauthorized").await;
    refused(&asking, Method::GET, "/v1/blueprints", &Json::Null, 401, "unauthorized").await;
    assert_eq!(asking.sandbox.requests().statuses(Route::PortBlueprint)[&401], 3);
}

#[tokio::test]
async fn limits_are_counted_by_class_and_told_in_headers() {
    let rate = Rate { requests: 2, burst: 2 };
    let period = Duration::from_secs(3600);
    let rates = Rates { upsert: rate, bulk: rate, period, window: Window::Fixed, ..Rates::default() };
    let asking = Asking::with(|api| api.rates = Some(rates)).await;
    let path = format!("{SUBSCRIPTIONS}?upsert=true");
    let upsert = async || asking.ask(Method::POST, &path, &json!({"identifier": "s"})).await;
    for left in ["1", "0"] {
        let answer = upsert().await;
        assert_eq!((answer.status, answer.header("x-ratelimit-remaining")), (201, Some(left)));
        assert_eq!(answer.header("x-ratelimit-limit"), Some("2"));
        assert_eq!(answer.header("x-ratelimit-period"), Some("3600"));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let reset: u64 = answer.header("x-ratelimit-reset").unwrap().parse().unwrap();
        assert!((now + 3500..now + 3700).contains(&reset), "{reset} is no epoch");
    }
    let answer = upsert().await;
    assert!((3500..=3600).contains(&answer.header("retry-after").unwrap().parse::<u32>().unwrap()));
    assert_eq!(answer.is(429, "error")["error"], "too_many_requests");
    asking.set(|api| {
        let rates = api.rates.as_mut().unwrap();
        (rates.reset, rates.retry_after) = (Reset::Seconds, false);
    });
    let answer = upsert().await;
    assert!(answer.header("x-ratelimit-reset").unwrap().parse::<u32>().unwrap() <= 3600);
    assert_eq!((answer.status, answer.header("retry-after")), (429, None));
    let bulk = json!({"entities": [{"identifier": "s"}]});
    asking.post(&format!("{SUBSCRIPTIONS}/bulk?upsert=true"), &bulk, 200, "bulk").await;
    asking.get(&format!("{SUBSCRIPTIONS}/s"), 200, "entity").await;
}

#[tokio::test]
async fn who_has_no_token_shares_a_small_limit() {
    let rates = Rates { unauthenticated: Rate { requests: 3, burst: 3 }, window: Window::Fixed, ..Rates::default() };
    let mut asking = Asking::with(|api| api.rates = Some(rates)).await;
    asking.sign_in().await.is(200, "token");
    let good = std::mem::take(&mut asking.token);
    assert_eq!(asking.ask(Method::GET, "/v1/blueprints", &Json::Null).await.status, 401);
    assert_eq!(asking.ask(Method::GET, "/v1/blueprints", &Json::Null).await.status, 429);
    assert_eq!(asking.sign_in().await.status, 429);
    asking.token = good;
    asking.get("/v1/blueprints", 200, "blueprints").await;
}

#[tokio::test]
async fn a_body_above_a_mebibyte_is_refused() {
    let asking = Asking::new().await;
    let entity = |length: usize| json!({"identifier": "s", "properties": {"subscriptionId": "x".repeat(length)}});
    let path = format!("{SUBSCRIPTIONS}?upsert=true");
    refused(&asking, Method::POST, &path, &entity(1024 * 1024), 413, "payload_too_large").await;
    asking.post(&path, &entity(1000 * 1000), 201, "entity").await;
}

#[tokio::test]
async fn the_audit_log_says_what_was_done_and_what_was_refused() {
    let asking = Asking::new().await;
    asking.put_entity(SUBSCRIPTIONS, &json!({"identifier": "s"})).await;
    let orphan = json!({"identifier": "g", "relations": {"subscription": "other"}});
    refused(&asking, Method::POST, &format!("{GROUPS}?upsert=true"), &orphan, 404, "not_found").await;
    let audits = async |query: &str| {
        let answer = asking.get(&format!("/v1/audit-log?{query}"), 200, "audits").await;
        answer["audits"].as_array().unwrap().clone()
    };
    let failed = audits("status=FAILURE").await;
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0]["context"]["entityIdentifier"], "g");
    assert!(failed[0]["message"].as_str().unwrap().contains("does not exist in the blueprint"));
    let at = failed[0]["trigger"]["at"].as_str().unwrap();
    assert_eq!(audits(&format!("from={at}&status=FAILURE")).await.len(), 1);
    assert_eq!(audits(&format!("to={at}")).await.len(), 2);
    assert_eq!(audits("from=2100-01-01T00:00:00Z").await.len(), 0);
    assert_eq!(audits("entity=s&blueprint=azureSubscription&action=CREATE&resources=entity").await.len(), 1);
    assert_eq!(audits("resources=blueprint&resources=webhook").await.len(), 0);
    assert_eq!(audits("limit=1").await.len(), 1);
    assert_eq!(audits("limit=1&includes=status&includes=action").await[0].as_object().unwrap().len(), 2);
    refused(&asking, Method::GET, "/v1/audit-log?from=yesterday", &Json::Null, 422, "invalid_request").await;
    asking.set(|api| api.audit_lag = Duration::from_secs(60));
    assert_eq!(audits("").await.len(), 0);
}

#[tokio::test]
async fn who_is_no_admin_sees_the_audit_log_by_entity_alone() {
    let asking = Asking::with(|api| api.role = Role::Member).await;
    asking.put_entity(SUBSCRIPTIONS, &json!({"identifier": "s"})).await;
    refused(&asking, Method::GET, "/v1/audit-log?status=FAILURE", &Json::Null, 403, "forbidden").await;
    let answer = asking.get("/v1/audit-log?entity=s", 200, "audits").await;
    assert_eq!(answer["audits"].as_array().unwrap().len(), 1);
}
