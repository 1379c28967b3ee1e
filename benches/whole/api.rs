//! Entities over Port's API: a full run compared with a bare loop of the same bulk posts, and with the network's
//! latency alone.
use std::fs;
use std::io;
use std::process::Command;
use std::time::Duration;

use super::figures::{Bench, Figure, QUERY_MS, Target, best, megabytes, seconds};
use super::process::{self, Run};
use super::service::{BULK, Service, Shape};

/// Requests in flight, as in the program.
const IN_FLIGHT: u64 = 10;
/// Entities per bulk request.
const A_BULK: u64 = 20;
const BULK_MS: u64 = 150;
const TURNS: usize = 3;

impl Bench {
    pub(crate) fn over_the_api(&self) -> io::Result<Vec<Figure>> {
        let mut figures = self.beside_bare_bulks()?;
        figures.push(self.beside_the_network_in_bulk()?);
        figures.push(self.memory_in_bulk()?);
        Ok(figures)
    }

    fn beside_bare_bulks(&self) -> io::Result<Vec<Figure>> {
        let shape = Shape { resources: 20_000, api: true, ..Shape::default() };
        let directory = tempfile::tempdir()?;
        let bodies = directory.path().join("bodies").display().to_string();
        {
            let mut recorder = Service::start(&Shape { record: true, ..shape.clone() })?;
            self.run(&recorder, &["--mode", "full"])?;
            recorder.bodies(&bodies)?;
        }
        let posts = fs::read_to_string(&bodies)?.lines().count() as u64;
        let service = Service::start(&shape)?;
        self.run(&service, &["--mode", "full"])?;
        let (mut program, mut bare) = (Vec::new(), Vec::new());
        for _ in 0..TURNS {
            program.push(self.run(&service, &["--mode", "full"])?);
            for runtime in [Some("--one-thread"), None] {
                let mut command = Command::new(std::env::current_exe()?);
                let url = format!("{}{BULK}", service.env["PORT_BASE_URL"]);
                let url = format!("{url}?upsert=true&merge=true&create_missing_related_entities=false");
                command.args(["bare", &url, &bodies, &IN_FLIGHT.to_string()]).args(runtime);
                for name in ["SSL_CERT_FILE", "PORT_CLIENT_ID", "PORT_CLIENT_SECRET"] {
                    command.env(name, &service.env[name]);
                }
                bare.push(process::run(&mut command)?);
            }
        }
        let rate = |entities: u64, runs: &[Run]| entities as f64 / best(runs, |run| run.wall).as_secs_f64();
        let (of_program, of_bare) = (rate(shape.entities() as u64, &program), rate(shape.resources as u64, &bare));
        Ok(vec![Figure {
            number: 8,
            what: "20,000 resources in full over Port's API, no latency: the whole run beside a bare loop of bulk posts",
            measured: format!("{of_program:.0} entities/s"),
            beside: format!("{of_bare:.0} entities/s in {posts} posts"),
            ratio: of_program / of_bare,
            target: Target::AtLeast(0.5),
        }])
    }

    fn beside_the_network_in_bulk(&self) -> io::Result<Figure> {
        let shape = Shape {
            resources: 10_000,
            query_latency_ms: QUERY_MS,
            post_latency_ms: BULK_MS,
            api: true,
            ..Shape::default()
        };
        let mut service = Service::start(&shape)?;
        self.run(&service, &["--mode", "full"])?;
        service.counts()?;
        let runs = [self.run(&service, &["--mode", "full"])?, self.run(&service, &["--mode", "full"])?];
        let posts = service.counts()?.posts / runs.len() as u64;
        let took = best(&runs, |run| run.wall);
        let bulk = Duration::from_millis(BULK_MS);
        let bound = bulk.mul_f64(posts as f64 / IN_FLIGHT as f64) + 2 * Duration::from_millis(QUERY_MS);
        Ok(Figure {
            number: 8,
            what: "10,000 resources in full over Port's API, 400 ms a query, 150 ms a bulk",
            measured: seconds(took),
            beside: format!("{} = {posts} posts of up to {A_BULK} / 10 × 150 ms + 2 × 400 ms", seconds(bound)),
            ratio: took.as_secs_f64() / bound.as_secs_f64(),
            target: Target::AtMost(1.1),
        })
    }

    fn memory_in_bulk(&self) -> io::Result<Figure> {
        let mut peaks = Vec::new();
        for resources in [20_000, 200_000] {
            let service = Service::start(&Shape { resources, api: true, ..Shape::default() })?;
            peaks.push(self.run(&service, &["--mode", "full"])?.peak);
        }
        let most = peaks.iter().copied().max().unwrap_or_default();
        Ok(Figure {
            number: 8,
            what: "… peak memory over Port's API, 20,000 and 200,000 resources",
            measured: peaks.iter().map(|peak| format!("{:.1} MB", megabytes(*peak))).collect::<Vec<_>>().join(", "),
            beside: "32 MB".to_owned(),
            ratio: megabytes(most) / 32.0,
            target: Target::AtMost(1.0),
        })
    }
}
