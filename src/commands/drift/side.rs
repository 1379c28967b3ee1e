//! A blueprint: what Port holds of it, compared with what Azure makes.

use std::collections::{BTreeMap, HashSet};

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::maker::Maker;
use super::table::{self, Table};
use crate::comparison::{Blueprint, Difference, Normal, content, parsed};
use crate::port::{Port, PortError};

/// The numbers for a blueprint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Numbers {
    /// Entities that Azure makes.
    pub(super) azure: u64,
    /// Entities that Port holds.
    pub(super) port: u64,
    pub(super) same: u64,
    pub(super) missing: u64,
    pub(super) different: u64,
    /// Entities that Port holds and Azure does not make.
    pub(super) unmatched: u64,
}

/// A blueprint.
pub(super) struct Side {
    blueprint: Blueprint,
    /// Port searches for its entities, so it is unknown here which ones a row means.
    pub(super) is_searched: bool,
    table: Table,
    missing: HashSet<u64>,
    /// Entities that were missing and exist now, and how many of them differ.
    late: (u64, u64),
    /// Entities that Port would reject.
    pub(super) refused: HashSet<u64>,
    /// Entities that exist but cannot be compared, because Port resolves their relations by search.
    pub(super) uncompared: u64,
}

/// The result of checking an entity.
pub(super) enum Seen {
    Settled,
    /// It differs or is missing. Holds what Azure makes of it.
    Doubtful(usize, Normal),
}

#[derive(Deserialize)]
struct Named {
    identifier: String,
}

impl Side {
    /// Reads all of Port's entities of a blueprint.
    pub(super) async fn read(port: &Port, maker: &Maker, blueprint: &str) -> Result<Self, PortError> {
        let mut side = Self {
            blueprint: Blueprint::read(port, blueprint, maker.field_sets(blueprint)).await?,
            is_searched: maker.searches(blueprint),
            table: Table::default(),
            missing: HashSet::new(),
            late: (0, 0),
            refused: HashSet::new(),
            uncompared: 0,
        };
        if side.blueprint.is_there() {
            let mut pages = side.blueprint.entities(port);
            while let Some(page) = pages.next().await? {
                for (identifier, entity) in page.iter().filter_map(|entity| parsed(entity)) {
                    side.table.push(&identifier, side.blueprint.normals(&entity).map(|normal| content(&normal)));
                }
            }
            drop(pages);
            side.table.seal();
        }
        Ok(side)
    }

    /// Notes about the blueprint.
    pub(super) fn notes(&self, blueprint: &str) -> Vec<String> {
        if !self.blueprint.is_there() {
            return vec![format!("Port has no blueprint {blueprint}")];
        }
        let mut notes: Vec<String> = self
            .blueprint
            .unknown()
            .into_iter()
            .map(|what| format!("blueprint {blueprint} has no {what}, which the mapping sets"))
            .collect();
        if self.is_searched {
            notes.push(format!(
                "Port itself searches for the entities of blueprint {blueprint} that the mapping means: they are not compared"
            ));
        }
        if self.uncompared > 0 {
            notes.push(format!(
                "{} entities of blueprint {blueprint} are not compared, as Port searches for what they relate to",
                self.uncompared
            ));
        }
        notes
    }

    pub(super) fn complaint(&self, entity: &Value) -> Option<String> {
        self.blueprint.complaint(entity)
    }

    pub(super) fn refuse(&mut self, identifier: &str) {
        self.refused.insert(table::key(identifier));
    }

    /// Compares an entity that Azure makes with Port's.
    pub(super) fn compare(&mut self, identifier: &str, entity: &Value) -> Seen {
        let Some((place, normal)) = self.blueprint.normal(entity) else {
            self.uncompared += 1;
            if !self.table.note_matched(identifier) {
                self.missing.insert(table::key(identifier));
            }
            return Seen::Settled;
        };
        if !self.table.note_matched(identifier) {
            self.missing.insert(table::key(identifier));
        } else if self.table.is_same(identifier, place, content(&normal)) {
            return Seen::Settled;
        } else {
            self.table.note_different(identifier);
        }
        Seen::Doubtful(place, normal)
    }

    /// The current entities under these identifiers in Port, limited to the fields of their sets.
    pub(super) async fn look_again(
        &self,
        port: &Port,
        doubtful: &[(&String, &(usize, Normal))],
    ) -> Result<BTreeMap<String, Normal>, PortError> {
        let mut found = BTreeMap::new();
        let places: BTreeMap<&str, usize> = doubtful.iter().map(|(name, (place, _))| (name.as_str(), *place)).collect();
        let names: Vec<&str> = places.keys().copied().collect();
        let take = |identifier: String, entity: Value| {
            let place = places.get(identifier.as_str());
            let normal = place.and_then(|place| self.blueprint.normal_by(*place, &entity));
            found.extend(normal.map(|normal| (identifier, normal)));
        };
        self.blueprint.named(port, &names, take).await?;
        Ok(found)
    }

    /// Records the second check of an entity: how it differs, or `None` if it is missing.
    pub(super) fn note(&mut self, identifier: &str, differences: Option<&[Difference]>) {
        let Some(differences) = differences else { return };
        if self.missing.remove(&table::key(identifier)) {
            self.late = (self.late.0 + 1, self.late.1 + u64::from(!differences.is_empty()));
        } else if differences.is_empty() {
            self.table.note_same(identifier);
        } else {
            self.table.note_different(identifier);
        }
    }

    pub(super) fn is_extra(&self, identifier: &str) -> bool {
        self.table.is_extra(identifier)
    }

    pub(super) fn numbers(&self) -> Numbers {
        let counts = self.table.counts();
        let (late, late_different) = self.late;
        let missing = self.missing.len() as u64;
        let different = counts.different + late_different;
        Numbers {
            azure: counts.matched + late + missing,
            port: counts.entities + late,
            same: (counts.matched + late).saturating_sub(different),
            missing,
            different,
            unmatched: counts.entities - counts.matched,
        }
    }
}

/// The identifiers of a page.
pub(super) fn names(page: &[Box<RawValue>]) -> impl Iterator<Item = String> {
    page.iter().filter_map(|entity| Some(serde_json::from_str::<Named>(entity.get()).ok()?.identifier))
}
