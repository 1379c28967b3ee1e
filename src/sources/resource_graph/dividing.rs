//! Handles a query that was not answered, by asking for less. Quartering the subscriptions helps if the query is too
//! heavy, and finds a subscription that makes every query fail; `poison` finds a row that does.

use std::rc::Rc;

use futures::future::{join_all, try_join_all};

use super::client::{Pages, Request};
use super::error::{GraphError, Trouble};
use super::page::Page;
use super::queries::Slice;
use super::reading::{Portion, Reader, sized};
use crate::azure::api::Effort;

/// How many parts to split a result into that is too large for the service.
pub(super) const FINER: u32 = 4;

/// How many parts to split subscriptions into after a failed query.
const QUARTERS: usize = 4;

/// Up to this many parts, one may be too large because of many large rows. Beyond that, a single row is to blame.
const MANY_PARTS: u32 = 1 << 10;

impl<'a, P: Pages> Reader<'a, P> {
    /// Handles a portion that was not answered. Returns how many of its rows came.
    pub(super) async fn in_trouble(
        &self,
        portion: Portion<'a>,
        readings: u32,
        error: GraphError,
    ) -> Result<u64, GraphError> {
        if self.setting.lessons.is_down() {
            return Err(error);
        }
        match (error.trouble(), &portion.slice) {
            (None | Some(Trouble::Joins), _) => Err(error),
            (Some(Trouble::TooLarge), Slice::Hashed(part)) if part.of.saturating_mul(FINER) <= MANY_PARTS => {
                self.smaller(&portion, FINER, readings).await
            }
            (Some(Trouble::TooLarge), _) => self.around_the_failing(portion, readings, error).await,
            (Some(Trouble::Broken | Trouble::Refused), _) if portion.subscriptions.len() > 1 => {
                self.quarters(portion, readings, error).await
            }
            (Some(Trouble::Broken), _) if !self.setting.lessons.has_lost_enough() => {
                let subscriptions = Rc::clone(&portion.subscriptions);
                match self.around_the_failing(portion, readings, error).await {
                    Err(error) => self.without(&subscriptions, error),
                    came => came,
                }
            }
            (Some(Trouble::Broken | Trouble::Refused), _) => self.without(&portion.subscriptions, error),
        }
    }

    /// Reads a portion by quarters of its subscriptions, which takes as many queries as halving, and half the time. All
    /// are queried at once: one that is answered shows that the service works.
    async fn quarters(&self, portion: Portion<'a>, readings: u32, error: GraphError) -> Result<u64, GraphError> {
        let lessons = self.setting.lessons;
        if lessons.has_lost_enough() {
            for subscription in portion.subscriptions.iter() {
                lessons.cannot_read(subscription, GraphError::Undivided { query: self.query.name() });
            }
            return Ok(0);
        }
        lessons.tell_divided(portion.subscriptions.len(), &error);
        let most = portion.subscriptions.len().div_ceil(QUARTERS);
        let quarters = portion.subscriptions.chunks(most);
        let quarters = quarters.map(|subscriptions| portion.over(subscriptions.into()));
        let asked = quarters.map(async |quarter| (self.first_of(&quarter).await, quarter));
        let (answered, failed): (Vec<_>, Vec<_>) =
            join_all(asked).await.into_iter().partition(|(first, _)| first.is_ok());
        if error.is_of_many() && failed.is_empty() {
            lessons.answered_over(most);
        }
        let mut came = 0;
        // Answered quarters go first, so that their pages do not wait for the outcome of the others.
        for (first, quarter) in answered {
            came += self.over(quarter, readings, Some(first)).await?;
        }
        let searches = failed.into_iter().map(|(first, quarter)| self.over(quarter, readings, Some(first)));
        Ok(came + try_join_all(searches).await?.into_iter().sum::<u64>())
    }

    /// The first page of a portion that may fail just like the larger one did.
    async fn first_of(&self, portion: &Portion<'_>) -> Result<Page, GraphError> {
        let text = self.query.text(self.setting.scope, &portion.slice, self.joins());
        let (name, effort, subscriptions) = (self.query.name(), Effort::Brief, &portion.subscriptions);
        let request = Request { name, text: &text, subscriptions, skip_token: None, effort };
        self.setting.page(request).await.map(sized)
    }

    /// Continues without a subscription that was queried alone and not answered.
    fn without(&self, subscriptions: &[&str], error: GraphError) -> Result<u64, GraphError> {
        match subscriptions {
            [alone] if matches!(error.trouble(), Some(Trouble::Broken | Trouble::Refused)) => {
                self.setting.lessons.cannot_read(alone, error);
                Ok(0)
            }
            _ => Err(error),
        }
    }
}
