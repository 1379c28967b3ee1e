//! Finds ids that make every query fail, so that the rest can be read.
//!
//! It is not documented that a row can make Resource Graph fail, or its answer unreadable. If one does, every query
//! that includes it fails, and one resource would keep a whole subscription from being read.

use super::client::{Pages, Request};
use super::dividing::FINER;
use super::error::GraphError;
use super::names::FEW_NAMES;
use super::packing::parts_of;
use super::proof::{Proof, Standing};
use super::queries::{Joins, Query, Slice};
use super::reading::{Portion, ROWS_A_PART, Reader};
use super::row::Row;
use crate::azure::api::Effort;
use crate::model::Id;

/// Which rows are in a slice, if at least their ids can be read.
enum Within {
    These(Vec<Id>),
    /// Too many to name.
    Rows(u64),
    /// The ids cannot be read either.
    Unknown,
}

impl<'a, P: Pages> Reader<'a, P> {
    /// Reads what can be read of a portion that failed with this error, and notes the ids that make it fail. Returns
    /// how many rows came, counting those that cannot be read, or the error if single rows are not to blame.
    pub(super) async fn around_the_failing(
        &self,
        portion: Portion<'a>,
        readings: u32,
        error: GraphError,
    ) -> Result<u64, GraphError> {
        let name = self.query.name();
        if !self.is_troubled.replace(true) {
            tracing::warn!("{error}; searching for the rows that make it fail");
        }
        if let Slice::Named(ids) = &portion.slice {
            return match &ids[..] {
                [] => Ok(0),
                // If the service answers nothing at all, this row is not to blame.
                [id] if self.is_well(&portion).await => {
                    tracing::warn!("the query for {name} fails with {id}; everything else is read");
                    let failed = &mut self.answer.borrow_mut().failed;
                    if !failed.contains(id) {
                        failed.push(id.clone());
                    }
                    Ok(1)
                }
                [_] => Err(error),
                _ => self.smaller(&portion, 2, readings).await,
            };
        }
        match self.ids_in(&portion).await {
            Within::These(ids) => self.smaller(&portion.with(Slice::Named(ids)), 2, readings).await,
            Within::Rows(rows) => self.smaller(&portion, parts_of(rows, ROWS_A_PART).max(FINER), readings).await,
            // They are known anyway if they were asked for.
            Within::Unknown => match self.query.ids() {
                Some(ids) if self.is_well(&portion).await => {
                    self.smaller(&portion.with(Slice::Named(ids.to_vec())), 2, readings).await
                }
                _ => Err(error),
            },
        }
    }

    async fn ids_in(&self, portion: &Portion<'_>) -> Within {
        let text = self.query.ids_text(self.setting.scope, &portion.slice, self.joins());
        let mut proof = Proof::default();
        let mut ids = Vec::new();
        loop {
            let Ok(page) = self.page(&text, &portion.subscriptions, proof.token()).await else {
                return Within::Unknown;
            };
            if page.total > FEW_NAMES as u64 {
                return Within::Rows(page.total);
            }
            let standing = proof.add(&page);
            ids.extend(page.rows.into_iter().filter_map(|row| match row {
                Row::Of(finding) => Some(finding.change.id),
                Row::Elsewhere(_) => None,
            }));
            match standing {
                Standing::More => {}
                Standing::Proven => return Within::These(ids),
                Standing::Unproven => return Within::Unknown,
            }
        }
    }

    /// Whether the service answers a query that has nothing to do with the row in question.
    async fn is_well(&self, portion: &Portion<'_>) -> bool {
        let text = Query::Subscriptions.text(self.setting.scope, &Slice::WHOLE, Joins::Refused);
        let (name, effort) = (Query::Subscriptions.name(), Effort::Brief);
        let subscriptions = &portion.subscriptions;
        self.setting.page(Request { name, text: &text, subscriptions, skip_token: None, effort }).await.is_ok()
    }
}
