//! Reads one query to its end: its pages, or smaller parts if it is too large, cannot be proven, or is not answered.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;

use futures::{StreamExt, TryStreamExt, stream};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::client::{Pages, Request};
use super::error::{GraphError, Trouble};
use super::lessons::Lessons;
use super::packing::{self, parts_of};
use super::page::{PAGE, Page};
use super::proof::{Proof, Standing};
use super::queries::{Joins, Part, Query, Slice};
use super::row::Row;
use super::shards::shard;
use super::slots::Slots;
use crate::azure::api::Effort;
use crate::config::Scope;
use crate::engine::{Answer, Intake};
use crate::http::{Failure, RequestError};
use crate::model::{Finding, Stage};

/// A result of more pages than this is read in parts, which is faster, and correct while resources come and go: only a
/// single answer is of a single moment.
const FEW_PAGES: u64 = 1;

/// Target for the rows in a part of a large result: nearly every part then fits on a page, as hashes spread evenly but
/// not exactly.
pub(super) const ROWS_A_PART: u64 = 930;

/// The same for a result that could not be proven: every part should fit on a page.
const ROWS_A_SMALL_PART: u64 = 600;

/// How often an inconsistent result is read again in smaller parts.
const READINGS: u32 = 4;

/// Rows that may disappear while the parts of a result are read, on top of a fiftieth of them.
const FEW_ROWS: u64 = 20;

/// What all readings share.
pub(super) struct Setting<'a, P> {
    pub(super) pages: &'a P,
    pub(super) lessons: &'a Lessons,
    pub(super) scope: &'a Scope,
    pub(super) slots: &'a Slots,
}

impl<P> Clone for Setting<'_, P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P> Copy for Setting<'_, P> {}

impl<P: Pages> Setting<'_, P> {
    /// Reads one page, unless Resource Graph has stopped answering.
    pub(super) async fn page(&self, request: Request<'_>) -> Result<Page, GraphError> {
        self.open(request.name, self.closed(request).await?).await
    }

    /// The same, left as it came.
    async fn closed(&self, request: Request<'_>) -> Result<P::Closed, GraphError> {
        if self.lessons.is_down() {
            return Err(GraphError::Down { query: request.name });
        }
        let start = Instant::now();
        let page = self.pages.page(request).await;
        match &page {
            Ok(_) => self.lessons.note_closed(),
            Err(error) => self.lessons.note(start, Err(error)),
        }
        page
    }

    async fn open(&self, name: &'static str, page: P::Closed) -> Result<Page, GraphError> {
        let page = self.pages.open(page, name, self.scope).await;
        self.lessons.note_opened(&page);
        page
    }

    /// How many rows a query has, if the look at these subscriptions has shown it.
    fn rows_of(&self, query: Query<'_>, subscriptions: &[&str]) -> Option<u64> {
        match query {
            Query::Resources if self.scope.resource_types.is_empty() => {
                subscriptions.iter().map(|subscription| self.lessons.size_of(subscription)).sum()
            }
            _ => None,
        }
    }
}

/// Some of a query's rows, of some subscriptions.
#[derive(Clone)]
pub(super) struct Portion<'a> {
    pub(super) slice: Slice,
    /// GUIDs.
    pub(super) subscriptions: Rc<[&'a str]>,
    /// Whether its rows are among those that were announced.
    pub(super) announced: Announced,
}

/// Whether rows were announced for reporting progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Announced {
    NotYet,
    Already,
}

impl<'a> Portion<'a> {
    pub(super) fn whole(subscriptions: Rc<[&'a str]>) -> Self {
        Self { slice: Slice::WHOLE, subscriptions, announced: Announced::NotYet }
    }

    pub(super) fn with(&self, slice: Slice) -> Self {
        Self { slice, ..self.clone() }
    }

    pub(super) fn over(&self, subscriptions: Rc<[&'a str]>) -> Self {
        Self { subscriptions, ..self.clone() }
    }
}

/// A query with its first page, or the reason why there is none, which may not apply to its parts.
pub(super) struct Opened<'a> {
    pub(super) query: Query<'a>,
    first: Option<Result<Page, GraphError>>,
}

impl<'a> Opened<'a> {
    /// A query that is sent when its turn comes.
    pub(super) fn later(query: Query<'a>) -> Self {
        Self { query, first: None }
    }

