//! What can end a run badly, what a person can do about it, and the one way from there to an exit code.

use std::fmt;
use std::process::ExitCode;

use serde::{Serialize, Serializer};

use crate::azure::arm::ArmError;
use crate::azure::credential::CredentialError;
use crate::azure::graph::{GraphError, SinkError};
use crate::http::RequestError;
use crate::port::dead_letter::DeadLetterError;
use crate::port::preview::PreviewError;
use crate::port::webhook::WebhookError;
use crate::sync::resume::FilterGone;
use crate::sync::store::StoreError;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Everything found was accepted.
    Ok,
    /// Something was not read or not accepted.
    Failed,
    /// The configuration or the command line is wrong.
    Configuration,
    /// Azure refused the credentials, or the principal can read no subscription.
    Credentials,
    /// All delivered but for envelopes that Port refused for themselves.
    Refused,
    /// Stopped by SIGINT.
    Interrupted,
    /// Stopped by SIGTERM.
    Terminated,
}

impl Exit {
    /// What the process ends with; all others are left to the shell.
    pub fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failed => 1,
            Self::Configuration => 2,
            Self::Credentials => 3,
            Self::Refused => 4,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }

    /// A word for it.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Configuration => "configuration",
            Self::Credentials => "credentials",
            Self::Refused => "refused",
            Self::Interrupted => "interrupted",
            Self::Terminated => "terminated",
        }
    }

    /// The one that a caller should be told where both hold.
    #[must_use]
    pub fn or_worse(self, other: Self) -> Self {
        const WORST_FIRST: [Exit; 7] = [
            Exit::Interrupted,
            Exit::Terminated,
            Exit::Configuration,
            Exit::Credentials,
            Exit::Failed,
            Exit::Refused,
            Exit::Ok,
        ];
        WORST_FIRST.into_iter().find(|exit| *exit == self || *exit == other).unwrap_or(self)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "ok: everything found was accepted",
            Self::Failed => "failed: something was not read or not accepted (exit 1)",
            Self::Configuration => "the configuration is wrong (exit 2)",
            Self::Credentials => "Azure let nothing be read with these credentials (exit 3)",
            Self::Refused => "all delivered but for envelopes that Port refused (exit 4)",
            Self::Interrupted => "stopped by SIGINT before everything was delivered (exit 130)",
            Self::Terminated => "stopped by SIGTERM before everything was delivered (exit 143)",
        })
    }
}

impl Serialize for Exit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(self.code())
    }
}

/// What may end a run before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    /// By SIGINT.
    #[error("stopped by SIGINT before everything was delivered")]
    Interrupted,
    /// By SIGTERM.
    #[error("stopped by SIGTERM before everything was delivered")]
    Terminated,
    /// By `RUN_TIMEOUT_SECONDS`.
    #[error("stopped after RUN_TIMEOUT_SECONDS before everything was delivered")]
    TimedOut,
}

/// What can go wrong with a run. Each error says where it is defined how the run ends by it, and what to do about it.
pub(crate) trait Problem: std::error::Error {
    /// The exit that it leads to.
    fn exit(&self) -> Exit {
        Exit::Failed
    }

    /// How to fix it, where that is known.
    fn advice(&self) -> Option<&'static str> {
        None
    }
}

impl Problem for Stop {
    fn exit(&self) -> Exit {
        match self {
            Self::Interrupted => Exit::Interrupted,
            Self::Terminated => Exit::Terminated,
            Self::TimedOut => Exit::Failed,
        }
    }
}

