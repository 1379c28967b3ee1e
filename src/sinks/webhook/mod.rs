//! Port's webhook: one attempt at a post, and how to read the answer.
//!
//! A webhook answers 202 before it applies its mapping ("Webhook", Port's documentation). So the answer confirms
//! receipt, not the result; the result is read back only if the settings ask for it.

mod content;
mod envelope;
mod error;
mod proof;
mod signature;

use std::num::NonZeroUsize;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::FutureExt;
use jiff::Timestamp;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Client, StatusCode, Url};
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use uuid::Uuid;

pub(crate) use envelope::{Envelope, body, limits, line};
pub(crate) use error::WebhookError;
pub(crate) use proof::Proof;

use crate::config::{Payload, PortConfig, SecretUrl};
use crate::engine::{Limits, Receipt, Sink};
use crate::error::Cause;
use crate::http::{self, Answer, Failure, Http, RequestError};
use crate::model::{Change, Names};
use crate::port::reset_in;
use crate::secrets;
use proof::WAITING;
use signature::Signer;

/// Port's `requestIdentifierPath` can use this header to drop repeated deliveries.
const DELIVERY_ID: &str = "x-delivery-id";

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Port's answers are one line long.
const LARGEST_ANSWER: usize = 64 << 10;

/// Port's webhook.
pub(crate) struct Webhook<'a> {
    http: &'a Http,
    client: Client,
    url: Url,
    /// The URL as it may be shown.
    label: String,
    in_flight: NonZeroUsize,
    payload: Payload,
    signer: Option<Signer>,
    identity: String,
    /// `None`: a post counts as delivered once Port accepts it.
    proof: Option<Proof>,
}

/// What the answer to a post says.
pub(crate) struct Posted {
    /// How long Port asks all clients to wait.
    pause: Option<Duration>,
    /// When Port answered, by Port's clock; only set if posts are verified.
    at: Option<Timestamp>,
}

impl<'a> Webhook<'a> {
    pub(crate) fn new(
        tenant: &str,
        config: &PortConfig,
        url: &SecretUrl,
        http: &'a Http,
    ) -> Result<Self, RequestError> {
        let label = format!("POST to Port's webhook at {}", url.origin());
        let identity = identity(tenant, config, url.expose());
        let url: Url = url
            .expose()
            .parse()
            .map_err(|error| Failure::Unsendable(Cause::told("its URL is invalid", error)))
            .map_err(|failure| RequestError::new(label.as_str(), failure))?;
        secrets::keep_key_of(&url);
        let PortConfig { concurrency: in_flight, payload, .. } = *config;
        let signer = config.signing.as_ref().map(Signer::new);
        let client = http.client_for(&url)?;
        Ok(Self { http, client, url, label, in_flight, payload, signer, identity, proof: None })
    }

    /// Counts a post as delivered only once `proof` confirms it.
    pub(crate) fn proven_by(self, proof: Option<Proof>) -> Self {
        Self { proof, ..self }
    }

    /// Makes one attempt to post a body.
    pub(crate) async fn post(&self, body: Bytes, delivery: Uuid) -> Result<Posted, WebhookError> {
        let signature = self.signer.as_ref().map(|signer| signer.sign(&body));
        let delivery = delivery_id(delivery);
        let request = || {
            let request = self.client.post(self.url.clone()).header(CONTENT_TYPE, JSON).header(DELIVERY_ID, &delivery);
            match (&self.signer, &signature) {
                (Some(signer), Some(signature)) => request.header(signer.header(), signature),
                _ => request,
            }
        };
        let answer = self.http.attempt_post(request, body, self.in_flight, LARGEST_ANSWER).await;
        let (result, pause, at) = match answer {
            Ok(answer) => {
                let pause = reset_in(answer.status, &answer.headers, SystemTime::now());
                let at = self.proof.as_ref().and_then(|_| http::date(&answer.headers));
                (answer.success().and_then(|answer| is_ports(&answer)), pause, at)
            }
            Err(failure) => (Err(failure), None, None),
        };
        let Err(failure) = result else { return Ok(Posted { pause, at }) };
        if let Some(signature) = signature.as_ref().and_then(|signature| signature.to_str().ok()) {
            secrets::keep_signature(signature);
        }
        Err(WebhookError::Request { request: RequestError::new(self.label.as_str(), failure), reset: pause })
    }
}

