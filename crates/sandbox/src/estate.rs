//! The truth: which subscriptions, groups and resources there are now. Every change to it goes through a method here, which
//! also writes the record of the change and says from when each table shows it.
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use serde_json::{Value as Json, json};

use crate::clock::Clock;
use crate::history::{Chronicle, Owner, Record, Row, Shelf};
use crate::kinds::Kind;
use crate::rng::Rng;
use crate::settings::Lags;
use crate::sight::{self, Sight};
use crate::tables::{self, Change, Name};

/// `None` where Azure says `null`; else an object, which may be empty.
pub type Tags = Option<Arc<Json>>;

#[derive(Debug)]
pub struct Subscription {
    /// In lower case.
    pub guid: Arc<str>,
    pub name: Arc<str>,
    pub tags: Tags,
    /// Whether the principal can read it.
    pub visible: bool,
}

impl Subscription {
    pub(crate) fn id(&self) -> String {
        format!("/subscriptions/{}", self.guid)
    }
}

#[derive(Debug)]
pub struct Group {
    /// In lower case, as all keys here.
    pub id: Arc<str>,
    pub subscription: usize,
    pub name: Arc<str>,
    pub location: Arc<str>,
    pub tags: Tags,
    /// Ids of the resources in it; ordered, so that deleting them is the same in every run.
    pub members: BTreeSet<Arc<str>>,
}

impl Group {
    pub(crate) fn display_id(&self, subscription: &Subscription) -> String {
        format!("/subscriptions/{}/resourceGroups/{}", subscription.guid, self.name)
    }
}

#[derive(Debug)]
pub struct Resource {
    pub id: Arc<str>,
    pub group: Arc<str>,
    pub kind: Arc<Kind>,
    /// With those of its parents before it, behind a slash each.
    pub name: Arc<str>,
    pub location: Arc<str>,
    pub tags: Tags,
}

impl Resource {
    /// What the `name` column shows.
    pub fn short_name(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or_default()
    }

