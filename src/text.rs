//! Makes text from outside safe to print. Names, tags and server responses are data: they must not act as commands to a
//! terminal or a CI runner, and must not reveal our secrets.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Write};

use crate::secrets;

/// Displays text without our secrets, with control characters escaped, truncated to `limit` characters.
///
/// Covers C0 and C1 controls (terminal escapes, line breaks), the bidirectional overrides, which reorder what a reader
/// sees, and `##`, which can start a command anywhere in a log line: `##[` in GitHub Actions and Azure Pipelines,
/// `##vso[` in Azure Pipelines. `::` starts one only at the beginning of a line, where text from outside never is.
pub(crate) struct Printable<'a> {
    text: Cow<'a, str>,
    limit: usize,
}

/// The most bytes of a text to process, far more than is ever shown.
const LOOKED_AT: usize = 64 << 10;

/// For names, ids and messages: long enough for all of them in practice.
pub(crate) fn printable(text: &str) -> Printable<'_> {
    printable_up_to(text, 500)
}

/// The same for longer texts.
pub(crate) fn printable_up_to(text: &str, limit: usize) -> Printable<'_> {
    Printable { text: secrets::hide(beginning(text, LOOKED_AT).trim()), limit }
}

/// The start of a text, at most this many bytes, without cutting a character.
pub(crate) fn beginning(text: &str, most: usize) -> &str {
    (0..=most.min(text.len())).rev().find_map(|end| text.get(..end)).unwrap_or_default()
}

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        let mut after_hash = false;
        for (index, c) in self.text.chars().enumerate() {
            if index == self.limit {
                return f.write_char('…');
            }
            let is_command = c == '#' && after_hash;
            match c {
                '\n' | '\r' | '\t' => f.write_char(' ')?,
                c if c.is_control() || is_bidi_control(c) || is_command => write!(f, "{}", c.escape_unicode())?,
                c => f.write_char(c)?,
            }
            after_hash = c == '#' && !is_command;
        }
        Ok(())
    }
}

fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Makes text harmless to whoever reads the log. `::` at the beginning of a line is a command to GitHub's runner; `##[`
/// and `##vso[` anywhere are commands to it and to Azure Pipelines; C1 controls are commands to a terminal;
/// bidirectional overrides mislead people. JSON keeps its meaning, because all but the first can only occur inside
/// strings.
pub fn neutralize(text: &str) -> Cow<'_, str> {
    let mut neutral = Cow::Borrowed(text);
    if text.contains("##") {
        neutral = Cow::Owned(neutral.replace("##", "#\\u0023"));
    }
    let is_odd = |c: char| matches!(c, '\u{7f}'..='\u{9f}') || is_bidi_control(c);
    if neutral.bytes().any(|byte| byte >= 0x7f) && neutral.contains(is_odd) {
        let escaped = neutral.chars().fold(String::with_capacity(neutral.len()), |mut escaped, c| {
            if is_odd(c) {
                escaped += &format!("\\u{:04x}", u32::from(c));
            } else {
                escaped.push(c);
            }
            escaped
        });
        neutral = Cow::Owned(escaped);
    }
    let starts_command = |line: &str| line.trim_start().starts_with("::");
    if neutral.contains("::") && neutral.split(['\n', '\r']).any(starts_command) {
        let lines: String = neutral
            .split_inclusive(['\n', '\r'])
            .map(|line| if starts_command(line) { line.replacen("::", ": :", 1) } else { line.to_owned() })
            .collect();
        neutral = Cow::Owned(lines);
    }
    neutral
}

/// Makes everything written to it harmless, as [`neutralize`] does. Expects whole lines.
pub(crate) struct Neutralized<W>(pub(crate) W);

impl<W: Write> Write for Neutralized<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match neutralize(&String::from_utf8_lossy(bytes)) {
            Cow::Borrowed(_) => self.0.write_all(bytes)?,
            Cow::Owned(text) => self.0.write_all(text.as_bytes())?,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVIL: &str = "x\n::error::y\r::set-output name=a::b ##[stop-commands]z ##vso[task.complete result=Succeeded]";

    #[test]
    fn a_terminal_escape_is_shown_and_not_obeyed() {
        assert_eq!(printable("a\u{1b}[31mred").to_string(), "a\\u{1b}[31mred");
        assert_eq!(printable("\u{202e}evil").to_string(), "\\u{202e}evil");
    }

    #[test]
    fn line_breaks_become_spaces_so_that_a_message_stays_one_line() {
        assert_eq!(printable("a\r\n::error::b\n").to_string(), "a  ::error::b");
    }

    #[test]
    fn a_command_in_the_middle_of_a_line_is_none() {
        assert_eq!(printable("a ##[error]b #[x] ###[y]").to_string(), "a #\\u{23}[error]b #[x] #\\u{23}#[y]");
        assert_eq!(printable("##vso[task.x]").to_string(), "#\\u{23}vso[task.x]");
        assert!(!printable("####\n##").to_string().contains("##"));
    }

    #[test]
    fn long_text_is_cut_with_an_ellipsis() {
        let text = "é".repeat(600);
        let shown = printable(&text).to_string();
        assert_eq!(shown.chars().count(), 501);
        assert!(shown.ends_with('…'));
        assert_eq!((beginning("aé", 2), beginning("aé", 3), beginning("aé", 9)), ("a", "aé", "aé"));
    }

    #[test]
    fn a_secret_is_hidden_before_the_text_is_cut() {
        secrets::keep("text-rs~secret_that.is-not-shown");
        let echo = format!("{}text-rs~secret_that.is-not-shown", "x".repeat(490));
        assert_eq!(printable(&echo).to_string(), format!("{}[redacted]", "x".repeat(490)));
    }

    #[test]
    fn printed_text_holds_no_command() {
        let text = neutralize(EVIL);
        assert!(!text.contains("##"));
        assert!(text.split(['\n', '\r']).all(|line| !line.trim_start().starts_with("::")), "{text}");
        assert!(matches!(neutralize("a::b #[x] plain é\n"), Cow::Borrowed(_)));
    }

    #[test]
    fn json_says_the_same_after_its_commands_are_taken_out() {
        let odd = "a##[error]b###vso[x] \u{7f}\u{85}\u{9b}31m\u{202e}\u{2066}é";
        let line = serde_json::json!({ "name": odd, "::error::": 1, "####": "#" }).to_string();
        let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(read(&neutralize(&line)), read(&line));
        let mut output = Vec::new();
        Neutralized(&mut output).write_all(line.as_bytes()).unwrap();
        let output = String::from_utf8(output).unwrap();
        assert!(!output.contains("##") && !output.contains(|c: char| c.is_control() || is_bidi_control(c)), "{output}");
    }
}
