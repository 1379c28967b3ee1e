//! jq's values.
//!
//! Numbers are doubles and keys are strings, as in jq. No value is nested deeper than [`MAX_DEPTH`], and allocations
//! are charged, so comparing, printing and dropping any value is bounded.
use std::fmt;
use std::sync::Arc;

use indexmap::IndexMap;

use super::budget::{self, Stop};
use super::json;

/// Maximum nesting of values.
pub(crate) const MAX_DEPTH: u8 = 128;

pub(super) type Error = jaq_core::Error<Val>;
pub(super) type ValR = Result<Val, Error>;
pub(super) type Fields = IndexMap<Arc<str>, Val>;

/// A JSON value.
#[derive(Clone, Debug, Default)]
pub(crate) enum Val {
    #[default]
    Null,
    Bool(bool),
    Num(f64),
    Str(Arc<str>),
    Arr(Arc<Array>),
    Obj(Arc<Object>),
}

/// The items of an array.
#[derive(Clone, Debug, Default)]
pub(crate) struct Array {
    pub(super) items: Vec<Val>,
    depth: u8,
}

/// The fields of an object, in insertion order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Object {
    pub(super) fields: Fields,
    depth: u8,
}

/// The depth of a value around one with depth `inside`.
fn deeper(inside: u8) -> u8 {
    if inside >= MAX_DEPTH {
        budget::stop(Stop::Depth);
    }
    inside + 1
}

impl Array {
    /// Mutable access to the items; copies them if they are shared.
    pub(super) fn make_mut(this: &mut Arc<Self>) -> &mut Self {
        if Arc::get_mut(this).is_none() {
            budget::bytes(this.items.len() * size_of::<Val>());
        }
        Arc::make_mut(this)
    }

    pub(super) fn push(&mut self, item: Val) {
        budget::bytes(size_of::<Val>());
        self.depth = self.depth.max(deeper(item.depth()));
        self.items.push(item);
    }

    pub(super) fn set(&mut self, index: usize, item: Val) {
        self.depth = self.depth.max(deeper(item.depth()));
        if let Some(place) = self.items.get_mut(index) {
            *place = item;
        }
    }
}

impl Object {
    pub(super) fn make_mut(this: &mut Arc<Self>) -> &mut Self {
        if Arc::get_mut(this).is_none() {
            budget::bytes(this.fields.len() * Self::FIELD);
        }
        Arc::make_mut(this)
    }

    /// Approximate bytes of a field besides the text of its key and the target of its value.
    const FIELD: usize = 64;

    pub(super) fn insert(&mut self, key: Arc<str>, value: Val) {
        budget::bytes(Self::FIELD);
        self.depth = self.depth.max(deeper(value.depth()));
        self.fields.insert(key, value);
    }
}

impl Val {
    pub(crate) fn string(text: &str) -> Self {
        budget::text(text.len());
        budget::bytes(size_of::<usize>() * 2);
        Self::Str(text.into())
    }

    /// Makes an array; the budget limits its items.
    pub(super) fn array(items: impl IntoIterator<Item = Self>) -> Self {
        let mut array = Array { items: Vec::new(), depth: 1 };
        items.into_iter().for_each(|item| array.push(item));
        Self::Arr(Arc::new(array))
    }

    /// Makes an object; of duplicate keys the last one wins.
    pub(crate) fn object(fields: impl IntoIterator<Item = (Arc<str>, Self)>) -> Self {
        let mut object = Object { fields: Fields::new(), depth: 1 };
        fields.into_iter().for_each(|(key, value)| object.insert(key, value));
        Self::Obj(Arc::new(object))
    }

    fn depth(&self) -> u8 {
        match self {
            Self::Arr(array) => array.depth,
            Self::Obj(object) => object.depth,
            _ => 0,
        }
    }

    /// The value under a key of an object.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Obj(object) => object.fields.get(key),
            _ => None,
        }
    }

    pub(crate) fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn items(&self) -> Option<&[Self]> {
        match self {
            Self::Arr(array) => Some(&array.items),
            _ => None,
        }
    }

    pub(crate) fn fields(&self) -> Option<impl Iterator<Item = (&Arc<str>, &Self)>> {
        match self {
            Self::Obj(object) => Some(object.fields.iter()),
            _ => None,
        }
    }

    /// The name that jq's `type` gives.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "boolean",
            Self::Num(_) => "number",
            Self::Str(_) => "string",
            Self::Arr(_) => "array",
            Self::Obj(_) => "object",
        }
    }

    /// The kind and the shortened value, as in jq's error messages.
    pub(super) fn shown(&self) -> String {
        format!("{} ({self})", self.kind())
    }
}

/// Shortened, because this is only for messages.
impl fmt::Display for Val {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 40;
        let Err(cut) = json::write(self, SHOWN) else {
            return f.write_str(&json::write(self, SHOWN).unwrap_or_default());
        };
        write!(f, "{cut}...")
    }
}

impl From<bool> for Val {
    fn from(is: bool) -> Self {
        Self::Bool(is)
    }
}

impl From<f64> for Val {
    fn from(number: f64) -> Self {
        Self::Num(number)
    }
}

impl From<isize> for Val {
    fn from(number: isize) -> Self {
        Self::Num(number as f64)
    }
}

impl From<usize> for Val {
    fn from(number: usize) -> Self {
        Self::Num(number as f64)
    }
}

impl From<String> for Val {
    fn from(text: String) -> Self {
        Self::string(&text)
    }
}

impl FromIterator<Val> for Val {
    fn from_iter<I: IntoIterator<Item = Self>>(items: I) -> Self {
        Self::array(items)
    }
}
