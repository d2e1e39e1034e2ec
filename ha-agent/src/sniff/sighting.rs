//! What was seen, as a line for people and as JSON.

use std::fmt;
use std::net::IpAddr;

use ha_common::fresh::{EPOCH_S, Stamp};
use ha_common::reason::Reason;
use ha_common::wire::carp;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Serialize, Serializer};

use super::keys::Missing;
use super::outline::Outline;
use super::{Received, strict};

/// A frame on protocol 112.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sighting {
    /// Its number among all frames that were looked at, from 1.
    pub frame: u64,
    /// When it was received (RFC 3339); `None` where nobody knows.
    pub at: Option<Timestamp>,
    /// The same, in ns since 1970.
    pub at_ns: Option<u64>,
    /// Since its sender was last heard for this virtual host, in ns.
    pub since_last_ns: Option<u64>,
    /// Whether the node where it was seen sent it.
    pub outgoing: bool,
    /// Outer VLAN of a doubly tagged frame, else 0.
    pub outer_vlan: u16,
    /// VLAN, or 0.
    pub vlan: u16,
    /// Who sent it.
    pub source: IpAddr,
    /// To whom.
    pub destination: IpAddr,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// How many bytes it had.
    pub length: usize,
    /// How many of them are missing here.
    pub missing: usize,
    /// What is to be thought of it.
    pub verdict: Verdict,
    /// Why it is refused: the label of the counter that an agent would count it with.
    #[serde(serialize_with = "label")]
    pub reason: Option<Reason>,
    /// Whether its digest is right; `None` if it is not CARP, or if that can't be known.
    pub authentic: Option<bool>,
    /// The virtual host that it names, if it is CARP.
    pub vhid: Option<u8>,
    /// What it says, if it is CARP and not cut.
    pub carp: Option<Carp>,
    /// What it says, if it is VRRP.
    pub vrrp: Option<Vrrp>,
    /// The names of what looks like an attack, in compat mode.
    pub suspicious: Vec<&'static str>,
    /// What else is to be said of it, in sentences.
    pub notes: Vec<String>,
}

/// What is to be thought of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// An advertisement of somebody who has the passphrase.
    Accepted,
    /// An advertisement that is well made; whether its digest is right can't be known.
    Unchecked,
    /// None that an agent would take.
    Refused,
}

/// What an advertisement says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Carp {
    /// The coarser half of the priority, in seconds, lower wins.
    pub advbase: u8,
    /// The finer half of the priority, in 1/256 s, lower wins.
    pub advskew: u8,
    /// How much its sender wants to give up.
    pub demote: u8,
    /// Whether its sender leaves.
    pub bow_out: bool,
    /// The counter.
    #[serde(serialize_with = "hexadecimal")]
    pub counter: u64,
    /// The digest.
    #[serde(skip)]
    pub digest: [u8; 20],
    /// What the counter says in strict mode, if it can be one of that.
    pub strict: Option<StrictStamp>,
}

/// What a counter says in strict mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct StrictStamp {
    /// When the advertisement was made, by its sender's clock.
    pub made: Timestamp,
    /// How far that clock was ahead, in ms, less the way.
    pub ahead_ms: Option<i64>,
}

/// What an advertisement of VRRP says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Vrrp {
    /// Its version, 2 or 3.
    pub version: u8,
    /// The virtual router.
    pub router: u8,
    /// Its priority, higher wins.
    pub priority: u8,
}

impl Sighting {
    /// Before anything is known but its outline. `present` is how many bytes of it there are as Ethernet.
    pub(super) fn new(frame: u64, received: &Received<'_>, outline: &Outline, present: usize) -> Self {
        let length = received.length.saturating_add_signed(-received.kind.excess()).max(present);
        let missing = length - present;
        let mut notes = Vec::new();
        if missing > 0 {
            notes.push(format!("{missing} bytes of it were not recorded"));
        }
        if outline.fragment {
            notes.push("a fragment".to_owned());
        }
        Self {
            frame,
            at: received.at_ns.and_then(timestamp),
            at_ns: received.at_ns,
            since_last_ns: None,
            outgoing: received.outgoing,
            outer_vlan: outline.outer_vlan,
            vlan: outline.vlan,
            source: outline.source,
            destination: outline.destination,
            ttl: outline.ttl,
            length,
            missing,
            verdict: Verdict::Unchecked,
            reason: None,
            authentic: None,
            vhid: None,
            carp: None,
            vrrp: None,
            suspicious: Vec::new(),
            notes,
        }
    }

