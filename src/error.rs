//! How a run ends: exit codes, and what every error must define for them.

use std::error::Error as StdError;
use std::fmt;
use std::ops::Deref;
use std::process::ExitCode;
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// How a run ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Exit {
    /// Everything found was accepted.
    #[default]
    Ok,
    /// Something was not read or not accepted.
    Failed,
    /// The configuration or the command line is wrong.
    Configuration,
    /// Azure refused the credentials, or the principal cannot read any subscription.
    Credentials,
    /// Everything was delivered except changes that Port rejected individually.
    Refused,
    /// The catalog differs from the estate.
    Differs,
    /// Stopped by SIGINT.
    Interrupted,
    /// Stopped by SIGTERM.
    Terminated,
}

impl Exit {
    /// The exit code of the process; all others are left to the shell.
    pub fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failed => 1,
            Self::Configuration => 2,
            Self::Credentials => 3,
            Self::Refused => 4,
            Self::Differs => 5,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }

    /// A one-word name for the report.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Configuration => "configuration",
            Self::Credentials => "credentials",
            Self::Refused => "refused",
            Self::Differs => "differs",
            Self::Interrupted => "interrupted",
            Self::Terminated => "terminated",
        }
    }

    /// The more important of two exits, to report when both apply.
    #[must_use]
    pub fn or_worse(self, other: Self) -> Self {
        const WORST_FIRST: [Exit; 8] = [
            Exit::Interrupted,
            Exit::Terminated,
            Exit::Configuration,
            Exit::Credentials,
            Exit::Failed,
            Exit::Refused,
            Exit::Differs,
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
            Self::Credentials => "the credentials do not work or cannot read any subscription (exit 3)",
            Self::Refused => "everything was delivered except changes that Port rejected individually (exit 4)",
            Self::Differs => "the catalog is not as the estate is (exit 5)",
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

/// What can stop a run early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    /// SIGINT.
    #[error("stopped by SIGINT before everything was delivered")]
    Interrupted,
    /// SIGTERM.
    #[error("stopped by SIGTERM before everything was delivered")]
    Terminated,
    /// `RUN_TIMEOUT_SECONDS`.
    #[error("stopped after RUN_TIMEOUT_SECONDS before everything was delivered")]
    TimedOut,
}

/// An error in a run. Each type defines the exit code that it leads to, and what to do about it.
pub(crate) trait Problem: StdError {
    /// The exit that it causes.
    fn exit(&self) -> Exit {
        Exit::Failed
    }

    /// How to fix it, if known.
    fn advice(&self) -> Option<&'static str> {
        None
    }

    /// The service's full message, including trace ids.
    fn details(&self) -> Option<&str> {
        None
    }

    /// The complete message: the error, the advice, then the details.
    fn told(&self) -> String {
        let advice = self.advice().map(|advice| format!("; {advice}"));
        let details = self.details().map(|details| format!("; the service says: {details}"));
        format!("{self}{}{}", advice.unwrap_or_default(), details.unwrap_or_default())
    }
}

/// What is behind an error: an error of any type, or a sentence of ours. It cannot be an error itself, because any error
/// converts to it.
#[derive(Clone, Debug)]
pub(crate) struct Cause(Arc<dyn StdError + Send + Sync>);

/// An error in our own words.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
struct Told {
    text: String,
    source: Cause,
}

impl Cause {
    /// Tells an error in these words in place of its own.
    pub(crate) fn told(text: impl Into<String>, source: impl Into<Self>) -> Self {
        Self(Arc::new(Told { text: text.into(), source: source.into() }))
    }
}

impl<E: Into<Box<dyn StdError + Send + Sync>>> From<E> for Cause {
    fn from(error: E) -> Self {
        Self(error.into().into())
    }
}

impl Deref for Cause {
    type Target = dyn StdError + Send + Sync;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Equal if they read the same.
impl PartialEq for Cause {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl Eq for Cause {}

impl From<Stop> for Exit {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Interrupted => Self::Interrupted,
            Stop::Terminated => Self::Terminated,
            Stop::TimedOut => Self::Failed,
        }
    }
}

impl Problem for Stop {
    fn exit(&self) -> Exit {
        (*self).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_in_our_words_keeps_the_one_beneath() {
        let cause = Cause::told("the disk is full", fmt::Error);
        assert_eq!(cause, "the disk is full".into());
        assert!(cause.source().is_some_and(<dyn StdError>::is::<fmt::Error>));
    }

    #[test]
    fn where_several_endings_hold_the_first_of_2_3_1_4_5_wins() {
        let order = [
            Exit::Interrupted,
            Exit::Configuration,
            Exit::Credentials,
            Exit::Failed,
            Exit::Refused,
            Exit::Differs,
            Exit::Ok,
        ];
        for (rank, worse) in order.iter().enumerate() {
            for better in order.iter().skip(rank) {
                assert_eq!(worse.or_worse(*better), *worse);
                assert_eq!(better.or_worse(*worse), *worse);
            }
        }
    }
}
