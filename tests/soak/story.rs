//! A simulated day: an estate that lives, a run every quarter of an hour, and one kind of trouble.

use std::time::Duration;

use azure_incremental::cli::Settings as Flags;
use azure_incremental::config::Config;
use azure_incremental::error::Exit;
use sandbox::clock::Clock;
use sandbox::expected::Scope;
use sandbox::faults::{Fault, Rule};
use sandbox::life;
use sandbox::requests::Route;
use sandbox::rng::Rng;
use sandbox::settings::{EstateSize, Lags, Settings};
use sandbox::{Host, Sandbox};
use tokio::runtime::Runtime;

use super::engine::{Ended, config, go, trust};

const MINUTE: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_secs(15 * 60);
const TICKS_A_DAY: usize = 96;

/// What befalls a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    None,
    /// Ticks come up to an hour late, or are dropped.
    Ticks,
    /// 429, 503 and broken connections on both sides.
    Errors,
    /// Port is down for runs on end.
    Outages,
    /// Runs are cut off.
    Kills,
    /// A tag filter.
    Tags,
    TagsAndKills,
    /// A type filter.
    Types,
    /// 3,000 changes between two ticks.
    Burst,
    /// Subscriptions appear, vanish and come back.
    Subscriptions,
    /// Two workflows with different filters feed one catalog.
    TwoWorkflows,
}

pub(crate) struct Story {
    seed: u64,
    trouble: Trouble,
    rng: Rng,
    runtime: Runtime,
    sandbox: Sandbox,
    workflows: Vec<Workflow>,
    log: Vec<String>,
}

