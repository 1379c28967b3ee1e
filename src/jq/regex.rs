//! Regular expressions, with a matcher that runs in linear time.
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use regex::{Captures, Match, Regex, RegexBuilder};

use super::budget;
use super::value::{Error, Val, ValR};

/// Maximum size of a compiled expression, in bytes.
const SIZE: usize = 1 << 20;
/// Compiled expressions that a thread keeps.
const KEPT: usize = 32;

thread_local! {
    /// Compiling `\p{L}` takes far longer than matching with it. `Rc`, because a clone of a regex starts with an empty
    /// cache.
    static COMPILED: RefCell<HashMap<(String, String), Rc<Regex>>> = RefCell::default();
}

fn compiled(pattern: &str, flags: &str) -> Result<Rc<Regex>, Error> {
    let key = (pattern.to_owned(), flags.to_owned());
    if let Some(regex) = COMPILED.with_borrow(|compiled| compiled.get(&key).cloned()) {
        return Ok(regex);
    }
    budget::steps(500 + pattern.len());
    if let Some(unknown) = flags.chars().find(|flag| !"gimnpslx".contains(*flag)) {
        return Err(Error::str(format_args!("{flags} is not a valid modifier string: {unknown}")));
    }
    let regex = RegexBuilder::new(pattern)
        .case_insensitive(flags.contains('i'))
        .ignore_whitespace(flags.contains('x'))
        .dot_matches_new_line(flags.contains('p'))
        .size_limit(SIZE)
        .dfa_size_limit(SIZE)
        .build()
        .map_err(|error| {
            let why = error.to_string().lines().last().unwrap_or_default().to_owned();
            let pattern: String = pattern.chars().take(80).collect();
            Error::str(format_args!("{pattern} is not a regular expression that is understood: {why}"))
        })?;
    let regex = Rc::new(regex);
    COMPILED.with_borrow_mut(|compiled| {
        if compiled.len() >= KEPT {
            compiled.clear();
        }
        compiled.insert(key, Rc::clone(&regex));
    });
    Ok(regex)
}

/// Calls `each` for every match; group zero is the whole match.
fn each_match(
    value: &Val,
    pattern: &Val,
    flags: &Val,
    mut each: impl FnMut(&str, &Regex, Match<'_>, &Captures<'_>),
) -> Result<(), Error> {
    let not_text = |value: &Val| Error::str(format_args!("{} cannot be matched, as it is not a string", value.shown()));
    let subject = value.as_str().ok_or_else(|| not_text(value))?;
    let pattern = pattern.as_str().ok_or_else(|| not_text(pattern))?;
    let flags = match flags {
        Val::Null => "",
        flags => flags.as_str().ok_or_else(|| Error::str(format_args!("{} is not a string", flags.shown())))?,
    };
    let regex = compiled(pattern, flags)?;
    budget::steps(subject.len() / 64);
    for captures in regex.captures_iter(subject) {
        let Some(whole) = captures.get(0) else { continue };
        // The search for the next match may scan the rest of the text.
        budget::steps(2 + (subject.len() - whole.end()) / 64);
        if flags.contains('n') && whole.is_empty() {
            continue;
        }
        each(subject, &regex, whole, &captures);
        if !flags.contains('g') {
            break;
        }
    }
    Ok(())
}

fn object<const N: usize>(fields: [(&str, Val); N]) -> Val {
    Val::object(fields.into_iter().map(|(key, value)| (key.into(), value)))
}

fn string(found: Option<Match<'_>>) -> Val {
    found.map_or(Val::Null, |found| Val::string(found.as_str()))
}

/// All matches in jq's form, with offsets in characters.
pub(super) fn matches(value: &Val, pattern: &Val, flags: &Val) -> ValR {
    let mut matches = Vec::new();
    let (mut chars, mut counted) = (0, 0);
    each_match(value, pattern, flags, |subject, regex, whole, captures| {
        let between = |from, to| subject.get(from..to).map_or(0, |text: &str| text.chars().count());
        chars += between(counted, whole.start());
        counted = whole.start();
        let length = |found: Option<Match<'_>>| found.map_or(0, |found| found.as_str().chars().count());
        let groups = captures.iter().zip(regex.capture_names()).skip(1).map(|(group, name)| {
            let offset = group.map_or(Val::Num(-1.0), |group| (chars + between(whole.start(), group.start())).into());
            object([
                ("offset", offset),
                ("length", length(group).into()),
                ("string", string(group)),
                ("name", name.map_or(Val::Null, Val::string)),
            ])
        });
        let groups = Val::array(groups);
        matches.push(object([
            ("offset", chars.into()),
            ("length", length(Some(whole)).into()),
            ("string", string(Some(whole))),
            ("captures", groups),
        ]));
    })?;
    Ok(Val::array(matches))
}

/// The text between the matches as strings, alternating with an object of each match's named groups.
pub(super) fn parts(value: &Val, pattern: &Val, flags: &Val) -> ValR {
    let mut parts = Vec::new();
    let mut end = 0;
    each_match(value, pattern, flags, |subject, regex, whole, captures| {
        parts.push(Val::string(subject.get(end..whole.start()).unwrap_or_default()));
        let groups = captures.iter().zip(regex.capture_names());
        parts.push(Val::object(groups.filter_map(|(group, name)| Some((name?.into(), string(group))))));
        end = whole.end();
    })?;
    let rest = value.as_str().and_then(|text| text.get(end..)).unwrap_or_default();
    parts.push(Val::string(rest));
    Ok(Val::array(parts))
}
