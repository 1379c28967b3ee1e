//! Before a subscription is forgotten: shows what would be deleted, and asks for confirmation.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;

use serde::Serialize;

use super::ask::{ask, can_ask};
use super::checkpoint::{self, Trouble};
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::cli::ForgetArgs;
use crate::config::{Config, LogFormat};
use crate::engine::Replica;
use crate::error::{Exit, Problem};
use crate::report::Report;
use crate::text::{Neutralized, printable};

/// Entities to name.
const MOST_NAMED: usize = 5;

/// Entries to search for them.
const SOME: usize = 1000;

/// Why nothing was deleted.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    Checkpoint(CheckpointError),
    #[error("the checkpoint {} holds nothing of subscription {subscription}", .file.display())]
    NotHeld { file: PathBuf, subscription: String },
    #[error("forget asks before it deletes, and there is no terminal to ask on")]
    NoTerminal,
    #[error("what would be deleted cannot be shown: {0}")]
    Output(io::Error),
    #[error("nothing was deleted, as the answer was not yes")]
    Declined,
}

impl Problem for Refusal {
    fn exit(&self) -> Exit {
        match self {
            Self::Checkpoint(error) => error.exit(),
            Self::NotHeld { .. } | Self::NoTerminal => Exit::Configuration,
            Self::Output(_) | Self::Declined => Exit::Failed,
        }
    }

    fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Checkpoint(error) => error.advice(),
            Self::NotHeld { .. } => Some("azure-incremental checkpoint shows the subscriptions that it holds"),
            Self::NoTerminal => Some("add --yes to delete without being asked, or --dry-run to see each delete"),
            Self::Output(_) | Self::Declined => None,
        }
    }
}

impl From<Trouble> for Refusal {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Checkpoint(error) => Self::Checkpoint(error),
            Trouble::Output(error) => Self::Output(error),
        }
    }
}

/// What would be deleted.
#[derive(Debug, Serialize)]
struct Doomed {
    #[serde(rename = "forget")]
    subscription: String,
    held: u64,
    types: BTreeMap<String, u64>,
    /// Some of the ids.
    first: Vec<String>,
}

/// Shows what the checkpoint holds of this subscription, and asks whether to delete it, unless that is already
/// confirmed or nothing will be deleted. The file is closed before asking, so that no run waits for the answer. An
/// error is the report of a run that did nothing.
pub async fn confirm(args: &ForgetArgs, config: &Config, id: &str, format: LogFormat) -> Result<(), Box<Report>> {
    let confirmed = async {
        let doomed = look(config, id).await?;
        let mut output = Neutralized(io::stderr());
        doomed.tell(format, &mut output).map_err(Refusal::Output)?;
        if args.yes || config.dry_run.is_some() {
            return Ok(());
        }
        if !can_ask() {
            return Err(Refusal::NoTerminal);
        }
        let question = "Delete them, and forget the subscription?";
        let is_yes = ask(question, &mut output, &mut io::stdin().lock()).map_err(Refusal::Output)?;
        if is_yes { Ok(()) } else { Err(Refusal::Declined) }
    };
    confirmed.await.map_err(|refusal| {
        let mut report = Report::new("forget");
        report.dry_run = config.dry_run;
        report.fail(&refusal);
        Box::new(report)
    })
}

async fn look(config: &Config, id: &str) -> Result<Doomed, Refusal> {
    let file = config.checkpoint.as_ref().map(|checkpoint| checkpoint.file.clone()).unwrap_or_default();
    let held = Checkpoint::open_to_read(&file).await.map_err(Refusal::Checkpoint)?;
    let mut shards = held.shards().map_err(Refusal::Checkpoint)?.into_iter();
    let Some(shard) = shards.find(|shard| shard.as_str() == id) else {
        return Err(Refusal::NotHeld { file, subscription: id.to_owned() });
    };
    let of = checkpoint::subscription(&held, &shard)?;
    let some = held.entries(&shard, None, SOME).map_err(Refusal::Checkpoint)?.into_iter();
    let first = some.filter(|(_, entry)| entry.is_held()).take(MOST_NAMED);
    let first = first.map(|(id, _)| id.as_str().to_owned()).collect();
    Ok(Doomed { subscription: of.id, held: of.held, types: of.types, first })
}

impl Doomed {
    fn tell(&self, format: LogFormat, output: &mut impl Write) -> io::Result<()> {
        if format == LogFormat::Json {
            return writeln!(output, "{}", serde_json::to_string(self)?);
        }
        writeln!(output, "{}", printable(&self.subscription))?;
        writeln!(output, "    {} entities to delete from the catalog", self.held)?;
        checkpoint::tell_types(&self.types, output)?;
        for id in &self.first {
            writeln!(output, "    such as  {}", printable(id))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_deleted_is_told_by_type_or_as_one_line_of_json() {
        let doomed = Doomed {
            subscription: "/subscriptions/s".into(),
            held: 3,
            types: BTreeMap::from([("a.b/c".into(), 2), ("x\u{1b}[31m".into(), 1)]),
            first: vec!["/subscriptions/s".into()],
        };
        let told = |format| {
            let mut output = Vec::new();
            doomed.tell(format, &mut output).unwrap();
            String::from_utf8(output).unwrap()
        };
        let text = told(LogFormat::Text);
        assert!(text.contains("3 entities") && text.contains("       2  a.b/c") && !text.contains('\u{1b}'), "{text}");
        let json: serde_json::Value = serde_json::from_str(&told(LogFormat::Json)).unwrap();
        assert_eq!((&json["held"], &json["types"]["a.b/c"]), (&3.into(), &2.into()));
    }
}
