//! More than two, and others: three nodes with real ucarps among them, partitions that heal, and nodes that want
//! to give up their role.
//!
//! ucarp receives once a second (CARP specification §5.1), so whatever it decides comes up to a second late.

use std::net::Ipv4Addr;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::capture::now_ns;
use lab::pair::{A, B, VIRTUAL, at_once};
use lab::pauses::undisturbed;
use lab::{Agent, AgentConfig, Client, Echo, Lan, Node, Pair, Ucarp, UcarpConfig};
use nix::sys::signal::Signal;
use serde_json::Value;

/// All at once, because each of them mostly waits.
#[test]
fn groups_with_ucarp_have_one_master_in_the_end() -> Result<()> {
    at_once(&[
        ("best", ours_is_the_best_of_three),
        ("middle", ours_is_the_second_of_three),
        ("worst", ours_is_the_worst_of_three),
        ("heal-o", a_partition_with_a_worse_ucarp_heals),
        ("heal-u", a_partition_with_a_better_ucarp_heals),
        ("hold-u", a_held_master_hands_over_to_ucarp),
    ])
}

fn ours_is_the_best_of_three(pair: &Pair) -> Result<()> {
    let mut group = Group::new(pair)?;
    group.join(0, Kind::Ours { preempt: true })?;
    group.expect_master(0).context("alone")?;
    group.join(1, Kind::Ucarp { preempt: false })?;
    group.join(2, Kind::Ucarp { preempt: false })?;
    group.expect_master(0).context("together")?;
    group.lose(0)?;
    group.expect_master(1).context("the best lost power")?;
    group.join(0, Kind::Ours { preempt: true })?;
    group.expect_master(0).context("the best preempted")?;
    group.leave(0)?;
    group.expect_master(1).context("the best left")
}

fn ours_is_the_second_of_three(pair: &Pair) -> Result<()> {
    let mut group = Group::new(pair)?;
    group.join(0, Kind::Ucarp { preempt: true })?;
    group.expect_master(0).context("alone")?;
    group.join(1, Kind::Ours { preempt: false })?;
    group.join(2, Kind::Ucarp { preempt: false })?;
    group.expect_master(0).context("together")?;
    group.lose(0)?;
    group.expect_master(1).context("the best lost power")?;
    group.join(0, Kind::Ucarp { preempt: true })?;
    group.expect_master(0).context("the best preempted")?;
    group.leave(0)?;
    group.expect_master(1).context("the best left")?;
    group.leave(1)?;
    group.expect_master(2).context("ours left, too")
}

fn ours_is_the_worst_of_three(pair: &Pair) -> Result<()> {
    let mut group = Group::new(pair)?;
    group.join(0, Kind::Ucarp { preempt: false })?;
    group.expect_master(0).context("alone")?;
    group.join(1, Kind::Ucarp { preempt: true })?;
    group.join(2, Kind::Ours { preempt: false })?;
    group.expect_master(0).context("together")?;
    group.lose(0)?;
    group.expect_master(1).context("the best lost power")?;
    group.lose(1)?;
    group.expect_master(2).context("the second lost power")?;
    group.join(1, Kind::Ucarp { preempt: true })?;
    group.expect_master(1).context("the second preempted")
}

fn a_partition_with_a_worse_ucarp_heals(pair: &Pair) -> Result<()> {
    let group = Group::of_two(pair, Kind::Ours { preempt: false }, Kind::Ucarp { preempt: false })?;
    group.heal(Duration::from_secs(3))
}

fn a_partition_with_a_better_ucarp_heals(pair: &Pair) -> Result<()> {
    let group = Group::of_two(pair, Kind::Ucarp { preempt: false }, Kind::Ours { preempt: false })?;
    group.heal(Duration::from_secs(3))
}

fn a_held_master_hands_over_to_ucarp(pair: &Pair) -> Result<()> {
    let group = Group::of_two(pair, Kind::Ours { preempt: true }, Kind::Ucarp { preempt: true })?;
    let Some(Member::Ours(agent)) = &group.members[0] else { unreachable!("it was just made") };
    let mark = pair.capture.mark();
    agent.tell("hold")?;
    // ucarp knows no demotion: it sees a worse priority.
    pair.advertisement(mark, |seen| seen.source == A && seen.advskew >= 240 && seen.demotion > 0)?;
    group.expect_master(1).context("held")?;
    ensure!(agent.status()?["demotion"]["level"].as_u64() > Some(0), "{:#}", agent.status()?);
    agent.tell("resume")?;
    group.expect_master(0).context("resumed")
}

