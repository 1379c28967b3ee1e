//! Our own files: regular, private to their owner, and never opened for writing through a link by default.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Options for a file that only its owner can read and that is not a link. Opening never blocks, as it would on a named
/// pipe.
pub(crate) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    }
    options
}

/// Options for a file that only its owner can read; links are followed.
pub(crate) fn private_anywhere() -> OpenOptions {
    let mut options = private();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK);
    options
}

/// Opens a file for writing, and makes it private if others could read it. If the folder is why it cannot be created,
/// the error names the folder.
pub(crate) fn open(options: &OpenOptions, path: &Path) -> io::Result<File> {
    let file = regular(options.open(path)).map_err(|error| of_the_folder(path, error))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mut permissions = file.metadata()?.permissions();
        if permissions.mode() & 0o077 != 0 {
            permissions.set_mode(0o600);
            // Fails unless we own the file; a file of another owner keeps its permissions.
            _ = file.set_permissions(permissions);
        }
    }
    Ok(file)
}

/// Opens a file for reading; links are followed.
pub(crate) fn open_to_read(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK);
    regular(options.open(path))
}

/// Checks whether a file could be opened with these options, or created if missing. Changes nothing.
pub(crate) fn try_to_write(options: &mut OpenOptions, path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(_) => open(options, path).map(drop),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let probe = beside(path, "check");
            match open(private().write(true).create_new(true), &probe) {
                Ok(_) => fs::remove_file(&probe),
                Err(error) => Err(error),
            }
        }
        Err(error) => Err(of_the_folder(path, error)),
    }
}

/// A path in the same folder: the same name with a suffix.
pub(crate) fn beside(path: &Path, what: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{what}"));
    path.with_file_name(name)
}

/// Adds the folder's name to an error that the folder causes.
fn of_the_folder(path: &Path, error: io::Error) -> io::Error {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let named = |what: &str| io::Error::new(error.kind(), format!("the folder {} {what}", folder.display()));
    match (error.kind(), fs::metadata(folder)) {
        (_, Err(missing)) if missing.kind() == ErrorKind::NotFound => named("does not exist"),
        (_, Ok(found)) if !found.is_dir() => named("is a file"),
        (ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem, _) if fs::symlink_metadata(path).is_err() => {
            named(&format!("may not be written to: {error}"))
        }
        _ => error,
    }
}

fn regular(opened: io::Result<File>) -> io::Result<File> {
    let odd = || io::Error::other("it is not a regular file");
    match opened {
        Ok(file) if file.metadata()?.is_file() => Ok(file),
        Ok(_) => Err(odd()),
        // A named pipe without a reader.
        #[cfg(unix)]
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => Err(odd()),
        Err(error) => Err(error),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::Command;

    use super::*;

    #[test]
    fn a_file_that_others_could_read_is_taken_from_them() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "of an older version").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        open(private().append(true).create(true), &path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read(&path).unwrap(), b"of an older version");
    }

    #[test]
    fn what_is_no_regular_file_is_refused_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for path in [pipe.as_path(), Path::new("/dev/null")] {
            let opened =
                [open(private().append(true), path), open(private().read(true).write(true), path), open_to_read(path)];
            for opened in opened {
                assert_eq!(opened.unwrap_err().to_string(), "it is not a regular file");
            }
        }
    }

    #[test]
    fn a_folder_that_is_to_blame_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let (missing, file) = (directory.path().join("missing"), directory.path().join("file"));
        fs::write(&file, "").unwrap();
        for (folder, what) in [(missing, "does not exist"), (file, "is a file")] {
            let path = folder.join("checkpoint");
            let expected = format!("the folder {} {what}", folder.display());
            assert_eq!(open(private().append(true).create(true), &path).unwrap_err().to_string(), expected);
            assert_eq!(try_to_write(private().append(true), &path).unwrap_err().to_string(), expected);
        }
        assert!(try_to_write(private().append(true), &directory.path().join("new")).is_ok());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left behind");
    }

    #[test]
    fn a_link_is_read_through_and_never_written_through() {
        let directory = tempfile::tempdir().unwrap();
        let (precious, link) = (directory.path().join("precious"), directory.path().join("link"));
        fs::write(&precious, "untouched").unwrap();
        std::os::unix::fs::symlink(&precious, &link).unwrap();
        assert!(open(private().append(true), &link).is_err());
        assert!(open_to_read(&link).is_ok());
    }
}
