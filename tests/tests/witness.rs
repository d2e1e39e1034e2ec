//! A pair with a witness: a real etcd, or a gateway, on a network of its own.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use lab::addresses::{Watch, never_on_both};
use lab::etcd::Etcd;
use lab::introduction::{Linked, introduce};
use lab::pair::{Pair, VIRTUAL};
use lab::paired::{named_within, phase, quiet, reasons, settled, takes, until, wait, wait_for_phase};
use lab::{Agent, AgentConfig, Lan, Node};

#[test]
fn where_both_are_cut_off_from_each_other_and_reach_etcd_one_stays_active() -> Result<()> {
    let Some(mut lab) = Lab::etcd("split", true)? else { return Ok(()) };
    let marks = lab.marks();
    let mut watch = Watch::start(&lab.linked.pair)?;
    lab.part()?;
    // Longer than any lease, and than any waiting for one.
    lab::pass(LEASE * 2)?;
    let Linked { a, b, pair, .. } = &lab.linked;
    ensure!(phase(a)? == "active" && phase(b)? != "active", "{:#} {:#}", a.status()?, b.status()?);
    ensure!(pair.a.has_address(VIRTUAL)? && !pair.b.has_address(VIRTUAL)?, "the address moved");
    ensure!(b.status()?["witness"]["holder"] == "a", "{:#}", b.status()?["witness"]);
    lab.held_by("a")?;
    lab.join()?;
    let Linked { a, b, .. } = &lab.linked;
    settled(a, b)?;
    ensure!(phase(a)? == "active" && takes(a, marks[0]) + takes(b, marks[1]) == 0, "the role moved");
    // Now the active one is dead indeed.
    let began = Instant::now();
    lab.linked.a.kill()?;
    wait_for_phase(&lab.linked.b, "active")?;
    println!("killed: with a lease of {LEASE:?} the other one is active after {:?}", began.elapsed());
    ensure!(lab.linked.pair.b.has_address(VIRTUAL)?, "no address");
    lab.held_by("b")?;
    // What an agent leaves that is killed is another matter: see README.md, Limits.
    let changes = watch.catch_up()?;
    ensure!(changes.iter().all(|change| change.node == 1), "{changes:?}");
    Ok(())
}

#[test]
fn who_loses_peer_and_etcd_stops_before_its_lease_can_be_taken() -> Result<()> {
    let Some(lab) = Lab::etcd("loses", false)? else { return Ok(()) };
    let Linked { a, b, pair, .. } = &lab.linked;
    let mut watch = Watch::start(pair)?;
    let events = lab.etcd.as_ref().context("no etcd")?.watch(&lab.middle.netns)?;
    let began = Instant::now();
    lab.part()?;
    lab.network.isolate(&pair.a)?;
    events.wait_for_line(0, "DELETE", PATIENCE)?;
    let deleted = time_of_day()?;
    ensure!(!pair.a.has_address(VIRTUAL)?, "it has the address still, and its lease has ended");
    wait_for_phase(b, "active")?;
    println!("cut off: the other one is active after {:?}", began.elapsed());
    ensure!(pair.b.has_address(VIRTUAL)? && !serves(a)?, "{:#}", a.status()?["pair"]);
    lab.held_by("b")?;
    let changes = watch.catch_up()?;
    never_on_both(&changes)?;
    let [gone, there] = changes.as_slice() else { anyhow::bail!("{changes:?}") };
    ensure!((gone.node, gone.there, there.node, there.there) == (0, false, 1, true), "{changes:?}");
    let before = deleted.checked_sub(gone.at).context("the lease ended before the address was off")?;
    println!("its address was off {before:?} before etcd ended the lease");
    ensure!(before > CLOCKS, "{before:?}");
    ensure!(there.at > deleted, "{there:?}, and the lease ended at {deleted:?}");
    // What comes back finds its place.
    lab.network.rejoin(&pair.a)?;
    lab.join()?;
    settled(a, b)?;
    ensure!(phase(b)? == "active", "the role moved");
    never_on_both(&watch.catch_up()?)
}

