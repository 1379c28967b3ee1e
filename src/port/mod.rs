//! Port's API: signing in, its rate limits, and one attempt at a request.
//!
//! "Port API", Port's API reference. One set of credentials has one token at a time, which may be about to expire when it is
//! given: a 401 leads to one more sign-in.

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
pub(crate) use entities::{LARGEST_LIST, MOST_DELETED, MOST_WRITTEN, Upsert};
pub(crate) use error::PortError;
pub(crate) use objects::Object;
pub(crate) use rate::reset_in;
pub(crate) use search::Pages;

use crate::config::PortApi;
use crate::http::{self, Answer, Failure, Http, RequestError};
use crate::retry::{self, Next};
use crate::secrets;
use crate::text::printable;
use rate::{Class, Rates};
use token::Token;

/// A page of a search holds a thousand entities.
const LARGEST_ANSWER: usize = 64 << 20;

/// Port, signed in to.
pub(crate) struct Port {
    http: Arc<Http>,
    client: Client,
    config: PortApi,
    /// Port marks by it who wrote an entity.
    agent: HeaderValue,
    /// Locked while somebody signs in.
    token: Mutex<Option<Token>>,
    rates: Rates,
}

/// A search for what somebody wrote whose name has all of these parts.
pub(crate) fn written_by(parts: &[&str]) -> Value {
    let rule = |part: &&str| json!({"property": "$datasource", "operator": "contains", "value": part});
    json!({"combinator": "and", "rules": parts.iter().map(rule).collect::<Vec<_>>()})
}

/// An answer that is a success, and how long Port asks everybody to wait.
pub(crate) struct Answered {
    pub(crate) answer: Answer,
    pub(crate) pause: Option<Duration>,
}

impl Port {
    /// `scope` names whose entities are written: it stays the same from run to run.
    pub(crate) fn new(config: &PortApi, scope: &str, http: Arc<Http>) -> Result<Self, RequestError> {
        secrets::keep(config.client_secret.expose_secret());
        let name = if scope.is_empty() { "azure" } else { scope };
        let agent = format!("azure-incremental/{} ({name})", env!("CARGO_PKG_VERSION"));
        let agent = HeaderValue::from_str(&agent).map_err(|_| {
            RequestError::new("setting up Port's API", Failure::Unsendable("the tenant's id cannot be sent".into()))
        })?;
        let client = http.client_for(&config.base_url)?;
        Ok(Self { http, client, config: config.clone(), agent, token: Mutex::default(), rates: Rates::default() })
    }

    /// A search for what this program has written in this scope, whichever version of it. Port keeps who wrote an entity as
    /// `$datasource`; its own exporters search by it, and nothing is published of it.
    pub(crate) fn ours(&self) -> Value {
        let scope = self.agent.to_str().ok().and_then(|agent| agent.split_once(' ')).map_or("", |(_, scope)| scope);
        written_by(&["azure-incremental/", scope])
    }

    /// The host, for messages.
    pub(crate) fn origin(&self) -> String {
        self.config.base_url.origin().ascii_serialization()
    }

    /// The URL of a path, each segment of it as it is.
    fn url<'a>(&self, path: impl IntoIterator<Item = &'a str>) -> Url {
        let mut url = self.config.base_url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    /// Tries again what may pass, as often as the limits say.
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

    /// One attempt at a request, and a second where its token is refused.
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
