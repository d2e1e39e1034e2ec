//! HMAC-SHA1 over a CARP message (CARP specification §3.2), in the form that the kernel's verifier accepts.
//!
//! Key, vhid and address list stay the same from frame to frame; only the counter, which comes last, changes.
//! So [`Mac::new`] hashes the constant part once, as far as whole blocks go, and keeps the rest with its
//! padding already in place; [`Mac::digest`] puts the counter into the gap and hashes two or three blocks.
//! Loops are bounded, indexes masked: no panic, no unbounded loop.

mod seal;

pub use seal::Seal;

/// Longest passphrase that every implementation takes whole, in bytes (CARP specification §3.1).
pub const PASSPHRASE_MAX: usize = 19;
/// Length of the key, in bytes: the passphrase, padded with zeros.
pub const KEY_LEN: usize = 20;
/// Length of a digest, in bytes.
pub const DIGEST_LEN: usize = 20;

/// The constant part of the message (CARP specification §3.2).
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// The configured virtual host.
    pub vhid: u8,
    /// Its IPv4 addresses, in any order; duplicates count once.
    pub ipv4: &'a [[u8; 4]],
    /// Its IPv6 addresses, in any order; duplicates count once.
    pub ipv6: &'a [[u8; 16]],
    /// Whether link-local IPv6 addresses are hashed: `OpenBSD` leaves them out when it sends (§3.3).
    pub link_local: bool,
    /// The hardware address that `OpenBSD` hashes too, where it was set by hand (§3.2, item 3).
    pub lladdr: Option<[u8; 6]>,
}

/// An HMAC that has seen everything but the counter.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Mac {
    /// After the key's block and the whole blocks of the message.
    inner: State,
    /// After the key's block.
    outer: State,
    /// What is left of the message, with a gap of zeros for the counter, and the padding.
    rest: [Block; 2],
    /// How many blocks of `rest` are used, 1 or 2.
    blocks: u32,
    /// Where the gap begins, in bytes, 0 to 63.
    gap: u32,
}

impl Mac {
    /// Authenticates nothing: a place in an array that is not in use.
    pub const UNUSED: Self =
        Self { inner: State([0; 5]), outer: State([0; 5]), rest: [[0; 16]; 2], blocks: 0, gap: 0 };

    /// Hashes key and message.
    #[must_use]
    pub fn new(key: &[u8; KEY_LEN], message: &Message<'_>) -> Self {
        let mut writer = Writer::new(key);
        writer.update(&[VERSION, TYPE]);
        if let Some(lladdr) = &message.lladdr {
            writer.update(lladdr);
        }
        writer.update(&[message.vhid]);
        let mut last = [0; 4];
        while let Some(next) = successor(message.ipv4.iter().copied(), last) {
            writer.update(&next);
            last = next;
        }
        let mut last = [0; 16];
        let hashed = |address: &[u8; 16]| message.link_local || !is_link_local(address);
        while let Some(next) = successor(message.ipv6.iter().map(unscoped).filter(hashed), last) {
            writer.update(&next);
            last = next;
        }
        writer.finish(keyed(key, 0x5c))
    }

    /// The digest that belongs to a counter.
    #[must_use]
    pub fn digest(&self, counter: u64) -> [u8; DIGEST_LEN] {
        let mut scratch = Scratch::default();
        self.hash(counter, &mut scratch);
        let mut digest = [0; DIGEST_LEN];
        let (words, _) = digest.as_chunks_mut::<4>();
        for (to, from) in words.iter_mut().zip(scratch.state.0) {
            *to = from.to_be_bytes();
        }
        digest
    }

    /// Whether a frame's digest is the one that belongs to its counter. Takes the same time for any digest.
    #[must_use]
    pub fn verify(&self, counter: u64, digest: &[u8; DIGEST_LEN]) -> bool {
        self.verify_in(&mut Scratch::default(), counter, digest)
    }

    /// The same with memory that is given: the kernel's stack is too small for it.
    #[inline(never)]
    #[must_use]
    pub fn verify_in(&self, scratch: &mut Scratch, counter: u64, digest: &[u8; DIGEST_LEN]) -> bool {
        // Else the compiler would pass the digest's words as arguments, and BPF has five registers for them.
        let digest = core::hint::black_box(digest);
        self.hash(counter, scratch);
        let (words, _) = digest.as_chunks::<4>();
        let mut difference = 0;
        for (expected, found) in scratch.state.0.iter().zip(words) {
            difference |= expected ^ u32::from_be_bytes(*found);
        }
        difference == 0
    }

