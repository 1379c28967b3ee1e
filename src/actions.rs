//! GitHub Actions: annotations, a step summary, outputs, and a group around the log.
//!
//! Names, tags and error texts come from outside and are treated as data. Workflow commands escape them as GitHub's
//! toolkit does, the summary puts them in `<code>` inside an HTML block, where Markdown has no effect, and other output
//! neutralises commands.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::config::{ConfigError, Environment, is_job};
use crate::error::Exit;
use crate::freshness::ForPeople;
use crate::report::{Compared, Report, TypeCounts};
use crate::text::{printable, printable_up_to};

pub use crate::text::neutralize;

/// The most annotations of a kind that GitHub shows for one step.
const MOST_ANNOTATIONS: usize = 10;

/// Maximum characters of an annotation; GitHub shows fewer.
const LONGEST_MESSAGE: usize = 2000;

/// Maximum rows of a table or list in the summary.
const MOST_ROWS: usize = 50;

/// A GitHub Actions job, and the files that it reads.
#[derive(Clone, Debug)]
pub struct Actions {
    summary: Option<PathBuf>,
    output: Option<PathBuf>,
}

impl Actions {
    /// `Some` inside a job.
    pub fn detect(environment: Environment<'_>) -> Option<Self> {
        let file = |name| environment(name).filter(|path: &OsString| !path.is_empty()).map(PathBuf::from);
        is_job(environment).then(|| Self { summary: file("GITHUB_STEP_SUMMARY"), output: file("GITHUB_OUTPUT") })
    }

    /// Starts the log group. Call it before anything is logged.
    pub fn begin(&self) {
        say("::group::azure-incremental: log\n");
    }

    /// Ends the log group. Call it after the last line of the log.
    pub fn end(&self, report: &Report, warnings: &[String]) {
        let mut commands = String::from("::endgroup::\n");
        for (kind, messages) in [("error", &report.errors[..]), ("warning", warnings)] {
            messages.iter().take(MOST_ANNOTATIONS).for_each(|message| commands += &annotation(kind, message));
        }
        say(&commands);
        self.publish(&summary(report), report.upserts, report.deletes, report.failed, report.exit);
    }

    /// Reports a wrong configuration instead of a run.
    pub fn refuse(&self, error: &ConfigError) {
        let problems: Vec<String> = error.0.iter().map(ToString::to_string).collect();
        let commands: String =
            problems.iter().take(MOST_ANNOTATIONS).map(|problem| annotation("error", problem)).collect();
        say(&commands);
        let text = format!("### Azure to Port\n\n{}\n{}\n", Exit::Configuration, list(&problems));
        self.publish(&text, 0, 0, 0, Exit::Configuration);
    }

    /// Masks this line as `***` in the rest of the log.
    pub fn hide(&self, secret: &str) {
        let secret = secret.trim();
        if !secret.is_empty() {
            say(&format!("::add-mask::{}\n", escape_data(secret)));
        }
    }

    fn publish(&self, summary: &str, upserts: u64, deletes: u64, failed: u64, exit: Exit) {
        let outputs = format!("upserts={upserts}\ndeletes={deletes}\nfailed={failed}\nexit-reason={}\n", exit.reason());
        for (file, text) in [(&self.summary, summary), (&self.output, &outputs)] {
            if let Some(path) = file
                && let Err(error) = append(path, text)
            {
                say(&annotation("warning", &format!("{} cannot be written: {error}", path.display())));
            }
        }
    }
}

/// To standard error, because standard output may be another program's input. The runner reads commands from both.
fn say(commands: &str) {
    _ = io::stderr().write_all(commands.as_bytes());
}

/// A workflow command, escaped as in `@actions/core` (`escapeData`, `escapeProperty`).
fn annotation(kind: &str, message: &str) -> String {
    let message = printable_up_to(message, LONGEST_MESSAGE).to_string();
    format!("::{kind} title={}::{}\n", escape_property("azure-incremental"), escape_data(&message))
}

fn escape_data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn escape_property(text: &str) -> String {
    escape_data(text).replace(':', "%3A").replace(',', "%2C")
}

