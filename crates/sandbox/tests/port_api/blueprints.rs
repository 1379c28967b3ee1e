//! Creating, replacing, changing and deleting blueprints.
use reqwest::Method;
use serde_json::{Value as Json, json};

use crate::{Asking, SUBSCRIPTIONS, blueprint, refused};

const ALL: &str = "/v1/blueprints";

#[tokio::test]
async fn a_blueprint_is_made_read_and_taken_away() {
    let asking = Asking::new().await;
    refused(&asking, Method::GET, "/v1/blueprints/new", &Json::Null, 404, "not_found").await;
    let made = asking.post(ALL, &blueprint("new"), 201, "blueprint").await;
    assert_eq!(made["blueprint"]["schema"], blueprint("new")["schema"]);
    assert!(made["blueprint"]["createdAt"].is_string());
    asking.post(&format!("{ALL}?create_catalog_page=false"), &blueprint("a/b"), 201, "blueprint").await;
    assert_eq!(asking.sandbox.port().pages(), ["new"]);
    assert_eq!(asking.get("/v1/blueprints/a%2Fb", 200, "blueprint").await["blueprint"]["identifier"], "a/b");
    let all = asking.get(ALL, 200, "blueprints").await;
    let all: Vec<&str> =
        all["blueprints"].as_array().unwrap().iter().map(|b| b["identifier"].as_str().unwrap()).collect();
    assert_eq!(all, ["_team", "_user", "a/b", "azureCloudResources", "azureResourceGroup", "azureSubscription", "new"]);
    asking.delete("/v1/blueprints/new", 200, "ok").await;
    refused(&asking, Method::DELETE, "/v1/blueprints/new", &Json::Null, 404, "not_found").await;
}

#[tokio::test]
async fn a_second_of_the_same_name_is_refused_in_either_way() {
    let asking = Asking::new().await;
    for status in [409, 422] {
        asking.set(|api| api.blueprints.duplicate = status);
        let body = blueprint("azureSubscription");
        refused(&asking, Method::POST, ALL, &body, status, "identifier_taken").await;
    }
}

#[tokio::test]
async fn what_is_no_blueprint_is_refused() {
    let asking = Asking::new().await;
    let long = "x".repeat(101);
    let cases = [
        json!({"title": "T", "schema": {"properties": {}}}),
        json!({"identifier": "b", "schema": {"properties": {}}}),
        json!({"identifier": "b", "title": "T"}),
        json!({"identifier": "b", "title": "T", "schema": {}}),
        json!({"identifier": "b", "title": "T", "schema": {"properties": {}, "other": 1}}),
        json!({"identifier": "a=b", "title": "T", "schema": {"properties": {}}}),
        json!({"identifier": "..", "title": "T", "schema": {"properties": {}}}),
        json!({"identifier": long, "title": "T", "schema": {"properties": {}}}),
        json!({"identifier": "b", "title": long, "schema": {"properties": {}}}),
        json!({"identifier": "b", "title": "T", "description": long.repeat(2), "schema": {"properties": {}}}),
        json!({"identifier": "b", "title": "T", "schema": {"properties": {"a b": {"type": "string"}}}}),
        json!({"identifier": "b", "title": "T", "schema": {"properties": {"a": {"type": "text"}}}}),
        json!({"identifier": "b", "title": "T", "schema": {"properties": {"a": {"type": "string", "format": "date"}}}}),
        json!({"identifier": "b", "title": "T", "schema": {"properties": {}}, "relations": {"r": {"target": "_user"}}}),
    ];
    for body in cases {
        refused(&asking, Method::POST, ALL, &body, 422, "invalid_request").await;
    }
}

#[tokio::test]
async fn a_relation_needs_its_target_and_cannot_be_many_and_required() {
    let asking = Asking::new().await;
    let with = |target: &str, many: bool| {
        let mut body = blueprint("new");
        body["relations"] = json!({"r": {"target": target, "many": many, "required": true}});
        body
    };
    refused(&asking, Method::POST, ALL, &with("nowhere", false), 404, "not_found").await;
    refused(&asking, Method::POST, ALL, &with("azureSubscription", true), 422, "invalid_request").await;
    asking.post(ALL, &with("azureSubscription", false), 201, "blueprint").await;
    refused(&asking, Method::DELETE, "/v1/blueprints/azureSubscription", &Json::Null, 409, "has_dependents").await;
}

#[tokio::test]
async fn a_put_replaces_and_a_patch_merges_what_is_at_the_top() {
    let asking = Asking::new().await;
    let path = "/v1/blueprints/azureResourceGroup";
    let patched = asking.patch(path, &json!({"title": "Other"}), 200, "blueprint").await;
    assert_eq!(patched["blueprint"]["title"], "Other");
    assert!(patched["blueprint"]["relations"]["subscription"].is_object());
    let schema = json!({"schema": {"properties": {"more": {"type": "string"}}}});
    asking.set(|api| api.blueprints.patch_is_deep = true);
    let deep = asking.patch(path, &schema, 200, "blueprint").await;
    assert_eq!(deep["blueprint"]["schema"]["properties"].as_object().unwrap().len(), 3);
    asking.set(|api| api.blueprints.patch_is_deep = false);
    let flat = asking.patch(path, &schema, 200, "blueprint").await;
    assert_eq!(flat["blueprint"]["schema"]["properties"].as_object().unwrap().len(), 1);
    let body = json!({"title": "Bare", "schema": {"properties": {}}});
    let put = asking.put(path, &body, 200, "blueprint").await;
    assert_eq!((&put["blueprint"]["relations"], &put["blueprint"]["icon"]), (&json!({}), &Json::Null));
    refused(&asking, Method::PUT, path, &json!({"title": "T"}), 422, "invalid_request").await;
    refused(&asking, Method::PATCH, path, &json!({"schema": {}}), 422, "invalid_request").await;
    refused(&asking, Method::PATCH, "/v1/blueprints/new", &json!({}), 404, "not_found").await;
}

#[tokio::test]
async fn a_property_of_another_type_loses_its_data() {
    let asking = Asking::new().await;
    let properties = json!({"subscriptionId": "1", "tags": {"a": "b"}});
    asking.put_entity(SUBSCRIPTIONS, &json!({"identifier": "s", "properties": properties})).await;
    let schema = json!({"properties": {"subscriptionId": {"type": "number"}, "tags": {"type": "object"}}});
    asking.patch("/v1/blueprints/azureSubscription", &json!({"schema": schema}), 200, "blueprint").await;
    let entity = asking.get(&format!("{SUBSCRIPTIONS}/s"), 200, "entity").await;
    assert_eq!(entity["entity"]["properties"], json!({"tags": {"a": "b"}}));
    refused(&asking, Method::DELETE, "/v1/blueprints/azureSubscription", &Json::Null, 409, "has_dependents").await;
}

#[tokio::test]
async fn what_port_has_of_its_own_nobody_changes() {
    let asking = Asking::new().await;
    for identifier in ["_user", "_team"] {
        let path = format!("{ALL}/{identifier}");
        asking.get(&path, 200, "blueprint").await;
        refused(&asking, Method::PATCH, &path, &json!({"title": "T"}), 403, "protected_resource").await;
        refused(&asking, Method::PUT, &path, &blueprint(identifier), 403, "protected_resource").await;
        refused(&asking, Method::DELETE, &path, &Json::Null, 403, "protected_resource").await;
        refused(&asking, Method::POST, ALL, &blueprint(identifier), 403, "protected_resource").await;
    }
}