    /// Leaves the digest in the state.
    #[inline(always)]
    fn hash(&self, counter: u64, scratch: &mut Scratch) {
        scratch.state = self.inner;
        scratch.blocks = self.rest;
        // Where the gap begins within its word, in bits; the counter then lies across up to three words.
        let shift = (self.gap & 3) * 8;
        let parts = [
            high(counter >> shift),
            low(counter >> shift),
            // In two steps, since a shift by 32 bits is none.
            low(counter << 1 << (31 - shift)),
        ];
        let words = scratch.blocks.as_flattened_mut();
        for (offset, part) in (0..).zip(parts) {
            // The gap begins in the first block, so the mask changes nothing.
            words[((self.gap / 4 + offset) & 31) as usize] |= part;
        }
        scratch.compress(0);
        if self.blocks > 1 {
            scratch.compress(1);
        }
        scratch.close(&self.outer);
    }
}

/// Memory for one digest.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub struct Scratch {
    state: State,
    blocks: [Block; 2],
    variables: [u32; 5],
}

impl Scratch {
    /// Hashes one of the blocks, which is used up.
    #[inline(always)]
    fn compress(&mut self, block: usize) {
        let Self { state, blocks, variables } = self;
        compress(state, variables, &mut blocks[block]);
    }

    /// Hashes the inner digest, which is the state, with the key.
    #[inline(always)]
    fn close(&mut self, outer: &State) {
        let inner = self.state.0;
        let block = &mut self.blocks[0];
        *block = [0; 16];
        block[..5].copy_from_slice(&inner);
        block[5] = PADDING;
        block[15] = OUTER_BITS;
        self.state = *outer;
        self.compress(0);
    }
}

impl core::fmt::Debug for Mac {
    /// Says nothing of the key.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Mac").finish_non_exhaustive()
    }
}

/// A passphrase as key. Bytes past the 20th are not used.
#[must_use]
pub fn key(passphrase: &[u8]) -> [u8; KEY_LEN] {
    let mut key = [0; KEY_LEN];
    for (to, from) in key.iter_mut().zip(passphrase) {
        *to = *from;
    }
    key
}

/// 64 bytes as big-endian words.
type Block = [u32; 16];

/// The chaining value of SHA-1 (FIPS 180-4 §6.1).
#[derive(Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
struct State([u32; 5]);

/// Hashes a block, which is used up.
#[inline(always)]
fn compress(state: &mut State, v: &mut [u32; 5], w: &mut Block) {
    *v = state.0;
    rounds_0_to_15(v, w);
    rounds_16_to_31(v, w);
    rounds_32_to_47(v, w);
    rounds_48_to_63(v, w);
    rounds_64_to_79(v, w);
    for (to, from) in state.0.iter_mut().zip(v) {
        *to = to.wrapping_add(*from);
    }
}

/// Functions of 16 rounds each (FIPS 180-4 §6.1.2).
///
/// Unrolled, so that every index is known: that costs the kernel least. Each in a function of its own, which
/// holds the program's size down, and with it what BPF's ten registers leave for its small stack.
macro_rules! rounds {
    ($(fn $name:ident { $($f:ident, $k:literal: $($t:literal)+;)+ })+) => {$(
        #[inline(never)]
        fn $name(v: &mut [u32; 5], w: &mut Block) {$($({
            // The variables change places by the number of the round instead of moving.
            let [a, b, c, d, e] = [(80 - $t) % 5, (81 - $t) % 5, (82 - $t) % 5, (83 - $t) % 5, (84 - $t) % 5];
            // The schedule is kept in a ring of 16 words.
            if $t >= 16 {
                let next = w[($t + 13) % 16] ^ w[($t + 8) % 16] ^ w[($t + 2) % 16] ^ w[$t % 16];
                w[$t % 16] = next.rotate_left(1);
            }
            v[e] = v[a]
                .rotate_left(5)
                .wrapping_add($f(v[b], v[c], v[d]))
                .wrapping_add(v[e])
                .wrapping_add($k)
                .wrapping_add(w[$t % 16]);
            v[b] = v[b].rotate_left(30);
        })+)+}
    )+};
}

