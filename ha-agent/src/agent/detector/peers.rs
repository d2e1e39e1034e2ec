//! Who is heard on a virtual host's network.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::Peer;
use crate::core::Instant;

/// The senders, each with its last advertisement.
#[derive(Debug, Default)]
pub(super) struct Peers(BTreeMap<IpAddr, Peer>);

impl Peers {
    /// All that are remembered.
    pub(super) fn all(&self) -> impl Iterator<Item = &Peer> {
        self.0.values()
    }

    /// The one that was heard last.
    pub(super) fn newest(&self) -> Option<&Peer> {
        self.all().max_by_key(|peer| peer.heard)
    }

    /// When it was heard last.
    pub(super) fn heard(&self, source: IpAddr) -> Option<Instant> {
        self.0.get(&source).map(|peer| peer.heard)
    }

    /// In place of the one not heard for longest, if there is no room: whoever has recorded an advertisement can
    /// send it from any address.
    pub(super) fn remember(&mut self, peer: Peer) {
        if self.0.len() >= MOST && !self.0.contains_key(&peer.source) {
            let oldest = self.all().min_by_key(|peer| peer.heard).map(|peer| peer.source);
            oldest.map(|oldest| self.0.remove(&oldest));
        }
        self.0.insert(peer.source, peer);
    }
}

/// How many senders the status shows.
const MOST: usize = 16;
