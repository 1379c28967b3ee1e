//! The cost of the checkpoint: a full run with one compared with a full run without, a run with nothing to do, and the
//! file size.
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::figures::{Bench, Figure, POST_MS, QUERY_MS, Target, best, megabytes};
use super::process::Run;
use super::service::{Service, Shape};

/// Runs of each side.
const TURNS: usize = 3;

impl Bench {
    pub(crate) fn remembering(&self) -> io::Result<Vec<Figure>> {
        let mut figures = Vec::new();
        for (resources, what) in [
            (20_000, "20,000 resources in full, with a new checkpoint beside without"),
            (200_000, "200,000 resources in full, with a new checkpoint beside without"),
        ] {
            let directory = tempfile::tempdir()?;
            let file = directory.path().join("checkpoint.redb");
            let shape = Shape { resources, ..Shape::default() };
            let mut service = Service::start(&shape)?;
            let entities = shape.entities() as u64;
            let (figure, with) = self.with_beside_without(&service, &file, entities, what, &["--mode", "full"])?;
            figures.push(figure);
            let peak = with.iter().map(|run| run.peak).max().unwrap_or_default();
            let allowed = (32 << 20) + 16 * entities;
            figures.push(Figure {
                number: 6,
                what: "… its peak memory beside 32 MB + 16 bytes an entity",
                measured: format!("{:.1} MB", megabytes(peak)),
                beside: format!("{:.1} MB", megabytes(allowed)),
                ratio: peak as f64 / allowed as f64,
                target: Target::AtMost(1.0),
            });
            figures.extend(Self::file(&file, entities)?);
            figures.extend(self.nothing_new(&mut service, &file)?);
        }
        let directory = tempfile::tempdir()?;
        let file = directory.path().join("checkpoint.redb");
        let shape =
            Shape { resources: 10_000, query_latency_ms: QUERY_MS, post_latency_ms: POST_MS, ..Shape::default() };
        let what =
            "10,000 resources in full, 400 ms a query, 80 ms a post, in batch: with a new checkpoint beside without";
        let arguments = ["--mode", "full", "--port-webhook-payload", "batch"];
        let service = Service::start(&shape)?;
        figures.push(self.with_beside_without(&service, &file, shape.entities() as u64, what, &arguments)?.0);
        Ok(figures)
    }

    /// The rate of full runs with a new checkpoint compared with runs without one, and the former.
    fn with_beside_without(
        &self,
        service: &Service,
        file: &Path,
        entities: u64,
        what: &'static str,
        arguments: &[&str],
    ) -> io::Result<(Figure, Vec<Run>)> {
        self.run(service, arguments)?;
        let (mut without, mut with) = (Vec::new(), Vec::new());
        for _ in 0..TURNS {
            without.push(self.run(service, arguments)?);
            if file.exists() {
                fs::remove_file(file)?;
            }
            with.push(self.remembers(service, file, arguments)?);
        }
        let rate = |runs: &[Run]| entities as f64 / best(runs, |run| run.wall).as_secs_f64();
        let figure = Figure {
            number: 6,
            what,
            measured: format!("{:.0} envelopes/s", rate(&with)),
            beside: format!("{:.0} envelopes/s", rate(&without)),
            ratio: rate(&with) / rate(&without),
            target: Target::AtLeast(0.9),
        };
        Ok((figure, with))
    }

    /// The size of the file, raw and compressed as a cache would.
    fn file(file: &Path, entities: u64) -> io::Result<Vec<Figure>> {
        let bytes = fs::read(file)?;
        let mut packed = GzEncoder::new(Vec::new(), Compression::default());
        packed.write_all(&bytes)?;
        let sizes = [
            ("… bytes an entity in its file", bytes.len(), 400.0),
            ("… the same, compressed by gzip", packed.finish()?.len(), 60.0),
        ];
        let figure = |(what, size, most): (&'static str, usize, f64)| {
            let each = size as f64 / entities as f64;
            Figure {
                number: 6,
                what,
                measured: format!("{each:.0} B"),
                beside: format!("{most:.0} B"),
                ratio: each / most,
                target: Target::AtMost(1.0),
            }
        };
        Ok(sizes.into_iter().map(figure).collect())
    }

    /// Runs that find no changes: one that queries changes, and one that compares everything.
    fn nothing_new(&self, service: &mut Service, file: &Path) -> io::Result<Vec<Figure>> {
        let mut posts = BTreeMap::new();
        let mut idle = Vec::new();
        for _ in 0..TURNS {
            service.counts()?;
            idle.push(self.remembers(service, file, &[])?);
            posts.insert("idle", service.counts()?.posts);
        }
        let full = self.remembers(service, file, &["--mode", "full"])?;
        posts.insert("full", service.counts()?.posts);
        let wall = best(&idle, |run| run.wall);
        let processor = best(&idle, |run| run.processor);
        let peak = idle.iter().map(|run| run.peak).max().unwrap_or_default();
        let count = |what, posts: u64| Figure {
            number: 6,
            what,
            measured: posts.to_string(),
            beside: "0".to_owned(),
            ratio: posts as f64,
            target: Target::AtMost(0.0),
        };
        Ok(vec![
            Figure {
                number: 6,
                what: "… nothing to do: processor time",
                measured: format!("{} ms ({} ms in all)", processor.as_millis(), wall.as_millis()),
                beside: "150 ms".to_owned(),
                ratio: processor.as_secs_f64() / 0.15,
                target: Target::AtMost(1.0),
            },
            Figure {
                number: 6,
                what: "… nothing to do: peak memory",
                measured: format!("{:.1} MB", megabytes(peak)),
                beside: "24 MB".to_owned(),
                ratio: megabytes(peak) / 24.0,
                target: Target::AtMost(1.0),
            },
            count("… nothing to do: posts", posts["idle"]),
            count("… everything compared again: posts", posts["full"]),
            Figure {
                number: 6,
                what: "… everything compared again: time, and peak memory",
                measured: format!("{:.2} s", full.wall.as_secs_f64()),
                beside: format!("{:.1} MB", megabytes(full.peak)),
                ratio: full.wall.as_secs_f64(),
                target: Target::None,
            },
        ])
    }

    fn remembers(&self, service: &Service, file: &Path, arguments: &[&str]) -> io::Result<Run> {
        let file = file.display().to_string();
        self.run(service, &[&["--checkpoint-file", &file], arguments].concat())
    }
}
