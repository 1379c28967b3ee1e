//! The credential to sign in with, and its access token.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::{Duration, Instant};

use azure_core::cloud::{CloudConfiguration, CustomConfiguration};
use azure_core::credentials::{AccessToken, TokenCredential};
use azure_core::http::{ClientOptions, RetryOptions, Transport};
use azure_core::time::OffsetDateTime;
use azure_identity::{
    AzureCliCredential, AzureCliCredentialOptions, AzurePipelinesCredential, AzurePipelinesCredentialOptions,
    ClientAssertionCredential, ClientAssertionCredentialOptions, ClientSecretCredential, ClientSecretCredentialOptions,
    ManagedIdentityCredential, ManagedIdentityCredentialOptions, UserAssignedId,
};
use reqwest::Url;
use secrecy::ExposeSecret;
use tokio::sync::Mutex;

use super::sign_in::{GithubIdToken, Shell, SignIn, TokenFile};
use crate::config::{Application, AzureConfig, CredentialKind, Identity};
use crate::error::Cause;
use crate::http::{self, Failure, Http, RequestError};
use crate::secrets;
use crate::text::printable;

/// A token is renewed this long before it expires.
const RENEWAL: Duration = Duration::from_secs(5 * 60);

/// If it cannot be renewed, it is used until this long before it expires, and the renewal is retried only now and then:
/// every attempt holds up all requests.
const LAST_USE: Duration = Duration::from_secs(60);
const RENEW_AGAIN: Duration = Duration::from_secs(30);

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CredentialError {
    /// Entra ID refused; its message has the AADSTS code, a few sentences, and ids to trace the request by.
    #[error("Azure refused the credentials: {}", code(.0).unwrap_or(.0))]
    Refused(String),
    /// The credential has nothing to sign in with.
    #[error("cannot sign in with {}: {}", .kind.name(), printable(&.source.to_string()))]
    Unusable { kind: CredentialKind, source: Cause },
    /// Entra ID could not be reached, or its answer could not be read.
    #[error("signing in: {0}")]
    Unreachable(RequestError),
}

/// The code in a message from Entra ID.
pub(super) fn code(message: &str) -> Option<&str> {
    let code = message.get(message.find("AADSTS")?..)?;
    let digits = code.trim_start_matches("AADSTS").find(|c: char| !c.is_ascii_digit());
    code.get(..digits.map_or(code.len(), |digits| "AADSTS".len() + digits))
}

/// Gives tokens for one scope: the same one until it is about to expire, so that callers can ask before each request.
pub(crate) struct Credential {
    config: AzureConfig,
    http: Arc<Http>,
    scope: String,
    held: Mutex<Held>,
}

struct Held {
    inner: Arc<dyn TokenCredential>,
    token: Option<AccessToken>,
    /// When to retry a renewal that failed.
    renew_at: Option<Instant>,
}

impl Credential {
    /// The configured credential, for the scope of the service at this origin.
    pub(crate) fn new(config: &AzureConfig, service: &Url, http: &Arc<Http>) -> Result<Self, CredentialError> {
        let kind = config.credential.kind();
        tracing::info!("signing in with {}, as {}", kind.name(), config.credential.because);
        let scope = format!("{}/.default", service.origin().ascii_serialization());
        let held = Held { inner: build(config, http)?, token: None, renew_at: None };
        Ok(Self { config: config.clone(), http: Arc::clone(http), scope, held: Mutex::new(held) })
    }

