//! Shows the contents of a checkpoint: by subscription and type, as a list, or for one entity. Read-only.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::cli::CheckpointArgs;
use crate::config::LogFormat;
use crate::engine::{Absent, Entry, Mark, Replica, State};
use crate::error::{Exit, Problem};
use crate::model::{Id, Scope, Stage};
use crate::sources::directory;
use crate::sources::resource_graph::arm_id::{ArmId, id_of};
use crate::text::{Neutralized, printable};

/// Entries per read.
const PAGE: usize = 1000;

/// Types and entities in doubt to show for each subscription.
const MOST_TYPES: usize = 10;
const MOST_DOUBTS: usize = 10;

/// The contents of a checkpoint.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary<'a> {
    file: &'a Path,
    held: u64,
    in_doubt: u64,
    subscriptions: Vec<Subscription>,
    last_run: Option<Box<RawValue>>,
}

/// What it contains for a subscription.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Subscription {
    pub(super) id: String,
    /// Changes up to this time, minus the overlap, have been read.
    since: Option<Timestamp>,
    /// The last time that everything was compared.
    full: Option<Timestamp>,
    pub(super) held: u64,
    in_doubt: u64,
    /// Entities held, by type.
    pub(super) types: BTreeMap<String, u64>,
    #[serde(skip)]
    doubts: Vec<(Id, Entry)>,
}

/// One entity, as a line of JSON.
#[derive(Serialize)]
struct Line<'a> {
    id: &'a str,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
    /// The start of the run that last received an answer for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<Timestamp>,
    /// Since when it has been missing, or `proven` if a record says that it was deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    absent: Option<String>,
    there: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'static str>,
    unread: bool,
    fresh: bool,
}

/// The parts of the last run that are shown to people.
#[derive(serde::Deserialize)]
struct LastRun {
    start: Timestamp,
    mode: String,
    exit: u8,
    /// Subscriptions that were not listed.
    #[serde(default)]
    unlisted: Vec<String>,
}

