//! When the next post may start: after the wait that the sink asks for, or after a pause of our own if the sink refuses
//! posts because of its limit without saying for how long. Also, how fast posts follow one another after that.
//!
//! Each pause without a hint is twice as long as the one before, up to a minute. One post goes alone after it, and its
//! answer shows whether the throttle is over. The rate from then on is what was accepted since the last throttle,
//! divided by the time until this one ended. It may be too low, because the last pause was longer than necessary, or
//! because others used up the limit. So it grows by half whenever nothing was refused for as long as it was measured
//! over, or for a minute, until the sink refuses again or the rate no longer holds anything back.

use std::time::Duration;

use tokio::time::Instant;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);

/// The longest time to keep to a rate before trying a higher one.
const KEPT: Duration = Duration::from_secs(60);

/// Posts closer together than this are not held back.
const CLOSEST: Duration = Duration::from_millis(10);

/// Since when the limit has refused everything.
#[derive(Clone, Copy, Debug)]
struct Throttle {
    since: Instant,
    /// The last refusal of a post that started after the one before. Posts in flight at that time say nothing new.
    refused: Instant,
    /// The pause after it, if the sink does not ask for a longer one.
    own: Duration,
    is_hinted: bool,
}

/// How many posts were accepted, and since when.
#[derive(Clone, Copy, Debug)]
struct Window {
    since: Instant,
    accepted: u32,
}

#[derive(Debug, Default)]
pub(super) struct Pace {
    paused_until: Option<Instant>,
    throttle: Option<Throttle>,
    /// The time between posts, and when that allows the next one.
    interval: Option<Duration>,
    next: Option<Instant>,
    /// How long that was measured over.
    measured_over: Option<Duration>,
    window: Option<Window>,
    /// The window before, if no throttle was between them.
    earlier: Option<Window>,
}

impl Pace {
    /// How long to wait before asking again. If there is no need to wait, it is the caller's turn.
    pub(super) fn wait(&mut self) -> Option<Duration> {
        let now = Instant::now();
        if let Some(until) = self.paused_until.max(self.next).filter(|until| *until > now) {
            return Some(until - now);
        }
        self.window.get_or_insert(Window { since: now, accepted: 0 });
        self.next = self.throttle.map(|throttle| throttle.own).or(self.interval).map(|gap| now + gap);
        None
    }

    /// No post starts for this long.
    pub(super) fn pause_for(&mut self, wait: Duration) {
        self.paused_until = self.paused_until.max(Some(Instant::now() + wait));
    }

    /// A post that started at `began` was refused because of the limit, and perhaps asked to wait. If that is news,
    /// returns how long all posts wait.
    pub(super) fn refuse(&mut self, began: Instant, asked: Option<Duration>) -> Option<Duration> {
        let now = Instant::now();
        let before = self.throttle;
        if before.is_some_and(|before| began < before.refused) {
            self.pause_for(asked.unwrap_or_default());
            return None;
        }
        // A hint is trusted until it proves wrong.
        let own = match before {
            Some(before) => (before.own * 2).clamp(FIRST, LONGEST),
            None if asked.is_some() => Duration::ZERO,
            None => FIRST,
        };
        let since = before.map_or(now, |before| before.since);
        self.throttle = Some(Throttle { since, refused: now, own, is_hinted: asked.is_some() });
        self.next = None;
        let wait = own.max(asked.unwrap_or_default());
        self.pause_for(wait);
        Some(wait)
    }

    /// A post that started at `began` was not refused because of the limit. Returns whether that ends a throttle.
    pub(super) fn accept(&mut self, began: Instant) -> bool {
        let now = Instant::now();
        let ended = self.throttle.filter(|throttle| began >= throttle.refused);
        let kept = self.measured_over.map_or(KEPT, |time| time.min(KEPT));
        if let Some(ended) = ended {
            if !ended.is_hinted {
                self.measure(now);
            }
            self.next = self.interval.map(|interval| now + interval);
            (self.throttle, self.earlier, self.window) = (None, None, None);
        } else if self.throttle.is_none() && self.window.is_some_and(|window| now - window.since >= kept) {
            // Most of a longer window was spent with nothing to post.
            self.earlier = self.window.take().filter(|window| now - window.since < 2 * kept);
            self.interval = self.interval.map(|interval| interval * 2 / 3).filter(|interval| *interval >= CLOSEST);
        }
        self.window.get_or_insert(Window { since: now, accepted: 0 }).accepted += 1;
        ended.is_some()
    }

