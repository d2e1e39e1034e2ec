//! The file beside the installed agent: a package comes in there, whole or not at all.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::Digest;
use super::digest::Digester;

/// Where packages are put.
#[derive(Debug)]
pub struct Staging {
    installed: PathBuf,
    incoming: Option<Incoming>,
}

/// One that is not complete.
#[derive(Debug)]
struct Incoming {
    file: File,
    size: u64,
    written: u64,
    digest: Digest,
    digester: Digester,
}

/// Why a package is not there.
#[derive(Debug, thiserror::Error)]
pub enum StagingError {
    /// The system refuses.
    #[error("{} can't be {verb}: {cause}; the directory of the installed agent must be writable, and have room", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was to be done with it.
        verb: &'static str,
        /// The system's error.
        cause: io::Error,
    },
    /// It can't be a package.
    #[error("a package has 1 byte to 1 GiB, not {0} bytes; is it the executable of an ha-agent?")]
    Size(u64),
    /// A piece that does not follow on the one before.
    #[error("a piece of the package came where none was expected; begin the update again")]
    Piece,
    /// It is another one.
    #[error(
        "the package is not what was said: its SHA-256 begins with {found}, not {expected}; begin the update again"
    )]
    Other {
        /// As it is.
        found: String,
        /// As it should be.
        expected: String,
    },
}

impl Staging {
    /// Beside this file.
    #[must_use]
    pub fn beside(installed: &Path) -> Self {
        Self { installed: installed.to_owned(), incoming: None }
    }

    /// Where a package is once it is complete.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        with_suffix(&self.installed, ".new")
    }

    /// Where the installed agent is.
    #[must_use]
    pub fn installed(&self) -> &Path {
        &self.installed
    }

    /// Begins to take in a package, in the place of whatever was there.
    ///
    /// # Errors
    ///
    /// See [`StagingError`].
    pub fn begin(&mut self, size: u64, digest: Digest) -> Result<(), StagingError> {
        self.discard();
        if !(1..=SIZE_LIMIT).contains(&size) {
            return Err(StagingError::Size(size));
        }
        let path = self.path();
        // Nobody can run it before it is complete.
        let file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&path);
        let file = file.map_err(failed(&path, "made"))?;
        self.incoming = Some(Incoming { file, size, written: 0, digest, digester: Digester::default() });
        Ok(())
    }

    /// Takes in the next piece; the last one completes it.
    ///
    /// # Errors
    ///
    /// See [`StagingError`]. The package is gone then.
    pub fn chunk(&mut self, offset: u64, data: &[u8]) -> Result<(), StagingError> {
        let taken = self.take_in(offset, data);
        if taken.is_err() {
            self.discard();
        }
        taken
    }

    /// Takes a package from a file.
    ///
    /// # Errors
    ///
    /// See [`StagingError`].
    pub fn take(&mut self, path: &Path, digest: Digest) -> Result<(), StagingError> {
        let (mut file, size) = open(path)?;
        self.begin(size, digest)?;
        let (mut buffer, mut offset) = (vec![0; 64 * 1024], 0);
        while offset < size {
            let read = file.read(&mut buffer).map_err(failed(path, "read"))?;
            if read == 0 {
                self.discard();
                return Err(StagingError::Piece);
            }
            self.chunk(offset, buffer.get(..read).unwrap_or_default())?;
            offset += read as u64;
        }
        Ok(())
    }

    /// That a package is here, and this one.
    ///
    /// # Errors
    ///
    /// See [`StagingError`].
    pub fn verify(&self, digest: Digest) -> Result<(), StagingError> {
        let path = self.path();
        require(digest, Digest::of(&path).map_err(failed(&path, "read"))?)
    }

    /// Puts the package in the place of the installed agent, which stays beside it as the one before. On the disk when this
    /// returns.
    ///
    /// # Errors
    ///
    /// See [`StagingError`]. The installed agent is there at any time.
    pub fn install(&self) -> Result<(), StagingError> {
        let previous = with_suffix(&self.installed, ".previous");
        let linked = remove(&previous).and_then(|()| fs::hard_link(&self.installed, &previous));
        if let Err(error) = linked {
            tracing::warn!("{}: the agent before could not be kept: {error}", previous.display());
        }
        fs::rename(self.path(), &self.installed).map_err(failed(&self.installed, "replaced"))?;
        let directory = self.installed.parent().unwrap_or(Path::new("/"));
        File::open(directory).and_then(|it| it.sync_all()).map_err(failed(directory, "written"))
    }

    /// Removes whatever is here.
    pub fn discard(&mut self) {
        self.incoming = None;
        let path = self.path();
        if let Err(error) = remove(&path) {
            tracing::warn!("{} can't be removed: {error}", path.display());
        }
    }

    fn take_in(&mut self, offset: u64, data: &[u8]) -> Result<(), StagingError> {
        let path = self.path();
        let incoming = self.incoming.as_mut().ok_or(StagingError::Piece)?;
        let end = incoming.written + data.len() as u64;
        if offset != incoming.written || data.is_empty() || end > incoming.size {
            return Err(StagingError::Piece);
        }
        incoming.file.write_all(data).map_err(failed(&path, "written"))?;
        incoming.digester.add(data);
        incoming.written = end;
        if end < incoming.size {
            return Ok(());
        }
        let Some(Incoming { file, digest, digester, .. }) = self.incoming.take() else { return Ok(()) };
        require(digest, digester.finish())?;
        let complete = file.set_permissions(Permissions::from_mode(0o755)).and_then(|()| file.sync_all());
        complete.map_err(failed(&path, "written"))
    }
}