    pub(crate) async fn token(&self) -> Result<AccessToken, CredentialError> {
        // Held while the token is renewed: the others would request the same one.
        let mut held = self.held.lock().await;
        let lasts = |token: &AccessToken, least: Duration| token.expires_on > OffsetDateTime::now_utc() + least;
        if let Some(token) = &held.token
            && (lasts(token, RENEWAL) || held.renew_at.is_some_and(|at| Instant::now() < at && lasts(token, LAST_USE)))
        {
            return Ok(token.clone());
        }
        let renewed = held.inner.get_token(&[&self.scope], None).await;
        match renewed.map_err(|error| explain(self.config.credential.kind(), error)) {
            // `azure_identity` takes an answer without a token for an empty token.
            Ok(token) if token.token.secret().is_empty() => Err(unreadable("it contains no token")),
            Ok(token) => {
                secrets::keep_token(token.token.secret());
                held.token = Some(token.clone());
                held.renew_at = None;
                Ok(token)
            }
            Err(error @ CredentialError::Unreachable(_)) => match held.token.clone() {
                Some(token) if lasts(&token, LAST_USE) => {
                    tracing::warn!("the access token cannot be renewed yet: {error}");
                    held.renew_at = Some(Instant::now() + RENEW_AGAIN);
                    Ok(token)
                }
                _ => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    /// Forgets a token that was refused before it expired, so that the next one is new.
    pub(crate) async fn discard(&self, refused: &AccessToken) -> Result<(), CredentialError> {
        let mut held = self.held.lock().await;
        // Another request may have been faster.
        if held.token.as_ref().is_some_and(|token| token.token.secret() == refused.token.secret()) {
            // `azure_identity` also caches tokens, and cannot be told to forget one.
            *held = Held { inner: build(&self.config, &self.http)?, token: None, renew_at: None };
        }
        Ok(())
    }
}

fn build(config: &AzureConfig, http: &Arc<Http>) -> Result<Arc<dyn TokenCredential>, CredentialError> {
    let kind = config.credential.kind();
    let mut cloud = CustomConfiguration::default();
    config.authority_host.as_str().clone_into(&mut cloud.authority_host);
    let cloud = Arc::new(CloudConfiguration::Custom(cloud));
    let client_options = |sign_in: SignIn| ClientOptions {
        transport: Some(Transport::new(Arc::new(sign_in))),
        cloud: Some(Arc::clone(&cloud)),
        // Our retries log the cause and keep to a deadline; theirs would wait silently underneath.
        retry: RetryOptions::none(),
        ..ClientOptions::default()
    };
    let entra = || client_options(SignIn::new(http));
    let assertion_options = || ClientAssertionCredentialOptions { client_options: entra() };
    let ids = |application: &Application| (application.tenant_id.clone(), application.client_id.clone());

    let built: azure_core::Result<Arc<dyn TokenCredential>> = match &config.credential.identity {
        Identity::ClientSecret { application, secret } => {
            let (tenant, client) = ids(application);
            let options = ClientSecretCredentialOptions { client_options: entra() };
            let secret = secret.expose_secret().to_owned().into();
            ClientSecretCredential::new(&tenant, client, secret, Some(options)).map(|built| built as _)
        }
        Identity::GithubOidc { application, url, token, audience } => {
            let (tenant, client) = ids(application);
            let assertion = GithubIdToken::new(http, url, token, audience);
            ClientAssertionCredential::new(tenant, client, assertion, Some(assertion_options())).map(|built| built as _)
        }
        Identity::WorkloadIdentity { application, token_file } => {
            let (tenant, client) = ids(application);
            let assertion = TokenFile::new(token_file).map_err(|cause| unusable(kind, cause))?;
            ClientAssertionCredential::new(tenant, client, assertion, Some(assertion_options())).map(|built| built as _)
        }
        Identity::AzurePipelines { application, service_connection, access_token } => {
            let (tenant, client) = ids(application);
            let options = AzurePipelinesCredentialOptions { credential_options: assertion_options() };
            let token = access_token.expose_secret().to_owned();
            AzurePipelinesCredential::new(tenant, client, service_connection, token, Some(options))
                .map(|built| built as _)
        }
        Identity::ClientCertificate { application, path, password } => {
            return certificate(application, path, password.as_ref(), entra());
        }
        Identity::ManagedIdentity { client_id, metadata_host } => {
            let sign_in = SignIn::metadata(http, metadata_host.clone()).map_err(CredentialError::Unreachable)?;
            let options = ManagedIdentityCredentialOptions {
                user_assigned_id: client_id.clone().map(UserAssignedId::ClientId),
                client_options: client_options(sign_in),
            };
            ManagedIdentityCredential::new(Some(options)).map(|built| built as _)
        }
        Identity::AzureCli { tenant_id } => {
            let executor = Arc::new(Shell { timeout: http.limits().sign_in_timeout });
            let options = AzureCliCredentialOptions {
                tenant_id: tenant_id.clone(),
                executor: Some(executor),
                ..AzureCliCredentialOptions::default()
            };
            AzureCliCredential::new(Some(options)).map(|built| built as _)
        }
    };
    built.map_err(|error| unusable(kind, error))
}

#[cfg(feature = "client-certificate")]
fn certificate(
    application: &Application,
    path: &std::path::Path,
    password: Option<&secrecy::SecretString>,
    client_options: ClientOptions,
) -> Result<Arc<dyn TokenCredential>, CredentialError> {
    use azure_identity::{ClientCertificateCredential, ClientCertificateCredentialOptions};

    use super::sign_in::of_file;

    let unusable = |cause: Cause| unusable(CredentialKind::ClientCertificate, cause);
    if let Some(password) = password {
        secrets::keep(password.expose_secret());
    }
    let bytes = std::fs::read(path).map_err(|error| unusable(of_file(path, error)))?;
    if bytes.starts_with(b"-----BEGIN") {
        return Err(unusable(format!(
            "{} is a PEM file, but a PKCS#12 file is needed; create one with: openssl pkcs12 -export -in {0} -out certificate.pfx",
            path.display()
        )
        .into()));
    }
    let options = ClientCertificateCredentialOptions {
        client_options,
        password: password.map(|password| password.expose_secret().to_owned().into()),
    };
    let (tenant, client) = (application.tenant_id.clone(), application.client_id.clone());
    match ClientCertificateCredential::new(tenant, client, bytes.into(), Some(options)) {
        Ok(built) => Ok(built),
        Err(error) => Err(unusable(of_file(path, by_root(error)))),
    }
}

#[cfg(not(feature = "client-certificate"))]
fn certificate(
    _: &Application,
    _: &std::path::Path,
    _: Option<&secrecy::SecretString>,
    _: ClientOptions,
) -> Result<Arc<dyn TokenCredential>, CredentialError> {
    Err(unusable(CredentialKind::ClientCertificate, "this build was made without it"))
}

fn unusable(kind: CredentialKind, cause: impl Into<Cause>) -> CredentialError {
    CredentialError::Unusable { kind, source: cause.into() }
}

/// An answer that is neither a token nor a refusal.
fn unreadable(cause: impl Into<Cause>) -> CredentialError {
    let failure = Failure::Unreadable(cause.into());
    CredentialError::Unreachable(RequestError::new("reading the sign-in host's answer", failure))
}

/// Classifies an error of `azure_identity`: our transport's own failure, Entra ID's refusal, or an answer that is
/// neither.
fn explain(kind: CredentialKind, error: azure_core::Error) -> CredentialError {
    let mut refusal = None;
    let mut source: Option<&(dyn StdError + 'static)> = Some(&error);
    while let Some(cause) = source {
        if let Some(request) = cause.downcast_ref::<RequestError>() {
            return if request.status().is_some_and(|status| status.is_client_error()) && !request.is_transient() {
                unusable(kind, request.clone())
            } else {
                CredentialError::Unreachable(request.clone())
            };
        }
        if let Some(azure) = cause.downcast_ref::<azure_core::Error>()
            && let azure_core::error::ErrorKind::HttpResponse { status, .. } = azure.kind()
        {
            let message = azure.to_string();
            refusal =
                Some(if message.trim().is_empty() { format!("status {status}, without a reason") } else { message });
        }
        source = cause.source();
    }
    match (refusal, kind) {
        (Some(message), CredentialKind::ManagedIdentity) => unusable(kind, Cause::told(message, error)),
        // From Azure DevOps, which answers before Entra ID; the list of headers that ends its message is empty.
        (Some(message), CredentialKind::AzurePipelines) if !message.contains("AADSTS") => {
            unusable(kind, Cause::told(message.trim_end_matches(" Headers"), error))
        }
        (Some(message), _) => CredentialError::Refused(printable(&message).to_string()),
        // Nothing was sent over the network except by `az` itself.
        (None, CredentialKind::AzureCli) => unusable(kind, by_root(error)),
        (None, _) => unreadable(by_root(error)),
    }
}

/// Tells an error by its root cause.
fn by_root(error: azure_core::Error) -> Cause {
    let mut root: &(dyn StdError + 'static) = &error;
    while let Some(cause) = root.source() {
        root = cause;
    }
    match root.downcast_ref() {
        // It may quote an answer with a token, so only its place is kept.
        Some(json) => http::place(json).into(),
        None => Cause::told(root.to_string(), error),
    }
}
