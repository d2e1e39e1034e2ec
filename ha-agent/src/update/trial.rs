//! Which agent is on trial: one small file in the state directory, so that whoever starts here knows.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Digest;
use crate::sys::replace::replace;

/// A new agent that has not proven itself yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// What it is.
    pub digest: Digest,
    /// Where it is.
    pub staged: PathBuf,
    /// Where it is to be, and where the one before is.
    pub installed: PathBuf,
}

/// What an agent finds when it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing is on trial.
    Nothing,
    /// This one is.
    This(Trial),
    /// Another one was, and this one runs instead.
    Other(Trial),
}

impl Trial {
    /// Where that is written down.
    #[must_use]
    pub fn path(state: &Path) -> PathBuf {
        state.join("trial.json")
    }

    /// Writes it down, on the disk when this returns.
    ///
    /// # Errors
    ///
    /// If that can't be written.
    pub fn begin(&self, state: &Path) -> io::Result<()> {
        fs::create_dir_all(state)?;
        replace(&Self::path(state), &serde_json::to_vec(self)?)
    }

    /// It is over, on the disk when this returns.
    ///
    /// # Errors
    ///
    /// If that can't be written.
    pub fn end(state: &Path) -> io::Result<()> {
        match fs::remove_file(Self::path(state)) {
            Ok(()) => File::open(state)?.sync_all(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whether any is under way.
    #[must_use]
    pub fn is_under_way(state: &Path) -> bool {
        Self::path(state).exists()
    }

    /// What the agent whose executable is `own` finds.
    ///
    /// # Errors
    ///
    /// If the file can't be read, or is not what was written.
    pub fn found(state: &Path, own: &Path) -> io::Result<Found> {
        let bytes = match fs::read(Self::path(state)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
            Err(error) => return Err(error),
        };
        let trial: Self = serde_json::from_slice(&bytes)?;
        Ok(if trial.staged == own { Found::This(trial) } else { Found::Other(trial) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_starts_knows_whether_it_is_on_trial() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let state = directory.path().join("state");
        let (staged, installed) = (PathBuf::from("/opt/agent.new"), PathBuf::from("/opt/agent"));
        assert_eq!(Trial::found(&state, &installed)?, Found::Nothing);
        let trial =
            Trial { digest: Digest::of_bytes(b"new"), staged: staged.clone(), installed: installed.clone() };
        trial.begin(&state)?;
        assert!(Trial::is_under_way(&state));
        assert_eq!(Trial::found(&state, &staged)?, Found::This(trial.clone()));
        assert_eq!(Trial::found(&state, &installed)?, Found::Other(trial));
        Trial::end(&state)?;
        Trial::end(&state)?;
        assert_eq!(Trial::found(&state, &staged)?, Found::Nothing);
        fs::write(Trial::path(&state), "{}")?;
        assert!(Trial::found(&state, &staged).is_err());
        Ok(())
    }
}
