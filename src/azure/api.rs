//! Authorised, rate-limited requests to Resource Manager or Microsoft Graph.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use azure_core::credentials::AccessToken;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use governor::DefaultDirectRateLimiter;
use governor::Quota as Rate;
use jiff::Timestamp;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{StatusCode, Url};
use serde::Deserialize;
use tokio::time::Instant;

use super::credential::{Credential, CredentialError};
use crate::config::{AzureConfig, Limits};
use crate::http::{self, Answer, Failure, Http, Packed, RequestError, bearer};
use crate::retry::Next;

/// Resource Manager's token bucket for reads: "Understand how Azure Resource Manager throttles requests", subscription
/// and tenant limits.
const BUCKET: NonZeroU32 = NonZeroU32::new(250).unwrap();
const REFILL_PER_SECOND: NonZeroU32 = NonZeroU32::new(25).unwrap();

/// Resource Graph's own limit is 16 MB.
const LARGEST_ANSWER: usize = 20 << 20;

/// A limit on requests, in addition to the service's own. Every attempt passes it.
pub(crate) trait Limiter {
    type Permit<'a>: Permit
    where
        Self: 'a;

    /// Waits until an attempt may be made.
    async fn acquire(&self) -> Self::Permit<'_>;

    /// How long no attempt may be made, as far as known.
    fn wait(&self) -> Duration;
}

/// Permission to make one attempt.
pub(crate) trait Permit {
    /// Passes on what the answer said about the limit.
    fn settle(self, status: StatusCode, headers: &HeaderMap);
}

/// No limit other than the service's own.
pub(crate) struct Unlimited;

impl Limiter for Unlimited {
    type Permit<'a> = Self;

    async fn acquire(&self) -> Self {
        Self
    }

    fn wait(&self) -> Duration {
        Duration::ZERO
    }
}

impl Permit for Unlimited {
    fn settle(self, _: StatusCode, _: &HeaderMap) {}
}

/// How persistently to retry a failing request. Being throttled is not a failure of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    /// As often as the limits say.
    Full,
    /// The same, but not if answers take long to come: the request can be split.
    Divisible,
    /// Once: it has just failed, and is sent in another form.
    Brief,
}

impl Effort {
    /// How long to retry a failing request.
    fn patience(self) -> Duration {
        Duration::from_secs(match self {
            Self::Full => 180,
            Self::Divisible => 30,
            Self::Brief => 10,
        })
    }

    /// How long to wait for an answer, given the longest wait.
    fn timeout(self, longest: Duration) -> Duration {
        match self {
            Self::Full | Self::Divisible => longest,
            Self::Brief => longest / 4,
        }
    }
}

