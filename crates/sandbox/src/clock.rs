//! The sandbox's time: the machine's, or a virtual time that only tests advance. Everything about data uses it
//! (records, lags, `ago()`, the `Date` header); latency and quota concern the wire and use real time.
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::Timestamp;

/// A clock shared by its clones.
#[derive(Clone, Debug)]
pub struct Clock(Option<Arc<AtomicI64>>);

impl Clock {
    pub(crate) fn real() -> Self {
        Self(None)
    }

    /// A clock that shows this time, in milliseconds since the epoch, until changed.
    pub fn at(ms: i64) -> Self {
        Self(Some(Arc::new(AtomicI64::new(ms))))
    }

    /// A clock stopped at the machine's current time.
    pub fn stopped() -> Self {
        Self::at(Self::real().now_ms())
    }

    pub fn now_ms(&self) -> i64 {
        match &self.0 {
            Some(ms) => ms.load(Ordering::Acquire),
            None => Timestamp::now().as_millisecond(),
        }
    }

    pub(crate) fn is_virtual(&self) -> bool {
        self.0.is_some()
    }

    /// Has no effect on the machine's clock.
    pub fn advance(&self, by: Duration) {
        if let Some(clock) = &self.0 {
            clock.fetch_add(by.as_millis() as i64, Ordering::AcqRel);
        }
    }

    /// The time in the format of the `Date` header.
    pub fn http_date(&self) -> String {
        timestamp(self.now_ms()).strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
    }
}

/// A time in Resource Graph's format: seven decimals.
pub(crate) fn iso(ms: i64) -> String {
    timestamp(ms).strftime("%Y-%m-%dT%H:%M:%S.%3f0000Z").to_string()
}

/// A time in Microsoft Graph's format.
pub fn seconds(ms: i64) -> String {
    timestamp(ms).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn timestamp(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_the_services_write_them() {
        let clock = Clock::at(1_700_000_000_123);
        assert_eq!(clock.http_date(), "Tue, 14 Nov 2023 22:13:20 GMT");
        assert_eq!(iso(clock.now_ms()), "2023-11-14T22:13:20.1230000Z");
    }

    #[test]
    fn clones_share_one_time() {
        let clock = Clock::at(0);
        let other = clock.clone();
        clock.advance(Duration::from_secs(2));
        assert_eq!(other.now_ms(), 2_000);
    }
}
