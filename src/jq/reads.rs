//! What a program reads of its input: certain keys, or everything.
//!
//! The analysis follows the input through pipes, branches and variables. If the whole input flows into something that
//! may read all of it, the result is everything: it errs on the side of too much.
use std::collections::BTreeSet;

use jaq_core::load::lex::StrPart;
use jaq_core::load::parse::{BinaryOp, Pattern, Term};
use jaq_core::path::Part;

/// The keys of its input that a program reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reads {
    Names(BTreeSet<String>),
    Everything,
}

impl Reads {
    /// Whether it reads only keys that `is_there` accepts.
    pub(crate) fn only(&self, is_there: impl Fn(&str) -> bool) -> bool {
        match self {
            Self::Names(names) => names.iter().all(|name| is_there(name)),
            Self::Everything => false,
        }
    }
}

/// Filters that do not look at their input.
const BLIND: [&str; 13] =
    ["true", "false", "null", "empty", "env", "now", "nan", "infinite", "input", "inputs", "halt", "not", "type"];

pub(super) fn of(program: &Term<&str>) -> Reads {
    let mut analysis = Analysis::default();
    let result = analysis.term(program, Flow::Root, &mut Vec::new());
    analysis.consume(result);
    if analysis.everything { Reads::Everything } else { Reads::Names(analysis.names) }
}

/// Whether a value may be the whole input.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Flow {
    Other,
    Root,
}

use Flow::{Other, Root};

#[derive(Default)]
struct Analysis {
    names: BTreeSet<String>,
    everything: bool,
}

/// The variables in scope, the innermost last.
type Scope<'a> = Vec<(&'a str, Flow)>;

/// A string without interpolation.
fn literal(term: &Term<&str>) -> Option<String> {
    let Term::Str(None, parts) = term else { return None };
    let parts = parts.iter().map(|part| match part {
        StrPart::Str(text) => Some((*text).to_owned()),
        StrPart::Char(c) => Some(c.to_string()),
        StrPart::Term(_) => None,
    });
    parts.collect()
}

impl Analysis {
    /// Something may read all of a value.
    fn consume(&mut self, flow: Flow) -> Flow {
        self.everything |= flow == Root;
        Other
    }

    /// A key of a value is read.
    fn key(&mut self, flow: Flow, key: &Term<&str>) {
        match literal(key) {
            Some(name) if flow == Root => _ = self.names.insert(name),
            Some(_) => {}
            None => _ = self.consume(flow),
        }
    }

