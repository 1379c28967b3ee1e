//! The definitions that a program may call: jaq's, and over them ours.
use std::collections::BTreeSet;
use std::sync::LazyLock;

use jaq_core::load;
use jaq_core::load::lex::StrPart;
use jaq_core::load::parse::{BinaryOp, Def, Pattern, Term};
use jaq_core::path::Part;

use super::natives;

/// Definitions of jaq's that need a filter which is left out. Those that ours replace go as well.
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

/// A definition sees those before it, so jaq's come first.
static ALL: LazyLock<Vec<Def<&'static str>>> = LazyLock::new(|| {
    let replaced: Vec<&str> = natives::ours().into_iter().map(|fun| fun.0).collect();
    let jaq = jaq_core::defs().chain(jaq_std::defs());
    let jaq = jaq.filter(|def| !LEFT_OUT.contains(&def.name) && !replaced.contains(&def.name));
    let ours = load::parse(include_str!("prelude.jq"), |parser| parser.defs()).unwrap_or_default();
    jaq.chain(ours).collect()
});

/// Those that a program needs: compiling all of them takes longer and more memory than the program itself.
pub(super) fn needed(program: &Term<&str>) -> Vec<Def<&'static str>> {
    let mut called = BTreeSet::new();
    term(program, &mut called);
    let mut needed = Vec::new();
    for def in ALL.iter().rev() {
        if called.contains(def.name) {
            term(&def.body, &mut called);
            needed.push(def.clone());
        }
    }
    needed.reverse();
    needed
}

/// The names that are called in a term.
fn term<'s>(of: &Term<&'s str>, called: &mut BTreeSet<&'s str>) {
    match of {
        Term::Id | Term::Recurse | Term::Num(_) | Term::Arr(None) | Term::Break(_) | Term::Var(_) => {}
        Term::Str(format, parts) => {
            called.extend(format);
            for part in parts {
                if let StrPart::Term(inner) = part {
                    term(inner, called);
                }
            }
        }
        Term::Arr(Some(inner)) | Term::Neg(inner) | Term::Label(_, inner) => term(inner, called),
        Term::Obj(fields) => {
            for (key, value) in fields {
                term(key, called);
                terms(value, called);
            }
        }
        Term::BinOp(l, op, r) => {
            term(l, called);
            if let BinaryOp::Pipe(Some(bound)) = op {
                pattern(bound, called);
            }
            term(r, called);
        }
        Term::Fold(_, xs, bound, args) => {
            term(xs, called);
            pattern(bound, called);
            terms(args, called);
        }
        Term::TryCatch(inner, catch) => {
            term(inner, called);
            terms(catch.as_deref(), called);
        }
        Term::IfThenElse(branches, otherwise) => {
            for (condition, branch) in branches {
                term(condition, called);
                term(branch, called);
            }
            terms(otherwise.as_deref(), called);
        }
        Term::Def(defs, inner) => {
            terms(defs.iter().map(|def| &def.body), called);
            term(inner, called);
        }
        Term::Call(name, args) => {
            called.insert(name);
            terms(args, called);
        }
        Term::Path(head, path) => {
            term(head, called);
            for (part, _) in &path.0 {
                match part {
                    Part::Index(index) => term(index, called),
                    Part::Range(from, to) => terms([from, to].into_iter().flatten(), called),
                }
            }
        }
    }
}

fn terms<'t, 's: 't>(of: impl IntoIterator<Item = &'t Term<&'s str>>, called: &mut BTreeSet<&'s str>) {
    for inner in of {
        term(inner, called);
    }
}

fn pattern<'s>(of: &Pattern<&'s str>, called: &mut BTreeSet<&'s str>) {
    match of {
        Pattern::Var(_) => {}
        Pattern::Arr(patterns) => patterns.iter().for_each(|inner| pattern(inner, called)),
        Pattern::Obj(fields) => {
            for (key, inner) in fields {
                term(key, called);
                pattern(inner, called);
            }
        }
    }
}
