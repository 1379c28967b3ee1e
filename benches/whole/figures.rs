//! The figures: what is run, what it is compared with, and the target.
use std::fmt;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::process::{self, Run};
use super::service::{Counts, Quota, Service, Shape};

/// Envelopes per post in batch.
const A_POST: u64 = 100;
/// Posts in flight: the default.
const IN_FLIGHT: usize = 25;
/// Runs of each side, alternating; the best of each counts.
const TURNS: usize = 5;
pub(crate) const QUERY_MS: u64 = 400;
pub(crate) const POST_MS: u64 = 80;
const QUERY: Duration = Duration::from_millis(QUERY_MS);
const POST: Duration = Duration::from_millis(POST_MS);
const PERIOD: Duration = Duration::from_secs(5);

pub(crate) struct Bench {
    pub(crate) binary: PathBuf,
}

/// A row of the table.
pub(crate) struct Figure {
    pub(crate) number: u8,
    pub(crate) what: &'static str,
    pub(crate) measured: String,
    pub(crate) beside: String,
    pub(crate) ratio: f64,
    pub(crate) target: Target,
}

#[derive(Clone, Copy)]
pub(crate) enum Target {
    AtLeast(f64),
    AtMost(f64),
    /// No target.
    None,
}

type Take = fn(&Bench) -> io::Result<Vec<Figure>>;

impl Bench {
    pub(crate) const ALL: [(u8, Take); 9] = [
        (1, Self::beside_the_bare_loop),
        (2, Self::beside_the_network),
        (3, Self::memory),
        (4, Self::beside_the_quota),
        (5, Self::nothing_to_do),
        (6, Self::remembering),
        (7, Self::large_tenant),
        (8, Self::over_the_api),
        (9, Self::directory),
    ];

    /// Zero latency: the cost of the program's own work.
    fn beside_the_bare_loop(&self) -> io::Result<Vec<Figure>> {
        let shape = Shape { resources: 20_000, ..Shape::default() };
        let directory = tempfile::tempdir()?;
        let bodies = directory.path().join("bodies");
        let bodies = bodies.to_string_lossy();
        {
            let mut recorder = Service::start(&Shape { record: true, ..shape.clone() })?;
            self.run(&recorder, &["--mode", "full"])?;
            recorder.bodies(&bodies)?;
        }
        let mut service = Service::start(&shape)?;
        self.run(&service, &["--mode", "full"])?;
        service.counts()?;
        let (mut program, mut bare) = (Vec::new(), Vec::new());
        let mut posts = 0;
        for _ in 0..TURNS {
            program.push(self.run(&service, &["--mode", "full"])?);
            posts = service.counts()?.posts;
            // On one thread and on all threads; the better one counts.
            for runtime in [Some("--one-thread"), None] {
                let mut command = Command::new(std::env::current_exe()?);
                let url = &service.env["PORT_WEBHOOK_INGEST_URL"];
                command.args(["bare", url, &bodies, &IN_FLIGHT.to_string()]).args(runtime);
                command.env("SSL_CERT_FILE", &service.env["SSL_CERT_FILE"]);
                bare.push(process::run(&mut command)?);
                let same = service.counts()?.posts;
                if posts != same {
                    return Err(io::Error::other(format!("the program posted {posts} bodies, the bare loop {same}")));
                }
            }
        }
        let rate = |runs: &[Run]| posts as f64 / best(runs, |run| run.wall).as_secs_f64();
        let cost = |runs: &[Run]| best(runs, |run| run.processor).as_secs_f64() * 1e6 / posts as f64;
        let size = fs::read(&*bodies)?.len() as u64 / posts.max(1);
        Ok(vec![
            Figure {
                number: 1,
                what: "20,000 resources in full, no latency: the whole run beside a bare loop of posts",
                measured: format!("{:.0} envelopes/s", rate(&program)),
                beside: format!("{:.0} bodies/s of {size} B", rate(&bare)),
                ratio: rate(&program) / rate(&bare),
                target: Target::AtLeast(0.8),
            },
            Figure {
                number: 1,
                what: "… its processor time",
                measured: format!("{:.1} µs an envelope", cost(&program)),
                beside: format!("{:.1} µs a body", cost(&bare)),
                ratio: cost(&program) / cost(&bare),
                target: Target::None,
            },
        ])
    }

