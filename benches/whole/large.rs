//! A tenant with many subscriptions.
use std::io;

use super::figures::{Bench, Figure, POST_MS, QUERY_MS, Target, least_time, megabytes, seconds};
use super::service::{Quota, Service, Shape};

/// Rows on a page.
const PAGE: usize = 1_000;
/// The queries for subscriptions, for changes to containers and for changes to leaves.
const OTHERS: u64 = 3;

impl Bench {
    pub(crate) fn large_tenant(&self) -> io::Result<Vec<Figure>> {
        let shape = Shape {
            subscriptions: 1_000,
            resources: 100_000,
            query_latency_ms: QUERY_MS,
            post_latency_ms: POST_MS,
            quota: Quota::Announced,
            ..Shape::default()
        };
        let mut service = Service::start(&shape)?;
        let (counts, runs) = self.batches(&mut service, 1)?;
        let run = &runs[0];
        let pages = |rows: usize| rows.div_ceil(PAGE) as u64;
        let least = pages(shape.resources) + pages(shape.groups() + shape.subscriptions) + OTHERS;
        let (time, beside) = least_time(&counts, &shape);
        Ok(vec![
            Figure {
                number: 7,
                what: "1,000 subscriptions, 100,000 resources in batch, a quota announced: queries",
                measured: counts.queries.to_string(),
                beside: format!("{least}, all pages full"),
                ratio: counts.queries as f64 / least as f64,
                target: Target::AtMost(1.15),
            },
            Figure {
                number: 7,
                what: "… time",
                measured: seconds(run.wall),
                beside,
                ratio: run.wall.as_secs_f64() / time.as_secs_f64(),
                target: Target::AtMost(1.15),
            },
            Figure {
                number: 7,
                what: "… peak memory",
                measured: format!("{:.1} MB", megabytes(run.peak)),
                beside: "28 MB".to_owned(),
                ratio: megabytes(run.peak) / 28.0,
                target: Target::AtMost(1.0),
            },
        ])
    }
}
