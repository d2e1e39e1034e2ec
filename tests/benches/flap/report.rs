//! What was measured, as a table and as JSON.

use std::collections::BTreeMap;

use lab::Peer;
use lab::bench::{Machine, Paused, with_part};
use serde::Serialize;

use super::row::{ALLOWED, Row};

/// All rows of a run, and what describes it.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    rows: Vec<Row>,
    run: Run,
    pauses: Paused,
    remarks: [&'static str; 7],
}

#[derive(Debug, Serialize)]
pub(crate) struct Run {
    #[serde(flatten)]
    pub(crate) machine: Machine,
    /// Of each pair.
    rounds: u32,
    allowed_ms: f64,
    versions: BTreeMap<String, String>,
}

impl Run {
    pub(crate) fn new(machine: Machine, peers: &[Peer], rounds: u32) -> Self {
        let versions = peers.iter().map(|&peer| (peer.to_string(), peer.version())).collect();
        Self { machine, rounds, allowed_ms: ALLOWED.as_secs_f64() * 1e3, versions }
    }
}

impl Report {
    pub(crate) fn new(rows: Vec<Row>, run: Run, pauses: Paused) -> Self {
        Self { rows, run, pauses, remarks: REMARKS }
    }

    /// Prints all of it.
    pub(crate) fn print(&self) {
        println!(
            "{}",
            line(["peer", "fault", "rounds", "dead", "overshoot", "client", "p99", "beyond", "false", "in"])
        );
        for row in &self.rows {
            let cells = [
                row.peer.to_string(),
                row.fault.to_owned(),
                row.rounds.to_string(),
                format!("{:.1}", row.dead_ms),
                row.overshoot_ms.to_string(),
                row.client_gap_ms.to_string(),
                row.client_gap_ms.p99.map_or_else(|| "-".to_owned(), |p99| format!("{p99:.2}")),
                with_part(row.beyond, row.beyond_in_pauses),
                row.false_failovers.to_string(),
                format!("{:.0} s", row.seconds),
            ];
            println!("{}", line(cells.each_ref().map(String::as_str)));
        }
        for remark in self.remarks {
            println!("- {remark}");
        }
        println!("- {}", self.pauses);
    }
}

fn line(cells: [&str; 10]) -> String {
    let [peer, fault, rounds, dead, overshoot, client, p99, beyond, unfounded, time] = cells;
    format!(
        "{peer:<12}{fault:<14}{rounds:>7}{dead:>6}{overshoot:>15}{client:>18}{p99:>9}{beyond:>8}{unfounded:>7}{time:>7}"
    )
}

const REMARKS: [&str; 7] = [
    "client: the longest time from one answer to the next, in each round, of a client that asks 1000 times a second \
     from a node of its own, in ms, median / worst; in `deaf`, where nobody else serves, from the moment at which \
     the active one can be reached again",
    "in about every other round the client forgets in the middle of the fault where the address is, and asks \
     everybody: a node whose agent is dead or stopped answers as well; not where nobody can answer just then and \
     nobody takes over",
    "beyond: rounds in which that was longer than a dead time and 5 ms; in brackets those in which a thread of usual \
     priority, as the client's are, had to wait for a processor for more than 2 ms meanwhile",
    "overshoot: from the end of the standby's patience (dead) to its first frame, where the active one fell silent; \
     false: rounds in which a standby spoke though the active one was there",
    "all nodes share one kernel, which has one lock for all interfaces: what the lab itself does with cables just then \
     delays a takeover, the more in IPv6, where the kernel puts an address to use in a work queue",
    "ha-agent: interval 10 ms, detect 3; two pairs: of one the better node takes the role back (`preempt`), and its \
     client uses IPv4; of the other it does not, and the client uses IPv6",
    "keepalived: VRRP version 3, advert_int 0.01, as it is by itself: its better node takes the role back",
];
