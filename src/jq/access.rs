//! Access to parts of a value: indexing, slicing and updates, as in jq.
use std::sync::Arc;

use jaq_core::box_iter::{BoxIter, box_once};
use jaq_core::path::Opt;
use jaq_core::val::Range;
use jaq_core::{Exn, ValX};

use super::budget;
use super::json;
use super::value::{Array, Error, Object, Val, ValR};

/// The largest index that can be written to in an array.
const INDEX_LIMIT: f64 = 1e6;

impl Val {
    fn no_iterating(&self) -> Error {
        match self {
            Self::Null => Error::str("Cannot iterate over null"),
            other => Error::str(format_args!("Cannot iterate over {}", other.shown())),
        }
    }

    fn no_index(&self, index: &Self) -> Error {
        match index {
            Self::Str(key) => {
                let key: String = key.chars().take(40).collect();
                Error::str(format_args!("Cannot index {} with \"{key}\"", self.kind()))
            }
            other => Error::str(format_args!("Cannot index {} with {}", self.kind(), other.kind())),
        }
    }

    /// The position of an index in an array; negative ones count from the end.
    fn place(index: f64, len: usize) -> Option<usize> {
        if index.is_nan() {
            return None;
        }
        let index = if index < 0.0 { index.floor() + len as f64 } else { index.floor() };
        (index >= 0.0).then_some(index as usize)
    }

    /// The start and end of a slice of something with this length.
    fn bounds(range: &Range<&Self>, len: usize) -> Result<(usize, usize), Error> {
        let bound = |bound: Option<&Self>, absent: f64| match bound {
            None | Some(Self::Null) => Ok(absent),
            Some(Self::Num(number)) if *number < 0.0 => Ok((number + len as f64).max(0.0)),
            Some(Self::Num(number)) => Ok(*number),
            Some(_) => Err(Error::str("Start and end indices of an array slice must be numbers")),
        };
        let start = (bound(range.start, 0.0)?.floor() as usize).min(len);
        let end = (bound(range.end, len as f64)?.ceil() as usize).min(len);
        Ok((start, end.max(start)))
    }

    /// The bounds of a slice written as an object.
    fn as_range(&self) -> Option<Range<&Self>> {
        let Self::Obj(object) = self else { return None };
        Some(object.fields.get("start")..object.fields.get("end"))
    }

    /// The positions of one array within another.
    pub(super) fn places(within: &[Self], part: &[Self]) -> Self {
        budget::steps(within.len());
        if part.is_empty() {
            return Self::Null;
        }
        let windows = within.windows(part.len()).enumerate();
        Self::array(windows.filter(|(_, window)| *window == part).map(|(at, _)| at.into()))
    }

    fn slice_text(text: &str, start: usize, end: usize) -> Self {
        budget::steps(text.len() / 1024);
        let at = |index| text.char_indices().nth(index).map_or(text.len(), |(at, _)| at);
        Self::string(&text[at(start)..at(end)])
    }
}

impl jaq_core::ValT for Val {
    fn from_num(number: &str) -> ValR {
        number.parse().map(Self::Num).map_err(|_| Error::str(format_args!("{number} is no number")))
    }

    fn from_map<I: IntoIterator<Item = (Self, Self)>>(fields: I) -> ValR {
        let keyed = fields.into_iter().map(|(key, value)| match key {
            Self::Str(key) => Ok((key, value)),
            other => Err(Error::str(format_args!("Cannot use {} as object key", other.shown()))),
        });
        Ok(Self::object(keyed.collect::<Result<Vec<_>, _>>()?))
    }

