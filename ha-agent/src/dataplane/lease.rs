//! The lease, by which the program lets this node answer for its virtual addresses.

use std::fmt;

use aya::Ebpf;
use aya::maps::{Array, MapData};
use ha_common::abi;

use super::{LoadError, take};

/// Until when the program lets this node answer. Without a grant it lets it for ever.
pub struct Lease(Array<MapData, abi::Lease>);

impl Lease {
    pub(super) fn take(bpf: &mut Ebpf) -> Result<Self, LoadError> {
        take(bpf, "HA_LEASE").map(Self)
    }

    /// What was granted last, maybe by an earlier agent.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn granted(&self) -> Result<abi::Lease, LoadError> {
        self.0.get(&0, 0).map_err(LoadError::from_map)
    }

    /// Grants it. Takes a microsecond.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn grant(&mut self, lease: abi::Lease) -> Result<(), LoadError> {
        self.0.set(0, lease, 0).map_err(LoadError::from_map)
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").finish_non_exhaustive()
    }
}
