//! Writing, reading and deleting one entity.
use reqwest::Method;
use sandbox::faults::{Fault, Rule};
use sandbox::requests::Route;
use sandbox::settings::Blocking;
use serde_json::{Value as Json, json};

use crate::{Asking, GROUPS, SUBSCRIPTIONS, blueprint, refused};

const THINGS: &str = "/v1/blueprints/thing/entities";

/// With a blueprint that has a property of each type and each kind of relation.
async fn with_things() -> Asking {
    let asking = Asking::new().await;
    let mut thing = blueprint("thing");
    thing["schema"] = json!({
        "properties": {
            "text": {"type": "string"}, "number": {"type": "number"}, "yes": {"type": "boolean"},
            "object": {"type": "object"}, "list": {"type": "array", "items": {"type": "string"}},
            "when": {"type": "string", "format": "date-time"}, "where": {"type": "string", "format": "url"},
            "who": {"type": "string", "format": "email"}, "address": {"type": "string", "format": "ipv4"},
            "choice": {"type": "string", "enum": ["a", "b"]}, "needed": {"type": "string"},
        },
        "required": ["needed"],
    });
    thing["relations"] = json!({
        "one": {"target": "azureSubscription", "many": false, "required": false},
        "some": {"target": "azureSubscription", "many": true, "required": false},
        "must": {"target": "azureSubscription", "many": false, "required": true},
    });
    asking.post("/v1/blueprints", &thing, 201, "blueprint").await;
    for identifier in ["s", "t"] {
        asking.put_entity(SUBSCRIPTIONS, &json!({"identifier": identifier, "title": "same"})).await;
    }
    asking
}

/// A valid entity except for this field.
fn thing(part: &str, name: &str, value: Json) -> Json {
    let mut thing = json!({"identifier": "x", "properties": {"needed": "n"}, "relations": {"must": "s"}});
    thing[part][name] = value;
    thing
}

#[tokio::test]
async fn an_entity_is_written_and_read() {
    let asking = with_things().await;
    let sent = json!({
        "identifier": "/a/b=32=c", "title": "T", "icon": "Azure", "team": ["x"], "blueprint": "thing",
        "properties": {
            "text": "t", "number": 1.5, "yes": true, "object": {"a": [1]}, "list": ["l"],
            "when": "2026-01-02T03:04:05.678Z", "where": "https://a.b/c", "who": "a@b.c", "address": "1.2.3.4",
            "choice": "b", "needed": "n",
        },
        "relations": {"one": "s", "some": ["s", "t"], "must": "t"},
    });
    asking.post(&format!("{THINGS}?upsert=true"), &sent, 201, "entity").await;
    let read = asking.get(&format!("{THINGS}/%2Fa%2Fb=32=c"), 200, "entity").await["entity"].clone();
    for part in ["identifier", "title", "icon", "team", "blueprint", "properties", "relations"] {
        assert_eq!(read[part], sent[part], "{part}");
    }
    assert_eq!(read["createdAt"], read["updatedAt"]);
    refused(&asking, Method::GET, &format!("{THINGS}/y"), &Json::Null, 404, "not_found").await;
    refused(&asking, Method::GET, "/v1/blueprints/no/entities/y", &Json::Null, 404, "not_found").await;
}

#[tokio::test]
async fn without_upsert_what_is_there_is_a_conflict_and_without_merge_it_is_replaced() {
    let asking = Asking::new().await;
    let first = json!({"identifier": "s", "title": "T", "icon": "Azure", "properties": {"subscriptionId": "1"}});
    let second = json!({"identifier": "s", "properties": {"tags": {"a": "b"}}});
    asking.post(&format!("{SUBSCRIPTIONS}?upsert=false"), &first, 201, "entity").await;
    for query in ["upsert=false", "upsert=false&merge=true"] {
        let path = format!("{SUBSCRIPTIONS}?{query}");
        refused(&asking, Method::POST, &path, &second, 409, "identifier_taken").await;
    }
    let merged = asking.put_entity(SUBSCRIPTIONS, &second).await;
    assert_eq!(merged["properties"], json!({"subscriptionId": "1", "tags": {"a": "b"}}));
    assert_eq!((&merged["title"], &merged["icon"]), (&json!("T"), &json!("Azure")));
    let path = format!("{SUBSCRIPTIONS}?upsert=true");
    let replaced = asking.post(&path, &second, 201, "entity").await["entity"].clone();
    assert_eq!(replaced["properties"], json!({"tags": {"a": "b"}}));
    assert_eq!((&replaced["title"], &replaced["icon"]), (&json!("s"), &Json::Null));
    refused(&asking, Method::POST, SUBSCRIPTIONS, &second, 422, "invalid_request").await;
    refused(&asking, Method::POST, &format!("{SUBSCRIPTIONS}?upsert=yes"), &second, 422, "invalid_request").await;
}

#[tokio::test]
async fn a_validation_writes_nothing() {
    let asking = Asking::new().await;
    let path = format!("{SUBSCRIPTIONS}?upsert=true&validation_only=true");
    asking.post(&path, &json!({"identifier": "s"}), 201, "entity").await;
    let wrong = json!({"identifier": "s", "properties": {"tags": 1}});
    refused(&asking, Method::POST, &path, &wrong, 422, "invalid_request").await;
    assert_eq!(asking.entities(), [""; 0]);
}

