//! The two programs, and what the kernel makes of them.

use crate::outcome::{XDP_DROP, XDP_PASS, XDP_TX};

/// Which of the two programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// For XDP.
    Xdp,
    /// For traffic control.
    Tc,
}

impl Hook {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Xdp, Self::Tc];

    /// Whether the kernel lets a frame arrive: not without an Ethernet header, and in a socket buffer not without what has
    /// to follow it.
    #[must_use]
    pub fn takes(self, frame: &[u8]) -> bool {
        let behind = match (self, frame.get(12..14)) {
            (Self::Xdp, _) => 0,
            (Self::Tc, Some([0x08, 0x00])) => 20,
            (Self::Tc, Some([0x86, 0xdd])) => 40,
            (Self::Tc, _) => 1,
        };
        frame.len() >= 14 + behind
    }

    /// A verdict as XDP says it.
    ///
    /// # Panics
    ///
    /// If it is none that the program gives.
    #[must_use]
    pub fn as_xdp(self, verdict: u32) -> u32 {
        match (self, verdict) {
            (Self::Xdp, verdict) => verdict,
            (Self::Tc, TCX_NEXT) => XDP_PASS,
            (Self::Tc, TC_ACT_SHOT) => XDP_DROP,
            (Self::Tc, TC_ACT_REDIRECT) => XDP_TX,
            (Self::Tc, verdict) => panic!("{verdict}"),
        }
    }
}

/// What the program for traffic control returns (`linux/bpf.h`, `linux/pkt_cls.h`).
const TCX_NEXT: u32 = u32::MAX;
const TC_ACT_SHOT: u32 = 2;
const TC_ACT_REDIRECT: u32 = 7;
