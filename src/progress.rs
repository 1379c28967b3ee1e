//! Progress on a terminal: rows read of the total, envelopes posted, rate, time left. Without a terminal there is none,
//! and no cost.

use std::convert::Infallible;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::freshness::ForPeople;

const INTERVAL: Duration = Duration::from_millis(200);

/// The delay before rates and remaining time are shown: earlier figures would be guesses.
const SOON: Duration = Duration::from_secs(1);

static ALLOWED: AtomicBool = AtomicBool::new(false);

/// The progress line. All other output to the terminal must go above it.
static SHOWN: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// The progress of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) rows: u64,
    /// The number of rows that exist, as far as known.
    pub(crate) total: u64,
    pub(crate) posted: u64,
    /// Rows that need no post because the catalog already has them.
    pub(crate) same: u64,
}

/// Enables progress if standard error is a capable terminal.
pub(crate) fn allow() {
    let can = io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
    ALLOWED.store(can, Ordering::Relaxed);
}

pub(crate) fn is_allowed() -> bool {
    ALLOWED.load(Ordering::Relaxed)
}

/// Draws the progress that `look` returns, if any, until dropped.
pub(crate) async fn draw(look: Option<impl Fn() -> Seen>) -> Infallible {
    let Some(look) = look.filter(|_| is_allowed()) else { return std::future::pending().await };
    let line = Line::new();
    let started = Instant::now();
    let mut ticks = tokio::time::interval(INTERVAL);
    loop {
        ticks.tick().await;
        let seen = look();
        line.0.set_length(seen.total.max(1));
        line.0.set_position(seen.rows.min(seen.total));
        line.0.set_message(seen.tell(started.elapsed()));
        line.0.tick();
    }
}

/// The line on the terminal; dropping it clears the line.
struct Line(ProgressBar);

impl Line {
    fn new() -> Self {
        let bar = ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("[{bar:10}] {wide_msg}") {
            bar.set_style(style.progress_chars("=> "));
        }
        *shown() = Some(bar.clone());
        Self(bar)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        *shown() = None;
        self.0.finish_and_clear();
    }
}

fn shown() -> std::sync::MutexGuard<'static, Option<ProgressBar>> {
    SHOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Standard error, written above the progress line.
pub(crate) struct Above;

impl Write for Above {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let write = || io::stderr().write_all(bytes).map(|()| bytes.len());
        match &*shown() {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

impl Seen {
    fn tell(self, elapsed: Duration) -> String {
        let Self { rows, total, posted, same } = self;
        let mut text = format!("{} of {total} rows read, {posted} posted", rows.min(total));
        let done = posted + same;
        if elapsed >= SOON && done > 0 {
            let rate = done as f64 / elapsed.as_secs_f64();
            text += &format!(", {rate:.0}/s");
            // Nearly every row is either posted or needs no post; parents add some posts.
            let left = total.saturating_sub(done);
            if left > 0 {
                let left = Duration::try_from_secs_f64((left as f64 / rate).ceil()).unwrap_or(Duration::MAX);
                text += &format!(", {} left", ForPeople(left));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_posts_rate_and_time_left_are_told() {
        let seen = Seen { rows: 6_000, total: 20_000, posted: 5_000, same: 0 };
        assert_eq!(seen.tell(Duration::from_secs(10)), "6000 of 20000 rows read, 5000 posted, 500/s, 30 s left");
        assert_eq!(seen.tell(Duration::ZERO), "6000 of 20000 rows read, 5000 posted");
        let resumed = Seen { posted: 1_000, same: 4_000, ..seen };
        assert_eq!(resumed.tell(Duration::from_secs(10)), "6000 of 20000 rows read, 1000 posted, 500/s, 30 s left");
        let again = Seen { rows: 21_000, total: 20_000, posted: 20_084, same: 0 };
        assert_eq!(again.tell(Duration::from_secs(10)), "20000 of 20000 rows read, 20084 posted, 2008/s");
    }

    #[test]
    fn the_line_of_a_large_estate_fits_80_columns() {
        let bar = "[==========] ".len();
        let seen = Seen { rows: 1_000_000, total: 1_000_000, posted: 150_000, same: 100_000 };
        let told = seen.tell(Duration::from_secs(10 * 3600));
        assert!(bar + told.len() < 80, "{told}");
    }

    #[tokio::test(start_paused = true)]
    async fn off_a_terminal_nothing_is_drawn_or_looked_at() {
        let draw = draw(Some(|| unreachable!("nobody looks")));
        assert!(tokio::time::timeout(Duration::from_secs(60), draw).await.is_err());
    }
}