    pub(crate) fn display_id(&self, subscription: &Subscription, group: &Group) -> String {
        let mut types = self.kind.name.split('/');
        let provider = types.next().unwrap_or_default();
        let mut id = format!("{}/providers/{provider}", group.display_id(subscription));
        for (ty, name) in types.zip(self.name.split('/')) {
            id.push('/');
            id.push_str(ty);
            id.push('/');
            id.push_str(name);
        }
        id
    }
}

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
    /// How far a second replica of Resource Graph is behind with a change, at the most.
    behind: Duration,
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
            behind: Duration::ZERO,
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

    /// What Resource Graph does not show, to look at and to change.
    pub fn sight(&mut self) -> &mut Sight {
        self.version += 1;
        &mut self.sight
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
        let Self { sight, subscriptions, .. } = self;
        let is_shown = |owner: Owner, id: &str| reads(owner) && sight.shows_row(id);
        let is_told =
            |owner: Owner| reads(owner) && owner.is_none_or(|place| sight.shows_records(&subscriptions[place].guid));
        let is_behind = |id: &str| sight::is_heads(id, moment);
        match table {
            Name::Resources => self.resource_rows.rows(now, is_shown, is_behind),
            Name::Containers => self.container_rows.rows(now, is_shown, is_behind),
            Name::ResourceChanges => self.resource_changes.rows(now, is_told),
            Name::ContainerChanges => self.container_changes.rows(now, is_told),
        }
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
        let now = self.now_ms();
        self.resource_changes.forget(now);
        self.container_changes.forget(now);
    }

    // Subscriptions.

    /// A subscription that is new, or newly readable; its guid.
    pub fn add_subscription(&mut self, name: &str, tags: Tags) -> Arc<str> {
        let guid: Arc<str> = self.rng.guid().into();
        self.subscriptions.push(Subscription { guid: guid.clone(), name: name.into(), tags, visible: true });
        self.subscription_changed(self.subscriptions.len() - 1, "Create", Vec::new());
        guid
    }

    /// The principal can read the subscription, or can not: then all of it is gone from every answer.
    pub fn show_subscription(&mut self, guid: &str, visible: bool) -> bool {
        self.version += 1;
        let found = self.subscriptions.iter_mut().find(|s| *s.guid == *guid);
        found.map(|subscription| subscription.visible = visible).is_some()
    }

    pub fn rename_subscription(&mut self, guid: &str, name: &str) -> bool {
        let Some(place) = self.place(guid) else { return false };
        let was = std::mem::replace(&mut self.subscriptions[place].name, name.into());
        self.subscription_changed(place, "Update", vec![("name".into(), json!(*was), json!(name))]);
        true
    }

    pub fn retag_subscription(&mut self, guid: &str, tags: Tags) -> bool {
        let Some(place) = self.place(guid) else { return false };
        let changed = changed_tags(&self.subscriptions[place].tags, &tags);
        self.subscriptions[place].tags = tags;
        self.subscription_changed(place, "Update", changed);
        true
    }

    fn place(&self, guid: &str) -> Option<usize> {
        self.subscriptions.iter().position(|subscription| *subscription.guid == *guid)
    }

    fn subscription_changed(&mut self, place: usize, kind: &'static str, changed: Vec<(String, Json, Json)>) {
        let id: Arc<str> = self.subscriptions[place].id().into();
        let detected_at = self.tell(&id);
        let row = tables::subscription_row(&self.subscriptions[place], self.version);
        self.show(Name::Containers, &id, place, Some(row), detected_at);
        let change = Change {
            table: Name::ContainerChanges,
            kind,
            target: &id,
            target_type: "Microsoft.Resources/subscriptions",
            subscription: &self.subscriptions[place].guid.clone(),
            group: &"".into(),
            location: &"".into(),
            detected_at,
            changed,
        };
        self.record(place, &change);
    }

    // Groups.

    /// The new group's id, or `None` where the subscription is unknown or the group exists.
    pub fn create_group(&mut self, guid: &str, name: &str, location: &str, tags: Tags) -> Option<Arc<str>> {
        let subscription = self.place(guid)?;
        let id: Arc<str> = lower(&format!("/subscriptions/{guid}/resourceGroups/{name}")).into();
        if self.groups.contains_key(&id) {
            return None;
        }
        let group = Group {
            id: id.clone(),
            subscription,
            name: name.into(),
            location: location.into(),
            tags,
            members: BTreeSet::new(),
        };
        self.groups.insert(id.clone(), group);
        self.group_changed(&id, "Create", Vec::new());
        Some(id)
    }

    pub fn retag_group(&mut self, id: &str, tags: Tags) -> bool {
        let Some(group) = self.groups.get_mut(id) else { return false };
        let changed = changed_tags(&group.tags, &tags);
        group.tags = tags;
        self.group_changed(id, "Update", changed);
        true
    }

    /// Writes the group's name in another case; a name that differs in more than that is refused.
    pub(crate) fn recase_group(&mut self, id: &str, name: &str) -> bool {
        let Some(group) = self.groups.get_mut(id) else { return false };
        if lower(name) != lower(&group.name) {
            return false;
        }
        let was = std::mem::replace(&mut group.name, name.into());
        self.group_changed(id, "Update", vec![("name".into(), json!(*was), json!(name))]);
        true
    }

    /// Deletes a group with all in it.
    pub fn delete_group(&mut self, id: &str) -> bool {
        let Some(group) = self.groups.get(id) else { return false };
        for member in group.members.clone() {
            self.delete_resource(&member);
        }
        self.group_changed(id, "Delete", Vec::new());
        self.groups.remove(id);
        true
    }

    fn group_changed(&mut self, id: &str, kind: &'static str, changed: Vec<(String, Json, Json)>) {
        let Some(id) = self.groups.get(id).map(|group| group.id.clone()) else { return };
        let detected_at = self.tell(&id);
        let (group, version) = (&self.groups[&id], self.version);
        let subscription = &self.subscriptions[group.subscription];
        let (place, guid) = (group.subscription, subscription.guid.clone());
        let (name, location) = (group.name.clone(), group.location.clone());
        let target = group.display_id(subscription);
        let row = (kind != "Delete").then(|| tables::group_row(subscription, group, version));
        self.show(Name::Containers, &id, place, row, detected_at);
        let change = Change {
            table: Name::ContainerChanges,
            kind,
            target: &target,
            target_type: "Microsoft.Resources/subscriptions/resourceGroups",
            subscription: &guid,
            group: &name,
            location: &location,
            detected_at,
            changed,
        };
        self.record(place, &change);
    }

    // Resources.

    /// The new resource's id, or `None` where the group is unknown or the resource exists. The name of a nested type has its
    /// parents' before it: `server/database`.
    pub fn create_resource(
        &mut self,
        group: &str,
        ty: &str,
        name: &str,
        location: &str,
        tags: Tags,
    ) -> Option<Arc<str>> {
        let kind = self.kinds.entry(lower(ty)).or_insert_with(|| Arc::new(Kind::new(ty))).clone();
        let group = self.groups.get_mut(group)?;
        let mut resource = Resource {
            id: "".into(),
            group: group.id.clone(),
            kind,
            name: name.into(),
            location: location.into(),
            tags,
        };
        let id: Arc<str> = lower(&resource.display_id(&self.subscriptions[group.subscription], group)).into();
        if self.resources.contains_key(&id) {
            return None;
        }
        resource.id = id.clone();
        group.members.insert(id.clone());
        self.resources.insert(id.clone(), resource);
        self.resource_changed(&id, "Create", Vec::new());
        Some(id)
    }

    /// A change that no column of the catalog shows.
    pub fn touch_resource(&mut self, id: &str) -> bool {
        let changed = vec![("properties.minimumTlsVersion".into(), json!("1.2"), json!("1.3"))];
        self.resource_changed(id, "Update", changed)
    }

    pub fn retag_resource(&mut self, id: &str, tags: Tags) -> bool {
        let Some(resource) = self.resources.get_mut(id) else { return false };
        let changed = changed_tags(&resource.tags, &tags);
        resource.tags = tags;
        self.resource_changed(id, "Update", changed)
    }

    /// Writes the resource's name in another case; a name that differs in more than that is refused.
    pub fn recase_resource(&mut self, id: &str, name: &str) -> bool {
        let Some(resource) = self.resources.get_mut(id) else { return false };
        if lower(name) != lower(&resource.name) {
            return false;
        }
        let was = std::mem::replace(&mut resource.name, name.into());
        self.resource_changed(id, "Update", vec![("name".into(), json!(*was), json!(name))])
    }

    pub fn delete_resource(&mut self, id: &str) -> bool {
        if !self.resource_changed(id, "Delete", Vec::new()) {
            return false;
        }
        if let Some(resource) = self.resources.swap_remove(id)
            && let Some(group) = self.groups.get_mut(&resource.group)
        {
            group.members.remove(&resource.id);
        }
        true
    }

    /// Deletes a resource and makes it again under the same id, with other tags.
    pub fn recreate_resource(&mut self, id: &str, tags: Tags) -> bool {
        let Some(resource) = self.resources.get(id) else { return false };
        let (group, kind) = (resource.group.clone(), resource.kind.name.clone());
        let (name, location) = (resource.name.clone(), resource.location.clone());
        self.delete_resource(id);
        self.create_resource(&group, &kind, &name, &location, tags).is_some()
    }

    /// Moves a resource into another group: the old id is deleted, a new one created. The new id.
    pub(crate) fn move_resource(&mut self, id: &str, group: &str) -> Option<Arc<str>> {
        let resource = self.resources.get(id)?;
        if *resource.group == *group || !self.groups.contains_key(group) {
            return None;
        }
        let (kind, name) = (resource.kind.name.clone(), resource.name.clone());
        let (location, tags) = (resource.location.clone(), resource.tags.clone());
        let moved = self.create_resource(group, &kind, &name, &location, tags)?;
        self.delete_resource(id);
        Some(moved)
    }

    fn resource_changed(&mut self, id: &str, kind: &'static str, changed: Vec<(String, Json, Json)>) -> bool {
        let Some(id) = self.resources.get(id).map(|resource| resource.id.clone()) else { return false };
        let detected_at = self.tell(&id);
        let (resource, version) = (&self.resources[&id], self.version);
        let Some(group) = self.groups.get(&resource.group) else { return false };
        let subscription = &self.subscriptions[group.subscription];
        let place = group.subscription;
        let row = (kind != "Delete").then(|| tables::resource_row(subscription, group, resource, version));
        if self.ancient {
            self.show(Name::Resources, &id, place, row, detected_at);
            return true;
        }
        let (guid, target) = (subscription.guid.clone(), resource.display_id(subscription, group));
        let (name, location) = (group.name.clone(), resource.location.clone());
        let target_type = resource.kind.name.clone();
        self.show(Name::Resources, &id, place, row, detected_at);
        let change = Change {
            table: Name::ResourceChanges,
            kind,
            target: &target,
            target_type: &target_type,
            subscription: &guid,
            group: &name,
            location: &location,
            detected_at,
            changed,
        };
        self.record(place, &change);
        true
    }

    // What every change does.

    /// Notes that something happened to `id`, and when.
    fn tell(&mut self, id: &Arc<str>) -> i64 {
        self.version += 1;
        let now = self.clock.now_ms();
        if self.ancient {
            return now;
        }
        let last = self.last_changes.entry(id.clone()).or_insert(i64::MIN);
        *last = now.max(last.saturating_add(1));
        *last
    }

    fn show(&mut self, table: Name, id: &Arc<str>, place: usize, row: Option<Row>, detected_at: i64) {
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
                let shows_at = detected_at + lag.as_millis() as i64;
                shelf.put(id, Some(place), row, shows_at, behind.as_millis() as i64);
            }
        }
    }

    fn record(&mut self, place: usize, change: &Change<'_>) {
        if self.ancient || self.unrecorded {
            return;
        }
        let shows_at = change.detected_at + self.rng.between(&self.lags.record).as_millis() as i64;
        // Details may follow the record; then they do within as long again.
        let late = !change.changed.is_empty() && self.rng.one_in(4);
        let more = if late { self.rng.between(&self.lags.record).as_millis() as i64 } else { 0 };
        let record = Record {
            owner: Some(place),
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

fn changed_tags(was: &Tags, is: &Tags) -> Vec<(String, Json, Json)> {
    let empty = serde_json::Map::new();
    let object = |tags: &Tags| tags.as_deref().and_then(Json::as_object).unwrap_or(&empty).clone();
    let (was, is) = (object(was), object(is));
    let keys: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
    let value = |tags: &serde_json::Map<String, Json>, key: &String| tags.get(key).cloned().unwrap_or(Json::Null);
    keys.into_iter()
        .filter(|key| was.get(*key) != is.get(*key))
        .map(|key| (format!("tags.{key}"), value(&was, key), value(&is, key)))
        .collect()
}
