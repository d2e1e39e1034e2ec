//! Reads the vectors of strict mode, and brings a receiver into the state that each belongs to.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result, ensure};
use frames::packet::{GROUP, GROUP6};
use frames::site::{LOOPBACK, key, slot, slot6, watch, watch_both};
use frames::{Kernel, Outcome, Packet, Packet6};
use ha_common::abi::{HeardKey, Keys, Role, Watch};
use ha_common::auth::{self, Mac, Message};
use ha_common::fresh::Heard;
use ha_common::judge::World;
use ha_common::reason::Reason;
use lab::Site;
use lab::capture::now_ns;
use serde::Deserialize;

use super::hex::{Hex, Number};

/// The file of vectors.
#[derive(Deserialize)]
pub(crate) struct Document {
    pub(crate) format: String,
    pub(crate) passphrase: String,
    pub(crate) vhid: u8,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) own: Vec<IpAddr>,
    pub(crate) tolerance_ms: u32,
    pub(crate) vectors: Vec<Vector>,
}

#[derive(Deserialize)]
pub(crate) struct Vector {
    pub(crate) id: String,
    pub(crate) about: String,
    pub(crate) source: IpAddr,
    /// Where it is not that of all.
    pub(crate) passphrase: Option<String>,
    pub(crate) stamp: Made,
    pub(crate) open: Fields,
    pub(crate) counter: Number,
    pub(crate) digest: Hex,
    pub(crate) payload: Hex,
    pub(crate) arrives: Arrival,
    pub(crate) verdict: String,
}

#[derive(Deserialize)]
pub(crate) struct Made {
    pub(crate) ms: u64,
    #[serde(flatten)]
    pub(crate) copies: Fields,
}

#[derive(Deserialize, PartialEq)]
pub(crate) struct Fields {
    pub(crate) advskew: u8,
    pub(crate) advbase: u8,
    pub(crate) demote: u8,
}

#[derive(Deserialize)]
pub(crate) struct Arrival {
    pub(crate) monotonic_ms: u64,
    pub(crate) clock_ms: u64,
}

/// The vectors.
///
/// # Errors
///
/// If the file can't be read, or is of another format.
pub(crate) fn vectors() -> Result<Document> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/data/strict.json");
    let vectors: Document = serde_json::from_slice(&std::fs::read(path)?)?;
    ensure!(vectors.format == "ha-agent-strict-vectors-1", "another format: {}", vectors.format);
    Ok(vectors)
}

impl Document {
    pub(crate) fn families(&self) -> (Vec<Ipv4Addr>, Vec<Ipv6Addr>) {
        let (mut ipv4, mut ipv6) = (Vec::new(), Vec::new());
        for address in &self.addresses {
            match address {
                IpAddr::V4(address) => ipv4.push(*address),
                IpAddr::V6(address) => ipv6.push(*address),
            }
        }
        (ipv4, ipv6)
    }

    /// The receiver, which knows nothing yet.
    pub(crate) fn site(&self) -> Site {
        let (ipv4, ipv6) = self.families();
        let (ipv4, ipv6): (Vec<_>, Vec<_>) =
            (ipv4.iter().map(Ipv4Addr::octets).collect(), ipv6.iter().map(Ipv6Addr::octets).collect());
        let message = Message { vhid: self.vhid, ipv4: &ipv4, ipv6: &ipv6, link_local: true, lladdr: None };
        let mut keys = Keys { count: 1, ..Keys::NONE };
        keys.macs[0] = Mac::new(&auth::key(self.passphrase.as_bytes()), &message);
        let host = u32::from(self.vhid);
        let mut site = Site::default();
        site.keys.insert(host, keys);
        site.lists.insert((host, Role::OWN), self.own.iter().copied().collect());
        let strict = watch(slot(self.vhid), host, Watch::STRICT, GROUP);
        let strict = Watch { tolerance_ms: self.tolerance_ms, ..strict };
        watch_both(&mut site, key(LOOPBACK, 0, 0, self.vhid), strict, GROUP6);
        site
    }
}

