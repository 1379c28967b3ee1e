//! A sink that changes nothing: it compares what Azure makes with what Port holds.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use uuid::Uuid;

use super::maker::Maker;
use super::side::{Seen, Side};
use crate::comparison::{Normal, illegal};
use crate::engine::{Content, ContentHasher, Fault, Limits, Parcel, Receipt, Sink, SinkError};
use crate::error::{Exit, Problem};
use crate::mapping::Entity;
use crate::model::{Change, Names};
use crate::port::{Port, PortError};

/// Parcels compared at once.
const AT_ONCE: NonZeroUsize = NonZeroUsize::new(100).unwrap();

/// Blueprint and identifier.
pub(super) type Key = (String, String);

/// Both sides, and the differences.
pub(super) struct Comparison<'a> {
    port: &'a Port,
    maker: &'a Maker,
    state: RefCell<State>,
    /// How many entities to keep of those that differ, and of those that Port would reject.
    most: usize,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) sides: BTreeMap<String, Side>,
    /// Entities that seem different or missing on first sight, with their field set and what Azure makes of them.
    pub(super) doubtful: BTreeMap<Key, (usize, Normal)>,
    /// Why Port would reject an entity.
    pub(super) refused: BTreeMap<Key, String>,
}

/// The entities that a row makes.
pub(super) struct Made {
    change: Change,
    entities: Vec<Entity>,
}

impl Parcel for Made {
    fn change(&self) -> &Change {
        &self.change
    }

    fn content(&self, hasher: &ContentHasher) -> Content {
        let mut hasher = hasher.clone();
        for one in &self.entities {
            for part in [one.blueprint.as_bytes(), one.identifier.as_bytes(), &one.body] {
                hasher.write(part);
            }
        }
        hasher.finish()
    }

    fn size(&self) -> usize {
        self.entities.iter().map(|one| one.body.len()).sum()
    }

    fn letter(&self) -> Bytes {
        Bytes::new()
    }

    fn is_void(&self) -> bool {
        self.entities.is_empty()
    }
}

/// Port cannot be read.
#[derive(Clone, Debug, thiserror::Error)]
#[error("Port: {0}")]
pub(super) struct CompareError(PortError);

impl Problem for CompareError {
    fn exit(&self) -> Exit {
        self.0.exit()
    }

    fn advice(&self) -> Option<&'static str> {
        self.0.advice()
    }
}

impl SinkError for CompareError {
    fn fault(&self) -> Fault {
        Fault::Broken
    }
}

impl<'a> Comparison<'a> {
    /// Reads Port's entities of the blueprints that are known in advance.
    pub(super) async fn begin(port: &'a Port, maker: &'a Maker, most: usize) -> Result<Self, PortError> {
        let comparison = Self { port, maker, state: RefCell::default(), most };
        for blueprint in maker.blueprints() {
            comparison.add(&blueprint).await?;
        }
        Ok(comparison)
    }

    pub(super) fn into_state(self) -> State {
        self.state.into_inner()
    }

    async fn add(&self, blueprint: &str) -> Result<(), PortError> {
        let side = Side::read(self.port, self.maker, blueprint).await?;
        self.state.borrow_mut().sides.insert(blueprint.to_owned(), side);
        Ok(())
    }
}

impl State {
    fn take(&mut self, entity: &Entity, most: usize) {
        let Some(side) = self.sides.get_mut(&entity.blueprint) else { return };
        // Port searches for it, so its identifier is unknown here.
        if entity.identifier.is_empty() {
            return;
        }
        let Ok(body) = serde_json::from_slice::<Value>(&entity.body) else { return };
        let key = || (entity.blueprint.clone(), entity.identifier.clone());
        if let Some(why) = illegal(&entity.identifier).or_else(|| side.complaint(&body)) {
            side.refuse(&entity.identifier);
            if self.refused.len() < most {
                self.refused.insert(key(), why);
            }
        }
        if let Seen::Doubtful(set, normal) = side.compare(&entity.identifier, &body)
            && self.doubtful.len() < most
        {
            self.doubtful.insert(key(), (set, normal));
        }
    }
}

impl Sink for Comparison<'_> {
    type Parcel = Made;
    type Error = CompareError;

    fn name(&self) -> &'static str {
        "the comparison"
    }

    fn identity(&self) -> String {
        "comparison".to_owned()
    }

    fn limits(&self) -> Limits {
        Limits {
            in_flight: NonZeroUsize::MIN,
            parcels: AT_ONCE,
            deletes: AT_ONCE,
            bytes: usize::MAX,
            landing: Duration::ZERO,
        }
    }

    async fn render(&self, changes: Vec<(Change, Names)>) -> Vec<Made> {
        let made = |change: Change| {
            let entities = self.maker.entities(&change);
            Made { change: Change { row: Bytes::new(), ..change }, entities }
        };
        changes.into_iter().map(|(change, _)| made(change)).collect()
    }

    async fn send(&self, parcels: &[&Made], _delivery: Uuid) -> Result<Receipt<CompareError>, CompareError> {
        for entity in parcels.iter().flat_map(|made| &made.entities) {
            // Blueprints named by a row are only known now.
            if !self.state.borrow().sides.contains_key(&entity.blueprint) {
                self.add(&entity.blueprint).await.map_err(CompareError)?;
            }
            self.state.borrow_mut().take(entity, self.most);
        }
        Ok(vec![Ok(()); parcels.len()].into())
    }
}
