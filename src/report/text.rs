//! The report as text.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::fmt::{self, Display, Write as _};

use anstyle::{AnsiColor, Style};

use super::{Compared, Report, TypeCounts};
use crate::config::{DryRun, Mode};
use crate::error::Exit;
use crate::text::printable;

/// The most types that get their own line. A dry run lists all.
const MOST_TYPES: usize = 10;

const GREEN: Style = AnsiColor::Green.on_default();
const YELLOW: Style = AnsiColor::Yellow.on_default();
const RED: Style = AnsiColor::Red.on_default();

/// Writes a name and its value, in columns.
fn line(text: &mut String, name: &str, value: impl Display) {
    _ = writeln!(text, "{name:<15}{value}");
}

impl Report {
    /// Includes ANSI colours; the output strips them if they are not wanted.
    pub(super) fn to_text(&self) -> String {
        let mut text = String::new();
        line(
            &mut text,
            "mode",
            format_args!("{}{}", self.mode, if self.dry_run.is_some() { ", a dry run" } else { "" }),
        );
        if let Some(why) = &self.full_because {
            line(&mut text, "full because", why);
        }
        if let Some(read) = self.read() {
            line(&mut text, "read", read);
        }
        for note in &self.notes {
            line(&mut text, "note", note);
        }
        // A run that stopped before this has nothing to count.
        if self.subscriptions > 0 || self.differing() > 0 {
            self.count(&mut text);
        }
        if let Some(pruned) = self.pruned {
            line(&mut text, "pruned", format_args!("{pruned:>11}"));
        }
        if let Some(Compared { held, in_doubt }) = self.compared {
            let differ = self.differing();
            line(&mut text, "compared", format_args!("{held} entities held, {differ} differ, {in_doubt} in doubt"));
        }
        if let Some(freshness) = &self.freshness {
            line(&mut text, "freshness", freshness);
        }
        line(&mut text, "time", format_args!("{:>10.1}s", self.elapsed.as_secs_f64()));
        let (style, result) = self.result();
        line(&mut text, "result", format_args!("{style}{result}{style:#}"));
        text.truncate(text.trim_end().len());
        text
    }

    /// What was read.
    fn read(&self) -> Option<String> {
        let what = match self.since {
            Some(since) => format!("changes since {since:.0}"),
            None if self.mode == Mode::Full.name() && self.subscriptions > 0 => "everything that exists".into(),
            None => return None,
        };
        Some(match &self.checkpoint {
            Some(file) => format!("{what}, compared with {}", printable(&file.to_string_lossy())),
            None => format!("{what}; no checkpoint"),
        })
    }

    fn count(&self, text: &mut String) {
        let not_covered = match self.not_covered {
            0 => String::new(),
            count => format!(", not covered {count}"),
        };
        line(text, "subscriptions", format_args!("{:>11}{not_covered}", self.subscriptions));
        let usual =
            [("queries", self.queries), ("rows", self.rows), ("upserts", self.upserts), ("deletes", self.deletes)];
        let seldom = [
            ("unresolved", self.unresolved),
            ("skipped", self.skipped),
            ("retried", self.retried),
            ("failed", self.failed),
            ("duplicates", self.duplicates),
        ];
        for (name, count) in usual.into_iter().chain(seldom.into_iter().filter(|(_, count)| *count > 0)) {
            line(text, name, format_args!("{count:>11}"));
        }
        let mut name = "changed";
        for changed in self.changed() {
            line(text, name, changed);
            name = "";
        }
    }

