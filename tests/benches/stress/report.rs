//! What was measured, as a table that grows with each load, and as JSON.

use std::collections::BTreeMap;

use anyhow::Result;
use lab::bench::{FalseFailover, Machine, Paused, as_text, with_part};
use lab::peer::{Awakening, Contest, Round, milliseconds, nanos};
use lab::{Peer, Spread};
use serde::Serialize;

use super::load::Kind;
use super::run::{Course, Cuts, Scale};

/// All rows of a run, and what describes it.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    rows: Vec<Row>,
    #[serde(flatten)]
    pub(crate) scale: Scale,
    run: Run,
    remarks: [&'static str; 9],
}

#[derive(Debug, Serialize)]
struct Run {
    #[serde(flatten)]
    machine: Machine,
    versions: BTreeMap<String, String>,
}

/// A pair under a load.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    #[serde(serialize_with = "as_text")]
    peer: Peer,
    #[serde(serialize_with = "as_text")]
    load: Kind,
    interval_ms: f64,
    dead_ms: f64,
    /// How often the active one should have been cut off, in the end.
    rounds: u32,
    detected: usize,
    undetected: u32,
    /// How often nothing could be tried, because the standby did not leave the active one the role.
    unsettled: u32,
    /// From the end of the standby's patience to its first advertisement.
    overshoot_ms: Spread,
    /// The same of cuts while the standby was stopped, from when it was continued.
    overshoot_continued_ms: Option<Spread>,
    /// The longest time in which a client had no answer; `None` without a virtual address.
    client_gap_ms: Option<Spread>,
    /// Takeovers while the active one was alive and connected, before the cuts.
    false_failovers: usize,
    /// Of these, in a pause of the whole machine.
    false_in_pauses: usize,
    /// Of all, how often the witness had missed the active one for as long as the standby's patience.
    active_late: usize,
    /// Each of them.
    found: Vec<FalseFailover>,
    /// Whether the pair had to be started anew before, because the standby did not leave the active one the role.
    pub(crate) restarted: bool,
    /// How long they were counted.
    seconds: f64,
    /// How far the time between two advertisements of the active one was from the interval.
    jitter_ms: Option<Spread>,
    /// The same without those times in which the whole machine stood still for more than 1 ms.
    jitter_running_ms: Option<Spread>,
    /// Processor time of the standby's processes over the time.
    cpu_fraction: f64,
    /// Of the load, to all standbys.
    frames_per_s: Option<f64>,
    /// Frames, of the load or the active one, that the standby's cable has lost.
    lost: u64,
    pauses: Paused,
}

impl Row {
    pub(crate) fn new(contest: &Contest, load: Kind, scale: Scale, course: Course, cuts: &Cuts) -> Self {
        let dead = contest.dead_time();
        let Course {
            unfounded,
            jitter_ms,
            jitter_running_ms,
            cpu_fraction,
            seconds,
            paused,
            frames_per_s,
            lost,
        } = course;
        let late = |round: &Round| round.takeover.overshoot_ms(dead);
        let late_awake = |it: &Awakening| {
            let deadline_ns = it.takeover.last_ns + nanos(dead);
            milliseconds(it.takeover.first_ns, deadline_ns.max(it.continued_ns))
        };
        let gaps = Spread::of(cuts.found.iter().filter_map(|round| round.client_gap_ms));
        Self {
            peer: contest.peer,
            load,
            interval_ms: contest.pace.interval.as_secs_f64() * 1e3,
            dead_ms: dead.as_secs_f64() * 1e3,
            rounds: scale.rounds * if load == Kind::Stop { 2 } else { 1 },
            detected: cuts.found.len() + cuts.awakenings.len(),
            undetected: cuts.undetected,
            unsettled: cuts.unsettled,
            overshoot_ms: Spread::of(cuts.found.iter().map(late)),
            overshoot_continued_ms: (load == Kind::Stop)
                .then(|| Spread::of(cuts.awakenings.iter().map(late_awake))),
            client_gap_ms: contest.peer.has_address().then_some(gaps),
            false_failovers: unfounded.len(),
            false_in_pauses: unfounded.iter().filter(|failover| failover.in_pause).count(),
            active_late: unfounded.iter().filter(|failover| failover.active_late).count(),
            found: unfounded,
            restarted: false,
            seconds,
            jitter_ms,
            jitter_running_ms,
            cpu_fraction,
            frames_per_s,
            lost,
            pauses: paused,
        }
    }
}

