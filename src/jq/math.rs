//! Arithmetic on values.
use std::ops::{Add, Div, Mul, Neg, Rem, Sub};
use std::sync::Arc;

use super::budget;
use super::value::{Array, Error, Object, Val, ValR};

fn cannot(l: &Val, r: &Val, what: &str) -> ValR {
    Err(Error::str(format_args!("{} and {} cannot be {what}", l.shown(), r.shown())))
}

fn concat(l: &str, r: &str) -> Val {
    budget::text(l.len() + r.len());
    Val::Str(Arc::from([l, r].concat()))
}

impl Add for Val {
    type Output = ValR;

    fn add(self, other: Self) -> ValR {
        budget::steps(1);
        Ok(match (self, other) {
            (Self::Null, value) | (value, Self::Null) => value,
            (Self::Num(l), Self::Num(r)) => Self::Num(l + r),
            (Self::Str(l), Self::Str(r)) => concat(&l, &r),
            (Self::Arr(mut l), Self::Arr(r)) => {
                let items = Array::make_mut(&mut l);
                r.items.iter().for_each(|item| items.push(item.clone()));
                Self::Arr(l)
            }
            (Self::Obj(mut l), Self::Obj(r)) => {
                let fields = Object::make_mut(&mut l);
                r.fields.iter().for_each(|(key, value)| fields.insert(key.clone(), value.clone()));
                Self::Obj(l)
            }
            (l, r) => return cannot(&l, &r, "added"),
        })
    }
}

impl Sub for Val {
    type Output = ValR;

    fn sub(self, other: Self) -> ValR {
        budget::steps(1);
        Ok(match (self, other) {
            (Self::Num(l), Self::Num(r)) => Self::Num(l - r),
            (Self::Arr(l), Self::Arr(r)) => Self::array(l.items.iter().filter(|item| !r.items.contains(item)).cloned()),
            (l, r) => return cannot(&l, &r, "subtracted"),
        })
    }
}

/// Merges objects recursively.
fn merge(l: &mut Arc<Object>, r: &Arc<Object>) {
    let target = Object::make_mut(l);
    for (key, value) in &r.fields {
        budget::steps(1);
        let value = match (target.fields.get_mut(key), value) {
            (Some(Val::Obj(l)), Val::Obj(r)) => {
                let mut merged = std::mem::take(l);
                merge(&mut merged, r);
                Val::Obj(merged)
            }
            _ => value.clone(),
        };
        target.insert(key.clone(), value);
    }
}

impl Mul for Val {
    type Output = ValR;

    fn mul(self, other: Self) -> ValR {
        budget::steps(1);
        Ok(match (self, other) {
            (Self::Num(l), Self::Num(r)) => Self::Num(l * r),
            (Self::Str(text), Self::Num(times)) | (Self::Num(times), Self::Str(text)) => {
                if times < 0.0 || times.is_nan() {
                    return Ok(Self::Null);
                }
                let times = times as usize;
                budget::text(text.len().saturating_mul(times));
                Self::Str(Arc::from(text.repeat(times)))
            }
            (Self::Obj(mut l), Self::Obj(r)) => {
                merge(&mut l, &r);
                Self::Obj(l)
            }
            (l, r) => return cannot(&l, &r, "multiplied"),
        })
    }
}

/// Splits a string; the empty string has no parts.
pub(super) fn split(text: &str, separator: &str) -> Val {
    if text.is_empty() {
        return Val::array([]);
    }
    if separator.is_empty() {
        return Val::array(text.char_indices().map(|(at, c)| Val::string(&text[at..at + c.len_utf8()])));
    }
    Val::array(text.split(separator).map(Val::string))
}

impl Div for Val {
    type Output = ValR;

    fn div(self, other: Self) -> ValR {
        budget::steps(1);
        Ok(match (self, other) {
            (l @ Self::Num(_), r @ Self::Num(0.0)) => {
                return cannot(&l, &r, "divided because the divisor is zero");
            }
            (Self::Num(l), Self::Num(r)) => Self::Num(l / r),
            (Self::Str(l), Self::Str(r)) => split(&l, &r),
            (l, r) => return cannot(&l, &r, "divided"),
        })
    }
}

impl Rem for Val {
    type Output = ValR;

    fn rem(self, other: Self) -> ValR {
        budget::steps(1);
        Ok(match (self, other) {
            (Self::Num(l), Self::Num(r)) if l.is_nan() || r.is_nan() => Self::Num(f64::NAN),
            (Self::Num(l), Self::Num(r)) => match (l as i64).checked_rem(r as i64) {
                Some(rest) => Self::Num(rest as f64),
                // The smallest integer divided by minus one: the remainder is zero.
                None if r as i64 != 0 => Self::Num(0.0),
                None => {
                    return cannot(&Self::Num(l), &Self::Num(r), "divided (remainder) because the divisor is zero");
                }
            },
            (l, r) => return cannot(&l, &r, "divided (remainder)"),
        })
    }
}

impl Neg for Val {
    type Output = ValR;

    fn neg(self) -> ValR {
        match self {
            Self::Num(number) => Ok(Self::Num(-number)),
            other => Err(Error::str(format_args!("{} cannot be negated", other.shown()))),
        }
    }
}
