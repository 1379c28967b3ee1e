//! Port's API: sign-in, rate limits, and one attempt at a request.
//!
//! "Port API", Port's API reference. Credentials have one token at a time, which may be about to expire when it is
//! issued, so a 401 leads to one more sign-in.

mod audit;
mod blueprints;
mod entities;
mod error;
mod objects;
mod rate;
mod search;
mod token;
mod webhooks;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use reqwest::{Client, Method, StatusCode, Url};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tokio::sync::Mutex;

pub(crate) use audit::Refusal;
pub(crate) use entities::{Dependents, LARGEST_LIST, MOST_DELETED, MOST_WRITTEN, Upsert};
pub(crate) use error::PortError;
pub(crate) use objects::Object;
pub(crate) use rate::reset_in;
pub(crate) use search::Pages;

use crate::config::PortApi;
use crate::error::Cause;
use crate::http::{self, Answer, Failure, Http, RequestError};
use crate::retry::{self, Next};
use crate::secrets;
use crate::text::printable;
use rate::{Class, Rates};
use token::Token;

/// Enough for a search page of a thousand entities.
const LARGEST_ANSWER: usize = 64 << 20;

/// A client of Port's API.
pub(crate) struct Port {
    http: Arc<Http>,
    client: Client,
    config: PortApi,
    /// Port records it as the author of an entity.
    agent: HeaderValue,
    /// Locked during sign-in.
    token: Mutex<Option<Token>>,
    rates: Rates,
}

/// A search for entities whose author contains all of these parts.
pub(crate) fn written_by(parts: &[&str]) -> Value {
    let rule = |part: &&str| json!({"property": "$datasource", "operator": "contains", "value": part});
    json!({"combinator": "and", "rules": parts.iter().map(rule).collect::<Vec<_>>()})
}

/// A successful answer, and how long Port asks all clients to wait.
pub(crate) struct Answered {
    pub(crate) answer: Answer,
    pub(crate) pause: Option<Duration>,
}

impl Port {
    /// `scope` says whose entities are written. It must stay the same from run to run.
    pub(crate) fn new(config: &PortApi, scope: &str, http: Arc<Http>) -> Result<Self, RequestError> {
        secrets::keep(config.client_secret.expose_secret());
        let name = if scope.is_empty() { "azure" } else { scope };
        let agent = format!("azure-incremental/{} ({name})", env!("CARGO_PKG_VERSION"));
        let agent = HeaderValue::from_str(&agent).map_err(|error| {
            let cause = Cause::told("the tenant's id cannot be sent", error);
            RequestError::new("setting up Port's API", Failure::Unsendable(cause))
        })?;
        let client = http.client_for(&config.base_url)?;
        Ok(Self { http, client, config: config.clone(), agent, token: Mutex::default(), rates: Rates::default() })
    }

    /// A search for what any version of this program has written in this scope. Port stores the author of an entity as
    /// `$datasource`. That is not documented, but Port's own exporters search by it.
    pub(crate) fn ours(&self) -> Value {
        let scope = self.agent.to_str().ok().and_then(|agent| agent.split_once(' ')).map_or("", |(_, scope)| scope);
        written_by(&["azure-incremental/", scope])
    }

    /// The origin, for messages.
    pub(crate) fn origin(&self) -> String {
        self.config.base_url.origin().ascii_serialization()
    }

    /// The URL of a path; the segments are escaped.
    fn url<'a>(&self, path: impl IntoIterator<Item = &'a str>) -> Url {
        let mut url = self.config.base_url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    /// Retries transient errors within the configured limits.
    async fn retrying<T, F: Future<Output = Result<T, PortError>>>(
        &self,
        attempt: impl FnMut() -> F,
    ) -> Result<T, PortError> {
        let next = |error: &PortError| {
            if error.request.is_transient() {
                Next::Again { after: error.reset.max(error.request.retry_after()), least: Duration::ZERO }
            } else {
                Next::GiveUp
            }
        };
        retry::retrying(&self.http.limits().patience(), "Port's API", attempt, next, || self.http.note_retry()).await
    }

    /// Makes one attempt at a request, and a second one if the token is rejected.
    async fn attempt(
        &self,
        class: Class,
        method: Method,
        url: Url,
        body: Option<Bytes>,
    ) -> Result<Answered, PortError> {
        let token = self.token(None).await?;
        match self.exchange(class, method.clone(), &url, body.clone(), &token).await {
            Err(error) if error.request.status() == Some(StatusCode::UNAUTHORIZED) => {
                let token = self.token(Some(&token)).await?;
                self.exchange(class, method, &url, body, &token).await
            }
            result => result,
        }
    }

    async fn exchange(
        &self,
        class: Class,
        method: Method,
        url: &Url,
        body: Option<Bytes>,
        token: &Token,
    ) -> Result<Answered, PortError> {
        let label = http::label(method.as_str(), url);
        let mut request = self.client.request(method, url.clone()).header(USER_AGENT, self.agent.clone());
        request = request.header(AUTHORIZATION, token.header.clone());
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body);
        }
        self.rates.turn(class).await;
        Self::answered(label, self.http.attempt(request, self.http.limits().post_timeout, LARGEST_ANSWER).await)
    }

    fn answered(label: String, outcome: Result<Answer, Failure>) -> Result<Answered, PortError> {
        let (outcome, pause) = match outcome {
            Ok(answer) => {
                let pause = reset_in(answer.status, &answer.headers, SystemTime::now());
                let trace = answer.headers.get("x-trace-id").and_then(|id| id.to_str().ok());
                if let Some(trace) = trace.filter(|_| !answer.status.is_success()) {
                    tracing::debug!("{label}: status {}, trace id {}", answer.status, printable(trace));
                }
                (answer.success(), pause)
            }
            Err(failure) => (Err(failure), None),
        };
        match outcome {
            Ok(answer) => Ok(Answered { answer, pause }),
            Err(failure) => Err(PortError { reset: pause, ..RequestError::new(label, failure).into() }),
        }
    }
}
