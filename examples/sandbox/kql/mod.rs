//! A small interpreter of the Kusto Query Language, as Azure Resource Graph speaks it.
mod value;

pub use value::{Column, Table, Type, Value};
