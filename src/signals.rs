//! SIGINT and SIGTERM: the first asks the run to end in good order, the second ends it at once.

use crate::error::{Exit, Stop};

/// Ready when the process is asked to stop.
pub async fn stop() -> Stop {
    let stop = signalled().await;
    tracing::warn!("{stop}; shutting down; a second signal exits at once");
    tokio::spawn(async {
        let exit = match signalled().await {
            Stop::Interrupted | Stop::TimedOut => Exit::Interrupted,
            Stop::Terminated => Exit::Terminated,
        };
        std::process::exit(exit.code().into());
    });
    stop
}

#[cfg(unix)]
async fn signalled() -> Stop {
    use tokio::signal::unix::{SignalKind, signal};
    match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
        (Ok(mut interrupt), Ok(mut terminate)) => tokio::select! {
            _ = interrupt.recv() => Stop::Interrupted,
            _ = terminate.recv() => Stop::Terminated,
        },
        // Without a handler a signal ends the process at once, which loses nothing either.
        _ => std::future::pending().await,
    }
}

#[cfg(not(unix))]
async fn signalled() -> Stop {
    match tokio::signal::ctrl_c().await {
        Ok(()) => Stop::Interrupted,
        Err(_) => std::future::pending().await,
    }
}
