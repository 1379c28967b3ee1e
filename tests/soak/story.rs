//! A simulated day: an estate that lives, a run every 20 minutes, and one kind of trouble.

use std::time::Duration;

use azure_incremental::config::Mode;
use azure_incremental::error::Exit;
use azure_incremental::{Vanished, Work};
use sandbox::Sandbox;
use sandbox::clock::Clock;
use sandbox::life;
use sandbox::requests::Route;
use sandbox::rng::Rng;
use sandbox::settings::{EstateSize, Lags, QuotaSettings, Settings};
use tokio::runtime::Runtime;

use super::engine::{Ended, go, trust};
use super::trouble::{Course, Trouble};
use super::workflows::{self, Workflow};

pub(crate) const MINUTE: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_secs(20 * 60);
const TICKS_A_DAY: usize = 72;

/// When stories begin, in milliseconds since the epoch: with each seed at another minute of an hour, and the same in each run.
const BEGINNING: i64 = 1_780_000_000_000;
const SEVEN_MINUTES: i64 = 7 * 60_000;

/// Runs after the trouble.
const CALM_TICKS: usize = 3;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub(crate) struct Story {
    seed: u64,
    pub(crate) trouble: Trouble,
    pub(crate) course: Course,
    pub(crate) rng: Rng,
    pub(crate) runtime: Runtime,
    pub(crate) sandbox: Sandbox,
    pub(crate) workflows: Vec<Workflow>,
    /// The workflows that run.
    pub(crate) active: Vec<usize>,
    /// What the last run took that was not cut off.
    pub(crate) steps: u64,
    log: Vec<String>,
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

impl Story {
    pub(crate) fn seeds() -> Vec<u64> {
        match setting("SOAK_SEED") {
            Some(seed) => vec![seed],
            None => (1..=setting("SOAK_SEEDS").unwrap_or(2)).collect(),
        }
    }

    pub(crate) fn new(seed: u64, trouble: Trouble) -> Self {
        println!("{trouble:?}, SOAK_SEED={seed}");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let mut settings = Settings {
            seed,
            clock: Clock::at(BEGINNING + i64::try_from(seed).unwrap() * SEVEN_MINUTES),
            estate: EstateSize { subscriptions: 4, groups: 16, resources: 200 },
            lags: Lags { record: trouble.record_lag(), row: trouble.row_lag() },
            ..Settings::default()
        };
        // Nobody waits for it, and after a refusal neither: the time of the quota is the real one.
        settings.azure.quota = Some(QuotaSettings { queries: 10_000, window: Duration::ZERO });
        // The time of Port's limits is the real one as well.
        settings.port.api.rates = None;
        settings.net.own_runtime = true;
        let sandbox = runtime.block_on(Sandbox::start(settings)).unwrap();
        trust(&sandbox);
        let workflows = workflows::of(trouble, &sandbox);
        let active = if trouble == Trouble::Identity { vec![0] } else { (0..workflows.len()).collect() };
        let (course, rng, log) = (Course::default(), Rng::new(seed ^ 0x5eed), Vec::new());
        Self { seed, trouble, course, rng, runtime, sandbox, workflows, active, steps: 0, log }
    }

    /// The whole of it: the days, then calm, then the comparison.
    pub(crate) fn live(mut self) {
        self.tick();
        let ticks = setting("SOAK_TICKS").map_or(TICKS_A_DAY, |ticks| usize::try_from(ticks).unwrap());
        for tick in 0..ticks {
            self.change(tick);
            let (skipped, late) = match self.trouble {
                Trouble::Ticks => (self.rng.one_in(4), self.rng.one_in(4)),
                _ => (false, false),
            };
            if late {
                let delay = self.rng.between(&(MINUTE..=60 * MINUTE));
                self.sandbox.clock().advance(delay);
            }
            self.trouble_begins(tick);
            if !skipped {
                self.tick();
            }
        }
        self.trouble_ends();
        self.resend();
        let mut exits = Vec::new();
        for _ in 0..CALM_TICKS {
            exits = self.calm_tick(TICK);
        }
        if self.trouble.is_left_to_a_full_run() {
            // What only its absence tells takes half an hour more.
            for wait in [DAY, 2 * TICK, TICK] {
                exits = self.calm_tick(wait);
            }
        }
        assert!(
            exits.iter().all(|exit| *exit == Some(Exit::Ok)),
            "the last run, seed {}: {:#?}",
            self.seed,
            self.tail()
        );
        self.compare();
        // What a resource tells of its group has no record of its own, and goes with the next full run.
        for workflow in &mut self.workflows {
            workflow.config.mode = Mode::Full;
        }
        self.calm_tick(TICK);
        self.compare();
        let before = self.received();
        self.calm_tick(TICK);
        let after = self.received();
        assert_eq!(after, before, "a full run over an unchanged estate posts, seed {}: {:#?}", self.seed, self.tail());
    }

    /// 20 minutes pass, and the estate changes all along.
    fn change(&mut self, tick: usize) {
        for _ in 0..3 {
            self.sandbox.clock().advance(TICK / 3);
            life::tick(&mut self.sandbox.estate(), &mut self.rng, 2);
        }
        if self.trouble == Trouble::Burst && tick % 30 == 15 {
            life::burst(&mut self.sandbox.estate(), &mut self.rng, 3000);
        }
        if self.trouble == Trouble::Subscriptions && self.rng.one_in(6) {
            life::upheaval(&mut self.sandbox.estate(), &mut self.rng);
        }
    }

    fn tick(&mut self) {
        for workflow in self.active.clone() {
            let steps = self.cut();
            self.go(workflow, &Work::Sync, steps);
        }
    }

    /// A run of each workflow to its end, so long after the last.
    fn calm_tick(&mut self, wait: Duration) -> Vec<Option<Exit>> {
        self.sandbox.clock().advance(wait);
        let active = self.active.clone();
        active.into_iter().map(|workflow| self.go(workflow, &Work::Sync, None)).collect()
    }

    /// What Port rejected is sent again, now that it would take it.
    fn resend(&mut self) {
        let refused = std::mem::take(&mut self.course.refused);
        if !refused.is_empty() {
            self.go(self.active[0], &Work::Resend { ids: refused, vanished: Vanished::Delete }, None);
        }
    }

    /// One run; its exit, where it came to one. An exit of 0 must mean that Port has taken all that it says.
    fn go(&mut self, workflow: usize, work: &Work, steps: Option<u64>) -> Option<Exit> {
        let before = self.received();
        let (ended, steps) = go(&self.workflows[workflow].config, work, steps);
        let after = self.received();
        self.sandbox.port().apply_late();
        let now = self.sandbox.clock().http_date();
        match ended {
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
                    // Over the API one post carries many.
                    let most = if self.trouble == Trouble::Entities { 100 } else { 1 };
                    assert!(report.upserts + report.deletes <= (after - before) * most, "{:#?}", self.tail());
                }
                Some(report.exit)
            }
        }
    }

    /// How many envelopes Port has received so far, or requests that write entities or delete them.
    fn received(&self) -> u64 {
        let requests = self.sandbox.requests();
        let writes = [Route::PortBulk, Route::PortDelete].map(|route| requests.count(route));
        self.sandbox.port().received().0 + writes.iter().sum::<u64>()
    }

    fn compare(&self) {
        self.runtime.block_on(self.sandbox.port().settle());
        let mut active = self.active.iter().map(|workflow| &self.workflows[*workflow].scope);
        let mut expected = self.sandbox.expected(active.next().unwrap());
        for scope in active {
            expected.catalog.entities.extend(self.sandbox.expected(scope).catalog.entities);
        }
        let differences = self.sandbox.port().with_catalog(|catalog| sandbox::expected::diff(catalog, &expected));
        assert!(
            differences.is_empty(),
            "{:?}, SOAK_SEED={}: {} differences: {:#?}\n{:#?}",
            self.trouble,
            self.seed,
            differences.len(),
            &differences[..differences.len().min(10)],
            self.tail()
        );
    }

    fn tail(&self) -> &[String] {
        &self.log[self.log.len().saturating_sub(30)..]
    }
}
