//! The keys that nodes register on a disk.
//!
//! The upper half of a key says whose it is: 31 bits of the pair, and one that tells its nodes apart. The lower half is a
//! generation. Its owner moves it while it lives, which is a heartbeat for whoever reads it.

use std::fmt;

use crate::core::pair::Node;

/// A key on a disk, of whomever. Never zero: that stands for no key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(u64);

/// Who registers: a node of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The upper half of all its keys. Not zero.
    half: u32,
}

/// Whose a key is, as one node of a pair sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Whose {
    /// This node's, of whatever generation.
    Own,
    /// The other node's.
    Peers,
    /// Of nobody in this pair.
    Strangers,
}

impl Key {
    /// What stands on a disk; `None` for zero.
    #[must_use]
    pub fn new(raw: u64) -> Option<Self> {
        (raw != 0).then_some(Self(raw))
    }

    /// As it stands on a disk.
    #[must_use]
    pub fn raw(self) -> u64 {
        self.0
    }

    /// The next one of the same owner.
    #[must_use]
    pub fn next(self) -> Self {
        let [half, generation] = self.halves();
        Self::of(half, generation.checked_add(1).unwrap_or(1))
    }

    fn of(half: u32, generation: u32) -> Self {
        Self(u64::from(half) << 32 | u64::from(generation))
    }

    fn halves(self) -> [u32; 2] {
        [self.0 >> 32, self.0 & u64::from(u32::MAX)].map(|half| u32::try_from(half).unwrap_or_default())
    }
}

impl Identity {
    /// A node of the pair that has this number, of which the lower 31 bits count. Both nodes must use the same.
    #[must_use]
    pub fn new(pair: u32, node: Node) -> Self {
        // Keys with nothing in the upper half are what people try things with: strangers'.
        let pair = if pair << 1 == 0 { NO_NUMBER } else { pair };
        let node = match node {
            Node::A => 0,
            Node::B => 1,
        };
        Self { half: pair << 1 | node }
    }

    /// Whose this key is to this node.
    #[must_use]
    pub fn whose(self, key: Key) -> Whose {
        let [half, _] = key.halves();
        match half ^ self.half {
            0 => Whose::Own,
            1 => Whose::Peers,
            _ => Whose::Strangers,
        }
    }

    /// A key of this node, later than those that it has among these.
    #[must_use]
    pub fn key_after(self, keys: &[Key]) -> Key {
        let own = keys.iter().copied().filter(|key| self.whose(*key) == Whose::Own);
        let mut key = own.max().unwrap_or(Key::of(self.half, 0)).next();
        // Its generations may have begun anew.
        while keys.contains(&key) {
            key = key.next();
        }
        key
    }
}

/// As `sg_persist` shows it.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Stands for a pair whose number is 0: "ha-a" in ASCII, halved.
const NO_NUMBER: u32 = 0x6861_2d61 >> 1;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_key_says_whose_it_is(pair: u32, other: u32, steps in 0_usize..5) {
            let (a, b) = (Identity::new(pair, Node::A), Identity::new(pair, Node::B));
            let mut key = a.key_after(&[]);
            for _ in 0..steps {
                key = key.next();
            }
            prop_assert_eq!((a.whose(key), b.whose(key)), (Whose::Own, Whose::Peers));
            let other = Identity::new(other, Node::B);
            prop_assert_eq!(other.whose(key) == Whose::Strangers, other != a && other != b);
            prop_assert_eq!(Key::new(key.raw()), Some(key));
        }

        #[test]
        fn a_new_key_is_none_of_the_old_ones(generations in proptest::collection::vec(any::<u32>(), 0..9)) {
            let a = Identity::new(7, Node::A);
            let mut keys: Vec<Key> = generations.into_iter().map(|it| Key::of(a.half, it)).collect();
            keys.push(Key::of(a.half, u32::MAX));
            let new = a.key_after(&keys);
            prop_assert!(!keys.contains(&new) && a.whose(new) == Whose::Own);
        }
    }

    #[test]
    fn small_keys_are_strangers_and_no_key_is_zero() {
        for pair in [0, 1 << 31, 1] {
            let a = Identity::new(pair, Node::A);
            assert_eq!(Key::new(0x12_3456).map(|key| a.whose(key)), Some(Whose::Strangers));
        }
        assert_eq!(Key::new(0), None);
        assert_eq!(Key(0x5_ffff_ffff).next(), Key(0x5_0000_0001));
        assert_eq!(format!("{:?}", Key(0xabc)), "0xabc");
    }
}
