//! Why Resource Graph gave no complete answer, what that means for the run, and what a person can do about it.

use crate::azure::api::ApiError;
use crate::error::{Exit, Problem};
use crate::http::{Failure, RequestError};

/// Why a query's result is missing or incomplete.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GraphError {
    #[error("the query for {query}: {source}")]
    Request { query: &'static str, source: ApiError },
    #[error(
        "the query for {query} could not be proven complete: {rows} distinct rows of {total} after {readings} readings \
         in ever smaller parts"
    )]
    Unproven { query: &'static str, rows: u64, total: u64, readings: u32 },
    #[error(
        "the query for {query} could not be proven complete: {rows} rows came of {total} that were announced, and no more when \
         all were read again"
    )]
    Short { query: &'static str, rows: u64, total: u64 },
    #[error("the query for {query} was not asked: Resource Graph has answered nothing for a while")]
    Down { query: &'static str },
    #[error(
        "the query for {query} was not answered over several subscriptions, and not asked over fewer: queries without an answer have \
         taken nearly four minutes of this run"
    )]
    Undivided { query: &'static str },
    #[error("the query for {query}: a single row is too large for Resource Graph to answer")]
    TooLarge { query: &'static str },
    #[error(
        "the query for {query}: Resource Graph left subscriptions out, as too many were in scope; lower SUBSCRIPTION_BATCH_SIZE"
    )]
    LeftOut { query: &'static str },
    /// The receiver takes nothing more.
    #[error("stopped before everything was read")]
    Stopped,
}

/// A problem with an answer that asking for less may solve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It is larger than the service allows.
    TooLarge,
    /// The service fails, or its answer is broken, perhaps because of a row, or because the query is too heavy.
    Broken,
    /// It is refused, perhaps because of one of the subscriptions.
    Refused,
    /// It joins more tables than the service allows.
    Joins,
}

/// One of the codes of a 400 answer when Resource Graph knows none of the given subscriptions for the principal.
const LOOKS_AT_NONE: &str = "NoValidSubscriptionsInQueryRequest";

impl Problem for GraphError {
    fn exit(&self) -> Exit {
        match self {
            Self::Request { source, .. } if source.is_refusal() => Exit::Credentials,
            _ => Exit::Failed,
        }
    }

    fn details(&self) -> Option<&str> {
        match self {
            Self::Request { source, .. } => source.details(),
            _ => None,
        }
    }

    fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Request { source, .. } => source.advice(),
            Self::Unproven { .. } => Some("the estate changed too fast to be read whole; the next run reads it again"),
            Self::Short { .. } => Some("Resource Graph's answer is short; nothing is taken for gone because of it"),
            Self::Undivided { .. } => {
                Some("the next run asks again; a lower SUBSCRIPTION_BATCH_SIZE keeps what hangs apart")
            }
            Self::Down { .. } => Some(
                "check the network, and HTTPS_PROXY if a proxy is needed; if other queries are answered, lower \
                 SUBSCRIPTION_BATCH_SIZE",
            ),
            Self::TooLarge { .. } | Self::LeftOut { .. } | Self::Stopped => None,
        }
    }
}

impl GraphError {
    /// Whether it only means that something else ended the reading.
    pub(crate) fn is_stop(&self) -> bool {
        matches!(self, Self::Stopped)
    }

    /// Whether it only means that Resource Graph covers none of the given subscriptions.
    pub(super) fn looks_at_none(&self) -> bool {
        let Self::Request { source: ApiError::Request(RequestError { failure, .. }), .. } = self else { return false };
        matches!(failure, Failure::Status(status) if status.codes.iter().any(|code| code.eq_ignore_ascii_case(LOOKS_AT_NONE)))
    }