/// What ended a run, or a part of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error(transparent)]
    Setup(#[from] RequestError),
    #[error(transparent)]
    Credential(#[from] CredentialError),
    #[error("listing the subscriptions: {0}")]
    Subscriptions(#[source] ArmError),
    #[error("the principal can read no subscription")]
    NoSubscription,
    #[error("{0}")]
    Query(#[from] GraphError),
    #[error(transparent)]
    Webhook(#[from] WebhookError),
    #[error(transparent)]
    Preview(#[from] PreviewError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    DeadLetter(#[from] DeadLetterError),
    #[error("the checkpoint cannot be written: {0}")]
    Checkpoint(serde_json::Error),
    #[error(transparent)]
    FilterGone(#[from] FilterGone),
    #[error("{0} of the ids could not be looked up; the log names each")]
    NotLookedUp(u64),
    #[error(transparent)]
    Stopped(#[from] Stop),
    #[error("{0} envelopes were not delivered; the log names each")]
    NotDelivered(u64),
    #[error("Port refused {0} envelopes for themselves; the log names each")]
    EnvelopesRefused(u64),
    #[error("{0} envelopes that Port refused in an earlier run were found again; they are not tried again as they are")]
    StillRefused(u64),
    #[error(
        "Port refused {0} envelopes, ten of them in a row, or accepted none at all: it is the webhook that is wrong"
    )]
    AllRefused(u64),
}

impl RunError {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Credential(CredentialError::Refused(_) | CredentialError::Unusable { .. }) | Self::NoSubscription => {
                Exit::Credentials
            }
            Self::Subscriptions(error) if error.is_refusal() => Exit::Credentials,
            Self::Query(GraphError::Request { source, .. }) if source.is_refusal() => Exit::Credentials,
            Self::EnvelopesRefused(_) | Self::StillRefused(_) => Exit::Refused,
            Self::Store(StoreError::Rights { .. }) | Self::FilterGone(_) | Self::DeadLetter(_) => Exit::Configuration,
            Self::Stopped(Stop::Interrupted) => Exit::Interrupted,
            Self::Stopped(Stop::Terminated) => Exit::Terminated,
            _ => Exit::Failed,
        }
    }

    /// Whether it only says that something else ended the run.
    pub(crate) fn is_stop(&self) -> bool {
        matches!(self, Self::Query(GraphError::Sink(SinkError::Stopped(_))))
    }

    /// What to do about it, where that is known.
    pub(crate) fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Setup(error) => error.advice(),
            Self::Credential(error) => error.advice(),
            Self::Subscriptions(error) | Self::Query(GraphError::Request { source: error, .. }) => error.advice(),
            Self::NoSubscription => Some(
                "assign the Reader role to the service principal on the subscriptions to be read; it may take minutes to act",
            ),
            Self::Query(GraphError::Unproven { .. }) => {
                Some("the estate changed too fast to be read whole; the next run reads it again")
            }
            Self::Webhook(WebhookError::Rejected(error))
                if error.status().is_some_and(|status| status.is_redirection()) =>
            {
                error.advice()
            }
            Self::Webhook(WebhookError::Rejected(_)) => {
                Some("check PORT_WEBHOOK_INGEST_URL against the URL that Port shows under Data sources")
            }
            Self::Webhook(WebhookError::Down { error, .. }) => error.advice(),
            Self::AllRefused(_) => Some(
                "check that PORT_WEBHOOK_INGEST_URL is the URL of a custom webhook, and what Port's audit log says",
            ),
            Self::FilterGone(_) => Some("set the filter again, or, if it is gone for good, run once with --mode full"),
            Self::Store(StoreError::Rights { .. }) => Some(
                "its directory must be there, and this user may write to it; or set CHECKPOINT_FILE to another path",
            ),
            Self::Store(StoreError::TooLarge { .. }) => Some(
                "divide the estate among runs with a checkpoint each, by RESOURCE_TYPES or RESOURCE_GROUP_TAG_FILTERS",
            ),
            Self::Store(StoreError::Locked { .. }) => Some("let it end; schedule runs so that they do not overlap"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_several_endings_hold_the_first_of_2_3_1_4_wins() {
        let order = [Exit::Interrupted, Exit::Configuration, Exit::Credentials, Exit::Failed, Exit::Refused, Exit::Ok];
        for (rank, worse) in order.iter().enumerate() {
            for better in order.iter().skip(rank) {
                assert_eq!(worse.or_worse(*better), *worse);
                assert_eq!(better.or_worse(*worse), *worse);
            }
        }
    }
}