#[test]
fn a_partition_of_ours_heals_within_one_dead_time() -> Result<()> {
    scenario("heal", |pair| {
        let group = Group::with(pair, FAST, Kind::Ours { preempt: false }, Kind::Ours { preempt: false })?;
        group.heal(DEAD)
    })
}

#[test]
fn a_held_master_hands_over_and_takes_back() -> Result<()> {
    scenario("hold", |pair| {
        let (a, b) = pair.start(&AgentConfig { preempt: true, ..fast(0) }, &fast(100))?;
        let (on_a, on_b, mark) = (a.mark(), b.mark(), pair.capture.mark());
        a.tell("hold")?;
        // Without preempting: whoever wants to give up is asked for nothing.
        b.wait_for_state(on_b, "MASTER")?;
        a.wait_for_state(on_a, "BACKUP")?;
        pair.only_master(B, 20)?;
        let status = a.status()?;
        ensure!(status["demotion"]["level"].as_u64() > Some(0), "{status:#}");
        ensure!(status["demotion"]["causes"][0]["name"] == "hold", "{status:#}");
        let said = pair.advertisement(mark, |seen| seen.source == A && seen.demotion > 0)?;
        ensure!(said.advskew >= 240, "others see no worse priority: {said:?}");
        ensure!(pair.gap(A, B)? < DEAD, "the handover left {:?} without a master", pair.gap(A, B)?);
        ensure!(pair.b.has_address(VIRTUAL)? && !pair.a.has_address(VIRTUAL)?, "the address did not move");

        let (on_a, on_b) = (a.mark(), b.mark());
        a.tell("resume")?;
        a.wait_for_state(on_a, "MASTER")?;
        b.wait_for_state(on_b, "BACKUP")?;
        pair.only_master(A, 20)?;
        let status = a.status()?;
        ensure!(status["demotion"]["level"] == 0, "{status:#}");
        ensure!(status["demotion"]["causes"] == serde_json::json!([]), "{status:#}");
        Ok(())
    })
}

#[test]
fn a_held_backup_takes_over_when_nobody_else_is_there() -> Result<()> {
    scenario("held", |pair| {
        let (mut a, b) = pair.start(&fast(0), &fast(100))?;
        let mark = b.mark();
        b.tell("hold")?;
        pair.only_master(A, 20)?;
        ensure!(b.changes(mark).is_empty(), "{:?}", b.changes(mark));
        a.kill()?;
        b.wait_for_state(mark, "MASTER")?;
        pair.only_master(B, 20)
    })
}

#[test]
fn a_second_interface_without_a_link_demotes_the_node() -> Result<()> {
    scenario("second", |pair| {
        let other = Lan::new("second2")?;
        for (node, address) in [(&pair.a, "10.78.0.1"), (&pair.b, "10.78.0.2")] {
            other.cable_as(node, "eth1")?;
            node.netns.ip(&format!("address add {address}/24 dev eth1"))?;
        }
        let toml = |node: &str, advskew| {
            let second = AgentConfig {
                interface: "eth1".to_owned(),
                vhid: 11,
                addresses: vec!["10.78.0.100/24".to_owned()],
                ..fast(advskew)
            };
            let second = second.toml(node).replace("\"data\"", "\"web\"");
            let second =
                second.find("[[vhost]]").and_then(|at| second.get(at..)).unwrap_or_default().to_owned();
            fast(advskew).toml(node) + &second
        };
        let a = Agent::launch(&pair.a, &toml("a", 0), "secret")?;
        a.process.wait_for_line(0, "running", PATIENCE)?;
        until_states(&a, ["MASTER", "MASTER"])?;
        let b = Agent::launch(&pair.b, &toml("b", 100), "secret")?;
        b.process.wait_for_line(0, "running", PATIENCE)?;
        until_states(&b, ["BACKUP", "BACKUP"])?;
        pair.only_master(A, 20)?;

        other.cut(&pair.a)?;
        until_states(&b, ["MASTER", "MASTER"])?;
        until_states(&a, ["BACKUP", "INIT"])?;
        pair.only_master(B, 20)?;
        ensure!(pair.b.has_address(VIRTUAL)? && !pair.a.has_address(VIRTUAL)?, "the address did not move");
        let status = a.status()?;
        ensure!(status["demotion"]["level"].as_u64() > Some(0), "{status:#}");
        ensure!(status["demotion"]["causes"][0]["name"] == "link_down", "{status:#}");
        ensure!(status["demotion"]["causes"].to_string().contains("eth1"), "which one? {status:#}");

        other.mend(&pair.a)?;
        until_states(&a, ["BACKUP", "BACKUP"])?;
        let status = a.status()?;
        ensure!(status["demotion"]["level"] == 0, "{status:#}");
        pair.only_master(B, 20)
    })
}

