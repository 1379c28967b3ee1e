//! The webhook that is needed, and what an existing one lacks.

use std::collections::BTreeSet;

use secrecy::ExposeSecret;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use super::{MAPPING, MAPPING_BATCH, SECURITY, list};
use crate::config::{Coverage, Payload, WebhookConfig};
use crate::port::Object;
use crate::text::printable;

pub(super) const IDENTIFIER: &str = "azure-incremental";

/// The security settings to compare. The secret is left out, because Port may not return it.
const COMPARED: [&str; 3] = ["signatureHeaderName", "signatureAlgorithm", "signaturePrefix"];

/// The changes that a webhook needs.
#[derive(Default)]
pub(super) struct Changes {
    /// The keys that differ, each as a whole: whether Port merges within them is not documented.
    pub(super) keys: Object,
    /// Descriptions of the changes.
    pub(super) told: Vec<String>,
    /// What prevents posts from working and is left for the user to change.
    pub(super) problems: Vec<String>,
}

/// The webhook that handles the posts.
pub(super) fn wanted(config: &WebhookConfig, coverage: Coverage) -> Object {
    let mapping = match config.payload {
        Payload::Single => MAPPING,
        Payload::Batch => MAPPING_BATCH,
    };
    let mut webhook = Object::from_iter([
        ("identifier".to_owned(), IDENTIFIER.into()),
        ("title".to_owned(), "Azure".into()),
        ("icon".to_owned(), "Azure".into()),
        ("enabled".to_owned(), true.into()),
        ("integrationType".to_owned(), "custom".into()),
        ("mappings".to_owned(), own::<Json>(&list(mapping, coverage))),
    ]);
    if let Some(signing) = &config.signing {
        let mut security: Object = own(SECURITY);
        security.insert("secret".into(), signing.secret.expose_secret().into());
        security.insert("signatureHeaderName".into(), signing.header.as_str().into());
        security.insert("signaturePrefix".into(), signing.prefix.as_str().into());
        webhook.insert("security".into(), security.into());
    }
    webhook
}

fn own<T: DeserializeOwned>(text: &str) -> T {
    #[expect(clippy::expect_used, reason = "it is a part of the program, and tests read it")]
    serde_json::from_str(text).expect("JSON")
}

/// Descriptions of a new webhook's parts.
pub(super) fn told(webhook: &Object) -> Vec<String> {
    let mut told: Vec<String> = entries(webhook).iter().map(named).collect();
    if webhook.contains_key("security") {
        told.push("security: signed posts alone are applied".into());
    }
    told
}

/// The changes that an existing webhook needs to handle the posts. The user's own mapping entries, and their own
/// properties and relations in an entry, are kept.
pub(super) fn compare(there: &Object, wanted: &Object) -> Changes {
    let mut changes = Changes::default();
    let mapping = merged(entries(there), entries(wanted), &mut changes.told);
    if !changes.told.is_empty() {
        changes.keys.insert("mappings".into(), mapping.into());
    }
    let found = |key: &str| there.get("security").map_or(&Json::Null, |security| at(security, key));
    match wanted.get("security").and_then(Json::as_object) {
        Some(security) => {
            let differ =
                COMPARED.into_iter().filter(|key| !is_same(key, found(key), security.get(*key).unwrap_or(&Json::Null)));
            let differ: Vec<&str> = differ.collect();
            if !differ.is_empty() {
                let mut security = security.clone();
                if let Some(path) = found("requestIdentifierPath").as_str() {
                    security.insert("requestIdentifierPath".into(), path.into());
                }
                changes.keys.insert("security".into(), security.into());
                changes.told.push(format!("~ security: {}; the secret is sent as well", differ.join(", ")));
            }
        }
        None if COMPARED.iter().any(|key| found(key).as_str().is_some_and(|text| !text.is_empty())) => {
            changes.problems.push(format!(
                "webhook {IDENTIFIER} applies signed posts alone, and PORT_WEBHOOK_SECRET is not set: set it to the webhook's secret, or \
                 remove the webhook's security settings in Port"
            ));
        }
        None => {}
    }
    if there.get("enabled") == Some(&Json::Bool(false)) {
        changes.problems.push(format!(
            "webhook {IDENTIFIER} is disabled, so that Port drops what is posted: enable it in Port (Data sources)"
        ));
    }
    changes
}

