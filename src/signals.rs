//! What can end the process early: SIGINT, SIGTERM and the run timeout. A separate thread watches for them, so that the
//! process ends in time even if other threads block.

use std::io::{self, Write};
use std::sync::mpsc;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::sync::oneshot;

use crate::error::{Exit, Stop};

/// How long a run may take to end once asked. After 10 s, for example Docker kills it.
const ENDING: Duration = Duration::from_secs(9);

/// How long the last words may take.
const SPEAKING: Duration = Duration::from_millis(500);

/// A running watch. Until a run begins, a signal ends the process at once.
pub struct Watch {
    runs: oneshot::Sender<Running>,
}

/// A run that can be stopped, and what to print if it does not end.
struct Running {
    time: Option<Duration>,
    stop: oneshot::Sender<Stop>,
    final_message: Box<dyn FnOnce(Stop) + Send>,
}

/// Starts watching. From here on no signal is lost, even for PID 1 in a container, where signals have no default
/// action.
pub fn watch() -> io::Result<Watch> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (runs, run) = oneshot::channel();
    let signals = {
        let _inside = runtime.enter();
        Signals::new()?
    };
    std::thread::Builder::new().spawn(move || runtime.block_on(guard(signals, run)))?;
    Ok(Watch { runs })
}

impl Watch {
    /// Resolves when the run that begins now must stop, because of a signal or because its time is up. If it does not
    /// end soon after, its `final_message` is printed and the process exits. A second signal exits at once.
    pub fn run(
        self,
        time: Option<Duration>,
        final_message: impl FnOnce(Stop) + Send + 'static,
    ) -> impl Future<Output = Stop> {
        let (stop, stopped) = oneshot::channel();
        // If the thread has ended, the process is about to end too.
        _ = self.runs.send(Running { time, stop, final_message: Box::new(final_message) });
        async {
            let Ok(stop) = stopped.await else { return std::future::pending().await };
            if stop != Stop::TimedOut {
                tracing::warn!("{stop}; shutting down; a second signal exits at once");
            }
            stop
        }
    }
}

async fn guard(mut signals: Signals, run: oneshot::Receiver<Running>) {
    let Running { time, stop, final_message } = tokio::select! {
        signal = signals.next() => {
            say(move || _ = writeln!(io::stderr(), "stopped by {}", name(signal)));
            leave(signal)
        }
        Ok(running) = run => running,
    };
    let why = tokio::select! {
        signal = signals.next() => signal,
        () = sleep(time) => Stop::TimedOut,
    };
    // A run that has just finished no longer listens.
    _ = stop.send(why);
    tokio::select! {
        signal = signals.next() => leave(signal),
        () = sleep(Some(ENDING)) => {
            say(move || final_message(why));
            leave(why)
        }
    }
}

async fn sleep(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

/// On its own thread, because writing may block.
fn say(words: impl FnOnce() + Send + 'static) {
    let (said, wait) = mpsc::channel();
    std::thread::spawn(move || {
        words();
        _ = said.send(());
    });
    _ = wait.recv_timeout(SPEAKING);
}

fn leave(why: Stop) -> ! {
    std::process::exit(Exit::from(why).code().into())
}

fn name(signal: Stop) -> &'static str {
    if signal == Stop::Terminated { "SIGTERM" } else { "SIGINT" }
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) -> Stop {
        tokio::select! {
            _ = self.interrupt.recv() => Stop::Interrupted,
            _ = self.terminate.recv() => Stop::Terminated,
        }
    }
}

#[cfg(windows)]
struct Signals(tokio::signal::windows::CtrlC);

#[cfg(windows)]
impl Signals {
    fn new() -> io::Result<Self> {
        tokio::signal::windows::ctrl_c().map(Self)
    }

    async fn next(&mut self) -> Stop {
        _ = self.0.recv().await;
        Stop::Interrupted
    }
}
