//! The endpoints of each Azure cloud.

use reqwest::Url;

/// An Azure cloud. Endpoints are from Microsoft's "Azure Government developer guide" and "Azure China developer guide".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Cloud {
    /// The global cloud.
    #[default]
    Public,
    /// Azure Government, including the Department of Defense's regions, which have the same endpoints.
    UsGovernment,
    /// Azure operated by 21Vianet.
    China,
}

impl Cloud {
    pub(super) const ALL: [Self; 3] = [Self::Public, Self::UsGovernment, Self::China];

    /// The name in `AZURE_CLOUD`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Public => "AzurePublic",
            Self::UsGovernment => "AzureUSGovernment",
            Self::China => "AzureChina",
        }
    }

    pub(super) fn authority_host(self) -> Url {
        origin(match self {
            Self::Public => "https://login.microsoftonline.com",
            Self::UsGovernment => "https://login.microsoftonline.us",
            Self::China => "https://login.chinacloudapi.cn",
        })
    }

    pub(super) fn resource_manager(self) -> Url {
        origin(match self {
            Self::Public => "https://management.azure.com",
            Self::UsGovernment => "https://management.usgovcloudapi.net",
            Self::China => "https://management.chinacloudapi.cn",
        })
    }

    /// "National cloud deployments", Microsoft Graph. The Department of Defense has its own root, but belongs to Azure
    /// Government's cloud.
    pub(super) fn microsoft_graph(self) -> Url {
        origin(match self {
            Self::Public => "https://graph.microsoft.com",
            Self::UsGovernment => "https://graph.microsoft.us",
            Self::China => "https://microsoftgraph.chinacloudapi.cn",
        })
    }

    /// The cloud with this sign-in host.
    pub(super) fn of(authority_host: &Url) -> Option<Self> {
        Self::ALL.into_iter().find(|cloud| cloud.authority_host().origin() == authority_host.origin())
    }

    /// The audience of a federated token ("Configure an app to trust an external identity provider", Microsoft Entra).
    pub(super) fn audience(self) -> &'static str {
        match self {
            Self::Public => "api://AzureADTokenExchange",
            Self::UsGovernment => "api://AzureADTokenExchangeUSGov",
            Self::China => "api://AzureADTokenExchangeChina",
        }
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
    fn each_cloud_has_its_own_https_endpoints() {
        let hosts: std::collections::HashSet<String> = Cloud::ALL
            .iter()
            .flat_map(|cloud| [cloud.authority_host(), cloud.resource_manager(), cloud.microsoft_graph()])
            .inspect(|url| assert_eq!(url.scheme(), "https"))
            .map(|url| url.to_string())
            .collect();
        assert_eq!(hosts.len(), 9);
    }
}
