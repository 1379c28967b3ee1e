//! Resource Graph's quota: for each principal, a window that opens with the first query after the last one closed.
use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::lock;
use crate::settings::QuotaSettings;

pub(crate) struct Quota {
    settings: QuotaSettings,
    windows: Mutex<HashMap<String, Window>>,
}

struct Window {
    opened: Instant,
    used: u32,
}

/// The quota information for a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Allowance {
    pub granted: bool,
    pub remaining: u32,
    pub resets_after: Duration,
}

impl Allowance {
    /// In whole seconds, rounded up, so that waiting this long is enough.
    pub(crate) fn seconds(&self) -> u64 {
        self.resets_after.as_millis().div_ceil(1000) as u64
    }

    /// In the format of `x-ms-user-quota-resets-after`.
    pub(crate) fn clock_face(&self) -> String {
        let seconds = self.seconds();
        format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
    }
}

impl Quota {
    pub(crate) fn new(settings: QuotaSettings) -> Self {
        Self { settings, windows: Mutex::default() }
    }

    /// Counts a query by this principal at this time.
    pub(crate) fn take(&self, principal: &str, now: Instant) -> Allowance {
        let QuotaSettings { queries, window: length } = self.settings;
        let mut windows = lock(&self.windows);
        let window = windows.entry(principal.to_owned()).or_insert(Window { opened: now, used: 0 });
        if now.duration_since(window.opened) >= length {
            *window = Window { opened: now, used: 0 };
        }
        let granted = window.used < queries;
        window.used += u32::from(granted);
        let resets_after = length.saturating_sub(now.duration_since(window.opened));
        Allowance { granted, remaining: queries - window.used, resets_after }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_grants_so_many_queries_and_then_opens_anew() {
        let quota = Quota::new(QuotaSettings { queries: 2, window: Duration::from_secs(5) });
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(quota.take("me", at(0)).remaining, 1);
        assert_eq!(quota.take("me", at(1)).remaining, 0);
        let refused = quota.take("me", at(1_500));
        assert!(!refused.granted);
        assert_eq!(refused.clock_face(), "00:00:04");
        assert!(quota.take("you", at(1_500)).granted);
        assert!(!quota.take("me", at(4_999)).granted);
        assert!(quota.take("me", at(5_000)).granted);
    }
}
