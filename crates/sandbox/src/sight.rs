//! What Resource Graph hides. The list of subscriptions and the truth are unaffected.
//!
//! Random choices depend only on the query and the moment, so the pages of an answer agree, and so do two runs of a
//! test.
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use kql::{Answer, Value};

use crate::rng::hash;

/// The line of a query that only asks for ids.
const IDS_ONLY: &str = "| project id, resourceId, subscriptionId";

/// The blind spots of Resource Graph.
#[derive(Debug, Default)]
pub struct Sight {
    overlooked: HashMap<Arc<str>, Often>,
    without_records: HashSet<Arc<str>>,
    hidden: HashSet<Arc<str>>,
    hidden_with_all_within: HashSet<Arc<str>>,
    flickering: HashSet<Arc<str>>,
    withheld: Vec<Withheld>,
    poison: HashSet<Arc<str>>,
}

/// Hides this percentage of a subscription's rows until a time.
#[derive(Debug)]
struct Withheld {
    guid: Arc<str>,
    percent: u64,
    until: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Often {
    Always,
    Sometimes,
}

impl Sight {
    /// Silently leaves a subscription out of every answer.
    pub fn overlook(&mut self, guid: &str) {
        self.overlooked.insert(guid.into(), Often::Always);
    }

    /// The same in about every second answer.
    pub fn overlook_sometimes(&mut self, guid: &str) {
        self.overlooked.insert(guid.into(), Often::Sometimes);
    }

    /// Hides all records of a subscription.
    pub fn hide_records(&mut self, guid: &str) {
        self.without_records.insert(guid.into());
    }

    /// Hides the row of a lower-case id.
    pub fn hide_row(&mut self, id: &str) {
        self.hidden.insert(id.into());
    }

    /// Hides the row of a lower-case id, and those of everything in it.
    pub fn hide_rows_within(&mut self, id: &str) {
        self.hidden_with_all_within.insert(id.into());
    }

    /// Shows the row of a lower-case id in about every second answer.
    pub fn flicker(&mut self, id: &str) {
        self.flickering.insert(id.into());
    }

    /// Hides this percentage of a subscription's rows until this time, in milliseconds since the epoch. Always the same
    /// rows, but never the subscription's own. Overlapping periods all apply.
    pub fn withhold(&mut self, guid: &str, percent: u64, until: i64) {
        self.withheld.push(Withheld { guid: guid.into(), percent, until });
    }

    /// Fails every query whose answer contains the row of a lower-case id, unless it only asks for ids.
    pub fn poison(&mut self, id: &str) {
        self.poison.insert(id.into());
    }

    /// Shows everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn overlooks(&self, guid: &str, moment: u64) -> bool {
        match self.overlooked.get(guid) {
            None => false,
            Some(Often::Always) => true,
            Some(Often::Sometimes) => is_heads(guid, moment),
        }
    }

    pub(crate) fn shows_records(&self, guid: &str) -> bool {
        !self.without_records.contains(guid)
    }

    /// Whether the row of an id in this subscription is visible at `now`.
    pub(crate) fn shows_row(&self, guid: &str, id: &str, now: i64, moment: u64) -> bool {
        let is_own = || id.strip_prefix("/subscriptions/") == Some(guid);
        let withholds = |Withheld { guid: of, percent, until }: &Withheld| {
            now < *until && **of == *guid && hash(&[id.as_bytes()]) % 100 < *percent && !is_own()
        };
        let is_hidden = self.hidden.contains(id)
            || self.hidden_with_all_within.iter().any(|outer| is_within(outer, id))
            || (self.flickering.contains(id) && is_heads(id, moment))
            || self.withheld.iter().any(withholds);
        !is_hidden
    }

    /// Whether the answer to a query contains a row that makes it fail.
    pub(crate) fn is_poisoned(&self, query: &str, answer: &Answer) -> bool {
        if self.poison.is_empty() || query.lines().any(|line| line == IDS_ONLY) {
            return false;
        }
        let Some(place) = answer.table.columns.iter().position(|column| &*column.name == "resourceId") else {
            return false;
        };
        let is_poison = |row: &Arc<[Value]>| matches!(&row[place], Value::String(id) if self.poison.contains(id));
        answer.table.rows.iter().any(is_poison)
    }
}

/// Whether a lower-case id equals `outer` or is inside it.
pub(crate) fn is_within(outer: &str, id: &str) -> bool {
    id.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A coin toss for this id in the answer at this moment.
pub(crate) fn is_heads(id: &str, moment: u64) -> bool {
    hash(&[id.as_bytes(), &moment.to_le_bytes()]).is_multiple_of(2)
}
