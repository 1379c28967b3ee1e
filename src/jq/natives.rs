//! Filters that are not written in jq.
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, general_purpose};
use jaq_core::native::{Filter, Fun, bome, run, unary, v};
use jaq_core::{Cv, RunPtr, ValT as _};
use jaq_std::ValT as _;

use super::value::{Error, MAX_DEPTH, Val, ValR};
use super::{Data, budget, json, math, regex};

/// jaq's filters that are left out: they read the process, write logs, or differ from jq.
const REPLACED: [&str; 16] = [
    "env",
    "debug_empty",
    "stderr_empty",
    "matches",
    "split_matches",
    "split_",
    "fromdateiso8601",
    "todateiso8601",
    "localtime",
    "strflocaltime",
    "reverse",
    "decode_base64",
    "ascii_downcase",
    "ascii_upcase",
    "implode",
    "trim",
];

pub(super) fn all() -> impl Iterator<Item = Fun<Data>> {
    let jaq = jaq_core::funs().chain(jaq_std::funs().filter(|fun| !REPLACED.contains(&fun.0)));
    jaq.chain(ours().into_iter().map(run::<Data>))
}

pub(super) fn ours() -> Vec<Filter<RunPtr<Data>>> {
    vec![
        ("tojson", v(0), |cv| bome(Ok(Val::from(json::write(&cv.1, usize::MAX).unwrap_or_default())))),
        ("fromjson", v(0), |cv| bome(from_json(&cv.1))),
        ("tonumber", v(0), |cv| bome(to_number(&cv.1))),
        ("toboolean", v(0), |cv| bome(to_boolean(cv.1))),
        ("reverse", v(0), |cv| bome(reverse(&cv.1))),
        ("type", v(0), |cv| bome(Ok(Val::string(cv.1.kind())))),
        ("length", v(0), |cv| bome(length(&cv.1))),
        ("contains", v(1), |cv| unary(cv, |value, part| contains(&value, &part).map(Val::Bool))),
        ("has", v(1), |cv| unary(cv, |value, key| has(&value, &key))),
        ("indices", v(1), |cv| unary(cv, |value, part| indices(value, &part))),
        ("join", v(1), |cv| unary(cv, |value, separator| join(value, &separator))),
        ("delpaths", v(1), |cv| unary(cv, |value, paths| delete_paths(value, &paths))),
        ("nan", v(0), |_| bome(Ok(Val::Num(f64::NAN)))),
        ("infinite", v(0), |_| bome(Ok(Val::Num(f64::INFINITY)))),
        ("isnan", v(0), |cv| bome(number(&cv.1).map(|n| n.is_nan().into()))),
        ("isinfinite", v(0), |cv| bome(number(&cv.1).map(|n| n.is_infinite().into()))),
        ("isnormal", v(0), |cv| bome(number(&cv.1).map(|n| n.is_normal().into()))),
        ("ascii_downcase", v(0), |cv| bome(text(&cv.1, "explode").map(|t| t.to_ascii_lowercase().into()))),
        ("ascii_upcase", v(0), |cv| bome(text(&cv.1, "explode").map(|t| t.to_ascii_uppercase().into()))),
        ("trim", v(0), |cv| bome(text(&cv.1, "trim").map(|t| Val::string(t.trim())))),
        ("implode", v(0), |cv| bome(implode(&cv.1))),
        ("decode_base64", v(0), |cv| bome(decode_base64(&cv.1))),
        ("_base32", v(0), |cv| bome(text(&cv.1, "@base32").map(|t| base32(t).into()))),
        ("_base32d", v(0), |cv| bome(base32_decoded(&cv.1))),
        ("_row", v(1), |cv| unary(cv, |value, format| row(&value, format.as_str().unwrap_or_default()))),
        ("_split", v(1), |cv| unary(cv, |value, separator| split(&value, &separator))),
        ("_matches", v(2), |cv| bome(with_pattern(cv, regex::matches))),
        ("_parts", v(2), |cv| bome(with_pattern(cv, regex::parts))),
    ]
}

fn with_pattern(mut cv: Cv<'_, Data>, f: fn(&Val, &Val, &Val) -> ValR) -> ValR {
    let (flags, pattern) = (cv.0.pop_var(), cv.0.pop_var());
    f(&cv.1, &pattern, &flags)
}

fn number(value: &Val) -> Result<f64, Error> {
    value.as_f64().ok_or_else(|| Error::str(format_args!("{} number required", value.shown())))
}

fn text<'a>(value: &'a Val, what: &str) -> Result<&'a str, Error> {
    value.as_str().ok_or_else(|| Error::str(format_args!("{what} input must be a string")))
}

fn from_json(value: &Val) -> ValR {
    let text = text(value, "fromjson")?;
    if text == "nan" {
        return Ok(Val::Num(f64::NAN));
    }
    budget::bytes(text.len());
    Val::parse(text.as_bytes()).map_err(|error| Error::str(format_args!("{error} (while parsing '{value}')")))
}

