//! The Entra ID directory as a source, through Microsoft Graph: a kind of objects is a shard, an object a leaf.
//!
//! `kind` says what to request for each kind; `client` sends the requests, `round` reads a delta, `members` the members
//! of a group, `memberships` the groups of a user, and `sign_ins` when users signed in; `object` turns answers into
//! rows, and `cursor` is what the checkpoint keeps for a kind. A delta from the beginning shows everything and serves
//! as the full read; one from a link shows what changed. The delta of groups says which groups changed, and hints at
//! who joined and who left: the members are then read in full, and again for as long as an answer may be older than the
//! change.

mod client;
mod cursor;
mod error;
pub(crate) mod kind;
mod members;
mod memberships;
mod object;
mod reading;
mod round;
mod sign_ins;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, stream};
use jiff::Timestamp;
use serde_json::json;
use tokio::sync::watch;

use crate::azure::api::Api;
use crate::config::{Entra, EntraKind};
use crate::engine::{self, Answer, Found, Intake, Sight, Source, Window};
use crate::model::{Change, Finding, Id, Operation, Scope};
use client::Client;
use cursor::{Again, Cursor};
pub(crate) use error::DirectoryError;
use kind::guid;
use reading::ById;
use round::{Extent, Round};

/// Single objects, and lists of members, that are read concurrently.
const AT_ONCE: usize = 8;

/// Microsoft Graph, as far as the principal can read it.
pub(crate) struct Directory {
    client: Client,
    entra: Entra,
    terms: String,
    kinds: RefCell<BTreeMap<EntraKind, State>>,
    /// The names of the kinds in the report.
    names: BTreeMap<EntraKind, Arc<str>>,
    counts: RefCell<Counted>,
    /// Users shown by a round from the beginning, if their memberships are read, too.
    users: RefCell<HashSet<u128>>,
    /// The kinds whose objects are posted, among those that others relate to or are parts of.
    posted: watch::Sender<BTreeSet<EntraKind>>,
}

/// The state of a kind in this run.
#[derive(Default)]
struct State {
    /// The cursor that the run began with; it changes as the run goes on.
    cursor: Cursor,
    /// The round that continues from the last one, or one from the beginning, with its first page read.
    opened: Option<(Round, Extent)>,
    /// Why the kind could not be read.
    failure: Option<DirectoryError>,
    /// Its last link is no longer valid.
    is_lost: bool,
}

/// What a round that has ended leaves to the next, as in [`Cursor`].
#[derive(Default)]
struct Ended {
    link: String,
    shows_hidden: bool,
    again: BTreeMap<String, Again>,
}

/// What a run noticed about groups and sign-ins, for its report.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counted {
    /// Groups whose members need an answer that is as new as the delta.
    pub(crate) waiting: u64,
    /// Users whose groups do.
    pub(crate) users_waiting: u64,
    /// Groups with more members than one post holds.
    pub(crate) too_large: BTreeSet<String>,
    /// Groups whose members may not be read.
    pub(crate) hidden: BTreeSet<String>,
    /// Members other than users, by their kinds.
    pub(crate) others: BTreeMap<String, u64>,
    /// Why sign-ins cannot be read, if the tenant has no licence for them.
    pub(crate) unlicensed: Option<String>,
}

/// A reading: the round of a kind, or nothing.
pub(crate) struct Reading<'a> {
    directory: &'a Directory,
    what: What,
}

enum What {
    /// There is nothing to read.
    Nothing,
    /// There are none of these, and all of them count as read.
    None(HashSet<Id>),
    Round(EntraKind, Round),
    /// Everything, from the beginning.
    Beginning(EntraKind),
    /// Who has signed in since then; `None` for all users.
    SignIns(Option<String>),
}

impl Directory {
    /// `tenant` is part of what a link depends on.
    pub(crate) fn new(api: Api, entra: Entra, tenant: &str) -> Self {
        let terms = format!("{tenant} {} {}", api.origin(), entra.terms());
        let kinds = entra.all_kinds().into_iter().map(|kind| (kind, State::default())).collect();
        let names = EntraKind::ALL
            .into_iter()
            .chain(EntraKind::APART)
            .map(|kind| (kind, format!("microsoft.graph/{}", kind.segment()).into()));
        let (names, kinds, counts) = (names.collect(), RefCell::new(kinds), RefCell::default());
        let posted = watch::Sender::new(BTreeSet::new());
        Self { client: Client::new(api), entra, terms, kinds, names, counts, users: RefCell::default(), posted }
    }

