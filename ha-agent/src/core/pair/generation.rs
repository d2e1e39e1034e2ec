//! The two nodes, and the number that says which of them may be active.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One of the two nodes; which is which is settled when the pair is introduced, and never changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Node {
    /// Begins, in a pair that never had an active node.
    #[default]
    A,
    /// The other one.
    B,
}

impl Node {
    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::A => "A",
            Self::B => "B",
        })
    }
}

/// Counts who may be active: each takeover has a new number, greater than any that its node has met.
///
/// Even numbers are A's, odd ones are B's. So two nodes that can't talk never take the same number, and of two numbers
/// the greater one always tells which node it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Generation(u64);

impl Generation {
    /// The generation of this number.
    ///
    /// # Errors
    ///
    /// Numbers of 2⁶² and more, which no pair reaches by counting.
    pub fn new(number: u64) -> Result<Self, TooLarge> {
        if number < LIMIT { Ok(Self(number)) } else { Err(TooLarge(number)) }
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0
    }

    /// Who may be active in it.
    #[must_use]
    pub fn owner(self) -> Node {
        if self.0.is_multiple_of(2) { Node::A } else { Node::B }
    }

    /// The least greater one that is `node`'s.
    #[must_use]
    pub fn next_for(self, node: Node) -> Self {
        let next = Self(self.0.saturating_add(1));
        if next.owner() == node { next } else { Self(next.0.saturating_add(1)) }
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<u64> for Generation {
    type Error = TooLarge;

    fn try_from(number: u64) -> Result<Self, TooLarge> {
        Self::new(number)
    }
}

impl From<Generation> for u64 {
    fn from(generation: Generation) -> Self {
        generation.0
    }
}

/// A number that can't be a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge(u64);

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is no generation number: the store or the peer's message is damaged", self.0)
    }
}

impl std::error::Error for TooLarge {}

const LIMIT: u64 = 1 << 62;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_one_is_greater_and_its_owners() {
        for number in 0..10 {
            let generation = Generation(number);
            for node in [Node::A, Node::B] {
                let next = generation.next_for(node);
                assert!(next > generation && next.0 <= number + 2, "{next} after {generation}");
                assert_eq!(next.owner(), node);
            }
        }
    }

    #[test]
    fn no_number_comes_near_the_end() {
        assert!(Generation::new(LIMIT - 1).is_ok());
        assert_eq!(Generation::new(LIMIT), Err(TooLarge(LIMIT)));
        assert!(Generation::new(u64::MAX).is_err());
    }
}
