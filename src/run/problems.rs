//! What can go wrong with a run as a whole.

use std::io;
use std::path::PathBuf;

use crate::azure::api::ApiError;
use crate::azure::credential::CredentialError;
use crate::checkpoint::CheckpointError;
use crate::comparison::HookError;
use crate::engine::DeadLetterError;
use crate::error::{Exit, Problem, Stop};
use crate::http::RequestError;
use crate::mapping;
use crate::model::Id;
use crate::port::PortError;
use crate::sources::resource_graph::GraphError;
use crate::text::printable;

/// What ends a run before its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error(transparent)]
    Setup(#[from] RequestError),
    #[error(transparent)]
    Credential(#[from] CredentialError),
    #[error("listing the subscriptions: {0}")]
    Listing(#[from] ApiError),
    #[error("Port: {0}")]
    Port(#[from] PortError),
    #[error(transparent)]
    Hook(#[from] HookError),
    #[error("MAPPING_FILE {} cannot be used:{source}", .file.display())]
    Mapping { file: PathBuf, source: MappingError },
    #[error("MAPPING_FILE creates entities of blueprint {0}, which Port does not have")]
    NoBlueprint(String),
    #[error(
        "Entra ID's changes go on where the last run ended, which needs CHECKPOINT_FILE; without it, only SYNC_MODE=full is \
         possible"
    )]
    NoCursor,
    #[error("the principal cannot read any subscription")]
    NoSubscription,
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    DeadLetters(#[from] DeadLetterError),
    /// More likely a misspelt variable than a wish: it would widen the scope to everything.
    #[error("the checkpoint {} cannot be used: it was made with {variable}, which is not set any more", .file.display())]
    FilterGone { file: PathBuf, variable: &'static str },
    #[error("subscription {0} is still listed: the next run would send it again")]
    StillListed(String),
    /// Its deletes would go to a catalog that may not hold it, and the one that does would keep it.
    #[error("the checkpoint {} was made for another catalog, tenant or payload format", .file.display())]
    OtherCatalog { file: PathBuf },
    #[error(transparent)]
    Stopped(#[from] Stop),
    #[error("{0}; something hung; how far the run got is not known")]
    Unfinished(Stop),
}

/// Why the mapping's file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MappingError {
    #[error(" {0}")]
    Io(#[from] io::Error),
    #[error(" it is larger than {} MB", .0 >> 20)]
    TooLarge(u64),
    /// Each on a line of its own.
    #[error("{}", .0.iter().map(|one| format!("\n  {one}")).collect::<String>())]
    Malformed(Vec<mapping::Problem>),
}

impl Problem for RunError {
    fn exit(&self) -> Exit {
        match self {
            Self::Setup(error) => error.exit(),
            Self::Credential(error) => error.exit(),
            Self::Listing(error) => error.exit(),
            Self::Port(error) => error.exit(),
            Self::Hook(error) => error.exit(),
            Self::Mapping { .. } | Self::NoBlueprint(_) | Self::NoCursor => Exit::Configuration,
            Self::NoSubscription => Exit::Credentials,
            Self::Checkpoint(error) => error.exit(),
            Self::DeadLetters(error) => error.exit(),
            Self::FilterGone { .. } | Self::StillListed(_) | Self::OtherCatalog { .. } => Exit::Configuration,
            Self::Stopped(stop) | Self::Unfinished(stop) => stop.exit(),
        }
    }

    fn details(&self) -> Option<&str> {
        match self {
            Self::Credential(error) => error.details(),
            Self::Listing(error) => error.details(),
            _ => None,
        }
    }

    fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Setup(error) => error.advice(),
            Self::Credential(error) => error.advice(),
            Self::Listing(error) => error.advice(),
            Self::Port(error) => error.advice(),
            Self::Hook(error) => error.advice(),
            Self::Mapping { .. } | Self::NoCursor => None,
            Self::NoBlueprint(_) => {
                Some("make it in Port, those of the examples with init --apply, or correct its name in MAPPING_FILE")
            }
            Self::NoSubscription => Some(
                "assign the Reader role to the service principal on the subscriptions to be read; it can take minutes to take \
                 effect",
            ),
            Self::Checkpoint(error) => error.advice(),
            Self::DeadLetters(error) => error.advice(),
            Self::FilterGone { .. } => {
                Some("set the filter again or, if it is gone for good, run once with --mode full")
            }
            Self::StillListed(_) => Some(
                "a run sends every subscription that the principal can read: cancel this one, or take away the principal's role on \
                 it, and run forget once it is not listed any more",
            ),
            Self::OtherCatalog { .. } => Some("run forget with the settings of the runs, or run the sync first"),
            Self::Stopped(_) => None,
            Self::Unfinished(_) => Some("check the disk of the checkpoint, and whether anything still reads the log"),
        }
    }
}

/// A subscription that could not be read.
#[derive(Debug, thiserror::Error)]
#[error("subscription {} ({id}) could not be read: {error}", printable(.name))]
pub(super) struct Unread {
    pub(super) name: String,
    pub(super) id: Id,
    pub(super) error: GraphError,
}

impl Problem for Unread {
    fn exit(&self) -> Exit {
        self.error.exit()
    }

    fn details(&self) -> Option<&str> {
        self.error.details()
    }

    fn advice(&self) -> Option<&'static str> {
        self.error.advice()
    }
}

/// What was not delivered, at the end of a run.
#[derive(Debug, thiserror::Error)]
pub(super) enum Shortfall {
    #[error("{0} entities could not be read: every query that includes them fails; the log names each")]
    Unreadable(u64),
    #[error("{0} of the ids could not be looked up; the log names each")]
    NotLookedUp(u64),
    #[error("{0} of the ids are unknown to Resource Graph, and nothing was sent of them; the log names each")]
    Vanished(u64),
    #[error("{0} entities of the subscription are still held: their deletes were not accepted")]
    StillHeld(u64),
    #[error("{rows} rows could not be mapped, and nothing was deleted for them; the first: {first}")]
    Unmapped { rows: u64, first: String },
    #[error("nothing was pruned: {gone} of {held} entities would go, which is more than {limit} %")]
    PruneLimit { gone: u64, held: u64, limit: u64 },
    #[error("nothing was pruned: Port does not say who wrote an entity")]
    NoOwners,
    #[error("{0} entities are not in Azure, and could not be deleted; the log names each")]
    Unpruned(u64),
    #[error("cannot write the envelopes: {0}")]
    Unprinted(io::Error),
    #[error("{count} {kind} are gone, which is more than 100 and more than 20 % of all: none was deleted")]
    MassDelete { kind: String, count: u64 },
    #[error("{} groups have more members than one post holds, and were sent without them: {}", .0.len(), .0.join(", "))]
    TooManyMembers(Vec<String>),
    #[error("{0} changes were not delivered; the log names each")]
    NotDelivered(u64),
    #[error("{0} changes were taken by Port and do not show in its catalog; they are posted again in the next run")]
    Unproven(u64),
    #[error("Port rejected {0} changes individually; the log names each")]
    Rejected(u64),
    #[error(
        "{0} entities that Port rejected in an earlier run were found again; they are not posted again until they change"
    )]
    StillRejected(u64),
    #[error("Port rejected {0} changes and accepted none: the webhook itself may be wrong")]
    AllRejected(u64),
    #[error("Port rejected {0} changes and accepted none: the mapping or its blueprints may be wrong")]
    AllUnmappable(u64),
}

