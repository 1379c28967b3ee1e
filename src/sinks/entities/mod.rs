//! Writes entities over Port's API; a mapping makes them from rows.
//!
//! A row can become several entities of several blueprints, or none. It is accepted once all of them are written and
//! those it no longer makes are deleted. Port reports for each entity whether it was written ("Create or update
//! multiple entities", Port's API reference).

mod error;
mod parcel;

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use sha2::{Digest, Sha256};
use uuid::Uuid;

pub(crate) use error::EntitiesError;
pub(crate) use parcel::{Mapped, arm_id, lines};

use crate::config::PortApi;
use crate::engine::{Fault, LANDING, Limits, Outcome, Parcel, Receipt, Sink, SinkError};
use crate::mapping::{Entity, Kind, Mapping, Unmade};
use crate::model::{Change, Names, Operation, Stage};
use crate::offload;
use crate::port::{Dependents, LARGEST_LIST, MOST_DELETED, MOST_WRITTEN, Port, Upsert};
use parcel::Name;

/// Maximum concurrent requests.
pub(crate) const IN_FLIGHT: NonZeroUsize = NonZeroUsize::new(10).unwrap();

/// Port's API, and the form that makes entities for it.
pub(crate) struct Entities<'a> {
    port: &'a Port,
    form: Arc<Form>,
    identity: String,
}

/// Turns changes into parcels, and counts what cannot be mapped.
pub(crate) struct Form {
    mapping: Arc<Mapping>,
    counts: Mutex<Unmapped>,
    /// Hashes of the entities that were made; `None` if they are not needed.
    made: Option<Mutex<HashSet<u64>>>,
}

/// Rows that made no entity, and entities that could not be deleted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unmapped {
    pub(crate) unmade: Unmade,
    /// Deletes of entities whose identifier cannot be derived from what is left of their rows.
    pub(crate) unnamed: u64,
}

impl Form {
    pub(crate) fn new(mapping: Arc<Mapping>) -> Self {
        Self { mapping, counts: Mutex::default(), made: None }
    }

    /// Remembers which entities it has made, at eight bytes each.
    pub(crate) fn remembering(self) -> Self {
        Self { made: Some(Mutex::default()), ..self }
    }

    pub(crate) fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    /// Whether this entity was made from a row. Always true if nothing is remembered.
    pub(crate) fn has_made(&self, blueprint: &str, identifier: &str) -> bool {
        self.made.as_ref().is_none_or(|made| locked(made).contains(&hash(blueprint, identifier)))
    }

    pub(crate) fn unmapped(&self) -> Unmapped {
        locked(&self.counts).clone()
    }

    /// Renders a change as entities. `known` names the entities that Port holds of the row.
    pub(crate) fn render(&self, change: Change, known: &Names) -> Mapped {
        let kind = kind_of(&change);
        match change.operation {
            Operation::Upsert => {
                let made = self.mapping.entities(kind, &change.row);
                let is_uncertain = made.failed > 0;
                let entities = locked(&self.counts).unmade.note(made);
                if let Some(made) = &self.made {
                    locked(made).extend(entities.iter().map(|one| hash(&one.blueprint, &one.identifier)));
                }
                if is_part(&change) {
                    return Mapped::part(change, entities);
                }
                if is_uncertain {
                    return Mapped::uncertain(change, entities, known);
                }
                Mapped::upsert(change, entities, known)
            }
            Operation::Delete if known.is_known() => Mapped::delete(change, known),
            Operation::Delete => {
                let (names, unnamed) = self.mapping.keys(kind, &what_is_left(&change.row));
                locked(&self.counts).unnamed += unnamed as u64;
                let names: Vec<String> = names.iter().map(|(blueprint, one)| Name::join(blueprint, one)).collect();
                Mapped::delete(change, &Names::known(names.iter().map(String::as_str)))
            }
        }
    }
}

/// Labels of changes that carry only part of a user.
const APART: [&str; 2] = ["userSignIn", "userGroups"];

/// Whether a row is partial: it is merged into the entities that the full row makes, and owns none itself.
fn is_part(change: &Change) -> bool {
    APART.contains(&change.label)
}

/// The kind that a mapping calls the row of a change.
pub(crate) fn kind_of(change: &Change) -> Kind {
    match (change.label, change.id.stage()) {
        ("user", _) => Kind::User,
        (label, _) if APART.contains(&label) => Kind::User,
        ("group", _) => Kind::Group,
        ("application", _) => Kind::Application,
        ("servicePrincipal", _) => Kind::ServicePrincipal,
        (_, Stage::Root) => Kind::Subscription,
        (_, Stage::Container) => Kind::ResourceContainer,
        (_, Stage::Leaf) => Kind::Resource,
    }
}

