//! What a mapping makes from rows of one kind.
use std::collections::BTreeSet;

use bytes::Bytes;

use super::expression::{Expression, Template};
use super::fields::identifier;
use super::graph_query::Shape;
use super::{Entity, Kind, Made, row};
use crate::error::Cause;
use crate::jq::{self, Reads, Val};

/// The largest body that Port accepts.
pub(super) const LARGEST: usize = 1 << 20;

/// Columns that may be missing from a row, because they are unknown or sent in a separate row. Fields made from a
/// missing column keep their value.
const NOT_ALWAYS: [(Kind, &str); 3] = [(Kind::Group, "members"), (Kind::User, APART[0]), (Kind::User, APART[1])];

/// Columns of a user that are sent in separate rows with little else in them.
const APART: [&str; 2] = ["signInActivity", "groups"];

/// An entry of `resources`.
pub(super) struct Resource {
    pub(super) kind: Kind,
    /// In lower case.
    pub(super) types: Option<BTreeSet<String>>,
    pub(super) shape: Shape,
    /// Columns to fetch even if no expression reads them.
    pub(super) selects: BTreeSet<String>,
    pub(super) selector: Expression,
    pub(super) items: Option<Items>,
    pub(super) blueprint: Expression,
    /// The identifier and the other fields by key, in file order.
    pub(super) fields: Vec<(String, Template)>,
    pub(super) lens: row::Lens,
}

/// `itemsToParse`.
pub(super) struct Items {
    pub(super) list: Expression,
    pub(super) name: String,
    /// Removes the list from the row.
    pub(super) taken_out: Option<Expression>,
}

/// The inputs that a row gives.
enum Inputs {
    These(Vec<Val>),
    NoList(Cause),
}

impl Resource {
    /// Calls `f` with every expression that reads the row.
    pub(super) fn each<'a>(&'a self, f: &mut dyn FnMut(&'a Expression)) {
        f(&self.selector);
        f(&self.blueprint);
        self.items.iter().for_each(|items| f(&items.list));
        self.fields.iter().for_each(|(_, field)| field.each(f));
    }

    /// The names that its expressions read from the row.
    pub(super) fn reads(&self) -> Reads {
        let mut all = BTreeSet::new();
        let mut is_everything = false;
        self.each(&mut |expression| match expression.program.reads() {
            Reads::Names(names) => all.extend(names.iter().filter(|name| !self.is_item(name)).cloned()),
            Reads::Everything => is_everything = true,
        });
        if is_everything { Reads::Everything } else { Reads::Names(all) }
    }

    fn is_item(&self, name: &str) -> bool {
        self.items.as_ref().is_some_and(|items| items.name == name)
    }

    fn is_of_type(&self, row: &Val) -> bool {
        let of_row = row.get("type").and_then(Val::as_str);
        self.types.as_ref().is_none_or(|types| of_row.is_some_and(|of_row| types.contains(&of_row.to_lowercase())))
    }

    /// How its expressions see rows.
    pub(super) fn lens(&self) -> row::Lens {
        let mut names = BTreeSet::new();
        self.each(&mut |expression| {
            if let Reads::Names(read) = expression.program.reads() {
                names.extend(read.iter().cloned());
            }
        });
        row::Lens::new(self.kind, names.iter().map(String::as_str), &self.shape)
    }

    /// The row itself, or the rest of the row once for each of its items.
    fn inputs(&self, row: &Val) -> Inputs {
        let seen = self.lens.seen(row, &self.shape);
        let Some(items) = &self.items else { return Inputs::These(vec![seen]) };
        let list = match items.list.first(&seen) {
            Ok(list) => list.unwrap_or_default(),
            Err(error) => return Inputs::NoList(error.into()),
        };
        let Some(list) = list.items() else {
            return Inputs::NoList(format!("it gives {}, not an array", list.kind()).into());
        };
        let rest = match &items.taken_out {
            None => seen,
            Some(taken_out) => match taken_out.first(&seen) {
                Ok(rest) => rest.unwrap_or_default(),
                Err(error) => return Inputs::NoList(error.into()),
            },
        };
        let with = |item: &Val| {
            let fields = rest.fields().into_iter().flatten().map(|(key, value)| (key.clone(), value.clone()));
            Val::object(fields.chain([(items.name.as_str().into(), item.clone())]))
        };
        Inputs::These(list.iter().map(with).collect())
    }

