//! The pure parts, for the bench and the fuzz targets. Not a public interface: it changes with them.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderValue, RETRY_AFTER};

use crate::checkpoint;
use crate::config::{Payload, Scope, TagFilters};
use crate::engine::Posts;
use crate::http;
use crate::id::lower;
use crate::mapping::{Kind, Mapping};
use crate::model::Change;
use crate::sinks::webhook::{self, Envelope};
use crate::sources::resource_graph::kql::{self, Literal};
use crate::sources::resource_graph::page::Page;
use crate::sources::resource_graph::row::Row;

/// The number of rows in an answer of Resource Graph; 0 if it is not one.
pub fn rows(answer: &Bytes) -> usize {
    changes(answer).len()
}

/// The bodies in which its rows are posted.
pub fn bodies(answer: &Bytes, payload: Payload) -> Vec<Bytes> {
    let envelopes = changes(answer).into_iter().map(Envelope::new).map(Box::new).collect();
    let limits = webhook::limits(payload, NonZeroUsize::MIN);
    Posts::new(limits, envelopes).map(|post| webhook::body(payload, &post)).collect()
}

fn changes(answer: &Bytes) -> Vec<Change> {
    let rows = Page::parse(answer, &Scope::default()).map_or_else(|_| Vec::new(), |page| page.rows);
    rows.into_iter().filter_map(|row| if let Row::Of(finding) = row { Some(finding.change) } else { None }).collect()
}

/// Returns a function that counts the entities a mapping makes of a resource row; `None` if the text is not a mapping.
pub fn mapped(mapping: &str) -> Option<impl Fn(&[u8]) -> usize> {
    let mapping = Mapping::parse(mapping).ok()?;
    Some(move |row: &[u8]| mapping.entities(Kind::Resource, row).entities.len())
}

/// The text as a KQL literal.
pub fn literal(text: &str) -> String {
    Literal(text).to_string()
}

/// The condition for a value of `RESOURCE_GROUP_TAG_FILTERS`, and the texts in it. `None` if the value is invalid or
/// empty.
pub fn tag_condition(setting: &str) -> Option<(String, BTreeSet<String>)> {
    let filters: TagFilters = serde_json::from_str(setting).ok()?;
    let texts = filters.include.iter().chain(&filters.exclude);
    let texts = texts.flat_map(|condition| [lower(&condition.name), lower(&condition.value)]).collect();
    Some((kql::tag_condition(&filters, "tags")?, texts))
}

/// The wait that a `Retry-After` header asks for.
pub fn retry_after(value: &[u8], now: SystemTime) -> Option<Duration> {
    let mut headers = HeaderMap::new();
    headers.insert(RETRY_AFTER, HeaderValue::from_bytes(value).ok()?);
    http::retry_after(&headers, now)
}

/// Whether the bytes of a checkpoint entry have the same meaning after a round trip; `None` if they are not an entry.
pub fn entry_survives(stored: &[u8]) -> Option<bool> {
    checkpoint::entry_survives(stored)
}