fn locked<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn hash(blueprint: &str, identifier: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (blueprint, identifier).hash(&mut hasher);
    hasher.finish()
}

/// The columns of a deleted row that have a value.
fn what_is_left(row: &[u8]) -> Vec<u8> {
    let mut columns: serde_json::Map<String, Value> = serde_json::from_slice(row).unwrap_or_default();
    columns.retain(|_, value| !value.is_null() && value.as_str() != Some(""));
    serde_json::to_vec(&columns).unwrap_or_default()
}

/// Identifies the catalog. The client id is hashed.
pub(crate) fn identity(tenant: &str, PortApi { client_id, base_url, .. }: &PortApi) -> String {
    let hash: String = Sha256::digest(client_id).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("entities {} {hash} tenant {tenant}", base_url.origin().ascii_serialization())
}

impl<'a> Entities<'a> {
    pub(crate) fn new(port: &'a Port, form: Arc<Form>, identity: String) -> Self {
        Self { port, form, identity }
    }

    /// Writes the entities of all parcels, then deletes those no longer made by parcels that were written completely.
    async fn write(&self, parcels: &[&Mapped], told: &mut Told) -> Result<(), EntitiesError> {
        self.upsert(parcels, told).await?;
        let made = parcels.iter().enumerate().filter(|(place, _)| told.is_good(*place));
        let gone = made.flat_map(|(place, parcel)| parcel.gone().map(move |name| (place, name))).collect();
        self.delete(gone, told).await
    }

    /// Writes the entities of all parcels, grouped by blueprint in order of first appearance.
    async fn upsert(&self, parcels: &[&Mapped], told: &mut Told) -> Result<(), EntitiesError> {
        let options = self.form.mapping.options();
        let made = parcels.iter().enumerate().flat_map(|(place, parcel)| {
            let is_part = is_part(parcel.change());
            parcel.made().iter().map(move |one| ((one.blueprint.as_str(), is_part), (place, one)))
        });
        for ((blueprint, is_part), entities) in grouped(made) {
            let merge = options.enable_merge_entity || is_part;
            let how = Upsert { merge, create_missing: options.create_missing_related_entities };
            for bulk in bulks(&entities) {
                let bodies: Vec<&[u8]> = bulk.iter().map(|(_, entity)| &entity.body[..]).collect();
                let places = bulk.iter().map(|(place, _)| *place);
                match self.port.write(blueprint, &bodies, how).await {
                    Ok(written) => {
                        told.pause(written.pause);
                        for (place, outcome) in places.zip(written.outcomes) {
                            told.note(place, outcome.map_err(EntitiesError::of_entity));
                        }
                    }
                    // Entities of other blueprints may have been written, so one error must not stand for the whole
                    // post.
                    Err(error) if error.is_missing() => {
                        let error = EntitiesError::of_blueprint(error);
                        places.for_each(|place| told.note(place, Err(error.clone())));
                    }
                    Err(error) => return Err(EntitiesError::of_request(error)),
                }
            }
        }
        Ok(())
    }

    /// Deletes the entities with these names, grouped by blueprint.
    async fn delete(&self, names: Vec<(usize, Name<'_>)>, told: &mut Told) -> Result<(), EntitiesError> {
        let deletes_dependents = self.form.mapping.options().delete_dependent_entities;
        let dependents = if deletes_dependents { Dependents::Delete } else { Dependents::Keep };
        for (blueprint, found) in grouped(names.into_iter().map(|(place, name)| (name.blueprint, (place, name)))) {
            for bulk in found.chunks(MOST_DELETED.get()) {
                let identifiers: Vec<&str> = bulk.iter().map(|(_, name)| name.identifier).collect();
                let deleted = self.port.delete(blueprint, &identifiers, dependents).await;
                let (gone, pause) = deleted.map_err(EntitiesError::of_request)?;
                told.pause(pause);
                let (gone, left): (Vec<_>, Vec<_>) = bulk.iter().zip(gone).partition(|(_, is_gone)| *is_gone);
                for ((place, _), _) in gone {
                    told.note(*place, Ok(()));
                }
                // Entities that the answer does not name may still exist or never have existed; a single delete tells
                // which.
                for ((place, name), _) in left {
                    match self.port.delete_one(blueprint, name.identifier, dependents).await {
                        Ok(pause) => {
                            told.pause(pause);
                            told.note(*place, Ok(()));
                        }
                        Err(error) => match EntitiesError::of_request(error) {
                            error if error.fault() == Fault::Rejected => told.note(*place, Err(error)),
                            error => return Err(error),
                        },
                    }
                }
            }
        }
        Ok(())
    }
}

impl Sink for Entities<'_> {
    type Parcel = Mapped;
    type Error = EntitiesError;

