//! The truth: the current subscriptions, groups and resources. All changes go through methods here, which also create
//! the change record and determine when each table shows it.
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
    /// The last change of each id: two changes of one id never have the same time.
    last_changes: HashMap<Arc<str>, i64>,
    /// Counts changes: the version of rows, and whether results computed from the estate are out of date.
    version: u64,
    /// While the estate is first filled, nothing is recorded, as if it had existed for a long time.
    ancient: bool,
    /// Changes leave no record.
    unrecorded: bool,
    /// Changes have this time and no later one.
    dated: Option<i64>,
    /// How long Resource Graph keeps change records, in milliseconds.
    kept: i64,
    /// How far at most a second replica of Resource Graph lags behind a change.
    behind: Duration,
    twins: HashMap<Arc<str>, Twin>,
    sight: Sight,
}

impl Estate {
    /// An empty estate with only a management group. Anything added before `begin` has no history.
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

    /// From here on, every change is recorded.
    pub(crate) fn begin(&mut self) {
        self.ancient = false;
    }

    /// Further changes are delayed by these lags.
    pub fn set_lags(&mut self, lags: Lags) {
        self.lags = lags;
    }

    /// Rows of further changes come from one of two replicas at random; one of them lags by up to this long.
    pub fn set_behind(&mut self, behind: Duration) {
        self.behind = behind;
    }

    /// Sets how long Resource Graph keeps change records.
    pub fn keep_records(&mut self, kept: Duration) {
        self.version += 1;
        self.kept = kept.as_millis() as i64;
    }

    /// From now on, `resources` or `resourcecontainers` shows this row in addition to the one of a lower-case id.
    pub fn show_twice(&mut self, id: &str, twin: Twin) {
        self.version += 1;
        self.twins.insert(id.into(), twin);
    }

    /// What Resource Graph does not show.
    pub fn sight(&mut self) -> &mut Sight {
        self.version += 1;
        &mut self.sight
    }

    /// The types that exist or existed.
    pub(crate) fn kinds(&self) -> impl Iterator<Item = &str> {
        self.kinds.values().map(|kind| &*kind.name)
    }

    /// Whether Resource Graph knows a subscription and the principal can read any of it.
    pub(crate) fn is_eligible(&self, subscription: &Subscription) -> bool {
        subscription.is_eligible(self.now_ms())
    }

    pub(crate) fn overlooks(&self, guid: &str, moment: u64) -> bool {
        self.sight.overlooks(guid, moment)
    }

    pub(crate) fn is_poisoned(&self, query: &str, answer: &kql::Answer) -> bool {
        self.sight.is_poisoned(query, answer)
    }

    /// Shows everything: hidden and late changes.
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

    /// Changes made inside leave no change record; only rows show them.
    pub fn unrecorded<T>(&mut self, act: impl FnOnce(&mut Self) -> T) -> T {
        self.unrecorded = true;
        let done = act(self);
        self.unrecorded = false;
        done
    }

    /// Records of changes made inside have this time, in milliseconds since the epoch, regardless of other changes.
    /// They do not show earlier than others.
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

    /// Different after every change.
    pub fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// The rows of a table that are visible at `now`. `moment` seeds random choices.
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
                // The order of two records with the same time is random.
                if sight::is_heads("", moment) {
                    records.reverse();
                }
                return records;
            }
        };
        self.with_twins(rows, moment)
    }

    /// Adds second rows; the order of the two is random.
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

    /// When all changes so far will be visible everywhere, if that is in the future.
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

    /// Drops records that no query can return any more.
    pub fn forget(&mut self) {
        let since = self.now_ms() - self.kept;
        self.resource_changes.forget(since);
        self.container_changes.forget(since);
    }

    // What every change does.

    /// Registers a change of `id`, and returns its time.
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

    /// When a change with this recorded time happened.
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
        // Details may follow the record, within the same delay again.
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

/// Lower case as Azure's own services compare: character by character, where the result is a single character.
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
