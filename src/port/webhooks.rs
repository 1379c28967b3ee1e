//! Webhooks, one at a time ("Webhooks", Port's API reference). Answers hold a webhook under `integration`, which is
//! also where Port's Terraform provider reads it.

use reqwest::Method;

use super::{Object, Port, PortError};

impl Port {
    /// All webhooks.
    pub(crate) async fn webhooks(&self) -> Result<Vec<Object>, PortError> {
        self.objects(self.url(["v1", "webhooks"]), "integrations").await
    }

    /// `None` if there is no webhook with this identifier.
    pub(crate) async fn webhook(&self, identifier: &str) -> Result<Option<Object>, PortError> {
        self.object(self.url(["v1", "webhooks", identifier]), "integration").await
    }

    pub(crate) async fn make_webhook(&self, webhook: &Object) -> Result<(), PortError> {
        self.put_object(Method::POST, &self.url(["v1", "webhooks"]), webhook).await
    }

    /// Keys that are not given stay unchanged.
    pub(crate) async fn change_webhook(&self, identifier: &str, keys: &Object) -> Result<(), PortError> {
        self.put_object(Method::PATCH, &self.url(["v1", "webhooks", identifier]), keys).await
    }
}