/// The report as Markdown. Text from outside is always inside an HTML block.
fn summary(report: &Report) -> String {
    let mut text = format!(
        "### Azure to Port: {} run{}\n\n{}\n\n",
        report.mode,
        if report.dry_run.is_some() { " (dry run, nothing was sent)" } else { "" },
        report.exit
    );
    let counts = [
        ("upserts", report.upserts),
        ("deletes", report.deletes),
        ("failed", report.failed),
        ("unresolved", report.unresolved),
        ("skipped", report.skipped),
        ("retried", report.retried),
        ("subscriptions", report.subscriptions),
        ("not covered", report.not_covered),
        ("queries", report.queries),
        ("rows", report.rows),
    ];
    let row = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    text += &row(counts.iter().map(|(name, _)| (*name).to_owned()).chain(["time".into()]).collect());
    text += &row(vec!["--:".into(); counts.len() + 1]);
    let time = format!("{:.1} s", report.elapsed.as_secs_f64());
    text += &row(counts.iter().map(|(_, count)| count.to_string()).chain([time]).collect());
    if let Some(Compared { held, in_doubt }) = report.compared {
        _ = write!(text, "\n{held} entities held, {} differ, {in_doubt} in doubt.\n", report.differing());
    }
    if let Some(fresh) = &report.freshness {
        _ = write!(
            text,
            "\nAccepted after the change: median {}, the freshest {}, the oldest {} ({} changes).\n",
            ForPeople(fresh.median),
            ForPeople(fresh.least),
            ForPeople(fresh.most),
            fresh.changes
        );
    }
    if report.duplicates > 0 {
        _ = write!(
            text,
            "\nResource Graph has more than one row of {} ids; one row of each was used.\n",
            report.duplicates
        );
    }
    text += &types(report);
    if let Some(why) = &report.full_because {
        text += "\nThis was a full run because\n\n";
        text += &list(std::slice::from_ref(why));
    }
    if !report.unlisted.is_empty() {
        text += "\nNot listed any more, and left unchanged in the catalog:\n\n";
        text += &list(&report.unlisted);
    }
    if !report.notes.is_empty() {
        text += "\nWhat the run could not know:\n\n";
        text += &list(&report.notes);
    }
    if !report.errors.is_empty() {
        text += "\nWhat went wrong:\n\n";
        text += &list(&report.errors);
    }
    text + "\n"
}

fn types(report: &Report) -> String {
    if report.types.is_empty() {
        return String::new();
    }
    let mut rows: Vec<(&String, &TypeCounts)> = report.types.iter().collect();
    rows.sort_by_key(|(name, counts)| (std::cmp::Reverse(counts.total()), *name));
    let mut text =
        String::from("\n<table>\n<tr><th>type</th><th>new</th><th>updated</th><th>deleted</th><th>failed</th></tr>\n");
    for (name, counts) in rows.iter().take(MOST_ROWS) {
        let TypeCounts { new, deletes, failed, .. } = counts;
        let updated = counts.updated();
        _ = writeln!(
            text,
            "<tr><td>{}</td><td>{new}</td><td>{updated}</td><td>{deletes}</td><td>{failed}</td></tr>",
            code(name)
        );
    }
    if let Some(more) = rows.len().checked_sub(MOST_ROWS).filter(|more| *more > 0) {
        _ = writeln!(text, "<tr><td>and {more} more types</td><td></td><td></td><td></td><td></td></tr>");
    }
    text + "</table>\n"
}

fn list(texts: &[String]) -> String {
    let items: String = texts.iter().take(MOST_ROWS).map(|text| format!("<li>{}</li>\n", code(text))).collect();
    format!("<ul>\n{items}</ul>\n")
}

/// Escapes text from outside for an HTML block, on one line.
fn code(text: &str) -> String {
    let text = printable(text).to_string();
    let escaped: String = text
        .chars()
        .map(|c| match c {
            '&' => "&amp;".into(),
            '<' => "&lt;".into(),
            '>' => "&gt;".into(),
            '"' => "&quot;".into(),
            '\'' => "&#39;".into(),
            c => c.to_string(),
        })
        .collect();
    format!("<code>{escaped}</code>")
}

