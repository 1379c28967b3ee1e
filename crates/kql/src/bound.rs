//! An expression with resolved names: columns are indexes, functions are function pointers, constants are computed.
//! Reading a row does not copy cells.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use serde_json::Value as Json;

use super::ast::{Arithmetic, Comparison, Match, TextTest};
use super::compare::{calculate, compare, equal};
use super::functions::Body;
use super::kind::Kind;
use super::text;
use super::value::Value;

#[derive(Clone)]
pub(crate) enum Bound {
    Constant(Value),
    Column(usize),
    Path {
        base: Box<Bound>,
        steps: Vec<Step>,
    },
    Call(Body, Vec<Bound>),
    Arithmetic {
        operation: Arithmetic,
        result: Kind,
        left: Box<Bound>,
        right: Box<Bound>,
    },
    Compare {
        comparison: Comparison,
        left: Box<Bound>,
        right: Box<Bound>,
    },
    Match {
        test: Match,
        left: Box<Bound>,
        right: Box<Bound>,
    },
    /// A search for text among constants.
    InSet {
        value: Box<Bound>,
        set: HashSet<Arc<str>>,
        fold: bool,
        negated: bool,
    },
    InList {
        value: Box<Bound>,
        list: Vec<Bound>,
        fold: bool,
        negated: bool,
    },
    HasAny(Box<Bound>, Vec<Bound>),
    And(Vec<Bound>),
    Or(Vec<Bound>),
    /// The value of the first condition that is true.
    Choose {
        arms: Vec<(Bound, Bound)>,
        otherwise: Box<Bound>,
    },
    /// The first value that is not missing.
    Coalesce(Vec<Bound>),
}

/// One step into a dynamic value.
#[derive(Clone)]
pub(crate) enum Step {
    Key(String),
    Computed(Bound),
}

impl Bound {
    /// The value in `row`, which has the columns that the expression was bound to.
    pub(crate) fn eval<'a>(&'a self, row: &'a [Value]) -> Cow<'a, Value> {
        match self {
            Self::Constant(value) => Cow::Borrowed(value),
            Self::Column(index) => row.get(*index).map_or(Cow::Owned(Value::Null), Cow::Borrowed),
            computed => Cow::Owned(computed.compute(row)),
        }
    }

    pub(crate) fn value(&self, row: &[Value]) -> Value {
        self.eval(row).into_owned()
    }

    /// Whether it is true in `row`; unknown counts as false.
    pub(crate) fn holds(&self, row: &[Value]) -> bool {
        matches!(*self.eval(row), Value::Bool(true))
    }

    fn compute(&self, row: &[Value]) -> Value {
        match self {
            Self::Constant(_) | Self::Column(_) => self.value(row),
            Self::Path { base, steps } => match base.eval(row).as_ref() {
                Value::Dynamic(json) => walk(json, steps, row).cloned().map_or(Value::Null, Value::from_json),
                _ => Value::Null,
            },
            Self::Call(Body::One(body), args) => match &args[..] {
                [only] => body(&only.eval(row)),
                _ => Value::Null,
            },
            Self::Call(Body::Two(body), args) => match &args[..] {
                [first, second] => body(&first.eval(row), &second.eval(row)),
                _ => Value::Null,
            },
            Self::Call(Body::Many(body), args) => {
                let args: Vec<Cow<'_, Value>> = args.iter().map(|arg| arg.eval(row)).collect();
                body(&args)
            }
            Self::Arithmetic { operation, result, left, right } => {
                calculate(*operation, *result, &left.eval(row), &right.eval(row))
            }
            Self::Compare { comparison, left, right } => truth(compare(*comparison, &left.eval(row), &right.eval(row))),
            Self::Match { test: Match { test, fold, negated }, left, right } => {
                let (left, right) = (left.eval(row), right.eval(row));
                Value::Bool(text::passes(*test, *fold, &text::shown(&left), &text::shown(&right)) != *negated)
            }
            Self::InSet { value, set, fold, negated } => {
                let value = value.eval(row);
                let text = match value.as_ref() {
                    Value::String(text) => Some(text.as_ref()),
                    Value::Dynamic(json) => json.as_str(),
                    _ => None,
                };
                let found = text.is_some_and(|text| match fold {
                    true => set.contains(text::lower(text).as_ref()),
                    false => set.contains(text),
                });
                Value::Bool(found != *negated)
            }
            Self::InList { value, list, fold, negated } => {
                let value = value.eval(row);
                let found = list.iter().any(|item| is_member(&value, &item.eval(row), *fold));
                Value::Bool(found != *negated)
            }
            Self::HasAny(value, list) => {
                let value = value.eval(row);
                let text = text::shown(&value);
                let has = |term: &Bound| text::passes(TextTest::Has, true, &text, &text::shown(&term.eval(row)));
                Value::Bool(list.iter().any(has))
            }
            Self::And(parts) => all(parts, row, false),
            Self::Or(parts) => all(parts, row, true),
            Self::Choose { arms, otherwise } => {
                let chosen = arms.iter().find(|(condition, _)| condition.holds(row));
                chosen.map_or(otherwise.as_ref(), |(_, value)| value).value(row)
            }
            Self::Coalesce(values) => {
                let mut found = Value::Null;
                for value in values {
                    found = value.value(row);
                    if !text::is_missing(&found) {
                        break;
                    }
                }
                found
            }
        }
    }

