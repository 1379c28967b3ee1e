//! A page of an answer: parsed once, its rows slices of it.

use std::collections::{HashMap, HashSet};
use std::fmt;

use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::row::{Kinds, Row};
use crate::config::Scope;
use crate::http::{self, Failure};

/// The most rows that Resource Graph puts on a page.
pub(super) const PAGE: u64 = 1000;

/// The body of an answer ("Resources", Azure Resource Graph REST reference).
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
    #[serde(default)]
    count: Option<u64>,
    #[serde(default)]
    error: Option<&'a RawValue>,
}

impl<'a> Body<'a> {
    /// Parses an answer; rejects one that has an error next to its rows.
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, Failure> {
        let answer: Self = http::json(body)?;
        match answer.error {
            Some(error) => {
                let (rows, error) = (answer.data.0.len(), error.get());
                Err(Failure::Unreadable(format!("it has an error beside its {rows} rows: {error}").into()))
            }
            None => Ok(answer),
        }
    }

    /// Refuses an answer that contradicts itself: its rows prove nothing.
    fn check_count(&self) -> Result<(), Failure> {
        let rows = self.data.0.len() as u64;
        match self.count {
            Some(count) if count != rows => {
                Err(Failure::Unreadable(format!("it says that it has {count} rows, and has {rows}").into()))
            }
            _ => Ok(()),
        }
    }

    /// Documented as a string, "true" or "false". Only a clear no counts as one.
    fn is_truncated(&self) -> bool {
        self.result_truncated.is_some_and(|flag| !flag.get().trim_matches('"').trim().eq_ignore_ascii_case("false"))
    }
}

/// Rows, but never more than were requested: a few more would not matter, but millions would, however small.
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
    /// One row per id.
    pub(crate) rows: Vec<Row>,
    /// Rows received, before one per id was chosen.
    pub(super) came: u64,
    /// Ids that came more than once.
    pub(super) duplicates: Vec<Box<str>>,
    /// Rows in the whole result.
    pub(super) total: u64,
    pub(super) skip_token: Option<String>,
    pub(super) truncated: bool,
    /// The service's time, if its rows contain it.
    pub(super) azure_time: Option<Timestamp>,
}

impl Page {
    /// The rows are slices of `body`, which is read once.
    pub(crate) fn parse(body: &Bytes, scope: &Scope) -> Result<Self, Failure> {
        let answer = Body::parse(body)?;
        let mut kinds = Kinds::default();
        let texts = &answer.data.0;
        let rows = texts.iter().map(|row| Row::parse(body.slice_ref(row.get().as_bytes()), scope, &mut kinds));
        let rows: Vec<Row> = rows.collect::<Result<_, _>>().map_err(|error| Failure::Unreadable(error.into()))?;
        answer.check_count()?;
        let came = rows.len() as u64;
        let (rows, duplicates) = one_of_each(rows, texts);
        let truncated = answer.is_truncated();
        let skip_token = answer.skip_token.filter(|token| !token.is_empty());
        let azure_time = texts.first().and_then(|row| azure_time(row));
        Ok(Self { rows, came, duplicates, total: answer.total_records, skip_token, truncated, azure_time })
    }
}

fn azure_time(row: &RawValue) -> Option<Timestamp> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Told {
        azure_time: Timestamp,
    }
    serde_json::from_str(row.get()).ok().map(|Told { azure_time }| azure_time)
}

