//! The suspicions by name.

use std::fmt;
use std::net::IpAddr;

use crate::core::election::Priority;
use crate::core::time::Instant;

/// What is suspicious.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One counter and digest came from two sources.
    TwoSources {
        /// The one that it came from first; `None` is ourselves.
        other: Option<IpAddr>,
    },
    /// The counter of one that counts went back.
    Regressed,
    /// The counter of one that never repeats it came again.
    Repeated,
    /// A better priority than ever, or a bow-out, and nothing shows that it is meant.
    SuddenPriority {
        /// The priority; or the bow-out.
        priority: Priority,
    },
    /// Nothing that comes is authentic.
    BadDigests,
    /// Strict mode: the same once more.
    Replayed,
    /// Strict mode: its time is too far from ours.
    Stale,
    /// Strict mode: open fields that differ from their authenticated copy.
    Rewritten,
}

/// Something suspicious about one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suspicion {
    /// What.
    pub kind: Kind,
    /// The source address of the packet.
    pub source: IpAddr,
    /// How often so far.
    pub count: u64,
    /// When last.
    pub last: Instant,
    /// Whether it is to be logged: at most once a minute for each name and source.
    pub log: bool,
}

impl Kind {
    /// A label for metrics and JSON, in `snake_case`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::TwoSources { .. } => "two_sources",
            Self::Regressed => "regressed",
            Self::Repeated => "repeated",
            Self::SuddenPriority { .. } => "sudden_priority",
            Self::BadDigests => "bad_digests",
            Self::Replayed => "replayed",
            Self::Stale => "stale",
            Self::Rewritten => "rewritten",
        }
    }
}

/// A plain sentence for an operator.
impl fmt::Display for Suspicion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = self.source;
        match self.kind {
            Kind::TwoSources { other: Some(other) } => {
                write!(f, "{source} sends what {other} sent: one of them repeats a recorded advertisement")
            }
            Kind::TwoSources { other: None } => {
                write!(f, "{source} sends what we sent: it repeats a recorded advertisement")
            }
            Kind::Regressed => {
                write!(f, "the counter of {source} went back: somebody repeats a recorded advertisement")
            }
            Kind::Repeated => {
                write!(f, "{source} sends the same again: somebody repeats a recorded advertisement")
            }
            Kind::SuddenPriority { priority } if priority.is_bow_out() => {
                write!(f, "{source} says goodbye, and nothing shows that it is meant")
            }
            Kind::SuddenPriority { priority } => {
                write!(f, "{source} suddenly advertises {priority}, and nothing shows that it is meant")
            }
            Kind::BadDigests => write!(f, "key or address list differs on {source}"),
            Kind::Replayed => write!(f, "{source} sends what was sent before: somebody repeats it"),
            Kind::Stale => write!(f, "what {source} sends is old, or its clock differs too much from ours"),
            Kind::Rewritten => {
                write!(f, "somebody changed an advertisement of {source} (or it is not in strict mode)")
            }
        }
    }
}