    fn consumed<'a>(&mut self, term: &'a Term<&'a str>, input: Flow, scope: &mut Scope<'a>) -> Flow {
        let flow = self.term(term, input, scope);
        self.consume(flow)
    }

    fn term<'a>(&mut self, term: &'a Term<&'a str>, input: Flow, scope: &mut Scope<'a>) -> Flow {
        match term {
            Term::Id => input,
            Term::Recurse => self.consume(input),
            Term::Num(_) | Term::Arr(None) | Term::Break(_) => Other,
            Term::Str(_, parts) => {
                for part in parts {
                    if let StrPart::Term(term) = part {
                        self.consumed(term, input, scope);
                    }
                }
                Other
            }
            Term::Arr(Some(inner)) | Term::Neg(inner) => self.consumed(inner, input, scope),
            Term::Obj(fields) => {
                for (key, value) in fields {
                    match value {
                        Some(value) => {
                            self.consumed(key, input, scope);
                            self.consumed(value, input, scope);
                        }
                        None if matches!(key, Term::Var(_)) => _ = self.consumed(key, input, scope),
                        None => {
                            self.consumed(key, input, scope);
                            self.key(input, key);
                        }
                    }
                }
                Other
            }
            Term::BinOp(l, op, r) => self.operation(l, op, r, input, scope),
            Term::Label(_, inner) => self.term(inner, input, scope),
            Term::Fold(_, xs, pattern, args) => self.fold(xs, pattern, args, input, scope),
            Term::TryCatch(inner, catch) => {
                let flow = self.term(inner, input, scope);
                match catch {
                    Some(catch) => flow.max(self.term(catch, Other, scope)),
                    None => flow,
                }
            }
            Term::IfThenElse(branches, otherwise) => {
                let mut flow = Other;
                for (condition, branch) in branches {
                    // A condition reads only whether an object is true, not what it contains.
                    self.term(condition, input, scope);
                    flow = flow.max(self.term(branch, input, scope));
                }
                match otherwise {
                    Some(otherwise) => flow.max(self.term(otherwise, input, scope)),
                    None => input.max(flow),
                }
            }
            Term::Def(..) => self.consume(Root),
            Term::Call(name, args) => self.call(name, args, input, scope),
            Term::Var(name) => scope.iter().rev().find(|(bound, _)| bound == name).map_or(Other, |(_, flow)| *flow),
            Term::Path(head, path) => {
                let mut flow = self.term(head, input, scope);
                for (part, _) in &path.0 {
                    match part {
                        Part::Index(index) => {
                            self.consumed(index, input, scope);
                            self.key(flow, index);
                        }
                        Part::Range(from, to) => {
                            for bound in [from, to].into_iter().flatten() {
                                self.consumed(bound, input, scope);
                            }
                            self.consume(flow);
                        }
                    }
                    flow = Other;
                }
                flow
            }
        }
    }

    fn operation<'a>(
        &mut self,
        l: &'a Term<&'a str>,
        op: &'a BinaryOp<&'a str>,
        r: &'a Term<&'a str>,
        input: Flow,
        scope: &mut Scope<'a>,
    ) -> Flow {
        match op {
            BinaryOp::Pipe(None) => {
                let flow = self.term(l, input, scope);
                self.term(r, flow, scope)
            }
            BinaryOp::Pipe(Some(pattern)) => {
                let flow = self.term(l, input, scope);
                let bound = scope.len();
                self.bind(pattern, flow, input, scope);
                let flow = self.term(r, input, scope);
                scope.truncate(bound);
                flow
            }
            BinaryOp::Comma | BinaryOp::Alt => {
                let flow = self.term(l, input, scope);
                flow.max(self.term(r, input, scope))
            }
            BinaryOp::Or | BinaryOp::And => {
                self.term(l, input, scope);
                self.term(r, input, scope);
                Other
            }
            BinaryOp::Math(_) | BinaryOp::Cmp(_) => {
                self.consumed(l, input, scope);
                self.consumed(r, input, scope)
            }
            BinaryOp::Assign | BinaryOp::Update | BinaryOp::UpdateMath(_) | BinaryOp::UpdateAlt => {
                self.consumed(l, input, scope);
                self.consumed(r, input, scope);
                self.consume(input)
            }
        }
    }

    fn fold<'a>(
        &mut self,
        xs: &'a Term<&'a str>,
        pattern: &'a Pattern<&'a str>,
        args: &'a [Term<&'a str>],
        input: Flow,
        scope: &mut Scope<'a>,
    ) -> Flow {
        let flow = self.term(xs, input, scope);
        let bound = scope.len();
        let mut state = args.first().map_or(Other, |init| self.term(init, input, scope));
        self.bind(pattern, flow, input, scope);
        for arg in args.iter().skip(1) {
            let next = self.term(arg, state, scope);
            // The result of an update is the input of the next.
            if next > state {
                self.consume(next);
            }
            state = state.max(next);
        }
        scope.truncate(bound);
        state
    }

    fn bind<'a>(&mut self, pattern: &'a Pattern<&'a str>, flow: Flow, input: Flow, scope: &mut Scope<'a>) {
        match pattern {
            Pattern::Var(name) => scope.push((name, flow)),
            Pattern::Arr(patterns) => {
                self.consume(flow);
                for pattern in patterns {
                    self.bind(pattern, Other, input, scope);
                }
            }
            Pattern::Obj(fields) => {
                for (key, pattern) in fields {
                    self.consumed(key, input, scope);
                    self.key(flow, key);
                    self.bind(pattern, Other, input, scope);
                }
            }
        }
    }

    fn call<'a>(&mut self, name: &'a str, args: &'a [Term<&'a str>], input: Flow, scope: &mut Scope<'a>) -> Flow {
        match (name, args) {
            ("select", [condition]) => {
                self.term(condition, input, scope);
                input
            }
            ("first" | "last" | "isempty", [inner]) => {
                let flow = self.term(inner, input, scope);
                if name == "isempty" { Other } else { flow }
            }
            ("has", [key]) if literal(key).is_some() => {
                self.key(input, key);
                Other
            }
            (_, []) if BLIND.contains(&name) => Other,
            _ => {
                for arg in args {
                    self.consumed(arg, input, scope);
                }
                self.consume(input)
            }
        }
    }
}
