//! Which fields of an entity a mapping sets.

use std::collections::BTreeSet;

use super::expression::{Expression, Template};
use super::webhook::WebhookMapping;
use super::{Mapping, Resource};

/// The fields that one part of a mapping sets, as far as they can be compared: what Port searches for shows only there.
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

/// Each set of fields once.
fn distinct<'a>(parts: impl Iterator<Item = &'a [(String, Template)]>) -> Vec<FieldSet> {
    let mut sets = Vec::new();
    for set in parts.map(FieldSet::of) {
        if !sets.contains(&set) {
            sets.push(set);
        }
    }
    sets
}

/// The expression that an identifier is made by; [`None`] where Port is to search for it.
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

    /// The fields that are set of a blueprint's entities, by each part of the mapping that makes any.
    pub(crate) fn field_sets(&self, blueprint: &str) -> Vec<FieldSet> {
        distinct(self.parts(blueprint))
    }

    /// Whether Port itself finds out which of a blueprint's entities are meant.
    pub(crate) fn searches(&self, blueprint: &str) -> bool {
        self.parts(blueprint).any(|fields| identifier(fields).is_none())
    }
}

impl WebhookMapping {
    /// The blueprints that entities are made of.
    pub(crate) fn blueprints(&self) -> BTreeSet<String> {
        self.made().map(|(blueprint, _)| blueprint.to_owned()).collect()
    }

    fn parts(&self, blueprint: &str) -> impl Iterator<Item = &[(String, Template)]> {
        self.made().filter(move |(of, _)| *of == blueprint).map(|(_, fields)| fields)
    }

    /// The fields that are set of a blueprint's entities, by each part of the mapping that makes any.
    pub(crate) fn field_sets(&self, blueprint: &str) -> Vec<FieldSet> {
        distinct(self.parts(blueprint))
    }

    /// Whether Port itself finds out which of a blueprint's entities are meant.
    pub(crate) fn searches(&self, blueprint: &str) -> bool {
        self.parts(blueprint).any(|fields| identifier(fields).is_none())
    }
}