    /// The problem, if asking for less may solve it; `None` if the cause is the credentials, the network or the quota.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        let Self::Request { source: ApiError::Request(RequestError { failure, .. }), .. } = self else { return None };
        match failure {
            Failure::Status(status) if status.codes.iter().any(|code| code == "ResponsePayloadTooLarge") => {
                Some(Trouble::TooLarge)
            }
            Failure::Status(status)
                if status.status.as_u16() == 400 && status.codes.iter().any(|code| is_of_joins(code)) =>
            {
                Some(Trouble::Joins)
            }
            Failure::Status(status) if status.status.is_server_error() => Some(Trouble::Broken),
            Failure::Status(status) if matches!(status.status.as_u16(), 403 | 404 | 409) => Some(Trouble::Refused),
            Failure::Unreadable(_) | Failure::Timeout(_) | Failure::Interrupted(_) => Some(Trouble::Broken),
            _ => None,
        }
    }

    /// Whether no answer at all came within the timeout.
    pub(super) fn is_silence(&self) -> bool {
        matches!(
            self,
            Self::Request { source: ApiError::Request(RequestError { failure: Failure::Timeout(_), .. }), .. }
        )
    }

    /// Whether the service may have failed because of the number of subscriptions. A nonsensical answer, or a refusal,
    /// is due to one of them.
    pub(super) fn is_of_many(&self) -> bool {
        let is_sense = |failure: &Failure| !matches!(failure, Failure::Unreadable(_));
        let is_of_request = matches!(
            self,
            Self::Request { source: ApiError::Request(RequestError { failure, .. }), .. } if is_sense(failure)
        );
        is_of_request && self.trouble() == Some(Trouble::Broken)
    }
}

/// Whether a code refuses a query because of its joins, such as `DisallowedMaxNumberOfRemoteTables`.
fn is_of_joins(code: &str) -> bool {
    let code = code.to_ascii_lowercase();
    ["join", "union", "remotetable"].iter().any(|word| code.contains(word))
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use reqwest::StatusCode;

    use super::*;
    use crate::http::StatusError;

    pub(crate) fn answered(status: u16, code: &str) -> GraphError {
        let status = StatusError {
            status: StatusCode::from_u16(status).unwrap(),
            codes: vec![code.to_owned()],
            message: String::new(),
            retry_after: None,
        };
        failed(Failure::Status(status))
    }

    pub(crate) fn failed(failure: Failure) -> GraphError {
        GraphError::Request { query: "resources", source: RequestError::new("POST /", failure).into() }
    }

    #[test]
    fn only_what_may_be_due_to_what_is_asked_for_is_asked_for_in_less() {
        assert_eq!(answered(400, "ResponsePayloadTooLarge").trouble(), Some(Trouble::TooLarge));
        for status in [500, 502, 503, 504] {
            assert_eq!(answered(status, "InternalServerError").trouble(), Some(Trouble::Broken));
        }
        let cut = || Failure::Interrupted("x".into());
        for failure in [Failure::Unreadable("x".into()), cut(), Failure::Timeout(Duration::from_secs(1))] {
            assert_eq!(failed(failure).trouble(), Some(Trouble::Broken));
        }
        for status in [400, 401, 408, 429] {
            assert_eq!(answered(status, "x").trouble(), None, "{status}");
        }
        for code in ["DisallowedMaxNumberOfRemoteTables", "DisallowedNumberOfJoins", "TooManyUnionOperators"] {
            assert_eq!(answered(400, code).trouble(), Some(Trouble::Joins));
        }
        assert_eq!(answered(403, "AuthorizationFailed").trouble(), Some(Trouble::Refused));
        assert_eq!(GraphError::Stopped.trouble(), None);
        assert!(failed(cut()).is_of_many() && answered(504, "x").is_of_many());
        assert!(!failed(Failure::Unreadable("x".into())).is_of_many() && !answered(403, "x").is_of_many());
    }

    #[test]
    fn an_error_knows_its_exit_code_and_its_advice() {
        assert_eq!(answered(401, "x").exit(), Exit::Credentials);
        assert_eq!(answered(500, "x").exit(), Exit::Failed);
        assert!(answered(403, "x").advice().unwrap().contains("Reader"));
        let unproven = GraphError::Unproven { query: "resources", rows: 1, total: 2, readings: 4 };
        assert!(unproven.advice().unwrap().contains("the next run"));
        assert!(GraphError::Stopped.is_stop() && GraphError::Stopped.advice().is_none());
    }
}
