//! The sandbox as clients see it: each test sends requests over TLS, as the program does.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that panics has failed, which is what it is for"
)]

mod oddities;

use std::time::Duration;

use reqwest::{Client, Response};
use sandbox::clock::Clock;
use sandbox::expected::Scope;
use sandbox::faults::{Fault, Rule, Shift};
use sandbox::life;
use sandbox::names::tags;
use sandbox::port::hmac_sha256;
use sandbox::requests::Route;
use sandbox::rng::Rng;
use sandbox::settings::{CLIENT, EstateSize, Lags, QuotaSettings, RateLimit, SECRET, Security, Settings, TENANT};
use sandbox::{Host, Sandbox};
use serde_json::{Value as Json, json};

struct Asking {
    sandbox: Sandbox,
    client: Client,
    token: String,
}

fn settings() -> Settings {
    let mut settings = Settings { clock: Clock::at(1_700_000_000_000), ..Settings::default() };
    settings.azure.quota = None;
    settings
}

fn client(sandbox: &Sandbox, timeout: Duration) -> Client {
    sandbox.client().unwrap().timeout(timeout).build().unwrap()
}

impl Asking {
    async fn of(settings: Settings) -> Self {
        let sandbox = Sandbox::start(settings).await.unwrap();
        let client = client(&sandbox, Duration::from_secs(20));
        let mut asking = Self { sandbox, client, token: String::new() };
        let answer: Json = asking.sign_in(TENANT, CLIENT, SECRET).await.json().await.unwrap();
        asking.token = answer["access_token"].as_str().unwrap().to_owned();
        asking
    }

    async fn sign_in(&self, tenant: &str, client: &str, secret: &str) -> Response {
        let scope = format!("{}/.default", self.sandbox.origin(Host::ResourceManager));
        let form =
            [("grant_type", "client_credentials"), ("client_id", client), ("client_secret", secret), ("scope", &scope)];
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let url = format!("{}/{tenant}/oauth2/v2.0/token", self.sandbox.origin(Host::SignIn));
        self.client.post(url).body(body).send().await.unwrap()
    }

    async fn listing(&self, url: &str) -> Response {
        self.client.get(url).bearer_auth(&self.token).send().await.unwrap()
    }

    fn listing_url(&self) -> String {
        format!("{}/subscriptions?api-version=2022-12-01", self.sandbox.origin(Host::ResourceManager))
    }

    async fn try_query(&self, body: Json) -> reqwest::Result<Response> {
        let path = "/providers/Microsoft.ResourceGraph/resources?api-version=2024-04-01";
        let url = self.sandbox.origin(Host::ResourceManager) + path;
        self.client.post(url).bearer_auth(&self.token).body(body.to_string()).send().await
    }