#[tokio::test]
async fn what_does_not_fit_the_blueprint_is_refused() {
    let asking = with_things().await;
    let path = format!("{THINGS}?upsert=true&merge=true");
    let of = |name: &str, value: Json| (thing("properties", name, value), "invalid_request");
    let cases = [
        of("text", 1.into()),
        of("number", "1".into()),
        of("yes", "true".into()),
        of("object", json!([])),
        of("list", json!({})),
        of("list", json!([1])),
        of("when", "yesterday".into()),
        of("where", "here".into()),
        of("who", "nobody".into()),
        of("address", "1.2.3".into()),
        of("choice", "c".into()),
        (thing("properties", "needed", Json::Null), "missing_property"),
        (thing("properties", "unknown", "u".into()), "blueprint_schema_mismatch"),
        (thing("relations", "unknown", "s".into()), "blueprint_schema_mismatch"),
        (thing("relations", "one", json!(["s"])), "blueprint_schema_mismatch"),
        (thing("relations", "some", "s".into()), "blueprint_schema_mismatch"),
        (thing("relations", "must", Json::Null), "required_relation"),
        (thing("relations", "one", "not legal".into()), "invalid_request"),
        (json!({"identifier": "not legal"}), "invalid_request"),
        (json!({"identifier": "x".repeat(1001)}), "invalid_request"),
        (json!({"identifier": "x", "title": 1}), "invalid_request"),
        (json!([]), "invalid_request"),
    ];
    for (body, code) in cases {
        refused(&asking, Method::POST, &path, &body, 422, code).await;
    }
    assert_eq!(asking.entities(), ["s", "t"]);
}

#[tokio::test]
async fn strictness_is_a_matter_of_settings() {
    let asking = with_things().await;
    asking.set(|api| {
        let entities = &mut api.entities;
        entities.refuses_unknown = false;
        entities.checks_formats = false;
        entities.checks_required = false;
    });
    let mut lax = thing("properties", "when", "yesterday".into());
    lax["properties"]["unknown"] = "u".into();
    lax["properties"]["needed"] = Json::Null;
    lax["relations"]["must"] = Json::Null;
    let written = asking.put_entity(THINGS, &lax).await;
    assert_eq!(written["properties"], json!({"when": "yesterday"}));
    let coerced = asking.put_entity(SUBSCRIPTIONS, &json!({"identifier": 7, "title": null})).await;
    assert_eq!((&coerced["identifier"], &coerced["title"]), (&json!("7"), &json!("7")));
    asking.set(|api| api.entities.coerces = false);
    let path = format!("{SUBSCRIPTIONS}?upsert=true");
    for body in [json!({"identifier": 7}), json!({"identifier": "s", "title": null})] {
        refused(&asking, Method::POST, &path, &body, 422, "invalid_request").await;
    }
}

#[tokio::test]
async fn null_takes_a_property_and_a_relation_away() {
    let asking = with_things().await;
    let mut full = thing("properties", "text", "t".into());
    full["relations"]["one"] = "s".into();
    asking.put_entity(THINGS, &full).await;
    let mut none = thing("properties", "text", Json::Null);
    none["relations"]["one"] = Json::Null;
    asking.set(|api| api.entities.null_removes = false);
    assert_eq!(asking.put_entity(THINGS, &none).await["properties"], full["properties"]);
    asking.set(|api| api.entities.null_removes = true);
    let bare = asking.put_entity(THINGS, &none).await;
    assert_eq!(bare["properties"], json!({"needed": "n"}));
    assert_eq!(bare["relations"], json!({"one": null, "some": [], "must": "s"}));
}

#[tokio::test]
async fn a_target_that_is_not_there_is_refused_or_becomes_a_ghost() {
    let asking = Asking::new().await;
    let group = json!({"identifier": "g", "relations": {"subscription": "s"}});
    let path = format!("{GROUPS}?upsert=true");
    let message = refused(&asking, Method::POST, &path, &group, 404, "not_found").await;
    assert_eq!(message, "Entity with identifier \"s\" does not exist in the blueprint \"azureSubscription\"");
    asking.post(&format!("{path}&create_missing_related_entities=true"), &group, 201, "entity").await;
    let ghost = asking.get(&format!("{SUBSCRIPTIONS}/s"), 200, "entity").await;
    assert_eq!(ghost["entity"]["properties"], json!({}));

    let mut owned = blueprint("owned");
    owned["relations"] = json!({"owner": {"target": "_user", "many": false, "required": false}});
    asking.post("/v1/blueprints", &owned, 201, "blueprint").await;
    let path = "/v1/blueprints/owned/entities?upsert=true&create_missing_related_entities=true";
    let entity = json!({"identifier": "o", "relations": {"owner": "a@b.c"}});
    refused(&asking, Method::POST, path, &entity, 404, "not_found").await;
}

