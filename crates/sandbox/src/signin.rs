//! The sign-in authority: issues tokens for the only principal, and knows which are still valid. The same host also
//! vouches for the principal: GitHub's ID tokens, those of Azure Pipelines, and the metadata services of machines and
//! App Service.
mod grants;

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hyper::{Method, StatusCode, http::request::Parts};
use serde_json::json;

use crate::lock;
use crate::rng::Rng;
use crate::server::{Reply, json as reply};
use grants::Grants;
pub(crate) use grants::{Audience, Grant};

use crate::settings::{AzureSettings, CLIENT, GITHUB_TOKEN, IDENTITY_HEADER, PIPELINE_TOKEN, SECRET, TENANT};

/// The only supported `client_assertion_type`.
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Paths where the sign-in host plays another service.
pub const GITHUB: &str = "/github/idtoken";
pub const PIPELINES: &str = "/pipelines/oidctoken";
pub(crate) const METADATA: &str = "/metadata/identity/oauth2/token";
pub const APP_SERVICE: &str = "/msi/token";

pub struct SignIn {
    lifetime: Duration,
    secret_expired: bool,
    assertion: Mutex<Option<String>>,
    /// The required audience of GitHub's ID tokens.
    audience: Mutex<String>,
    /// Issued ID tokens. Each is valid for one sign-in, so a client must not reuse it.
    issued: Mutex<HashSet<String>>,
    /// Whether to accept assertions that name this principal and host, without checking their signature.
    signed: AtomicBool,
    tokens: Mutex<(Rng, HashMap<String, Instant>)>,
    grants: Grants,
    given: AtomicU64,
}

/// Why a bearer token is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadToken {
    Missing,
    Unknown,
    Expired,
}

impl SignIn {
    pub(crate) fn new(settings: &AzureSettings, seed: u64) -> Self {
        Self {
            lifetime: settings.token_lifetime,
            secret_expired: settings.secret_expired,
            assertion: Mutex::new(settings.client_assertion.clone()),
            audience: Mutex::new("api://AzureADTokenExchange".into()),
            issued: Mutex::default(),
            signed: AtomicBool::new(false),
            // Different from the numbers behind the estate's ids.
            tokens: Mutex::new((Rng::new(!seed), HashMap::new())),
            grants: Grants::default(),
            given: AtomicU64::new(0),
        }
    }

    /// From now on, accepts only this client assertion.
    pub fn accept_assertion(&self, assertion: Option<String>) {
        *lock(&self.assertion) = assertion;
    }

    /// From now on, accepts only GitHub ID tokens for this audience.
    pub fn accept_audience(&self, audience: &str) {
        audience.clone_into(&mut lock(&self.audience));
    }

    /// From now on, accepts all assertions that look signed by a certificate; only the signature is not checked.
    pub fn accept_signed_assertions(&self) {
        self.signed.store(true, Ordering::Relaxed);
    }

    /// Revokes all tokens issued so far.
    pub fn revoke_tokens(&self) {
        lock(&self.tokens).1.clear();
        self.grants.revoke();
    }

    /// How many tokens were issued.
    pub fn tokens_given(&self) -> u64 {
        self.given.load(Ordering::Relaxed)
    }

