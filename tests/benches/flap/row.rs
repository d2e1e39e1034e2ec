//! What the rounds of one peer under one fault came to.

use std::time::Duration;

use lab::bench::as_text;
use lab::flap::{Fault, Round, Stage};
use lab::pauses::Pauses;
use lab::peer::{Pace, milliseconds};
use lab::{Peer, Spread};
use serde::Serialize;

/// One round.
pub(crate) struct Case {
    pub(crate) peer: Peer,
    /// The client's.
    family: &'static str,
    pub(crate) fault: Fault,
    dead: Duration,
    forgets: bool,
    round: Round,
    /// How long a thread like the client's had to wait for a processor, at most, while it had no answer.
    wait: Option<Duration>,
}

/// Many rounds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    #[serde(serialize_with = "as_text")]
    pub(crate) peer: Peer,
    pub(crate) fault: &'static str,
    pub(crate) interval_ms: f64,
    pub(crate) dead_ms: f64,
    pub(crate) rounds: usize,
    /// From the end of the standby's patience to its first advertisement, where the active one fell silent.
    pub(crate) overshoot_ms: Spread,
    /// The longest time without an answer, one a round.
    pub(crate) client_gap_ms: Spread,
    /// Rounds in which that was longer than a dead time and [`ALLOWED`].
    pub(crate) beyond: usize,
    /// Those of them in which a thread of usual priority had to wait for a processor meanwhile.
    pub(crate) beyond_in_pauses: usize,
    /// Rounds in which a standby advertised though the active one was there.
    pub(crate) false_failovers: usize,
    /// All rounds together.
    pub(crate) seconds: f64,
}

impl Case {
    pub(crate) fn new(stage: &Stage, fault: Fault, forgets: bool, round: Round, waits: &Pauses) -> Self {
        let found = waits.between(round.gap.from_ns, round.gap.to_ns);
        let wait = found.iter().map(|pause| pause.late).max();
        let family = if stage.style.address.is_ipv4() { "IPv4" } else { "IPv6" };
        Self { peer: stage.style.peer, family, fault, dead: stage.dead_time(), forgets, round, wait }
    }

    /// Prints it, if the client was left alone for too long.
    pub(crate) fn print(&self) {
        let Self { peer, family, fault, forgets, round, wait, .. } = self;
        if self.is_beyond() {
            let after = Duration::from_nanos(round.gap.from_ns.saturating_sub(round.from_ns));
            println!(
                "{peer}, {family}, {fault} for {:.1?}{}: no answer for {:.1?}, {after:.1?} after it began{}",
                round.held,
                if *forgets { ", the client forgets" } else { "" },
                round.gap.length(),
                wait.map(|wait| format!("; it may have waited for a processor for {wait:.1?}"))
                    .unwrap_or_default(),
            );
        }
    }

    fn is_beyond(&self) -> bool {
        self.round.gap.length() > self.dead + ALLOWED
    }
}

impl Row {
    /// Of rounds of one peer; `None` if there are none.
    pub(crate) fn of(fault: &'static str, cases: &[&Case]) -> Option<Self> {
        let Case { peer, dead, .. } = cases.first()?;
        let overshoot = |case: &&Case| Some(case.round.takeover?.overshoot_ms(*dead));
        let lasted = |case: &&Case| Duration::from_nanos(case.round.to_ns - case.round.from_ns);
        let gap = |case: &&Case| milliseconds(case.round.gap.to_ns, case.round.gap.from_ns);
        let beyond: Vec<_> = cases.iter().filter(|case| case.is_beyond()).collect();
        Some(Self {
            peer: *peer,
            fault,
            interval_ms: Pace::COMMON.interval.as_secs_f64() * 1e3,
            dead_ms: dead.as_secs_f64() * 1e3,
            rounds: cases.len(),
            overshoot_ms: Spread::of(cases.iter().filter_map(overshoot)),
            client_gap_ms: Spread::of(cases.iter().map(gap)),
            beyond: beyond.len(),
            beyond_in_pauses: beyond.iter().filter(|case| case.wait.is_some()).count(),
            false_failovers: cases.iter().filter(|case| case.round.false_failover).count(),
            seconds: cases.iter().map(lasted).sum::<Duration>().as_secs_f64(),
        })
    }
}

/// What a takeover may take beyond the dead time.
pub(crate) const ALLOWED: Duration = Duration::from_millis(5);
/// How late a thread may wake up without its being written down.
pub(crate) const TOLERATED: Duration = Duration::from_millis(2);
