//! HMAC-SHA1 over a CARP message (CARP specification §3), in the form that the kernel's verifier accepts.
//!
//! Key, vhid and address list stay the same from frame to frame; only the counter, which comes last,
//! changes. So [`Mac::new`] hashes the constant part once, and [`Mac::digest`] needs two or three blocks.
//! Loops are bounded and rolled, indexes are masked: no panic, no unbounded loop.

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
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Mac {
    inner: State,
    outer: State,
    /// Bytes that `inner` has not hashed yet: fewer than a block.
    tail: [u8; BLOCK],
    tail_len: u32,
    /// Bytes that `inner` has hashed, the key's block included.
    hashed: u32,
}

impl Mac {
    /// Hashes key and message.
    #[must_use]
    pub fn new(key: &[u8; KEY_LEN], message: &Message<'_>) -> Self {
        let mut mac = Self {
            inner: keyed(key, 0x36),
            outer: keyed(key, 0x5c),
            tail: [0; BLOCK],
            tail_len: 0,
            hashed: 64,
        };
        mac.update(&[VERSION, TYPE]);
        if let Some(lladdr) = &message.lladdr {
            mac.update(lladdr);
        }
        mac.update(&[message.vhid]);
        let mut last = [0; 4];
        while let Some(next) = successor(message.ipv4.iter().copied(), last) {
            mac.update(&next);
            last = next;
        }
        let mut last = [0; 16];
        let hashed = |address: &[u8; 16]| message.link_local || !is_link_local(address);
        while let Some(next) = successor(message.ipv6.iter().map(unscoped).filter(hashed), last) {
            mac.update(&next);
            last = next;
        }
        mac
    }

    /// The digest that belongs to a counter.
    #[inline(always)]
    #[must_use]
    pub fn digest(&self, counter: u64) -> [u8; DIGEST_LEN] {
        let mut inner = *self;
        inner.update(&counter.to_be_bytes());
        let mut block = [0; BLOCK];
        block[..DIGEST_LEN].copy_from_slice(&inner.inner.finish(&inner.tail, inner.tail_len, inner.hashed));
        #[expect(clippy::cast_possible_truncation, reason = "20")]
        self.outer.finish(&block, DIGEST_LEN as u32, 64)
    }

    /// Whether a frame's digest is the one that belongs to its counter. Takes the same time for any digest.
    #[inline(always)]
    #[must_use]
    pub fn verify(&self, counter: u64, digest: &[u8; DIGEST_LEN]) -> bool {
        let expected = self.digest(counter);
        let mut difference = 0;
        for (a, b) in expected.iter().zip(digest) {
            difference |= a ^ b;
        }
        difference == 0
    }

    #[inline(always)]
    fn update(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.tail[self.tail_len as usize & (BLOCK - 1)] = *byte;
            self.tail_len += 1;
            if self.tail_len == 64 {
                self.inner.compress(&self.tail);
                self.hashed += 64;
                self.tail_len = 0;
            }
        }
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

/// The chaining value of SHA-1 (FIPS 180-4 §6.1).
#[derive(Clone, Copy)]
#[repr(C)]
struct State([u32; 5]);

impl State {
    #[inline(always)]
    #[expect(clippy::many_single_char_names, reason = "the names of FIPS 180-4")]
    fn compress(&mut self, block: &[u8; BLOCK]) {
        let mut w = [0u32; 16];
        let (words, _) = block.as_chunks::<4>();
        for (to, from) in w.iter_mut().zip(words) {
            *to = u32::from_be_bytes(*from);
        }
        let [mut a, mut b, mut c, mut d, mut e] = self.0;
        for round in 0..80usize {
            // The schedule is kept in a ring of 16 words.
            if round >= 16 {
                let next = w[(round + 13) & 15] ^ w[(round + 8) & 15] ^ w[(round + 2) & 15] ^ w[round & 15];
                w[round & 15] = next.rotate_left(1);
            }
            let (f, k) = match round {
                0..20 => ((b & c) | (!b & d), 0x5a82_7999),
                20..40 => (b ^ c ^ d, 0x6ed9_eba1),
                40..60 => ((b & c) | (b & d) | (c & d), 0x8f1b_bcdc),
                _ => (b ^ c ^ d, 0xca62_c1d6_u32),
            };
            let next =
                a.rotate_left(5).wrapping_add(f).wrapping_add(e).wrapping_add(k).wrapping_add(w[round & 15]);
            (e, d, c, b, a) = (d, c, b.rotate_left(30), a, next);
        }
        for (to, from) in self.0.iter_mut().zip([a, b, c, d, e]) {
            *to = to.wrapping_add(from);
        }
    }

    /// Hashes the last `len` (fewer than 64) bytes, which follow `hashed` others, and the padding.
    #[inline(always)]
    fn finish(mut self, tail: &[u8; BLOCK], len: u32, hashed: u32) -> [u8; DIGEST_LEN] {
        let mut block = [0; BLOCK];
        for (index, (to, from)) in block.iter_mut().zip(tail).enumerate() {
            if index < len as usize {
                *to = *from;
            }
        }
        block[len as usize & (BLOCK - 1)] = 0x80;
        if len >= 56 {
            self.compress(&block);
            block = [0; BLOCK];
        }
        let bits = u64::from(hashed + len) * 8;
        block[56..].copy_from_slice(&bits.to_be_bytes());
        self.compress(&block);
        let mut digest = [0; DIGEST_LEN];
        let (words, _) = digest.as_chunks_mut::<4>();
        for (to, from) in words.iter_mut().zip(self.0) {
            *to = from.to_be_bytes();
        }
        digest
    }
}

/// The state after the block of the key, masked.
fn keyed(key: &[u8; KEY_LEN], mask: u8) -> State {
    let mut block = [mask; BLOCK];
    for (to, from) in block.iter_mut().zip(key) {
        *to ^= *from;
    }
    let mut state = INITIAL;
    state.compress(&block);
    state
}

/// The least address above `last` and below all ones. Walking so sorts a list, drops duplicates, and leaves
/// out the two addresses that the BSDs never hash (§3.2).
fn successor<const N: usize>(addresses: impl Iterator<Item = [u8; N]>, last: [u8; N]) -> Option<[u8; N]> {
    addresses.filter(|address| *address > last && *address < [0xff; N]).min()
}

fn is_link_local(address: &[u8; 16]) -> bool {
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
const BLOCK: usize = 64;
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
