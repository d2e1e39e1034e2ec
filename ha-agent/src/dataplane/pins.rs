//! What of the program outlives the agent, in a directory of a bpffs: its attachments, the lease that it goes quiet by, and of
//! which virtual hosts this node is master.
//!
//! A program that is attached goes on with its own maps, whatever becomes of the agent. The next agent loads a program with
//! new ones, puts it in the place of the old one in one step, and goes on with the same lease.
//!
//! ```text
//! /sys/fs/bpf/ha-agent/6/            the layout's version
//!   HA_LEASE HA_GUARDED HA_DOUBT HA_SILENCED HA_STANDING
//!   ha_exit                          what sees the process of the agent end
//!   link-3-native                    the attachment to interface 3; of traffic control link-3-tcx
//! ```

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use aya::programs::links::{FdLink, PinnedLink};
use ha_common::abi::VERSION;
use rustix::fs::{FlockOperation, flock, statfs};

use super::Mode;

/// The directory, which is this agent's alone for as long as it runs.
#[derive(Debug)]
pub struct Pins {
    directory: PathBuf,
    /// Holds the lock.
    _lock: File,
}

/// Why nothing outlives the agent.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// Not a place for it.
    #[error("{0} is on no bpffs; mount one: `mount -t bpf bpf /sys/fs/bpf`")]
    NoBpffs(PathBuf),
    /// Another agent has it.
    #[error("another ha-agent uses {0}; stop it first, or name another directory with --pins")]
    InUse(PathBuf),
    /// It can't be made, read or written.
    #[error("{path} can't be used for what is to outlive the agent ({cause}); run ha-agent as root")]
    Unusable {
        /// What.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
}

impl Pins {
    /// Takes the directory, and makes it if it is not there. What a program of another layout has left there is removed.
    ///
    /// # Errors
    ///
    /// See [`PinError`].
    pub fn open(directory: &Path) -> Result<Self, PinError> {
        let unusable = |cause| PinError::Unusable { path: directory.to_owned(), cause };
        // Of another file system, nothing is touched.
        Self::possible(directory)?;
        fs::create_dir_all(directory).map_err(unusable)?;
        let pins = Self::lock(directory)?;
        let ours = pins.place();
        for other in entries(directory).into_iter().filter(|entry| *entry != ours) {
            tracing::warn!("an agent of another layout has left {}: it is removed", other.display());
            remove(&other);
        }
        fs::create_dir_all(ours).map_err(unusable)?;
        Ok(pins)
    }

    /// Whether the directory is on a bpffs, or would be. Touches nothing.
    ///
    /// # Errors
    ///
    /// See [`PinError`].
    pub fn possible(directory: &Path) -> Result<(), PinError> {
        let existing = directory.ancestors().find(|path| path.is_dir()).unwrap_or(directory);
        let kind = statfs(existing)
            .map_err(|error| PinError::Unusable { path: directory.to_owned(), cause: error.into() })?
            .f_type;
        if kind == BPFFS { Ok(()) } else { Err(PinError::NoBpffs(directory.to_owned())) }
    }

    /// Takes what an agent has left, to [clear](Self::clear) it; `None` if nothing is there.
    ///
    /// # Errors
    ///
    /// See [`PinError`].
    pub fn left(directory: &Path) -> Result<Option<Self>, PinError> {
        if directory.is_dir() { Self::lock(directory).map(Some) } else { Ok(None) }
    }

    fn lock(directory: &Path) -> Result<Self, PinError> {
        let unusable = |cause| PinError::Unusable { path: directory.to_owned(), cause };
        let lock = File::open(directory).map_err(unusable)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { directory: directory.to_owned(), _lock: lock }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(PinError::InUse(directory.to_owned())),
            Err(error) => Err(unusable(error.into())),
        }
    }

    fn place(&self) -> PathBuf {
        self.directory.join(VERSION.to_string())
    }

    /// Where a map is.
    pub(super) fn map(&self, name: &str) -> PathBuf {
        self.place().join(name)
    }

    /// Pins an attachment in the place of one that an earlier agent has left.
    pub(super) fn put(&self, name: &str, link: FdLink) -> Result<(), aya::pin::PinError> {
        let path = self.place().join(name);
        remove(&path);
        // What is pinned lives without this handle.
        link.pin(path).map(drop)
    }

    /// Where the attachment to an interface is.
    pub(super) fn link(&self, ifindex: u32, mode: Mode) -> PathBuf {
        self.place().join(format!("{LINK}{ifindex}-{mode}"))
    }

    /// What an earlier agent has attached to an interface, of which `occupant` is the XDP program. An attachment of a program
    /// that is not there any more is removed.
    pub(super) fn attachments(&self, ifindex: u32, occupant: Option<u32>) -> Vec<(Mode, FdLink)> {
        let left = |mode: Mode| {
            let path = self.link(ifindex, mode);
            let link = FdLink::from(PinnedLink::from_pin(&path).ok()?);
            if mode.is_xdp() && (occupant.is_none() || program(&link) != occupant) {
                remove(&path);
                return None;
            }
            Some((mode, link))
        };
        [Mode::Native, Mode::Generic, Mode::Tcx].into_iter().filter_map(left).collect()
    }

    /// Removes an attachment to an interface, if there is one.
    pub(super) fn remove(&self, ifindex: u32, mode: Mode) {
        remove(&self.link(ifindex, mode));
    }

    /// Removes what an earlier agent has attached to other interfaces than these.
    pub(super) fn retain(&self, attached: impl Fn(&Path) -> bool) {
        let is_link =
            |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(LINK));
        for path in entries(&self.place()).into_iter().filter(|path| is_link(path) && !attached(path)) {
            tracing::info!("{} is left of an earlier agent: detached", path.display());
            remove(&path);
        }
    }

    /// Removes everything, the directory included: what is attached is detached.
    pub fn clear(&self) {
        remove(&self.directory);
    }
}

/// The number of the program that an attachment runs.
pub(super) fn program(link: &FdLink) -> Option<u32> {
    link.info().ok().map(|info| info.program_id())
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

fn remove(path: &Path) {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::error!("{} can't be removed: {error}; try `rm -r {0}`", path.display());
        }
        Ok(()) | Err(_) => {}
    }
}

/// How the names of attachments begin.
const LINK: &str = "link-";
/// `BPF_FS_MAGIC` (`linux/magic.h`).
const BPFFS: i64 = 0xcafe_4a11;
