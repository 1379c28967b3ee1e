//! The truth: which subscriptions, groups and resources there are now. Every change to it goes through a method here, which
//! also writes the record of the change and says from when each table shows it.
mod changes;
mod things;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;

use crate::clock::Clock;
use crate::history::{Chronicle, Owner, Record, Row, Shelf};
use crate::kinds::Kind;
use crate::rng::Rng;
use crate::settings::Lags;
use crate::sight::{self, Sight};
use crate::tables::{self, Change, Name};

pub use things::{Group, Level, Resource, Subscription, Tags, Twin};

#[derive(Debug)]
pub struct Estate {
    clock: Clock,
    lags: Lags,
    rng: Rng,
    subscriptions: Vec<Subscription>,
    groups: BTreeMap<Arc<str>, Group>,
    resources: IndexMap<Arc<str>, Resource>,
    kinds: HashMap<String, Arc<Kind>>,
    resource_rows: Shelf,
    container_rows: Shelf,
    resource_changes: Chronicle,
    container_changes: Chronicle,
    /// When each id was last changed: two changes of one id never bear the same time.
    last_changes: HashMap<Arc<str>, i64>,
    /// Counts changes: a version for rows, and a sign that what was computed from the estate is out of date.
    version: u64,
    /// While the estate is first filled, nothing is recorded: it has been there for long.
    ancient: bool,
    /// What happens leaves no record.
    unrecorded: bool,
    /// What is done to the estate bears this time, and no later one.
    dated: Option<i64>,
    /// How long Resource Graph keeps a record of change, in milliseconds.
    kept: i64,
    /// How far a second replica of Resource Graph is behind with a change, at the most.
    behind: Duration,
    twins: HashMap<Arc<str>, Twin>,
    sight: Sight,
}

impl Estate {
    /// An estate with nothing in it but a management group. What is put in before `begin` has no history.
    pub(crate) fn new(seed: u64, clock: Clock, lags: Lags) -> Self {
        let mut container_rows = Shelf::default();
        for name in ["Tenant Root Group", "platform-mg"] {
            container_rows.place(&name.into(), None, tables::management_group_row(name));
        }
        Self {
            clock,
            lags,
            rng: Rng::new(seed),
            subscriptions: Vec::new(),
            groups: BTreeMap::new(),
            resources: IndexMap::new(),
            kinds: HashMap::new(),
            resource_rows: Shelf::default(),
            container_rows,
            resource_changes: Chronicle::default(),
            container_changes: Chronicle::default(),
            last_changes: HashMap::new(),
            version: 0,
            ancient: true,
            unrecorded: false,
            dated: None,
            kept: 7 * 24 * 60 * 60 * 1000,
            behind: Duration::ZERO,
            twins: HashMap::new(),
            sight: Sight::default(),
        }
    }

    /// From here on every change is recorded.
    pub(crate) fn begin(&mut self) {
        self.ancient = false;
    }

    /// Changes from here on come with other delays.
    pub fn set_lags(&mut self, lags: Lags) {
        self.lags = lags;
    }

    /// Rows of changes from here on come from either of two replicas by chance, of which one is behind by up to this long.
    pub fn set_behind(&mut self, behind: Duration) {
        self.behind = behind;
    }

    /// Resource Graph keeps records of change for so long from now on.
    pub fn keep_records(&mut self, kept: Duration) {
        self.version += 1;
        self.kept = kept.as_millis() as i64;
    }

    /// Beside the row of a lower-case id, `resources` or `resourcecontainers` shows this one from now on, as long as there is one.
    pub fn show_twice(&mut self, id: &str, twin: Twin) {
        self.version += 1;
        self.twins.insert(id.into(), twin);
    }

    /// What Resource Graph does not show, to look at and to change.
    pub fn sight(&mut self) -> &mut Sight {
        self.version += 1;
        &mut self.sight
    }

    /// Whether Resource Graph knows a subscription, and the principal can read any of it.
    /// The types that there are or were.
    pub(crate) fn kinds(&self) -> impl Iterator<Item = &str> {
        self.kinds.values().map(|kind| &*kind.name)
    }

    pub(crate) fn is_eligible(&self, subscription: &Subscription) -> bool {
        subscription.is_eligible(self.now_ms())
    }

    pub(crate) fn overlooks(&self, guid: &str, moment: u64) -> bool {
        self.sight.overlooks(guid, moment)
    }

    pub(crate) fn is_poisoned(&self, query: &str, answer: &kql::Answer) -> bool {
        self.sight.is_poisoned(query, answer)
    }

    /// Everything shows from now on: what is hidden, and what is late.
    pub fn catch_up(&mut self) {
        self.version += 1;
        let now = self.now_ms();
        self.sight.clear();
        for subscription in self.subscriptions.iter_mut().filter(|one| one.known_from != i64::MAX) {
            subscription.known_from = i64::MIN;
        }
        self.resource_rows.catch_up();
        self.container_rows.catch_up();
        self.resource_changes.catch_up(now);
        self.container_changes.catch_up(now);
    }

    /// What is done to the estate here leaves no record of change: only its rows show it.
    pub fn unrecorded<T>(&mut self, act: impl FnOnce(&mut Self) -> T) -> T {
        self.unrecorded = true;
        let done = act(self);
        self.unrecorded = false;
        done
    }

    /// What is done to the estate here bears this time, in milliseconds since the epoch, in its records, whatever happened before
    /// or after. They show no sooner than others.
    pub fn dated<T>(&mut self, at: i64, act: impl FnOnce(&mut Self) -> T) -> T {
        self.dated = Some(at);
        let done = act(self);
        self.dated = None;
        done
    }

