//! Port's rate limits: keeps to the published ones, and reads them from answers.
//!
//! "Rate limits", Port's API reference: per organization, in five minutes, with a burst.

use std::num::NonZeroU32;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use governor::{DefaultDirectRateLimiter, Quota};
use jiff::Timestamp;
use reqwest::StatusCode;
use reqwest::header::HeaderMap;

use crate::http;

/// The rate limit that a request counts towards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Bulk writes and deletes of entities.
    Bulk,
    /// Searches for entities.
    Search,
    Other,
}

/// One token bucket for each class.
pub(super) struct Rates {
    bulk: DefaultDirectRateLimiter,
    search: DefaultDirectRateLimiter,
    other: DefaultDirectRateLimiter,
}

impl Default for Rates {
    fn default() -> Self {
        let many = || limiter(35_000, 3_500);
        Self { bulk: many(), search: many(), other: limiter(15_000, 1_500) }
    }
}

impl Rates {
    pub(super) async fn turn(&self, class: Class) {
        let limiter = match class {
            Class::Bulk => &self.bulk,
            Class::Search => &self.search,
            Class::Other => &self.other,
        };
        limiter.until_ready().await;
    }
}

/// Allows this many requests in any five minutes, including the burst.
fn limiter(in_five_minutes: u32, burst: u32) -> DefaultDirectRateLimiter {
    let period = Duration::from_secs(300) / (in_five_minutes - burst).max(1);
    let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
    let quota = Quota::with_period(period).unwrap_or_else(|| Quota::per_second(NonZeroU32::MIN));
    DefaultDirectRateLimiter::direct(quota.allow_burst(burst))
}

/// Longer than a rate limit's period in seconds, shorter than any epoch time.
const LONGEST_WAIT: u64 = 10_000;

/// How long Port asks all clients to wait. The limit is used up until `x-ratelimit-reset`, in epoch seconds ("Rate
/// limits", Port's API reference), compared with the answer's `Date` if it has one. Also accepts seconds to wait, as
/// Port's Terraform provider does, and dates, as its exporters do.
pub(crate) fn reset_in(status: StatusCode, headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let number = |name: &str| text(name)?.parse::<u64>().ok();
    if status != StatusCode::TOO_MANY_REQUESTS && number("x-ratelimit-remaining") != Some(0) {
        return None;
    }
    let reset = match number("x-ratelimit-reset") {
        Some(wait) if wait <= LONGEST_WAIT => return Some(Duration::from_secs(wait)),
        Some(epoch) => epoch,
        None => u64::try_from(text("x-ratelimit-reset")?.parse::<Timestamp>().ok()?.as_second()).ok()?,
    };
    let now = match http::date(headers) {
        Some(date) => u64::try_from(date.as_second()).ok()?,
        None => now.duration_since(UNIX_EPOCH).ok()?.as_secs(),
    };
    Some(Duration::from_secs(reset.saturating_sub(now)))
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn a_used_up_rate_limit_is_reset_on_ports_clock() {
        let now = UNIX_EPOCH + Duration::from_secs(1_445_412_440);
        let (reset, used_up) = (("x-ratelimit-reset", "1445412480"), ("x-ratelimit-remaining", "0"));
        let wait = |status, pairs: &[(&'static str, &'static str)]| {
            let header = |(name, value): &(&'static str, &'static str)| {
                (HeaderName::from_static(name), HeaderValue::from_static(value))
            };
            reset_in(status, &pairs.iter().map(header).collect(), now).map(|wait| wait.as_secs())
        };
        assert_eq!(wait(StatusCode::ACCEPTED, &[used_up, reset]), Some(40));
        assert_eq!(wait(StatusCode::TOO_MANY_REQUESTS, &[reset]), Some(40));
        let date = ("date", "Wed, 21 Oct 2015 07:27:50 GMT");
        assert_eq!(wait(StatusCode::ACCEPTED, &[used_up, reset, date]), Some(10));
        assert_eq!(wait(StatusCode::ACCEPTED, &[("x-ratelimit-remaining", "1"), reset]), None);
        assert_eq!(wait(StatusCode::ACCEPTED, &[used_up]), None);
        assert_eq!(wait(StatusCode::ACCEPTED, &[used_up, ("x-ratelimit-reset", "1445412000")]), Some(0), "it is over");
        assert_eq!(wait(StatusCode::ACCEPTED, &[used_up, ("x-ratelimit-reset", "37")]), Some(37), "seconds to wait");
        let date = ("x-ratelimit-reset", "2015-10-21T07:28:00Z");
        assert_eq!(wait(StatusCode::TOO_MANY_REQUESTS, &[date]), Some(40));
    }

    #[tokio::test(start_paused = true)]
    async fn no_five_minutes_hold_more_requests_than_are_published() {
        let limiter = limiter(35_000, 3_500);
        let burst = (0..5_000).take_while(|_| limiter.check().is_ok()).count();
        assert!((3_400..=3_600).contains(&burst), "{burst}");
        // The requests in the five minutes after the burst.
        assert!(300_000 / (Duration::from_secs(300) / 31_500).as_millis() <= 35_000);
    }
}
