//! What happened, as it is asked for over the socket.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Which events are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// Those with greater numbers than this.
    #[serde(default)]
    pub after: Option<u64>,
    /// Those from this moment on.
    #[serde(default)]
    pub since: Option<Timestamp>,
    /// Those too that are still to happen, until whoever asked goes.
    #[serde(default)]
    pub follow: bool,
}

/// All that had happened has been told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Why nothing is kept over a restart of the agent, if so.
    pub unkept: Option<String>,
}
