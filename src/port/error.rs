//! Why Port's API rejected a request, who is at fault, and what to do about it.

use std::time::Duration;

use reqwest::StatusCode;

use crate::error::{Exit, Problem};
use crate::http::{Failure, RequestError};

/// A failed request to Port's API.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{request}")]
pub(crate) struct PortError {
    pub(crate) request: RequestError,
    /// Time until the rate limit resets.
    pub(crate) reset: Option<Duration>,
    /// Whether the sign-in request failed.
    pub(crate) is_sign_in: bool,
}

impl From<RequestError> for PortError {
    fn from(request: RequestError) -> Self {
        Self { request, reset: None, is_sign_in: false }
    }
}

impl PortError {
    pub(super) fn of_sign_in(self) -> Self {
        Self { is_sign_in: true, ..self }
    }

    /// Whether Port rejects the credentials.
    pub(crate) fn is_refusal(&self) -> bool {
        let refused = [
            StatusCode::BAD_REQUEST,
            StatusCode::UNAUTHORIZED,
            StatusCode::FORBIDDEN,
            StatusCode::NOT_FOUND,
            StatusCode::UNPROCESSABLE_ENTITY,
        ];
        match self.request.status() {
            Some(status) if self.is_sign_in => refused.contains(&status),
            status => status == Some(StatusCode::UNAUTHORIZED),
        }
    }

    /// Whether the object to create may already exist. How Port reports that is not documented.
    pub(crate) fn may_be_taken(&self) -> bool {
        matches!(self.request.status(), Some(StatusCode::CONFLICT | StatusCode::UNPROCESSABLE_ENTITY))
            && !self.is_sign_in
    }

    /// Whether Port rejects the content of the request, so other content may be accepted.
    pub(crate) fn is_of_content(&self) -> bool {
        let of_content = [StatusCode::CONFLICT, StatusCode::UNPROCESSABLE_ENTITY, StatusCode::BAD_REQUEST];
        !self.is_sign_in && self.request.status().is_some_and(|status| of_content.contains(&status))
    }

    /// Whether Port says that an entity or blueprint does not exist. Other servers also answer 404.
    pub(crate) fn is_missing(&self) -> bool {
        match &self.request.failure {
            Failure::Status(status) if !self.is_sign_in => {
                matches!(status.status, StatusCode::NOT_FOUND | StatusCode::GONE)
                    && status.codes.iter().any(|code| code == "not_found" || code == "gone")
            }
            _ => false,
        }
    }
}

impl Problem for PortError {
    fn exit(&self) -> Exit {
        if self.is_refusal() { Exit::Credentials } else { Exit::Failed }
    }

    fn advice(&self) -> Option<&'static str> {
        if self.is_refusal() {
            return Some(
                "check PORT_CLIENT_ID and PORT_CLIENT_SECRET against Port (… > Credentials), and PORT_BASE_URL against the region of \
                 your organization",
            );
        }
        match &self.request.failure {
            Failure::Status(status) if status.status == StatusCode::FORBIDDEN => {
                Some("these credentials of Port may not do this; use those of an organization's administrator")
            }
            Failure::Status(status) if !status.status.is_redirection() => None,
            Failure::Unreadable(_) => Some("check PORT_BASE_URL: something else answers there in Port's place"),
            _ => self.request.advice(),
        }
    }
}