#[test]
fn an_etcd_that_is_gone_moves_nothing_and_has_a_name() -> Result<()> {
    let Some(mut lab) = Lab::etcd("gone", false)? else { return Ok(()) };
    let marks = lab.marks();
    lab.etcd.as_mut().context("no etcd")?.kill()?;
    let Linked { a, b, pair, .. } = &lab.linked;
    named_within([a, b], "NO_WITNESS", LEASE)?;
    lab::pass(LEASE * 2)?;
    ensure!(phase(a)? == "active" && phase(b)? == "standby", "the role moved");
    let status = a.status()?;
    ensure!(status["witness"]["vouches_ms"].is_null(), "{:#}", status["witness"]);
    let why = status["witness"]["error"].as_str().unwrap_or_default().to_owned();
    ensure!(why.contains("can't be reached"), "{why}");
    let text = String::from_utf8(a.command_with(&["status", "--all"])?.stdout)?;
    ensure!(text.contains("witness   etcd at http://10.66.0.9:2379"), "{text}");
    // By agreement, the role moves nevertheless.
    let moved = a.command("failover")?;
    ensure!(moved.status.code() == Some(0), "{moved:?}");
    wait_for_phase(b, "active")?;
    wait_for_phase(a, "standby")?;
    ensure!(pair.b.has_address(VIRTUAL)? && !pair.a.has_address(VIRTUAL)?, "the address did not move");
    // And nobody takes it from a node of which nothing is known.
    lab.linked.interlink.cut(&pair.b)?;
    wait(b, PATIENCE, |status| status["pair"]["serving"] == false)?;
    lab::pass(LEASE)?;
    ensure!(!serves(a)? && !serves(b)?, "without the lease");
    ensure!(!pair.a.has_address(VIRTUAL)? && !pair.b.has_address(VIRTUAL)?, "without the lease");
    lab.linked.interlink.mend(&pair.b)?;
    // Each vouches for the other one.
    wait(a, PATIENCE, |status| reasons(status) == ["NO_WITNESS", "REM_NO_WITNESS"])?;
    lab.etcd.as_mut().context("no etcd")?.restart(&lab.middle.netns)?;
    let Linked { a, b, .. } = &lab.linked;
    settled(a, b)?;
    ensure!(takes(a, marks[0]) + takes(b, marks[1]) <= 2, "it moved to and fro");
    Ok(())
}

#[test]
fn a_planned_switchover_hands_the_lease_over() -> Result<()> {
    let Some(lab) = Lab::etcd("planned", false)? else { return Ok(()) };
    let mut watch = Watch::start(&lab.linked.pair)?;
    let Linked { a, b, .. } = &lab.linked;
    let mut generation = lab.held_by("a")?;
    for (from, to, name) in [(a, b, "b"), (b, a, "a"), (a, b, "b")] {
        let began = Instant::now();
        let output = from.command("failover")?;
        ensure!(output.status.code() == Some(0), "{output:?}");
        wait_for_phase(to, "active")?;
        let took = began.elapsed();
        ensure!(took < LEASE, "it has waited for the lease: {took:?}");
        let next = lab.held_by(name)?;
        ensure!(next > generation, "generation {next} after {generation}");
        generation = next;
        wait(to, PATIENCE, |status| status["witness"]["vouches_ms"].is_number())?;
    }
    never_on_both(&watch.catch_up()?)?;
    let Lab { linked, etcd, middle, network: _network } = lab;
    let Linked { a, b, interlink: _interlink, pair } = linked;
    // An agent that ends in order leaves the other one with the lease, so that this one may go on alone.
    let mark = a.mark();
    b.leave()?;
    wait_for_phase(&a, "active")?;
    lab::pass(LEASE)?;
    let told = a.process.lines().split_off(mark).join("\n");
    ensure!(phase(&a)? == "active" && !told.contains("stepping down"), "{told}");
    ensure!(pair.a.has_address(VIRTUAL)?, "no address");
    // And with nobody to hand it over to, it is given back at once.
    a.leave()?;
    let holder = etcd.context("no etcd")?.holder(&middle.netns)?;
    ensure!(holder.is_none(), "{holder:?}");
    Ok(())
}

