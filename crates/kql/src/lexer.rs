//! Turns query text into tokens with positions. Drops comments; parses and joins string literals.

use super::error::{KqlError, Pos};
use super::literal;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token {
    /// A name, a keyword, or an operator that is spelled like one: `in~`, `!contains`.
    Word(String),
    /// A parsed string literal; adjacent literals are joined.
    Text(String),
    Long(i64),
    Real(f64),
    /// Milliseconds.
    Timespan(i64),
    /// `datetime(…)`, `long(…)` and so on: the type's name, and the unparsed text in the parentheses.
    Typed {
        name: String,
        inner: String,
    },
    Mark(&'static str),
    End,
}

#[derive(Clone, Debug)]
pub(crate) struct Lexeme {
    pub token: Token,
    pub pos: Pos,
    /// Not preceded by a space. This tells the operator `project-away` from a subtraction.
    pub glued: bool,
}

/// Longer marks come before their prefixes.
const MARKS: [&str; 28] = [
    "==", "=~", "!=", "!~", "<=", ">=", "<>", "..", "=", "<", ">", ".", ",", ";", ":", "|", "+", "-", "*", "/", "%",
    "(", ")", "[", "]", "{", "}", "?",
];

/// Types whose literals contain text that is not KQL, such as `datetime(2026-01-02)`.
const TYPED: [&str; 12] =
    ["bool", "boolean", "date", "datetime", "decimal", "double", "guid", "int", "long", "real", "time", "timespan"];

/// The tokens of a query; the last one is always [`Token::End`].
pub(crate) fn lex(text: &str) -> Result<Vec<Lexeme>, KqlError> {
    let mut lexer = Lexer { rest: text, pos: Pos { line: 1, column: 1 } };
    let mut lexemes: Vec<Lexeme> = Vec::new();
    loop {
        let glued = !lexer.skip_blanks();
        let pos = lexer.pos;
        let token = lexer.token()?;
        if let (Token::Text(more), Some(Lexeme { token: Token::Text(text), .. })) = (&token, lexemes.last_mut()) {
            text.push_str(more);
            continue;
        }
        let done = token == Token::End;
        lexemes.push(Lexeme { token, pos, glued });
        if done {
            return Ok(lexemes);
        }
    }
}

/// The values of all string literals in a query, in order, as the service reads them: with escapes resolved and
/// adjacent literals joined.
pub fn read_string_literals(text: &str) -> Result<Vec<String>, KqlError> {
    let literals = lex(text)?.into_iter().filter_map(|lexeme| match lexeme.token {
        Token::Text(text) => Some(text),
        _ => None,
    });
    Ok(literals.collect())
}

struct Lexer<'a> {
    rest: &'a str,
    pos: Pos,
}

