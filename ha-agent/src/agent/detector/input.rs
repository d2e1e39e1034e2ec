//! What the detector is told.

use ha_common::abi::WatchKey;
use ha_common::auth::Mac;
use ha_common::wire::ethernet;
use tokio::sync::oneshot;

use super::groups::Groups;
use super::partner::PairInput;
use super::{Snapshot, VhostSetup, VhostSnapshot};
use crate::config::Mode;
use crate::core::Link;
use crate::dataplane::Packets;
use crate::net::advertise::Path;

/// What others tell the detector. `vhost` is the index of a virtual host.
#[derive(Debug)]
pub enum Input {
    /// Here is one more virtual host.
    Add(Box<VhostSetup>),
    /// A virtual host is to leave in order, and then to be no more.
    Remove {
        /// Which one.
        vhost: usize,
        /// Where is told that it is so, and how it was at the end.
        done: oneshot::Sender<VhostSnapshot>,
    },
    /// The virtual hosts are grouped like this.
    Groups(Groups),
    /// These records are a virtual host's own.
    Watch {
        /// Which one.
        vhost: usize,
        /// Their keys.
        keys: Vec<WatchKey>,
    },
    /// Read this, too: some interface is received from by a packet socket.
    Hear(Box<Packets>),
    /// A virtual host's interface is there: send on it. `Link::Up` follows.
    Equip {
        /// Which one.
        vhost: usize,
        /// The index of its interface.
        ifindex: u32,
        /// What it sends through.
        path: Path,
        /// The hardware address that its advertisements leave from.
        hardware: ethernet::Mac,
    },
    /// The state of a virtual host's interface.
    Link {
        /// Which one.
        vhost: usize,
        /// Up or down.
        link: Link,
    },
    /// An order to take a virtual host's addresses off was carried out.
    Dropped {
        /// Which one.
        vhost: usize,
        /// Whether they are off now.
        well: bool,
        /// Whether any had been there.
        held: bool,
    },
    /// An order to put a virtual host's addresses on was carried out.
    Took {
        /// Which one.
        vhost: usize,
        /// Whether they are there now.
        well: bool,
    },
    /// Somebody has advertised a virtual host who was refused for being late: a node that stood still, and may have told the
    /// neighbours that it has the addresses.
    Claimed {
        /// Which one.
        vhost: usize,
    },
    /// For the pair machine.
    Pair(PairInput),
    /// Sign a virtual host's advertisements with another key.
    Sign {
        /// Which one.
        vhost: usize,
        /// The key.
        mac: Mac,
    },
    /// Go over to another mode.
    Mode(Mode),
    /// An operator wants the other nodes to be master, or no longer so.
    Hold(bool),
    /// Leave all virtual hosts in order, then end.
    Leave,
    /// End at once, and leave nothing: the next agent goes on.
    Stay,
    /// Somebody wants to know.
    Snapshot(oneshot::Sender<Snapshot>),
}
