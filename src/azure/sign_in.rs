//! How credentials reach the world: `azure_identity`'s requests go over our client and under our rule of retries, GitHub is
//! asked for ID tokens, and `az` is run.

use std::ffi::OsStr;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use azure_core::error::ErrorKind;
use azure_core::http::headers::Headers;
use azure_core::http::{AsyncRawResponse, Body, ClientMethodOptions, HttpClient, Request};
use azure_identity::{ClientAssertion, Executor};
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderName, HeaderValue};
use reqwest::{Client, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::config::SECRET_VARIABLES;
use crate::http::{Answer, Failure, Http, RequestError};

/// One attempt at the sign-in host; a healthy one answers within a second.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

/// The metadata service of Azure's machines ("Azure Instance Metadata Service"), as `azure_identity` addresses it.
const METADATA_HOST: &str = "169.254.169.254";

/// What the assertion is for ("Configure an app to trust an external identity provider", Microsoft Entra).
const AUDIENCE: &str = "api://AzureADTokenExchange";

/// Sends `azure_identity`'s requests.
#[derive(Debug)]
pub(super) struct SignIn {
    http: Arc<Http>,
    client: Client,
    /// Whether the metadata service is asked, and where in place of its own address.
    #[expect(clippy::option_option, reason = "two questions: whether, and if so, where")]
    metadata: Option<Option<Url>>,
}

impl SignIn {
    /// To Entra ID, and to the services of build systems.
    pub(super) fn new(http: &Arc<Http>) -> Self {
        Self { http: Arc::clone(http), client: http.client().clone(), metadata: None }
    }

    /// To a service beside the program, which no proxy can reach, nor should: it answers with a token.
    pub(super) fn metadata(http: &Arc<Http>, host: Option<Url>) -> Result<Self, RequestError> {
        let client = Http::unproxied(http.limits())?;
        Ok(Self { http: Arc::clone(http), client, metadata: Some(host) })
    }

    /// 404 and 410 of the metadata service mean that it is being updated ("How to use managed identities … to acquire an
    /// access token", error handling).
    fn may_succeed_later(&self, error: &RequestError) -> bool {
        let updating = matches!(error.status(), Some(StatusCode::NOT_FOUND | StatusCode::GONE));
        error.is_transient() || (self.metadata.is_some() && updating)
    }

    fn translate(&self, request: &Request) -> Result<reqwest::RequestBuilder, RequestError> {
        let unsupported = |what: &str| {
            RequestError::new("sign-in", Failure::Unreadable(format!("a credential wants to send {what}")))
        };
        let method = reqwest::Method::from_bytes(request.method().as_ref().as_bytes())
            .map_err(|_| unsupported("an unknown method"))?;
        let mut builder = self.client.request(method, self.url(request.url()));
        for (name, value) in request.headers().iter() {
            let name = HeaderName::try_from(name.as_str()).map_err(|_| unsupported("an impossible header"))?;
            let mut value = HeaderValue::try_from(value.as_str()).map_err(|_| unsupported("an impossible header"))?;
            // The tokens of build systems and of App Service; the client's logs must not show them.
            value.set_sensitive(name == AUTHORIZATION || name == "x-identity-header");
            builder = builder.header(name, value);
        }
        match request.body() {
            Body::Bytes(bytes) => Ok(builder.body(bytes.clone())),
            Body::SeekableStream(_) => Err(unsupported("a stream")),
        }
    }

    /// Where a request goes: to another metadata service than the one at Azure's address, if so configured.
    fn url(&self, url: &Url) -> Url {
        match &self.metadata {
            Some(Some(host)) if url.host_str() == Some(METADATA_HOST) => {
                let mut moved = host.clone();
                moved.set_path(url.path());
                moved.set_query(url.query());
                moved
            }
            _ => url.clone(),
        }
    }
}

#[async_trait::async_trait]
impl HttpClient for SignIn {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let label = format!("sign-in at {}", self.url(request.url()).origin().ascii_serialization());
        let secrets = secrets(request);
        let again = |error: &RequestError| self.may_succeed_later(error);
        let answer = ask(&self.http, &label, &secrets, again, || self.translate(request)).await.map_err(failed)?;
        let body = if answer.status.is_success() {
            answer.body
        } else {
            let told = String::from_utf8_lossy(&answer.body).into_owned();
            secrets.iter().fold(told, |told, secret| told.replace(secret, "[redacted]")).into()
        };
        Ok(AsyncRawResponse::from_bytes(answer.status.as_u16().into(), Headers::new(), body))
    }
}

