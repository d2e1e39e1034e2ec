//! A live pair under noise: random bytes, truncated and mutated advertisements, forged ones, at full speed.
//! Nothing of it may change a state or end an agent.
//!
//! `HA_NOISE_SECONDS` says for how long (10), `HA_NOISE_SEED` repeats a run.

#[path = "noise/frames.rs"]
mod frames;

use std::cell::RefCell;
use std::env;
use std::fmt::{self, Display, Formatter};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use frames::{Forger, Noise};
use ha_agent::sys::packet_socket::PacketSocket;
use lab::pair::A;
use lab::pauses::{Pauses, undisturbed};
use lab::process::cpu_time;
use lab::{Agent, AgentConfig, Node, Pair, Random};

#[test]
fn random_and_mutated_frames_change_nothing() -> Result<()> {
    let seed = seed()?;
    under_fire("noise", |valid| {
        let mut noise = Noise::new(seed, valid);
        Box::new(move |frame| noise.next(frame))
    })
}

#[test]
fn forged_advertisements_change_nothing() -> Result<()> {
    let seed = seed()?;
    under_fire("forged", |_| {
        // Prepared, because hashing would be slower than sending.
        let mut random = Random::new(seed);
        let forger = Forger::new();
        let prepared: Vec<_> = (0..FORGED).map(|_| forger.forge(&mut random)).collect();
        let mut next = prepared.into_iter().cycle();
        Box::new(move |frame| frame.extend(next.next().unwrap_or_default()))
    })
}

/// Appends the next frame to an empty buffer.
type Source = Box<dyn FnMut(&mut Vec<u8>)>;

/// Shoots at a live pair for half of the time, and judges that it stays as it was. A part of it in which the
/// machine paused is not judged, but repeated.
fn under_fire(label: &str, source: impl FnOnce(Vec<Vec<u8>>) -> Source) -> Result<()> {
    static TURN: Mutex<()> = Mutex::new(());
    if !lab::available() {
        return Ok(());
    }
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let pair = Pair::new(label)?;
    let (a, b) = pair.start(&config(0), &config(100))?;
    pair.only_master(A, 20)?;
    let frames = pair.capture.frames(0).into_iter();
    let valid = frames.filter(|frame| frame.advertisement().is_some()).map(|frame| frame.frame).collect();
    // It would keep everything.
    let Pair { capture, a: _on_a, b: _on_b, witness, lan: _lan } = pair;
    drop(capture);

    let fight = RefCell::new(Fight::begin(a, b, open(&witness)?, source(valid))?);
    let time = Duration::from_secs(seconds()?) / 2;
    let parts = time.as_secs().div_ceil(PART.as_secs()).max(1);
    for _ in 0..parts {
        undisturbed(|| fight.borrow_mut().shoot_for(time / u32::try_from(parts)?))?;
    }
    let report = fight.borrow().report()?;
    println!("{label}: {report}");
    // Late ones are not made up for, and the machine may be busy.
    ensure!(report.advertised[0] > report.advertised[1] / 2, "the master fell silent");
    Ok(())
}

/// What is sent and what is seen meanwhile.
struct Fight {
    a: Agent,
    b: Agent,
    socket: PacketSocket,
    source: Source,
    frame: Vec<u8>,
    began: Instant,
    pauses: Pauses,
    sent: u64,
    not_sent: u64,
    cpu: [Duration; 2],
    sent_by_a: u64,
}

impl Fight {
    fn begin(a: Agent, b: Agent, socket: PacketSocket, source: Source) -> Result<Self> {
        let (cpu, sent_by_a) = ([cpu_time(a.process.pid())?, cpu_time(b.process.pid())?], sent_by(&a)?);
        let (began, pauses) = (Instant::now(), Pauses::watch()?);
        let frame = Vec::new();
        Ok(Self { a, b, socket, source, frame, began, pauses, sent: 0, not_sent: 0, cpu, sent_by_a })
    }

