//! Searches the entities of one blueprint, page by page.
//!
//! "Search a blueprint's entities", Port's API reference. Every page but the last says where the next one begins.

use std::collections::HashSet;

use reqwest::Method;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::rate::Class;
use super::{Port, PortError};
use crate::http::{self, Failure, RequestError};

/// Entities per page: Port's maximum.
const LARGEST_PAGE: usize = 1000;

/// A search of one blueprint.
pub(crate) struct Pages<'a> {
    port: &'a Port,
    blueprint: &'a str,
    /// `{combinator, rules}`; `None` for all entities.
    query: Option<Value>,
    /// What to return of each entity: `$identifier` and the like, and plain names of properties and relations.
    include: Vec<String>,
    next: Option<String>,
    /// The cursors of the pages so far.
    seen: HashSet<String>,
    is_over: bool,
}

/// A page of entities, each a JSON object.
#[derive(Deserialize)]
struct Page {
    entities: Vec<Box<RawValue>>,
    #[serde(default)]
    next: Option<String>,
}

impl Port {
    /// Creates a search without starting it.
    pub(crate) fn search<'a>(&'a self, blueprint: &'a str, query: Option<Value>, include: Vec<String>) -> Pages<'a> {
        Pages { port: self, blueprint, query, include, next: None, seen: HashSet::new(), is_over: false }
    }
}

impl Pages<'_> {
    /// The entities of the next page; `None` after the last.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<Box<RawValue>>>, PortError> {
        if self.is_over {
            return Ok(None);
        }
        let url = self.port.url(["v1", "blueprints", self.blueprint, "entities", "search"]);
        let label = http::label("POST", &url);
        let mut body = json!({
            "query": self.query.clone().unwrap_or_else(|| json!({"combinator": "and", "rules": []})),
            "include": self.include,
            "limit": LARGEST_PAGE,
        });
        if let (Some(fields), Some(next)) = (body.as_object_mut(), &self.next) {
            fields.insert("from".to_owned(), next.as_str().into());
        }
        let body = bytes::Bytes::from(body.to_string());
        let read = || async {
            let answered = self.port.attempt(Class::Search, Method::POST, url.clone(), Some(body.clone())).await?;
            let page: Page = answered.answer.json().map_err(|failure| RequestError::new(label.as_str(), failure))?;
            Ok(page)
        };
        let Page { entities, next } = self.port.retrying(read).await?;
        self.is_over = next.is_none();
        if let Some(next) = &next
            && !self.seen.insert(next.clone())
        {
            let failure = Failure::Unreadable("its pages lead in a circle".into());
            return Err(RequestError::new(label, failure).into());
        }
        self.next = next;
        Ok(Some(entities))
    }
}
