//! The rounds, and the time of calm after them.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lab::Peer;
use lab::bench::{FalseFailover, Machine, Paused};
use lab::capture::now_ns;
use lab::http::{Audience, Page};
use lab::pauses::Pauses;
use lab::peer::{Contest, Fault, Outcome, PAGE, Pace, Round};

use super::report::{REMARKS, Report, Row, Run, Soak, Usage};

/// Has each pair suffer each fault so many times, in turn; and then lets ours at its fastest alone for a while. Each of ours
/// is there a second time, with so many viewers of its standby's page, if there are to be any.
///
/// # Errors
///
/// If something does not run, or the lab is interrupted.
pub(crate) fn detect(peers: &[Peer], rounds: u32, soak: Option<Duration>, viewers: usize) -> Result<Report> {
    let pauses = Pauses::of_machine(TOLERATED)?;
    let run = Run::new(Machine::here()?, peers, rounds);
    println!("{}; {rounds} rounds", run.machine);
    let began_ns = now_ns();
    let (rows, usage) = rounds_of(peers, rounds, viewers, &pauses)?;
    let found = Paused::between(&pauses, began_ns, now_ns());
    let soak = match soak {
        Some(time) if peers.contains(&Peer::HaAgent) => Some(calm(time, &pauses).context("soak")?),
        Some(_) | None => None,
    };
    Ok(Report { rows, usage, soak, run, pauses: found, remarks: REMARKS })
}

/// A pair, and what it has lived through.
struct Entry {
    /// They go before what they look at.
    audience: Option<Audience>,
    contest: Contest,
    /// The standby's processor time, and when, at the first rest since it was started.
    used: (Duration, Instant),
    /// From this frame on it is left alone until its next fault.
    mark: usize,
    since_ns: u64,
    /// By fault.
    courses: Vec<Course>,
}

/// The rounds of a pair with one fault.
#[derive(Default)]
pub(crate) struct Course {
    pub(crate) found: Vec<Round>,
    pub(crate) undetected: u32,
    pub(crate) unsettled: u32,
    /// Takeovers that no fault has caused.
    pub(crate) unfounded: Vec<FalseFailover>,
    /// For how long there could have been some.
    pub(crate) time: Duration,
}

fn rounds_of(peers: &[Peer], rounds: u32, viewers: usize, pauses: &Pauses) -> Result<(Vec<Row>, Vec<Usage>)> {
    let common = peers.iter().map(|&peer| (peer, Pace::COMMON, 0));
    let is_ours = |peer: &&Peer| **peer == Peer::HaAgent;
    let fastest = peers.iter().filter(is_ours).map(|&peer| (peer, FASTEST, 0));
    let both = [Pace::COMMON, FASTEST].map(|pace| (Peer::HaAgent, pace, viewers));
    let viewed = both.into_iter().filter(|_| viewers > 0 && peers.iter().any(|peer| is_ours(&peer)));
    let mut entries = Vec::new();
    for (peer, pace, viewers) in common.chain(fastest).chain(viewed) {
        let contest = Contest::start(&format!("detect{}", entries.len()), peer, pace);
        entries.push(Entry::new(contest.with_context(|| peer.to_string())?, viewers)?);
    }
    for entry in &mut entries {
        entry.rest()?;
    }
    for _ in 0..rounds {
        for (index, fault) in Fault::ALL.into_iter().enumerate() {
            for entry in entries.iter_mut().filter(|entry| suffers(entry.contest.peer, fault)) {
                entry
                    .round((index, fault), pauses)
                    .with_context(|| format!("{}, {fault}", entry.contest.peer))?;
            }
        }
    }
    let faults = Fault::ALL.into_iter().enumerate();
    let rows = faults.flat_map(|(index, fault)| {
        let entries = entries.iter().filter(move |entry| suffers(entry.contest.peer, fault));
        entries.map(move |entry| {
            Row::new(&entry.contest, (fault, rounds, entry.viewers()), &entry.courses[index], pauses)
        })
    });
    let rows = rows.collect();
    let ours = entries.iter().filter(|entry| viewers > 0 && entry.contest.peer == Peer::HaAgent);
    Ok((rows, ours.map(Entry::usage).collect::<Result<_>>()?))
}

