//! What takes long to compute, done on another thread: the run's own goes on with its requests meanwhile.

use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::thread;

use tokio::sync::oneshot;

/// Of fewer, the computing takes less than handing it over.
const MANY: usize = 50;

/// Computes something of each, on another thread where they are many.
pub(crate) async fn each<T: Send + 'static, U: Send + 'static>(
    all: Vec<T>,
    work: impl FnMut(T) -> U + Send + 'static,
) -> Vec<U> {
    let are_few = all.len() < MANY;
    let work = || all.into_iter().map(work).collect();
    if are_few { work() } else { elsewhere(work).await }
}

/// Computes something on another thread. It must take longer than to begin one.
pub(crate) async fn elsewhere<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    // A thread of its own: one of the runtime's may be at work on a save, and each that allocates much has a heap of its own.
    let (done, result) = oneshot::channel();
    let work = move || _ = done.send(catch_unwind(AssertUnwindSafe(work)));
    thread::spawn(work);
    match result.await {
        Ok(Ok(done)) => done,
        Ok(Err(panic)) => resume_unwind(panic),
        // It has ended with the process, and nobody waits for it.
        Err(_) => pending().await,
    }
}
