//! jq, as Port evaluates it: the first output of any expression for a JSON value, within limits.
//!
//! The interpreter is jaq. Where jaq differs from jq, the value type and a prelude correct it. A program sees only its
//! input: no environment, no files, no further inputs. [`Quotes`] is the only known difference between Port and jq.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "jq's numbers are doubles, and where it takes integers of them it saturates, as `as` does"
)]

mod access;
mod budget;
mod json;
mod math;
mod natives;
mod order;
mod plain;
mod prelude;
mod quotes;
mod reads;
mod regex;
mod value;

use std::cell::Cell;
use std::fmt;

use jaq_core::load::parse::Term;
use jaq_core::load::{self, Arena, File, Lexer, Loader, Parser};
use jaq_core::{Compiler, Ctx, DataT, Lut, Vars, compile};

use budget::{Limits, Stop};
use plain::Plain;
use prelude::Found;
pub(crate) use reads::Reads;
pub(crate) use value::Val;

/// Maximum length of an expression, in bytes.
const LONGEST: usize = 8 << 10;
/// Maximum parts of a path: the interpreter processes them without counting steps.
const LONGEST_PATH: usize = 100;
/// Maximum characters of an error message.
const SHOWN: usize = 300;

/// The limits of the first attempt, on the current stack. Enough for nearly every evaluation.
const IN_PLACE: Limits = Limits { steps: 2_000, bytes: 4 << 20, text: 2 << 20, stack: 384 << 10 };
/// The limits of the second attempt, on a stack of its own.
const WITH_ROOM: Limits = Limits { steps: 100_000, bytes: 16 << 20, text: 2 << 20, stack: 8 << 20 };
/// Large, because dropping deeply nested structures also takes stack. Only the used part becomes real memory.
const ROOM: usize = 256 << 20;

/// How to read `'`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quotes {
    /// As jq does: invalid outside a string.
    #[cfg(test)]
    Jq,
    /// As Port's mappings do: `'` at the edge of a word means `"`.
    Port,
}

/// A compiled expression.
pub(crate) struct Program {
    filter: jaq_core::Filter<Data>,
    reads: Reads,
    plain: Option<Plain>,
    /// `$ENV` and `$__loc__`.
    globals: [Val; 2],
}

/// Why an expression is not valid jq.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CompileError {
    /// The position in the expression, in characters from one.
    pub(crate) at: usize,
    pub(crate) message: String,
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "character {}: {}", self.at, self.message)
    }
}

impl std::error::Error for CompileError {}

/// Why an evaluation failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EvalError {
    /// The program raised an error; its message is truncated.
    Failed(String),
    /// The evaluation exceeded a limit.
    TooMuch(&'static str),
}

impl fmt::Display for EvalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(message) => f.write_str(message),
            Self::TooMuch(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for EvalError {}

impl From<Stop> for EvalError {
    fn from(stop: Stop) -> Self {
        Self::TooMuch(match stop {
            Stop::Steps => "the expression takes too many steps",
            Stop::Bytes => "the expression takes too much memory",
            Stop::Stack => "the expression calls itself too often",
            Stop::Depth => "a value is nested too deep",
            Stop::Panic => "the expression cannot be evaluated here",
        })
    }
}

/// The data that jaq runs with; counts each term lookup as a step.
struct Data;

#[derive(Clone, Copy)]
struct Counted<'a>(&'a Lut<Data>);

impl DataT for Data {
    type V<'a> = Val;
    type Data<'a> = Counted<'a>;
}

impl<'a> jaq_core::data::HasLut<'a, Data> for Counted<'a> {
    fn lut(&self) -> &'a Lut<Data> {
        budget::step();
        self.0
    }
}

/// Compiles an expression. Rejects what jq would reject.
pub(crate) fn compile(text: &str, quotes: Quotes) -> Result<Program, CompileError> {
    if text.len() > LONGEST {
        return Err(CompileError { at: 1, message: format!("the expression is longer than {LONGEST} bytes") });
    }
    let text = match quotes {
        #[cfg(test)]
        Quotes::Jq => text.to_owned(),
        Quotes::Port => quotes::replaced(text),
    };
    // The parser recurses as deep as the expression is nested.
    with_room(|| compile_here(&text))
        .unwrap_or_else(|| Err(CompileError { at: 1, message: "no thread can be started to read it".to_owned() }))
}

