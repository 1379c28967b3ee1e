//! Parses values from JSON, and writes them within a size limit.
use std::fmt;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::budget;
use super::value::Val;
use crate::text::beginning;

impl Val {
    /// Reads one JSON value.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(text)
    }

    /// Writes JSON of at most `limit` bytes; [`None`] if it would be longer.
    pub(crate) fn to_json(&self, limit: usize) -> Option<String> {
        write(self, limit).ok()
    }
}

/// Stops once the limit is passed; the error holds what was written so far.
pub(super) fn write(value: &Val, limit: usize) -> Result<String, String> {
    let mut writer = Writer { out: String::new(), limit };
    match writer.value(value) {
        Some(()) => Ok(writer.out),
        None => {
            let end = beginning(&writer.out, limit).len();
            writer.out.truncate(end);
            Err(writer.out)
        }
    }
}

struct Writer {
    out: String,
    limit: usize,
}

impl Writer {
    fn push(&mut self, text: &str) -> Option<()> {
        budget::bytes(text.len());
        // Pushes little more than the limit, however long the string is.
        let room = self.limit.saturating_sub(self.out.len());
        self.out.push_str(beginning(text, room.saturating_add(4)));
        (self.out.len() <= self.limit).then_some(())
    }

    fn text(&mut self, text: &str) -> Option<()> {
        let mut rest = text;
        self.push("\"")?;
        while let Some(at) = rest.find(|c: char| matches!(c, '"' | '\\' | '\0'..='\x1f' | '\x7f')) {
            let (plain, special) = rest.split_at(at);
            let (special, tail) = special.split_at(1);
            self.push(plain)?;
            match special {
                "\"" => self.push("\\\""),
                "\\" => self.push("\\\\"),
                "\n" => self.push("\\n"),
                "\r" => self.push("\\r"),
                "\t" => self.push("\\t"),
                "\x08" => self.push("\\b"),
                "\x0c" => self.push("\\f"),
                other => self.push(&format!("\\u{:04x}", other.bytes().next().unwrap_or_default())),
            }?;
            rest = tail;
        }
        self.push(rest)?;
        self.push("\"")
    }

    fn value(&mut self, value: &Val) -> Option<()> {
        budget::steps(1);
        match value {
            Val::Null => self.push("null"),
            Val::Bool(true) => self.push("true"),
            Val::Bool(false) => self.push("false"),
            Val::Num(number) => self.push(&decimal(*number)),
            Val::Str(text) => self.text(text),
            Val::Arr(array) => {
                self.push("[")?;
                for (index, item) in array.items.iter().enumerate() {
                    self.push(if index == 0 { "" } else { "," })?;
                    self.value(item)?;
                }
                self.push("]")
            }
            Val::Obj(object) => {
                self.push("{")?;
                for (index, (key, value)) in object.fields.iter().enumerate() {
                    self.push(if index == 0 { "" } else { "," })?;
                    self.text(key)?;
                    self.push(":")?;
                    self.value(value)?;
                }
                self.push("}")
            }
        }
    }
}

/// A number as jq prints it: the fewest digits that identify it, with an exponent for very large and small ones; NaN as
/// null.
fn decimal(number: f64) -> String {
    if number.is_nan() {
        return "null".to_owned();
    }
    let number = number.clamp(f64::MIN, f64::MAX);
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let count = i32::try_from(digits.bytes().filter(u8::is_ascii_digit).count()).unwrap_or(i32::MAX);
    if exponent < -4 || exponent >= count + 15 {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    format!("{number}")
}

impl<'de> Deserialize<'de> for Val {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Val;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Val, E> {
        Ok(Val::Null)
    }

    fn visit_bool<E>(self, is: bool) -> Result<Val, E> {
        Ok(Val::Bool(is))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Val, E> {
        Ok(Val::Num(number as f64))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Val, E> {
        Ok(Val::Num(number as f64))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Val, E> {
        Ok(Val::Num(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Val, E> {
        Ok(Val::string(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Val, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element()? {
            budget::bytes(size_of::<Val>());
            array.push(item);
        }
        Ok(Val::array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Val, A::Error> {
        let mut fields = Vec::new();
        while let Some(entry) = entries.next_entry::<String, Val>()? {
            budget::bytes(size_of_val(&entry) + entry.0.len());
            fields.push((Arc::from(entry.0), entry.1));
        }
        Ok(Val::object(fields))
    }
}
