//! How credentials reach the world: `azure_identity` sends its requests through our client and under our retry rules,
//! GitHub provides ID tokens, and `az` is run.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use azure_core::error::ErrorKind;
use azure_core::http::headers::Headers;
use azure_core::http::{AsyncRawResponse, Body, ClientMethodOptions, HttpClient, Request};
use azure_identity::{ClientAssertion, Executor};
use bytes::Bytes;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderName, HeaderValue};
use reqwest::{Client, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::config::SECRET_VARIABLES;
use crate::error::Cause;
use crate::http::{self, Answer, Failure, Http, RequestError};
use crate::retry::Next;
use crate::secrets;

/// One attempt at the sign-in host; a healthy one answers within a second.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

/// A token is a few kilobytes.
const LARGEST_ANSWER: usize = 1 << 20;

/// No token lives this long.
const LONGEST_LIFE: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The metadata service of Azure VMs ("Azure Instance Metadata Service"), as `azure_identity` addresses it.
const METADATA_HOST: &str = "169.254.169.254";

/// Sends `azure_identity`'s requests.
#[derive(Debug)]
pub(super) struct SignIn {
    http: Arc<Http>,
    client: Client,
    /// Whether to ask the metadata service, and at which address instead of its own.
    #[expect(clippy::option_option, reason = "two questions: whether, and if so, where")]
    metadata: Option<Option<Url>>,
}

impl SignIn {
    /// For Entra ID, and the services of build systems.
    pub(super) fn new(http: &Arc<Http>) -> Self {
        Self { http: Arc::clone(http), client: http.client().clone(), metadata: None }
    }

    /// For a local service that no proxy can, or should, reach: it answers with a token.
    pub(super) fn metadata(http: &Arc<Http>, host: Option<Url>) -> Result<Self, RequestError> {
        let client = http.unproxied()?;
        Ok(Self { http: Arc::clone(http), client, metadata: Some(host) })
    }

    /// 404 and 410 from the metadata service mean that it is being updated ("How to use managed identities … to acquire
    /// an access token", error handling).
    fn may_succeed_later(&self, error: &RequestError) -> bool {
        let updating = matches!(error.status(), Some(StatusCode::NOT_FOUND | StatusCode::GONE));
        error.is_transient() || (self.metadata.is_some() && updating)
    }

    fn translate(&self, request: &Request) -> Result<reqwest::RequestBuilder, RequestError> {
        let unsupported = |what: &str| {
            RequestError::new("sign-in", Failure::Unsendable(format!("a credential wants to send {what}").into()))
        };
        let method = reqwest::Method::from_bytes(request.method().as_ref().as_bytes())
            .map_err(|_| unsupported("an unknown method"))?;
        let mut builder = self.client.request(method, self.url(request.url()));
        for (name, value) in request.headers().iter() {
            let name = HeaderName::try_from(name.as_str()).map_err(|_| unsupported("an impossible header"))?;
            let mut value = HeaderValue::try_from(value.as_str()).map_err(|_| unsupported("an impossible header"))?;
            // The tokens of build systems and of App Service, which the client must not log.
            value.set_sensitive(name == AUTHORIZATION || name == "x-identity-header");
            builder = builder.header(name, value);
        }
        match request.body() {
            Body::Bytes(bytes) => Ok(builder.body(bytes.clone())),
            Body::SeekableStream(_) => Err(unsupported("a stream")),
        }
    }

    /// Where a request goes: to the configured metadata service, if any, instead of the one at Azure's address.
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
        keep_secrets(request);
        let again = |error: &RequestError| self.may_succeed_later(error);
        let answer = ask(&self.http, &label, again, || self.translate(request)).await.map_err(failed)?;
        let body = if answer.status.is_success() {
            check(&answer.body, SystemTime::now())
                .map_err(|cause| failed(RequestError::new(label, Failure::Unreadable(cause))))?;
            answer.body
        } else if self.metadata.is_none() {
            plainly(&answer.body).unwrap_or(answer.body)
        } else {
            answer.body
        };
        Ok(AsyncRawResponse::from_bytes(answer.status.as_u16().into(), Headers::new(), body))
    }
}

/// Registers the secrets in a request.
fn keep_secrets(request: &Request) {
    let header = |name: &str| request.headers().iter().find(|(header, _)| header.as_str().eq_ignore_ascii_case(name));
    for (_, value) in [header("authorization"), header("x-identity-header")].into_iter().flatten() {
        secrets::keep(value.as_str().trim_start_matches("Bearer "));
    }
    if let Body::Bytes(form) = request.body() {
        let mut url = request.url().clone();
        url.set_query(Some(std::str::from_utf8(form).unwrap_or_default()));
        for (name, value) in url.query_pairs() {
            match &*name {
                "client_secret" => secrets::keep(&value),
                "client_assertion" => secrets::keep_token(&value),
                _ => {}
            }
        }
    }
}

