//! Running a query of Resource Graph: its pages, the proof that nothing is missing, and partitions where there is no proof.
//!
//! "Working with large Azure resource data sets": pages of 1,000 over `$skipToken`. An answer counts only when its rows add
//! up to `totalRecords`, it is not truncated, and no id is there twice; pages read while resources come and go overlap and
//! leave gaps. The documented cure is to partition by a hash, so that every part fits a page.

use std::collections::HashSet;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::{Notify, Semaphore};

use super::arm::{Arm, ArmError};
use super::queries::{Part, Query};
use super::quota::Quota;
use crate::http::{self, Failure, RequestError};
use crate::id::Id;

pub(crate) const PATH: &str = "/providers/Microsoft.ResourceGraph/resources?api-version=2024-04-01";

/// The most rows that Resource Graph puts on a page.
const PAGE: u64 = 1000;

/// A result of more pages than this is read in parts, which are quicker, and right while resources come and go: only what
/// comes in one answer is of one moment.
const FEW_PAGES: u64 = 1;

/// Rows aimed at in a part of a large result: nearly every part then fits a page, as hashes spread evenly but not exactly.
const ROWS_A_PART: u64 = 930;

/// The same for a result that could not be proven: every part should fit a page.
const ROWS_A_SMALL_PART: u64 = 600;

/// Parts of a page that is too large for the service.
const FINER: u32 = 4;

/// More parts than this would be an error of ours, or a service that never adds up.
const MOST_PARTS: u32 = 1 << 14;

/// How often a result that does not add up is read again in smaller parts.
const READINGS: u32 = 4;

/// A row as a reader wants it.
pub(crate) trait Row: Sized + Send {
    /// From the row's JSON as it came, a slice of its page.
    fn parse(json: Bytes) -> Result<Self, serde_json::Error>;
    /// What no two rows of a result may share.
    fn id(&self) -> Id;
}

/// Takes pages, one at a time.
pub(crate) trait Sink<R>: Sync {
    fn take(&self, page: Vec<R>) -> impl Future<Output = Result<(), SinkError>> + Send;
}

/// Why a page was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SinkError {
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// What has to be remembered before it is sent could not be.
    #[error("{0}")]
    Memory(String),
}

/// Nobody wants the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stopped before everything was read")]
pub(crate) struct Stopped;

/// Why a query's result is not here, or not whole.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GraphError {
    #[error("the query for {query}: {source}")]
    Request { query: &'static str, source: ArmError },
    #[error(
        "the query for {query} could not be proven complete: {rows} different rows of {total} after {READINGS} readings \
         in ever smaller parts"
    )]
    Unproven { query: &'static str, rows: u64, total: u64 },
    #[error("the query for {query}: a single row is too large for Resource Graph to answer")]
    TooLarge { query: &'static str },
    #[error(
        "the query for {query}: Resource Graph left subscriptions out, as too many were in scope; lower SUBSCRIPTION_BATCH_SIZE"
    )]
    LeftOut { query: &'static str },
    #[error(transparent)]
    Sink(#[from] SinkError),
}

/// Resource Graph, under its quota.
pub(crate) struct Graph {
    arm: Arm,
    quota: Quota,
    /// Pages that are being read or waiting to be taken, over all queries. It bounds memory as well as requests.
    pages: Semaphore,
    at_once: usize,
    queries: AtomicU64,
    rows: AtomicU64,
    announced: AtomicU64,
}

#[derive(Serialize)]
struct Request<'a> {
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

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    total_records: u64,
    #[serde(borrow)]
    data: Rows<'a>,
    #[serde(default, rename = "$skipToken")]
    skip_token: Option<String>,
    #[serde(default)]
    result_truncated: Option<&'a RawValue>,
}

