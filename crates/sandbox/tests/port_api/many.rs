//! Bulk writes and deletes.
use reqwest::Method;
use sandbox::faults::{Fault, Rule};
use sandbox::requests::Route;
use serde_json::{Value as Json, json};

use crate::{Asking, GROUPS, SUBSCRIPTIONS, refused};

const DELETE: &str = "/v1/blueprints/azureSubscription/bulk/entities/delete";

fn bulk(path: &str) -> String {
    format!("{path}/bulk?upsert=true&merge=true")
}

fn named<'a>(identifiers: impl IntoIterator<Item = &'a str>) -> Json {
    json!({"entities": identifiers.into_iter().map(|identifier| json!({"identifier": identifier})).collect::<Vec<_>>()})
}

fn indices(list: &Json) -> Vec<u64> {
    list.as_array().unwrap().iter().map(|one| one["index"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn all_that_are_well_are_written_and_told_by_index() {
    let asking = Asking::new().await;
    let answer = asking.post(&bulk(SUBSCRIPTIONS), &named(["a", "b", "a"]), 200, "bulk").await;
    let created: Vec<&Json> = answer["entities"].as_array().unwrap().iter().map(|one| &one["created"]).collect();
    assert_eq!(
        (indices(&answer["entities"]), created),
        (vec![0, 1, 2], vec![&json!(true), &json!(true), &json!(false)])
    );
    assert_eq!((&answer["ok"], &answer["errors"]), (&json!(true), &json!([])));
    let conflict = asking.post(&format!("{SUBSCRIPTIONS}/bulk?upsert=false"), &named(["b", "c"]), 207, "bulk").await;
    assert_eq!(conflict["errors"][0]["statusCode"], 409);
    assert_eq!(asking.entities(), ["a", "b", "c"]);
}

#[tokio::test]
async fn each_that_fails_is_told_with_its_reason() {
    let asking = Asking::new().await;
    let body = json!({"entities": [
        {"identifier": "g", "relations": {"subscription": "nowhere"}},
        {"identifier": "h"},
        {"identifier": "i", "properties": {"tags": "t"}},
    ]});
    let mut answer = asking.post(&bulk(GROUPS), &body, 207, "bulk").await;
    assert_eq!((indices(&answer["entities"]), indices(&answer["errors"])), (vec![1], vec![0, 2]));
    assert_eq!(answer["errors"][0]["error"], "not_found");
    assert_eq!(answer["errors"][1]["statusCode"], 422);
    asking.set(|api| api.entities.bulk.reversed = true);
    answer = asking.post(&bulk(GROUPS), &body, 207, "bulk").await;
    assert_eq!(indices(&answer["errors"]), [2, 0]);
    let audits = asking.get("/v1/audit-log?status=FAILURE&entity=i", 200, "audits").await;
    assert_eq!(audits["audits"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn what_is_no_bulk_request_is_refused_whole() {
    let asking = Asking::new().await;
    let many: Vec<String> = (0..21).map(|n| n.to_string()).collect();
    let many = many.iter().map(String::as_str);
    for body in [json!({}), named([]), named(many.clone()), json!({"entities": [{"identifier": "a"}], "more": 1})] {
        refused(&asking, Method::POST, &bulk(SUBSCRIPTIONS), &body, 422, "invalid_request").await;
    }
    asking.post(&bulk(SUBSCRIPTIONS), &named(many.take(20)), 200, "bulk").await;
    let path = "/v1/blueprints/nonesuch/entities/bulk?upsert=true";
    refused(&asking, Method::POST, path, &named(["a"]), 404, "not_found").await;
    let large = json!({"entities": [{"identifier": "a", "properties": {"subscriptionId": "x".repeat(1 << 20)}}]});
    refused(&asking, Method::POST, &bulk(SUBSCRIPTIONS), &large, 413, "payload_too_large").await;
}

#[tokio::test]
async fn an_illegal_identifier_fails_all_or_its_own_entity() {
    let asking = Asking::new().await;
    let body = named(["a", "not legal"]);
    let message = refused(&asking, Method::POST, &bulk(SUBSCRIPTIONS), &body, 422, "invalid_request").await;
    assert!(message.starts_with("body/entities/1/identifier must match pattern"), "{message}");
    assert_eq!(asking.entities(), [""; 0]);
    asking.set(|api| api.entities.bulk.illegal_fails_all = false);
    let answer = asking.post(&bulk(SUBSCRIPTIONS), &body, 207, "bulk").await;
    assert_eq!(indices(&answer["errors"]), [1]);
    assert_eq!(asking.entities(), ["a"]);
}

#[tokio::test]
async fn an_entity_can_stand_in_neither_list() {
    let asking = Asking::new().await;
    asking.set(|api| api.entities.bulk.forgets = Some("lost".into()));
    let answer = asking.post(&bulk(SUBSCRIPTIONS), &named(["a", "lost", "b"]), 200, "bulk").await;
    assert_eq!(indices(&answer["entities"]), [0, 2]);
    assert_eq!(asking.entities(), ["a", "b"]);
}

#[tokio::test]
async fn an_entity_can_fail_whatever_is_sent_of_it() {
    let asking = Asking::new().await;
    asking.set(|api| api.entities.bulk.fails = vec![("bad".into(), 500), ("worse".into(), 422)]);
    let answer = asking.post(&bulk(SUBSCRIPTIONS), &named(["bad", "a", "worse"]), 207, "bulk").await;
    assert_eq!(indices(&answer["entities"]), [1]);
    let statuses: Vec<&Json> = answer["errors"].as_array().unwrap().iter().map(|error| &error["statusCode"]).collect();
    assert_eq!(statuses, [500, 422]);
    assert_eq!(asking.entities(), ["a"]);
}

#[tokio::test]
async fn a_relation_within_the_request_is_found_or_not() {
    let asking = Asking::new().await;
    let mut tree = crate::blueprint("tree");
    tree["relations"] = json!({"parent": {"target": "tree", "many": false, "required": false}});
    asking.post("/v1/blueprints", &tree, 201, "blueprint").await;
    let body = |names: [&str; 2]| {
        let [parent, child] = names;
        json!({"entities": [{"identifier": parent}, {"identifier": child, "relations": {"parent": parent}}]})
    };
    let path = bulk("/v1/blueprints/tree/entities");
    asking.post(&path, &body(["a", "b"]), 200, "bulk").await;
    asking.set(|api| api.entities.bulk.sees_itself = false);
    let answer = asking.post(&path, &body(["c", "d"]), 207, "bulk").await;
    assert_eq!(indices(&answer["errors"]), [1]);
    asking.post(&path, &body(["c", "d"]), 200, "bulk").await;
    let path = format!("{path}&create_missing_related_entities=true");
    let mut titled = body(["e", "f"]);
    titled["entities"][0]["title"] = "parent".into();
    asking.post(&path, &titled, 200, "bulk").await;
    let parent = asking.get("/v1/blueprints/tree/entities/e", 200, "entity").await;
    assert_eq!(parent["entity"]["title"], "parent");

    let path = "/v1/blueprints/tree/bulk/entities/delete?delete_dependents=false";
    refused(&asking, Method::POST, path, &json!({"entities": ["e"]}), 409, "has_dependents").await;
    let answer = asking.post(path, &json!({"entities": ["e", "f"]}), 200, "deleted").await;
    assert_eq!(answer["deletedEntities"], json!(["e", "f"]));
}

#[tokio::test]
async fn a_bulk_request_can_be_done_and_its_answer_lost() {
    let asking = Asking::new().await;
    let lost = Rule::new(Fault::status(502)).applied().times(1);
    asking.sandbox.faults().add(Route::PortBulk, lost);
    assert_eq!(asking.ask(Method::POST, &bulk(SUBSCRIPTIONS), &named(["a"])).await.status, 502);
    let answer = asking.post(&bulk(SUBSCRIPTIONS), &named(["a"]), 200, "bulk").await;
    assert_eq!(answer["entities"][0]["created"], false);
    assert_eq!(asking.sandbox.requests().count(Route::PortBulk), 2);
}

#[tokio::test]
async fn what_was_asked_and_not_answered_can_be_done_late() {
    let asking = Asking::new().await;
    asking.sandbox.faults().add(Route::PortBulk, Rule::new(Fault::Late).times(1));
    let titled = |title: &str| json!({"entities": [{"identifier": "a", "title": title}]});
    let path = bulk(SUBSCRIPTIONS);
    assert!(asking.try_ask(Method::POST, &path, &titled("old")).await.is_err());
    asking.post(&path, &titled("new"), 200, "bulk").await;
    asking.sandbox.port().apply_late().await;
    let entity = asking.get(&format!("{SUBSCRIPTIONS}/a"), 200, "entity").await;
    assert_eq!(entity["entity"]["title"], "old");
}

#[tokio::test]
async fn a_bulk_delete_takes_all_or_none_where_dependents_stay() {
    let asking = Asking::new().await;
    asking.post(&bulk(SUBSCRIPTIONS), &named(["a", "b", "c"]), 200, "bulk").await;
    asking.put_entity(GROUPS, &json!({"identifier": "g", "relations": {"subscription": "b"}})).await;
    let delete = |identifiers: &[&str]| json!({"entities": identifiers});
    let alone = format!("{DELETE}?delete_dependents=false");
    refused(&asking, Method::POST, &alone, &delete(&["a", "b"]), 409, "has_dependents").await;
    assert_eq!(asking.entities(), ["g", "a", "b", "c"]);
    let answer = asking.post(&alone, &delete(&["a", "gone"]), 200, "deleted").await;
    assert_eq!(answer["deletedEntities"], json!(["a"]));
    refused(&asking, Method::POST, &alone, &delete(&["gone"]), 404, "not_found").await;
    asking.set(|api| api.entities.bulk.absent_is_404 = false);
    let answer = asking.post(&alone, &delete(&["gone"]), 200, "deleted").await;
    assert_eq!(answer["deletedEntities"], json!([]));
    asking.set(|api| api.entities.bulk.spares = Some("c".into()));
    let with = format!("{DELETE}?delete_dependents=true");
    let answer = asking.post(&with, &delete(&["b", "c"]), 200, "deleted").await;
    assert_eq!(answer["deletedEntities"], json!(["b"]));
    assert_eq!(asking.entities(), ["c"]);

    let many: Vec<String> = (0..101).map(|n| n.to_string()).collect();
    for body in [delete(&[]), json!({"entities": many}), json!({"identifiers": ["a"]})] {
        refused(&asking, Method::POST, &with, &body, 422, "invalid_request").await;
    }
    refused(&asking, Method::POST, DELETE, &delete(&["a"]), 422, "invalid_request").await;
}