    /// Opens each kind's round at the link in its cursor. A kind without a link, or whose link is no longer valid, is
    /// read from the beginning.
    pub(crate) async fn open(&self, cursor: impl Fn(&Id) -> Option<String>) {
        let kinds: Vec<EntraKind> = self.kinds.borrow().keys().copied().collect();
        let opening = kinds.into_iter().map(async |kind| {
            let kept = kind.shard().and_then(|shard| cursor(&shard)).map(|text| Cursor::parse(&text, &self.terms));
            let is_lost = matches!(kept, Some(None));
            let cursor = kept.flatten().unwrap_or_else(|| Cursor { terms: self.terms.clone(), ..Cursor::default() });
            let (link, has_shown) = (cursor.link.clone(), cursor.shows_hidden);
            self.kinds.borrow_mut().insert(kind, State { cursor, is_lost, ..State::default() });
            if kind == EntraKind::SignIn {
                return;
            }
            let opened = match self.open_link(kind, &link).await {
                Err(error) if error.is_of_the_link() => {
                    tracing::warn!("the link of the last round is no longer valid; all are read: {error}");
                    self.lose(kind);
                    self.begin(kind).await.map(|round| (round, Extent::Everything))
                }
                // No later round reports what changed while the members were not shown.
                Ok((_, Extent::Changes))
                    if ((kind == EntraKind::Group && self.reads_members()) || kind == EntraKind::Membership)
                        && !has_shown
                        && self.client.shows_hidden().await =>
                {
                    tracing::info!("groups that hide their members show them now; all are read");
                    self.lose(kind);
                    self.begin(kind).await.map(|round| (round, Extent::Everything))
                }
                opened => opened,
            };
            if let Some(state) = self.kinds.borrow_mut().get_mut(&kind) {
                match opened {
                    Ok(opened) => state.opened = Some(opened),
                    Err(error) => state.failure = Some(error),
                }
            }
        });
        futures::future::join_all(opening).await;
    }

    async fn open_link(&self, kind: EntraKind, link: &str) -> Result<(Round, Extent), DirectoryError> {
        if link.is_empty() {
            return Ok((self.begin(kind).await?, Extent::Everything));
        }
        let round = Round::open(&self.client, kind, Extent::Changes, self.client.link(kind, link)?).await?;
        Ok((round, Extent::Changes))
    }

    /// Drops the link of a kind, which is no longer valid.
    fn lose(&self, kind: EntraKind) {
        if let Some(state) = self.kinds.borrow_mut().get_mut(&kind) {
            state.cursor.link.clear();
            state.is_lost = true;
        }
    }

    /// The kinds, whether each could be read so far, and whether what is remembered of its position is no longer valid.
    pub(crate) fn shards(&self) -> Vec<(Id, Sight, bool)> {
        let kinds = self.kinds.borrow();
        let shard = |(kind, state): (&EntraKind, &State)| {
            let sight = if state.failure.is_none() { Sight::Covered } else { Sight::Unknown };
            Some((kind.shard()?, sight, state.is_lost))
        };
        kinds.iter().filter_map(shard).collect()
    }

    /// Why kinds could not be read.
    pub(crate) fn take_failures(&self) -> Vec<DirectoryError> {
        self.kinds.borrow_mut().values_mut().filter_map(|state| state.failure.take()).collect()
    }

    /// The time on Graph's clock when it first answered.
    pub(crate) fn first_date(&self) -> Option<Timestamp> {
        self.client.first_date()
    }

    pub(crate) fn requests(&self) -> u64 {
        self.client.requests()
    }

    pub(crate) fn rows(&self) -> u64 {
        self.client.rows()
    }

    pub(crate) fn counted(&self) -> Counted {
        self.counts.borrow().clone()
    }

    /// Notes that objects of a kind are posted: those that relate to them, or are parts of them, may now be delivered.
    pub(crate) fn note_posted(&self, kind: EntraKind) {
        self.posted.send_modify(|posted| _ = posted.insert(kind));
    }

