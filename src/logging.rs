//! Logs to standard error, as text or JSON lines.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use anstream::{AutoStream, ColorChoice};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{EnvFilter, filter_fn};
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use crate::config::{LogConfig, LogFormat};
use crate::progress::{self, Above};
use crate::text::Neutralized;

/// Starts logging. Dependencies are capped at `warn` whatever the filter says: their debug logs contain headers and
/// URLs, which contain secrets.
pub fn init(config: &LogConfig) {
    _ = init_in(Place::Shell, config);
}

/// Where the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Shell,
    /// A job of GitHub Actions: no progress bar, and warnings are kept for annotations.
    Job,
}

/// The same, for a given place.
pub fn init_in(place: Place, config: &LogConfig) -> Warnings {
    let warnings = Warnings::default();
    let capped = || {
        filter_fn(|metadata| {
            *metadata.level() <= LevelFilter::WARN || metadata.target().starts_with(env!("CARGO_CRATE_NAME"))
        })
    };
    // The filter was validated with the configuration.
    let filter = EnvFilter::new(&config.filter);
    if place == Place::Shell && config.format == LogFormat::Text {
        progress::allow();
    }
    // Whatever runs the program may look for commands in the log.
    let writer = if progress::is_allowed() {
        BoxMakeWriter::new(|| Neutralized(Above))
    } else {
        BoxMakeWriter::new(|| Neutralized(io::stderr()))
    };
    let layer = fmt::layer().with_writer(writer).with_target(false);
    let layer = match config.format {
        LogFormat::Text => layer.with_ansi(is_coloured()).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry()
        .with(layer.with_filter(capped()).with_filter(filter))
        .with((place == Place::Job).then(|| warnings.clone().with_filter(capped())))
        .init();
    warnings
}

/// True on a terminal unless `NO_COLOR` or `CLICOLOR=0` is set, and always with `CLICOLOR_FORCE`: the same rule as for
/// help.
fn is_coloured() -> bool {
    AutoStream::choice(&io::stderr()) != ColorChoice::Never
}

/// The first warnings of a run, for people who do not read the log. Retries do not count.
#[derive(Clone, Debug, Default)]
pub struct Warnings(Arc<Mutex<Vec<String>>>);

/// More would not be read.
const MOST_WARNINGS: usize = 10;

/// Modules whose warnings are about problems that the program fixes itself.
const MENDED: [&str; 2] = [concat!(env!("CARGO_CRATE_NAME"), "::http"), concat!(env!("CARGO_CRATE_NAME"), "::azure")];

impl Warnings {
    /// The warnings so far.
    pub fn texts(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl<S: Subscriber> Layer<S> for Warnings {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let target = event.metadata().target();
        if *event.metadata().level() != Level::WARN || MENDED.iter().any(|module| target.starts_with(module)) {
            return;
        }
        let mut texts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if texts.len() < MOST_WARNINGS {
            let mut message = Message(String::new());
            event.record(&mut message);
            texts.push(message.0);
        }
    }
}

/// The message of an event.
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_kept_except_of_what_is_mended() {
        let warnings = Warnings::default();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(warnings.clone()), || {
            tracing::warn!("the checkpoint {} cannot be used", "x");
            tracing::warn!(target: "azure_incremental::http", "trying again");
            tracing::info!("nothing");
            (0..20).for_each(|_| tracing::warn!("more"));
        });
        let texts = warnings.texts();
        assert_eq!(texts[0], "the checkpoint x cannot be used");
        assert_eq!(texts[1], "more");
        assert_eq!(texts.len(), MOST_WARNINGS);
    }
}