/// Why the service gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    #[error(transparent)]
    Credential(#[from] CredentialError),
    #[error(transparent)]
    Request(#[from] RequestError),
}

impl ApiError {
    /// Whether the credentials are wrong: refused at sign-in, or their token refused here.
    pub(crate) fn is_refusal(&self) -> bool {
        match self {
            Self::Credential(CredentialError::Refused(_) | CredentialError::Unusable { .. }) => true,
            Self::Credential(CredentialError::Unreachable(_)) => false,
            Self::Request(error) => error.status() == Some(StatusCode::UNAUTHORIZED),
        }
    }
}

/// An Azure service, signed in to.
pub(crate) struct Api {
    http: Arc<Http>,
    credential: Credential,
    origin: Url,
    /// `None`: the service itself says how much it takes.
    bucket: Option<DefaultDirectRateLimiter>,
    /// Sent along with every request.
    headers: HeaderMap,
    first_date: OnceLock<Timestamp>,
}

impl Api {
    pub(crate) fn resource_manager(config: &AzureConfig, http: Arc<Http>) -> Result<Self, CredentialError> {
        let rate = Rate::per_second(REFILL_PER_SECOND).allow_burst(BUCKET);
        let bucket = Some(DefaultDirectRateLimiter::direct(rate));
        Self::new(config, &config.resource_manager, bucket, http)
    }

    /// Microsoft Graph serves this with whatever capacity others leave ("Microsoft Graph throttling guidance",
    /// priority): nobody waits for it.
    pub(crate) fn microsoft_graph(config: &AzureConfig, http: Arc<Http>) -> Result<Self, CredentialError> {
        let api = Self::new(config, &config.microsoft_graph, None, http)?;
        let priority = (HeaderName::from_static("x-ms-throttle-priority"), HeaderValue::from_static("low"));
        Ok(Self { headers: [priority].into_iter().collect(), ..api })
    }

    fn new(
        config: &AzureConfig,
        origin: &Url,
        bucket: Option<DefaultDirectRateLimiter>,
        http: Arc<Http>,
    ) -> Result<Self, CredentialError> {
        let credential = Credential::new(config, origin, &http)?;
        let (origin, headers) = (origin.clone(), HeaderMap::new());
        Ok(Self { credential, http, origin, bucket, headers, first_date: OnceLock::new() })
    }

    /// The time on the service's clock when it first answered: the start of the run, whatever the runner's clock says.
    pub(crate) fn first_date(&self) -> Option<Timestamp> {
        self.first_date.get().copied()
    }

    /// The service's host.
    pub(crate) fn origin(&self) -> String {
        self.origin.origin().ascii_serialization()
    }

    /// The URL of a path at the service.
    pub(crate) fn url(&self, path_and_query: &str) -> Result<Url, RequestError> {
        self.origin.join(path_and_query).map_err(|error| {
            RequestError::new(format!("{}{path_and_query}", self.origin), Failure::Unreadable(error.into()))
        })
    }

    /// Refuses a URL that a server gave us if it leads elsewhere: the token goes nowhere but to the configured host.
    pub(crate) fn own(&self, url: Url) -> Result<Url, RequestError> {
        if url.origin() == self.origin.origin() {
            return Ok(url);
        }
        let problem = format!(
            "a link of {} leads to another host, which the access token must not be sent to",
            self.origin.origin().ascii_serialization()
        );
        let label = format!("GET {}", url.origin().ascii_serialization());
        Err(RequestError::new(label, Failure::Unreadable(problem.into())))
    }

    /// Whether the access token says that the application has a role. A token that cannot be read has none.
    pub(crate) async fn has_role(&self, role: &str) -> bool {
        self.credential.token().await.is_ok_and(|token| roles(token.token.secret()).iter().any(|own| own == role))
    }

    pub(crate) fn limits(&self) -> &Limits {
        self.http.limits()
    }

    /// Reads a URL; errors name it by `label`.
    pub(crate) async fn get(&self, url: Url, label: &str) -> Result<Answer, ApiError> {
        let answer = self.send(url, label, None, &Unlimited, Effort::Full).await?;
        Ok(answer.unpack().map_err(|failure| RequestError::new(label, failure))?)
    }

    /// Posts, with the given persistence; the answer is left as it came.
    pub(crate) async fn post(
        &self,
        url: Url,
        body: Bytes,
        limiter: &impl Limiter,
        effort: Effort,
    ) -> Result<Packed, ApiError> {
        let label = http::label("POST", &url);
        self.send(url, &label, Some(body), limiter, effort).await
    }

    async fn send(
        &self,
        url: Url,
        label: &str,
        body: Option<Bytes>,
        limiter: &impl Limiter,
        effort: Effort,
    ) -> Result<Packed, ApiError> {
        let mut used = None;
        match self.exchange(&url, label, body.as_ref(), limiter, effort, &mut used).await {
            // A token may be revoked before it expires, or be invalidated by a key change: a new one shows whether that
            // was it.
            Err(ApiError::Request(error)) if error.status() == Some(StatusCode::UNAUTHORIZED) => {
                tracing::warn!("{error}; signing in again");
                if let Some(refused) = used.take() {
                    self.credential.discard(&refused).await?;
                }
                self.exchange(&url, label, body.as_ref(), limiter, effort, &mut used).await
            }
            outcome => outcome,
        }
    }

    /// A request and its answer, with retries if they may help. `used` receives the token that was sent last.
    async fn exchange(
        &self,
        url: &Url,
        label: &str,
        body: Option<&Bytes>,
        limiter: &impl Limiter,
        effort: Effort,
        used: &mut Option<AccessToken>,
    ) -> Result<Packed, ApiError> {
        let last = Mutex::new(None);
        let (mut failures, mut since) = (0, Instant::now());
        let next = |error: &ApiError| {
            // The credential's own failures were retried where they arose.
            let ApiError::Request(error) = error else { return Next::GiveUp };
            if error.status() == Some(StatusCode::TOO_MANY_REQUESTS) {
                since = Instant::now();
                return error.again(limiter.wait());
            }
            failures += 1;
            let is_enough = since.elapsed() >= effort.patience() || effort == Effort::Brief && failures > 1;
            if error.is_transient() && !is_enough { error.again(limiter.wait()) } else { Next::GiveUp }
        };
        let timeout = effort.timeout(self.http.limits().azure_timeout);
        let answer = self
            .http
            .retrying(label, None, next, || async {
                let token = self.credential.token().await?;
                let mut request = match body {
                    Some(body) => {
                        self.http.client().post(url.clone()).header(CONTENT_TYPE, "application/json").body(body.clone())
                    }
                    None => self.http.client().get(url.clone()),
                };
                request = request.headers(self.headers.clone());
                request = request.header(AUTHORIZATION, bearer(token.token.secret(), label)?);
                *last.lock().unwrap_or_else(PoisonError::into_inner) = Some(token.clone());
                let failed = |failure| RequestError::new(label, failure);

                if let Some(bucket) = &self.bucket {
                    bucket.until_ready().await;
                }
                let permit = limiter.acquire().await;
                let outcome = self.http.attempt_packed(request, timeout, LARGEST_ANSWER).await;
                if let Ok(answer) = &outcome {
                    permit.settle(answer.status(), answer.headers());
                }
                let answer = outcome.map_err(failed)?;
                self.note_date(&answer);
                Ok(answer.success().map_err(failed)?)
            })
            .await;
        *used = last.into_inner().unwrap_or_else(PoisonError::into_inner);
        answer
    }

    fn note_date(&self, answer: &Packed) {
        if self.first_date.get().is_none() {
            _ = http::date(answer.headers()).map(|date| self.first_date.set(date));
        }
    }
}

/// The application roles that an access token names ("Access token claims reference", Microsoft identity platform).
fn roles(token: &str) -> Vec<String> {
    #[derive(Deserialize)]
    struct Claims {
        #[serde(default)]
        roles: Vec<String>,
    }
    let claims = token.split('.').nth(1).and_then(|part| BASE64_URL_SAFE_NO_PAD.decode(part).ok());
    claims.and_then(|claims| serde_json::from_slice::<Claims>(&claims).ok()).map_or(Vec::new(), |claims| claims.roles)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_can_be_read_names_its_roles() {
        let token = |claims: &str| format!("e30.{}.x", BASE64_URL_SAFE_NO_PAD.encode(claims));
        assert_eq!(roles(&token(r#"{"aud":"x","roles":["User.Read.All"]}"#)), ["User.Read.All"]);
        for unreadable in [token("{}"), token("[]"), "e30.?.x".into(), "opaque".into()] {
            assert!(roles(&unreadable).is_empty(), "{unreadable}");
        }
    }
}
