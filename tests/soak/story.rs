//! Simulated days: a changing estate or tenant, a run every 20 minutes, and one kind of trouble.

use std::fmt::Debug;
use std::time::Duration;

use azure_incremental::Work;
use azure_incremental::config::Mode;
use azure_incremental::error::Exit;
use sandbox::clock::Clock;
use sandbox::expected::Expected;
use sandbox::requests::Route;
use sandbox::rng::Rng;
use sandbox::settings::Settings;
use sandbox::{Host, Sandbox};
use tokio::runtime::Runtime;

use super::checkpoints::Snapshot;
use super::engine::{Ended, go, trust};
use super::workflow::Workflow;

pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const TICK: Duration = Duration::from_secs(20 * 60);
pub(crate) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The start time of stories, in milliseconds since the epoch. Each seed starts at a different minute, reproducibly.
const BEGINNING: i64 = 1_780_000_000_000;
const SEVEN_MINUTES: i64 = 7 * 60_000;

/// The subject of a story: an estate or a tenant, and its trouble.
pub(crate) trait Plot: Copy + Debug + 'static {
    /// What a workflow is configured to sync.
    type Scope;
    /// The state of the trouble.
    type Course: Default;

    /// How many seeds run with the other tests, and for how many ticks.
    fn length(self) -> (u64, usize);

    /// The size of the world, and its behaviour.
    fn settings(self, settings: Settings) -> Settings;

    /// All workflows.
    fn workflows(self, sandbox: &Sandbox) -> Vec<Workflow<Self::Scope>>;

    /// The indexes of those that run at the beginning.
    fn active(self, workflows: usize) -> Vec<usize> {
        (0..workflows).collect()
    }

    /// One run in this many is killed.
    fn kills(self) -> usize;

    /// The most changes in one post.
    fn carries(self) -> u64 {
        1
    }

    /// Advances 20 minutes, with changes throughout.
    fn change(story: &mut Story<Self>, tick: usize);

    /// Applies the trouble to a tick; returns whether its runs start.
    fn befall(story: &mut Story<Self>, tick: usize) -> bool;

    /// Repairs everything and makes it visible.
    fn calm_down(story: &mut Story<Self>);

    /// The intervals between the runs that follow.
    fn calm(self) -> Vec<Duration>;

    /// Checks what must hold after each run.
    fn check(_: &mut Story<Self>) {}

    /// The expected catalog.
    fn expected(story: &Story<Self>) -> Expected;

    /// Explains the differences of the catalog.
    fn explain(_: &Story<Self>, _: &[String]) -> Vec<String> {
        Vec::new()
    }
}

pub(crate) struct Story<P: Plot> {
    seed: u64,
    pub(crate) plot: P,
    pub(crate) course: P::Course,
    pub(crate) rng: Rng,
    pub(crate) runtime: Runtime,
    pub(crate) sandbox: Sandbox,
    pub(crate) workflows: Vec<Workflow<P::Scope>>,
    /// The workflows that run.
    pub(crate) active: Vec<usize>,
    /// The steps of the last run that was not killed.
    steps: u64,
    /// The start of the last run that left nothing to do.
    pub(crate) right_at: i64,
    pub(crate) snapshots: Vec<Snapshot>,
    log: Vec<String>,
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

impl<P: Plot> Story<P> {
    /// Plays the story of each seed.
    pub(crate) fn tell(plot: P) {
        let (seeds, ticks) = plot.length();
        let ticks = setting("SOAK_TICKS").map_or(ticks, |ticks| usize::try_from(ticks).unwrap());
        let seeds = match setting("SOAK_SEED") {
            Some(seed) => vec![seed],
            None => (1..=setting("SOAK_SEEDS").unwrap_or(seeds)).collect(),
        };
        for seed in seeds {
            Self::new(seed, plot).live(ticks);
        }
    }

    fn new(seed: u64, plot: P) -> Self {
        println!("{plot:?}, SOAK_SEED={seed}");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let begins_at = BEGINNING + i64::try_from(seed).unwrap() * SEVEN_MINUTES;
        let mut settings = Settings { seed, clock: Clock::at(begins_at), ..Settings::default() };
        settings.net.own_runtime = true;
        let sandbox = runtime.block_on(Sandbox::start(plot.settings(settings))).unwrap();
        trust(&sandbox);
        let workflows = plot.workflows(&sandbox);
        Self {
            seed,
            plot,
            course: P::Course::default(),
            rng: Rng::new(seed ^ 0x5eed),
            runtime,
            sandbox,
            active: plot.active(workflows.len()),
            workflows,
            steps: 0,
            right_at: begins_at,
            snapshots: Vec::new(),
            log: Vec::new(),
        }
    }

