//! The endpoints of each Azure cloud.

use reqwest::Url;

/// An Azure cloud. Endpoints as in Microsoft's "Azure Government developer guide" and "Azure China developer guide".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cloud {
    /// The one that nearly everybody has.
    #[default]
    Public,
    /// Azure Government.
    UsGovernment,
    /// Azure operated by 21Vianet.
    China,
}

impl Cloud {
    pub(crate) const ALL: [Self; 3] = [Self::Public, Self::UsGovernment, Self::China];

    /// As `AZURE_CLOUD` names it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Public => "AzurePublic",
            Self::UsGovernment => "AzureUSGovernment",
            Self::China => "AzureChina",
        }
    }

    pub(crate) fn authority_host(self) -> Url {
        origin(match self {
            Self::Public => "https://login.microsoftonline.com",
            Self::UsGovernment => "https://login.microsoftonline.us",
            Self::China => "https://login.chinacloudapi.cn",
        })
    }

    pub(crate) fn resource_manager(self) -> Url {
        origin(match self {
            Self::Public => "https://management.azure.com",
            Self::UsGovernment => "https://management.usgovcloudapi.net",
            Self::China => "https://management.chinacloudapi.cn",
        })
    }
}

fn origin(url: &'static str) -> Url {
    #[expect(clippy::expect_used, reason = "the URLs are constants, and a test parses each")]
    Url::parse(url).expect("a constant URL")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cloud_has_https_endpoints_of_its_own() {
        let hosts: std::collections::HashSet<String> = Cloud::ALL
            .iter()
            .flat_map(|cloud| [cloud.authority_host(), cloud.resource_manager()])
            .inspect(|url| assert_eq!(url.scheme(), "https"))
            .map(|url| url.to_string())
            .collect();
        assert_eq!(hosts.len(), 6);
    }
}
