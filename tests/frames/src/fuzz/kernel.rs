//! Some frames one after the other, through the loaded program and user space's judge.
//!
//! The input is not frames but how to make them: nobody guesses a digest. So each begins as a good
//! advertisement of some watch, sender and time, is then changed here and there, and has its checksums put right
//! again or not.

use std::net::Ipv6Addr;

use arbitrary::{Arbitrary, Unstructured};
use ha_common::judge::World;
use lab::Site;
use lab::capture::now_ns;

use crate::advertisement::{OLD_PASSPHRASE, PASSPHRASE, WRONG_PASSPHRASE};
use crate::outcome::{Judged, Outcome};
use crate::packet::{GROUP, GROUP6, mend_checksums, sealed};
use crate::site::{
    OTHER_GROUP4, OTHER_GROUP6, OUTER_VLAN, VHID, VHID_FORMS, VHID_OTHER_GROUP, VHID_OTHER_INTERFACE,
    VHID_PASSING, VHID_PEERS, VHID_STRICT, VHID_STRICT_TWO_KEYS, VHID_TWO_KEYS, VHID_UNICAST, VLAN,
};
use crate::{Advertisement, Kernel, Packet, Packet6};

/// Demands that program and user space, which both know nothing of earlier inputs, do the same with each frame:
/// verdict, reason, record; and remember the same in the end.
///
/// # Panics
///
/// If they do not.
pub fn kernel(kernel: &mut Kernel, bytes: &[u8]) {
    for frame in frames(bytes, kernel.site()) {
        kernel.judge("fuzzed", &frame);
    }
    kernel.forget();
}

/// What user space's judge alone says of the same frames.
#[must_use]
pub fn play(bytes: &[u8], site: &Site) -> Vec<Outcome> {
    frames(bytes, site).iter().map(|frame| Judged::of(frame, site).outcome).collect()
}

fn frames(bytes: &[u8], site: &Site) -> Vec<Vec<u8>> {
    let now_ms = site.wall_ms(now_ns());
    let mut input = Unstructured::new(bytes);
    let mut frames: Vec<Vec<u8>> = Vec::new();
    while frames.len() < MOST_FRAMES && !input.is_empty() {
        let Ok(step) = Step::arbitrary(&mut input) else { break };
        frames.push(step.frame(now_ms));
    }
    frames
}

/// How to make a frame.
#[derive(Arbitrary, Debug)]
struct Step {
    /// What is odd about the header before it, if anything is.
    header: u8,
    ipv6: bool,
    /// By 0 it is the group of the watch.
    destination: u8,
    source: u8,
    vhid: u8,
    passphrase: u8,
    link_local: bool,
    advskew: u8,
    advbase: u8,
    demote: u8,
    counter: Counter,
    rewritten: Option<(u8, u8)>,
    tags: u8,
    edits: [Option<Edit>; 3],
    mend: bool,
}

#[derive(Arbitrary, Debug)]
enum Counter {
    /// A stamp of strict mode, so many ms from now.
    Near(i8),
    /// The same, farther away.
    Far(i16),
    /// Any.
    Any(u64),
}

#[derive(Arbitrary, Debug)]
enum Edit {
    Set(u8, u8),
    Flip(u8, u8),
    Insert(u8, u8),
    Remove(u8),
    Truncate(u8),
    Pad(u8),
}

impl Step {
    fn frame(&self, now_ms: u64) -> Vec<u8> {
        let vhid = pick(&VHIDS, self.vhid);
        let advertisement = Advertisement {
            passphrase: pick(&[PASSPHRASE, PASSPHRASE, OLD_PASSPHRASE, WRONG_PASSPHRASE], self.passphrase),
            link_local: self.link_local,
            // Few, so that what was heard before is met again.
            advskew: pick(&[0, 1, 100, 255], self.advskew),
            advbase: pick(&[1, 0, 255], self.advbase),
            demote: pick(&[0, 1, 255], self.demote),
            ..Advertisement::of(vhid)
        };
        let advertisement = match self.counter {
            Counter::Near(ms) => advertisement.made_at(now_ms.saturating_add_signed(ms.into())),
            Counter::Far(ms) => advertisement.made_at(now_ms.saturating_add_signed(ms.into())),
            Counter::Any(counter) => Advertisement { counter, ..advertisement },
        };
        let mut payload = advertisement.bytes();
        if let Some((field, value)) = self.rewritten {
            payload[pick(&[2, 4, 5], field)] = value;
            payload = sealed(payload);
        }
        let mut frame = self.wrapped(vhid, payload);
        self.edits.iter().flatten().for_each(|edit| edit.apply(&mut frame));
        if self.mend {
            mend_checksums(&mut frame);
        }
        frame
    }