fn compile_here(text: &str) -> Result<Program, CompileError> {
    let refuse = |(part, message): (Option<&str>, String)| {
        // Each part is a slice of the text; no part means the end of the text.
        let start = part.map_or(text.len(), |part| part.as_ptr().addr().saturating_sub(text.as_ptr().addr()));
        CompileError { at: text.get(..start).map_or(1, |before| before.chars().count() + 1), message }
    };
    let arena = Arena::default();
    let term = parsed(text);
    let found = Found::in_program(&term);
    if found.longest_path > LONGEST_PATH {
        return Err(refuse((Some(text), format!("a path in it has more than {LONGEST_PATH} parts"))));
    }
    let loader = Loader::new(found.needed());
    let modules = loader.load(&arena, File { code: text, path: () }).map_err(|errors| refuse(refusal(errors)))?;
    let reads = reads::of(&term);
    let compiler = Compiler::default().with_funs(natives::all()).with_global_vars(["$ENV", "$__loc__"]);
    let filter = compiler.compile(modules).map_err(|errors| {
        let unknown = errors.into_iter().flat_map(|(_, errors)| errors).next();
        refuse(unknown.map_or((None, String::new()), |(name, what)| {
            let message = match what {
                compile::Undefined::Filter(arity) => format!("there is no function {name}/{arity}"),
                other => format!("there is no {} {name}", other.as_str()),
            };
            (Some(name), message)
        }))
    })?;
    let location = Val::object([("file".into(), Val::string("<top-level>")), ("line".into(), Val::Num(1.0))]);
    Ok(Program { filter, reads, plain: Plain::of(text), globals: [Val::object([]), location] })
}

fn parsed(text: &str) -> Term<&str> {
    let tokens = Lexer::new(text).lex().unwrap_or_default();
    Parser::new(&tokens).parse(Parser::term).unwrap_or_default()
}

/// The position and message of the first error.
fn refusal(errors: load::Errors<&str, ()>) -> (Option<&str>, String) {
    let first = errors.into_iter().map(|(_, error)| error).next();
    let refusal = match first {
        Some(load::Error::Lex(errors)) => errors.into_iter().next().map(|(expected, rest)| match expected {
            load::lex::Expect::Token => {
                let token: String = rest.chars().take(1).collect();
                (Some(rest), format!("`{token}` means nothing here"))
            }
            expected => (Some(rest), format!("a {} is missing", expected.as_str())),
        }),
        Some(load::Error::Parse(errors)) => errors.into_iter().next().map(|(expected, found)| {
            let expected = expectation(&expected);
            if found.is_empty() {
                return (None, format!("it ends where {expected} is expected"));
            }
            let token: String = found.chars().take(20).collect();
            (Some(found), format!("`{token}` stands where {expected} is expected"))
        }),
        Some(load::Error::Io(errors)) => {
            let read = errors.into_iter().next();
            read.map(|(path, _)| (Some(path), "other files cannot be read from here".to_owned()))
        }
        None => None,
    };
    refusal.unwrap_or_default()
}

fn expectation(expected: &load::parse::Expect<&str>) -> String {
    match expected {
        load::parse::Expect::Just("") | load::parse::Expect::Nothing => "nothing more".to_owned(),
        load::parse::Expect::Just(token) => format!("`{token}`"),
        other => other.as_str().to_owned(),
    }
}

/// The first output of a program, if it has any.
pub(crate) fn first(program: &Program, input: &Val) -> Result<Option<Val>, EvalError> {
    if let Some(output) = program.plain.as_ref().and_then(|plain| plain.of_input(input)) {
        return Ok(Some(output));
    }
    match budget::within(IN_PLACE, || program.run(input)) {
        Ok(output) => output,
        // Evaluation has no side effects, so it can be repeated.
        Err(Stop::Steps | Stop::Bytes | Stop::Stack) => {
            let again = with_room(|| budget::within(WITH_ROOM, || program.run(input)));
            again.unwrap_or(Err(Stop::Stack))?
        }
        Err(stop) => Err(stop.into()),
    }
}

/// Runs code that builds values; nesting them too deep becomes an error.
pub(crate) fn guarded<T>(f: impl FnOnce() -> T) -> Result<T, EvalError> {
    Ok(budget::within(budget::UNLIMITED, f)?)
}

impl Program {
    /// What the program reads of its input.
    pub(crate) fn reads(&self) -> &Reads {
        &self.reads
    }

    fn run(&self, input: &Val) -> Result<Option<Val>, EvalError> {
        let ctx = Ctx::<Data>::new(Counted(&self.filter.lut), Vars::new(self.globals.clone()));
        let output = self.filter.id.run((ctx, input.clone())).next();
        match output.transpose() {
            Ok(output) => Ok(output),
            Err(exception) => match exception.get_err() {
                Ok(error) => {
                    let value = error.into_val();
                    let message = value.as_str().map_or_else(|| format!("{value} (not a string)"), str::to_owned);
                    Err(EvalError::Failed(message.chars().take(SHOWN).collect()))
                }
                // The program halted without output.
                Err(_) => Ok(None),
            },
        }
    }
}

thread_local! {
    static HAS_ROOM: Cell<bool> = const { Cell::new(false) };
}

/// Runs `f` on a stack large enough for deep recursion, such as compiling. [`None`] if no thread can be started. Nested
/// calls reuse the stack.
pub(crate) fn with_room<T: Send>(f: impl FnOnce() -> T + Send) -> Option<T> {
    if HAS_ROOM.get() {
        return Some(f());
    }
    std::thread::scope(|scope| {
        let in_room = || {
            HAS_ROOM.set(true);
            f()
        };
        std::thread::Builder::new().stack_size(ROOM).spawn_scoped(scope, in_room).ok()?.join().ok()
    })
}

#[cfg(test)]
mod tests;
