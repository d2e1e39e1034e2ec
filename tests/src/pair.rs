//! Two controllers and a witness on one bridge.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail, ensure};

use crate::agent::Agent;
use crate::capture::{Capture, Captured, Seen};
use crate::config::AgentConfig;
use crate::lan::{Lan, Node};

/// A bridge with the nodes `a` and `b`, on which nothing runs yet, and a third one that listens.
#[derive(Debug)]
pub struct Pair {
    /// Everything that the witness receives.
    pub capture: Capture,
    /// 10.77.0.1
    pub a: Node,
    /// 10.77.0.2
    pub b: Node,
    /// 10.77.0.3: not touched by what happens to the other two.
    pub witness: Node,
    /// The bridge.
    pub lan: Lan,
}

impl Pair {
    /// Makes it. `label` tells the labs of one program apart.
    ///
    /// # Errors
    ///
    /// Without root.
    pub fn new(label: &str) -> Result<Self> {
        let lan = Lan::new(label)?;
        let a = lan.node("a", A)?;
        let b = lan.node("b", B)?;
        let witness = lan.node("witness", Ipv4Addr::new(10, 77, 0, 3))?;
        let capture = Capture::start(&witness.netns)?;
        Ok(Self { capture, a, b, witness, lan })
    }

    /// Starts an agent on `a`, and when it is master, one on `b`, which becomes its backup and has heard it.
    ///
    /// # Errors
    ///
    /// If they do not become that.
    pub fn start(&self, on_a: &AgentConfig, on_b: &AgentConfig) -> Result<(Agent, Agent)> {
        let master = Agent::start(&self.a, on_a)?;
        master.wait_for_state(0, "MASTER")?;
        let backup = Agent::start(&self.b, on_b)?;
        backup.wait_for_state(0, "BACKUP")?;
        self.advertisement(self.capture.mark(), |seen| seen.source == A || seen.source == A6)?;
        Ok((master, backup))
    }

    /// Waits for an advertisement, in what the witness receives from the `from`th frame on.
    ///
    /// # Errors
    ///
    /// If none comes within 10 s.
    pub fn advertisement(&self, from: usize, wanted: impl Fn(&Seen) -> bool) -> Result<Seen> {
        self.capture.wait_for(from, PATIENCE, |frame| frame.advertisement().filter(&wanted))
    }

    /// Waits until the witness has received so many more advertisements, and returns them.
    ///
    /// # Errors
    ///
    /// If they do not come within 10 s.
    pub fn next_advertisements(&self, count: usize) -> Result<Vec<Seen>> {
        let mark = self.capture.mark();
        let left = Cell::new(count);
        self.capture.wait_for(mark, PATIENCE, |frame| {
            left.set(left.get() - usize::from(frame.advertisement().is_some()));
            (left.get() == 0).then_some(())
        })?;
        Ok(self.capture.advertisements(mark))
    }

    /// Waits for so many more advertisements and checks that all of them come from one node: once another that has
    /// just yielded has said its last word, at most an interval later.
    ///
    /// # Errors
    ///
    /// If others advertise as well, or nobody does.
    pub fn only_master(&self, source: impl Into<IpAddr>, count: usize) -> Result<()> {
        let source = source.into();
        self.next_advertisements(LAST_WORDS)?;
        let seen = self.next_advertisements(count)?;
        let other = seen.iter().find(|seen| seen.source != source);
        ensure!(other.is_none(), "only {source} should advertise, but there is {other:?}");
        Ok(())
    }

    /// From the last advertisement of one node to the first one that another sends after it. Bow-outs do
    /// not count.
    ///
    /// # Errors
    ///
    /// If there are none.
    pub fn gap(&self, from: impl Into<IpAddr>, to: impl Into<IpAddr>) -> Result<Duration> {
        let (from, to) = (from.into(), to.into());
        for _ in 0..=LAST_WORDS {
            let all = self.capture.advertisements(0);
            let last = all.iter().rfind(|seen| seen.source == from && !seen.is_bow_out());
            let last = last.map_or(0, |seen| seen.at_ns);
            let first = all.iter().find(|seen| seen.source == to && seen.at_ns > last);
            if let Some(first) = first.filter(|_| last > 0) {
                return Ok(Duration::from_nanos(first.at_ns - last));
            }
            // The witness looks at frames a little later than who receives them.
            self.next_advertisements(1)?;
        }
        bail!("{from} and then {to} should have advertised");
    }

    /// Which of the two nodes answers clients for each of these addresses that have forgotten who has it, so many times. A
    /// client of each is to run on the witness.
    ///
    /// # Errors
    ///
    /// If they can't be made to forget.
    pub fn claims<const N: usize>(&self, addresses: [IpAddr; N], times: u32) -> Result<[[bool; 2]; N]> {
        let from = self.capture.mark();
        for _ in 0..times {
            self.witness.netns.ip("neigh flush dev eth0")?;
            thread::sleep(Duration::from_millis(20));
        }
        let frames = self.capture.frames(from);
        let hardware = [self.a.hardware("eth0")?, self.b.hardware("eth0")?];
        Ok(addresses.map(|address| {
            hardware.map(|hardware| {
                let mut claims = frames.iter().filter(|frame| frame.claims() == Some(address));
                claims.any(|frame| frame.hardware() == Some(hardware))
            })
        }))
    }

    /// The gratuitous ARPs for an address, from the `from`th frame on.
    #[must_use]
    pub fn announcements(&self, from: usize, address: Ipv4Addr) -> Vec<Captured> {
        let mut frames = self.capture.frames(from);
        frames.retain(|frame| frame.announces() == Some(address));
        frames
    }
}

/// What happens on a pair.
pub type Scenario = fn(&Pair) -> Result<()>;

/// Runs scenarios, each on a new pair with its label, all at once: for those that mostly wait, and judge no more
/// than tenths of a second.
///
/// # Errors
///
/// Those of all that failed.
pub fn at_once(scenarios: &[(&str, Scenario)]) -> Result<()> {
    if !crate::available() {
        return Ok(());
    }
    let failed: Vec<_> = thread::scope(|scope| {
        let start = |&(label, run): &(_, Scenario)| {
            (label, scope.spawn(move || Pair::new(label).and_then(|pair| run(&pair))))
        };
        let running: Vec<_> = scenarios.iter().map(start).collect();
        let ended = running.into_iter().map(|(label, thread)| match thread.join() {
            Ok(result) => result.map_err(|error| format!("{label}: {error:#}")),
            Err(_) => Err(format!("{label} panicked")),
        });
        ended.filter_map(Result::err).collect()
    });
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    Ok(())
}

/// The address of [`Pair::a`].
pub const A: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// The address of [`Pair::b`].
pub const B: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
/// The link-local address of [`Pair::a`].
pub const A6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
/// The link-local address of [`Pair::b`].
pub const B6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);
/// A virtual address in the nodes' /64.
pub const VIRTUAL6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x77, 0, 0, 0, 0, 0x100);
/// The virtual address of [`AgentConfig::default`].
pub const VIRTUAL: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 100);

/// The last word in each family, and an advertisement of the other in each.
const LAST_WORDS: usize = 4;
const PATIENCE: Duration = Duration::from_secs(10);
