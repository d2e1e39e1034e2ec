//! The role is moved, with the pool, while a client writes: nobody is reset. Somebody who uses the pool is waited for, or
//! ended, as its policy says.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::{
    super::{agents::Agents, client::Writers, evidence, served, who::Node},
    Lab, Story, Turn, Who,
};
use crate::process::say;

pub(super) const STORY: Story = Story {
    name: "switchover",
    about: "the role moves there and back with the pool while a client writes; a busy pool stays, or is freed",
    guests: &Who::ALL,
    tell,
};

fn tell(lab: &Lab, turn: Turn) -> Result<()> {
    let agents = Agents::new(lab);
    if turn.round == 1 {
        // Freed on b, waited for on a.
        served::begin(lab, &agents, [WAIT, KILL])?;
        served::mount(lab)?;
    }
    let since = Instant::now();
    let writers = Writers::start(lab.guest(Who::Client)?)?;
    for _ in Node::ALL {
        agents.settled()?;
        let from = agents.active()?;
        let took = moved(lab, &agents, from)?;
        writers.go_on(20)?;
        served::locked(lab, from.peer())?;
        evidence::one_importer(lab, from.peer(), "tank")?;
        say(format_args!(
            "switchover: {from} to {} in {:.1} s: {}",
            from.peer(),
            took.as_secs_f64(),
            served::steps(&agents, from.peer())?
        ));
    }
    say(format_args!("switchover: the client: {}", writers.check()?));
    for node in Node::ALL {
        busy(lab, &agents, node)?;
    }
    for node in Node::ALL {
        let reset =
            lab.node(node)?.events().into_iter().any(|event| event.name == "RESET" && event.at > since);
        ensure!(!reset, "{node} was reset");
    }
    Ok(())
}

/// Somebody uses the pool on `node`, when it is to move away.
fn busy(lab: &Lab, agents: &Agents<'_>, node: Node) -> Result<()> {
    agents.settled()?;
    if agents.active()? != node {
        moved(lab, agents, agents.active()?)?;
        agents.settled()?;
    }
    let guest = lab.node(node)?;
    guest.run("systemd-run --quiet --collect --unit=busy --working-directory=/tank/data sleep 1000")?;
    let output = guest.try_run("ha-agent failover", PATIENCE)?;
    match node {
        Node::A => {
            ensure!(output.code == 5, "exit code {}: {}{}", output.code, output.out, output.errors);
            agents.wait_phase(Node::A, "active", PATIENCE)?;
            guest.run("systemctl is-active busy && zpool list tank")?;
            guest.run("systemctl stop busy")?;
            say("switchover: somebody used it, and was waited for: it stayed");
        }
        Node::B => {
            output.ok()?;
            agents.wait_phase(Node::A, "active", PATIENCE)?;
            ensure!(
                guest.try_run("systemctl is-active busy", PATIENCE)?.code != 0,
                "who used it is left alone"
            );
            say("switchover: somebody used it, and was ended: it moved");
        }
    }
    Ok(())
}

/// Moves the role away from `from`; it may rest after an earlier attempt.
fn moved(lab: &Lab, agents: &Agents<'_>, from: Node) -> Result<Duration> {
    let began = Instant::now();
    lab.node(from)?.run("ha-agent failover")?;
    let took = began.elapsed();
    agents.wait_phase(from.peer(), "active", PATIENCE).context("after it was moved")?;
    ensure!(lab.node(from)?.try_run("zpool list tank", PATIENCE)?.code != 0, "{from} still has the pool");
    Ok(took)
}

const WAIT: &str = "busy = \"wait\"\nrelease = \"20s\"\n";
const KILL: &str = "busy = \"kill\"\nrelease = \"30s\"\n";
const PATIENCE: Duration = Duration::from_mins(2);
