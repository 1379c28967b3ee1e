//! Why Resource Graph gave no whole answer, what that means for the run, and what a person can do about it.

use crate::azure::arm::ArmError;
use crate::error::{Exit, Problem};
use crate::http::{Failure, RequestError};

/// Why a query's result is not here, or not whole.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GraphError {
    #[error("the query for {query}: {source}")]
    Request { query: &'static str, source: ArmError },
    #[error(
        "the query for {query} could not be proven complete: {rows} distinct rows of {total} after {readings} readings \
         in ever smaller parts"
    )]
    Unproven { query: &'static str, rows: u64, total: u64, readings: u32 },
    #[error("the query for {query}: a single row is too large for Resource Graph to answer")]
    TooLarge { query: &'static str },
    #[error(
        "the query for {query}: Resource Graph left subscriptions out, as too many were in scope; lower SUBSCRIPTION_BATCH_SIZE"
    )]
    LeftOut { query: &'static str },
    /// Nobody wants the rest.
    #[error("stopped before everything was read")]
    Stopped,
}

/// What is wrong with an answer that may be there for less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It is larger than the service answers.
    TooLarge,
    /// The service, or its answer, breaks: perhaps over one of the rows.
    Broken,
}

/// One of the codes in an answer of 400 that names no subscription that Resource Graph knows for the principal.
const LOOKS_AT_NONE: &str = "NoValidSubscriptionsInQueryRequest";

impl Problem for GraphError {
    fn exit(&self) -> Exit {
        match self {
            Self::Request { source, .. } if source.is_refusal() => Exit::Credentials,
            _ => Exit::Failed,
        }
    }

    fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Request { source, .. } => source.advice(),
            Self::Unproven { .. } => Some("the estate changed too fast to be read whole; the next run reads it again"),
            Self::TooLarge { .. } | Self::LeftOut { .. } | Self::Stopped => None,
        }
    }
}

impl GraphError {
    /// Whether it only says that something else ended the reading.
    pub(crate) fn is_stop(&self) -> bool {
        matches!(self, Self::Stopped)
    }

    /// Whether it only says that Resource Graph looks at none of the subscriptions that were named.
    pub(super) fn looks_at_none(&self) -> bool {
        let Self::Request { source: ArmError::Request(RequestError { failure, .. }), .. } = self else { return false };
        matches!(failure, Failure::Status(status) if status.codes.iter().any(|code| code.eq_ignore_ascii_case(LOOKS_AT_NONE)))
    }

    /// Whether asking for less may help. Not where the credentials, the network or the quota are the reason.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        let Self::Request { source: ArmError::Request(RequestError { failure, .. }), .. } = self else { return None };
        match failure {
            Failure::Status(status) if status.codes.iter().any(|code| code == "ResponsePayloadTooLarge") => {
                Some(Trouble::TooLarge)
            }
            Failure::Status(status) if matches!(status.status.as_u16(), 500 | 502 | 503 | 504) => Some(Trouble::Broken),
            Failure::Unreadable(_) => Some(Trouble::Broken),
            _ => None,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
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
    fn only_what_may_be_due_to_a_row_is_asked_for_in_less() {
        assert_eq!(answered(400, "ResponsePayloadTooLarge").trouble(), Some(Trouble::TooLarge));
        for status in [500, 502, 503, 504] {
            assert_eq!(answered(status, "InternalServerError").trouble(), Some(Trouble::Broken));
        }
        assert_eq!(failed(Failure::Unreadable("x".into())).trouble(), Some(Trouble::Broken));
        for status in [400, 401, 403, 408, 429] {
            assert_eq!(answered(status, "x").trouble(), None, "{status}");
        }
        let interrupted = failed(Failure::Interrupted("x".into()));
        assert_eq!((interrupted.trouble(), GraphError::Stopped.trouble()), (None, None));
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