#[test]
fn a_master_that_stood_still_listens_first() -> Result<()> {
    scenario("stood", |pair| {
        let (a, b) = pair.start(&fast(0), &fast(100))?;
        let mark = b.mark();
        a.process.signal(Signal::SIGSTOP)?;
        b.wait_for_state(mark, "MASTER")?;
        pair.only_master(B, 20)?;
        let (mark, woken) = (pair.capture.mark(), now_ns());
        a.process.signal(Signal::SIGCONT)?;
        // Either goes on, but not both.
        let until = woken + 500_000_000;
        pair.advertisement(mark, |seen| seen.at_ns > until)?;
        let seen = pair.capture.advertisements(mark);
        // Its last word, if it steps back, is worse than the other's.
        if let Some(first) = seen.iter().find(|seen| seen.source == A && seen.advskew < 100) {
            let listened = Duration::from_nanos(first.at_ns.saturating_sub(woken));
            ensure!(listened > Duration::from_millis(9), "it spoke after {listened:?}");
        }
        let last = seen.last().context("nobody advertises")?.source;
        pair.only_master(last, 20)?;
        let states = [a.vhost()?["state"].clone(), b.vhost()?["state"].clone()];
        let expected = if last == A { ["MASTER", "BACKUP"] } else { ["BACKUP", "MASTER"] };
        ensure!(states == expected, "{states:?} while {last} advertises");
        let has_address = [pair.a.has_address(VIRTUAL)?, pair.b.has_address(VIRTUAL)?];
        ensure!(has_address == [last == A, last == B], "{has_address:?} while {last} advertises");
        Ok(())
    })
}

/// Waits until the virtual hosts of an agent are in these states: `data` and `web`.
fn until_states(agent: &Agent, expected: [&str; 2]) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = agent.status()?;
        let vhosts = status["vhosts"].as_array().context("no virtual hosts")?;
        let state =
            |name: &str| vhosts.iter().find(|vhost| vhost["name"] == name).map(|vhost| &vhost["state"]);
        if [state("data"), state("web")] == expected.map(Value::from).each_ref().map(Some) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "data and web should be {expected:?}: {status:#}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Nodes with the better ones first, and a client that talks to the virtual address.
struct Group<'a> {
    members: [Option<Member>; 3],
    nodes: [&'a Node; 2],
    pace: Option<&'static str>,
    _client: Client,
    _echoes: Vec<Echo>,
    third: Node,
    pair: &'a Pair,
}

enum Member {
    Ours(Agent),
    Ucarp(Ucarp),
}

#[derive(Clone, Copy)]
enum Kind {
    Ours { preempt: bool },
    Ucarp { preempt: bool },
}

impl<'a> Group<'a> {
    /// Three nodes, on which nothing runs yet.
    fn new(pair: &'a Pair) -> Result<Self> {
        let third = pair.lan.node("c", C)?;
        let nodes = [&pair.a, &pair.b];
        let echoes = [&pair.a, &pair.b, &third].map(|node| Echo::start(&node.netns, VIRTUAL));
        Ok(Self {
            members: [None, None, None],
            nodes,
            pace: None,
            _client: Client::start(&pair.witness.netns, VIRTUAL)?,
            _echoes: echoes.into_iter().collect::<Result<_>>()?,
            third,
            pair,
        })
    }

    /// Two of them at the classic pace, the better one master.
    fn of_two(pair: &'a Pair, better: Kind, worse: Kind) -> Result<Self> {
        Self::with(pair, None, better, worse)
    }

    fn with(pair: &'a Pair, pace: Option<&'static str>, better: Kind, worse: Kind) -> Result<Self> {
        let mut group = Self { pace, ..Self::new(pair)? };
        group.join(0, better)?;
        group.pair.advertisement(0, |seen| seen.source == A)?;
        group.join(1, worse)?;
        group.expect_master(0).context("together")?;
        Ok(group)
    }

    fn node(&self, index: usize) -> &Node {
        self.nodes.get(index).copied().unwrap_or(&self.third)
    }

    /// Plugs a node's cable in and starts something on it.
    fn join(&mut self, index: usize, kind: Kind) -> Result<()> {
        let advskew = SKEWS[index];
        let node = self.node(index);
        self.pair.lan.mend(node)?;
        let member = match kind {
            Kind::Ours { preempt } => {
                let interval = self.pace.map(str::to_owned);
                let detect = self.pace.map(|_| 3);
                let config = AgentConfig { advskew, preempt, interval, detect, ..AgentConfig::default() };
                Member::Ours(Agent::start(node, &config)?)
            }
            Kind::Ucarp { preempt } => Member::Ucarp(Ucarp::start(
                node,
                &UcarpConfig { advskew, preempt, ..UcarpConfig::default() },
            )?),
        };
        self.members[index] = Some(member);
        Ok(())
    }

