//! The proof that an answer is complete.
//!
//! "Working with large Azure resource data sets": pages of 1,000 through `$skipToken`. An answer counts only if its
//! rows add up to `totalRecords`, it is not truncated, and no id is on two pages: pages read while resources come and
//! go overlap and leave gaps. An id that is twice on one page is duplicated in the data. The documented remedy is to
//! partition by a hash, so that every part fits on a page.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use super::page::{PAGE, Page};

/// The pages of an answer so far.
#[derive(Default)]
pub(super) struct Proof {
    hasher: RandomState,
    /// Hashes of the ids: a collision would only cause the answer to be read again.
    seen: HashSet<u64>,
    received: u64,
    overlaps: bool,
    total: Option<u64>,
    token: Option<String>,
}

/// The state of the proof after a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// The next page is at [`Proof::token`].
    More,
    Proven,
    Unproven,
}

impl Proof {
    /// Where the next page is; `None` for the first one.
    pub(super) fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    pub(super) fn is_begun(&self) -> bool {
        self.total.is_some()
    }

    /// Rows received.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Distinct rows received.
    pub(super) fn rows(&self) -> u64 {
        self.seen.len() as u64
    }

    pub(super) fn add(&mut self, page: &Page) -> Standing {
        self.received += page.came;
        for row in &page.rows {
            self.overlaps |= !self.seen.insert(self.hasher.hash_one(row.id()));
        }
        let is_steady = *self.total.get_or_insert(page.total) == page.total;
        let repeats = page.skip_token.is_some() && page.skip_token == self.token;
        self.token.clone_from(&page.skip_token);
        let has_end = self.received < page.total.saturating_add(PAGE);
        if self.token.is_some() && is_steady && !repeats && page.came > 0 && has_end {
            Standing::More
        } else if self.received == page.total && !self.overlaps && is_steady && !page.truncated && self.token.is_none()
        {
            Standing::Proven
        } else {
            Standing::Unproven
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::row::Row;
    use super::*;

    fn page(ids: &[&str], total: u64, token: Option<&str>) -> Page {
        Page {
            rows: ids.iter().map(|id| Row::Elsewhere((*id).into())).collect(),
            came: ids.len() as u64,
            total,
            skip_token: token.map(str::to_owned),
            ..Page::default()
        }
    }

    #[test]
    fn pages_that_add_up_are_proven() {
        let mut proof = Proof::default();
        assert_eq!(proof.add(&page(&["a", "b"], 3, Some("next"))), Standing::More);
        assert_eq!(proof.token(), Some("next"));
        assert_eq!(proof.add(&page(&["c"], 3, None)), Standing::Proven);
        assert_eq!(Proof::default().add(&page(&[], 0, None)), Standing::Proven);
    }

    #[test]
    fn what_is_twice_on_one_page_is_the_data() {
        let twice = Page { came: 3, ..page(&["a", "b"], 4, Some("next")) };
        let mut proof = Proof::default();
        assert_eq!(proof.add(&twice), Standing::More);
        assert_eq!(proof.add(&page(&["c"], 4, None)), Standing::Proven);
    }

    #[test]
    fn a_gap_an_overlap_and_a_total_that_moves_prove_nothing() {
        let add = |pages: &[Page]| {
            let mut proof = Proof::default();
            pages.iter().map(|page| proof.add(page)).last().unwrap()
        };
        assert_eq!(add(&[page(&["a"], 2, None)]), Standing::Unproven);
        assert_eq!(add(&[page(&["a"], 2, Some("t")), page(&["a"], 2, None)]), Standing::Unproven);
        assert_eq!(add(&[page(&["a", "b"], 4, Some("t")), page(&["b", "c"], 4, None)]), Standing::Unproven);
        assert_eq!(add(&[page(&["a"], 2, Some("t")), page(&["b"], 3, None)]), Standing::Unproven);
        assert_eq!(add(&[page(&["a"], 2, Some("t")), page(&["b"], 2, Some("t"))]), Standing::Unproven);
        assert_eq!(add(&[page(&["a"], 2, Some("t")), page(&[], 2, Some("u"))]), Standing::Unproven);
        assert_eq!(add(&[Page { truncated: true, ..page(&["a"], 1, None) }]), Standing::Unproven);
    }
}
