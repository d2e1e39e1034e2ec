//! What was measured, as a table that grows line by line, and as JSON.

use std::time::Duration;

use anyhow::Result;
use lab::bench::{Machine, Paused};
use serde::Serialize;

/// All rows of a run, and what describes it.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    rows: Vec<Row>,
    run: Run,
    remarks: [&'static str; 5],
}

#[derive(Debug, Serialize)]
struct Run {
    #[serde(flatten)]
    machine: Machine,
    version: &'static str,
    seconds: f64,
}

/// So many virtual hosts.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) peer: &'static str,
    pub(crate) load: &'static str,
    pub(crate) hosts: u8,
    pub(crate) interval_ms: f64,
    /// Of both agents, at the witness.
    pub(crate) frames_per_s: f64,
    /// Processor time of the agent that used more of it, over the time.
    pub(crate) cpu_fraction: f64,
    /// What a bare loop needs for a frame like theirs.
    pub(crate) floor_ns_a_frame: u128,
    /// The same for as many as one agent sends, over the time.
    pub(crate) floor_cpu_fraction: f64,
    /// Of the agent that has more.
    pub(crate) rss_mib: f64,
    /// The most that it ever had.
    pub(crate) peak_rss_mib: f64,
    /// How often the fast thread of the agent was woken that was woken more often.
    pub(crate) wakes_per_s: f64,
    pub(crate) agents: Vec<AgentRow>,
    /// How often, in the sight of the witness, an advertisement came more than two intervals after the one before.
    pub(crate) missed_deadlines: usize,
    /// Of these, while some processor paused for an interval or longer.
    pub(crate) missed_in_processor_pauses: usize,
    /// Of these, while all of them did at once.
    pub(crate) missed_in_machine_pauses: usize,
    /// The longest time between two advertisements.
    pub(crate) longest_ms: f64,
    /// How often a virtual host changed its master.
    pub(crate) false_failovers: usize,
    /// Frames that the witness had no time for.
    pub(crate) unseen: u32,
    pub(crate) seconds: f64,
    pub(crate) pauses: Paused,
}

/// One of the two agents.
#[derive(Debug, Serialize)]
pub(crate) struct AgentRow {
    pub(crate) node: String,
    pub(crate) cpu_fraction: f64,
    pub(crate) wakes_per_s: f64,
    pub(crate) rss_mib: f64,
    pub(crate) peak_rss_mib: f64,
}

impl Report {
    /// Describes the run, and prints the head of the table.
    pub(crate) fn begin(time: Duration) -> Result<Self> {
        let seconds = time.as_secs_f64();
        let run = Run { machine: Machine::here()?, version: env!("CARGO_PKG_VERSION"), seconds };
        println!("{}; {seconds} s each", run.machine);
        println!(
            "{:>6}{:>11}{:>9}{:>9}{:>9}{:>10}{:>10}{:>18}{:>12}{:>8}{:>8}",
            "hosts",
            "frames/s",
            "cpu",
            "floor",
            "wakes/s",
            "RSS MiB",
            "peak",
            "missed (pauses)",
            "longest ms",
            "false",
            "unseen"
        );
        Ok(Self { rows: Vec::new(), run, remarks: REMARKS })
    }

    /// Adds a row, and prints it.
    pub(crate) fn add(&mut self, row: Row) {
        println!(
            "{:>6}{:>11.0}{:>8.1}%{:>8.1}%{:>9.0}{:>10.1}{:>10.1}{:>18}{:>12.2}{:>8}{:>8}",
            row.hosts,
            row.frames_per_s,
            row.cpu_fraction * 100.0,
            row.floor_cpu_fraction * 100.0,
            row.wakes_per_s,
            row.rss_mib,
            row.peak_rss_mib,
            format!(
                "{} ({}, {})",
                row.missed_deadlines, row.missed_in_processor_pauses, row.missed_in_machine_pauses
            ),
            row.longest_ms,
            row.false_failovers,
            row.unseen,
        );
        self.rows.push(row);
    }

    /// Prints what must be known to read the table.
    pub(crate) fn end(&self) {
        for remark in self.remarks {
            println!("- {remark}");
        }
        for row in &self.rows {
            println!("- {} virtual hosts: {}", row.hosts, row.pauses);
        }
    }
}

const REMARKS: [&str; 5] = [
    "two agents with the same virtual hosts, an IPv4 and an IPv6 address each, in both families every 10 ms; each is the \
     master of half of them, and hears as many frames as it sends; frames/s are those of both",
    "cpu: user and system time of the agent that used more; what the kernel does with a frame when it arrives (bridge, \
     XDP, the queues of sockets) is charged to whoever sends it here",
    "floor: what a bare loop needs for as many frames as one agent sends: one system call for each, nothing signed, \
     nothing received; the frames are of the same length, but nobody authenticates them",
    "missed: more than two intervals between two advertisements of a virtual host and family, at a witness; in brackets \
     how many fell together with a pause of a processor of an interval or longer, and with one of all processors",
    "RSS: of the agent that has more, at the end and at most; its code, which is shared, is part of it",
];
