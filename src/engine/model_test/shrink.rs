//! Makes a failing history as short and simple as possible.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::play::Play;
use super::text::{Filter, Setup, Step, Tick};
use crate::engine::rules::{Rule, without};

/// What is wrong after a history, if anything, with all rules or without one. A panic is wrong, too.
pub(super) fn wrong(setup: &Setup, steps: &[Step], rule: Option<Rule>) -> Vec<String> {
    let play = || {
        let mut play = Play::new(setup);
        play.steps(steps);
        play.finish()
    };
    let played = catch_unwind(AssertUnwindSafe(|| without(rule, play)));
    played.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        vec![format!("it panics: {}", text.unwrap_or("without a word"))]
    })
}

/// Drops steps, and simplifies the remaining ones and the world, as long as the history stays bad.
pub(super) fn shrink(
    mut setup: Setup,
    mut steps: Vec<Step>,
    is_bad: impl Fn(&Setup, &[Step]) -> bool,
) -> (Setup, Vec<Step>) {
    loop {
        let before = (setup.clone(), steps.clone());
        steps = shorter(&setup, steps, &is_bad);
        for at in 0..steps.len() {
            while let Some(simple) = simpler(&steps[at]).into_iter().find_map(|step| {
                let mut simple = steps.clone();
                simple[at] = step;
                is_bad(&setup, &simple).then_some(simple)
            }) {
                steps = simple;
            }
        }
        let simpler_setups: [fn(&Setup) -> Setup; 10] = [
            |setup| Setup { flickers: false, ..setup.clone() },
            |setup| Setup { daily: false, ..setup.clone() },
            |setup| Setup { cascades: false, ..setup.clone() },
            |setup| Setup { relates: false, ..setup.clone() },
            |setup| Setup { scope: Filter::All, ..setup.clone() },
            |setup| Setup { together: 1, ..setup.clone() },
            |setup| Setup { loose: 0, ..setup.clone() },
            |setup| Setup { shards: 1, ..setup.clone() },
            |setup| Setup { containers: 1, ..setup.clone() },
            |setup| Setup { leaves: 1, ..setup.clone() },
        ];
        for simple in simpler_setups {
            if is_bad(&simple(&setup), &steps) {
                setup = simple(&setup);
            }
        }
        if (&before.0, &before.1) == (&setup, &steps) {
            return (setup, steps);
        }
    }
}

fn shorter(setup: &Setup, mut steps: Vec<Step>, is_bad: &impl Fn(&Setup, &[Step]) -> bool) -> Vec<Step> {
    let mut size = (steps.len() / 2).max(1);
    while size > 0 {
        let mut at = 0;
        while at < steps.len() {
            let mut less = steps.clone();
            less.drain(at..(at + size).min(steps.len()));
            if is_bad(setup, &less) {
                steps = less;
            } else {
                at += size;
            }
        }
        size /= 2;
    }
    steps
}

/// Simpler steps to replace one.
fn simpler(step: &Step) -> Vec<Step> {
    match step {
        Step::Act(operation) => (0..3)
            .filter(|lag| operation.lags[*lag] != 0)
            .map(|lag| {
                let mut simple = operation.clone();
                simple.lags[lag] = 0;
                Step::Act(simple)
            })
            .collect(),
        Step::Wait(minutes) => [20, 180].into_iter().filter(|less| less < minutes).map(Step::Wait).collect(),
        Step::Run(tick) => {
            let simple = [
                Tick::default(),
                Tick { seed: None, ..tick.clone() },
                Tick { cut: None, ..tick.clone() },
                Tick { lazy: false, ..tick.clone() },
                Tick { fail: None, ..tick.clone() },
                Tick { lost: None, ..tick.clone() },
                Tick { late: None, ..tick.clone() },
                Tick { during: None, ..tick.clone() },
                Tick { full: false, ..tick.clone() },
                Tick { forget: None, ..tick.clone() },
            ];
            simple.into_iter().filter(|simple| simple != tick).map(Step::Run).collect()
        }
        _ => Vec::new(),
    }
}

/// A history in readable form, which can be replayed.
pub(super) fn tell(setup: &Setup, steps: &[Step], wrong: &[String]) -> String {
    let steps: Vec<String> = steps.iter().map(ToString::to_string).collect();
    format!("  in {setup}\n    {}\n  it ends with: {}", steps.join(";\n    "), wrong.join("; "))
}
