//! Which fields of an entity a mapping sets.

use std::collections::BTreeSet;

use super::expression::{Expression, Template};
use super::webhook::WebhookMapping;
use super::{Mapping, Resource};

/// The fields that one part of a mapping sets and that can be compared; Port resolves searches, so those are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FieldSet {
    pub(crate) has_title: bool,
    pub(crate) properties: BTreeSet<String>,
    pub(crate) relations: BTreeSet<String>,
}

impl FieldSet {
    fn of(fields: &[(String, Template)]) -> Self {
        let field = |name: &str| fields.iter().find(|(key, _)| key == name).map(|(_, field)| field);
        let names = |name: &str, is_told: fn(&Template) -> bool| match field(name) {
            Some(Template::Object(fields)) => {
                fields.iter().filter(|(_, field)| is_told(field)).map(|(name, _)| name.clone()).collect()
            }
            _ => BTreeSet::new(),
        };
        Self {
            has_title: field("title").is_some(),
            properties: names("properties", |_| true),
            relations: names("relations", |field| matches!(field, Template::Jq(_))),
        }
    }
}

/// The distinct sets of fields.
fn distinct<'a>(parts: impl Iterator<Item = &'a [(String, Template)]>) -> Vec<FieldSet> {
    let mut sets = Vec::new();
    for set in parts.map(FieldSet::of) {
        if !sets.contains(&set) {
            sets.push(set);
        }
    }
    sets
}

/// The expression for the identifier; [`None`] if Port searches for the entity.
pub(super) fn identifier(fields: &[(String, Template)]) -> Option<&Expression> {
    match fields.iter().find(|(key, _)| key == "identifier") {
        Some((_, Template::Jq(expression))) => Some(expression),
        _ => None,
    }
}

impl Mapping {
    fn parts(&self, blueprint: &str) -> impl Iterator<Item = &[(String, Template)]> {
        let is_of = move |resource: &&Resource| resource.blueprint.literal().is_none_or(|literal| literal == blueprint);
        self.resources.iter().filter(is_of).map(|resource| &resource.fields[..])
    }

    /// The fields that are set on a blueprint's entities, one set for each part of the mapping that makes any.
    pub(crate) fn field_sets(&self, blueprint: &str) -> Vec<FieldSet> {
        distinct(self.parts(blueprint))
    }

    /// Whether Port searches for any of a blueprint's entities.
    pub(crate) fn searches(&self, blueprint: &str) -> bool {
        self.parts(blueprint).any(|fields| identifier(fields).is_none())
    }
}

impl WebhookMapping {
    /// The blueprints that the mapping makes entities of.
    pub(crate) fn blueprints(&self) -> BTreeSet<String> {
        self.made().map(|(blueprint, _)| blueprint.to_owned()).collect()
    }

    fn parts(&self, blueprint: &str) -> impl Iterator<Item = &[(String, Template)]> {
        self.made().filter(move |(of, _)| *of == blueprint).map(|(_, fields)| fields)
    }

    /// The fields that are set on a blueprint's entities, one set for each part of the mapping that makes any.
    pub(crate) fn field_sets(&self, blueprint: &str) -> Vec<FieldSet> {
        distinct(self.parts(blueprint))
    }

    /// Whether Port searches for any of a blueprint's entities.
    pub(crate) fn searches(&self, blueprint: &str) -> bool {
        self.parts(blueprint).any(|fields| identifier(fields).is_none())
    }
}