/// Opens a package, and tells its bytes.
///
/// # Errors
///
/// If it can't be opened, or is none by its size.
pub fn open(path: &Path) -> Result<(File, u64), StagingError> {
    // Without waiting, should it be a pipe.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let file = file.map_err(failed(path, "opened"))?;
    let metadata = file.metadata().map_err(failed(path, "read"))?;
    match metadata.len() {
        size @ 1..=SIZE_LIMIT if metadata.is_file() => Ok((file, size)),
        size => Err(StagingError::Size(size)),
    }
}

fn require(expected: Digest, found: Digest) -> Result<(), StagingError> {
    if expected == found {
        Ok(())
    } else {
        Err(StagingError::Other { found: found.short(), expected: expected.short() })
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn failed(path: &Path, verb: &'static str) -> impl FnOnce(io::Error) -> StagingError {
    let path = path.to_owned();
    move |cause| StagingError::Io { path, verb, cause }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// Bytes of a package.
const SIZE_LIMIT: u64 = 1 << 30;

#[cfg(test)]
mod tests {
    use anyhow::Result;

    use super::*;

    struct Place {
        directory: tempfile::TempDir,
        staging: Staging,
    }

    fn place() -> Result<Place> {
        let directory = tempfile::tempdir()?;
        let installed = directory.path().join("ha-agent");
        fs::write(&installed, "old")?;
        Ok(Place { staging: Staging::beside(&installed), directory })
    }

    type Attempt<'a> = &'a dyn Fn(&mut Staging) -> Result<(), StagingError>;

    #[test]
    fn a_package_comes_whole_and_is_installed_in_one_step() -> Result<()> {
        let Place { directory, mut staging } = place()?;
        let digest = Digest::of_bytes(b"new agent");
        staging.begin(9, digest)?;
        staging.chunk(0, b"new ")?;
        assert_eq!(fs::metadata(staging.path())?.permissions().mode() & 0o777, 0o600);
        staging.chunk(4, b"agent")?;
        assert_eq!(fs::metadata(staging.path())?.permissions().mode() & 0o777, 0o755);
        staging.verify(digest)?;
        staging.install()?;
        assert_eq!(fs::read(directory.path().join("ha-agent"))?, b"new agent");
        assert_eq!(fs::read(directory.path().join("ha-agent.previous"))?, b"old");
        assert!(!staging.path().exists() && staging.verify(digest).is_err());
        // And again.
        let file = directory.path().join("package");
        fs::write(&file, "newer")?;
        staging.take(&file, Digest::of_bytes(b"newer"))?;
        staging.install()?;
        assert_eq!(fs::read(directory.path().join("ha-agent"))?, b"newer");
        assert_eq!(fs::read(directory.path().join("ha-agent.previous"))?, b"new agent");
        Ok(())
    }

    #[test]
    fn what_is_not_the_package_leaves_nothing_behind() -> Result<()> {
        let Place { directory, mut staging } = place()?;
        let digest = Digest::of_bytes(b"new");
        let file = directory.path().join("package");
        fs::write(&file, "other")?;
        let attempts: [(Attempt<'_>, &str); 8] = [
            (&|it| it.begin(0, digest), "not 0 bytes"),
            (&|it| it.begin(u64::MAX, digest), "1 GiB"),
            (&|it| it.chunk(0, b"new"), "begin the update again"),
            (&|it| it.begin(3, digest).and_then(|()| it.chunk(1, b"ew")), "begin the update again"),
            (&|it| it.begin(3, digest).and_then(|()| it.chunk(0, b"newer")), "begin the update again"),
            (&|it| it.begin(3, digest).and_then(|()| it.chunk(0, b"old")), "not what was said"),
            (&|it| it.take(&file, digest), "not what was said"),
            (&|it| it.take(directory.path(), digest), "executable"),
        ];
        for (attempt, expected) in attempts {
            let error = attempt(&mut staging).expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}");
            assert!(!staging.path().exists(), "{expected}");
        }
        assert_eq!(fs::read(directory.path().join("ha-agent"))?, b"old");
        Ok(())
    }
}
