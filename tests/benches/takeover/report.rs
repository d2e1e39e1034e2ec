//! What was measured, as a table and as JSON.

use std::collections::BTreeMap;

use lab::bench::{FalseFailover, Machine, Paused, as_text, with_part};
use lab::pauses::Pauses;
use lab::peer::{Contest, milliseconds};
use lab::{Peer, Spread};
use serde::Serialize;

use super::run::{Course, Journal, Load, Taken};

/// All rows of a run, and what describes it.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) rows: Vec<Row>,
    pub(crate) run: Run,
    pub(crate) pauses: Paused,
    pub(crate) remarks: [&'static str; 7],
}

#[derive(Debug, Serialize)]
pub(crate) struct Run {
    #[serde(flatten)]
    pub(crate) machine: Machine,
    rounds: u32,
    versions: BTreeMap<String, String>,
}

/// A pair under a load.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    #[serde(serialize_with = "as_text")]
    peer: Peer,
    #[serde(serialize_with = "as_text")]
    load: Load,
    interval_ms: f64,
    dead_ms: f64,
    rounds: u32,
    detected: usize,
    undetected: u32,
    /// How often nothing could be tried, because the standby did not leave the active one the role.
    unsettled: u32,
    /// From the last advertisement and the dead time to the standby's first advertisement.
    overshoot_ms: Spread,
    /// From silence to the standby's first gratuitous ARP.
    announced_ms: Spread,
    /// The same of those rounds in which no processor paused meanwhile.
    undisturbed_announced_ms: Spread,
    /// From silence to the standby's first answer to the client.
    answered_ms: Spread,
    /// The longest time in which the client had no answer.
    client_gap_ms: Spread,
    /// From silence to each step, by our own account.
    journal_ms: Option<Phases>,
    /// Takeovers that no cut has caused.
    false_failovers: usize,
    /// Of these, in a pause of the whole machine.
    false_in_pauses: usize,
    /// Each of them.
    found: Vec<FalseFailover>,
    seconds: f64,
    /// Rounds in which a processor paused meanwhile.
    disturbed: usize,
}

/// The steps of a takeover.
#[derive(Debug, Serialize)]
struct Phases {
    /// It was decided.
    noticed: Spread,
    /// The first advertisement had left.
    advertised: Spread,
    /// The addresses were there.
    address_up: Spread,
    /// They had been announced.
    announced: Spread,
}

impl Run {
    pub(crate) fn new(machine: Machine, peers: &[Peer], rounds: u32) -> Self {
        let versions = peers.iter().map(|&peer| (peer.to_string(), peer.version())).collect();
        Self { machine, rounds, versions }
    }
}

impl Row {
    pub(crate) fn new(
        contest: &Contest,
        (load, rounds): (Load, u32),
        course: &Course,
        pauses: &Pauses,
    ) -> Self {
        let announced = |taken: &Taken| milliseconds(taken.announced_ns, taken.silence_ns);
        let (calm, disturbed): (Vec<&Taken>, Vec<&Taken>) = course
            .found
            .iter()
            .partition(|taken| pauses.between(taken.round.takeover.last_ns, taken.announced_ns).is_empty());
        let found = &course.found;
        let answered = found.iter().filter_map(|it| Some(milliseconds(it.answered_ns?, it.silence_ns)));
        let overshoot = found.iter().map(|it| it.round.takeover.overshoot_ms(contest.dead_time()));
        Self {
            peer: contest.peer,
            load,
            interval_ms: contest.pace.interval.as_secs_f64() * 1e3,
            dead_ms: contest.dead_time().as_secs_f64() * 1e3,
            rounds,
            detected: found.len(),
            undetected: course.undetected,
            unsettled: course.unsettled,
            overshoot_ms: Spread::of(overshoot),
            announced_ms: Spread::of(found.iter().map(announced)),
            undisturbed_announced_ms: Spread::of(calm.into_iter().map(announced)),
            answered_ms: Spread::of(answered),
            client_gap_ms: Spread::of(found.iter().filter_map(|taken| taken.round.client_gap_ms)),
            journal_ms: Phases::of(found.iter().filter_map(|taken| taken.journal)),
            false_failovers: course.unfounded.len(),
            false_in_pauses: course.unfounded.iter().filter(|failover| failover.in_pause).count(),
            found: course.unfounded.clone(),
            seconds: course.time.as_secs_f64(),
            disturbed: disturbed.len(),
        }
    }
}