    /// Waits until objects of a kind are posted.
    pub(crate) async fn until_posted(&self, kind: EntraKind) {
        // The sender lives as long as the directory.
        _ = self.posted.subscribe().wait_for(|posted| posted.contains(&kind)).await;
    }

    fn now(&self) -> Timestamp {
        self.client.first_date().unwrap_or_else(Timestamp::now)
    }

    /// The opened round, if it has this extent.
    fn take_opened(&self, kind: EntraKind, extent: Extent) -> Option<Round> {
        let mut kinds = self.kinds.borrow_mut();
        let opened = &mut kinds.get_mut(&kind)?.opened;
        opened.take_if(|(_, of)| *of == extent).map(|(round, _)| round)
    }

    fn cursor_of(&self, kind: EntraKind) -> Cursor {
        self.kinds.borrow().get(&kind).map(|state| state.cursor.clone()).unwrap_or_default()
    }

    fn set_cursor(&self, kind: EntraKind, cursor: Cursor) {
        if let Some(state) = self.kinds.borrow_mut().get_mut(&kind) {
            state.cursor = cursor;
        }
    }

    /// Opens a round from the beginning, without the properties that Graph refuses by name.
    async fn begin(&self, kind: EntraKind) -> Result<Round, DirectoryError> {
        loop {
            let mut cursor = self.cursor_of(kind);
            let mut select = self.select(kind);
            let has_members = kind == EntraKind::Membership || (kind == EntraKind::Group && self.reads_members());
            select.extend(has_members.then_some("members"));
            let url = self.client.url(kind, &format!("{}/delta?$select={}", kind.list(), select.join(",")))?;
            let error = match Round::open(&self.client, kind, Extent::Everything, url).await {
                Err(error) => error,
                opened => return opened,
            };
            let is_named = |name: &&str| error.refusal().is_some_and(|message| message.contains(*name));
            let named = self.properties(kind).into_iter().filter(|name| kind.can_do_without(name)).find(is_named);
            match named.filter(|name| !cursor.without.contains(*name)) {
                Some(name) => {
                    tracing::warn!("Microsoft Graph does not give {name} of {}: it is left out: {error}", kind.name());
                    cursor.without.insert(name.to_owned());
                    self.set_cursor(kind, cursor);
                }
                None => return Err(error),
            }
        }
    }

    /// The properties to request of an object.
    fn select(&self, kind: EntraKind) -> Vec<&str> {
        let kinds = self.kinds.borrow();
        let is_given = |name: &&str| kinds.get(&kind).is_none_or(|state| !state.cursor.without.contains(*name));
        std::iter::once("id").chain(self.properties(kind).into_iter().filter(is_given)).collect()
    }

    /// The properties of a row: those that every row has, and those that a mapping reads.
    fn properties(&self, kind: EntraKind) -> Vec<&str> {
        let always = kind.properties();
        let more = self.entra.more.get(&kind).into_iter().flatten().map(String::as_str);
        always.iter().copied().chain(more.filter(|name| !always.contains(name) && is_property(name))).collect()
    }

    fn take_again(&self, kind: EntraKind) -> BTreeMap<String, Again> {
        self.kinds.borrow().get(&kind).map(|state| state.cursor.again.clone()).unwrap_or_default()
    }

    /// Whether an object was reported as gone, so that an answer that shows it may be older.
    fn is_gone(&self, kind: EntraKind, guid: &str) -> bool {
        let kinds = self.kinds.borrow();
        kinds.get(&kind).and_then(|state| state.cursor.again.get(guid)).is_some_and(Again::is_gone)
    }

    /// Has an object read again for as long as answers may lag.
    fn read_later(&self, kind: EntraKind, guid: &str) {
        let now = self.now();
        if let Some(state) = self.kinds.borrow_mut().get_mut(&kind) {
            Again::note(&mut state.cursor.again, guid.to_owned(), Again::new(now));
        }
    }

    /// Ends a round: the next begins at its link.
    fn end_round(&self, kind: EntraKind, Ended { link, shows_hidden, again }: Ended) {
        let now = self.now();
        if let Some(state) = self.kinds.borrow_mut().get_mut(&kind) {
            state.cursor.end_round(link, now);
            state.cursor.shows_hidden = shows_hidden;
            state.cursor.again = again;
        }
    }