/// The part of a token answer that `azure_identity` calculates with but does not check: a lifetime that overflows would
/// end the program.
#[derive(Deserialize)]
struct Lifetime {
    /// Seconds from now.
    #[serde(default)]
    expires_in: Value,
    /// Seconds since the epoch.
    #[serde(default)]
    expires_on: Value,
}

/// Refuses an answer that is not JSON, or whose token has an absurd lifetime.
fn check(body: &[u8], now: SystemTime) -> Result<(), Cause> {
    let Lifetime { expires_in, expires_on } = serde_json::from_slice(body).map_err(|error| http::place(&error))?;
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let within = |value: &Value, latest: Duration| match value {
        Value::Null => true,
        Value::String(text) => text.parse::<u64>().is_ok_and(|seconds| seconds <= latest.as_secs()),
        value => value.as_u64().is_some_and(|seconds| seconds <= latest.as_secs()),
    };
    if within(&expires_in, LONGEST_LIFE) && within(&expires_on, now + LONGEST_LIFE) {
        Ok(())
    } else {
        Err("the lifetime of its token is invalid".into())
    }
}

/// A refusal rewritten so that `azure_identity` can read it: it borrows the strings, which fails for any with an
/// escape, as those of Entra ID have. `None` if it is not a refusal by Entra ID.
fn plainly(body: &[u8]) -> Option<Bytes> {
    #[derive(Deserialize)]
    struct Refusal {
        #[serde(default)]
        error: Value,
        #[serde(default)]
        error_description: Value,
        #[serde(default)]
        error_codes: Value,
    }
    let Refusal { error, error_description, error_codes } = serde_json::from_slice(body).ok()?;
    let plain = |text: &Value| -> String {
        let plain = |c: char| match c {
            '"' => '\'',
            '\\' => '/',
            c if c.is_control() => ' ',
            c => c,
        };
        text.as_str().unwrap_or_default().chars().map(plain).collect()
    };
    let codes = error_codes.as_array().into_iter().flatten();
    let codes: Vec<i32> = codes.filter_map(|code| code.as_i64()?.try_into().ok()).collect();
    let description = if error_description.is_string() { &error_description } else { &error };
    let refusal = json!({"error": plain(&error), "error_description": plain(description), "error_codes": codes});
    Some(refusal.to_string().into())
}

/// A success or a refusal for the caller to read, within the time that signing in may take.
async fn ask(
    http: &Http,
    label: &str,
    again: impl Fn(&RequestError) -> bool + Copy,
    request: impl Fn() -> Result<reqwest::RequestBuilder, RequestError>,
) -> Result<Answer, RequestError> {
    let deadline = Instant::now() + http.limits().sign_in_timeout;
    let error = |failure| RequestError::new(label, failure);
    let attempt = || async {
        let timeout = ATTEMPT_TIMEOUT.min(deadline.saturating_duration_since(Instant::now()));
        let answer = http.attempt(request()?, timeout, LARGEST_ANSWER).await.map_err(error)?;
        let refused = error(Failure::Status(answer.refusal()));
        if answer.status.is_success() || (answer.status.is_client_error() && !again(&refused)) {
            Ok(answer)
        } else {
            Err(refused)
        }
    };
    let next = |error: &RequestError| if again(error) { error.again(Duration::ZERO) } else { Next::GiveUp };
    http.retrying(label, Some(deadline), next, attempt).await
}

/// Not an error kind that `azure_identity` would retry underneath us.
fn failed(error: RequestError) -> azure_core::Error {
    azure_core::Error::with_error(ErrorKind::Other, error, "signing in failed")
}

/// Asks GitHub for a fresh ID token each time: it lives for minutes, and a run may last longer ("OpenID Connect
/// reference", GitHub's documentation).
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
    pub(super) fn new(http: &Arc<Http>, url: &Url, token: &SecretString, audience: &str) -> Self {
        let mut url = url.clone();
        url.query_pairs_mut().append_pair("audience", audience);
        Self { http: Arc::clone(http), url, token: token.clone() }
    }
}

#[async_trait::async_trait]
impl ClientAssertion for GithubIdToken {
    async fn secret(&self, _: Option<ClientMethodOptions<'_>>) -> azure_core::Result<String> {
        let label = format!("asking GitHub for an ID token at {}", self.url.origin().ascii_serialization());
        let unsendable = |cause: Cause| RequestError::new(label.as_str(), Failure::Unsendable(cause));
        let unreadable = |problem: &str| RequestError::new(label.as_str(), Failure::Unreadable(problem.into()));
        let request = || {
            let bearer = HeaderValue::try_from(format!("Bearer {}", self.token.expose_secret()));
            let mut bearer = bearer.map_err(|error| {
                unsendable(Cause::told("ACTIONS_ID_TOKEN_REQUEST_TOKEN cannot be sent in a header", error))
            })?;
            bearer.set_sensitive(true);
            Ok(self
                .http
                .client()
                .get(self.url.clone())
                .header(AUTHORIZATION, bearer)
                .header(ACCEPT, "application/json"))
        };
        secrets::keep(self.token.expose_secret());
        let answer = ask(&self.http, &label, RequestError::is_transient, request).await.map_err(failed)?;
        let answer = answer.success().map_err(|failure| failed(RequestError::new(label.as_str(), failure)))?;
        // The answer is a secret, so the error does not quote it.
        let token: IdToken =
            serde_json::from_slice(&answer.body).map_err(|_| failed(unreadable("it contains no ID token")))?;
        secrets::keep_token(&token.value);
        Ok(token.value)
    }
}

