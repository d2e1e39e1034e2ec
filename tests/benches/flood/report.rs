//! What was measured, as a table that grows line by line, and as JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use lab::Peer;
use lab::bench::Machine;
use serde::Serialize;

use super::peers::pace;
use super::row::{Row, Scale, TOLERATED, processor};

/// All rows of a run, and what describes it.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    rows: Vec<Row>,
    run: Run,
    pauses: Pauses,
    remarks: [&'static str; 8],
}

#[derive(Debug, Serialize)]
struct Run {
    #[serde(flatten)]
    machine: Machine,
    /// The one that floods come from.
    flooding_processor: usize,
    rounds: u32,
    seconds: f64,
    /// From one advertisement to the next, in ms, by peer.
    interval_ms: BTreeMap<String, f64>,
    /// From the last advertisement to the takeover, as it should be, in ms, by peer.
    dead_time_ms: BTreeMap<String, f64>,
    versions: BTreeMap<String, String>,
}

/// Of the machine, during the whole run.
#[derive(Debug, Serialize)]
struct Pauses {
    /// What is called one, in ms.
    longer_than_ms: f64,
    count: usize,
    longest_ms: f64,
}

impl Report {
    /// Describes the run, and prints the head of the table.
    pub(crate) fn begin(scale: Scale, peers: &[Peer]) -> Result<Self> {
        let by_peer = |time: fn(Peer) -> Duration| {
            peers.iter().map(|&peer| (peer.to_string(), time(peer).as_secs_f64() * 1e3)).collect()
        };
        let run = Run {
            machine: Machine::here()?,
            flooding_processor: processor()?,
            rounds: scale.rounds,
            seconds: scale.time.as_secs_f64(),
            interval_ms: by_peer(|peer| pace(peer).interval),
            dead_time_ms: by_peer(|peer| peer.dead_time(pace(peer))),
            versions: peers.iter().map(|&peer| (peer.to_string(), peer.version())).collect(),
        };
        let Run { machine, rounds, seconds, .. } = &run;
        println!("{machine}; {seconds} s without a cut, then {rounds} cuts");
        println!(
            "overshoot: from the end of the standby's patience to its first advertisement, at a witness"
        );
        println!("journal: to its change of state, as it says itself; both in ms, median and worst");
        println!(
            "{:<11}{:<13}{:>9}{:>18}{:>16}{:>10}{:>8}{:>11}{:>8}",
            "peer", "flood", "detected", "overshoot", "journal", "false", "cpu", "frames/s", "pauses"
        );
        let pauses = Pauses { longer_than_ms: TOLERATED.as_secs_f64() * 1e3, count: 0, longest_ms: 0.0 };
        Ok(Self { rows: Vec::new(), run, pauses, remarks: REMARKS })
    }

    /// Adds a row, and prints it.
    pub(crate) fn add(&mut self, row: Row) {
        let Row { peer, flood, detected, rounds, false_failovers, active_late, frames_per_s, .. } = &row;
        let of_these = if *active_late == 0 { String::new() } else { format!(" ({active_late})") };
        println!(
            "{peer:<11}{flood:<13}{:>9}{:>18}{:>16}{:>10}{:>7.2}%{frames_per_s:>11.0}{:>8}",
            format!("{detected}/{rounds}"),
            row.overshoot_ms.to_string(),
            row.journal_overshoot_ms.to_string(),
            format!("{false_failovers}{of_these}"),
            row.cpu_fraction * 100.0,
            row.pauses.count,
        );
        self.pauses.count += row.pauses.count;
        self.pauses.longest_ms = self.pauses.longest_ms.max(row.pauses.longest_ms);
        self.rows.push(row);
    }

    /// Prints what must be known to read the table.
    pub(crate) fn end(&self) {
        for remark in self.remarks {
            println!("- {remark}");
        }
        let Pauses { longer_than_ms, count, longest_ms } = self.pauses;
        let lost: u64 = self.rows.iter().map(|row| row.lost).sum();
        println!("- {lost} frames were lost on the way");
        println!(
            "- a processor was late {count} times by more than {longer_than_ms} ms, at most {longest_ms:.1} ms"
        );
    }
}

const REMARKS: [&str; 8] = [
    "false: takeovers while the active one was connected; in brackets, how often the witness, which is not flooded, \
     had missed it for as long: then it was the active one that was late",
    "the active one is cut off at the bridge, without its noticing, and joined again when the standby has advertised",
    "a flood enters at the bridge's end of the standby's cable, so the standby alone is flooded; where the kernel \
     (6.16 and later) can say that the cable is full, its sender waits, and no frame is lost on the way",
    "cpu: user and system time of the standby's processes over the time; what the kernel does for a frame when it \
     arrives (XDP, IP, the queues of sockets) is charged to whoever sends it here, the flooding processor",
    "ha-agent: interval 10 ms, detect 3; at normal priority",
    "keepalived: VRRP version 3, advert_int 0.01, else as it is by itself: no real-time priority; its log goes \
     nowhere; the VRRP frames have priorities that it has to discard, a better one would be believed",
    "pauses: a thread of usual priority on each processor woke up late; on the flooding one it has to share",
    "ucarp: advbase 1, its fastest; it hears frames up to a second late; it is cut off fewer times",
];
