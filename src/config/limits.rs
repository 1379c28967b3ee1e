//! Retries, waits and timeouts.

use std::time::Duration;

/// Times and sizes that have one right value in production, and others where a caller embeds the engine.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How often a failed request is tried again.
    pub retries: usize,
    /// The first wait before a retry; each further one is twice as long, up to `backoff_max`, plus jitter.
    pub backoff: Duration,
    /// The longest wait that is not asked for by a server.
    pub backoff_max: Duration,
    /// The longest wait that a `Retry-After` is believed for.
    pub retry_after_max: Duration,
    /// For one request to Azure, its answer included.
    pub azure_timeout: Duration,
    /// For signing in, all attempts together.
    pub sign_in_timeout: Duration,
    /// For one post, its answer included.
    pub post_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            retries: 5,
            backoff: Duration::from_millis(500),
            backoff_max: Duration::from_secs(30),
            retry_after_max: Duration::from_secs(120),
            azure_timeout: Duration::from_secs(60),
            sign_in_timeout: Duration::from_secs(25),
            post_timeout: Duration::from_secs(20),
        }
    }
}