/// Keeps one row per id, the first by [`rank`], and returns which ids had more. Resource Graph holds some resources and
/// containers twice, identical except for case or not; duplicates within one answer are in its data, and not a fault of
/// paging.
fn one_of_each(rows: Vec<Row>, texts: &[&RawValue]) -> (Vec<Row>, Vec<Box<str>>) {
    let mut chosen: HashMap<&str, &RawValue> = HashMap::with_capacity(rows.len());
    let mut duplicates: HashSet<&str> = HashSet::new();
    for (row, text) in rows.iter().zip(texts) {
        let best = chosen.entry(row.id()).or_insert(text);
        if !std::ptr::eq(*best, *text) {
            duplicates.insert(row.id());
            if rank(text) < rank(best) {
                *best = text;
            }
        }
    }
    if duplicates.is_empty() {
        return (rows, Vec::new());
    }
    let is_chosen: Vec<bool> = rows
        .iter()
        .zip(texts)
        .map(|(row, text)| chosen.get(row.id()).is_some_and(|best| std::ptr::eq(*best, *text)))
        .collect();
    let duplicates = duplicates.into_iter().map(Into::into).collect();
    (rows.into_iter().zip(is_chosen).filter_map(|(row, is_chosen)| is_chosen.then_some(row)).collect(), duplicates)
}

/// The order of rows with one id: by the id as written, then the tags, then the whole row. The queries choose among the
/// rows of a group in the same way.
fn rank(row: &RawValue) -> (String, &str, &str) {
    #[derive(Default, Deserialize)]
    struct Keys<'a> {
        #[serde(default)]
        id: Option<String>,
        #[serde(borrow, default)]
        tags: Option<&'a RawValue>,
    }
    let Keys { id, tags } = serde_json::from_str(row.get()).unwrap_or_default();
    (id.unwrap_or_default(), tags.map_or("", RawValue::get), row.get())
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
        assert_eq!(page(1000).map(|page| page.came).ok(), Some(1000));
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
        for (flag, truncated) in [
            (r#""False""#, false),
            ("false", false),
            ("null", false),
            (r#""True""#, true),
            ("true", true),
            (r#""perhaps""#, true),
            ("1", true),
        ] {
            assert_eq!(page(&format!(r#","resultTruncated":{flag}"#)).truncated, truncated, "{flag}");
        }
    }

    #[test]
    fn an_answer_that_contradicts_itself_is_not_understood() {
        let row = r#"{"resourceId":"/subscriptions/s","type":"a/b"}"#;
        let page = |more: &str| {
            Page::parse(&format!(r#"{{"totalRecords":1,"data":[{row}]{more}}}"#).into(), &Scope::default())
        };
        assert!(page(r#","count":1,"error":null"#).is_ok());
        let error = page(r#","error":{"code":"InternalServerError"}"#).unwrap_err().to_string();
        assert!(error.contains("an error beside its 1 rows") && error.contains("InternalServerError"), "{error}");
        let error = page(r#","count":2"#).unwrap_err().to_string();
        assert!(error.contains("says that it has 2 rows, and has 1"), "{error}");
    }

    #[test]
    fn of_rows_with_one_id_the_first_by_id_tags_and_text_is_taken_in_whatever_order_they_come() {
        let row = |id: &str, tags: &str, name: &str| {
            format!(r#"{{"id":"{id}","resourceId":"/subscriptions/s/x","name":"{name}","type":"a/b","tags":{tags}}}"#)
        };
        let first = row("/subscriptions/S/x", r#"{"a":"1"}"#, "z");
        let others = [
            row("/subscriptions/S/x", r#"{"a":"2"}"#, "a"),
            row("/subscriptions/s/X", "null", "a"),
            row("/subscriptions/S/x", r#"{"a":"1"}"#, "zz"),
        ];
        for other in others {
            for rows in [[&first, &other], [&other, &first]] {
                let body = format!(r#"{{"totalRecords":2,"data":[{},{}]}}"#, rows[0], rows[1]);
                let page = Page::parse(&body.into(), &Scope::default()).unwrap();
                let [Row::Of(finding)] = &page.rows[..] else { panic!("{page:?}") };
                assert_eq!(std::str::from_utf8(&finding.change.row).unwrap(), first);
                assert_eq!((page.came, &*page.duplicates), (2, &["/subscriptions/s/x".into()][..]));
            }
        }
    }
}
