//! A webhook as configured in Port, with whatever mapping its users gave it.

use serde_json::Value;

use crate::config::SecretUrl;
use crate::error::{Exit, Problem};
use crate::jq::{self, Quotes};
use crate::mapping::{self, WebhookMapping};
use crate::port::{Object, Port, PortError};
use crate::text::printable;

/// A webhook.
pub(crate) struct Hook {
    pub(crate) identifier: String,
    pub(crate) mapping: WebhookMapping,
    /// Notes about the webhook, one sentence each.
    pub(crate) notes: Vec<String>,
}

/// Why a webhook's mapping is unavailable.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum HookError {
    #[error("Port: {0}")]
    Port(#[from] PortError),
    #[error("no webhook in Port has the URL PORT_WEBHOOK_INGEST_URL")]
    Unknown,
    #[error("the mapping cannot be read: webhook {}: {}", printable(.webhook), told(.problems))]
    Mapping { webhook: String, problems: Vec<mapping::Problem> },
}

impl Problem for HookError {
    fn exit(&self) -> Exit {
        match self {
            Self::Port(error) => error.exit(),
            Self::Unknown => Exit::Configuration,
            Self::Mapping { .. } => Exit::Failed,
        }
    }

    fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Port(error) => error.advice(),
            Self::Unknown => {
                Some("check that PORT_CLIENT_ID and PORT_BASE_URL are of the organization that the webhook is of")
            }
            Self::Mapping { .. } => None,
        }
    }
}

/// The problems, without their lines: the text that was parsed has only one.
fn told(problems: &[mapping::Problem]) -> String {
    problems.iter().map(|one| format!("{} {}", one.key, one.message)).collect::<Vec<_>>().join("; ")
}

/// Finds the webhook for a URL, by the URL or by the key at its end.
pub(crate) async fn of_url(port: &Port, url: &SecretUrl) -> Result<Hook, HookError> {
    let whole = url.expose().trim_end_matches('/');
    let key = whole.rsplit('/').next().filter(|key| !key.is_empty());
    let text = |webhook: &Object, name: &str| webhook.get(name).and_then(Value::as_str).map(str::to_owned);
    let is_it = |webhook: &Object| {
        text(webhook, "url").is_some_and(|url| url.trim_end_matches('/') == whole)
            || (key.is_some() && text(webhook, "webhookKey").as_deref() == key)
    };
    let found = port.webhooks().await?.into_iter().find(is_it).ok_or(HookError::Unknown)?;
    let identifier = text(&found, "identifier").unwrap_or_default();
    let shown = printable(&identifier);
    let mut notes = Vec::new();
    if found.get("enabled").and_then(Value::as_bool) == Some(false) {
        notes.push(format!("webhook {shown} is disabled: Port drops what is posted to it"));
    }
    let mut entries = found.get("mappings").and_then(Value::as_array).cloned().unwrap_or_default();
    for (place, entry) in entries.iter_mut().enumerate() {
        for key in ["filter", "itemsToParse", "entity"] {
            if let Some(leaf) = entry.get_mut(key) {
                let key = format!("mappings[{place}].{key}");
                null_what_is_not_jq(leaf, &key, &mut |key, error| {
                    notes.push(format!("webhook {shown}: Port takes {key} for null: {error}"));
                });
            }
        }
    }
    let mapping = WebhookMapping::parse(&Value::Array(entries).to_string())
        .map_err(|problems| HookError::Mapping { webhook: identifier.clone(), problems })?;
    Ok(Hook { identifier, mapping, notes })
}

/// Port silently treats an expression that is not valid jq as null.
fn null_what_is_not_jq(leaf: &mut Value, key: &str, tell: &mut impl FnMut(&str, &jq::CompileError)) {
    match leaf {
        Value::Object(fields) => {
            fields.iter_mut().for_each(|(name, field)| null_what_is_not_jq(field, &format!("{key}.{name}"), tell));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| null_what_is_not_jq(item, key, tell)),
        Value::String(text) => {
            if let Err(error) = jq::compile(text, Quotes::Port) {
                tell(key, &error);
                "null".clone_into(text);
            }
        }
        _ => {}
    }
}
