//! Regular expressions, on a matcher that needs time in proportion to the text.
use std::cell::RefCell;
use std::collections::HashMap;

use regex::{Match, Regex, RegexBuilder};

use super::budget;
use super::value::{Error, Val, ValR};

/// What a compiled expression may take.
const SIZE: usize = 1 << 20;
/// How many compiled expressions a thread keeps.
const KEPT: usize = 32;

thread_local! {
    /// Compiling `\p{L}` takes far longer than matching with it.
    static COMPILED: RefCell<HashMap<(String, String), Regex>> = RefCell::default();
}

fn compiled(pattern: &str, flags: &str) -> Result<Regex, Error> {
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
    COMPILED.with_borrow_mut(|compiled| {
        if compiled.len() >= KEPT {
            compiled.clear();
        }
        compiled.insert(key, regex.clone());
    });
    Ok(regex)
}

/// Calls `each` with what lies before a match, and the match as jq shows it; returns where the last match ended.
fn each_match(value: &Val, pattern: &Val, flags: &Val, mut each: impl FnMut(&str, Val)) -> Result<usize, Error> {
    let not_text = |value: &Val| Error::str(format_args!("{} cannot be matched, as it is not a string", value.shown()));
    let subject = value.as_str().ok_or_else(|| not_text(value))?;
    let pattern = pattern.as_str().ok_or_else(|| not_text(pattern))?;
    let flags = match flags {
        Val::Null => "",
        flags => flags.as_str().ok_or_else(|| Error::str(format_args!("{} is not a string", flags.shown())))?,
    };
    let regex = compiled(pattern, flags)?;
    let (mut end, mut chars, mut counted) = (0, 0, 0);
    budget::steps(subject.len() / 64);
    for captures in regex.captures_iter(subject) {
        let Some(whole) = captures.get(0) else { continue };
        // The search for the next may look at all that is left.
        budget::steps(2 + (subject.len() - whole.end()) / 64);
        if flags.contains('n') && whole.is_empty() {
            continue;
        }
        chars += subject[counted..whole.start()].chars().count();
        counted = whole.start();
        let groups = captures.iter().zip(regex.capture_names()).skip(1);
        let groups = groups.map(|(group, name)| {
            let offset = |group: Match<'_>| chars_between(subject, whole.start(), group.start(), chars);
            let mut fields = found(group, group.map(offset));
            fields.push(("name", name.map_or(Val::Null, Val::string)));
            object(fields)
        });
        let groups = Val::array(groups);
        let mut fields = found(Some(whole), Some(chars));
        fields.push(("captures", groups));
        each(&subject[end..whole.start()], object(fields));
        end = whole.end();
        if !flags.contains('g') {
            break;
        }
    }
    Ok(end)
}

/// The place of a group in characters, which may lie before its match as little as after it.
fn chars_between(subject: &str, from: usize, to: usize, chars: usize) -> usize {
    chars + subject.get(from..to).map_or(0, |between| between.chars().count())
}

fn found(found: Option<Match<'_>>, offset: Option<usize>) -> Vec<(&'static str, Val)> {
    let text = found.map(|found| found.as_str());
    vec![
        ("offset", offset.map_or(Val::Num(-1.0), Val::from)),
        ("length", text.map_or(0, |text| text.chars().count()).into()),
        ("string", text.map_or(Val::Null, Val::string)),
    ]
}

fn object(fields: Vec<(&'static str, Val)>) -> Val {
    Val::object(fields.into_iter().map(|(key, value)| (key.into(), value)))
}

/// Every match.
pub(super) fn matches(value: &Val, pattern: &Val, flags: &Val) -> ValR {
    let mut matches = Vec::new();
    each_match(value, pattern, flags, |_, found| matches.push(found))?;
    Ok(Val::array(matches))
}

/// The text between the matches, as strings, and the matches, in turn.
pub(super) fn parts(value: &Val, pattern: &Val, flags: &Val) -> ValR {
    let mut parts = Vec::new();
    let end = each_match(value, pattern, flags, |before, found| parts.extend([Val::string(before), found]))?;
    let rest = value.as_str().and_then(|text| text.get(end..)).unwrap_or_default();
    parts.push(Val::string(rest));
    Ok(Val::array(parts))
}