rounds! {
    fn rounds_0_to_15 {
        choose, 0x5a82_7999: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15;
    }
    fn rounds_16_to_31 {
        choose, 0x5a82_7999: 16 17 18 19;
        parity, 0x6ed9_eba1: 20 21 22 23 24 25 26 27 28 29 30 31;
    }
    fn rounds_32_to_47 {
        parity, 0x6ed9_eba1: 32 33 34 35 36 37 38 39;
        majority, 0x8f1b_bcdc: 40 41 42 43 44 45 46 47;
    }
    fn rounds_48_to_63 {
        majority, 0x8f1b_bcdc: 48 49 50 51 52 53 54 55 56 57 58 59;
        parity, 0xca62_c1d6: 60 61 62 63;
    }
    fn rounds_64_to_79 {
        parity, 0xca62_c1d6: 64 65 66 67 68 69 70 71 72 73 74 75 76 77 78 79;
    }
}

#[inline(always)]
fn choose(b: u32, c: u32, d: u32) -> u32 {
    d ^ (b & (c ^ d))
}

#[inline(always)]
fn parity(b: u32, c: u32, d: u32) -> u32 {
    b ^ c ^ d
}

#[inline(always)]
fn majority(b: u32, c: u32, d: u32) -> u32 {
    (b & c) | (d & (b | c))
}

/// Hashes the constant part, byte by byte; in user space only.
struct Writer {
    state: State,
    tail: Block,
    /// Bytes in `tail`, 0 to 63.
    length: usize,
    /// Bytes that `state` has hashed, the key's block included.
    hashed: u32,
}

impl Writer {
    fn new(key: &[u8; KEY_LEN]) -> Self {
        Self { state: keyed(key, 0x36), tail: [0; 16], length: 0, hashed: 64 }
    }

    fn update(&mut self, bytes: &[u8]) {
        for byte in bytes {
            put(&mut self.tail, self.length, *byte);
            self.length += 1;
            if self.length == 64 {
                compress(&mut self.state, &mut [0; 5], &mut self.tail);
                (self.tail, self.length) = ([0; 16], 0);
                self.hashed += 64;
            }
        }
    }

    /// Leaves the gap for the counter, and adds the padding (FIPS 180-4 §5.1.1).
    #[expect(clippy::cast_possible_truncation, reason = "fewer than 64 bytes, fewer than 3 blocks")]
    fn finish(self, outer: State) -> Mac {
        let Self { state, tail, length, hashed } = self;
        let mut rest = [tail, [0; 16]];
        let end = length + COUNTER_LEN;
        put(&mut rest[end / 64], end % 64, 0x80);
        let blocks = if end < 56 { 1 } else { 2 };
        rest[blocks - 1][15] = (hashed + end as u32) * 8;
        Mac { inner: state, outer, rest, blocks: blocks as u32, gap: length as u32 }
    }
}

/// Puts a byte where there is none yet.
fn put(block: &mut Block, at: usize, byte: u8) {
    block[at / 4 % 16] |= u32::from(byte) << (24 - at % 4 * 8);
}

/// The state after the block of the key, masked.
fn keyed(key: &[u8; KEY_LEN], mask: u8) -> State {
    let mut block = [0; 16];
    for at in 0..64 {
        put(&mut block, at, mask ^ key.get(at).unwrap_or(&0));
    }
    let mut state = INITIAL;
    compress(&mut state, &mut [0; 5], &mut block);
    state
}

