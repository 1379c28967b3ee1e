//! The scalar functions: parameters, return types and implementations.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::{Map, Value as Json};

use super::compare::{order, scalar};
use super::hash::hash;
use super::kind::Kind;
use super::literal;
use super::text::{self, shown, string, to_json};
use super::value::Value;

type Args<'a> = [Cow<'a, Value>];

#[derive(Clone, Copy)]
pub(crate) enum Body {
    One(fn(&Value) -> Value),
    Two(fn(&Value, &Value) -> Value),
    Many(fn(&Args<'_>) -> Value),
}

/// What a parameter accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Param {
    /// Every type that a column can have.
    Any,
    /// Text, or a dynamic value converted to text.
    Text,
    Dynamic,
    Bool,
    Long,
    /// A number, a time or a timespan.
    Measure,
}

impl Param {
    pub(crate) fn takes(self, kind: Kind) -> bool {
        match self {
            Self::Any => kind != Kind::Timespan,
            Self::Text => matches!(kind, Kind::String | Kind::Dynamic),
            Self::Dynamic => kind == Kind::Dynamic,
            Self::Bool => kind == Kind::Bool,
            Self::Long => kind == Kind::Long,
            Self::Measure => matches!(kind, Kind::Long | Kind::Real | Kind::DateTime | Kind::Timespan),
        }
    }
}

#[derive(Clone, Copy)]
pub(crate) enum Returns {
    Always(Kind),
    /// The type of the first argument.
    First,
}

pub(crate) struct Function {
    pub name: &'static str,
    pub params: &'static [Param],
    /// How many of the last parameters are optional.
    pub optional: usize,
    /// The last parameter can be repeated.
    pub repeats: bool,
    pub returns: Returns,
    pub body: Body,
}

const fn of(name: &'static str, params: &'static [Param], returns: Kind, body: Body) -> Function {
    Function { name, params, optional: 0, repeats: false, returns: Returns::Always(returns), body }
}

const fn repeating(name: &'static str, params: &'static [Param], returns: Returns, body: Body) -> Function {
    Function { name, params, optional: 0, repeats: true, returns, body }
}

const fn optional(name: &'static str, params: &'static [Param], returns: Kind, body: Body) -> Function {
    Function { name, params, optional: 1, repeats: false, returns: Returns::Always(returns), body }
}

/// `ago`, `now`, `iff`, `case` and `coalesce` are missing here, because binding handles them.
static FUNCTIONS: &[Function] = &[
    of("tolower", &[Param::Any], Kind::String, Body::One(to_lower)),
    of("toupper", &[Param::Any], Kind::String, Body::One(|value| string(&text::upper(&shown(value))))),
    of("tostring", &[Param::Any], Kind::String, Body::One(text::to_string)),
    of("toint", &[Param::Any], Kind::Long, Body::One(to_int)),
    of("tolong", &[Param::Any], Kind::Long, Body::One(to_long)),
    of("todouble", &[Param::Any], Kind::Real, Body::One(to_real)),
    of("toreal", &[Param::Any], Kind::Real, Body::One(to_real)),
    of("tobool", &[Param::Any], Kind::Bool, Body::One(to_bool)),
    of("toboolean", &[Param::Any], Kind::Bool, Body::One(to_bool)),
    of("todatetime", &[Param::Any], Kind::DateTime, Body::One(to_datetime)),
    of("todynamic", &[Param::Any], Kind::Dynamic, Body::One(parse_json)),
    of("parse_json", &[Param::Any], Kind::Dynamic, Body::One(parse_json)),
    of("strlen", &[Param::Any], Kind::Long, Body::One(|value| count(shown(value).chars().count()))),
    of("isempty", &[Param::Any], Kind::Bool, Body::One(|value| Value::Bool(text::is_missing(value)))),
    of("isnotempty", &[Param::Any], Kind::Bool, Body::One(|value| Value::Bool(!text::is_missing(value)))),
    of("isnull", &[Param::Any], Kind::Bool, Body::One(|value| Value::Bool(*value == Value::Null))),
    of("isnotnull", &[Param::Any], Kind::Bool, Body::One(|value| Value::Bool(*value != Value::Null))),
    of("not", &[Param::Bool], Kind::Bool, Body::One(not)),
    of("array_length", &[Param::Dynamic], Kind::Long, Body::One(array_length)),
    of("bag_keys", &[Param::Dynamic], Kind::Dynamic, Body::One(bag_keys)),
    of("bag_has_key", &[Param::Dynamic, Param::Text], Kind::Bool, Body::Two(bag_has_key)),
    of("indexof", &[Param::Text, Param::Text], Kind::Long, Body::Two(index_of)),
    of("replace_string", &[Param::Text, Param::Text, Param::Text], Kind::String, Body::Many(replace)),
    of("strcat_array", &[Param::Dynamic, Param::Text], Kind::String, Body::Two(strcat_array)),
    optional("substring", &[Param::Text, Param::Long, Param::Long], Kind::String, Body::Many(substring)),
    optional("split", &[Param::Any, Param::Text, Param::Long], Kind::Dynamic, Body::Many(split)),
    optional("hash", &[Param::Any, Param::Long], Kind::Long, Body::Many(hash_of)),
    repeating("strcat", &[Param::Any], Returns::Always(Kind::String), Body::Many(strcat)),
    repeating("pack", &[Param::Any], Returns::Always(Kind::Dynamic), Body::Many(pack)),
    repeating("bag_pack", &[Param::Any], Returns::Always(Kind::Dynamic), Body::Many(pack)),
    repeating("pack_array", &[Param::Any], Returns::Always(Kind::Dynamic), Body::Many(pack_array)),
    repeating("array_concat", &[Param::Dynamic], Returns::Always(Kind::Dynamic), Body::Many(array_concat)),
    repeating("min_of", &[Param::Measure], Returns::First, Body::Many(|args| extreme(args, Ordering::Less))),
    repeating("max_of", &[Param::Measure], Returns::First, Body::Many(|args| extreme(args, Ordering::Greater))),
    Function {
        name: "abs",
        params: &[Param::Measure],
        optional: 0,
        repeats: false,
        returns: Returns::First,
        body: Body::One(absolute),
    },
    Function {
        name: "bin",
        params: &[Param::Measure, Param::Measure],
        optional: 0,
        repeats: false,
        returns: Returns::First,
        body: Body::Two(bin),
    },
];

pub(crate) fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|function| function.name == name)
}

