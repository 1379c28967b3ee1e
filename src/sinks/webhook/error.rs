//! Why a post to Port's webhook was not accepted, who is at fault, and what to do about it.

use std::time::Duration;

use crate::engine::{Fault, SinkError};
use crate::error::{Cause, Exit, Problem};
use crate::http::{Failure, RequestError};
use crate::sinks::answers::{fault_of, reason_of};

/// Why an envelope was not delivered.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum WebhookError {
    /// A request that failed.
    #[error("{request}")]
    Request {
        request: RequestError,
        /// Time until the rate limit resets.
        reset: Option<Duration>,
    },
    /// Port accepted it, but its audit log says that the mapping could not be applied.
    #[error("Port took it and did not apply it: {0}")]
    Refused(String),
    /// Port accepted it, but the catalog does not show the result.
    #[error("Port took it and does not show it: {0}")]
    Unshown(#[source] Cause),
}

impl Problem for WebhookError {
    fn exit(&self) -> Exit {
        match self.fault() {
            Fault::Rejected | Fault::Unproven => Exit::Refused,
            _ => Exit::Failed,
        }
    }

    fn advice(&self) -> Option<&'static str> {
        let Self::Request { request, .. } = self else { return None };
        let transport = match &request.failure {
            // The general advice is about rights; the advice below fits a webhook.
            Failure::Status(status) if !status.status.is_redirection() => None,
            _ => request.advice(),
        };
        match self.fault() {
            Fault::Denied if matches!(request.failure, Failure::Unreadable(_) | Failure::TooLarge(_)) => Some(
                "something else answers in Port's place, such as a sign-in page or a proxy: check PORT_WEBHOOK_INGEST_URL against \
                 the URL that Port shows under Data sources, and HTTPS_PROXY",
            ),
            Fault::Denied => {
                transport.or(Some("check PORT_WEBHOOK_INGEST_URL against the URL that Port shows under Data sources"))
            }
            Fault::Rejected => Some(
                "check that PORT_WEBHOOK_INGEST_URL is the URL of a custom webhook, and what Port's audit log says",
            ),
            _ => transport,
        }
    }
}

impl SinkError for WebhookError {
    fn fault(&self) -> Fault {
        match self {
            Self::Request { request, reset } => fault_of(request, *reset),
            Self::Refused(_) => Fault::Rejected,
            Self::Unshown(_) => Fault::Unproven,
        }
    }

    fn status(&self) -> Option<u16> {
        match self {
            Self::Request { request, .. } => request.status().map(|status| status.as_u16()),
            Self::Refused(_) | Self::Unshown(_) => None,
        }
    }

    fn reason(&self) -> String {
        match self {
            Self::Request { request, .. } => reason_of(request),
            Self::Refused(why) => why.clone(),
            Self::Unshown(cause) => cause.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use reqwest::StatusCode;

    use super::*;
    use crate::http::Obstacle;
    use crate::http::StatusError;

    fn error(failure: Failure) -> WebhookError {
        WebhookError::Request { request: RequestError::new("POST", failure), reset: None }
    }

    fn status(status: u16) -> WebhookError {
        let status = StatusError {
            status: StatusCode::from_u16(status).unwrap(),
            codes: Vec::new(),
            message: String::new(),
            retry_after: Some(Duration::from_secs(7)),
        };
        error(Failure::Status(status))
    }

    #[test]
    fn whose_fault_it_is_shows_in_the_answer() {
        let after = Some(Duration::from_secs(7));
        for (statuses, fault) in [
            (&[200, 202, 400, 413, 422][..], Fault::Rejected),
            (&[408, 500, 502, 503, 504, 599], Fault::Passing { after }),
            (&[429], Fault::Throttled { after }),
            (&[301, 302, 307, 308, 401, 403, 404, 405, 410, 418], Fault::Denied),
        ] {
            for one in statuses {
                assert_eq!(status(*one).fault(), fault, "{one}");
            }
        }
        let connect = |obstacle| error(Failure::Connect { source: "x".into(), obstacle }).fault();
        assert_eq!(connect(Obstacle::Network), Fault::Unreachable);
        for obstacle in [Obstacle::Certificate, Obstacle::Clock, Obstacle::Proxy] {
            assert_eq!(connect(obstacle), Fault::Denied);
        }
        assert_eq!(error(Failure::Timeout(Duration::ZERO)).fault(), Fault::Passing { after: None });
        assert_eq!(error(Failure::Interrupted("x".into())).fault(), Fault::Passing { after: None });
        assert_eq!(error(Failure::Unreadable("x".into())).fault(), Fault::Denied);
        assert_eq!(error(Failure::TooLarge(1)).fault(), Fault::Denied);
    }

    #[test]
    fn the_longer_of_two_waits_holds() {
        let wait = |reset| match status(429) {
            WebhookError::Request { request, .. } => WebhookError::Request { request, reset }.fault(),
            other => panic!("{other}"),
        };
        assert_eq!(wait(Some(Duration::from_secs(9))), Fault::Throttled { after: Some(Duration::from_secs(9)) });
        assert_eq!(wait(Some(Duration::from_secs(2))), Fault::Throttled { after: Some(Duration::from_secs(7)) });
    }

    #[test]
    fn a_redirect_is_explained_and_a_wrong_key_too() {
        assert!(status(308).advice().unwrap().contains("redirects"));
        assert!(status(401).advice().unwrap().contains("PORT_WEBHOOK_INGEST_URL"));
        let untrusted = Failure::Connect { source: "".into(), obstacle: Obstacle::Certificate };
        assert!(error(untrusted).advice().unwrap().contains("CA"));
        assert!(error(Failure::Unreadable("x".into())).advice().unwrap().contains("a sign-in page or a proxy"));
        assert!(status(400).advice().unwrap().contains("audit log"));
        assert!(status(503).advice().is_none());
        assert_eq!((status(503).exit(), status(422).exit()), (Exit::Failed, Exit::Refused));
        assert!(status(503).to_string().starts_with("POST failed: status 503"));
    }
}
