//! Runs one process to completion and measures it from outside.
use std::fs;
use std::io;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The cost of a run.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) wall: Duration,
    /// User and system time of all threads.
    pub(crate) processor: Duration,
    /// Peak resident memory, in bytes.
    pub(crate) peak: u64,
}

/// The interval at which the peak is read. It only grows, so at most its last growth is missed.
const LOOK: Duration = Duration::from_millis(3);

/// Runs a command and requires success.
pub(crate) fn run(command: &mut Command) -> io::Result<Run> {
    run_to(command, 0)
}

/// Runs a command and requires this exit code.
pub(crate) fn run_to(command: &mut Command, code: i32) -> io::Result<Run> {
    let before = children_ticks()?;
    let started = Instant::now();
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn()?;
    let status = format!("/proc/{}/status", child.id());
    let watch = thread::spawn(move || {
        let mut peak = 0;
        while let Some(now) = fs::read_to_string(&status).ok().as_deref().and_then(high_water) {
            peak = now;
            thread::sleep(LOOK);
        }
        peak
    });
    let output = child.wait_with_output()?;
    let wall = started.elapsed();
    let peak = watch.join().unwrap_or_default();
    let processor = Duration::from_millis((children_ticks()? - before) * 1000 / TICKS_A_SECOND);
    if output.status.code() != Some(code) {
        let told = String::from_utf8_lossy(&output.stdout);
        return Err(io::Error::other(format!("{:?} failed, {}: {told}", command.get_program(), output.status)));
    }
    Ok(Run { wall, processor, peak })
}

/// `USER_HZ`, which is 100 on all Linux platforms that Rust supports.
const TICKS_A_SECOND: u64 = 100;

/// Processor time of the children that were waited for: fields 16 and 17 in proc_pid_stat(5).
fn children_ticks() -> io::Result<u64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    Ok(after_name.split_whitespace().skip(13).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum())
}

fn high_water(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kb| kb << 10)
}