    /// The expression itself, or its value if it needs no row.
    pub(crate) fn folded(self) -> Self {
        let constant = |bound: &Self| matches!(bound, Self::Constant(_));
        let known = match &self {
            Self::Constant(_) | Self::Column(_) | Self::Path { .. } => false,
            Self::Call(_, args) => args.iter().all(constant),
            Self::Arithmetic { left, right, .. }
            | Self::Compare { left, right, .. }
            | Self::Match { left, right, .. } => constant(left) && constant(right),
            Self::InSet { value, .. } => constant(value),
            Self::InList { value, list, .. } | Self::HasAny(value, list) => {
                constant(value) && list.iter().all(constant)
            }
            Self::And(parts) | Self::Or(parts) | Self::Coalesce(parts) => parts.iter().all(constant),
            Self::Choose { arms, otherwise } => {
                constant(otherwise) && arms.iter().all(|(condition, value)| constant(condition) && constant(value))
            }
        };
        match known {
            true => Self::Constant(self.value(&[])),
            false => self,
        }
    }
}

fn truth(known: Option<bool>) -> Value {
    known.map_or(Value::Null, Value::Bool)
}

/// A conjunction, or a disjunction if `settles` is true. A part equal to `settles` decides the result; otherwise it is
/// unknown if any part is.
fn all(parts: &[Bound], row: &[Value], settles: bool) -> Value {
    let mut unknown = false;
    for part in parts {
        match *part.eval(row) {
            Value::Bool(truth) if truth == settles => return Value::Bool(settles),
            Value::Bool(_) => {}
            _ => unknown = true,
        }
    }
    if unknown { Value::Null } else { Value::Bool(!settles) }
}

fn is_member(value: &Value, item: &Value, fold: bool) -> bool {
    match (value, item) {
        (Value::Null, _) | (_, Value::Null) => false,
        (value, item) if fold => text::passes(TextTest::Equals, true, &text::shown(value), &text::shown(item)),
        (value, item) => equal(value, item),
    }
}

fn walk<'a>(json: &'a Json, steps: &[Step], row: &[Value]) -> Option<&'a Json> {
    steps.iter().try_fold(json, |json, step| match step {
        Step::Key(key) => json.get(key),
        Step::Computed(index) => match index.eval(row).as_ref() {
            Value::String(key) => json.get(key.as_ref()),
            Value::Long(index) => {
                let items = json.as_array()?;
                // Negative indexes count from the end.
                let from_end = if *index < 0 { i64::try_from(items.len()).ok()? } else { 0 };
                items.get(usize::try_from(index.checked_add(from_end)?).ok()?)
            }
            _ => None,
        },
    })
}
