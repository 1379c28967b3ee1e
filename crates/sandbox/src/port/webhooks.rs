//! The routes for webhooks, which configure the ingest.
use std::collections::BTreeMap;

use hyper::StatusCode;
use serde_json::{Map, Value as Json, json};
use tokio::sync::oneshot;

use super::api::{Ask, Outcome, Refusal, done, merge, nothing};
use super::audit::Event;
use super::worker::{Algorithm, Hook, Job};
use crate::catalog::{Author, Stamp};
use crate::lock;
use crate::settings::{PortSettings, Role, Security, WEBHOOK_KEY};

/// All webhooks, by identifier.
pub(super) type Webhooks = BTreeMap<String, Webhook>;

#[derive(Clone)]
pub(super) struct Webhook {
    pub key: String,
    raw: Map<String, Json>,
    stamp: Stamp,
}

/// The webhook that the sandbox starts with.
pub(super) fn given(settings: &PortSettings) -> Result<(String, Webhook), String> {
    let mappings: Json = serde_json::from_str(&settings.mapping).map_err(|error| format!("mapping: {error}"))?;
    let mut raw = json!({
        "identifier": "azureIncremental", "title": "Azure Incremental", "enabled": true,
        "integrationType": "custom", "mappings": mappings,
    });
    let mut security = json!({});
    if let Some(Security { secret, header, prefix }) = &settings.security {
        security = json!({
            "secret": secret, "signatureHeaderName": header, "signatureAlgorithm": "sha256", "signaturePrefix": prefix,
        });
    }
    if let Some(path) = &settings.identifier_path {
        security["requestIdentifierPath"] = path.as_str().into();
    }
    raw["security"] = security;
    let raw = raw.as_object().cloned().unwrap_or_default();
    let stamp = Stamp::new(&Author::new("sandbox", "sandbox", false), None);
    Ok(("azureIncremental".to_owned(), Webhook { key: WEBHOOK_KEY.to_owned(), raw, stamp }))
}

impl Webhook {
    /// The parts that the ingest needs.
    pub(super) fn hook(&self) -> Result<Hook, String> {
        let security = self.raw.get("security");
        let text =
            |name: &str| security.and_then(|of| of[name].as_str()).filter(|text| !text.is_empty()).map(str::to_owned);
        let algorithm = match text("signatureAlgorithm").as_deref() {
            None => None,
            Some("sha256") => Some(Algorithm::Sha256),
            Some("plain") => Some(Algorithm::Plain),
            Some(other) => return Err(format!("the sandbox does not know the algorithm {other}")),
        };
        let security = match (algorithm, text("secret"), text("signatureHeaderName")) {
            (Some(algorithm), Some(secret), Some(header)) => {
                let prefix = text("signaturePrefix").unwrap_or_default();
                Some((algorithm, Security { secret, header, prefix }))
            }
            _ => None,
        };
        Ok(Hook {
            webhook: self.raw.get("identifier").and_then(Json::as_str).unwrap_or_default().to_owned(),
            mapping: self.raw.get("mappings").unwrap_or(&json!([])).to_string(),
            security,
            identifier_path: text("requestIdentifierPath"),
            is_enabled: self.raw.get("enabled") != Some(&Json::Bool(false)),
        })
    }

    fn show(&self, ask: &Ask<'_>) -> Json {
        let mut shown = self.raw.clone();
        if let Some(Json::Object(security)) = shown.get_mut("security")
            && !ask.settings.webhooks.shows_secret
        {
            security.remove("secret");
        }
        shown.extend(self.stamp.show());
        shown.insert("webhookKey".to_owned(), self.key.clone().into());
        shown.insert("url".to_owned(), ask.port.webhook_url(&self.key).into());
        Json::Object(shown)
    }
}

fn allowed(ask: &Ask<'_>) -> Result<(), Refusal> {
    if ask.settings.role == Role::Member { Err(Refusal::forbidden()) } else { Ok(()) }
}

fn find(ask: &Ask<'_>, identifier: &str) -> Result<Webhook, Refusal> {
    allowed(ask)?;
    let found = lock(&ask.port.webhooks).get(identifier).cloned();
    found.ok_or_else(|| Refusal::absent("Webhook", identifier))
}

