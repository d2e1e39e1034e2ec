//! The error of the configuration: where, what, and what to do about it.

use std::fmt;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::file::FileProblem;
use super::mistake::Mistake;
use super::passphrase::MakeOne;
use super::quote::{OneLine, ShellPath};
use super::shared::SharedFileError;
use super::token::MakeToken;
use crate::cli::exit::Exit;

/// Why there is no configuration. Displayed, it is one line: file, line (and column), cause and remedy.
///
/// It never contains the passphrase.
#[derive(Debug, Error)]
#[error("{}{}: {cause}", OneLine(&path.to_string_lossy()), Suffix(*position))]
pub struct ConfigError {
    path: PathBuf,
    position: Option<Position>,
    // Boxed, so that a result is not as large as the rarest error.
    cause: Box<Cause>,
}

impl ConfigError {
    /// The exit code of a process that cannot go on without a configuration.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match &*self.cause {
            Cause::File { problem }
            | Cause::PassphraseFile { problem, .. }
            | Cause::TokenFile { problem, .. } => problem.exit(),
            Cause::Shared(error) => error.exit(),
            Cause::Mistake(_) => Exit::Config,
        }
    }

    pub(super) fn new(path: &Path, position: Option<Position>, cause: impl Into<Cause>) -> Self {
        Self { path: path.into(), position, cause: Box::new(cause.into()) }
    }
}

/// What is wrong, in five kinds.
#[derive(Debug, Error)]
pub(super) enum Cause {
    /// The configuration itself was not read.
    #[error("the file {problem}; {}", config_remedy(problem))]
    File { problem: FileProblem },
    /// The file with the passphrase was not read.
    #[error("passphrase file {} {problem}; {}", ShellPath(path), passphrase_remedy(path, problem))]
    PassphraseFile { path: PathBuf, problem: FileProblem },
    /// The file with the token was not read.
    #[error("token file {} {problem}; {}", ShellPath(path), token_remedy(path, problem))]
    TokenFile { path: PathBuf, problem: FileProblem },
    /// What is shared with the peer was not read.
    #[error(transparent)]
    Shared(#[from] SharedFileError),
    /// What was read makes no sense.
    #[error(transparent)]
    Mistake(#[from] Mistake),
}

/// A place in the text, both numbers from 1.
#[derive(Clone, Copy, Debug)]
pub(super) struct Position {
    pub(super) line: usize,
    /// In characters; only where a line alone does not tell enough.
    pub(super) column: Option<usize>,
}

/// `:line:column`, as far as known.
struct Suffix(Option<Position>);

impl fmt::Display for Suffix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(Position { line, column }) = self.0 else { return Ok(()) };
        write!(f, ":{line}")?;
        column.map_or(Ok(()), |column| write!(f, ":{column}"))
    }
}

fn config_remedy(problem: &FileProblem) -> &'static str {
    match problem {
        FileProblem::Missing => "create it, or name another with --config FILE",
        FileProblem::Directory | FileProblem::NotRegular(_) => "name a file with --config FILE",
        FileProblem::TooLarge { .. } => "is it a configuration? name another with --config FILE",
        FileProblem::Denied => "run as root, or change its owner or mode",
        FileProblem::Io(_) => "check the disk, or name another with --config FILE",
    }
}

fn passphrase_remedy(path: &Path, problem: &FileProblem) -> String {
    match problem {
        FileProblem::Missing => MakeOne(path).to_string(),
        FileProblem::Directory | FileProblem::NotRegular(_) => "passphrase_file must name a file".into(),
        FileProblem::TooLarge { .. } => "write only the passphrase into it, in its first line".into(),
        FileProblem::Denied => "run as root, or change its owner or mode".into(),
        FileProblem::Io(_) => "check the disk, or name another in passphrase_file".into(),
    }
}

fn token_remedy(path: &Path, problem: &FileProblem) -> String {
    match problem {
        FileProblem::Missing => MakeToken(path).to_string(),
        FileProblem::Directory | FileProblem::NotRegular(_) => "token_file must name a file".into(),
        FileProblem::TooLarge { .. } => "write only the token into it, in its first line".into(),
        FileProblem::Denied => "run as root, or change its owner or mode".into(),
        FileProblem::Io(_) => "check the disk, or name another in token_file".into(),
    }
}
