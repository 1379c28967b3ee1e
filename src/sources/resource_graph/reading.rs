//! One query, read to its end: its pages, and smaller parts where it is too large, cannot be proven, or cannot be answered.

use std::cell::{Cell, RefCell};
use std::pin::Pin;

use futures::{StreamExt, TryStreamExt, stream};
use tokio::sync::Semaphore;

use super::client::{Pages, Request};
use super::error::{GraphError, Trouble};
use super::page::{PAGE, Page};
use super::proof::{Proof, Standing};
use super::queries::{Part, Query, Slice};
use super::row::Row;
use crate::azure::arm::Effort;
use crate::config::Scope;
use crate::engine::{Answer, Intake};
use crate::model::{Finding, Id, Stage};

/// A result of more pages than this is read in parts, which are quicker, and right while resources come and go: only what
/// comes in one answer is of one moment.
const FEW_PAGES: u64 = 1;

/// Rows aimed at in a part of a large result: nearly every part then fits a page, as hashes spread evenly but not exactly.
pub(super) const ROWS_A_PART: u64 = 930;

/// The same for a result that could not be proven: every part should fit a page.
const ROWS_A_SMALL_PART: u64 = 600;

/// Parts of a page that is too large for the service.
pub(super) const FINER: u32 = 4;

/// Parts of this many may be too large because of many large rows. Of more, it is a single row.
const MANY_PARTS: u32 = 1 << 10;

/// More parts than this would be an error of ours, or a service that never adds up.
const MOST_PARTS: u32 = 1 << 14;

/// How often a result that is inconsistent is read again in smaller parts.
const READINGS: u32 = 4;

/// What all readings share.
pub(super) struct Setting<'a, P> {
    pub(super) pages: &'a P,
    pub(super) scope: &'a Scope,
    /// Pages that are being read or waiting to be taken, over all readings. It bounds memory as well as requests.
    pub(super) slots: &'a Semaphore,
    /// Parts that are read side by side.
    pub(super) at_once: usize,
}

impl<P> Clone for Setting<'_, P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P> Copy for Setting<'_, P> {}

/// A query whose first page is there, or the reason why it is not, which parts of it may not share.
pub(super) struct Opened<'a> {
    pub(super) query: Query<'a>,
    first: Option<Result<Page, GraphError>>,
}

impl<'a> Opened<'a> {
    /// A query that is asked when its turn comes.
    pub(super) fn later(query: Query<'a>) -> Self {
        Self { query, first: None }
    }

    /// Asks for the first page, so that it is there when its turn comes. Who opens bounds how many are open: their pages are not
    /// bounded here, or what waits for its turn would take the place of what is delivered.
    pub(super) async fn now<P: Pages>(
        setting: Setting<'_, P>,
        query: Query<'a>,
        subscriptions: &[&str],
    ) -> Result<Self, GraphError> {
        let text = query.whole(setting.scope);
        let (scope, effort) = (setting.scope, Effort::Full);
        let request = Request { name: query.name(), text: &text, subscriptions, skip_token: None, scope, effort };
        let mut first = setting.pages.page(request).await;
        if let Ok(page) = &mut first
            && is_large(page)
        {
            // Read again in parts; until then its size is all that is needed.
            page.rows = Vec::new();
        }
        match first {
            Err(error) if error.trouble().is_none() => Err(error),
            first => Ok(Self { query, first: Some(first) }),
        }
    }
}

/// One query being read.
pub(super) struct Reader<'a, P> {
    pub(super) setting: Setting<'a, P>,
    pub(super) query: Query<'a>,
    pub(super) subscriptions: &'a [&'a str],
    intake: &'a Intake,
    /// Shards of which a row was shown, and ids with which the query fails.
    pub(super) answer: RefCell<Answer>,
    /// A part of it failed after all attempts. What is asked from then on is not tried so often.
    pub(super) is_troubled: Cell<bool>,
}

/// A step that may lead back to itself.
pub(super) type Step<'a> = Pin<Box<dyn Future<Output = Result<(), GraphError>> + 'a>>;