    /// The principal of an `Authorization` header.
    pub(crate) fn principal(&self, parts: &Parts) -> Result<&'static str, BadToken> {
        let expires = *lock(&self.tokens).1.get(bearer(parts)?).ok_or(BadToken::Unknown)?;
        if expires < Instant::now() { Err(BadToken::Expired) } else { Ok(CLIENT) }
    }

    /// The same for Microsoft Graph; `now` is the sandbox's time.
    pub(crate) fn grant(&self, parts: &Parts, now: i64) -> Result<Grant, BadToken> {
        self.grants.find(bearer(parts)?, now)
    }

    /// A token in the format of `az account get-access-token`.
    pub fn of_az(&self) -> String {
        let (token, expires_on) = self.mint();
        json!({"accessToken": token, "expires_on": expires_on, "subscription": "s", "tenant": TENANT, "tokenType": "Bearer"})
            .to_string()
    }

    /// `POST /{tenant}/oauth2/v2.0/token`. `arm` is the origin of Resource Manager's tokens, and `graph` that of
    /// Microsoft Graph's.
    pub(crate) fn answer(&self, parts: &Parts, body: &[u8], arm: &str, graph: &Audience<'_>) -> Reply {
        match parts.uri.path() {
            GITHUB => {
                let audience = lock(&self.audience).clone();
                return self.id_token(parts, Method::GET, GITHUB_TOKEN, ("audience", &audience), "value");
            }
            PIPELINES => {
                return self.id_token(
                    parts,
                    Method::POST,
                    PIPELINE_TOKEN,
                    ("serviceConnectionId", "sandbox"),
                    "oidcToken",
                );
            }
            METADATA => return self.metadata(parts, "metadata", "true", (arm, graph)),
            APP_SERVICE => return self.metadata(parts, "x-identity-header", IDENTITY_HEADER, (arm, graph)),
            _ => {}
        }
        let Some(tenant) = parts.uri.path().strip_suffix("/oauth2/v2.0/token").and_then(|path| path.strip_prefix('/'))
        else {
            return reply(StatusCode::NOT_FOUND, r#"{"error":"not_found","error_description":"no such endpoint"}"#);
        };
        if parts.method != Method::POST {
            let text = "The endpoint only accepts POST requests.";
            return Refusal::new(StatusCode::BAD_REQUEST, "invalid_request", 900_561, text).reply();
        }
        let form: HashMap<String, String> = url::form_urlencoded::parse(body).into_owned().collect();
        match self.check(tenant, &form, &[arm, graph.origin]) {
            Ok(resource) => self.give((resource == graph.origin).then_some(graph)),
            Err(refusal) => refusal.reply(),
        }
    }

    /// An ID token for a caller with the job's token and the right audience.
    fn id_token(&self, parts: &Parts, method: Method, token: &str, query: (&str, &str), field: &str) -> Reply {
        let given = parts.headers.get(hyper::header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        if parts.method != method || given != Some(&format!("Bearer {token}")) {
            return reply(StatusCode::UNAUTHORIZED, r#"{"message":"the token of the job is missing or wrong"}"#);
        }
        let mut pairs = url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes());
        if !pairs.any(|(name, value)| (&*name, &*value) == query) {
            return reply(StatusCode::BAD_REQUEST, r#"{"message":"no such audience or service connection"}"#);
        }
        let id_token = format!("eyJhbGciOiJSUzI1NiJ9.{:016x}.s4ndb0xIdToken", lock(&self.tokens).0.next());
        lock(&self.issued).insert(id_token.clone());
        reply(StatusCode::OK, json!({field: id_token}).to_string())
    }

    /// A token for the machine's identity, or for the user-assigned one that is the principal.
    fn metadata(&self, parts: &Parts, header: &str, value: &str, (arm, graph): (&str, &Audience<'_>)) -> Reply {
        let query: HashMap<String, String> =
            url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
        let given = parts.headers.get(header).and_then(|value| value.to_str().ok());
        let refused = |text: &str| {
            reply(StatusCode::BAD_REQUEST, json!({"error": "invalid_request", "error_description": text}).to_string())
        };
        if given != Some(value) || query.get("api-version").map(String::as_str) != Some("2019-08-01") {
            return refused("Required metadata header not specified");
        }
        let resource = query.get("resource").map_or("", |resource| resource.trim_end_matches('/'));
        if ![arm, graph.origin].contains(&resource) {
            return refused("AADSTS500011: The resource principal was not found");
        }
        if query.get("client_id").is_some_and(|id| id != CLIENT) {
            return refused("Identity not found");
        }
        let (token, expires_on) = if resource == arm { self.mint() } else { self.mint_for(graph) };
        let body = json!({
            "access_token": token, "expires_on": expires_on.to_string(), "resource": resource, "token_type": "Bearer",
        });
        reply(StatusCode::OK, body.to_string())
    }

    /// Which resource a request is for.
    fn check<'a>(
        &self,
        tenant: &str,
        form: &HashMap<String, String>,
        resources: &[&'a str],
    ) -> Result<&'a str, Refusal> {
        let field = |name: &str| form.get(name).map_or("", String::as_str);
        let bad = |error, code, text: &str| Err(Refusal::new(StatusCode::BAD_REQUEST, error, code, text));
        let denied = |error, code, text: &str| Err(Refusal::new(StatusCode::UNAUTHORIZED, error, code, text));
        if !tenant.chars().all(|c| c.is_ascii_alphanumeric() || "-.".contains(c)) || tenant.is_empty() {
            let text = format!(
                "Specified tenant identifier '{tenant}' is neither a valid DNS name, nor a valid external domain."
            );
            return bad("invalid_request", 900_023, &text);
        }
        if !tenant.eq_ignore_ascii_case(TENANT) {
            let text = format!("Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID.");
            return bad("invalid_request", 90_002, &text);
        }
        if field("grant_type") != "client_credentials" {
            return bad("unsupported_grant_type", 70_003, "The app requested an unsupported grant type.");
        }
        if !field("client_id").eq_ignore_ascii_case(CLIENT) {
            let text = format!(
                "Application with identifier '{}' was not found in the directory 'Sandbox'.",
                field("client_id")
            );
            return bad("unauthorized_client", 700_016, &text);
        }
        if form.contains_key("client_assertion") {
            self.check_assertion(form)?;
        } else if field("client_secret") != SECRET {
            let text = "Invalid client secret provided. Ensure the secret being sent in the request is the client secret \
                        value, not the client secret ID.";
            return denied("invalid_client", 7_000_215, text);
        } else if self.secret_expired {
            let text = format!("The provided client secret keys for app '{CLIENT}' are expired.");
            return denied("invalid_client", 7_000_222, &text);
        }
        let scope = field("scope");
        let asked = scope.split(' ').map(|scope| scope.trim_end_matches(".default").trim_end_matches('/'));
        if let Some(resource) = resources.iter().find(|resource| asked.clone().any(|asked| asked == **resource)) {
            return Ok(resource);
        }
        bad(
            "invalid_scope",
            70_011,
            &format!("The provided value for the input parameter 'scope' is not valid: {scope}."),
        )
    }

    fn check_assertion(&self, form: &HashMap<String, String>) -> Result<(), Refusal> {
        let is_bearer = form.get("client_assertion_type").is_some_and(|ty| ty == JWT_BEARER);
        let given = form.get("client_assertion");
        let is_known = lock(&self.assertion).as_ref() == given;
        let is_signed = self.signed.load(Ordering::Relaxed) && given.is_some_and(|given| given.split('.').count() == 3);
        if is_bearer && (is_known || is_signed || given.is_some_and(|given| lock(&self.issued).remove(given))) {
            return Ok(());
        }
        let text = "No matching federated identity record found for presented assertion.";
        Err(Refusal::new(StatusCode::UNAUTHORIZED, "invalid_client", 700_213, text))
    }

    fn give(&self, graph: Option<&Audience<'_>>) -> Reply {
        let (token, seconds) = match graph {
            None => (self.mint().0, self.lifetime.as_secs()),
            Some(graph) => (self.mint_for(graph).0, graph.settings.token_lifetime.as_secs()),
        };
        let body = json!({
            "token_type": "Bearer", "expires_in": seconds, "ext_expires_in": seconds, "access_token": token,
        });
        reply(StatusCode::OK, body.to_string())
    }

    /// Issues a new token; also returns its expiry, in seconds since the epoch.
    fn mint(&self) -> (String, u64) {
        let (rng, tokens) = &mut *lock(&self.tokens);
        let token = format!("eyJ0eXAi.{:016x}{:016x}.{:016x}", rng.next(), rng.next(), rng.next());
        let now = Instant::now();
        tokens.retain(|_, expires| *expires > now);
        tokens.insert(token.clone(), now + self.lifetime);
        self.given.fetch_add(1, Ordering::Relaxed);
        (token, expires_on(self.lifetime))
    }

    /// The same for Microsoft Graph.
    fn mint_for(&self, graph: &Audience<'_>) -> (String, u64) {
        let number = lock(&self.tokens).0.next();
        self.given.fetch_add(1, Ordering::Relaxed);
        (self.grants.mint(graph, number), expires_on(graph.settings.token_lifetime))
    }
}

fn expires_on(lifetime: Duration) -> u64 {
    (SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + lifetime).as_secs()
}

fn bearer(parts: &Parts) -> Result<&str, BadToken> {
    let header = parts.headers.get(hyper::header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    header.and_then(|header| header.strip_prefix("Bearer ")).ok_or(BadToken::Missing)
}

/// A rejected token request, in Entra ID's words.
struct Refusal {
    status: StatusCode,
    error: &'static str,
    code: u32,
    text: String,
}

impl Refusal {
    fn new(status: StatusCode, error: &'static str, code: u32, text: &str) -> Self {
        Self { status, error, code, text: text.to_owned() }
    }

    fn reply(&self) -> Reply {
        let Self { status, error, code, text } = self;
        let trace = "5a4db0c0-0000-4000-8000-000000000000";
        let body = json!({
            "error": error,
            "error_description": format!(
                "AADSTS{code}: {text} See the application's page.\r\nTrace ID: {trace}\r\nCorrelation ID: {trace}\r\n\
                 Timestamp: 2026-01-02 03:04:05Z"
            ),
            "error_codes": [code],
            "trace_id": trace,
            "correlation_id": trace,
            "error_uri": format!("https://login.microsoftonline.com/error?code={code}"),
        });
        // Entra ID's JSON escapes apostrophes.
        reply(*status, body.to_string().replace('\'', "\\u0027"))
    }
}
