//! What all posts together say about the sink: whether it is down, or only some of the parcels are bad.
//!
//! One parcel that fails forever looks like a sink that is down, as long as nothing else is accepted. So failures in a
//! row first cast doubt: nothing is retried, and parcels are posted alone, until the next success. Only many different
//! parcels that fail alone show that the sink is to blame.

use std::time::Duration;

use tokio::time::Instant;

use super::Fault;

/// Posts given up in a row because the sink cannot be reached, for which no parcel can be to blame.
const DOWN_POSTS: u32 = 2;

/// How long, and over how many attempts, a sink must accept nothing. An attempt may take 20 s to fail, so this shows
/// within about 40 s.
const FAILING_FOR: Duration = Duration::from_secs(20);
const FAILING_ATTEMPTS: u32 = 3;

/// Posts given up in a row, for any reason, that cast doubt.
const DOUBTED_POSTS: u32 = 2;

/// Different parcels that failed alone, in a row. Fewer could be adjacent and all bad.
const BAD_PARCELS: u32 = 50;

/// The state of a sink, as its answers show it. All counts restart when it accepts something.
#[derive(Debug, Default)]
pub(crate) struct Health {
    failing_since: Option<Instant>,
    /// Failed attempts, and how many of them did not reach the sink.
    attempts: u32,
    unreached: u32,
    /// Posts given up, and how many of them no parcel can be to blame for.
    given_up: u32,
    blameless: u32,
    /// Parcels that failed alone, and parcels that were denied alone.
    failed: u32,
    denied: u32,
    has_accepted: bool,
}

impl Health {
    /// Something was accepted.
    pub(crate) fn accept(&mut self) {
        *self = Self { has_accepted: true, ..Self::default() };
    }

    /// An attempt failed. It may be retried.
    pub(crate) fn fail(&mut self, fault: Fault) {
        match fault {
            Fault::Unreachable => self.unreached += 1,
            Fault::Passing { .. } => {}
            Fault::Throttled { .. }
            | Fault::Rejected
            | Fault::Awaits
            | Fault::Unproven
            | Fault::Denied
            | Fault::Closed
            | Fault::Broken => return,
        }
        self.attempts += 1;
        self.failing_since.get_or_insert_with(Instant::now);
    }

    /// A post of this many parcels failed for good.
    pub(crate) fn give_up(&mut self, fault: Fault, parcels: usize) {
        let alone = u32::from(parcels == 1);
        match fault {
            Fault::Unreachable => {
                self.given_up += 1;
                self.blameless += 1;
            }
            Fault::Passing { .. } => {
                self.given_up += 1;
                self.failed += alone;
            }
            Fault::Denied => self.denied += alone,
            Fault::Throttled { .. }
            | Fault::Rejected
            | Fault::Awaits
            | Fault::Unproven
            | Fault::Closed
            | Fault::Broken => {}
        }
    }

    /// Whether every other post would fail as well.
    pub(crate) fn is_down(&self) -> bool {
        self.blameless >= DOWN_POSTS
            || self.failed >= BAD_PARCELS
            || (self.unreached >= FAILING_ATTEMPTS && self.failing_for() >= FAILING_FOR)
    }

    /// Whether the sink denies everything, rather than something on the way denying some posts.
    pub(crate) fn denies_everything(&self) -> bool {
        !self.has_accepted && self.denied >= BAD_PARCELS
    }

    /// Whether the sink itself may be failing, so that retrying a post would only take time.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.given_up >= DOUBTED_POSTS || (self.attempts >= FAILING_ATTEMPTS && self.failing_for() >= FAILING_FOR)
    }

    /// Whether, after such a failure of many parcels, posting one alone says more than posting half of them.
    pub(crate) fn is_asked_singly(&self, fault: Fault) -> bool {
        match fault {
            Fault::Denied => !self.has_accepted,
            _ => self.is_in_doubt(),
        }
    }

    pub(crate) fn has_accepted(&self) -> bool {
        self.has_accepted
    }

    /// Time since the first failure after the last success.
    pub(crate) fn failing_for(&self) -> Duration {
        self.failing_since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PASSING: Fault = Fault::Passing { after: None };

    #[test]
    fn two_posts_that_reach_nobody_show_that_it_is_down() {
        let mut health = Health::default();
        health.give_up(Fault::Unreachable, 100);
        assert!(!health.is_down());
        health.give_up(Fault::Unreachable, 1);
        assert!(health.is_down());
        health.accept();
        assert!(!health.is_down());
    }

    #[tokio::test(start_paused = true)]
    async fn a_sink_that_is_not_reached_for_long_is_down_and_one_that_fails_for_long_is_in_doubt() {
        for (fault, is_down) in [(Fault::Unreachable, true), (PASSING, false)] {
            let mut health = Health::default();
            health.fail(fault);
            tokio::time::advance(FAILING_FOR).await;
            health.fail(fault);
            assert!(!health.is_down() && !health.is_in_doubt(), "two attempts are few");
            health.fail(fault);
            assert_eq!((health.is_down(), health.is_in_doubt()), (is_down, true));
            assert_eq!(health.failing_for(), FAILING_FOR);
            let mut quick = Health::default();
            (0..10).for_each(|_| quick.fail(fault));
            assert!(!quick.is_down() && !quick.is_in_doubt(), "they may be side by side");
        }
    }

    #[test]
    fn two_posts_that_fail_cast_doubt_and_fifty_parcels_show_that_it_is_down() {
        let mut health = Health::default();
        health.give_up(PASSING, 1);
        assert!(!health.is_in_doubt());
        health.give_up(PASSING, 100);
        assert!(health.is_in_doubt() && health.is_asked_singly(PASSING));
        (2..BAD_PARCELS).for_each(|_| health.give_up(PASSING, 1));
        assert!(!health.is_down(), "of the hundred nobody knows which");
        health.give_up(PASSING, 1);
        assert!(health.is_down());
    }

    #[test]
    fn it_denies_everything_only_if_it_accepted_nothing() {
        for has_accepted in [false, true] {
            let mut health = Health::default();
            if has_accepted {
                health.accept();
            }
            (0..BAD_PARCELS).for_each(|_| health.give_up(Fault::Denied, 1));
            assert_eq!(health.denies_everything(), !has_accepted);
            assert!(!health.is_down() && !health.is_in_doubt());
        }
    }

    fn fault() -> impl Strategy<Value = Fault> {
        prop_oneof![Just(PASSING), Just(Fault::Rejected), Just(Fault::Denied)]
    }

    proptest! {
        #[test]
        fn fewer_than_fifty_bad_parcels_never_end_a_run(faults in prop::collection::vec((fault(), 1_usize..=100), 0..300)) {
            let mut health = Health::default();
            let mut alone = 0;
            for (fault, parcels) in faults {
                if parcels == 1 {
                    if alone + 1 == BAD_PARCELS {
                        break;
                    }
                    alone += 1;
                }
                health.fail(fault);
                health.give_up(fault, parcels);
                prop_assert!(!health.is_down() && !health.denies_everything());
            }
        }

        #[test]
        fn nothing_is_held_against_a_sink_that_accepts(faults in prop::collection::vec((fault(), 1_usize..=100), 0..100)) {
            let mut health = Health::default();
            for (fault, parcels) in faults {
                health.fail(fault);
                health.give_up(fault, parcels);
            }
            health.accept();
            prop_assert!(!health.is_down() && !health.is_in_doubt() && !health.denies_everything() && health.has_accepted());
            prop_assert_eq!(health.failing_for(), Duration::ZERO);
        }
    }
}
