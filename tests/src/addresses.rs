//! On which node of a pair an address is, as the kernel tells it.

use std::net::Ipv4Addr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::lan::Node;
use crate::pair::{Pair, VIRTUAL};
use crate::paired::until;
use crate::process::Process;

/// What the kernel tells of the addresses of both nodes, in one queue, so in the order in which it changed them. The times
/// at which two programs come to read would not show it: they differ by milliseconds on a busy machine.
#[derive(Debug)]
pub struct Watch<'a> {
    process: Process,
    pair: &'a Pair,
    /// By what number the bridge's namespace knows that of each node.
    nodes: [i64; 2],
    marks: u8,
}

/// The virtual address came or went.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    /// Where: 0 is the pair's `a`, 1 its `b`.
    pub node: usize,
    /// Whether it is there now.
    pub there: bool,
    /// When that was read: the time of day in UTC.
    pub at: Duration,
}

impl<'a> Watch<'a> {
    /// Begins to watch.
    ///
    /// # Errors
    ///
    /// Without `ip`.
    pub fn start(pair: &'a Pair) -> Result<Self> {
        let hub = pair.lan.netns();
        let known = hub.ip_json("netns list")?;
        let number = |node: &Node| {
            let mut all = known.as_array().into_iter().flatten();
            let ours = all.find(|netns| netns["name"] == node.netns.name());
            ours.and_then(|netns| netns["id"].as_i64()).with_context(|| format!("no number: {known:#}"))
        };
        let nodes = [number(&pair.a)?, number(&pair.b)?];
        let mut command = Command::new("ip");
        command.args(["-o", "-ts", "monitor", "address", "all-nsid"]).env("TZ", "UTC");
        let mut watch = Self { process: hub.spawn(&command)?, pair, nodes, marks: 0 };
        watch.catch_up()?;
        Ok(watch)
    }

    /// Waits until it has told of a change made now, at each node, and so of all before. Returns those of [`VIRTUAL`].
    ///
    /// # Errors
    ///
    /// If it lost something.
    pub fn catch_up(&mut self) -> Result<Vec<Change>> {
        self.marks += 1;
        let mark = Ipv4Addr::new(192, 0, 2, self.marks);
        for (node, number) in [&self.pair.a, &self.pair.b].into_iter().zip(self.nodes) {
            // Again and again: at first, it may not listen yet.
            until("the monitor", || {
                node.netns.ip(&format!("addr add {mark}/32 dev lo"))?;
                node.netns.ip(&format!("addr del {mark}/32 dev lo"))?;
                let told = |line: &String| {
                    line.contains(&format!("inet {mark}/")) && line.contains(&format!("[nsid {number}]"))
                };
                Ok(self.process.lines().iter().any(told))
            })?;
        }
        let lines = self.process.lines();
        ensure!(!lines.iter().any(|line| line.contains("overrun")), "the monitor lost something");
        let address = format!("inet {VIRTUAL}/");
        let change = |line: &String| {
            let node = self.nodes.iter().position(|number| line.contains(&format!("[nsid {number}]")));
            let node = node.with_context(|| format!("whose is {line}"))?;
            let at = time_of_day(line).with_context(|| format!("no time in {line}"))?;
            Ok(Change { node, there: !line.contains("Deleted"), at })
        };
        lines.iter().filter(|line| line.contains(&address)).map(change).collect()
    }
}

/// Goes through what happened, from when the first node had the address.
///
/// # Errors
///
/// If it was on both nodes at once.
pub fn never_on_both(changes: &[Change]) -> Result<()> {
    let mut has = [true, false];
    for (at, change) in changes.iter().enumerate() {
        has[change.node] = change.there;
        ensure!(has != [true, true], "on both after change {at}: {changes:?}");
    }
    Ok(())
}

/// Of a line that begins with `[2026-01-31T12:34:56.123456]`.
fn time_of_day(line: &str) -> Option<Duration> {
    let (_, time) = line.split_once('[')?.1.split_once(']')?.0.split_once('T')?;
    let (clock, micros) = time.split_once('.')?;
    let seconds = clock.split(':').try_fold(0, |sum, part| Some(sum * 60 + part.parse::<u64>().ok()?))?;
    Some(Duration::from_secs(seconds) + Duration::from_micros(micros.parse().ok()?))
}