/// What of a request nobody else must know: some servers and proxies show what they were sent.
fn secrets(request: &Request) -> Vec<String> {
    const FIELDS: [&str; 2] = ["client_secret", "client_assertion"];
    let header = |name: &str| request.headers().iter().find(|(header, _)| header.as_str().eq_ignore_ascii_case(name));
    let headers = [header("authorization"), header("x-identity-header")].into_iter().flatten();
    let mut secrets: Vec<String> =
        headers.map(|(_, value)| value.as_str().trim_start_matches("Bearer ").to_owned()).collect();
    if let Body::Bytes(form) = request.body() {
        let form = std::str::from_utf8(form).unwrap_or_default();
        let mut url = request.url().clone();
        url.set_query(Some(form));
        let read = url.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned()));
        // As it goes out as well: the form's encoding changes the `~` of Entra ID's secrets.
        let sent = form.split('&').filter_map(|pair| pair.split_once('='));
        let fields = read.chain(sent.map(|(name, value)| (name.to_owned(), value.to_owned())));
        secrets.extend(fields.filter(|(name, _)| FIELDS.contains(&name.as_str())).map(|(_, value)| value));
    }
    secrets.retain(|secret| !secret.is_empty());
    secrets
}

/// A success or a refusal that the caller reads for itself, within the time that signing in may take.
async fn ask(
    http: &Http,
    label: &str,
    secrets: &[String],
    again: impl Fn(&RequestError) -> bool + Copy,
    request: impl Fn() -> Result<reqwest::RequestBuilder, RequestError>,
) -> Result<Answer, RequestError> {
    let deadline = Instant::now() + http.limits().sign_in_timeout;
    let error = |failure| secrets.iter().fold(RequestError::new(label, failure), |error, secret| error.without(secret));
    let attempt = || async {
        let timeout = ATTEMPT_TIMEOUT.min(deadline.saturating_duration_since(Instant::now()));
        let answer = http.attempt(request()?, timeout).await.map_err(error)?;
        let refused = error(Failure::Status(answer.refusal()));
        if answer.status.is_success() || (answer.status.is_client_error() && !again(&refused)) {
            Ok(answer)
        } else {
            Err(refused)
        }
    };
    http.retrying(Some(deadline), again, attempt).await
}

/// Not of a kind that `azure_identity` would try again beneath us.
fn failed(error: RequestError) -> azure_core::Error {
    azure_core::Error::with_error(ErrorKind::Other, error, "signing in failed")
}

/// Asks GitHub for a fresh ID token each time: one lives for minutes, and a run may last longer ("OpenID Connect reference",
/// GitHub's documentation).
#[derive(Debug)]
pub(super) struct GithubIdToken {
    http: Arc<Http>,
    url: Url,
    token: SecretString,
}

#[derive(Deserialize)]
struct IdToken {
    value: String,
}

impl GithubIdToken {
    pub(super) fn new(http: &Arc<Http>, url: &Url, token: &SecretString) -> Self {
        let mut url = url.clone();
        url.query_pairs_mut().append_pair("audience", AUDIENCE);
        Self { http: Arc::clone(http), url, token: token.clone() }
    }
}

#[async_trait::async_trait]
impl ClientAssertion for GithubIdToken {
    async fn secret(&self, _: Option<ClientMethodOptions<'_>>) -> azure_core::Result<String> {
        let label = format!("asking GitHub for an ID token at {}", self.url.origin().ascii_serialization());
        let unreadable = |problem: &str| RequestError::new(label.as_str(), Failure::Unreadable(problem.into()));
        let request = || {
            let mut bearer = HeaderValue::try_from(format!("Bearer {}", self.token.expose_secret()))
                .map_err(|_| unreadable("ACTIONS_ID_TOKEN_REQUEST_TOKEN is not a header value"))?;
            bearer.set_sensitive(true);
            Ok(self
                .http
                .client()
                .get(self.url.clone())
                .header(AUTHORIZATION, bearer)
                .header(ACCEPT, "application/json"))
        };
        let secrets = [self.token.expose_secret().to_owned()];
        let told = |error: RequestError| failed(error.without(self.token.expose_secret()));
        let answer = ask(&self.http, &label, &secrets, RequestError::is_transient, request).await.map_err(failed)?;
        let answer = answer.success().map_err(|failure| told(RequestError::new(label.as_str(), failure)))?;
        // The answer is a secret: what is wrong with it is told without it.
        let token: IdToken =
            serde_json::from_slice(&answer.body).map_err(|_| failed(unreadable("there is no ID token in it")))?;
        Ok(token.value)
    }
}

/// Runs `az`, for so long at most and without our secrets.
#[derive(Debug)]
pub(super) struct Shell {
    pub(super) timeout: Duration,
}

#[async_trait::async_trait]
impl Executor for Shell {
    async fn run(&self, program: &OsStr, args: &[&OsStr]) -> std::io::Result<Output> {
        let mut command = tokio::process::Command::new(program);
        command.args(args).stdin(Stdio::null()).kill_on_drop(true);
        for secret in SECRET_VARIABLES {
            command.env_remove(secret);
        }
        tokio::time::timeout(self.timeout, command.output()).await.unwrap_or_else(|_| {
            let message = format!("no answer within {} s", self.timeout.as_secs_f32());
            Err(std::io::Error::new(std::io::ErrorKind::TimedOut, message))
        })
    }
}
