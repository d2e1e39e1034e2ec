//! The active role of a pair: moved by an operator under a client's requests, moved by failures, and not moved where it is not
//! to be.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::Agent;
use lab::capture::now_ns;
use lab::client::{Client, Echo};
use lab::introduction::{Linked, introduce};
use lab::lan::Node;
use lab::process::Process;
use nix::sys::signal::Signal;
use serde_json::Value;

#[test]
fn a_planned_switchover_is_hardly_felt_and_the_address_is_never_on_two_nodes() -> Result<()> {
    let Some(lab) = paired("switch")? else { return Ok(()) };
    let Linked { a, b, pair, .. } = &lab;
    let _echoes = [Echo::start(&pair.a.netns, ADDRESS)?, Echo::start(&pair.b.netns, ADDRESS)?];
    let watches = [Watch::start(&pair.a)?, Watch::start(&pair.b)?];
    let client = Client::start(&pair.witness.netns, ADDRESS)?;
    until("an answer", || Ok(!client.answers().is_empty()))?;
    let mut gaps = Vec::new();
    for round in 0..rounds() {
        let (from, to) = if round % 2 == 0 { (a, b) } else { (b, a) };
        // At the one that has it, and at the one that is to have it.
        let at = if round % 4 < 2 { from } else { to };
        let began = now_ns();
        let output = at.command("failover")?;
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.code() == Some(0), "round {round}: {output:?}");
        ensure!(printed.contains("the role has moved"), "{printed}");
        wait_for_phase(to, "active")?;
        wait_for_phase(from, "standby")?;
        let answers = client.answers().len();
        until("answers of the new one", || Ok(client.answers().len() > answers + 20))?;
        let (before, after) = client.longest_gap(began, now_ns()).context("no answers")?;
        gaps.push(Duration::from_nanos(after - before));
    }
    gaps.sort_unstable();
    let (median, least, most) = (gaps[gaps.len() / 2], gaps[0], gaps[gaps.len() - 1]);
    println!(
        "{} switchovers: without an answer {median:?} in the median ({least:?} to {most:?})",
        gaps.len()
    );
    ensure!(median <= Duration::from_millis(5), "{gaps:?}");
    for watch in &watches {
        watch.is_current()?;
    }
    never_on_both(&watches.map(|watch| watch.lines()))
}

#[test]
fn a_silence_of_one_path_moves_nothing_and_has_a_name_on_both() -> Result<()> {
    let Some(lab) = paired("paths")? else { return Ok(()) };
    let Linked { a, b, pair, interlink } = &lab;
    // The interlink cut, CARP goes on.
    interlink.cut(&pair.b)?;
    for agent in [a, b] {
        named_soon(agent, "NO_PONG")?;
    }
    ensure!(phase(a)? == "active" && phase(b)? == "standby", "the role moved");
    let refused = b.command("failover")?;
    ensure!(refused.status.code() == Some(5), "{refused:?}");
    interlink.mend(&pair.b)?;
    for agent in [a, b] {
        quiet(agent)?;
    }
    // CARP cut, the interlink goes on.
    pair.lan.isolate(&pair.b)?;
    for agent in [a, b] {
        named_soon(agent, "SAME_STATE_MASTER")?;
    }
    ensure!(phase(a)? == "active" && phase(b)? == "standby", "the role moved");
    ensure!(pair.a.has_address(ADDRESS)? && !pair.b.has_address(ADDRESS)?, "the address moved");
    for agent in [a, b] {
        let refused = agent.command("failover")?;
        let why = String::from_utf8_lossy(&refused.stderr).into_owned();
        ensure!(refused.status.code() == Some(5) && why.contains("SAME_STATE"), "{refused:?}");
    }
    pair.lan.rejoin(&pair.b)?;
    for agent in [a, b] {
        quiet(agent)?;
    }
    ensure!(phase(a)? == "active" && phase(b)? == "standby", "the role moved");
    // Both cut, and no third opinion: both serve, and the lower generation yields afterwards.
    interlink.cut(&pair.b)?;
    pair.lan.isolate(&pair.b)?;
    wait_for_phase(b, "active")?;
    ensure!(phase(a)? == "active", "{:#}", a.status()?["pair"]);
    interlink.mend(&pair.b)?;
    wait_for_phase(a, "standby")?;
    ensure!(phase(b)? == "active" && !pair.a.has_address(ADDRESS)?, "who has the newer generation keeps it");
    pair.lan.rejoin(&pair.b)?;
    for agent in [a, b] {
        quiet(agent)?;
    }
    Ok(())
}

