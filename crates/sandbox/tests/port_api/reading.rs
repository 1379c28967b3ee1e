//! Searching, listing and counting entities.
use reqwest::Method;
use sandbox::requests::Route;
use serde_json::{Value as Json, json};

use crate::{AGENT, Asking, GROUPS, SUBSCRIPTIONS, refused};

const SEARCH: &str = "/v1/blueprints/azureSubscription/entities/search";

/// With this many subscriptions; every third is called `odd`.
async fn with_subscriptions(so_many: usize) -> Asking {
    let asking = Asking::new().await;
    let all: Vec<Json> = (0..so_many)
        .map(|n| {
            let title = if n % 3 == 0 { "odd" } else { "even" };
            json!({"identifier": format!("s{n:04}"), "title": title, "properties": {"subscriptionId": n.to_string()}})
        })
        .collect();
    for some in all.chunks(20) {
        let path = format!("{SUBSCRIPTIONS}/bulk?upsert=true");
        asking.post(&path, &json!({"entities": some}), 200, "bulk").await;
    }
    asking
}

fn rules(rules: Json) -> Json {
    json!({"query": {"combinator": "and", "rules": rules}})
}

impl Asking {
    async fn found(&self, body: &Json) -> Vec<String> {
        let answer = self.post(SEARCH, body, 200, "entities").await;
        identifiers(&answer)
    }
}

