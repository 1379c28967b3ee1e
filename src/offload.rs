//! What takes long to compute, done on another thread: the run's own goes on with its requests meanwhile.

use std::future::pending;
use std::panic::resume_unwind;

use tokio::task::{JoinError, spawn_blocking};

/// Of fewer, the computing takes less than handing it over.
const MANY: usize = 50;

/// Computes something of each, on another thread where they are many.
pub(crate) async fn each<T: Send + 'static, U: Send + 'static>(
    all: Vec<T>,
    work: impl FnMut(T) -> U + Send + 'static,
) -> Vec<U> {
    let are_few = all.len() < MANY;
    let work = || all.into_iter().map(work).collect();
    if are_few {
        return work();
    }
    match spawn_blocking(work).await.map_err(JoinError::try_into_panic) {
        Ok(done) => done,
        Err(Ok(panic)) => resume_unwind(panic),
        // The run has ended, and nobody waits for it.
        Err(Err(_)) => pending().await,
    }
}
