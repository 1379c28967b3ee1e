//! The log: to standard error, as text or as JSON lines.

use std::io;

use anstream::{AutoStream, ColorChoice};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{EnvFilter, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use crate::config::{LogConfig, LogFormat};

/// Starts logging. Dependencies are capped at `warn` whatever the filter says: their debug logs hold headers and URLs, which
/// hold secrets.
pub fn init(config: &LogConfig) {
    let capped = filter_fn(|metadata| {
        *metadata.level() <= LevelFilter::WARN || metadata.target().starts_with(env!("CARGO_CRATE_NAME"))
    });
    // The filter was checked with the configuration.
    let filter = EnvFilter::new(&config.filter);
    let layer = fmt::layer().with_writer(io::stderr).with_target(false);
    let layer = match config.format {
        LogFormat::Text => layer.with_ansi(is_coloured()).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry().with(layer.with_filter(capped).with_filter(filter)).init();
}

/// On a terminal, unless `NO_COLOR` or `CLICOLOR=0` says otherwise, and wherever `CLICOLOR_FORCE` says so: the rule that help
/// keeps to.
fn is_coloured() -> bool {
    AutoStream::choice(&io::stderr()) != ColorChoice::Never
}
