//! Which of the two this node is, by what was exchanged at the introduction.

use crate::config::PeerConfig;
use crate::core::pair::Node;
use crate::peer::identity::NodeId;
use crate::peer::store::{Part, Store};
use crate::witness::Own;

/// The numbers of both nodes: they are made at the introduction, and stay.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sides {
    own: NodeId,
    peer: NodeId,
}

impl Sides {
    /// The node whose number is the smaller one is A.
    pub(super) fn node(self) -> Node {
        if self.own < self.peer { Node::A } else { Node::B }
    }

    /// Who this node is to the witness; its name is for people.
    pub(super) fn own_to_witness(self, name: &str) -> Own {
        let (least, greatest) = (self.own.min(self.peer), self.own.max(self.peer));
        Own { node: name.to_owned(), id: self.own.to_string(), key: format!("ha-agent/{least}-{greatest}") }
    }
}

/// Reads them; `None` if they can't be read.
pub(super) async fn sides(peer: &PeerConfig) -> Option<Sides> {
    let store = Store::at(&peer.directory);
    let read = move || {
        let own = store.identity(Part::Node).ok()??.certificate().id();
        let peer = store.certificate(Part::Peer).ok()??.id();
        Some(Sides { own, peer })
    };
    tokio::task::spawn_blocking(read).await.ok()?
}
