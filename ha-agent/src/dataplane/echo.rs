//! The echo: what the program answers when a peer's kernel asks.

use std::fmt;

use aya::Ebpf;
use aya::maps::{Array, HashMap, MapData, PerCpuArray};
use ha_common::abi::{Oneself, Path, PathKey};
use ha_common::echo::EchoCounters;
use ha_common::wire::echo::Role;

use super::{LoadError, take};

/// What the program is told of peers and of this node, and what it counted of their probes. Without a word it answers nobody.
pub struct Echo {
    oneself: Array<MapData, Oneself>,
    paths: HashMap<MapData, PathKey, Path>,
    roles: HashMap<MapData, u32, u32>,
    counts: PerCpuArray<MapData, EchoCounters>,
}

impl Echo {
    pub(super) fn take(bpf: &mut Ebpf) -> Result<Self, LoadError> {
        Ok(Self {
            oneself: take(bpf, "HA_ECHO_SELF")?,
            paths: take(bpf, "HA_ECHO_PATH")?,
            roles: take(bpf, "HA_ECHO_ROLE")?,
            counts: take(bpf, "HA_ECHO_COUNT")?,
        })
    }

    /// What this node says of itself. With port 0, nothing is answered.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn tell(&mut self, oneself: Oneself) -> Result<(), LoadError> {
        self.oneself.set(0, oneself, 0).map_err(LoadError::from_map)
    }

    /// Answers what comes from there.
    ///
    /// # Errors
    ///
    /// If the map is full.
    pub fn know(&mut self, key: PathKey, path: &Path) -> Result<(), LoadError> {
        self.paths.insert(key, path, 0).map_err(LoadError::from_map)
    }

    /// Answers it no longer. No harm if it did not.
    pub fn forget(&mut self, key: &PathKey) {
        if let Err(error) = self.paths.remove(key) {
            tracing::debug!(?key, %error, "was not answered");
        }
    }

    /// What a virtual host is, by the key that it is asked for with. Takes a microsecond.
    ///
    /// # Errors
    ///
    /// If the map is full.
    pub fn set_role(&mut self, host: u32, role: Role) -> Result<(), LoadError> {
        match role {
            Role::Unknown => {
                // No harm if it was not known.
                let _ = self.roles.remove(&host);
                Ok(())
            }
            Role::Backup | Role::Master => {
                self.roles.insert(host, role as u32, 0).map_err(LoadError::from_map)
            }
        }
    }

    /// What was counted on a path; at [`NO_PATH`](ha_common::echo::NO_PATH), of what came on none.
    ///
    /// # Errors
    ///
    /// If there is no such slot.
    pub fn counted(&self, slot: u32) -> Result<EchoCounters, LoadError> {
        let mut sum = EchoCounters::default();
        self.counts.get(&slot, 0).map_err(LoadError::from_map)?.iter().for_each(|counts| sum.add(counts));
        Ok(sum)
    }
}

impl fmt::Debug for Echo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Echo").finish_non_exhaustive()
    }
}
