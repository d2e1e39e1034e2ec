//! What two agents say to each other.
//!
//! A later version may add fields, which an earlier one skips, and kinds, which it refuses by name: so a kind is sent
//! only to a peer whose [`Hello`] says that it knows it.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// One message. Each kind is a map of named fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// The first one on each connection, in both directions, and only there.
    Hello(Hello),
    /// Asks whether the peer is there.
    Heartbeat {
        /// Grows by one each time.
        sequence: u64,
    },
    /// Answers, as soon as the peer has read it.
    HeartbeatAck {
        /// That of the heartbeat.
        sequence: u64,
    },
    /// What the peer knows of itself; replaces the one before.
    State {
        /// Grows with each one in the life of an agent: of two that came on different ways, the greater is newer.
        sequence: u64,
        /// In a form that the link does not look into.
        payload: Bytes,
    },
    /// A message of the two agents about their roles; none replaces another.
    Pair {
        /// In a form that the link does not look into.
        payload: Bytes,
    },
    /// Asks for something that is answered; from version 2 on.
    Call {
        /// Tells the sender's calls apart.
        number: u64,
        /// Who is to answer.
        topic: String,
        /// In a form that the link does not look into.
        payload: Bytes,
    },
    /// Answers a call; from version 2 on.
    Answer {
        /// That of the call.
        number: u64,
        /// What came of it.
        answer: Answer,
    },
    /// The certificate that the peer wants to go over to.
    Certificate {
        /// In DER.
        der: Bytes,
    },
    /// That one is accepted from now on.
    CertificatePinned {
        /// The one that was sent, in DER.
        der: Bytes,
    },
    /// The last one: the connection is closed in order.
    Bye {
        /// Why, in a few words.
        why: String,
    },
}

/// What comes of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It was taken up, and this is what its topic says.
    Done(Bytes),
    /// It was not: why, in a sentence.
    Refused(String),
}

/// Who speaks, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The newest version of this protocol that it speaks.
    pub version: u16,
    /// The oldest.
    pub oldest: u16,
    /// The node's name now; the one in its certificate is from when that was made.
    pub node: String,
    /// The version of its agent.
    pub agent: String,
    /// A random number that each life of an agent has for itself.
    pub life: u64,
}

impl Message {
    /// The names of all kinds, as they are written.
    pub const KINDS: [&'static str; 10] = [
        "hello",
        "heartbeat",
        "heartbeat_ack",
        "state",
        "pair",
        "call",
        "answer",
        "certificate",
        "certificate_pinned",
        "bye",
    ];

    /// The name of its kind.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Hello(_) => "hello",
            Self::Heartbeat { .. } => "heartbeat",
            Self::HeartbeatAck { .. } => "heartbeat_ack",
            Self::State { .. } => "state",
            Self::Pair { .. } => "pair",
            Self::Call { .. } => "call",
            Self::Answer { .. } => "answer",
            Self::Certificate { .. } => "certificate",
            Self::CertificatePinned { .. } => "certificate_pinned",
            Self::Bye { .. } => "bye",
        }
    }
}

impl Hello {
    /// The version that two agents speak: the newest that both know.
    #[must_use]
    pub fn common_version(&self, other: &Self) -> Option<u16> {
        let version = self.version.min(other.version);
        (version >= self.oldest && version >= other.oldest).then_some(version)
    }
}

/// The version of this protocol.
pub const VERSION: u16 = 2;
/// The first one with calls and answers.
pub const CALLS: u16 = 2;
/// The oldest that is still spoken.
pub const OLDEST: u16 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_versions_find_each_other() {
        let hello =
            |oldest, version| Hello { version, oldest, node: String::new(), agent: String::new(), life: 0 };
        for (one, other, expected) in [
            ((1, 1), (1, 1), Some(1)),
            ((1, 1), (1, 2), Some(1)),
            ((1, 2), (2, 3), Some(2)),
            ((1, 1), (2, 3), None),
            ((3, 3), (1, 2), None),
            ((2, 1), (1, 1), None),
        ] {
            let (one, other) = (hello(one.0, one.1), hello(other.0, other.1));
            assert_eq!(one.common_version(&other), expected);
            assert_eq!(other.common_version(&one), expected);
        }
    }
}