    /// Requests the first page, so that it is there when its turn comes. The caller limits how many are open. Their
    /// pages take no slots: otherwise, those waiting for their turn would take the slots of those being delivered.
    pub(super) async fn now<P: Pages>(
        setting: Setting<'_, P>,
        query: Query<'a>,
        subscriptions: &[&str],
    ) -> Result<Self, GraphError> {
        let is_known = subscriptions.iter().all(|subscription| !setting.lessons.is_unread(subscription));
        if subscriptions.len() > setting.lessons.together() || !is_known {
            return Ok(Self::later(query));
        }
        let told = Page { total: setting.rows_of(query, subscriptions).unwrap_or_default(), ..Page::default() };
        if is_large(&told) {
            // Only its parts need to be queried.
            return Ok(Self { query, first: Some(Ok(told)) });
        }
        let text = query.text(setting.scope, &Slice::WHOLE, setting.lessons.joins_of(query));
        let effort = setting.lessons.effort();
        let request = Request { name: query.name(), text: &text, subscriptions, skip_token: None, effort };
        match setting.page(request).await.map(sized) {
            Err(error) if error.trouble().is_none() => Err(error),
            first => Ok(Self { query, first: Some(first) }),
        }
    }
}

/// A first page; if the result will be read again in parts, only its size is kept.
pub(super) fn sized(page: Page) -> Page {
    if is_large(&page) { Page { rows: Vec::new(), ..page } } else { page }
}

/// One query being read.
pub(super) struct Reader<'a, P> {
    pub(super) setting: Setting<'a, P>,
    pub(super) query: Query<'a>,
    intake: &'a Intake,
    /// Shards with a row shown, and ids that make the query fail.
    pub(super) answer: RefCell<Answer>,
    /// A part of it failed after all attempts. Later queries are retried less.
    pub(super) is_troubled: Cell<bool>,
}

/// A place for the rows of a page at the receiver.
type Place<'a> = mpsc::Permit<'a, Vec<Finding>>;

/// A step that may recurse. It returns how many rows came, counting those that cannot be read.
pub(super) type Step<'a> = Pin<Box<dyn Future<Output = Result<u64, GraphError>> + 'a>>;

/// Rows that were announced, and rows that came.
struct Rows {
    announced: u64,
    came: u64,
}

impl Rows {
    /// Rows that came without having been announced.
    fn told(came: u64) -> Self {
        Self { announced: came, came }
    }

    /// Whether more are missing than may have disappeared while they were read.
    fn is_short(&self) -> bool {
        self.announced.saturating_sub(self.came) > self.announced / 50 + FEW_ROWS
    }
}

