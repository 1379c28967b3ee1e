//! The mapping of Port's exporters: which entities a row from Azure becomes.
//!
//! The language is Ocean's: a YAML file whose leaves are jq. It is evaluated as Ocean does, with Azure's columns under
//! Azure's names and under the exporters'. This module does no I/O: a row comes in, entities come out.
mod expression;
mod fields;
mod graph_query;
mod resource;
mod row;
mod source;
mod webhook;
mod yaml;

use std::collections::BTreeSet;
use std::fmt;

use bytes::Bytes;

pub(crate) use expression::Nulls;
pub(crate) use fields::FieldSet;
use resource::Resource;
pub(crate) use webhook::{Operation, WebhookMapping};

use crate::error::Cause;
use crate::jq::{Reads, Val};

/// The kind of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    Subscription,
    /// A resource group.
    ResourceContainer,
    Resource,
    /// This and the following kinds are from Entra ID.
    User,
    Group,
    Application,
    ServicePrincipal,
}

impl Kind {
    /// The kinds of Azure's resources.
    pub(crate) const ESTATE: [Self; 3] = [Self::Subscription, Self::ResourceContainer, Self::Resource];

    /// What a mapping calls the kinds of Entra ID: the paths of Microsoft Graph.
    const DIRECTORY: [(&str, Self); 4] = [
        ("/users", Self::User),
        ("/groups", Self::Group),
        ("/applications", Self::Application),
        ("/servicePrincipals", Self::ServicePrincipal),
    ];

    fn is_of_directory(self) -> bool {
        !Self::ESTATE.contains(&self)
    }
}

/// The options of Port's bulk upsert and delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) create_missing_related_entities: bool,
    pub(crate) enable_merge_entity: bool,
    pub(crate) delete_dependent_entities: bool,
}

/// An error in a mapping file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) line: u64,
    /// The path to it, such as `resources[0].selector.query`.
    pub(crate) key: String,
    pub(crate) message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = if self.key.is_empty() { "" } else { " " };
        write!(f, "line {}: {}{separator}{}", self.line, self.key, self.message)
    }
}

/// An entity in Port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entity {
    pub(crate) blueprint: String,
    /// Empty if Port searches for the entity.
    pub(crate) identifier: String,
    /// One JSON object, as Port's bulk route takes it.
    pub(crate) body: Bytes,
}

/// What a row was mapped to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Made {
    pub(crate) entities: Vec<Entity>,
    /// Items that the selector excluded.
    pub(crate) filtered: usize,
    /// Items without an identifier or a blueprint.
    pub(crate) dropped: usize,
    /// Items that could not be mapped; `nulls.errors` says why.
    pub(crate) failed: usize,
    pub(crate) nulls: Nulls,
}

impl Made {
    fn fail(&mut self, key: &str, error: impl Into<Cause>) {
        self.failed += 1;
        self.nulls.errors.entry(key.to_owned()).or_insert_with(|| error.into());
    }
}

/// Counts rows that made no entity, or may have missed one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unmade {
    /// Entities without an identifier or a blueprint.
    pub(crate) dropped: u64,
    /// Rows for which a deciding expression failed, and the first error.
    pub(crate) failed: u64,
    pub(crate) first: Option<String>,
}

impl Unmade {
    /// Counts what could not be made, and returns the entities.
    pub(crate) fn note(&mut self, made: Made) -> Vec<Entity> {
        let Made { entities, dropped, failed, nulls, .. } = made;
        self.dropped += dropped as u64;
        if failed > 0 {
            self.failed += 1;
            let first = || nulls.errors.into_iter().next().map(|(key, error)| format!("{key}: {error}"));
            self.first = self.first.take().or_else(first);
        }
        entities
    }
}

/// The columns of Resource Graph that a mapping reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Columns {
    Names(BTreeSet<String>),
    All,
}

/// A parsed mapping file.
pub(crate) struct Mapping {
    options: Options,
    resources: Vec<Resource>,
}

impl Mapping {
    /// Parses a file; reports all errors at once.
    pub(crate) fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        source::parse(text, source::Reader::root)
    }

    pub(crate) fn options(&self) -> Options {
        self.options
    }

    /// The blueprints whose name does not depend on the row.
    pub(crate) fn blueprints(&self) -> BTreeSet<String> {
        self.resources.iter().filter_map(|resource| resource.blueprint.literal()).collect()
    }

    /// Whether the mapping makes anything from rows of this kind.
    pub(crate) fn has(&self, kind: Kind) -> bool {
        self.of_kind(kind).next().is_some()
    }

    /// The same, limited to resources of this kind.
    pub(crate) fn blueprints_of(&self, kind: Kind) -> BTreeSet<String> {
        self.of_kind(kind).filter_map(|resource| resource.blueprint.literal()).collect()
    }

    fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &Resource> {
        self.resources.iter().filter(move |resource| resource.kind == kind)
    }

    /// The entities of a row, which is a JSON object. The same row always gives the same bytes.
    pub(crate) fn entities(&self, kind: Kind, row: &[u8]) -> Made {
        let mut made = Made::default();
        match Val::parse(row) {
            Ok(row) => self.of_kind(kind).for_each(|resource| resource.make(&row, &mut made)),
            Err(error) => made.fail("", Cause::told(format!("the row is not JSON: {error}"), error)),
        }
        made
    }

    /// The blueprints and identifiers of a deleted row's entities, from the columns that are still known; and how many
    /// of the mapping's resources need other columns.
    pub(crate) fn keys(&self, kind: Kind, row: &[u8]) -> (Vec<(String, String)>, usize) {
        let Ok(row) = Val::parse(row) else { return (Vec::new(), self.of_kind(kind).count()) };
        let mut keys = Vec::new();
        let mut uncomputed = 0;
        for resource in self.of_kind(kind) {
            match resource.keys(&row) {
                Some(of_resource) => keys.extend(of_resource),
                None => uncomputed += 1,
            }
        }
        (keys, uncomputed)
    }

    /// The columns that expressions for this kind read, in Azure's spelling. A subscription's name is its
    /// `displayName`.
    pub(crate) fn columns(&self, kind: Kind) -> Columns {
        let mut columns = BTreeSet::new();
        for resource in self.of_kind(kind) {
            let Reads::Names(names) = resource.reads() else { return Columns::All };
            columns
                .extend(names.iter().map(|name| row::column(kind, name)).filter(|column| resource.shape.has(column)));
            columns.extend(resource.types.is_some().then(|| "type".to_owned()));
            columns.extend(resource.selects.iter().cloned());
        }
        Columns::Names(columns)
    }
}

#[cfg(test)]
mod tests;
