//! A row as a mapping sees it: Azure's columns, and the same under the names that Port's exporters use.
use std::sync::Arc;

use super::{Kind, graph_query::Shape};
use crate::jq::Val;

/// Columns that not every query returns, or that say how a row was found: entities made from them would differ between
/// reads.
const OF_THE_QUERY: [&str; 9] = [
    "changeAttributes",
    "changeTime",
    "changeType",
    "changedProperties",
    "rgId",
    "rgLocation",
    "rgName",
    "rgTags",
    "sourceResourceId",
];

fn is_offered(column: &str) -> bool {
    !OF_THE_QUERY.contains(&column)
}

/// Where a name in a mapping gets its value.
struct Source {
    name: Arc<str>,
    column: String,
    /// The fallback if the column is missing.
    otherwise: Option<&'static str>,
    lower: bool,
}

fn source(kind: Kind, name: &str) -> Source {
    let column = camel_case(name);
    let (column, otherwise, lower) = match (column.as_str(), kind) {
        ("resourceId", _) => ("id".to_owned(), None, true),
        ("name", Kind::Subscription) => ("displayName".to_owned(), Some("name"), false),
        ("displayName", Kind::Subscription) => (column, Some("name"), false),
        _ => (column, None, false),
    };
    Source { name: name.into(), column, otherwise, lower }
}

fn camel_case(name: &str) -> String {
    let mut parts = name.split('_');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |name, part| {
        let mut chars = part.chars();
        let initial = chars.next().map(|c| c.to_ascii_uppercase());
        name + &initial.into_iter().chain(chars).collect::<String>()
    })
}

/// The column that a name reads.
pub(super) fn column(kind: Kind, name: &str) -> String {
    source(kind, name).column
}

/// Whether a row has a value for this name.
pub(super) fn is_there(kind: Kind, row: &Val, name: &str) -> bool {
    let source = source(kind, name);
    [Some(source.column.as_str()), source.otherwise].into_iter().flatten().any(|column| row.get(column).is_some())
}

/// How a mapping sees rows of one kind: with the names that differ from Azure's, and without the columns that its query
/// drops.
#[derive(Default)]
pub(super) struct Lens(Vec<Source>);

impl Lens {
    /// `names`: those that its expressions read.
    pub(super) fn new<'a>(kind: Kind, names: impl IntoIterator<Item = &'a str>, shape: &Shape) -> Self {
        let sources = names.into_iter().map(|name| source(kind, name));
        Self(sources.filter(|source| shape.has(&source.column) && is_offered(&source.column)).collect())
    }

    pub(super) fn seen(&self, row: &Val, shape: &Shape) -> Val {
        let offered = row.fields().into_iter().flatten().filter(|(key, _)| shape.has(key) && is_offered(key));
        let of_azure = offered.map(|(key, value)| {
            let value = if shape.lowers(key) { lower(value) } else { value.clone() };
            (key.clone(), value)
        });
        let named = self.0.iter().filter(|source| row.get(&source.name).is_none()).filter_map(|source| {
            let columns = [Some(source.column.as_str()), source.otherwise].into_iter().flatten();
            let value = columns.into_iter().find_map(|column| row.get(column))?;
            let is_lower = source.lower || shape.lowers(&source.column);
            Some((source.name.clone(), if is_lower { lower(value) } else { value.clone() }))
        });
        Val::object(of_azure.chain(named))
    }
}

fn lower(value: &Val) -> Val {
    value.as_str().map_or_else(|| value.clone(), |text| Val::string(&text.to_lowercase()))
}