fn identifiers(answer: &Json) -> Vec<String> {
    let entities = answer["entities"].as_array().unwrap();
    entities.iter().map(|entity| entity["identifier"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn pages_hold_every_entity_once() {
    let asking = with_subscriptions(45).await;
    let (mut all, mut body) = (Vec::new(), json!({"limit": 20}));
    loop {
        let page = asking.post(SEARCH, &body, 200, "entities").await;
        all.extend(identifiers(&page));
        match page.get("next") {
            Some(next) => body["from"] = next.clone(),
            None => break,
        }
    }
    assert_eq!(all, asking.entities());
    assert_eq!(asking.sandbox.requests().count(Route::PortSearch), 3);
    assert_eq!(asking.found(&json!({})).await.len(), 45);
    for body in [json!({"limit": 0}), json!({"limit": 1001}), json!({"from": "zz"}), json!({"combinator": "and"})] {
        refused(&asking, Method::POST, SEARCH, &body, 422, "invalid_request").await;
    }
    refused(&asking, Method::POST, "/v1/blueprints/no/entities/search", &json!({}), 404, "not_found").await;
}

#[tokio::test]
async fn what_goes_between_pages_shifts_them_where_they_go_by_number() {
    let asking = with_subscriptions(4).await;
    for (by_offset, second) in [(false, vec!["s0002", "s0003"]), (true, vec!["s0003"])] {
        asking.set(|api| api.reading.pages_by_offset = by_offset);
        asking.put_entity(SUBSCRIPTIONS, &json!({"identifier": "s0000"})).await;
        let first = asking.post(SEARCH, &json!({"limit": 2}), 200, "entities").await;
        asking.delete(&format!("{SUBSCRIPTIONS}/s0000?delete_dependents=false"), 200, "ok").await;
        assert_eq!(asking.found(&json!({"limit": 2, "from": first["next"]})).await, second);
    }
}

#[tokio::test]
async fn only_what_is_included_and_not_excluded_is_shown() {
    let asking = with_subscriptions(1).await;
    let group = json!({"identifier": "g", "properties": {"location": "l"}, "relations": {"subscription": "s0000"}});
    asking.put_entity(GROUPS, &group).await;
    let first = async |body: Json| {
        let answer = asking.post(&format!("{GROUPS}/search"), &body, 200, "entities").await;
        answer["entities"][0].clone()
    };
    let names = ["$identifier", "$updatedAt", "location", "subscription"];
    let shown = first(json!({"include": names})).await;
    assert!(shown["updatedAt"].is_string());
    assert_eq!(shown.as_object().unwrap().len(), 4);
    assert_eq!((&shown["properties"], &shown["relations"]), (&group["properties"], &group["relations"]));
    assert_eq!(first(json!({"include": ["$identifier"]})).await, json!({"identifier": "g"}));
    assert_eq!(first(json!({"exclude": ["location"]})).await.get("properties"), None);
    asking.set(|api| api.reading.published_alone = true);
    let shown = first(json!({})).await;
    let names: Vec<&String> = shown.as_object().unwrap().keys().collect();
    assert_eq!(names, ["identifier", "properties", "relations", "team", "title"]);
}

#[tokio::test]
async fn rules_choose_what_is_found() {
    let asking = with_subscriptions(9).await;
    let odd = json!({"property": "$title", "operator": "=", "value": "odd"});
    assert_eq!(asking.found(&rules(json!([odd]))).await, ["s0000", "s0003", "s0006"]);
    let some = json!({"property": "$identifier", "operator": "in", "value": ["s0003", "s0004", "gone"]});
    assert_eq!(asking.found(&rules(json!([some]))).await, ["s0003", "s0004"]);
    assert_eq!(asking.found(&rules(json!([some, odd]))).await, ["s0003"]);
    let either = json!({"combinator": "or", "rules": [some, odd]});
    assert_eq!(asking.found(&rules(json!([either]))).await.len(), 4);
    let seven = json!({"property": "subscriptionId", "operator": "contains", "value": "7"});
    assert_eq!(asking.found(&rules(json!([seven]))).await, ["s0007"]);
    let unknown = json!({"property": "$title", "operator": "like", "value": "x"});
    refused(&asking, Method::POST, SEARCH, &rules(json!([unknown])), 422, "invalid_request").await;
}

#[tokio::test]
async fn who_wrote_and_when_can_be_searched_for() {
    let asking = with_subscriptions(3).await;
    let one = asking.get(&format!("{SUBSCRIPTIONS}/s0002"), 200, "entity").await["entity"].clone();
    let count = async |property: &str, operator: &str, value: &Json| {
        let rule = json!({"property": property, "operator": operator, "value": value});
        asking.found(&rules(json!([rule]))).await.len()
    };
    assert_eq!(count("$updatedAt", "<=", &one["updatedAt"]).await, 3);
    assert_eq!(count("$updatedAt", ">", &"2100-01-01T00:00:00Z".into()).await, 0);
    assert_eq!(count("$datasource", "contains", &"(scope)".into()).await, 3);
    assert_eq!(count("$datasource", "=", &AGENT.into()).await, 3);

    let other = |identifier: &str| {
        let url = asking.sandbox.origin(sandbox::Host::PortApi) + SUBSCRIPTIONS + "?upsert=true&merge=true";
        let request = asking.client.post(url).bearer_auth(&asking.token).header("user-agent", "other");
        request.body(json!({"identifier": identifier}).to_string()).send()
    };
    assert_eq!(other("s0001").await.unwrap().status(), 201);
    assert_eq!(count("$datasource", "=", &AGENT.into()).await, 2);
    asking.set(|api| api.entities.first_source_stays = true);
    assert_eq!(other("s0002").await.unwrap().status(), 201);
    assert_eq!(count("$datasource", "=", &AGENT.into()).await, 2);
}

#[tokio::test]
async fn all_blueprints_are_searched_without_pages() {
    let asking = with_subscriptions(3).await;
    asking.put_entity(GROUPS, &json!({"identifier": "g", "properties": {"location": "l"}})).await;
    let path = "/v1/entities/search";
    let all = json!({"combinator": "and", "rules": []});
    let answer = asking.post(path, &all, 200, "allEntities").await;
    assert_eq!(identifiers(&answer), ["g", "s0000", "s0001", "s0002"]);
    assert_eq!(answer.get("failedBlueprints"), None);
    let of = json!({"combinator": "and", "rules": [{"property": "$blueprint", "operator": "=", "value": "azureResourceGroup"}]});
    let answer =
        asking.post(&format!("{path}?include=identifier&include=properties.location"), &of, 200, "allEntities").await;
    assert_eq!(answer["matchingBlueprints"], json!(["azureResourceGroup"]));
    assert_eq!(answer["entities"], json!([{"identifier": "g", "properties": {"location": "l"}}]));
    let answer = asking.post(&format!("{path}?include=identifier,title"), &of, 200, "allEntities").await;
    assert_eq!(answer["entities"], json!([{"identifier": "g", "title": "g"}]));

    asking.set(|api| api.reading.failed_blueprints = vec!["azureSubscription".into()]);
    refused(&asking, Method::POST, path, &all, 504, "gateway_timeout").await;
    let answer = asking.post(&format!("{path}?allow_partial_results=true"), &all, 200, "allEntities").await;
    assert_eq!((identifiers(&answer), &answer["failedBlueprints"]), (vec!["g".into()], &json!(["azureSubscription"])));
}

#[tokio::test]
async fn reads_without_pages_end_where_there_is_too_much_or_the_route_is_gone() {
    let asking = with_subscriptions(3).await;
    assert_eq!(identifiers(&asking.get(SUBSCRIPTIONS, 200, "allEntities").await).len(), 3);
    asking.set(|api| api.reading.unpaged_limit = 2);
    refused(&asking, Method::GET, SUBSCRIPTIONS, &Json::Null, 504, "gateway_timeout").await;
    assert_eq!(asking.found(&json!({})).await.len(), 3);
    asking.set(|api| api.reading.unpaged_gone = true);
    refused(&asking, Method::GET, SUBSCRIPTIONS, &Json::Null, 410, "gone").await;
    assert_eq!(asking.found(&json!({})).await.len(), 3);
}

#[tokio::test]
async fn entities_are_counted_by_blueprint() {
    let asking = with_subscriptions(21).await;
    let count = asking.get("/v1/blueprints/azureSubscription/entities-count", 200, "count").await;
    assert_eq!(count["count"], 21);
    refused(&asking, Method::GET, "/v1/blueprints/no/entities-count", &Json::Null, 404, "not_found").await;
    refused(&asking, Method::GET, "/v1/nonesuch", &Json::Null, 404, "not_found").await;
}
