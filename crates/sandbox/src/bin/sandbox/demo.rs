//! The demo: a full run over a fresh estate, then incremental runs while it lives, each compared with the truth.
use std::io::{self, Write as _};
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use sandbox::Sandbox;
use sandbox::clock::Clock;
use sandbox::expected::Scope;
use sandbox::life;
use sandbox::rng::Rng;
use sandbox::settings::{EstateSize, Lags, Settings};
use tokio::process::Command;

const MINUTE: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_secs(15 * 60);
const TICKS: usize = 3;
const CHANGES_A_TICK: usize = 60;
/// How many differences are worth showing.
const SHOWN: usize = 20;

pub(crate) async fn run(binary: &Path, seed: u64) -> io::Result<ExitCode> {
    let started = Instant::now();
    // Everything that happens in the first five minutes of a tick shows before its run.
    let lags = Lags { record: Duration::ZERO..=8 * MINUTE, row: Duration::ZERO..=2 * MINUTE };
    let estate = EstateSize { subscriptions: 4, groups: 40, resources: 1_200 };
    let settings = Settings { seed, clock: Clock::stopped(), estate, lags, ..Settings::default() };
    let sandbox = Sandbox::start(settings).await?;
    let mut out = io::stdout();
    writeln!(out, "A small Azure and a small Port on loopback, over TLS (seed {seed}).")?;
    writeln!(out, "The catalog is compared with the estate after every run, entity by entity.")?;

    title(&mut out, "Full run")?;
    let mut equal = step(&sandbox, binary, "full", &mut out).await?;
    let mut rng = Rng::new(seed);
    for tick in 1..=TICKS {
        if !equal {
            break;
        }
        let mut changes = CHANGES_A_TICK;
        while changes > 0 {
            let some = changes.min(CHANGES_A_TICK / 5);
            life::tick(&mut sandbox.estate(), &mut rng, some);
            sandbox.clock().advance(MINUTE);
            changes -= some;
        }
        sandbox.clock().advance(TICK - 5 * MINUTE);
        title(&mut out, &format!("{} minutes and {} changes later", tick * 15, tick * CHANGES_A_TICK))?;
        equal = step(&sandbox, binary, "incremental", &mut out).await?;
    }
    writeln!(out, "\n{:.1} s in all.", started.elapsed().as_secs_f64())?;
    Ok(if equal { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn title(out: &mut impl io::Write, text: &str) -> io::Result<()> {
    writeln!(out, "\n── {text} {}", "─".repeat(76_usize.saturating_sub(text.chars().count())))
}

/// One run of the program, its report, and the comparison; whether all is well.
async fn step(sandbox: &Sandbox, binary: &Path, mode: &str, out: &mut impl io::Write) -> io::Result<bool> {
    let run = Command::new(binary)
        .args(["--mode", mode])
        .env_clear()
        .envs(sandbox.env())
        .env("CHANGE_WINDOW_MINUTES", "45")
        .env("RUST_LOG", "warn")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .await
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", binary.display())))?;
    for line in String::from_utf8_lossy(&run.stdout).lines() {
        writeln!(out, "   {line}")?;
    }
    let differences = sandbox.diff(&Scope::default()).await;
    let entities = sandbox.port().with_catalog(|catalog| catalog.entities.len());
    if !run.status.success() {
        writeln!(out, " ✘ the program failed: {}", run.status)?;
        return Ok(false);
    }
    if differences.is_empty() {
        writeln!(out, " ✔ the catalog equals the estate: {entities} entities")?;
        return Ok(true);
    }
    writeln!(out, " ✘ the catalog differs from the estate in {} places:", differences.len())?;
    for line in differences.iter().take(SHOWN) {
        writeln!(out, "   {line}")?;
    }
    Ok(false)
}