    /// Lets a node lose power. Its address stays behind: nobody sees it.
    fn lose(&mut self, index: usize) -> Result<()> {
        self.pair.lan.cut(self.node(index))?;
        self.members[index] = None;
        Ok(())
    }

    /// Lets whatever runs on a node end in order.
    fn leave(&mut self, index: usize) -> Result<()> {
        match self.members[index].take().context("nobody is there")? {
            Member::Ours(agent) => agent.leave(),
            Member::Ucarp(mut ucarp) => {
                ucarp.process.signal(Signal::SIGTERM)?;
                ucarp.process.wait(PATIENCE).map(drop)
            }
        }
    }

    /// Waits until one node alone has advertised for a while, and checks that the client is answered by it and that
    /// no other node has the address.
    fn expect_master(&self, index: usize) -> Result<()> {
        let node = self.node(index);
        let capture = &self.pair.capture;
        let (quiet, patience) = match self.pace {
            Some(_) => (Duration::from_millis(300), SETTLED / 4),
            None => (Duration::from_millis(2_500), SETTLED),
        };
        let mut since = None;
        let mark = capture.mark();
        let settled = capture.wait_for(mark, patience, |frame| {
            let seen = frame.advertisement()?;
            if seen.source != node.address {
                since = None;
                return None;
            }
            let since = *since.get_or_insert(seen.at_ns);
            (seen.at_ns - since > nanos(quiet)).then_some(())
        });
        let seen = capture.advertisements(mark);
        settled.with_context(|| format!("{} should be the only master: {:?}", node.name, last(&seen)))?;
        self.expect_answers(index)?;
        for (other, member) in self.members.iter().enumerate() {
            let node = self.node(other);
            let has_address = member.is_some() && node.has_address(VIRTUAL)?;
            ensure!(has_address == (other == index), "address on {}: {has_address}", node.name);
        }
        Ok(())
    }

    /// Waits until the client is answered by a node.
    fn expect_answers(&self, index: usize) -> Result<()> {
        let node = self.node(index);
        let hardware = node.hardware("eth0")?;
        let answered =
            self.pair.capture.wait_for(self.pair.capture.mark(), Duration::from_secs(2), |frame| {
                frame.answer().filter(|answer| answer.hardware == hardware)
            });
        answered.with_context(|| format!("the client is not answered by {}", node.name)).map(drop)
    }

    /// Parts the better node from the worse one and the client, until both are masters, and lets them meet again: the
    /// better one alone is left within a dead time, and has the client's traffic.
    fn heal(&self, dead: Duration) -> Result<()> {
        let pair = self.pair;
        pair.lan.isolate(&pair.a)?;
        pair.advertisement(pair.capture.mark(), |seen| seen.source == B)?;
        self.expect_answers(1)?;
        let mark = pair.capture.mark();
        let began = Instant::now();
        pair.lan.rejoin(&pair.a)?;
        let first = pair.advertisement(mark, |seen| seen.source == A)?;
        self.expect_master(0)?;
        let took = began.elapsed();
        let seen = pair.capture.advertisements(mark);
        let last = seen.iter().rfind(|seen| seen.source == B).map_or(first.at_ns, |seen| seen.at_ns);
        let both = Duration::from_nanos(last.saturating_sub(first.at_ns));
        ensure!(both < dead, "two masters for {both:?}, settled after {took:?}: {seen:?}");
        Ok(())
    }
}

/// Runs a scenario on a new pair; one at a time, because they judge milliseconds.
fn scenario(label: &str, run: impl Fn(&Pair) -> Result<()>) -> Result<()> {
    static TURN: Mutex<()> = Mutex::new(());
    if !lab::available() {
        return Ok(());
    }
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    undisturbed(|| run(&Pair::new(label)?))
}

fn fast(advskew: u8) -> AgentConfig {
    AgentConfig { advskew, ..AgentConfig::default() }
}

fn last<T>(list: &[T]) -> &[T] {
    &list[list.len().saturating_sub(10)..]
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

const FAST: Option<&str> = Some("10ms");
/// Three intervals.
const DEAD: Duration = Duration::from_millis(30);
/// The third node's address.
const C: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 4);
/// Priorities, the best first.
const SKEWS: [u8; 3] = [0, 50, 100];
const PATIENCE: Duration = Duration::from_secs(10);
/// When a group has settled at last: ucarps may become masters together, and sort it out afterwards.
const SETTLED: Duration = Duration::from_secs(20);