#[test]
fn an_agent_that_dies_or_stops_is_replaced_and_comes_back_as_the_standby() -> Result<()> {
    let Some(mut lab) = paired("dies")? else { return Ok(()) };
    lab.a.kill()?;
    wait_for_phase(&lab.b, "active")?;
    ensure!(lab.pair.b.has_address(ADDRESS)?, "no address");
    lab.a.restart(&lab.pair.a)?;
    wait_for_phase(&lab.a, "standby")?;
    ensure!(!lab.pair.a.has_address(ADDRESS)? && phase(&lab.b)? == "active", "the role moved");
    quiet(&lab.b)?;
    // Stopped, and gone on with.
    lab.b.process.signal(Signal::SIGSTOP)?;
    let taken = wait_for_phase(&lab.a, "active");
    lab.b.process.signal(Signal::SIGCONT)?;
    taken?;
    wait_for_phase(&lab.b, "standby")?;
    ensure!(!lab.pair.b.has_address(ADDRESS)? && phase(&lab.a)? == "active", "the role moved");
    quiet(&lab.a)?;
    // In order: the other one has it before this one is gone.
    let mark = lab.b.mark();
    lab.a.leave()?;
    wait_for_phase(&lab.b, "active")?;
    let told = lab.b.process.lines().split_off(mark).join("\n");
    ensure!(told.contains("switchover ended: the role has moved"), "{told}");
    Ok(())
}

#[test]
fn a_link_that_flaps_moves_the_role_once_at_most() -> Result<()> {
    let Some(lab) = paired("flapping")? else { return Ok(()) };
    let Linked { a, b, pair, .. } = &lab;
    let began = Instant::now();
    let until = flapping();
    while began.elapsed() < until {
        pair.lan.cut(&pair.a)?;
        thread::sleep(HALF);
        pair.lan.mend(&pair.a)?;
        thread::sleep(HALF);
    }
    let takes = |agent: &Agent| {
        let lines = agent.process.lines();
        lines.iter().filter(|line| line.contains("pair: taking over")).count()
    };
    // The first of all is from the introduction.
    let changes = (takes(a) + takes(b)).saturating_sub(1);
    println!("{:?} of flapping: the role moved {changes} times", began.elapsed());
    ensure!(changes <= 1, "{changes} changes");
    settled(a, b)
}

#[test]
fn what_an_operator_forbids_does_not_happen() -> Result<()> {
    let Some(mut lab) = paired("forbids")? else { return Ok(()) };
    lab.a.tell("disable")?;
    wait(&lab.b, PATIENCE, |status| status["pair"]["disabled"] == true)?;
    lab.a.kill()?;
    wait(&lab.b, PATIENCE, |status| status["pair"]["wait"] == "disabled")?;
    ensure!(phase(&lab.b)? == "standby" && !lab.pair.b.has_address(ADDRESS)?, "it took over");
    lab.b.tell("enable")?;
    wait_for_phase(&lab.b, "active")?;
    // Against a peer of which nothing is known, by force only, and whoever forces names the node.
    let forced = lab.b.command_with(&["failover", "--force"])?;
    ensure!(forced.status.code() == Some(2), "{forced:?}");
    Ok(())
}

/// Two agents that know each other, the first of them active.
fn paired(label: &str) -> Result<Option<Linked>> {
    if !lab::available() {
        return Ok(None);
    }
    let lab = Linked::start(label, &[99])?;
    introduce((&lab.pair.a, &lab.a), (&lab.pair.b, &lab.b))?;
    settled(&lab.a, &lab.b)?;
    ensure!(phase(&lab.a)? == "active", "the one that served");
    Ok(Some(lab))
}

/// One is active, the other one stands by, and nothing is wrong.
fn settled(a: &Agent, b: &Agent) -> Result<()> {
    for agent in [a, b] {
        quiet(agent)?;
    }
    until("one active", || {
        let mut phases = [phase(a)?, phase(b)?];
        phases.sort_unstable();
        Ok(phases == ["active", "standby"])
    })
}

fn phase(agent: &Agent) -> Result<String> {
    Ok(agent.status()?["pair"]["phase"].as_str().unwrap_or_default().to_owned())
}