    async fn query(&self, body: Json) -> (u16, Json) {
        let answer = self.try_query(body).await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// The ids on all pages of a query, in order.
    async fn pages(&self, query: &str, top: usize) -> Vec<String> {
        let (mut ids, mut token) = (Vec::new(), Json::Null);
        loop {
            let options = json!({"resultFormat": "objectArray", "$top": top, "$skipToken": token});
            let (status, page) = self.query(json!({"query": query, "options": options})).await;
            assert_eq!(status, 200, "{page}");
            ids.extend(page["data"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()));
            match page.get("$skipToken") {
                Some(next) => token = next.clone(),
                None => return ids,
            }
        }
    }

    async fn post(&self, body: &str, headers: &[(&str, &str)]) -> u16 {
        let mut request = self.client.post(self.sandbox.webhook_url()).body(body.to_owned());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap().status().as_u16()
    }
}

fn envelope(id: &str) -> String {
    json!({"type": "resource", "operation": "upsert", "data": {
        "resourceId": id, "name": "n", "type": "a/b", "location": "here", "tags": null,
        "subscriptionId": "s", "resourceGroup": "g"}})
    .to_string()
}

#[tokio::test]
async fn sign_in_says_what_is_wrong_as_entra_does() {
    let asking = Asking::of(settings()).await;
    let cases = [
        ("no tenant!", CLIENT, SECRET, 400, 900_023),
        ("11111111-0000-0000-0000-000000000000", CLIENT, SECRET, 400, 90_002),
        (TENANT, "nobody", SECRET, 400, 700_016),
        (TENANT, CLIENT, "guess", 401, 7_000_215),
    ];
    for (tenant, client, secret, status, code) in cases {
        let answer = asking.sign_in(tenant, client, secret).await;
        assert_eq!(answer.status(), status);
        let answer: Json = answer.json().await.unwrap();
        assert_eq!(answer["error_codes"], json!([code]));
        assert!(answer["error_description"].as_str().unwrap().starts_with(&format!("AADSTS{code}: ")));
    }
}

#[tokio::test]
async fn a_token_is_needed_and_can_be_revoked() {
    let asking = Asking::of(settings()).await;
    assert_eq!(asking.client.get(asking.listing_url()).send().await.unwrap().status(), 401);
    assert_eq!(asking.listing(&asking.listing_url()).await.status(), 200);
    asking.sandbox.sign_in().revoke_tokens();
    let answer = asking.listing(&asking.listing_url()).await;
    assert_eq!(answer.status(), 401);
    assert_eq!(answer.json::<Json>().await.unwrap()["error"]["code"], "InvalidAuthenticationToken");
}

#[tokio::test]
async fn subscriptions_come_in_pages_under_the_sandboxs_own_date() {
    let mut settings = settings();
    settings.estate.subscriptions = 5;
    settings.azure.listing_page = 2;
    let asking = Asking::of(settings).await;
    let hidden = asking.sandbox.estate().subscriptions()[1].guid.clone();
    asking.sandbox.estate().show_subscription(&hidden, false);
    let (mut url, mut seen) = (asking.listing_url(), Vec::new());
    loop {
        let answer = asking.listing(&url).await;
        assert_eq!(answer.headers()["date"], "Tue, 14 Nov 2023 22:13:20 GMT");
        let page: Json = answer.json().await.unwrap();
        seen.extend(page["value"].as_array().unwrap().iter().map(|s| s["subscriptionId"].to_string()));
        match page["nextLink"].as_str() {
            Some(next) => next.clone_into(&mut url),
            None => break,
        }
    }
    assert_eq!(seen.len(), 4);
    assert!(!seen.contains(&json!(*hidden).to_string()));
}

#[tokio::test]
async fn pages_of_a_unique_order_hold_every_row_once_and_others_overlap() {
    let asking = Asking::of(settings()).await;
    let mut ids = asking.pages("resources | project id | order by id asc", 25).await;
    assert_eq!(ids.len(), 120);
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 120);
    let mut ids = asking.pages("resources | project id, location | order by location asc", 25).await;
    ids.sort_unstable();
    ids.dedup();
    assert!(ids.len() < 120);
}

#[tokio::test]
async fn rows_that_come_and_go_between_pages_show_in_the_pages() {
    let asking = Asking::of(settings()).await;
    for (shift, rows) in [(Shift::Removed, 119), (Shift::Added, 121), (Shift::Swapped, 120)] {
        asking.sandbox.faults().clear();
        asking.sandbox.faults().add(Route::Graph, Rule::new(Fault::Unstable(shift)));
        let ids = asking.pages("resources | project id | order by id asc", 60).await;
        assert_eq!(ids.len(), rows, "{shift:?}");
    }
}

#[tokio::test]
async fn a_query_is_refused_as_resource_graph_refuses_it() {
    let mut settings = settings();
    settings.azure.payload_limit = 10_000;
    let asking = Asking::of(settings).await;
    let join = "| join kind=inner (resources | project id) on id ";
    let many: Vec<String> = (0..1001).map(|n| n.to_string()).collect();
    let cases = [
        (json!({"query": "resources | where"}), "ParserFailure"),
        (json!({"query": "resources | where nonesuch == 1"}), "InvalidQuery"),
        (json!({"query": format!("resources {}", join.repeat(4))}), "DisallowedMaxNumberOfRemoteTables"),
        (json!({"query": "resources"}), "ResponsePayloadTooLarge"),
        (json!({"query": "resources", "options": {"$top": 1001}}), "InvalidPageSize"),
        (json!({"query": "resources", "options": {"$top": 1, "$skipToken": "00000001ffff"}}), "InvalidSkipToken"),
        (json!({"query": "resources", "subscriptions": many}), "InvalidRequest"),
        (json!([1]), "InvalidRequest"),
    ];
    for (body, code) in cases {
        let (status, answer) = asking.query(body).await;
        assert_eq!((status, &answer["error"]["details"][0]["code"]), (400, &json!(code)), "{answer}");
    }
}

