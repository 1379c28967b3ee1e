//! The order of values: null, false, true, numbers, strings, arrays, objects.
use std::cmp::Ordering;

use super::budget;
use super::value::{Fields, Val};

fn rank(value: &Val) -> u8 {
    match value {
        Val::Null => 0,
        Val::Bool(false) => 1,
        Val::Bool(true) => 2,
        Val::Num(_) => 3,
        Val::Str(_) => 4,
        Val::Arr(_) => 5,
        Val::Obj(_) => 6,
    }
}

fn sorted(fields: &Fields) -> Vec<(&str, &Val)> {
    let mut fields: Vec<_> = fields.iter().map(|(key, value)| (&**key, value)).collect();
    fields.sort_unstable_by_key(|(key, _)| *key);
    fields
}

impl Ord for Val {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Num(l), Self::Num(r)) => l.partial_cmp(r).unwrap_or_else(|| r.is_nan().cmp(&l.is_nan())),
            (Self::Str(l), Self::Str(r)) => {
                budget::steps(l.len().min(r.len()) / 1024);
                l.cmp(r)
            }
            (Self::Arr(l), Self::Arr(r)) => {
                budget::steps(l.items.len().min(r.items.len()));
                l.items.cmp(&r.items)
            }
            (Self::Obj(l), Self::Obj(r)) => {
                budget::steps(l.fields.len() + r.fields.len());
                let (l, r) = (sorted(&l.fields), sorted(&r.fields));
                let keys = l.iter().map(|(key, _)| key).cmp(r.iter().map(|(key, _)| key));
                keys.then_with(|| l.iter().map(|(_, value)| value).cmp(r.iter().map(|(_, value)| value)))
            }
            _ => rank(self).cmp(&rank(other)),
        }
    }
}

#[allow(clippy::non_canonical_partial_ord_impl, reason = "jq's `nan < nan` is true, and sorting needs an order")]
impl PartialOrd for Val {
    /// Like `cmp`, except that NaN is less than NaN.
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Num(l), Self::Num(_)) if l.is_nan() => Some(Ordering::Less),
            _ => Some(self.cmp(other)),
        }
    }
}

impl PartialEq for Val {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Num(l), Self::Num(r)) => l == r,
            (Self::Arr(l), Self::Arr(r)) => {
                budget::steps(l.items.len().min(r.items.len()));
                l.items == r.items
            }
            (Self::Obj(l), Self::Obj(r)) => {
                budget::steps(l.fields.len().min(r.fields.len()));
                l.fields == r.fields
            }
            (Self::Str(l), Self::Str(r)) => {
                budget::steps(l.len().min(r.len()) / 1024);
                l == r
            }
            _ => rank(self) == rank(other),
        }
    }
}

impl Eq for Val {}
