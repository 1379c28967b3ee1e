//! How a run reaches Azure.

use std::num::NonZeroUsize;

use super::cloud::Cloud;
use super::credential::CredentialConfig;
use super::reader::Reader;

/// The credential, the endpoints, and the number of subscriptions per query.
#[derive(Clone, Debug)]
pub struct AzureConfig {
    /// The one credential of the run.
    pub credential: CredentialConfig,
    /// `AZURE_TENANT_ID`, or empty if the credential needs none.
    pub tenant_id: String,
    /// The origin of the sign-in host, https.
    pub authority_host: reqwest::Url,
    /// The origin of Resource Manager, https. The access token is sent only there.
    pub resource_manager: reqwest::Url,
    /// The origin of Microsoft Graph, https. Its access token is sent only there.
    pub microsoft_graph: reqwest::Url,
    /// 1 to 1,000 subscriptions, the most Resource Graph accepts in one query.
    pub batch_size: NonZeroUsize,
}

impl Reader<'_> {
    pub(super) fn azure(&mut self) -> AzureConfig {
        let clouds = Cloud::ALL.map(|cloud| (cloud.name(), cloud));
        let cloud = self.choice("AZURE_CLOUD", self.settings.azure_cloud.as_deref(), &clouds);
        let authority_host = self.endpoint(
            "AZURE_AUTHORITY_HOST",
            self.settings.azure_authority_host.as_deref(),
            cloud.authority_host(),
        );
        // The endpoint may be the only setting that identifies the cloud.
        let audience = self.audience(Cloud::of(&authority_host).unwrap_or(cloud));
        let credential = self.credential(audience);
        AzureConfig {
            tenant_id: credential.tenant_id().unwrap_or_default().to_owned(),
            credential,
            authority_host,
            resource_manager: self.endpoint(
                "AZURE_RESOURCE_MANAGER_ENDPOINT",
                self.settings.azure_resource_manager_endpoint.as_deref(),
                cloud.resource_manager(),
            ),
            microsoft_graph: self.endpoint(
                "MICROSOFT_GRAPH_ENDPOINT",
                self.settings.microsoft_graph_endpoint.as_deref(),
                cloud.microsoft_graph(),
            ),
            batch_size: self.count(
                "SUBSCRIPTION_BATCH_SIZE",
                self.settings.subscription_batch_size.as_deref(),
                1000,
                1000,
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::read;
    use super::*;
    use crate::cli::Settings;

    fn managed_identity() -> Settings {
        Settings { credential: Some("managed-identity".into()), ..Settings::default() }
    }

    #[test]
    fn endpoints_default_to_those_of_the_cloud() {
        let settings = Settings { azure_cloud: Some("azurechina".into()), ..managed_identity() };
        let azure = read(&settings, &[], Reader::azure).unwrap();
        assert_eq!(azure.authority_host, Cloud::China.authority_host());
        assert_eq!(azure.resource_manager, Cloud::China.resource_manager());
        assert_eq!(azure.batch_size.get(), 1000);

        let settings = Settings {
            azure_authority_host: Some("https://sign-in.example".into()),
            azure_resource_manager_endpoint: Some("manager.example".into()),
            ..managed_identity()
        };
        let azure = read(&settings, &[], Reader::azure).unwrap();
        assert_eq!(azure.authority_host.as_str(), "https://sign-in.example/");
        assert_eq!(azure.resource_manager.as_str(), "https://manager.example/", "a bare host name is accepted");
    }

    #[test]
    fn a_password_in_an_endpoint_is_rejected_and_not_shown() {
        for endpoint in [
            "https://:marked@x.example",
            "https://marked@x.example",
            "https://user:marked@x.example/y",
            "http://marked@[",
        ] {
            let settings = Settings {
                azure_authority_host: Some(endpoint.into()),
                azure_resource_manager_endpoint: Some(endpoint.into()),
                ..managed_identity()
            };
            let error = read(&settings, &[], Reader::azure).unwrap_err();
            assert_eq!(error.0.len(), 2, "{error}");
            assert!(!error.to_string().contains("marked"), "{error}");
        }
    }
}