/// Header names are case-insensitive.
fn is_same(key: &str, there: &Json, wanted: &Json) -> bool {
    let text = |value: &Json| {
        let text = value.as_str().unwrap_or_default();
        if key == "signatureHeaderName" { text.to_ascii_lowercase() } else { text.to_owned() }
    };
    text(there) == text(wanted)
}

fn entries(webhook: &Object) -> &[Json] {
    webhook.get("mappings").and_then(Json::as_array).map_or(&[], Vec::as_slice)
}

/// The existing entries with the wanted changes, and the missing ones.
fn merged(there: &[Json], wanted: &[Json], told: &mut Vec<String>) -> Vec<Json> {
    let mut merged = there.to_vec();
    let mut open: Vec<&mut Json> = merged.iter_mut().collect();
    let mut missing = Vec::new();
    for entry in wanted {
        // Of several entries for one blueprint, each writes something that no other does. This keeps one from turning
        // into another.
        let others = wanted.iter().filter(|other| *other != entry && goal(other) == goal(entry));
        let others: BTreeSet<(&str, &str)> = others.flat_map(written).collect();
        let own: Vec<(&str, &str)> = written(entry).filter(|one| !others.contains(one)).collect();
        let is_alike = |found: &Json| {
            goal(found) == goal(entry) && (others.is_empty() || written(found).any(|one| own.contains(&one)))
        };
        let is_the_same = |found: &Json| is_alike(found) && at(found, "filter") == at(entry, "filter");
        let place = open.iter().position(|found| is_the_same(found));
        let Some(place) = place.or_else(|| open.iter().position(|found| is_alike(found))) else {
            told.push(format!("+ {}", named(entry)));
            missing.push(entry.clone());
            continue;
        };
        let found = open.remove(place);
        let mut changed = Vec::new();
        bring_to(found, entry, "", &mut changed);
        // With `itemsToParse`, the expressions would get another input.
        let is_parsed = |entry: &Json| !at(entry, "itemsToParse").is_null();
        if is_parsed(found) && !is_parsed(entry) {
            found.as_object_mut().map(|found| found.remove("itemsToParse"));
            changed.push("itemsToParse".into());
        }
        if !changed.is_empty() {
            told.push(format!("~ {}: {}", named(entry), changed.join(", ")));
        }
    }
    merged.extend(missing);
    merged
}

/// Changes what differs from what is wanted, and lists the paths.
fn bring_to(there: &mut Json, wanted: &Json, path: &str, changed: &mut Vec<String>) {
    match (there, wanted) {
        (Json::Object(there), Json::Object(wanted)) => {
            for (key, wanted) in wanted {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                bring_to(there.entry(key).or_insert(Json::Null), wanted, &path, changed);
            }
        }
        // Two notations for the same.
        (there, Json::String(wanted)) if path == "operation" && kind(there) == wanted => {}
        (there, wanted) if there != wanted => {
            *there = wanted.clone();
            changed.push(path.to_owned());
        }
        _ => {}
    }
}

fn at<'a>(value: &'a Json, key: &str) -> &'a Json {
    value.get(key).unwrap_or(&Json::Null)
}

/// What it does, and to which blueprint.
fn goal(entry: &Json) -> (&Json, &str) {
    (at(entry, "blueprint"), kind(at(entry, "operation")))
}

/// The properties and relations that it writes.
fn written(entry: &Json) -> impl Iterator<Item = (&str, &str)> {
    ["properties", "relations"].into_iter().flat_map(|part| {
        let keys = at(at(entry, "entity"), part).as_object().into_iter().flat_map(serde_json::Map::keys);
        keys.map(move |key| (part, key.as_str()))
    })
}

/// `create` or `delete`, given as a word or in an object.
fn kind(operation: &Json) -> &str {
    operation.as_str().or(at(operation, "type").as_str()).unwrap_or_default()
}

