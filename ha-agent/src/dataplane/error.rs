//! What can go wrong with the kernel's half, and what to do about it.

use std::error::Error;
use std::{fs, io};

use aya::EbpfError;
use aya::maps::MapError;
use aya::pin::PinError;
use aya::programs::ProgramError;

use super::{Mode, Owner};
use crate::cli::exit::Exit;
use crate::sys::claim::Process;

/// What the kernel, or the library that talks to it, said.
type Cause = Box<dyn Error + Send + Sync>;

/// Why the program could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The binary was built without.
    #[error("this binary was built without its BPF program; build it with `cargo xtask build-ebpf` first")]
    NoObject,
    /// The object is not ours.
    #[error("the BPF object has no {0}; build program and agent from one checkout")]
    Missing(&'static str),
    /// Not allowed.
    #[error(
        "no right to load BPF programs ({0}); run as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_NET_RAW"
    )]
    NoPermission(#[source] io::Error),
    /// The system call does not exist.
    #[error("this kernel has no BPF ({0}); ha-agent needs Linux 5.15 or later with CONFIG_BPF_SYSCALL")]
    NoBpf(#[source] io::Error),
    /// The kernel is older than what the program is made of: `bpf_timer`, which watches for silence, is of 5.15.
    #[error(
        "this is Linux {release}, and the BPF program needs 5.15 or later ({cause}); boot a newer kernel, such as Debian 12's"
    )]
    TooOld {
        /// As in `uname -r`.
        release: String,
        /// What the kernel said.
        cause: Cause,
    },
    /// The verifier refuses the program.
    #[error(
        "the kernel refuses the BPF program ({cause}); report this with `uname -r` and the verifier's log, which `ha-agent bpf verify` shows"
    )]
    Refused {
        /// What the kernel said.
        cause: Cause,
        /// The verifier's log; may be empty.
        log: String,
    },
    /// A map could not be made, read or written.
    #[error("a BPF map failed ({0}); ha-agent needs Linux 5.15 or later")]
    Map(#[source] Cause),
    /// Something could not be pinned.
    #[error("what is to outlive the agent could not be pinned ({0}); is the directory of --pins writable?")]
    Pin(#[source] Cause),
}

/// Why the program could not be attached to an interface.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The program of another agent is there, which may not run any more.
    #[error("another ha-agent already serves {interface}: {owner}; {}", second(.owner))]
    SecondAgent {
        /// The interface.
        interface: String,
        /// Who it is.
        owner: Owner,
    },
    /// Somebody else's program is there. It stays.
    #[error("another XDP program is attached to {interface}{}; ha-agent does not replace it: detach it (`ip link set dev {interface} xdp off`) or set receive = \"auto\"", .owner.as_ref().map_or(String::new(), |owner| format!(": {owner}")))]
    Foreign {
        /// The interface.
        interface: String,
        /// Who it is, where that can be seen.
        owner: Option<Owner>,
    },
    /// The interface went away.
    #[error("interface {interface} does not exist; `ip link` lists those that do")]
    NoInterface {
        /// The interface.
        interface: String,
    },
    /// Not allowed.
    #[error("no right to attach to {interface}; run as root, or with CAP_BPF and CAP_NET_ADMIN")]
    NoPermission {
        /// The interface.
        interface: String,
    },
    /// Another agent serves the interface, by whatever way.
    #[error(
        "another ha-agent already serves {interface}: {process}; stop it first, or add the virtual host to its configuration"
    )]
    Claimed {
        /// The interface.
        interface: String,
        /// Who it is.
        process: Process,
    },
    /// Another virtual host receives there otherwise.
    #[error(
        "{interface} receives by {mode} already, for another virtual host of ours; give both the same `receive`"
    )]
    Otherwise {
        /// The interface.
        interface: String,
        /// How it receives.
        mode: Mode,
    },
    /// The interface has no driver that could run it.
    #[error(
        "{interface} has no driver that runs the program: frames come from another interface; set receive = \"auto\""
    )]
    NoDriver {
        /// The interface.
        interface: String,
    },
    /// Neither driver nor kernel offers it.
    #[error(
        "the program can't be attached to {interface} in this way ({cause}); set receive = \"auto\", or see \
         `ip -d link show {interface}` for its kind and settings"
    )]
    Unsupported {
        /// The interface.
        interface: String,
        /// What the kernel said.
        cause: Box<dyn Error + Send + Sync>,
    },
    /// The kernel refuses the program for it.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The kernel refuses for another reason.
    #[error(
        "the kernel does not attach the program to {interface} ({cause}); `ip -d link show {interface}` shows its kind and settings"
    )]
    Kernel {
        /// The interface.
        interface: String,
        /// What the kernel said.
        cause: Cause,
    },
}

