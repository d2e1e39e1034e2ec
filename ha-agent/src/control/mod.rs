//! The unix socket through which the agent is asked: one line of JSON in, one line of JSON out. And what else shows it.

pub mod client;
pub mod drill;
pub mod events;
pub mod http;
pub mod metrics;
pub mod order;
pub mod server;
pub mod shared;
pub mod status;
pub mod views;

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::journal::events::Event;
use crate::update;

/// What is asked: `{"request": "status"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// What for.
    pub request: Question,
}

/// What can be asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Question {
    /// The node's status.
    Status,
    /// The node's status at once, whenever something happens, and twice a second, until whoever asked goes. Who reads
    /// slowly misses some.
    Watch,
    /// To read the configuration again.
    Reload,
    /// To let another agent go on with what this one has. For the agent's own user only.
    Restart {
        /// Once this agent is ended within so many ms; at once, if it is not said.
        #[serde(default)]
        within_ms: Option<u64>,
    },
    /// To be held: alone, the node is demoted, so that the others go first; in a pair, nothing fails over to it by itself.
    Hold,
    /// To be so no longer.
    Resume,
    /// To move the active role of the pair. Answered by many lines, until it has ended.
    Failover(order::Failover),
    /// That nothing fails over in the pair by itself.
    Disable,
    /// To take that back.
    Enable,
    /// That the active role belongs to a node, if both could have it; or to none.
    Prefer {
        /// Its name; to be said, if only as `null`: who mistypes it does not mean none.
        #[serde(deserialize_with = "Option::deserialize")]
        node: Option<String>,
    },
    /// A step of an update, on this node or the other one. For the agent's own user only.
    Update(update::Request),
    /// The document of what is shared with the peer: this node's, or the peer's.
    Shared {
        /// The peer's.
        #[serde(default)]
        peer: bool,
    },
    /// To change it on both nodes.
    Apply(shared::Apply),
    /// What would become of a takeover by this node, which stands by.
    Drill,
    /// What happened. Answered by many lines.
    Events(events::Query),
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// To [`Question::Status`] and [`Question::Watch`].
    Status(Box<status::Status>),
    /// To [`Question::Failover`]: a step goes on, or is over.
    Progress(order::StepStatus),
    /// The same, to [`Question::Watch`] and to [`Question::Events`]: nothing new, the agent is there.
    Waiting,
    /// The same, and the last one.
    Ended(order::EndStatus),
    /// To [`Question::Update`].
    Update(update::Answer),
    /// To [`Question::Shared`].
    Shared(shared::Document),
    /// To [`Question::Drill`].
    Drill(drill::DrillReport),
    /// To [`Question::Events`].
    Event(Box<Event>),
    /// The same: all that had happened has been told. The last one, unless what happens is told too.
    Told(events::Told),
    /// To the others: what was done.
    Done(String),
    /// The request was not understood, or can't be answered now.
    Error(String),
}

/// Where the socket is unless the command line says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/ha-agent/control.sock";

/// Longest request, in bytes: a document, of which each byte may be written as two.
const REQUEST_MAX: usize = 2 * crate::config::shared::TEXT_LIMIT + 4096;
