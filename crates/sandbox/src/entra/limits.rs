//! Resource units, and the rate limit of reports.
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::Ask;
use crate::directory::{Directory, Kind};
use crate::lock;
use crate::requests::Route;
use crate::settings::{RetryAfter, UnitSettings};

/// The cost of a request, according to Microsoft's table.
pub(super) fn cost(ask: &Ask<'_>) -> u32 {
    let base = match ask.route() {
        Route::EntraUsers | Route::EntraSignIns | Route::EntraApplications | Route::EntraMemberOf => 2,
        Route::EntraMembers | Route::EntraByIds => 3,
        _ => 1,
    };
    let is_small = ask.param("$top").and_then(|top| top.parse::<u32>().ok()).is_some_and(|top| top < 20);
    let less = i32::from(ask.param("$select").is_some()) + i32::from(is_small);
    let cost = base + i32::from(ask.param("$expand").is_some()) - less;
    cost.max(1).unsigned_abs()
}

/// A bucket that refills over the period. Rejected requests count too.
#[derive(Default)]
pub(super) struct Bucket(Mutex<Option<Level>>);

struct Level {
    at: Instant,
    used: f64,
}

pub(super) struct Taken {
    pub is_granted: bool,
    pub headers: Vec<(&'static str, String)>,
}

impl Bucket {
    pub(super) fn take(&self, settings: UnitSettings, directory: &Directory, cost: u32, now: Instant) -> Taken {
        let users = directory.slots(Kind::User).len();
        let of_size = if users < 50 {
            3_500
        } else if users <= 500 {
            5_000
        } else {
            8_000
        };
        self.take_of(settings, f64::from(settings.units.unwrap_or(of_size)), f64::from(cost), now)
    }

    fn take_of(&self, settings: UnitSettings, all: f64, cost: f64, now: Instant) -> Taken {
        let period = settings.period.as_secs_f64().max(f64::MIN_POSITIVE);
        let mut level = lock(&self.0);
        let before = level.take().map_or(0.0, |level| {
            let passed = now.saturating_duration_since(level.at).as_secs_f64();
            (level.used - all * passed / period).max(0.0)
        });
        let used = (before + cost).min(1.8 * all);
        *level = Some(Level { at: now, used });
        let is_granted = used <= all;
        let mut headers = Vec::new();
        if used >= 0.8 * all {
            headers.push(("x-ms-throttle-limit-percentage", format!("{:.2}", used / all)));
        }
        if !is_granted {
            headers.push(("x-ms-throttle-scope", "Tenant_Application/ReadWrite/sandbox".to_owned()));
            headers.push(("x-ms-throttle-information", "ResourceUnitLimitExceeded".to_owned()));
            let seconds = ((used - all) * period / all).ceil().max(1.0);
            match settings.retry_after {
                RetryAfter::Seconds => headers.push(("retry-after", seconds.to_string())),
                RetryAfter::Empty => headers.push(("retry-after", String::new())),
                RetryAfter::Absent => {}
            }
        }
        Taken { is_granted, headers }
    }
}

/// This many requests in ten seconds, starting with the first.
#[derive(Default)]
pub(super) struct Window(Mutex<Option<(Instant, u32)>>);

impl Window {
    const LENGTH: Duration = Duration::from_secs(10);

    /// How long to wait if none are left.
    pub(super) fn take(&self, most: u32, now: Instant) -> Option<Duration> {
        let mut window = lock(&self.0);
        let (opened, taken) =
            window.filter(|(opened, _)| now.duration_since(*opened) < Self::LENGTH).unwrap_or((now, 0));
        *window = Some((opened, taken + 1));
        (taken >= most).then(|| Self::LENGTH.saturating_sub(now.duration_since(opened)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bucket_fills_again_and_what_is_refused_counts() {
        let settings = UnitSettings { units: None, period: Duration::from_secs(10), retry_after: RetryAfter::Seconds };
        let (bucket, start) = (Bucket::default(), Instant::now());
        let take = |at: u64| bucket.take_of(settings, 10.0, 5.0, start + Duration::from_secs(at));
        assert!(take(0).headers.is_empty());
        assert_eq!(take(0).headers, [("x-ms-throttle-limit-percentage", "1.00".to_owned())]);
        let refused = take(0);
        assert!(!refused.is_granted);
        assert!(refused.headers.contains(&("retry-after", "5".to_owned())), "{:?}", refused.headers);
        assert!(take(10).is_granted);
        assert!(!take(10).is_granted);
    }

    #[test]
    fn the_window_opens_again_after_ten_seconds() {
        let (window, start) = (Window::default(), Instant::now());
        let take = |at: u64| window.take(1, start + Duration::from_secs(at));
        assert_eq!([take(0), take(4), take(10)], [None, Some(Duration::from_secs(6)), None]);
    }
}