    fn key_values(self) -> BoxIter<'static, ValR2> {
        budget::step();
        match self {
            Self::Arr(array) => Box::new(
                (0..array.items.len())
                    .map_while(move |index| Some(Ok((index.into(), array.items.get(index)?.clone())))),
            ),
            Self::Obj(object) => Box::new((0..object.fields.len()).map_while(move |index| {
                let (key, value) = object.fields.get_index(index)?;
                Some(Ok((Self::Str(key.clone()), value.clone())))
            })),
            other => box_once(Err(other.no_iterating())),
        }
    }

    fn values(self) -> Box<dyn Iterator<Item = ValR>> {
        budget::step();
        match self {
            Self::Arr(array) => {
                Box::new((0..array.items.len()).map_while(move |index| array.items.get(index).cloned().map(Ok)))
            }
            Self::Obj(object) => Box::new(
                (0..object.fields.len()).map_while(move |index| Some(Ok(object.fields.get_index(index)?.1.clone()))),
            ),
            other => box_once(Err(other.no_iterating())),
        }
    }

    fn index(self, index: &Self) -> ValR {
        budget::step();
        Ok(match (&self, index) {
            (Self::Obj(object), Self::Str(key)) => object.fields.get(&**key).cloned().unwrap_or_default(),
            (Self::Arr(array), Self::Num(number)) => {
                let place = Self::place(*number, array.items.len());
                place.and_then(|place| array.items.get(place)).cloned().unwrap_or_default()
            }
            (Self::Arr(array), Self::Arr(part)) => Self::places(&array.items, &part.items),
            (Self::Null, Self::Str(_) | Self::Num(_)) => Self::Null,
            (Self::Null | Self::Arr(_) | Self::Str(_), Self::Obj(_)) => match index.as_range() {
                Some(range) => return self.range(range),
                None => return Err(self.no_index(index)),
            },
            _ => return Err(self.no_index(index)),
        })
    }

    fn range(self, range: Range<&Self>) -> ValR {
        budget::step();
        Ok(match &self {
            Self::Null => Self::Null,
            Self::Arr(array) => {
                let (start, end) = Self::bounds(&range, array.items.len())?;
                Self::array(array.items.iter().take(end).skip(start).cloned())
            }
            Self::Str(text) => {
                let (start, end) = Self::bounds(&range, text.chars().count())?;
                Self::slice_text(text, start, end)
            }
            other => return Err(Error::str(format_args!("Cannot index {} with object", other.kind()))),
        })
    }

    fn map_values<'a, I: Iterator<Item = ValX<'a, Self>>>(self, opt: Opt, f: impl Fn(Self) -> I) -> ValX<'a, Self> {
        budget::step();
        match self {
            Self::Arr(array) => {
                let items = array.items.iter().filter_map(|item| f(item.clone()).next());
                items.collect()
            }
            Self::Obj(object) => {
                let fields = object.fields.iter();
                let fields = fields.filter_map(|(key, value)| Some(f(value.clone()).next()?.map(|v| (key.clone(), v))));
                Ok(Self::object(fields.collect::<Result<Vec<_>, _>>()?))
            }
            other => opt.fail(other, |other| Exn::from(other.no_iterating())),
        }
    }

    fn map_index<'a, I: Iterator<Item = ValX<'a, Self>>>(
        self,
        index: &Self,
        opt: Opt,
        f: impl Fn(Self) -> I,
    ) -> ValX<'a, Self> {
        budget::step();
        let wrong = |error: Error, value| opt.fail(value, |_| Exn::from(error));
        match (self, index) {
            (Self::Obj(mut object), Self::Str(key)) => {
                let change = Object::make_mut(&mut object);
                let old = change.fields.get_mut(&**key).map(std::mem::take);
                match f(old.unwrap_or_default()).next().transpose()? {
                    Some(new) => change.insert(key.clone(), new),
                    None => drop(change.fields.shift_remove(&**key)),
                }
                Ok(Self::Obj(object))
            }
            (Self::Null, Self::Str(key)) => Ok(match f(Self::Null).next().transpose()? {
                Some(new) => Self::object([(key.clone(), new)]),
                None => Self::Null,
            }),
            (Self::Null, Self::Num(_)) => match Self::array([]).map_index(index, opt, f)? {
                Self::Arr(array) if array.items.is_empty() => Ok(Self::Null),
                filled => Ok(filled),
            },
            (Self::Arr(mut array), Self::Num(number)) => {
                let len = array.items.len();
                let Some(place) = Self::place(*number, len) else {
                    return wrong(Error::str("Out of bounds negative array index"), Self::Arr(array));
                };
                if *number > INDEX_LIMIT {
                    return wrong(Error::str("Array index too large"), Self::Arr(array));
                }
                let change = Array::make_mut(&mut array);
                let old = change.items.get_mut(place).map(std::mem::take);
                match (f(old.unwrap_or_default()).next().transpose()?, place < len) {
                    (Some(new), true) => change.set(place, new),
                    (Some(new), false) => {
                        (len..place).for_each(|_| change.push(Self::Null));
                        change.push(new);
                    }
                    (None, true) => drop(change.items.remove(place)),
                    (None, false) => {}
                }
                Ok(Self::Arr(array))
            }
            (value @ (Self::Null | Self::Arr(_)), Self::Obj(_)) => match index.as_range() {
                Some(range) => value.map_range(range, opt, f),
                None => wrong(value.no_index(index), value),
            },
            (value, _) => wrong(value.no_index(index), value),
        }
    }

    fn map_range<'a, I: Iterator<Item = ValX<'a, Self>>>(
        self,
        range: Range<&Self>,
        opt: Opt,
        f: impl Fn(Self) -> I,
    ) -> ValX<'a, Self> {
        budget::step();
        let array = match &self {
            Self::Null => Arc::default(),
            Self::Arr(array) => array.clone(),
            other => {
                let error = Error::str(format_args!("Cannot update field at object index of {}", other.kind()));
                return opt.fail(self, |_| Exn::from(error));
            }
        };
        let (start, end) = match Self::bounds(&range, array.items.len()) {
            Ok(bounds) => bounds,
            Err(error) => return opt.fail(self, |_| Exn::from(error)),
        };
        let items = || array.items.iter().cloned();
        let new = match f(Self::array(items().take(end).skip(start))).next().transpose()? {
            Some(Self::Arr(new)) => new,
            None => Arc::default(),
            Some(_) => {
                let error = Error::str("A slice of an array can only be assigned another array");
                return Err(Exn::from(error));
            }
        };
        Ok(Self::array(items().take(start).chain(new.items.iter().cloned()).chain(items().skip(end))))
    }

    fn as_bool(&self) -> bool {
        !matches!(self, Self::Null | Self::Bool(false))
    }

    fn into_string(self) -> Self {
        match self {
            Self::Str(_) => self,
            other => Self::from(json::write(&other, usize::MAX).unwrap_or_default()),
        }
    }
}