    pub(super) fn accept(&mut self) {
        self.authentic = Some(true);
        self.verdict = Verdict::Accepted;
    }

    pub(super) fn refuse(&mut self, reason: Reason) {
        self.verdict = Verdict::Refused;
        self.reason = Some(reason);
    }

    pub(super) fn leave_open(&mut self, missing: Missing) {
        match missing {
            Missing::Passphrase => {}
            Missing::Addresses => {
                self.notes.push(
                    "no addresses are known for this vhid, which the digest covers: name them with --address"
                        .into(),
                );
            }
        }
    }

    /// Whether an agent would drop it, were it for a virtual host of its own.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.verdict == Verdict::Refused
    }
}

impl Carp {
    pub(super) fn new(header: carp::Header<'_>, strict: Option<StrictStamp>) -> Self {
        Self {
            advbase: header.advbase(),
            advskew: header.advskew(),
            demote: header.demote(),
            bow_out: header.is_bow_out(),
            counter: header.counter(),
            digest: *header.digest(),
            strict,
        }
    }
}

impl StrictStamp {
    pub(super) fn new(stamp: Stamp, at_ns: Option<u64>) -> Self {
        let made = timestamp((EPOCH_S * 1000 + stamp.ms).saturating_mul(1_000_000)).unwrap_or(Timestamp::MAX);
        Self { made, ahead_ms: at_ns.map(|at_ns| strict::skew(stamp, at_ns)) }
    }
}

/// A line, by the clock of this machine's time zone.
impl fmt::Display for Sighting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            Some(at) => write!(f, "{} ", at.to_zoned_datetime(TimeZone::system()).strftime("%H:%M:%S%.6f"))?,
            None => write!(f, "--:--:--.------ ")?,
        }
        match self.since_last_ns {
            Some(since) => write!(f, "{:>+10.6}", Seconds(since))?,
            None => write!(f, "{:>10}", "")?,
        }
        f.write_str(if self.outgoing { " out " } else { " in  " })?;
        match (self.outer_vlan, self.vlan) {
            (0, 0) => {}
            (0, vlan) => write!(f, "vlan {vlan} ")?,
            (outer, vlan) => write!(f, "vlan {outer}.{vlan} ")?,
        }
        write!(f, "{} > {}: ", self.source, self.destination)?;
        self.fmt_content(f)?;
        match self.reason {
            // Said below.
            None => {}
            Some(reason) => write!(f, "; {}: {}", reason.label(), reason.sentence())?,
        }
        for note in &self.notes {
            write!(f, "; {note}")?;
        }
        Ok(())
    }
}

impl Sighting {
    fn fmt_content(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.vhid, &self.carp, &self.vrrp) {
            (Some(vhid), Some(carp), _) => {
                write!(f, "CARP vhid {vhid}, {carp}, digest ")?;
                f.write_str(match self.authentic {
                    Some(true) => "right",
                    Some(false) => "wrong",
                    None => "not checked",
                })
            }
            (Some(vhid), None, _) => write!(f, "CARP vhid {vhid}, cut"),
            (None, _, Some(vrrp)) => {
                write!(f, "VRRP version {}, router {}, priority {}", vrrp.version, vrrp.router, vrrp.priority)
            }
            (None, _, None) => write!(f, "protocol 112, {} bytes", self.length),
        }
    }
}

impl fmt::Display for Carp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.bow_out {
            f.write_str("bow-out")?;
        } else {
            write!(f, "advbase {}, advskew {}", self.advbase, self.advskew)?;
        }
        if self.demote > 0 {
            write!(f, ", demoted {}", self.demote)?;
        }
        let Some(strict) = &self.strict else { return write!(f, ", counter {:016x}", self.counter) };
        match strict.ahead_ms {
            Some(ahead) => write!(f, ", strict mode, clock {ahead:+} ms"),
            None => write!(f, ", strict mode, made at {}", strict.made),
        }
    }
}

/// Nanoseconds, shown as seconds.
struct Seconds(u64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        std::time::Duration::from_nanos(self.0).as_secs_f64().fmt(f)
    }
}

fn timestamp(unix_ns: u64) -> Option<Timestamp> {
    Timestamp::from_nanosecond(unix_ns.into()).ok()
}

#[expect(clippy::ref_option, clippy::trivially_copy_pass_by_ref, reason = "serde gives it so")]
fn label<S: Serializer>(reason: &Option<Reason>, serializer: S) -> Result<S::Ok, S::Error> {
    reason.map(Reason::label).serialize(serializer)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives it so")]
fn hexadecimal<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    format!("{number:016x}").serialize(serializer)
}
