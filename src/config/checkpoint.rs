//! What a run stores for the next one.

use std::path::PathBuf;
use std::time::Duration;

use super::error::ConfigError;
use super::reader::Reader;
use super::value::Form;
use crate::cli::{CheckpointArgs, Settings};

/// The settings of runs with a checkpoint.
#[derive(Clone, Debug)]
pub struct CheckpointConfig {
    /// The checkpoint: a single file.
    pub file: PathBuf,
    /// How far before the last run changes are read again, up to a day. Change records appear late, and their details even
    /// later ("Get resource changes", Azure Resource Graph).
    pub overlap: Duration,
    /// How old the last full comparison may be, 1 hour to a year.
    pub full_every: Duration,
    /// What happens to groups that no longer match the tag filters.
    pub out_of_scope: OutOfScope,
}

/// What happens to the entities of a group that left the scope.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutOfScope {
    /// Delete them, resources first.
    #[default]
    Delete,
    /// Keep them, for a catalog that several filters feed.
    Keep,
}

/// The file that `azure-incremental checkpoint` shows: the argument, or `CHECKPOINT_FILE`.
pub fn checkpoint_file(args: &CheckpointArgs, settings: &Settings) -> Result<PathBuf, ConfigError> {
    let mut reader = Reader::new(settings, &|_| None);
    let file = args.file.clone().or_else(|| reader.checkpoint_file());
    if file.is_none() && reader.is_right() {
        reader.wrong("FILE", "is missing: name the checkpoint, or set CHECKPOINT_FILE".into());
    }
    reader.finish(file.unwrap_or_default())
}

impl Reader<'_> {
    pub(super) fn checkpoint_file(&mut self) -> Option<PathBuf> {
        self.set("CHECKPOINT_FILE", self.settings.checkpoint_file.as_deref(), Form::Plain).map(PathBuf::from)
    }

    pub(super) fn checkpoint(&mut self) -> Option<CheckpointConfig> {
        let settings = self.settings;
        let overlap =
            self.optional_count("CHANGE_OVERLAP_MINUTES", settings.change_overlap_minutes.as_deref(), 0, 1440);
        let full_every =
            self.optional_count("FULL_SYNC_EVERY_HOURS", settings.full_sync_every_hours.as_deref(), 1, 8760);
        let out_of_scope = self.choice(
            "OUT_OF_SCOPE",
            settings.out_of_scope.as_deref(),
            &[("delete", OutOfScope::Delete), ("keep", OutOfScope::Keep)],
        );
        Some(CheckpointConfig {
            file: self.checkpoint_file()?,
            overlap: Duration::from_secs(overlap.unwrap_or(120) * 60),
            full_every: Duration::from_secs(full_every.unwrap_or(24) * 60 * 60),
            out_of_scope,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::read;
    use super::*;
    use crate::cli::Settings;

    #[test]
    fn there_is_none_without_a_file() {
        assert!(read(&Settings::default(), &[], Reader::checkpoint).unwrap().is_none());
    }

    #[test]
    fn everything_but_the_file_has_a_default() {
        let settings = Settings { checkpoint_file: Some(" checkpoint.redb ".into()), ..Settings::default() };
        let config = read(&settings, &[], Reader::checkpoint).unwrap().unwrap();
        assert_eq!(config.file, PathBuf::from("checkpoint.redb"));
        assert_eq!(config.overlap, Duration::from_secs(2 * 60 * 60));
        assert_eq!(config.full_every, Duration::from_secs(24 * 60 * 60));
        assert_eq!(config.out_of_scope, OutOfScope::Delete);
    }

    #[test]
    fn a_full_comparison_is_due_within_a_year() {
        let settings = Settings {
            checkpoint_file: Some("checkpoint.redb".into()),
            full_sync_every_hours: Some("8760".into()),
            ..Settings::default()
        };
        let config = read(&settings, &[], Reader::checkpoint).unwrap().unwrap();
        assert_eq!(config.full_every, Duration::from_secs(365 * 24 * 60 * 60));
    }

    #[test]
    fn invalid_values_are_reported_even_without_a_file() {
        let settings = Settings {
            change_overlap_minutes: Some("1441".into()),
            full_sync_every_hours: Some("8761".into()),
            out_of_scope: Some("drop".into()),
            ..Settings::default()
        };
        let error = read(&settings, &[], Reader::checkpoint).unwrap_err();
        let variables: Vec<_> = error.0.iter().map(|problem| problem.variable.as_str()).collect();
        assert_eq!(variables, ["CHANGE_OVERLAP_MINUTES", "FULL_SYNC_EVERY_HOURS", "OUT_OF_SCOPE"]);
    }
}