/// Rows, and never more than were asked for: however small they are, a few more would not matter, and millions would.
struct Rows<'a>(Vec<&'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Rows<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RowsVisitor;

        impl<'de> Visitor<'de> for RowsVisitor {
            type Value = Rows<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of rows")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Self::Value, A::Error> {
                let mut rows = Vec::new();
                while let Some(row) = all.next_element()? {
                    if rows.len() as u64 == PAGE {
                        return Err(A::Error::custom(format!("it has more than the {PAGE} rows that were asked for")));
                    }
                    rows.push(row);
                }
                Ok(Rows(rows))
            }
        }

        deserializer.deserialize_seq(RowsVisitor)
    }
}

/// A page of an answer.
pub(crate) struct Page<R> {
    pub(crate) rows: Vec<R>,
    total: u64,
    skip_token: Option<String>,
    truncated: bool,
}

impl<R: Row> Page<R> {
    /// The rows are slices of `body`, which is read once.
    pub(crate) fn parse(body: &Bytes) -> Result<Self, Failure> {
        let answer: Answer<'_> = http::json(body)?;
        let rows = answer.data.0.iter().map(|row| R::parse(body.slice_ref(row.get().as_bytes())));
        Ok(Self {
            rows: rows.collect::<Result<_, _>>().map_err(|error| Failure::Unreadable(error.to_string()))?,
            total: answer.total_records,
            skip_token: answer.skip_token.filter(|token| !token.is_empty()),
            // Documented as a string, "true" or "false".
            truncated: answer.result_truncated.is_some_and(|flag| flag.get().trim_matches('"') == "true"),
        })
    }
}

impl Graph {
    pub(crate) fn new(arm: Arm, at_once: usize) -> Self {
        Self {
            arm,
            quota: Quota::new(),
            pages: Semaphore::new(at_once),
            at_once,
            queries: AtomicU64::new(0),
            rows: AtomicU64::new(0),
            announced: AtomicU64::new(0),
        }
    }

    /// Requests that Resource Graph answered.
    pub(crate) fn queries(&self) -> u64 {
        self.queries.load(Ordering::Relaxed)
    }

    /// Rows that it answered with.
    pub(crate) fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// Rows that it said there are, of all queries so far.
    pub(crate) fn announced(&self) -> u64 {
        self.announced.load(Ordering::Relaxed)
    }

    /// Reads the whole result of a query into `sink`. Rows may come twice where a reading had to be repeated; when it
    /// returns `Ok`, every row has come.
    pub(crate) async fn read<R: Row>(
        &self,
        query: Query<'_>,
        subscriptions: &[&str],
        sink: &impl Sink<R>,
    ) -> Result<(), GraphError> {
        Reading { graph: self, query, subscriptions, sink, unread: Unread::new(None) }.part(Part::WHOLE, 0, None).await
    }

    /// Asks for the first page of a query, so that it is there when its turn comes. Who opens bounds how many are open: their
    /// pages are not bounded here, or what waits for its turn would take the place of what is delivered.
    pub(crate) async fn open<'a, R: Row>(
        &'a self,
        query: Query<'a>,
        subscriptions: &'a [&'a str],
    ) -> Result<Opened<'a, R>, GraphError> {
        let mut first = self.page(&query, &query.text(Part::WHOLE), subscriptions, None).await;
        if let Ok(page) = &mut first
            && is_large(page)
        {
            // Read again in parts; until then its size is all that is needed.
            page.rows = Vec::new();
        }
        match first {
            Err(error) if !is_too_large(&error) => Err(error),
            first => Ok(Opened { graph: self, query, subscriptions, first }),
        }
    }

    async fn page<R: Row>(
        &self,
        query: &Query<'_>,
        text: &str,
        subscriptions: &[&str],
        skip_token: Option<&str>,
    ) -> Result<Page<R>, GraphError> {
        let failed = |source: ArmError| GraphError::Request { query: query.name(), source };
        let url = self.arm.url(PATH).map_err(|error| failed(error.into()))?;
        let label = http::label("POST", &url);
        let unreadable = |failure: Failure| failed(RequestError::new(&label, failure).into());
        let request = Request {
            subscriptions,
            query: text,
            options: Options { result_format: "objectArray", top: PAGE, skip_token },
        };
        let body = Bytes::from(
            serde_json::to_vec(&request).map_err(|error| unreadable(Failure::Unreadable(error.to_string())))?,
        );
        let answer = self.arm.post(url, body, &self.quota).await.map_err(failed)?;
        self.queries.fetch_add(1, Ordering::Relaxed);
        if left_subscriptions_out(&answer.headers) {
            return Err(GraphError::LeftOut { query: query.name() });
        }

        let page = Page::<R>::parse(&answer.body).map_err(unreadable)?;
        self.rows.fetch_add(page.rows.len() as u64, Ordering::Relaxed);
        Ok(page)
    }
}

