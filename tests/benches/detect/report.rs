//! What was measured, as a table and as JSON.

use std::collections::BTreeMap;

use lab::bench::{FalseFailover, Machine, Paused, as_text, with_part};
use lab::pauses::Pauses;
use lab::peer::{Contest, Fault, Round, milliseconds};
use lab::{Peer, Spread};
use serde::Serialize;

use super::run::Course;

/// All rows of a run, and what describes it.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) rows: Vec<Row>,
    /// Of each of ours, where some are looked at.
    pub(crate) usage: Vec<Usage>,
    pub(crate) soak: Option<Soak>,
    pub(crate) run: Run,
    /// During the rounds.
    pub(crate) pauses: Paused,
    pub(crate) remarks: [&'static str; 10],
}

#[derive(Debug, Serialize)]
pub(crate) struct Run {
    #[serde(flatten)]
    pub(crate) machine: Machine,
    rounds: u32,
    versions: BTreeMap<String, String>,
}

/// A pair and a fault.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    #[serde(serialize_with = "as_text")]
    peer: Peer,
    /// How many look at the standby's page.
    viewers: usize,
    #[serde(serialize_with = "as_text")]
    fault: Fault,
    interval_ms: f64,
    /// How long the standby has to wait after the last advertisement: after a farewell not at all.
    dead_ms: f64,
    rounds: u32,
    detected: usize,
    undetected: u32,
    /// How often nothing could be tried, because the standby did not leave the active one the role.
    unsettled: u32,
    /// From the end of that to the standby's first advertisement.
    overshoot_ms: Spread,
    /// The same of those rounds in which no processor paused meanwhile.
    undisturbed_overshoot_ms: Spread,
    /// The whole time, from the last advertisement.
    takeover_ms: Spread,
    /// The longest time in which a client had no answer; `None` without a virtual address.
    client_gap_ms: Option<Spread>,
    /// Takeovers that no fault has caused.
    false_failovers: usize,
    /// Of these, in a pause of the whole machine.
    false_in_pauses: usize,
    /// Each of them.
    found: Vec<FalseFailover>,
    /// For how long there could have been some.
    seconds: f64,
    /// Rounds in which a processor paused meanwhile.
    disturbed: usize,
}

/// What a standby of ours takes of a processor.
#[derive(Debug, Serialize)]
pub(crate) struct Usage {
    interval_ms: f64,
    viewers: usize,
    /// By each of the viewers.
    snapshots: u64,
    /// Of its process; 1 is a whole processor.
    cpu_fraction: f64,
}

/// Ours at its fastest, when nothing happens.
#[derive(Debug, Serialize)]
pub(crate) struct Soak {
    #[serde(serialize_with = "as_text")]
    pub(crate) peer: Peer,
    pub(crate) interval_ms: f64,
    pub(crate) dead_ms: f64,
    pub(crate) seconds: f64,
    pub(crate) false_failovers: usize,
    /// Of these, in a pause of the whole machine.
    pub(crate) false_in_pauses: usize,
    /// Each of them.
    pub(crate) found: Vec<FalseFailover>,
    /// Processor time of the standby over the time.
    pub(crate) cpu_fraction: f64,
    pub(crate) pauses: Paused,
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
        (fault, rounds, viewers): (Fault, u32, usize),
        course: &Course,
        pauses: &Pauses,
    ) -> Self {
        let dead_ms = match fault {
            Fault::Link | Fault::Kill => contest.dead_time().as_secs_f64() * 1e3,
            Fault::Planned => 0.0,
        };
        let took = |round: &Round| milliseconds(round.takeover.first_ns, round.takeover.last_ns);
        let (calm, disturbed): (Vec<&Round>, Vec<&Round>) = course
            .found
            .iter()
            .partition(|it| pauses.between(it.takeover.last_ns, it.takeover.first_ns).is_empty());
        let gaps = Spread::of(course.found.iter().filter_map(|round| round.client_gap_ms));
        Self {
            peer: contest.peer,
            viewers,
            fault,
            interval_ms: contest.pace.interval.as_secs_f64() * 1e3,
            dead_ms,
            rounds,
            detected: course.found.len(),
            undetected: course.undetected,
            unsettled: course.unsettled,
            overshoot_ms: Spread::of(course.found.iter().map(|round| took(round) - dead_ms)),
            undisturbed_overshoot_ms: Spread::of(calm.into_iter().map(|round| took(round) - dead_ms)),
            takeover_ms: Spread::of(course.found.iter().map(took)),
            client_gap_ms: contest.peer.has_address().then_some(gaps),
            false_failovers: course.unfounded.len(),
            false_in_pauses: course.unfounded.iter().filter(|failover| failover.in_pause).count(),
            found: course.unfounded.clone(),
            seconds: course.time.as_secs_f64(),
            disturbed: disturbed.len(),
        }
    }
}

