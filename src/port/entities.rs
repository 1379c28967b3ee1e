//! Writing and deleting entities in bulk.
//!
//! "Create or update multiple entities" and "Delete multiple entities", Port's API reference. A request writes up to
//! [`MOST_WRITTEN`] or deletes up to [`MOST_DELETED`] entities of one blueprint, and the answer gives the outcome of
//! each.

use std::num::NonZeroUsize;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json;

use super::rate::Class;
use super::{Answered, Port, PortError};
use crate::http::{self, Failure, RequestError, StatusError};

/// Maximum entities in a bulk upsert.
pub(crate) const MOST_WRITTEN: NonZeroUsize = NonZeroUsize::new(20).unwrap();

/// Maximum entities in a bulk delete.
pub(crate) const MOST_DELETED: NonZeroUsize = NonZeroUsize::new(100).unwrap();

/// The largest body that Port accepts; it answers 413 to a larger one.
pub(crate) const LARGEST_BODY: usize = 1 << 20;

const BEFORE: &[u8] = br#"{"entities":["#;
const AFTER: &[u8] = b"]}";

/// Maximum bytes of the entities in a body, including a comma after each.
pub(crate) const LARGEST_LIST: usize = LARGEST_BODY + 1 - BEFORE.len() - AFTER.len();

/// How entities are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Upsert {
    /// Changes only the given fields; otherwise the entity is replaced.
    pub(crate) merge: bool,
    /// Creates missing related entities, empty.
    pub(crate) create_missing: bool,
}

/// What becomes of the entities that relate to one that is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dependents {
    Keep,
    Delete,
}

impl Dependents {
    /// The value of `delete_dependents`.
    fn as_str(self) -> &'static str {
        match self {
            Self::Keep => "false",
            Self::Delete => "true",
        }
    }
}

/// The outcome of each entity of a bulk request, in order.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) outcomes: Vec<Result<(), PortError>>,
    /// How long Port asks to wait before the next request.
    pub(crate) pause: Option<Duration>,
}

#[derive(Deserialize)]
struct Bulk {
    #[serde(default)]
    entities: Vec<Done>,
    #[serde(default)]
    errors: Vec<Refused>,
}