/// Appends whole lines to the regular file that GitHub created for the step. Refuses a link in its place.
fn append(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let mut file = options.open(path)?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut last = [b'\n'];
    if found.len() > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    // An earlier step of the job may have left its last line unterminated; ours must not continue it.
    let open = if last == [b'\n'] { "" } else { "\n" };
    file.write_all(format!("{open}{text}").as_bytes())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config::Problem;

    const EVIL: &str =
        "x\n::error::y\r::set-output name=a::b ##[stop-commands]z %0A <img src=x> | *b* [l](https://e) `c` \u{1b}[31m";

    #[test]
    fn a_message_cannot_end_its_command_or_begin_another() {
        assert_eq!(annotation("error", "50 %\r\n::x,y"), "::error title=azure-incremental::50 %25  ::x,y\n");
        let evil = annotation("error", EVIL);
        assert!(evil.lines().count() == 1 && !evil.contains("##") && !evil.contains('\u{1b}'), "{evil}");
        assert_eq!(escape_data("50 %\r\n"), "50 %25%0D%0A");
        assert_eq!(escape_property("a:b,c%\n"), "a%3Ab%2Cc%25%0A");
    }

    #[test]
    fn no_markdown_and_no_html_of_theirs_takes_effect_in_the_summary() {
        let mut report = Report::new("incremental");
        report.errors.push(format!("{EVIL}\n\n# title"));
        report.full_because = Some(EVIL.into());
        report.notes.push(EVIL.into());
        report.types.insert(format!("{EVIL}</code></td></table>\n\n# type"), TypeCounts::default());
        let text = summary(&report);
        assert!(!text.contains("<img"));
        assert_eq!(text.matches("</table>").count(), 1);
        // Text from outside is on a line that begins as HTML, inside a block without empty lines.
        let theirs = |line: &&str| line.contains("[l](") || line.contains("# t");
        for line in text.lines().filter(theirs) {
            assert!(line.starts_with("<li><code>") || line.starts_with("<tr><td><code>"), "{line}");
        }
        assert_eq!(text.lines().filter(theirs).count(), 4);
        for block in text.split("\n\n").filter(|block| block.contains("<code>")) {
            assert!(block.trim_start().starts_with("<ul>") || block.trim_start().starts_with("<table>"), "{block}");
        }
    }

    #[test]
    fn outputs_and_summary_are_appended_to_what_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let (summary, output) = (directory.path().join("summary"), directory.path().join("output"));
        fs::write(&output, "mine=1").unwrap();
        let actions = Actions { summary: Some(summary.clone()), output: Some(output.clone()) };
        let mut report = Report::new("incremental");
        report.upserts = 12;
        report.compared = Some(Compared { held: 1234, in_doubt: 3 });
        actions.end(&report, &[]);
        assert_eq!(fs::read_to_string(&output).unwrap(), "mine=1\nupserts=12\ndeletes=0\nfailed=0\nexit-reason=ok\n");
        let written = fs::read_to_string(&summary).unwrap();
        assert!(written.contains("| 12 |") && written.contains("\n1234 entities held, 12 differ, 3 in doubt.\n"));
        actions.refuse(&ConfigError(vec![Problem { variable: "SYNC_MODE".into(), problem: "is wrong".into() }]));
        assert!(fs::read_to_string(&output).unwrap().ends_with("exit-reason=configuration\n"));
        assert!(fs::read_to_string(&summary).unwrap().contains("SYNC_MODE is wrong"));
    }

    #[cfg(unix)]
    #[test]
    fn a_link_in_place_of_a_file_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let precious = directory.path().join("precious");
        fs::write(&precious, "untouched").unwrap();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&precious, &link).unwrap();
        assert!(append(&link, "x").is_err());
        assert_eq!(fs::read(&precious).unwrap(), b"untouched");
    }

    #[test]
    fn only_a_job_of_githubs_is_one() {
        let environment = |value: &'static str| move |name: &str| (name == "GITHUB_ACTIONS").then(|| value.into());
        assert!(Actions::detect(&environment("true")).is_some());
        assert!(Actions::detect(&environment("false")).is_none());
        assert!(Actions::detect(&|_| None).is_none());
    }
}
