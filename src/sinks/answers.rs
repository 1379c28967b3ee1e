//! Classifies why Port, or something on the way to it, did not accept a post.

use std::time::Duration;

use reqwest::StatusCode;

use crate::engine::Fault;
use crate::http::{Failure, Obstacle, RequestError};
use crate::text::printable_up_to;

/// Maximum characters of a rejection reason.
const LONGEST_REASON: usize = 2000;

/// Why the request was rejected, in the server's own words.
pub(crate) fn reason_of(request: &RequestError) -> String {
    match &request.failure {
        Failure::Status(status) => printable_up_to(&status.message, LONGEST_REASON).to_string(),
        other => other.to_string(),
    }
}

/// What a failed request says about its content and about the sink. `reset`: time until the rate limit resets.
pub(crate) fn fault_of(request: &RequestError, reset: Option<Duration>) -> Fault {
    match &request.failure {
        Failure::Connect { obstacle: Obstacle::Network, .. } => Fault::Unreachable,
        // Something other than Port answers there.
        Failure::Connect { .. } => Fault::Denied,
        Failure::Timeout(_) | Failure::Interrupted(_) => Fault::Passing { after: None },
        // The request was accepted, but Port rejects its content.
        Failure::Status(error) if error.status.is_success() => Fault::Rejected,
        Failure::Status(error) => match error.status {
            StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY => {
                Fault::Rejected
            }
            StatusCode::TOO_MANY_REQUESTS => Fault::Throttled { after: reset.max(error.retry_after) },
            status if status == StatusCode::REQUEST_TIMEOUT || status.is_server_error() => {
                Fault::Passing { after: error.retry_after }
            }
            // The address is wrong, or something on the way blocks the post.
            _ => Fault::Denied,
        },
        Failure::TooLarge(_) | Failure::Unreadable(_) | Failure::Unsendable(_) => Fault::Denied,
    }
}
