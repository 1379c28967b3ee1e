//! Which part of the estate is synced to the catalog.

use std::str::FromStr;

use super::columns::Columns;
use super::reader::Reader;
use super::tag_filters::TagFilters;
use super::value::Form;
use crate::text::printable;

/// Which part of the estate is synced to the catalog.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Empty: all types.
    pub resource_types: Vec<ResourceType>,
    /// Conditions on groups, which also apply to the resources in them.
    pub tag_filters: TagFilters,
    /// Whether envelopes say who made a change.
    pub change_actor: bool,
    /// Additional columns in rows.
    pub columns: Columns,
}

impl Scope {
    /// Whether the scope depends on the tags of groups.
    pub(crate) fn is_filtered(&self) -> bool {
        !self.tag_filters.is_empty()
    }
}

/// A resource type, `namespace/type`, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ResourceType(String);

impl ResourceType {
    /// The name in lower case, as queries compare it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ResourceType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let parts: Vec<&str> = text.split('/').collect();
        let legal = |part: &&str| {
            !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
        };
        if parts.len() >= 2 && parts.iter().all(legal) {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(format!(
                "\"{}\" is not a resource type: expected namespace/type, such as microsoft.keyvault/vaults",
                printable(text)
            ))
        }
    }
}

impl Reader<'_> {
    pub(super) fn scope(&mut self) -> Scope {
        Scope {
            resource_types: self.resource_types(),
            tag_filters: self.tag_filters(),
            columns: self.columns(),
            change_actor: self.flag("INCLUDE_CHANGE_ACTOR", self.settings.include_change_actor.as_deref()),
        }
    }

    fn resource_types(&mut self) -> Vec<ResourceType> {
        const NAME: &str = "RESOURCE_TYPES";
        const EXAMPLE: &str = r#"use a JSON array of strings, such as ["microsoft.keyvault/vaults"]"#;
        let text = self.set(NAME, self.settings.resource_types.as_deref(), Form::Lines);
        let Some(text) = text else { return Vec::new() };
        let names: Vec<String> = if text.starts_with('[') {
            self.json(NAME, text, EXAMPLE).unwrap_or_default()
        } else {
            text.split(',').map(str::to_owned).collect()
        };
        let mut types = Vec::new();
        for name in names {
            match name.parse() {
                Ok(resource_type) => types.push(resource_type),
                Err(problem) => self.wrong(NAME, format!("is {}: {problem}", printable(text))),
            }
        }
        types.sort();
        types.dedup();
        types
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::read;
    use super::*;
    use crate::cli::Settings;

    fn types(text: &str) -> Result<Vec<String>, String> {
        let settings = Settings { resource_types: Some(text.into()), ..Settings::default() };
        let scope = read(&settings, &[], Reader::scope).map_err(|error| error.to_string())?;
        Ok(scope.resource_types.iter().map(|one| one.as_str().to_owned()).collect())
    }

    #[test]
    fn types_come_as_json_or_comma_separated_and_each_counts_once() {
        let expected = Ok(vec!["microsoft.sql/servers/databases".to_owned(), "microsoft.web/sites".to_owned()]);
        assert_eq!(types("Microsoft.Web/sites, microsoft.sql/servers/databases,microsoft.web/SITES"), expected);
        assert_eq!(types(r#"["microsoft.web/sites", "Microsoft.Sql/servers/databases"]"#), expected);
        assert_eq!(types(" "), Ok(Vec::new()));
    }

    #[test]
    fn each_invalid_type_is_named() {
        let error = types("vaults,microsoft.web/sites,a/b'c").unwrap_err();
        assert!(error.contains("\"vaults\" is not a resource type"), "{error}");
        assert!(error.contains("\"a/b'c\" is not a resource type"), "{error}");
        assert_eq!(error.lines().count(), 2, "{error}");
        assert!(types("[1]").unwrap_err().contains("use a JSON array of strings"));
    }

    #[test]
    fn only_tag_filters_make_it_filtered() {
        let settings = Settings {
            resource_types: Some("a/b".into()),
            include_change_actor: Some("true".into()),
            ..Settings::default()
        };
        let scope = read(&settings, &[], Reader::scope).unwrap();
        assert!(scope.change_actor && !scope.is_filtered());
        let settings =
            Settings { resource_group_tag_filters: Some(r#"{"exclude": {"a": "b"}}"#.into()), ..Settings::default() };
        assert!(read(&settings, &[], Reader::scope).unwrap().is_filtered());
    }
}
