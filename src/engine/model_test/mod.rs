//! Random histories of the engine with a little estate that lies, and a catalog that fails: whatever happened, a few
//! quiet ticks later the catalog is right, and nothing more is posted.
//!
//! `ENGINE_HISTORIES` is the number of histories, `ENGINE_SEED` the first seed. A failure is reported as the shortest
//! history that still fails, as text that `ENGINE_HISTORY` and `ENGINE_SETUP` replay.

mod catalog;
mod end;
mod fakes;
mod histories;
mod measure;
mod memory;
mod play;
mod random;
mod rules;
mod shrink;
mod text;
mod world;

use std::fmt::Write;

use histories::{Profile, history};
use shrink::{shrink, tell, wrong};

/// Failures to show.
const SHOWN: usize = 5;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

#[test]
fn whatever_happens_the_catalog_ends_right() {
    let first = number("ENGINE_SEED", 0);
    let mut failures = 0;
    let mut told = String::new();
    let mut quiet = Quiet::begin();
    for seed in first..first + number("ENGINE_HISTORIES", 5000) {
        let (setup, steps) = history(seed);
        if wrong(&setup, &steps, None).is_empty() {
            continue;
        }
        failures += 1;
        if failures <= SHOWN {
            let (setup, steps) = shrink(setup, steps, |setup, steps| !wrong(setup, steps, None).is_empty());
            let profile = Profile::ALL[usize::try_from(seed % 5).unwrap()];
            let end = wrong(&setup, &steps, None);
            writeln!(told, "seed {seed}, {profile:?}\n{}", tell(&setup, &steps, &end)).unwrap();
        }
    }
    quiet.end();
    assert!(failures == 0, "{failures} histories end wrong\n{told}");
}

#[test]
fn histories_that_ended_wrong_once_end_right() {
    for (setup, steps) in [
        ("", "run; fault poison s0/g0/r2; create s0/g0/r2; wait 180; run"),
        ("loose=1", "run; fault fail s0; update s0; scope 1; run"),
        ("scope=1", "run; create s0/g0/r2; run; back 1; tag s0/g0"),
        ("scope=1", "run; tag s0/g0 0,0,6600; touch s0/g0/r0; lose; run"),
        ("leaves=3", "run; fault short s0; scope 0; run seed=5; sink b; scope all; wait 180; run seed=8"),
        ("containers=2 scope=1", "run; tag s0/g1 1800,0,0; run term=8; wait 180; fault hiderec s0; run"),
        ("", "fault flaky s0; run seed=10; update s0/g0/r0; wait 120"),
        (
            "containers=2 scope=1 flickers plain",
            "run; dropq s0/g1 6600,0,0; run seed=121 full; run seed=122 full; run seed=123 full; run seed=124 full; \
             run seed=125 full; run seed=126 full",
        ),
        ("scope=1 relates", "run; tag s0/g0; fault refuse s0/g0; run; back 1; tag s0/g0; run"),
        ("leaves=4", "run; fault poison s0/g0; dropq s0/g0 0,0,0; wait 180; run"),
        (
            "shards=2 leaves=2 scope=1 flickers plain",
            "run; update s0 0,0,0; tag s0/g0 720,0,0; run seed=696841; run seed=918204",
        ),
        ("leaves=4", "run; fault unlisted s0; fault lose s0/g0; run forget=s0 kill=20; mend unlisted; run"),
        ("scope=1", "run; fault fail s0/g0/r0; scope 0; run; mend fail; scope 1; wait 180; fault hiderow s0/g0; run"),
    ] {
        let (setup, steps) = (text::setup(setup), text::steps(steps));
        let end = wrong(&setup, &steps, None);
        assert!(end.is_empty(), "\n{}", tell(&setup, &steps, &end));
    }
}

#[test]
fn a_history_that_is_told_is_played_again() {
    let Ok(told) = std::env::var("ENGINE_HISTORY") else { return };
    let setup = text::setup(&std::env::var("ENGINE_SETUP").unwrap_or_default());
    let steps = text::steps(&told);
    let end = wrong(&setup, &steps, None);
    assert!(end.is_empty(), "\n{}", tell(&setup, &steps, &end));
}

/// While histories are tried, a panic is a result, and not reported.
struct Quiet(Option<Hook>);

type Hook = Box<dyn Fn(&std::panic::PanicHookInfo<'_>) + Sync + Send>;

impl Quiet {
    fn begin() -> Self {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        Self(Some(hook))
    }

    fn end(&mut self) {
        if let Some(hook) = self.0.take() {
            std::panic::set_hook(hook);
        }
    }
}
