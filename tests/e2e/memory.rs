//! The memory of a full run over a large estate.

use std::time::Duration;

use sandbox::expected::Scope;
use sandbox::settings::EstateSize;

use crate::harness::{Program, settled, start};

/// The limit for release builds. Test builds have more code in memory: 34 MB at 1,000 resources, where little is held,
/// 38.3 MB at 5,000 and 40.8 MB at 20,000.
const MOST_KB: u64 = 28 * 1024 + if cfg!(debug_assertions) { 16 * 1024 } else { 0 };

/// The peak memory of a process so far, in KiB; `None` once it has ended.
fn peak(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

/// The kernel tracks the peak itself, so occasional reads miss none, except in the last moments, when everything has
/// been read and sent.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_run_over_20_000_resources_is_complete_in_28_mb() {
    let mut settings = settled();
    settings.estate = EstateSize { subscriptions: 4, groups: 200, resources: 20_000 };
    settings.frozen = true;
    settings.port.record = false;
    let sandbox = start(settings).await;
    let child = Program::full(&sandbox).into_command().spawn().unwrap();
    let process = child.id().unwrap();
    let watch = async {
        let mut most = 0;
        let mut often = tokio::time::interval(Duration::from_millis(5));
        loop {
            often.tick().await;
            match peak(process) {
                Some(now) => most = now,
                None => return most,
            }
        }
    };
    let (output, most) = tokio::join!(child.wait_with_output(), watch);
    let output = output.unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{said}");
    let differences = sandbox.diff(&Scope::default()).await;
    assert!(differences.is_empty(), "{} differences, such as {:?}; {said}", differences.len(), differences.first());
    println!("{most} KiB at the most");
    assert!(most > 1024, "the peak was seen: {most} KiB");
    assert!(most <= MOST_KB, "{most} KiB at the most; {said}");
}
