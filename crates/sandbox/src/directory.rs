//! The truth in Microsoft Entra ID: users, groups with their members, applications, service principals. All changes go
//! through methods here, which also log them. A replica shows the current state with the end of the log undone.
mod changes;
pub mod life;
mod objects;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, seconds};
use crate::rng::Rng;
pub use objects::{GroupKind, GroupTypes, Id, Kind, Value};
pub(crate) use objects::{Life, Object};

/// How long deleted objects can be restored.
const KEPT: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The index of an object; it never changes.
pub(crate) type Slot = u32;

#[derive(Debug)]
pub struct Directory {
    clock: Clock,
    rng: Rng,
    objects: Vec<Object>,
    places: HashMap<Id, Slot>,
    of_kind: [Vec<Slot>; Kind::ALL.len()],
    /// The members of each group, in order, including deleted ones that can be restored.
    members: BTreeMap<Slot, Vec<Slot>>,
    sign_ins: HashMap<Slot, i64>,
    log: Vec<Entry>,
    /// When restorable objects were deleted, oldest first.
    deleted: VecDeque<(i64, Slot)>,
    /// Strings that many objects share.
    words: HashSet<Arc<str>>,
    /// While the directory is first filled, nothing is logged, as if it had existed for a long time.
    ancient: bool,
    security_groups_restorable: bool,
}

/// A change.
#[derive(Debug)]
pub(crate) struct Entry {
    pub at: i64,
    pub slot: Slot,
    /// The position of the object's previous change; 0 if there was none.
    before: u32,
    pub what: What,
}

#[derive(Clone, Debug)]
pub(crate) enum What {
    Created,
    Set { place: usize, was: Value },
    Deleted,
    Restored { since: i64 },
    Purged { was: Life },
    Joined(Slot),
    Left(Slot),
}

/// An object as of a change.
pub(crate) struct State<'a> {
    pub object: &'a Object,
    pub life: Life,
    pub values: Cow<'a, [Value]>,
}

impl State<'_> {
    pub(crate) fn is_alive(&self) -> bool {
        self.life == Life::Alive
    }

    pub(crate) fn value(&self, name: &str) -> &Value {
        self.object.kind.place(name).map_or(&Value::Unset, |place| &self.values[place])
    }

    pub(crate) fn has_hidden_members(&self) -> bool {
        self.value("visibility").text() == Some("HiddenMembership")
    }
}

impl Directory {
    pub(crate) fn new(seed: u64, clock: Clock) -> Self {
        Self {
            clock,
            // Different from the numbers behind the estate's ids.
            rng: Rng::new(seed.rotate_left(32)),
            objects: Vec::new(),
            places: HashMap::new(),
            of_kind: Default::default(),
            members: BTreeMap::new(),
            sign_ins: HashMap::new(),
            log: Vec::new(),
            deleted: VecDeque::new(),
            words: HashSet::new(),
            ancient: true,
            security_groups_restorable: true,
        }
    }

    /// From here on, every change is logged.
    pub(crate) fn begin(&mut self) {
        self.ancient = false;
    }

    /// Whether deleted security groups can be restored, or are gone at once as they used to be.
    pub fn restore_security_groups(&mut self, can: bool) {
        self.security_groups_restorable = can;
    }

    /// The number of living objects of a kind.
    pub fn count(&self, kind: Kind) -> usize {
        self.slots(kind).iter().filter(|slot| self.object(**slot).life == Life::Alive).count()
    }

    /// The ids of a kind, in order of creation.
    pub fn ids(&self, kind: Kind) -> Vec<Id> {
        let alive = self.slots(kind).iter().map(|slot| self.object(*slot)).filter(|one| one.life == Life::Alive);
        alive.map(|one| one.id).collect()
    }

    /// The ids of deleted objects that can be restored.
    pub fn deleted(&self, kind: Kind) -> Vec<Id> {
        let slots = self.slots(kind).iter().map(|slot| self.object(*slot));
        slots.filter(|one| matches!(one.life, Life::Deleted(_))).map(|one| one.id).collect()
    }

    /// Whether it exists and is not deleted.
    pub fn is_alive(&self, id: Id) -> bool {
        self.slot(id).is_some_and(|slot| self.object(slot).life == Life::Alive)
    }

    /// The value of a property.
    pub fn value(&self, id: Id, name: &str) -> Option<&Value> {
        let object = self.object(self.slot(id)?);
        object.values.get(object.kind.place(name)?)
    }

    /// The members of a group, of any kind, except deleted ones.
    pub fn members(&self, group: Id) -> Vec<Id> {
        let Some(slot) = self.slot(group) else { return Vec::new() };
        let all = self.members_of(slot).iter().map(|slot| self.object(*slot));
        all.filter(|member| member.life == Life::Alive).map(|member| member.id).collect()
    }

    /// When a user last signed in, in milliseconds since the epoch.
    pub fn last_sign_in(&self, id: Id) -> Option<i64> {
        self.slot(id).and_then(|slot| self.sign_in_of(slot))
    }

    /// Whether it was deleted and restored.
    pub fn was_restored(&self, id: Id) -> bool {
        self.slot(id).is_some_and(|slot| self.undoing(slot, 0).any(|what| matches!(what, What::Restored { .. })))
    }

