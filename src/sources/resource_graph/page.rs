//! A page of an answer: parsed once, its rows slices of it.

use std::fmt;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::row::{Kinds, Row};
use crate::config::Scope;
use crate::http::{self, Failure};

/// The most rows that Resource Graph puts on a page.
pub(super) const PAGE: u64 = 1000;

/// The body of an answer, "Resources" of the Resource Graph REST reference.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Body<'a> {
    pub(super) total_records: u64,
    #[serde(borrow)]
    pub(super) data: Rows<'a>,
    #[serde(default, rename = "$skipToken")]
    skip_token: Option<String>,
    #[serde(default)]
    result_truncated: Option<&'a RawValue>,
}

/// Rows, and never more than were asked for: however small they are, a few more would not matter, and millions would.
pub(super) struct Rows<'a>(pub(super) Vec<&'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Rows<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RowsVisitor;

        impl<'de> Visitor<'de> for RowsVisitor {
            type Value = Rows<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of rows")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Self::Value, A::Error> {
                let mut rows = Vec::new();
                while let Some(row) = all.next_element()? {
                    if rows.len() as u64 == PAGE {
                        return Err(A::Error::custom(format!("it has more than the {PAGE} rows that were asked for")));
                    }
                    rows.push(row);
                }
                Ok(Rows(rows))
            }
        }

        deserializer.deserialize_seq(RowsVisitor)
    }
}

/// A page of an answer.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) rows: Vec<Row>,
    /// Rows of the whole answer.
    pub(super) total: u64,
    pub(super) skip_token: Option<String>,
    pub(super) truncated: bool,
}

impl Page {
    /// The rows are slices of `body`, which is read once.
    pub(crate) fn parse(body: &Bytes, scope: &Scope) -> Result<Self, Failure> {
        let answer: Body<'_> = http::json(body)?;
        let mut kinds = Kinds::default();
        let rows = answer.data.0.iter().map(|row| Row::parse(body.slice_ref(row.get().as_bytes()), scope, &mut kinds));
        Ok(Self {
            rows: rows.collect::<Result<_, _>>().map_err(|error| Failure::Unreadable(error.to_string()))?,
            total: answer.total_records,
            skip_token: answer.skip_token.filter(|token| !token.is_empty()),
            // Documented as a string, "true" or "false".
            truncated: answer.result_truncated.is_some_and(|flag| flag.get().trim_matches('"') == "true"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_with_more_rows_than_were_asked_for_is_not_understood() {
        let page = |rows: usize| {
            let rows = vec![r#"{"resourceId":"/subscriptions/s","type":"a/b"}"#; rows].join(",");
            Page::parse(&format!(r#"{{"totalRecords":1,"data":[{rows}]}}"#).into(), &Scope::default())
        };
        assert_eq!(page(1000).map(|page| page.rows.len()).ok(), Some(1000));
        let error = page(1001).err().unwrap().to_string();
        assert!(error.contains("more than the 1000 rows"), "{error}");
    }

    #[test]
    fn a_page_says_whether_more_follows_and_whether_something_was_left_out() {
        let page = |more: &str| {
            let body = format!(r#"{{"totalRecords":7,"data":[]{more}}}"#);
            Page::parse(&body.into(), &Scope::default()).unwrap()
        };
        let whole = page(r#","$skipToken":"","resultTruncated":"false""#);
        assert_eq!((whole.total, whole.skip_token, whole.truncated), (7, None, false));
        let cut = page(r#","$skipToken":"next","resultTruncated":"true""#);
        assert_eq!((cut.skip_token.as_deref(), cut.truncated), (Some("next"), true));
    }
}
