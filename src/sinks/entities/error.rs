//! Why entities were not written, who is at fault, and what to do about it.

use reqwest::StatusCode;

use crate::engine::{Fault, SinkError};
use crate::error::{Exit, Problem};
use crate::http::Failure;
use crate::port::PortError;
use crate::sinks::answers::{fault_of, reason_of};

/// An error from Port's API about a request, or about one entity in it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{port}")]
pub(crate) struct EntitiesError {
    pub(crate) port: Box<PortError>,
    about: About,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum About {
    /// The request as a whole.
    Request,
    /// A single entity.
    Entity,
    /// A blueprint that does not exist.
    Blueprint,
}

impl EntitiesError {
    pub(super) fn of_request(port: PortError) -> Self {
        Self { port: Box::new(port), about: About::Request }
    }

    pub(super) fn of_entity(port: PortError) -> Self {
        Self { port: Box::new(port), about: About::Entity }
    }

    pub(super) fn of_blueprint(port: PortError) -> Self {
        Self { port: Box::new(port), about: About::Blueprint }
    }
}

impl SinkError for EntitiesError {
    fn fault(&self) -> Fault {
        let status = self.port.request.status();
        match self.about {
            About::Blueprint => Fault::Rejected,
            About::Entity => match status {
                // A related entity is missing, or the error is transient.
                None | Some(StatusCode::NOT_FOUND | StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS) => {
                    Fault::Awaits
                }
                Some(status) if status.is_server_error() => Fault::Awaits,
                Some(_) => Fault::Rejected,
            },
            About::Request if self.port.is_refusal() => Fault::Broken,
            About::Request if status == Some(StatusCode::CONFLICT) => Fault::Rejected,
            About::Request => fault_of(&self.port.request, self.port.reset),
        }
    }

    fn status(&self) -> Option<u16> {
        self.port.request.status().map(|status| status.as_u16())
    }

    fn reason(&self) -> String {
        reason_of(&self.port.request)
    }
}

impl Problem for EntitiesError {
    fn exit(&self) -> Exit {
        match self.fault() {
            Fault::Rejected => Exit::Refused,
            _ => self.port.exit(),
        }
    }

    fn advice(&self) -> Option<&'static str> {
        match (self.about, &self.port.request.failure) {
            (About::Blueprint, _) => Some("make the blueprint in Port, or check its name in MAPPING_FILE"),
            (About::Entity, Failure::Status(status)) if status.status == StatusCode::NOT_FOUND => {
                Some("what a relation names is not in Port; check the relation in MAPPING_FILE")
            }
            _ => self.port.advice(),
        }
    }
}
