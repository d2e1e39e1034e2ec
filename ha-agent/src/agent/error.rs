//! Why the agent could not start, or had to end.

use std::io;

use ha_common::abi::MAX_HOSTS;

use super::memory::MemoryError;
use super::{FollowError, PATIENCE, RecordFileError};
use crate::cli::exit::Exit;
use crate::control::server::ServerError;
use crate::core::pair::report::Why;
use crate::dataplane::{AttachError, LoadError};
use crate::journal::recorder::RecordError;
use crate::sys::capabilities;
use crate::witness::WitnessFileError;

/// Why the agent could not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Not allowed.
    #[error("no right to run: {0} missing; run as root, or grant them with `setcap` or the service manager")]
    NoPermission(capabilities::Missing),
    /// More virtual hosts than the kernel program holds.
    #[error(
        "{0} virtual hosts are configured, at most {MAX_HOSTS} can be served; split them over two agents"
    )]
    TooMany(usize),
    /// The control socket.
    #[error(transparent)]
    Control(#[from] ServerError),
    /// The recording.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// What this node stored of its pair.
    #[error(transparent)]
    Pair(#[from] RecordFileError),
    /// The files for the witness.
    #[error(transparent)]
    Witness(#[from] WitnessFileError),
    /// What should have been let go could not be: another node may serve it by now.
    #[error(
        "this node of a pair had to end: {0}; look at what `ip address` shows before it is started again"
    )]
    EndedHard(Why),
    /// The kernel program.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// An interface.
    #[error(transparent)]
    Interface(#[from] FollowError),
    /// What strict mode remembers.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The kernel does not tell about interfaces.
    #[error("the interfaces could not be read by netlink: {0}; is CONFIG_NET available in this kernel?")]
    Netlink(#[source] rtnetlink::Error),
    /// The kernel does not answer.
    #[error("the kernel did not answer about interfaces within {} s; is the machine overloaded?", PATIENCE.as_secs())]
    Silent,
    /// Something that the operating system always gives was not given.
    #[error("{what}: {cause}; look at the limits of the process (`ulimit -a`)")]
    Os {
        /// What it was.
        what: &'static str,
        /// The system's error.
        cause: io::Error,
    },
    /// A part that must live as long as the agent ended before it.
    #[error("{0} ended unexpectedly; this is an error in ha-agent, please report it")]
    Ended(&'static str),
}

impl AgentError {
    /// The verifier's log, where it refused a program.
    #[must_use]
    pub fn verifier_log(&self) -> Option<&str> {
        match self {
            Self::Load(error) | Self::Interface(FollowError::Attach(AttachError::Load(error))) => {
                error.verifier_log()
            }
            _ => None,
        }
    }

    /// The exit code that fits.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::NoPermission(_) => Exit::NoPermission,
            Self::TooMany(_) => Exit::Config,
            Self::Control(error) => error.exit(),
            Self::Record(error) => error.exit(),
            Self::Pair(RecordFileError::Damaged { .. } | RecordFileError::Newer { .. }) => Exit::Data,
            Self::Witness(error) => error.exit(),
            Self::Load(error) => error.exit(),
            Self::Interface(error) => error.exit(),
            Self::Memory(error) => error.exit(),
            Self::Netlink(_) | Self::Silent => Exit::Unavailable,
            Self::Pair(RecordFileError::Io { .. }) | Self::EndedHard(_) | Self::Os { .. } => Exit::Os,
            Self::Ended(_) => Exit::Software,
        }
    }
}
