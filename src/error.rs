//! What can end a run badly, what a person can do about it, and the one way from there to an exit code.

use std::fmt;
use std::process::ExitCode;

use serde::{Serialize, Serializer};

use crate::azure::arm::ArmError;
use crate::azure::credential::CredentialError;
use crate::azure::graph::{GraphError, SinkError};
use crate::config::CredentialKind;
use crate::http::{Failure, RequestError};
use crate::port::dead_letter::DeadLetterError;
use crate::port::preview::PreviewError;
use crate::port::webhook::WebhookError;
use crate::sync::resume::FilterGone;
use crate::sync::store::StoreError;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Everything found was accepted.
    Ok,
    /// Something was not read or not accepted.
    Failed,
    /// The configuration or the command line is wrong.
    Configuration,
    /// Azure refused the credentials, or the principal can read no subscription.
    Credentials,
    /// All delivered but for envelopes that Port refused for themselves.
    Refused,
    /// Stopped by SIGINT.
    Interrupted,
    /// Stopped by SIGTERM.
    Terminated,
}

impl Exit {
    /// What the process ends with; all others are left to the shell.
    pub fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failed => 1,
            Self::Configuration => 2,
            Self::Credentials => 3,
            Self::Refused => 4,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }

    /// A word for it.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Configuration => "configuration",
            Self::Credentials => "credentials",
            Self::Refused => "refused",
            Self::Interrupted => "interrupted",
            Self::Terminated => "terminated",
        }
    }

    /// The one that a caller should be told where both hold.
    #[must_use]
    pub fn or_worse(self, other: Self) -> Self {
        const WORST_FIRST: [Exit; 7] = [
            Exit::Interrupted,
            Exit::Terminated,
            Exit::Configuration,
            Exit::Credentials,
            Exit::Failed,
            Exit::Refused,
            Exit::Ok,
        ];
        WORST_FIRST.into_iter().find(|exit| *exit == self || *exit == other).unwrap_or(self)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "ok: everything found was accepted",
            Self::Failed => "failed: something was not read or not accepted (exit 1)",
            Self::Configuration => "the configuration is wrong (exit 2)",
            Self::Credentials => "Azure let nothing be read with these credentials (exit 3)",
            Self::Refused => "all delivered but for envelopes that Port refused (exit 4)",
            Self::Interrupted => "stopped by SIGINT before everything was delivered (exit 130)",
            Self::Terminated => "stopped by SIGTERM before everything was delivered (exit 143)",
        })
    }
}

impl Serialize for Exit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(self.code())
    }
}

/// What may end a run before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    /// By SIGINT.
    #[error("stopped by SIGINT before everything was delivered")]
    Interrupted,
    /// By SIGTERM.
    #[error("stopped by SIGTERM before everything was delivered")]
    Terminated,
    /// By `RUN_TIMEOUT_SECONDS`.
    #[error("stopped after RUN_TIMEOUT_SECONDS before everything was delivered")]
    TimedOut,
}