    pub(super) fn make(&self, row: &Val, made: &mut Made) {
        if let Err(error) = jq::guarded(|| self.entities(row, made)) {
            made.fail(&self.selector.key, error);
        }
    }

    fn entities(&self, row: &Val, made: &mut Made) {
        if !self.is_of_type(row) {
            return;
        }
        match self.inputs(row) {
            Inputs::These(inputs) => inputs.iter().for_each(|input| self.entity(input, made)),
            Inputs::NoList(error) => {
                let key = self.items.as_ref().map_or("", |items| &items.list.key);
                made.fail(key, error);
            }
        }
    }

    fn entity(&self, input: &Val, made: &mut Made) {
        let part = APART.into_iter().find(|column| self.kind == Kind::User && input.get(column).is_some());
        let is_part = part.is_some();
        let mut is_read = !is_part;
        let mut look = |expression: &Expression| is_read |= part.is_some_and(|part| expression.reads(part));
        self.fields.iter().for_each(|(_, field)| field.each(&mut look));
        if !is_read {
            return;
        }
        match self.selector.first(input) {
            // A partial row lacks the columns that the selector needs.
            _ if is_part => {}
            Ok(Some(Val::Bool(true))) => {}
            Ok(Some(Val::Bool(false))) => {
                made.filtered += 1;
                return;
            }
            Ok(other) => {
                let kind = other.map_or("nothing", |other| other.kind());
                return made.fail(&self.selector.key, format!("it gives {kind}, neither true nor false"));
            }
            Err(error) => return made.fail(&self.selector.key, error),
        }
        let lacking = |(kind, column): &(Kind, &str)| *kind == self.kind && input.get(column).is_none();
        let lacking: Vec<&str> = NOT_ALWAYS.iter().filter(|one| lacking(one)).map(|(_, column)| *column).collect();
        let has = |name: &str| self.is_item(name) || row::is_there(self.kind, input, name);
        let lacks = |expression: &Expression| {
            lacking.iter().any(|column| expression.reads(column)) || (is_part && !expression.program.reads().only(has))
        };
        let fields = self
            .fields
            .iter()
            .filter_map(|(key, field)| Some((key.as_str(), field.evaluate(input, &mut made.nulls, &lacks)?)));
        let fields: Vec<_> = fields.collect();
        let blueprint = match self.blueprint.first(input) {
            Ok(blueprint) => blueprint.unwrap_or_default(),
            Err(error) => {
                made.nulls.errors.entry(self.blueprint.key.clone()).or_insert_with(|| error.into());
                Val::Null
            }
        };
        let identifier = fields.iter().find(|(key, _)| *key == "identifier").map(|(_, value)| value.clone());
        let identifier = identifier.unwrap_or_default();
        if is_falsy(&identifier) || is_falsy(&blueprint) {
            made.dropped += usize::from(!is_part);
            return;
        }
        let (Some(name), Some(blueprint)) = (self.name(&identifier), blueprint.as_str()) else {
            return made.fail(&self.blueprint.key, "identifier or blueprint is no text");
        };
        let body = Val::object(fields.into_iter().map(|(key, value)| (key.into(), value)));
        match body.to_json(LARGEST) {
            Some(body) => made.entities.push(Entity {
                blueprint: blueprint.to_owned(),
                identifier: name,
                body: Bytes::from(body),
            }),
            None => made.fail(&self.selector.key, "the entity is larger than the 1 MiB that Port takes"),
        }
    }

