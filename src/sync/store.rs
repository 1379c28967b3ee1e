//! The checkpoint's file: read, written whole or not at all, and kept from other runs by a lock.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::files::{self, private};
use crate::text::printable;

/// A checkpoint of 100,000 deliveries is some 12 MB.
const LARGEST: u64 = 64 << 20;

/// Files set aside within one second.
const MOST_ASIDE: u32 = 100;

/// How long another run on this host is waited for, and how often it is looked at.
const LOCK_WAIT: Duration = Duration::from_secs(10);
const LOCK_INTERVAL: Duration = Duration::from_millis(100);

/// Why the file cannot serve.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("CHECKPOINT_FILE: {} cannot be {action}: {error}", .path.display())]
    Rights { path: PathBuf, action: &'static str, error: io::Error },
    #[error("another run holds the checkpoint {}: {holder}", .path.display())]
    Locked { path: PathBuf, holder: String },
    #[error("writing the checkpoint {}: {error}", .path.display())]
    Write { path: PathBuf, error: io::Error },
    /// It could not be read again.
    #[error("the checkpoint {} would be too large: {size} bytes, of {LARGEST} at most; it is left as it is", .path.display())]
    TooLarge { path: PathBuf, size: usize },
}

/// A checkpoint file that this run alone may use, or may only read. The lock ends with the value, or with the process.
#[derive(Debug)]
pub(crate) struct Store {
    path: PathBuf,
    /// `None`: nothing is ever written.
    lock: Option<File>,
    begun: AtomicU64,
    /// The latest write that was done. One that nobody waits for any more may still be under way when the next begins.
    done: Arc<Mutex<u64>>,
}

impl Store {
    /// Takes the lock, waiting a little for another run, and makes sure that the file can be written.
    pub(crate) async fn open(path: &Path) -> Result<Self, StoreError> {
        if path.is_dir() {
            let error = io::Error::from(ErrorKind::IsADirectory);
            return Err(StoreError::Rights { path: path.to_owned(), action: "written", error });
        }
        let lock_path = beside(path, "lock");
        let rights = |action| {
            let path = lock_path.clone();
            move |error| StoreError::Rights { path, action, error }
        };
        let mut options = private();
        options.read(true).write(true).create(true).truncate(false);
        let mut lock = files::open(&options, &lock_path).map_err(rights("locked"))?;
        let deadline = Instant::now() + LOCK_WAIT;
        let mut said = false;
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(error)) => return Err(rights("locked")(error)),
                Err(TryLockError::WouldBlock) if Instant::now() >= deadline => {
                    return Err(StoreError::Locked { path: path.to_owned(), holder: holder(&lock) });
                }
                Err(TryLockError::WouldBlock) => {
                    if !std::mem::replace(&mut said, true) {
                        tracing::info!(
                            "another run holds the checkpoint {}: {}; waiting up to {} s",
                            path.display(),
                            holder(&lock),
                            LOCK_WAIT.as_secs()
                        );
                    }
                    tokio::time::sleep(LOCK_INTERVAL).await;
                }
            }
        }
        let holder = format!("process {} since {:.0}", std::process::id(), jiff::Timestamp::now());
        lock.set_len(0)
            .and_then(|()| lock.seek(SeekFrom::Start(0)))
            .and_then(|_| lock.write_all(holder.as_bytes()))
            .map_err(rights("locked"))?;

        try_to_write(path, "tmp")?;
        Ok(Self { lock: Some(lock), ..Self::read_only(path) })
    }

    /// A file to be read only, whoever else uses it: it is always whole.
    pub(crate) fn read_only(path: &Path) -> Self {
        Self { path: path.to_owned(), lock: None, begun: AtomicU64::new(0), done: Arc::default() }
    }

    /// The bytes of the file; `None` where there is no file yet.
    pub(crate) fn read(&self) -> Result<Option<Vec<u8>>, StoreError> {
        let rights = |error| StoreError::Rights { path: self.path.clone(), action: "read", error };
        let file = match files::open_to_read(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(rights(error)),
        };
        let mut bytes = Vec::new();
        file.take(LARGEST).read_to_end(&mut bytes).map_err(rights)?;
        Ok(Some(bytes))
    }

    /// Replaces the file: a reader sees the old one or the new one, and after a crash it is one of both.
    pub(crate) async fn write(&self, bytes: Vec<u8>) -> Result<(), StoreError> {
        if self.lock.is_none() {
            return Ok(());
        }
        let path = self.path.clone();
        if bytes.len() as u64 > LARGEST {
            return Err(StoreError::TooLarge { path, size: bytes.len() });
        }
        let failed = |error| StoreError::Write { path: self.path.clone(), error };
        let number = 1 + self.begun.fetch_add(1, Ordering::Relaxed);
        let done = Arc::clone(&self.done);
        let write = move || {
            let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
            if *done < number {
                replace(&path, &bytes)?;
                *done = number;
            }
            Ok(())
        };
        match tokio::task::spawn_blocking(write).await {
            Ok(result) => result.map_err(failed),
            Err(error) => Err(failed(io::Error::other(error))),
        }
    }

    /// Moves a file that cannot serve out of the way, and tells where to: `FILE.{why}-{seconds since the epoch}`.
    pub(crate) fn set_aside(&self, why: &str) -> Result<PathBuf, StoreError> {
        if self.lock.is_none() {
            return Ok(self.path.clone());
        }
        let now = jiff::Timestamp::now().as_second();
        let names = (1..=MOST_ASIDE).map(|number| match number {
            1 => beside(&self.path, &format!("{why}-{now}")),
            number => beside(&self.path, &format!("{why}-{now}-{number}")),
        });
        // One that was set aside a moment ago is not replaced; nobody else writes there, as this run has the lock.
        let free = names.into_iter().find(|aside| fs::symlink_metadata(aside).is_err());
        free.ok_or_else(|| io::Error::from(ErrorKind::AlreadyExists))
            .and_then(|aside| fs::rename(&self.path, &aside).map(|()| aside))
            .map_err(|error| StoreError::Write { path: self.path.clone(), error })
    }
}

