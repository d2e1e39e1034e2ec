//! The failovers in words and figures.

use std::{collections::BTreeMap, fmt::Write as _, thread};

use serde::Serialize;

use super::{
    failover::{Failover, Fault},
    stage::{DETECT, INTERVAL_MS},
};

/// All failovers of a demo. Times are in ms.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// What a master was to keep to between two advertisements.
    interval_ms: u8,
    /// How many of them could be missed.
    detect: u8,
    /// How often the client asked.
    requests_per_second: u32,
    /// Processors of this machine.
    processors: usize,
    /// The failovers in their order: each fault in each round.
    pub(crate) rounds: Vec<Failover>,
    /// The figures of each fault.
    summary: BTreeMap<Fault, Summary>,
}

/// The figures of one fault.
#[derive(Clone, Copy, Debug, Serialize)]
struct Summary {
    last_to_first_advert_ms: Spread,
    client_gap_ms: Spread,
    noticed_ms: Spread,
    address_up_ms: Spread,
    /// Failovers during which the machine stood still.
    disturbed: usize,
}

/// Some values of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Spread {
    median: f64,
    min: f64,
    max: f64,
}

impl Report {
    pub(crate) fn new(rounds: Vec<Failover>) -> Self {
        let of = |fault| rounds.iter().filter(|failover| failover.fault == fault).collect::<Vec<_>>();
        let summary = |fault| Some((fault, Summary::of(&of(fault))?));
        Self {
            interval_ms: INTERVAL_MS,
            detect: DETECT,
            requests_per_second: 1000,
            processors: thread::available_parallelism().map_or(1, usize::from),
            summary: Fault::ALL.into_iter().filter_map(summary).collect(),
            rounds,
        }
    }

    /// The figures of all faults, and when the machine stood still.
    pub(crate) fn table(&self) -> String {
        let rounds = self.rounds.iter().map(|failover| failover.round).max().unwrap_or_default();
        let mut text =
            format!("Median (range) of {rounds} round{}, in ms:\n", if rounds == 1 { "" } else { "s" });
        let head = ["last to first advertisement", "no answer for", "noticed after", "address up after"];
        let [advert, gap, noticed, address] = head;
        let mut row = |first: &dyn std::fmt::Display, cells: [&dyn std::fmt::Display; 4]| {
            let [one, two, three, four] = cells;
            // Writing into a string does not fail.
            let _ = writeln!(text, "  {first:<7}{one:<29}{two:<25}{three:<25}{four}");
        };
        row(&"", [&advert, &gap, &noticed, &address]);
        for (fault, summary) in &self.summary {
            let Summary { last_to_first_advert_ms, client_gap_ms, noticed_ms, address_up_ms, .. } = summary;
            row(fault, [last_to_first_advert_ms, client_gap_ms, noticed_ms, address_up_ms]);
        }
        text + &self.noise()
    }

    fn noise(&self) -> String {
        let disturbed: usize = self.summary.values().map(|summary| summary.disturbed).sum();
        if disturbed == 0 {
            return "The machine did not stand still meanwhile.\n".to_owned();
        }
        format!(
            "Marked with *: {disturbed} of {} failovers, during which the machine let a thread that was due wait for \
             more\nthan 5 ms. They count all the same.\n",
            self.rounds.len()
        )
    }
}

/// What is on the stage.
pub(crate) fn introduction() -> String {
    format!(
        "\
Two controllers, a and b, and a client, each in a network namespace of its own, on one bridge. The active
controller advertises every {INTERVAL_MS} ms, of which the other one may miss {DETECT}; the client asks the virtual address
1000 times a second. Times count from the last advertisement of the active controller, on the kernel's clock.
A node whose agent is killed keeps the address, and answers, until the other one announces it. That may take
longer here than on two machines: the end of an agent locks all interfaces of a kernel for some milliseconds,
and here there is one kernel for all."
    )
}

/// What happened, step by step.
pub(crate) fn timeline(failover: &Failover) -> String {
    let Failover { fault, from, to, .. } = failover;
    let mut text = format!("{}, {to} takes over ({fault}):\n", fault.sentence(from));
    for step in failover.steps() {
        // Writing into a string does not fail.
        let _ = writeln!(text, "  {:>8.3} ms  {:<7}{}", step.at_ms, step.place, step.what);
    }
    text + &line(failover)
}

/// The figures of one failover.
pub(crate) fn line(failover: &Failover) -> String {
    let Failover { round, fault, from, to, last_to_first_advert_ms, client_gap_ms, pauses, .. } = failover;
    let mark = if pauses.is_empty() { " " } else { "*" };
    let mut text = format!(
        "{mark} round {round:>2}, {fault:<5}: {from} to {to}, {last_to_first_advert_ms:>7.3} ms from last to first \
         advertisement, {client_gap_ms:>7.3} ms without an answer"
    );
    for pause in pauses {
        // Writing into a string does not fail.
        let _ =
            write!(text, "; at {:.1} ms the machine stood still for {:.1} ms", pause.at_ms, pause.late_ms);
    }
    text
}

impl Summary {
    fn of(failovers: &[&Failover]) -> Option<Self> {
        let spread = |figure: fn(&Failover) -> f64| {
            Spread::of(failovers.iter().map(|failover| figure(failover)).collect())
        };
        Some(Self {
            last_to_first_advert_ms: spread(|failover| failover.last_to_first_advert_ms)?,
            client_gap_ms: spread(|failover| failover.client_gap_ms)?,
            noticed_ms: spread(|failover| failover.noticed_ms)?,
            address_up_ms: spread(|failover| failover.address_up_ms)?,
            disturbed: failovers.iter().filter(|failover| !failover.pauses.is_empty()).count(),
        })
    }
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let median =
            f64::midpoint(*values.get(values.len().checked_sub(1)? / 2)?, *values.get(values.len() / 2)?);
        Some(Self { median, min: *values.first()?, max: *values.last()? })
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&format!("{:.2} ({:.2} to {:.2})", self.median, self.min, self.max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_lies_in_the_middle() {
        let table: [(&[f64], Option<[f64; 3]>); 4] = [
            (&[], None),
            (&[3.0], Some([3.0, 3.0, 3.0])),
            (&[4.0, 1.0], Some([2.5, 1.0, 4.0])),
            (&[9.0, 1.0, 2.0], Some([2.0, 1.0, 9.0])),
        ];
        for (values, expected) in table {
            let expected = expected.map(|[median, min, max]| Spread { median, min, max });
            assert_eq!(Spread::of(values.to_vec()), expected, "{values:?}");
        }
    }
}
