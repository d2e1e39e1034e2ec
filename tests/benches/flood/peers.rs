//! The three that are flooded, and at which pace.

use std::time::Duration;

use lab::Peer;
use lab::peer::Pace;

use super::frames::{HUNDREDTHS, STANDBY_PRIORITY};

/// All of them.
pub(crate) const PEERS: [Peer; 3] = [Peer::HaAgent, Peer::Keepalived, Peer::Ucarp];

/// How fast it is.
pub(crate) fn pace(peer: Peer) -> Pace {
    let hundredths = Duration::from_millis(10) * u32::from(HUNDREDTHS);
    match peer {
        Peer::HaAgent => Pace { interval: Duration::from_millis(10), skew: STANDBY_SKEW },
        // Strangers have to be worse than its standby, and different.
        Peer::Keepalived | Peer::KeepalivedRt | Peer::Vrrpd | Peer::Bfdd => {
            Pace { interval: hundredths, skew: u8::MAX - STANDBY_PRIORITY + 1 }
        }
        // Its fastest.
        Peer::Ucarp => Pace { interval: Duration::from_secs(1), skew: STANDBY_SKEW },
    }
}

/// How often the active one is cut off, of so often as was asked for.
pub(crate) fn rounds(peer: Peer, asked: u32) -> u32 {
    match peer {
        Peer::HaAgent | Peer::Keepalived | Peer::KeepalivedRt | Peer::Vrrpd | Peer::Bfdd => asked,
        // Each takes it ten seconds and more.
        Peer::Ucarp => asked.min(4),
    }
}

const STANDBY_SKEW: u8 = 10;
