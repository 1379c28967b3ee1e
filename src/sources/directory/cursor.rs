//! Where a delta resumes, and what to read again: the text that the checkpoint keeps for a kind.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// How long an answer may lag behind a change that a delta has reported.
const LATE: SignedDuration = SignedDuration::from_hours(1);

/// Members to remember for all groups together. Beyond this, only the groups are remembered.
const MOST_HINTS: usize = 20_000;

/// The assumed time between rounds if only one is known: the schedule of the documented workflow.
const USUALLY_APART: SignedDuration = SignedDuration::from_mins(15);

/// Rounds whose times are remembered.
const ROUNDS: usize = 8;

/// What is remembered of a kind between runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cursor {
    /// What the link depends on: the tenant, the service, what is requested, and what is wanted of it.
    pub(super) terms: String,
    /// Properties that are not requested, because Graph refuses them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) without: BTreeSet<String>,
    pub(super) link: String,
    /// When the last rounds ended, the latest last.
    #[serde(default)]
    pub(super) rounds: Vec<Timestamp>,
    /// Groups that hide their members have been shown with them.
    #[serde(default)]
    pub(super) shows_hidden: bool,
    /// Objects to read again, by GUID, because an answer may have been older than what the delta reported.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) again: BTreeMap<String, Again>,
}

/// An object to read again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Again {
    /// When a delta last reported it.
    since: Timestamp,
    /// The object was reported as gone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_gone: bool,
    /// Members that joined, and those that left, as far as that is certain; for a user, groups joined and left.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    members: BTreeMap<String, Hint>,
}

/// What a delta last reported of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Hint {
    Joined,
    Left,
    /// Both, in unknown order.
    Either,
}

impl Again {
    /// Reported now.
    pub(super) fn new(now: Timestamp) -> Self {
        Self { since: now, is_gone: false, members: BTreeMap::new() }
    }

    /// Reported now as gone. Answers that still show it do not count as long as they may be older.
    pub(super) fn gone(now: Timestamp) -> Self {
        Self { is_gone: true, ..Self::new(now) }
    }

    pub(super) fn is_gone(&self) -> bool {
        self.is_gone
    }

    /// Adds a report from within one round, which promises no order.
    pub(super) fn hint(&mut self, member: String, hint: Hint) {
        self.members
            .entry(member)
            .and_modify(|known| *known = if *known == hint { hint } else { Hint::Either })
            .or_insert(hint);
    }

    pub(super) fn has_hints(&self) -> bool {
        !self.members.is_empty()
    }

    pub(super) fn into_hints(self) -> impl Iterator<Item = (String, Hint)> {
        self.members.into_iter()
    }

    /// Adds a later round's report of one object to all objects to read again.
    pub(super) fn note(all: &mut BTreeMap<String, Self>, guid: String, later: Self) {
        match all.entry(guid) {
            Entry::Occupied(mut known) => known.get_mut().overlay(later),
            Entry::Vacant(place) => _ = place.insert(later),
        }
    }

    /// Adds a later round's report.
    pub(super) fn overlay(&mut self, later: Self) {
        self.since = self.since.max(later.since);
        self.is_gone = later.is_gone;
        self.members.extend(later.members);
    }

    /// Whether an answer with these members may be older than what was reported.
    pub(super) fn contradicts(&self, members: &BTreeSet<String>) -> bool {
        self.members.iter().any(|(member, hint)| match hint {
            Hint::Joined => !members.contains(member),
            Hint::Left => members.contains(member),
            Hint::Either => false,
        })
    }

    /// Whether answers can no longer be older.
    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        now.duration_since(self.since) >= LATE
    }
}

impl Cursor {
    /// From the checkpoint; `None` if it depends on something else.
    pub(super) fn parse(text: &str, terms: &str) -> Option<Self> {
        serde_json::from_str::<Self>(text).ok().filter(|cursor| cursor.terms == terms)
    }

    /// Ends a round: the next begins at a link.
    pub(super) fn end_round(&mut self, link: String, now: Timestamp) {
        self.link = link;
        self.rounds.push(now);
        self.rounds.drain(..self.rounds.len().saturating_sub(ROUNDS));
    }