impl<'a, P: Pages> Reader<'a, P> {
    /// Reads all of a query into `intake`. Rows may come twice where a reading had to be repeated; when it returns `Ok`, every
    /// row has come but those with which the query fails.
    pub(super) async fn read(
        setting: Setting<'a, P>,
        opened: Opened<'a>,
        subscriptions: &'a [&'a str],
        intake: &'a Intake,
    ) -> Result<Answer, GraphError> {
        let Opened { query, first } = opened;
        let (answer, is_troubled) = (RefCell::default(), Cell::new(false));
        let reader = Self { setting, query, subscriptions, intake, answer, is_troubled };
        reader.slice(Slice::WHOLE, 0, first).await?;
        Ok(reader.answer.into_inner())
    }

    /// One page of such a text.
    pub(super) async fn page(&self, text: &str, skip_token: Option<&str>) -> Result<Page, GraphError> {
        let effort = if self.is_troubled.get() { Effort::Brief } else { Effort::Full };
        let (name, subscriptions, scope) = (self.query.name(), self.subscriptions, self.setting.scope);
        self.setting.pages.page(Request { name, text, subscriptions, skip_token, scope, effort }).await
    }

    /// Reads some of the rows to the end, in smaller parts where they are too many or do not add up.
    async fn slice(
        &self,
        slice: Slice,
        readings: u32,
        mut opened: Option<Result<Page, GraphError>>,
    ) -> Result<(), GraphError> {
        let text = self.query.text(self.setting.scope, &slice);
        let mut proof = Proof::default();
        loop {
            // Held until the page is taken, so that readers do not run ahead of the posts.
            let slot = self.setting.slots.acquire().await.map_err(|_| GraphError::Stopped)?;
            let page = match opened.take() {
                Some(first) => first,
                None => self.page(&text, proof.token()).await,
            };
            let page = match page {
                Ok(page) => page,
                Err(error) => {
                    drop(slot);
                    return self.in_trouble(slice, readings, error).await;
                }
            };
            let is_first = !proof.is_begun();
            if is_first && matches!(slice, Slice::Hashed(Part::WHOLE)) && self.counts() {
                self.setting.pages.announce(page.total);
            }
            if is_first && is_large(&page) {
                let by = parts_of(page.total, ROWS_A_PART);
                drop((page, slot));
                return self.smaller(slice, by, readings).await;
            }
            let standing = proof.add(&page);
            let total = page.total;
            self.deliver(page).await?;
            match standing {
                Standing::More => continue,
                Standing::Proven => return Ok(()),
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
            let by = parts_of(total.max(received), ROWS_A_SMALL_PART).max(2);
            return self.smaller(slice, by, readings + 1).await;
        }
    }

    /// Reads a slice in `by` smaller ones, side by side.
    pub(super) fn smaller(&self, slice: Slice, by: u32, readings: u32) -> Step<'_> {
        Box::pin(async move {
            let slices = match slice {
                Slice::Hashed(part) if part.of.saturating_mul(by) > MOST_PARTS => {
                    return Err(GraphError::TooLarge { query: self.query.name() });
                }
                Slice::Hashed(part) => part.split(by).map(Slice::Hashed).collect(),
                Slice::Named(ids) => portions(&ids, by),
            };
            tracing::debug!("reading {} in {} parts", self.query.name(), slices.len());
            stream::iter(slices.into_iter().map(|slice| self.slice(slice, readings, None)))
                .buffer_unordered(self.setting.at_once)
                .try_collect()
                .await
        })
    }

    /// What becomes of a slice that was not answered.
    async fn in_trouble(&self, slice: Slice, readings: u32, error: GraphError) -> Result<(), GraphError> {
        match (error.trouble(), &slice) {
            (None, _) => Err(error),
            (Some(Trouble::TooLarge), Slice::Hashed(part)) if part.of.saturating_mul(FINER) <= MANY_PARTS => {
                self.smaller(slice, FINER, readings).await
            }
            (Some(_), _) => self.around_the_failing(slice, readings, error).await,
        }
    }

    /// Hands a page to who takes it, and notes what it shows. The rows of subscriptions only say that they were looked at, but
    /// for their records.
    async fn deliver(&self, page: Page) -> Result<(), GraphError> {
        if self.counts() {
            self.setting.pages.count(page.rows.len() as u64);
        }
        let mut findings = Vec::with_capacity(page.rows.len());
        for row in page.rows {
            let Row::Of(finding) = row else { continue };
            self.note_shown(&finding);
            if finding.id().stage() != Stage::Root || finding.record.is_some() {
                findings.push(finding);
            }
        }
        if findings.is_empty() {
            return Ok(());
        }
        self.intake.send(findings).await.map_err(|_| GraphError::Stopped)
    }

    /// Whether its rows are of what is read, and not only of what was looked at.
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

pub(super) fn parts_of(rows: u64, in_a_part: u64) -> u32 {
    u32::try_from(rows.div_ceil(in_a_part)).unwrap_or(u32::MAX)
}

/// Ids in so many portions, or fewer where there are not so many.
fn portions(ids: &[Id], by: u32) -> Vec<Slice> {
    let size = ids.len().div_ceil(usize::try_from(by).unwrap_or(usize::MAX).max(1)).max(1);
    ids.chunks(size).map(|ids| Slice::Named(ids.to_vec())).collect()
}