    fn wrapped(&self, vhid: u8, payload: Vec<u8>) -> Vec<u8> {
        let other_group = vhid == VHID_OTHER_GROUP;
        let tags = match self.tags % 8 {
            0 => vec![(0x8100, VLAN)],
            1 => vec![(0x88a8, OUTER_VLAN), (0x8100, VLAN)],
            2 => vec![(0x8100, 0x7000)],
            3 if vhid == 255 => vec![(0x8100, 4095)],
            _ => Vec::new(),
        };
        // The first is another node's, the second a virtual address, the fourth our own.
        let node = pick(&[1, 100, 2, 9, 3], self.source);
        if self.ipv6 {
            let host = |node: u8| Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, node.into());
            let group = match vhid {
                VHID_UNICAST => host(9),
                _ if other_group => OTHER_GROUP6,
                _ => GROUP6,
            };
            let destination = pick(&[group, GROUP6, host(9), host(2)], self.destination);
            let mut packet = Packet6 { tags, source: host(node), destination, payload, ..Packet6::default() };
            match self.header % 16 {
                0 => packet.hop_limit = 64,
                1 => packet.next_header = 17,
                2 => packet.payload_len = Some(40),
                3 => packet.flow = 0x0ff0_0001,
                _ => {}
            }
            packet.bytes()
        } else {
            let group = match vhid {
                VHID_UNICAST => [10, 77, 0, 9],
                _ if other_group => OTHER_GROUP4,
                _ => GROUP,
            };
            let destination = pick(&[group, GROUP, [10, 77, 0, 9], [10, 77, 0, 2]], self.destination);
            let source = [10, 77, 0, node];
            let mut packet = Packet { tags, source, destination, payload, ..Packet::default() };
            match self.header % 16 {
                0 => packet.ttl = 64,
                1 => packet.protocol = 17,
                2 => packet.options = vec![1; 4],
                3 => packet.fragment = 0x2000,
                4 => packet.fragment = 5,
                5 => packet.total_len = Some(60),
                _ => {}
            }
            packet.bytes()
        }
    }
}

impl Edit {
    /// Leaves an Ethernet header, without which no frame arrives.
    fn apply(&self, frame: &mut Vec<u8>) {
        let at = |place: u8| usize::from(place) % frame.len();
        match *self {
            Self::Set(place, value) => {
                let at = at(place);
                frame[at] = value;
            }
            Self::Flip(place, bit) => {
                let at = at(place);
                frame[at] ^= 1 << (bit % 8);
            }
            Self::Insert(place, value) => frame.insert(at(place), value),
            Self::Remove(place) if frame.len() > ETHERNET => drop(frame.remove(at(place))),
            Self::Truncate(place) => frame.truncate(at(place).max(ETHERNET)),
            Self::Pad(length) => frame.resize(frame.len() + usize::from(length), 0),
            Self::Remove(_) => {}
        }
    }
}

fn pick<T: Copy, const N: usize>(choices: &[T; N], index: u8) -> T {
    choices[usize::from(index) % N]
}

const VHIDS: [u8; 16] = [
    VHID,
    VHID_STRICT,
    VHID_STRICT,
    VHID_STRICT_TWO_KEYS,
    VHID_PEERS,
    VHID_UNICAST,
    VHID_PASSING,
    VHID_TWO_KEYS,
    VHID_FORMS,
    VHID_OTHER_GROUP,
    VHID_OTHER_INTERFACE,
    255,
    VHID_STRICT,
    VHID,
    0,
    11,
];
/// Of one input: enough to come back to a sender, few enough to be fast.
const MOST_FRAMES: usize = 12;
const ETHERNET: usize = 14;