impl Problem for Shortfall {
    fn exit(&self) -> Exit {
        match self {
            Self::Rejected(_) | Self::StillRejected(_) | Self::Unproven(_) | Self::TooManyMembers(_) => Exit::Refused,
            Self::Unreadable(_)
            | Self::NotLookedUp(_)
            | Self::Vanished(_)
            | Self::StillHeld(_)
            | Self::Unmapped { .. }
            | Self::PruneLimit { .. }
            | Self::NoOwners
            | Self::Unpruned(_)
            | Self::Unprinted(_)
            | Self::MassDelete { .. }
            | Self::NotDelivered(_)
            | Self::AllRejected(_)
            | Self::AllUnmappable(_) => Exit::Failed,
        }
    }

    fn advice(&self) -> Option<&'static str> {
        match self {
            Self::AllRejected(_) => Some(
                "check that PORT_WEBHOOK_INGEST_URL is the URL of a custom webhook, and what Port's audit log says",
            ),
            Self::AllUnmappable(_) => {
                Some("check that the blueprints of MAPPING_FILE are there, and what the log says of each")
            }
            Self::Unproven(_) => {
                Some("the log says of each what is missing; azure-incremental drift compares the whole catalog")
            }
            Self::MassDelete { .. } => Some("if they are meant to be gone, run once with --allow-mass-delete"),
            Self::Vanished(_) => Some("check how they are spelt, or delete them from the catalog with --allow-delete"),
            Self::PruneLimit { .. } => {
                Some("look at what --dry-run shows; if it is right, raise PRUNE_LIMIT_PERCENT for one run")
            }
            Self::Unpruned(_) => Some("delete in Port what relates to them, or the relations"),
            Self::StillHeld(_) => Some("run forget again: it goes on with them"),
            _ => None,
        }
    }
}
