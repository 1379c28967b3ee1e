//! The one client of Resource Graph: a request and its answer, under the quota.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use jiff::Timestamp;
use reqwest::header::HeaderMap;
use serde::Serialize;
use serde_json::value::RawValue;

use super::error::GraphError;
use super::page::{Body, PAGE, Page};
use super::quota::Quota;
use super::row::Row;
use crate::azure::api::{Api, ApiError, Effort};
use crate::config::{ResourceType, Scope};
use crate::http::{self, Failure, Packed, RequestError};
use crate::model::{self, Finding, Stage};
use crate::offload;
use crate::text::printable;

/// A page of this many bytes as received, a few hundred rows, is opened on another thread.
const LARGE: usize = 8 << 10;

/// "Resources", Azure Resource Graph REST reference.
const PATH: &str = "/providers/Microsoft.ResourceGraph/resources?api-version=2024-04-01";

/// Provides single pages: Resource Graph, or a test double.
pub(super) trait Pages {
    /// A page as it came.
    type Closed;

    async fn page(&self, request: Request<'_>) -> Result<Self::Closed, GraphError>;

    /// Opens a page, whose rows take many times the memory. It answers the query of this name, in this scope.
    async fn open(&self, page: Self::Closed, name: &'static str, scope: &Scope) -> Result<Page, GraphError>;

    /// Announces rows that will come.
    fn announce(&self, rows: u64);

    /// Counts rows that came.
    fn count(&self, rows: u64);
}

/// A request for one page of a query.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request<'a> {
    /// Its name in errors.
    pub(super) name: &'static str,
    pub(super) text: &'a str,
    /// GUIDs, at most 1,000.
    pub(super) subscriptions: &'a [&'a str],
    pub(super) skip_token: Option<&'a str>,
    pub(super) effort: Effort,
}

/// Resource Graph, and statistics of what it answered.
pub(crate) struct Client {
    arm: Api,
    quota: Quota,
    queries: AtomicU64,
    rows: AtomicU64,
    announced: AtomicU64,
    elsewhere: AtomicU64,
    azure_time: OnceLock<Timestamp>,
    duplicates: Mutex<HashSet<Box<str>>>,
    matched: Mutex<Matched>,
}

/// Which parts of the filters matched anything.
#[derive(Default)]
struct Matched {
    group: bool,
    types: HashSet<Arc<str>>,
}

/// The answer to a query that fits on one page.
#[derive(Debug, Default)]
pub(crate) struct Answered {
    /// Rows in total.
    pub(crate) total: u64,
    /// The first of them, up to the number requested.
    pub(crate) rows: Vec<Box<RawValue>>,
    pub(crate) quota: Option<QuotaTold>,
}

/// The quota as an answer reported it, verbatim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct QuotaTold {
    /// Queries left.
    pub(crate) remaining: String,
    /// `hh:mm:ss` until the count resets.
    pub(crate) resets_after: Option<String>,
}

#[derive(Serialize)]
struct Question<'a> {
    subscriptions: &'a [&'a str],
    query: &'a str,
    options: Options<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Options<'a> {
    result_format: &'static str,
    #[serde(rename = "$top")]
    top: u64,
    #[serde(rename = "$skipToken", skip_serializing_if = "Option::is_none")]
    skip_token: Option<&'a str>,
}

impl Client {
    pub(crate) fn new(arm: Api) -> Self {
        Self {
            arm,
            quota: Quota::new(),
            queries: AtomicU64::new(0),
            rows: AtomicU64::new(0),
            announced: AtomicU64::new(0),
            elsewhere: AtomicU64::new(0),
            azure_time: OnceLock::new(),
            duplicates: Mutex::default(),
            matched: Mutex::default(),
        }
    }

    pub(crate) fn arm(&self) -> &Api {
        &self.arm
    }

    /// The time at Resource Graph when it first reported it.
    pub(crate) fn azure_time(&self) -> Option<Timestamp> {
        self.azure_time.get().copied()
    }

    /// Requests that Resource Graph answered.
    pub(crate) fn queries(&self) -> u64 {
        self.queries.load(Ordering::Relaxed)
    }

    /// Rows in its answers, except those that only show coverage.
    pub(crate) fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// Rows it announced for all queries so far.
    pub(crate) fn announced(&self) -> u64 {
        self.announced.load(Ordering::Relaxed)
    }

    /// Ids with more than one row.
    pub(crate) fn duplicates(&self) -> u64 {
        self.duplicates.lock().unwrap_or_else(PoisonError::into_inner).len() as u64
    }

    /// Sends a small query over up to 1,000 subscriptions, given by GUID. Returns how many rows there are, and the
    /// first `top`, at most 1,000. Nothing about the answer is proven. Errors call the query `name`.
    pub(crate) async fn ask(
        &self,
        name: &'static str,
        text: &str,
        subscriptions: &[&str],
        top: u64,
    ) -> Result<Answered, GraphError> {
        let options = Options { result_format: "objectArray", top: top.clamp(1, PAGE), skip_token: None };
        let answer = match self.post(name, &Question { subscriptions, query: text, options }, Effort::Full).await {
            Err(error) if error.looks_at_none() => return Ok(Answered::default()),
            answer => answer?.unpack().map_err(|failure| self.unreadable(name, failure))?,
        };
        let body = Body::parse(&answer.body).map_err(|failure| self.unreadable(name, failure))?;
        let top = usize::try_from(top).unwrap_or(usize::MAX);
        Ok(Answered {
            total: body.total_records,
            rows: body.data.0.into_iter().take(top).map(ToOwned::to_owned).collect(),
            quota: quota_told(&answer.headers),
        })
    }

