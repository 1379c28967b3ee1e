//! The jq expressions of a mapping, alone or in an object.
use std::collections::BTreeMap;

use crate::error::Cause;
use crate::jq::{self, EvalError, Program, Quotes, Reads, Val};

/// An expression and its key in the mapping file.
pub(super) struct Expression {
    pub(super) key: String,
    pub(super) program: Program,
}

impl Expression {
    pub(super) fn compile(key: &str, text: &str) -> Result<Self, String> {
        match jq::compile(text, Quotes::Port) {
            Ok(program) => Ok(Self { key: key.to_owned(), program }),
            Err(error) => Err(format!("not jq, {error}, in `{}`", text.trim())),
        }
    }

    pub(super) fn first(&self, input: &Val) -> Result<Option<Val>, EvalError> {
        jq::first(&self.program, input)
    }

    /// Whether it reads this column by name.
    pub(super) fn reads(&self, column: &str) -> bool {
        matches!(self.program.reads(), Reads::Names(names) if names.contains(column))
    }

    /// Its value, if that is a string and does not depend on the row.
    pub(super) fn literal(&self) -> Option<String> {
        let is_constant = matches!(self.program.reads(), Reads::Names(names) if names.is_empty());
        let value = is_constant.then(|| self.first(&Val::Null))?.ok()??;
        value.as_str().map(str::to_owned)
    }
}

/// How the value of an entity's key is made: an expression, or an object or list of expressions, as in a search.
pub(super) enum Template {
    Jq(Expression),
    Object(Vec<(String, Template)>),
    List(Vec<Template>),
}

/// The expressions that returned nothing, and the first error of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Nulls {
    /// How often an expression had no output or failed.
    pub(crate) count: usize,
    /// The first error, by the expression's key.
    pub(crate) errors: BTreeMap<String, Cause>,
}

impl Nulls {
    fn add(&mut self, key: &str, error: Option<EvalError>) {
        self.count += 1;
        if let Some(error) = error {
            self.errors.entry(key.to_owned()).or_insert_with(|| error.into());
        }
    }
}

impl Template {
    /// Evaluates it for a row. `None` if it needs something that the row `lacks`.
    pub(super) fn evaluate(&self, input: &Val, nulls: &mut Nulls, lacks: &impl Fn(&Expression) -> bool) -> Option<Val> {
        Some(match self {
            Self::Jq(expression) if lacks(expression) => return None,
            Self::Jq(expression) => match expression.first(input) {
                Ok(Some(value)) => value,
                Ok(None) => {
                    nulls.add(&expression.key, None);
                    Val::Null
                }
                Err(error) => {
                    nulls.add(&expression.key, Some(error));
                    Val::Null
                }
            },
            Self::Object(fields) => {
                let known =
                    |(key, field): &(String, Self)| Some((key.as_str().into(), field.evaluate(input, nulls, lacks)?));
                Val::object(fields.iter().filter_map(known))
            }
            Self::List(items) => items.iter().filter_map(|item| item.evaluate(input, nulls, lacks)).collect(),
        })
    }

    pub(super) fn each<'a>(&'a self, f: &mut dyn FnMut(&'a Expression)) {
        match self {
            Self::Jq(expression) => f(expression),
            Self::Object(fields) => fields.iter().for_each(|(_, field)| field.each(f)),
            Self::List(items) => items.iter().for_each(|item| item.each(f)),
        }
    }
}
