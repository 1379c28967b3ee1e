//! Each rule of the replica is needed: a history ends right with it, and wrong or at a higher cost without it.

use super::histories::history;
use super::number;
use super::play::{Costs, Play};
use super::shrink::{shrink, tell, wrong};
use super::text::{self, Setup, Step};
use crate::engine::rules::{Rule, without};

/// Histories after which the catalog is wrong without the rule.
const NEEDED: &[(Rule, &str, &str)] = &[
    (Rule::Overlap, "", "update s0/g0/r0 6600,0,0; run; run"),
    (Rule::Proof, "", "run; run; drop s0/g0; fault short s0; wait 180; run"),
    (Rule::Cover, "", "run; run; fault uncovered s0; update s0/g0; wait 180; run"),
    (Rule::Daily, "daily", "run; run; silent s0/g0/r0; wait 1560; run"),
    (Rule::Suspects, "full", "run; vanish s0/g0/r0"),
    (Rule::Noted, "", "run; run; fault hide s0/g0; update s0/g0; wait 180; fault flaky s0; run seed=5"),
    (Rule::FullRecords, "", "run; lose; drop s0/g0; wait 180"),
    (Rule::Retention, "", "run; lose; drop s0/g0; wait 180"),
    (Rule::Old, "", "run; update s0/g0/r0; wait 20; run; back 1; update s0/g0/r0; wait 11520"),
    (Rule::Sink, "", "run; sink b"),
    (Rule::Scope, "shards=2 containers=2", "run; run; scope 1"),
    (Rule::Fresh, "", "run; update s0/g0/r0; wait 20; run; back 1; update s0/g0/r0; wait 20"),
    (Rule::GoneFresh, "", "run; create s0/g0/r2; wait 20; run; back 1; delete s0/g0/r2"),
    (Rule::Tombstone, "", "run; drop s0/g0 0,0,1800; lose; run"),
    (Rule::KnownSince, "leaves=2 scope=1", "run; tag s0/g0; lose; delete s0/g0/r1 0,0,6600; run"),
    (Rule::Reread, "scope=1", "run; tag s0/g0; wait 20; run; back 1; tag s0/g0"),
    (Rule::Differs, "scope=1", "run; create s0/g0/r1; update s0/g0; run; tag s0/g0 0,0,720; back 2; run"),
    (Rule::OneWrite, "scope=1", "run; tag s0/g0; lose"),
    (
        Rule::OwnScope,
        "scope=1",
        "run; fault fail s0/g0/r0; scope 0; run; mend fail; scope 1; wait 180; fault hiderow s0/g0; run",
    ),
    (Rule::GoneChildren, "leaves=5", "run; dropq s0/g0"),
    (Rule::Along, "", "run; run; dropq s0/g0; fault poison s0/g0; wait 180; run"),
    (
        Rule::Proven,
        "leaves=5",
        "run; delete s0/g0/r0; delete s0/g0/r1; delete s0/g0/r2; delete s0/g0/r3; delete s0/g0/r4; fault down; wait 20; run; wait 180; run",
    ),
    (Rule::Wait, "", "run; fault hide s0/g0; run full"),
    (Rule::Guard, "leaves=5", "run; fault hide s0/g0; wait 20; run full; wait 40; run; wait 40; run"),
    (Rule::Watch, "", "run; fault hide s0/g0; run full; wait 60; run"),
    (
        Rule::RestartWatch,
        "",
        "run; wait 20; update s0/g0/r0; fault hiderow s0/g0/r0; run; wait 2760; run; wait 180; run",
    ),
    (Rule::WatchNew, "", "run; fault hiderow s0/g0/r2; create s0/g0/r2; wait 20; run; wait 180; run"),
    (Rule::DoubtHeld, "", "run; run; fault hiderow s0/g0/r0; update s0/g0/r0; wait 20; run; wait 180; run"),
    (Rule::AskUnknown, "containers=2 relates", "run fail=3; run late=1"),
    (Rule::Intend, "shards=3 together=2", "run fail=5; fault down; run"),
    (Rule::Relation, "containers=2 relates", "run late=3"),
    (
        Rule::Once,
        "leaves=3 flickers",
        "run; run; wait 180; update s0/g0/r0 0,6600,0; update s0/g0/r1 0,6600,0; run late=2 seed=2",
    ),
];

/// The cost of a history from its mark on.
type Cost = fn(&Costs) -> u64;

const POSTS: Cost = |costs| costs.posts;
const FULL_READS: Cost = |costs| costs.full_reads;