    /// Sends as fast as it can, and judges that nobody changes his state.
    fn shoot_for(&mut self, time: Duration) -> Result<()> {
        self.await_peace()?;
        let marks = [self.a.mark(), self.b.mark()];
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.shoot();
            let said = |agent: &Agent, mark: usize| agent.process.lines().split_off(mark);
            let said = [said(&self.a, marks[0]), said(&self.b, marks[1])];
            if said.iter().flatten().any(|line| line.contains(" -> ")) {
                bail!("a state changed: {said:#?}\n{}", self.report()?);
            }
        }
        let report = self.report()?;
        ensure!(report.states == ["MASTER", "BACKUP"], "{report}");
        Ok(())
    }

    /// Waits until what a pause has stirred up has settled.
    fn await_peace(&self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(2);
        while self.a.vhost()?["state"] != "MASTER" || self.b.vhost()?["state"] != "BACKUP" {
            ensure!(Instant::now() < deadline, "there is no peace: {}", self.report()?);
        }
        Ok(())
    }

    /// Sends for a tenth of a second.
    fn shoot(&mut self) {
        let end = Instant::now() + Duration::from_millis(100);
        while Instant::now() < end {
            for _ in 0..64 {
                self.frame.clear();
                (self.source)(&mut self.frame);
                // A full queue, or a frame that is no frame.
                match self.socket.send(&self.frame) {
                    Ok(()) => self.sent += 1,
                    Err(_) => self.not_sent += 1,
                }
            }
        }
    }

    fn report(&self) -> Result<Report> {
        let (a, b) = (&self.a, &self.b);
        let elapsed = self.began.elapsed();
        let (of_a, of_b) = (a.vhost()?, b.vhost()?);
        let states = [&of_a, &of_b].map(|vhost| vhost["state"].as_str().unwrap_or("nothing").to_owned());
        let advertised = sent_by(a)? - self.sent_by_a;
        let due = u64::try_from(elapsed.as_millis() / INTERVAL.as_millis())?;
        let text =
            |vhost: &serde_json::Value| format!("{} accepted, {}", vhost["accepted"], vhost["refused"]);
        let share = |agent: &Agent, before: Duration| {
            Ok::<_, anyhow::Error>(
                cpu_time(agent.process.pid())?.saturating_sub(before).as_secs_f64() / elapsed.as_secs_f64()
                    * 100.0,
            )
        };
        Ok(Report {
            sent: self.sent,
            not_sent: self.not_sent,
            elapsed,
            advertised: [advertised, due],
            cpu: [share(a, self.cpu[0])?, share(b, self.cpu[1])?],
            states,
            counters: [text(&of_a), text(&of_b)],
            others: [a.status()?, b.status()?].map(|status| status["other_frames"].to_string()),
            pauses: self.pauses.summary(),
        })
    }
}

struct Report {
    sent: u64,
    not_sent: u64,
    elapsed: Duration,
    /// By the master: sent and due.
    advertised: [u64; 2],
    /// Share of one processor, in percent.
    cpu: [f64; 2],
    states: [String; 2],
    counters: [String; 2],
    others: [String; 2],
    pauses: String,
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { sent, not_sent, elapsed, .. } = self;
        #[expect(clippy::cast_precision_loss, reason = "to be read by people")]
        let rate = *sent as f64 / elapsed.as_secs_f64();
        writeln!(f, "{sent} frames in {elapsed:.1?}, {rate:.0} frames/s; {not_sent} could not be sent")?;
        writeln!(f, "  a sent {} advertisements of {}", self.advertised[0], self.advertised[1])?;
        for (node, name) in ["a", "b"].into_iter().enumerate() {
            let (state, cpu) = (&self.states[node], self.cpu[node]);
            writeln!(f, "  {name}: {state}, {cpu:.0} % of a processor; {}", self.counters[node])?;
            writeln!(f, "     for others: {}", self.others[node])?;
        }
        write!(f, "  {}", self.pauses)
    }
}

fn config(advskew: u8) -> AgentConfig {
    AgentConfig { advskew, passphrases: vec![frames::PASSPHRASE.to_owned()], ..AgentConfig::default() }
}

fn open(node: &Node) -> Result<PacketSocket> {
    let links = node.netns.ip_json("link show dev eth0")?;
    let index = u32::try_from(links[0]["ifindex"].as_u64().context("no index")?)?;
    Ok(node.netns.run(move || PacketSocket::open(index))??)
}

fn sent_by(agent: &Agent) -> Result<u64> {
    agent.vhost()?["sent"].as_u64().context("how many it sent")
}

fn seconds() -> Result<u64> {
    let text = env::var("HA_NOISE_SECONDS").unwrap_or_else(|_| "10".to_owned());
    text.parse().with_context(|| format!("HA_NOISE_SECONDS is {text}"))
}

fn seed() -> Result<u64> {
    let text = env::var("HA_NOISE_SEED").unwrap_or_else(|_| "20261123".to_owned());
    println!("HA_NOISE_SEED={text}");
    text.parse().with_context(|| format!("HA_NOISE_SEED is {text}"))
}

/// What is judged, and repeated, as a whole: at most so long.
const PART: Duration = Duration::from_secs(10);
const INTERVAL: Duration = Duration::from_millis(10);
/// Forged frames that are sent over and over.
const FORGED: usize = 20_000;
