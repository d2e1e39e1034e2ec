//! A recording as a file: one JSON value a line, a [`Header`] first. The recorder writes it, the replay reads it.
//!
//! ```text
//! {"format":"ha-agent trace","version":1,…}                                what the machines are made from
//! {"step":{"vhost":0,"now":73000,"event":{"deadline":"advertise"},"commands":[{"advertise":…}]}}
//! {"lost":12}                                                              twelve steps are missing here
//! "end"                                                                    an orderly end
//! ```
//!
//! Moments are ns of `CLOCK_MONOTONIC`, durations are ns. Nothing in it is secret: addresses and priorities are on
//! the wire for everybody to see, keys and counters are not in it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::core::{Command, Event, Instant, Settings};

/// What the first line says of the file.
pub const FORMAT: &str = "ha-agent trace";
/// The version that is written and read.
pub const VERSION: u32 = 1;

/// The first line: all that a machine needs that begins anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// [`FORMAT`].
    pub format: String,
    /// [`VERSION`].
    pub version: u32,
    /// The version of the agent that recorded it: another one may decide otherwise.
    pub agent: String,
    /// The node's name.
    pub node: String,
    /// When it began.
    pub began: Timestamp,
    /// The same moment on `CLOCK_MONOTONIC`, as all other moments.
    pub began_ns: Instant,
    /// The virtual hosts; steps name them by their place here.
    pub vhosts: Vec<Recorded>,
}

/// A virtual host in the header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// The operator's name for it.
    pub name: String,
    /// The interface that it lives on.
    pub interface: String,
    /// Virtual host, 1 to 255.
    pub vhid: u8,
    /// What its machine is made from.
    pub settings: Settings,
}

/// Any line after the first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// What a machine was told, and what it decided.
    Step(Step),
    /// So many steps could not be written down here.
    Lost(u64),
    /// Nothing follows: the agent ended in order.
    End,
}

/// One call of [`Vhost::handle`](crate::core::Vhost::handle).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Index of the virtual host in the header.
    pub vhost: usize,
    /// The moment of the call.
    pub now: Instant,
    /// What happened.
    pub event: Event,
    /// What the machine decided.
    pub commands: Vec<Command>,
}
