//! The HTTP client, a bounded attempt at a request, and the retry rules.

mod json;
mod on_its_way;
mod packed;
mod proxy;
mod refusal;

use std::error::Error as StdError;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use jiff::Timestamp;
use reqwest::header::{ACCEPT_ENCODING, DATE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Client, ClientBuilder, RequestBuilder, Response, StatusCode, Url};
use tokio::time::Instant;

use crate::config::{Limits, NetworkConfig};
use crate::error::{Cause, Problem};
use crate::retry::{self, Next, Patience};
use crate::text::printable;
pub(crate) use json::{brackets, json, place, string};
pub(crate) use packed::Packed;
use refusal::CHALLENGED;

/// The most memory that is reserved because a `Content-Length` announces it. A larger response gets room for the
/// largest one allowed at once: only the pages that are written to take memory, and the rest is given back. Many large
/// responses are read concurrently, and growing them in steps would fragment the heap.
const SMALL: usize = 64 << 10;

/// The client, its limits, and a count of retries.
#[derive(Debug)]
pub(crate) struct Http {
    client: Client,
    network: NetworkConfig,
    limits: Limits,
    retried: AtomicU64,
}

/// A complete response with any status.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// A request that failed, and how.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{} failed: {failure}", printable(.request))]
pub(crate) struct RequestError {
    /// The method, and the address without query and key, so that it can be shown.
    pub(crate) request: String,
    #[source]
    pub(crate) failure: Failure,
}

/// How a request failed.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("no connection: {}", printable(&.source.to_string()))]
    Connect { source: Cause, obstacle: Obstacle },
    #[error("no answer within {} s", .0.as_secs_f32())]
    Timeout(Duration),
    #[error("the connection broke: {}", printable(&.0.to_string()))]
    Interrupted(#[source] Cause),
    #[error("the answer is larger than {}", size(*.0))]
    TooLarge(usize),
    #[error("{0}")]
    Status(StatusError),
    #[error("the answer cannot be understood: {}", printable(&.0.to_string()))]
    Unreadable(#[source] Cause),
    /// Something to be sent is missing, or cannot be sent.
    #[error("the request cannot be made: {}", printable(&.0.to_string()))]
    Unsendable(#[source] Cause),
}

/// What prevents a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// The network, a host or a proxy, in a way that may pass.
    Network,
    /// The host's certificate: no trusted authority vouches for it.
    Certificate,
    /// The host's certificate is not valid by this machine's clock.
    Clock,
    /// The proxy, which refuses to connect.
    Proxy,
}

/// A response whose status is not a success.
#[derive(Clone, Debug)]
pub(crate) struct StatusError {
    pub(crate) status: StatusCode,
    /// The service's own error codes, outermost first, such as `BadRequest`, `ResponsePayloadTooLarge`.
    pub(crate) codes: Vec<String>,
    /// The service's own message.
    pub(crate) message: String,
    pub(crate) retry_after: Option<Duration>,
}

/// A size limit for a message.
fn size(bytes: usize) -> String {
    if bytes < 1 << 20 { format!("{} KB", bytes >> 10) } else { format!("{} MB", bytes >> 20) }
}

impl fmt::Display for StatusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "status {}", self.status.as_u16())?;
        if !self.codes.is_empty() {
            write!(f, " ({})", printable(&self.codes.join(", ")))?;
        }
        if !self.message.is_empty() {
            write!(f, ": {}", printable(&self.message))?;
        }
        Ok(())
    }
}

impl RequestError {
    pub(crate) fn new(request: impl Into<String>, failure: Failure) -> Self {
        Self { request: request.into(), failure }
    }

    /// Whether the same request may succeed later: 408, 429, 5xx, and failed or broken connections.
    pub(crate) fn is_transient(&self) -> bool {
        match &self.failure {
            Failure::Connect { obstacle, .. } => *obstacle == Obstacle::Network,
            Failure::Timeout(_) | Failure::Interrupted(_) => true,
            Failure::Status(error) => {
                error.status.is_server_error()
                    || matches!(error.status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)
            }
            Failure::TooLarge(_) | Failure::Unreadable(_) | Failure::Unsendable(_) => false,
        }
    }

    /// The service's own error codes, outermost first.
    pub(crate) fn codes(&self) -> &[String] {
        match &self.failure {
            Failure::Status(error) => &error.codes,
            _ => &[],
        }
    }

