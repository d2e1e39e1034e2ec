//! What strict mode refuses, as the kernel program does it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use ha_common::fresh::{EPOCH_S, Heard, Stamp};
use ha_common::reason::Reason;
use ha_common::wire::carp;

/// Which times were heard.
#[derive(Debug, Default)]
pub(super) struct Memory {
    senders: BTreeMap<(IpAddr, u8), Heard>,
    fields: BTreeMap<(u8, [u8; 3]), Heard>,
}

impl Memory {
    /// Whether an authentic advertisement was made just now, as far as that can be known, and is heard for the first time.
    /// `tolerance` is how far the clocks may differ.
    pub(super) fn judge(
        &mut self,
        header: carp::Header<'_>,
        source: IpAddr,
        at_ns: Option<u64>,
        tolerance: Duration,
    ) -> Result<(), Reason> {
        let stamp = Stamp::from_counter(header.counter());
        if !stamp.agrees_with(header) {
            return Err(Reason::Rewritten);
        }
        if self.senders.len() >= super::REMEMBERED {
            self.senders.clear();
        }
        let sender = self.senders.entry((source, header.vhid())).or_default();
        let fields = (header.vhid(), [stamp.advskew, stamp.advbase, stamp.demote]);
        let fields = self.fields.entry(fields).or_default();
        if sender.has(stamp.ms) || fields.has(stamp.ms) {
            return Err(Reason::Replay);
        }
        let allowed = u64::try_from(tolerance.as_millis()).unwrap_or(u64::MAX);
        if at_ns.is_some_and(|at_ns| skew(stamp, at_ns).unsigned_abs() > allowed) {
            return Err(Reason::Stale);
        }
        // On whichever clock: here it only has to grow.
        sender.record(stamp.ms, 1);
        fields.record(stamp.ms, 1);
        Ok(())
    }
}

/// How far the sender's clock was ahead of the receiver's, in ms, less the way.
pub(super) fn skew(stamp: Stamp, at_ns: u64) -> i64 {
    let ms = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    ms(stamp.ms) - (ms(at_ns / 1_000_000) - ms(EPOCH_S * 1000))
}