fn to_number(value: &Val) -> ValR {
    let Val::Str(text) = value else { return number(value).map(Val::Num) };
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    let parsed = if &**text == "nan" { Ok(f64::NAN) } else { text.parse() };
    match parsed {
        Ok(number) if is_number || number.is_nan() && &**text == "nan" => Ok(Val::Num(number)),
        _ => Err(Error::str(format_args!("{} cannot be parsed as a number", value.shown()))),
    }
}

fn to_boolean(value: Val) -> ValR {
    match (&value, value.as_str()) {
        (Val::Bool(_), _) => Ok(value),
        (_, Some("true")) => Ok(Val::Bool(true)),
        (_, Some("false")) => Ok(Val::Bool(false)),
        _ => Err(Error::str(format_args!("{} cannot be parsed as a boolean", value.shown()))),
    }
}

fn reverse(value: &Val) -> ValR {
    match value {
        Val::Null => Ok(Val::array([])),
        Val::Str(text) => Ok(text.chars().rev().collect::<String>().into()),
        Val::Arr(array) => Ok(Val::array(array.items.iter().rev().cloned())),
        other => Err(Error::str(format_args!("Cannot reverse {}", other.shown()))),
    }
}

fn length(value: &Val) -> ValR {
    Ok(match value {
        Val::Null => 0_usize.into(),
        Val::Num(number) => number.abs().into(),
        Val::Str(text) => {
            budget::steps(text.len() / 1024);
            text.chars().count().into()
        }
        Val::Arr(array) => array.items.len().into(),
        Val::Obj(object) => object.fields.len().into(),
        Val::Bool(_) => return Err(Error::str(format_args!("{} has no length", value.shown()))),
    })
}

fn contains(value: &Val, part: &Val) -> Result<bool, Error> {
    budget::step();
    Ok(match (value, part) {
        (Val::Str(text), Val::Str(part)) => {
            budget::steps(text.len() / 1024);
            text.contains(&**part)
        }
        (Val::Arr(array), Val::Arr(parts)) => {
            for part in &parts.items {
                let mut found = false;
                for item in array.items.iter().filter(|item| item.kind() == part.kind()) {
                    found = contains(item, part)?;
                    if found {
                        break;
                    }
                }
                if !found {
                    return Ok(false);
                }
            }
            true
        }
        (Val::Obj(object), Val::Obj(parts)) => {
            for (key, part) in &parts.fields {
                match object.fields.get(key) {
                    Some(value) if value.kind() == part.kind() && contains(value, part)? => {}
                    _ => return Ok(false),
                }
            }
            true
        }
        _ if value.kind() == part.kind() && !matches!(value, Val::Null) => value == part,
        (Val::Null, Val::Null) => true,
        _ => {
            let (value, part) = (value.shown(), part.shown());
            return Err(Error::str(format_args!("{value} and {part} cannot have their containment checked")));
        }
    })
}

fn has(value: &Val, key: &Val) -> ValR {
    match (value, key) {
        (Val::Obj(object), Val::Str(key)) => Ok(object.fields.contains_key(&**key).into()),
        (Val::Arr(array), Val::Num(index)) => Ok((*index >= 0.0 && *index < array.items.len() as f64).into()),
        (Val::Null, Val::Str(_) | Val::Num(_)) => Ok(Val::Bool(false)),
        _ => {
            let key = key.kind();
            Err(Error::str(format_args!("Cannot check whether {} has a {key} key", value.kind())))
        }
    }
}

fn indices(value: Val, part: &Val) -> ValR {
    match (&value, part) {
        (Val::Str(text), Val::Str(part)) => {
            budget::steps(text.len() / 16);
            if part.is_empty() {
                return Ok(Val::Null);
            }
            let starts = text.char_indices().enumerate();
            Ok(Val::array(starts.filter(|(_, (at, _))| text[*at..].starts_with(&**part)).map(|(n, _)| n.into())))
        }
        (Val::Arr(_), Val::Arr(_)) => value.index(part),
        (Val::Arr(array), _) => Ok(Val::places(&array.items, std::slice::from_ref(part))),
        _ => value.index(part),
    }
}

fn join(value: Val, separator: &Val) -> ValR {
    let mut joined = String::new();
    for (index, item) in value.values().enumerate() {
        let cannot = |item: &Val| Error::str(format_args!("string and {} cannot be added", item.shown()));
        let item = item?;
        let len = [separator, &item].into_iter().filter_map(Val::as_str).map(str::len).sum::<usize>();
        budget::steps(1);
        budget::bytes(len);
        match (index, separator) {
            (0, _) | (_, Val::Null) => {}
            (_, Val::Str(separator)) => joined.push_str(separator),
            _ => return Err(cannot(separator)),
        }
        match &item {
            Val::Null => {}
            Val::Str(text) => joined.push_str(text),
            Val::Bool(_) | Val::Num(_) => joined.push_str(&json::write(&item, usize::MAX).unwrap_or_default()),
            Val::Arr(_) | Val::Obj(_) => return Err(cannot(&item)),
        }
    }
    Ok(joined.into())
}

