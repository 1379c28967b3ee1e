//! The resource types of the estate, as their providers write them, with the contents of their rows. Rows of a type
//! share `sku` and `properties`, because 200,000 of them must fit in memory.
use std::sync::Arc;

use serde_json::{Value as Json, json};

use crate::estate::lower;

/// A type of resource.
#[derive(Debug)]
pub struct Kind {
    /// In the provider's spelling; Resource Graph shows it in lower case.
    pub name: Arc<str>,
    pub lower: Arc<str>,
    /// The `kind` column.
    pub flavour: Arc<str>,
    pub sku: Option<Arc<Json>>,
    pub properties: Arc<Json>,
}

impl Kind {
    pub(crate) fn new(name: &str) -> Self {
        let known = KNOWN.iter().find(|known| known.0.eq_ignore_ascii_case(name));
        let (name, flavour, sku) = known.copied().unwrap_or((name, "", ""));
        Self {
            name: name.into(),
            lower: lower(name).into(),
            flavour: flavour.into(),
            sku: (!sku.is_empty()).then(|| Arc::new(json!({"name": sku, "tier": "Standard"}))),
            properties: Arc::new(json!({
                "provisioningState": "Succeeded",
                "publicNetworkAccess": "Disabled",
                "minimumTlsVersion": "1.2",
            })),
        }
    }
}

/// The types in an estate: type, kind, sku.
pub(crate) const KNOWN: [(&str, &str, &str); 22] = [
    ("Microsoft.Compute/virtualMachines", "", ""),
    ("Microsoft.Compute/disks", "", "Premium_LRS"),
    ("Microsoft.Compute/virtualMachines/extensions", "", ""),
    ("Microsoft.Network/networkInterfaces", "", ""),
    ("Microsoft.Network/virtualNetworks", "", ""),
    ("Microsoft.Network/networkSecurityGroups", "", ""),
    ("Microsoft.Network/publicIPAddresses", "", "Standard"),
    ("Microsoft.Network/loadBalancers", "", "Standard"),
    ("Microsoft.Network/privateDnsZones/virtualNetworkLinks", "", ""),
    ("Microsoft.Storage/storageAccounts", "StorageV2", "Standard_ZRS"),
    ("Microsoft.KeyVault/vaults", "", "standard"),
    ("Microsoft.Sql/servers", "v12.0", ""),
    ("Microsoft.Sql/servers/databases", "v12.0,user", "GP_S_Gen5"),
    ("Microsoft.Web/serverFarms", "linux", "P1v3"),
    ("Microsoft.Web/sites", "app,linux", ""),
    ("Microsoft.Web/sites/slots", "app,linux", ""),
    ("Microsoft.ContainerService/managedClusters", "", "Base"),
    ("Microsoft.ContainerRegistry/registries", "", "Premium"),
    ("microsoft.insights/components", "web", ""),
    ("microsoft.alertsmanagement/smartDetectorAlertRules", "", ""),
    ("Microsoft.ManagedIdentity/userAssignedIdentities", "", ""),
    ("Microsoft.OperationalInsights/workspaces", "", ""),
];
