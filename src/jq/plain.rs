//! Expressions that need no interpreter: constants and paths of names. Most expressions in a mapping are such.

use std::sync::Arc;

use super::Val;

pub(super) enum Plain {
    Constant(Val),
    /// `.a.b`
    Path(Vec<Arc<str>>),
}

impl Plain {
    /// `None` if the expression is anything else.
    pub(super) fn of(text: &str) -> Option<Self> {
        let text = text.trim();
        match text {
            "true" => return Some(Self::Constant(Val::Bool(true))),
            "false" => return Some(Self::Constant(Val::Bool(false))),
            "null" => return Some(Self::Constant(Val::Null)),
            _ => {}
        }
        if let Some(inner) = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
            return (!inner.contains(['"', '\\'])).then(|| Self::Constant(Val::string(inner)));
        }
        let names = text.strip_prefix('.')?.split('.');
        let names: Vec<&str> = names.collect();
        names.iter().all(|name| is_name(name)).then(|| Self::Path(names.into_iter().map(Arc::from).collect()))
    }

    /// The first output; `None` for an error, which the interpreter then reports.
    pub(super) fn of_input(&self, input: &Val) -> Option<Val> {
        match self {
            Self::Constant(value) => Some(value.clone()),
            Self::Path(names) => {
                let mut value = input;
                for name in names {
                    match value {
                        Val::Null => return Some(Val::Null),
                        Val::Obj(_) => match value.get(name) {
                            Some(found) => value = found,
                            None => return Some(Val::Null),
                        },
                        _ => return None,
                    }
                }
                Some(value.clone())
            }
        }
    }
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Quotes, compile, first};
    use super::*;

    proptest! {
        #[test]
        fn what_is_plain_gives_what_the_interpreter_gives(
            text in r#" ?(\.[abc_]{0,2}1?){1,3} ?|"[a-c\\ "']{0,4}"|true|false|null"#,
            input in r#"\{"(a|b|ab)": (1|null|\{"(a|b_)": ("x"|\[2\]|\{"c": true\})\})\}|null|3"#,
        ) {
            let input = Val::parse(input.as_bytes()).unwrap();
            if let (Some(plain), Ok(mut program)) = (Plain::of(&text), compile(&text, Quotes::Jq)) {
                program.plain = None;
                match plain.of_input(&input) {
                    Some(output) => prop_assert_eq!(first(&program, &input).unwrap(), Some(output), "{}", text),
                    None => prop_assert!(first(&program, &input).is_err(), "{}", text),
                }
            }
        }
    }

    #[test]
    fn what_needs_an_interpreter_is_not_plain() {
        for text in [".", "..", ".a | .b", ".a[0]", ".\"a\"", "\"\\(.a)\"", ".a.", ".1", "1", "tr ue", ".a?"] {
            assert!(Plain::of(text).is_none(), "{text}");
        }
    }
}
