//! What to do when signing in fails, by what Entra ID says.

use super::arm::ArmError;
use super::credential::CredentialError;
use crate::config::CredentialKind;
use crate::error::{Exit, Problem};
use crate::http::{Failure, RequestError, UNTRUSTED};

/// The usual codes, from "Microsoft Entra authentication and authorization error codes".
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
    ("AADSTS7000229", "the application has no service principal in this tenant; create one: az ad sp create --id …"),
    ("AADSTS7000112", "the application is disabled; enable it under Enterprise applications"),
    ("AADSTS50034", "AZURE_CLIENT_ID matches nothing in this tenant; check it and AZURE_TENANT_ID"),
    ("AADSTS500011", "this cloud does not know the Resource Manager endpoint; check AZURE_CLOUD and the endpoints"),
    ("AADSTS90013", "AZURE_CLIENT_ID is not an application (client) id"),
    ("AADSTS700027", "the application does not know this certificate; upload it under Certificates & secrets"),
];
const NO_FEDERATION: &str = "the application has no federated credential for this; add one whose issuer and subject are \
                             those of the workflow, pod or service connection (Certificates & secrets)";

impl Problem for CredentialError {
    fn exit(&self) -> Exit {
        match self {
            Self::Refused(_) | Self::Unusable { .. } => Exit::Credentials,
            Self::Unreachable(_) => Exit::Failed,
        }
    }

    fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Refused(message) => CODES.iter().find(|(code, _)| names(message, code)).map(|(_, advice)| *advice),
            Self::Unusable { kind, .. } => Some(match kind {
                CredentialKind::ClientSecret => "check AZURE_TENANT_ID and AZURE_CLIENT_ID",
                CredentialKind::GithubOidc => "check that the job has the permission id-token: write",
                CredentialKind::WorkloadIdentity => {
                    "check that AZURE_FEDERATED_TOKEN_FILE names a file that can be read"
                }
                CredentialKind::AzurePipelines => {
                    "check SYSTEM_ACCESSTOKEN, and that the pipeline may use the service connection"
                }
                CredentialKind::ClientCertificate => "check the file, and AZURE_CLIENT_CERTIFICATE_PASSWORD",
                CredentialKind::ManagedIdentity => {
                    "check that the identity is assigned to this machine, and AZURE_CLIENT_ID, which names a user-assigned one"
                }
                CredentialKind::AzureCli => "check that az is installed, and sign in with az login",
            }),
            Self::Unreachable(RequestError { failure: Failure::Connect { certificate: true, .. }, .. }) => {
                Some(UNTRUSTED)
            }
            Self::Unreachable(error) if error.status().is_some_and(|status| status.is_redirection()) => error.advice(),
            Self::Unreachable(_) => {
                Some("check AZURE_AUTHORITY_HOST, AZURE_CLOUD, the network, and HTTPS_PROXY if a proxy is needed")
            }
        }
    }
}

impl Problem for ArmError {
    fn exit(&self) -> Exit {
        if self.is_refusal() { Exit::Credentials } else { Exit::Failed }
    }

    fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Credential(error) => error.advice(),
            Self::Request(error) => error.advice(),
        }
    }
}

/// Whether a message has this code, and not one that only begins alike.
fn names(message: &str, code: &str) -> bool {
    message.match_indices(code).any(|(at, _)| {
        let rest = message.get(at + code.len()..).unwrap_or_default();
        !rest.starts_with(|next: char| next.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_not_taken_for_one_that_begins_alike() {
        assert!(names("AADSTS70021: No matching", "AADSTS70021"));
        assert!(!names("AADSTS700219: other", "AADSTS70021"));
        assert!(names("AADSTS700219 and AADSTS70021", "AADSTS70021"));
    }

    #[test]
    fn an_expired_secret_is_explained() {
        let error = CredentialError::Refused("AADSTS7000222: The provided client secret keys are expired.".into());
        assert!(error.advice().unwrap().contains("expired"));
    }
}