#[tokio::test]
async fn identifiers_and_relations_can_be_searched_for() {
    let asking = with_things().await;
    let rule = |operator: &str, value: Json| json!({"combinator": "and", "rules": [{"property": "$title", "operator": operator, "value": value}]});
    let both = asking.put_entity(THINGS, &thing("relations", "some", rule("=", "same".into()))).await;
    assert_eq!(both["relations"]["some"], json!(["s", "t"]));
    let path = format!("{THINGS}?upsert=true&merge=true");
    let two_for_one = thing("relations", "one", rule("=", "same".into()));
    refused(&asking, Method::POST, &path, &two_for_one, 422, "invalid_request").await;
    asking.put_entity(SUBSCRIPTIONS, &json!({"identifier": "t", "title": "own"})).await;
    let one = asking.put_entity(THINGS, &thing("relations", "one", rule("in", json!(["own"])))).await;
    assert_eq!(one["relations"]["one"], "t");

    let named = |title: &str| json!({"identifier": rule("=", title.into()), "properties": {"subscriptionId": "found"}});
    assert_eq!(asking.put_entity(SUBSCRIPTIONS, &named("own")).await["identifier"], "t");
    let path = format!("{SUBSCRIPTIONS}?upsert=true&merge=true");
    refused(&asking, Method::POST, &path, &named("nobody"), 404, "not_found").await;
}

#[tokio::test]
async fn a_patch_changes_what_is_given_and_a_put_replaces() {
    let asking = Asking::new().await;
    let sent = json!({"identifier": "s", "title": "T", "properties": {"subscriptionId": "1"}});
    asking.put_entity(SUBSCRIPTIONS, &sent).await;
    let path = format!("{SUBSCRIPTIONS}/s");
    let patch = json!({"title": null, "properties": {"tags": {}}});
    let patched = asking.patch(&path, &patch, 200, "entity").await["entity"].clone();
    assert_eq!(patched["properties"], json!({"subscriptionId": "1", "tags": {}}));
    assert_eq!(patched["title"], "s");
    let put = asking.put(&path, &json!({"properties": {"tags": {}}}), 200, "entity").await;
    assert_eq!(put["entity"]["properties"], json!({"tags": {}}));
    refused(&asking, Method::PATCH, &path, &json!({"other": 1}), 422, "invalid_request").await;
    refused(&asking, Method::PATCH, &format!("{SUBSCRIPTIONS}/t"), &json!({}), 404, "not_found").await;
    refused(&asking, Method::PUT, &format!("{SUBSCRIPTIONS}/t"), &json!({}), 404, "not_found").await;
}

#[tokio::test]
async fn dependents_stand_in_the_way_of_a_delete_or_go_along() {
    let asking = Asking::new().await;
    asking.put_entity(SUBSCRIPTIONS, &json!({"identifier": "s"})).await;
    let group = json!({"identifier": "g", "relations": {"subscription": "s"}});
    asking.put_entity(GROUPS, &group).await;
    let path = format!("{SUBSCRIPTIONS}/s");
    let alone = format!("{path}?delete_dependents=false");
    for status in [409, 422] {
        asking.set(|api| api.entities.blocked = status);
        refused(&asking, Method::DELETE, &alone, &Json::Null, status, "has_dependents").await;
    }
    refused(&asking, Method::DELETE, &path, &Json::Null, 422, "invalid_request").await;
    assert_eq!(asking.entities(), ["g", "s"]);
    asking.delete(&format!("{path}?delete_dependents=true"), 200, "ok").await;
    assert_eq!(asking.entities(), [""; 0]);
    refused(&asking, Method::DELETE, &alone, &Json::Null, 404, "not_found").await;

    asking.set(|api| api.entities.blocking = Blocking::Required);
    asking.put_entity(SUBSCRIPTIONS, &json!({"identifier": "s"})).await;
    asking.put_entity(GROUPS, &group).await;
    asking.delete(&alone, 200, "ok").await;
    assert_eq!(asking.entities(), ["g"]);
    asking.put_entity(GROUPS, &json!({"identifier": "g", "title": "kept"})).await;
    refused(&asking, Method::POST, &format!("{GROUPS}?upsert=true"), &group, 404, "not_found").await;
}

#[tokio::test]
async fn an_answer_can_be_lost_after_its_request_was_done() {
    let asking = Asking::new().await;
    let path = format!("{SUBSCRIPTIONS}?upsert=true");
    let faults = asking.sandbox.faults();
    for (identifier, fault) in [("a", Fault::status(500)), ("b", Fault::Reset), ("c", Fault::ResetInBody)] {
        faults.clear();
        faults.add(Route::PortEntity, Rule::new(fault.clone()).applied());
        let answer = asking.try_ask(Method::POST, &path, &json!({"identifier": identifier})).await;
        assert!(answer.map_or(true, |answer| answer.status == 500), "{fault:?}");
    }
    faults.clear();
    faults.add(Route::PortEntity, Rule::new(Fault::status(500)));
    assert_eq!(asking.ask(Method::POST, &path, &json!({"identifier": "d"})).await.status, 500);
    assert_eq!(asking.entities(), ["a", "b", "c"]);
}