impl Report {
    /// Prints all of it.
    pub(crate) fn print(&self) {
        println!(
            "{}",
            line([
                "peer",
                "fault",
                "interval",
                "dead",
                "detected",
                "overshoot",
                "min",
                "client",
                "false",
                "in"
            ])
        );
        for row in &self.rows {
            let gap = row.client_gap_ms.map_or_else(|| "-".to_owned(), |gap| gap.to_string());
            let viewers = if row.viewers > 0 { format!(" +{}", row.viewers) } else { String::new() };
            let cells = [
                format!("{}{viewers}", row.peer),
                row.fault.to_string(),
                format!("{} ms", row.interval_ms),
                format!("{:.2}", row.dead_ms),
                format!("{}/{}", row.detected, row.rounds),
                row.overshoot_ms.to_string(),
                row.overshoot_ms.min.map_or_else(|| "-".to_owned(), |min| format!("{min:.2}")),
                gap,
                with_part(row.false_failovers, row.false_in_pauses),
                format!("{:.0} s", row.seconds),
            ];
            println!("{}", line(cells.each_ref().map(String::as_str)));
        }
        for remark in self.remarks {
            println!("- {remark}");
        }
        let disturbed: usize = self.rows.iter().map(|row| row.disturbed).sum();
        println!("- in the rounds, {}; {disturbed} takeovers fell together with one", self.pauses);
        for Usage { interval_ms, viewers, snapshots, cpu_fraction } in &self.usage {
            println!(
                "- ha-agent at {interval_ms} ms with {viewers} viewers, who saw {snapshots} snapshots each: its standby took \
                 {:.2} % of a processor",
                cpu_fraction * 100.0
            );
        }
        if let Some(soak) = &self.soak {
            soak.print();
        }
    }
}

impl Usage {
    pub(crate) fn new(contest: &Contest, (viewers, snapshots): (usize, u64), cpu_fraction: f64) -> Self {
        let interval_ms = contest.pace.interval.as_secs_f64() * 1e3;
        Self { interval_ms, viewers, snapshots, cpu_fraction }
    }
}

impl Soak {
    fn print(&self) {
        let Self { peer, interval_ms, seconds, false_failovers, false_in_pauses, cpu_fraction, .. } = self;
        println!(
            "{peer} at {interval_ms} ms, nothing happening for {seconds:.0} s: {false_failovers} false failovers, \
             {false_in_pauses} of them in a pause of the whole machine; {:.2} % of a processor",
            cpu_fraction * 100.0
        );
        for found in &self.found {
            let FalseFailover { at_s, silence_ms, machine_pause_ms, processor_pause_ms, in_pause, .. } =
                found;
            let mark = if *in_pause { "in a pause" } else { "in no pause" };
            println!(
                "- at {at_s:.3} s, {mark}: after {silence_ms:.2} ms of silence, in which the machine paused for \
                 {machine_pause_ms:.2} ms and a processor for {processor_pause_ms:.2} ms"
            );
        }
        println!("- meanwhile, {}", self.pauses);
    }
}

fn line(cells: [&str; 10]) -> String {
    let [peer, fault, interval, dead, detected, overshoot, min, client, unfounded, time] = cells;
    format!(
        "{peer:<15}{fault:<9}{interval:>8}{dead:>8}{detected:>10}{overshoot:>16}{min:>8}{client:>18}{unfounded:>7}\
         {time:>8}"
    )
}

pub(crate) const REMARKS: [&str; 10] = [
    "all pairs run all the time, each in a network of its own; each in turn suffers one fault, so that whatever the \
     machine does meets all of them; the machine is shared, so that single figures are worth little",
    "overshoot: from the end of the standby's patience (dead) to its first frame, at a witness with the kernel's \
     stamps, in ms, median / worst, and the least; nothing is left out",
    "link: the active one's cable is pulled; kill: all of its processes are killed; planned: it is told to leave, \
     counted from its farewell, if it says one, so dead is 0",
    "client: the longest time without an answer of a client that asks 1000 times a second, in ms; one that was \
     killed answers until another announces the address",
    "false: takeovers that no fault has caused, in the time between the faults; in brackets those with a pause of the \
     whole machine of an interval or longer in the dead time before",
    "+N: the same, while N viewers read all that the standby's page tells; the others of ours have such a page then as well",
    "ha-agent: detect 3, as it is by itself; keepalived: VRRP version 3, as it is by itself",
    "keepalived-rt: the same with vrrp_rt_priority 50 and vrrp_no_swap",
    "bfdd: detect-multiplier 3; it sends each packet up to a quarter early (RFC 5880); its takeover is the first \
     packet that says Down because its time ran out; it has no address and no farewell",
    "vrrpd: version 3, on a macvlan, with a zebra; it counts in whole hundredths of a second, so that the standby's \
     priority adds nothing",
];