impl Phases {
    /// `None` without a journal.
    fn of(journals: impl Iterator<Item = Journal>) -> Option<Self> {
        let journals: Vec<_> = journals.collect();
        let phase = |moment: fn(&Journal) -> u64| {
            Spread::of(journals.iter().map(|journal| milliseconds(moment(journal), journal.deadline)))
        };
        (!journals.is_empty()).then(|| Self {
            noticed: phase(|journal| journal.noticed),
            advertised: phase(|journal| journal.advertised),
            address_up: phase(|journal| journal.address_up),
            announced: phase(|journal| journal.announced),
        })
    }
}

impl Report {
    /// Prints all of it.
    pub(crate) fn print(&self) {
        let head =
            ["peer", "load", "taken over", "overshoot", "first ARP", "first answer", "client", "false"];
        println!("{}", line(head));
        for row in &self.rows {
            let cells = [
                row.peer.to_string(),
                row.load.to_string(),
                format!("{}/{}", row.detected, row.rounds),
                three(row.overshoot_ms),
                three(row.announced_ms),
                three(row.answered_ms),
                three(row.client_gap_ms),
                with_part(row.false_failovers, row.false_in_pauses),
            ];
            println!("{}", line(cells.each_ref().map(String::as_str)));
        }
        for row in &self.rows {
            if let Some(Phases { noticed, advertised, address_up, announced }) = row.journal_ms {
                println!(
                    "- {}, {}, by its journal: noticed {}, advertised {}, address up {}, announced {}",
                    row.peer,
                    row.load,
                    three(noticed),
                    three(advertised),
                    three(address_up),
                    three(announced)
                );
            }
        }
        for remark in self.remarks {
            println!("- {remark}");
        }
        let disturbed: usize = self.rows.iter().map(|row| row.disturbed).sum();
        println!("- {}; {disturbed} takeovers fell together with one", self.pauses);
    }
}

fn three(spread: Spread) -> String {
    match (spread.p50, spread.p99, spread.max) {
        (Some(p50), Some(p99), Some(max)) => format!("{p50:.2} / {p99:.2} / {max:.2}"),
        _ => "-".to_owned(),
    }
}

fn line(cells: [&str; 8]) -> String {
    let [peer, load, taken, overshoot, announced, answered, client, unfounded] = cells;
    format!(
        "{peer:<15}{load:<6}{taken:>10}{overshoot:>22}{announced:>22}{answered:>22}{client:>24}{unfounded:>7}"
    )
}

pub(crate) const REMARKS: [&str; 7] = [
    "in ms: median / 99th percentile / worst; nothing is left out; wire and answers as a witness receives them, \
     with the kernel's stamps",
    "all pairs run all the time, each in a network of its own; the cable of each active one is pulled in turn, so \
     that whatever the machine does meets all of them",
    "silence: ha-agent's is the moment at which the kernel's timer is to fire: the stamp of the last \
     advertisement in the standby's driver, and the dead time (deadline_ns of its journal); of keepalived, which \
     says no such thing, the last advertisement at the witness, and the dead time",
    "first ARP: from silence to the standby's first gratuitous ARP for the address; first answer: to its first \
     answer to a client that asks 1000 times a second; the client and what answers it have usual priority under \
     load, too",
    "false: takeovers that no cut has caused; in brackets those with a pause of the whole machine of an interval or \
     longer in the dead time before",
    "cpu: two processes of usual priority on every processor only compute",
    "ha-agent and keepalived as they are by themselves (ha-agent has real-time priority); keepalived-rt with \
     vrrp_rt_priority 50 and vrrp_no_swap",
];
