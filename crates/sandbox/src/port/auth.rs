//! Sign-in: one token for all credentials, which stays the same until it expires.
use std::sync::Mutex;
use std::time::{Duration, Instant};

use hyper::StatusCode;
use hyper::header::AUTHORIZATION;
use hyper::http::request::Parts;
use serde_json::json;

use super::api::{Ask, Outcome, Refusal};
use crate::lock;
use crate::settings::PORT_CLIENT_SECRET;

#[derive(Default)]
pub(super) struct Tokens(Mutex<Given>);

#[derive(Default)]
struct Given {
    token: Option<(String, Instant)>,
    count: u64,
}

impl Tokens {
    pub(super) fn revoke(&self) {
        lock(&self.0).token = None;
    }

    pub(super) fn count(&self) -> u64 {
        lock(&self.0).count
    }

    pub(super) fn is_good(&self, parts: &Parts) -> bool {
        let header = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let given = header.and_then(|header| header.strip_prefix("Bearer "));
        let current = &lock(&self.0).token;
        current.as_ref().is_some_and(|(token, expires)| Some(token.as_str()) == given && Instant::now() < *expires)
    }

    /// The valid token, and its remaining lifetime.
    fn token(&self, lifetime: Duration) -> (String, Duration) {
        let (given, now) = (&mut *lock(&self.0), Instant::now());
        if given.token.as_ref().is_none_or(|(_, expires)| *expires <= now) {
            given.count += 1;
            given.token = Some((format!("eyJhbGciOiJSUzI1NiJ9.p0rt{:08x}.s4ndb0x", given.count), now + lifetime));
        }
        let (token, expires) = given.token.clone().unwrap_or((String::new(), now));
        (token, expires - now)
    }
}

/// `POST /v1/auth/access_token`.
pub(super) fn sign_in(ask: &Ask<'_>) -> Result<Outcome, Refusal> {
    let body = ask.body("token")?;
    if ask.settings.clients.iter().all(|known| body["clientId"] != **known)
        || body["clientSecret"] != PORT_CLIENT_SECRET
    {
        let status = StatusCode::from_u16(ask.settings.wrong_credentials).unwrap_or(StatusCode::UNAUTHORIZED);
        return Err(Refusal::new(status, "invalid_credentials", "Invalid client ID or client secret"));
    }
    let (token, left) = ask.port.tokens.token(ask.settings.token_lifetime);
    let body = json!({"ok": true, "accessToken": token, "expiresIn": left.as_secs(), "tokenType": "Bearer"});
    Ok(Outcome { status: StatusCode::OK, body })
}
