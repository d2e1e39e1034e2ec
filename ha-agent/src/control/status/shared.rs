//! The configuration that a node shares with its peer.

use serde::{Deserialize, Serialize};

use crate::core::shared::{Standing, Told};

/// How it stands on this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedStatus {
    /// Its version, from 1.
    pub version: u64,
    /// The last version that both nodes agreed on; 0: none yet.
    pub agreed: u64,
    /// The SHA-256 of its text.
    pub digest: String,
    /// What of it only a restart of the agent takes up.
    pub waits: Option<String>,
    /// Why the peer's can't be taken, or this one can't be used any more.
    pub trouble: Option<String>,
}

impl SharedStatus {
    pub(crate) fn new(told: &Told) -> Self {
        let Told { standing, waits, trouble } = told;
        let Standing { version, agreed, digest, layout: _, replaces: _ } = standing;
        Self {
            version: *version,
            agreed: *agreed,
            digest: digest.clone(),
            waits: waits.clone(),
            trouble: trouble.clone(),
        }
    }
}
