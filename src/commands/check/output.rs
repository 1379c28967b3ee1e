//! The findings of `check`, and how to show them: a line each, and a verdict.

use std::io::{self, IsTerminal, Write};

use anstyle::{AnsiColor, Style};
use serde_json::json;

use crate::config::LogFormat;
use crate::error::{Exit, Problem};
use crate::text::{neutralize, printable_up_to};

/// Maximum characters of a line: an error and its advice.
const LONGEST_LINE: usize = 2000;

/// Columns before the text, also on continuation lines.
const INDENT: usize = 21;

/// Narrower terminals wrap lines themselves.
const NARROWEST: usize = 40;

/// Fine, worth a look, not checked, or wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Ok,
    Note,
    Skipped,
    Wrong,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Skipped => "skip",
            Self::Wrong => "wrong",
        }
    }

    fn mark(self) -> (char, Style) {
        match self {
            Self::Ok => ('✓', AnsiColor::Green.on_default()),
            Self::Note => ('–', AnsiColor::Yellow.on_default()),
            Self::Skipped => ('–', Style::new()),
            Self::Wrong => ('✗', AnsiColor::Red.on_default()),
        }
    }
}

/// The findings in order, and the worst exit code that a run would end with.
pub(super) struct Told {
    lines: Vec<(State, &'static str, String)>,
    exit: Exit,
}

impl Told {
    pub(super) fn new() -> Self {
        Self { lines: Vec::new(), exit: Exit::Ok }
    }

    fn tell(&mut self, state: State, what: &'static str, text: &str) {
        self.lines.push((state, what, printable_up_to(text, LONGEST_LINE).to_string()));
    }

    pub(super) fn ok(&mut self, what: &'static str, text: impl AsRef<str>) {
        self.tell(State::Ok, what, text.as_ref());
    }

    pub(super) fn note(&mut self, what: &'static str, text: impl AsRef<str>) {
        self.tell(State::Note, what, text.as_ref());
    }

    /// Adds something that could not be checked because something else failed.
    pub(super) fn skip(&mut self, what: &'static str, why: impl AsRef<str>) {
        self.tell(State::Skipped, what, why.as_ref());
    }

    pub(super) fn wrong(&mut self, what: &'static str, error: &impl Problem) {
        self.exit = self.exit.or_worse(error.exit());
        self.tell(State::Wrong, what, &error.told());
    }

    pub(super) fn add(&mut self, other: Self) {
        self.lines.extend(other.lines);
        self.exit = self.exit.or_worse(other.exit);
    }

    pub(super) fn exit(&self) -> Exit {
        self.exit
    }

    /// Whether a run would work.
    fn verdict(&self) -> String {
        let wrong: Vec<&str> =
            self.lines.iter().filter(|(state, ..)| *state == State::Wrong).map(|(_, what, _)| *what).collect();
        match wrong.first() {
            None => "ready: all checks passed".into(),
            Some(first) => {
                let checked = self.lines.iter().filter(|(state, ..)| *state != State::Skipped).count();
                format!("not ready: {} of {checked} checks failed; fix {first} first", wrong.len())
            }
        }
    }
}

/// The output format.
#[derive(Clone, Copy, Debug)]
pub enum Form {
    /// A line of JSON for each finding.
    Json,
    /// A line for each finding.
    Plain,
    /// With marks and colours, wrapped at this many columns.
    Screen(usize),
}

impl Form {
    /// Depends on the log's format and on standard output.
    pub fn of(format: LogFormat) -> Self {
        match format {
            LogFormat::Json => Self::Json,
            LogFormat::Text if !io::stdout().is_terminal() => Self::Plain,
            LogFormat::Text => {
                let width = terminal_size::terminal_size().map_or(80, |(width, _)| usize::from(width.0));
                Self::Screen(width.max(NARROWEST))
            }
        }
    }
}

/// Prints all findings and the verdict.
pub(super) fn show(told: &Told, form: Form, mut output: impl Write) {
    // A reader that closed the pipe has seen enough.
    let mut print = |line: String| _ = output.write_all(line.as_bytes());
    for (state, what, text) in &told.lines {
        let text = neutralize(text);
        print(match form {
            Form::Json => format!("{}\n", json!({ "state": state.word(), "check": what, "text": text })),
            Form::Plain => format!("{:<6} {what:<18} {text}\n", state.word()),
            Form::Screen(width) => {
                let (mark, style) = state.mark();
                format!("{style}{mark}{style:#} {what:<18} {}\n", wrapped(&text, width))
            }
        });
    }
    let (verdict, is_ready) = (told.verdict(), told.exit == Exit::Ok);
    print(match form {
        Form::Json => {
            let state = if is_ready { State::Ok } else { State::Wrong };
            format!("{}\n", json!({ "state": state.word(), "check": "verdict", "text": verdict }))
        }
        Form::Plain => format!("\n{verdict}\n"),
        Form::Screen(_) => {
            let style = if is_ready { AnsiColor::Green } else { AnsiColor::Red }.on_default().bold();
            format!("\n{style}{verdict}{style:#}\n")
        }
    });
}

/// Wraps text; continuation lines are indented to its start.
fn wrapped(text: &str, width: usize) -> String {
    let room = width.saturating_sub(INDENT + 1);
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let Some(line) = lines.last_mut() else { continue };
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= room {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines.join(&format!("\n{:INDENT$}", ""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::RunError;

    fn shown(form: Form, tell: impl FnOnce(&mut Told)) -> (String, Exit) {
        let mut told = Told::new();
        tell(&mut told);
        let mut output = Vec::new();
        show(&told, form, &mut output);
        (String::from_utf8(output).unwrap(), told.exit())
    }

    #[test]
    fn what_is_wrong_is_told_with_what_to_do_and_decides_the_exit_and_the_verdict() {
        let (text, exit) = shown(Form::Plain, |told| {
            told.ok("one", "well");
            told.wrong("subscriptions", &RunError::NoSubscription);
            told.note("two", "a\nb\u{1b}[31m ##[error]");
            told.skip("three", "why");
        });
        assert_eq!(exit, Exit::Credentials);
        assert!(text.contains("Reader"), "{text}");
        assert!(!text.contains('\u{1b}') && !text.contains("##["), "{text}");
        assert!(text.ends_with("\n\nnot ready: 1 of 3 checks failed; fix subscriptions first\n"), "{text}");
        let (text, exit) = shown(Form::Plain, |told| told.ok("one", "well"));
        assert_eq!((exit, text.lines().last().unwrap().starts_with("ready")), (Exit::Ok, true));
    }

    #[test]
    fn on_a_screen_lines_have_marks_and_go_on_under_their_beginning() {
        let (text, _) = shown(Form::Screen(80), |told| {
            told.ok("one", "well");
            told.wrong("subscriptions", &RunError::NoSubscription);
            told.skip("three", "why");
        });
        let plain = anstream::adapter::strip_str(&text).to_string();
        let lines: Vec<&str> = plain.lines().collect();
        assert!(lines[0].starts_with("✓ one                well"), "{plain}");
        assert!(lines[1].starts_with("✗ subscriptions      the principal"), "{plain}");
        assert!(lines[2].starts_with(&" ".repeat(INDENT)) && !lines[2][INDENT..].starts_with(' '), "{plain}");
        assert!(lines.iter().all(|line| line.chars().count() < 80), "{plain}");
        assert!(text.contains("\u{1b}[32m✓") && text.contains("\u{1b}[31m✗"), "{text:?}");
    }
}
