//! What a node of a pair must know after a restart: one small file, replaced as a whole.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::core::pair::Record;
use crate::sys::replace::replace;

/// Why the file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum RecordFileError {
    /// The system refuses.
    #[error("{} can't be {verb}: {cause}; this node of a pair keeps there whether it may be active: name another directory with --state", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was to be done with it.
        verb: &'static str,
        /// The system's error.
        cause: io::Error,
    },
    /// It is not what was written.
    #[error("{} is damaged: {cause}; if the other node is active, remove the file: this one then learns from it", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// A newer agent wrote it.
    #[error("{} is of version {found}, and this agent knows {VERSION}; run the newer ha-agent", .path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
}

impl RecordFileError {
    /// What is wrong, without the file and the remedy.
    pub(super) fn cause(&self) -> String {
        match self {
            Self::Io { cause, .. } => cause.to_string(),
            Self::Damaged { cause, .. } => cause.clone(),
            Self::Newer { found, .. } => format!("it is of version {found}"),
        }
    }
}

/// Its form.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    version: u32,
    record: Record,
}

/// Where the file is.
pub(super) fn path(state: &Path) -> PathBuf {
    state.join("pair.json")
}

/// Reads it; what there is before the first is [`Record::default`].
///
/// # Errors
///
/// See [`RecordFileError`].
pub(super) fn read(path: &Path) -> Result<Record, RecordFileError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Record::default()),
        Err(cause) => return Err(RecordFileError::Io { path: path.to_owned(), verb: "read", cause }),
    };
    match serde_json::from_slice::<Stored>(&bytes) {
        Ok(Stored { version, .. }) if version > VERSION => {
            Err(RecordFileError::Newer { path: path.to_owned(), found: version })
        }
        Ok(Stored { record, .. }) => Ok(record),
        Err(error) => Err(RecordFileError::Damaged { path: path.to_owned(), cause: error.to_string() }),
    }
}

/// Puts it on the disk.
pub(super) fn write(path: &Path, record: Record) -> io::Result<()> {
    replace(path, &serde_json::to_vec(&Stored { version: VERSION, record })?)
}

const VERSION: u32 = 1;

#[cfg(test)]
mod tests {
    use anyhow::Result;

    use super::*;
    use crate::core::pair::Generation;

    #[test]
    fn what_is_written_is_read_and_what_is_not_ours_is_refused_by_name() -> Result<()> {
        let directory = tempfile::tempdir()?;
        let path = path(directory.path());
        assert_eq!(read(&path)?, Record::default());
        let record = Record { starts: 3, generation: Generation::new(7)?, held: true, ..Record::default() };
        write(&path, record)?;
        assert_eq!(read(&path)?, record);
        let whole = fs::read(&path)?;
        for end in 0..whole.len() {
            fs::write(&path, &whole[..end])?;
            assert!(matches!(read(&path), Err(RecordFileError::Damaged { .. })), "{end}");
        }
        fs::write(&path, r#"{"version": 9, "record": {}}"#)?;
        assert!(matches!(read(&path), Err(RecordFileError::Newer { found: 9, .. })));
        Ok(())
    }
}