    /// What happened to an object and when, for people.
    pub fn account_of(&self, id: Id) -> Vec<String> {
        let Some(slot) = self.slot(id) else { return Vec::new() };
        let own = self.log.iter().filter(|entry| entry.slot == slot);
        let tell = |entry: &Entry| match &entry.what {
            What::Set { place, .. } => format!("set {}", self.object(slot).kind.properties()[*place].name),
            What::Joined(member) => format!("joined by {}", self.object(*member).id),
            What::Left(member) => format!("left by {}", self.object(*member).id),
            other => format!("{other:?}"),
        };
        own.map(|entry| format!("{} {}", seconds(entry.at), tell(entry))).collect()
    }

    // What the services read.

    pub(crate) fn slot(&self, id: Id) -> Option<Slot> {
        self.places.get(&id).copied()
    }

    pub(crate) fn object(&self, slot: Slot) -> &Object {
        &self.objects[slot as usize]
    }

    /// All objects of a kind that ever existed.
    pub(crate) fn slots(&self, kind: Kind) -> &[Slot] {
        &self.of_kind[kind as usize]
    }

    pub(crate) fn groups(&self) -> impl Iterator<Item = Slot> {
        self.members.keys().copied()
    }

    pub(crate) fn members_of(&self, group: Slot) -> &[Slot] {
        self.members.get(&group).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn sign_in_of(&self, slot: Slot) -> Option<i64> {
        self.sign_ins.get(&slot).copied()
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// The position of the last change that is at least this old.
    pub(crate) fn position(&self, age: Duration) -> u32 {
        let until = self.now_ms() - age.as_millis() as i64;
        self.log.partition_point(|entry| entry.at <= until) as u32
    }

    /// The changes after a position, up to another, each with its position.
    pub(crate) fn changes(&self, from: u32, to: u32) -> impl Iterator<Item = (u32, &Entry)> {
        let (from, to) = (from as usize, (to as usize).max(from as usize));
        self.log.get(from..to).unwrap_or_default().iter().zip(from as u32 + 1..).map(|(entry, at)| (at, entry))
    }

    /// The changes of an object after a position, latest first.
    fn undoing(&self, slot: Slot, position: u32) -> impl Iterator<Item = &What> {
        let mut at = self.object(slot).last;
        std::iter::from_fn(move || {
            let entry = (at > position).then(|| &self.log[at as usize - 1])?;
            at = entry.before;
            Some(&entry.what)
        })
    }

    /// The position before the last change that an object had at a position.
    pub(crate) fn before(&self, slot: Slot, position: u32) -> Option<u32> {
        let mut at = self.object(slot).last;
        while at > position {
            at = self.log[at as usize - 1].before;
        }
        at.checked_sub(1)
    }

    /// An object as of a position, if it existed.
    pub(crate) fn at(&self, slot: Slot, position: u32) -> Option<State<'_>> {
        let object = self.object(slot);
        let mut state = State { object, life: object.life, values: Cow::Borrowed(&*object.values) };
        for what in self.undoing(slot, position) {
            match what {
                What::Created => return None,
                What::Set { place, was } => state.values.to_mut()[*place] = was.clone(),
                What::Deleted => state.life = Life::Alive,
                What::Restored { since } => state.life = Life::Deleted(*since),
                What::Purged { was } => state.life = *was,
                What::Joined(_) | What::Left(_) => {}
            }
        }
        Some(state)
    }

    /// The current state of an object, if it ever existed.
    pub(crate) fn present(&self, slot: Slot) -> Option<State<'_>> {
        self.at(slot, self.object(slot).last)
    }

    /// An object as of a position, if it existed and was not deleted.
    pub(crate) fn alive_at(&self, slot: Slot, position: u32) -> Option<State<'_>> {
        self.at(slot, position).filter(State::is_alive)
    }

    /// The members of a group as of a position, except deleted ones.
    pub(crate) fn members_at(&self, group: Slot, position: u32) -> Vec<Slot> {
        let mut members = self.all_members_at(group, position).into_owned();
        members.retain(|member| self.alive_at(*member, position).is_some());
        members
    }

    /// The same, including deleted ones.
    pub(crate) fn all_members_at(&self, group: Slot, position: u32) -> Cow<'_, [Slot]> {
        let mut members = Cow::Borrowed(self.members_of(group));
        for what in self.undoing(group, position) {
            match what {
                What::Joined(member) => remove(members.to_mut(), *member),
                What::Left(member) => insert(members.to_mut(), *member),
                _ => false,
            };
        }
        members
    }

    /// The groups that an object was a member of as of a position.
    pub(crate) fn groups_at(&self, member: Slot, position: u32) -> Vec<Slot> {
        let is_in = |group: &Slot| self.all_members_at(*group, position).binary_search(&member).is_ok();
        self.groups().filter(|group| self.alive_at(*group, position).is_some()).filter(is_in).collect()
    }
}

/// Returns whether it was missing.
fn insert(members: &mut Vec<Slot>, member: Slot) -> bool {
    let place = members.binary_search(&member);
    if let Err(place) = place {
        members.insert(place, member);
    }
    place.is_err()
}

/// Returns whether it was present.
fn remove(members: &mut Vec<Slot>, member: Slot) -> bool {
    let place = members.binary_search(&member);
    if let Ok(place) = place {
        members.remove(place);
    }
    place.is_ok()
}