#[derive(Deserialize)]
struct Done {
    index: usize,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Refused {
    index: usize,
    #[serde(default)]
    status_code: Option<u16>,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    message: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Deleted {
    deleted_entities: Vec<String>,
}

impl Port {
    /// Makes one attempt to write entities of a blueprint, each a JSON object.
    pub(crate) async fn write(&self, blueprint: &str, entities: &[&[u8]], how: Upsert) -> Result<Written, PortError> {
        let mut url = self.url(["v1", "blueprints", blueprint, "entities", "bulk"]);
        url.query_pairs_mut()
            .append_pair("upsert", "true")
            .append_pair("merge", &how.merge.to_string())
            .append_pair("create_missing_related_entities", &how.create_missing.to_string());
        let label = http::label("POST", &url);
        let Answered { answer, pause } = self.attempt(Class::Bulk, Method::POST, url, Some(body(entities))).await?;
        let told: Bulk = answer.json().map_err(|failure| RequestError::new(label.as_str(), failure))?;
        Ok(Written { outcomes: outcomes(&label, entities.len(), told), pause })
    }

    /// Makes one attempt to delete entities of a blueprint, and says which are certainly gone. If another entity
    /// relates to one of them, Port deletes none.
    pub(crate) async fn delete(
        &self,
        blueprint: &str,
        identifiers: &[&str],
        dependents: Dependents,
    ) -> Result<(Vec<bool>, Option<Duration>), PortError> {
        let mut url = self.url(["v1", "blueprints", blueprint, "bulk", "entities", "delete"]);
        url.query_pairs_mut().append_pair("delete_dependents", dependents.as_str());
        let label = http::label("POST", &url);
        let body = json!({ "entities": identifiers }).to_string().into();
        let Answered { answer, pause } = match self.attempt(Class::Bulk, Method::POST, url, Some(body)).await {
            // None of them exists.
            Err(error) if error.is_missing() => return Ok((vec![false; identifiers.len()], error.reset)),
            result => result?,
        };
        let told: Deleted = answer.json().map_err(|failure| RequestError::new(label, failure))?;
        let is_gone = |identifier: &&str| told.deleted_entities.iter().any(|deleted| deleted == identifier);
        Ok((identifiers.iter().map(is_gone).collect(), pause))
    }

    /// Makes one attempt to delete an entity. A missing entity is not an error.
    pub(crate) async fn delete_one(
        &self,
        blueprint: &str,
        identifier: &str,
        dependents: Dependents,
    ) -> Result<Option<Duration>, PortError> {
        let mut url = self.url(["v1", "blueprints", blueprint, "entities", identifier]);
        url.query_pairs_mut().append_pair("delete_dependents", dependents.as_str());
        match self.attempt(Class::Other, Method::DELETE, url, None).await {
            Err(error) if error.is_missing() => Ok(error.reset),
            result => Ok(result?.pause),
        }
    }
}

impl Port {
    /// Deletes entities of a blueprint but not the entities that relate to them. Retries transient errors.
    pub(crate) async fn delete_patiently(&self, blueprint: &str, identifiers: &[&str]) -> Result<(), PortError> {
        let (gone, _) = self.retrying(|| self.delete(blueprint, identifiers, Dependents::Keep)).await?;
        for (identifier, _) in identifiers.iter().zip(gone).filter(|(_, is_gone)| !is_gone) {
            self.retrying(|| self.delete_one(blueprint, identifier, Dependents::Keep)).await?;
        }
        Ok(())
    }
}

fn body(entities: &[&[u8]]) -> Bytes {
    let size = entities.iter().map(|entity| entity.len() + 1).sum::<usize>();
    let mut body = BytesMut::with_capacity(BEFORE.len() + size + AFTER.len());
    body.put_slice(BEFORE);
    for (place, entity) in entities.iter().enumerate() {
        if place > 0 {
            body.put_u8(b',');
        }
        body.put_slice(entity);
    }
    body.put_slice(AFTER);
    body.freeze()
}

/// Matches outcomes by index, because identifiers may repeat or be generated by Port. An entity in neither list may not
/// have been written, and one in both lists was not.
fn outcomes(label: &str, count: usize, told: Bulk) -> Vec<Result<(), PortError>> {
    let failed = |failure| Err(RequestError::new(label, failure).into());
    let untold = || failed(Failure::Unreadable("it does not say what became of the entity".into()));
    let mut outcomes: Vec<Result<(), PortError>> = (0..count).map(|_| untold()).collect();
    for done in told.entities {
        if let Some(outcome) = outcomes.get_mut(done.index) {
            *outcome = Ok(());
        }
    }
    for Refused { index, status_code, error, message } in told.errors {
        let Some(outcome) = outcomes.get_mut(index) else { continue };
        let Some(status) = status_code.and_then(|code| StatusCode::from_u16(code).ok()) else {
            *outcome = untold();
            continue;
        };
        let (codes, message) = (error.into_iter().collect(), message.unwrap_or_default());
        *outcome = failed(Failure::Status(StatusError { status, codes, message, retry_after: None }));
    }
    outcomes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_matched_by_index_and_what_is_not_told_of_is_not_written() {
        let told = r#"{"ok":true,"entities":[{"identifier":"x","index":2,"created":true},{"index":0},{"index":9}],
            "errors":[{"index":1,"statusCode":404,"error":"not_found","message":"no y"},{"index":0,"statusCode":422}]}"#;
        let outcomes = outcomes("POST", 4, serde_json::from_str(told).unwrap());
        let statuses: Vec<Option<Option<u16>>> = outcomes
            .iter()
            .map(|outcome| outcome.as_ref().err().map(|error| error.request.status().map(|status| status.as_u16())))
            .collect();
        assert_eq!(statuses, [Some(Some(422)), Some(Some(404)), None, Some(None)]);
    }

    #[test]
    fn a_list_of_the_largest_size_makes_the_largest_body() {
        let entity = vec![b' '; LARGEST_LIST / 2 - 1];
        let body = body(&[&entity, &entity]);
        assert!(body.len() <= LARGEST_BODY && body.len() + 2 > LARGEST_BODY, "{}", body.len());
    }
}
