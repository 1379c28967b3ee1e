//! The time from a change until its envelope was accepted, over all changes of a run, in a small constant amount of
//! memory.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

/// Buckets for each power of two. A bucket's width is at most a sixteenth of its values, so its midpoint, which is used
/// as the median, is at most 3.2 % off. Minimum and maximum are exact.
const STEPS: u64 = 16;
const STEPS_LOG: u32 = STEPS.ilog2();

/// Longer than any record is kept: 2^41 ms is 69 years.
const DOUBLINGS: u32 = 41;

#[expect(clippy::cast_possible_truncation, reason = "a constant below 700")]
const BUCKETS: usize = (DOUBLINGS - STEPS_LOG + 2) as usize * STEPS as usize;

/// A histogram of waits, in milliseconds.
#[derive(Debug)]
pub(crate) struct Waits {
    buckets: Box<[u64]>,
    count: u64,
    least: u64,
    most: u64,
}

/// The summary of the waits of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Freshness {
    /// The number of changes measured.
    pub changes: u64,
    /// Accurate to 3.2 %.
    #[serde(rename = "medianSeconds", serialize_with = "seconds")]
    pub median: Duration,
    /// The shortest wait.
    #[serde(rename = "minSeconds", serialize_with = "seconds")]
    pub least: Duration,
    /// The longest wait.
    #[serde(rename = "maxSeconds", serialize_with = "seconds")]
    pub most: Duration,
}

impl Waits {
    pub(crate) fn new() -> Self {
        Self { buckets: vec![0; BUCKETS].into(), count: 0, least: u64::MAX, most: 0 }
    }

    pub(crate) fn add(&mut self, wait: Duration) {
        let ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).min((1 << DOUBLINGS) - 1);
        if let Some(bucket) = self.buckets.get_mut(bucket_of(ms)) {
            *bucket += 1;
        }
        self.count += 1;
        self.least = self.least.min(ms);
        self.most = self.most.max(ms);
    }

    /// `None` if nothing was measured.
    pub(crate) fn in_short(&self) -> Option<Freshness> {
        let mut left = self.count.div_ceil(2);
        let median = self.buckets.iter().zip(0..).find_map(|(bucket, place)| {
            let is_here = left <= *bucket && *bucket > 0;
            left = left.saturating_sub(*bucket);
            is_here.then(|| middle_of(place))
        })?;
        Some(Freshness {
            changes: self.count,
            median: Duration::from_millis(median.clamp(self.least, self.most)),
            least: Duration::from_millis(self.least),
            most: Duration::from_millis(self.most),
        })
    }
}

/// The smallest values have a bucket each; from there, every doubling is divided into `STEPS` buckets.
#[expect(clippy::cast_possible_truncation, reason = "an index of a bucket")]
fn bucket_of(ms: u64) -> usize {
    let Some(doubling) = ms.checked_ilog2().and_then(|log| log.checked_sub(STEPS_LOG)) else { return ms as usize };
    (u64::from(doubling + 1) * STEPS + (ms >> doubling) - STEPS) as usize
}

fn middle_of(bucket: u64) -> u64 {
    let Some(doubling) = (bucket / STEPS).checked_sub(1) else { return bucket };
    let least = (STEPS + bucket % STEPS) << doubling;
    least + (1 << doubling) / 2
}

impl fmt::Display for Freshness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "median {}, from {} to {} after the change",
            ForPeople(self.median),
            ForPeople(self.least),
            ForPeople(self.most)
        )
    }
}

/// A duration in its two most significant units.
pub(crate) struct ForPeople(pub(crate) Duration);

impl fmt::Display for ForPeople {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
        match (days, hours, minutes) {
            (0, 0, 0) if seconds < 10 => write!(f, "{:.1} s", self.0.as_secs_f64()),
            (0, 0, 0) => write!(f, "{seconds} s"),
            (0, 0, _) => write!(f, "{minutes} min {} s", seconds % 60),
            (0, _, _) => write!(f, "{hours} h {} min", minutes % 60),
            _ => write!(f, "{days} d {} h", hours % 24),
        }
    }
}

fn seconds<S: Serializer>(wait: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(wait.as_millis() as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_measured_has_no_median() {
        assert_eq!(Waits::new().in_short(), None);
    }

    #[test]
    fn a_single_wait_is_all_of_them() {
        let mut waits = Waits::new();
        waits.add(Duration::from_millis(123_457));
        let short = waits.in_short().unwrap();
        assert_eq!((short.median, short.least, short.most), (short.least, short.least, short.least));
        assert_eq!(short.most, Duration::from_millis(123_457));
    }

    #[test]
    fn waits_are_told_in_the_units_that_matter() {
        let shown = |seconds| ForPeople(Duration::from_secs(seconds)).to_string();
        assert_eq!(shown(5), "5.0 s");
        assert_eq!(shown(59), "59 s");
        assert_eq!(shown(250), "4 min 10 s");
        assert_eq!(shown(7_500), "2 h 5 min");
        assert_eq!(shown(200_000), "2 d 7 h");
    }

    proptest! {
        #[test]
        fn the_median_is_within_its_precision_and_the_ends_are_exact(
            mut waits in prop::collection::vec(0_u64..2_000_000_000, 1..200)
        ) {
            let mut histogram = Waits::new();
            for ms in &waits {
                histogram.add(Duration::from_millis(*ms));
            }
            waits.sort_unstable();
            let short = histogram.in_short().unwrap();
            prop_assert_eq!(short.least, Duration::from_millis(waits[0]));
            prop_assert_eq!(short.most, Duration::from_millis(waits[waits.len() - 1]));
            let median = waits[waits.len().div_ceil(2) - 1] as f64;
            let told = short.median.as_millis() as f64;
            prop_assert!((told - median).abs() <= median * 0.032 + 1.0, "{told} instead of {median}");
        }

        #[test]
        fn every_wait_has_a_bucket_that_holds_it(ms in 0_u64..(1 << DOUBLINGS)) {
            let bucket = bucket_of(ms);
            prop_assert!(bucket < BUCKETS);
            let middle = middle_of(bucket as u64);
            prop_assert!(middle.abs_diff(ms) <= ms / 31 + 1, "{middle} for {ms}");
        }
    }
}