    fn name(&self) -> &'static str {
        "Port's API"
    }

    fn identity(&self) -> String {
        self.identity.clone()
    }

    fn limits(&self) -> Limits {
        Limits {
            in_flight: IN_FLIGHT,
            parcels: MOST_WRITTEN,
            deletes: MOST_DELETED,
            bytes: LARGEST_LIST,
            landing: LANDING,
        }
    }

    async fn render(&self, changes: Vec<(Change, Names)>) -> Vec<Mapped> {
        let form = Arc::clone(&self.form);
        offload::each(changes, move |(change, known)| form.render(change, &known)).await
    }

    async fn send(&self, parcels: &[&Mapped], _delivery: Uuid) -> Result<Receipt<EntitiesError>, EntitiesError> {
        let mut told = Told::new(parcels);
        let end = self.write(parcels, &mut told).await;
        told.receipt(end)
    }
}

/// The outcomes of the parcels of a post so far.
struct Told {
    parcels: Vec<Course>,
    pause: Option<Duration>,
}

/// The outcome of one parcel so far.
struct Course {
    /// Entities to write or delete whose outcome is still unknown.
    open: usize,
    outcome: Outcome<EntitiesError>,
}

impl Told {
    fn new(parcels: &[&Mapped]) -> Self {
        let course = |parcel: &&Mapped| Course { open: parcel.made().len() + parcel.gone().count(), outcome: Ok(()) };
        Self { parcels: parcels.iter().map(course).collect(), pause: None }
    }

    fn is_good(&self, place: usize) -> bool {
        self.parcels.get(place).is_some_and(|parcel| parcel.outcome.is_ok())
    }

    /// A parcel is accepted if all of it is. `Awaits` takes precedence: the parcel is retried, and other errors recur
    /// then.
    fn note(&mut self, place: usize, outcome: Outcome<EntitiesError>) {
        let Some(parcel) = self.parcels.get_mut(place) else { return };
        let awaits =
            |outcome: &Outcome<EntitiesError>| outcome.as_ref().is_err_and(|error| error.fault() == Fault::Awaits);
        parcel.open = parcel.open.saturating_sub(1);
        if parcel.outcome.is_ok() || (awaits(&outcome) && !awaits(&parcel.outcome)) {
            parcel.outcome = outcome;
        }
    }

    fn pause(&mut self, asked: Option<Duration>) {
        self.pause = self.pause.max(asked);
    }

    /// The outcome of each parcel. `end` is how the last request ended.
    fn receipt(mut self, end: Result<(), EntitiesError>) -> Result<Receipt<EntitiesError>, EntitiesError> {
        let outcomes = match end {
            Ok(()) => self.parcels.into_iter().map(|parcel| parcel.outcome).collect(),
            // Settled parcels are not sent again.
            Err(error) if error.fault().may_pass() && self.parcels.iter().any(|parcel| parcel.open == 0) => {
                if let Fault::Throttled { after } = error.fault() {
                    self.pause(after);
                }
                let outcome = |parcel: Course| if parcel.open == 0 { parcel.outcome } else { Err(error.clone()) };
                self.parcels.into_iter().map(outcome).collect()
            }
            Err(error) => return Err(error),
        };
        Ok(Receipt { outcomes, pause: self.pause })
    }
}

/// Groups items by key, in order of first appearance.
fn grouped<K: Copy + Eq + Hash, T>(items: impl Iterator<Item = (K, T)>) -> Vec<(K, Vec<T>)> {
    let mut groups: Vec<(K, Vec<T>)> = Vec::new();
    let mut places: HashMap<K, usize> = HashMap::new();
    for (key, item) in items {
        let place = *places.entry(key).or_insert(groups.len());
        match groups.get_mut(place) {
            Some((_, group)) => group.push(item),
            None => groups.push((key, vec![item])),
        }
    }
    groups
}

/// Splits entities into the largest bulks that Port takes.
fn bulks<'e>(entities: &'e [(usize, &'e Entity)]) -> impl Iterator<Item = &'e [(usize, &'e Entity)]> {
    let mut rest = entities;
    std::iter::from_fn(move || {
        let (mut count, mut size) = (0, 0);
        for (_, entity) in rest.iter().take(MOST_WRITTEN.get()) {
            size += entity.body.len() + 1;
            if count > 0 && size > LARGEST_LIST {
                break;
            }
            count += 1;
        }
        let (bulk, after) = rest.split_at_checked(count)?;
        rest = after;
        (count > 0).then_some(bulk)
    })
}
