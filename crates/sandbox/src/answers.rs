//! An evaluated query, ready for paging: the order of the rows, random where the query does not define it, and the text
//! of a page. Recent results are cached, so that the next page of an unchanged estate is cheap.
use std::collections::{HashMap, VecDeque};
use std::io::Write as _;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use kql::{Answer, Type, Value};

use crate::clock::iso;
use crate::faults::Shift;
use crate::lock;
use crate::rng::{Rng, hash};

/// How many evaluated queries to cache, more than a run has open at a time; and how many rows of them, so that a large
/// estate does not fill the memory.
const REMEMBERED: usize = 16;
const ROWS_REMEMBERED: usize = 250_000;

/// A query over a version of the estate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    /// A hash of the query's text and its subscriptions.
    pub identity: u64,
    pub version: u64,
    pub now: i64,
}

type Request = (Bytes, bool);

#[derive(Default)]
pub(crate) struct Answers {
    recent: Mutex<VecDeque<(Key, Arc<Evaluated>)>>,
    kept: Mutex<HashMap<Request, Bytes>>,
}

impl Answers {
    pub(crate) fn recent(&self, key: &Key) -> Option<Arc<Evaluated>> {
        lock(&self.recent).iter().find(|(of, _)| of == key).map(|(_, evaluated)| evaluated.clone())
    }

    pub(crate) fn remember(&self, key: Key, evaluated: Arc<Evaluated>) {
        let mut recent = lock(&self.recent);
        recent.push_front((key, evaluated));
        recent.truncate(REMEMBERED);
        let rows = |recent: &VecDeque<(Key, Arc<Evaluated>)>| -> usize { recent.iter().map(|(_, of)| of.len()).sum() };
        while recent.len() > 1 && rows(&recent) > ROWS_REMEMBERED {
            recent.pop_back();
        }
    }

    /// The complete cached answer to this exact request.
    pub(crate) fn kept(&self, request: &Request) -> Option<Bytes> {
        lock(&self.kept).get(request).cloned()
    }

    pub(crate) fn keep(&self, request: Request, answer: Bytes) {
        lock(&self.kept).insert(request, answer);
    }
}

pub(crate) struct Evaluated {
    pub identity: u64,
    answer: Answer,
    /// Ranges of rows that the query's order does not distinguish.
    ties: Vec<Range<usize>>,
    /// Whether the service would return a token for the next page.
    paged: bool,
    names: Vec<Vec<u8>>,
}

impl Evaluated {
    pub(crate) fn new(answer: Answer, identity: u64, one_page: bool) -> Self {
        let rows = &answer.table.rows;
        let alike = |a: usize, b: usize| answer.order.iter().all(|column| rows[a].get(*column) == rows[b].get(*column));
        let mut ties = Vec::new();
        let mut start = 0;
        for end in 1..=rows.len() {
            if end == rows.len() || !alike(start, end) {
                if end - start > 1 {
                    ties.push(start..end);
                }
                start = end;
            }
        }
        let paged =
            !one_page && answer.table.columns.iter().any(|column| &*column.name == "id" && column.ty != Type::Dynamic);
        let columns = answer.table.columns.iter();
        let names = columns.map(|column| format!("{}:", serde_json::Value::from(&*column.name)).into_bytes()).collect();
        Self { identity, answer, ties, paged, names }
    }

    fn len(&self) -> usize {
        self.answer.table.rows.len()
    }