/// Prints what was requested; errors go to `complaints`.
pub async fn show(
    file: PathBuf,
    args: &CheckpointArgs,
    format: LogFormat,
    output: impl Write,
    mut complaints: impl Write,
) -> Exit {
    match print(&file, args, format, &mut Neutralized(output), &mut complaints).await {
        Ok(exit) => exit,
        Err(Trouble::Checkpoint(error)) => {
            _ = writeln!(Neutralized(&mut complaints), "error: {}", error.told());
            error.exit()
        }
        // A reader that closed the pipe has seen enough.
        Err(Trouble::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Ok,
        Err(Trouble::Output(error)) => {
            _ = writeln!(complaints, "error: cannot write the output: {error}");
            Exit::Failed
        }
    }
}

pub(super) enum Trouble {
    Checkpoint(CheckpointError),
    Output(io::Error),
}

impl From<CheckpointError> for Trouble {
    fn from(error: CheckpointError) -> Self {
        Self::Checkpoint(error)
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

async fn print(
    file: &Path,
    args: &CheckpointArgs,
    format: LogFormat,
    output: &mut impl Write,
    complaints: &mut impl Write,
) -> Result<Exit, Trouble> {
    let checkpoint = Checkpoint::open_to_read(file).await?;
    if checkpoint.terms().is_none() {
        let why = if file.exists() { "holds nothing yet: no run has read anything" } else { "does not exist yet" };
        _ = writeln!(complaints, "error: {} {why}", printable(&file.display().to_string()));
        return Ok(Exit::Failed);
    }
    if let Some(text) = &args.id {
        return one(&checkpoint, text, format, output);
    }
    if args.list {
        for shard in checkpoint.shards()? {
            each(&checkpoint, &shard, |id, entry| line(output, &id, &entry))?;
        }
        return Ok(Exit::Ok);
    }
    let summary = summary(&checkpoint, file)?;
    match format {
        LogFormat::Json => {
            serde_json::to_writer(&mut *output, &summary).map_err(io::Error::from)?;
            writeln!(output)?;
        }
        LogFormat::Text => summary.tell(output)?,
    }
    Ok(Exit::Ok)
}

/// Prints what is known about one entity.
fn one(checkpoint: &Checkpoint, text: &str, format: LogFormat, output: &mut impl Write) -> Result<Exit, Trouble> {
    let text = text.trim().trim_end_matches('/');
    let Some(id) = id_of(text).or_else(|| directory::kind::id_of(text)) else {
        writeln!(output, "{} is not an id: expected /subscriptions/…, or users/GUID and the like", printable(text))?;
        return Ok(Exit::Configuration);
    };
    let Some(entry) = checkpoint.entry(&id)? else {
        writeln!(
            output,
            "{} is not in the checkpoint: this program has not put it into the catalog",
            printable(id.as_str())
        )?;
        return Ok(Exit::Failed);
    };
    match format {
        LogFormat::Json => line(output, &id, &entry)?,
        LogFormat::Text => {
            writeln!(output, "{}", printable(id.as_str()))?;
            for sentence in sentences(&id, &entry, checkpoint.mark(&id.root())) {
                writeln!(output, "    {sentence}")?;
            }
        }
    }
    Ok(Exit::Ok)
}

/// Describes an entry for people.
fn sentences(id: &Id, entry: &Entry, mark: Mark) -> Vec<String> {
    let mut told = vec![match entry.state {
        State::Held(content) => format!("held: the catalog accepted content {:016x}", content.0),
        State::Refused(content) => format!("rejected: the catalog rejected content {:016x} individually", content.0),
        State::Unknown => "in doubt: something may or may not have arrived; the next run asks for it".to_owned(),
        State::Nothing => "not held: this program has not put it into the catalog".to_owned(),
    }];
    told.extend(entry.at.map(|at| format!("last answered in the run of {at:.0}")));
    told.extend(entry.absent.map(|absent| match absent {
        Absent::Proven => "a record says that it was deleted".to_owned(),
        Absent::Since(since) => format!("missing since {since:.0}"),
    }));
    told.extend(
        entry.scope.map(|scope| format!("its tags put it {} scope", if scope == Scope::In { "in" } else { "out of" })),
    );
    told.extend(entry.unread.then(|| will_be_read(id).to_owned()));
    told.extend(entry.fresh.then(|| "it is new to the catalog: what relates to it will be read again".to_owned()));
    if id.stage() == Stage::Root {
        told.extend(mark.since.map(|since| format!("records have been read up to {since:.0}")));
        told.extend(mark.full.map(|full| format!("last compared in full at {full:.0}")));
    }
    told
}

fn will_be_read(id: &Id) -> &'static str {
    if id.stage() == Stage::Leaf { "it will be read again" } else { "all its resources will be read again" }
}

fn line(output: &mut impl Write, id: &Id, entry: &Entry) -> Result<(), Trouble> {
    let (state, content) = match entry.state {
        State::Held(content) => ("held", Some(content)),
        State::Refused(content) => ("rejected", Some(content)),
        State::Unknown => ("unknown", None),
        State::Nothing => ("nothing", None),
    };
    let line = Line {
        id: id.as_str(),
        state,
        content: content.map(|content| format!("{:016x}", content.0)),
        at: entry.at,
        absent: entry.absent.map(|absent| match absent {
            Absent::Proven => "proven".to_owned(),
            Absent::Since(since) => since.to_string(),
        }),
        there: entry.there,
        scope: entry.scope.map(|scope| if scope == Scope::In { "in" } else { "out" }),
        unread: entry.unread,
        fresh: entry.fresh,
    };
    let mut text = serde_json::to_string(&line).map_err(io::Error::from)?;
    text.push('\n');
    Ok(output.write_all(text.as_bytes())?)
}

fn summary<'a>(checkpoint: &Checkpoint, file: &'a Path) -> Result<Summary<'a>, Trouble> {
    let mut subscriptions = Vec::new();
    for shard in checkpoint.shards()? {
        subscriptions.push(subscription(checkpoint, &shard)?);
    }
    let sum = |count: fn(&Subscription) -> u64| subscriptions.iter().map(count).sum();
    Ok(Summary {
        file,
        held: sum(|of| of.held),
        in_doubt: sum(|of| of.in_doubt),
        last_run: checkpoint.last_run().and_then(|last| RawValue::from_string(last).ok()),
        subscriptions,
    })
}

