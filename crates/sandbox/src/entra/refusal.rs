//! Microsoft Graph's errors, in its own words.
use hyper::StatusCode;
use serde_json::json;

use super::Plain;
use crate::signin::BadToken;

#[derive(Debug)]
pub(super) struct Refusal {
    pub status: StatusCode,
    code: &'static str,
    message: String,
    headers: Vec<(&'static str, String)>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), headers: Vec::new() }
    }

    pub(super) fn bad(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    pub(super) fn with(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(super) fn unauthorized(bad: BadToken) -> Self {
        let message = match bad {
            BadToken::Missing => "Access token is empty.",
            BadToken::Unknown => "Access token validation failure. Invalid audience.",
            BadToken::Expired => "Lifetime validation failed, the token is expired.",
        };
        Self::new(StatusCode::UNAUTHORIZED, "InvalidAuthenticationToken", message)
            .with("www-authenticate", r#"Bearer realm="", error="invalid_token""#.to_owned())
    }

    pub(super) fn denied() -> Self {
        let message = "Insufficient privileges to complete the operation.";
        Self::new(StatusCode::FORBIDDEN, "Authorization_RequestDenied", message)
    }

    pub(super) fn absent(id: &str) -> Self {
        let message =
            format!("Resource '{id}' does not exist or one of its queried reference-property objects are not present.");
        Self::new(StatusCode::NOT_FOUND, "Request_ResourceNotFound", message)
    }

    pub(super) fn no_segment(segment: &str) -> Self {
        Self::bad("BadRequest", format!("Resource not found for the segment '{segment}'."))
    }

    pub(super) fn unsupported(message: impl Into<String>) -> Self {
        Self::bad("Request_UnsupportedQuery", message)
    }

    pub(super) fn throttled() -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", "Too many requests")
    }

    pub(super) fn plain(self) -> Plain {
        let id = "5a4db0c0-0000-4000-8000-000000000000";
        let inner = json!({"date": "2026-01-02T03:04:05", "request-id": id, "client-request-id": id});
        let body = json!({"error": {"code": self.code, "message": self.message, "innerError": inner}});
        Plain { status: self.status, headers: self.headers, body: body.to_string().into_bytes() }
    }
}
