//! Files of ours: for their owner alone, regular ones, and never another's through a link.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

/// Options for a file that only its owner reads, and that is no link to another. Opening waits for nobody, as it would at a
/// named pipe.
pub(crate) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    }
    options
}

/// Options for a file that only its owner reads, wherever it lies: a link to it is followed.
pub(crate) fn private_anywhere() -> OpenOptions {
    let mut options = private();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK);
    options
}

/// Opens a file that is to be written; one that others could read is taken from them.
pub(crate) fn open(options: &OpenOptions, path: &Path) -> io::Result<File> {
    let file = regular(options.open(path))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mut permissions = file.metadata()?.permissions();
        if permissions.mode() & 0o077 != 0 {
            permissions.set_mode(0o600);
            // Only its owner may do so; another's file is left as it is.
            _ = file.set_permissions(permissions);
        }
    }
    Ok(file)
}

/// Opens a file that is only read, also through a link.
pub(crate) fn open_to_read(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK);
    regular(options.open(path))
}

fn regular(opened: io::Result<File>) -> io::Result<File> {
    let odd = || io::Error::other("it is not a regular file");
    match opened {
        Ok(file) if file.metadata()?.is_file() => Ok(file),
        Ok(_) => Err(odd()),
        // A named pipe that nobody reads.
        #[cfg(unix)]
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => Err(odd()),
        Err(error) => Err(error),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;
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
    fn a_link_is_read_through_and_never_written_through() {
        let directory = tempfile::tempdir().unwrap();
        let (precious, link) = (directory.path().join("precious"), directory.path().join("link"));
        fs::write(&precious, "untouched").unwrap();
        std::os::unix::fs::symlink(&precious, &link).unwrap();
        assert!(open(private().append(true), &link).is_err());
        assert!(open_to_read(&link).is_ok());
    }
}