    async fn post(&self, name: &'static str, question: &Question<'_>, effort: Effort) -> Result<Packed, GraphError> {
        let failed = |source: ApiError| GraphError::Request { query: name, source };
        let url = self.arm.url(PATH).map_err(|error| failed(error.into()))?;
        let body =
            serde_json::to_vec(question).map_err(|error| self.unreadable(name, Failure::Unreadable(error.into())))?;
        let answer = self.arm.post(url, Bytes::from(body), &self.quota, effort).await.map_err(failed)?;
        self.queries.fetch_add(1, Ordering::Relaxed);
        if left_subscriptions_out(answer.headers()) { Err(GraphError::LeftOut { query: name }) } else { Ok(answer) }
    }

    fn unreadable(&self, query: &'static str, failure: Failure) -> GraphError {
        match self.arm.url(PATH) {
            Ok(url) => {
                let source = RequestError::new(http::label("POST", &url), failure).into();
                GraphError::Request { query, source }
            }
            Err(error) => GraphError::Request { query, source: error.into() },
        }
    }

    /// Counts rows without an id of ours, and logs the first of them.
    fn note_elsewhere(&self, page: &Page) {
        let mut others = page.rows.iter().filter(|row| matches!(row, Row::Elsewhere(_)));
        let Some(first) = others.next() else { return };
        let count = 1 + others.count() as u64;
        if self.elsewhere.fetch_add(count, Ordering::Relaxed) == 0 {
            tracing::info!(
                "rows that are in no subscription and name none are left out, such as {}",
                printable(first.id())
            );
        }
    }

    fn note_matches(&self, page: &Page, scope: &Scope) {
        if !scope.is_filtered() && scope.resource_types.is_empty() {
            return;
        }
        let mut matched = self.matched.lock().unwrap_or_else(PoisonError::into_inner);
        for row in &page.rows {
            let Row::Of(Finding { change, exists: true, scope: place, .. }) = row else { continue };
            matched.group |= change.id.stage() == Stage::Container && *place == Some(model::Scope::In);
            if !matched.types.contains(&change.kind) {
                matched.types.insert(Arc::clone(&change.kind));
            }
        }
    }

    /// The parts of a scope that matched nothing that was read: whether no group matched, and the types without
    /// resources.
    pub(crate) fn unmatched(&self, scope: &Scope) -> (bool, Vec<String>) {
        let matched = self.matched.lock().unwrap_or_else(PoisonError::into_inner);
        let types = scope.resource_types.iter().map(ResourceType::as_str);
        let missing = types.filter(|name| !matched.types.contains(*name)).map(str::to_owned);
        (scope.is_filtered() && !matched.group, missing.collect())
    }

    /// Counts each id with more than one row once per run, and logs the first.
    fn note_duplicates(&self, page: &Page) {
        let mut known = self.duplicates.lock().unwrap_or_else(PoisonError::into_inner);
        if let (true, Some(first)) = (known.is_empty(), page.duplicates.first()) {
            tracing::info!(
                "Resource Graph has more than one row of some resources, such as {}; the same one of them is taken in every run",
                printable(first)
            );
        }
        known.extend(page.duplicates.iter().cloned());
    }
}

impl Pages for Client {
    /// `None`: Resource Graph covers none of the subscriptions.
    type Closed = Option<Packed>;

    async fn page(&self, request: Request<'_>) -> Result<Self::Closed, GraphError> {
        let Request { name, text, subscriptions, skip_token, effort } = request;
        let options = Options { result_format: "objectArray", top: PAGE, skip_token };
        match self.post(name, &Question { subscriptions, query: text, options }, effort).await {
            Err(error) if error.looks_at_none() => Ok(None),
            answer => answer.map(Some),
        }
    }

    async fn open(&self, page: Self::Closed, name: &'static str, scope: &Scope) -> Result<Page, GraphError> {
        let Some(packed) = page else { return Ok(Page::default()) };
        let open = |packed: Packed, scope: &Scope| packed.unpack().and_then(|answer| Page::parse(&answer.body, scope));
        let page = if packed.len() < LARGE {
            open(packed, scope)
        } else {
            let scope = scope.clone();
            offload::elsewhere(move || open(packed, &scope)).await
        };
        let page = page.map_err(|failure| self.unreadable(name, failure))?;
        self.note_elsewhere(&page);
        self.note_duplicates(&page);
        self.note_matches(&page, scope);
        _ = page.azure_time.map(|time| self.azure_time.set(time));
        Ok(page)
    }

    fn announce(&self, rows: u64) {
        self.announced.fetch_add(rows, Ordering::Relaxed);
    }

    fn count(&self, rows: u64) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
    }
}

/// With more than 10,000 subscriptions in scope, the service omits some, and says so only in a header.
fn left_subscriptions_out(headers: &HeaderMap) -> bool {
    headers
        .get("x-ms-tenant-subscription-limit-hit")
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"true"))
}

pub(super) fn quota_told(headers: &HeaderMap) -> Option<QuotaTold> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::to_owned);
    Some(QuotaTold {
        remaining: text("x-ms-user-quota-remaining")?,
        resets_after: text("x-ms-user-quota-resets-after"),
    })
}
