//! The kinds of credential, and the data each one signs in with.

use std::path::PathBuf;

use reqwest::Url;
use secrecy::SecretString;

/// A kind of credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialKind {
    /// An application with a client secret.
    ClientSecret,
    /// An application with a federated credential for GitHub Actions.
    GithubOidc,
    /// An application with a federated credential for a pod's service account.
    WorkloadIdentity,
    /// An application with a federated credential for a service connection in Azure Pipelines.
    AzurePipelines,
    /// An application with a certificate. Needs the feature `client-certificate`.
    ClientCertificate,
    /// The identity assigned to the machine or app.
    ManagedIdentity,
    /// The user signed in with `az`.
    AzureCli,
}

impl CredentialKind {
    /// All kinds, in the order in which they are inferred.
    pub const ALL: [Self; 7] = [
        Self::ClientSecret,
        Self::GithubOidc,
        Self::WorkloadIdentity,
        Self::AzurePipelines,
        Self::ClientCertificate,
        Self::ManagedIdentity,
        Self::AzureCli,
    ];

    /// The name in `AZURE_CREDENTIAL`.
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

/// The credential a run signs in with.
#[derive(Clone, Debug)]
pub struct CredentialConfig {
    /// Who signs in.
    pub identity: Identity,
    /// Why this credential was chosen, as a clause for the log.
    pub because: &'static str,
}

/// An application in a tenant.
#[derive(Clone, Debug)]
pub struct Application {
    /// The directory's GUID or one of its domains.
    pub tenant_id: String,
    /// The application (client) id.
    pub client_id: String,
}

/// Who signs in and how it proves its identity, for each [`CredentialKind`]. `docs/signing-in.md` lists what each needs under "Sign in
/// without a secret".
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
        /// The audience of the ID token.
        audience: String,
    },
    WorkloadIdentity {
        application: Application,
        token_file: PathBuf,
    },
    /// `azure_identity` reads `SYSTEM_OIDCREQUESTURI` itself; it was validated here.
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
    /// `azure_identity` reads `IDENTITY_ENDPOINT` and `IDENTITY_HEADER` itself.
    ManagedIdentity {
        /// The user-assigned identity; `None`: the system-assigned one.
        client_id: Option<String>,
        /// Replaces `http://169.254.169.254`.
        metadata_host: Option<Url>,
    },
    AzureCli {
        /// `None`: the current tenant of `az`.
        tenant_id: Option<String>,
    },
}

impl CredentialConfig {
    /// The kind of this credential.
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

    /// The tenant to sign in to, if the credential needs one.
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