impl Sink for Webhook<'_> {
    type Parcel = Envelope;
    type Error = WebhookError;

    fn name(&self) -> &'static str {
        "Port's webhook"
    }

    fn identity(&self) -> String {
        self.identity.clone()
    }

    fn limits(&self) -> Limits {
        let limits = envelope::limits(self.payload, self.in_flight);
        // A post that waits to show in the catalog counts as in flight.
        let waiting = self.proof.as_ref().and_then(|_| NonZeroUsize::new(WAITING / limits.parcels));
        Limits { in_flight: limits.in_flight.max(waiting.unwrap_or(NonZeroUsize::MIN)), ..limits }
    }

    async fn render(&self, changes: Vec<(Change, Names)>) -> Vec<Envelope> {
        changes.into_iter().map(|(change, _)| Envelope::new(change)).collect()
    }

    async fn send(&self, envelopes: &[&Envelope], delivery: Uuid) -> Result<Receipt<WebhookError>, WebhookError> {
        let body = body(self.payload, envelopes);
        let Some(proof) = &self.proof else {
            let Posted { pause, .. } = self.post(body, delivery).await?;
            return Ok(Receipt { outcomes: vec![Ok(()); envelopes.len()], pause });
        };
        let turn = proof.post().await;
        let Posted { pause, at } = self.post(body, delivery).await?;
        drop(turn);
        // The proof's future is large and rarely needed.
        Ok(Receipt { outcomes: proof.outcomes(envelopes, self.payload, at).boxed_local().await, pause })
    }
}

/// The delivery id as a header. Ids never repeat, so HTTP/2 must not index the header: that would cost a lookup each
/// time and evict headers that do repeat (RFC 7541, section 6.2.3).
fn delivery_id(delivery: Uuid) -> HeaderValue {
    #[expect(clippy::expect_used, reason = "a UUID is hexadecimal digits and hyphens")]
    let mut value = HeaderValue::try_from(delivery.to_string()).expect("visible ASCII");
    value.set_sensitive(true);
    value
}

/// Identifies the catalog that a webhook writes to, and the payload form. The URL and the signing secret are hashed
/// together, so that neither can be guessed with only the other one known.
pub(crate) fn identity(tenant: &str, config: &PortConfig, url: &str) -> String {
    let mut sha = Sha256::new();
    let mut add = |part: &str| {
        sha.update(part.len().to_le_bytes());
        sha.update(part);
    };
    add(url);
    let signing = match &config.signing {
        Some(signing) => {
            add(signing.secret.expose_secret());
            add(signing.header.as_str());
            add(&signing.prefix);
            "signed"
        }
        None => "unsigned",
    };
    let payload = match config.payload {
        Payload::Single => "single",
        Payload::Batch => "batch",
    };
    let hash: String = sha.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("webhook {hash} {payload} {signing} tenant {tenant}")
}

