//! Values, columns and tables: the input and output of queries.

use std::sync::Arc;

/// The scalar types of KQL that Resource Graph's tables have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Bool,
    Long,
    Real,
    String,
    DateTime,
    Dynamic,
}

/// A cell. A string is never null: a missing one is `String("")`. Missing values of all other types are `Null`.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Long(i64),
    Real(f64),
    String(Arc<str>),
    /// Milliseconds since the Unix epoch, UTC.
    DateTime(i64),
    /// Never `serde_json::Value::Null`; that becomes `Null`.
    Dynamic(Arc<serde_json::Value>),
}

/// A column's name and type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: Arc<str>,
    pub ty: Type,
}

/// Rows of cells, each as long as `columns`. Rows are shared, so filtering copies no cells.
#[derive(Clone, Debug, Default)]
pub struct Table {
    pub columns: Arc<[Column]>,
    pub rows: Vec<Arc<[Value]>>,
}

impl Value {
    /// A cell of a dynamic column.
    pub fn from_json(json: serde_json::Value) -> Self {
        match json {
            serde_json::Value::Null => Self::Null,
            json => Self::Dynamic(Arc::new(json)),
        }
    }
}
