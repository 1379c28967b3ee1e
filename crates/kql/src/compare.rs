//! Comparison and arithmetic on values, including nulls and scalars in dynamic cells.

use std::cmp::Ordering;

use serde_json::Value as Json;

use super::ast::{Arithmetic, Comparison};
use super::kind::Kind;
use super::value::Value;

/// The scalar in a dynamic value, if it is one.
pub(crate) fn scalar(json: &Json) -> Option<Value> {
    Some(match json {
        Json::Bool(truth) => Value::Bool(*truth),
        Json::Number(number) => match number.as_i64() {
            Some(whole) => Value::Long(whole),
            None => Value::Real(number.as_f64()?),
        },
        Json::String(text) => super::text::string(text),
        Json::Null | Json::Array(_) | Json::Object(_) => return None,
    })
}

/// Whether two non-null values are equal.
pub(crate) fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::String(a), Value::String(b)) => a == b,
        // Avoids copying the text, because filters on tags use this.
        (Value::Dynamic(json), Value::String(text)) | (Value::String(text), Value::Dynamic(json)) => {
            json.as_str() == Some(text)
        }
        (Value::Dynamic(a), Value::Dynamic(b)) => a == b,
        _ => order(a, b) == Some(Ordering::Equal),
    }
}

/// The order of two non-null values; `None` if their types are not comparable.
pub(crate) fn order(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Long(a), Value::Long(b)) => Some(a.cmp(b)),
        (Value::Long(a), Value::Real(b)) => (*a as f64).partial_cmp(b),
        (Value::Real(a), Value::Long(b)) => a.partial_cmp(&(*b as f64)),
        (Value::Real(a), Value::Real(b)) => a.partial_cmp(b),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        (Value::DateTime(a), Value::DateTime(b)) => Some(a.cmp(b)),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (Value::Dynamic(json), b) => order(&scalar(json)?, b),
        (a, Value::Dynamic(json)) => order(a, &scalar(json)?),
        _ => None,
    }
}

/// `a op b` with Kusto's nulls: null is unequal to every value, but whether two nulls are equal is unknown.
pub(crate) fn compare(comparison: Comparison, a: &Value, b: &Value) -> Option<bool> {
    use Comparison::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};
    match (a, b, comparison) {
        (Value::Null, Value::Null, _) => None,
        (Value::Null, _, Equal) | (_, Value::Null, Equal) => Some(false),
        (Value::Null, _, NotEqual) | (_, Value::Null, NotEqual) => Some(true),
        (Value::Null, ..) | (_, Value::Null, _) => None,
        (_, _, Equal) => Some(equal(a, b)),
        (_, _, NotEqual) => Some(!equal(a, b)),
        (_, _, Less) => order(a, b).map(Ordering::is_lt),
        (_, _, LessOrEqual) => order(a, b).map(Ordering::is_le),
        (_, _, Greater) => order(a, b).map(Ordering::is_gt),
        (_, _, GreaterOrEqual) => order(a, b).map(Ordering::is_ge),
    }
}

/// Whether `==` is allowed between the two types.
pub(crate) fn can_equal(a: Kind, b: Kind) -> bool {
    let loose = |kind| matches!(kind, Kind::String | Kind::Bool | Kind::Long | Kind::Real);
    match (a, b) {
        (Kind::Dynamic, other) | (other, Kind::Dynamic) => loose(other),
        _ => a == b || (a.is_number() && b.is_number()),
    }
}

/// Whether `<` is allowed between the two types. Text is only ordered in `order by`.
pub(crate) fn can_order(a: Kind, b: Kind) -> bool {
    let ordered = |kind| !matches!(kind, Kind::String | Kind::Bool);
    can_equal(a, b) && ordered(a) && ordered(b)
}