#[tokio::test]
async fn a_query_sees_the_subscriptions_it_asks_for_and_may_read() {
    let asking = Asking::of(settings()).await;
    let guids: Vec<_> = asking.sandbox.estate().subscriptions().iter().map(|s| s.guid.clone()).collect();
    let count = async |subscriptions: Json| {
        let query = "resources | project id | order by id asc";
        asking.query(json!({"query": query, "subscriptions": subscriptions})).await.1["totalRecords"].as_u64().unwrap()
    };
    let one = count(json!([guids[0].to_uppercase()])).await;
    assert!(0 < one && one < 120);
    assert_eq!(count(json!(guids.iter().map(|g| &**g).collect::<Vec<_>>())).await, 120);
    asking.sandbox.estate().show_subscription(&guids[0], false);
    let (status, _) = asking.query(json!({"query": "resources", "subscriptions": [&*guids[0]]})).await;
    assert_eq!(status, 400, "none of those asked for can be read");
    assert_eq!(count(Json::Null).await, 120 - one);
}

#[tokio::test]
async fn the_quota_is_announced_and_kept() {
    let mut settings = settings();
    settings.azure.quota = Some(QuotaSettings { queries: 2, window: Duration::from_secs(60) });
    let asking = Asking::of(settings).await;
    for left in ["1", "0"] {
        let answer = asking.try_query(json!({"query": "resources | count"})).await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), answer.headers()["x-ms-user-quota-remaining"].to_str().unwrap()),
            (200, left)
        );
    }
    let answer = asking.try_query(json!({"query": "resources | count"})).await.unwrap();
    assert_eq!(answer.status(), 429);
    assert_eq!(answer.headers()["x-ms-user-quota-resets-after"], "00:01:00");
    assert_eq!(answer.headers()["retry-after"], "60");
    assert_eq!(asking.sandbox.requests().throttled(), 1);
}

#[tokio::test]
async fn a_change_shows_late_in_either_table() {
    let minute = Duration::from_secs(60);
    let mut settings = settings();
    settings.lags = Lags { record: 10 * minute..=10 * minute, row: 5 * minute..=5 * minute };
    let asking = Asking::of(settings).await;
    let group = asking.sandbox.estate().groups().keys().next().unwrap().clone();
    let made =
        asking.sandbox.estate().create_resource(&group, "Microsoft.Web/sites", "new", "here", tags(&[("a", "b")]));
    assert!(made.is_some());
    let counts = async || {
        let rows = asking.pages("resources | where name == 'new' | project id", 10).await.len();
        let records = asking.pages("resourcechanges | where properties.changeType == 'Create' | project id", 10).await;
        (rows, records.len())
    };
    assert_eq!(counts().await, (0, 0));
    asking.sandbox.clock().advance(5 * minute);
    assert_eq!(counts().await, (1, 0));
    asking.sandbox.clock().advance(5 * minute);
    assert_eq!(counts().await, (1, 1));
    asking.sandbox.clock().advance(7 * 24 * 60 * minute);
    assert_eq!(counts().await, (1, 0));
}

#[tokio::test]
async fn what_is_posted_is_applied_in_order_and_compared_with_the_truth() {
    let mut settings = settings();
    settings.estate = EstateSize { subscriptions: 1, groups: 0, resources: 0 };
    settings.port.record = true;
    let asking = Asking::of(settings).await;
    assert_eq!(asking.sandbox.diff(&Scope::default()).await.len(), 1);
    let guid = asking.sandbox.estate().subscriptions()[0].guid.clone();
    let name = asking.sandbox.estate().subscriptions()[0].name.clone();
    let tags = asking.sandbox.estate().subscriptions()[0].tags.as_deref().cloned();
    for name in ["first", &name] {
        let body = json!({"type": "resourceContainer", "operation": "upsert", "data": {
            "resourceId": format!("/subscriptions/{guid}"), "type": "microsoft.resources/subscriptions",
            "name": name, "subscriptionId": *guid, "tags": tags}});
        assert_eq!(asking.post(&body.to_string(), &[]).await, 202);
    }
    assert_eq!(asking.sandbox.diff(&Scope::default()).await, Vec::<String>::new());
    assert_eq!(asking.sandbox.port().deliveries().len(), 2);
}

