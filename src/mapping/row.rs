//! A row as a mapping sees it: Azure's columns, and beside them what Port's exporters call them.
use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Kind, graph_query::Shape};
use crate::jq::{Reads, Val};

/// Where a mapping finds what it calls so.
struct Source {
    column: String,
    /// Where the column is not there.
    otherwise: Option<&'static str>,
    lower: bool,
}

fn source(kind: Kind, name: &str) -> Source {
    let column = camel_case(name);
    match (column.as_str(), kind) {
        ("resourceId", _) => Source { column: "id".to_owned(), otherwise: None, lower: true },
        ("name", Kind::Subscription) => {
            Source { column: "displayName".to_owned(), otherwise: Some("name"), lower: false }
        }
        ("displayName", Kind::Subscription) => Source { column, otherwise: Some("name"), lower: false },
        _ => Source { column, otherwise: None, lower: false },
    }
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

/// The column that a name is made of.
pub(super) fn column(kind: Kind, name: &str) -> String {
    source(kind, name).column
}

/// Whether a row has what these names are made of.
pub(super) fn is_there(kind: Kind, row: &Val, name: &str) -> bool {
    let source = source(kind, name);
    [Some(source.column.as_str()), source.otherwise].into_iter().flatten().any(|column| row.get(column).is_some())
}

/// The row, with what `reads` calls otherwise than Azure, and without what the query of the mapping leaves out.
pub(super) fn seen(kind: Kind, row: &Val, reads: &Reads, shape: &Shape) -> Val {
    let mut fields: Vec<(Arc<str>, Val)> = Vec::new();
    for (key, value) in row.fields().into_iter().flatten() {
        if shape.has(key) {
            let value = if shape.lowers(key) { lower(value) } else { value.clone() };
            fields.push((key.clone(), value));
        }
    }
    let names = match reads {
        Reads::Names(names) => names,
        Reads::Everything => &BTreeSet::new(),
    };
    for name in names {
        let source = source(kind, name);
        let columns = [Some(source.column.as_str()), source.otherwise].into_iter().flatten();
        if row.get(name).is_some() || !shape.has(&source.column) {
            continue;
        }
        if let Some(value) = columns.into_iter().find_map(|column| row.get(column)) {
            let is_lower = source.lower || shape.lowers(&source.column);
            fields.push((name.as_str().into(), if is_lower { lower(value) } else { value.clone() }));
        }
    }
    Val::object(fields)
}

fn lower(value: &Val) -> Val {
    value.as_str().map_or_else(|| value.clone(), |text| Val::string(&text.to_lowercase()))
}
