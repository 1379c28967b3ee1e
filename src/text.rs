//! Text from outside, made safe to print: names, tags and answers of servers are data, never commands to a terminal.

use std::fmt;

/// Displays text with its control characters escaped, cut after `limit` characters.
///
/// Covers C0 and C1 controls (terminal escapes, line breaks), the bidirectional overrides, which reorder what a reader sees,
/// and `##[`, with which a workflow command may begin anywhere in a line of a GitHub Actions log; `::` is one only at the
/// beginning of a line, where no text from outside stands.
pub(crate) struct Printable<'a> {
    text: &'a str,
    limit: usize,
}

/// Names, ids, messages: long enough to be whole in practice.
pub(crate) fn printable(text: &str) -> Printable<'_> {
    Printable { text, limit: 500 }
}

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        let mut hashes = 0;
        for (index, c) in self.text.trim().chars().enumerate() {
            if index == self.limit {
                return f.write_char('…');
            }
            match c {
                '\n' | '\r' | '\t' => f.write_char(' ')?,
                c if c.is_control() || is_bidi_control(c) => write!(f, "{}", c.escape_unicode())?,
                '[' if hashes >= 2 => write!(f, "{}", c.escape_unicode())?,
                c => f.write_char(c)?,
            }
            hashes = if c == '#' { hashes + 1 } else { 0 };
        }
        Ok(())
    }
}

fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_workflow_command_in_the_middle_of_a_line_is_none() {
        assert_eq!(printable("a ##[error]b #[x] ###[y]").to_string(), "a ##\\u{5b}error]b #[x] ###\\u{5b}y]");
    }

    #[test]
    fn long_text_is_cut_with_an_ellipsis() {
        let text = "é".repeat(600);
        let shown = printable(&text).to_string();
        assert_eq!(shown.chars().count(), 501);
        assert!(shown.ends_with('…'));
    }
}
