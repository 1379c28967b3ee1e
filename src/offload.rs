//! Runs long computations on another thread, while the run's own thread continues with its requests.

use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{LazyLock, mpsc};
use std::thread;

use tokio::sync::oneshot;

/// Below this number, moving the work costs more than doing it.
const MANY: usize = 50;

type Job = Box<dyn FnOnce() + Send>;

/// The only other thread. It is not one of the runtime's, which may be busy with a save. One is enough: each would keep
/// its own heap, as large as its largest allocation.
static OTHER: LazyLock<mpsc::Sender<Job>> = LazyLock::new(|| {
    let (jobs, queue) = mpsc::channel::<Job>();
    thread::spawn(move || queue.into_iter().for_each(|job| job()));
    jobs
});

/// Computes a result for each item, on the other thread if there are many.
pub(crate) async fn each<T: Send + 'static, U: Send + 'static>(
    all: Vec<T>,
    work: impl FnMut(T) -> U + Send + 'static,
) -> Vec<U> {
    let are_few = all.len() < MANY;
    let work = || all.into_iter().map(work).collect();
    if are_few { work() } else { elsewhere(work).await }
}

/// Computes a result on the other thread, after the jobs already queued there.
pub(crate) async fn elsewhere<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, result) = oneshot::channel();
    let job = move || _ = done.send(catch_unwind(AssertUnwindSafe(work)));
    // The thread ends only with the process.
    _ = OTHER.send(Box::new(job));
    match result.await {
        Ok(Ok(done)) => done,
        Ok(Err(panic)) => resume_unwind(panic),
        Err(_) => pending().await,
    }
}
