//! What an operator wants to read afterwards: everything that happened, each with its time, a name and a sentence.
//!
//! ```text
//!   clerk, watchman, pair, exchange, … ──tell──▶ scribe: numbers, memory ──▶ whoever follows
//!                                                   └──▶ thread: file in the state directory
//! ```
//!
//! What is told is a line of the log, too.
//!
//! Whoever tells never waits: neither for a disk, nor for a lock held by somebody who does.

mod definition;
pub mod file;
mod line;
mod log;
#[cfg(test)]
mod tests;
mod what;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::definition::{Definition, Kind, Subject};
pub use self::log::{Events, Unkept};
pub use self::what::{What, Wish};
use crate::core::reasons::Severity;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Grows from one event to the next, also over restarts of the agent, and leaves gaps there. The first of an agent is the
    /// time of day at which it was told, in µs since 1970, unless the last of the agent before it was greater.
    pub number: u64,
    /// When.
    pub at: Timestamp,
    /// The same moment on `CLOCK_MONOTONIC`, in ns; it begins anew when the machine starts.
    pub at_ns: u64,
    /// How bad it is.
    pub severity: Severity,
    /// The virtual host, the node or the reason that it is about; `None` for the agent itself.
    pub about: Option<String>,
    /// What happened.
    pub sentence: String,
    /// The same for programs: `event` is its name, the rest are the facts.
    #[serde(flatten)]
    pub what: What,
}
