//! One failover, and the times of its steps.

use std::fmt;

use lab::pauses::Pauses;
use serde::{Deserialize, Serialize};

use super::wire::Wire;

/// What happens to the active controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Fault {
    /// Its cable is pulled.
    Link,
    /// Its agent is killed.
    Kill,
    /// Its agent is told to leave.
    Leave,
}

/// One failover. Times are in ms after the last ordinary advertisement of the controller that was active.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Failover {
    /// Counts from 1.
    pub(crate) round: u32,
    pub(crate) fault: Fault,
    /// The controller that was active.
    pub(crate) from: String,
    /// The controller that took over.
    pub(crate) to: String,
    /// Why, by its own account: `silence`, `bow_out`.
    pub(crate) cause: String,
    /// The first advertisement of the new one, on the wire.
    pub(crate) last_to_first_advert_ms: f64,
    /// The longest time without an answer.
    pub(crate) client_gap_ms: f64,
    /// The last answer before that time.
    pub(crate) gap_from_ms: f64,
    /// The first answer after it.
    pub(crate) gap_to_ms: f64,
    /// The fault was done.
    pub(crate) fault_ms: f64,
    /// The old one said goodbye, on the wire.
    pub(crate) bow_out_ms: Option<f64>,
    /// The new one's patience was to end.
    pub(crate) deadline_ms: Option<f64>,
    /// The new one decided to take over.
    pub(crate) noticed_ms: f64,
    /// It had sent its first advertisement.
    pub(crate) advertised_ms: f64,
    /// It had the address.
    pub(crate) address_up_ms: f64,
    /// It had announced the address.
    pub(crate) announced_ms: f64,
    /// That announcement, on the wire.
    pub(crate) first_arp_ms: f64,
    /// The old one's last answer to the client, on the wire.
    pub(crate) last_answer_ms: f64,
    /// The new one's first answer to the client, on the wire.
    pub(crate) first_answer_ms: f64,
    /// When the machine stood still meanwhile.
    pub(crate) pauses: Vec<Pause>,
    /// Every advertisement and answer.
    #[serde(skip)]
    pub(crate) wire: Wire,
}

/// Something that happened.
#[derive(Debug)]
pub(crate) struct Step {
    /// When.
    pub(crate) at_ms: f64,
    /// Where: a controller, or the client.
    pub(crate) place: String,
    /// What.
    pub(crate) what: String,
}

/// A time in which a thread that should have run did not.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Pause {
    /// Its beginning.
    pub(crate) at_ms: f64,
    /// How long it was.
    pub(crate) late_ms: f64,
}

/// The last change of state, as the agent's status tells it. Moments are in ns of `CLOCK_MONOTONIC`.
#[derive(Debug, Deserialize)]
pub(crate) struct Change {
    pub(crate) to: String,
    pub(crate) cause: String,
    pub(crate) at_ns: u64,
    pub(crate) deadline_ns: Option<u64>,
    pub(crate) advertised_ns: Option<u64>,
    pub(crate) address_up_ns: Option<u64>,
    pub(crate) announced_ns: Option<u64>,
}

impl Fault {
    /// In the order in which they are shown.
    pub(crate) const ALL: [Self; 3] = [Self::Link, Self::Kill, Self::Leave];

    /// What happens to `node`, as a sentence without its full stop.
    pub(crate) fn sentence(self, node: &str) -> String {
        match self {
            Self::Link => format!("The cable of {node} is pulled"),
            Self::Kill => format!("The agent of {node} is killed"),
            Self::Leave => format!("The agent of {node} is told to leave"),
        }
    }

    /// What was done, as a step.
    fn step(self) -> &'static str {
        match self {
            Self::Link => "cable pulled",
            Self::Kill => "agent killed (SIGKILL)",
            Self::Leave => "agent told to leave (SIGTERM)",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Link => "link",
            Self::Kill => "kill",
            Self::Leave => "leave",
        })
    }
}

