//! What a third node sees: who advertises what, and how long it was silent before.

use std::collections::HashMap;
use std::net::IpAddr;

use lab::Captured;
use lab::capture::Seen;

/// All advertisements of a time, in short.
#[derive(Debug, Default)]
pub(crate) struct Sight {
    last: HashMap<Voice, u64>,
    /// The sender of each virtual host, in IPv4.
    masters: HashMap<u8, IpAddr>,
    /// Between two advertisements, those that were too long.
    pub(crate) silences: Vec<Silence>,
    /// The longest time between two advertisements, in ns.
    pub(crate) longest_ns: u64,
    pub(crate) frames: u64,
    /// How often a virtual host was advertised by another one than before.
    pub(crate) changes: usize,
}

/// A time without an advertisement, in ns of `CLOCK_MONOTONIC`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Silence {
    pub(crate) from_ns: u64,
    pub(crate) to_ns: u64,
}

/// Who advertises what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Voice {
    source: IpAddr,
    vhid: u8,
}

impl Sight {
    /// Takes a frame in; a time between two advertisements of more than `tolerated_ns` is a silence.
    pub(crate) fn look(&mut self, frame: &Captured, tolerated_ns: u64) {
        let Some(Seen { at_ns, source, vhid, .. }) = frame.advertisement() else { return };
        self.frames += 1;
        if source.is_ipv4() {
            let before = self.masters.insert(vhid, source);
            self.changes += usize::from(before.is_some_and(|before| before != source));
        }
        if let Some(from_ns) = self.last.insert(Voice { source, vhid }, at_ns) {
            self.longest_ns = self.longest_ns.max(at_ns.saturating_sub(from_ns));
            if at_ns.saturating_sub(from_ns) > tolerated_ns {
                self.silences.push(Silence { from_ns, to_ns: at_ns });
            }
        }
    }

    /// How many voices there were: one a virtual host and family.
    pub(crate) fn voices(&self) -> usize {
        self.last.len()
    }
}
