//! The demo: a first run over a fresh estate, then runs while it changes, one of them behind a firewall that blocks all
//! posts. After each, the catalog is compared with the truth. Entra ID follows, then Port's API.
use std::io::{self, Stdout, Write as _};
use std::path::Path;
use std::process::{ExitCode, Output, Stdio};
use std::time::{Duration, Instant};

use sandbox::Sandbox;
use sandbox::clock::Clock;
use sandbox::directory::Kind;
use sandbox::expected::{DirectoryScope, Scope};
use sandbox::faults::{Fault, Rule};
use sandbox::life;
use sandbox::requests::Route;
use sandbox::rng::Rng;
use sandbox::settings::{EstateSize, Lags, Settings};
use tokio::process::Command;

const MINUTE: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_secs(15 * 60);
const CHANGES: usize = 60;
/// How many differences or log lines to show.
const SHOWN: usize = 3;

struct Demo<'a> {
    sandbox: Sandbox,
    binary: &'a Path,
    /// The folder of the checkpoint.
    folder: &'a Path,
    out: Stdout,
    way: Way,
}

/// How entities are sent to Port.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Webhook,
    /// Including Entra ID.
    WithEntra,
    Api,
}

/// The example mapping.
const ENTITIES: &str = include_str!("../../../../../examples/port/entities.yml");

/// How a run should end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// With exit code 0, and a catalog that equals the estate.
    Equal,
    /// With exit code 1, and a catalog that does not.
    Behind,
}

pub(crate) async fn run(binary: &Path, seed: u64) -> io::Result<ExitCode> {
    let started = Instant::now();
    // Everything that happens in the first five minutes of a tick is visible before its run.
    let lags = Lags { record: Duration::ZERO..=8 * MINUTE, row: Duration::ZERO..=2 * MINUTE };
    let estate = EstateSize { subscriptions: 4, groups: 40, resources: 1_200 };
    let mut settings = Settings { seed, clock: Clock::stopped(), estate, lags, ..Settings::default() };
    settings.port.add_entra(false);
    let folder = tempfile::tempdir()?;
    let sandbox = Sandbox::start(settings).await?;
    let binary = &binary.canonicalize()?;
    let mut demo = Demo { sandbox, binary, folder: folder.path(), out: io::stdout(), way: Way::Webhook };
    writeln!(demo.out, "A small Azure and a small Port on loopback, over TLS (seed {seed}).")?;
    writeln!(demo.out, "The catalog is compared with the estate after every run, entity by entity.")?;
    let is_good = demo.play(&mut Rng::new(seed)).await?;
    writeln!(demo.out, "\n{:.1} s in all.", started.elapsed().as_secs_f64())?;
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Demo<'_> {
    /// Returns whether every run ended as expected.
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
        self.way = Way::WithEntra;
        is_good &= self.step("Users, groups and applications of Entra ID as well", End::Equal).await?;
        self.hire();
        is_good &= self.step("15 minutes, a joiner, a leaver and a new name later", End::Equal).await?;
        is_good &= self.drift("How far is Port from both? By the webhook's own mapping").await?;
        self.way = Way::Api;
        self.sandbox.port().clear().map_err(io::Error::other)?;
        is_good &= self.step("An empty Port, and entities over its API by a mapping file", End::Equal).await?;
        is_good &= self.drift("How far is Port from Azure? By the mapping file").await?;
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

    /// A tick in which a person joins, one leaves and one is renamed.
    fn hire(&self) {
        let mut tenant = self.sandbox.tenant();
        let (users, groups) = (tenant.ids(Kind::User), tenant.ids(Kind::Group));
        if let ([leaver, renamed, ..], [group, ..]) = (users.as_slice(), groups.as_slice()) {
            let joiner = tenant.create_user("Ada Joiner");
            tenant.join(*group, joiner);
            tenant.delete(*leaver);
            tenant.rename(*renamed, "Grace Renamed");
        }
        self.sandbox.clock().advance(TICK);
    }

    /// Runs the program's own comparison; returns whether it finds no difference.
    async fn drift(&mut self, title: &str) -> io::Result<bool> {
        let run = self.run(title, &["drift"]).await?;
        if !run.status.success() {
            writeln!(self.out, " ✘ the program ended with {}", run.status)?;
        }
        Ok(run.status.success())
    }

    /// Runs the program and shows its output.
    async fn run(&mut self, title: &str, arguments: &[&str]) -> io::Result<Output> {
        let Self { sandbox, binary, folder, out, way } = self;
        writeln!(out, "\n── {title} {}", "─".repeat(76_usize.saturating_sub(title.chars().count())))?;
        let mut command = Command::new(*binary);
        command.args(arguments).env_clear().envs(sandbox.env()).envs(sandbox.port_env()).env("RUST_LOG", "warn");
        match way {
            Way::Webhook => command.env("CHECKPOINT_FILE", "checkpoint.redb"),
            Way::WithEntra => command.env("CHECKPOINT_FILE", "checkpoint.redb").env("ENTRA_KINDS", "all"),
            Way::Api => {
                std::fs::write(folder.join("entities.yml"), ENTITIES)?;
                command
                    .env_remove("PORT_WEBHOOK_INGEST_URL")
                    .env("MAPPING_FILE", "entities.yml")
                    .env("CHECKPOINT_FILE", "entities.redb")
            }
        };
        let run = command
            .current_dir(folder)
            .stdin(Stdio::null())
            .output()
            .await
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", binary.display())))?;
        some(out, &String::from_utf8_lossy(&run.stderr))?;
        for line in String::from_utf8_lossy(&run.stdout).lines() {
            writeln!(out, "   {line}")?;
        }
        Ok(run)
    }

    /// Runs the program, shows its report and compares the catalog; returns whether it ended as expected.
    async fn step(&mut self, title: &str, end: End) -> io::Result<bool> {
        let run = self.run(title, &[]).await?;
        let Self { sandbox, out, way, .. } = self;
        let mut differences = sandbox.diff(&Scope::default()).await;
        if *way == Way::WithEntra {
            differences.extend(sandbox.diff_of_tenant(&DirectoryScope::default()).await);
        }
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

/// Prints the first lines of a text.
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