struct Workflow {
    config: Config,
    scope: Scope,
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
            clock: Clock::stopped(),
            estate: EstateSize { subscriptions: 4, groups: 16, resources: 200 },
            lags: Lags { record: Duration::ZERO..=60 * MINUTE, row: Duration::ZERO..=10 * MINUTE },
            ..Settings::default()
        };
        settings.azure.quota = None;
        settings.net.own_runtime = true;
        let sandbox = runtime.block_on(Sandbox::start(settings)).unwrap();
        trust(&sandbox);
        let workflow = |name: &str, flags: Flags, scope: Scope| {
            let file = sandbox.directory().join(format!("{name}.json"));
            let flags = Flags { checkpoint_file: Some(file.display().to_string()), ..flags };
            Workflow { config: config(&sandbox, flags), scope }
        };
        let production = || Scope { include: vec![("environment".into(), "production".into())], ..Scope::default() };
        let in_production = || Flags {
            resource_group_tag_filters: Some(r#"{"include": {"ENVIRONMENT": "Production"}}"#.into()),
            ..Flags::default()
        };
        let workflows = match trouble {
            Trouble::Tags | Trouble::TagsAndKills => vec![workflow("tags", in_production(), production())],
            Trouble::Types => {
                let types = ["Microsoft.Storage/storageAccounts", "microsoft.keyvault/vaults"];
                let flags = Flags { resource_types: Some(types.join(",")), ..Flags::default() };
                let scope = Scope { types: types.map(str::to_lowercase).into(), ..Scope::default() };
                vec![workflow("types", flags, scope)]
            }
            Trouble::TwoWorkflows => {
                let keep = |flags| Flags { out_of_scope: Some("keep".into()), ..flags };
                let others = Flags {
                    resource_group_tag_filters: Some(r#"{"exclude": {"Environment": "production"}}"#.into()),
                    ..Flags::default()
                };
                let rest = Scope { exclude: vec![("environment".into(), "production".into())], ..Scope::default() };
                vec![workflow("tags", keep(in_production()), production()), workflow("rest", keep(others), rest)]
            }
            _ => vec![workflow("all", Flags::default(), Scope::default())],
        };
        Self { seed, trouble, rng: Rng::new(seed ^ 0x5eed), runtime, sandbox, workflows, log: Vec::new() }
    }

    /// The whole of it: the days, then calm until everything shows, then the comparison.
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
        let settled_at = self.sandbox.estate().settled_at();
        while self.sandbox.clock().now_ms() <= settled_at {
            self.sandbox.clock().advance(TICK);
            self.tick();
        }
        self.sandbox.clock().advance(TICK);
        for workflow in 0..self.workflows.len() {
            let exit = self.go(workflow, None);
            assert_eq!(exit, Some(Exit::Ok), "the last run, seed {}: {:#?}", self.seed, self.tail());
        }
        self.compare();
    }

    /// A quarter of an hour passes, and the estate changes all along.
    fn change(&mut self, tick: usize) {
        for _ in 0..5 {
            self.sandbox.clock().advance(TICK / 5);
            life::tick(&mut self.sandbox.estate(), &mut self.rng, 2);
        }
        if self.trouble == Trouble::Burst && tick % 40 == 20 {
            life::burst(&mut self.sandbox.estate(), &mut self.rng, 3000);
        }
        if self.trouble == Trouble::Subscriptions && self.rng.one_in(6) {
            life::upheaval(&mut self.sandbox.estate(), &mut self.rng);
        }
    }

    fn trouble_begins(&mut self, tick: usize) {
        match self.trouble {
            Trouble::Errors if tick == 0 => {
                for (route, chance) in [(Route::Graph, 0.15), (Route::Subscriptions, 0.1), (Route::Webhook, 0.1)] {
                    let faults = self.sandbox.faults();
                    faults.add(route, Rule::new(Fault::retry_after(429, "0")).chance(chance / 2.0));
                    faults.add(route, Rule::new(Fault::status(503)).chance(chance));
                    faults.add(route, Rule::new(Fault::Reset).chance(chance / 2.0));
                    // Port has taken it, and nobody hears of it.
                    faults.add(route, Rule::new(Fault::ResetInBody).chance(chance / 2.0).applied());
                }
            }
            Trouble::Outages => {
                let down = self.rng.one_in(3);
                let host = self.sandbox.set_up(Host::Port, !down);
                self.runtime.block_on(host);
            }
            _ => {}
        }
    }

    fn trouble_ends(&mut self) {
        self.sandbox.faults().clear();
        self.runtime.block_on(self.sandbox.set_up(Host::Port, true));
    }

    fn tick(&mut self) {
        for workflow in 0..self.workflows.len() {
            let kills = matches!(self.trouble, Trouble::Kills | Trouble::TagsAndKills) && self.rng.one_in(2);
            let steps = kills.then(|| self.rng.below(400) as u64);
            self.go(workflow, steps);
        }
    }

    /// One run; its exit, where it came to one. An exit of 0 must mean that Port has taken all that it says.
    fn go(&mut self, workflow: usize, steps: Option<u64>) -> Option<Exit> {
        let (before, _) = self.sandbox.port().received();
        let ended = go(&self.workflows[workflow].config, steps);
        let (after, _) = self.sandbox.port().received();
        let now = self.sandbox.clock().http_date();
        match ended {
            Ended::Killed => {
                self.log.push(format!("{now}: killed after {} posts", after - before));
                None
            }
            Ended::Reported(report) => {
                self.log.push(format!(
                    "{now}: {} {}+{} of {} posts, {} unresolved, {} skipped, {} in doubt: {}",
                    report.mode,
                    report.upserts,
                    report.deletes,
                    after - before,
                    report.unresolved,
                    report.skipped,
                    report.compared.map_or(0, |compared| compared.in_doubt),
                    report.exit
                ));
                if report.exit == Exit::Ok {
                    assert_eq!(report.failed, 0);
                    assert!(report.errors.is_empty());
                    assert!(report.upserts + report.deletes <= after - before, "{:#?}", self.tail());
                }
                Some(report.exit)
            }
        }
    }

    fn compare(&self) {
        self.runtime.block_on(self.sandbox.port().settle());
        let mut expected = self.sandbox.expected(&self.workflows[0].scope);
        for workflow in &self.workflows[1..] {
            expected.catalog.entities.extend(self.sandbox.expected(&workflow.scope).catalog.entities);
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
