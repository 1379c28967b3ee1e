//! The fault matrix: what a run makes of every way in which each of its requests can fail.
//!
//! A full run goes well, the estate changes, the next run meets the fault in every attempt; then all is well again, and the run
//! after that must have mended the catalog.

use std::time::Duration;

use azure_incremental::cli::Settings as Flags;
use azure_incremental::config::Config;
use azure_incremental::report::Report;
use serde_json::Value as Json;

use crate::engine::{Ended, alone, config, go, trust};
use crate::harness::{DAY, MINUTE, empty};
use crate::sandbox::expected::Scope;
use crate::sandbox::faults::{Fault, Rule};
use crate::sandbox::requests::Route;
use crate::sandbox::{Host, Sandbox};

/// Rows: the request. Columns: the fault. What must come of it is below.
const MATRIX: &str = "
                refuse  hang  reset  reset-in-body  400  401  403  404  408  413  429  500  503  garbage
Token             f      f      f         f          c    c    c    c    f    c    f    f    f      f
Subscriptions     f      f      f         f          f    c    f    f    f    f    f    f    f      f
Graph             f      f      f         f          f    c    f    f    f    f    f    f    f      f
Webhook           d      d      d         d          r    w    w    w    d    r    d    d    d      o
";

/// The exit code, whether the checkpoint moves, and what the report says.
fn expected(cell: &str, route: Route, fault: &str) -> (u8, bool, &'static str) {
    let cause = match fault {
        "refuse" => "no connection",
        "hang" => "no answer within",
        "reset" | "reset-in-body" => "the connection broke",
        "garbage" => "cannot be understood",
        _ => "status",
    };
    match (cell, route) {
        ("f", _) => (1, false, cause),
        ("c", Route::Token) => (3, false, "Azure refused the credentials: status"),
        ("c", _) => (3, false, "status 401"),
        ("d", _) => (1, false, ""),
        ("w", _) => (1, false, "says that it is not one, or not yours"),
        ("r", _) => (4, true, "Port refused 1 envelopes for themselves"),
        ("o", _) => (0, true, ""),
        _ => panic!("no such cell: {cell}"),
    }
}

fn fault(name: &str) -> Option<Fault> {
    Some(match name {
        "refuse" => return None,
        "hang" => Fault::Hang,
        "reset" => Fault::Reset,
        "reset-in-body" => Fault::ResetInBody,
        "garbage" => Fault::Garbage,
        status => Fault::status(status.parse().unwrap()),
    })
}

struct Trial {
    sandbox: Sandbox,
    config: Config,
}

impl Trial {
    fn new(runtime: &tokio::runtime::Runtime) -> Self {
        let mut settings = empty();
        settings.net.own_runtime = true;
        let sandbox = runtime.block_on(Sandbox::start(settings)).unwrap();
        let group = {
            let mut estate = sandbox.estate();
            let subscription = estate.add_subscription("One", None);
            estate.create_group(&subscription, "rg", "westeurope", None).unwrap()
        };
        for name in ["first", "second"] {
            sandbox.estate().create_resource(&group, "microsoft.keyvault/vaults", name, "eastus", None).unwrap();
        }
        sandbox.clock().advance(DAY);
        trust(&sandbox);
        let checkpoint = sandbox.directory().join("checkpoint.json").display().to_string();
        let mut config = config(&sandbox, Flags { checkpoint_file: Some(checkpoint), ..Flags::default() });
        config.limits.retries = 2;
        config.limits.azure_timeout = Duration::from_millis(250);
        config.limits.sign_in_timeout = Duration::from_millis(400);
        config.limits.post_timeout = Duration::from_millis(250);
        let trial = Self { sandbox, config };
        assert_eq!(trial.run().exit.code(), 0);
        for name in ["third", "fourth"] {
            trial.sandbox.estate().create_resource(&group, "microsoft.keyvault/vaults", name, "eastus", None).unwrap();
        }
        trial.sandbox.clock().advance(15 * MINUTE);
        trial
    }

