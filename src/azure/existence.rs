//! Whether something exists, according to Resource Manager: the one answer that does not lag.
//!
//! "Resources - Get By Id" and "Providers - Get", Azure Resource Manager REST reference. Each type has API versions of
//! its own, which its provider lists.

use std::collections::HashMap;

use reqwest::{StatusCode, Url};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::api::{Api, ApiError};
use crate::http::RequestError;
use crate::id::lower;

/// For subscriptions, resource groups and providers.
const VERSION: &str = "2021-04-01";

/// The codes by which Resource Manager, or a provider, says that something does not exist. A 404 with another code may
/// be about the type, the provider or the version.
const GONE: [&str; 5] =
    ["NotFound", "ParentResourceNotFound", "ResourceGroupNotFound", "ResourceNotFound", "SubscriptionNotFound"];

/// What Resource Manager says about an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Existence {
    There,
    Gone,
    /// It cannot, or may not, be looked up.
    Unknown,
}

/// Resource Manager, and the API versions that its providers listed.
pub(crate) struct Asking<'a> {
    arm: &'a Api,
    /// By `namespace/type` in lower case.
    versions: Mutex<HashMap<String, HashMap<String, String>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Provider {
    #[serde(default)]
    resource_types: Vec<ResourceType>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResourceType {
    resource_type: String,
    #[serde(default)]
    api_versions: Vec<String>,
}

impl<'a> Asking<'a> {
    pub(crate) fn new(arm: &'a Api) -> Self {
        Self { arm, versions: Mutex::default() }
    }

    /// Looks up a subscription, a group or a resource. An error is about reaching the service, not about the id.
    pub(crate) async fn whether(&self, id: &str) -> Result<Existence, ApiError> {
        let Some(parts) = Parts::of(id) else { return Ok(Existence::Unknown) };
        let version = match &parts.kind {
            None => VERSION.to_owned(),
            Some((namespace, kind)) => match self.version(parts.subscription, namespace, kind).await? {
                Some(version) => version,
                None => return Ok(Existence::Unknown),
            },
        };
        let url = self.url(id, &version)?;
        match self.arm.get(url, &format!("GET {id}")).await {
            Ok(_) => Ok(Existence::There),
            Err(ApiError::Request(error)) if error.status() == Some(StatusCode::NOT_FOUND) => {
                let is_gone = error.codes().first().is_some_and(|code| GONE.contains(&code.as_str()));
                Ok(if is_gone { Existence::Gone } else { Existence::Unknown })
            }
            Err(ApiError::Request(error)) if is_about_the_id(&error) => Ok(Existence::Unknown),
            Err(error) => Err(error),
        }
    }

    fn url(&self, path: &str, version: &str) -> Result<Url, RequestError> {
        let mut url = self.arm.url("/")?;
        // This encodes characters with a meaning in a path or query.
        url.set_path(path);
        url.query_pairs_mut().append_pair("api-version", version);
        Ok(url)
    }

    /// The newest stable version of a type, or else the newest preview; `None` if its provider does not know the type.
    async fn version(&self, subscription: &str, namespace: &str, kind: &str) -> Result<Option<String>, ApiError> {
        let mut versions = self.versions.lock().await;
        if !versions.contains_key(namespace) {
            let path = format!("/subscriptions/{subscription}/providers/{namespace}");
            let label = format!("GET {path}");
            let of_types = match self.arm.get(self.url(&path, VERSION)?, &label).await {
                Ok(answer) => {
                    let provider: Provider =
                        answer.json().map_err(|failure| RequestError::new(label.as_str(), failure))?;
                    provider.resource_types.into_iter().filter_map(newest).collect()
                }
                Err(ApiError::Request(error)) if is_about_the_id(&error) => HashMap::new(),
                Err(error) => return Err(error),
            };
            versions.insert(namespace.to_owned(), of_types);
        }
        Ok(versions.get(namespace).and_then(|types| types.get(kind)).cloned())
    }
}

/// Whether the refusal is about what was asked for, so that something else might still be answered.
fn is_about_the_id(error: &RequestError) -> bool {
    let is_refused = error.status().is_some_and(|status| status.is_client_error());
    is_refused && !error.is_transient() && error.status() != Some(StatusCode::UNAUTHORIZED)
}

fn newest(ResourceType { resource_type, api_versions }: ResourceType) -> Option<(String, String)> {
    let is_stable = |version: &&String| !version.contains('-') || version.matches('-').count() == 2;
    let version = api_versions.iter().filter(is_stable).max().or(api_versions.iter().max())?;
    Some((lower(&resource_type), version.clone()))
}

/// The parts of an id that decide how to look it up.
struct Parts<'a> {
    subscription: &'a str,
    /// The last provider's namespace and type, in lower case; `None` for a subscription or a group.
    kind: Option<(String, String)>,
}

