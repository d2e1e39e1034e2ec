//! An agent that is restarted while its node is master: nobody notices.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::introduction::{Linked, introduce};
use lab::pair::{Pair, VIRTUAL};
use lab::paired::{phase, settled};
use lab::{Agent, AgentConfig, Client, Echo};
use nix::sys::signal::Signal;

#[test]
fn the_agent_of_a_master_is_restarted_and_nobody_notices() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let _alone = alone();
    let rounds = rounds("HA_RESTARTS", 9)?;
    for mac in ["interface", "virtual"] {
        let pair = Pair::new("restart")?;
        let _echoes = [Echo::start(&pair.a.netns, VIRTUAL)?, Echo::start(&pair.b.netns, VIRTUAL)?];
        let installed = tempfile::tempdir()?;
        let config = AgentConfig {
            interval: Some("100ms".to_owned()),
            mac: Some(mac.to_owned()),
            program: Some(install(installed.path())?),
            ..AgentConfig::default()
        };
        let standby = AgentConfig { advskew: 100, program: None, ..config.clone() };
        let (mut a, b) = pair.start(&config, &standby)?;
        pair.advertisement(pair.capture.mark(), |_| true)?;
        let client = Client::start(&pair.witness.netns, VIRTUAL)?;
        let mark = b.mark();
        for round in 0..rounds {
            let way = WAYS[round % WAYS.len()];
            let from = restart(&pair, &mut a, way, installed.path())?;
            let change = a.process.wait_for_line(from, "INIT -> ", PATIENCE)?;
            let line = a.process.lines()[change].clone();
            ensure!(
                line.contains("INIT -> MASTER: the agent before"),
                "{mac}, round {round}, {way:?}: {line}\n{}",
                a.process.lines()[from.saturating_sub(5)..].join("\n")
            );
            // The others have heard it before the next one.
            pair.advertisement(pair.capture.mark(), |_| true)?;
            let (changes, lost) = (b.changes(mark), client.lost());
            let told = || a.process.lines()[from.saturating_sub(8)..].join("\n");
            ensure!(changes.is_empty(), "{mac}, round {round}, {way:?}: {changes:?}\n{}", told());
            ensure!(lost == 0, "{mac}, round {round}, {way:?}: {lost} requests were lost\n{}", told());
        }
        eprintln!("{mac}: {rounds} restarts, {} requests, none lost", client.answers().len());
        a.leave()?;
        b.leave()?;
    }
    Ok(())
}

#[test]
fn at_a_pace_that_no_restart_keeps_the_others_serve_meanwhile() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let _alone = alone();
    let pair = Pair::new("planned")?;
    let _echoes = [Echo::start(&pair.a.netns, VIRTUAL)?, Echo::start(&pair.b.netns, VIRTUAL)?];
    let config = AgentConfig { preempt: true, ..AgentConfig::default() };
    let (a, b) = pair.start(&config, &AgentConfig { advskew: 100, ..config.clone() })?;
    let client = Client::start(&pair.witness.netns, VIRTUAL)?;
    for round in 0..rounds("HA_PLANNED", 3)? {
        let (began, on_a, on_b) = (lab::capture::now_ns(), a.mark(), b.mark());
        a.tell("restart")?;
        b.wait_for_state(on_b, "MASTER")?;
        let back = a.wait_for_state(on_a, "MASTER")?;
        b.wait_for_state(on_b, "BACKUP")?;
        pair.advertisement(pair.capture.mark(), |_| true)?;
        let gap = client.longest_gap(began, lab::capture::now_ns()).context("no answers")?;
        let gap_ms = Duration::from_nanos(gap.1 - gap.0).as_secs_f64() * 1e3;
        ensure!(gap_ms <= 20.0, "round {round}: {gap_ms:.1} ms without an answer");
        let switches = [a.changes(on_a), b.changes(on_b)];
        let to_master = |changes: &[String]| changes.iter().filter(|line| line.contains("-> MASTER")).count();
        ensure!(switches.each_ref().map(|changes| to_master(changes)) == [1, 1], "{switches:?}, {back}");
        eprintln!("round {round}: longest time without an answer {gap_ms:.1} ms");
    }
    a.leave()?;
    b.leave()
}

