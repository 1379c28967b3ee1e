//! Port's own API as clients see it: over TLS, with each answer checked against its published shape.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that panics has failed, which is what it is for"
)]

mod blueprints;
mod entities;
mod many;
mod reading;
mod signing_in;
mod webhooks;

use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Client, Method};
use sandbox::port::shapes::mismatch;
use sandbox::settings::{ApiSettings, EstateSize, PORT_CLIENT_ID, PORT_CLIENT_SECRET, Settings};
use sandbox::{Host, Sandbox};
use serde_json::{Value as Json, json};

const AGENT: &str = "azure-incremental/test (scope)";
/// The route of the first blueprint.
const SUBSCRIPTIONS: &str = "/v1/blueprints/azureSubscription/entities";
const GROUPS: &str = "/v1/blueprints/azureResourceGroup/entities";

struct Asking {
    sandbox: Sandbox,
    client: Client,
    token: String,
}

/// A status, headers and body.
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Json,
}

fn settings(change: impl FnOnce(&mut ApiSettings)) -> Settings {
    let estate = EstateSize { subscriptions: 1, groups: 0, resources: 0 };
    let mut settings = Settings { estate, ..Settings::default() };
    change(&mut settings.port.api);
    settings
}

impl Asking {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut ApiSettings)) -> Self {
        Self::of(settings(change)).await
    }

    /// Signs in.
    async fn of(settings: Settings) -> Self {
        let sandbox = Sandbox::start(settings).await.unwrap();
        let timeout = Duration::from_secs(20);
        let client = sandbox.client().unwrap().timeout(timeout).user_agent(AGENT).build().unwrap();
        let mut asking = Self { sandbox, client, token: String::new() };
        asking.token = asking.sign_in().await.body["accessToken"].as_str().unwrap().to_owned();
        asking
    }

    async fn sign_in(&self) -> Answer {
        let credentials = json!({"clientId": PORT_CLIENT_ID, "clientSecret": PORT_CLIENT_SECRET});
        self.ask(Method::POST, "/v1/auth/access_token", &credentials).await
    }

    async fn try_ask(&self, method: Method, path: &str, body: &Json) -> reqwest::Result<Answer> {
        let url = self.sandbox.origin(Host::PortApi) + path;
        let mut request = self.client.request(method, url).bearer_auth(&self.token);
        if !body.is_null() {
            request = request.body(body.to_string());
        }
        let answer = request.send().await?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Ok(Answer { status, headers, body: answer.json().await? })
    }

    async fn ask(&self, method: Method, path: &str, body: &Json) -> Answer {
        self.try_ask(method, path, body).await.unwrap()
    }

    /// An answer with this status and shape.
    async fn get(&self, path: &str, status: u16, shape: &str) -> Json {
        self.ask(Method::GET, path, &Json::Null).await.is(status, shape)
    }

    async fn post(&self, path: &str, body: &Json, status: u16, shape: &str) -> Json {
        self.ask(Method::POST, path, body).await.is(status, shape)
    }

    async fn put(&self, path: &str, body: &Json, status: u16, shape: &str) -> Json {
        self.ask(Method::PUT, path, body).await.is(status, shape)
    }

    async fn patch(&self, path: &str, body: &Json, status: u16, shape: &str) -> Json {
        self.ask(Method::PATCH, path, body).await.is(status, shape)
    }

    async fn delete(&self, path: &str, status: u16, shape: &str) -> Json {
        self.ask(Method::DELETE, path, &Json::Null).await.is(status, shape)
    }

    /// Writes an entity of one of the given blueprints.
    async fn put_entity(&self, path: &str, entity: &Json) -> Json {
        self.post(&format!("{path}?upsert=true&merge=true"), entity, 201, "entity").await["entity"].clone()
    }

    fn set(&self, change: impl FnOnce(&mut ApiSettings)) {
        change(&mut self.sandbox.port().api_settings());
    }

    fn entities(&self) -> Vec<String> {
        let port = self.sandbox.port();
        port.with_catalog(|catalog| catalog.entities.keys().map(|(_, identifier)| identifier.clone()).collect())
    }
}

impl Answer {
    fn is(self, status: u16, shape: &str) -> Json {
        assert_eq!(self.status, status, "{}", self.body);
        assert_eq!(mismatch(&format!("answer:{shape}"), &self.body), None, "{}", self.body);
        assert!(self.headers.contains_key("x-trace-id"));
        self.body
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// The message of an error with this status and code.
async fn refused(asking: &Asking, method: Method, path: &str, body: &Json, status: u16, code: &str) -> String {
    let answer = asking.ask(method, path, body).await.is(status, "error");
    assert_eq!(answer["error"], code, "{answer}");
    answer["message"].as_str().unwrap().to_owned()
}

fn blueprint(identifier: &str) -> Json {
    json!({"identifier": identifier, "title": "A title", "schema": {"properties": {
        "text": {"type": "string"}, "number": {"type": "number"}}}})
}
