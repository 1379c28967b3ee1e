//! A mapping of Port's exporters: which entities a row of Azure becomes.
//!
//! The language is Ocean's: a YAML file whose leaves are jq. It is evaluated as Ocean does, over Azure's columns in their own
//! spelling and in the exporters'. Nothing here reads, asks or writes: a row comes in, entities come out.
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

use crate::jq::{Reads, Val};

/// What a row is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    Subscription,
    /// A resource group.
    ResourceContainer,
    Resource,
    /// Of Entra ID, as the others that follow.
    User,
    Group,
    Application,
    ServicePrincipal,
}

impl Kind {
    /// Those of Azure's resources.
    pub(crate) const ESTATE: [Self; 3] = [Self::Subscription, Self::ResourceContainer, Self::Resource];

    /// What a mapping calls those of Entra ID: the paths of Microsoft Graph.
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

/// How Port is to take the entities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) create_missing_related_entities: bool,
    pub(crate) enable_merge_entity: bool,
    pub(crate) delete_dependent_entities: bool,
}

/// Something that is wrong with a mapping file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) line: u64,
    /// The way to it, as `resources[0].selector.query`.
    pub(crate) key: String,
    pub(crate) message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = if self.key.is_empty() { "" } else { " " };
        write!(f, "line {}: {}{separator}{}", self.line, self.key, self.message)
    }
}

/// An entity of Port's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entity {
    pub(crate) blueprint: String,
    /// What it is known by; empty where Port is to search for it.
    pub(crate) identifier: String,
    /// One JSON object, as Port's bulk route takes it.
    pub(crate) body: Bytes,
}

/// What became of a row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Made {
    pub(crate) entities: Vec<Entity>,
    /// Items that a selector leaves out.
    pub(crate) filtered: usize,
    /// Items without an identifier or a blueprint.
    pub(crate) dropped: usize,
    /// Items that no entity could be made of, as `nulls.errors` says.
    pub(crate) failed: usize,
    pub(crate) nulls: Nulls,
}

impl Made {
    fn fail(&mut self, key: &str, error: String) {
        self.failed += 1;
        self.nulls.errors.entry(key.to_owned()).or_insert(error);
    }
}

/// Of what rows no entity came, or not for certain.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unmade {
    /// Entities without an identifier or a blueprint.
    pub(crate) dropped: u64,
    /// Rows of which an expression that decides failed, and why the first one did.
    pub(crate) failed: u64,
    pub(crate) first: Option<String>,
}

impl Unmade {
    /// Counts what did not come of a row, and yields what did.
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

/// A mapping file that is read.
pub(crate) struct Mapping {
    options: Options,
    resources: Vec<Resource>,
}

impl Mapping {
    /// Reads a file; what is wrong with it is told all at once.
    pub(crate) fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        source::parse(text, source::Reader::root)
    }

    pub(crate) fn options(&self) -> Options {
        self.options
    }

    /// The blueprints that do not depend on the row.
    pub(crate) fn blueprints(&self) -> BTreeSet<String> {
        self.resources.iter().filter_map(|resource| resource.blueprint.literal()).collect()
    }

    /// Whether anything is made of rows of a kind.
    pub(crate) fn has(&self, kind: Kind) -> bool {
        self.of_kind(kind).next().is_some()
    }

    /// The same, of those that make entities of rows of a kind.
    pub(crate) fn blueprints_of(&self, kind: Kind) -> BTreeSet<String> {
        self.of_kind(kind).filter_map(|resource| resource.blueprint.literal()).collect()
    }

    fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &Resource> {
        self.resources.iter().filter(move |resource| resource.kind == kind)
    }

    /// The entities of a row, a JSON object. The same row always gives the same bytes.
    pub(crate) fn entities(&self, kind: Kind, row: &[u8]) -> Made {
        let mut made = Made::default();
        match Val::parse(row) {
            Ok(row) => self.of_kind(kind).for_each(|resource| resource.make(&row, &mut made)),
            Err(error) => made.fail("", format!("the row is not JSON: {error}")),
        }
        made
    }

    /// Blueprint and identifier of the entities of a row that only has what is known of a deleted one; and how many of the
    /// resources of the mapping need more than that.
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

    /// The columns that an expression of the kind reads, in Azure's spelling. A subscription's name is its `displayName`.
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
