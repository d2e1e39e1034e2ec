//! Reading a file that a user named: only a regular one, only so many bytes, never waiting.

use std::fs::{self, File, FileType, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use nix::fcntl::OFlag;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::cli::exit::Exit;

/// What was in the file.
pub(crate) struct Contents {
    /// Zeroized on drop, because a passphrase comes this way too.
    pub(crate) bytes: Zeroizing<Vec<u8>>,
    /// The permission bits, as in `chmod`.
    pub(crate) mode: u32,
}

/// Reads a regular file of at most `limit` bytes.
pub(crate) fn read(path: &Path, limit: usize) -> Result<Contents, FileProblem> {
    let (file, metadata) = open_regular(path)?;
    // With room for all of it, the vector never moves and leaves no copy of a passphrase behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(limit + 1));
    // The length in the metadata is not asked: it is 0 for files of the kernel, and the file may grow.
    file.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > limit {
        return Err(FileProblem::TooLarge { limit });
    }
    Ok(Contents { bytes, mode: metadata.permissions().mode() & 0o7777 })
}

/// Why a file could not be read. Reads on after the name of the file.
#[derive(Debug, Error)]
pub(crate) enum FileProblem {
    #[error("does not exist")]
    Missing,
    #[error("is a directory")]
    Directory,
    #[error("is {0}, not a regular file")]
    NotRegular(&'static str),
    #[error("is larger than {limit} bytes")]
    TooLarge { limit: usize },
    #[error("may not be read by this user")]
    Denied,
    #[error("cannot be read: {0}")]
    Io(io::Error),
}

impl FileProblem {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Missing | Self::Directory | Self::NotRegular(_) | Self::TooLarge { .. } => Exit::Config,
            Self::Denied => Exit::NoPermission,
            Self::Io(_) => Exit::Os,
        }
    }
}

impl From<io::Error> for FileProblem {
    fn from(error: io::Error) -> Self {
        let kind = error.kind();
        if kind == ErrorKind::NotFound || kind == ErrorKind::NotADirectory {
            Self::Missing
        } else if kind == ErrorKind::PermissionDenied {
            Self::Denied
        } else {
            Self::Io(error)
        }
    }
}

fn open_regular(path: &Path) -> Result<(File, Metadata), FileProblem> {
    // Asked before opening, because opening alone acts on some devices: it starts a watchdog, rewinds a tape.
    require_regular(&fs::metadata(path)?)?;
    // Asked again after, of the file that was opened; O_NONBLOCK, because it may be a FIFO by now.
    let file = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
    let metadata = file.metadata()?;
    require_regular(&metadata)?;
    Ok((file, metadata))
}

fn require_regular(metadata: &Metadata) -> Result<(), FileProblem> {
    let file_type = metadata.file_type();
    if file_type.is_file() {
        Ok(())
    } else if file_type.is_dir() {
        Err(FileProblem::Directory)
    } else {
        Err(FileProblem::NotRegular(describe(file_type)))
    }
}

fn describe(file_type: FileType) -> &'static str {
    if file_type.is_fifo() {
        "a FIFO"
    } else if file_type.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}
