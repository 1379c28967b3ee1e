//! Keeps to the quota that Resource Graph announces: no query is sent that it would refuse.
//!
//! "Guidance for throttled requests in Azure Resource Graph": every answer says how many queries are left
//! (`x-ms-user-quota-remaining`) and when the count resets (`x-ms-user-quota-resets-after`, hh:mm:ss).

use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use tokio::sync::Notify;

use crate::azure::api::{self, Limiter};
use crate::http;

/// Assumed while no answer reports the quota: the default, 15 queries in 5 s ("Guidance for throttled requests").
const ASSUMED: u32 = 15;
const ASSUMED_PERIOD: Duration = Duration::from_secs(5);

/// The wait after a refusal that announces none.
const REFUSED_WAIT: Duration = Duration::from_secs(1);

/// The longest wait for an announced reset; the quota's real period is 5 s.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// What is left of the quota, shared by all queries of the run.
#[derive(Debug)]
pub(crate) struct Quota {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    /// The fewest queries left that an answer in this period reported, or the assumed number until one does.
    lowest: u32,
    /// How many queries of this period had ended without a report when the query of that answer was sent: it counts
    /// them.
    counted: u32,
    /// How many have ended without a report by now.
    untold: u32,
    /// Queries without an answer so far, including those from earlier periods. It is unknown whether `lowest` counts
    /// them.
    in_flight: u32,
    /// When the period ends, as reported or else assumed.
    resets_at: Option<Instant>,
    source: Source,
    /// The number of this period; an answer to a query from an earlier one says nothing about this one.
    period: u64,
}

/// Where the numbers of a period come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// No answer in this run has reported the quota yet.
    Assumed,
    /// Answers in earlier periods reported it, or a query was refused: this period's first answer is awaited.
    Expected,
    /// An answer in this period reported them.
    Told,
}

/// Which query an answer belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sent {
    period: u64,
    /// How many queries of its period had ended without a report.
    untold: u32,
}

/// Permission to send one query. Dropped without [`Permit::settle`], it counts as spent.
pub(crate) struct Permit<'a> {
    quota: &'a Quota,
    sent: Sent,
    settled: bool,
}

impl Quota {
    pub(crate) fn new() -> Self {
        Self { state: Mutex::new(State::new()), changed: Notify::new() }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // A panic while it is held leaves plain numbers, which are still valid.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Limiter for Quota {
    type Permit<'a> = Permit<'a>;

    /// Waits until a query may be sent.
    async fn acquire(&self) -> Permit<'_> {
        loop {
            let changed = self.changed.notified();
            let wait = match self.state().take(Instant::now()) {
                Ok(sent) => return Permit { quota: self, sent, settled: false },
                Err(wait) => wait,
            };
            match wait {
                Some(wait) => {
                    tracing::debug!("the quota of Resource Graph is used up; waiting {:.1} s", wait.as_secs_f32());
                    _ = tokio::time::timeout(wait, changed).await;
                }
                None => changed.await,
            }
        }
    }

    fn wait(&self) -> Duration {
        self.state().wait(Instant::now())
    }
}

impl State {
    fn new() -> Self {
        Self {
            lowest: ASSUMED,
            counted: 0,
            untold: 0,
            in_flight: 0,
            resets_at: None,
            source: Source::Assumed,
            period: 0,
        }
    }

    /// Queries that are certainly left. Those in flight may or may not be counted already; when there are none, this is
    /// exact.
    fn left(&self) -> u32 {
        self.lowest.saturating_sub(self.in_flight + (self.untold - self.counted))
    }

    /// How long no query may be sent, as far as known.
    fn wait(&self, now: Instant) -> Duration {
        let resets_at = self.resets_at.filter(|_| self.left() == 0);
        resets_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now))
    }

    /// Takes one query, or returns how long to wait; `None`: until an answer reports the quota.
    fn take(&mut self, now: Instant) -> Result<Sent, Option<Duration>> {
        if self.left() == 0 {
            match self.resets_at {
                Some(at) if at <= now => self.start_period(),
                Some(at) => return Err(Some(at - now)),
                None => return Err(None),
            }
        }
        self.in_flight += 1;
        Ok(Sent { period: self.period, untold: self.untold })
    }

    fn start_period(&mut self) {
        self.period += 1;
        // Queries that still hang from before must not hold up the first one.
        (self.lowest, self.source) = match self.source {
            Source::Assumed => (ASSUMED.max(self.in_flight + 1), Source::Assumed),
            // The next answer says how many there are; until then, one query goes ahead to find out.
            Source::Expected | Source::Told => (self.in_flight + 1, Source::Expected),
        };
        (self.counted, self.untold, self.resets_at) = (0, 0, None);
    }

    /// Notes an answer, or the end of the wait for it.
    fn answered(&mut self, query: Sent, told: Option<(u32, Duration)>, now: Instant) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if query.period != self.period {
            return;
        }
        let Some((remaining, resets_after)) = told else {
            self.untold += 1;
            if self.resets_at.is_none() {
                // The service's period began when it received the first query, which was before now.
                self.resets_at = Some(now + ASSUMED_PERIOD);
                self.lowest = self.lowest.max(ASSUMED);
            }
            return;
        };
        let at = now + resets_after.min(LONGEST_WAIT);
        if self.source == Source::Told {
            // Announced in whole seconds, rounded up: within one period, the earliest is the most accurate.
            self.resets_at = Some(self.resets_at.map_or(at, |known| known.min(at)));
            if remaining > self.lowest {
                return;
            }
        } else {
            self.resets_at = Some(at);
            self.source = Source::Told;
        }
        self.lowest = remaining;
        self.counted = query.untold;
    }

    /// A query was refused after all: nothing more until the service allows it, whatever answers to earlier queries
    /// say.
    fn refused(&mut self, wait: Duration, now: Instant) {
        self.in_flight = self.in_flight.saturating_sub(1);
        let at = now + wait.min(LONGEST_WAIT);
        let resets_at = self.resets_at.map_or(at, |known| known.max(at));
        self.source = Source::Expected;
        self.start_period();
        self.lowest = 0;
        self.resets_at = Some(resets_at);
    }
}

