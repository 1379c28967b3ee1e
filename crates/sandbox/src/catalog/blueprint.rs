//! Blueprints: the raw form, and the parts that entities are checked against.
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use super::Stamp;

/// Built-in blueprints that nobody can change.
pub(crate) const PROTECTED: [&str; 2] = ["_user", "_team"];

#[derive(Clone, Debug)]
pub(crate) struct Blueprint {
    /// The blueprint as it was sent.
    pub raw: Map<String, Json>,
    pub schema: Schema,
    pub relations: BTreeMap<String, Relation>,
    pub stamp: Stamp,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Schema {
    pub properties: BTreeMap<String, Property>,
    #[serde(default)]
    pub required: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Property {
    #[serde(rename = "type")]
    pub ty: String,
    pub format: Option<String>,
    #[serde(rename = "enum")]
    pub one_of: Option<Vec<Json>>,
    pub items: Option<Items>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Items {
    #[serde(rename = "type")]
    pub ty: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Relation {
    pub target: String,
    #[serde(default)]
    pub many: bool,
    #[serde(default)]
    pub required: bool,
}

#[derive(Deserialize)]
struct Parts {
    schema: Schema,
    #[serde(default)]
    relations: BTreeMap<String, Relation>,
}

impl Blueprint {
    pub(crate) fn parse(raw: Map<String, Json>, stamp: Stamp) -> Result<Self, String> {
        let parts = Parts::deserialize(&Json::Object(raw.clone())).map_err(|error| format!("blueprint: {error}"))?;
        Ok(Self { raw, schema: parts.schema, relations: parts.relations, stamp })
    }

    pub(crate) fn protected(stamp: &Stamp) -> impl Iterator<Item = (String, Self)> {
        PROTECTED.into_iter().map(move |identifier| {
            let raw = json!({"identifier": identifier, "title": identifier.trim_start_matches('_')});
            let raw = raw.as_object().cloned().unwrap_or_default();
            let raw = raw.into_iter().chain([("schema".to_owned(), json!({"properties": {}}))]).collect();
            let schema = Schema { properties: BTreeMap::new(), required: Vec::new() };
            (identifier.to_owned(), Self { raw, schema, relations: BTreeMap::new(), stamp: stamp.clone() })
        })
    }

    pub(crate) fn show(&self) -> Json {
        let mut shown = self.raw.clone();
        for part in ["relations", "mirrorProperties", "calculationProperties", "aggregationProperties"] {
            shown.entry(part).or_insert_with(|| json!({}));
        }
        shown.extend(self.stamp.show());
        Json::Object(shown)
    }
}