type ValR2 = Result<(Val, Val), Error>;

impl From<Range<Val>> for Val {
    fn from(range: Range<Self>) -> Self {
        let bound = |bound: Option<Self>| bound.unwrap_or_default();
        Self::object([("start".into(), bound(range.start)), ("end".into(), bound(range.end))])
    }
}

impl jaq_std::ValT for Val {
    fn into_seq<S: FromIterator<Self>>(self) -> Result<S, Self> {
        match self {
            Self::Arr(array) => {
                budget::bytes(array.items.len() * size_of::<Self>());
                Ok(array.items.iter().cloned().collect())
            }
            other => Err(other),
        }
    }

    fn is_int(&self) -> bool {
        self.as_isize().is_some()
    }

    fn as_isize(&self) -> Option<isize> {
        match self {
            Self::Num(number) if number.fract() == 0.0 && number.abs() < 9.2e18 => Some(*number as isize),
            _ => None,
        }
    }

    fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Num(number) => Some(*number),
            _ => None,
        }
    }

    fn is_utf8_str(&self) -> bool {
        matches!(self, Self::Str(_))
    }

    fn as_bytes(&self) -> Option<&[u8]> {
        self.as_str().map(str::as_bytes)
    }

    fn as_sub_str(&self, part: &[u8]) -> Self {
        Self::string(&String::from_utf8_lossy(part))
    }

    fn from_utf8_bytes(text: impl AsRef<[u8]> + Send + 'static) -> Self {
        Self::string(&String::from_utf8_lossy(text.as_ref()))
    }
}
