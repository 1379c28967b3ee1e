//! What becomes of a question that was not answered: it is asked over less. A question too heavy, or a subscription with which
//! every query fails, is found by halves of the subscriptions; a row, by `poison`.

use std::rc::Rc;

use super::client::{Pages, Request};
use super::error::{GraphError, Trouble};
use super::page::Page;
use super::queries::Slice;
use super::reading::{Portion, Reader, sized};
use crate::azure::arm::Effort;

/// Parts of a page that is too large for the service.
pub(super) const FINER: u32 = 4;

/// Parts of this many may be too large because of many large rows. Of more, it is a single row.
const MANY_PARTS: u32 = 1 << 10;

impl<'a, P: Pages> Reader<'a, P> {
    /// What becomes of a portion that was not answered. Yields how many rows of it came.
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
                self.halves(portion, readings, error).await
            }
            (Some(Trouble::Broken), _) => {
                let subscriptions = Rc::clone(&portion.subscriptions);
                match self.around_the_failing(portion, readings, error).await {
                    Err(error) => self.without(&subscriptions, error),
                    came => came,
                }
            }
            (Some(Trouble::Refused), _) => self.without(&portion.subscriptions, error),
        }
    }

    /// Reads a portion over the halves of its subscriptions. Both are asked at once: the one that is answered shows that the
    /// service is well.
    async fn halves(&self, portion: Portion<'a>, readings: u32, error: GraphError) -> Result<u64, GraphError> {
        let lessons = self.setting.lessons;
        lessons.tell_halved(portion.subscriptions.len(), &error);
        let (one, other) = portion.subscriptions.split_at(portion.subscriptions.len().div_ceil(2));
        let half = |subscriptions: &[&'a str]| Portion { subscriptions: subscriptions.into(), ..portion.clone() };
        let (one, other) = (half(one), half(other));
        let first = futures::join!(self.first_of(&one), self.first_of(&other));
        if error.is_of_many() && first.0.is_ok() && first.1.is_ok() {
            lessons.answered_over(one.subscriptions.len());
        }
        // What was answered goes first, so that its page does not wait for what the other one comes to.
        let mut halves = [(one, first.0), (other, first.1)];
        halves.sort_by_key(|(_, first)| first.is_err());
        let mut came = 0;
        for (half, first) in halves {
            came += self.over(half, readings, Some(first)).await?;
        }
        Ok(came)
    }

    /// The first page of a portion that may fail as what it is part of has.
    async fn first_of(&self, portion: &Portion<'_>) -> Result<Page, GraphError> {
        let text = self.query.text(self.setting.scope, &portion.slice, self.joins());
        let (name, scope, effort) = (self.query.name(), self.setting.scope, Effort::Brief);
        let subscriptions = &portion.subscriptions;
        self.setting
            .page(Request { name, text: &text, subscriptions, skip_token: None, scope, effort })
            .await
            .map(sized)
    }

    /// Goes on without a subscription that is asked about alone and not answered.
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
