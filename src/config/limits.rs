//! Retries, waits and timeouts.

use std::time::Duration;

use crate::retry::Patience;

/// Production uses the defaults; callers that embed the engine may need others.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How often a failed request is retried.
    pub retries: usize,
    /// The wait before the first retry. It doubles for each further retry, up to `backoff_max`, plus jitter.
    pub backoff: Duration,
    /// The longest wait unless a server asks for more.
    pub backoff_max: Duration,
    /// The longest wait that a `Retry-After` can ask for.
    pub retry_after_max: Duration,
    /// How long Port's rate limit may block everything if `RUN_TIMEOUT_SECONDS` is not set.
    pub longest_throttle: Duration,
    /// The timeout of a request to Azure, including its response.
    pub azure_timeout: Duration,
    /// The timeout of a sign-in, including retries.
    pub sign_in_timeout: Duration,
    /// The timeout of a post, including its response.
    pub post_timeout: Duration,
    /// The time between requests for sign-ins: 5 in 10 s ("Microsoft Graph service-specific throttling limits",
    /// reports).
    pub sign_ins_apart: Duration,
}

impl Limits {
    /// How long to keep retrying.
    pub(crate) fn patience(&self) -> Patience {
        Patience {
            retries: self.retries,
            first: self.backoff,
            longest: self.backoff_max,
            longest_asked: self.retry_after_max,
            deadline: None,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            retries: 5,
            backoff: Duration::from_millis(500),
            backoff_max: Duration::from_secs(30),
            retry_after_max: Duration::from_secs(120),
            longest_throttle: Duration::from_secs(30 * 60),
            azure_timeout: Duration::from_secs(60),
            sign_in_timeout: Duration::from_secs(25),
            post_timeout: Duration::from_secs(20),
            sign_ins_apart: Duration::from_secs(2),
        }
    }
}
