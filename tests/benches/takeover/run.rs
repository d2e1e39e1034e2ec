//! The rounds: what the wire, the client and our own journal say of each takeover.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::Peer;
use lab::bench::{FalseFailover, Machine, Paused};
use lab::capture::{Captured, now_ns};
use lab::load::Load as Hogs;
use lab::pair::VIRTUAL;
use lab::pauses::Pauses;
use lab::peer::{Contest, Fault, Outcome, Pace, Round, Running, nanos};
use serde_json::Value;

use super::report::{REMARKS, Report, Row, Run};

/// What else the machine does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    /// Nothing.
    Idle,
    /// It computes: twice as many processes as there are processors, of usual priority.
    Cpu,
}

/// Has each pair suffer so many cuts under each load, in turn.
///
/// # Errors
///
/// If something does not run, or the lab is interrupted.
pub(crate) fn takeover(peers: &[Peer], rounds: u32) -> Result<Report> {
    let pauses = Pauses::of_machine(TOLERATED)?;
    let run = Run::new(Machine::here()?, peers, rounds);
    println!("{}; {rounds} rounds", run.machine);
    let began_ns = now_ns();
    let mut contests = Vec::new();
    for (index, &peer) in peers.iter().enumerate() {
        let contest = Contest::start(&format!("takeover{index}"), peer, Pace::COMMON);
        contests.push(contest.with_context(|| peer.to_string())?);
    }
    let mut rows = Vec::new();
    for load in Load::ALL {
        for contest in &contests {
            ensure!(contest.settle()?.is_some(), "a pair of {} does not come to order", contest.peer);
        }
        let hogs = load.begin(run.machine.processors)?;
        let courses = rounds_of(&mut contests, rounds, &pauses)?;
        drop(hogs);
        let row = |(contest, course): (_, &Course)| Row::new(contest, (load, rounds), course, &pauses);
        rows.extend(contests.iter().zip(&courses).map(row));
    }
    Ok(Report { rows, run, pauses: Paused::between(&pauses, began_ns, now_ns()), remarks: REMARKS })
}

/// The rounds of a pair.
#[derive(Default)]
pub(crate) struct Course {
    pub(crate) found: Vec<Taken>,
    pub(crate) undetected: u32,
    pub(crate) unsettled: u32,
    /// Takeovers that no cut has caused.
    pub(crate) unfounded: Vec<FalseFailover>,
    pub(crate) time: Duration,
}

/// A takeover. Moments are in ns of `CLOCK_MONOTONIC`.
pub(crate) struct Taken {
    pub(crate) round: Round,
    /// The standby had been patient for long enough.
    pub(crate) silence_ns: u64,
    /// The standby's first gratuitous ARP for the address, at the witness.
    pub(crate) announced_ns: u64,
    /// The standby's first answer to the client, at the witness.
    pub(crate) answered_ns: Option<u64>,
    /// By its own account.
    pub(crate) journal: Option<Journal>,
}

/// What our journal says of a takeover, in ns of `CLOCK_MONOTONIC`.
#[derive(Clone, Copy)]
pub(crate) struct Journal {
    pub(crate) deadline: u64,
    pub(crate) noticed: u64,
    pub(crate) advertised: u64,
    pub(crate) address_up: u64,
    pub(crate) announced: u64,
}

fn rounds_of(contests: &mut [Contest], rounds: u32, pauses: &Pauses) -> Result<Vec<Course>> {
    let mut courses: Vec<_> = contests.iter().map(|_| Course::default()).collect();
    for _ in 0..rounds {
        for (contest, course) in contests.iter_mut().zip(&mut courses) {
            round(contest, course, pauses).with_context(|| contest.peer.to_string())?;
        }
    }
    Ok(courses)
}

fn round(contest: &mut Contest, course: &mut Course, pauses: &Pauses) -> Result<()> {
    // Until then the standby of the last round has the role by right.
    let settled = contest.settle()?;
    let (mark, began_ns) = (settled.unwrap_or_else(|| contest.pair.capture.mark()), now_ns());
    let outcome = contest.suffer(Fault::Link)?;
    let frames = contest.pair.capture.frames(mark);
    let mut seen = contest.peer.takeovers(contest.pace, &frames);
    match outcome {
        Outcome::Detected(round) => {
            seen.retain(|takeover| takeover.first_ns != round.takeover.first_ns);
            course.found.push(taken(contest, round, &frames)?);
        }
        Outcome::Undetected => course.undetected += 1,
        Outcome::Unsettled => course.unsettled += 1,
    }
    let judged = |seen| FalseFailover::new(seen, began_ns, contest, pauses);
    course.unfounded.extend(seen.into_iter().map(judged));
    course.time += Duration::from_nanos(now_ns() - began_ns);
    Ok(())
}

fn taken(contest: &Contest, round: Round, frames: &[Captured]) -> Result<Taken> {
    let hardware = contest.pair.b.hardware("eth0")?;
    let of_standby = || {
        let since = |frame: &&Captured| frame.at_ns > round.takeover.last_ns;
        frames.iter().filter(since).filter(|frame| frame.hardware() == Some(hardware))
    };
    let mut announcements = of_standby().filter(|frame| frame.announces() == Some(VIRTUAL));
    let journal = journal(&contest.standby)?;
    Ok(Taken {
        round,
        silence_ns: match journal {
            Some(journal) => journal.deadline,
            None => round.takeover.last_ns + nanos(contest.dead_time()),
        },
        announced_ns: announcements.next().context("the address was not announced")?.at_ns,
        answered_ns: of_standby().find_map(Captured::answer).map(|answer| answer.at_ns),
        journal,
    })
}

/// What the standby's journal says of its last takeover; nobody else has one.
fn journal(standby: &Running) -> Result<Option<Journal>> {
    let Running::HaAgent(agent) = standby else { return Ok(None) };
    let vhost = agent.vhost()?;
    let history = vhost["history"].as_array().into_iter().flatten();
    let read = |change: &Value| {
        let moment = |name: &str| change[name].as_u64();
        Some(Journal {
            deadline: moment("deadline_ns")?,
            noticed: moment("at_ns")?,
            advertised: moment("advertised_ns")?,
            address_up: moment("address_up_ns")?,
            announced: moment("announced_ns")?,
        })
    };
    let last = history.rev().find(|change| change["cause"] == "silence").and_then(read);
    last.map(Some).with_context(|| format!("no takeover in the journal: {vhost:#}"))
}

impl Load {
    const ALL: [Self; 2] = [Self::Idle, Self::Cpu];

    fn begin(self, processors: usize) -> Result<Option<Hogs>> {
        match self {
            Self::Idle => Ok(None),
            Self::Cpu => Hogs::cpu(2 * processors).map(Some),
        }
    }
}

impl Display for Load {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Idle => "idle",
            Self::Cpu => "cpu",
        })
    }
}

/// A longer pause is written down.
const TOLERATED: Duration = Duration::from_millis(1);
