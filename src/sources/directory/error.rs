//! Why the directory could not be read, and what a person can do about it.

use reqwest::StatusCode;

use crate::azure::api::ApiError;
use crate::config::EntraKind;
use crate::error::{Cause, Exit, Problem};
use crate::http::{Failure, RequestError};

/// Why objects of a kind were not read, or not all of them.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DirectoryError {
    #[error("Microsoft Graph, {}: {source}", .kind.name())]
    Request { kind: EntraKind, source: ApiError },
    /// The role is missing.
    #[error(
        "Microsoft Graph, {}: the principal may not read them; grant it the application permission {}: {source}",
        .kind.name(), .kind.role()
    )]
    Denied { kind: EntraKind, source: ApiError },
    #[error("Microsoft Graph, {}: {source}", .kind.name())]
    Unreadable { kind: EntraKind, source: Cause },
    /// The receiver takes nothing more.
    #[error("stopped before everything was read")]
    Stopped,
}

impl DirectoryError {
    pub(super) fn new(kind: EntraKind, source: ApiError) -> Self {
        let is_denied = matches!(&source, ApiError::Request(error) if error.status() == Some(StatusCode::FORBIDDEN));
        if is_denied { Self::Denied { kind, source } } else { Self::Request { kind, source } }
    }

    /// Whether it only means that something else ended the reading.
    pub(crate) fn is_stop(&self) -> bool {
        matches!(self, Self::Stopped)
    }

    fn request(&self) -> Option<&RequestError> {
        match self {
            Self::Request { source: ApiError::Request(error), .. }
            | Self::Denied { source: ApiError::Request(error), .. } => Some(error),
            _ => None,
        }
    }

    fn has_code(&self, codes: &[&str]) -> bool {
        let has = |code: &String| codes.iter().any(|one| code.eq_ignore_ascii_case(one));
        self.request().is_some_and(|error| error.codes().iter().any(has))
    }

    pub(super) fn is_missing(&self) -> bool {
        self.request().is_some_and(|error| error.status() == Some(StatusCode::NOT_FOUND))
    }

    pub(super) fn is_denied(&self) -> bool {
        matches!(self, Self::Denied { .. })
    }

    /// Whether the tenant has no licence for the request, or is claimed to have none.
    pub(super) fn is_unlicensed(&self) -> bool {
        self.has_code(&["Authentication_RequestFromNonPremiumTenantOrB2CTenant"])
    }

    /// Whether the link of a delta is too old, or the service has restarted the delta: 40X with `syncStateNotFound`, or
    /// 410 ("Use delta query to track changes", Microsoft Graph).
    pub(super) fn is_of_the_link(&self) -> bool {
        let is_gone = self.request().is_some_and(|error| error.status() == Some(StatusCode::GONE));
        is_gone || self.has_code(&["syncStateNotFound", "syncStateInvalid", "resyncRequired"])
    }

    /// Whether a link to the next page is too old.
    pub(super) fn is_of_the_page(&self) -> bool {
        self.has_code(&["Directory_ExpiredPageToken"])
    }

    /// Graph's message when it refuses a request.
    pub(super) fn refusal(&self) -> Option<&str> {
        match &self.request()?.failure {
            Failure::Status(status) if status.status == StatusCode::BAD_REQUEST => Some(&status.message),
            _ => None,
        }
    }
}

impl Problem for DirectoryError {
    fn exit(&self) -> Exit {
        match self {
            Self::Request { source, .. } => source.exit(),
            Self::Denied { .. } | Self::Unreadable { .. } | Self::Stopped => Exit::Failed,
        }
    }

    fn details(&self) -> Option<&str> {
        if let Self::Request { source, .. } = self { source.details() } else { None }
    }

    fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Request { source, .. } => source.advice(),
            Self::Denied { .. } => Some(
                "an administrator grants it under App registrations > API permissions; a new role takes some minutes to count",
            ),
            Self::Unreadable { .. } | Self::Stopped => None,
        }
    }
}