impl Entry {
    fn new(contest: Contest, viewers: usize) -> Result<Self> {
        let courses = Fault::ALL.iter().map(|_| Course::default()).collect();
        let page = Page::new(&contest.pair.b.netns, PAGE.parse()?);
        let audience = (viewers > 0).then(|| Audience::gather(&page, viewers)).transpose()?;
        let used = (contest.standby.cpu_time()?, Instant::now());
        Ok(Self { audience, contest, used, mark: 0, since_ns: now_ns(), courses })
    }

    fn viewers(&self) -> usize {
        self.audience.as_ref().map_or(0, Audience::viewers)
    }

    /// What its standby took of a processor.
    fn usage(&self) -> Result<Usage> {
        let (used, since) = self.used;
        let used = self.contest.standby.cpu_time()?.saturating_sub(used);
        let seen = self.audience.as_ref().map_or(0, Audience::seen_by_each);
        Ok(Usage::new(
            &self.contest,
            (self.viewers(), seen),
            used.as_secs_f64() / since.elapsed().as_secs_f64(),
        ))
    }

    /// Waits until the pair is in order: from then on it is left alone.
    fn rest(&mut self) -> Result<()> {
        let is_new;
        (self.mark, is_new) = self.contest.bring_to_order()?;
        if is_new {
            self.used = (self.contest.standby.cpu_time()?, Instant::now());
        }
        self.since_ns = now_ns();
        Ok(())
    }

    fn round(&mut self, (index, fault): (usize, Fault), pauses: &Pauses) -> Result<()> {
        let alone = Duration::from_nanos(now_ns() - self.since_ns);
        let outcome = self.contest.suffer(fault)?;
        let Contest { peer, pace, pair, .. } = &self.contest;
        let mut unfounded = peer.takeovers(*pace, &pair.capture.frames(self.mark));
        let course = &mut self.courses[index];
        match outcome {
            Outcome::Detected(round) => {
                unfounded.retain(|seen| seen.first_ns != round.takeover.first_ns);
                course.found.push(round);
            }
            Outcome::Undetected => course.undetected += 1,
            Outcome::Unsettled => course.unsettled += 1,
        }
        let judged = |seen| FalseFailover::new(seen, self.since_ns, &self.contest, pauses);
        course.unfounded.extend(unfounded.into_iter().map(judged));
        course.time += alone;
        self.rest()
    }
}

/// Whether there is such a fault for it: BFD has no way to hand over.
fn suffers(peer: Peer, fault: Fault) -> bool {
    peer.has_address() || fault != Fault::Planned
}

/// A pair of ours at its fastest, to which nothing happens.
fn calm(time: Duration, pauses: &Pauses) -> Result<Soak> {
    let contest = Contest::start("soak", Peer::HaAgent, FASTEST)?;
    let mark = contest.settle()?.context("the pair does not come to order")?;
    let (began, began_ns, cpu) = (Instant::now(), now_ns(), contest.standby.cpu_time()?);
    lab::pass(time)?;
    let seconds = began.elapsed().as_secs_f64();
    let cpu = contest.standby.cpu_time()?.saturating_sub(cpu);
    let frames = contest.pair.capture.frames(mark);
    let judged = |seen| FalseFailover::new(seen, began_ns, &contest, pauses);
    let found: Vec<_> = contest.peer.takeovers(contest.pace, &frames).into_iter().map(judged).collect();
    Ok(Soak {
        peer: contest.peer,
        interval_ms: contest.pace.interval.as_secs_f64() * 1e3,
        dead_ms: contest.dead_time().as_secs_f64() * 1e3,
        seconds,
        false_failovers: found.len(),
        false_in_pauses: found.iter().filter(|failover| failover.in_pause).count(),
        found,
        cpu_fraction: cpu.as_secs_f64() / seconds,
        pauses: Paused::between(pauses, began_ns, now_ns()),
    })
}

/// What only ours can.
const FASTEST: Pace = Pace { interval: Duration::from_millis(1), skew: 3 };
/// A longer pause is written down: the least interval.
const TOLERATED: Duration = Duration::from_millis(1);
