//! Opening the file: its rights, its check, waiting for another process, and setting aside what cannot serve.

use std::fs;
use std::io::{self, ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use redb::backends::FileBackend;
use redb::{Builder, Database, DatabaseError, StorageError};
use tokio::time::Instant;

use super::error::{CheckpointError, Fault};
use super::staged::Staged;
use super::table::{self, FORMAT, Loaded};
use crate::files;

/// How long another process is waited for, and how often it is looked at.
const WAIT: Duration = Duration::from_secs(10);
const INTERVAL: Duration = Duration::from_millis(100);

/// What the database keeps of the file in memory. A look-up goes anywhere in it, so more would hardly help.
const CACHE: usize = 1 << 20;

/// Files set aside within one second, and attempts to begin anew.
const MOST_ASIDE: u32 = 100;
const MOST_ATTEMPTS: u32 = 3;

const EMPTY: Fault = Fault::Malformed("it is empty");

/// What the file of an older version begins with.
const JSON: u8 = b'{';

pub(super) struct Opened {
    pub(super) database: Database,
    pub(super) loaded: Loaded,
    /// Why the file that was there could not be used.
    pub(super) replaced: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    Read,
    Write,
    /// Also if it is empty: we emptied it.
    WriteAnew,
}

enum Obstacle {
    InUse,
    /// It cannot serve, and is set aside.
    Unfit {
        why: &'static str,
        fault: Fault,
        is_empty: bool,
        file_id: Option<FileId>,
    },
    Error(CheckpointError),
}

/// Opens it to be written, for this process alone. What cannot serve is set aside.
pub(super) async fn open(path: &Path) -> Result<Opened, CheckpointError> {
    let deadline = Instant::now() + WAIT;
    let mut is_told = false;
    let mut was_empty = false;
    let mut access = Access::Write;
    let mut attempts = 0;
    let mut replaced = None;
    loop {
        let (why, fault, file_id) = match attempt(path, access).await {
            Ok(opened) => return Ok(Opened { replaced, ..opened }),
            Err(Obstacle::Error(error)) => return Err(error),
            Err(Obstacle::InUse) if Instant::now() >= deadline => {
                return Err(CheckpointError::InUse { path: path.to_owned() });
            }
            Err(Obstacle::InUse) => {
                if !std::mem::replace(&mut is_told, true) {
                    let (path, seconds) = (path.display(), WAIT.as_secs());
                    tracing::info!("another process has the checkpoint {path} open; waiting up to {seconds} s for it");
                }
                tokio::time::sleep(INTERVAL).await;
                continue;
            }
            // Another process may just have created it.
            Err(Obstacle::Unfit { is_empty: true, .. }) if !std::mem::replace(&mut was_empty, true) => {
                tokio::time::sleep(INTERVAL).await;
                continue;
            }
            Err(Obstacle::Unfit { why, fault, file_id, .. }) => (why, fault, file_id),
        };
        replaced.get_or_insert_with(|| fault.to_string());
        attempts += 1;
        if attempts > MOST_ATTEMPTS {
            return Err(unusable(path, "replaced", fault));
        }
        match set_aside(path, why, file_id) {
            Ok(Aside::Moved(aside)) => {
                let (path, aside) = (path.display(), aside.display());
                tracing::warn!(
                    "the checkpoint {path} cannot be used: {fault}; it was renamed to {aside}, and a new one is started"
                );
            }
            Ok(Aside::Copied(aside)) => {
                access = Access::WriteAnew;
                let (path, aside) = (path.display(), aside.display());
                tracing::warn!(
                    "the checkpoint {path} cannot be used: {fault}; it was copied to {aside}, and a new one is started"
                );
            }
            Ok(Aside::WasEmpty) => {
                access = Access::WriteAnew;
                tracing::warn!("the checkpoint {} is empty; a new one is started", path.display());
            }
            Ok(Aside::Another) => {}
            Err(error) => return Err(unusable(path, "set aside", error.into())),
        }
    }
}

/// Whether a run could write it. Nothing is changed.
pub(super) fn try_to_write(path: &Path) -> Result<(), CheckpointError> {
    if path.is_dir() {
        // It is set aside.
        return Ok(());
    }
    files::try_to_write(files::private_anywhere().write(true), path)
        .map_err(|error| unusable(path, "written", error.into()))
}

/// Opens it to be read only; `None` if there is none. Nothing is ever written, and nobody is waited for.
pub(super) async fn open_to_read(path: &Path) -> Result<Option<Opened>, CheckpointError> {
    if fs::metadata(path).is_err_and(|error| error.kind() == ErrorKind::NotFound) {
        return Ok(None);
    }
    match attempt(path, Access::Read).await {
        Ok(opened) => Ok(Some(opened)),
        Err(Obstacle::Error(error)) => Err(error),
        Err(Obstacle::InUse) => Err(CheckpointError::InUse { path: path.to_owned() }),
        Err(Obstacle::Unfit { fault, .. }) => Err(CheckpointError::Damaged { path: path.to_owned(), source: fault }),
    }
}

/// In a thread of its own, as checking takes time, and as a panic over a damaged file would end there.
async fn attempt(path: &Path, access: Access) -> Result<Opened, Obstacle> {
    let owned = path.to_owned();
    let opened = tokio::task::spawn_blocking(move || try_open(&owned, access)).await;
    opened.unwrap_or_else(|error| {
        let file_id = fs::metadata(path).ok().as_ref().and_then(FileId::of);
        Err(Obstacle::Unfit { why: "corrupt", fault: error.into(), is_empty: false, file_id })
    })
}

fn try_open(path: &Path, access: Access) -> Result<Opened, Obstacle> {
    let action = if access == Access::Read { "read" } else { "written" };
    let refused = |fault: Fault| Obstacle::Error(unusable(path, action, fault));
    let found_before = fs::metadata(path).ok();
    let file_id = found_before.as_ref().and_then(FileId::of);
    let unfit = |why, fault| Obstacle::Unfit { why, fault, is_empty: false, file_id };
    if found_before.as_ref().is_some_and(fs::Metadata::is_dir) {
        return Err(unfit("corrupt", Fault::Malformed("it is a directory")));
    }
    let file = match access {
        Access::Read => files::open_to_read(path),
        Access::Write | Access::WriteAnew => {
            files::open(files::private_anywhere().read(true).write(true).create(true).truncate(false), path)
        }
    };
    let file = file.map_err(|error| refused(error.into()))?;
    let is_empty = file.metadata().map_err(|error| refused(error.into()))?.len() == 0;
    if found_before.is_some() && is_empty && access != Access::WriteAnew {
        return Err(Obstacle::Unfit { why: "corrupt", fault: EMPTY, is_empty: true, file_id });
    }

    let storage = FileBackend::new(file).map_err(|error| refused(error.into()))?;
    let storage = Staged::new(storage, access == Access::Read).map_err(|error| refused(error.into()))?;
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE).set_check_integrity_on_open(true);
    let database = match builder.create_with_backend(storage.clone()) {
        Ok(database) => database,
        Err(DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch) => return Err(Obstacle::InUse),
        Err(error) if is_of_the_content(&error) => {
            return Err(match first_byte(path) {
                Some(JSON) => unfit("old", Fault::Malformed("an older version of this program wrote it")),
                _ => unfit("corrupt", error.into()),
            });
        }
        Err(error) => return Err(refused(error.into())),
    };
    if is_empty {
        table::create(&database).map_err(refused)?;
    }
    let found = table::format(&database).map_err(|fault| unfit("corrupt", fault))?;
    if found > FORMAT {
        // What the check has changed is forgotten: it was never written.
        return Err(Obstacle::Error(CheckpointError::Newer { path: path.to_owned(), found, known: FORMAT }));
    }
    let loaded = table::load(&database).map_err(|fault| unfit("corrupt", fault))?;
    if access != Access::Read {
        storage.release().map_err(|error| {
            // Half of a new file would be in the way of the next run.
            if found_before.is_none() {
                _ = fs::canonicalize(path).and_then(fs::remove_file);
            }
            refused(error.into())
        })?;
        sync_directory(path);
    }
    Ok(Opened { database, loaded, replaced: None })
}