#[tokio::test]
async fn what_port_refuses_it_refuses_in_silence() {
    let mut settings = settings();
    let key = Security { secret: "key".into(), header: "x-port-signature".into(), prefix: "sha256=".into() };
    settings.port.security = Some(key);
    settings.port.identifier_path = Some(".headers.\"x-delivery-id\"".into());
    let asking = Asking::of(settings).await;
    let signed = |body: &str| format!("sha256={}", hmac_sha256(b"key", body.as_bytes()));
    let (good, illegal) = (envelope("/good"), envelope(""));
    let signature = signed(&good);
    assert_eq!(asking.post(&good, &[]).await, 202);
    assert_eq!(asking.post(&good, &[("x-port-signature", "sha256=00")]).await, 202);
    assert_eq!(asking.post(&illegal, &[("x-port-signature", &signed(&illegal))]).await, 202);
    for _ in 0..2 {
        assert_eq!(asking.post(&good, &[("x-port-signature", &signature), ("x-delivery-id", "1")]).await, 202);
    }
    asking.sandbox.port().settle().await;
    assert_eq!(asking.sandbox.port().catalog().entities.len(), 1);
    assert_eq!(asking.sandbox.port().audit().len(), 3);
    assert_eq!(asking.sandbox.port().dropped(), 1);
    assert_eq!(asking.sandbox.port().dangling().len(), 1);
}

