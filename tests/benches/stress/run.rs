//! All pairs under one load after the other.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lab::bench::{FalseFailover, Paused};
use lab::capture::{Captured, now_ns};
use lab::pauses::Pauses;
use lab::peer::{Awakening, Contest, Fault, Outcome, Pace, Round, Voice, milliseconds, nanos};
use lab::{Peer, Spread};
use nix::sys::signal::Signal;
use serde::Serialize;

use super::load::Kind;
use super::report::Row;

/// How much is done.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Scale {
    /// How long each load lasts without a cut.
    #[serde(skip)]
    pub(crate) time: Duration,
    /// How often the active one of each pair is cut off under each load.
    pub(crate) rounds: u32,
    /// How much memory may be filled, in bytes.
    pub(crate) memory: u64,
}

/// Measures it, and hands out the rows of each load when it has ended.
///
/// # Errors
///
/// If something does not run, or the lab is interrupted.
pub(crate) fn stress(peers: &[Peer], kinds: &[Kind], scale: Scale, found: &mut dyn FnMut(Row)) -> Result<()> {
    let pauses = Pauses::of_machine(TOLERATED)?;
    let mut contests = Vec::new();
    for (index, &peer) in peers.iter().enumerate() {
        let contest = Contest::start(&format!("stress{index}"), peer, Pace::COMMON);
        contests.push(contest.with_context(|| peer.to_string())?);
    }
    for &kind in kinds {
        let mut restarted = Vec::new();
        for contest in &mut contests {
            restarted.push(contest.bring_to_order().with_context(|| format!("before {kind}"))?.1);
        }
        let rows = under(kind, &mut contests, scale, &pauses).with_context(|| kind.to_string())?;
        for (mut row, restarted) in rows.into_iter().zip(restarted) {
            row.restarted = restarted;
            found(row);
        }
    }
    Ok(())
}

/// What a pair has lived through without a cut.
pub(crate) struct Course {
    pub(crate) unfounded: Vec<FalseFailover>,
    /// How far the time between two advertisements is from the interval; `None` if it is meant to be.
    pub(crate) jitter_ms: Option<Spread>,
    /// The same without those times in which the whole machine stood still.
    pub(crate) jitter_running_ms: Option<Spread>,
    pub(crate) cpu_fraction: f64,
    pub(crate) seconds: f64,
    pub(crate) paused: Paused,
    pub(crate) frames_per_s: Option<f64>,
    /// Frames to the standby that its cable has lost.
    pub(crate) lost: u64,
}

/// The cuts of a pair.
#[derive(Default)]
pub(crate) struct Cuts {
    pub(crate) found: Vec<Round>,
    /// Those while the standby was stopped.
    pub(crate) awakenings: Vec<Awakening>,
    pub(crate) undetected: u32,
    pub(crate) unsettled: u32,
}

fn under(kind: Kind, contests: &mut [Contest], scale: Scale, pauses: &Pauses) -> Result<Vec<Row>> {
    let load = kind.begin(contests, scale.memory)?;
    let (began, began_ns, sent) = (Instant::now(), now_ns(), load.sent());
    let mut before = Vec::new();
    for contest in &*contests {
        let Contest { pair, standby, .. } = contest;
        before.push((pair.capture.mark(), standby.cpu_time()?, pair.lan.carried(&pair.b)?));
    }
    match kind {
        Kind::Stop => stop_now_and_then(contests, scale.time)?,
        Kind::Cpu | Kind::Memory | Kind::Fork | Kind::Softirq => lab::pass(scale.time)?,
    }
    let (seconds, ended_ns) = (began.elapsed().as_secs_f64(), now_ns());
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52 frames")]
    let frames = load.sent().zip(sent).map(|(after, before)| (after - before) as f64 / seconds);
    let mut courses = Vec::new();
    for (contest, (mark, cpu, carried)) in contests.iter().zip(before) {
        let Contest { peer, pace, standby, pair, .. } = contest;
        let frames_seen = pair.capture.frames(mark);
        let unfounded = peer.takeovers(*pace, &frames_seen).into_iter();
        courses.push(Course {
            unfounded: unfounded.map(|seen| FalseFailover::new(seen, began_ns, contest, pauses)).collect(),
            jitter_ms: (*peer != Peer::Bfdd).then(|| jitter(contest, &frames_seen, |_| true)),
            jitter_running_ms: (*peer != Peer::Bfdd)
                .then(|| jitter(contest, &frames_seen, |(from, to)| pauses.of_all(from, to).is_zero())),
            cpu_fraction: standby.cpu_time()?.saturating_sub(cpu).as_secs_f64() / seconds,
            seconds,
            paused: Paused::between(pauses, began_ns, ended_ns),
            frames_per_s: frames,
            lost: pair.lan.carried(&pair.b)?.1 - carried.1,
        });
    }
    let cuts = cut(kind, contests, scale.rounds)?;
    let rows = contests.iter().zip(courses).zip(cuts);
    Ok(rows.map(|((contest, course), cuts)| Row::new(contest, kind, scale, course, &cuts)).collect())
}

/// Stops all standbys at the same time, each time for the same time.
fn stop_now_and_then(contests: &[Contest], time: Duration) -> Result<()> {
    let began = Instant::now();
    while began.elapsed() < time {
        lab::pass(RUNNING)?;
        let stopped = signal(contests, Signal::SIGSTOP).and_then(|()| lab::pass(STOPPED));
        // Whatever happened: a stopped process could not even be ended in order.
        signal(contests, Signal::SIGCONT)?;
        stopped?;
    }
    Ok(())
}

fn signal(contests: &[Contest], signal: Signal) -> Result<()> {
    contests.iter().try_for_each(|contest| contest.standby.signal(signal))
}

/// Cuts each active one off in turn, so many times.
fn cut(kind: Kind, contests: &mut [Contest], rounds: u32) -> Result<Vec<Cuts>> {
    let mut all: Vec<_> = contests.iter().map(|_| Cuts::default()).collect();
    for _ in 0..rounds {
        for (contest, cuts) in contests.iter_mut().zip(&mut all) {
            match contest.suffer(Fault::Link)? {
                Outcome::Detected(round) => cuts.found.push(round),
                Outcome::Undetected => cuts.undetected += 1,
                Outcome::Unsettled => cuts.unsettled += 1,
            }
            if kind == Kind::Stop {
                match contest.cut_while_stopped(STOPPED)? {
                    Outcome::Detected(awakening) => cuts.awakenings.push(awakening),
                    Outcome::Undetected => cuts.undetected += 1,
                    Outcome::Unsettled => cuts.unsettled += 1,
                }
            }
        }
    }
    Ok(all)
}

/// How far the times between two advertisements of the active one are from the interval, for those that count: from one
/// to the other, in ns of `CLOCK_MONOTONIC`.
fn jitter(contest: &Contest, frames: &[Captured], counts: impl Fn((u64, u64)) -> bool) -> Spread {
    let of_active = frames.iter().filter(|frame| contest.peer.voice(frame) == Some(Voice::Active));
    let stamps: Vec<_> = of_active.map(|frame| frame.at_ns).collect();
    let interval_ns = nanos(contest.pace.interval);
    let times = stamps.windows(2).map(|pair| (pair[0], pair[1])).filter(|time| counts(*time));
    Spread::of(times.map(|(from, to)| milliseconds(to, from + interval_ns).abs()))
}

/// How long a standby is stopped.
const STOPPED: Duration = Duration::from_millis(300);
/// And then left alone.
const RUNNING: Duration = Duration::from_millis(1700);
/// A longer pause is written down.
const TOLERATED: Duration = Duration::from_millis(1);