    /// Intercontinental latencies: how much longer than the network alone a run takes.
    fn beside_the_network(&self) -> io::Result<Vec<Figure>> {
        let shape = Shape {
            resources: 10_000,
            query_latency_ms: QUERY_MS,
            post_latency_ms: POST_MS,
            quota: Quota::Announced,
            ..Shape::default()
        };
        let mut service = Service::start(&shape)?;
        // Warms up, then waits until the previous run no longer counts against the quota.
        self.run(&service, &["--mode", "full", "--port-webhook-payload", "batch"])?;
        pause();
        service.counts()?;
        let single = self.run(&service, &["--mode", "full"])?;
        let posts = service.counts()?.posts;
        assert_eq!(posts, shape.entities() as u64, "one post an envelope");
        let bound = POST.mul_f64(posts as f64 / IN_FLIGHT as f64) + 2 * QUERY;
        let mut figures = vec![Figure {
            number: 2,
            what: "10,000 resources in full, 400 ms a query, 80 ms a post, single",
            measured: seconds(single.wall),
            beside: format!("{} = {posts} posts / 25 × 80 ms + 2 × 400 ms", seconds(bound)),
            ratio: single.wall.as_secs_f64() / bound.as_secs_f64(),
            target: Target::AtMost(1.05),
        }];
        for (quota, what) in [
            (Quota::Announced, "… in batch, a quota of 15 queries in 5 s announced"),
            (Quota::Silent, "… in batch, no quota announced"),
        ] {
            let mut service = Service::start(&Shape { quota, ..shape.clone() })?;
            let (counts, batch) = self.batches(&mut service, TURNS)?;
            let (least, beside) = least_time(&counts, &shape);
            let wall = best(&batch, |run| run.wall);
            figures.push(Figure {
                number: 2,
                what,
                measured: seconds(wall),
                beside,
                ratio: wall.as_secs_f64() / least.as_secs_f64(),
                target: Target::AtMost(1.15),
            });
        }
        Ok(figures)
    }

    /// Full runs in batch, each with a fresh quota, and the requests of one of them.
    pub(crate) fn batches(&self, service: &mut Service, turns: usize) -> io::Result<(Counts, Vec<Run>)> {
        let run = |service: &Service| self.run(service, &["--mode", "full", "--port-webhook-payload", "batch"]);
        run(service)?;
        let mut runs = Vec::new();
        loop {
            pause();
            service.counts()?;
            runs.push(run(service)?);
            let counts = service.counts()?;
            if runs.len() == turns {
                return Ok((counts, runs));
            }
        }
    }

    /// Peak memory for a small estate and for one ten times as large.
    fn memory(&self) -> io::Result<Vec<Figure>> {
        let mut peaks = Vec::new();
        for resources in [20_000, 200_000] {
            let service = Service::start(&Shape { resources, ..Shape::default() })?;
            for payload in ["single", "batch"] {
                let runs: Vec<Run> = (0..4)
                    .map(|_| self.run(&service, &["--mode", "full", "--port-webhook-payload", payload]))
                    .collect::<io::Result<_>>()?;
                // The first run only fills the sandbox's memory. The worst of the others counts.
                peaks.push(runs.iter().skip(1).map(|run| run.peak).max().unwrap_or_default());
            }
        }
        let figure = |payload: usize, what| {
            let (small, large) = (megabytes(peaks[payload]), megabytes(peaks[2 + payload]));
            [
                Figure {
                    number: 3,
                    what,
                    measured: format!("{large:.1} MB at 200,000 resources"),
                    beside: format!("{small:.1} MB at 20,000"),
                    ratio: large / small,
                    target: Target::AtMost(1.1),
                },
                Figure {
                    number: 3,
                    what: "… beside what is allowed",
                    measured: format!("{:.1} MB", large.max(small)),
                    beside: "28 MB".to_owned(),
                    ratio: large.max(small) / 28.0,
                    target: Target::AtMost(1.0),
                },
            ]
        };
        Ok([figure(0, "peak memory, single"), figure(1, "peak memory, batch")].into_iter().flatten().collect())
    }

    /// A quota of 15 queries in five seconds: whether it is respected and fully used.
    fn beside_the_quota(&self) -> io::Result<Vec<Figure>> {
        let shape = Shape { resources: 200_000, quota: Quota::Announced, ..Shape::default() };
        let mut service = Service::start(&shape)?;
        let (counts, runs) = self.batches(&mut service, 1)?;
        let run = &runs[0];
        // The first fifteen queries are free; every further fifteen wait for the next five seconds.
        let least = PERIOD * u32::try_from((counts.queries - 1) / 15).unwrap_or(u32::MAX);
        Ok(vec![
            Figure {
                number: 4,
                what: "200,000 resources in batch under the quota of 15 queries in 5 s",
                measured: seconds(run.wall),
                beside: format!("{}: {} queries", seconds(least), counts.queries),
                ratio: least.as_secs_f64() / run.wall.as_secs_f64(),
                target: Target::AtLeast(0.9),
            },
            Figure {
                number: 4,
                what: "… answers that it was exceeded (429)",
                measured: counts.throttled.to_string(),
                beside: "0".to_owned(),
                ratio: counts.throttled as f64,
                target: Target::AtMost(0.0),
            },
        ])
    }

