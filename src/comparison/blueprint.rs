//! A blueprint: which fields a mapping sets on its entities, and what Port holds of them.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::normal::{Normal, is_of, normal};
use super::schema::Schema;
use crate::mapping::FieldSet;
use crate::port::{Pages, Port, PortError};

/// Identifiers per search request.
const ASKED: usize = 100;

/// A blueprint that a mapping makes entities of.
pub(crate) struct Blueprint {
    name: String,
    sets: Vec<FieldSet>,
    /// `None` if Port has no such blueprint.
    schema: Option<Schema>,
}

impl Blueprint {
    /// Reads the blueprint. `sets`: the sets of fields that the mapping sets on its entities.
    pub(crate) async fn read(port: &Port, name: &str, sets: Vec<FieldSet>) -> Result<Self, PortError> {
        let schema = port.blueprint(name).await?;
        // A blueprint that cannot be parsed restricts nothing.
        let schema = schema.map(|schema| Schema::deserialize(Value::Object(schema)).unwrap_or_default());
        Ok(Self { name: name.to_owned(), sets, schema })
    }

    pub(crate) fn is_there(&self) -> bool {
        self.schema.is_some()
    }

    /// Why Port would reject the fields of an entity.
    pub(crate) fn complaint(&self, entity: &Value) -> Option<String> {
        self.schema.as_ref()?.complaint(entity)
    }

    /// The properties and relations that the mapping sets and the blueprint lacks.
    pub(crate) fn unknown(&self) -> Vec<String> {
        self.schema.as_ref().map_or(Vec::new(), |schema| schema.unknown(&self.sets))
    }

    /// The index of the set whose fields an entity of the mapping has, and the entity's normal form. `None` if Port
    /// resolves some of its fields by search.
    pub(crate) fn normal(&self, entity: &Value) -> Option<(usize, Normal)> {
        let (place, set) = self.sets.iter().enumerate().find(|(_, set)| is_of(set, entity))?;
        Some((place, normal(set, entity)))
    }

    /// The normal form of Port's entity by one of the sets.
    pub(crate) fn normal_by(&self, place: usize, entity: &Value) -> Option<Normal> {
        self.sets.get(place).map(|set| normal(set, entity))
    }

    /// The normal forms of Port's entity, one for each set.
    pub(crate) fn normals<'a>(&'a self, entity: &'a Value) -> impl Iterator<Item = Normal> + 'a {
        self.sets.iter().map(|set| normal(set, entity))
    }

    /// All entities of the blueprint, page by page.
    pub(crate) fn entities<'a>(&'a self, port: &'a Port) -> Pages<'a> {
        port.search(&self.name, None, self.include())
    }

    /// Passes on those of Port's entities that have one of these identifiers.
    pub(crate) async fn named(
        &self,
        port: &Port,
        identifiers: &[&str],
        mut take: impl FnMut(String, Value),
    ) -> Result<(), PortError> {
        if !self.is_there() {
            return Ok(());
        }
        for some in identifiers.chunks(ASKED) {
            let rule = json!({"property": "$identifier", "operator": "in", "value": some});
            let query = json!({"combinator": "and", "rules": [rule]});
            let mut pages = port.search(&self.name, Some(query), self.include());
            while let Some(page) = pages.next().await? {
                page.iter().filter_map(|entity| parsed(entity)).for_each(|(name, entity)| take(name, entity));
            }
        }
        Ok(())
    }

    /// What to request of each entity. Names that the blueprint lacks are left out: Port may reject them.
    fn include(&self) -> Vec<String> {
        let mut names: BTreeSet<String> = ["$identifier", "$title"].map(str::to_owned).into();
        for set in &self.sets {
            let known = |name: &&String| {
                self.schema.as_ref().is_some_and(|schema| schema.has_property(name) || schema.has_relation(name))
            };
            names.extend(set.properties.iter().chain(&set.relations).filter(known).cloned());
        }
        names.into_iter().collect()
    }
}

/// Parses an entity from Port; `None` if it has no identifier.
pub(crate) fn parsed(entity: &RawValue) -> Option<(String, Value)> {
    let entity: Value = serde_json::from_str(entity.get()).ok()?;
    let identifier = entity.get("identifier")?.as_str()?.to_owned();
    Some((identifier, entity))
}
