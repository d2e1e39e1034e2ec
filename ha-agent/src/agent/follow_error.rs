//! Why an interface can't be used, and what to do about it.

use std::io;

use ha_common::abi::{MAX_GUARDED, MAX_LISTED};

use crate::cli::exit::Exit;
use crate::dataplane::{AttachError, LoadError};
use crate::net::macvlan::MacvlanError;
use crate::net::membership::MembershipError;
use crate::net::place::PlaceError;

/// Why an interface can't be used.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// It is not there.
    #[error("interface {0} does not exist; `ip link` lists those that do")]
    NoInterface(String),
    /// It is no Ethernet.
    #[error("interface {0} has no Ethernet address: CARP needs Ethernet; choose another interface")]
    NoEthernet(String),
    /// It is nothing to attach to.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The program can't be attached.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// The program can't be told.
    #[error(transparent)]
    Rules(#[from] LoadError),
    /// A group can't be joined.
    #[error("interface {interface}: {cause}")]
    Membership {
        /// The interface.
        interface: String,
        /// Why not.
        cause: MembershipError,
    },
    /// The kernel program can't be told of all.
    #[error(
        "{listed} peers and own addresses and {guarded} virtual addresses are too many: there is room for {MAX_LISTED} and \
         {MAX_GUARDED}; configure fewer"
    )]
    NoRoom {
        /// Peers and own addresses, of all virtual hosts.
        listed: usize,
        /// Virtual addresses.
        guarded: usize,
    },
    /// The virtual hardware address can't be had.
    #[error(transparent)]
    Macvlan(#[from] MacvlanError),
    /// A socket can't be opened.
    #[error(
        "a socket on interface {interface} could not be opened: {cause}; CAP_NET_RAW is needed, and the interface"
    )]
    Socket {
        /// The interface.
        interface: String,
        /// The system call's error.
        cause: io::Error,
    },
}

impl FollowError {
    /// The exit code that fits.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Attach(error) => error.exit(),
            Self::Rules(error) => error.exit(),
            Self::Place(_) | Self::NoRoom { .. } => Exit::Config,
            Self::Socket { cause, .. } if cause.kind() == io::ErrorKind::PermissionDenied => {
                Exit::NoPermission
            }
            Self::NoInterface(_)
            | Self::NoEthernet(_)
            | Self::Membership { .. }
            | Self::Macvlan(_)
            | Self::Socket { .. } => Exit::Unavailable,
        }
    }
}