fn wait_for_phase(agent: &Agent, phase: &str) -> Result<()> {
    wait(agent, PATIENCE, |status| status["pair"]["phase"] == phase)
}

fn reasons(status: &Value) -> Vec<String> {
    let all = status["reasons"].as_array().into_iter().flatten();
    all.filter_map(|reason| reason["name"].as_str()).map(str::to_owned).collect()
}

fn quiet(agent: &Agent) -> Result<()> {
    wait(agent, PATIENCE, |status| status["peer"].is_object() && reasons(status).is_empty())
}

/// Within two seconds, by whatever name, and by this one.
fn named_soon(agent: &Agent, name: &str) -> Result<()> {
    wait(agent, NAMED, |status| reasons(status).iter().any(|reason| reason == name))
}

/// Asks until the status is as wanted.
fn wait(agent: &Agent, patience: Duration, wanted: impl Fn(&Value) -> bool) -> Result<()> {
    let began = Instant::now();
    loop {
        let status = agent.status()?;
        if wanted(&status) {
            return Ok(());
        }
        let shown =
            || format!("{:#} {:?}\n{}", status["pair"], reasons(&status), agent.process.lines().join("\n"));
        ensure!(began.elapsed() < patience, "not within {patience:?}: {}", shown());
        thread::sleep(Duration::from_millis(10));
    }
}

fn until(what: &str, mut look: impl FnMut() -> Result<bool>) -> Result<()> {
    let began = Instant::now();
    while !look()? {
        ensure!(began.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// What the kernel tells of a node's addresses, with its time.
struct Watch {
    process: Process,
    begins_with: bool,
}

impl Watch {
    fn start(node: &Node) -> Result<Self> {
        let mut command = Command::new("ip");
        command.args(["-ts", "-o", "monitor", "address"]);
        let process = node.netns.spawn(&command)?;
        // It listens once it tells of an address that comes and goes.
        node.netns.ip("link set lo up")?;
        until("the monitor", || {
            node.netns.ip("addr add 192.0.2.1/32 dev lo")?;
            node.netns.ip("addr del 192.0.2.1/32 dev lo")?;
            Ok(process.lines().iter().any(|line| line.contains("192.0.2.1")))
        })?;
        Ok(Self { process, begins_with: node.has_address(ADDRESS)? })
    }

    /// Nothing was lost on the way here.
    fn is_current(&self) -> Result<()> {
        ensure!(
            !self.process.lines().iter().any(|line| line.contains("overrun")),
            "the monitor lost something"
        );
        Ok(())
    }

    /// Whether the address was there at first, and from when on it was, or was not.
    fn lines(&self) -> (bool, Vec<(String, bool)>) {
        let address = format!("inet {ADDRESS}/");
        let lines = self.process.lines();
        let ours = lines.iter().filter(|line| line.contains(&address));
        let change = |line: &String| {
            let time = line.split(']').next().unwrap_or_default().to_owned();
            (time, !line.contains("Deleted"))
        };
        (self.begins_with, ours.map(change).collect())
    }
}

/// Goes through what happened on both, in its order.
fn never_on_both(watches: &[(bool, Vec<(String, bool)>); 2]) -> Result<()> {
    let mut has = [watches[0].0, watches[1].0];
    let mut changes: Vec<(String, usize, bool)> = Vec::new();
    for (node, (_, lines)) in watches.iter().enumerate() {
        changes.extend(lines.iter().map(|(time, there)| (time.clone(), node, *there)));
    }
    // At the same microsecond, what came counts first.
    changes.sort_by(|one, other| (&one.0, !one.2).cmp(&(&other.0, !other.2)));
    ensure!(changes.len() > 4, "nothing was seen: {changes:?}");
    for (time, node, there) in &changes {
        has[*node] = *there;
        ensure!(!(has[0] && has[1]), "on both at {time}: {changes:#?}");
    }
    Ok(())
}

/// Thirty in the long form.
fn rounds() -> usize {
    std::env::var("HA_SWITCHOVERS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(8)
}

/// A minute in the long form.
fn flapping() -> Duration {
    let seconds = std::env::var("HA_FLAPPING_S").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(6))
}

const ADDRESS: std::net::Ipv4Addr = std::net::Ipv4Addr::new(10, 77, 0, 100);
const HALF: Duration = Duration::from_millis(50);
const NAMED: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(10);