/// Deletes from the last path to the first, so that no deletion shifts the target of another.
fn delete_paths(value: Val, paths: &Val) -> ValR {
    let Val::Arr(paths) = paths else { return Err(Error::str("Paths must be specified as an array")) };
    budget::bytes(paths.items.len() * size_of::<&Val>());
    let mut paths: Vec<&Val> = paths.items.iter().collect();
    paths.sort_unstable();
    paths.into_iter().rev().try_fold(value, |value, path| match path.items() {
        Some(path) => delete_path(value, path),
        None => Err(Error::str("Path must be specified as an array")),
    })
}

fn delete_path(value: Val, path: &[Val]) -> ValR {
    let Some((first, rest)) = path.split_first() else { return Ok(Val::Null) };
    if path.len() > usize::from(MAX_DEPTH) {
        return Ok(value);
    }
    // Missing parents are not created.
    if matches!(value.clone().index(first)?, Val::Null) && !rest.is_empty() {
        return Ok(value);
    }
    let essential = jaq_core::path::Opt::Essential;
    let changed = value.map_index(first, essential, |inner| {
        let inner = (!rest.is_empty()).then(|| delete_path(inner, rest).map_err(jaq_core::Exn::from));
        inner.into_iter()
    });
    changed.map_err(|exn| exn.get_err().unwrap_or_else(|_| Error::str("Cannot delete")))
}

fn implode(value: &Val) -> ValR {
    let Val::Arr(array) = value else { return Err(Error::str("implode input must be an array")) };
    let chars = array.items.iter().map(|item| match item {
        Val::Num(code) => Ok(char::from_u32(*code as u32).unwrap_or(char::REPLACEMENT_CHARACTER)),
        _ => Err(Error::str("Unicode codepoint must be numeric")),
    });
    Ok(chars.collect::<Result<String, _>>()?.into())
}

/// Accepts input with or without padding, as jq does.
fn decode_base64(value: &Val) -> ValR {
    const LENIENT: GeneralPurposeConfig = general_purpose::PAD
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    let engine = GeneralPurpose::new(&base64::alphabet::STANDARD, LENIENT);
    let text = text(value, "@base64d")?;
    let decoded = engine.decode(text);
    let decoded = decoded.map_err(|_| Error::str(format_args!("{} is not valid base64 data", value.shown())))?;
    Ok(Val::string(&String::from_utf8_lossy(&decoded)))
}

const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

fn base32(text: &str) -> String {
    let digits = text.as_bytes().chunks(5).flat_map(|chunk| {
        let bits = chunk.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte)) << (8 * (5 - chunk.len()));
        let count = (chunk.len() * 8).div_ceil(5);
        (0..8).map(move |digit| match BASE32.get((bits >> (35 - 5 * digit)) as usize & 31) {
            Some(code) if digit < count => char::from(*code),
            _ => '=',
        })
    });
    digits.collect()
}

fn base32_decoded(value: &Val) -> ValR {
    let (mut bits, mut count, mut decoded) = (0_u32, 0, Vec::new());
    for byte in text(value, "@base32d")?.bytes().filter(|byte| *byte != b'=') {
        let Some(digit) = BASE32.iter().position(|code| *code == byte) else {
            return Err(Error::str(format_args!("{} is not valid base32 data", value.shown())));
        };
        bits = bits << 5 | digit as u32;
        count += 5;
        if count >= 8 {
            count -= 8;
            decoded.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    Ok(Val::string(&String::from_utf8_lossy(&decoded)))
}

/// A line in a format: `csv` or `tsv`.
fn row(value: &Val, format: &str) -> ValR {
    let is_csv = format == "csv";
    let Val::Arr(array) = value else {
        return Err(Error::str(format_args!("{} cannot be {format}-formatted, only an array can be", value.shown())));
    };
    let mut row = String::new();
    for (index, item) in array.items.iter().enumerate() {
        if index > 0 {
            row.push(if is_csv { ',' } else { '\t' });
        }
        budget::steps(1);
        budget::bytes(item.as_str().map_or(0, str::len));
        match item {
            Val::Null => {}
            Val::Str(text) if is_csv => _ = write!(row, "\"{}\"", text.replace('"', "\"\"")),
            Val::Str(text) => {
                let text = text.replace('\\', "\\\\").replace('\t', "\\t");
                row.push_str(&text.replace('\n', "\\n").replace('\r', "\\r"));
            }
            Val::Bool(_) | Val::Num(_) => row.push_str(&json::write(item, usize::MAX).unwrap_or_default()),
            Val::Arr(_) | Val::Obj(_) => {
                return Err(Error::str(format_args!("{} is not valid in a {format} row", item.shown())));
            }
        }
    }
    Ok(row.into())
}

fn split(value: &Val, separator: &Val) -> ValR {
    match (value, separator) {
        (Val::Str(text), Val::Str(separator)) => Ok(math::split(text, separator)),
        _ => Err(Error::str("split input and separator must be strings")),
    }
}