/// Histories that cost at most this much, and more without the rule.
const CHEAP: &[(Rule, &str, &str, Cost, u64)] = &[
    (
        Rule::KnownOut,
        "containers=2 leaves=3 scope=1",
        "run; wait 180; run; mark; delete s0/g1/r0; delete s0/g1/r1; run",
        POSTS,
        0,
    ),
    (
        Rule::There,
        "containers=2 leaves=2",
        "run; mark; update s0; wait 20; run lost=1; wait 20; run; wait 20; run",
        POSTS,
        2,
    ),
    (
        Rule::Order,
        "containers=2 leaves=4 scope=1 relates",
        "run; mark; tag s0/g1; wait 20; run; wait 20; run; wait 20; run",
        POSTS,
        5,
    ),
    (
        Rule::Covering,
        "shards=2 together=2",
        "run; run; mark; fault hiderow s1/g0/r0; update s1/g0/r0; wait 20; run; fault flaky s1; wait 60; run seed=5",
        POSTS,
        0,
    ),
    (Rule::Refused, "", "fault refuse s0/g0/r0; run; mark; wait 20; run full; wait 20; run full", POSTS, 0),
    (
        Rule::Tombstone,
        "leaves=3",
        "run; fault short s0; mark; delete s0/g0/r0; delete s0/g0/r1; wait 20; run; wait 20; run; wait 20; run; wait 20; run",
        POSTS,
        2,
    ),
    (
        Rule::Poison,
        "leaves=3",
        "fault poison s0/g0/r0; mark; wait 20; run; wait 20; run; wait 20; run; wait 20; run",
        FULL_READS,
        2,
    ),
];

fn cost(setup: &Setup, steps: &[Step], rule: Option<Rule>, cost: Cost) -> u64 {
    without(rule, || {
        let mut play = Play::new(setup);
        play.steps(steps);
        cost(&play.judge.borrow().costs)
    })
}

#[test]
fn each_rule_is_needed() {
    let mut failures = Vec::new();
    for (rule, setup, steps) in NEEDED {
        let (setup, steps) = (text::setup(setup), text::steps(steps));
        let with = wrong(&setup, &steps, None);
        if !with.is_empty() {
            failures.push(format!("{rule:?} does not help: {}", with.join("; ")));
        }
        if wrong(&setup, &steps, Some(*rule)).is_empty() {
            failures.push(format!("{rule:?} is not needed"));
        }
    }
    for (rule, setup, steps, of, most) in CHEAP {
        let (setup, steps) = (text::setup(setup), text::steps(steps));
        let (with, less) = (cost(&setup, &steps, None, *of), cost(&setup, &steps, Some(*rule), *of));
        if with > *most || less <= *most {
            failures.push(format!("{rule:?}: costs {with}, and {less} without it; at most {most}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// A full run would find it, but that is a day away.
#[test]
fn what_shows_after_the_first_reading_is_found_by_the_next() {
    let (setup, steps) =
        (text::setup("leaves=2"), text::steps("fault hiderow s0/g0/r0; run; mend hiderow; wait 20; run"));
    let differences = |rule| {
        without(rule, || {
            let mut play = Play::new(&setup);
            play.steps(&steps);
            play.differences()
        })
    };
    assert_eq!(differences(None), []);
    assert_eq!(differences(Some(Rule::Confirmed)).len(), 1);
}

/// Searches for the shortest histories that need the rule named by `ENGINE_RULE`.
#[test]
fn a_history_that_needs_a_rule_is_looked_for() {
    let Ok(name) = std::env::var("ENGINE_RULE") else { return };
    let rules = NEEDED.iter().map(|one| one.0).chain(CHEAP.iter().map(|one| one.0));
    let rule = rules.into_iter().find(|rule| format!("{rule:?}") == name).unwrap();
    let is_telling = |setup: &Setup, steps: &[Step]| {
        !wrong(setup, steps, Some(rule)).is_empty() && wrong(setup, steps, None).is_empty()
    };
    let first = number("ENGINE_SEED", 0);
    let seeds = first..first + number("ENGINE_HISTORIES", 5000);
    let telling = seeds.map(history).filter(|(setup, steps)| is_telling(setup, steps));
    let shortest =
        telling.take(6).map(|(setup, steps)| shrink(setup, steps, is_telling)).min_by_key(|(_, steps)| steps.len());
    let found = shortest.map(|(setup, steps)| tell(&setup, &steps, &wrong(&setup, &steps, Some(rule))));
    panic!("{rule:?}:\n{}", found.unwrap_or("no history needs it".into()));
}