    /// The identifier as a string: numbers in digits, and empty for a search.
    fn name(&self, identifier: &Val) -> Option<String> {
        match identifier {
            Val::Str(text) => Some(text.to_string()),
            Val::Num(_) => identifier.to_json(64),
            Val::Obj(_) if self.is_searched() => Some(String::new()),
            _ => None,
        }
    }

    fn identifier(&self) -> Option<&Expression> {
        identifier(&self.fields)
    }

    fn is_searched(&self) -> bool {
        self.identifier().is_none()
    }

    /// Blueprint and identifier of a row's entities, from the columns that are known; [`None`] if those are not enough.
    pub(super) fn keys(&self, row: &Val) -> Option<Vec<(String, String)>> {
        jq::guarded(|| self.known_keys(row)).ok().flatten()
    }

    fn known_keys(&self, row: &Val) -> Option<Vec<(String, String)>> {
        let identifier = self.identifier()?;
        if self.types.is_some() && row.get("type").is_none() {
            return None;
        }
        if !self.is_of_type(row) {
            return Some(Vec::new());
        }
        let list = self.items.as_ref().map(|items| &items.list);
        let is_there = |name: &str| self.is_item(name) || row::is_there(self.kind, row, name);
        let mut needed = [&self.selector, &self.blueprint, identifier].into_iter().chain(list);
        if !needed.all(|expression| expression.program.reads().only(is_there)) {
            return None;
        }
        let Inputs::These(inputs) = self.inputs(row) else { return None };
        let mut keys = Vec::new();
        for input in &inputs {
            match self.selector.first(input) {
                Ok(Some(Val::Bool(false))) => continue,
                Ok(Some(Val::Bool(true))) => {}
                _ => return None,
            }
            let blueprint = self.blueprint.first(input).ok()?.unwrap_or_default();
            let value = identifier.first(input).ok()?.unwrap_or_default();
            if !is_falsy(&value) && !is_falsy(&blueprint) {
                keys.push((blueprint.as_str()?.to_owned(), self.name(&value)?));
            }
        }
        Some(keys)
    }
}

/// Whether Ocean drops an item with this value as identifier or blueprint.
fn is_falsy(value: &Val) -> bool {
    match value {
        Val::Null => true,
        Val::Bool(is) => !is,
        Val::Num(number) => *number == 0.0,
        Val::Str(text) => text.is_empty(),
        Val::Arr(_) => value.items().is_some_and(<[Val]>::is_empty),
        Val::Obj(_) => value.fields().is_some_and(|mut fields| fields.next().is_none()),
    }
}

/// The first path of an expression, as Ocean finds it; Ocean removes it from a row whose items are parsed.
pub(super) fn first_path(expression: &str) -> Option<&str> {
    let expression = expression.trim();
    let chain = match expression.strip_prefix('(') {
        Some(inner) => inner.split_once(')')?.0,
        None => expression,
    };
    chain.split('|').map(str::trim).find_map(path_of)
}

/// The path at the start of a segment, unless the segment binds a variable.
fn path_of(segment: &str) -> Option<&str> {
    let after_dot = segment.strip_prefix('.')?.trim_start();
    if after_dot.strip_prefix("as").is_some_and(|rest| rest.trim_start().starts_with('$')) {
        return None;
    }
    let part = |rest: &str| {
        let bracket = |rest: &str| rest.strip_prefix('[')?.find(']').filter(|at| *at > 0).map(|at| at + 2);
        let word = |rest: &str| Some(rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len()));
        match rest.strip_prefix('.') {
            Some(after) => bracket(after).or_else(|| word(after).filter(|len| *len > 0)).map(|len| len + 1),
            None => bracket(rest),
        }
    };
    let mut end = 0;
    while let Some(len) = part(segment.get(end..)?) {
        end += len;
    }
    segment.get(..end).filter(|path| !path.is_empty())
}
