//! The rate limits of an organization, by class of route.
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::lock;
use crate::settings::{Rate, Rates, Reset, Window};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Unauthenticated,
    Entities,
    Blueprints,
    Search,
    Upsert,
    Bulk,
    Other,
}

impl Class {
    fn rate(self, rates: &Rates) -> Rate {
        match self {
            Self::Unauthenticated => rates.unauthenticated,
            Self::Entities => rates.entities,
            Self::Blueprints => rates.blueprints,
            Self::Search => rates.search,
            Self::Upsert => rates.upsert,
            Self::Bulk => rates.bulk,
            Self::Other => rates.other,
        }
    }
}

#[derive(Default)]
pub(super) struct Limits([Mutex<Option<Bucket>>; 7]);

/// The remaining requests of a class at a time, including a fraction that is coming back.
struct Bucket {
    at: Instant,
    left: f64,
}

/// Whether a request is within the limit, and the rate limit headers.
pub(super) struct Taken {
    pub granted: bool,
    pub headers: Vec<(&'static str, String)>,
}

impl Limits {
    pub(super) fn take(&self, rates: &Rates, class: Class, now: Instant) -> Taken {
        let rate = class.rate(rates);
        let (period, requests) = (rates.period.as_secs_f64(), f64::from(rate.requests));
        let most = if rates.window == Window::Fixed { requests } else { f64::from(rate.burst) };
        let mut bucket = lock(&self.0[class as usize]);
        let bucket = bucket.get_or_insert(Bucket { at: now, left: most });
        let since = now.saturating_duration_since(bucket.at);
        match rates.window {
            Window::Fixed if since >= rates.period => *bucket = Bucket { at: now, left: most },
            Window::Fixed => {}
            Window::Sliding => {
                let back = since.as_secs_f64() * requests / period;
                *bucket = Bucket { at: now, left: (bucket.left + back).min(most) };
            }
        }
        let granted = bucket.left >= 1.0;
        if granted {
            bucket.left -= 1.0;
        }
        let reset = match rates.window {
            Window::Fixed => rates.period.saturating_sub(now.saturating_duration_since(bucket.at)),
            Window::Sliding if bucket.left < 1.0 => Duration::from_secs_f64((1.0 - bucket.left) * period / requests),
            Window::Sliding => Duration::from_secs_f64((most - bucket.left) * period / requests),
        };
        let seconds = reset.as_secs_f64().ceil();
        let mut headers = vec![
            ("x-ratelimit-limit", rate.requests.to_string()),
            ("x-ratelimit-period", rates.period.as_secs().to_string()),
            ("x-ratelimit-remaining", bucket.left.floor().to_string()),
            ("x-ratelimit-reset", said(rates.reset, reset, seconds)),
        ];
        if !granted && rates.retry_after {
            headers.push(("retry-after", seconds.to_string()));
        }
        Taken { granted, headers }
    }
}

fn said(form: Reset, reset: Duration, seconds: f64) -> String {
    match form {
        Reset::Seconds => seconds.to_string(),
        Reset::Epoch => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            (now + reset).as_secs_f64().ceil().to_string()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(window: Window, at_seconds: &[u64]) -> Vec<bool> {
        let rate = Rate { requests: 10, burst: 2 };
        let rates = Rates { period: Duration::from_secs(10), upsert: rate, window, ..Rates::default() };
        let (limits, start) = (Limits::default(), Instant::now());
        let take = |at: &u64| limits.take(&rates, Class::Upsert, start + Duration::from_secs(*at)).granted;
        at_seconds.iter().map(take).collect()
    }

    #[test]
    fn a_burst_comes_back_over_the_period() {
        assert_eq!(
            granted(Window::Sliding, &[0, 0, 0, 1, 1, 9, 9, 9]),
            [true, true, false, true, false, true, true, false]
        );
    }

    #[test]
    fn a_fixed_window_begins_anew_when_its_period_is_over() {
        let mut wanted = vec![true; 10];
        wanted.extend([false, false, true]);
        assert_eq!(granted(Window::Fixed, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 9, 10]), wanted);
    }

    #[test]
    fn classes_are_counted_apart_and_told_of() {
        let rate = Rate { requests: 1, burst: 1 };
        let rates = Rates { upsert: rate, bulk: rate, reset: Reset::Seconds, ..Rates::default() };
        let (limits, now) = (Limits::default(), Instant::now());
        assert!(limits.take(&rates, Class::Upsert, now).granted);
        assert!(limits.take(&rates, Class::Bulk, now).granted);
        let refused = limits.take(&rates, Class::Upsert, now);
        assert!(!refused.granted);
        assert!(refused.headers.contains(&("x-ratelimit-reset", "300".to_owned())), "{:?}", refused.headers);
        assert!(refused.headers.contains(&("retry-after", "300".to_owned())));
    }
}
