//! Tokens for Microsoft Graph. Unlike Resource Manager's, they contain roles and are readable.
use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value as Json, json};

use super::BadToken;
use crate::lock;
use crate::settings::{CLIENT, EntraSettings, TENANT};

/// What a token for Microsoft Graph grants.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    roles: Vec<String>,
    /// By the sandbox's clock.
    expires: i64,
}

impl Grant {
    pub(crate) fn has(&self, role: &str) -> bool {
        self.roles.iter().any(|own| own == role)
    }
}

/// The audience of Microsoft Graph's tokens, and their contents.
pub(crate) struct Audience<'a> {
    pub origin: &'a str,
    pub settings: EntraSettings,
    /// In milliseconds since the epoch.
    pub now: i64,
}

#[derive(Default)]
pub(super) struct Grants(Mutex<HashMap<String, Grant>>);

impl Grants {
    /// Issues a new token; `number` makes it unique.
    pub(super) fn mint(&self, audience: &Audience<'_>, number: u64) -> String {
        let Audience { origin, settings, now } = audience;
        let lifetime = settings.token_lifetime;
        // Clients compare it with their own clock, the machine's.
        let machine = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut claims = json!({
            "aud": origin, "iss": format!("https://sts.windows.net/{TENANT}/"), "appid": CLIENT, "tid": TENANT,
            "iat": machine, "nbf": machine, "exp": machine + lifetime.as_secs(), "idtyp": "app",
        });
        if let Some(roles) = &settings.roles {
            claims["roles"] = json!(roles);
        }
        let part = |json: &Json| BASE64_URL_SAFE_NO_PAD.encode(json.to_string());
        let token = format!("{}.{}.{number:016x}", part(&json!({"typ": "JWT", "alg": "RS256"})), part(&claims));
        let roles = settings.roles.clone().unwrap_or_default();
        let grant = Grant { roles, expires: now + lifetime.as_millis() as i64 };
        lock(&self.0).insert(token.clone(), grant);
        token
    }

    pub(super) fn find(&self, token: &str, now: i64) -> Result<Grant, BadToken> {
        let grant = lock(&self.0).get(token).cloned().ok_or(BadToken::Unknown)?;
        if grant.expires <= now { Err(BadToken::Expired) } else { Ok(grant) }
    }

    pub(super) fn revoke(&self) {
        lock(&self.0).clear();
    }
}
