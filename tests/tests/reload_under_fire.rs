//! Reloads, valid and invalid ones at random, of an agent that is master and backup at 1 ms: whoever stays notices nothing,
//! and what is invalid changes nothing.
//!
//! `HA_RELOADS` says how many (60), `HA_RELOAD_SEED` repeats a run.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fmt::Write;
use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use lab::pauses::Pauses;
use lab::{Agent, AgentConfig, Node, Pair, Random};
use nix::sys::signal::Signal;
use serde_json::Value;

#[test]
fn reloads_under_fire_disturb_nobody() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let seed = number("HA_RELOAD_SEED")?.unwrap_or_else(|| u64::from(std::process::id()));
    let count = number("HA_RELOADS")?.unwrap_or(60);
    println!("HA_RELOAD_SEED={seed} HA_RELOADS={count}");
    let pair = Pair::new("fire")?;
    pair.a.netns.ip("link add eth1 type veth peer name eth1-end")?;
    pair.a.netns.ip("link set eth1 up")?;
    pair.a.netns.ip("link set eth1-end up")?;
    let mut fire = Fire::begin(&pair, seed)?;
    // It would keep everything.
    let Pair { capture, a, b, witness: _witness, lan: _lan } = pair;
    drop(capture);
    let (mut refused, mut round) = (0, 0);
    while round < count {
        let pauses = Pauses::of_machine(TOLERATED)?;
        let marks = [fire.a.mark(), fire.b.mark()];
        for _ in 0..VOLLEY.min(count - round) {
            let is_valid = fire.random.below(3) > 0;
            let told = if is_valid { fire.reload(&a, &b) } else { fire.fail(&a) };
            told.with_context(|| format!("reload {round} of seed {seed}"))?;
            refused += u64::from(!is_valid);
            round += 1;
        }
        fire.settle(&a).with_context(|| format!("after reload {round} of seed {seed}"))?;
        let disturbed = fire.disturbed(marks);
        if !disturbed.is_empty() {
            // Nobody speaks while the machine stands still.
            ensure!(!pauses.found().is_empty(), "before reload {round} of seed {seed}: {disturbed:#?}");
            println!("until reload {round} is not judged: {}: {disturbed:#?}", pauses.summary());
        }
    }
    for agent in [&fire.a, &fire.b] {
        for vhost in vhosts(&agent.status()?)? {
            ensure!(vhost["refused"]["badauth"] == 0, "a frame was refused: {vhost:#}");
        }
    }
    println!("{count} reloads, {refused} of them invalid");
    Ok(())
}

/// Two agents, and what they are configured with.
struct Fire {
    a: Agent,
    b: Agent,
    random: Random,
    wanted: Wanted,
}

/// What changes.
#[derive(Clone, Default)]
struct Wanted {
    /// More addresses of the one that `a` is master of.
    more: BTreeSet<u8>,
    /// Those that come and go on `a`, with their addresses.
    guests: BTreeMap<u8, BTreeSet<u8>>,
}

impl Fire {
    fn begin(pair: &Pair, seed: u64) -> Result<Self> {
        let wanted = Wanted::default();
        let a = Agent::start(&pair.a, &wanted.on_a())?;
        a.process.wait_for_line(0, "-> MASTER", PATIENCE)?;
        let b = Agent::start(&pair.b, &wanted.on_b())?;
        let random = Random::new(seed);
        let fire = Self { a, b, random, wanted };
        until("master of one, backup of the other", || {
            let states = |agent: &Agent| -> Result<Vec<String>> {
                let state = |vhost: Value| vhost["state"].as_str().unwrap_or_default().to_owned();
                Ok(vhosts(&agent.status()?)?.into_iter().map(state).collect())
            };
            Ok(states(&fire.a)? == ["MASTER", "BACKUP"] && states(&fire.b)? == ["BACKUP", "MASTER"])
        })?;
        Ok(fire)
    }

