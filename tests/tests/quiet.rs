//! A master whose agent does not run any more, stopped or killed: its kernel still has the addresses, and answers for them no
//! more, neither ARP nor neighbour discovery.

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::pair::{Pair, VIRTUAL, VIRTUAL6};
use lab::{Agent, AgentConfig, Client, Node};
use nix::sys::signal::Signal;
use serde_json::Value;

#[test]
fn a_master_whose_agent_is_stopped_answers_no_more_once_its_lease_is_over() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    for (lease, quiet) in [("length = \"300ms\"", true), ("length = \"off\"", false)] {
        let pair = Pair::new("quiet")?;
        let start = |node, advskew| {
            let config = AgentConfig { advskew, ..both() };
            let toml = format!("{}\n[lease]\n{lease}\n", config.toml("node"));
            Agent::launch(node, &toml, "secret")
        };
        let a = start(&pair.a, 0)?;
        a.wait_for_state(0, "MASTER")?;
        let b = start(&pair.b, 100)?;
        b.wait_for_state(0, "BACKUP")?;
        let _clients = clients(&pair)?;
        ensure!(pair.claims(ADDRESSES, 20)? == [[true, false]; 2], "only the master answers");

        let mark = b.mark();
        a.process.signal(Signal::SIGSTOP)?;
        b.wait_for_state(mark, "MASTER")?;
        thread::sleep(LEASE + GRACE);
        ensure!(pair.claims(ADDRESSES, 20)? == [[!quiet, true]; 2], "{lease}: the one that is stopped");

        let mark = a.mark();
        a.process.signal(Signal::SIGCONT)?;
        a.process.wait_for_line(mark, "this node", PATIENCE)?;
        let lease = &a.status()?["detector"]["lease"];
        ensure!((lease["lapses"] == 1) == quiet, "{lease:#}");
        ensure!((lease["silenced"].as_u64() > Some(0)) == quiet, "{lease:#}");
        // They agree again, and whoever serves answers.
        let agreed = Instant::now();
        while let found = pair.claims(ADDRESSES, 5)?
            && found.iter().any(|[a, b]| a == b)
        {
            ensure!(agreed.elapsed() < PATIENCE, "both answer, or neither: {found:?}");
        }
        a.leave()?;
        b.leave()?;
    }
    Ok(())
}

#[test]
fn a_master_whose_agent_was_killed_is_quiet_until_the_next_one_knows_who_serves() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let pair = Pair::new("killed")?;
    let standby = AgentConfig { advskew: 100, ..both() };
    let (mut a, b) = pair.start(&both(), &standby)?;
    let _clients = clients(&pair)?;
    let program = program(&pair.a)?.context("nothing is attached")?;
    let link = link(&a)?;

    let mark = b.mark();
    a.kill()?;
    b.wait_for_state(mark, "MASTER")?;
    ensure!(pair.a.has_address(VIRTUAL)?, "its kernel has the address still");
    thread::sleep(DEFAULT_LEASE + GRACE);
    ensure!(self::program(&pair.a)? == Some(program), "the program does not outlive the agent");
    ensure!(pair.claims(ADDRESSES, 20)? == [[false, true]; 2], "the one that was killed");

    // Another one goes on with what is there, in one step.
    a.restart(&pair.a)?;
    a.process.wait_for_line(0, "answered for no virtual address", PATIENCE)?;
    let next = self::program(&pair.a)?.context("nothing is attached")?;
    ensure!(next != program, "the program was not replaced");
    ensure!(self::link(&a)? == link, "it was detached meanwhile");
    let lease = &a.status()?["detector"]["lease"];
    ensure!(lease["lapses"] == 1 && lease["silenced"].as_u64() > Some(0), "{lease:#}");
    let refused = unload(&a)?;
    ensure!(refused.status.code() == Some(69), "{refused:?}");
    ensure!(self::program(&pair.a)? == Some(next), "taken from an agent that runs");

    // Whoever ends in order leaves nothing; what is left of one that does not, can be removed.
    a.kill()?;
    ensure!(unload(&a)?.status.success() && self::program(&pair.a)?.is_none(), "it is attached still");
    ensure!(!a.pins().exists() && unload(&a)?.status.success(), "nothing is left");
    // One that is to vouch for nothing does not leave it to what is left.
    a.restart(&pair.a)?;
    let mark = a.mark();
    b.leave()?;
    a.wait_for_state(mark, "MASTER")?;
    a.kill()?;
    fs::write(a.config(), fs::read_to_string(a.config())? + "\n[lease]\nlength = \"off\"\n")?;
    a.restart(&pair.a)?;
    a.wait_for_state(0, "MASTER")?;
    thread::sleep(DEFAULT_LEASE + GRACE);
    ensure!(pair.claims(ADDRESSES, 20)? == [[true, false]; 2], "it is quiet");

    let pins = a.pins();
    ensure!(pins.exists());
    a.leave()?;
    ensure!(!pins.exists() && self::program(&pair.a)?.is_none(), "it leaves something");
    Ok(())
}