    /// Whether a later round may have been forgotten because the checkpoint is an older copy: the last known round is
    /// at least as long ago as two rounds take.
    pub(super) fn is_perhaps_older(&self, now: Timestamp) -> bool {
        let apart = self.rounds.iter().zip(self.rounds.iter().skip(1)).map(|(one, next)| next.duration_since(*one));
        // Schedules are not exact to the second.
        let two = apart.min().unwrap_or(USUALLY_APART) * 19 / 10;
        self.rounds.last().is_none_or(|last| now.duration_since(*last) >= two)
    }

    /// For the checkpoint, which limits the number of members; the rest is left out.
    pub(super) fn to_text(&self) -> Option<String> {
        let mut kept = self.clone();
        let mut hints = 0;
        for again in kept.again.values_mut() {
            hints += again.members.len();
            if hints > MOST_HINTS {
                again.members.clear();
            }
        }
        serde_json::to_string(&kept).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn a_cursor_holds_for_what_it_was_made_for() {
        let again = [("g".to_owned(), Again::new(time(7)))].into();
        let cursor = Cursor { terms: "a".into(), link: "https://x/".into(), again, ..Cursor::default() };
        let text = cursor.to_text().unwrap();
        assert_eq!(Cursor::parse(&text, "a"), Some(cursor));
        assert_eq!(Cursor::parse(&text, "b"), None);
        assert_eq!(Cursor::parse("{", "a"), None);
    }

    #[test]
    fn a_list_that_lacks_who_joined_or_has_who_left_is_older() {
        let mut again = Again::new(time(0));
        again.hint("a".into(), Hint::Joined);
        again.hint("b".into(), Hint::Left);
        again.hint("c".into(), Hint::Joined);
        again.hint("c".into(), Hint::Left);
        let contradicts = |members: &[&str]| again.contradicts(&members.iter().map(|one| (*one).to_owned()).collect());
        assert!(!contradicts(&["a"]) && !contradicts(&["a", "c", "x"]));
        assert!(contradicts(&[]) && contradicts(&["a", "b"]));
        let mut later = Again::new(time(5));
        later.hint("a".into(), Hint::Left);
        let mut both = again.clone();
        both.overlay(later);
        assert!(both.contradicts(&["a".to_owned()].into()), "a later round counts");
        assert!(!both.is_over(time(5)) && both.is_over(time(5 + 3600)));
    }

    #[test]
    fn a_checkpoint_may_be_older_once_two_rounds_would_have_fitted_in() {
        let mut cursor = Cursor::default();
        assert!(cursor.is_perhaps_older(time(0)), "nothing is known");
        cursor.end_round("1".into(), time(0));
        assert!(!cursor.is_perhaps_older(time(900)) && cursor.is_perhaps_older(time(1800)));
        cursor.end_round("2".into(), time(600));
        assert!(!cursor.is_perhaps_older(time(600 + 900)) && cursor.is_perhaps_older(time(600 + 1190)));
        (3..20).for_each(|round| cursor.end_round(String::new(), time(round * 3600)));
        assert_eq!(cursor.rounds.len(), ROUNDS);
        assert!(!cursor.is_perhaps_older(time(20 * 3600)) && cursor.is_perhaps_older(time(21 * 3600)));
    }

    #[test]
    fn what_is_gone_stays_so_until_it_is_told_otherwise() {
        let again = [("u".to_owned(), Again::gone(time(0)))].into();
        let cursor = Cursor { again, ..Cursor::default() };
        let mut kept = Cursor::parse(&cursor.to_text().unwrap(), "").unwrap();
        let again = kept.again.get_mut("u").unwrap();
        assert!(again.is_gone());
        again.overlay(Again::new(time(5)));
        assert!(!again.is_gone());
    }

    #[test]
    fn the_members_that_are_kept_are_bounded() {
        let mut cursor = Cursor::default();
        for group in 0..3 {
            let mut again = Again::new(time(0));
            (0..MOST_HINTS / 2).for_each(|member| again.hint(member.to_string(), Hint::Joined));
            cursor.again.insert(group.to_string(), again);
        }
        let kept = Cursor::parse(&cursor.to_text().unwrap(), "").unwrap();
        assert_eq!(kept.again.len(), 3);
        assert_eq!(kept.again.values().map(|again| again.members.len()).sum::<usize>(), MOST_HINTS);
    }
}
