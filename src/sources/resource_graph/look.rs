//! What Resource Graph looks at, and its clock: one question a batch, before anything else is read.
//!
//! A query names subscriptions; those that Resource Graph does not know for the principal, or not yet, are left out of its answer
//! without a word. Any row of a subscription shows that it was looked at: its own, a group's or a resource's, as a principal may
//! have rights on some groups only.

use std::collections::HashSet;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::arm_id::id_of;
use super::client::Client;
use super::error::GraphError;
use super::queries::{LOOK, LOOK_NAME};
use super::{guids, page};
use crate::engine::Sight;
use crate::model::Id;

/// What Resource Graph looks at of some subscriptions.
#[derive(Debug, Default)]
pub(crate) struct Look {
    covered: HashSet<Id>,
    /// Subscriptions that it could not be asked about.
    unknown: HashSet<Id>,
    pub(crate) failures: Vec<GraphError>,
    /// Its own time; `None` where it did not tell.
    pub(crate) now: Option<Timestamp>,
}

/// A row of [`LOOK`].
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    id: String,
    #[serde(default)]
    azure_time: Option<Timestamp>,
}

impl Look {
    /// Asks about up to 1,000 subscriptions.
    pub(super) async fn at(client: &Client, shards: &[Id]) -> Self {
        let mut look = Self::default();
        let answer = match client.ask(LOOK_NAME, LOOK, &guids(shards), page::PAGE).await {
            Ok(answer) => answer,
            Err(error) => {
                look.unknown.extend(shards.iter().cloned());
                look.failures.push(error);
                return look;
            }
        };
        let asked: HashSet<&Id> = shards.iter().collect();
        for Row { id, azure_time } in answer.rows.iter().filter_map(|json| row(json)) {
            look.covered.extend(id_of(&id).filter(|id| asked.contains(id)));
            look.note_time(azure_time);
        }
        look
    }

    pub(crate) fn sight(&self, shard: &Id) -> Sight {
        if self.covered.contains(shard) {
            Sight::Covered
        } else if self.unknown.contains(shard) {
            Sight::Unknown
        } else {
            Sight::NotCovered
        }
    }

    /// Adds what was looked at of others.
    pub(super) fn add(&mut self, other: Self) {
        self.covered.extend(other.covered);
        self.unknown.extend(other.unknown);
        self.failures.extend(other.failures);
        self.note_time(other.now);
    }

    /// The earliest time counts: whatever is recorded after it is read by a later run.
    fn note_time(&mut self, time: Option<Timestamp>) {
        self.now = self.now.into_iter().chain(time).min();
    }
}

/// What is no row of ours shows nothing.
fn row(json: &RawValue) -> Option<Row> {
    serde_json::from_str(json.get()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_time_that_was_told_counts() {
        let time = |text: &str| text.parse::<Timestamp>().ok();
        let mut look = Look::default();
        for told in [None, time("2026-01-02T03:04:06Z"), time("2026-01-02T03:04:05.25Z"), None] {
            look.add(Look { now: told, ..Look::default() });
        }
        assert_eq!(look.now, time("2026-01-02T03:04:05.25Z"));
    }

    #[test]
    fn a_row_tells_a_subscription_and_perhaps_the_time() {
        let row = |json: &str| row(&RawValue::from_string(json.into()).unwrap()).map(|row| row.azure_time.is_some());
        assert_eq!(
            row(r#"{"id":"/subscriptions/a","found":2,"azureTime":"2026-01-02T03:04:05.1234567Z"}"#),
            Some(true)
        );
        assert_eq!(row(r#"{"id":"/subscriptions/a"}"#), Some(false));
        assert_eq!(row(r#"{"name":"a"}"#), None);
    }
}