/// A query whose first page is there.
pub(crate) struct Opened<'a, R> {
    graph: &'a Graph,
    query: Query<'a>,
    subscriptions: &'a [&'a str],
    first: Result<Page<R>, GraphError>,
}

impl<R: Row> Opened<'_, R> {
    /// Reads the rest, all of it into `sink`, as [`Graph::read`] does. Notifies `all_read` once the whole result is here and
    /// proven, though some of it may still wait to be taken.
    pub(crate) async fn deliver(self, sink: &impl Sink<R>, all_read: Option<&Notify>) -> Result<(), GraphError> {
        let Self { graph, query, subscriptions, first } = self;
        let unread = Unread::new(all_read);
        Reading { graph, query, subscriptions, sink, unread }.part(Part::WHOLE, 0, Some(first)).await
    }
}

/// How many parts of a result are not here yet.
struct Unread<'a> {
    parts: AtomicU32,
    all_read: Option<&'a Notify>,
}

impl<'a> Unread<'a> {
    fn new(all_read: Option<&'a Notify>) -> Self {
        Self { parts: AtomicU32::new(1), all_read }
    }

    /// A part becomes `by`.
    fn divide(&self, by: u32) {
        self.parts.fetch_add(by - 1, Ordering::Relaxed);
    }

    /// A part is here, and proven.
    fn note_read(&self) {
        if self.parts.fetch_sub(1, Ordering::Relaxed) == 1
            && let Some(all_read) = self.all_read
        {
            all_read.notify_one();
        }
    }
}

/// One query being read.
struct Reading<'a, S> {
    graph: &'a Graph,
    query: Query<'a>,
    subscriptions: &'a [&'a str],
    sink: &'a S,
    unread: Unread<'a>,
}