    pub fn subscriptions(&self) -> &[Subscription] {
        &self.subscriptions
    }

    pub fn groups(&self) -> &BTreeMap<Arc<str>, Group> {
        &self.groups
    }

    pub fn resources(&self) -> &IndexMap<Arc<str>, Resource> {
        &self.resources
    }

    /// Differs after every change.
    pub fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// The rows of a table as they show at `now`. What is left to chance follows from `moment`.
    pub(crate) fn rows(&mut self, table: Name, now: i64, moment: u64, reads: impl Fn(Owner) -> bool) -> Vec<Row> {
        let Self { sight, subscriptions, kept, .. } = self;
        let grants = |owner: Owner, id: &str| owner.is_none_or(|place| subscriptions[place].grants(id));
        let guid = |owner: Owner| owner.map_or("", |place| &*subscriptions[place].guid);
        let is_shown =
            |owner: Owner, id: &str| reads(owner) && grants(owner, id) && sight.shows_row(guid(owner), id, now, moment);
        let is_told = |owner: Owner, id: &str| reads(owner) && grants(owner, id) && sight.shows_records(guid(owner));
        let is_behind = |id: &str| sight::is_heads(id, moment);
        let rows = match table {
            Name::Resources => self.resource_rows.rows(now, is_shown, is_behind),
            Name::Containers => self.container_rows.rows(now, is_shown, is_behind),
            Name::ResourceChanges | Name::ContainerChanges => {
                let changes =
                    if table == Name::ResourceChanges { &self.resource_changes } else { &self.container_changes };
                let mut records = changes.rows(now - *kept, now, is_told);
                // Which of two with one time comes first is left to chance.
                if sight::is_heads("", moment) {
                    records.reverse();
                }
                return records;
            }
        };
        self.with_twins(rows, moment)
    }

    /// The rows with those that are there twice; which of two comes first is left to chance.
    fn with_twins(&self, rows: Vec<Row>, moment: u64) -> Vec<Row> {
        if self.twins.is_empty() {
            return rows;
        }
        let mut all = Vec::with_capacity(rows.len() + self.twins.len());
        for row in rows {
            let id = lower(tables::id_of(&row));
            match self.twins.get(&*id) {
                None => all.push(row),
                Some(Twin { recased, tags }) => {
                    let twin = tables::twin(&row, *recased, tags.as_ref());
                    all.extend(if sight::is_heads(&id, moment) { [row, twin] } else { [twin, row] });
                }
            }
        }
        all
    }

    /// The moment from which every change so far shows everywhere, where that is still to come.
    pub fn settled_at(&self) -> i64 {
        [
            self.resource_rows.settled_at(),
            self.container_rows.settled_at(),
            self.resource_changes.settled_at(),
            self.container_changes.settled_at(),
        ]
        .into_iter()
        .flatten()
        .fold(self.now_ms(), i64::max)
    }

    /// Drops records that no query can see any more.
    pub fn forget(&mut self) {
        let since = self.now_ms() - self.kept;
        self.resource_changes.forget(since);
        self.container_changes.forget(since);
    }

    // What every change does.

    /// Notes that something happened to `id`, and when.
    fn tell(&mut self, id: &Arc<str>) -> i64 {
        self.version += 1;
        let now = self.clock.now_ms();
        if self.ancient {
            return now;
        }
        if let Some(dated) = self.dated {
            return dated;
        }
        let last = self.last_changes.entry(id.clone()).or_insert(i64::MIN);
        *last = now.max(last.saturating_add(1));
        *last
    }

    /// When what bears this time happened.
    fn happened_at(&self, detected_at: i64) -> i64 {
        if self.dated.is_some() { self.now_ms() } else { detected_at }
    }

    fn show(&mut self, table: Name, id: &Arc<str>, place: usize, row: Option<Row>, detected_at: i64) {
        let happened_at = self.happened_at(detected_at);
        let shelf = match table {
            Name::Resources => &mut self.resource_rows,
            _ => &mut self.container_rows,
        };
        match row {
            Some(row) if self.ancient => shelf.place(id, Some(place), row),
            row => {
                let lag = self.rng.between(&self.lags.row);
                let behind = if self.behind.is_zero() {
                    Duration::ZERO
                } else {
                    self.rng.between(&(Duration::ZERO..=self.behind))
                };
                let shows_at = happened_at + lag.as_millis() as i64;
                shelf.put(id, Some(place), row, shows_at, behind.as_millis() as i64);
            }
        }
    }

    fn record(&mut self, place: usize, change: &Change<'_>) {
        if self.ancient || self.unrecorded {
            return;
        }
        let lag = self.rng.between(&self.lags.record).as_millis() as i64;
        let shows_at = self.happened_at(change.detected_at) + lag;
        // Details may follow the record; then they do within as long again.
        let late = !change.changed.is_empty() && self.rng.one_in(4);
        let more = if late { self.rng.between(&self.lags.record).as_millis() as i64 } else { 0 };
        let record = Record {
            owner: Some(place),
            target: lower(change.target).into(),
            detected_at: change.detected_at,
            shows_at,
            complete_at: shows_at + more,
            row: change.row(self.version, false),
            brief: (more > 0).then(|| change.row(self.version, true)),
        };
        match change.table {
            Name::ResourceChanges => self.resource_changes.add(record),
            _ => self.container_changes.add(record),
        }
    }
}

/// Lower case as Azure's own services compare: character by character, where that is one character.
pub fn lower(text: &str) -> String {
    let one = |c: char| {
        let mut lower = c.to_lowercase();
        match (lower.next(), lower.next()) {
            (Some(lower), None) => lower,
            _ => c,
        }
    };
    text.chars().map(one).collect()
}