    /// A valid one, on both nodes where both have what changes, in any order.
    fn reload(&mut self, a: &Node, b: &Node) -> Result<()> {
        let before = self.wanted.clone();
        for _ in 0..=self.random.below(3) {
            self.wanted.change(&mut self.random);
        }
        self.a.rewrite(a, &self.wanted.on_a())?;
        self.b.rewrite(b, &self.wanted.on_b())?;
        let shared = before.more != self.wanted.more;
        let b_first = self.random.below(2) == 0;
        if shared && b_first {
            self.b.tell("reload")?;
        }
        if self.random.below(2) == 0 {
            self.a.tell("reload")?;
        } else {
            let mark = self.a.mark();
            self.a.process.signal(Signal::SIGHUP)?;
            let line = self.a.process.wait_for_line(mark, "reloaded", PATIENCE)?;
            let line = self.a.process.lines().swap_remove(line);
            ensure!(line.contains(" reloaded: "), "{line}");
        }
        if shared && !b_first {
            self.b.tell("reload")?;
        }
        let running = running(&self.a)?;
        ensure!(running == self.wanted.running(), "{running:#?}, not {:#?}", self.wanted.running());
        Ok(())
    }

    /// One that is refused.
    fn fail(&mut self, a: &Node) -> Result<()> {
        let before = running(&self.a)?;
        let mut other = self.wanted.clone();
        other.change(&mut self.random);
        let mut config = other.on_a();
        let mistake = self.random.below(MISTAKES.len() + 3);
        match mistake {
            0 => config.advskew = 1,
            1 => config.interval = Some("2ms".to_owned()),
            2 => config.addresses.push("2001:db8:77::77/64".to_owned()),
            other => config.more.push_str(MISTAKES[other - 3]),
        }
        self.a.rewrite(a, &config)?;
        let output = self.a.command("reload")?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(!output.status.success(), "mistake {mistake} was taken");
        ensure!(errors.contains("the running configuration stays: "), "mistake {mistake}: {errors}");
        let after = running(&self.a)?;
        ensure!(before == after, "mistake {mistake} changed {before:#?} to {after:#?}");
        Ok(())
    }

    /// Waits until everything is as it should be by then.
    fn settle(&self, a: &Node) -> Result<()> {
        let mut last = String::new();
        let settled = until("the addresses of what is configured", || {
            let vhosts = vhosts(&self.a.status()?)?;
            let is_master =
                |vhost: &Value| vhost["state"] == if vhost["name"] == "logs" { "BACKUP" } else { "MASTER" };
            let there = addresses(a)?;
            last = format!("{there:?} instead of {:?}", self.wanted.addresses());
            Ok(vhosts.iter().all(is_master) && there == self.wanted.addresses())
        });
        settled.with_context(|| format!("{last}: {:#}", self.a.status().unwrap_or_default()["vhosts"]))
    }

    /// What happened to those that stay.
    fn disturbed(&self, [a, b]: [usize; 2]) -> Vec<String> {
        let mut changes = self.a.changes(a);
        changes.extend(self.b.changes(b));
        changes.retain(|line| STAY.iter().any(|name| line.contains(&format!("vhost=\"{name}\""))));
        changes
    }
}

impl Wanted {
    fn change(&mut self, random: &mut Random) {
        let numbers = |random: &mut Random| (1..=1 + random.below(3)).map(|_| random.byte() % 8).collect();
        match random.below(4) {
            0 => self.more = (0..random.below(4)).map(|_| random.byte() % 8).collect(),
            1 => drop(self.guests.remove(&guest(random))),
            _ => drop(self.guests.insert(guest(random), numbers(random))),
        }
    }

    fn on_a(&self) -> AgentConfig {
        let mut guests = String::new();
        for (guest, addresses) in &self.guests {
            let addresses: Vec<_> = addresses.iter().map(|n| format!("10.77.{guest}.{}/24", n + 1)).collect();
            let interface = if guest % 3 == 0 { "eth1" } else { "eth0" };
            let mac = if guest % 4 == 1 { "virtual" } else { "interface" };
            // Writing into a string does not fail.
            let _ = write!(
                guests,
                "[[vhost]]\nname = \"guest-{guest}\"\ninterface = \"{interface}\"\nvhid = {guest}\naddresses = {addresses:?}\n\
                 interval = \"10ms\"\nmac = \"{mac}\"\n"
            );
        }
        self.with(0, 100, &guests)
    }

    fn on_b(&self) -> AgentConfig {
        self.with(100, 0, "")
    }

