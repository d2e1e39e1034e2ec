//! The files of the peer link, in a directory that only its owner may enter.
//!
//! | file | what |
//! |---|---|
//! | `node.pem` | this node's key and certificate |
//! | `node-next.pem` | the ones that it goes over to, until the peer has the certificate |
//! | `peer.pem` | the certificate of the peer: the only one that is accepted |
//! | `peer-next.pem` | the one that the peer goes over to: accepted, too |
//! | `lock` | held by whoever changes any of them |
//!
//! Each is replaced in one step: whoever reads finds the old one or the new one.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::Uid;

use super::identity::{Certificate, Identity, IdentityError};
use crate::cli::exit::Exit;
use crate::config::file::{self, FileProblem};

/// A directory with the files. Nothing is read before it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    directory: PathBuf,
}

/// One of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// This node's.
    Node,
    /// This node's, at rotation.
    NodeNext,
    /// The peer's.
    Peer,
    /// The peer's, at its rotation.
    PeerNext,
}

/// Held while the files are changed. The kernel gives it back when the process ends, in whatever way.
#[derive(Debug)]
pub struct Lock {
    _file: Flock<File>,
}

/// By what one tells whether any of the files was replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stamp([Option<(u64, i64, i64, u32)>; 5]);

impl Store {
    /// The files in a directory.
    #[must_use]
    pub fn at(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    /// Where they are.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The path of one of them.
    #[must_use]
    pub fn path(&self, part: Part) -> PathBuf {
        self.directory.join(part.name())
    }

    /// Makes the directory, if it is not there.
    ///
    /// # Errors
    ///
    /// If it can't be made.
    pub fn create(&self) -> Result<(), StoreError> {
        let failed = |cause| failed(&self.directory, "made", cause);
        if let Some(parent) = self.directory.parent() {
            fs::create_dir_all(parent).map_err(failed)?;
        }
        match DirBuilder::new().mode(0o700).create(&self.directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(failed(error)),
            Ok(()) | Err(_) => self.check(),
        }
    }

    /// Keeps all others from changing the files.
    ///
    /// # Errors
    ///
    /// If somebody else does so now, or the directory is not there or not safe.
    pub fn lock(&self) -> Result<Lock, StoreError> {
        self.check()?;
        let path = self.directory.join(LOCK);
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = file.map_err(|cause| failed(&path, "opened", cause))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => Ok(Lock { _file: file }),
            Err((_, Errno::EWOULDBLOCK)) => Err(StoreError::Busy(self.directory.clone())),
            Err((_, errno)) => Err(failed(&path, "locked", errno.into())),
        }
    }

    /// A key and its certificate; `None` if there are none.
    ///
    /// # Errors
    ///
    /// If the file is not as it was written, or others may read it.
    pub fn identity(&self, part: Part) -> Result<Option<Identity>, StoreError> {
        self.read(part, Identity::from_pem)
    }

    /// A certificate; `None` if there is none.
    ///
    /// # Errors
    ///
    /// As for [`Self::identity`].
    pub fn certificate(&self, part: Part) -> Result<Option<Certificate>, StoreError> {
        self.read(part, Certificate::from_pem)
    }

