//! The names of an entity in a catalog.

use std::sync::Arc;

/// The separator between names; no name contains it.
const SEPARATOR: char = '\n';

/// The names under which a catalog holds what an entity became, as reported by its sink. They allow deleting it even if
/// nothing is left of what they were made from. They may be unknown, or known to be none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Names(Option<Arc<str>>);

impl Names {
    /// If a sink deletes by id alone, or nothing was ever noted.
    pub(crate) const UNKNOWN: Self = Self(None);

    /// These names, each once. A name that cannot be noted is left out.
    pub(crate) fn known<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut known: Vec<&str> = Vec::new();
        for name in names {
            if !name.is_empty() && !name.contains(SEPARATOR) && !known.contains(&name) {
                known.push(name);
            }
        }
        Self(Some(known.join("\n").into()))
    }

    /// Parses the noted form.
    pub(crate) fn from_text(text: impl Into<Arc<str>>) -> Self {
        Self(Some(text.into()))
    }

    /// The noted form; `None` if they are unknown.
    pub(crate) fn as_text(&self) -> Option<&str> {
        self.0.as_deref()
    }

    pub(crate) fn is_known(&self) -> bool {
        self.0.is_some()
    }

    /// Whether there are known to be none.
    pub(crate) fn are_none(&self) -> bool {
        self.is_known() && self.iter().next().is_none()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().flat_map(|names| names.split(SEPARATOR)).filter(|name| !name.is_empty())
    }

    /// The names of both; if one side is unknown, the other side's.
    pub(crate) fn with(&self, others: &Self) -> Self {
        match (self.is_known(), others.is_known()) {
            (true, true) if self == others => self.clone(),
            (true, true) => Self::known(self.iter().chain(others.iter())),
            (true, false) => self.clone(),
            (false, _) => others.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_once_and_in_their_order() {
        let one = Names::known(["b 2", "a 1", "b 2", ""]);
        assert_eq!(one.iter().collect::<Vec<_>>(), ["b 2", "a 1"]);
        let both = one.with(&Names::known(["c", "a 1"]));
        assert_eq!(both.iter().collect::<Vec<_>>(), ["b 2", "a 1", "c"]);
        assert_eq!(Names::from_text(both.as_text().unwrap()), both);
    }

    #[test]
    fn to_be_known_to_be_none_is_not_to_be_unknown() {
        let none = Names::known([]);
        assert!(none.is_known() && !Names::UNKNOWN.is_known());
        assert_ne!(none, Names::UNKNOWN);
        assert_eq!(Names::from_text(none.as_text().unwrap()), none);
        assert_eq!((none.iter().count(), Names::UNKNOWN.iter().count()), (0, 0));
        for names in [&none, &Names::known(["a"])] {
            assert_eq!((&Names::UNKNOWN.with(names), &names.with(&Names::UNKNOWN)), (names, names));
        }
    }
}