/// What a checkpoint contains for a subscription.
pub(super) fn subscription(checkpoint: &Checkpoint, shard: &Id) -> Result<Subscription, Trouble> {
    let Mark { since, full } = checkpoint.mark(shard);
    let id = shard.as_str().to_owned();
    let mut of = Subscription { id, since, full, held: 0, in_doubt: 0, types: BTreeMap::new(), doubts: Vec::new() };
    each(checkpoint, shard, |id, entry| {
        if entry.is_held() {
            of.held += 1;
            let kind = ArmId::parse(id.as_str()).map_or_else(|| id.shard().to_owned(), |arm| arm.kind());
            *of.types.entry(kind).or_default() += 1;
        }
        if entry.is_in_doubt() {
            of.in_doubt += 1;
            if of.doubts.len() < MOST_DOUBTS {
                of.doubts.push((id, entry));
            }
        }
        Ok(())
    })?;
    Ok(of)
}

fn each(
    checkpoint: &Checkpoint,
    shard: &Id,
    mut act: impl FnMut(Id, Entry) -> Result<(), Trouble>,
) -> Result<(), Trouble> {
    let mut after: Option<Id> = None;
    loop {
        let page = checkpoint.entries(shard, after.as_ref(), PAGE)?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        after = Some(last.clone());
        for (id, entry) in page {
            act(id, entry)?;
        }
    }
}

/// Prints the types with the most entities, one per line.
pub(super) fn tell_types(types: &BTreeMap<String, u64>, output: &mut impl Write) -> io::Result<()> {
    let mut types: Vec<(&String, &u64)> = types.iter().collect();
    types.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    for (kind, count) in types.iter().take(MOST_TYPES) {
        writeln!(output, "    {count:>8}  {}", printable(kind))?;
    }
    if types.len() > MOST_TYPES {
        writeln!(output, "              and {} more types", types.len() - MOST_TYPES)?;
    }
    Ok(())
}

impl Summary<'_> {
    fn tell(&self, output: &mut impl Write) -> io::Result<()> {
        writeln!(output, "{}", printable(&self.file.display().to_string()))?;
        writeln!(output, "{} entities held, {} in doubt", self.held, self.in_doubt)?;
        let last = self.last_run.as_ref().and_then(|last| serde_json::from_str::<LastRun>(last.get()).ok());
        if let Some(LastRun { start, mode, exit, .. }) = &last {
            writeln!(output, "last run: {mode}, started {start:.0}, exit {exit}")?;
        }
        for of in &self.subscriptions {
            let time = |at: Option<Timestamp>| at.map_or_else(|| "never".to_owned(), |at| format!("{at:.0}"));
            writeln!(output, "\n{}", printable(&of.id))?;
            writeln!(output, "    {} held, {} in doubt", of.held, of.in_doubt)?;
            writeln!(output, "    read up to {}, last compared in full {}", time(of.since), time(of.full))?;
            if last.as_ref().is_some_and(|last| last.unlisted.contains(&of.id)) {
                writeln!(
                    output,
                    "    not listed by the last run; if it is gone for good, azure-incremental forget deletes it"
                )?;
            }
            tell_types(&of.types, output)?;
            for (id, entry) in &of.doubts {
                let why = match (entry.state, entry.absent) {
                    (_, Some(Absent::Since(since))) => format!("missing since {since:.0}"),
                    (_, Some(Absent::Proven)) => {
                        "deleted in Azure, and Port has not accepted the delete yet".to_owned()
                    }
                    (State::Unknown, None) => "Port has not accepted it yet, or did not answer".to_owned(),
                    _ => will_be_read(id).to_owned(),
                };
                writeln!(output, "    in doubt  {}: {why}", printable(id.as_str()))?;
            }
            let more = of.in_doubt.saturating_sub(of.doubts.len() as u64);
            if more > 0 {
                writeln!(output, "              and {more} more in doubt; --list shows all")?;
            }
        }
        Ok(())
    }
}
