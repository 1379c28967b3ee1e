//! Conditions on the tags of resource groups.

use std::fmt;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};

use super::reader::Reader;
use super::value::Form;
use crate::id::lower;
use crate::text::printable;

/// A group is in scope if it meets every condition in `include` and none in `exclude`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TagFilters {
    /// All of these must match.
    pub include: Vec<TagCondition>,
    /// None of these may match.
    pub exclude: Vec<TagCondition>,
}

impl<'de> Deserialize<'de> for TagFilters {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Fields {
            #[serde(default, deserialize_with = "tag_conditions")]
            include: Vec<TagCondition>,
            #[serde(default, deserialize_with = "tag_conditions")]
            exclude: Vec<TagCondition>,
        }

        /// Accepts only an object. Serde would also read a struct from a list of its fields, and so misread a list of
        /// filters.
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with \"include\", \"exclude\" or both")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                Fields::deserialize(MapAccessDeserializer::new(map))
            }
        }

        let Fields { include, exclude } = deserializer.deserialize_map(Object)?;
        Ok(Self { include, exclude })
    }
}

impl TagFilters {
    /// Whether every group is in scope.
    pub fn is_empty(&self) -> bool {
        self.include.is_empty() && self.exclude.is_empty()
    }
}

/// A tag's name and value, as given. Both match case-insensitively, and the value must match as a whole. An empty value matches
/// a tag whose value is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagCondition {
    /// Never empty.
    pub name: String,
    /// Has no wildcards.
    pub value: String,
}

/// Reads an object of strings. A duplicate name is an error, because otherwise the last one would silently win.
fn tag_conditions<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<TagCondition>, D::Error> {
    struct Conditions;

    impl<'de> Visitor<'de> for Conditions {
        type Value = Vec<TagCondition>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object that maps tag names to string values")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut conditions: Vec<TagCondition> = Vec::new();
            while let Some((name, value)) = map.next_entry::<String, String>()? {
                if name.is_empty() {
                    return Err(serde::de::Error::custom("a tag name is empty"));
                }
                if conditions.iter().any(|other| lower(&other.name) == lower(&name)) {
                    return Err(serde::de::Error::custom(format!(
                        "the tag \"{}\" appears twice (tag names are case-insensitive)",
                        printable(&name)
                    )));
                }
                conditions.push(TagCondition { name, value });
            }
            Ok(conditions)
        }
    }

    deserializer.deserialize_map(Conditions)
}

impl Reader<'_> {
    pub(super) fn tag_filters(&mut self) -> TagFilters {
        const NAME: &str = "RESOURCE_GROUP_TAG_FILTERS";
        const EXAMPLE: &str =
            r#"for example, use {"include": {"Environment": "Production"}, "exclude": {"Temporary": "true"}}"#;
        let text = self.set(NAME, self.settings.resource_group_tag_filters.as_deref(), Form::Lines);
        text.and_then(|text| self.json(NAME, text, EXAMPLE)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::read;
    use super::*;
    use crate::cli::Settings;

    fn filters(text: &str) -> Result<TagFilters, String> {
        let settings = Settings { resource_group_tag_filters: Some(text.into()), ..Settings::default() };
        read(&settings, &[], Reader::tag_filters).map_err(|error| error.to_string())
    }

    #[test]
    fn conditions_keep_their_order_and_spelling() {
        let filters = filters(r#"{"include": {"Team": "Größe", "Env": ""}, "exclude": {"Env": "x"}}"#).unwrap();
        let pairs = |conditions: &[TagCondition]| -> Vec<(String, String)> {
            conditions.iter().map(|one| (one.name.clone(), one.value.clone())).collect()
        };
        assert_eq!(
            pairs(&filters.include),
            [("Team".to_owned(), "Größe".to_owned()), ("Env".to_owned(), String::new())]
        );
        assert_eq!(pairs(&filters.exclude), [("Env".to_owned(), "x".to_owned())]);
    }

    #[test]
    fn without_conditions_every_group_is_in_scope() {
        for text in ["", "{}", r#"{"include": {}}"#] {
            assert!(filters(text).unwrap().is_empty(), "{text}");
        }
    }

    #[test]
    fn filters_that_would_be_misread_are_rejected() {
        for text in ["[]", "null", r#"{"includes": {}}"#, r#"{"include": {"a": 1}}"#, r#"{"include": {"": "b"}}"#] {
            let error = filters(text).unwrap_err();
            assert!(error.starts_with("RESOURCE_GROUP_TAG_FILTERS is wrong: "), "{text}: {error}");
        }
        let twice = filters(r#"{"include": {"Env": "b", "ENV": "c"}}"#).unwrap_err();
        assert!(twice.contains("\"ENV\"") && twice.contains("twice"), "{twice}");
    }
}
