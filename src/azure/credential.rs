//! Which credential signs in, and an access token from it.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::{Duration, Instant};

use azure_core::cloud::{CloudConfiguration, CustomConfiguration};
use azure_core::credentials::{AccessToken, TokenCredential};
use azure_core::http::headers::Headers;
use azure_core::http::{AsyncRawResponse, Body, ClientOptions, HttpClient, Request, RetryOptions, Transport};
use azure_identity::{ClientSecretCredential, ClientSecretCredentialOptions};
use secrecy::ExposeSecret;

use crate::config::AzureConfig;
use crate::http::{Failure, Http, RequestError};
use crate::text::printable;

/// One attempt at the sign-in host; a healthy one answers within a second.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CredentialError {
    /// Entra ID said no; its message carries the AADSTS code.
    #[error("Azure refused the credentials: {0}")]
    Refused(String),
    /// Entra ID could not be asked, or its answer not be read.
    #[error("signing in: {0}")]
    Unreachable(String),
}

/// Gives tokens for one scope. `azure_identity` caches a token and renews it five minutes before it expires, so that a token
/// can be asked for before each request.
pub(crate) struct Credential {
    inner: Arc<dyn TokenCredential>,
    scope: String,
}

impl Credential {
    /// The service principal of the configuration, for Resource Manager's scope.
    pub(crate) fn new(config: &AzureConfig, http: &Arc<Http>) -> Result<Self, CredentialError> {
        let authority = config.authority_host.as_str().to_owned();
        let mut cloud = CustomConfiguration::default();
        cloud.authority_host = authority;
        let client_options = ClientOptions {
            transport: Some(Transport::new(Arc::new(SignIn { http: Arc::clone(http) }))),
            cloud: Some(Arc::new(CloudConfiguration::Custom(cloud))),
            // Ours tell the cause and keep to a deadline; theirs would wait in silence beneath them.
            retry: RetryOptions::none(),
            ..ClientOptions::default()
        };
        let inner = ClientSecretCredential::new(
            &config.tenant_id,
            config.client_id.clone(),
            config.client_secret.expose_secret().to_owned().into(),
            Some(ClientSecretCredentialOptions { client_options }),
        )
        .map_err(|error| CredentialError::Refused(error.to_string()))?;
        let scope = format!("{}/.default", config.resource_manager.as_str().trim_end_matches('/'));
        Ok(Self { inner, scope })
    }

    pub(crate) async fn token(&self) -> Result<AccessToken, CredentialError> {
        self.inner.get_token(&[&self.scope], None).await.map_err(|error| explain(&error))
    }
}

/// Sorts an error of `azure_identity`: our transport's own failure, Entra ID's refusal, or an answer that is neither.
fn explain(error: &azure_core::Error) -> CredentialError {
    let mut refusal = None;
    let mut root = error.to_string();
    let mut source: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(cause) = source {
        if let Some(request) = cause.downcast_ref::<RequestError>() {
            return CredentialError::Unreachable(request.to_string());
        }
        if let Some(azure) = cause.downcast_ref::<azure_core::Error>()
            && matches!(azure.kind(), azure_core::error::ErrorKind::HttpResponse { .. })
        {
            refusal = Some(azure.to_string());
        }
        root = cause.to_string();
        source = cause.source();
    }
    match refusal {
        Some(message) => CredentialError::Refused(printable(&message).to_string()),
        None => CredentialError::Unreachable(format!(
            "the sign-in host's answer cannot be understood: {}",
            printable(&root)
        )),
    }
}

/// `azure_identity`'s requests, over our client and under our rule of retries.
#[derive(Debug)]
struct SignIn {
    http: Arc<Http>,
}

#[async_trait::async_trait]
impl HttpClient for SignIn {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let label = format!("sign-in at {}", request.url().origin().ascii_serialization());
        let deadline = Instant::now() + self.http.limits().sign_in_timeout;
        let answer = self
            .http
            .retrying(Some(deadline), RequestError::is_transient, || async {
                let timeout = ATTEMPT_TIMEOUT.min(deadline.saturating_duration_since(Instant::now()));
                let answer = self
                    .http
                    .attempt(self.translate(request)?, timeout)
                    .await
                    .map_err(|failure| RequestError::new(label.as_str(), failure))?;
                // A token, or a refusal that the credential reads for itself.
                let refused = RequestError::new(label.as_str(), Failure::Status(answer.refusal()));
                if answer.status.is_success() || (answer.status.is_client_error() && !refused.is_transient()) {
                    Ok(answer)
                } else {
                    Err(refused)
                }
            })
            .await
            .map_err(|error| {
                azure_core::Error::with_error(azure_core::error::ErrorKind::Io, error, "signing in failed")
            })?;
        Ok(AsyncRawResponse::from_bytes(answer.status.as_u16().into(), Headers::new(), answer.body))
    }
}

impl SignIn {
    fn translate(&self, request: &Request) -> Result<reqwest::RequestBuilder, RequestError> {
        let unsupported = |what: &str| {
            RequestError::new("sign-in", Failure::Unreadable(format!("a credential wants to send {what}")))
        };
        let method = reqwest::Method::from_bytes(request.method().as_ref().as_bytes())
            .map_err(|_| unsupported("an unknown method"))?;
        let mut builder = self.http.client().request(method, request.url().clone());
        for (name, value) in request.headers().iter() {
            builder = builder.header(name.as_str(), value.as_str());
        }
        match request.body() {
            Body::Bytes(bytes) => Ok(builder.body(bytes.clone())),
            Body::SeekableStream(_) => Err(unsupported("a stream")),
        }
    }
}