pub(super) fn all(ask: &Ask<'_>) -> Result<Outcome, Refusal> {
    allowed(ask)?;
    Ok(done("integrations", lock(&ask.port.webhooks).values().map(|webhook| webhook.show(ask)).collect()))
}

pub(super) fn one(ask: &Ask<'_>, identifier: &str) -> Result<Outcome, Refusal> {
    Ok(done("integration", find(ask, identifier)?.show(ask)))
}

pub(super) async fn create(ask: &Ask<'_>) -> Result<Outcome, Refusal> {
    allowed(ask)?;
    let mut raw = ask.object("webhook")?;
    let number = ask.port.next_number();
    let identifier = raw.entry("identifier").or_insert_with(|| format!("webhook_{number}").into());
    let identifier = identifier.as_str().unwrap_or_default().to_owned();
    if lock(&ask.port.webhooks).contains_key(&identifier) {
        let status = StatusCode::from_u16(ask.settings.blueprints.duplicate).unwrap_or(StatusCode::CONFLICT);
        let message = format!("Webhook with identifier \"{identifier}\" already exists");
        return Err(Refusal::new(status, "identifier_taken", message));
    }
    let key = format!("wbhk{:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let shown = put(ask, &identifier, key, raw, None).await?;
    let status = StatusCode::from_u16(ask.settings.webhooks.created).unwrap_or(StatusCode::CREATED);
    Ok(Outcome { status, body: json!({"ok": true, "integration": shown}) })
}

pub(super) async fn replace(ask: &Ask<'_>, identifier: &str) -> Result<Outcome, Refusal> {
    let before = find(ask, identifier)?;
    let raw = ask.object("webhook")?;
    Ok(done("integration", put(ask, identifier, before.key, raw, Some(&before.stamp)).await?))
}

/// PATCH: each given key is replaced as a whole.
pub(super) async fn change(ask: &Ask<'_>, identifier: &str) -> Result<Outcome, Refusal> {
    let before = find(ask, identifier)?;
    let mut raw = before.raw;
    let deep: &[&str] = if ask.settings.webhooks.patch_is_deep { &["security"] } else { &[] };
    merge(&mut raw, ask.object("webhookPatch")?, deep);
    Ok(done("integration", put(ask, identifier, before.key, raw, Some(&before.stamp)).await?))
}

pub(super) async fn delete(ask: &Ask<'_>, identifier: &str) -> Result<Outcome, Refusal> {
    let webhook = find(ask, identifier)?;
    set_up(ask, webhook.key, None).await?;
    lock(&ask.port.webhooks).remove(identifier);
    ask.kept().audit_log.add(event(ask, identifier, "DELETE"));
    Ok(nothing())
}

async fn put(
    ask: &Ask<'_>,
    identifier: &str,
    key: String,
    mut raw: Map<String, Json>,
    before: Option<&Stamp>,
) -> Result<Json, Refusal> {
    raw.insert("identifier".to_owned(), identifier.into());
    let stamp = Stamp::new(&ask.author, before);
    let webhook = Webhook { key: key.clone(), raw, stamp };
    set_up(ask, key, Some(webhook.hook().map_err(Refusal::invalid)?)).await?;
    let shown = webhook.show(ask);
    lock(&ask.port.webhooks).insert(identifier.to_owned(), webhook);
    ask.kept().audit_log.add(event(ask, identifier, if before.is_some() { "UPDATE" } else { "CREATE" }));
    Ok(shown)
}

/// Tells the worker, after everything that was accepted before.
async fn set_up(ask: &Ask<'_>, key: String, hook: Option<Hook>) -> Result<(), Refusal> {
    let (done, answer) = oneshot::channel();
    let _ = ask.port.jobs.send(Job::SetUp { key, hook, done });
    answer.await.unwrap_or_else(|_| Err("the worker is gone".to_owned())).map_err(Refusal::invalid)
}

fn event(ask: &Ask<'_>, identifier: &str, action: &'static str) -> Event {
    let identifier = Some(identifier.to_owned());
    Event { action, resource: "webhook", identifier, by: ask.author.by.to_string(), ..Event::default() }
}
