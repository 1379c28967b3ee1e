//! How often, and after which waits, a failed operation is retried.

use std::fmt::{self, Display};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use tokio::time::Instant;

use crate::text::printable;

/// How long to keep retrying.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// How often a failed attempt is retried.
    pub(crate) retries: usize,
    /// The first wait. Each further one is twice as long, up to `longest`, plus jitter.
    pub(crate) first: Duration,
    pub(crate) longest: Duration,
    /// The longest wait that a server may ask for.
    pub(crate) longest_asked: Duration,
    /// Gives up rather than wait past it.
    pub(crate) deadline: Option<Instant>,
}

/// What to do after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    GiveUp,
    /// Waits as long as the server asks for, or else for our own backoff; in both cases at least `least`.
    Again {
        after: Option<Duration>,
        least: Duration,
    },
}

impl Patience {
    /// The part of a wait requested by a server that is granted.
    pub(crate) fn grant(&self, asked: Duration) -> Duration {
        asked.min(self.longest_asked)
    }
}

/// Repeats `attempt` while `next` says so and retries are left; `repeated` counts retries across all requests. `who` is
/// for the log, which warns only of the first, second, fourth, eighth… retry.
pub(crate) async fn retrying<T, E: Display, F: Future<Output = Result<T, E>>>(
    patience: &Patience,
    who: &str,
    mut attempt: impl FnMut() -> F,
    mut next: impl FnMut(&E) -> Next,
    mut repeated: impl FnMut() -> u64,
) -> Result<T, E> {
    let mut waits = ExponentialBuilder::new()
        .with_min_delay(patience.first)
        .with_max_delay(patience.longest)
        .with_max_times(patience.retries)
        .with_jitter()
        .build();
    loop {
        let error = match attempt().await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        let Next::Again { after, least } = next(&error) else { return Err(error) };
        let Some(own) = waits.next() else { return Err(error) };
        let wait = after.map_or(own, |asked| patience.grant(asked)).max(least);
        if patience.deadline.is_some_and(|deadline| Instant::now() + wait >= deadline) {
            return Err(error);
        }
        let (count, seconds) = (repeated(), wait.as_secs_f32());
        if count.is_power_of_two() {
            if let Some(asked) = after.filter(|asked| *asked > wait) {
                tracing::warn!("{} asks to wait {} s; waiting {} s", printable(who), asked.as_secs(), wait.as_secs());
            }
            tracing::warn!("{error}; trying again in {seconds:.1} s{}", Retries(count));
        } else {
            tracing::debug!("{error}; trying again in {seconds:.1} s");
        }
        tokio::time::sleep(wait).await;
    }
}

/// Formats the number of retries, if there are several.
struct Retries(u64);

impl Display for Retries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 | 1 => Ok(()),
            count => write!(f, "; {count} retries so far"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const PATIENCE: Patience = Patience {
        retries: 3,
        first: Duration::from_secs(1),
        longest: Duration::from_secs(3),
        longest_asked: Duration::from_secs(120),
        deadline: None,
    };

    /// Attempts an operation that always fails. Returns the attempts, the retries and the time taken.
    async fn tries(next: Next) -> (u32, u32, Duration) {
        let (attempts, repeated, start) = (Cell::new(0), Cell::new(0), Instant::now());
        let attempt = || {
            attempts.set(attempts.get() + 1);
            std::future::ready(Err::<(), _>("no"))
        };
        let result = retrying(
            &PATIENCE,
            "it",
            attempt,
            |_| next,
            || {
                repeated.set(repeated.get() + 1);
                repeated.get()
            },
        )
        .await;
        assert_eq!(result, Err("no"));
        (attempts.get(), u32::try_from(repeated.get()).unwrap(), start.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn waits_double_up_to_the_longest_with_jitter() {
        let (attempts, repeated, took) = tries(Next::Again { after: None, least: Duration::ZERO }).await;
        assert_eq!((attempts, repeated), (4, 3));
        assert!((6_000..=12_010).contains(&took.as_millis()), "{took:?} for 1, 2 and 3 s, each up to doubled");
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_is_waited_for_as_it_asks_up_to_a_limit() {
        let again = |after: u64| Next::Again { after: Some(Duration::from_secs(after)), least: Duration::ZERO };
        let (_, _, took) = tries(again(0)).await;
        assert!(took < Duration::from_millis(10), "{took:?}");
        let (_, _, took) = tries(again(3600)).await;
        assert!((360_000..=360_010).contains(&took.as_millis()), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn no_wait_is_shorter_than_the_least() {
        for after in [None, Some(Duration::ZERO), Some(Duration::from_secs(1))] {
            let (_, _, took) = tries(Next::Again { after, least: Duration::from_secs(7) }).await;
            assert!((21_000..=21_010).contains(&took.as_millis()), "{took:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_given_up_is_not_repeated() {
        assert_eq!(tries(Next::GiveUp).await, (1, 0, Duration::ZERO));
    }
}
