//! Entities, written over Port's API as a mapping makes them of rows.
//!
//! A row may become several entities, of several blueprints, or none. What became of it is what became of all of them: it is
//! accepted once each was written, and what it was before and is no more was deleted. Port says of each entity whether it was
//! written ("Create or update multiple entities", Port's API reference).

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
use crate::port::{LARGEST_LIST, MOST_DELETED, MOST_WRITTEN, Port, Upsert};
use parcel::Name;

/// Requests under way at once.
pub(crate) const IN_FLIGHT: NonZeroUsize = NonZeroUsize::new(10).unwrap();

/// Port's API, and what makes entities for it.
pub(crate) struct Entities<'a> {
    port: &'a Port,
    form: Arc<Form>,
    identity: String,
}

/// What makes parcels of changes, and counts what comes of none.
pub(crate) struct Form {
    mapping: Arc<Mapping>,
    counts: Mutex<Unmapped>,
    /// Hashes of the entities that were made; `None`: nobody asks for them.
    made: Option<Mutex<HashSet<u64>>>,
}

/// Of what no entity came, and what could not be deleted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unmapped {
    pub(crate) unmade: Unmade,
    /// Deletes of entities whose identifier what is left of their rows does not tell.
    pub(crate) unnamed: u64,
}

impl Form {
    pub(crate) fn new(mapping: Arc<Mapping>) -> Self {
        Self { mapping, counts: Mutex::default(), made: None }
    }

    /// One that remembers which entities it has made, eight bytes each.
    pub(crate) fn remembering(self) -> Self {
        Self { made: Some(Mutex::default()), ..self }
    }

    pub(crate) fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    /// Whether this entity was made of a row, as far as is remembered; where nothing is, any may have been.
    pub(crate) fn has_made(&self, blueprint: &str, identifier: &str) -> bool {
        self.made.as_ref().is_none_or(|made| locked(made).contains(&hash(blueprint, identifier)))
    }

    pub(crate) fn unmapped(&self) -> Unmapped {
        locked(&self.counts).clone()
    }

    /// A change as entities. Under `known` names Port has what the row was before.
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
                Mapped::upsert(change, entities, known, is_uncertain)
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

/// What is told of a user apart.
const APART: [&str; 2] = ["userSignIn", "userGroups"];

/// Whether a row is a part of what is told by another: it is merged into the entities that the other makes, and owns none.
fn is_part(change: &Change) -> bool {
    APART.contains(&change.label)
}

/// What a mapping calls the row of a change.
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

/// The columns of a deleted row that say anything.
fn what_is_left(row: &[u8]) -> Vec<u8> {
    let mut columns: serde_json::Map<String, Value> = serde_json::from_slice(row).unwrap_or_default();
    columns.retain(|_, value| !value.is_null() && value.as_str() != Some(""));
    serde_json::to_vec(&columns).unwrap_or_default()
}

/// Which catalog it is. The client id shows as a hash.
pub(crate) fn identity(tenant: &str, PortApi { client_id, base_url, .. }: &PortApi) -> String {
    let hash: String = Sha256::digest(client_id).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("entities {} {hash} tenant {tenant}", base_url.origin().ascii_serialization())
}

impl<'a> Entities<'a> {
    pub(crate) fn new(port: &'a Port, form: Arc<Form>, identity: String) -> Self {
        Self { port, form, identity }
    }

    /// Writes what parcels make, and deletes what those of which all was written do not make any more.
    async fn write(&self, parcels: &[&Mapped], told: &mut Told) -> Result<(), EntitiesError> {
        self.upsert(parcels, told).await?;
        let made = parcels.iter().enumerate().filter(|(place, _)| told.is_good(*place));
        let gone = made.flat_map(|(place, parcel)| parcel.gone().map(move |name| (place, name))).collect();
        self.delete(gone, told).await
    }

    /// Writes what parcels make, blueprint by blueprint in the order in which they come up.
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
                    // Of another blueprint some may have been written: what is there says more than the answer to all.
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

    /// Deletes what stands under these names, blueprint by blueprint.
    async fn delete(&self, names: Vec<(usize, Name<'_>)>, told: &mut Told) -> Result<(), EntitiesError> {
        let dependents = self.form.mapping.options().delete_dependent_entities;
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
                // What it does not name may not have been there, or is still: asked for alone, Port says which.
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

/// What became of the parcels of a post so far.
struct Told {
    parcels: Vec<Course>,
    pause: Option<Duration>,
}

/// What became of one.
struct Course {
    /// Entities to be written or deleted of which nothing is told yet.
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

    /// A parcel is accepted if all of it is. What awaits another goes first: it is tried again, and the rest shows again then.
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

    /// What became of each, where a request that may have failed was the last.
    fn receipt(mut self, end: Result<(), EntitiesError>) -> Result<Receipt<EntitiesError>, EntitiesError> {
        let outcomes = match end {
            Ok(()) => self.parcels.into_iter().map(|parcel| parcel.outcome).collect(),
            // What is done is not done again.
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

/// Groups in the order in which each comes up first.
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

/// As many entities in each as Port takes at once.
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