impl<'a> Parts<'a> {
    fn of(id: &'a str) -> Option<Self> {
        let words: Vec<&str> = id.strip_prefix('/')?.split('/').collect();
        // A path with dot segments would mean another path.
        if words.iter().any(|word| matches!(*word, "" | "." | "..")) {
            return None;
        }
        let (subscription, rest) = match &words[..] {
            [head, subscription, rest @ ..] if head.eq_ignore_ascii_case("subscriptions") => (*subscription, rest),
            _ => return None,
        };
        let in_group = match rest {
            [] => return Some(Self { subscription, kind: None }),
            [head, _] if head.eq_ignore_ascii_case("resourcegroups") => return Some(Self { subscription, kind: None }),
            [head, _, rest @ ..] if head.eq_ignore_ascii_case("resourcegroups") => rest,
            rest => rest,
        };
        let last = in_group.iter().rposition(|word| word.eq_ignore_ascii_case("providers"))?;
        let (namespace, path) = in_group.get(last + 1..)?.split_first()?;
        let kind: Vec<&str> = path.iter().step_by(2).copied().collect();
        let is_whole = path.len().is_multiple_of(2) && !path.is_empty();
        is_whole.then(|| Self { subscription, kind: Some((lower(namespace), lower(&kind.join("/")))) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Its provider and type, `-` if it has none, empty if the id is invalid.
    fn kind(id: &str) -> String {
        Parts::of(id).map_or_else(String::new, |parts| {
            parts.kind.map_or("-".into(), |(namespace, kind)| format!("{namespace} {kind}"))
        })
    }

    #[test]
    fn an_id_says_which_provider_tells_its_version() {
        for (id, expected) in [
            ("/subscriptions/s", "-"),
            ("/subscriptions/s/resourceGroups/g", "-"),
            ("/subscriptions/s/resourcegroups/g/providers/A.b/c/d", "a.b c"),
            ("/subscriptions/s/resourcegroups/g/providers/A.b/c/d/E/f", "a.b c/e"),
            ("/subscriptions/s/resourcegroups/g/providers/a.b/c/d/providers/e.f/g/h", "e.f g"),
            ("/subscriptions/s/providers/a.b/c/d", "a.b c"),
            ("", ""),
            ("x", ""),
            ("/subscriptions", ""),
            ("/subscriptions/s/../t", ""),
            ("/subscriptions/s/resourcegroups/g/providers/a.b/c", ""),
            ("/providers/a/b/c", ""),
        ] {
            assert_eq!(kind(id), expected, "{id}");
        }
    }

    #[test]
    fn the_newest_version_is_taken_and_a_preview_only_where_there_is_nothing_else() {
        let of = |versions: &[&str]| {
            let api_versions = versions.iter().map(|version| (*version).to_owned()).collect();
            newest(ResourceType { resource_type: "A/B".into(), api_versions })
        };
        let expected = |version: &str| Some(("a/b".to_owned(), version.to_owned()));
        assert_eq!(of(&["2024-05-01-preview", "2023-11-01", "2022-01-01"]), expected("2023-11-01"));
        assert_eq!(of(&["2021-01-01-preview"]), expected("2021-01-01-preview"));
        assert_eq!(of(&[]), None);
    }
}
