//! The estate, read whole for whoever changes nothing.

use std::cell::RefCell;

use futures::future::FutureExt;

use super::{Run, Work, blank};
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
    let report = RefCell::new(blank(config, &Work::Sync));
    let outcome = async {
        let run = Run::prepare(config, &Work::Sync, stop.shared(), &report).await?;
        run.sync(sink).await
    };
    let outcome = Box::pin(outcome).await;
    let mut report = report.into_inner();
    let estate = outcome.unwrap_or_else(|error| {
        report.fail(&error);
        None
    });
    let listed = estate.iter().flat_map(|estate| &estate.listed);
    Survey { listed: listed.map(|one| one.root.id.as_str().to_owned()).collect(), report }
}