/// Whether a column computed only by this function keeps the name of its argument.
pub(crate) fn keeps_name(function: &str) -> bool {
    matches!(
        function,
        "tostring"
            | "toint"
            | "tolong"
            | "todouble"
            | "toreal"
            | "tobool"
            | "toboolean"
            | "todatetime"
            | "todynamic"
            | "split"
            | "bin"
    )
}

fn count(number: usize) -> Value {
    Value::Long(i64::try_from(number).unwrap_or(i64::MAX))
}

fn to_lower(value: &Value) -> Value {
    match (value, text::lower(&shown(value))) {
        (Value::String(_), Cow::Borrowed(_)) => value.clone(),
        (_, lower) => string(&lower),
    }
}

/// Unwraps dynamic scalars; returns all other values unchanged.
fn plain(value: &Value) -> Cow<'_, Value> {
    match value {
        Value::Dynamic(json) => scalar(json).map_or(Cow::Borrowed(value), Cow::Owned),
        value => Cow::Borrowed(value),
    }
}

pub(crate) fn to_long(value: &Value) -> Value {
    let number = match plain(value).as_ref() {
        Value::Long(number) => Some(*number),
        Value::Real(number) => Some(*number as i64),
        Value::Bool(truth) => Some(i64::from(*truth)),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number.map_or(Value::Null, Value::Long)
}

fn to_int(value: &Value) -> Value {
    match to_long(value) {
        Value::Long(number) if i32::try_from(number).is_ok() => Value::Long(number),
        _ => Value::Null,
    }
}

pub(crate) fn to_real(value: &Value) -> Value {
    let number = match plain(value).as_ref() {
        Value::Long(number) => Some(*number as f64),
        Value::Real(number) => Some(*number),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number.map_or(Value::Null, Value::Real)
}

pub(crate) fn to_bool(value: &Value) -> Value {
    let truth = match plain(value).as_ref() {
        Value::Bool(truth) => Some(*truth),
        Value::Long(number) => Some(*number != 0),
        Value::String(text) => literal::boolean(text),
        _ => None,
    };
    truth.map_or(Value::Null, Value::Bool)
}

pub(crate) fn to_datetime(value: &Value) -> Value {
    match value {
        Value::DateTime(_) => value.clone(),
        Value::String(_) | Value::Dynamic(_) => literal::datetime(&shown(value)).map_or(Value::Null, Value::DateTime),
        _ => Value::Null,
    }
}

/// Text that is not JSON becomes a dynamic string.
fn parse_json(value: &Value) -> Value {
    match value {
        Value::String(text) if text.is_empty() => Value::Null,
        Value::String(text) => {
            Value::from_json(serde_json::from_str(text).unwrap_or_else(|_| Json::String(text.as_ref().to_owned())))
        }
        value => to_dynamic(value),
    }
}

pub(crate) fn to_dynamic(value: &Value) -> Value {
    match value {
        Value::Dynamic(_) => value.clone(),
        value => Value::from_json(to_json(value)),
    }
}

fn not(value: &Value) -> Value {
    match value {
        Value::Bool(truth) => Value::Bool(!truth),
        _ => Value::Null,
    }
}

fn array_length(value: &Value) -> Value {
    match value {
        Value::Dynamic(json) => json.as_array().map_or(Value::Null, |items| count(items.len())),
        _ => Value::Null,
    }
}

fn bag_keys(value: &Value) -> Value {
    match value {
        Value::Dynamic(json) => json
            .as_object()
            .map_or(Value::Null, |bag| Value::from_json(bag.keys().map(|key| Json::String(key.clone())).collect())),
        _ => Value::Null,
    }
}

fn bag_has_key(bag: &Value, key: &Value) -> Value {
    match bag {
        Value::Dynamic(json) => {
            json.as_object().map_or(Value::Null, |bag| Value::Bool(bag.contains_key(shown(key).as_ref())))
        }
        _ => Value::Null,
    }
}

/// The position in characters, from 0; -1 if not found.
fn index_of(value: &Value, part: &Value) -> Value {
    let value = shown(value);
    match value.find(shown(part).as_ref()) {
        Some(at) => count(value[..at].chars().count()),
        None => Value::Long(-1),
    }
}

fn replace(args: &Args<'_>) -> Value {
    match args {
        [value, from, _] if text::is_missing(from) => text::to_string(value),
        [value, from, to] => string(&shown(value).replace(shown(from).as_ref(), &shown(to))),
        _ => Value::Null,
    }
}

fn substring(args: &Args<'_>) -> Value {
    let (value, start, length) = match args {
        [value, start] => (value, start, None),
        [value, start, length] => (value, start, Some(length.as_ref())),
        _ => return Value::Null,
    };
    let value = shown(value);
    let Value::Long(start) = **start else {
        return string("");
    };
    let from_end = if start < 0 { i64::try_from(value.chars().count()).unwrap_or(i64::MAX) } else { 0 };
    let start = usize::try_from(start.saturating_add(from_end)).unwrap_or(0);
    let length = match length {
        Some(Value::Long(length)) => usize::try_from(*length).unwrap_or(0),
        Some(_) => 0,
        None => usize::MAX,
    };
    string(&value.chars().skip(start).take(length).collect::<String>())
}

fn split(args: &Args<'_>) -> Value {
    let [value, delimiter, wanted @ ..] = args else {
        return Value::Null;
    };
    let (value, delimiter) = (shown(value), shown(delimiter));
    let mut parts: Vec<Json> = match delimiter.is_empty() {
        true => vec![Json::String(value.into_owned())],
        false => value.split(delimiter.as_ref()).map(|part| Json::String(part.to_owned())).collect(),
    };
    if let [wanted] = wanted {
        let index = match wanted.as_ref() {
            Value::Long(index) => usize::try_from(*index).ok(),
            _ => None,
        };
        parts = index.and_then(|index| parts.get(index).cloned()).into_iter().collect();
    }
    Value::from_json(Json::Array(parts))
}

fn hash_of(args: &Args<'_>) -> Value {
    match args {
        [value] => Value::Long(hash(value)),
        [value, modulus] => match **modulus {
            Value::Long(modulus) if modulus > 0 => Value::Long(hash(value).rem_euclid(modulus)),
            _ => Value::Null,
        },
        _ => Value::Null,
    }
}

fn strcat(args: &Args<'_>) -> Value {
    let mut joined = String::new();
    for arg in args {
        joined.push_str(&shown(arg));
    }
    string(&joined)
}

fn strcat_array(array: &Value, delimiter: &Value) -> Value {
    let Value::Dynamic(json) = array else {
        return string("");
    };
    let items: Vec<String> = json
        .as_array()
        .into_iter()
        .flatten()
        .map(|item| match item {
            Json::String(text) => text.clone(),
            item => item.to_string(),
        })
        .collect();
    string(&items.join(&shown(delimiter)))
}

/// Alternating names and values; a name without a value is dropped.
fn pack(args: &Args<'_>) -> Value {
    let (pairs, _) = args.as_chunks::<2>();
    let bag = pairs.iter().map(|[name, value]| (shown(name).into_owned(), to_json(value)));
    Value::from_json(Json::Object(Map::from_iter(bag)))
}

fn pack_array(args: &Args<'_>) -> Value {
    Value::from_json(args.iter().map(|arg| to_json(arg)).collect())
}

fn array_concat(args: &Args<'_>) -> Value {
    let items = args.iter().filter_map(|arg| match arg.as_ref() {
        Value::Dynamic(json) => json.as_array(),
        _ => None,
    });
    Value::from_json(items.flatten().cloned().collect())
}

/// The minimum or maximum; nulls are ignored.
fn extreme(args: &Args<'_>, wanted: Ordering) -> Value {
    let present = args.iter().map(Cow::as_ref).filter(|value| **value != Value::Null);
    let best = present.reduce(|best, value| if order(value, best) == Some(wanted) { value } else { best });
    best.cloned().unwrap_or(Value::Null)
}

fn absolute(value: &Value) -> Value {
    match value {
        Value::Long(number) => number.checked_abs().map_or(Value::Null, Value::Long),
        Value::Real(number) => Value::Real(number.abs()),
        _ => Value::Null,
    }
}

/// Rounds down to a multiple of `size`. Days start at midnight, weeks as in Kusto.
fn bin(value: &Value, size: &Value) -> Value {
    const YEAR_ONE: i64 = -62_135_596_800_000;
    let floor = |value: i64, size: i64| Some(value.checked_div_euclid(size)?.wrapping_mul(size));
    match (value, size) {
        (Value::Long(value), Value::Long(size)) if *size > 0 => floor(*value, *size).map_or(Value::Null, Value::Long),
        (Value::DateTime(value), Value::Long(size)) if *size > 0 => {
            let since = value.saturating_sub(YEAR_ONE);
            floor(since, *size).map_or(Value::Null, |floor| Value::DateTime(floor.saturating_add(YEAR_ONE)))
        }
        _ => match (to_real(value), to_real(size)) {
            (Value::Real(value), Value::Real(size)) if size > 0.0 => Value::Real((value / size).floor() * size),
            _ => Value::Null,
        },
    }
}
