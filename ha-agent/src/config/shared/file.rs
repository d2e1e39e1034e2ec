//! The file that the agent keeps it in: replaced as a whole, so that after a crash there is the old one or the new one.

use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{LAYOUT, Shared};
use crate::cli::exit::Exit;
use crate::config::file::{self, FileProblem};
use crate::config::quote::{OneLine, ShellPath};
use crate::sys::replace::replace;

/// Why the file can't be used. Displayed, it is one line.
#[derive(Debug, thiserror::Error)]
pub enum SharedFileError {
    /// There is none.
    #[error(
        "the shared configuration {} does not exist; make it with `ha-agent config init FILE` on both nodes, or take \
         `shared` out of [peer]",
        ShellPath(.0)
    )]
    Missing(PathBuf),
    /// It can't be read.
    #[error("the shared configuration {} {problem}; check that file", ShellPath(.path))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
        /// The exit code that fits.
        exit: Exit,
    },
    /// It is not what was written.
    #[error(
        "the shared configuration {} is damaged: {cause}; copy the file of the other node",
        ShellPath(.path)
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// A newer agent wrote it.
    #[error(
        "the shared configuration {} has layout {found}, and this agent knows {LAYOUT}; update ha-agent",
        ShellPath(.path)
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its layout.
        found: u32,
    },
    /// It can't be written.
    #[error(
        "the shared configuration {} can't be written: {cause}; check the disk and the directory's mode",
        ShellPath(.path)
    )]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
}

impl SharedFileError {
    /// The exit code that fits.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Missing(_) => Exit::Config,
            Self::Unreadable { exit, .. } => *exit,
            Self::Damaged { .. } | Self::Newer { .. } => Exit::Data,
            Self::Write { .. } => Exit::CantCreate,
        }
    }
}

/// Reads it.
///
/// # Errors
///
/// If there is none, or none that this agent can read.
pub fn read(path: &Path) -> Result<Shared, SharedFileError> {
    let contents = file::read(path, FILE_LIMIT).map_err(|problem| match problem {
        FileProblem::Missing => SharedFileError::Missing(path.to_owned()),
        problem @ (FileProblem::Directory
        | FileProblem::NotRegular(_)
        | FileProblem::TooLarge { .. }
        | FileProblem::Denied
        | FileProblem::Io(_)) => {
            let exit = problem.exit();
            SharedFileError::Unreadable { path: path.to_owned(), problem: problem.to_string(), exit }
        }
    })?;
    let damaged = |cause: String| SharedFileError::Damaged {
        path: path.to_owned(),
        cause: OneLine(&cause).to_string(),
    };
    // First the layout: of a newer one, nothing else is known.
    let Layout { layout } =
        serde_json::from_slice(&contents.bytes).map_err(|error| damaged(error.to_string()))?;
    if layout > LAYOUT {
        return Err(SharedFileError::Newer { path: path.to_owned(), found: layout });
    }
    let shared: Shared =
        serde_json::from_slice(&contents.bytes).map_err(|error| damaged(error.to_string()))?;
    shared.checked().map_err(damaged)
}

/// Puts it on the disk in one step. Whoever writes it has read what was there.
///
/// # Errors
///
/// If the system refuses: then the old one is still there.
pub fn write(path: &Path, shared: &Shared) -> Result<(), SharedFileError> {
    let json = serde_json::to_vec_pretty(shared).map_err(io::Error::other);
    json.and_then(|json| replace(path, &json))
        .map_err(|cause| SharedFileError::Write { path: path.to_owned(), cause })
}

/// What each layout has.
#[derive(Deserialize)]
struct Layout {
    layout: u32,
}

/// Bytes of the file: a text of which each byte is written as six.
const FILE_LIMIT: usize = 512 * 1024;