    /// The whole story: the days, then calm, then the comparison.
    fn live(mut self, ticks: usize) {
        self.tick();
        for tick in 0..ticks {
            P::change(&mut self, tick);
            if P::befall(&mut self, tick) {
                self.tick();
            }
        }
        self.sandbox.faults().clear();
        for host in [Host::Port, Host::PortApi] {
            self.runtime.block_on(self.sandbox.set_up(host, true));
        }
        P::calm_down(&mut self);
        let mut exits = Vec::new();
        for wait in self.plot.calm() {
            exits = self.calm_tick(wait);
        }
        assert!(
            exits.iter().all(|exit| *exit == Some(Exit::Ok)),
            "the last run, seed {}: {:#?}",
            self.seed,
            self.tail()
        );
        self.compare();
        // A resource's data about its group has no record of its own, and is sent by the next full run.
        for workflow in &mut self.workflows {
            workflow.config.mode = Mode::Full;
        }
        self.calm_tick(TICK);
        self.compare();
        let before = self.received();
        self.calm_tick(TICK);
        let after = self.received();
        assert_eq!(after, before, "a full run over an unchanged world posts, seed {}: {:#?}", self.seed, self.tail());
    }

    fn tick(&mut self) {
        for workflow in self.active.clone() {
            let steps = self.cut();
            self.go(workflow, &Work::Sync, steps);
        }
    }

    /// The number of steps after which to kill a run, if at all.
    fn cut(&mut self) -> Option<u64> {
        self.rng.one_in(self.plot.kills()).then(|| self.rng.below(usize::try_from(self.steps).unwrap()) as u64)
    }

    /// Runs each workflow to its end, this long after the last run.
    fn calm_tick(&mut self, wait: Duration) -> Vec<Option<Exit>> {
        self.sandbox.clock().advance(wait);
        let active = self.active.clone();
        active.into_iter().map(|workflow| self.go(workflow, &Work::Sync, None)).collect()
    }

    /// Runs once; returns the exit, if there was one. An exit of 0 must mean that Port has accepted everything
    /// reported.
    pub(crate) fn go(&mut self, workflow: usize, work: &Work, steps: Option<u64>) -> Option<Exit> {
        let before = self.received();
        let begins_at = self.sandbox.clock().now_ms();
        let (ended, steps) = go(&self.workflows[workflow].config, work, steps);
        let after = self.received();
        self.runtime.block_on(self.sandbox.port().apply_late());
        let now = self.sandbox.clock().http_date();
        let exit = match ended {
            Ended::Killed => {
                self.log.push(format!("{now}: killed after {} posts", after - before));
                None
            }
            Ended::Reported(report) => {
                self.steps = steps;
                self.log.push(format!(
                    "{now}: {} {}+{} of {} posts, {} unresolved, {} skipped, {} in doubt: {} {:?}",
                    report.mode,
                    report.upserts,
                    report.deletes,
                    after - before,
                    report.unresolved,
                    report.skipped,
                    report.compared.map_or(0, |compared| compared.in_doubt),
                    report.exit,
                    report.errors
                ));
                if report.exit == Exit::Ok {
                    assert_eq!(report.failed, 0);
                    assert!(report.errors.is_empty());
                    let most = self.plot.carries();
                    assert!(report.upserts + report.deletes <= (after - before) * most, "{:#?}", self.tail());
                }
                Some(report.exit)
            }
        };
        P::check(self);
        if exit == Some(Exit::Ok) {
            self.right_at = begins_at;
        }
        exit
    }

    /// The number of envelopes that Port has received so far, or of requests that write or delete entities.
    fn received(&self) -> u64 {
        let requests = self.sandbox.requests();
        let writes = [Route::PortBulk, Route::PortDelete].map(|route| requests.count(route));
        self.sandbox.port().received().0 + writes.iter().sum::<u64>()
    }

    fn compare(&self) {
        self.runtime.block_on(self.sandbox.port().settle());
        let expected = P::expected(self);
        let differences = self.sandbox.port().with_catalog(|catalog| sandbox::expected::diff(catalog, &expected));
        assert!(
            differences.is_empty(),
            "{:?}, SOAK_SEED={}: {} differences: {:#?}\n{:#?}\n{:#?}",
            self.plot,
            self.seed,
            differences.len(),
            &differences[..differences.len().min(10)],
            P::explain(self, &differences),
            self.tail()
        );
    }

    pub(crate) fn tail(&self) -> &[String] {
        &self.log[self.log.len().saturating_sub(30)..]
    }
}
