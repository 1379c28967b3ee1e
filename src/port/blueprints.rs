//! Blueprints, one at a time ("Blueprints", Port's API reference).

use reqwest::Method;

use super::{Object, Port, PortError};

/// Keys that Port sets itself and rejects as input.
const STAMPS: [&str; 5] = ["createdAt", "createdBy", "updatedAt", "updatedBy", "id"];

impl Port {
    /// `None` if there is no blueprint with this identifier.
    pub(crate) async fn blueprint(&self, identifier: &str) -> Result<Option<Object>, PortError> {
        self.object(self.url(["v1", "blueprints", identifier]), "blueprint").await
    }

    /// Creates a blueprint with a catalog page. The targets of its relations must exist.
    pub(crate) async fn make_blueprint(&self, blueprint: &Object) -> Result<(), PortError> {
        let mut url = self.url(["v1", "blueprints"]);
        url.query_pairs_mut().append_pair("create_catalog_page", "true");
        self.put_object(Method::POST, &url, blueprint).await
    }

    /// Keys that are not given are removed.
    pub(crate) async fn replace_blueprint(&self, identifier: &str, blueprint: &Object) -> Result<(), PortError> {
        let mut blueprint = blueprint.clone();
        blueprint.retain(|key, _| !STAMPS.contains(&key.as_str()));
        self.put_object(Method::PUT, &self.url(["v1", "blueprints", identifier]), &blueprint).await
    }
}
