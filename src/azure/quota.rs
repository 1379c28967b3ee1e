//! The quota that Resource Graph announces, kept to: no query is sent that it would refuse.
//!
//! "Guidance for throttled requests in Azure Resource Graph": every answer says how many queries are left
//! (`x-ms-user-quota-remaining`) and when the count starts anew (`x-ms-user-quota-resets-after`, hh:mm:ss).

use std::sync::Mutex;
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use tokio::sync::Notify;

use super::arm::{self, Limiter};

/// Queries sent side by side before any answer has told the quota: containers and resources of the first batch.
const UNTOLD: u32 = 2;

/// The longest that an announced reset is waited for; the quota's real period is 5 s.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// What is left of the quota, shared by all queries of the run.
#[derive(Debug)]
pub(crate) struct Quota {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    /// Left in this period, queries in flight already taken off.
    left: u32,
    in_flight: u32,
    /// When the period ends, as far as it was told.
    resets_at: Option<Instant>,
    /// Counts the periods; an answer to a query of an earlier one says nothing of this one.
    period: u64,
}

/// Leave to send one query. Dropped without [`Permit::settle`], it counts as spent.
pub(crate) struct Permit<'a> {
    quota: &'a Quota,
    period: u64,
    settled: bool,
}

impl Quota {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(State { left: UNTOLD, in_flight: 0, resets_at: None, period: 0 }),
            changed: Notify::new(),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // A panic while it is held leaves plain numbers, which are as good as before.
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
                Ok(period) => return Permit { quota: self, period, settled: false },
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
}

impl State {
    /// Takes one query off, or says how long to wait; `None`: until an answer tells.
    fn take(&mut self, now: Instant) -> Result<u64, Option<Duration>> {
        if self.left == 0 {
            match self.resets_at {
                // The next answer tells how many there are; until then one goes ahead to ask.
                Some(at) if at <= now => {
                    self.left = 1;
                    self.resets_at = None;
                    self.period += 1;
                }
                Some(at) => return Err(Some(at - now)),
                None if self.in_flight == 0 => self.left = 1,
                None => return Err(None),
            }
        }
        self.left -= 1;
        self.in_flight += 1;
        Ok(self.period)
    }

    /// An answer to a query of `period`.
    fn answered(&mut self, period: u64, told: Option<(u32, Duration)>, now: Instant) {
        self.in_flight = self.in_flight.saturating_sub(1);
        let Some((remaining, resets_after)) = told else { return };
        if period != self.period {
            return;
        }
        let at = now + resets_after.min(LONGEST_WAIT);
        match self.resets_at {
            // Announced in whole seconds, rounded up: within one period the earliest is the nearest to the truth.
            Some(known) => self.resets_at = Some(known.min(at)),
            None => {
                // The first answer of a period. It may not count yet what is in flight.
                self.left = remaining.saturating_sub(self.in_flight);
                self.resets_at = Some(at);
                return;
            }
        }
        // Our own queries are taken off already; only another user of the same quota makes it less than that.
        self.left = self.left.min(remaining);
    }

    /// Refused after all: nothing more before the service allows it.
    fn refused(&mut self, wait: Duration, now: Instant) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.left = 0;
        let at = now + wait.min(LONGEST_WAIT);
        self.resets_at = Some(self.resets_at.map_or(at, |known| known.max(at)));
    }
}

impl arm::Permit for Permit<'_> {
    fn settle(mut self, status: StatusCode, headers: &HeaderMap) {
        self.settled = true;
        let told = remaining(headers).zip(resets_after(headers));
        let now = Instant::now();
        if status == StatusCode::TOO_MANY_REQUESTS {
            let wait = told.map_or(Duration::from_secs(1), |(_, wait)| wait);
            self.quota.state().refused(wait, now);
        } else {
            self.quota.state().answered(self.period, told, now);
        }
        self.quota.changed.notify_waiters();
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if !self.settled {
            self.quota.state().answered(self.period, None, Instant::now());
            self.quota.changed.notify_waiters();
        }
    }
}

fn remaining(headers: &HeaderMap) -> Option<u32> {
    headers.get("x-ms-user-quota-remaining")?.to_str().ok()?.trim().parse().ok()
}

fn resets_after(headers: &HeaderMap) -> Option<Duration> {
    parse_hms(headers.get("x-ms-user-quota-resets-after")?.to_str().ok()?.trim())
}

/// `hh:mm:ss`, the seconds with a fraction or without.
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
    use arm::Permit as _;

    const SECOND: Duration = Duration::from_secs(1);

    fn state() -> (State, Instant) {
        (State { left: UNTOLD, in_flight: 0, resets_at: None, period: 0 }, Instant::now())
    }

    #[test]
    fn until_an_answer_tells_the_quota_only_the_first_queries_go_out() {
        let (mut state, now) = state();
        assert_eq!(state.take(now), Ok(0));
        assert_eq!(state.take(now), Ok(0));
        assert_eq!(state.take(now), Err(None));
    }

    #[test]
    fn fifteen_queries_go_out_in_a_period_and_the_next_waits_for_its_end() {
        let (mut state, now) = state();
        state.take(now).unwrap();
        state.answered(0, Some((14, 5 * SECOND)), now);
        for _ in 0..14 {
            assert_eq!(state.take(now), Ok(0));
        }
        assert_eq!(state.take(now + SECOND), Err(Some(4 * SECOND)));
        assert_eq!(state.take(now + 5 * SECOND), Ok(1));
    }

    #[test]
    fn answers_out_of_order_do_not_raise_what_is_left() {
        let (mut state, now) = state();
        state.take(now).unwrap();
        state.answered(0, Some((3, 5 * SECOND)), now);
        for _ in 0..3 {
            state.take(now).unwrap();
        }
        state.answered(0, Some((0, 5 * SECOND)), now);
        state.answered(0, Some((2, 5 * SECOND)), now);
        state.answered(0, Some((1, 5 * SECOND)), now);
        assert_eq!(state.take(now), Err(Some(5 * SECOND)));
    }

    #[test]
    fn queries_of_another_user_are_taken_off() {
        let (mut state, now) = state();
        state.take(now).unwrap();
        state.answered(0, Some((14, 5 * SECOND)), now);
        state.take(now).unwrap();
        state.take(now).unwrap();
        state.answered(0, Some((1, 5 * SECOND)), now);
        assert_eq!(state.take(now), Ok(0));
        assert_eq!(state.take(now), Err(Some(5 * SECOND)));
    }

    #[test]
    fn a_refusal_stops_everything_until_the_service_allows_it() {
        let (mut state, now) = state();
        state.take(now).unwrap();
        state.answered(0, Some((14, 5 * SECOND)), now);
        state.take(now).unwrap();
        state.refused(7 * SECOND, now);
        assert_eq!(state.take(now + 6 * SECOND), Err(Some(SECOND)));
    }

    #[tokio::test]
    async fn a_service_that_announces_nothing_is_asked_one_query_at_a_time() {
        let quota = Quota::new();
        for _ in 0..5 {
            quota.acquire().await.settle(StatusCode::OK, &HeaderMap::new());
        }
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
