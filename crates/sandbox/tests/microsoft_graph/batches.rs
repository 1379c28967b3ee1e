//! Several requests in one, each answered separately.
use sandbox::faults::{Fault, Rule};
use sandbox::requests::Route;
use serde_json::{Value as Json, json};

use crate::{Asking, field};

fn get(id: &str, url: &str) -> Json {
    json!({"id": id, "method": "GET", "url": url})
}

async fn batch(asking: &Asking, requests: &[Json]) -> Vec<Json> {
    let answer = asking.post("/v1.0/$batch", &json!({"requests": requests})).await.ok();
    let mut responses = answer["responses"].as_array().unwrap().clone();
    responses.sort_by_key(|response| response["id"].as_str().unwrap().to_owned());
    responses
}

#[tokio::test]
async fn each_part_has_a_status_of_its_own_and_links_to_further_pages() {
    let asking = Asking::new().await;
    let (group, users) = asking.group_of(3);
    let members = format!("/groups/{group}/members?$top=1&$select=id");
    let by_ids = json!({"id": "d", "method": "POST", "url": "directoryObjects/getByIds", "headers": {"Content-Type": "application/json"},
        "body": {"ids": [users[0].to_string()]}});
    let parts = [get("a", &members), get("b", "/users/nobody"), get("c", "/users/delta"), by_ids, get("e", "/$batch")];
    let responses = batch(&asking, &parts).await;
    assert_eq!(field(&responses, "status"), [200, 404, 200, 200, 400]);
    assert_eq!(responses[1]["body"]["error"]["code"], "Request_ResourceNotFound");
    let rest = asking.list(responses[0]["body"]["@odata.nextLink"].as_str().unwrap()).await;
    assert_eq!(rest.len(), 2);
    assert_eq!(responses[3]["body"]["value"][0]["id"], users[0].to_string());
}

#[tokio::test]
async fn a_part_takes_headers_of_its_own() {
    let asking = Asking::new().await;
    let (group, _) = asking.group_of(1);
    let url = format!("/groups/{group}/members/microsoft.graph.user?$count=true");
    let eventual = json!({"id": "b", "method": "GET", "url": url, "headers": {"ConsistencyLevel": "eventual"}});
    let responses = batch(&asking, &[get("a", &url), eventual]).await;
    assert_eq!(field(&responses, "status"), [400, 200]);
}

#[tokio::test]
async fn the_answers_come_in_any_order() {
    let asking = Asking::new().await;
    let parts: Vec<Json> = (10..30).map(|id| get(&id.to_string(), "/users/nobody")).collect();
    let answer = asking.post("/v1.0/$batch", &json!({"requests": parts})).await.ok();
    let order = field(answer["responses"].as_array().unwrap(), "id");
    assert_ne!(order, field(&parts, "id"));
    assert_eq!(order.len(), 20);
}

#[tokio::test]
async fn parts_are_refused_one_by_one_in_an_answer_that_is_fine() {
    let asking = Asking::new().await;
    let (group, users) = asking.group_of(2);
    let rule = Rule::new(Fault::retry_after(429, "7")).asking(&users[0].to_string());
    asking.sandbox.faults().add(Route::EntraObject, rule);
    let parts = [
        get("a", &format!("/users/{}", users[0])),
        get("b", &format!("/users/{}", users[1])),
        get("c", &format!("/groups/{group}")),
    ];
    let responses = batch(&asking, &parts).await;
    assert_eq!(field(&responses, "status"), [429, 200, 200]);
    assert_eq!(responses[0]["headers"]["retry-after"], "7");
    asking.sandbox.faults().clear();
    let bare = Rule::new(Fault::status(429)).times(1);
    asking.sandbox.faults().add(Route::EntraObject, bare);
    let responses = batch(&asking, &parts).await;
    assert_eq!((&responses[0]["status"], responses[0]["headers"].get("retry-after")), (&json!(429), None));
}

#[tokio::test]
async fn more_than_twenty_parts_are_refused() {
    let asking = Asking::new().await;
    let parts: Vec<Json> = (0..21).map(|id| get(&id.to_string(), "/users")).collect();
    batch(&asking, &parts[1..]).await;
    asking.post("/v1.0/$batch", &json!({"requests": parts})).await.is(400, "BadRequest");
    asking.post("/v1.0/$batch", &json!({})).await.is(400, "BadRequest");
}
