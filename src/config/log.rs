//! The format of the log and the report.

use tracing::level_filters::LevelFilter;

use super::error::ConfigError;
use super::reader::{Environment, Reader};
use crate::cli::Settings;
use crate::text::printable;

/// The format of the log and the report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For programs: the log is JSON lines, and the report is one JSON object.
    Json,
}

/// Loaded separately, because logging must work before everything else.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// The format of the log and the report.
    pub format: LogFormat,
    /// The directives of `RUST_LOG`.
    pub filter: String,
}

/// The default filter.
const LOG_FILTER: &str = "info";

impl LogConfig {
    /// Logs only warnings unless `RUST_LOG` asks for more. For a command whose output already says everything else.
    #[must_use]
    pub fn quieter(&self) -> Self {
        let filter = if self.filter == LOG_FILTER { "warn" } else { &self.filter };
        Self { format: self.format, filter: filter.into() }
    }

    /// Loads `LOG_FORMAT` and `RUST_LOG`, or returns what is wrong with them.
    pub fn load(settings: &Settings, environment: Environment<'_>) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(settings, environment);
        let format = reader.log_format();
        let filter = reader.variable("RUST_LOG").unwrap_or_else(|| LOG_FILTER.into());
        if let Err(error) = tracing_subscriber::EnvFilter::try_new(&filter) {
            let why = error.to_string();
            reader.wrong("RUST_LOG", format!("is \"{}\": {}", printable(&filter), printable(&why)));
        } else if !filter.split(',').any(concerns_us) {
            reader.wrong(
                "RUST_LOG",
                format!(
                    "is \"{}\": nothing of this program would be logged, not even errors; use a level, such as warn or debug, or \
                     azure_incremental=debug, or off",
                    printable(&filter)
                ),
            );
        }
        reader.finish(Self { format, filter })
    }
}

impl Reader<'_> {
    pub(super) fn log_format(&mut self) -> LogFormat {
        let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
        self.choice("LOG_FORMAT", self.settings.log_format.as_deref(), &formats)
    }
}

/// Whether a directive sets the level for everything or applies to this program. Anything that is not a level is taken
/// as a module name.
fn concerns_us(directive: &str) -> bool {
    let directive = directive.trim();
    let target = directive.split(['=', '[']).next().unwrap_or_default();
    let is_level = directive.parse::<LevelFilter>().is_ok();
    match target {
        "" => !directive.is_empty(),
        _ if is_level => true,
        target => target.starts_with(env!("CARGO_CRATE_NAME")) || env!("CARGO_CRATE_NAME").starts_with(target),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(format: Option<&str>, filter: Option<&str>) -> Result<LogConfig, ConfigError> {
        let settings = Settings { log_format: format.map(str::to_owned), ..Settings::default() };
        LogConfig::load(&settings, &|name: &str| filter.filter(|_| name == "RUST_LOG").map(Into::into))
    }

    #[test]
    fn the_log_is_text_at_info_by_default() {
        let config = load(None, None).unwrap();
        assert_eq!((config.format, config.filter.as_str()), (LogFormat::Text, "info"));
        assert_eq!(config.quieter().filter, "warn");
    }

    #[test]
    fn a_filter_that_is_set_is_kept() {
        let config = load(Some("JSON"), Some("debug")).unwrap();
        assert_eq!((config.format, config.filter.as_str()), (LogFormat::Json, "debug"));
        assert_eq!(config.quieter().filter, "debug");
    }

    #[test]
    fn a_filter_that_lets_nothing_of_ours_through_is_refused() {
        for filter in ["warning", "verbose", ",", ",,", "hyper", "hyper=debug", "h2=info,rustls=warn", "all"] {
            let said = load(None, Some(filter)).unwrap_err().to_string();
            assert!(said.starts_with(&format!("RUST_LOG is \"{filter}\": nothing of this program")), "{said}");
        }
        for filter in [
            "off",
            "WARN",
            "3",
            "hyper=debug,info",
            "azure_incremental",
            "azure_incremental=debug",
            "[run]=debug",
            "debug,",
            "azure_incremental::http=trace",
            "azure=debug",
        ] {
            assert!(load(None, Some(filter)).is_ok(), "{filter}");
        }
    }

    #[test]
    fn both_are_reported_when_both_are_wrong() {
        let error = load(Some("xml"), Some("a=loud")).unwrap_err();
        let variables: Vec<_> = error.0.iter().map(|problem| problem.variable.as_str()).collect();
        assert_eq!(variables, ["LOG_FORMAT", "RUST_LOG"]);
    }
}