/// The type of `a op b`, if there is one.
pub(crate) fn result(operation: Arithmetic, a: Kind, b: Kind) -> Option<Kind> {
    use Arithmetic::{Add, Divide, Multiply, Subtract};
    Some(match (operation, a, b) {
        (_, Kind::Long, Kind::Long) => Kind::Long,
        (_, a, b) if a.is_number() && b.is_number() => Kind::Real,
        (Add | Subtract, Kind::DateTime, Kind::Timespan) => Kind::DateTime,
        (Add, Kind::Timespan, Kind::DateTime) => Kind::DateTime,
        (Subtract, Kind::DateTime, Kind::DateTime) => Kind::Timespan,
        (Add | Subtract, Kind::Timespan, Kind::Timespan) => Kind::Timespan,
        (Divide, Kind::Timespan, Kind::Timespan) => Kind::Real,
        (Multiply | Divide, Kind::Timespan, number) if number.is_number() => Kind::Timespan,
        (Multiply, number, Kind::Timespan) if number.is_number() => Kind::Timespan,
        _ => return None,
    })
}

/// `a op b` as a value of the type returned by [`result`]. Overflow and integer division by zero give null.
pub(crate) fn calculate(operation: Arithmetic, result: Kind, a: &Value, b: &Value) -> Value {
    match result {
        Kind::Real => match (real(a), real(b)) {
            (Some(a), Some(b)) => Value::Real(on_reals(operation, a, b)),
            _ => Value::Null,
        },
        Kind::DateTime => match (a, b) {
            (Value::DateTime(a), Value::Long(b)) => on_wholes(operation, *a, *b).map_or(Value::Null, Value::DateTime),
            (Value::Long(a), Value::DateTime(b)) => on_wholes(operation, *a, *b).map_or(Value::Null, Value::DateTime),
            _ => Value::Null,
        },
        _ => match (a, b) {
            (Value::Long(a), Value::Long(b)) | (Value::DateTime(a), Value::DateTime(b)) => {
                on_wholes(operation, *a, *b).map_or(Value::Null, Value::Long)
            }
            // A timespan multiplied or divided by a real number.
            _ => match (real(a), real(b)) {
                (Some(a), Some(b)) => Value::Long(on_reals(operation, a, b) as i64),
                _ => Value::Null,
            },
        },
    }
}

fn real(value: &Value) -> Option<f64> {
    match value {
        Value::Long(number) => Some(*number as f64),
        Value::Real(number) => Some(*number),
        _ => None,
    }
}

fn on_wholes(operation: Arithmetic, a: i64, b: i64) -> Option<i64> {
    match operation {
        Arithmetic::Add => a.checked_add(b),
        Arithmetic::Subtract => a.checked_sub(b),
        Arithmetic::Multiply => a.checked_mul(b),
        Arithmetic::Divide => a.checked_div(b),
        // Never negative: `-14 % 12` is 10 in KQL.
        Arithmetic::Modulo => a.checked_rem_euclid(b),
    }
}

fn on_reals(operation: Arithmetic, a: f64, b: f64) -> f64 {
    match operation {
        Arithmetic::Add => a + b,
        Arithmetic::Subtract => a - b,
        Arithmetic::Multiply => a * b,
        Arithmetic::Divide => a / b,
        Arithmetic::Modulo => a.rem_euclid(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remainder_is_never_negative() {
        let remainder = |a, b| on_wholes(Arithmetic::Modulo, a, b);
        assert_eq!([remainder(14, 12), remainder(-14, 12), remainder(14, -12)], [Some(2), Some(10), Some(2)]);
        assert_eq!(remainder(1, 0), None);
    }

    #[test]
    fn null_is_unequal_to_a_value_and_nothing_else_is_known_of_it() {
        let compare = |comparison, b| compare(comparison, &Value::Null, &b);
        assert_eq!(compare(Comparison::Equal, Value::Long(1)), Some(false));
        assert_eq!(compare(Comparison::NotEqual, Value::Long(1)), Some(true));
        assert_eq!(compare(Comparison::Equal, Value::Null), None);
        assert_eq!(compare(Comparison::Less, Value::Long(1)), None);
    }

    #[test]
    fn text_has_no_order_and_time_compares_with_time_only() {
        assert!(!can_order(Kind::String, Kind::String));
        assert!(!can_equal(Kind::String, Kind::Long));
        assert!(!can_equal(Kind::DateTime, Kind::String));
        assert!(!can_equal(Kind::DateTime, Kind::Dynamic));
        assert!(can_order(Kind::DateTime, Kind::DateTime));
        assert!(can_equal(Kind::Dynamic, Kind::String));
        assert!(!can_equal(Kind::Dynamic, Kind::Dynamic));
    }
}