#[test]
fn the_end_of_the_agent_ends_the_lease_as_soon_as_another_one_may_serve() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    // By the length alone, it would answer for a minute.
    let lease = "[lease]\nlength = \"60s\"\n".to_owned();
    for (interval, dead) in [("10ms", 30), ("100ms", 300)] {
        let pair = Pair::new("exit")?;
        let master = AgentConfig { interval: Some(interval.to_owned()), more: lease.clone(), ..both() };
        let standby = AgentConfig { advskew: 100, ..master.clone() };
        let (mut a, b) = pair.start(&master, &standby)?;
        let _clients = clients(&pair)?;
        ensure!(pair.claims(ADDRESSES, 20)? == [[true, false]; 2], "only the master answers");
        let mark = b.mark();
        a.kill()?;
        b.wait_for_state(mark, "MASTER")?;
        thread::sleep(Duration::from_millis(2 * dead));
        ensure!(pair.claims(ADDRESSES, 20)? == [[false, true]; 2], "{interval}: the one that was killed");
        // The threads of another process are none of its.
        a.restart(&pair.a)?;
        a.wait_for_state(0, "BACKUP")?;
        let on_a = a.mark();
        b.leave()?;
        a.wait_for_state(on_a, "MASTER")?;
        ensure!(Command::new("true").status()?.success());
        thread::sleep(Duration::from_millis(2 * dead) + GRACE);
        ensure!(pair.claims(ADDRESSES, 20)? == [[true, false]; 2], "{interval}: another process has ended");
        a.leave()?;
    }
    Ok(())
}

/// A virtual host with an address of each family.
fn both() -> AgentConfig {
    let addresses = [format!("{VIRTUAL}/24"), format!("{VIRTUAL6}/64")].to_vec();
    AgentConfig { addresses, ..AgentConfig::default() }
}

/// Those who ask for them.
fn clients(pair: &Pair) -> Result<[Client; 2]> {
    let start = |address| Client::start(&pair.witness.netns, address);
    let [v4, v6] = ADDRESSES;
    Ok([start(v4)?, start(v6)?])
}

/// The number of the program that a node's interface runs.
fn program(node: &Node) -> Result<Option<u64>> {
    let links = node.netns.ip_json("link show dev eth0")?;
    Ok(links[0]["xdp"]["prog"]["id"].as_u64())
}

/// The number of the agent's attachment.
fn link(agent: &Agent) -> Result<u64> {
    let layout = fs::read_dir(agent.pins())?.next().context("nothing is pinned")??.path();
    let is_link =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("link-"));
    let pins = fs::read_dir(layout)?.flatten().map(|entry| entry.path());
    let pin = pins.into_iter().find(is_link).context("no attachment is pinned")?;
    let output = Command::new("bpftool").args(["--json", "link", "show", "pinned"]).arg(&pin).output()?;
    let shown: Value = serde_json::from_slice(&output.stdout).with_context(|| format!("{output:?}"))?;
    shown["id"].as_u64().with_context(|| shown.to_string())
}

fn unload(agent: &Agent) -> Result<Output> {
    let mut command = Command::new(lab::agent_binary()?);
    Ok(command.arg("unload").arg("--pins").arg(agent.pins()).output()?)
}

/// By ARP, and by neighbour discovery.
const ADDRESSES: [IpAddr; 2] = [IpAddr::V4(VIRTUAL), IpAddr::V6(VIRTUAL6)];
const LEASE: Duration = Duration::from_millis(300);
const DEFAULT_LEASE: Duration = Duration::from_secs(2);
const GRACE: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_secs(10);
