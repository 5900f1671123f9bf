//! Files that appear whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::FallocateFlags;
use rustix::io::Errno;
use tempfile::{Builder, NamedTempFile};

use crate::error::{Error, Reason, Shown};

/// Bytes that are gathered before they are written.
const BUFFER: usize = 1 << 18;

/// A file that is being written beside the one that it is to become.
///
/// [`NewFile::finish`] gives it its name, replacing what had it. Dropped before that, it is gone,
/// and what had the name is as it was.
#[derive(Debug)]
pub struct NewFile {
    file: BufWriter<NamedTempFile>,
    path: PathBuf,
}

impl NewFile {
    /// Begins a file of `bytes` bytes, or of a length that is not known, that is to be `path`.
    ///
    /// # Errors
    /// [`Error::Write`] if no file can be made there, or if so many bytes do not fit on the disk.
    pub fn create(path: &Path, bytes: Option<u64>) -> Result<Self, Error> {
        let fail = |source| write_error(path, source);
        let refuse = |source| Error::write(Shown(path).to_string(), source);
        // A link keeps pointing where it did; what it points to is replaced.
        let path = match fs::metadata(path) {
            Ok(found) if !found.is_file() => {
                let source = io::Error::other("it is no regular file; name another output");
                return Err(refuse(source));
            }
            Ok(_) => fs::canonicalize(path).map_err(fail)?,
            Err(_) => path.into(),
        };
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let file = Builder::new()
            .prefix(".bantam-")
            .suffix(".part")
            .permissions(fs::Permissions::from_mode(0o666)) // less what umask takes
            .tempfile_in(folder)
            .map_err(fail)?;
        if let Some(bytes) = bytes {
            reserve(file.as_file(), bytes).map_err(refuse)?;
        }
        Ok(Self { file: BufWriter::with_capacity(BUFFER, file), path })
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all(bytes).map_err(|source| write_error(&self.path, source))
    }

    /// Puts the file on the disk under its name.
    ///
    /// # Errors
    /// [`Error::Write`]; there is then no new file.
    pub fn finish(self) -> Result<(), Error> {
        self.finish_checked(|_| Ok(()))
    }

    /// As [`NewFile::finish`], if `check` finds nothing wrong with the whole file, which it gets
    /// under another name.
    ///
    /// # Errors
    /// [`Error::Write`], and whatever `check` returns; there is then no new file.
    pub fn finish_checked(
        self,
        check: impl FnOnce(&Path) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let Self { file, path } = self;
        let fail = |source| write_error(&path, source);
        let file = file.into_inner().map_err(|error| fail(error.into_error()))?;
        file.as_file().sync_all().map_err(fail)?;
        check(file.path())?;
        file.persist(&path).map_err(|error| fail(error.error))?;
        Ok(())
    }
}

/// Claims room on the disk, so that a disk that is too full shows before the work and not after it.
fn reserve(file: &File, bytes: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, 0, bytes.max(1)) {
        Err(Errno::NOSPC | Errno::FBIG | Errno::DQUOT) => {
            let megabytes = bytes.div_ceil(1_000_000);
            Err(io::Error::new(
                ErrorKind::StorageFull,
                format!("its {megabytes} MB do not fit on the disk; free some, or name another"),
            ))
        }
        // Not every file system can; then writing tells.
        _ => Ok(()),
    }
}

fn write_error(path: &Path, source: io::Error) -> Error {
    let to = Shown(path).to_string();
    match source.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Error::write(
            to,
            io::Error::other("the disk is full; free some of it, or name another output"),
        ),
        ErrorKind::NotFound => {
            Error::write(to, io::Error::other("there is no such folder; make it first"))
        }
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Error::write(
            to,
            io::Error::other("its folder may not be written to; name an output elsewhere"),
        ),
        _ => {
            let reason = Reason(&source).to_string();
            Error::write(to, io::Error::new(source.kind(), reason))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("out");
        fs::write(&path, "old").expect("writable");
        let mut file = NewFile::create(&path, Some(3)).expect("writable");
        file.write(b"n").expect("writable");
        drop(file);
        assert_eq!(fs::read(&path).expect("there"), b"old");
        let mut file = NewFile::create(&path, Some(300)).expect("writable");
        file.write(b"new").expect("writable");
        file.finish().expect("writable");
        assert_eq!(fs::read(&path).expect("there"), b"new");
        let mut file = NewFile::create(&path, None).expect("writable");
        file.write(b"wrong").expect("writable");
        let refused = file.finish_checked(|whole| {
            assert_eq!(fs::read(whole).expect("there"), b"wrong");
            Err(Error::Interrupted)
        });
        assert!(matches!(refused, Err(Error::Interrupted)));
        assert_eq!(fs::read(&path).expect("there"), b"new");
        assert_eq!(fs::read_dir(folder.path()).expect("there").count(), 1);
    }

    #[test]
    fn a_link_stays_and_a_folder_or_device_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, link) = (folder.path().join("out"), folder.path().join("link"));
        fs::write(&path, "old").expect("writable");
        std::os::unix::fs::symlink(&path, &link).expect("a link");
        let mut file = NewFile::create(&link, None).expect("writable");
        file.write(b"new").expect("writable");
        file.finish().expect("writable");
        assert_eq!(fs::read(&path).expect("there"), b"new");
        assert!(fs::symlink_metadata(&link).expect("there").is_symlink());
        for refused in [folder.path(), Path::new("/dev/null"), Path::new("/no/such/folder/file")] {
            assert!(matches!(NewFile::create(refused, None), Err(Error::Write { .. })));
        }
        let error = NewFile::create(Path::new("/no/such/folder/file"), None).expect_err("nowhere");
        assert!(error.to_string().ends_with("there is no such folder; make it first"), "{error}");
    }

    #[test]
    fn too_many_bytes_are_refused_at_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let error =
            NewFile::create(&folder.path().join("out"), Some(1 << 60)).expect_err("too big");
        assert!(error.to_string().contains("do not fit on the disk"), "{error}");
        assert_eq!(fs::read_dir(folder.path()).expect("there").count(), 0);
    }
}