impl LoadError {
    /// The exit code that fits.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::NoPermission(_) => Exit::NoPermission,
            Self::NoObject
            | Self::Missing(_)
            | Self::NoBpf(_)
            | Self::TooOld { .. }
            | Self::Refused { .. }
            | Self::Map(_)
            | Self::Pin(_) => Exit::Unavailable,
        }
    }

    /// The verifier's log, where there is one.
    #[must_use]
    pub fn verifier_log(&self) -> Option<&str> {
        match self {
            Self::Refused { log, .. } if !log.is_empty() => Some(log),
            Self::NoObject
            | Self::Missing(_)
            | Self::NoPermission(_)
            | Self::NoBpf(_)
            | Self::TooOld { .. }
            | Self::Refused { .. }
            | Self::Map(_)
            | Self::Pin(_) => None,
        }
    }

    pub(super) fn from_ebpf(error: EbpfError) -> Self {
        // An old kernel may know no map of such a kind.
        Self::by_errno(error).unwrap_or_else(|error| Self::if_too_old(Box::new(error), Self::Map))
    }

    pub(super) fn from_map(error: MapError) -> Self {
        Self::by_errno(error).unwrap_or_else(|error| Self::Map(Box::new(error)))
    }

    pub(super) fn from_pin(error: PinError) -> Self {
        Self::Pin(Box::new(error))
    }

    pub(super) fn from_program(error: ProgramError) -> Self {
        Self::by_errno(error).unwrap_or_else(|error| {
            let log = match &error {
                ProgramError::LoadError { verifier_log, .. } => verifier_log.to_string(),
                _ => String::new(),
            };
            // The error's own text carries the whole log.
            let cause = match error {
                ProgramError::LoadError { io_error, .. } => Box::new(io_error) as Cause,
                other => Box::new(other),
            };
            Self::if_too_old(cause, |cause| Self::Refused { cause, log })
        })
    }

    /// That the kernel is too old, where it is; what else it is where not.
    fn if_too_old(cause: Cause, or_else: impl FnOnce(Cause) -> Self) -> Self {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let release = release.trim();
        if is_too_old(release) { Self::TooOld { release: release.to_owned(), cause } } else { or_else(cause) }
    }

    /// The two causes that the operator can do something about, told by the system call's error.
    fn by_errno<E: Error + 'static>(error: E) -> Result<Self, E> {
        match errno(&error) {
            // Not EACCES: that is the verifier's word.
            Some(code @ libc::EPERM) => Ok(Self::NoPermission(io::Error::from_raw_os_error(code))),
            Some(code @ libc::ENOSYS) => Ok(Self::NoBpf(io::Error::from_raw_os_error(code))),
            _ => Err(error),
        }
    }
}

impl AttachError {
    /// The exit code that fits.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::NoPermission { .. } => Exit::NoPermission,
            Self::Load(error) => error.exit(),
            Self::SecondAgent { .. }
            | Self::Claimed { .. }
            | Self::Otherwise { .. }
            | Self::Foreign { .. }
            | Self::NoDriver { .. }
            | Self::Unsupported { .. }
            | Self::NoInterface { .. }
            | Self::Kernel { .. } => Exit::Unavailable,
        }
    }
}

/// What to do about another agent: it may have been killed, and have left this.
fn second(owner: &Owner) -> &'static str {
    if owner.process.is_some() {
        "stop it first, or add the virtual host to its configuration"
    } else {
        "stop it first; if it was killed, `ha-agent unload` removes what it has left (with its --pins)"
    }
}

/// Whether a kernel, by what `uname -r` says, is older than [`NEEDED`]. One that can't be told is not.
fn is_too_old(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else { return false };
    (major, minor) < NEEDED
}

/// The system call's error at the end of a chain of causes.
pub(super) fn errno(error: &(dyn Error + 'static)) -> Option<i32> {
    let chain = std::iter::successors(Some(error), |error| (*error).source());
    chain.filter_map(|error| error.downcast_ref::<io::Error>()).find_map(io::Error::raw_os_error)
}

/// The first kernel with all that the program is made of.
const NEEDED: (u32, u32) = (5, 15);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_kernel_is_told_by_its_release() {
        let table = [
            ("5.10.0-46-cloud-amd64", true),
            ("4.19.0", true),
            ("5.14.21-150500.55-default", true),
            ("5.15.0", false),
            ("6.1.0-50-cloud-amd64", false),
            ("6.12.117+deb13-cloud-amd64", false),
            ("10.0", false),
            ("5", false),
            ("", false),
        ];
        for (release, expected) in table {
            assert_eq!(is_too_old(release), expected, "{release}");
        }
    }
}