impl Report {
    /// Describes the run, and prints the head of the table.
    pub(crate) fn begin(peers: &[Peer], scale: Scale) -> Result<Self> {
        let versions = peers.iter().map(|&peer| (peer.to_string(), peer.version())).collect();
        let run = Run { machine: Machine::here()?, versions };
        println!(
            "{}; each load for {} s, then {} cuts of each pair",
            run.machine,
            scale.time.as_secs(),
            scale.rounds
        );
        let head = [
            "peer",
            "load",
            "false",
            "late",
            "jitter",
            "p99.9",
            "running",
            "cpu",
            "detected",
            "overshoot",
            "continued",
        ];
        println!("{}", line(head));
        Ok(Self { rows: Vec::new(), scale, run, remarks: REMARKS })
    }

    /// Adds a row, and prints it.
    pub(crate) fn add(&mut self, row: Row) {
        if self.rows.last().is_none_or(|last| last.load != row.load) {
            println!("{}: {}", row.load, row.pauses);
        }
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let tail = |jitter: Option<Spread>| or_dash(jitter.and_then(|it| Some(format!("{:.2}", it.p999?))));
        let cells = [
            row.peer.to_string(),
            row.load.to_string(),
            with_part(row.false_failovers, row.false_in_pauses),
            row.active_late.to_string(),
            or_dash(row.jitter_ms.map(|jitter| jitter.to_string())),
            tail(row.jitter_ms),
            tail(row.jitter_running_ms),
            format!("{:.2} %", row.cpu_fraction * 100.0),
            format!("{}/{}", row.detected, row.rounds),
            row.overshoot_ms.to_string(),
            or_dash(row.overshoot_continued_ms.map(|overshoot| overshoot.to_string())),
        ];
        println!("{}", line(cells.each_ref().map(String::as_str)));
        self.rows.push(row);
    }

    /// Prints what must be known to read the table.
    pub(crate) fn end(&self) {
        for remark in self.remarks {
            println!("- {remark}");
        }
        let flood = self.rows.iter().find_map(|row| row.frames_per_s);
        let lost: u64 = self.rows.iter().map(|row| row.lost).sum();
        if let Some(frames) = flood {
            println!("- softirq: {frames:.0} frames a second to all standbys together");
        }
        println!("- {lost} frames to standbys were lost on the way");
    }
}

fn line(cells: [&str; 11]) -> String {
    let [peer, load, unfounded, late, jitter, tail, running, cpu, detected, overshoot, continued] = cells;
    format!(
        "{peer:<15}{load:<9}{unfounded:>10}{late:>6}{jitter:>16}{tail:>8}{running:>9}{cpu:>9}{detected:>10}{overshoot:>16}\
         {continued:>16}"
    )
}

const REMARKS: [&str; 9] = [
    "all pairs live through each load at the same time, side by side, so that the same pauses hit all of them; they \
     are part of each other's load; the machine is shared, so that single figures are worth little",
    "false: takeovers of the standby while the active one was alive and connected, by a witness with the kernel's \
     stamps, before the cuts; in brackets those with a pause of the whole machine of an interval or longer in the \
     dead time before",
    "late: of these, how often the witness had missed the active one for as long as the standby waits: then it was \
     the active one that was late, or the machine",
    "jitter: how far the time between two advertisements of the active one was from the interval, in ms, median / \
     worst, and the 99.9th percentile; running: that without those times in which the whole machine stood still for \
     more than 1 ms; bfdd varies it on purpose (RFC 5880)",
    "overshoot: with the load still there, the active one's cable is pulled: from the end of the standby's patience \
     to its first frame, in ms, median / worst; continued: the same while the standby is stopped, from SIGCONT",
    "cpu: 2 processes a processor that compute; stop: all standbys are stopped for 0.3 s of every 2 s, their zebra \
     too; fork: 2 processes a processor that start processes; memory: what is free but for a fifth of all is filled \
     and given back, and a file is written and read; softirq: UDP frames to every standby, as fast as they can be sent",
    "cpu of a peer: user and system time of its standby's processes over the time",
    "ha-agent and keepalived as they are by themselves, keepalived-rt with vrrp_rt_priority 50 and vrrp_no_swap; FRR \
     has no such option; all at 3 x 10 ms",
    "bfdd: its takeover is the first packet that says Down because its time ran out; while it is stopped, its peer \
     rightly calls it down, and says so when it wakes up",
];
