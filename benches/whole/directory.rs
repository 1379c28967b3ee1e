//! Entra ID: a first run over the largest tenant compared with the latency of its pages alone, an idle run, and a
//! change to a large group.
use std::io;
use std::time::Duration;

use super::figures::{Bench, Figure, Target, megabytes, seconds};
use super::service::{Service, Shape};

/// Latency of a page.
const PAGE_MS: u64 = 20;

/// Requests to Microsoft Graph in an idle run: one for each kind.
const IDLE: u64 = 4;

impl Bench {
    pub(crate) fn directory(&self) -> io::Result<Vec<Figure>> {
        let shape = Shape { tenant: true, query_latency_ms: PAGE_MS, ..Shape::default() };
        let mut service = Service::start(&shape)?;
        let folder = tempfile::tempdir()?;
        let checkpoint = folder.path().join("checkpoint").display().to_string();
        let arguments = ["--checkpoint-file", &checkpoint, "--port-webhook-payload", "batch"];
        service.counts()?;
        // A group with this many members is sent without them, and the exit code says so.
        let first = self.run_to(&service, &arguments, 4)?;
        let pages = service.counts()?.pages;
        let bound = Duration::from_millis(PAGE_MS).mul_f64(pages as f64);
        let idle = self.run(&service, &arguments)?;
        let asked = service.counts()?.pages;
        service.shift()?;
        let shifted = self.run_to(&service, &arguments, 4)?;
        let asked_after = service.counts()?.pages;
        let checkpoint = folder.path().join("of-users").display().to_string();
        let arguments = ["--checkpoint-file", &checkpoint, "--port-webhook-payload", "batch", "--entra-kinds", "users"];
        let users = self.run(&service, &arguments)?;
        Ok(vec![
            Figure {
                number: 9,
                what: "500,000 users, 50,000 groups and 2,000,000 memberships, 20 ms a page: the first run",
                measured: seconds(first.wall),
                beside: format!("{} = {pages} pages × {PAGE_MS} ms", seconds(bound)),
                ratio: first.wall.as_secs_f64() / bound.as_secs_f64(),
                target: Target::AtMost(1.1),
            },
            Figure {
                number: 9,
                what: "… peak memory of the users alone, and with groups",
                measured: format!("{:.1} MB, {:.1} MB", megabytes(users.peak), megabytes(first.peak)),
                beside: "64 MB".to_owned(),
                ratio: megabytes(users.peak) / 64.0,
                target: Target::AtMost(1.0),
            },
            Figure {
                number: 9,
                what: "… an idle run: requests to Microsoft Graph",
                measured: format!("{asked} in {}", seconds(idle.wall)),
                beside: IDLE.to_string(),
                ratio: asked as f64 / IDLE as f64,
                target: Target::AtMost(1.0),
            },
            Figure {
                number: 9,
                what: "… one joins and one leaves a group of 100,000: requests",
                measured: format!("{asked_after} in {}", seconds(shifted.wall)),
                beside: format!("{}", IDLE + 101),
                ratio: asked_after as f64 / (IDLE + 101) as f64,
                target: Target::AtMost(1.1),
            },
        ])
    }
}
