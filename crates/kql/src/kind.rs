//! The types of expressions: those of columns, and timespans, which columns cannot have.

use std::fmt;
use std::sync::Arc;

use super::value::{Type, Value};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Bool,
    Long,
    Real,
    String,
    DateTime,
    /// Stored as [`Value::Long`], in milliseconds.
    Timespan,
    Dynamic,
}

impl Kind {
    /// The type of a column with these values. Resource Graph returns no timespans.
    pub(crate) fn column(self) -> Option<Type> {
        Some(match self {
            Self::Bool => Type::Bool,
            Self::Long => Type::Long,
            Self::Real => Type::Real,
            Self::String => Type::String,
            Self::DateTime => Type::DateTime,
            Self::Dynamic => Type::Dynamic,
            Self::Timespan => return None,
        })
    }

    pub(crate) fn is_number(self) -> bool {
        matches!(self, Self::Long | Self::Real)
    }

    /// The value of a missing cell.
    pub(crate) fn missing(self) -> Value {
        match self {
            Self::String => Value::String(Arc::from("")),
            _ => Value::Null,
        }
    }
}

impl From<Type> for Kind {
    fn from(ty: Type) -> Self {
        match ty {
            Type::Bool => Self::Bool,
            Type::Long => Self::Long,
            Type::Real => Self::Real,
            Type::String => Self::String,
            Type::DateTime => Self::DateTime,
            Type::Dynamic => Self::Dynamic,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bool => "bool",
            Self::Long => "long",
            Self::Real => "real",
            Self::String => "string",
            Self::DateTime => "datetime",
            Self::Timespan => "timespan",
            Self::Dynamic => "dynamic",
        })
    }
}