/// What ended a run, or a part of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error(transparent)]
    Setup(#[from] RequestError),
    #[error(transparent)]
    Credential(#[from] CredentialError),
    #[error("listing the subscriptions: {0}")]
    Subscriptions(#[source] ArmError),
    #[error("the principal can read no subscription")]
    NoSubscription,
    #[error("{0}")]
    Query(#[from] GraphError),
    #[error(transparent)]
    Webhook(#[from] WebhookError),
    #[error(transparent)]
    Preview(#[from] PreviewError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    DeadLetter(#[from] DeadLetterError),
    #[error("the checkpoint cannot be written: {0}")]
    Checkpoint(serde_json::Error),
    #[error(transparent)]
    FilterGone(#[from] FilterGone),
    #[error("{0} of the ids could not be looked up; the log names each")]
    NotLookedUp(u64),
    #[error(transparent)]
    Stopped(#[from] Stop),
    #[error("{0} envelopes were not delivered; the log names each")]
    NotDelivered(u64),
    #[error("Port refused {0} envelopes for themselves; the log names each")]
    EnvelopesRefused(u64),
    #[error("{0} envelopes that Port refused in an earlier run were found again; they are not tried again as they are")]
    StillRefused(u64),
    #[error(
        "Port refused {0} envelopes, ten of them in a row, or accepted none at all: it is the webhook that is wrong"
    )]
    AllRefused(u64),
}

impl RunError {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Credential(CredentialError::Refused(_) | CredentialError::Unusable { .. }) | Self::NoSubscription => {
                Exit::Credentials
            }
            Self::Subscriptions(error) if error.is_refusal() => Exit::Credentials,
            Self::Query(GraphError::Request { source, .. }) if source.is_refusal() => Exit::Credentials,
            Self::EnvelopesRefused(_) | Self::StillRefused(_) => Exit::Refused,
            Self::Store(StoreError::Rights { .. }) | Self::FilterGone(_) | Self::DeadLetter(_) => Exit::Configuration,
            Self::Stopped(Stop::Interrupted) => Exit::Interrupted,
            Self::Stopped(Stop::Terminated) => Exit::Terminated,
            _ => Exit::Failed,
        }
    }

    /// Whether it only says that something else ended the run.
    pub(crate) fn is_stop(&self) -> bool {
        matches!(self, Self::Query(GraphError::Sink(SinkError::Stopped(_))))
    }

    /// What to do about it, where that is known.
    pub(crate) fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Setup(error) => request_advice(error),
            Self::Credential(error) => credential_advice(error),
            Self::Subscriptions(error) | Self::Query(GraphError::Request { source: error, .. }) => match error {
                ArmError::Credential(error) => credential_advice(error),
                ArmError::Request(error) => request_advice(error),
            },
            Self::NoSubscription => Some(
                "assign the Reader role to the service principal on the subscriptions to be read; it may take minutes to act",
            ),
            Self::Query(GraphError::Unproven { .. }) => {
                Some("the estate changed too fast to be read whole; the next run reads it again")
            }
            Self::Webhook(WebhookError::Rejected(error))
                if error.status().is_some_and(|status| status.is_redirection()) =>
            {
                request_advice(error)
            }
            Self::Webhook(WebhookError::Rejected(_)) => {
                Some("check PORT_WEBHOOK_INGEST_URL against the URL that Port shows under Data sources")
            }
            Self::Webhook(WebhookError::Down { error, .. }) => request_advice(error),
            Self::AllRefused(_) => Some(
                "check that PORT_WEBHOOK_INGEST_URL is the URL of a custom webhook, and what Port's audit log says",
            ),
            Self::FilterGone(_) => Some("set the filter again, or, if it is gone for good, run once with --mode full"),
            Self::Store(StoreError::Rights { .. }) => Some(
                "its directory must be there, and this user may write to it; or set CHECKPOINT_FILE to another path",
            ),
            Self::Store(StoreError::TooLarge { .. }) => Some(
                "divide the estate among runs with a checkpoint each, by RESOURCE_TYPES or RESOURCE_GROUP_TAG_FILTERS",
            ),
            Self::Store(StoreError::Locked { .. }) => Some("let it end; schedule runs so that they do not overlap"),
            _ => None,
        }
    }
}

const UNTRUSTED: &str = "if a proxy opens TLS on the way, name a file with its CA certificate in SSL_CERT_FILE; otherwise this \
                         is not the host that it claims to be";

pub(crate) fn request_advice(error: &RequestError) -> Option<&'static str> {
    match &error.failure {
        Failure::Connect { certificate: true, .. } => Some(UNTRUSTED),
        Failure::Connect { .. } => Some("check the host name, the network, and HTTPS_PROXY where a proxy is needed"),
        Failure::Timeout(_) => Some("check the network, and HTTPS_PROXY where a proxy is needed"),
        Failure::Status(status) if status.status.is_redirection() => {
            Some("redirects are never followed; give the address where it leads instead")
        }
        Failure::Status(status) if status.status.as_u16() == 401 => {
            Some("a new access token was refused as well; check that AZURE_CLOUD and the endpoints belong together")
        }
        Failure::Status(status) if status.status.as_u16() == 403 => {
            Some("the service principal may not do this; assign it the Reader role")
        }
        _ => None,
    }
}

/// Whether a message has this code, and not one that only begins alike.
fn names(message: &str, code: &str) -> bool {
    message.match_indices(code).any(|(at, _)| {
        let rest = message.get(at + code.len()..).unwrap_or_default();
        !rest.starts_with(|next: char| next.is_ascii_digit())
    })
}

