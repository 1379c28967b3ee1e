//! Webhooks configured over the API, and posts to them.
use std::time::{Duration, Instant};

use reqwest::Method;
use sandbox::Host;
use sandbox::port::hmac_sha256;
use sandbox::settings::{Role, WEBHOOK_KEY};
use serde_json::{Value as Json, json};

use crate::{Asking, refused};

const ALL: &str = "/v1/webhooks";

fn webhook() -> Json {
    let entity = json!({"identifier": ".body.id", "title": ".body.name", "properties": {"subscriptionId": ".body.id"}});
    json!({
        "identifier": "new", "title": "New", "enabled": true,
        "mappings": [
            {"blueprint": "azureSubscription", "operation": "create", "filter": ".body.name != null", "entity": entity},
            {"blueprint": "azureSubscription", "operation": {"type": "delete", "deleteDependents": false},
             "filter": ".body.name == null", "entity": {"identifier": ".body.id"}},
        ],
        "security": {"secret": "key", "signatureHeaderName": "x-sig", "signatureAlgorithm": "sha256", "signaturePrefix": "v="},
    })
}

impl Asking {
    async fn post_to(&self, url: &str, body: &Json, signature: &str) -> u16 {
        let request = self.client.post(url).header("x-sig", signature).body(body.to_string());
        let status = request.send().await.unwrap().status().as_u16();
        self.sandbox.port().settle().await;
        status
    }
}

fn signed(body: &Json) -> String {
    format!("v={}", hmac_sha256(b"key", body.to_string().as_bytes()))
}

#[tokio::test]
async fn what_is_set_up_is_what_the_ingest_goes_by() {
    let asking = Asking::new().await;
    let made = asking.post(ALL, &webhook(), 201, "webhook").await["integration"].clone();
    let url = made["url"].as_str().unwrap();
    assert_eq!(url, format!("{}/{}", asking.sandbox.origin(Host::Port), made["webhookKey"].as_str().unwrap()));
    let body = json!({"id": "s", "name": "n"});
    assert_eq!(asking.post_to(url, &body, "v=00").await, 202);
    assert_eq!(asking.entities(), [""; 0]);
    assert_eq!(asking.post_to(url, &body, &signed(&body)).await, 202);
    assert_eq!(asking.entities(), ["s"]);

    let changed = json!({"security": {}});
    asking.patch("/v1/webhooks/new", &changed, 200, "webhook").await;
    asking.post_to(url, &json!({"id": "t", "name": "n"}), "").await;
    assert_eq!(asking.entities(), ["s", "t"]);
    asking.post_to(url, &json!({"id": "s"}), "").await;
    assert_eq!(asking.entities(), ["t"]);
    asking.patch("/v1/webhooks/new", &json!({"mappings": []}), 200, "webhook").await;
    asking.post_to(url, &json!({"id": "u", "name": "n"}), "").await;
    asking
        .patch("/v1/webhooks/new", &json!({"mappings": webhook()["mappings"], "enabled": false}), 200, "webhook")
        .await;
    asking.post_to(url, &json!({"id": "u", "name": "n"}), "").await;
    assert_eq!(asking.entities(), ["t"]);
    asking.patch("/v1/webhooks/new", &json!({"enabled": true}), 200, "webhook").await;
    asking.post_to(url, &json!({"id": "u", "name": "n"}), "").await;
    assert_eq!(asking.entities(), ["t", "u"]);

    asking.delete("/v1/webhooks/new", 200, "ok").await;
    assert_eq!(asking.post_to(url, &body, "").await, 404);
    refused(&asking, Method::GET, "/v1/webhooks/new", &Json::Null, 404, "not_found").await;
}

#[tokio::test]
async fn the_given_webhook_is_listed_and_can_be_changed() {
    let asking = Asking::new().await;
    let all = asking.get(ALL, 200, "webhooks").await;
    assert_eq!(all["integrations"].as_array().unwrap().len(), 1);
    assert_eq!(all["integrations"][0]["webhookKey"], WEBHOOK_KEY);
    let path = "/v1/webhooks/azureIncremental";
    let body = json!({"title": "Other", "enabled": true, "mappings": webhook()["mappings"]});
    let put = asking.put(path, &body, 200, "webhook").await;
    assert_eq!(put["integration"]["webhookKey"], WEBHOOK_KEY);
    asking.post_to(&asking.sandbox.webhook_url(), &json!({"id": "s", "name": "n"}), "").await;
    assert_eq!(asking.entities(), ["s"]);
}

#[tokio::test]
async fn without_the_given_one_there_is_none() {
    let asking = Asking::with(|api| api.webhooks.given = false).await;
    assert_eq!(asking.get(ALL, 200, "webhooks").await["integrations"], json!([]));
    assert_eq!(asking.post_to(&asking.sandbox.webhook_url(), &json!({}), "").await, 404);
}