    /// A run that finds no change.
    fn nothing_to_do(&self) -> io::Result<Vec<Figure>> {
        let shape =
            Shape { resources: 20_000, query_latency_ms: QUERY_MS, other_latency_ms: POST_MS, ..Shape::default() };
        let mut service = Service::start(&shape)?;
        self.run(&service, &[])?;
        let mut runs = Vec::new();
        let mut requests = 0;
        for _ in 0..TURNS {
            service.counts()?;
            runs.push(self.run(&service, &[])?);
            requests = service.counts()?.requests;
        }
        let wall = best(&runs, |run| run.wall);
        let trips = Duration::from_millis(2 * POST_MS + 2 * QUERY_MS);
        let size = fs::metadata(&self.binary)?.len() as f64 / f64::from(1 << 20);
        Ok(vec![
            Figure {
                number: 5,
                what: "nothing to do: time",
                measured: seconds(wall),
                beside: format!("{} = 2 × 80 ms + 2 × 400 ms", seconds(trips)),
                ratio: wall.as_secs_f64() / trips.as_secs_f64(),
                target: Target::None,
            },
            Figure {
                number: 5,
                what: "… requests",
                measured: requests.to_string(),
                beside: "5: sign-in, the list of subscriptions and three queries".to_owned(),
                ratio: requests as f64 / 5.0,
                target: Target::AtMost(1.0),
            },
            Figure {
                number: 5,
                what: "… processor time, start to end",
                measured: format!("{} ms", best(&runs, |run| run.processor).as_millis()),
                beside: "the time".to_owned(),
                ratio: best(&runs, |run| run.processor).as_secs_f64() / wall.as_secs_f64(),
                target: Target::None,
            },
            Figure {
                number: 5,
                what: "size of the binary, stripped",
                measured: format!("{size:.1} MB"),
                beside: "15 MB".to_owned(),
                ratio: size / 15.0,
                target: Target::AtMost(1.0),
            },
        ])
    }

    pub(crate) fn run(&self, service: &Service, arguments: &[&str]) -> io::Result<Run> {
        self.run_to(service, arguments, 0)
    }

    /// Like `run`, but expects this exit code.
    pub(crate) fn run_to(&self, service: &Service, arguments: &[&str], code: i32) -> io::Result<Run> {
        let mut command = Command::new(&self.binary);
        command.args(arguments).env_clear().envs(&service.env).env("LOG_FORMAT", "json").env("RUST_LOG", "warn");
        process::run_to(&mut command, code)
    }
}

pub(crate) fn best(runs: &[Run], of: impl Fn(&Run) -> Duration) -> Duration {
    runs.iter().map(of).min().unwrap_or_default()
}

pub(crate) fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Waits until the quota has been reset.
fn pause() {
    std::thread::sleep(Duration::from_secs(6));
}

/// The minimum time of a full run in batch: bounded by its queries, fifteen in five seconds, or by its posts, 25 in
/// flight. Also says which.
pub(crate) fn least_time(counts: &Counts, shape: &Shape) -> (Duration, String) {
    let Counts { queries, posts, .. } = *counts;
    let periods = u32::try_from(queries.saturating_sub(1) / 15).unwrap_or(u32::MAX);
    let rounds = |posts: u64| u32::try_from(posts.div_ceil(IN_FLIGHT as u64)).unwrap_or(u32::MAX);
    // One round of queries for counts, then one for rows. Groups and subscriptions are posted before their contents.
    let first = ((shape.groups() + shape.subscriptions) as u64).div_ceil(A_POST);
    let rounds = rounds(first) + rounds(posts.saturating_sub(first));
    let posted = 2 * QUERY + rounds * POST;
    let queried = periods * PERIOD + QUERY + POST;
    let (least, text) = if queried > posted {
        (queried, format!("{periods} × 5 s + 400 ms + 80 ms"))
    } else {
        (posted, format!("2 × 400 ms + {rounds} × 80 ms"))
    };
    (least, format!("{} = {text}: {queries} queries, {posts} posts, 25 at once", seconds(least)))
}

pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

impl Target {
    fn is_met(self, ratio: f64) -> bool {
        match self {
            Self::AtLeast(least) => ratio >= least,
            Self::AtMost(most) => ratio <= most,
            Self::None => true,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(least) => write!(f, "≥ {least}"),
            Self::AtMost(most) => write!(f, "≤ {most}"),
            Self::None => Ok(()),
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, what, measured, beside, ratio, target } = self;
        let verdict = match target {
            Target::None => "",
            _ if target.is_met(*ratio) => "✔",
            _ => "✘ missed",
        };
        write!(f, "| {number} | {what} | {measured} | {beside} | {ratio:.2} | {target} | {verdict} |")
    }
}