impl api::Permit for Permit<'_> {
    fn settle(mut self, status: StatusCode, headers: &HeaderMap) {
        self.settled = true;
        let told = remaining(headers).zip(resets_after(headers));
        let now = Instant::now();
        if status == StatusCode::TOO_MANY_REQUESTS {
            let asked = http::retry_after(headers, SystemTime::now());
            let wait = asked.max(told.map(|(_, wait)| wait)).unwrap_or(REFUSED_WAIT);
            self.quota.state().refused(wait, now);
        } else {
            self.quota.state().answered(self.sent, told, now);
        }
        self.quota.changed.notify_waiters();
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if !self.settled {
            self.quota.state().answered(self.sent, None, Instant::now());
            self.quota.changed.notify_waiters();
        }
    }
}

pub(super) fn remaining(headers: &HeaderMap) -> Option<u32> {
    headers.get("x-ms-user-quota-remaining")?.to_str().ok()?.trim().parse().ok()
}

pub(super) fn resets_after(headers: &HeaderMap) -> Option<Duration> {
    parse_hms(headers.get("x-ms-user-quota-resets-after")?.to_str().ok()?.trim())
}

/// `hh:mm:ss`, with or without a fraction of a second.
fn parse_hms(text: &str) -> Option<Duration> {
    let mut parts = text.split(':');
    let hours: u64 = parts.next()?.parse().ok()?;
    let minutes: u64 = parts.next()?.parse().ok()?;
    let seconds: f64 = parts.next()?.parse().ok()?;
    if parts.next().is_some() || hours > 24 || minutes > 59 || !(0.0..60.0).contains(&seconds) {
        return None;
    }
    Some(Duration::from_secs(hours * 3600 + minutes * 60) + Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::Permit as _;

    const SECOND: Duration = Duration::from_secs(1);

    const PERIOD: Duration = ASSUMED_PERIOD;

    fn state() -> (State, Instant) {
        (State::new(), Instant::now())
    }

    /// Sends this many queries at once.
    fn send(state: &mut State, queries: usize, now: Instant) -> Vec<Sent> {
        (0..queries).map(|_| state.take(now).unwrap()).collect()
    }

    /// The queries that may be sent now.
    fn burst(state: &mut State, now: Instant) -> Vec<Sent> {
        std::iter::from_fn(|| state.take(now).ok()).collect()
    }

    #[test]
    fn until_an_answer_tells_the_quota_only_the_first_queries_go_out() {
        let (mut state, now) = state();
        assert_eq!(burst(&mut state, now).len(), 15);
        assert_eq!(state.take(now), Err(None));
    }

    #[test]
    fn what_is_in_flight_is_taken_off_what_the_first_answer_tells() {
        let (mut state, now) = state();
        let sent = send(&mut state, 5, now);
        state.answered(sent[0], Some((6, PERIOD)), now);
        assert_eq!(burst(&mut state, now).len(), 2, "four may not be counted yet");
        assert_eq!(state.take(now), Err(Some(PERIOD)));
    }

    #[test]
    fn when_nothing_is_in_flight_the_last_answer_s_count_is_what_is_left() {
        let (mut state, now) = state();
        let sent = send(&mut state, 5, now);
        // All five were counted before the first was answered.
        for query in sent {
            state.answered(query, Some((10, PERIOD)), now);
        }
        assert_eq!(burst(&mut state, now).len(), 10);
    }

    #[test]
    fn fifteen_queries_go_out_in_a_period_and_the_next_waits_for_its_end() {
        let (mut state, now) = state();
        let first = state.take(now).unwrap();
        state.answered(first, Some((14, PERIOD)), now);
        assert_eq!(burst(&mut state, now).len(), 14);
        assert_eq!((state.take(now + SECOND), state.wait(now + SECOND)), (Err(Some(4 * SECOND)), 4 * SECOND));
        assert_eq!(burst(&mut state, now + PERIOD).len(), 1, "one goes ahead to ask");
    }

    #[test]
    fn answers_out_of_order_do_not_raise_what_is_left() {
        let (mut state, now) = state();
        let sent = send(&mut state, 4, now);
        for (query, remaining) in sent.into_iter().zip([3, 0, 2, 1]) {
            state.answered(query, Some((remaining, PERIOD)), now);
        }
        assert_eq!(state.take(now), Err(Some(PERIOD)));
    }

    #[test]
    fn queries_of_another_user_are_taken_off() {
        let (mut state, now) = state();
        let first = state.take(now).unwrap();
        state.answered(first, Some((14, PERIOD)), now);
        let sent = send(&mut state, 2, now);
        state.answered(sent[0], Some((1, PERIOD)), now);
        assert_eq!(state.take(now), Err(Some(PERIOD)), "the other query may be the one that is left");
        state.answered(sent[1], Some((1, PERIOD)), now);
        assert_eq!(burst(&mut state, now).len(), 1);
    }

    #[test]
    fn a_query_that_ends_without_an_answer_counts_as_spent_until_a_later_one_tells() {
        let (mut state, now) = state();
        let sent = send(&mut state, 2, now);
        state.answered(sent[0], Some((3, PERIOD)), now);
        state.answered(sent[1], None, now);
        assert_eq!(state.left(), 2);
        let later = state.take(now).unwrap();
        state.answered(later, Some((2, PERIOD)), now);
        assert_eq!(burst(&mut state, now).len(), 2, "it never reached the service");
    }

    #[test]
    fn a_refusal_stops_everything_until_the_service_allows_it() {
        let (mut state, now) = state();
        let first = state.take(now).unwrap();
        state.answered(first, Some((14, PERIOD)), now);
        let sent = send(&mut state, 2, now);
        state.refused(7 * SECOND, now);
        state.answered(sent[1], Some((12, PERIOD)), now);
        assert_eq!(state.take(now + 6 * SECOND), Err(Some(SECOND)));
        assert_eq!(burst(&mut state, now + 7 * SECOND).len(), 1, "one goes ahead to ask");
    }

    #[test]
    fn a_reset_that_another_answer_announced_outlasts_a_shorter_refusal() {
        let (mut state, now) = state();
        let first = state.take(now).unwrap();
        state.answered(first, Some((14, PERIOD)), now);
        state.take(now).unwrap();
        state.refused(SECOND, now);
        assert_eq!(state.wait(now), PERIOD);
    }

    #[test]
    fn a_service_that_announces_nothing_is_sent_fifteen_queries_in_five_seconds() {
        let (mut state, mut now) = state();
        for _ in 0..3 {
            let sent = burst(&mut state, now);
            assert_eq!(sent.len(), 15);
            // The service's period began when it received the first query, which is no later than the first answer.
            now += SECOND;
            for query in sent {
                state.answered(query, None, now);
            }
            assert_eq!(state.take(now + SECOND), Err(Some(4 * SECOND)));
            now += PERIOD;
        }
    }

    #[test]
    fn a_service_that_stops_announcing_is_sent_as_many_as_one_that_never_did() {
        let (mut state, now) = state();
        let sent = send(&mut state, 15, now);
        for query in sent {
            state.answered(query, Some((0, PERIOD)), now);
        }
        let now = now + PERIOD;
        let ahead = burst(&mut state, now);
        assert_eq!(ahead.len(), 1);
        state.answered(ahead[0], None, now);
        assert_eq!(burst(&mut state, now).len(), 14);
    }

    #[test]
    fn queries_that_hang_do_not_hold_up_the_next_period() {
        let (mut state, now) = state();
        let sent = send(&mut state, 15, now);
        state.answered(sent[0], Some((0, PERIOD)), now);
        assert_eq!(burst(&mut state, now + PERIOD).len(), 1);
    }

    #[tokio::test]
    async fn a_refusal_waits_as_long_as_its_headers_ask() {
        const LEFT: (&str, &str) = ("x-ms-user-quota-remaining", "0");
        const RESET: (&str, &str) = ("x-ms-user-quota-resets-after", "00:00:05");
        let wait = |headers: &[(&'static str, &'static str)]| {
            let headers: HeaderMap =
                headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
            async move {
                let quota = Quota::new();
                quota.acquire().await.settle(StatusCode::TOO_MANY_REQUESTS, &headers);
                quota.wait().as_secs_f32().ceil()
            }
        };
        assert!((wait(&[]).await - 1.0).abs() < 0.1);
        assert!((wait(&[("retry-after", "7")]).await - 7.0).abs() < 0.1);
        assert!((wait(&[("retry-after", "1"), LEFT, RESET]).await - 5.0).abs() < 0.1);
        assert!((wait(&[("retry-after", "9"), LEFT, RESET]).await - 9.0).abs() < 0.1);
    }

    #[test]
    fn the_announced_period_is_hours_minutes_and_seconds() {
        assert_eq!(parse_hms("00:00:05"), Some(5 * SECOND));
        assert_eq!(parse_hms("01:02:03.5"), Some(Duration::from_millis(3_723_500)));
        for odd in ["", "5", "00:05", "00:00:-1", "00:00:99", "a:b:c", "00:00:NaN", "1:2:3:4"] {
            assert_eq!(parse_hms(odd), None, "{odd}");
        }
    }
}
