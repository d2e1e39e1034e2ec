//! A new agent in place of the one that runs, without an outage.
//!
//! A *package* is the executable of an ha-agent. It is put beside the installed one, looked at while the old agent goes on,
//! and then tried: the process becomes the new agent, under the same number and with the same arguments. What is installed
//! is still the old one. Only when the new agent has proven itself it is kept, which is one renaming. Until then whoever
//! starts an agent here, starts the one before: the service manager; or, where there is none, the [`guard`], which also ends
//! a new agent that does not prove itself in time.
//!
//! ```text
//!   staging   the file beside the installed one: complete, and what it was said to be
//!   package   what it is: for this machine, an ha-agent, of which version; whether it takes the configuration
//!   trial     which one is on trial, on the disk
//!   guard     a process of its own: puts the one before back
//! ```
//!
//! Both nodes of a pair understand the same [`Order`]s; who gives them, one after the other, is `ha-agent update`.

pub mod digest;
pub mod guard;
pub mod package;
pub mod staging;
pub mod trial;

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use self::digest::Digest;

/// What is asked of a node by whoever is at its control socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Of which node.
    pub of: Whose,
    /// What.
    pub order: Order,
}

/// One of two nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Whose {
    /// The one that is spoken to.
    This,
    /// The other one.
    Peer,
}

/// A step of an update on one node. Each can be given twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// To say what runs.
    Identify,
    /// To take a package from this file, on the node that is spoken to.
    Stage {
        /// Where it is.
        path: PathBuf,
        /// What it must be.
        digest: Digest,
    },
    /// To take a package in pieces.
    Begin {
        /// Its bytes.
        size: u64,
        /// What it must be.
        digest: Digest,
    },
    /// The next piece.
    Chunk {
        /// Where it begins.
        offset: u64,
        /// What is in it.
        data: Bytes,
    },
    /// To say whether the package that was staged can run here.
    Check {
        /// Which one.
        digest: Digest,
    },
    /// To become the agent that was staged and checked.
    Try {
        /// Which one.
        digest: Digest,
    },
    /// To keep it.
    Keep {
        /// Which one.
        digest: Digest,
    },
    /// To become the installed agent again, if another one is on trial.
    Revert,
}

/// What comes of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// To [`Order::Identify`].
    Identity(Box<Identity>),
    /// To [`Order::Check`]: it can run here.
    Fits {
        /// Its version.
        version: String,
    },
    /// To the others.
    Done,
}

/// What runs on a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The node's name.
    pub node: String,
    /// The agent's version.
    pub version: String,
    /// Its executable.
    pub digest: Digest,
    /// A random number that each start of an agent has for itself, in hexadecimal digits.
    pub life: String,
    /// That of this boot of the machine, as the kernel gives it.
    pub boot: String,
    /// The number of its process.
    pub pid: u32,
    /// What it does in its pair ([`Phase::name`](crate::core::pair::Phase::name)); `None` if it is in none.
    pub phase: Option<String>,
    /// Whether it knows what the other node does, and all its virtual hosts have link: then it can stand by.
    pub settled: bool,
    /// Whether it is on trial.
    pub on_trial: bool,
    /// The one that was on trial before it, and did not prove itself.
    pub failed: Option<Digest>,
}

/// Orders and answers go to the peer under this topic.
pub const TOPIC: &str = "update";
/// How long a new agent has to prove itself, before the guard ends it.
pub const TRIAL: Duration = Duration::from_secs(45);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::payload::{PayloadError, decode, encode};

    #[test]
    fn orders_and_answers_arrive_as_they_were() -> Result<(), PayloadError> {
        let digest = Digest::of_bytes(b"package");
        let orders = [
            Order::Identify,
            Order::Begin { size: u64::MAX, digest },
            Order::Chunk { offset: 7, data: Bytes::from_static(&[0, 255, 128]) },
            Order::Check { digest },
            Order::Try { digest },
            Order::Keep { digest },
            Order::Revert,
        ];
        for order in orders {
            assert_eq!(decode::<Order>(&encode(&order)?)?, order);
        }
        let answer = Answer::Fits { version: "1.2.3".to_owned() };
        assert_eq!(decode::<Answer>(&encode(&answer)?)?, answer);
        assert!(decode::<Order>(b"\x81\xa4sing\xc0").is_err_and(|error| error.to_string().contains("sing")));
        Ok(())
    }
}