    fn with(&self, data: u8, logs: u8, more: &str) -> AgentConfig {
        let mut addresses = vec!["10.77.0.100/24".to_owned()];
        addresses.extend(self.more.iter().map(|n| format!("10.77.0.{}/24", 101 + n)));
        let logs = format!(
            "[[vhost]]\nname = \"logs\"\ninterface = \"eth0\"\nvhid = 11\naddresses = [\"10.77.0.200/24\"]\nadvskew = {logs}\n\
             interval = \"1ms\"\ndetect = {DETECT}\npreempt = true\n"
        );
        AgentConfig {
            addresses,
            advskew: data,
            interval: Some("1ms".to_owned()),
            detect: Some(DETECT),
            preempt: true,
            more: logs + more,
            ..AgentConfig::default()
        }
    }

    /// What `a` is to run with: addresses by name.
    fn running(&self) -> BTreeMap<String, BTreeSet<String>> {
        let own = self.on_a().addresses.into_iter().collect();
        let logs = BTreeSet::from(["10.77.0.200/24".to_owned()]);
        let guests = self.guests.iter().map(|(guest, addresses)| {
            let addresses = addresses.iter().map(|n| format!("10.77.{guest}.{}/24", n + 1)).collect();
            (format!("guest-{guest}"), addresses)
        });
        guests.chain([("data".to_owned(), own), ("logs".to_owned(), logs)]).collect()
    }

    /// Those that `a` is to have: it is master of all but one.
    fn addresses(&self) -> BTreeSet<IpAddr> {
        let running = self.running().into_iter().filter(|(name, _)| name != "logs");
        let all = running.flat_map(|(_, addresses)| addresses);
        all.filter_map(|address| address.split_once('/')?.0.parse().ok()).collect()
    }
}

fn until(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !is_so()? {
        if Instant::now() > deadline {
            bail!("never {what}");
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Who comes and goes.
fn guest(random: &mut Random) -> u8 {
    20 + random.byte() % 8
}

/// Addresses by name, as the agent shows them.
fn running(agent: &Agent) -> Result<BTreeMap<String, BTreeSet<String>>> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let vhost = |vhost: Value| {
        let addresses = vhost["addresses"].as_array().into_iter().flatten().map(text).collect();
        (text(&vhost["name"]), addresses)
    };
    Ok(vhosts(&agent.status()?)?.into_iter().map(vhost).collect())
}

fn vhosts(status: &Value) -> Result<Vec<Value>> {
    status["vhosts"].as_array().cloned().context("no virtual hosts in the status")
}

/// Those of a node that are neither its own nor of one link only.
fn addresses(node: &Node) -> Result<BTreeSet<IpAddr>> {
    let links = node.netns.ip_json("-4 addr show")?;
    let infos = links
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|link| link["addr_info"].as_array().into_iter().flatten());
    let all: BTreeSet<IpAddr> = infos.filter_map(|info| info["local"].as_str()?.parse().ok()).collect();
    Ok(all.into_iter().filter(|ip| *ip != IpAddr::from(node.address) && !ip.is_loopback()).collect())
}

fn number(variable: &str) -> Result<Option<u64>> {
    env::var(variable).ok().map(|text| text.parse().with_context(|| format!("{variable}={text}"))).transpose()
}

/// What follows the virtual hosts in a file that is wrong.
const MISTAKES: [&str; 6] = [
    "[[vhost",
    "[[vhost]]\nname = \"other\"\ninterface = \"nowhere0\"\nvhid = 99\naddresses = [\"10.77.99.1/24\"]\n",
    "[[vhost]]\nname = \"other\"\ninterface = \"lo\"\nvhid = 99\naddresses = [\"10.77.99.1/24\"]\n",
    "[[vhost]]\nname = \"other\"\ninterface = \"eth0\"\nvhid = 10\naddresses = [\"10.77.99.1/24\"]\n",
    "[[vhost]]\nname = \"other\"\ninterface = \"eth0\"\nvhid = 99\naddresses = [\"10.77.0.100/24\"]\n",
    "[lease]\nlength = \"3s\"\n",
];
/// Those that nothing disturbs.
const STAY: [&str; 2] = ["data", "logs"];
/// After so many reloads it is looked at everything.
const VOLLEY: u64 = 10;
/// Far less than the dead time.
const TOLERATED: Duration = Duration::from_millis(20);
/// How many advertisements may be missed: tests run on busy machines.
const DETECT: u8 = 50;
const PATIENCE: Duration = Duration::from_secs(10);
