//! What to do when signing in fails, depending on what Entra ID says.

use std::ops::RangeInclusive;

use super::api::ApiError;
use super::credential::{CredentialError, code};
use crate::config::CredentialKind;
use crate::error::{Exit, Problem};
use crate::http::Failure;

/// The usual codes, from "Microsoft Entra authentication and authorization error codes".
const CODES: [(&str, &str); 17] = [
    ("AADSTS7000215", "AZURE_CLIENT_SECRET is wrong; it must be the secret's value, not its id"),
    ("AADSTS7000222", "the client secret has expired; create a new one and set AZURE_CLIENT_SECRET"),
    ("AADSTS700016", "AZURE_CLIENT_ID names no application in this tenant; check it and AZURE_TENANT_ID"),
    ("AADSTS90002", "AZURE_TENANT_ID names no tenant in this cloud; check it and AZURE_CLOUD"),
    ("AADSTS900023", "AZURE_TENANT_ID is neither a directory id nor a domain"),
    ("AADSTS53003", "a Conditional Access policy forbids the sign-in; ask the tenant's administrator"),
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

/// Advice for ranges of related codes, from the same page; narrower ranges first.
const FAMILIES: [(RangeInclusive<u32>, &str); 18] = [
    (53_000..=53_999, POLICY),
    (530_000..=530_999, POLICY),
    (5_300_000..=5_300_999, POLICY),
    (50_074..=50_079, POLICY),
    (500_121..=500_121, POLICY),
    (700_020..=700_030, ASSERTION),
    (700_200..=700_299, NO_FEDERATION),
    (7_000_000..=7_009_999, APPLICATION),
    (50_000..=50_999, PRINCIPAL),
    (500_000..=509_999, PRINCIPAL),
    (5_000_000..=5_099_999, PRINCIPAL),
    (65_000..=65_999, CONSENT),
    (650_000..=659_999, CONSENT),
    (70_000..=70_999, APPLICATION),
    (700_000..=709_999, APPLICATION),
    (90_000..=90_999, TENANT),
    (900_000..=909_999, TENANT),
    (9_000_000..=9_099_999, TENANT),
];
const POLICY: &str =
    "a policy of the tenant, such as Conditional Access, forbids the sign-in; ask the tenant's administrator";
const ASSERTION: &str = "the certificate or federated token was not accepted; compare it with those of the application \
                         (Certificates & secrets), and this machine's clock with Azure's";
const PRINCIPAL: &str = "the principal cannot sign in to this tenant; check AZURE_TENANT_ID and AZURE_CLIENT_ID, and that it is not \
                         disabled or blocked";
const CONSENT: &str = "the application lacks a consent or an assignment in this tenant; ask the tenant's administrator";
const APPLICATION: &str = "the application or what proves it was not accepted; check AZURE_CLIENT_ID, AZURE_TENANT_ID and the \
                           secret or certificate";
const TENANT: &str = "the tenant did not take the request; check AZURE_TENANT_ID, AZURE_CLOUD and AZURE_AUTHORITY_HOST";
const UNKNOWN: &str =
    "look the code up in Microsoft's list of error codes, and the sign-in in the tenant's sign-in logs";

/// What to do about a refusal: by its exact code, or else by the range of the first code.
fn advice(message: &str) -> Option<&'static str> {
    if let Some((_, advice)) = CODES.iter().find(|(code, _)| names(message, code)) {
        return Some(advice);
    }
    let (_, code) = message.split_once("AADSTS")?;
    let number = code.split(|c: char| !c.is_ascii_digit()).next()?.parse::<u32>().ok()?;
    let family = FAMILIES.iter().find(|(numbers, _)| numbers.contains(&number));
    Some(family.map_or(UNKNOWN, |(_, advice)| advice))
}

impl Problem for CredentialError {
    fn exit(&self) -> Exit {
        match self {
            Self::Refused(_) | Self::Unusable { .. } => Exit::Credentials,
            Self::Unreachable(_) => Exit::Failed,
        }
    }

    fn details(&self) -> Option<&str> {
        match self {
            Self::Refused(message) => code(message).map(|_| &**message),
            Self::Unusable { .. } | Self::Unreachable(_) => None,
        }
    }

    fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Refused(message) => advice(message),
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
            Self::Unreachable(error) if error.status().is_some_and(|status| status.is_redirection()) => error.advice(),
            Self::Unreachable(error) => {
                let obstacle = match error.failure {
                    Failure::Connect { obstacle, .. } => obstacle.advice(),
                    _ => None,
                };
                obstacle.or(Some(
                    "check AZURE_AUTHORITY_HOST, AZURE_CLOUD, the network, and HTTPS_PROXY if a proxy is needed",
                ))
            }
        }
    }
}

impl Problem for ApiError {
    fn details(&self) -> Option<&str> {
        match self {
            Self::Credential(error) => error.details(),
            Self::Request(error) => error.details(),
        }
    }

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

/// Whether a message has exactly this code, not a longer one that starts with it.
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
    fn a_code_without_advice_of_its_own_has_that_of_its_family() {
        for (codes, expected) in [
            (&[53000, 53004, 53011, 530_021, 50076, 50079, 500_121][..], POLICY),
            (&[700_021, 700_023, 700_030], ASSERTION),
            (&[700_214, 700_223, 700_238], NO_FEDERATION),
            (&[7_000_216, 7_000_218, 70002, 70011, 700_005], APPLICATION),
            (&[50020, 50053, 50057, 50173, 500_014, 5_000_224], PRINCIPAL),
            (&[65001, 650_052], CONSENT),
            (&[90014, 900_144, 9_002_313], TENANT),
            (&[16000, 120_000, 1_002_016], UNKNOWN),
        ] {
            for code in codes {
                assert_eq!(advice(&format!("AADSTS{code}: No. Trace ID: 1")), Some(expected), "{code}");
            }
        }
        assert_eq!(advice("status 400, without a reason"), None);
        assert_eq!(advice("AADSTS: odd"), None);
        assert_eq!(advice("AADSTS99999999999999999999: odd"), None);
    }

    #[test]
    fn an_exact_code_wins_over_the_family_of_another() {
        assert!(advice("AADSTS50020: x; AADSTS7000222: y").unwrap().contains("expired"));
    }

    #[test]
    fn an_expired_secret_is_explained() {
        let error = CredentialError::Refused("AADSTS7000222: The provided client secret keys are expired.".into());
        assert!(error.advice().unwrap().contains("expired"));
        assert_eq!(error.to_string(), "Azure refused the credentials: AADSTS7000222");
        assert!(
            error.told().ends_with("; the service says: AADSTS7000222: The provided client secret keys are expired.")
        );
        let bare = CredentialError::Refused("status 400, without a reason".into());
        assert_eq!(
            (bare.to_string(), bare.told()),
            (bare.to_string(), "Azure refused the credentials: status 400, without a reason".into())
        );
    }
}
