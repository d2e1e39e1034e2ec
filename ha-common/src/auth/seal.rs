//! HMAC-SHA1 over a message of fixed length, as short as fits one block: of which the tag costs two.

use super::{KEY_LEN, PADDING, Scratch, State, keyed};

/// A key for messages of [`Seal::COVERED`] bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Seal {
    /// After the key's block.
    inner: State,
    /// After the key's block.
    outer: State,
}

impl Seal {
    /// How many bytes it covers.
    pub const COVERED: usize = 52;
    /// Length of its tag, in bytes.
    pub const TAG: usize = 20;
    /// Seals nothing: a place that is not in use.
    pub const UNUSED: Self = Self { inner: State([0; 5]), outer: State([0; 5]) };

    /// Takes up a key.
    #[must_use]
    pub fn new(key: &[u8; KEY_LEN]) -> Self {
        Self { inner: keyed(key, 0x36), outer: keyed(key, 0x5c) }
    }

    /// Puts the tag behind the bytes that it covers.
    #[inline(always)]
    pub fn close(&self, scratch: &mut Scratch, message: &mut [u8; Self::COVERED + Self::TAG]) {
        self.hash(scratch, message);
        let (words, _) = message.as_chunks_mut::<4>();
        for (to, from) in words.iter_mut().skip(Self::COVERED / 4).zip(scratch.state.0) {
            *to = from.to_be_bytes();
        }
    }

    /// Whether the tag is the one that belongs to the bytes before it. Takes the same time for any tag.
    #[inline(never)]
    #[must_use]
    pub fn is_whole(&self, scratch: &mut Scratch, message: &[u8; Self::COVERED + Self::TAG]) -> bool {
        self.hash(scratch, message);
        let (words, _) = message.as_chunks::<4>();
        let mut difference = 0;
        for (expected, found) in scratch.state.0.iter().zip(words.iter().skip(Self::COVERED / 4)) {
            difference |= expected ^ u32::from_be_bytes(*found);
        }
        difference == 0
    }

    /// Leaves the tag in the state.
    #[inline(always)]
    fn hash(&self, scratch: &mut Scratch, message: &[u8; Self::COVERED + Self::TAG]) {
        let block = &mut scratch.blocks[0];
        *block = [0; 16];
        let (words, _) = message.as_chunks::<4>();
        for (to, from) in block.iter_mut().zip(words).take(Self::COVERED / 4) {
            *to = u32::from_be_bytes(*from);
        }
        block[13] = PADDING;
        block[15] = BITS;
        scratch.state = self.inner;
        scratch.compress(0);
        scratch.close(&self.outer);
    }
}

impl core::fmt::Debug for Seal {
    /// Says nothing of the key.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Seal").finish_non_exhaustive()
    }
}

/// Length of the inner message: the key's block and what is covered.
#[expect(clippy::cast_possible_truncation, reason = "928")]
const BITS: u32 = (64 + Seal::COVERED as u32) * 8;

const _: () = assert!(Seal::COVERED == 13 * 4, "the padding's place in the block");

#[cfg(test)]
mod tests {
    use super::*;
    use hmac::{Hmac, KeyInit, Mac as _};
    use proptest::prelude::*;
    use sha1::Sha1;

    const LEN: usize = Seal::COVERED + Seal::TAG;

    proptest! {
        #[test]
        fn its_tag_is_that_of_rustcrypto(key: [u8; KEY_LEN], covered in prop::collection::vec(any::<u8>(), Seal::COVERED)) {
            let mut message = [0; LEN];
            message[..Seal::COVERED].copy_from_slice(&covered);
            let seal = Seal::new(&key);
            seal.close(&mut Scratch::default(), &mut message);
            let mut mac = Hmac::<Sha1>::new_from_slice(&key).unwrap();
            mac.update(&covered);
            prop_assert_eq!(&message[Seal::COVERED..], &mac.finalize().into_bytes()[..]);
            prop_assert!(seal.is_whole(&mut Scratch::default(), &message));
        }
    }

    #[test]
    fn every_flipped_bit_breaks_it_and_another_key_does_not_open_it() {
        let (seal, mut message) = (Seal::new(&[7; KEY_LEN]), [3; LEN]);
        seal.close(&mut Scratch::default(), &mut message);
        for bit in 0..LEN * 8 {
            let mut broken = message;
            broken[bit / 8] ^= 1 << (bit % 8);
            assert!(!seal.is_whole(&mut Scratch::default(), &broken), "bit {bit}");
        }
        assert!(!Seal::new(&[8; KEY_LEN]).is_whole(&mut Scratch::default(), &message));
    }
}
