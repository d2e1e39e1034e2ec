//! What an operator can want of the configuration that the two nodes share.

use serde::{Deserialize, Serialize};

use crate::config::shared::Shared;

/// The configuration is to be changed on both nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct Apply {
    /// What the text is called in mistakes: the file that it is from.
    pub name: String,
    /// All of it.
    pub text: String,
    /// If the peer can't be asked, on this node alone.
    #[serde(default)]
    pub alone: bool,
    /// Also what needs a restart of the agents: it is stored, and taken up by that.
    #[serde(default)]
    pub at_restart: bool,
    /// Instead of what the peer has, though that was changed without this node.
    #[serde(default)]
    pub over: bool,
    /// Only say what would change.
    #[serde(default)]
    pub dry_run: bool,
}

/// A node's document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// The name of the node that has it.
    pub node: String,
    /// The document.
    #[serde(flatten)]
    pub shared: Shared,
}