#[test]
fn the_active_node_of_a_pair_goes_on_and_so_does_its_standby() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let _alone = alone();
    let configs = [0, 100].map(|advskew| AgentConfig {
        advskew,
        interval: Some("100ms".to_owned()),
        ..AgentConfig::default()
    });
    let mut lab = Linked::start_with("pair", &[99], configs)?;
    introduce((&lab.pair.a, &lab.a), (&lab.pair.b, &lab.b))?;
    settled(&lab.a, &lab.b)?;
    ensure!(phase(&lab.a)? == "active", "the one that served");
    let _echoes = [Echo::start(&lab.pair.a.netns, VIRTUAL)?, Echo::start(&lab.pair.b.netns, VIRTUAL)?];
    let client = Client::start(&lab.pair.witness.netns, VIRTUAL)?;
    let term = |agent: &Agent| Ok::<_, anyhow::Error>(agent.status()?["pair"]["generation"].clone());
    let before = term(&lab.a)?;
    for way in [Signal::SIGKILL, Signal::SIGTERM] {
        for standby in [false, true] {
            let (agent, node) = if standby { (&mut lab.b, &lab.pair.b) } else { (&mut lab.a, &lab.pair.a) };
            if way == Signal::SIGTERM {
                let output = agent.command_with(&["restart", "--announce", "10"])?;
                ensure!(output.status.success(), "{output:?}");
            }
            agent.replace(node, way)?;
            settled(&lab.a, &lab.b)?;
            ensure!(phase(&lab.a)? == "active", "{way}, standby {standby}: the role moved");
            ensure!(lab.pair.a.has_address(VIRTUAL)? && !lab.pair.b.has_address(VIRTUAL)?, "{way}");
        }
    }
    ensure!(client.lost() == 0, "{} requests were lost", client.lost());
    println!(
        "generation {before} before, {} after; {} requests, none lost",
        term(&lab.a)?,
        client.answers().len()
    );
    lab.a.leave()?;
    lab.b.leave()
}

#[test]
fn what_does_not_belong_to_it_any_more_is_not_gone_on_with() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let _alone = alone();
    let pair = Pair::new("other")?;
    let addresses = ["10.77.0.100/24", "10.77.0.101/24"].map(str::to_owned).to_vec();
    let config = AgentConfig {
        interval: Some("1s".to_owned()),
        mac: Some("virtual".to_owned()),
        addresses,
        ..AgentConfig::default()
    };
    let mut a = Agent::start(&pair.a, &config)?;
    a.wait_for_state(0, "MASTER")?;
    a.rewrite(&pair.a, &AgentConfig { addresses: config.addresses[..1].to_vec(), ..config.clone() })?;
    a.replace(&pair.a, Signal::SIGKILL)?;
    a.process.wait_for_line(0, "INIT -> MASTER", PATIENCE)?;
    ensure!(pair.a.has_address(VIRTUAL)? && !pair.a.has_address([10, 77, 0, 101])?, "an address too many");
    // Another virtual host is another one.
    a.rewrite(&pair.a, &AgentConfig { vhid: 11, ..config })?;
    a.replace(&pair.a, Signal::SIGKILL)?;
    a.process.wait_for_line(0, "INIT -> BACKUP", PATIENCE)?;
    a.leave()
}

/// How an agent is restarted.
#[derive(Clone, Copy, Debug)]
enum Way {
    Killed,
    /// Told to end, after that was announced.
    Announced,
    /// By another program, in the same process.
    Replaced,
}

const WAYS: [Way; 3] = [Way::Killed, Way::Announced, Way::Replaced];

/// Restarts it. Returns from which line on it prints what the next one says.
fn restart(pair: &Pair, agent: &mut Agent, way: Way, installed: &Path) -> Result<usize> {
    match way {
        Way::Killed => agent.replace(&pair.a, Signal::SIGKILL)?,
        Way::Announced => {
            let output = agent.command_with(&["restart", "--announce", "10"])?;
            ensure!(output.status.success(), "{output:?}");
            agent.replace(&pair.a, Signal::SIGTERM)?;
        }
        Way::Replaced => {
            install(installed)?;
            let (from, pid) = (agent.mark(), agent.process.pid());
            agent.tell("restart")?;
            agent.process.wait_for_line(from, "running", PATIENCE)?;
            ensure!(agent.process.pid() == pid, "another process");
            return Ok(from);
        }
    }
    Ok(0)
}

/// Puts the agent into a directory, in the place of one that may be there.
fn install(directory: &Path) -> Result<PathBuf> {
    let (new, path) = (directory.join("new"), directory.join("ha-agent"));
    fs::copy(lab::agent_binary()?, &new)?;
    fs::rename(new, &path)?;
    Ok(path)
}

/// One test after the other: agents start before everything of usual priority, the others' clients included.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn rounds(name: &str, else_: usize) -> Result<usize> {
    std::env::var(name).map_or(Ok(else_), |rounds| rounds.parse().context("a number of rounds"))
}

const PATIENCE: Duration = Duration::from_secs(10);
