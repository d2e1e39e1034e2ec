//! The unix socket through which the agent is asked: one line of JSON in, one line of JSON out.

pub mod client;
pub mod metrics;
pub mod server;
pub mod status;

use serde::{Deserialize, Serialize};

/// What is asked: `{"request": "status"}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// What for.
    pub request: Question,
}

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Question {
    /// The node's status.
    Status,
    /// To read the configuration again.
    Reload,
    /// To be demoted, so that the other nodes go first.
    Hold,
    /// To be so no longer.
    Resume,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// To [`Question::Status`].
    Status(Box<status::Status>),
    /// To the others: what was done.
    Done(String),
    /// The request was not understood, or can't be answered now.
    Error(String),
}

/// Where the socket is unless the command line says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/ha-agent/control.sock";

/// Longest request, in bytes.
const REQUEST_MAX: usize = 4096;
