//! Pieces of query text: literals, lists, conditions. Pure text, and the only place where a user's text enters a query.

use std::fmt::{self, Write};

use jiff::Timestamp;

use super::arm_id::text_of;
use crate::config::{ResourceType, TagCondition, TagFilters};
use crate::id::lower;
use crate::model::Id;

/// A string literal. KQL escapes with a backslash ("The string data type", Kusto docs). Doubling a quote would silently
/// drop it, because adjacent literals are concatenated.
pub(crate) struct Literal<'a>(pub(crate) &'a str);

impl fmt::Display for Literal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('\'')?;
        for c in self.0.chars() {
            match c {
                '\'' | '\\' => write!(f, "\\{c}")?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                // A literal ends at a line break, and some reader or other treats these as line breaks or control
                // characters.
                c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                    write!(f, "\\u{:04x}", u32::from(c))?;
                }
                c => f.write_char(c)?,
            }
        }
        f.write_char('\'')
    }
}

/// `'a', 'b'`, for `in (…)`.
pub(crate) fn list<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let literals: Vec<String> = texts.into_iter().map(|text| Literal(text).to_string()).collect();
    literals.join(", ")
}

/// The condition that a column is one of these ids.
pub(super) fn id_condition(column: &str, ids: &[Id]) -> String {
    format!("{column} in ({})", list(ids.iter().map(text_of)))
}

/// `datetime(…)`, to the millisecond, UTC.
pub(crate) fn datetime(at: Timestamp) -> String {
    format!("datetime({at:.3})")
}

/// The condition that a resource's type, in column `type` and lower case, is one of these; `None` for all types.
pub(crate) fn type_condition(types: &[ResourceType]) -> Option<String> {
    (!types.is_empty()).then(|| format!("type in ({})", list(types.iter().map(ResourceType::as_str))))
}

/// The condition that a group's tags, in the dynamic column `tags` and all in lower case, match; `None` if all do.
///
/// Names and values match case-insensitively ("Use tags to organize your Azure resources": tag names are
/// case-insensitive, and so are values here). Tags are lowered as one text, since KQL looks names up case-sensitively.
pub(crate) fn tag_condition(filters: &TagFilters, tags: &str) -> Option<String> {
    let included = filters.include.iter().map(|condition| equals(condition, tags));
    let excluded = filters.exclude.iter().map(|condition| format!("not({})", equals(condition, tags)));
    let conditions: Vec<String> = included.chain(excluded).collect();
    (!conditions.is_empty()).then(|| conditions.join(" and "))
}

fn equals(condition: &TagCondition, tags: &str) -> String {
    let name = lower(&condition.name);
    let value = lower(&condition.value);
    let equal = format!("tostring({tags}[{}]) == {}", Literal(&name), Literal(&value));
    if value.is_empty() {
        // A missing tag also reads as an empty string.
        format!("(isnotnull({tags}[{}]) and {equal})", Literal(&name))
    } else {
        equal
    }
}

/// The condition that an update may have changed what a filter looks at: its `changes`, in this column as lower-case
/// text, name a tag of the filter, or do not list everything that changed. `None` without filters.
///
/// "Get resource changes": `changes` has a property for each path that changed, each with `isTruncated`, and may be
/// later than the record.
pub(crate) fn retag_condition(filters: &TagFilters, changes: &str) -> Option<String> {
    let conditions = filters.include.iter().chain(&filters.exclude);
    let named: Vec<String> = conditions
        .map(|condition| format!("{changes} contains {}", Literal(plain_part(&lower(&condition.name)))))
        .collect();
    let untold = format!(
        "isempty({changes}) or {changes} in ('{{}}', '[]', 'null')\n    or \
         replace_string(replace_string({changes}, '\"istruncated\":\"false\"', ''), '\"istruncated\":false', '') contains \
         'istruncated'"
    );
    (!named.is_empty()).then(|| format!("{untold}\n    or {}", named.join(" or ")))
}

/// The longest part of a text that no JSON writer escapes. A text that contains the whole contains this part, too.
fn plain_part(text: &str) -> &str {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, ' ' | '_' | '-' | '.');
    text.split(|c| !is_plain(c)).max_by_key(|part| part.len()).unwrap_or_default()
}

/// The condition that an id is in one of `of` parts, by the hash of its lower-case form. KQL's `%` is never negative.
pub(crate) fn part_condition(id: &str, part: u32, of: u32) -> Option<String> {
    (of > 1).then(|| format!("hash({id}) % {of} == {part}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(name: &str, value: &str) -> TagCondition {
        TagCondition { name: name.into(), value: value.into() }
    }

    #[test]
    fn quotes_and_backslashes_are_escaped_with_a_backslash() {
        assert_eq!(Literal(r"O'Connor \ Sons").to_string(), r"'O\'Connor \\ Sons'");
    }

    #[test]
    fn no_control_character_stays_raw_in_a_literal() {
        assert_eq!(Literal("a\nb\r\t\0\u{85}\u{2028}").to_string(), r"'a\nb\r\t\u0000\u0085\u2028'");
    }

    #[test]
    fn a_time_is_written_to_the_millisecond() {
        assert_eq!(
            datetime(Timestamp::from_millisecond(1_700_000_000_120).unwrap()),
            "datetime(2023-11-14T22:13:20.120Z)"
        );
    }

    #[test]
    fn every_include_and_no_exclude_must_hold() {
        let filters = TagFilters {
            include: vec![condition("Environment", "Production"), condition("Team", "Platform")],
            exclude: vec![condition("Temporary", "TRUE")],
        };
        assert_eq!(
            tag_condition(&filters, "t").unwrap(),
            "tostring(t['environment']) == 'production' and tostring(t['team']) == 'platform' and \
             not(tostring(t['temporary']) == 'true')"
        );
    }

    #[test]
    fn an_empty_value_asks_for_the_tag_to_be_there() {
        let filters = TagFilters { include: vec![condition("owner", "")], exclude: vec![] };
        assert_eq!(tag_condition(&filters, "t").unwrap(), "(isnotnull(t['owner']) and tostring(t['owner']) == '')");
    }

    #[test]
    fn without_filters_there_is_no_condition() {
        assert_eq!(tag_condition(&TagFilters::default(), "t"), None);
        assert_eq!(type_condition(&[]), None);
        assert_eq!(part_condition("resourceId", 0, 1), None);
        assert_eq!(retag_condition(&TagFilters::default(), "c"), None);
    }

    #[test]
    fn an_update_that_names_a_tag_of_the_filter_or_does_not_tell_all_may_change_the_scope() {
        let filters =
            TagFilters { include: vec![condition("Cost Center", "x")], exclude: vec![condition("a\"équipe\"", "y")] };
        let text = retag_condition(&filters, "c").unwrap();
        assert!(text.starts_with("isempty(c) or "), "{text}");
        assert!(text.ends_with("or c contains 'cost center' or c contains 'quipe'"), "{text}");
    }
}
