//! `join`: combines the rows of two tables that have the same keys.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::ast::{JoinKey, JoinKind};
use super::bind::Scope;
use super::error::KqlError;
use super::key::Key;
use super::kind::Kind;
use super::value::{Column, Table, Type, Value};

const OPERATOR: &str = "join";

pub(crate) fn join(left: Table, right: &Table, kind: JoinKind, on: &[JoinKey]) -> Result<Table, KqlError> {
    let (left_keys, right_keys) = keys(&left, right, on)?;
    let mut matches: HashMap<Key, Vec<usize>> = HashMap::new();
    for (index, row) in right.rows.iter().enumerate() {
        let key = key(row, &right_keys);
        if !key.has_null() {
            matches.entry(key).or_default().push(index);
        }
    }

    let missing: Vec<Value> = right.columns.iter().map(|column| Kind::from(column.ty).missing()).collect();
    let beside = |left: &[Value], right: &[Value]| -> Arc<[Value]> { left.iter().chain(right).cloned().collect() };
    let mut seen = HashSet::new();
    let mut rows = Vec::with_capacity(left.rows.len());
    for row in &left.rows {
        let key = key(row, &left_keys);
        let found = matches.get(&key).map_or(&[][..], Vec::as_slice);
        if found.is_empty() && kind == JoinKind::LeftOuter {
            rows.push(beside(row, &missing));
        }
        // `innerunique` keeps only one of the left rows with the same key.
        if kind == JoinKind::InnerUnique && !found.is_empty() && !seen.insert(key) {
            continue;
        }
        rows.extend(found.iter().map(|index| beside(row, &right.rows[*index])));
    }
    Ok(Table { columns: columns(&left, right), rows })
}

fn key(row: &[Value], indexes: &[usize]) -> Key {
    Key(indexes.iter().map(|index| row.get(*index).cloned().unwrap_or(Value::Null)).collect())
}

/// The indexes of the key columns on both sides.
fn keys(left: &Table, right: &Table, on: &[JoinKey]) -> Result<(Vec<usize>, Vec<usize>), KqlError> {
    let left_scope = Scope { operator: OPERATOR, columns: &left.columns, now: 0 };
    let right_scope = Scope { operator: OPERATOR, columns: &right.columns, now: 0 };
    let mut indexes = (Vec::new(), Vec::new());
    for JoinKey { left: left_name, right: right_name } in on {
        let left_index = left_scope.column(&left_name.text, left_name.pos)?;
        let right_index = right_scope.column(&right_name.text, right_name.pos)?;
        let (left_type, right_type) = (left.columns[left_index].ty, right.columns[right_index].ty);
        if left_type == Type::Dynamic || right_type == Type::Dynamic {
            let message = format!(
                "join key '{}' is of a 'dynamic' type. Please use an explicit cast, as join \
                 on a 'dynamic' type is not supported",
                if left_type == Type::Dynamic { &left_name.text } else { &right_name.text },
            );
            return Err(left_scope.error(left_name.pos, message));
        }
        if left_type != right_type {
            let message = format!(
                "the keys '{}' ({}) and '{}' ({}) are not of one type",
                left_name.text,
                Kind::from(left_type),
                right_name.text,
                Kind::from(right_type),
            );
            return Err(left_scope.error(left_name.pos, message));
        }
        indexes.0.push(left_index);
        indexes.1.push(right_index);
    }
    Ok(indexes)
}

/// The left columns, then the right ones. Duplicate names get the first number that makes them unique.
fn columns(left: &Table, right: &Table) -> Arc<[Column]> {
    let mut columns = left.columns.to_vec();
    for column in right.columns.iter() {
        let name = free_name(&columns, &column.name);
        columns.push(Column { name: name.into(), ty: column.ty });
    }
    columns.into()
}

/// `wanted`, with a number appended if a column has that name.
pub(crate) fn free_name(columns: &[Column], wanted: &str) -> String {
    let taken = |name: &str| columns.iter().any(|column| column.name.as_ref() == name);
    if !taken(wanted) {
        return wanted.to_owned();
    }
    let mut numbered = (1_usize..).map(|number| format!("{wanted}{number}"));
    numbered.find(|name| !taken(name)).unwrap_or_default()
}