fn unusable(path: &Path, action: &'static str, source: Fault) -> CheckpointError {
    CheckpointError::Unusable { path: path.to_owned(), action, source }
}

/// Whether what is in the file is to blame, and not the disk or the rights.
fn is_of_the_content(error: &DatabaseError) -> bool {
    match error {
        DatabaseError::Storage(StorageError::Io(error)) => {
            matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::InvalidInput | ErrorKind::UnexpectedEof)
        }
        DatabaseError::Storage(StorageError::Corrupted(_) | StorageError::ValueTooLarge(_))
        | DatabaseError::UpgradeRequired(_)
        | DatabaseError::RepairAborted => true,
        _ => false,
    }
}

fn first_byte(path: &Path) -> Option<u8> {
    let mut start = [0; 1];
    files::open_to_read(path).ok()?.read_exact(&mut start).ok()?;
    start.first().copied()
}

/// Which file it is, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileId(u64, u64);

impl FileId {
    /// `None` where that is not known.
    #[allow(clippy::unnecessary_wraps, reason = "it is known on Unix only")]
    fn of(found: &fs::Metadata) -> Option<Self> {
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt as _;
            Some(Self(found.dev(), found.ino()))
        }
        #[cfg(not(unix))]
        {
            _ = found;
            None
        }
    }
}