/// The usual codes, from "Microsoft Entra authentication and authorization error codes".
pub(crate) fn credential_advice(error: &CredentialError) -> Option<&'static str> {
    const CODES: [(&str, &str); 17] = [
        ("AADSTS7000215", "AZURE_CLIENT_SECRET is wrong; it must be the secret's value, not its id"),
        ("AADSTS7000222", "the client secret has expired; create a new one and set AZURE_CLIENT_SECRET"),
        ("AADSTS700016", "AZURE_CLIENT_ID names no application in this tenant; check it and AZURE_TENANT_ID"),
        ("AADSTS90002", "AZURE_TENANT_ID names no tenant in this cloud; check it and AZURE_CLOUD"),
        ("AADSTS900023", "AZURE_TENANT_ID is neither a directory id nor a domain"),
        ("AADSTS53003", "a Conditional Access policy forbids the sign-in; ask who runs the tenant"),
        ("AADSTS700213", NO_FEDERATION),
        ("AADSTS70021", NO_FEDERATION),
        ("AADSTS700211", NO_FEDERATION),
        ("AADSTS700212", NO_FEDERATION),
        ("AADSTS700024", "the federated token has expired, or a clock is wrong; compare this machine's with Azure's"),
        (
            "AADSTS7000229",
            "the application has no service principal in this tenant; create one: az ad sp create --id …",
        ),
        ("AADSTS7000112", "the application is disabled; enable it under Enterprise applications"),
        ("AADSTS50034", "AZURE_CLIENT_ID names nobody in this tenant; check it and AZURE_TENANT_ID"),
        ("AADSTS500011", "this cloud does not know the Resource Manager endpoint; check AZURE_CLOUD and the endpoints"),
        ("AADSTS90013", "AZURE_CLIENT_ID is not an application (client) id"),
        ("AADSTS700027", "the application does not know this certificate; upload it under Certificates & secrets"),
    ];
    const NO_FEDERATION: &str = "the application has no federated credential for this; add one whose issuer and subject are \
                                 those of the workflow, pod or service connection (Certificates & secrets)";
    match error {
        CredentialError::Refused(message) => {
            CODES.iter().find(|(code, _)| names(message, code)).map(|(_, advice)| *advice)
        }
        CredentialError::Unusable { kind, .. } => Some(match kind {
            CredentialKind::ClientSecret => "check AZURE_TENANT_ID and AZURE_CLIENT_ID",
            CredentialKind::GithubOidc => "check that the job has the permission id-token: write",
            CredentialKind::WorkloadIdentity => "check that AZURE_FEDERATED_TOKEN_FILE names a file that can be read",
            CredentialKind::AzurePipelines => {
                "check SYSTEM_ACCESSTOKEN, and that the pipeline may use the service connection"
            }
            CredentialKind::ClientCertificate => "check the file, and AZURE_CLIENT_CERTIFICATE_PASSWORD",
            CredentialKind::ManagedIdentity => {
                "check that the identity is assigned to this machine, and AZURE_CLIENT_ID, which names a user-assigned one"
            }
            CredentialKind::AzureCli => "check that az is installed, and sign in with az login",
        }),
        CredentialError::Unreachable(RequestError { failure: Failure::Connect { certificate: true, .. }, .. }) => {
            Some(UNTRUSTED)
        }
        CredentialError::Unreachable(error) if error.status().is_some_and(|status| status.is_redirection()) => {
            request_advice(error)
        }
        CredentialError::Unreachable(_) => {
            Some("check AZURE_AUTHORITY_HOST, AZURE_CLOUD, the network, and HTTPS_PROXY where a proxy is needed")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_several_endings_hold_the_first_of_2_3_1_4_wins() {
        let order = [Exit::Interrupted, Exit::Configuration, Exit::Credentials, Exit::Failed, Exit::Refused, Exit::Ok];
        for (rank, worse) in order.iter().enumerate() {
            for better in order.iter().skip(rank) {
                assert_eq!(worse.or_worse(*better), *worse);
                assert_eq!(better.or_worse(*worse), *worse);
            }
        }
    }

    #[test]
    fn a_code_is_not_taken_for_one_that_begins_alike() {
        assert!(names("AADSTS70021: No matching", "AADSTS70021"));
        assert!(!names("AADSTS700219: other", "AADSTS70021"));
        assert!(names("AADSTS700219 and AADSTS70021", "AADSTS70021"));
    }

    #[test]
    fn an_expired_secret_is_explained() {
        let error = CredentialError::Refused("AADSTS7000222: The provided client secret keys are expired.".into());
        assert!(credential_advice(&error).unwrap().contains("expired"));
    }
}
