//! The demo: a first run over a fresh estate, then runs while it lives, one of them behind a firewall that lets no post through.
//! After each, the catalog is compared with the truth.
use std::io::{self, Stdout, Write as _};
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use sandbox::Sandbox;
use sandbox::clock::Clock;
use sandbox::expected::Scope;
use sandbox::faults::{Fault, Rule};
use sandbox::life;
use sandbox::requests::Route;
use sandbox::rng::Rng;
use sandbox::settings::{EstateSize, Lags, Settings};
use tokio::process::Command;

const MINUTE: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_secs(15 * 60);
const CHANGES: usize = 60;
/// How many differences, and lines of a log, are worth showing.
const SHOWN: usize = 3;

struct Demo<'a> {
    sandbox: Sandbox,
    binary: &'a Path,
    /// Where it keeps its checkpoint.
    folder: &'a Path,
    out: Stdout,
}

/// How a run is to end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// With exit code 0, and a catalog that equals the estate.
    Equal,
    /// With exit code 1, and a catalog that does not.
    Behind,
}

pub(crate) async fn run(binary: &Path, seed: u64) -> io::Result<ExitCode> {
    let started = Instant::now();
    // Everything that happens in the first five minutes of a tick shows before its run.
    let lags = Lags { record: Duration::ZERO..=8 * MINUTE, row: Duration::ZERO..=2 * MINUTE };
    let estate = EstateSize { subscriptions: 4, groups: 40, resources: 1_200 };
    let settings = Settings { seed, clock: Clock::stopped(), estate, lags, ..Settings::default() };
    let folder = tempfile::tempdir()?;
    let sandbox = Sandbox::start(settings).await?;
    let binary = &binary.canonicalize()?;
    let mut demo = Demo { sandbox, binary, folder: folder.path(), out: io::stdout() };
    writeln!(demo.out, "A small Azure and a small Port on loopback, over TLS (seed {seed}).")?;
    writeln!(demo.out, "The catalog is compared with the estate after every run, entity by entity.")?;
    let is_good = demo.play(&mut Rng::new(seed)).await?;
    writeln!(demo.out, "\n{:.1} s in all.", started.elapsed().as_secs_f64())?;
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Demo<'_> {
    /// Whether every run ended as it should.
    async fn play(&mut self, rng: &mut Rng) -> io::Result<bool> {
        let mut is_good = self.step("First run: there is no checkpoint yet", End::Equal).await?;
        self.live(rng);
        is_good &= self.step("15 minutes and 60 changes later", End::Equal).await?;
        self.live(rng);
        let firewall = self.sandbox.faults().add(Route::Webhook, Rule::new(Fault::status(403)).after(CHANGES / 2));
        let title = "15 minutes and 60 changes later, behind a firewall (403)";
        is_good &= self.step(title, End::Behind).await?;
        self.sandbox.faults().remove(firewall);
        self.sandbox.clock().advance(TICK);
        is_good &= self.step("15 minutes later, the firewall has gone", End::Equal).await?;
        self.sandbox.clock().advance(TICK);
        is_good &= self.step("15 minutes later, nothing has changed", End::Equal).await?;
        Ok(is_good)
    }

    /// A tick of changes.
    fn live(&self, rng: &mut Rng) {
        for _ in 0..5 {
            life::tick(&mut self.sandbox.estate(), rng, CHANGES / 5);
            self.sandbox.clock().advance(MINUTE);
        }
        self.sandbox.clock().advance(TICK - 5 * MINUTE);
    }

    /// One run of the program, its report, and the comparison; whether it ended as it should.
    async fn step(&mut self, title: &str, end: End) -> io::Result<bool> {
        let Self { sandbox, binary, folder, out } = self;
        writeln!(out, "\n── {title} {}", "─".repeat(76_usize.saturating_sub(title.chars().count())))?;
        let run = Command::new(*binary)
            .env_clear()
            .envs(sandbox.env())
            .env("CHECKPOINT_FILE", "checkpoint.redb")
            .env("RUST_LOG", "warn")
            .current_dir(folder)
            .stdin(Stdio::null())
            .output()
            .await
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", binary.display())))?;
        some(out, &String::from_utf8_lossy(&run.stderr))?;
        for line in String::from_utf8_lossy(&run.stdout).lines() {
            writeln!(out, "   {line}")?;
        }
        let differences = sandbox.diff(&Scope::default()).await;
        let entities = sandbox.port().with_catalog(|catalog| catalog.entities.len());
        let code = run.status.code();
        if differences.is_empty() {
            writeln!(out, " ✔ the catalog equals the estate: {entities} entities")?;
        } else {
            let mark = if end == End::Behind { "–" } else { "✘" };
            writeln!(out, " {mark} the catalog differs from the estate in {} places:", differences.len())?;
            some(out, &differences.join("\n"))?;
        }
        let is_good = match end {
            End::Equal => code == Some(0) && differences.is_empty(),
            End::Behind => code == Some(1) && !differences.is_empty(),
        };
        if !is_good {
            writeln!(out, " ✘ the program ended with {}", run.status)?;
        } else if end == End::Behind {
            writeln!(out, " ✔ the exit code says so: 1")?;
        }
        Ok(is_good)
    }
}

/// The first lines of a text.
fn some(out: &mut Stdout, text: &str) -> io::Result<()> {
    for line in text.lines().take(SHOWN) {
        let start: String = line.chars().take(100).collect();
        let cut = if start.len() < line.len() { "…" } else { "" };
        writeln!(out, "   {start}{cut}")?;
    }
    match text.lines().count().saturating_sub(SHOWN) {
        0 => Ok(()),
        more => writeln!(out, "   … and {more} more lines"),
    }
}