#[inline(always)]
fn high(value: u64) -> u32 {
    low(value >> 32)
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the low half is meant")]
fn low(value: u64) -> u32 {
    value as u32
}

/// The least address above `last` and below all ones. Walking so sorts a list, drops duplicates, and leaves
/// out the two addresses that the BSDs never hash (§3.2).
fn successor<const N: usize>(addresses: impl Iterator<Item = [u8; N]>, last: [u8; N]) -> Option<[u8; N]> {
    addresses.filter(|address| *address > last && *address < [0xff; N]).min()
}

/// Whether an IPv6 address is link-local: those are hashed or not, by implementation (§3.3).
#[must_use]
pub fn is_link_local(address: &[u8; 16]) -> bool {
    address[0] == 0xfe && address[1] & 0xc0 == 0x80
}

/// A link-local address without the interface that BSD kernels keep in bytes 2 and 3.
fn unscoped(address: &[u8; 16]) -> [u8; 16] {
    let mut address = *address;
    if is_link_local(&address) {
        address[2] = 0;
        address[3] = 0;
    }
    address
}

const VERSION: u8 = 2;
const TYPE: u8 = 1;
const COUNTER_LEN: usize = 8;
/// The first word of the padding.
const PADDING: u32 = 0x8000_0000;
/// Length of the outer message: the key's block and a digest.
const OUTER_BITS: u32 = (64 + 20) * 8;
const INITIAL: State = State([0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0]);

#[cfg(test)]
mod tests {
    use super::*;
    use hmac::{Hmac, KeyInit, Mac as _};
    use proptest::prelude::*;
    use sha1::Sha1;
    use std::collections::BTreeSet;
    use std::vec::Vec;

    /// The same digest by the `hmac` and `sha1` crates, with sorting by the standard library.
    fn reference(passphrase: &[u8], message: &Message<'_>, counter: u64) -> [u8; 20] {
        let mut mac = Hmac::<Sha1>::new_from_slice(passphrase).unwrap();
        mac.update(&[2, 1]);
        mac.update(message.lladdr.as_ref().map_or(&[][..], |lladdr| &lladdr[..]));
        mac.update(&[message.vhid]);
        for address in message.ipv4.iter().collect::<BTreeSet<_>>() {
            if ![[0; 4], [0xff; 4]].contains(address) {
                mac.update(address);
            }
        }
        let scopeless = |address: &[u8; 16]| match *address {
            [0xfe, b @ 0x80..=0xbf, _, _, ref rest @ ..] => {
                let mut address = [0; 16];
                address[..2].copy_from_slice(&[0xfe, b]);
                address[4..].copy_from_slice(rest);
                address
            }
            other => other,
        };
        let ipv6: BTreeSet<_> = message.ipv6.iter().map(scopeless).collect();
        for address in ipv6 {
            let left_out = !message.link_local && matches!(address, [0xfe, 0x80..=0xbf, ..]);
            if ![[0; 16], [0xff; 16]].contains(&address) && !left_out {
                mac.update(&address);
            }
        }
        mac.update(&counter.to_be_bytes());
        mac.finalize().into_bytes().into()
    }

    fn address6() -> impl Strategy<Value = [u8; 16]> {
        prop_oneof![
            any::<[u8; 16]>(),
            any::<[u8; 14]>().prop_map(|rest| {
                let mut address = [0; 16];
                address[..2].copy_from_slice(&[0xfe, 0x80]);
                address[2..].copy_from_slice(&rest);
                address
            }),
            Just([0; 16]),
            Just([0xff; 16]),
        ]
    }

    proptest! {
        #[test]
        fn agrees_with_rustcrypto(
            passphrase in prop::collection::vec(any::<u8>(), 0..=20),
            vhid: u8,
            mut ipv4 in prop::collection::vec(any::<[u8; 4]>(), 0..40),
            ipv6 in prop::collection::vec(address6(), 0..12),
            link_local: bool,
            lladdr: Option<[u8; 6]>,
            counter: u64,
        ) {
            ipv4.extend_from_within(..ipv4.len() / 2);
            ipv4.push([0; 4]);
            ipv4.push([0xff; 4]);
            let message = Message { vhid, ipv4: &ipv4, ipv6: &ipv6, link_local, lladdr };
            let mac = Mac::new(&key(&passphrase), &message);
            let digest = mac.digest(counter);
            prop_assert_eq!(digest, reference(&passphrase, &message, counter));
            prop_assert!(mac.verify(counter, &digest));
            prop_assert!(!mac.verify(counter.wrapping_add(1), &digest));
        }

        #[test]
        fn does_not_depend_on_the_order(ipv4 in prop::collection::vec(any::<[u8; 4]>(), 1..10), counter: u64) {
            let reversed: Vec<_> = ipv4.iter().rev().copied().collect();
            let message = Message { vhid: 1, ipv4: &ipv4, ipv6: &[], link_local: true, lladdr: None };
            let a = Mac::new(&[7; 20], &message).digest(counter);
            let b = Mac::new(&[7; 20], &Message { ipv4: &reversed, ..message }).digest(counter);
            prop_assert_eq!(a, b);
        }
    }

    #[test]
    fn makes_the_digest_of_a_captured_frame() {
        // CARP specification §3.4.
        let message =
            Message { vhid: 1, ipv4: &[[192, 168, 88, 44]], ipv6: &[], link_local: true, lladdr: None };
        let digest = Mac::new(&key(b"pass123"), &message).digest(0xd8eb_03f6_4aa4_9bd2);
        assert_eq!(digest[..4], [0xdb, 0x89, 0x4a, 0x44]);
        assert_eq!(digest[16..], [0x9d, 0xb6, 0xc9, 0x77]);
    }

    #[test]
    fn refuses_every_flipped_bit() {
        let message = Message { vhid: 1, ipv4: &[[10, 0, 0, 1]], ipv6: &[], link_local: true, lladdr: None };
        let mac = Mac::new(&key(b"secret"), &message);
        let good = mac.digest(5);
        for bit in 0..160 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(!mac.verify(5, &bad), "bit {bit}");
        }
    }
}
