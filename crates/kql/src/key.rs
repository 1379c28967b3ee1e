//! Cells as a key of a group, join or set.

use std::hash::{Hash, Hasher};

use super::value::Value;

/// Equal if all cells are. Unlike in KQL's `==`, null equals null, so that nulls form a group.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Key(pub Vec<Value>);

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for value in &self.0 {
            match value {
                Value::Null => state.write_u8(0),
                Value::Bool(truth) => truth.hash(state),
                Value::Long(number) | Value::DateTime(number) => number.hash(state),
                // Positive and negative zero are equal.
                Value::Real(number) => (number + 0.0).to_bits().hash(state),
                Value::String(text) => text.hash(state),
                Value::Dynamic(json) => json.to_string().hash(state),
            }
        }
    }
}

impl Key {
    pub(crate) fn has_null(&self) -> bool {
        self.0.contains(&Value::Null)
    }
}
