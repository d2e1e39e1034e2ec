//! Which interfaces are received from: each once, however many virtual hosts live on it.

use std::collections::BTreeMap;

use super::follow_error::FollowError;
use crate::config::Receive;
use crate::dataplane::{self, AttachError, Dataplane, Mode, Packets};
use crate::net::link::Interfaces;
use crate::net::place::Spot;
use crate::sys::claim::Claim;

/// The kernel's half, and the interfaces that it is attached to, by number.
#[derive(Debug)]
pub(super) struct Attachments {
    dataplane: Dataplane,
    attached: BTreeMap<u32, Attached>,
}

#[derive(Debug)]
struct Attached {
    mode: Mode,
    /// For how many interfaces of the configuration.
    users: usize,
    /// Keeps other agents away.
    _claim: Claim,
}

impl Attachments {
    /// None yet.
    pub(super) fn new(dataplane: Dataplane) -> Self {
        Self { dataplane, attached: BTreeMap::new() }
    }

    /// Receives at a spot, for one user more. Returns how.
    pub(super) fn attach(
        &mut self,
        spot: &Spot,
        receive: Receive,
        interfaces: &Interfaces,
    ) -> Result<Mode, FollowError> {
        let modes = Mode::allowed(receive, spot.stage);
        match self.attached.get_mut(&spot.index) {
            Some(attached) if modes.contains(&attached.mode) => {
                attached.users += 1;
                Ok(attached.mode)
            }
            Some(&mut Attached { mode, .. }) => {
                Err(AttachError::Otherwise { interface: spot.interface.clone(), mode }.into())
            }
            None => self.attach_first(spot, modes, interfaces),
        }
    }

    fn attach_first(
        &mut self,
        spot: &Spot,
        modes: &[Mode],
        interfaces: &Interfaces,
    ) -> Result<Mode, FollowError> {
        let interface = spot.interface.as_str();
        let claim = Claim::take(spot.index)
            .map_err(|process| AttachError::Claimed { interface: interface.to_owned(), process })?;
        let occupant = interfaces.by_index(spot.index).and_then(|interface| interface.program);
        let on = dataplane::Interface { name: interface, index: spot.index, occupant };
        let mode = self.dataplane.attach(on, modes)?;
        match mode.lost() {
            None => tracing::info!(interface, "attached in the driver (native XDP)"),
            Some(lost) => tracing::warn!(interface, "receives by {mode}: {lost}"),
        }
        self.attached.insert(spot.index, Attached { mode, users: 1, _claim: claim });
        Ok(mode)
    }

    /// What is heard by a packet socket, once, after the first interface is received from in this way.
    pub(super) fn take_packets(&mut self) -> Option<Packets> {
        self.dataplane.take_packets()
    }

    /// One user less.
    pub(super) fn detach(&mut self, index: u32) {
        if let Some(attached) = self.attached.get_mut(&index) {
            attached.users -= 1;
            if attached.users == 0 {
                self.attached.remove(&index);
                self.dataplane.detach(index);
            }
        }
    }

    /// Detaches what an earlier agent has left on other interfaces.
    pub(super) fn forget_others(&self) {
        self.dataplane.forget_others();
    }

    /// Leaves what is pinned where it is: another agent goes on with it.
    pub(super) fn leave(self) {
        self.dataplane.leave();
    }
}
