//! The scope in the form that a checkpoint stores.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Scope, TagCondition};

/// What decides which entities belong in the catalog. Scopes with the same meaning have the same form.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ScopeTerms {
    #[serde(default)]
    resource_types: Vec<String>,
    #[serde(default)]
    include: BTreeMap<String, String>,
    #[serde(default)]
    exclude: BTreeMap<String, String>,
    /// What entities are made of. It does not affect the scope, but a change requires comparing everything again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    columns: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mapping: Option<String>,
}

impl ScopeTerms {
    /// Tag names and values are stored in lower case, because they match case-insensitively.
    pub(crate) fn of(scope: &Scope) -> Self {
        let conditions = |conditions: &[TagCondition]| {
            conditions.iter().map(|one| (one.name.to_lowercase(), one.value.to_lowercase())).collect()
        };
        Self {
            resource_types: scope.resource_types.iter().map(|one| one.as_str().to_owned()).collect(),
            include: conditions(&scope.tag_filters.include),
            exclude: conditions(&scope.tag_filters.exclude),
            columns: scope.columns.resources.iter().copied().map(str::to_owned).collect(),
            mapping: None,
        }
    }

    /// Sets the hash of a mapping. The columns are then dropped, because the mapping decides them.
    pub(crate) fn mapped_by(self, mapping: Option<String>) -> Self {
        let columns = if mapping.is_some() { Vec::new() } else { self.columns };
        Self { columns, mapping, ..self }
    }

    /// Serializes as one line of JSON.
    pub(crate) fn to_text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Parses the output of [`ScopeTerms::to_text`]; anything else gives empty terms.
    pub(crate) fn parse(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_default()
    }

    /// The variable of a filter that was set before and no longer is. That widens the scope to everything, and is more
    /// likely a misspelt name than intended.
    pub(crate) fn missing_from(&self, now: &Self) -> Option<&'static str> {
        let has_tags = |terms: &Self| !terms.include.is_empty() || !terms.exclude.is_empty();
        if !self.resource_types.is_empty() && now.resource_types.is_empty() {
            Some("RESOURCE_TYPES")
        } else if has_tags(self) && !has_tags(now) {
            Some("RESOURCE_GROUP_TAG_FILTERS")
        } else {
            None
        }
    }

    /// The variable whose value has changed.
    pub(crate) fn changed_from(&self, was: &Self) -> Option<&'static str> {
        if self.resource_types != was.resource_types {
            Some("RESOURCE_TYPES")
        } else if (&self.include, &self.exclude) != (&was.include, &was.exclude) {
            Some("RESOURCE_GROUP_TAG_FILTERS")
        } else if self.columns != was.columns {
            Some("RESOURCE_COLUMNS")
        } else if self.mapping != was.mapping {
            Some("MAPPING_FILE")
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TagFilters;

    fn terms(types: &str, tag: Option<(&str, &str)>) -> ScopeTerms {
        let condition = |(name, value): (&str, &str)| TagCondition { name: name.into(), value: value.into() };
        ScopeTerms::of(&Scope {
            resource_types: types.split_terminator(',').map(|name| name.parse().unwrap()).collect(),
            tag_filters: TagFilters { include: tag.map(condition).into_iter().collect(), exclude: vec![] },
            ..Scope::default()
        })
    }

    #[test]
    fn tag_filters_that_differ_in_case_only_are_the_same_scope() {
        let (one, other) =
            (terms("", Some(("Environment", "Production"))), terms("", Some(("environment", "PRODUCTION"))));
        assert_eq!(one.to_text(), other.to_text());
        assert_eq!(ScopeTerms::parse(&one.to_text()), one);
    }

    #[test]
    fn a_filter_that_is_gone_is_told_from_one_that_changed() {
        let was = terms("a/b", Some(("env", "prod")));
        assert_eq!(was.missing_from(&terms("", Some(("env", "prod")))), Some("RESOURCE_TYPES"));
        assert_eq!(was.missing_from(&terms("a/b", None)), Some("RESOURCE_GROUP_TAG_FILTERS"));
        assert_eq!(was.missing_from(&terms("a/c", Some(("env", "test")))), None);
        assert_eq!(terms("a/c", Some(("env", "prod"))).changed_from(&was), Some("RESOURCE_TYPES"));
        assert_eq!(terms("a/b", Some(("env", "test"))).changed_from(&was), Some("RESOURCE_GROUP_TAG_FILTERS"));
        assert_eq!(terms("", None).missing_from(&was), None, "a filter that is new is a wish");
    }
}
