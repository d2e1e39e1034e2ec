//! What was measured, as a table and as JSON.

use anyhow::{Context, Result};
use lab::bench::Machine;
use serde::Serialize;

use super::cost::Cost;
use super::trip::{ANSWERS, LOADS, Row, Trips};

/// All of it, and what describes it.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    machine: Machine,
    costs: Vec<Cost>,
    trips: Trips,
    ratios: Vec<Ratio>,
}

/// How much longer who answers takes beside the load.
#[derive(Debug, Serialize)]
struct Ratio {
    answers: &'static str,
    /// Of the 99th of 100, busy to idle.
    p99: f64,
}

impl Report {
    pub(crate) fn new(costs: Vec<Cost>, trips: Trips) -> Result<Self> {
        let [(idle, _), (busy, _)] = LOADS;
        let p99 = |answers: &str, load: &str| {
            let row = trips.rows.iter().find(|row| row.answers == answers && row.load == load);
            row.and_then(|row| row.us.p99).with_context(|| format!("{answers} was never answered, {load}"))
        };
        let ratio = |answers| Ok(Ratio { answers, p99: p99(answers, busy)? / p99(answers, idle)? });
        let ratios = ANSWERS.into_iter().map(ratio).collect::<Result<_>>()?;
        Ok(Self { machine: Machine::here()?, costs, trips, ratios })
    }

    pub(crate) fn print(&self) {
        println!("{}", self.machine);
        println!("{:<34}{:>8}{:>16}{:>8}", "frame", "ns", "range", "ratio");
        for Cost { frame, ns, ratio } in &self.costs {
            let figure = |it: Option<f64>| it.map_or_else(|| "-".to_owned(), |it| format!("{it:.0}"));
            let range = format!("{}..{}", figure(ns.min), figure(ns.max));
            println!("{frame:<34}{:>8}{range:>16}{ratio:>8.2}", figure(ns.p50));
        }
        println!(
            "{:<18}{:<8}{:>8}{:>8}{:>10}{:>10}{:>10}",
            "answers", "load", "asked", "lost", "p50", "p99", "max"
        );
        for Row { answers, load, asked, lost, us } in &self.trips.rows {
            let figure = |it: Option<f64>| it.map_or_else(|| "-".to_owned(), |it| format!("{it:.1}"));
            let [p50, p99, max] = [us.p50, us.p99, us.max].map(figure);
            println!("{answers:<18}{load:<8}{asked:>8}{lost:>8}{p50:>10}{p99:>10}{max:>10}");
        }
        for Ratio { answers, p99 } in &self.ratios {
            println!("- {answers}: p99 busy is {p99:.2} times that of idle");
        }
        let Trips { rounds, seconds, pauses, .. } = &self.trips;
        for remark in REMARKS {
            println!("- {remark}");
        }
        println!("- {rounds} rounds of {seconds} s each, idle and busy in turn; meanwhile, {pauses}");
    }
}

const REMARKS: [&str; 3] = [
    "cost: single runs of the program on a frame in the kernel (BPF_PROG_TEST_RUN), the median of 500 a round, over 21 rounds; \
     the floor is a program that sends every frame back",
    "round trips: in µs, from the moment at which the question left an interface to that at which the answer arrived there, both \
     by the kernel; each of the three is asked every millisecond",
    "busy: two processes for each processor that do nothing but compute; both nodes are on this machine, so it is theirs as well",
];