impl<'a> Lexer<'a> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.rest = &self.rest[c.len_utf8()..];
        if c == '\n' {
            self.pos = Pos { line: self.pos.line + 1, column: 1 };
        } else {
            self.pos.column += 1;
        }
        Some(c)
    }

    fn eat(&mut self, prefix: &str) -> bool {
        let found = self.rest.starts_with(prefix);
        if found {
            for _ in prefix.chars() {
                self.bump();
            }
        }
        found
    }

    fn take_while(&mut self, keep: impl Fn(char) -> bool) -> &'a str {
        let start = self.rest;
        while self.peek().is_some_and(&keep) {
            self.bump();
        }
        &start[..start.len() - self.rest.len()]
    }

    /// Skips white space and comments; returns whether there were any.
    fn skip_blanks(&mut self) -> bool {
        let before = self.rest.len();
        loop {
            self.take_while(|c| c.is_whitespace() || matches!(c, '\u{200b}' | '\u{feff}'));
            if !self.rest.starts_with("//") {
                return self.rest.len() < before;
            }
            self.take_while(|c| !is_line_break(c));
        }
    }

    fn token(&mut self) -> Result<Token, KqlError> {
        let Some(c) = self.peek() else {
            return Ok(Token::End);
        };
        if let Some(text) = self.string_literal()? {
            return Ok(Token::Text(text));
        }
        if c.is_ascii_digit() {
            return self.number();
        }
        if is_name_start(c) {
            return self.word();
        }
        if let Some(word) = self.negated_word() {
            return Ok(Token::Word(word));
        }
        match MARKS.into_iter().find(|mark| self.eat(mark)) {
            Some(mark) => Ok(Token::Mark(mark)),
            None => Err(KqlError::at(self.pos, format!("unexpected character {c:?}"))),
        }
    }

    fn word(&mut self) -> Result<Token, KqlError> {
        let pos = self.pos;
        let mut word = self.take_while(is_name).to_owned();
        if word == "$" {
            return Err(KqlError::at(pos, "unexpected character '$'"));
        }
        if TYPED.contains(&word.as_str()) && self.eat("(") {
            let inner = self.take_while(|c| c != ')' && !is_line_break(c)).trim().to_owned();
            if !self.eat(")") {
                return Err(KqlError::at(self.pos, format!("a {word} literal lacks its closing parenthesis")));
            }
            return Ok(Token::Typed { name: word, inner });
        }
        if word == "in" && self.eat("~") {
            word.push('~');
        }
        Ok(Token::Word(word))
    }

    /// `!in`, `!in~`, `!contains` and so on.
    fn negated_word(&mut self) -> Option<String> {
        let after = self.rest.strip_prefix('!')?;
        if !after.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return None;
        }
        self.bump();
        let mut word = format!("!{}", self.take_while(is_name));
        if word == "!in" && self.eat("~") {
            word.push('~');
        }
        Some(word)
    }

    /// `1`, `0x1f`, `1.5`, `1e3`, or with a unit a timespan: `15m`, `2.5h`.
    fn number(&mut self) -> Result<Token, KqlError> {
        let pos = self.pos;
        if self.eat("0x") || self.eat("0X") {
            let digits = self.take_while(|c| c.is_ascii_alphanumeric());
            return i64::from_str_radix(digits, 16)
                .map(Token::Long)
                .map_err(|_| KqlError::at(pos, format!("'0x{digits}' is not a number")));
        }
        let start = self.rest;
        self.take_while(|c| c.is_ascii_digit());
        let mut whole = true;
        // `1..5` is a range, not the number `1.` and a dot.
        if self.rest.starts_with('.') && !self.rest.starts_with("..") {
            whole = false;
            self.bump();
            self.take_while(|c| c.is_ascii_digit());
        }
        if let Some(length) = exponent(self.rest) {
            whole = false;
            for _ in 0..length {
                self.bump();
            }
        }
        let digits = &start[..start.len() - self.rest.len()];
        let unit = self.take_while(is_name);
        let token = if !unit.is_empty() {
            literal::timespan(digits, unit).map(Token::Timespan)
        } else if whole {
            digits.parse().ok().map(Token::Long)
        } else {
            digits.parse().ok().map(Token::Real)
        };
        token.ok_or_else(|| KqlError::at(pos, format!("'{digits}{unit}' is not a number")))
    }

    /// A string literal, if one starts here. A preceding `h` asks the service to keep it out of its logs.
    fn string_literal(&mut self) -> Result<Option<String>, KqlError> {
        const FENCE: &str = "```";
        let plain = self.rest.strip_prefix(['h', 'H']).unwrap_or(self.rest);
        let opener = plain.strip_prefix('@').unwrap_or(plain);
        let quote = match opener.chars().next() {
            Some(quote @ ('\'' | '"')) => quote,
            _ if plain.starts_with(FENCE) => '`',
            _ => return Ok(None),
        };
        let start = self.pos;
        let unclosed = || KqlError::at(start, "a string literal is not closed on its line");
        let verbatim = opener.len() < plain.len();
        while self.rest.len() > opener.len() {
            self.bump();
        }
        if quote == '`' {
            self.eat(FENCE);
            let Some(length) = self.rest.find(FENCE) else {
                return Err(unclosed());
            };
            let text = self.rest[..length].to_owned();
            while !self.eat(FENCE) {
                self.bump();
            }
            return Ok(Some(text));
        }
        self.bump();
        let mut text = String::new();
        loop {
            let at = self.pos;
            match self.bump() {
                None => return Err(unclosed()),
                Some(c) if is_line_break(c) => return Err(unclosed()),
                Some('\\') if !verbatim => {
                    let (c, length) =
                        literal::escape(self.rest).ok_or_else(|| KqlError::at(at, "unknown escape in a string"))?;
                    for _ in 0..length {
                        self.bump();
                    }
                    text.push(c);
                }
                // In a verbatim literal, a quote is escaped by doubling it.
                Some(c) if c == quote => match verbatim && self.peek() == Some(quote) {
                    true => text.extend(self.bump()),
                    false => return Ok(Some(text)),
                },
                Some(c) => text.push(c),
            }
        }
    }
}

