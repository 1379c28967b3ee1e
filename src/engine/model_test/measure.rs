//! Measures costs: idle runs, runs that are cut short, and an entity that never gets through.

use super::play::Play;
use super::text::{setup, steps};

fn played(world: &str, history: &str) -> Play {
    let mut play = Play::new(&setup(world));
    go_on(&mut play, history);
    play
}

fn go_on(play: &mut Play, history: &str) {
    play.steps(&steps(history));
}

fn differences(play: &Play) -> Vec<String> {
    play.differences().iter().map(ToString::to_string).collect()
}

const ESTATE: &str = "shards=2 containers=3 leaves=3 loose=1 together=2";

#[test]
fn a_run_with_nothing_new_posts_and_asks_nothing() {
    let mut play = played(ESTATE, "run; wait 20; run; wait 20; mark; run");
    let costs = play.judge.borrow().costs;
    assert_eq!((costs.posts, costs.asked, costs.full_reads), (0, 0, 0));
    go_on(&mut play, "mark; wait 20; run full");
    let costs = play.judge.borrow().costs;
    assert_eq!((costs.posts, costs.asked, costs.full_reads), (0, 0, 1));
}

#[test]
fn a_first_run_that_is_cut_again_and_again_gets_whole() {
    // What was in flight at a cut is posted again: one post, or after a kill everything since the last page was written
    // down.
    for (cut, at, redundant) in [("term", 28, 1), ("kill", 32, 3)] {
        let mut play = played(ESTATE, "");
        let mut runs = 0;
        while !differences(&play).is_empty() {
            go_on(&mut play, &format!("run {cut}={at}; wait 20"));
            runs += 1;
            assert!(runs < 60, "{cut}: {:?}", differences(&play));
        }
        let costs = play.judge.borrow().costs;
        assert!(costs.redundant <= redundant * (runs - 1), "{cut}: {} redundant posts in {runs} runs", costs.redundant);
    }
}

/// Nine days of ticks, with a full run a day and an occasional change elsewhere: what the bad entity costs.
fn nine_days_with(fault: &str) -> (u64, usize) {
    let bad = "s0/g0/r0";
    let mut play = played(ESTATE, &format!("run; fault {fault} {bad}; update {bad}; mark"));
    let mut changes = 0;
    let mut most = 0;
    for tick in 0..9 * 72 {
        let before = play.judge.borrow().costs.posts;
        let mut wanted = 1;
        if tick % 7 == 0 {
            go_on(&mut play, "update s0/g0/r1");
            changes += 1;
            wanted += 1;
        }
        go_on(&mut play, if tick % 72 == 0 { "wait 20; run full" } else { "wait 20; run" });
        let posts = play.judge.borrow().costs.posts - before;
        assert!(posts <= wanted, "{fault}: {posts} posts in tick {tick}");
        most = most.max(play.world.borrow().asked);
        let others: Vec<String> = differences(&play).into_iter().filter(|what| !what.starts_with(bad)).collect();
        assert!(others.is_empty(), "{fault}: {others:?}");
    }
    let costs = play.judge.borrow().costs;
    assert_eq!(costs.full_reads, 9, "{fault}");
    (costs.posts - changes, most)
}

#[test]
fn an_entity_that_never_comes_through_costs_its_own_retry() {
    assert_eq!(nine_days_with("fail"), (648, 1));
    assert_eq!(nine_days_with("refuse").0, 1);
    assert_eq!(nine_days_with("refuse-all").0, 1);
    assert_eq!(nine_days_with("poison"), (0, 1));
    assert_eq!(nine_days_with("hiderow").1, 1);
}

#[test]
fn a_catalog_that_is_down_is_tried_once_a_run() {
    let mut play = played(ESTATE, "run; fault down; update s0/g0/r0; mark");
    go_on(&mut play, &"wait 20; run; ".repeat(20));
    assert_eq!(play.judge.borrow().costs.posts, 20);
}

#[test]
fn of_two_records_with_the_same_time_the_delete_is_the_earlier_one() {
    let history = "twin s0/g0/r0; wait 180; fault hiderow s0/g0/r0; run";
    for breaks_ties in [true, false] {
        let mut play = played("", "");
        play.world.borrow_mut().breaks_ties = breaks_ties;
        go_on(&mut play, history);
        assert_eq!(play.finish().is_empty(), breaks_ties);
    }
}