    /// Replaces one of the files. It is on the disk when this returns.
    ///
    /// # Errors
    ///
    /// If it can't be written; the old one is there still.
    pub fn write(&self, _lock: &Lock, part: Part, pem: &str) -> Result<(), StoreError> {
        let path = self.path(part);
        let beside = path.with_extension("new");
        let written = (|| {
            // What an earlier try left.
            match fs::remove_file(&beside) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
            let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&beside)?;
            file.write_all(pem.as_bytes())?;
            file.sync_all()?;
            fs::rename(&beside, &path)?;
            self.sync()
        })();
        written.map_err(|cause| {
            // If it is there.
            let _ = fs::remove_file(&beside);
            failed(&path, "written", cause)
        })
    }

    /// Puts one of the files in the place of another.
    ///
    /// # Errors
    ///
    /// If it can't be done; both are there still.
    pub fn promote(&self, _lock: &Lock, from: Part, to: Part) -> Result<(), StoreError> {
        let moved = fs::rename(self.path(from), self.path(to)).and_then(|()| self.sync());
        moved.map_err(|cause| failed(&self.path(to), "replaced", cause))
    }

    /// Removes one of the files, if it is there.
    ///
    /// # Errors
    ///
    /// If it can't be removed.
    pub fn remove(&self, _lock: &Lock, part: Part) -> Result<(), StoreError> {
        match fs::remove_file(self.path(part)).and_then(|()| self.sync()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed(&self.path(part), "removed", error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Differs once any of the files was replaced.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        let stamp = |path: &Path| {
            let metadata = fs::metadata(path).ok()?;
            Some((metadata.ino(), metadata.mtime(), metadata.mtime_nsec(), metadata.mode()))
        };
        let mut directory = stamp(&self.directory);
        // Its times differ with each lock.
        if let Some((_, seconds, nanos, _)) = &mut directory {
            (*seconds, *nanos) = (0, 0);
        }
        let [a, b, c, d] = Part::ALL.map(|part| stamp(&self.path(part)));
        Stamp([directory, a, b, c, d])
    }

    /// Whether the directory is there, and nobody else may enter it.
    fn check(&self) -> Result<(), StoreError> {
        let metadata = fs::metadata(&self.directory).map_err(|cause| match cause.kind() {
            io::ErrorKind::NotFound => StoreError::NoDirectory(self.directory.clone()),
            _ => failed(&self.directory, "read", cause),
        })?;
        if !metadata.is_dir() {
            return Err(StoreError::NoDirectory(self.directory.clone()));
        }
        if metadata.mode() & OTHERS != 0 {
            return Err(StoreError::Open {
                path: self.directory.clone(),
                mode: metadata.mode() & 0o7777,
                right: "700",
            });
        }
        if ![Uid::effective().as_raw(), 0].contains(&metadata.uid()) {
            return Err(StoreError::Owner { path: self.directory.clone(), uid: metadata.uid() });
        }
        Ok(())
    }

    fn read<T>(
        &self,
        part: Part,
        meaning: impl FnOnce(&[u8]) -> Result<T, IdentityError>,
    ) -> Result<Option<T>, StoreError> {
        match self.check() {
            Ok(()) => {}
            Err(StoreError::NoDirectory(_)) => return Ok(None),
            Err(error) => return Err(error),
        }
        let path = self.path(part);
        let contents = match file::read(&path, FILE_LIMIT) {
            Ok(contents) => contents,
            Err(FileProblem::Missing) => return Ok(None),
            Err(problem) => {
                return Err(StoreError::Unreadable {
                    path,
                    problem: problem.to_string(),
                    exit: problem.exit(),
                });
            }
        };
        if contents.mode & OTHERS != 0 {
            return Err(StoreError::Open { path, mode: contents.mode, right: "600" });
        }
        meaning(&contents.bytes).map(Some).map_err(|cause| StoreError::Content { path, cause })
    }

    /// So that a new name of a file outlives a power cut.
    fn sync(&self) -> io::Result<()> {
        File::open(&self.directory)?.sync_all()
    }
}

impl Part {
    const ALL: [Self; 4] = [Self::Node, Self::NodeNext, Self::Peer, Self::PeerNext];

    /// The name of the file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Node => "node.pem",
            Self::NodeNext => "node-next.pem",
            Self::Peer => "peer.pem",
            Self::PeerNext => "peer-next.pem",
        }
    }
}

/// Why a file can't be used. Displayed, it is one line with the remedy.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Others may read it, or enter it.
    #[error("{} is open to others (mode {mode:04o}), so its keys may be known; run `chmod {right} {}`, and pair anew if they may have been read", path.display(), path.display())]
    Open {
        /// The file or directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// What they should be.
        right: &'static str,
    },
    /// It is somebody else's.
    #[error("{} belongs to user {uid}, who could exchange the keys; run `chown root {}`", path.display(), path.display())]
    Owner {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        uid: u32,
    },
    /// The directory is not there.
    #[error("there is no directory {}; `ha-agent pair init` or `pair join` makes it", .0.display())]
    NoDirectory(PathBuf),
    /// Somebody else changes the files.
    #[error("another ha-agent is changing {}; wait until it is done", .0.display())]
    Busy(PathBuf),
    /// A file was not read.
    #[error("{} {problem}; look at its owner and mode, or pair anew", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
        /// The exit code that fits.
        exit: Exit,
    },
    /// A file is not what it should be.
    #[error("{} {cause}; remove it and pair anew with `ha-agent pair init` and `pair join`", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: IdentityError,
    },
    /// The system refuses.
    #[error("{} could not be {verb}: {cause}; is the disk full or read-only, or the user not root?", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried.
        verb: &'static str,
        /// The system's error.
        cause: io::Error,
    },
}

