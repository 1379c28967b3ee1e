//! Which runs of a GitHub workflow have written the checkpoint: a cache whose save failed, or of another branch, is an older one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Run;
use crate::config::WorkflowRun;
use crate::error::Stop;
use crate::text::printable;

impl<S: Future<Output = Stop>> Run<'_, S> {
    /// Notes that this run writes the checkpoint, before it does anything else, and says if the checkpoint is an older one.
    pub(super) fn note_workflow(&self) -> Option<String> {
        let run = self.config.workflow_run.as_ref()?;
        let last = self.replica.last_run();
        let mut writers = Writers::of(last.as_deref());
        let gap = writers.add(run);
        self.replica.set_last_run(writers.write_into(last.as_deref().unwrap_or_default()));
        gap
    }

    /// The account of this run, with what that of the last one said of workflows.
    pub(super) fn with_workflows(&self, account: &str) -> String {
        Writers::of(self.replica.last_run().as_deref()).write_into(account)
    }
}

/// The last run of each workflow that wrote the checkpoint. It is a part of the account of the last run.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Writers {
    #[serde(default)]
    workflow_runs: BTreeMap<String, u64>,
}

impl Writers {
    /// As an account says.
    fn of(account: Option<&str>) -> Self {
        account.and_then(|account| serde_json::from_str(account).ok()).unwrap_or_default()
    }

    /// Adds this run, and says if runs between the last one and this one have left no checkpoint.
    fn add(&mut self, run: &WorkflowRun) -> Option<String> {
        let WorkflowRun { workflow, number } = run;
        let last = self.workflow_runs.insert(workflow.clone(), *number)?;
        (last.saturating_add(1) < *number).then(|| {
            format!(
                "the checkpoint is older than the last run of this workflow: run {last} of {} saved it, and this is run {number}; what \
                 the runs between have posted is compared, and corrected where it differs",
                printable(workflow)
            )
        })
    }

    /// The account with these.
    fn write_into(&self, account: &str) -> String {
        let mut account: Map<String, Value> = serde_json::from_str(account).unwrap_or_default();
        if let Ok(Value::Object(writers)) = serde_json::to_value(self) {
            account.extend(writers);
        }
        Value::Object(account).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_left_no_checkpoint_is_told_by_its_number() {
        let run = |workflow: &str, number| WorkflowRun { workflow: workflow.into(), number };
        let mut writers = Writers::of(None);
        assert_eq!(writers.add(&run("sync", 7)), None, "nothing is known");
        let mut writers = Writers::of(Some(&writers.write_into(r#"{"exit":0}"#)));
        for (workflow, number, is_told) in [
            ("sync", 7, false),
            ("sync", 8, false),
            ("full", 3, false),
            ("sync", 9, false),
            ("sync", 11, true),
            ("full", 5, true),
        ] {
            let told = writers.add(&run(workflow, number));
            assert_eq!(told.is_some(), is_told, "{workflow} {number}: {told:?}");
        }
        assert_eq!(writers.add(&run("sync", 2)), None, "an older run was started again");
        assert!(writers.write_into(r#"{"exit":0}"#).contains(r#""exit":0"#));
    }
}