    pub(crate) fn status(&self) -> Option<StatusCode> {
        match &self.failure {
            Failure::Status(error) => Some(error.status),
            _ => None,
        }
    }

    /// Another attempt, after the server's `Retry-After` and at least this wait.
    pub(crate) fn again(&self, least: Duration) -> Next {
        Next::Again { after: self.retry_after(), least }
    }

    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match &self.failure {
            Failure::Status(error) => error.retry_after,
            _ => None,
        }
    }
}

impl Obstacle {
    /// What to do about it. None for the network: it has more than one cause, and the caller knows more.
    pub(crate) fn advice(self) -> Option<&'static str> {
        match self {
            Self::Network => None,
            Self::Certificate => Some(
                "if a proxy opens TLS on the way, name a file with its CA certificate in SSL_CERT_FILE; otherwise this is not the \
                 host that it claims to be",
            ),
            Self::Clock => Some(
                "set this machine's clock; if it is right, whoever runs the host, or the proxy that opens TLS on the way, must \
                 renew its certificate",
            ),
            Self::Proxy => Some(
                "the proxy must allow this host; check the address, user name and password in HTTPS_PROXY, or name the host in \
                 NO_PROXY",
            ),
        }
    }
}

impl Problem for RequestError {
    fn advice(&self) -> Option<&'static str> {
        match &self.failure {
            Failure::Connect { obstacle, .. } => {
                obstacle.advice().or(Some("check the host name, the network, and HTTPS_PROXY if a proxy is needed"))
            }
            Failure::Timeout(_) => Some("check the network, and HTTPS_PROXY if a proxy is needed"),
            Failure::Status(status) if status.status.is_redirection() => {
                Some("redirects are never followed; use the address that it leads to")
            }
            Failure::Status(status) if status.codes.iter().any(|code| code == CHALLENGED) => Some(
                "a policy of the tenant refuses the token: Conditional Access does not allow this machine's location, or the \
                 principal's sessions were revoked; ask the tenant's administrator",
            ),
            Failure::Status(status) if status.status.as_u16() == 401 => {
                Some("a new access token was refused as well; check that AZURE_CLOUD and the endpoints belong together")
            }
            Failure::Status(status) if status.status.as_u16() == 403 => {
                Some("the service principal may not do this; assign it the Reader role")
            }
            _ => None,
        }
    }
}

impl Http {
    /// Creates a client for up to `connections` concurrent requests to one host. Redirects are never followed, because
    /// a server must not decide where a token is sent.
    pub(crate) fn new(connections: usize, limits: Limits, network: NetworkConfig) -> Result<Self, RequestError> {
        let builder = proxy::through(&network.proxies, builder(&limits, &network));
        let client = built(builder.pool_max_idle_per_host(connections))?;
        Ok(Self { client, network, limits, retried: AtomicU64::new(0) })
    }

    /// Creates a client that uses no proxy, for services on this machine.
    pub(crate) fn unproxied(&self) -> Result<Client, RequestError> {
        built(builder(&self.limits, &self.network).no_proxy())
    }

