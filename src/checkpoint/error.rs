//! What can go wrong with the checkpoint, how it is told, and which exit it leads to.

use std::io;
use std::path::PathBuf;

use super::list::Malformed;
use crate::error::{Exit, Problem};

#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckpointError {
    #[error("the checkpoint {} is in use by another process", .path.display())]
    InUse { path: PathBuf },
    #[error("CHECKPOINT_FILE: {} cannot be {action}: {source}", .path.display())]
    Unusable { path: PathBuf, action: &'static str, source: Fault },
    /// Only where nothing may be written; else such a file is set aside.
    #[error("the checkpoint {} is damaged: {source}", .path.display())]
    Damaged { path: PathBuf, source: Fault },
    #[error(
        "CHECKPOINT_FILE: {} has format {found}, which a newer version of this program wrote; this version knows format {known}",
        .path.display()
    )]
    Newer { path: PathBuf, found: u32, known: u32 },
    #[error("cannot write the checkpoint {}: {source}", .path.display())]
    Write { path: PathBuf, source: Fault },
    #[error("cannot read the checkpoint {}: {source}", .path.display())]
    Read { path: PathBuf, source: Fault },
}

/// What the file, or what is in it, has against us.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Store(Box<redb::Error>),
    /// Something cannot be written as JSON.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// The database is sound, and what is in it is not ours.
    #[error("{0}")]
    Malformed(&'static str),
    /// The thread that worked on the file panicked, or was stopped with the program.
    #[error("the database failed: {0}")]
    Task(#[from] tokio::task::JoinError),
}

macro_rules! faults {
    ($($error:ident)*) => {
        $(impl From<redb::$error> for Fault {
            fn from(error: redb::$error) -> Self {
                match redb::Error::from(error) {
                    redb::Error::Io(error) => Self::Io(error),
                    error => Self::Store(Box::new(error)),
                }
            }
        })*
    };
}

faults!(StorageError TableError TransactionError CommitError DatabaseError CompactionError);

impl From<Malformed> for Fault {
    fn from(_: Malformed) -> Self {
        Self::Malformed("an entry cannot be read")
    }
}

impl CheckpointError {
    /// The same where nothing was posted: a full disk, say, is then as bad a place as one that may not be written to.
    pub(crate) fn before_posts(self) -> Self {
        match self {
            Self::Write { path, source } => Self::Unusable { path, action: "written", source },
            error => error,
        }
    }
}

impl Problem for CheckpointError {
    fn exit(&self) -> Exit {
        match self {
            Self::Unusable { .. } | Self::Newer { .. } => Exit::Configuration,
            Self::InUse { .. } | Self::Damaged { .. } | Self::Write { .. } | Self::Read { .. } => Exit::Failed,
        }
    }

    fn advice(&self) -> Option<&'static str> {
        match self {
            Self::InUse { .. } => Some("wait until the other run ends; schedule runs so that they do not overlap"),
            Self::Unusable { .. } => Some(
                "make sure that its directory exists, that this user may write to it and that the disk is not full, or set CHECKPOINT_FILE to another path",
            ),
            Self::Damaged { .. } => Some("the next run sets it aside and reads everything in full"),
            Self::Newer { .. } => Some("use the newer version of the program, or set CHECKPOINT_FILE to another path"),
            Self::Write { .. } => Some("check the disk; the file is intact as of its last write; run again"),
            Self::Read { .. } => None,
        }
    }
}
