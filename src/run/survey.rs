//! The estate, read whole for whoever changes nothing.

use futures::future::FutureExt;

use super::{Run, RunError, Work, blank};
use crate::config::Config;
use crate::engine::AnySink;
use crate::error::Stop;
use crate::report::Report;

/// What was read of the estate.
pub(crate) struct Survey {
    pub(crate) report: Report,
    /// The subscriptions that are listed, as lower-case ids.
    pub(crate) listed: Vec<String>,
}

/// Reads everything in scope for a sink that changes nothing. By this configuration nothing must be remembered.
pub(crate) async fn survey(config: &Config, sink: &dyn AnySink, stop: impl Future<Output = Stop>) -> Survey {
    let mut survey = Survey { report: blank(config, &Work::Sync), listed: Vec::new() };
    let outcome = async {
        let run = Run::prepare(config, &Work::Sync, stop.shared()).await?;
        let estate = run.sync(sink, &mut survey.report).await?;
        let listed = estate.iter().flat_map(|estate| &estate.listed);
        survey.listed = listed.map(|one| one.root.id.as_str().to_owned()).collect();
        Ok::<_, RunError>(())
    };
    if let Err(error) = Box::pin(outcome).await {
        survey.report.fail(&error);
    }
    survey
}
