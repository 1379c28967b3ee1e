//! A run with nothing to do.

use sandbox::Host;
use sandbox::requests::Route;

use crate::harness::{DAY, Program, settled, start};

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