    /// The order of the rows for a page: the query's, and random where it defines none.
    pub(crate) fn order(&self, rng: &mut Rng) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.len()).collect();
        for tie in &self.ties {
            rng.shuffle(&mut order[tie.clone()]);
        }
        order
    }

    /// Leaves out this percentage of the rows, always the same ones.
    pub(crate) fn leave_out(&self, order: &mut Vec<usize>, percent: u8) {
        let is_left_out = |row: &[Value]| {
            let mut text = Vec::new();
            self.write_row(&mut text, row);
            hash(&[&text]) % 100 < u64::from(percent)
        };
        order.retain(|row| !is_left_out(&self.answer.table.rows[*row]));
    }

    /// The page that starts at row `from`, as the service formats it.
    pub(crate) fn page(
        &self,
        order: &[usize],
        from: usize,
        top: usize,
        shift: Option<Shift>,
        token: impl Fn(usize) -> String,
    ) -> Vec<u8> {
        let (all, half) = (order.len(), top.div_ceil(2));
        // The first row to show, how many, the start of the next page, and the total.
        let (start, most, end, total) = match shift.filter(|_| from > 0) {
            None | Some(Shift::Lacking(_)) => (from, top, from + top, all),
            Some(Shift::Removed) => (from + 1, top, from + top, all.saturating_sub(1)),
            Some(Shift::Added) => (from - 1, top, from + top, all + 1),
            Some(Shift::Swapped) => (from - 1, top, from + top, all),
            Some(Shift::Repeated) => (from.saturating_sub(top), top, from + top, all),
            Some(Shift::Halved) => (from, half, from + top, all),
            Some(Shift::Shorter) => (from, half, from + half, all),
        };
        let rows: Vec<usize> = order.iter().skip(start).take(most).copied().collect();
        let more = end < total;
        let next = (more && self.paged && !rows.is_empty()).then(|| token(end));
        let mut out = Vec::with_capacity(256 + rows.len() * 900);
        let truncated = more && next.is_none();
        let _ = write!(out, r#"{{"totalRecords":{total},"count":{},"data":["#, rows.len());
        for (place, row) in rows.iter().enumerate() {
            if place > 0 {
                out.push(b',');
            }
            self.write_row(&mut out, &self.answer.table.rows[*row]);
        }
        let _ = write!(out, r#"],"facets":[],"resultTruncated":"{truncated}""#);
        if let Some(next) = next {
            let _ = write!(out, r#","$skipToken":"{next}""#);
        }
        out.push(b'}');
        out
    }

    fn write_row(&self, out: &mut Vec<u8>, row: &[Value]) {
        out.push(b'{');
        for (place, (name, value)) in self.names.iter().zip(row).enumerate() {
            if place > 0 {
                out.push(b',');
            }
            out.extend_from_slice(name);
            write_value(out, value);
        }
        out.push(b'}');
    }
}

fn write_value(out: &mut Vec<u8>, value: &Value) {
    // Writing to memory cannot fail.
    let _ = match value {
        Value::Null => write!(out, "null"),
        Value::Bool(is) => write!(out, "{is}"),
        Value::Long(number) => write!(out, "{number}"),
        Value::Real(number) => write!(out, "{}", serde_json::Value::from(*number)),
        Value::String(text) => serde_json::to_writer(&mut *out, &**text).map_err(Into::into),
        Value::DateTime(ms) => write!(out, "\"{}\"", iso(*ms)),
        Value::Dynamic(json) => serde_json::to_writer(&mut *out, &**json).map_err(Into::into),
    };
}

pub(crate) fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 8), Compression::fast());
    let _ = encoder.write_all(plain);
    encoder.finish().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use kql::{Column, Table};

    use super::*;

    fn evaluated(ids: &[&str], order: Vec<usize>) -> Evaluated {
        let columns = [Column { name: "id".into(), ty: Type::String }].into();
        let rows = ids.iter().map(|id| Arc::from([Value::String((*id).into())])).collect();
        Evaluated::new(Answer { table: Table { columns, rows }, order }, 7, false)
    }

    fn page(of: &Evaluated, order: &[usize], from: usize, shift: Option<Shift>) -> serde_json::Value {
        serde_json::from_slice(&of.page(order, from, 2, shift, |from| from.to_string())).unwrap()
    }

    fn ids(page: &serde_json::Value) -> Vec<&str> {
        page["data"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap()).collect()
    }

    #[test]
    fn a_unique_order_is_kept_and_the_rest_is_left_to_chance() {
        let mut rng = Rng::new(3);
        let sorted = evaluated(&["a", "b", "c", "d", "e"], vec![0]);
        assert_eq!(sorted.order(&mut rng), [0, 1, 2, 3, 4]);
        let unsorted = evaluated(&["a", "b", "c", "d", "e"], vec![]);
        assert_ne!(unsorted.order(&mut rng), unsorted.order(&mut rng));
        let partly = evaluated(&["a", "a", "a", "b"], vec![0]);
        assert!((0..20).all(|_| partly.order(&mut rng)[3] == 3));
    }

    #[test]
    fn pages_follow_one_another_until_all_is_read() {
        let of = evaluated(&["a", "b", "c"], vec![0]);
        let first = page(&of, &[0, 1, 2], 0, None);
        assert_eq!(
            (ids(&first), &first["$skipToken"], &first["totalRecords"]),
            (vec!["a", "b"], &"2".into(), &3.into())
        );
        let second = page(&of, &[0, 1, 2], 2, None);
        assert_eq!(
            (ids(&second), second.get("$skipToken"), &second["resultTruncated"]),
            (vec!["c"], None, &"false".into())
        );
    }

    #[test]
    fn rows_that_shift_between_pages_are_skipped_or_repeated() {
        let of = evaluated(&["a", "b", "c", "d", "e"], vec![0]);
        let order = [0, 1, 2, 3, 4];
        let second = |shift| page(&of, &order, 2, Some(shift));
        assert_eq!(
            (ids(&second(Shift::Removed)), &second(Shift::Removed)["totalRecords"]),
            (vec!["d", "e"], &4.into())
        );
        assert_eq!((ids(&second(Shift::Added)), &second(Shift::Added)["totalRecords"]), (vec!["b", "c"], &6.into()));
        assert_eq!(
            (ids(&second(Shift::Swapped)), &second(Shift::Swapped)["totalRecords"]),
            (vec!["b", "c"], &5.into())
        );
    }

    #[test]
    fn without_an_id_there_is_no_way_to_the_next_page() {
        let mut of = evaluated(&["a", "b", "c"], vec![0]);
        of.paged = false;
        let first = page(&of, &[0, 1, 2], 0, None);
        assert_eq!((first.get("$skipToken"), &first["resultTruncated"]), (None, &"true".into()));
    }
}
