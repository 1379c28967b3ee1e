//! The definitions that a program can call: jaq's, overridden by ours.
use std::collections::BTreeSet;
use std::sync::LazyLock;

use jaq_core::load;
use jaq_core::load::lex::StrPart;
use jaq_core::load::parse::{BinaryOp, Def, Pattern, Term};
use jaq_core::path::Part;

use super::natives;

/// jaq's definitions that need an omitted filter. Those that ours replace are also left out.
const LEFT_OUT: [&str; 15] = [
    "capture",
    "capture_of_match",
    "debug",
    "fromdate",
    "gsub",
    "halt_error",
    "match",
    "scan",
    "scan_",
    "split",
    "splits",
    "stderr",
    "sub",
    "test",
    "todate",
];

/// jaq's come first: a definition sees only earlier ones.
static ALL: LazyLock<Vec<Def<&'static str>>> = LazyLock::new(|| {
    let replaced: Vec<&str> = natives::ours().into_iter().map(|fun| fun.0).collect();
    let jaq = jaq_core::defs().chain(jaq_std::defs());
    let jaq = jaq.filter(|def| !LEFT_OUT.contains(&def.name) && !replaced.contains(&def.name));
    let ours = load::parse(include_str!("prelude.jq"), |parser| parser.defs()).unwrap_or_default();
    jaq.chain(ours).collect()
});

/// The names that a program calls, and the number of parts in its longest path.
#[derive(Default)]
pub(super) struct Found<'s> {
    called: BTreeSet<&'s str>,
    pub(super) longest_path: usize,
}

impl<'s> Found<'s> {
    pub(super) fn in_program(program: &Term<&'s str>) -> Self {
        let mut found = Self::default();
        found.term(program);
        found
    }

    /// The definitions that a program needs. Compiling all of them would take more time and memory than the program
    /// itself.
    pub(super) fn needed(mut self) -> Vec<Def<&'static str>>
    where
        'static: 's,
    {
        let mut needed = Vec::new();
        for def in ALL.iter().rev() {
            if self.called.contains(def.name) {
                self.term(&def.body);
                needed.push(def.clone());
            }
        }
        needed.reverse();
        needed
    }

    fn term(&mut self, of: &Term<&'s str>) {
        match of {
            Term::Id | Term::Recurse | Term::Num(_) | Term::Arr(None) | Term::Break(_) | Term::Var(_) => {}
            Term::Str(format, parts) => {
                self.called.extend(format);
                for part in parts {
                    if let StrPart::Term(inner) = part {
                        self.term(inner);
                    }
                }
            }
            Term::Arr(Some(inner)) | Term::Neg(inner) | Term::Label(_, inner) => self.term(inner),
            Term::Obj(fields) => {
                for (key, value) in fields {
                    self.term(key);
                    self.terms(value);
                }
            }
            Term::BinOp(l, op, r) => {
                self.term(l);
                if let BinaryOp::Pipe(Some(bound)) = op {
                    self.pattern(bound);
                }
                self.term(r);
            }
            Term::Fold(_, xs, bound, args) => {
                self.term(xs);
                self.pattern(bound);
                self.terms(args);
            }
            Term::TryCatch(inner, catch) => {
                self.term(inner);
                self.terms(catch.as_deref());
            }
            Term::IfThenElse(branches, otherwise) => {
                for (condition, branch) in branches {
                    self.term(condition);
                    self.term(branch);
                }
                self.terms(otherwise.as_deref());
            }
            Term::Def(defs, inner) => {
                self.terms(defs.iter().map(|def| &def.body));
                self.term(inner);
            }
            Term::Call(name, args) => {
                self.called.insert(name);
                self.terms(args);
            }
            Term::Path(head, path) => {
                self.longest_path = self.longest_path.max(path.0.len());
                self.term(head);
                for (part, _) in &path.0 {
                    match part {
                        Part::Index(index) => self.term(index),
                        Part::Range(from, to) => self.terms([from, to].into_iter().flatten()),
                    }
                }
            }
        }
    }

    fn terms<'t>(&mut self, of: impl IntoIterator<Item = &'t Term<&'s str>>)
    where
        's: 't,
    {
        for inner in of {
            self.term(inner);
        }
    }

    fn pattern(&mut self, of: &Pattern<&'s str>) {
        match of {
            Pattern::Var(_) => {}
            Pattern::Arr(patterns) => patterns.iter().for_each(|inner| self.pattern(inner)),
            Pattern::Obj(fields) => {
                for (key, inner) in fields {
                    self.term(key);
                    self.pattern(inner);
                }
            }
        }
    }
}