fn named(entry: &Json) -> String {
    let blueprint = at(entry, "blueprint").as_str().unwrap_or_default();
    format!("mapping: {} {}", printable(kind(at(entry, "operation"))), printable(blueprint))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::SigningConfig;

    fn config(payload: Payload, secret: Option<&str>) -> WebhookConfig {
        let signing = secret.map(|secret| SigningConfig {
            secret: secret.into(),
            header: reqwest::header::HeaderName::from_static("x-port-signature"),
            prefix: "sha256=".into(),
        });
        WebhookConfig { payload, signing }
    }

    fn plain() -> Object {
        wanted(&config(Payload::Single, None), Coverage::Resources)
    }

    #[test]
    fn what_is_as_it_is_to_be_is_not_changed_and_its_secret_is_not_looked_at() {
        let wanted = wanted(&config(Payload::Batch, Some("marked-secret")), Coverage::Resources);
        let mut there = wanted.clone();
        there["security"]["secret"] = "another".into();
        there["security"]["signatureHeaderName"] = "X-Port-Signature".into();
        there["title"] = "Mine".into();
        there["mappings"][0]["operation"] = json!({"type": "create"});
        there["mappings"][0]["entity"]["icon"] = Json::Null;
        let changes = compare(&there, &wanted);
        assert!(
            changes.keys.is_empty() && changes.told.is_empty() && changes.problems.is_empty(),
            "{:?}",
            changes.told
        );
    }

    #[test]
    fn an_entry_that_differs_is_brought_to_what_is_wanted_and_the_users_own_stay() {
        let mut there = plain();
        let own = json!({"blueprint": "mine", "operation": "create", "entity": {"identifier": ".body.x"}});
        there["mappings"].as_array_mut().unwrap().insert(0, own.clone());
        there["mappings"][1]["entity"]["properties"]["owner"] = ".body.data.tags.owner".into();
        there["mappings"][1]["entity"]["properties"]["tags"] = "null".into();
        there["mappings"][2]["operation"] = "delete".into();
        there["mappings"].as_array_mut().unwrap().pop();
        let changes = compare(&there, &plain());
        assert_eq!(
            changes.told,
            [
                "~ mapping: create azureCloudResources: entity.properties.tags",
                "~ mapping: delete azureCloudResources: operation",
                "+ mapping: delete azureSubscription",
            ]
        );
        assert_eq!(changes.keys.keys().collect::<Vec<_>>(), ["mappings"]);
        let mapping = changes.keys["mappings"].as_array().unwrap();
        assert_eq!((mapping.len(), &mapping[0]), (7, &own));
        assert_eq!(mapping[1]["entity"]["properties"]["owner"], ".body.data.tags.owner");
        assert_eq!(mapping[1]["entity"]["properties"]["tags"], ".body.data.tags");
        there.extend(changes.keys);
        assert!(compare(&there, &plain()).keys.is_empty());
    }

    #[test]
    fn a_mapping_changes_from_one_payload_to_the_other_and_back() {
        for (from, to) in [(Payload::Single, Payload::Batch), (Payload::Batch, Payload::Single)] {
            let wanted = |payload| wanted(&config(payload, None), Coverage::ResourcesAndEntra);
            let (mut there, wanted) = (wanted(from), wanted(to));
            // The order of entries does not matter.
            there["mappings"].as_array_mut().unwrap().reverse();
            there.extend(compare(&there, &wanted).keys);
            let sorted = |webhook: &Object| {
                let mut entries: Vec<String> = entries(webhook).iter().map(ToString::to_string).collect();
                entries.sort();
                entries
            };
            assert_eq!(sorted(&there), sorted(&wanted));
        }
    }

    #[test]
    fn security_that_differs_is_sent_whole_with_the_secret_and_the_users_own_path() {
        let wanted = wanted(&config(Payload::Single, Some("marked-secret")), Coverage::Resources);
        let mut there = plain();
        there.insert("security".into(), json!({"signatureAlgorithm": "sha256", "requestIdentifierPath": ".x"}));
        let changes = compare(&there, &wanted);
        assert_eq!(changes.told, ["~ security: signatureHeaderName, signaturePrefix; the secret is sent as well"]);
        let sent = &changes.keys["security"];
        assert_eq!((&sent["secret"], &sent["requestIdentifierPath"]), (&"marked-secret".into(), &".x".into()));
        assert!(told(&wanted).iter().all(|line| !line.contains("marked")));
    }

    #[test]
    fn a_webhook_that_drops_what_is_posted_is_told() {
        let mut there = plain();
        there.insert("enabled".into(), false.into());
        there.insert("security".into(), json!({"signatureAlgorithm": "sha256"}));
        let changes = compare(&there, &plain());
        assert!(changes.keys.is_empty() && changes.problems.len() == 2, "{:?}", changes.problems);
        there.insert("security".into(), json!({"signatureAlgorithm": null, "signaturePrefix": ""}));
        assert_eq!(compare(&there, &plain()).problems.len(), 1);
    }
}
