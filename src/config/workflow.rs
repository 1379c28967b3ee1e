//! Identifies the GitHub workflow run, from the variables that GitHub sets.

use super::reader::Environment;

/// A run of a workflow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkflowRun {
    /// The path of the workflow file, including the repository.
    pub workflow: String,
    /// The number of the run, starting at 1. Re-runs keep it.
    pub number: u64,
}

/// Whether this is a job of GitHub Actions.
pub(crate) fn is_job(environment: Environment<'_>) -> bool {
    environment("GITHUB_ACTIONS").is_some_and(|value| value == "true")
}

impl WorkflowRun {
    /// `None` outside a job, or if GitHub does not set the variables.
    pub(super) fn detect(environment: Environment<'_>) -> Option<Self> {
        let text = |name| environment(name)?.into_string().ok();
        // octocat/hello-world/.github/workflows/sync.yml@refs/heads/main
        let workflow = text("GITHUB_WORKFLOW_REF")?.split('@').next()?.to_owned();
        let number = text("GITHUB_RUN_NUMBER")?.parse().ok()?;
        (is_job(environment) && !workflow.is_empty()).then_some(Self { workflow, number })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workflow_is_the_same_on_every_branch() {
        let run = |branch: &'static str| {
            WorkflowRun::detect(&move |name| match name {
                "GITHUB_ACTIONS" => Some("true".into()),
                "GITHUB_WORKFLOW_REF" => Some(format!("o/r/.github/workflows/w.yml@refs/heads/{branch}").into()),
                "GITHUB_RUN_NUMBER" => Some("12".into()),
                _ => None,
            })
        };
        let expected = WorkflowRun { workflow: "o/r/.github/workflows/w.yml".into(), number: 12 };
        assert_eq!((run("main"), run("dev@home")), (Some(expected.clone()), Some(expected)));
        assert_eq!(WorkflowRun::detect(&|name| (name == "GITHUB_ACTIONS").then(|| "true".into())), None);
    }
}
