//! What takes long to compute, done on another thread: the run's own goes on with its requests meanwhile.

use std::future::pending;
use std::panic::resume_unwind;

use tokio::task::{JoinError, spawn_blocking};

/// Computes something on another thread.
pub(crate) async fn offload<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match spawn_blocking(work).await.map_err(JoinError::try_into_panic) {
        Ok(done) => done,
        Err(Ok(panic)) => resume_unwind(panic),
        // The run has ended, and nobody waits for it.
        Err(Err(_)) => pending().await,
    }
}