impl StoreError {
    /// The exit code that fits.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Open { .. } | Self::Owner { .. } | Self::NoDirectory(_) | Self::Content { .. } => {
                Exit::Config
            }
            Self::Busy(_) => Exit::Unavailable,
            Self::Unreadable { exit, .. } => *exit,
            Self::Io { cause, .. } if cause.kind() == io::ErrorKind::PermissionDenied => Exit::NoPermission,
            Self::Io { .. } => Exit::CantCreate,
        }
    }
}

fn failed(path: &Path, verb: &'static str, cause: io::Error) -> StoreError {
    StoreError::Io { path: path.to_owned(), verb, cause }
}

/// Bytes of a file.
const FILE_LIMIT: usize = 16 * 1024;
/// Permission bits that nobody else may have.
const OTHERS: u32 = 0o077;
const LOCK: &str = "lock";

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::identity::NodeId;
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::at(&directory.path().join("state/peer"));
        (directory, store)
    }

    fn identity() -> Identity {
        Identity::generate("a", NodeId::random().unwrap()).unwrap()
    }

    #[test]
    fn what_is_written_is_read_and_replaced_in_one_step() {
        let (_directory, store) = store();
        assert!(store.identity(Part::Node).unwrap().is_none());
        assert!(matches!(store.lock(), Err(StoreError::NoDirectory(_))));
        store.create().unwrap();
        store.create().unwrap();
        let lock = store.lock().unwrap();
        assert!(matches!(store.lock(), Err(StoreError::Busy(_))));

        let (first, second) = (identity(), identity());
        let before = store.stamp();
        store.write(&lock, Part::Node, &first.to_pem()).unwrap();
        assert_ne!(store.stamp(), before);
        store.write(&lock, Part::NodeNext, &second.to_pem()).unwrap();
        let read = |part| store.identity(part).unwrap().map(|identity| identity.certificate().clone());
        assert_eq!(read(Part::Node).as_ref(), Some(first.certificate()));
        store.promote(&lock, Part::NodeNext, Part::Node).unwrap();
        assert_eq!((read(Part::Node).as_ref(), read(Part::NodeNext)), (Some(second.certificate()), None));
        store.remove(&lock, Part::Node).unwrap();
        store.remove(&lock, Part::Node).unwrap();
        assert_eq!(read(Part::Node), None);
        drop(lock);
        let stamp = store.stamp();
        drop(store.lock().unwrap());
        assert_eq!(store.stamp(), stamp);
    }

    #[test]
    fn what_an_interrupted_write_left_is_no_hindrance() {
        let (_directory, store) = store();
        store.create().unwrap();
        let lock = store.lock().unwrap();
        let beside = store.path(Part::Peer).with_extension("new");
        fs::write(&beside, "half").unwrap();
        store.write(&lock, Part::Peer, &identity().certificate().to_pem()).unwrap();
        assert!(!beside.exists());
        store.certificate(Part::Peer).unwrap().unwrap();
    }

    #[test]
    fn rights_are_tight_and_must_stay_so() {
        let (_directory, store) = store();
        store.create().unwrap();
        let lock = store.lock().unwrap();
        store.write(&lock, Part::Node, &identity().to_pem()).unwrap();
        let path = store.path(Part::Node);
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
        assert_eq!((mode(&path), mode(store.directory())), (0o600, 0o700));
        for bit in [0o040, 0o020, 0o010, 0o004, 0o002, 0o001] {
            for (path, right) in [(path.as_path(), 0o600), (store.directory(), 0o700)] {
                fs::set_permissions(path, PermissionsExt::from_mode(right | bit)).unwrap();
                let error = store.identity(Part::Node).unwrap_err();
                let line = error.to_string();
                assert!(line.contains(&format!("chmod {right:o} {}", path.display())), "{line}");
                assert_eq!(error.exit(), Exit::Config);
                fs::set_permissions(path, PermissionsExt::from_mode(right)).unwrap();
            }
        }
        store.identity(Part::Node).unwrap().unwrap();
    }

    #[test]
    fn files_that_are_no_such_files_are_told_in_one_line() {
        let (_directory, store) = store();
        store.create().unwrap();
        let path = store.path(Part::Peer);
        for text in ["", "nonsense\n", &"x".repeat(FILE_LIMIT + 1)] {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
            let line = store.certificate(Part::Peer).unwrap_err().to_string();
            assert!(line.contains("pair anew") && !line.contains(char::is_control), "{line}");
        }
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(store.certificate(Part::Peer).unwrap_err().to_string().contains("is a directory"));
    }
}
