//! The JSON of a response: bounded in depth, with safe descriptions of what is invalid.

use memchr::memchr2;
use serde_json::error::Category;

use super::Failure;
use super::refusal::LONGEST_MESSAGE;
use crate::error::Cause;
use crate::text::printable_up_to;

/// The deepest JSON that is accepted. Resources are about ten levels deep, and downstream consumers may have no limit.
const DEEPEST: usize = 128;

/// Parses the body of a response as JSON.
pub(crate) fn json<'a, T: serde::Deserialize<'a>>(body: &'a [u8]) -> Result<T, Failure> {
    let unreadable = |cause: Cause| Failure::Unreadable(cause);
    match body.trim_ascii_start() {
        [] => Err(unreadable("it is empty".into())),
        [0xef, 0xbb, 0xbf, ..] => Err(unreadable("it begins with a byte order mark".into())),
        [b'{' | b'[', ..] if is_too_deep(body) => {
            Err(unreadable(format!("its JSON is nested more than {DEEPEST} levels deep").into()))
        }
        [b'{' | b'[', ..] => serde_json::from_slice(body).map_err(|error| unreadable(error.into())),
        other => {
            // Long enough for a secret in it to be recognised before the text is cut.
            let text = String::from_utf8_lossy(other.get(..LONGEST_MESSAGE).unwrap_or(other)).into_owned();
            let beginning = printable_up_to(&text, 80);
            Err(unreadable(format!("it is not JSON, but begins with {beginning}").into()))
        }
    }
}

/// Describes where JSON that may contain a secret is invalid. The parser's own message is left out because it quotes
/// the text.
pub(crate) fn place(error: &serde_json::Error) -> String {
    let what = match error.classify() {
        Category::Io | Category::Eof => "it is truncated",
        Category::Syntax => "it is not valid JSON",
        Category::Data => "its JSON has an unexpected structure",
    };
    format!("{what}, at line {} column {}", error.line(), error.column())
}

/// Whether brackets are nested too deeply. The parser reports everything else that is wrong.
fn is_too_deep(json: &[u8]) -> bool {
    let mut depth = 0_usize;
    brackets(json).any(|(bracket, _)| {
        depth = if matches!(bracket, b'{' | b'[') { depth + 1 } else { depth.saturating_sub(1) };
        depth > DEEPEST
    })
}

/// The brackets in a text outside of strings, each with what follows it.
pub(crate) fn brackets(text: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            let next = rest.iter().position(|byte| matches!(byte, b'"' | b'{' | b'}' | b'[' | b']'))?;
            let (_, found) = rest.split_at_checked(next)?;
            let (first, after) = found.split_first()?;
            if *first != b'"' {
                rest = after;
                return Some((*first, after));
            }
            rest = found.get(string(found)?..)?;
        }
    })
}

/// The length of the string that a text begins with, including its quotes.
pub(crate) fn string(text: &[u8]) -> Option<usize> {
    let mut rest = text.strip_prefix(b"\"")?;
    loop {
        let end = memchr2(b'"', b'\\', rest)?;
        let (_, found) = rest.split_at_checked(end)?;
        rest = match found {
            [b'"', rest @ ..] => return Some(text.len() - rest.len()),
            [_, _, rest @ ..] => rest,
            _ => return None,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json_of(body: &[u8]) -> Result<serde_json::Value, String> {
        json(body).map_err(|failure| failure.to_string())
    }

    #[test]
    fn an_answer_that_is_no_json_is_told_by_what_it_is() {
        let odd: [(&[u8], &str); 8] = [
            (b"", "it is empty"),
            (b" \n ", "it is empty"),
            (b"\xef\xbb\xbf{}", "byte order mark"),
            (b"<html>Proxy \x1b[31m##[error]says no", "begins with <html>Proxy \\u{1b}[31m#\\u{23}[error]says no"),
            (b"\x1f\x8b\x08", "it is not JSON"),
            (b"null", "it is not JSON, but begins with null"),
            (b"{\"a\": ", "EOF while parsing"),
            (b"{\"a\": \"\xff\"}", "unicode"),
        ];
        for (body, said) in odd {
            let error = json_of(body).unwrap_err();
            assert!(error.starts_with("the answer cannot be understood: ") && error.contains(said), "{error}");
        }
    }

    #[test]
    fn json_is_read_to_a_depth_and_brackets_in_strings_are_none() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(!is_too_deep(nested(DEEPEST).as_bytes()));
        assert!(json_of(nested(DEEPEST + 1).as_bytes()).unwrap_err().contains("nested more than 128"));
        assert!(json_of("[".repeat(1_000_000).as_bytes()).unwrap_err().contains("nested more than 128"));
        let text = "[{(".repeat(200);
        assert!(json_of(serde_json::json!({"a": format!("\\\"{text}\\")}).to_string().as_bytes()).is_ok());
    }

    #[test]
    fn of_json_with_a_secret_only_the_place_is_told() {
        let place_of = |json: &str| place(&serde_json::from_str::<Vec<u8>>(json).unwrap_err());
        assert_eq!(place_of("\"marked\""), "its JSON has an unexpected structure, at line 1 column 8");
        assert_eq!(place_of("[1,\n x"), "it is not valid JSON, at line 2 column 2");
        assert_eq!(place_of("[1"), "it is truncated, at line 1 column 2");
    }
}
