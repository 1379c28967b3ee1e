//! Port: its API and the mapping file, or the webhook.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;
use uuid::Uuid;

use super::output::Told;
use super::{reach, some};
use crate::config::{Config, Payload, SecretUrl};
use crate::http::Http;
use crate::port::Port;
use crate::run::{Mapped, RunError};
use crate::sinks::webhook::{Proof, Webhook};

/// Checks Port's API and the mapping, or the webhook.
pub(super) async fn port(config: &Config, http: &Arc<Http>) -> Told {
    let Some(file) = &config.port.mapping_file else { return webhook(config, http).await };
    let mut told = Told::new();
    let blueprints: Vec<String> = match Mapped::read(file) {
        Ok(mapped) => mapped.mapping.blueprints().into_iter().collect(),
        Err(error) => {
            told.wrong("mapping", &error);
            Vec::new()
        }
    };
    if !blueprints.is_empty() {
        told.ok("mapping", format!("{} makes entities of {}", file.display(), some(&blueprints)));
    }
    let Some(api) = &config.port.api else {
        told.note("Port", "PORT_CLIENT_ID is not set, as a dry run allows");
        return told;
    };
    let port = match Port::new(api, &config.azure.tenant_id, Arc::clone(http)) {
        Ok(port) => port,
        Err(error) => {
            told.wrong("Port", &error);
            return told;
        }
    };
    match port.sign_in().await {
        Ok(()) => told.ok("Port", format!("signed in at {}", port.origin())),
        Err(error) => {
            told.wrong("Port", &error);
            return told;
        }
    }
    for blueprint in blueprints {
        match port.blueprint(&blueprint).await {
            Ok(Some(_)) => {}
            Ok(None) => told.wrong("blueprints", &RunError::NoBlueprint(blueprint)),
            Err(error) => told.wrong("blueprints", &error),
        }
    }
    told
}

async fn webhook(config: &Config, http: &Arc<Http>) -> Told {
    let mut told = Told::new();
    let Some(secret) = &config.port.ingest_url else {
        told.note("webhook", "PORT_WEBHOOK_INGEST_URL is not set, as a dry run allows");
        return told;
    };
    // Only the origin: the key in the path is not sent.
    match secret.origin().parse() {
        Ok(origin) => match reach(http, origin).await {
            Ok(_) => told.ok(
                "webhook",
                format!(
                    "{} answers over {}; nothing was posted, so its key was not tested (--probe tests it)",
                    secret.origin(),
                    scheme(secret)
                ),
            ),
            Err(error) => told.wrong("webhook", &error),
        },
        Err(_) => told.note("webhook", "its URL has no host"),
    }
    if let (Some(verify), Some(api)) = (config.port.verify, &config.port.api) {
        let looking = async {
            let port = Port::new(api, &config.azure.tenant_id, Arc::clone(http))?;
            Proof::begin(port, &config.port, secret, verify).await.map_err(RunError::from)
        };
        match looking.await {
            Ok(proof) => {
                told.ok("verify", "Port's API shows the webhook: what is posted can be read back");
                proof.notes().iter().for_each(|note| told.note("verify", note.as_str()));
            }
            Err(error) => told.wrong("verify", &error),
        }
    }
    told
}

/// Posts one envelope that no mapping reads.
pub(super) async fn probe(config: &Config, url: &SecretUrl, http: &Http, told: &mut Told) {
    let webhook = match Webhook::new(&config.azure.tenant_id, &config.port, url, http) {
        Ok(webhook) => webhook,
        Err(error) => return told.wrong("probe", &error),
    };
    match webhook.post(envelope(config.port.payload), Uuid::new_v4()).await {
        Ok(_) => told.ok("probe", "Port accepted an envelope that no mapping handles; its audit log shows it"),
        Err(error) => told.wrong("probe", &error),
    }
}

fn scheme(url: &SecretUrl) -> &'static str {
    if url.origin().starts_with("https:") { "TLS" } else { "plain http" }
}

/// An envelope with an operation and a type that no mapping reads.
fn envelope(payload: Payload) -> Bytes {
    let envelope = json!({
        "data": { "resourceId": "", "type": "azure-incremental/probe", "name": "azure-incremental check --probe" },
        "operation": "probe",
        "type": "probe",
    });
    match payload {
        Payload::Single => envelope.to_string().into(),
        Payload::Batch => json!({ "items": [envelope] }).to_string().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_mapping_reads_the_probe() {
        for mapping in [
            include_str!("../../../examples/port/mapping.json"),
            include_str!("../../../examples/port/mapping-batch.json"),
        ] {
            assert!(!mapping.contains("probe"));
        }
        assert!(serde_json::from_slice::<serde_json::Value>(&envelope(Payload::Batch)).unwrap()["items"].is_array());
    }
}
