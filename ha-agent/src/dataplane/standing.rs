//! Of which virtual hosts this node is master: what the next agent is to know, should this one end without leaving.

use std::fmt;

use aya::Ebpf;
use aya::maps::{Array, MapData};
use ha_common::abi::{MAX_HOSTS, Standing};

use super::{LoadError, take};

/// What is written down for the next agent.
pub struct Standings(Array<MapData, Standing>);

impl Standings {
    pub(super) fn take(bpf: &mut Ebpf) -> Result<Self, LoadError> {
        take(bpf, "HA_STANDING").map(Self)
    }

    /// What an agent before this one has left, which is gone with this.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn take_found(&mut self) -> Result<Vec<Standing>, LoadError> {
        let mut found = Vec::new();
        for host in 0..MAX_HOSTS {
            let index = u32::try_from(host).unwrap_or(u32::MAX);
            let standing = self.0.get(&index, 0).map_err(LoadError::from_map)?;
            if standing != Standing::default() {
                found.push(standing);
                self.write(host, Standing::default())?;
            }
        }
        Ok(found)
    }

    /// Writes down that this node is master of a virtual host, or with the default, that it is not. Takes a microsecond.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn write(&mut self, host: usize, standing: Standing) -> Result<(), LoadError> {
        let index = u32::try_from(host).unwrap_or(u32::MAX);
        self.0.set(index, standing, 0).map_err(LoadError::from_map)
    }
}

impl fmt::Debug for Standings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Standings").finish_non_exhaustive()
    }
}
