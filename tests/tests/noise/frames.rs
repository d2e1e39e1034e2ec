//! The frames that noise is made of.

use std::net::Ipv6Addr;

use ha_agent::core::{Advertisement, Priority, Sources};
use ha_agent::net::advertise::Frames;
use ha_common::abi::Address;
use ha_common::auth::{Mac, Message, key};
use ha_common::decode::{Frame, decode};
use ha_common::wire::{carp, checksum, ethernet, ipv4};
use lab::Random;
use lab::pair::{A, VIRTUAL};

/// Frames of all kinds, none of which may change a state.
///
/// The digest leaves advbase, advskew and demote open (CARP specification §0, point 1), so whoever records a
/// frame can change them; and whoever repeats one from another source looks like another node. These known
/// attacks are left out: an authentic frame is only ever repeated as it was.
#[derive(Debug)]
pub(crate) struct Noise {
    random: Random,
    valid: Vec<Vec<u8>>,
    forger: Forger,
    mac: Mac,
}

impl Noise {
    /// `valid` are the master's own frames.
    pub(crate) fn new(seed: u64, valid: Vec<Vec<u8>>) -> Self {
        Self { random: Random::new(seed), valid, forger: Forger::new(), mac: mac(PASSPHRASE) }
    }

    /// Appends the next frame to an empty buffer.
    pub(crate) fn next(&mut self, frame: &mut Vec<u8>) {
        loop {
            self.make(frame);
            if !self.is_attack(frame) {
                return;
            }
            frame.clear();
        }
    }

    fn make(&mut self, frame: &mut Vec<u8>) {
        let random = &mut self.random;
        let valid = &self.valid[random.below(self.valid.len())];
        match random.below(16) {
            0 => {
                let length = 14 + random.below(1500);
                random.fill(frame, length);
            }
            // Random where CARP should be, under headers that are right.
            1 | 2 => {
                frame.extend(&valid[..CARP]);
                let length = random.below(64);
                random.fill(frame, length);
            }
            3..=5 => frame.extend(&valid[..14 + random.below(valid.len() - 14)]),
            6 => {
                frame.extend(valid);
                let length = 1 + random.below(64);
                random.fill(frame, length);
            }
            7..=9 => {
                frame.extend(valid);
                mutate(random, frame);
            }
            // The same, so that only what was changed is wrong.
            10..=12 => {
                frame.extend(valid);
                mutate(random, frame);
                mend(frame);
            }
            13 => {
                frame.extend(&valid[..12]);
                for _ in 0..=random.below(3) {
                    let tag = if random.below(2) == 0 { ethernet::DOT1Q } else { ethernet::DOT1AD };
                    frame.extend(tag.to_be_bytes());
                    random.fill(frame, 2);
                }
                frame.extend(&valid[12..]);
            }
            14 => frame.extend(self.forger.forge(random)),
            _ => frame.extend(valid),
        }
    }

    /// Whether a frame says with the right digest what its master never said.
    fn is_attack(&self, frame: &[u8]) -> bool {
        let Frame::Carp(candidate) = decode(&frame) else { return false };
        let group = Address::v4(carp::GROUP);
        let Ok(carp) = candidate.check(|address| *address == group) else { return false };
        let header = carp::Header(carp);
        let said = || self.valid.iter().any(|valid| valid[CARP..] == *carp);
        let true_words = candidate.source() == Address::v4(A.octets()) && said();
        candidate.vhid == VHID && !true_words && self.mac.verify(header.counter(), header.digest())
    }
}

/// Makes advertisements that are right in everything but the passphrase.
#[derive(Debug)]
pub(crate) struct Forger {
    mac: Mac,
}

impl Forger {
    pub(crate) fn new() -> Self {
        Self { mac: mac("another passphrase") }
    }

    /// From anybody, with any priority.
    pub(crate) fn forge(&self, random: &mut Random) -> Vec<u8> {
        let priority = match random.below(4) {
            0 => Priority { advbase: 0, advskew: 0 },
            1 => Priority::BOW_OUT,
            _ => Priority { advbase: random.byte(), advskew: random.byte() },
        };
        let frames = Frames {
            hardware: [2, 0, 0, 0, 0, random.byte()],
            sources: Sources { v4: [10, 77, 0, random.byte()].into(), v6: Ipv6Addr::UNSPECIFIED },
            vhid: VHID,
            mac: self.mac,
        };
        let advertisement = Advertisement { priority, demote: 0 };
        frames.emit_v4(carp::GROUP.into(), advertisement, random.number()).to_vec()
    }
}

fn mac(passphrase: &str) -> Mac {
    let ipv4 = [VIRTUAL.octets()];
    let message = Message { vhid: VHID, ipv4: &ipv4, ipv6: &[], link_local: true, lladdr: None };
    Mac::new(&key(passphrase.as_bytes()), &message)
}

/// Changes one to eight bytes.
fn mutate(random: &mut Random, frame: &mut [u8]) {
    for _ in 0..=random.below(8) {
        let at = random.below(frame.len());
        frame[at] = random.byte();
    }
}

/// Makes the checksums right again, of IPv4 and of CARP.
fn mend(frame: &mut [u8]) {
    let Some((headers, carp)) = frame.split_at_mut_checked(CARP) else { return };
    let ip = &mut headers[ethernet::LEN..];
    ip[10..12].fill(0);
    if let Ok(whole) = <&[u8; ipv4::LEN]>::try_from(&*ip) {
        let sum = checksum::checksum(whole).to_be_bytes();
        ip[10..12].copy_from_slice(&sum);
    }
    carp[6..8].fill(0);
    if let Ok(whole) = <&[u8; carp::LEN]>::try_from(&*carp) {
        let sum = checksum::checksum(whole).to_be_bytes();
        carp[6..8].copy_from_slice(&sum);
    }
}

/// The pair's.
pub(crate) const PASSPHRASE: &str = "secret";
const VHID: u8 = 10;
/// Where CARP begins in an untagged frame.
const CARP: usize = ethernet::LEN + ipv4::LEN;
