//! What takes long to compute, done on another thread: the run's own goes on with its requests meanwhile.

use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{LazyLock, mpsc};
use std::thread;

use tokio::sync::oneshot;

/// Of fewer, the computing takes less than handing it over.
const MANY: usize = 50;

type Job = Box<dyn FnOnce() + Send>;

/// The one other thread. It is none of the runtime's, which may be at work on a save; and there are no more, as each has a heap of
/// its own, as large as what it once allocated.
static OTHER: LazyLock<mpsc::Sender<Job>> = LazyLock::new(|| {
    let (jobs, queue) = mpsc::channel::<Job>();
    thread::spawn(move || queue.into_iter().for_each(|job| job()));
    jobs
});

/// Computes something of each, on the other thread where they are many.
pub(crate) async fn each<T: Send + 'static, U: Send + 'static>(
    all: Vec<T>,
    work: impl FnMut(T) -> U + Send + 'static,
) -> Vec<U> {
    let are_few = all.len() < MANY;
    let work = || all.into_iter().map(work).collect();
    if are_few { work() } else { elsewhere(work).await }
}

/// Computes something on the other thread, after what that has to do before.
pub(crate) async fn elsewhere<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, result) = oneshot::channel();
    let job = move || _ = done.send(catch_unwind(AssertUnwindSafe(work)));
    // It ends with the process only.
    _ = OTHER.send(Box::new(job));
    match result.await {
        Ok(Ok(done)) => done,
        Ok(Err(panic)) => resume_unwind(panic),
        Err(_) => pending().await,
    }
}