#[tokio::test]
async fn a_patch_merges_what_is_at_the_top_and_a_put_replaces() {
    let asking = Asking::with(|api| api.webhooks.shows_secret = true).await;
    asking.post(ALL, &webhook(), 201, "webhook").await;
    let path = "/v1/webhooks/new";
    let patched = asking.patch(path, &json!({"title": "Other"}), 200, "webhook").await["integration"].clone();
    assert_eq!((&patched["title"], &patched["mappings"]), (&json!("Other"), &webhook()["mappings"]));
    let security = json!({"security": {"signaturePrefix": "w="}});
    asking.set(|api| api.webhooks.patch_is_deep = true);
    let deep = asking.patch(path, &security, 200, "webhook").await;
    assert_eq!(deep["integration"]["security"]["secret"], "key");
    asking.set(|api| api.webhooks.patch_is_deep = false);
    let flat = asking.patch(path, &security, 200, "webhook").await;
    assert_eq!(flat["integration"]["security"], security["security"]);
    let put = asking.put(path, &json!({"title": "Bare", "enabled": false}), 200, "webhook").await;
    assert_eq!(put["integration"]["mappings"], Json::Null);
    refused(&asking, Method::PUT, path, &json!({"title": "T"}), 422, "invalid_request").await;
}

#[tokio::test]
async fn the_secret_shows_only_where_port_is_said_to_show_it() {
    let asking = Asking::new().await;
    asking.post(ALL, &webhook(), 201, "webhook").await;
    let hidden = asking.get("/v1/webhooks/new", 200, "webhook").await;
    assert_eq!(hidden["integration"]["security"].as_object().unwrap().len(), 3);
    asking.set(|api| api.webhooks.shows_secret = true);
    let shown = asking.get("/v1/webhooks/new", 200, "webhook").await;
    assert_eq!(shown["integration"]["security"], webhook()["security"]);
}

#[tokio::test]
async fn what_is_no_webhook_is_refused() {
    let asking = Asking::new().await;
    let with = |name: &str, value: Json| {
        let mut body = webhook();
        body[name] = value;
        body
    };
    let mapping = |entry: Json| with("mappings", json!([entry]));
    let cases = [
        with("identifier", "x".repeat(31).into()),
        with("title", "x".repeat(31).into()),
        with("description", "x".repeat(201).into()),
        with("other", 1.into()),
        with("security", json!({"algorithm": "sha256"})),
        with("security", json!({"signatureAlgorithm": "md5"})),
        json!({"title": "T"}),
        mapping(json!({"blueprint": "b", "operation": "upsert", "entity": {"identifier": "."}})),
        mapping(json!({"blueprint": "b", "operation": "create", "entity": {"identifier": ".", "name": "."}})),
        mapping(json!({"blueprint": "b", "operation": "create", "entity": {}})),
        mapping(json!({"blueprint": "b", "operation": "create", "entity": {"identifier": ".a |"}})),
    ];
    for body in cases {
        refused(&asking, Method::POST, ALL, &body, 422, "invalid_request").await;
    }
    asking.post(ALL, &webhook(), 201, "webhook").await;
    refused(&asking, Method::POST, ALL, &webhook(), 409, "identifier_taken").await;
    asking.set(|api| api.webhooks.created = 200);
    asking.post(ALL, &with("identifier", "other".into()), 200, "webhook").await;
}

#[tokio::test]
async fn who_is_no_admin_neither_sees_nor_sets_up_webhooks() {
    let asking = Asking::with(|api| api.role = Role::Member).await;
    let one = "/v1/webhooks/azureIncremental";
    refused(&asking, Method::GET, ALL, &Json::Null, 403, "forbidden").await;
    refused(&asking, Method::GET, one, &Json::Null, 403, "forbidden").await;
    refused(&asking, Method::POST, ALL, &webhook(), 403, "forbidden").await;
    refused(&asking, Method::PATCH, one, &json!({"enabled": false}), 403, "forbidden").await;
    refused(&asking, Method::DELETE, one, &Json::Null, 403, "forbidden").await;
}

#[tokio::test]
async fn what_a_post_came_to_is_in_the_audit_log_of_its_webhook() {
    let asking = Asking::new().await;
    let mut body = webhook();
    body["security"] = json!({});
    let url = asking.post(ALL, &body, 201, "webhook").await["integration"]["url"].as_str().unwrap().to_owned();
    asking.post_to(&url, &json!({"id": "s", "name": "n"}), "").await;
    asking.post_to(&url, &json!({"id": "not legal", "name": "n"}), "").await;
    let audits = async |query: &str| {
        let answer = asking.get(&format!("/v1/audit-log?webhookId=new{query}"), 200, "audits").await;
        answer["audits"].as_array().unwrap().clone()
    };
    let failed = audits("&status=FAILURE").await;
    assert_eq!((failed.len(), &failed[0]["trigger"]["origin"]), (1, &json!("WEBHOOK")));
    assert!(failed[0]["message"].as_str().unwrap().contains("illegal identifier"));
    assert_eq!(audits("&webhookEventId=new-1").await[0]["context"]["entityIdentifier"], "s");
}

#[tokio::test]
async fn a_post_is_applied_after_the_lag_that_is_set() {
    let asking = Asking::with(|api| api.webhooks.lag = Duration::from_millis(200)).await;
    let posted = Instant::now();
    let body = json!({"type": "resourceContainer", "operation": "upsert", "data": {
        "resourceId": "/subscriptions/s", "type": "microsoft.resources/subscriptions", "name": "n", "subscriptionId": "s"}});
    asking.post_to(&asking.sandbox.webhook_url(), &body, "").await;
    assert!(posted.elapsed() >= Duration::from_millis(200));
    assert_eq!(asking.entities(), ["/subscriptions/s"]);
}