    fn run(&self) -> Report {
        match go(&self.config, None) {
            Ended::Reported(report) => *report,
            Ended::Killed => panic!("nobody killed it"),
        }
    }

    /// From when on each subscription is read next.
    fn marks(&self) -> Vec<Json> {
        let bytes = std::fs::read(self.sandbox.directory().join("checkpoint.json")).unwrap();
        let checkpoint: Json = serde_json::from_slice(&bytes).unwrap();
        checkpoint["subscriptions"].as_object().unwrap().values().map(|mark| mark["since"].clone()).collect()
    }

    /// A run that meets the fault in every attempt of the request.
    fn meet(&self, route: Route, fault: Option<Fault>, runtime: &tokio::runtime::Runtime) -> Report {
        let host = match route {
            Route::Token => Host::SignIn,
            Route::Subscriptions | Route::Graph => Host::ResourceManager,
            Route::Webhook => Host::Port,
        };
        let rule = |fault: Fault| {
            let rule = Rule::new(fault);
            // One envelope of several; where the answer makes no sense it was taken all the same.
            if route == Route::Webhook { rule.containing("third").applied() } else { rule }
        };
        match fault {
            Some(fault) => {
                _ = self.sandbox.faults().add(route, rule(fault));
                self.run()
            }
            None if route == Route::Graph => std::thread::scope(|scope| {
                // It is on the host of the listing, which must have answered before it goes.
                _ = self.sandbox.faults().add(route, rule(Fault::Hang));
                scope.spawn(|| {
                    while self.sandbox.requests().count(Route::Graph) == 0 {
                        std::thread::sleep(Duration::from_millis(2));
                    }
                    runtime.block_on(self.sandbox.set_up(host, false));
                });
                self.run()
            }),
            None => {
                runtime.block_on(self.sandbox.set_up(host, false));
                self.run()
            }
        }
    }
}

#[test]
fn every_fault_of_every_request_ends_as_the_matrix_says() {
    alone("matrix::every_fault_of_every_request_ends_as_the_matrix_says", || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let mut lines = MATRIX.trim_matches('\n').lines();
        let faults: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
        let mut wrong = Vec::new();
        for line in lines {
            let mut cells = line.split_whitespace();
            let name = cells.next().unwrap();
            let route = Route::ALL.into_iter().find(|route| format!("{route:?}") == name).unwrap();
            let cells: Vec<&str> = cells.collect();
            assert_eq!(cells.len(), faults.len(), "{line}");
            for (fault_name, cell) in faults.iter().zip(cells) {
                let trial = Trial::new(&runtime);
                trial.sandbox.requests().clear();
                let before = trial.marks();
                let report = trial.meet(route, fault(fault_name), &runtime);
                let moved = trial.marks() != before;
                let (exit, moves, said) = expected(cell, route, fault_name);
                let errors = report.errors.join("\n");
                if report.exit.code() != exit || moved != moves || !errors.contains(said) {
                    wrong.push(format!(
                        "{name} × {fault_name}: exit {} and moved {moved}, not exit {exit}, moved {moves} and {said:?}: {errors}",
                        report.exit.code()
                    ));
                }
                assert_eq!(errors.is_empty(), exit == 0, "{name} × {fault_name}: {errors}");

                trial.sandbox.faults().clear();
                for host in [Host::SignIn, Host::ResourceManager, Host::Port] {
                    runtime.block_on(trial.sandbox.set_up(host, true));
                }
                trial.sandbox.clock().advance(15 * MINUTE);
                let healed = trial.run();
                let differences = runtime.block_on(trial.sandbox.diff(&Scope::default()));
                if healed.exit.code() != if cell == "r" { 4 } else { 0 } || !(differences.is_empty() || cell == "r") {
                    wrong.push(format!("{name} × {fault_name}: not mended: {differences:?}, {:?}", healed.errors));
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    });
}