impl Vector {
    pub(crate) fn frame(&self) -> Vec<u8> {
        let payload = self.payload.0.clone();
        match self.source {
            IpAddr::V4(source) => Packet { source: source.octets(), payload, ..Packet::default() }.bytes(),
            IpAddr::V6(source) => Packet6 { source, payload, ..Packet6::default() }.bytes(),
        }
    }

    pub(crate) fn outcome(&self, vhid: u8) -> Result<Outcome> {
        let slot = if self.source.is_ipv6() { slot6(slot(vhid)) } else { slot(vhid) };
        if self.verdict == "accepted" {
            return Ok(Outcome::Accepted(slot, 0));
        }
        let reason = Reason::ALL.iter().find(|reason| reason.label() == self.verdict);
        Ok(Outcome::Refused(slot, *reason.with_context(|| format!("{}: {}", self.id, self.verdict))?))
    }

    /// Moves the clocks of user space's receiver to the moment of arrival.
    pub(crate) fn arrive(&self, site: &mut Site) {
        let Arrival { monotonic_ms, clock_ms } = self.arrives;
        site.now_ns = Some(monotonic_ms * 1_000_000);
        site.clock_offset_ns = (clock_ms - monotonic_ms) * 1_000_000;
    }

    /// Demands the outcome from the program, in the state `before`, within the millisecond of arrival. Returns
    /// what it remembers then.
    pub(crate) fn arrive_in_kernel(
        &self,
        kernel: &mut Kernel,
        before: &BTreeMap<HeardKey, Heard>,
        outcome: Outcome,
    ) -> BTreeMap<HeardKey, (u64, u64)> {
        let Arrival { monotonic_ms, clock_ms } = self.arrives;
        let frame = self.frame();
        for _ in 0..TRIES {
            kernel.forget();
            let started_ns = now_ns();
            for (key, heard) in before {
                // Of the same age as it is in the vectors.
                let age_ns = monotonic_ms * 1_000_000 - heard.arrived_ns;
                kernel.remember(*key, Some(Heard { arrived_ns: started_ns - age_ns, ..*heard }));
            }
            kernel.set_wall_ms(clock_ms);
            let found = kernel.judge(&self.id, &frame).outcome;
            let in_time = kernel.site().wall_ms(now_ns()) == clock_ms && now_ns() - started_ns < 1_000_000;
            if in_time {
                assert_eq!(found, outcome, "{}: in the kernel", self.id);
                let after = windows(kernel.site());
                kernel.forget();
                return after;
            }
        }
        panic!("{}: never within a millisecond in {TRIES} tries", self.id);
    }

    /// Its row in the specification.
    pub(crate) fn row(&self) -> String {
        let Self { id, about, source, stamp, open, arrives, verdict, .. } = self;
        let fields = |fields: &Fields| format!("{}, {}, {}", fields.advskew, fields.advbase, fields.demote);
        let mut all = fields(&stamp.copies);
        if stamp.copies != *open {
            let _ = write!(all, " (open: {})", fields(open));
        }
        let Arrival { monotonic_ms, clock_ms } = arrives;
        format!(
            "| {id} | {source} | {} | {all} | {monotonic_ms}, {clock_ms} | {about} | {verdict} |",
            stamp.ms
        )
    }

    /// Its line there: header, counter, digest.
    pub(crate) fn payload_line(&self) -> String {
        let hex = |bytes: &[u8]| bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
        let (header, rest) = self.payload.0.split_at(8);
        let (counter, digest) = rest.split_at(8);
        format!("{} {} {} {}", self.id, hex(header), hex(counter), hex(digest))
    }
}

/// What is remembered, without when it arrived.
pub(crate) fn windows(site: &Site) -> BTreeMap<HeardKey, (u64, u64)> {
    site.heard.borrow().iter().map(|(key, heard)| (*key, (heard.newest_ms, heard.seen))).collect()
}

/// How often something that takes microseconds may take more than a millisecond.
pub(crate) const TRIES: u32 = 1_000;
