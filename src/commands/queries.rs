//! Prints the queries that a run would send now, based on the settings and the checkpoint. Does not connect to Azure.

use jiff::Timestamp;

use super::Printed;
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::config::{Mode, QueryConfig};
use crate::engine::{Full, Replica, Terms};
use crate::error::{Exit, Problem};
use crate::model::Id;
use crate::run::{Mapped, Reach, RunError, extent};
use crate::sources::resource_graph::queries::{Shown, explorer};

/// The queries, and the reason for them.
pub async fn show(config: &QueryConfig) -> Printed {
    match texts(config).await {
        Ok((output, why)) => Printed { output, complaints: format!("note: {why}\n"), exit: Exit::Ok },
        Err(error) => {
            Printed { output: String::new(), complaints: format!("error: {}\n", error.told()), exit: error.exit() }
        }
    }
}

async fn texts(config: &QueryConfig) -> Result<(String, String), RunError> {
    let mapped = config.mapping_file.as_deref().map(Mapped::read).transpose()?;
    let (shown, why) = shown(config, mapped.as_ref()).await?;
    Ok((explorer(&Mapped::scope(mapped.as_ref(), &config.scope), shown, Timestamp::now()), why))
}

async fn shown(config: &QueryConfig, mapped: Option<&Mapped>) -> Result<(Shown, String), CheckpointError> {
    let replica = match &config.checkpoint {
        Some(checkpoint) => Checkpoint::open_to_read(&checkpoint.file).await?,
        None => Checkpoint::stateless(),
    };
    let listed: &[Id] = &replica.shards()?;
    let reach = Reach { replica: &replica, listed, start: Timestamp::now() };
    let (full, overlap) = extent(config.mode, config.checkpoint.as_ref(), config.window);
    let sink = replica.terms().map(|was| was.sink).unwrap_or_default();
    let terms = Terms { sink, scope: Mapped::terms(mapped, &config.scope).to_text() };
    let why_full = reach.why_full(&terms, full);
    let everything = |why: String| {
        // For an unknown subscription, more records are read than for the others.
        let is_known = !listed.is_empty() && listed.iter().all(|id| replica.mark(id).since.is_some());
        let since = if is_known { reach.oldest_mark(overlap) } else { None };
        Ok((Shown::Everything { since }, why))
    };
    match (why_full, reach.since(full, overlap)) {
        (Some(why), _) => everything(format!("a run would read everything that exists: {why}")),
        (None, None) if config.mode == Mode::Full => everything("a full run reads everything that exists".into()),
        (None, None) => everything("a run would read everything that exists".into()),
        (None, Some(since)) => Ok((
            Shown::Changes { since },
            match full {
                Full::Never { .. } => format!(
                    "a run without a checkpoint would read changes since {since:.0}, as CHANGE_WINDOW_MINUTES says"
                ),
                Full::Now | Full::Every(_) => {
                    let doubts = match replica.totals()?.in_doubt {
                        0 => String::new(),
                        count => format!("; it would also ask for {count} entities by their ids"),
                    };
                    format!(
                        "a run would read changes since {since:.0}, from the checkpoint's marks less CHANGE_OVERLAP_MINUTES{doubts}"
                    )
                }
            },
        )),
    }
}