impl Failover {
    /// Puts together what the wire, the new master and the machine say. `from` and `to` are the controllers;
    /// `fault_ns` is when the fault was done.
    ///
    /// `None` if the new master does not say when it did what a master does.
    pub(crate) fn new(
        (round, fault): (u32, Fault),
        (from, to): (&str, &str),
        fault_ns: u64,
        wire: Wire,
        change: Change,
        pauses: &Pauses,
    ) -> Option<Self> {
        let ms = |at: u64| milliseconds(wire.last, at);
        let (gap_from, gap_to) = wire.gap;
        let pause = |pause: lab::pauses::Pause| Pause {
            at_ms: ms(pause.due_ns),
            late_ms: milliseconds(pause.due_ns, pause.end_ns()),
        };
        Some(Self {
            round,
            fault,
            from: from.to_owned(),
            to: to.to_owned(),
            cause: change.cause,
            last_to_first_advert_ms: ms(wire.first),
            client_gap_ms: milliseconds(gap_from, gap_to),
            gap_from_ms: ms(gap_from),
            gap_to_ms: ms(gap_to),
            fault_ms: ms(fault_ns),
            bow_out_ms: wire.bow_out.map(ms),
            deadline_ms: change.deadline_ns.map(ms),
            noticed_ms: ms(change.at_ns),
            advertised_ms: ms(change.advertised_ns?),
            address_up_ms: ms(change.address_up_ns?),
            announced_ms: ms(change.announced_ns?),
            first_arp_ms: ms(wire.first_arp),
            last_answer_ms: ms(wire.last_answer),
            first_answer_ms: ms(wire.first_answer),
            pauses: pauses
                .between(wire.last.min(gap_from), wire.first_answer.max(gap_to))
                .into_iter()
                .map(pause)
                .collect(),
            wire,
        })
    }

    /// What happened, in order.
    pub(crate) fn steps(&self) -> Vec<Step> {
        let Self { from, to, .. } = self;
        let noticed = if self.deadline_ms.is_some() { "silence noticed" } else { "bow-out noticed" };
        let client = "client";
        let steps = [
            (Some(0.0), from.as_str(), "last advertisement".to_owned()),
            (Some(self.last_answer_ms), client, format!("last answer from {from}")),
            (Some(self.fault_ms), from, self.fault.step().to_owned()),
            (self.bow_out_ms, from, "bow-out".to_owned()),
            (self.deadline_ms, to, "patience ends".to_owned()),
            (Some(self.noticed_ms), to, noticed.to_owned()),
            (Some(self.last_to_first_advert_ms), to, "first advertisement".to_owned()),
            (Some(self.address_up_ms), to, "address up".to_owned()),
            (Some(self.announced_ms), to, "address announced".to_owned()),
            (Some(self.first_arp_ms), client, "gratuitous ARP received".to_owned()),
            (Some(self.first_answer_ms), client, format!("first answer from {to}")),
        ];
        let step = |(at, place, what): (Option<f64>, &str, String)| {
            Some(Step { at_ms: at?, place: place.to_owned(), what })
        };
        let mut steps: Vec<Step> = steps.into_iter().filter_map(step).collect();
        steps.sort_by(|one, other| one.at_ms.total_cmp(&other.at_ms));
        steps
    }

    /// A moment of the wire, in ms after the last advertisement.
    pub(crate) fn milliseconds(&self, at_ns: u64) -> f64 {
        milliseconds(self.wire.last, at_ns)
    }
}

/// From one moment to another, in ms, to the µs.
fn milliseconds(from_ns: u64, to_ns: u64) -> f64 {
    let us = |earlier: u64, later: u64| {
        (std::time::Duration::from_nanos(later - earlier).as_secs_f64() * 1e6).round()
    };
    if to_ns >= from_ns { us(from_ns, to_ns) / 1e3 } else { -us(to_ns, from_ns) / 1e3 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_signed_and_in_whole_microseconds() {
        let table = [
            (5_000_000, 5_000_000, 0.0),
            (0, 30_390_499, 30.390),
            (0, 30_390_500, 30.391),
            (30_390_500, 0, -30.391),
        ];
        for (from, to, expected) in table {
            assert!((milliseconds(from, to) - expected).abs() < 1e-9, "{from} to {to}");
        }
    }
}
