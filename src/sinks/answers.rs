//! Whose fault it is that Port, or something on the way, did not accept a post.

use std::time::Duration;

use reqwest::StatusCode;

use crate::engine::Fault;
use crate::http::{Failure, Obstacle, RequestError};
use crate::text::printable_up_to;

/// Characters of why something was rejected.
const LONGEST_REASON: usize = 2000;

/// What a failed request says of what it carried, in the words of whoever answered.
pub(crate) fn reason_of(request: &RequestError) -> String {
    match &request.failure {
        Failure::Status(status) => printable_up_to(&status.message, LONGEST_REASON).to_string(),
        other => other.to_string(),
    }
}

/// What a failed request says of what it carried, and of the sink. `reset`: how long the rate limit stays used up.
pub(crate) fn fault_of(request: &RequestError, reset: Option<Duration>) -> Fault {
    match &request.failure {
        Failure::Connect { obstacle: Obstacle::Network, .. } => Fault::Unreachable,
        // Somebody else answers there.
        Failure::Connect { .. } => Fault::Denied,
        Failure::Timeout(_) | Failure::Interrupted(_) => Fault::Passing { after: None },
        // Accepted as a request; Port says no to what is in it.
        Failure::Status(error) if error.status.is_success() => Fault::Rejected,
        Failure::Status(error) => match error.status {
            StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY => {
                Fault::Rejected
            }
            StatusCode::TOO_MANY_REQUESTS => Fault::Throttled { after: reset.max(error.retry_after) },
            status if status == StatusCode::REQUEST_TIMEOUT || status.is_server_error() => {
                Fault::Passing { after: error.retry_after }
            }
            // Port for somebody else, or something on the way that dislikes what is posted.
            _ => Fault::Denied,
        },
        Failure::TooLarge(_) | Failure::Unreadable(_) | Failure::Unsendable(_) => Fault::Denied,
    }
}
