//! The configuration that the two nodes of a pair share: which of two documents follows the other.
//!
//! Each node has one document. Both count its versions, and remember the last one that they agreed on. A node takes the
//! other one's document only if that one was made knowing its own: then nothing is lost. If both were changed while they
//! did not see each other, neither is overwritten, until an operator says which one stays.

use serde::{Deserialize, Serialize};

/// What is compared of a document.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Standing {
    /// The form that it is written in; an agent that does not know it can't read it.
    pub layout: u32,
    /// Counts the changes, from 1.
    pub version: u64,
    /// The last version that both nodes agreed on; 0: none yet. At most `version`.
    pub agreed: u64,
    /// The hash of its text.
    pub digest: String,
    /// The hash of a text of the peer's that it stands in for, because an operator said so.
    #[serde(default)]
    pub replaces: Option<String>,
}

/// What a node tells of its document.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Told {
    /// What is compared of it.
    pub standing: Standing,
    /// Why it is not what the node runs with: what needs a restart.
    pub waits: Option<String>,
    /// Why the node can't use the peer's, or its own any more.
    pub trouble: Option<String>,
}

/// What a node does about the peer's document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Decision {
    /// Both have the same text.
    Same,
    /// The peer's follows this node's, which is given up for it.
    Take,
    /// This node's follows the peer's: the peer takes it.
    Give,
    /// Each has what the other one does not know.
    Conflict,
    /// The peer's is written in a form that this agent can't read.
    TooNew,
}

impl Standing {
    /// What is done about a document of the peer's. `known` is the newest layout that this agent reads.
    ///
    /// ```text
    ///   the same text and layout        Same
    ///   a layout that is not known      TooNew
    ///   the peer's follows this one     Take
    ///   this one follows the peer's     Give
    ///   neither                         Conflict
    /// ```
    #[must_use]
    pub fn decide(&self, peer: &Self, known: u32) -> Decision {
        if self.digest == peer.digest && self.layout == peer.layout {
            Decision::Same
        } else if peer.layout > known {
            Decision::TooNew
        } else if peer.follows(self) {
            Decision::Take
        } else if self.follows(peer) {
            Decision::Give
        } else {
            Decision::Conflict
        }
    }

    /// Why the two don't come to the same by themselves, in a few words.
    #[must_use]
    pub fn stuck(&self, peer: &Self) -> Option<&'static str> {
        match self.decide(peer, LAYOUT) {
            Decision::Same => None,
            Decision::Take | Decision::Give if self.layout == peer.layout => None,
            Decision::Take | Decision::Give | Decision::TooNew => {
                Some("their layouts are of different versions")
            }
            Decision::Conflict => Some("each was changed without the other"),
        }
    }

    /// What both are once they have the same text: neither needs to be told again what the other one has.
    #[must_use]
    pub fn settled(&self, peer: &Self) -> Self {
        let version = self.version.max(peer.version);
        Self { version, agreed: version, replaces: None, ..self.clone() }
    }

    /// Whether nothing is lost if this one stands in for `old`: it was made knowing it, in a layout that is not older.
    fn follows(&self, old: &Self) -> bool {
        let knew = old.version == old.agreed && self.agreed >= old.version;
        let was_told = self.replaces.as_ref() == Some(&old.digest);
        self.version > old.version && self.layout >= old.layout && (knew || was_told)
    }
}

/// The newest layout that this version reads, and the one that it writes.
pub const LAYOUT: u32 = 1;

#[cfg(test)]
mod tests;
