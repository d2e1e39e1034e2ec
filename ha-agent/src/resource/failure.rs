//! Why a resource could not be taken or released: each cause has a name.

use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why something was not done. Displayed, it is one line with cause and remedy.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
#[error("{cause}: {what}; {remedy}")]
pub struct Failure {
    /// Of what kind it is.
    pub cause: Cause,
    /// What is the case.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

/// The kinds of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Cause {
    /// A disk that belongs to it is not there.
    DiskMissing,
    /// A disk is another one than was expected.
    DiskForeign,
    /// Somebody who is not of this pair has registered a key.
    KeyForeign,
    /// The device refuses reservations, or does not know them.
    NoReservation,
    /// Our own key is gone: somebody else has taken over.
    Fenced,
    /// A pool is imported by another system.
    PoolElsewhere,
    /// A pool lacks redundancy that it should have.
    PoolDegraded,
    /// A pool can't be imported as it is.
    PoolBroken,
    /// A pool does no more I/O.
    PoolSuspended,
    /// A file system can't be mounted as it is.
    FilesystemBroken,
    /// A file system was made read-only because of an error.
    ReadOnly,
    /// A service is dead, or dies again and again.
    ServiceDead,
    /// Something is in use and can't be let go.
    Busy,
    /// A tool is not installed.
    NoTool,
    /// A file system is full.
    NoSpace,
    /// It may not be done.
    NotPermitted,
    /// It was to be there, and is gone.
    Gone,
    /// It took too long.
    TimedOut,
    /// It was told to stop.
    Stopped,
    /// What it needs is not as it must be.
    Misconfigured,
    /// Something else.
    Other,
}

impl Failure {
    /// A failure of this kind, what is the case, and what to do about it.
    pub fn new(cause: Cause, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { cause, what: what.into(), remedy: remedy.into() }
    }

    /// What was to be here is not.
    #[must_use]
    pub fn gone(name: &str) -> Self {
        Self::new(Cause::Gone, format!("{name} is not here any more"), "find out who took it away")
    }

    /// It was to be `taken` or `released`, and neither that nor an error comes back.
    #[must_use]
    pub fn hangs(name: &str, what: &str) -> Self {
        let remedy = "see the kernel's log for what does not answer";
        Self::new(Cause::TimedOut, format!("{name} hangs: it can't be {what}"), remedy)
    }

    /// The system refuses to do `what`.
    #[must_use]
    pub fn system(what: &str, error: &io::Error) -> Self {
        let (cause, remedy) = match error.kind() {
            io::ErrorKind::PermissionDenied => (Cause::NotPermitted, "run ha-agent as root"),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                (Cause::NoSpace, "make room, then try again")
            }
            io::ErrorKind::ResourceBusy => (Cause::Busy, "find out who uses it, and end that"),
            _ => (Cause::Other, "see the kernel's log"),
        };
        Self::new(cause, format!("{what}: {error}"), remedy)
    }
}

impl Cause {
    /// All of them, in the order of the documentation.
    pub const ALL: [Self; 21] = [
        Self::DiskMissing,
        Self::DiskForeign,
        Self::KeyForeign,
        Self::NoReservation,
        Self::Fenced,
        Self::PoolElsewhere,
        Self::PoolDegraded,
        Self::PoolBroken,
        Self::PoolSuspended,
        Self::FilesystemBroken,
        Self::ReadOnly,
        Self::ServiceDead,
        Self::Busy,
        Self::NoTool,
        Self::NoSpace,
        Self::NotPermitted,
        Self::Gone,
        Self::TimedOut,
        Self::Stopped,
        Self::Misconfigured,
        Self::Other,
    ];

    /// What it means.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Self::DiskMissing => "a disk that belongs to it is not there",
            Self::DiskForeign => "a disk is another one than was expected",
            Self::KeyForeign => "somebody who is not of this pair has registered a key",
            Self::NoReservation => "the device refuses reservations, or does not know them",
            Self::Fenced => "our own key is gone: somebody else has taken over",
            Self::PoolElsewhere => "a pool is imported by another system",
            Self::PoolDegraded => "a pool lacks redundancy that it should have",
            Self::PoolBroken => "a pool can't be imported as it is",
            Self::PoolSuspended => "a pool does no more I/O",
            Self::FilesystemBroken => "a file system can't be mounted as it is",
            Self::ReadOnly => "a file system was made read-only because of an error",
            Self::ServiceDead => "a service is dead, or dies again and again",
            Self::Busy => "something is in use and can't be let go",
            Self::NoTool => "a tool is not installed",
            Self::NoSpace => "a file system is full",
            Self::NotPermitted => "it may not be done",
            Self::Gone => "it was to be there, and is gone",
            Self::TimedOut => "it took too long",
            Self::Stopped => "it was told to stop",
            Self::Misconfigured => "what it needs is not as it must be",
            Self::Other => "something else",
        }
    }

    /// Whether what is looked at is served all the same, though not as safely as it should be.
    #[must_use]
    pub fn leaves_it_served(self) -> bool {
        self == Self::PoolDegraded
    }

    /// Its name, in capitals.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::DiskMissing => "DISK_MISSING",
            Self::DiskForeign => "DISK_FOREIGN",
            Self::KeyForeign => "KEY_FOREIGN",
            Self::NoReservation => "NO_RESERVATION",
            Self::Fenced => "FENCED",
            Self::PoolElsewhere => "POOL_ELSEWHERE",
            Self::PoolDegraded => "POOL_DEGRADED",
            Self::PoolBroken => "POOL_BROKEN",
            Self::PoolSuspended => "POOL_SUSPENDED",
            Self::FilesystemBroken => "FILESYSTEM_BROKEN",
            Self::ReadOnly => "READ_ONLY",
            Self::ServiceDead => "SERVICE_DEAD",
            Self::Busy => "BUSY",
            Self::NoTool => "NO_TOOL",
            Self::NoSpace => "NO_SPACE",
            Self::NotPermitted => "NOT_PERMITTED",
            Self::Gone => "GONE",
            Self::TimedOut => "TIMED_OUT",
            Self::Stopped => "STOPPED",
            Self::Misconfigured => "MISCONFIGURED",
            Self::Other => "OTHER",
        }
    }
}

/// In capitals.
impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_one_line_with_cause_and_remedy() {
        let error = io::Error::from_raw_os_error(libc::ENOSPC);
        let failure = Failure::system("/srv can't be written", &error);
        let line = failure.to_string();
        assert!(line.starts_with("NO_SPACE: /srv can't be written: "), "{line}");
        assert!(line.ends_with("; make room, then try again"), "{line}");
        assert_eq!(serde_json::to_value(Cause::KeyForeign).expect("JSON"), "KEY_FOREIGN");
        assert_eq!(Failure::gone("pool tank").cause.name(), "GONE");
    }
}