    /// The outcomes of each type, the most frequent first: `+ 12  ~ 3  microsoft.compute/virtualmachines`.
    fn changed(&self) -> Vec<String> {
        let mut types: Vec<(Cow<'_, str>, TypeCounts)> =
            self.types.iter().map(|(name, counts)| (name.into(), *counts)).collect();
        types.sort_by_key(|(name, counts)| (Reverse(counts.total()), name.clone()));
        let total = TypeCounts::sum(&types);
        let lists_all = self.dry_run == Some(DryRun::Counts);
        if lists_all {
            if types.len() > 1 {
                types.push((format!("in all, of {} types", types.len()).into(), total));
            }
        } else if types.len() > MOST_TYPES {
            let rest = types.split_off(MOST_TYPES);
            types.push((format!("of {} more types", rest.len()).into(), TypeCounts::sum(&rest)));
        }
        types.iter().map(|(name, counts)| format!("{}{}", Signs { counts: *counts, total }, printable(name))).collect()
    }

    fn result(&self) -> (Style, Cow<'static, str>) {
        let style = match self.exit {
            Exit::Ok => GREEN,
            Exit::Refused => YELLOW,
            _ => RED,
        };
        let printed = match self.dry_run.filter(|_| self.exit == Exit::Ok) {
            None => return (style.bold(), self.exit.to_string().into()),
            Some(_) if self.closed => "ok: the output was closed before everything was printed; nothing was sent",
            Some(DryRun::Envelopes) => "ok: everything found was printed, nothing was sent",
            Some(DryRun::Counts) => "ok: everything found was counted, nothing was sent; pipe it to see the envelopes",
        };
        (style.bold(), printed.into())
    }
}

impl TypeCounts {
    fn sum(types: &[(Cow<'_, str>, Self)]) -> Self {
        types.iter().fold(Self::default(), |sum, (_, counts)| Self {
            upserts: sum.upserts + counts.upserts,
            new: sum.new + counts.new,
            deletes: sum.deletes + counts.deletes,
            failed: sum.failed + counts.failed,
        })
    }
}

/// Counts with their signs, in columns as wide as the total needs.
struct Signs {
    counts: TypeCounts,
    total: TypeCounts,
}

impl Display for Signs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { counts, total } = self;
        for (sign, style, count, total) in [
            ('+', GREEN, counts.new, total.new),
            ('~', YELLOW, counts.updated(), total.updated()),
            ('-', RED, counts.deletes, total.deletes),
            ('!', RED, counts.failed, total.failed),
        ] {
            let width = match total {
                0 => continue,
                total => total.to_string().len(),
            };
            match count {
                0 => write!(f, "{:width$}  ", "", width = width + 2)?,
                count => write!(f, "{style}{sign} {count:>width$}{style:#}  ")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(report: &Report) -> String {
        anstream::adapter::strip_str(&report.to_text()).to_string()
    }

    fn with(types: impl IntoIterator<Item = (String, TypeCounts)>) -> Report {
        Report { subscriptions: 1, types: types.into_iter().collect(), ..Report::new("incremental") }
    }

    #[test]
    fn what_changed_is_told_by_type_in_columns_most_first() {
        let report = with([
            ("a/vaults".to_owned(), TypeCounts { upserts: 3, ..TypeCounts::default() }),
            ("a/disks".to_owned(), TypeCounts { deletes: 1, ..TypeCounts::default() }),
            ("a/machines".to_owned(), TypeCounts { upserts: 14, new: 12, failed: 1, ..TypeCounts::default() }),
        ]);
        let text = plain(&report);
        let lines: Vec<&str> = text.lines().skip_while(|line| !line.starts_with("changed")).take(3).collect();
        assert_eq!(
            lines,
            [
                "changed        + 12  ~ 2       ! 1  a/machines",
                "                     ~ 3            a/vaults",
                "                          - 1       a/disks",
            ]
        );
    }

    #[test]
    fn ten_types_are_named_and_the_others_summed_up_except_in_a_dry_run_for_a_person() {
        let one = TypeCounts { upserts: 1, ..TypeCounts::default() };
        let report = with((10..23).map(|number| (format!("a/{number}"), one)));
        let text = plain(&report);
        assert!(text.contains("~  1  a/19\n") && text.contains("~  3  of 3 more types\n"), "{text}");
        assert!(!text.contains("a/20"), "{text}");
        let text = plain(&Report { dry_run: Some(DryRun::Counts), ..report });
        assert!(text.contains("~  1  a/22\n") && text.contains("~ 13  in all, of 13 types\n"), "{text}");
    }

    #[test]
    fn a_run_that_did_not_get_as_far_as_to_count_has_no_table_of_zeros() {
        let report = Report { exit: Exit::Credentials, ..Report::new("full") };
        let names: Vec<String> =
            plain(&report).lines().map(|line| line.split(' ').next().unwrap_or_default().to_owned()).collect();
        assert_eq!(names, ["mode", "time", "result"]);
    }

    #[test]
    fn what_was_read_is_told_with_its_checkpoint() {
        let since = Some("2026-01-02T03:04:05Z".parse().unwrap());
        let incremental = with([]);
        let read = |report: &Report| report.read().unwrap_or_default();
        assert_eq!(read(&incremental), "");
        let report = Report { since, checkpoint: Some("sync.redb".into()), ..incremental };
        assert_eq!(read(&report), "changes since 2026-01-02T03:04:05Z, compared with sync.redb");
        let report = Report { checkpoint: None, ..report };
        assert_eq!(read(&report), "changes since 2026-01-02T03:04:05Z; no checkpoint");
        let report = Report { mode: "full", since: None, ..report };
        assert_eq!(read(&report), "everything that exists; no checkpoint");
    }

    #[test]
    fn a_dry_run_says_what_was_printed_of_it() {
        let report = |dry_run, closed| Report { dry_run: Some(dry_run), closed, ..with([]) };
        for (dry_run, closed, told) in [
            (DryRun::Envelopes, false, "everything found was printed"),
            (DryRun::Envelopes, true, "closed before everything was printed"),
            (DryRun::Counts, false, "pipe it"),
        ] {
            assert!(plain(&report(dry_run, closed)).contains(told), "{dry_run:?}");
        }
    }
}