fn is_line_break(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{2028}' | '\u{2029}')
}

fn is_name_start(c: char) -> bool {
    c.is_alphabetic() || c == '_' || c == '$'
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

/// The length of an exponent such as `e-3` at the start of `text`.
fn exponent(text: &str) -> Option<usize> {
    let after = text.strip_prefix(['e', 'E'])?;
    let digits = after.strip_prefix(['+', '-']).unwrap_or(after);
    let count = digits.chars().take_while(char::is_ascii_digit).count();
    (count > 0).then_some(text.len() - digits.len() + count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(text: &str) -> Vec<String> {
        read_string_literals(text).expect("the literals are well formed")
    }

    #[test]
    fn a_backslash_escapes_and_a_doubled_quote_does_not() {
        assert_eq!(strings(r"'O\'Connor'"), ["O'Connor"]);
        assert_eq!(strings("'O''Connor'"), ["OConnor"]);
        assert_eq!(strings(r#""a\\b\t\"\u00e9\x41\101\U0001F600""#), ["a\\b\t\"éAA😀"]);
    }

    #[test]
    fn a_verbatim_literal_keeps_its_backslashes_and_doubles_its_quote() {
        assert_eq!(strings(r"@'C:\new' == @'it''s'"), [r"C:\new", "it's"]);
    }

    #[test]
    fn neighbours_are_joined_over_blanks_and_comments_only() {
        assert_eq!(strings("'a' // first\n \"b\"h@'c', 'd'"), ["abc", "d"]);
        assert_eq!(strings("x // 'not a literal'"), Vec::<String>::new());
    }

    #[test]
    fn a_literal_ends_on_its_own_line() {
        for text in ["'a\nb'", "'a\u{2028}b'", "'open", "'trailing\\"] {
            assert!(read_string_literals(text).is_err(), "{text:?}");
        }
        assert_eq!(strings("```a\n'b'```"), ["a\n'b'"]);
    }

    #[test]
    fn an_unknown_escape_is_refused_with_its_place() {
        let error = read_string_literals("where\n x == 'a\\qb'").expect_err("no such escape");
        assert_eq!((error.line, error.column), (2, 9));
    }

    #[test]
    fn numbers_timespans_and_ranges_are_told_apart() {
        let tokens: Vec<Token> = lex("1 0x10 1.5 1e3 15m 2.5h 1..5").unwrap().into_iter().map(|l| l.token).collect();
        assert_eq!(
            tokens,
            [
                Token::Long(1),
                Token::Long(16),
                Token::Real(1.5),
                Token::Real(1000.0),
                Token::Timespan(900_000),
                Token::Timespan(9_000_000),
                Token::Long(1),
                Token::Mark(".."),
                Token::Long(5),
                Token::End,
            ]
        );
        assert!(lex("15parsecs").is_err());
    }
}