    fn change(&self, id: Id, operation: Operation, row: Bytes) -> Change {
        let kind = EntraKind::of(&id).unwrap_or_default();
        let (label, kind) = (kind.name(), self.names.get(&kind).cloned().unwrap_or_default());
        Change { id, operation, label, kind, changed_at: None, actor: None, row }
    }

    /// The delete of an object, built from its id alone.
    fn delete(&self, kind: EntraKind, guid: &str) -> Option<Change> {
        Some(self.gone(&kind.id(guid)?))
    }

    /// Whether a kind is read.
    fn has(&self, kind: EntraKind) -> bool {
        self.kinds.borrow().contains_key(&kind)
    }

    /// Whether groups are read with their members.
    fn reads_members(&self) -> bool {
        self.entra.membership.is_of_groups()
    }
}

/// Whether a mapping can use a property of this name. Sign-ins are not part of a change, and members are read
/// separately.
fn is_property(name: &str) -> bool {
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    is_name && !["id", "members", "groups", "signInActivity"].contains(&name)
}

/// Delivers findings, unless the receiver is gone.
async fn deliver(intake: &Intake, findings: Vec<Finding>) -> Result<(), DirectoryError> {
    if findings.is_empty() {
        return Ok(());
    }
    intake.send(findings).await.map_err(|_| DirectoryError::Stopped)
}

impl Source for Directory {
    type Error = DirectoryError;
    type Reading<'a> = Reading<'a>;

    /// Each kind has a link of its own.
    fn together(&self) -> usize {
        1
    }

    fn unseen(&self) -> Scope {
        Scope::In
    }

