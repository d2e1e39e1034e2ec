//! One peer under one flood: how late it notices that the active one is gone, and how often without cause.
//!
//! All is judged by what a witness receives, which is not flooded, with the kernel's stamps.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lab::bench::as_text;
use lab::capture::now_ns;
use lab::pauses::Pauses;
use lab::peer::{Pace, Peer, Role, Running, Takeover, Voice, nanos};
use lab::sender::{self, Sender};
use lab::{Pair, Spread, unless_interrupted};
use serde::Serialize;

use super::frames::Flood;
use super::peers::{pace, rounds};

/// How long a flood lasts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    /// How often the active one is cut off.
    pub(crate) rounds: u32,
    /// Without a cut, and again, at least, with all of them.
    pub(crate) time: Duration,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    #[serde(serialize_with = "as_text")]
    pub(crate) peer: Peer,
    #[serde(serialize_with = "as_text")]
    pub(crate) flood: Flood,
    /// How often the active one should have been cut off.
    pub(crate) rounds: u32,
    /// How often it was, and the standby took over.
    pub(crate) detected: u32,
    /// How often it was, and the standby did not take over in time.
    pub(crate) undetected: u32,
    /// How often it could not be, because the standby did not leave it the role.
    pub(crate) unsettled: u32,
    /// From the end of the standby's patience to its first advertisement.
    pub(crate) overshoot_ms: Spread,
    /// The same of those takeovers that did not fall together with a pause of the machine.
    pub(crate) undisturbed_overshoot_ms: Spread,
    /// To its change of state, as it says itself.
    pub(crate) journal_overshoot_ms: Spread,
    /// Takeovers while the active one was connected.
    pub(crate) false_failovers: u32,
    /// Of these, how often the witness had missed the active one for as long as the standby's patience.
    pub(crate) active_late: u32,
    /// Processor time of the standby's processes over the time.
    pub(crate) cpu_fraction: f64,
    pub(crate) frames_per_s: f64,
    /// Frames that the standby's cable took, of those sent.
    pub(crate) arrived_fraction: Option<f64>,
    /// Frames that the standby's cable lost, be they sent by us or by the active one.
    pub(crate) lost: u64,
    /// How long the flood lasted, in s.
    pub(crate) seconds: f64,
    pub(crate) pauses: PausesFound,
}

/// How the machine stood still meanwhile.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct PausesFound {
    pub(crate) count: usize,
    pub(crate) longest_ms: f64,
    /// Of the takeovers, how many fell together with one.
    pub(crate) takeovers: usize,
}

/// Measures it.
///
/// # Errors
///
/// If the lab can't be made, the pair does not come to order by itself, or the lab is interrupted.
pub(crate) fn measure(peer: Peer, flood: Flood, scale: Scale) -> Result<Row> {
    let (pair, pace) = (Pair::new("flood")?, pace(peer));
    let dead_time = peer.dead_time(pace);
    let _active = peer.start(&pair.a, Role::Active, pace)?;
    pair.capture.wait_for(0, START, |frame| (peer.voice(frame)? == Voice::Active).then_some(()))?;
    let standby = peer.start(&pair.b, Role::Standby, pace)?;
    let frames = flood.frames(FRAMES);
    let pauses = Pauses::longer_than(TOLERATED)?;
    let mut course =
        Course { peer, pace, pair: &pair, standby: &standby, takeovers: Vec::new(), testimonies: Vec::new() };
    course.settle(START).context("the pair does not come to order")?;

    let (mark, before, cpu, began) =
        (pair.capture.mark(), pair.lan.carried(&pair.b)?, standby.cpu_time()?, Instant::now());
    let flooding = Sender::start(&pair.lan, &pair.b, frames, processor()?)?;
    course.wait_until(now_ns() + nanos(scale.time))?;
    let (mut undetected, mut unsettled) = (0, 0);
    let (start, rounds) = (now_ns(), rounds(peer, scale.rounds));
    for round in 0..rounds {
        let due = start + nanos(scale.time) / u64::from(rounds) * u64::from(round);
        match course.round(due)? {
            Outcome::Detected => {}
            Outcome::Undetected => undetected += 1,
            Outcome::Unsettled => unsettled += 1,
        }
    }
    let cpu = standby.cpu_time()?.saturating_sub(cpu);
    let (sent, elapsed, after) = (flooding.sent(), began.elapsed(), pair.lan.carried(&pair.b)?);
    drop(flooding);

    let Course { takeovers, testimonies, .. } = course;
    let detected = u32::try_from(takeovers.len())?;
    let mut unfounded = peer.takeovers(pace, &pair.capture.frames(mark));
    unfounded.retain(|seen| takeovers.iter().all(|takeover| takeover.first_ns != seen.first_ns));
    let late = unfounded.iter().filter(|seen| seen.overshoot_ms(dead_time) >= 0.0).count();
    let overshoot = |takeover: &Takeover| takeover.overshoot_ms(dead_time);
    let (calm, disturbed): (Vec<_>, Vec<_>) =
        takeovers.iter().partition(|takeover| pauses.between(takeover.last_ns, takeover.first_ns).is_empty());
    let longest = pauses.found().iter().map(|pause| pause.late).max().unwrap_or_default();
    #[expect(clippy::cast_precision_loss, reason = "to be compared with others like it")]
    let (sent, arrived) = (sent as f64, (after.0 - before.0) as f64);
    Ok(Row {
        peer,
        flood,
        rounds,
        detected,
        undetected,
        unsettled,
        overshoot_ms: Spread::of(takeovers.iter().map(overshoot)),
        undisturbed_overshoot_ms: Spread::of(calm.into_iter().map(overshoot)),
        journal_overshoot_ms: Spread::of(testimonies),
        false_failovers: u32::try_from(unfounded.len())?,
        active_late: u32::try_from(late)?,
        cpu_fraction: cpu.as_secs_f64() / elapsed.as_secs_f64(),
        frames_per_s: sent / elapsed.as_secs_f64(),
        arrived_fraction: (sent > 0.0).then_some(arrived / sent),
        lost: after.1 - before.1,
        seconds: elapsed.as_secs_f64(),
        pauses: PausesFound {
            count: pauses.found().len(),
            longest_ms: longest.as_secs_f64() * 1e3,
            takeovers: disturbed.len(),
        },
    })
}

