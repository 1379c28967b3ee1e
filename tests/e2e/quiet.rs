//! A run with nothing to do.

use std::collections::HashSet;

use sandbox::Host;
use sandbox::requests::Route;

use crate::harness::{DAY, MINUTE, Program, settled, start};
use crate::remembered::{confirmed, entries, remembering};

#[tokio::test]
async fn a_run_with_nothing_to_do_signs_in_lists_the_subscriptions_and_asks_three_questions() {
    let sandbox = start(settled()).await;
    sandbox.clock().advance(DAY);
    let run = Program::new(&sandbox).run().await.exits(0);
    let asked: Vec<u64> = Route::ALL.into_iter().map(|route| sandbox.requests().count(route)).collect();
    assert_eq!(asked, [1, 1, 3, 0], "{run}");
    assert_eq!(sandbox.connections(Host::Port), 0, "not even a connection; {run}");
    assert_eq!((run.count("queries"), run.count("rows"), run.count("upserts")), (3, 0, 0));
}

/// Child and extension types have change records but never a row.
#[tokio::test]
async fn records_of_what_never_has_a_row_cost_two_queries_at_most_and_one_of_a_type_is_remembered() {
    let sandbox = start(settled()).await;
    confirmed(&sandbox).await;
    let parents: Vec<_> = sandbox.estate().resources().keys().cloned().collect();
    let types = sandbox.estate().resources().values().map(|one| one.kind.name.clone()).collect::<HashSet<_>>().len();
    let held = entries(&sandbox).await.len();
    for tick in 0..6 {
        sandbox.clock().advance(15 * MINUTE);
        for number in 0..500 {
            let (parent, name) = (&parents[number % parents.len()], format!("rule-{tick}-{number}"));
            assert!(sandbox.estate().record_child(parent, "firewallRules", &name, "Create"));
        }
        let run = remembering(&sandbox).run().await.exits(0);
        // The overlap's records are read in parts of about 930.
        let parts = run.count("rows").div_ceil(930);
        assert!(run.count("queries") <= 3 + parts + 2 && run.count("upserts") == 0, "{run}");
        assert!(run.err.contains("Resource Graph has no rows of"), "{run}");
    }
    assert_eq!(entries(&sandbox).await.len(), held + types);
}
