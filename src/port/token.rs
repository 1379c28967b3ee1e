//! The access token for requests.
//!
//! `POST /v1/auth/access_token` ("Create an access token", Port's API reference) with `{clientId, clientSecret}` answers
//! `{accessToken, expiresIn, tokenType}`, `expiresIn` in seconds.

use std::time::Duration;

use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderValue, USER_AGENT};
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;

use super::rate::Class;
use super::{Port, PortError};
use crate::http::{self, RequestError, bearer};
use crate::secrets;

/// A token that expires within this time is not used for new requests.
const MARGIN: Duration = Duration::from_secs(5);

#[derive(Clone)]
pub(super) struct Token {
    pub(super) header: HeaderValue,
    expires: Instant,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Given {
    access_token: String,
    #[serde(default)]
    expires_in: Option<u64>,
}

impl Port {
    /// Signs in, so that bad credentials are found before anything is written.
    pub(crate) async fn sign_in(&self) -> Result<(), PortError> {
        self.token(None).await.map(|_| ())
    }

    /// The current token, or a new one if there is none, or if it expires soon or was `refused`.
    pub(super) async fn token(&self, refused: Option<&Token>) -> Result<Token, PortError> {
        let mut token = self.token.lock().await;
        if let Some(token) = token.as_ref()
            && refused.is_none_or(|refused| refused.header != token.header)
            && token.expires > Instant::now() + MARGIN
        {
            return Ok(token.clone());
        }
        if refused.is_some() {
            tracing::warn!("Port refuses its access token; signing in again");
        }
        Ok(token.insert(self.new_token().await?).clone())
    }

    async fn new_token(&self) -> Result<Token, PortError> {
        let url = self.url(["v1", "auth", "access_token"]);
        let label = http::label("POST", &url);
        let secret = self.config.client_secret.expose_secret();
        let body = json!({"clientId": self.config.client_id, "clientSecret": secret}).to_string();
        let answered = self
            .retrying(|| async {
                let request = self.client.request(Method::POST, url.clone());
                let request = request.header(USER_AGENT, self.agent.clone());
                let request = request.header(CONTENT_TYPE, "application/json").body(body.clone());
                self.rates.turn(Class::Other).await;
                let outcome = self.http.attempt(request, self.http.limits().post_timeout, super::LARGEST_ANSWER).await;
                Self::answered(label.clone(), outcome)
            })
            .await
            .map_err(PortError::of_sign_in)?;
        let given: Given =
            answered.answer.json().map_err(|failure| PortError::from(RequestError::new(label.as_str(), failure)))?;
        secrets::keep_token(&given.access_token);
        // Even a token that expires at once is used until Port rejects it.
        let lives = Duration::from_secs(given.expires_in.unwrap_or(u64::from(u32::MAX)).min(u32::MAX.into()));
        let expires = Instant::now() + lives.max(MARGIN * 2);
        Ok(Token { header: bearer(&given.access_token, &label)?, expires })
    }
}