/// What happens to a pair, and what the witness has seen of it.
struct Course<'a> {
    peer: Peer,
    pace: Pace,
    pair: &'a Pair,
    standby: &'a Running,
    takeovers: Vec<Takeover>,
    testimonies: Vec<f64>,
}

enum Outcome {
    Detected,
    Undetected,
    Unsettled,
}

impl Course<'_> {
    /// Cuts the active one off at a moment or a little later, without its noticing, and heals that again.
    fn round(&mut self, due_ns: u64) -> Result<Outcome> {
        let Pair { lan, a, capture, .. } = self.pair;
        for _ in 0..ATTEMPTS {
            let Some(mark) = unless_interrupted(self.settle(self.peer.patience()))? else {
                return Ok(Outcome::Unsettled);
            };
            self.wait_until(due_ns)?;
            let (said, cut_ns) = (self.standby.mark(), now_ns());
            lan.isolate(a)?;
            let first = capture.wait_for(mark, self.peer.patience(), |frame| {
                (self.peer.voice(frame)? == Voice::Standby).then_some(frame.at_ns)
            });
            let first = unless_interrupted(first)?;
            let testimony = match first {
                Some(at_ns) if at_ns > cut_ns => self.standby.testimony(said)?,
                Some(_) | None => None,
            };
            lan.rejoin(a)?;
            let Some(first_ns) = first else { return Ok(Outcome::Undetected) };
            let frames = capture.frames(mark.saturating_sub(BEFORE));
            let of_active = |frame| self.peer.voice(frame) == Some(Voice::Active);
            let of_active = frames.iter().filter(|frame| of_active(frame) && frame.at_ns < first_ns);
            let last_ns = of_active.map(|frame| frame.at_ns).max().context("nothing of the active one")?;
            let takeover = Takeover { last_ns, first_ns };
            // That is no answer to the cut: it counts among the false ones.
            if first_ns <= cut_ns || is_early(takeover, self.peer.dead_time(self.pace)) {
                continue;
            }
            self.takeovers.push(takeover);
            self.testimonies.extend(testimony.map(|testimony| testimony.overshoot_ms));
            return Ok(Outcome::Detected);
        }
        Ok(Outcome::Unsettled)
    }

    /// Waits until the active one alone has advertised for a while, and returns the mark of what comes then.
    fn settle(&self, patience: Duration) -> Result<usize> {
        let from = self.pair.capture.mark();
        let (mut index, mut count) = (from, 0);
        self.pair.capture.wait_for(from, patience.max(self.pace.interval * 10), |frame| {
            index += 1;
            match self.peer.voice(frame)? {
                Voice::Active => count += 1,
                Voice::Farewell | Voice::Standby => count = 0,
            }
            (count == self.peer.calm()).then_some(index)
        })
    }

    /// Waits until an advertisement is seen at a moment or later.
    fn wait_until(&self, at_ns: u64) -> Result<()> {
        let patience = Duration::from_nanos(at_ns.saturating_sub(now_ns())) + START;
        let mark = self.pair.capture.mark();
        self.pair.capture.wait_for(mark, patience, |frame| (frame.at_ns >= at_ns).then_some(()))
    }
}

/// The processor that floods come from: the last one that we may use.
pub(crate) fn processor() -> Result<usize> {
    sender::processors()?.last().copied().context("no processor")
}

/// Whether the standby had other reasons: it waited for less than half of its patience.
fn is_early(takeover: Takeover, dead_time: Duration) -> bool {
    takeover.first_ns - takeover.last_ns < nanos(dead_time) / 2
}

/// Different frames of a flood.
const FRAMES: usize = 20_000;
/// How late a thread may wake up without its being written down.
pub(crate) const TOLERATED: Duration = Duration::from_millis(5);
/// How long a pair may take to come to order when it starts.
const START: Duration = Duration::from_secs(15);
/// How often a round begins anew because the standby had taken over before the cut.
const ATTEMPTS: u32 = 5;
/// Frames that are looked at before a mark: the last advertisement may be among them.
const BEFORE: usize = 16;