#[tokio::test]
async fn what_port_refuses_aloud() {
    let mut settings = settings();
    settings.port.rate_limit = Some(RateLimit { requests: 1, period: Duration::from_secs(60) });
    let asking = Asking::of(settings).await;
    assert_eq!(asking.post(&"x".repeat(512 * 1024 + 1), &[]).await, 413);
    assert_eq!(asking.post("{}", &[]).await, 202);
    assert_eq!(asking.post("{}", &[]).await, 429);
    let elsewhere = asking.sandbox.origin(Host::Port) + "/elsewhere";
    assert_eq!(asking.client.post(elsewhere).send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn every_fault_is_what_it_says() {
    let mut asking = Asking::of(settings()).await;
    asking.client = client(&asking.sandbox, Duration::from_secs(1));
    let faults = asking.sandbox.faults();
    let query = || json!({"query": "resources | project id | order by id asc"});
    let once = async |fault: Fault| {
        faults.clear();
        faults.add(Route::Graph, Rule::new(fault).times(1));
        let answer = asking.try_query(query()).await;
        match answer {
            Ok(answer) => (answer.status().as_u16(), answer.text().await.ok()),
            Err(_) => (0, None),
        }
    };
    let (_, real) = once(Fault::Slow(Duration::from_millis(1))).await;
    let real = real.unwrap();
    assert_eq!(once(Fault::status(503)).await.0, 503);
    assert_eq!(once(Fault::Reset).await, (0, None));
    assert_eq!(once(Fault::ResetInBody).await, (200, None));
    assert_eq!(once(Fault::Truncated).await.1.unwrap(), real[..real.len() / 2]);
    assert_eq!(once(Fault::Empty).await, (200, Some(String::new())));
    assert!(once(Fault::Html).await.1.unwrap().starts_with("<!DOCTYPE"));
    assert!(once(Fault::Deep).await.1.unwrap().ends_with("[[["));
    assert!(serde_json::from_str::<Json>(&once(Fault::Garbage).await.1.unwrap()).is_err());
    assert_eq!(once(Fault::LyingGzip).await, (200, None));
    assert!(once(Fault::edit(|text| text.replace("\"data\":", "\"other\":"))).await.1.unwrap().contains("\"other\":"));
    assert_eq!(once(Fault::Drip(Duration::from_millis(200))).await, (200, None));
    assert_eq!(once(Fault::Hang).await, (0, None));
    faults.clear();
    assert_eq!(asking.try_query(query()).await.unwrap().text().await.unwrap(), real);
}

#[tokio::test]
async fn a_lost_answer_is_not_a_lost_post() {
    let asking = Asking::of(settings()).await;
    asking.sandbox.faults().add(Route::Webhook, Rule::new(Fault::status(500)).times(1).applied());
    assert_eq!(asking.post(&envelope("/a"), &[]).await, 500);
    asking.sandbox.port().settle().await;
    assert_eq!(asking.sandbox.port().catalog().entities.len(), 1);
}

#[tokio::test]
async fn a_host_that_is_down_refuses_and_comes_back_where_it_was() {
    let asking = Asking::of(settings()).await;
    asking.sandbox.set_up(Host::ResourceManager, false).await;
    let error = asking.client.get(asking.listing_url()).send().await.unwrap_err();
    assert!(error.is_connect(), "{error:?}");
    asking.sandbox.set_up(Host::ResourceManager, true).await;
    assert_eq!(asking.listing(&asking.listing_url()).await.status(), 200);
}

#[tokio::test]
async fn an_estate_and_its_life_are_the_same_under_the_same_seed() {
    let live = async |seed| {
        let settings = Settings { seed, ..settings() };
        let sandbox = Sandbox::start(settings).await.unwrap();
        life::tick(&mut sandbox.estate(), &mut Rng::new(seed), 300);
        life::burst(&mut sandbox.estate(), &mut Rng::new(seed), 300);
        life::upheaval(&mut sandbox.estate(), &mut Rng::new(seed));
        sandbox.expected(&Scope::default()).catalog
    };
    let first = live(5).await;
    assert_eq!(first, live(5).await);
    assert_ne!(first, live(6).await);
}

/// The columns of the visible rows, sorted by id.
const ROWS: &str =
    "resources | extend resourceId = tolower(id) | project resourceId, name, type | order by resourceId asc";

async fn shown(asking: &Asking, query: &str) -> Vec<String> {
    let (status, answer) = asking.query(json!({"query": query})).await;
    assert_eq!(status, 200, "{answer}");
    let rows = answer["data"].as_array().unwrap();
    rows.iter().map(|row| row["resourceId"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn what_resource_graph_does_not_see_is_listed_and_left_out_without_a_word() {
    let asking = Asking::of(settings()).await;
    let all = shown(&asking, ROWS).await;
    let subscription = asking.sandbox.estate().subscriptions()[0].guid.to_string();
    let is_within = |id: &String, outer: &str| id.starts_with(&format!("{outer}/"));
    let of_the_first = format!("/subscriptions/{subscription}");
    let within = all.iter().filter(|id| is_within(id, &of_the_first)).count();
    assert!(within > 0 && within < all.len());
    asking.sandbox.estate().sight().overlook(&subscription);
    assert_eq!(shown(&asking, ROWS).await.len(), all.len() - within);
    let listed = asking.listing(&asking.listing_url()).await.text().await.unwrap();
    assert!(listed.contains(&subscription));

    asking.sandbox.estate().sight().clear();
    asking.sandbox.estate().sight().overlook_sometimes(&subscription);
    let mut seen = 0;
    for _ in 0..64 {
        asking.sandbox.clock().advance(Duration::from_secs(1));
        seen += usize::from(shown(&asking, ROWS).await.len() == all.len());
    }
    assert!((16..48).contains(&seen), "{seen}");
    asking.sandbox.estate().catch_up();
    assert_eq!(shown(&asking, ROWS).await, all);
}

#[tokio::test]
async fn rows_and_records_can_be_hidden_while_what_they_tell_of_exists() {
    let asking = Asking::of(settings()).await;
    let all = shown(&asking, ROWS).await;
    asking.sandbox.estate().sight().hide_row(&all[0]);
    assert_eq!(shown(&asking, ROWS).await, all[1..]);
    let group = asking.sandbox.estate().resources()[&*all[0]].group.to_string();
    asking.sandbox.estate().sight().hide_rows_within(&group);
    assert!(!shown(&asking, ROWS).await.iter().any(|id| id.starts_with(&format!("{group}/"))));

    let records = "resourcechanges | project resourceId = tolower(tostring(properties.targetResourceId))";
    asking.sandbox.estate().touch_resource(&all[0]);
    assert_eq!(shown(&asking, records).await, all[..1]);
    let guid = all[0].split('/').nth(2).unwrap();
    asking.sandbox.estate().sight().hide_records(guid);
    assert!(shown(&asking, records).await.is_empty());
}

#[tokio::test]
async fn a_row_that_breaks_queries_leaves_its_id_readable() {
    let asking = Asking::of(settings()).await;
    let all = shown(&asking, ROWS).await;
    asking.sandbox.estate().sight().poison(&all[0]);
    assert_eq!(asking.query(json!({"query": ROWS})).await.0, 500);
    let others = ROWS.replace("| project", &format!("| where resourceId != '{}' | project", all[0]));
    assert_eq!(shown(&asking, &others).await, all[1..]);
    let ids = "resources | extend resourceId = tolower(id)\n| project id, resourceId, subscriptionId\n| order by resourceId asc";
    assert_eq!(shown(&asking, ids).await, all);
}

#[tokio::test]
async fn what_is_late_at_port_is_applied_when_it_is_told_to() {
    let asking = Asking::of(settings()).await;
    let body = "no JSON";
    asking.sandbox.faults().add(Route::Webhook, Rule::new(Fault::Late));
    let post = asking.client.post(asking.sandbox.webhook_url()).body(body).send().await;
    assert!(post.is_err(), "nobody answers");
    asking.sandbox.port().settle().await;
    assert!(asking.sandbox.port().audit().is_empty());
    asking.sandbox.port().apply_late().await;
    asking.sandbox.port().settle().await;
    assert_eq!(asking.sandbox.port().audit().len(), 1, "it is no envelope");
}