    async fn changes<'a>(
        &'a self,
        shards: &'a [Id],
        _window: Window,
        cursor: Option<String>,
    ) -> Result<(Reading<'a>, Reading<'a>), DirectoryError> {
        let kind = shards.first().and_then(EntraKind::of);
        if let (Some(EntraKind::SignIn), Some(_)) = (kind, &cursor) {
            let since = self.cursor_of(EntraKind::SignIn).link;
            let what = if since.is_empty() { What::Nothing } else { What::SignIns(Some(since)) };
            return Ok((Reading { directory: self, what: What::Nothing }, Reading { directory: self, what }));
        }
        let opened = kind.and_then(|kind| Some((kind, self.take_opened(kind, Extent::Changes)?)));
        // Next to a round from the beginning, either could be the older one.
        let opened = opened.filter(|_| cursor.is_some());
        let what = opened.map_or(What::Nothing, |(kind, round)| What::Round(kind, round));
        Ok((Reading { directory: self, what: What::Nothing }, Reading { directory: self, what }))
    }

    fn cursor(&self, shard: &Id) -> Option<String> {
        let kind = EntraKind::of(shard)?;
        self.kinds.borrow().get(&kind)?.cursor.to_text()
    }

    async fn containers<'a>(&'a self, shards: &'a [Id]) -> Result<Reading<'a>, DirectoryError> {
        let kinds = shards.iter().cloned().collect();
        Ok(Reading { directory: self, what: What::None(kinds) })
    }

    async fn leaves<'a>(&'a self, shards: &'a [Id]) -> Result<Reading<'a>, DirectoryError> {
        let what = match shards.first().and_then(EntraKind::of) {
            None => What::Nothing,
            Some(EntraKind::SignIn) => What::SignIns(None),
            Some(kind) => What::Beginning(kind),
        };
        Ok(Reading { directory: self, what })
    }

    /// There are no containers.
    async fn within<'a>(&'a self, _: &'a [Id], _: &'a [Id]) -> Result<Reading<'a>, DirectoryError> {
        Ok(Reading { directory: self, what: What::Nothing })
    }

    async fn ask(&self, ids: &[Id]) -> Result<Found, DirectoryError> {
        let mut found = Found::default();
        let mut by_kind: BTreeMap<EntraKind, Vec<&Id>> = BTreeMap::new();
        for id in ids {
            by_kind.entry(EntraKind::of(id).unwrap_or_default()).or_default().push(id);
        }
        for (kind, ids) in by_kind {
            let guids: Vec<&str> = ids.iter().map(|id| guid(id)).filter(|guid| !self.is_gone(kind, guid)).collect();
            if kind == EntraKind::SignIn {
                let (findings, are_all) = self.ask_sign_ins(&guids).await?;
                found.findings.extend(findings);
                found.answer.covered.extend(kind.shard().filter(|_| are_all));
                continue;
            }
            if kind == EntraKind::Membership {
                found.findings.extend(self.ask_memberships(&guids).await?);
                found.answer.covered.extend(kind.shard());
                continue;
            }
            // Without permission to look them all up at once, each is looked up by itself.
            let existing: Vec<String> = match self.client.names(kind, &guids).await {
                Err(error) if error.is_denied() => guids.iter().map(|guid| (*guid).to_owned()).collect(),
                existing => existing?.into_keys().collect(),
            };
            let reading = stream::iter(existing).map(async |guid: String| match self.by_id(kind, &guid).await? {
                ById::There(raw) => self.found(kind, &raw).await,
                ById::Gone => Ok(None),
            });
            let mut read = pin!(reading.buffer_unordered(AT_ONCE));
            while let Some(finding) = read.next().await {
                found.findings.extend(finding?);
            }
            found.answer.covered.extend(kind.shard());
        }
        Ok(found)
    }

    /// Groups relate to users. The kinds read separately for users are parts of them, and may relate to groups.
    fn relating(&self, shard: &Id) -> Vec<Id> {
        let all = [EntraKind::Group, EntraKind::SignIn, EntraKind::Membership];
        let relates = |kind: &EntraKind| match (EntraKind::of(shard), kind) {
            (Some(EntraKind::User), EntraKind::Group) => self.reads_members() && self.has(*kind),
            (Some(EntraKind::User), _) | (Some(EntraKind::Group), EntraKind::Membership) => self.has(*kind),
            _ => false,
        };
        all.into_iter().filter(relates).filter_map(EntraKind::shard).collect()
    }

    fn whole(&self, id: &Id) -> Option<Id> {
        EntraKind::of(id).filter(|kind| EntraKind::APART.contains(kind)).and_then(|_| EntraKind::User.id(guid(id)))
    }

    async fn related(&self, ids: &[Id]) -> Result<Vec<Id>, DirectoryError> {
        if ids.first().and_then(EntraKind::of) == Some(EntraKind::Group) {
            let groups: Vec<&str> = ids.iter().map(guid).collect();
            return Ok(self.memberships_of(&groups).await?.into_iter().collect());
        }
        let mut related: HashSet<Id> = HashSet::new();
        for kind in EntraKind::APART.into_iter().filter(|kind| self.has(*kind)) {
            related.extend(ids.iter().filter_map(|id| kind.id(guid(id))));
        }
        if !(self.reads_members() && self.has(EntraKind::Group)) {
            return Ok(related.into_iter().collect());
        }
        let reading = stream::iter(ids).map(async |id| self.client.groups_of(guid(id)).await);
        let mut read = pin!(reading.buffer_unordered(AT_ONCE));
        while let Some(some) = read.next().await {
            related.extend(some?.iter().filter_map(|group| EntraKind::Group.id(group)));
        }
        Ok(related.into_iter().collect())
    }

    fn gone(&self, id: &Id) -> Change {
        self.change(id.clone(), Operation::Delete, json!({"id": guid(id)}).to_string().into())
    }
}

impl engine::Reading for Reading<'_> {
    type Error = DirectoryError;

    async fn deliver(self, intake: Intake) -> Result<Answer, DirectoryError> {
        let Self { directory, what } = self;
        let (kind, round, extent) = match what {
            What::Nothing => return Ok(Answer::default()),
            What::None(covered) => return Ok(Answer { covered, ..Answer::default() }),
            What::SignIns(since) => {
                let is_read = directory.read_sign_ins(since.as_deref(), &intake).await?;
                let covered = EntraKind::SignIn.shard().filter(|_| is_read && since.is_none());
                return Ok(Answer { covered: covered.into_iter().collect(), ..Answer::default() });
            }
            What::Round(kind, round) => (kind, round, Extent::Changes),
            What::Beginning(kind) => {
                let round = match directory.take_opened(kind, Extent::Everything) {
                    Some(round) => round,
                    None => directory.begin(kind).await?,
                };
                (kind, round, Extent::Everything)
            }
        };
        directory.read(kind, round, extent, &intake).await?;
        Ok(Answer { covered: kind.shard().into_iter().collect(), ..Answer::default() })
    }
}