/// The token file of a pod, reread each time: the platform replaces the token before it expires.
#[derive(Debug)]
pub(super) struct TokenFile(PathBuf);

impl TokenFile {
    /// An error if it holds no token now.
    pub(super) fn new(path: &Path) -> Result<Self, Cause> {
        let file = Self(path.to_owned());
        file.read()?;
        Ok(file)
    }

    /// The contents of the file, without the line break or byte order mark that tools add.
    fn read(&self) -> Result<String, Cause> {
        let text = std::fs::read_to_string(&self.0).map_err(|error| of_file(&self.0, error))?;
        let token = text.trim_start_matches('\u{feff}').trim();
        if token.is_empty() { Err(of_file(&self.0, "the file is empty")) } else { Ok(token.to_owned()) }
    }
}

/// Names the file that an error is about.
pub(super) fn of_file(path: &Path, cause: impl Into<Cause>) -> Cause {
    let cause = cause.into();
    Cause::told(format!("{}: {cause}", path.display()), cause)
}

#[async_trait::async_trait]
impl ClientAssertion for TokenFile {
    async fn secret(&self, _: Option<ClientMethodOptions<'_>>) -> azure_core::Result<String> {
        self.read()
            .map_err(|cause| failed(RequestError::new("reading the federated token", Failure::Unsendable(cause))))
    }
}

/// Runs `az`, with a time limit and without our secrets.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(body: &str) -> Option<Value> {
        let plain = plainly(body.as_bytes())?;
        assert!(!plain.contains(&b'\\'), "{plain:?}");
        serde_json::from_slice(&plain).ok()
    }

    #[test]
    fn a_refusal_with_escapes_is_told_without_them() {
        let refusal = plain(
            r#"{"error":"invalid_client","error_description":"AADSTS7000215: app \u0027x\u0027, \"y\\z\".\r\nTrace ID: 1\u001b","error_codes":[7000215],"x":{}}"#,
        );
        let expected = json!({
            "error": "invalid_client",
            "error_description": "AADSTS7000215: app 'x', 'y/z'.  Trace ID: 1 ",
            "error_codes": [7_000_215],
        });
        assert_eq!(refusal, Some(expected));
    }

    #[test]
    fn a_refusal_of_another_form_is_told_as_far_as_it_can_be() {
        let described =
            |body: &str| plain(body).map(|refusal| refusal["error_description"].as_str().unwrap().to_owned());
        assert_eq!(described(r#"{"error":"a\tb"}"#), Some("a b".into()));
        assert_eq!(described(r#"{"error":{"code":"x"},"error_codes":["y", 9999999999]}"#), Some(String::new()));
        assert_eq!(described("<html>"), None);
    }

    #[test]
    fn a_token_is_read_from_its_file_without_what_tools_put_around_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        let read = |content: &str| {
            std::fs::write(&path, content).unwrap();
            TokenFile::new(&path).and_then(|file| file.read())
        };
        for content in ["a.b.c", "a.b.c\n", "a.b.c\r\n", "\n a.b.c \n\n", "\u{feff}a.b.c\n"] {
            assert_eq!(read(content), Ok("a.b.c".into()), "{content:?}");
        }
        for empty in ["", "\n"] {
            assert_eq!(read(empty), Err(format!("{}: the file is empty", path.display()).into()));
        }
    }

    #[test]
    fn a_lifetime_that_makes_no_sense_is_refused() {
        let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let check = |body: &str| check(body.as_bytes(), now);
        for sane in [
            r#"{"access_token":"t","expires_in":3599,"ext_expires_in":3599}"#,
            r#"{"access_token":"t","expires_in":"86400","expires_on":"1800086400"}"#,
            r#"{"expires_on":1800000000}"#,
            r#"{"oidcToken":"t"}"#,
        ] {
            assert_eq!(check(sane), Ok(()), "{sane}");
        }
        for odd in [
            r#"{"expires_in":9223372036854775807}"#,
            r#"{"expires_in":1000000000000}"#,
            r#"{"expires_in":-1}"#,
            r#"{"expires_in":1e300}"#,
            r#"{"expires_in":"-9223372036854775808"}"#,
            r#"{"expires_on":"1900000000"}"#,
            r#"{"expires_on":[]}"#,
        ] {
            assert_eq!(check(odd), Err("the lifetime of its token is invalid".into()), "{odd}");
        }
        assert_eq!(check("marked"), Err("it is not valid JSON, at line 1 column 1".into()));
    }
}
