//! One peer under one flood: how late it notices that the active one is gone, and how often without cause.
//!
//! All is judged by what a witness receives, which is not flooded, with the kernel's stamps.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use ha_common::wire::{ethernet, ipv4};
use lab::capture::now_ns;
use lab::pair::{A, B};
use lab::pauses::Pauses;
use lab::{Captured, Pair};
use serde::Serialize;

use super::frames::Flood;
use super::peer::{Peer, Role, Running, milliseconds};
use super::sender::Sender;

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

/// How far apart figures are; nothing if there are none.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Spread {
    pub(crate) min: Option<f64>,
    pub(crate) p50: Option<f64>,
    pub(crate) max: Option<f64>,
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
    let pair = Pair::new("flood")?;
    let _active = peer.start(&pair.a, Role::Active)?;
    pair.capture.wait_for(0, START, |frame| (sender(frame)? == A).then_some(()))?;
    let standby = peer.start(&pair.b, Role::Standby)?;
    let frames = flood.frames(FRAMES);
    let pauses = Pauses::longer_than(TOLERATED)?;
    let mut course =
        Course { peer, pair: &pair, standby: &standby, takeovers: Vec::new(), testimonies: Vec::new() };
    course.settle(START).context("the pair does not come to order")?;

    let (mark, before, cpu, began) =
        (pair.capture.mark(), course.carried()?, standby.cpu_time()?, Instant::now());
    let flooding = Sender::start(&pair.lan, &pair.b, frames)?;
    course.wait_until(now_ns() + nanos(scale.time))?;
    let (mut undetected, mut unsettled) = (0, 0);
    let (start, rounds) = (now_ns(), peer.rounds(scale.rounds));
    for round in 0..rounds {
        let due = start + nanos(scale.time) / u64::from(rounds) * u64::from(round);
        match course.round(due)? {
            Outcome::Detected => {}
            Outcome::Undetected => undetected += 1,
            Outcome::Unsettled => unsettled += 1,
        }
    }
    let cpu = standby.cpu_time()?.saturating_sub(cpu);
    let (sent, elapsed, after) = (flooding.sent(), began.elapsed(), course.carried()?);
    drop(flooding);

    let Course { takeovers, testimonies, .. } = course;
    let detected = u32::try_from(takeovers.len())?;
    let mut unfounded = appearances(peer, &pair.capture.frames(mark));
    unfounded.retain(|seen| takeovers.iter().all(|takeover| takeover.first_ns != seen.first_ns));
    let late = unfounded.iter().filter(|seen| seen.overshoot_ms(peer) >= 0.0).count();
    let overshoot = |takeover: &Takeover| takeover.overshoot_ms(peer);
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
    pair: &'a Pair,
    standby: &'a Running,
    takeovers: Vec<Takeover>,
    testimonies: Vec<f64>,
}

/// The last advertisement of the active one, and the first of the standby, on the wire.
#[derive(Clone, Copy, Debug)]
struct Takeover {
    last_ns: u64,
    first_ns: u64,
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
            let first = capture
                .wait_for(mark, self.peer.patience(), |frame| (sender(frame)? == B).then_some(frame.at_ns));
            let first = unless_interrupted(first)?;
            let testimony = match first {
                Some(at_ns) if at_ns > cut_ns => self.standby.testimony(said)?,
                Some(_) | None => None,
            };
            lan.rejoin(a)?;
            let Some(first_ns) = first else { return Ok(Outcome::Undetected) };
            let frames = capture.frames(mark.saturating_sub(BEFORE));
            let of_active = frames.iter().filter(|frame| sender(frame) == Some(A) && frame.at_ns < first_ns);
            let last_ns = of_active.map(|frame| frame.at_ns).max().context("nothing of the active one")?;
            let takeover = Takeover { last_ns, first_ns };
            // That is no answer to the cut: it counts among the false ones.
            if first_ns <= cut_ns || takeover.is_early(self.peer) {
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
        self.pair.capture.wait_for(from, patience.max(self.peer.interval() * 10), |frame| {
            index += 1;
            match sender(frame)? {
                A => count += 1,
                _ => count = 0,
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

    /// Frames that the standby's cable has taken, and those that it has lost.
    fn carried(&self) -> Result<(u64, u64)> {
        let Pair { lan, b, .. } = self.pair;
        let links = lan.netns().ip_json(&format!("-statistics link show dev {}", lan.port(b)))?;
        let count = |name: &str| links[0]["stats64"]["tx"][name].as_u64();
        count("packets").zip(count("dropped")).context("the statistics of the standby's cable")
    }
}

impl Takeover {
    fn overshoot_ms(&self, peer: Peer) -> f64 {
        milliseconds(self.first_ns, self.last_ns + nanos(peer.dead_time()))
    }

    /// Whether the standby had other reasons: it waited for less than half of its patience.
    fn is_early(&self, peer: Peer) -> bool {
        self.first_ns - self.last_ns < nanos(peer.dead_time()) / 2
    }
}

impl Spread {
    fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<_> = figures.into_iter().collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let (min, max) = (sorted.first().copied(), sorted.last().copied());
        Self { min, p50: sorted.get(sorted.len() / 2).copied(), max }
    }
}

/// Where the standby began to advertise: after a silence that was as long as its patience, and in which the
/// active one was heard. So neither its hiccups count nor that two masters talk in turn.
fn appearances(peer: Peer, frames: &[Captured]) -> Vec<Takeover> {
    let mut found = Vec::new();
    let (mut of_standby, mut of_active, mut heard) = (None, 0, true);
    for frame in frames {
        match sender(frame) {
            Some(B) => {
                let silent = |last: u64| frame.at_ns.saturating_sub(last) >= nanos(peer.dead_time());
                if heard && of_standby.is_none_or(silent) {
                    found.push(Takeover { last_ns: of_active, first_ns: frame.at_ns });
                }
                (of_standby, heard) = (Some(frame.at_ns), false);
            }
            Some(_) => (of_active, heard) = (frame.at_ns, true),
            None => {}
        }
    }
    found
}

/// Who advertises in a frame, be it CARP or VRRP.
fn sender(frame: &Captured) -> Option<Ipv4Addr> {
    let (header, packet) = frame.frame.split_first_chunk()?;
    let packet = ipv4::Header(packet.first_chunk()?);
    let advertises =
        ethernet::Header(header).ethertype() == ethernet::IPV4 && packet.protocol() == ipv4::PROTOCOL;
    advertises.then(|| packet.source().into())
}

/// What is only late is no error, but what is given up is.
fn unless_interrupted<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Err(error) if lab::is_interrupted() => bail!(error),
        result => Ok(result.ok()),
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn as_text<S: serde::Serializer>(value: &impl std::fmt::Display, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(value)
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