enum Aside {
    Moved(PathBuf),
    Copied(PathBuf),
    WasEmpty,
    /// Meanwhile another process has put another there.
    Another,
}

/// Moves what cannot serve to `FILE.{why}-{seconds since the epoch}`, or copies it there and empties it.
fn set_aside(path: &Path, why: &str, file_id: Option<FileId>) -> io::Result<Aside> {
    // Through a link: what it names goes, and the link stays.
    let path = &fs::canonicalize(path)?;
    if FileId::of(&fs::metadata(path)?) != file_id {
        return Ok(Aside::Another);
    }
    let now = jiff::Timestamp::now().as_second();
    let names = (1..=MOST_ASIDE).map(|number| match number {
        1 => files::beside(path, &format!("{why}-{now}")),
        number => files::beside(path, &format!("{why}-{now}-{number}")),
    });
    let free = names.into_iter().find(|aside| fs::symlink_metadata(aside).is_err());
    let aside = free.ok_or_else(|| io::Error::from(ErrorKind::AlreadyExists))?;
    let error = match fs::rename(path, &aside) {
        Ok(()) => return Ok(Aside::Moved(aside)),
        Err(error) => error,
    };
    // It is mounted by itself, or its directory cannot be written.
    let found = fs::metadata(path)?;
    if !found.is_file() {
        return Err(error);
    }
    if found.len() == 0 {
        return Ok(Aside::WasEmpty);
    }
    copy_aside(path, &aside)?;
    Ok(Aside::Copied(aside))
}

pub(super) fn copy_aside(path: &Path, aside: &Path) -> io::Result<()> {
    let mut copy = files::private().write(true).create_new(true).open(aside)?;
    let copied =
        files::open_to_read(path).and_then(|mut file| io::copy(&mut file, &mut copy)).and_then(|_| copy.sync_all());
    if let Err(error) = copied {
        _ = fs::remove_file(aside);
        return Err(error);
    }
    let file = files::open(files::private_anywhere().write(true), path)?;
    file.set_len(0)?;
    file.sync_all()
}

/// A new file lasts only once its directory is on disk. Where that cannot be had, nothing else is lost.
fn sync_directory(path: &Path) {
    #[cfg(unix)]
    {
        let directory = fs::canonicalize(path).ok().and_then(|path| fs::File::open(path.parent()?).ok());
        _ = directory.map(|directory| directory.sync_all());
    }
    #[cfg(not(unix))]
    let _ = path;
}