impl<'a, P: Pages> Reader<'a, P> {
    /// Reads all of a query into `intake`. Rows may come twice if a reading had to be repeated; when it returns `Ok`,
    /// every row has come, except those that make the query fail.
    pub(super) async fn read(
        setting: Setting<'a, P>,
        opened: Opened<'a>,
        subscriptions: &'a [&'a str],
        intake: &'a Intake,
    ) -> Result<Answer, GraphError> {
        let Opened { query, first } = opened;
        let (answer, is_troubled) = (RefCell::default(), Cell::new(false));
        let reader = Self { setting, query, intake, answer, is_troubled };
        let whole = Portion::whole(subscriptions.into());
        let is_hopeless = !setting.lessons.has_answered() && setting.lessons.readable(&whole.subscriptions).is_empty();
        match first {
            Some(Err(error)) if is_hopeless => return Err(error),
            first => reader.over(whole, 0, first).await?,
        };
        let mut answer = reader.answer.into_inner();
        let unread = subscriptions.iter().filter(|subscription| setting.lessons.is_unread(subscription));
        answer.unread = unread.filter_map(|subscription| shard(subscription)).collect();
        if answer.unread.len() == subscriptions.len() && !subscriptions.is_empty() {
            return Err(setting.lessons.end_of(subscriptions));
        }
        answer.covered.retain(|shard| !answer.unread.contains(shard));
        Ok(answer)
    }

    /// Reads one page of this text.
    pub(super) async fn page(
        &self,
        text: &str,
        subscriptions: &[&str],
        skip_token: Option<&str>,
    ) -> Result<Page, GraphError> {
        self.setting.page(self.request(text, subscriptions, skip_token)).await
    }

    fn request<'r>(&self, text: &'r str, subscriptions: &'r [&'r str], skip_token: Option<&'r str>) -> Request<'r>
    where
        'a: 'r,
    {
        let effort = if self.is_troubled.get() { Effort::Brief } else { self.setting.lessons.effort() };
        Request { name: self.query.name(), text, subscriptions, skip_token, effort }
    }

    /// Reads a portion, over no more subscriptions at once than are known to be answered.
    pub(super) fn over<'s>(
        &'s self,
        portion: Portion<'a>,
        readings: u32,
        first: Option<Result<Page, GraphError>>,
    ) -> Step<'s> {
        let lessons = self.setting.lessons;
        let subscriptions = lessons.readable(&portion.subscriptions);
        let is_same = subscriptions.len() == portion.subscriptions.len();
        if is_same && (subscriptions.len() <= lessons.together() || matches!(first, Some(Ok(_)))) {
            return Box::pin(self.slice(portion, readings, first));
        }
        let chunks: Vec<_> = subscriptions.chunks(lessons.together()).map(Rc::from).collect();
        Box::pin(async move {
            let portions = chunks.into_iter().map(|subscriptions| portion.over(subscriptions));
            self.side_by_side(portions, readings).await
        })
    }

    async fn side_by_side(
        &self,
        portions: impl IntoIterator<Item = Portion<'a>>,
        readings: u32,
    ) -> Result<u64, GraphError> {
        stream::iter(portions.into_iter().map(|portion| self.over(portion, readings, None)))
            .buffer_unordered(self.setting.slots.at_once())
            .try_fold(0, async |sum, came| Ok(sum + came))
            .await
    }

    /// Reads a portion to the end, and once more if fewer rows came than were announced.
    async fn slice(
        &self,
        portion: Portion<'a>,
        readings: u32,
        first: Option<Result<Page, GraphError>>,
    ) -> Result<u64, GraphError> {
        let name = self.query.name();
        let rows = self.once(portion.clone(), readings, first).await?;
        let lessons = self.setting.lessons;
        // Rows announced for a subscription that cannot be read do not come.
        if !rows.is_short() || lessons.readable(&portion.subscriptions).len() < portion.subscriptions.len() {
            if rows.came != rows.announced {
                let Rows { announced, came } = rows;
                tracing::info!(
                    "the query for {name}: {came} rows came of {announced} that were announced; resources came or went while \
                     it was read"
                );
            }
            return Ok(rows.came);
        }
        let Rows { announced, came } = rows;
        tracing::warn!(
            "the query for {name} is short: {came} rows came of {announced} that were announced; reading it again"
        );
        let portion = Portion { announced: Announced::Already, ..portion };
        let rows = self.once(portion, readings, None).await?;
        if rows.is_short() {
            return Err(GraphError::Short { query: name, rows: rows.came, total: rows.announced });
        }
        Ok(rows.came)
    }

    /// Reads some of the rows to the end, in smaller parts if they are too many or do not add up.
    async fn once(
        &self,
        portion: Portion<'a>,
        readings: u32,
        mut opened: Option<Result<Page, GraphError>>,
    ) -> Result<Rows, GraphError> {
        let joins = self.joins();
        let text = self.query.text(self.setting.scope, &portion.slice, joins);
        let may_be_joined = joins == Joins::Allowed || opened.is_some();
        let mut proof = Proof::default();
        loop {
            // Held until the page is taken, so that readers do not run ahead of the posts.
            let slot = self.setting.slots.acquire(self.query).await?;
            let (page, place) = match opened.take() {
                Some(first) => (first, None),
                None => match self.setting.closed(self.request(&text, &portion.subscriptions, proof.token())).await {
                    // The page waits as it came until there is a place for its rows, which take ten times the memory.
                    Ok(page) => {
                        let place = self.place().await?;
                        (self.setting.open(self.query.name(), page).await, Some(place))
                    }
                    Err(error) => (Err(error), None),
                },
            };
            let page = match page {
                Ok(page) => page,
                Err(error) if error.trouble() == Some(Trouble::Joins) && may_be_joined && self.query.has_joins() => {
                    drop((place, slot));
                    self.setting.lessons.refuse_joins(self.query, &error);
                    return Box::pin(self.once(portion, readings, None)).await;
                }
                Err(error) => {
                    drop((place, slot));
                    return self.in_trouble(portion, readings, error).await.map(Rows::told);
                }
            };
            let is_first = !proof.is_begun();
            let is_whole = matches!(portion.slice, Slice::Hashed(Part::WHOLE));
            if is_first && is_whole && portion.announced == Announced::NotYet && self.counts() {
                self.setting.pages.announce(page.total);
            }
            let total = page.total;
            if is_first && is_large(&page) {
                drop((page, place, slot));
                let came = self.packed(&portion, total, ROWS_A_PART, readings).await?;
                return Ok(Rows { announced: total, came });
            }
            let standing = proof.add(&page);
            self.deliver(page, joins, &portion.subscriptions, place).await?;
            match standing {
                Standing::More => continue,
                Standing::Proven => return Ok(Rows::told(proof.received())),
                Standing::Unproven => {}
            }
            let (query, rows, received) = (self.query.name(), proof.rows(), proof.received());
            if readings + 1 == READINGS {
                return Err(GraphError::Unproven { query, rows, total, readings: READINGS });
            }
            tracing::warn!(
                "the query for {query} is inconsistent: {received} rows, {rows} of them distinct, where {total} were announced; reading it again \
                 in smaller parts"
            );
            drop(slot);
            let came = self.packed(&portion, total.max(received), ROWS_A_SMALL_PART, readings + 1).await?;
            return Ok(Rows { announced: total, came });
        }
    }

    /// Reads a portion of `rows` rows in parts of about `most`.
    fn packed(&self, portion: &Portion<'a>, rows: u64, most: u64, readings: u32) -> Step<'_> {
        let lessons = self.setting.lessons;
        let portion = &Portion { announced: Announced::Already, ..portion.clone() };
        let fewest = parts_of(rows, most).max(2);
        // Parts that are all read concurrently come at the same time however they are cut. A result that did not add up
        // is queried over fewer subscriptions.
        let is_few =
            readings == 0 && usize::try_from(fewest).is_ok_and(|fewest| fewest <= self.setting.slots.at_once());
        let parts = match self.query {
            Query::Containers | Query::Resources if !is_few => {
                packing::parts(portion, rows, most, |subscription| lessons.size_of(subscription).unwrap_or_default())
            }
            // How many resources a subscription has says little about how many have changed.
            _ => packing::finer(portion, fewest),
        };
        self.parts(parts, readings)
    }

    /// Reads a portion in `by` smaller ones.
    pub(super) fn smaller(&self, portion: &Portion<'a>, by: u32, readings: u32) -> Step<'_> {
        self.parts(packing::finer(portion, by), readings)
    }

    fn parts(&self, parts: Option<Vec<Portion<'a>>>, readings: u32) -> Step<'_> {
        Box::pin(async move {
            let parts = parts.ok_or(GraphError::TooLarge { query: self.query.name() })?;
            tracing::debug!("reading {} in {} parts", self.query.name(), parts.len());
            self.side_by_side(parts, readings).await
        })
    }

    /// Delivers a page, and notes what it shows. Rows of subscriptions only show coverage, apart from their records.
    async fn deliver(
        &self,
        page: Page,
        joins: Joins,
        subscriptions: &Rc<[&'a str]>,
        place: Option<Place<'_>>,
    ) -> Result<(), GraphError> {
        if self.counts() {
            self.setting.pages.count(page.came);
        }
        let rows = page.rows.into_iter();
        let mut findings: Vec<Finding> =
            rows.filter_map(|row| if let Row::Of(finding) = row { Some(finding) } else { None }).collect();
        if joins == Joins::Refused {
            findings = self.complete(findings, subscriptions).await?;
        }
        for finding in &findings {
            self.note_shown(finding);
            if !self.counts() {
                self.setting.lessons.note_size(finding);
            }
        }
        findings.retain(|finding| finding.id().stage() != Stage::Root || finding.record.is_some());
        if findings.is_empty() {
            return Ok(());
        }
        let place = match place {
            Some(place) => place,
            None => self.place().await?,
        };
        place.send(findings);
        Ok(())
    }

    /// Waits until the receiver can take a page.
    async fn place(&self) -> Result<Place<'_>, GraphError> {
        self.intake.reserve().await.map_err(|_| GraphError::Stopped)
    }

    pub(super) fn joins(&self) -> Joins {
        self.setting.lessons.joins_of(self.query)
    }

    /// The error for an answer, put together here, that makes no sense.
    pub(super) fn unreadable(&self, error: serde_json::Error) -> GraphError {
        let failure = Failure::Unreadable(error.into());
        GraphError::Request { query: self.query.name(), source: RequestError::new(self.query.name(), failure).into() }
    }

    /// Whether its rows are data, rather than only signs of coverage.
    fn counts(&self) -> bool {
        !matches!(self.query, Query::Subscriptions)
    }

    fn note_shown(&self, finding: &Finding) {
        let covered = &mut self.answer.borrow_mut().covered;
        if finding.exists && !covered.contains(finding.id().shard()) {
            covered.insert(finding.id().root());
        }
    }
}

/// Whether it is the first page of a result that is read in parts.
fn is_large(first: &Page) -> bool {
    first.total > FEW_PAGES * PAGE
}