    /// Returns the client for a configured URL. A URL without TLS is on this machine, so its client uses no proxy.
    pub(crate) fn client_for(&self, url: &Url) -> Result<Client, RequestError> {
        if url.scheme() == "http" { self.unproxied() } else { Ok(self.client.clone()) }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Counts one more retry, and returns how many there are.
    pub(crate) fn note_retry(&self) -> u64 {
        self.retried.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// How many retries there have been.
    pub(crate) fn retried(&self) -> u64 {
        self.retried.load(Ordering::Relaxed)
    }

    /// Makes one attempt and reads the whole response, of up to `largest` bytes, within `timeout`.
    pub(crate) async fn attempt(
        &self,
        request: RequestBuilder,
        timeout: Duration,
        largest: usize,
    ) -> Result<Answer, Failure> {
        self.attempt_packed(request, timeout, largest).await?.unpack()
    }

    /// The same, but leaves the response as it came.
    pub(crate) async fn attempt_packed(
        &self,
        request: RequestBuilder,
        timeout: Duration,
        largest: usize,
    ) -> Result<Packed, Failure> {
        let exchange = async { self.received(request.send().await, timeout, largest).await };
        tokio::time::timeout(timeout, exchange).await.unwrap_or(Err(Failure::Timeout(timeout)))
    }

    /// Retries `attempt` while `next` says so, up to `Limits::retries` times, with exponential backoff and jitter, or
    /// after the server's `Retry-After`. No wait ends after `deadline`.
    pub(crate) async fn retrying<T, E: fmt::Display, F: Future<Output = Result<T, E>>>(
        &self,
        who: &str,
        deadline: Option<Instant>,
        next: impl FnMut(&E) -> Next,
        attempt: impl FnMut() -> F,
    ) -> Result<T, E> {
        let patience = Patience { deadline, ..self.limits.patience() };
        retry::retrying(&patience, who, attempt, next, || self.note_retry()).await
    }

    /// Reads the whole of a response.
    async fn received(
        &self,
        sent: reqwest::Result<Response>,
        timeout: Duration,
        largest: usize,
    ) -> Result<Packed, Failure> {
        let mut response = match sent {
            Ok(response) => response,
            Err(error) => {
                let url = error.url().cloned();
                let failure = classify(error, timeout);
                return Err(Box::pin(proxy::explain(failure, url.as_ref(), &self.network.proxies)).await);
            }
        };
        let announced = usize::try_from(response.content_length().unwrap_or(0)).unwrap_or(usize::MAX);
        if announced > largest {
            return Err(Failure::TooLarge(largest));
        }
        let mut body = Vec::with_capacity(announced.min(SMALL));
        while let Some(chunk) = response.chunk().await.map_err(|error| classify(error, timeout))? {
            if body.len() + chunk.len() > largest {
                return Err(Failure::TooLarge(largest));
            }
            if body.len() + chunk.len() > body.capacity().max(SMALL) {
                body.reserve_exact(largest - body.len());
            }
            body.extend_from_slice(&chunk);
        }
        body.shrink_to_fit();
        let headers = std::mem::take(response.headers_mut());
        Ok(Packed::new(Answer { status: response.status(), headers, body: body.into() }, largest))
    }
}

/// The common base of all clients: the cryptography of its TLS.
fn bare() -> ClientBuilder {
    // Fails if another client has already installed it.
    _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
}

fn builder(limits: &Limits, network: &NetworkConfig) -> ClientBuilder {
    let builder = bare()
        .user_agent(concat!("azure-incremental/", env!("CARGO_PKG_VERSION")))
        .default_headers([(ACCEPT_ENCODING, HeaderValue::from_static(packed::GZIP))].into_iter().collect())
        .no_gzip()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(Duration::from_secs(10).min(limits.post_timeout));
    match &network.certificates {
        Some(certificates) => builder.tls_certs_only(certificates.iter().cloned()),
        None => builder,
    }
}

fn built(builder: ClientBuilder) -> Result<Client, RequestError> {
    builder.build().map_err(|error| RequestError::new("setting up TLS", classify(error, Duration::ZERO)))
}

impl Answer {
    /// Returns the response if it is a success, and its error otherwise.
    pub(crate) fn success(self) -> Result<Self, Failure> {
        if self.status.is_success() { Ok(self) } else { Err(Failure::Status(self.refusal())) }
    }

    /// Parses the body as JSON.
    pub(crate) fn json<'a, T: serde::Deserialize<'a>>(&'a self) -> Result<T, Failure> {
        json(&self.body)
    }

    /// Reads the error from a response that is not a success.
    pub(crate) fn refusal(&self) -> StatusError {
        let (mut codes, message) = refusal::told(&self.body);
        if refusal::is_challenge(&self.headers) {
            codes.push(CHALLENGED.into());
        }
        StatusError { status: self.status, codes, message, retry_after: retry_after(&self.headers, SystemTime::now()) }
    }
}

/// The header that carries the token, marked so that the client never logs it.
pub(crate) fn bearer(token: &str, label: &str) -> Result<HeaderValue, RequestError> {
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|error| {
        let cause = Cause::told("the access token cannot be sent in a header", error);
        RequestError::new(label, Failure::Unsendable(cause))
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// Names a request in errors by its method and its address without the query.
pub(crate) fn label(method: &str, url: &Url) -> String {
    format!("{method} {}{}", url.origin().ascii_serialization(), url.path())
}

/// The `Date` of a response: the time at the server.
pub(crate) fn date(headers: &HeaderMap) -> Option<Timestamp> {
    jiff::fmt::rfc2822::parse(headers.get(DATE)?.to_str().ok()?).ok().map(|date| date.timestamp())
}

/// Reads `Retry-After` as seconds or a date (RFC 9110, section 10.2.3). Anything else counts as absent.
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number too large to parse still means a long wait.
        return Some(Duration::from_secs(text.parse::<u32>().unwrap_or(u32::MAX).into()));
    }
    let then = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    let now = now.duration_since(UNIX_EPOCH).ok()?;
    let then = Duration::from_millis(u64::try_from(then.as_millisecond()).ok()?);
    Some(then.saturating_sub(now))
}

/// Describes the causes of a failed exchange, such as name resolution or TLS. reqwest's own message is left out because
/// it names the URL, which may contain a key.
fn classify(error: reqwest::Error, timeout: Duration) -> Failure {
    if error.is_timeout() {
        return Failure::Timeout(timeout);
    }
    let mut causes: Vec<String> = Vec::new();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        // Layers often repeat the cause beneath them, or only say that there is one.
        if !text.starts_with("client error") && !causes.iter().any(|outer| outer.contains(&text)) {
            causes.push(text);
        }
        source = cause.source();
    }
    let text = if causes.is_empty() { "the request could not be sent".into() } else { causes.join(": ") };
    let (is_connect, obstacle) = (error.is_connect(), obstacle(&text));
    let source = Cause::told(text, error.without_url());
    if is_connect { Failure::Connect { source, obstacle } } else { Failure::Interrupted(source) }
}

/// What kept a connection from being made, in the words of rustls.
fn obstacle(cause: &str) -> Obstacle {
    const OUT_OF_TIME: [&str; 4] = ["certificate expired", "certificate not valid yet", "Expired", "NotValidYet"];
    match cause.split_once("invalid peer certificate: ") {
        None => Obstacle::Network,
        Some((_, reason)) if OUT_OF_TIME.iter().any(|words| reason.starts_with(words)) => Obstacle::Clock,
        Some(_) => Obstacle::Certificate,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::HeaderValue;

    fn retry_after_of(value: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_str(value).unwrap());
        retry_after(&headers, UNIX_EPOCH + Duration::from_secs(1_445_412_440))
    }

    #[test]
    fn retry_after_is_read_as_seconds_and_as_a_date() {
        assert_eq!(retry_after_of("17"), Some(Duration::from_secs(17)));
        assert_eq!(retry_after_of("99999999999999999999"), Some(Duration::from_secs(u32::MAX.into())));
        assert_eq!(retry_after_of("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::from_secs(40)));
        assert_eq!(retry_after_of("Tue, 20 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
    }

    #[test]
    fn retry_after_that_makes_no_sense_is_ignored() {
        for value in ["", "-1", "+1", "soon", "1.5"] {
            assert_eq!(retry_after_of(value), None, "{value}");
        }
    }

    #[test]
    fn a_secret_that_a_server_echoes_is_not_told() {
        crate::secrets::keep("marked-key-of-http");
        let echo = "Cannot POST /marked-key-of-http?also=this";
        let status = StatusError {
            status: StatusCode::NOT_FOUND,
            codes: vec!["no marked-key-of-http".into()],
            message: echo.into(),
            retry_after: None,
        };
        for failure in [
            Failure::Status(status),
            Failure::Unreadable(echo.into()),
            Failure::Interrupted(echo.into()),
            Failure::Connect { source: echo.into(), obstacle: Obstacle::Network },
            Failure::Timeout(Duration::ZERO),
        ] {
            let told = RequestError::new("GET https://x.example/marked-key-of-http", failure).to_string();
            assert!(!told.contains("marked") && told.contains("[redacted]"), "{told}");
        }
        let body = format!("{}marked-key-of-http", "x".repeat(70));
        let told = json::<serde_json::Value>(body.as_bytes()).unwrap_err().to_string();
        assert!(!told.contains("mark"), "a secret is known before the text is cut: {told}");
    }

    #[test]
    fn a_certificate_out_of_its_time_points_to_the_clock() {
        let invalid = |reason: &str| obstacle(&format!("invalid peer certificate: {reason}"));
        for reason in [
            "certificate expired: verification time 1 (UNIX), but certificate is not valid after 0 (1 seconds ago)",
            "certificate not valid yet: verification time 0 (UNIX), but certificate is not valid before 1 (1 seconds in future)",
            "Expired",
            "NotValidYet",
        ] {
            assert_eq!(invalid(reason), Obstacle::Clock, "{reason}");
        }
        for reason in ["UnknownIssuer", "certificate not valid for name \"x\"", "certificate revocation list expired"] {
            assert_eq!(invalid(reason), Obstacle::Certificate, "{reason}");
        }
        assert_eq!(obstacle("tcp connect error: Connection refused"), Obstacle::Network);
    }
}
