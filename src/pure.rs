//! The pure parts, for the bench and the fuzz targets to call. Not an interface: it changes as they do.

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

/// How many rows an answer of Resource Graph has; 0 where it is none.
pub fn rows(answer: &Bytes) -> usize {
    changes(answer).len()
}

/// The bodies that its rows are posted in.
pub fn bodies(answer: &Bytes, payload: Payload) -> Vec<Bytes> {
    let envelopes = changes(answer).into_iter().map(Envelope::new).map(Box::new).collect();
    let limits = webhook::limits(payload, NonZeroUsize::MIN);
    Posts::new(limits, envelopes).map(|post| webhook::body(payload, &post)).collect()
}

fn changes(answer: &Bytes) -> Vec<Change> {
    let rows = Page::parse(answer, &Scope::default()).map_or_else(|_| Vec::new(), |page| page.rows);
    rows.into_iter().filter_map(|row| if let Row::Of(finding) = row { Some(finding.change) } else { None }).collect()
}

/// How many entities a mapping makes of a resource's row; `None` where the text is no mapping.
pub fn mapped(mapping: &str) -> Option<impl Fn(&[u8]) -> usize> {
    let mapping = Mapping::parse(mapping).ok()?;
    Some(move |row: &[u8]| mapping.entities(Kind::Resource, row).entities.len())
}

/// A text as a literal of KQL.
pub fn literal(text: &str) -> String {
    Literal(text).to_string()
}

/// The condition that a value of `RESOURCE_GROUP_TAG_FILTERS` becomes, if it is one and asks for anything, and the texts in it.
pub fn tag_condition(setting: &str) -> Option<(String, BTreeSet<String>)> {
    let filters: TagFilters = serde_json::from_str(setting).ok()?;
    let texts = filters.include.iter().chain(&filters.exclude);
    let texts = texts.flat_map(|condition| [lower(&condition.name), lower(&condition.value)]).collect();
    Some((kql::tag_condition(&filters, "tags")?, texts))
}

/// What a `Retry-After` header asks for.
pub fn retry_after(value: &[u8], now: SystemTime) -> Option<Duration> {
    let mut headers = HeaderMap::new();
    headers.insert(RETRY_AFTER, HeaderValue::from_bytes(value).ok()?);
    http::retry_after(&headers, now)
}

/// Whether the bytes of an entry of the checkpoint, once read, written and read again, say the same; `None` where they are none.
pub fn entry_survives(stored: &[u8]) -> Option<bool> {
    checkpoint::entry_survives(stored)
}