/// What the holder of a lock says of itself.
fn holder(lock: &File) -> String {
    let mut holder = Vec::new();
    let mut lock = lock;
    _ = lock.seek(SeekFrom::Start(0)).and_then(|_| lock.take(200).read_to_end(&mut holder));
    let holder = printable(&String::from_utf8_lossy(&holder)).to_string();
    if holder.is_empty() { "its name is unknown".into() } else { holder }
}

/// Tries what a write will need, and leaves nothing behind. With the suffix of a run's temporary file, only under the lock.
pub(crate) fn try_to_write(path: &Path, suffix: &str) -> Result<(), StoreError> {
    let probe = beside(path, suffix);
    create_new(&probe).and_then(|_| fs::remove_file(&probe)).map_err(|error| StoreError::Rights {
        path: path.to_owned(),
        action: "written",
        error,
    })
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = beside(path, "tmp");
    let mut file = create_new(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    // The rename itself lasts only once the directory is on disk.
    #[cfg(unix)]
    File::open(directory(path))?.sync_all()?;
    Ok(())
}

/// A new file of ours, whatever a crashed run left there. `create_new` never follows a link.
fn create_new(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    private().write(true).create_new(true).open(path)
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(suffix);
    path.with_file_name(name)
}

#[cfg(unix)]
fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn store(directory: &tempfile::TempDir) -> Store {
        Store::open(&directory.path().join("checkpoint.json")).await.unwrap()
    }

    #[tokio::test]
    async fn what_was_written_is_read_and_only_the_owner_may() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory).await;
        assert_eq!(store.read().unwrap(), None);
        store.write(b"one".to_vec()).await.unwrap();
        store.write(b"two".to_vec()).await.unwrap();
        assert_eq!(store.read().unwrap().unwrap(), b"two");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(directory.path().join("checkpoint.json")).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[tokio::test]
    async fn a_temporary_file_of_a_killed_run_is_in_nobodys_way() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("checkpoint.json.tmp"), "half of it").unwrap();
        let store = store(&directory).await;
        store.write(b"whole".to_vec()).await.unwrap();
        assert_eq!(store.read().unwrap().unwrap(), b"whole");
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_link_in_place_of_the_file_is_replaced_and_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let precious = directory.path().join("precious");
        fs::write(&precious, "untouched").unwrap();
        std::os::unix::fs::symlink(&precious, directory.path().join("checkpoint.json")).unwrap();
        std::os::unix::fs::symlink(&precious, directory.path().join("checkpoint.json.tmp")).unwrap();
        let store = store(&directory).await;
        store.write(b"checkpoint".to_vec()).await.unwrap();
        assert_eq!(fs::read(&precious).unwrap(), b"untouched");
    }

    #[tokio::test]
    async fn a_store_that_only_reads_leaves_no_trace_and_waits_for_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let first = store(&directory).await;
        first.write(b"one".to_vec()).await.unwrap();
        let names = || fs::read_dir(directory.path()).unwrap().count();
        let before = names();
        let reader = Store::read_only(&directory.path().join("checkpoint.json"));
        reader.write(b"two".to_vec()).await.unwrap();
        reader.set_aside("corrupt").unwrap();
        assert_eq!(reader.read().unwrap().unwrap(), b"one");
        assert_eq!(names(), before);
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_run_waits_and_then_names_the_first() {
        let directory = tempfile::tempdir().unwrap();
        let first = store(&directory).await;
        let error = Store::open(&directory.path().join("checkpoint.json")).await.unwrap_err();
        assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
        drop(first);
        store(&directory).await;
    }

    #[tokio::test]
    async fn a_checkpoint_that_could_not_be_read_again_is_not_written() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory).await;
        store.write(b"one".to_vec()).await.unwrap();
        let error = store.write(vec![b' '; 1 + (64 << 20)]).await.unwrap_err();
        assert!(error.to_string().contains("too large: 67108865 bytes"), "{error}");
        assert_eq!(store.read().unwrap().unwrap(), b"one");
    }

    #[tokio::test]
    async fn a_write_that_nobody_waits_for_any_more_does_not_undo_a_later_one() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory).await;
        for number in 0..50 {
            // Begun, and dropped at once.
            assert!(futures::poll!(Box::pin(store.write(vec![b'x'; 100_000]))).is_pending());
            store.write(number.to_string().into()).await.unwrap();
            assert_eq!(store.read().unwrap().unwrap(), number.to_string().as_bytes());
        }
    }

    #[tokio::test]
    async fn two_files_that_are_set_aside_at_once_are_both_kept() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory).await;
        let mut aside = Vec::new();
        for content in ["one", "two", "three"] {
            store.write(content.into()).await.unwrap();
            aside.push((store.set_aside("corrupt").unwrap(), content));
        }
        for (path, content) in aside {
            assert_eq!(fs::read_to_string(path).unwrap(), content);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_lock_says_of_its_holder_is_shown_and_not_obeyed() {
        let directory = tempfile::tempdir().unwrap();
        let _first = store(&directory).await;
        fs::write(directory.path().join("checkpoint.json.lock"), b"\xff\x1b[2J\n::error::x").unwrap();
        let error = Store::open(&directory.path().join("checkpoint.json")).await.unwrap_err().to_string();
        assert!(error.contains("\\u{1b}[2J") && !error.contains(['\u{1b}', '\n']), "{error}");
    }

    #[tokio::test]
    async fn a_directory_that_is_not_there_is_named() {
        let error = Store::open(Path::new("/nonexistent/checkpoint.json")).await.unwrap_err();
        assert!(matches!(error, StoreError::Rights { .. }));
        assert!(error.to_string().contains("/nonexistent/checkpoint.json"), "{error}");
    }
}
