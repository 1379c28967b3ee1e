//! What a run reads: the mode, and how far back it reads without a checkpoint.

use std::time::Duration;

use super::reader::Reader;

/// What a run reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Only what changed.
    #[default]
    Incremental,
    /// Everything that exists.
    Full,
}

impl Mode {
    /// The name in `SYNC_MODE`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Incremental => "incremental",
            Self::Full => "full",
        }
    }
}

/// Change records are reliable for 6 days. Full mode reads what is older.
const LONGEST_WINDOW_MINUTES: u64 = 6 * 24 * 60;

/// What a run reads, and what makes it read everything.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ModeSettings {
    pub(super) mode: Mode,
    pub(super) resend_all: bool,
    /// The percentage up to which the run may prune; `None` for no pruning.
    pub(super) prune: Option<u64>,
}

impl Reader<'_> {
    /// The mode of the next run, whatever makes it a full one.
    pub(super) fn mode_settings(&mut self) -> ModeSettings {
        let (mode, resend_all, prune) = (self.mode(), self.resend_all(), self.prune());
        ModeSettings { mode: if resend_all || prune.is_some() { Mode::Full } else { mode }, resend_all, prune }
    }

    pub(super) fn mode(&mut self) -> Mode {
        let modes = [("incremental", Mode::Incremental), ("full", Mode::Full)];
        self.choice("SYNC_MODE", self.settings.mode.as_deref(), &modes)
    }

    fn resend_all(&mut self) -> bool {
        self.flag("RESEND_ALL", self.settings.resend_all.as_deref())
    }

    fn prune(&mut self) -> Option<u64> {
        const NAME: &str = "PRUNE";
        let limit = self.optional_count("PRUNE_LIMIT_PERCENT", self.settings.prune_limit_percent.as_deref(), 0, 100);
        if !self.flag(NAME, self.settings.prune.as_deref()) {
            return None;
        }
        let is_set = |setting: &Option<String>| setting.as_deref().is_some_and(|text| !text.trim().is_empty());
        if !is_set(&self.settings.mapping_file) || !is_set(&self.settings.checkpoint_file) {
            self.wrong(
                NAME,
                "needs MAPPING_FILE and CHECKPOINT_FILE: only with both is it known what this program wrote".into(),
            );
        }
        Some(limit.unwrap_or(10))
    }

    pub(super) fn window(&mut self) -> Duration {
        let text = self.settings.change_window_minutes.as_deref();
        let minutes = self.count("CHANGE_WINDOW_MINUTES", text, LONGEST_WINDOW_MINUTES, 15).get();
        Duration::from_secs(minutes as u64 * 60)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::read;
    use super::*;
    use crate::cli::Settings;

    fn mode(mode: Option<&str>) -> Result<Mode, String> {
        let settings = Settings { mode: mode.map(str::to_owned), ..Settings::default() };
        read(&settings, &[], Reader::mode).map_err(|error| error.to_string())
    }

    #[test]
    fn the_name_of_a_mode_is_case_insensitive() {
        assert_eq!(mode(None), Ok(Mode::Incremental));
        assert_eq!(mode(Some("Full")), Ok(Mode::Full));
        assert_eq!(mode(Some("both")), Err("SYNC_MODE is \"both\": expected incremental or full".into()));
        assert_eq!([Mode::Incremental, Mode::Full].map(Mode::name), ["incremental", "full"]);
    }

    #[test]
    fn resending_and_pruning_make_the_run_a_full_one_and_the_mode_is_validated_all_the_same() {
        let resending = Settings { resend_all: Some("true".into()), ..Settings::default() };
        let file = Some("file".to_owned());
        let pruning = Settings {
            prune: Some("true".into()),
            mapping_file: file.clone(),
            checkpoint_file: file,
            ..Settings::default()
        };
        for (settings, resend_all, prune) in [(resending, true, None), (pruning, false, Some(10))] {
            let read_with = |mode: &str| {
                read(&Settings { mode: Some(mode.into()), ..settings.clone() }, &[], Reader::mode_settings)
                    .map_err(|error| error.to_string())
            };
            for mode in ["", "incremental"] {
                assert_eq!(read_with(mode), Ok(ModeSettings { mode: Mode::Full, resend_all, prune }));
            }
            assert!(read_with("both").unwrap_err().contains("SYNC_MODE is \"both\""));
        }
        let plain = ModeSettings { mode: Mode::Incremental, resend_all: false, prune: None };
        assert_eq!(read(&Settings::default(), &[], Reader::mode_settings).unwrap(), plain);
    }

    #[test]
    fn the_window_is_at_most_as_long_as_records_are_relied_on() {
        let window = |minutes: &str| {
            let settings = Settings { change_window_minutes: Some(minutes.into()), ..Settings::default() };
            read(&settings, &[], Reader::window).ok()
        };
        assert_eq!(window(""), Some(Duration::from_secs(15 * 60)));
        assert_eq!(window("8640"), Some(crate::engine::RECORDS_KEPT.unsigned_abs()));
        assert_eq!((window("0"), window("8641")), (None, None));
    }
}