impl<S> Reading<'_, S> {
    /// Reads one part to the end, in smaller ones where it is too large or does not add up.
    async fn part<R: Row>(
        &self,
        part: Part,
        readings: u32,
        mut opened: Option<Result<Page<R>, GraphError>>,
    ) -> Result<(), GraphError>
    where
        S: Sink<R>,
    {
        let text = self.query.text(part);
        let mut seen: HashSet<Id> = HashSet::new();
        let mut received = 0;
        let mut token = None;
        let mut first_total = None;
        loop {
            // Held until the page is taken, so that readers do not run ahead of the posts.
            let slot = self.graph.pages.acquire().await.map_err(|_| SinkError::from(Stopped))?;
            let page = match opened.take() {
                Some(first) => first,
                None => self.graph.page(&self.query, &text, self.subscriptions, token.as_deref()).await,
            };
            let page = match page {
                Err(error) if is_too_large(&error) => {
                    drop(slot);
                    if part.of.saturating_mul(FINER) > MOST_PARTS {
                        return Err(GraphError::TooLarge { query: self.query.name() });
                    }
                    return self.smaller(part, FINER, readings).await;
                }
                page => page?,
            };
            if token.is_none() && part == Part::WHOLE {
                self.graph.announced.fetch_add(page.total, Ordering::Relaxed);
            }
            if token.is_none() && is_large(&page) {
                let by = page.total.div_ceil(ROWS_A_PART);
                drop((page, slot));
                return self.smaller(part, u32::try_from(by).unwrap_or(u32::MAX), readings).await;
            }
            received += page.rows.len() as u64;
            seen.extend(page.rows.iter().map(Row::id));
            let (total, truncated, empty) = (page.total, page.truncated, page.rows.is_empty());
            let steady = *first_total.get_or_insert(total) == total;
            let repeats = page.skip_token.is_some() && page.skip_token == token;
            token = page.skip_token;
            let more = token.is_some() && steady && !repeats && !empty && received < total.saturating_add(PAGE);
            let rows = seen.len() as u64;
            let proven = rows == total && received == total && steady && !truncated && token.is_none();
            if proven {
                self.unread.note_read();
            }
            if !empty {
                self.sink.take(page.rows).await?;
            }
            if more {
                continue;
            }
            if proven {
                return Ok(());
            }
            if readings + 1 == READINGS {
                return Err(GraphError::Unproven { query: self.query.name(), rows, total });
            }
            tracing::warn!(
                "the query for {} does not add up: {received} rows, {rows} different ones, of {total}; reading it again in \
                 smaller parts",
                self.query.name()
            );
            drop(slot);
            let by = total.max(received).div_ceil(ROWS_A_SMALL_PART).max(2);
            return self.smaller(part, u32::try_from(by).unwrap_or(u32::MAX), readings + 1).await;
        }
    }

    /// Reads a part in `by` smaller ones, side by side.
    fn smaller<'a, R: Row + 'a>(
        &'a self,
        part: Part,
        by: u32,
        readings: u32,
    ) -> Pin<Box<dyn Future<Output = Result<(), GraphError>> + Send + 'a>>
    where
        S: Sink<R>,
    {
        Box::pin(async move {
            if part.of.saturating_mul(by) > MOST_PARTS {
                return Err(GraphError::TooLarge { query: self.query.name() });
            }
            tracing::debug!("reading {} in {by} parts", self.query.name());
            self.unread.divide(by);
            stream::iter(part.split(by).map(|part| self.part(part, readings, None)))
                .buffer_unordered(self.graph.at_once)
                .try_collect()
                .await
        })
    }
}

/// Whether it is the first page of a result that is read in parts.
fn is_large<R>(first: &Page<R>) -> bool {
    first.total > FEW_PAGES * PAGE
}

/// More than 10,000 subscriptions in scope: the service leaves some out, and says so in a header only.
fn left_subscriptions_out(headers: &reqwest::header::HeaderMap) -> bool {
    headers
        .get("x-ms-tenant-subscription-limit-hit")
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"true"))
}

fn is_too_large(error: &GraphError) -> bool {
    match error {
        GraphError::Request {
            source: ArmError::Request(RequestError { failure: Failure::Status(status), .. }),
            ..
        } => status.codes.iter().any(|code| code == "ResponsePayloadTooLarge"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::sync::change::Change;

    #[test]
    fn a_page_with_more_rows_than_were_asked_for_is_not_understood() {
        let page = |rows: usize| {
            let rows = vec![r#"{"resourceId":"/subscriptions/s","type":"a/b"}"#; rows].join(",");
            Page::<Change>::parse(&format!(r#"{{"totalRecords":1,"data":[{rows}]}}"#).into())
        };
        assert_eq!(page(1000).map(|page| page.rows.len()).ok(), Some(1000));
        let error = page(1001).err().unwrap().to_string();
        assert!(error.contains("more than the 1000 rows"), "{error}");
    }

    #[test]
    fn a_result_is_all_read_once_each_part_of_its_parts_is() {
        let all_read = Notify::new();
        let unread = Unread::new(Some(&all_read));
        unread.divide(2);
        unread.note_read();
        unread.divide(FINER);
        for _ in 0..FINER {
            assert_eq!(all_read.notified().now_or_never(), None);
            unread.note_read();
        }
        assert_eq!(all_read.notified().now_or_never(), Some(()));
    }
}