#[test]
fn a_gateway_keeps_a_node_quiet_that_is_cut_off_and_no_more() -> Result<()> {
    let Some(lab) = Lab::gateway("gateway")? else { return Ok(()) };
    let Linked { a, b, pair, .. } = &lab.linked;
    let mut watch = Watch::start(pair)?;
    wait(a, PATIENCE, |status| status["witness"]["vouches_ms"].is_number())?;
    // Gone, while the pair is well: nothing.
    lab.network.cut(&lab.middle)?;
    named_within([a, b], "NO_WITNESS", LEASE)?;
    lab::pass(LEASE)?;
    ensure!(phase(a)? == "active" && phase(b)? == "standby", "the role moved");
    lab.network.mend(&lab.middle)?;
    for agent in [a, b] {
        quiet(agent)?;
    }
    // Cut off from everything: it stops, and the other one takes over.
    let began = Instant::now();
    lab.part()?;
    lab.network.isolate(&pair.a)?;
    wait_for_phase(b, "active")?;
    println!("cut off: the other one is active after {:?}", began.elapsed());
    ensure!(!serves(a)? && !pair.a.has_address(VIRTUAL)?, "{:#}", a.status()?["pair"]);
    never_on_both(&watch.catch_up()?)?;
    lab.network.rejoin(&pair.a)?;
    lab.join()?;
    settled(a, b)?;
    ensure!(phase(b)? == "active", "the role moved");
    // As it is written: both reach it, and not each other.
    lab.part()?;
    wait_for_phase(a, "active")?;
    ensure!(phase(b)? == "active", "{:#}", b.status()?["pair"]);
    lab.join()?;
    settled(a, b)
}

/// A pair, and a third network with the witness.
struct Lab {
    linked: Linked,
    etcd: Option<Etcd>,
    middle: Node,
    network: Lan,
}

impl Lab {
    fn etcd(label: &str, tls: bool) -> Result<Option<Self>> {
        Self::start(label, |middle| {
            let etcd = Etcd::start(&middle.netns, WITNESS, tls)?;
            Ok((etcd.witness(), Some(etcd)))
        })
    }

    fn gateway(label: &str) -> Result<Option<Self>> {
        Self::start(label, |_| Ok((format!("gateway = \"{WITNESS}\"\n"), None)))
    }

    /// The first one is active.
    fn start(
        label: &str,
        witness: impl FnOnce(&Node) -> Result<(String, Option<Etcd>)>,
    ) -> Result<Option<Self>> {
        if !lab::available() {
            return Ok(None);
        }
        let pair = Pair::new(label)?;
        let network = Lan::new(&format!("{label}-w"))?;
        let middle = network.node("middle", WITNESS)?;
        for (node, host) in [(&pair.a, 1), (&pair.b, 2)] {
            network.cable_as(node, "wit0")?;
            node.netns.ip(&format!("addr add 10.66.0.{host}/24 dev wit0"))?;
        }
        let (lines, etcd) = witness(&middle)?;
        let lines = format!("{lines}lease = \"{}s\"\n", LEASE.as_secs());
        let configs = Linked::configs().map(|config| AgentConfig { witness: Some(lines.clone()), ..config });
        let linked = Linked::start_on(pair, label, &[99], configs)?;
        introduce((&linked.pair.a, &linked.a), (&linked.pair.b, &linked.b))?;
        settled(&linked.a, &linked.b)?;
        ensure!(phase(&linked.a)? == "active", "the one that served");
        wait(&linked.a, PATIENCE, |status| status["witness"]["vouches_ms"].is_number())?;
        Ok(Some(Self { linked, etcd, middle, network }))
    }

    /// Cuts the nodes off from each other: no link between the agents, no CARP.
    fn part(&self) -> Result<()> {
        let Linked { interlink, pair, .. } = &self.linked;
        interlink.cut(&pair.b)?;
        pair.lan.isolate(&pair.a)
    }

    fn join(&self) -> Result<()> {
        let Linked { interlink, pair, .. } = &self.linked;
        interlink.mend(&pair.b)?;
        pair.lan.rejoin(&pair.a)
    }

    fn marks(&self) -> [usize; 2] {
        [self.linked.a.mark(), self.linked.b.mark()]
    }

    /// The generation in which etcd says that this node has the lease, once it does.
    fn held_by(&self, node: &str) -> Result<u64> {
        let mut generation = None;
        until("the lease", || {
            let holder = self.etcd.as_ref().context("no etcd")?.holder(&self.middle.netns)?;
            generation = holder.filter(|(name, _)| name == node).map(|(_, generation)| generation);
            Ok(generation.is_some())
        })?;
        generation.context("no generation")
    }
}

/// Whether its addresses are let on.
fn serves(agent: &Agent) -> Result<bool> {
    Ok(agent.status()?["pair"]["serving"] == true)
}

/// In UTC.
fn time_of_day() -> Result<Duration> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(Duration::new(now.as_secs() % 86_400, now.subsec_nanos()))
}

const WITNESS: Ipv4Addr = Ipv4Addr::new(10, 66, 0, 9);
const LEASE: Duration = Duration::from_secs(3);
/// What the two ways by which events come here may differ by.
const CLOCKS: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(10);