    /// Measures the average time between recently accepted posts.
    fn measure(&mut self, now: Instant) {
        let windows = || [self.earlier, self.window].into_iter().flatten();
        let time = windows().map(|window| window.since).min().map(|since| now - since);
        let accepted: u32 = windows().map(|window| window.accepted).sum();
        let interval = time.and_then(|time| time.checked_div(accepted)).filter(|interval| *interval >= CLOSEST);
        (self.interval, self.measured_over) = (interval, time);
    }

    /// How long the limit has refused everything.
    pub(super) fn throttled_for(&self) -> Duration {
        self.throttle.map_or(Duration::ZERO, |throttle| throttle.since.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn after(seconds: f32) -> Instant {
        tokio::time::advance(Duration::from_secs_f32(seconds)).await;
        Instant::now()
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_pause_holds_for_all() {
        let mut pace = Pace::default();
        assert_eq!(pace.wait(), None);
        pace.pause_for(Duration::from_secs(9));
        pace.pause_for(Duration::from_secs(2));
        pace.accept(Instant::now());
        assert_eq!(pace.wait(), Some(Duration::from_secs(9)));
        after(9.0).await;
        assert_eq!(pace.wait(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_without_a_hint_double_up_to_a_minute_and_one_post_goes_after_each() {
        let mut pace = Pace::default();
        let together = Instant::now();
        after(0.1).await;
        let mut pauses = Vec::new();
        let mut began = together;
        for _ in 0..8 {
            let pause = pace.refuse(began, None).unwrap();
            assert_eq!(pace.refuse(together, None), None, "it was under way already");
            pauses.push(pause.as_secs());
            assert_eq!(pace.wait(), Some(pause));
            began = after(pause.as_secs_f32()).await;
            assert_eq!((pace.wait(), pace.wait()), (None, Some(pause)), "one alone");
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(pace.throttled_for().as_secs(), 183);
        assert!(!pace.accept(together), "it was under way before");
        assert!(pace.accept(began));
        assert_eq!(pace.throttled_for(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_hint_is_kept_to_and_one_that_is_wrong_no_shorter_than_a_pause_of_our_own() {
        let mut pace = Pace::default();
        let hints = [0, 0, 0, 3, 5, 0].map(|hint| Some(Duration::from_secs(hint)));
        let waits = hints.map(|hint| pace.refuse(Instant::now(), hint).unwrap().as_secs());
        assert_eq!(waits, [0, 1, 2, 4, 8, 16]);
        let mut pace = Pace::default();
        assert_eq!(pace.refuse(Instant::now(), Some(Duration::from_secs(40))), Some(Duration::from_secs(40)));
        let began = after(40.0).await;
        assert_eq!((pace.wait(), pace.wait()), (None, None), "all of them");
        pace.accept(began);
        assert_eq!(pace.wait(), None, "a sink that says when it takes more is not measured");
    }

    /// A throttle without a hint that ends after `seconds`, with `accepted` posts before it.
    async fn throttled(pace: &mut Pace, accepted: u32, seconds: f32) {
        for _ in 0..accepted {
            assert_eq!(pace.wait(), None);
            pace.accept(Instant::now());
            after(pace.wait().map_or(0.0, |wait| wait.as_secs_f32())).await;
        }
        pace.refuse(Instant::now(), None);
        let began = after(seconds).await;
        assert!(pace.accept(began));
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_that_was_accepted_is_kept_to_and_grows_by_half_with_each_quiet_minute() {
        let mut pace = Pace::default();
        (0..40).for_each(|_| {
            assert_eq!(pace.wait(), None);
            pace.accept(Instant::now());
        });
        pace.refuse(Instant::now(), None);
        let began = after(60.0).await;
        pace.accept(began);
        assert_eq!(pace.wait(), Some(Duration::from_millis(1500)), "forty in a minute");
        let mut intervals = Vec::new();
        for _ in 0..400 {
            let Some(wait) = pace.wait() else {
                pace.accept(Instant::now());
                continue;
            };
            if intervals.last() != Some(&wait.as_millis()) {
                intervals.push(wait.as_millis());
            }
            after(wait.as_secs_f32()).await;
        }
        assert_eq!(intervals[..3], [1500, 1000, 666]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_time_without_posts_is_no_part_of_the_rate() {
        let mut pace = Pace::default();
        assert_eq!(pace.wait(), None);
        pace.accept(Instant::now());
        after(600.0).await;
        throttled(&mut pace, 40, 60.0).await;
        assert_eq!(pace.wait(), Some(Duration::from_millis(1500)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_sink_that_is_fast_enough_is_not_held_back() {
        let mut pace = Pace::default();
        throttled(&mut pace, 1000, 1.0).await;
        assert_eq!(pace.wait(), None);
    }
}
