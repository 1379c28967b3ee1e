//! The kinds of credential, and what each needs to sign in.

use std::path::PathBuf;

use reqwest::Url;
use secrecy::SecretString;

/// A kind of credential, as `AZURE_CREDENTIAL` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialKind {
    /// An application, with a secret.
    ClientSecret,
    /// An application, vouched for by an ID token of GitHub Actions.
    GithubOidc,
    /// An application, vouched for by the token of a pod's service account.
    WorkloadIdentity,
    /// An application, vouched for by a service connection of Azure Pipelines.
    AzurePipelines,
    /// An application, with a certificate; only in a build with the feature `client-certificate`.
    ClientCertificate,
    /// The identity of the machine or the app that it runs on.
    ManagedIdentity,
    /// Whoever is signed in with `az`.
    AzureCli,
}

impl CredentialKind {
    /// In the order in which they are inferred.
    pub const ALL: [Self; 7] = [
        Self::ClientSecret,
        Self::GithubOidc,
        Self::WorkloadIdentity,
        Self::AzurePipelines,
        Self::ClientCertificate,
        Self::ManagedIdentity,
        Self::AzureCli,
    ];

    /// As `AZURE_CREDENTIAL` names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::ClientSecret => "client-secret",
            Self::GithubOidc => "github-oidc",
            Self::WorkloadIdentity => "workload-identity",
            Self::AzurePipelines => "azure-pipelines",
            Self::ClientCertificate => "client-certificate",
            Self::ManagedIdentity => "managed-identity",
            Self::AzureCli => "azure-cli",
        }
    }
}

/// The one credential of a run.
#[derive(Clone, Debug)]
pub struct CredentialConfig {
    /// Who signs in.
    pub identity: Identity,
    /// Why it is this one: a clause for the log.
    pub because: &'static str,
}

/// An application in a tenant.
#[derive(Clone, Debug)]
pub struct Application {
    /// A directory's GUID, or a domain of its.
    pub tenant_id: String,
    /// The application (client) id.
    pub client_id: String,
}

/// Who signs in, and how it proves that, for each [`CredentialKind`]; what each needs is in the README, under "Sign in without
/// a secret".
#[derive(Clone, Debug)]
pub enum Identity {
    ClientSecret {
        application: Application,
        secret: SecretString,
    },
    GithubOidc {
        application: Application,
        url: Url,
        token: SecretString,
    },
    WorkloadIdentity {
        application: Application,
        token_file: PathBuf,
    },
    /// `azure_identity` itself reads `SYSTEM_OIDCREQUESTURI`, which was checked.
    AzurePipelines {
        application: Application,
        service_connection: String,
        access_token: SecretString,
    },
    ClientCertificate {
        application: Application,
        path: PathBuf,
        password: Option<SecretString>,
    },
    /// `azure_identity` itself reads `IDENTITY_ENDPOINT` and `IDENTITY_HEADER`.
    ManagedIdentity {
        /// Which user-assigned identity; `None`: the system-assigned one.
        client_id: Option<String>,
        /// In place of `http://169.254.169.254`.
        metadata_host: Option<Url>,
    },
    AzureCli {
        /// `None`: the tenant that `az` works in.
        tenant_id: Option<String>,
    },
}

impl CredentialConfig {
    /// Which kind it is.
    pub fn kind(&self) -> CredentialKind {
        match &self.identity {
            Identity::ClientSecret { .. } => CredentialKind::ClientSecret,
            Identity::GithubOidc { .. } => CredentialKind::GithubOidc,
            Identity::WorkloadIdentity { .. } => CredentialKind::WorkloadIdentity,
            Identity::AzurePipelines { .. } => CredentialKind::AzurePipelines,
            Identity::ClientCertificate { .. } => CredentialKind::ClientCertificate,
            Identity::ManagedIdentity { .. } => CredentialKind::ManagedIdentity,
            Identity::AzureCli { .. } => CredentialKind::AzureCli,
        }
    }

    /// The tenant that it signs in to, where it must be known.
    pub fn tenant_id(&self) -> Option<&str> {
        match &self.identity {
            Identity::ClientSecret { application, .. }
            | Identity::GithubOidc { application, .. }
            | Identity::WorkloadIdentity { application, .. }
            | Identity::AzurePipelines { application, .. }
            | Identity::ClientCertificate { application, .. } => Some(&application.tenant_id),
            Identity::ManagedIdentity { .. } => None,
            Identity::AzureCli { tenant_id } => tenant_id.as_deref(),
        }
    }
}