/// Accepts a success only if it looks like Port's: a 202 ("Webhook", Port's documentation) without a body, or an object
/// with `"ok": true`, which a 202 may omit. That rules out proxies, sign-in pages and other services.
fn is_ports(answer: &Answer) -> Result<(), Failure> {
    #[derive(Deserialize)]
    struct Said {
        #[serde(default)]
        ok: Option<Value>,
        #[serde(default)]
        error: Option<Value>,
    }
    let body = answer.body.trim_ascii();
    let said: Option<Said> = body.starts_with(b"{").then(|| answer.json().ok()).flatten();
    let is_accepted = answer.status == StatusCode::ACCEPTED;
    let is_whole = is_accepted || matches!(answer.status, StatusCode::OK | StatusCode::CREATED);
    match said {
        Some(Said { ok: Some(Value::Bool(false)), .. }) if is_whole => Err(Failure::Status(answer.refusal())),
        Some(Said { ok: Some(Value::Bool(true)), error: None }) if is_whole => Ok(()),
        Some(Said { ok: None, error: None }) if is_accepted => Ok(()),
        None if is_accepted && body.is_empty() => Ok(()),
        _ => {
            let kind = answer.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
            let kind = if body.is_empty() { "no body" } else { kind.unwrap_or("no content type") };
            let status = answer.status.as_u16();
            Err(Failure::Unreadable(format!("status {status} with {kind} is not what Port answers").into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::config::SigningConfig;
    use crate::engine::{Fault, Letter, SharedError, SinkError};
    use crate::model::{Id, Operation};

    fn config() -> PortConfig {
        PortConfig {
            ingest_url: None,
            api: None,
            mapping_file: None,
            verify: None,
            concurrency: NonZeroUsize::MIN,
            payload: Payload::Single,
            signing: Some(SigningConfig {
                secret: "marked-secret".into(),
                header: HeaderName::from_static("x-port-signature"),
                prefix: "sha256=".into(),
            }),
        }
    }

    #[test]
    fn the_identity_changes_with_whatever_would_make_another_catalog() {
        let key = "https://ingest.example/marked-key";
        let signed = |change: fn(&mut SigningConfig)| {
            let mut config = config();
            config.signing.as_mut().map(change);
            identity("t", &config, key)
        };
        let all = [
            identity("t", &config(), key),
            identity("u", &config(), key),
            identity("t", &config(), "https://ingest.example/another"),
            identity("t", &PortConfig { payload: Payload::Batch, ..config() }, key),
            identity("t", &PortConfig { signing: None, ..config() }, key),
            signed(|signing| signing.secret = "another".into()),
            signed(|signing| signing.header = HeaderName::from_static("x-other")),
            signed(|signing| signing.prefix = String::new()),
        ];
        for (place, one) in all.iter().enumerate() {
            assert!(!one.contains("marked"), "{one}");
            assert!(!all[..place].contains(one), "{one}");
        }
        assert_eq!(identity("t", &config(), key), all[0]);
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_success_is_ports_if_it_looks_like_one() {
        let is_ports = |status: u16, body: &'static str| {
            let headers = headers(&[("content-type", "text/html")]);
            let status = StatusCode::from_u16(status).unwrap();
            super::is_ports(&Answer { status, headers, body: Bytes::from_static(body.as_bytes()) })
        };
        for (status, body) in [
            (202, ""),
            (202, "\n"),
            (202, "{}"),
            (202, r#"{"message":"queued"}"#),
            (202, r#"{"ok":true,"message":"queued"}"#),
            (201, r#"{"ok":true}"#),
            (200, "{ \"ok\": true }\n"),
        ] {
            assert!(is_ports(status, body).is_ok(), "{status} {body}");
        }
        for (status, body) in [
            (200, ""),
            (204, ""),
            (207, ""),
            (207, r#"{"ok":true}"#),
            (207, r#"{"ok":false,"errors":[]}"#),
            (206, r#"{"ok":true}"#),
            (202, "<html>Sign in</html>"),
            (202, "Accepted by the gateway"),
            (202, "[]"),
            (202, r#"{"ok":"#),
            (202, r#"{"ok":"yes"}"#),
            (202, r#"{"error":"unauthorized"}"#),
            (200, r#"{"ok":true,"error":"unauthorized"}"#),
            (200, r#"{"status":"healthy"}"#),
            (200, "{}"),
            (200, "[true]"),
            (200, "<html>"),
        ] {
            let failure = is_ports(status, body).unwrap_err().to_string();
            let kind = if body.is_empty() { "no body" } else { "text/html" };
            assert!(failure.contains(&format!("status {status} with {kind} is not what Port answers")), "{failure}");
        }
        for (status, body) in [(200, r#"{"ok":false}"#), (202, r#"{"ok":false,"error":"x","message":"no vault"}"#)] {
            let failure = is_ports(status, body).unwrap_err();
            assert!(matches!(&failure, Failure::Status(error) if error.status.as_u16() == status), "{failure}");
        }
    }

    /// Posts two envelopes, replies with `answer`, and returns the result and the request.
    async fn sent(answer: &'static str) -> (Result<Receipt<WebhookError>, WebhookError>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url: Url = format!("http://{}/marked-key", listener.local_addr().unwrap()).parse().unwrap();
        let http = Http::new(1, crate::config::Limits::default(), crate::config::NetworkConfig::default()).unwrap();
        let webhook = Webhook {
            http: &http,
            client: http.client_for(&url).unwrap(),
            url,
            label: "POST".into(),
            in_flight: NonZeroUsize::MIN,
            payload: Payload::Batch,
            signer: config().signing.as_ref().map(Signer::new),
            identity: String::new(),
            proof: None,
        };
        let envelopes = ["x", "y"].map(|name| {
            let id = Id::new(format!("/s/{name}"), 2, 2).unwrap();
            let row = format!(r#"{{"name":"{name}"}}"#).into();
            let operation = Operation::Upsert;
            Envelope::new(Change {
                id,
                operation,
                label: "resource",
                kind: "a/b".into(),
                changed_at: None,
                actor: None,
                row,
            })
        });
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = String::new();
            while !request.ends_with("]}") {
                let mut bytes = [0; 4096];
                let length = stream.read(&mut bytes).await.unwrap();
                assert!(length > 0, "it breaks off: {request}");
                request += std::str::from_utf8(&bytes[..length]).unwrap();
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            request
        };
        let envelopes = envelopes.each_ref();
        tokio::join!(webhook.send(&envelopes, Uuid::from_u128(7)), serve)
    }

    #[tokio::test]
    async fn a_post_is_one_signed_body_that_names_its_delivery() {
        let (result, request) = sent("HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n").await;
        let receipt = result.unwrap();
        assert_eq!((receipt.outcomes.len(), receipt.pause), (2, None));
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("POST /marked-key HTTP/1.1"), "{head}");
        for line in [
            "content-type: application/json",
            "x-delivery-id: 00000000-0000-0000-0000-000000000007",
            "x-port-signature: sha256=",
        ] {
            assert!(head.to_lowercase().contains(line), "{head}");
        }
        assert_eq!(
            body,
            r#"{"items":[{"data":{"name":"x"},"operation":"upsert","type":"resource"},{"data":{"name":"y"},"operation":"upsert","type":"resource"}]}"#
        );
    }

    #[tokio::test]
    async fn a_rate_limit_is_told_with_a_success_and_with_an_error() {
        let (result, _) = sent(
            "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\nx-ratelimit-remaining: 0\r\nx-ratelimit-reset: 1445412480\r\n\
             date: Wed, 21 Oct 2015 07:27:50 GMT\r\n\r\n",
        )
        .await;
        assert_eq!(result.unwrap().pause, Some(Duration::from_secs(10)));
        let (result, _) = sent("HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\nretry-after: 7\r\n\r\n").await;
        assert_eq!(result.unwrap_err().fault(), Fault::Throttled { after: Some(Duration::from_secs(7)) });
    }

    #[tokio::test]
    async fn a_rejected_envelope_becomes_a_letter_with_what_port_says() {
        let (result, _) = sent(
            "HTTP/1.1 202 Accepted\r\ncontent-length: 50\r\n\r\n{\"ok\":false,\"error\":\"x\",\"message\":\"no such vault\"}",
        )
        .await;
        assert_eq!(result.unwrap_err().fault(), Fault::Rejected, "whatever its status is");
        let (result, _) = sent(
            "HTTP/1.1 422 Unprocessable\r\ncontent-length: 50\r\n\r\n{\"ok\":false,\"error\":\"x\",\"message\":\"no such vault\"}",
        )
        .await;
        let error = result.unwrap_err();
        assert_eq!(error.fault(), Fault::Rejected);
        let id = Id::new("/s/x", 2, 2).unwrap();
        let (kind, row) = ("a/b".into(), Bytes::from_static(b"{}"));
        let change =
            Change { id, operation: Operation::Delete, label: "resource", kind, changed_at: None, actor: None, row };
        let letter = Letter::of(&Envelope::new(change), &(Rc::new(error) as SharedError));
        assert_eq!((letter.status, letter.reason.as_str()), (Some(422), "no such vault"));
        assert_eq!(letter.envelope, r#"{"data":{},"operation":"delete","type":"resource"}"#);
    }
}
