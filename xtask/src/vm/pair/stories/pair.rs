//! The agent on both nodes, and the active role that moves.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{
    super::{
        agents::{self, Agents},
        who::Node,
    },
    Lab, Story, Turn, Who,
};
use crate::process::say;

pub(super) const STORY: Story = Story {
    name: "pair",
    about: "the active role is moved, and taken from a node that is killed; a client sees it",
    guests: &Who::ALL,
    tell,
};

fn tell(lab: &Lab, turn: Turn) -> Result<()> {
    let agents = Agents::new(lab);
    if turn.round == 1 {
        agents.introduce(Default::default())?;
    }
    agents.settled()?;
    for node in Node::ALL {
        // Native: in the driver's receive path.
        lab.node(node)?.run("ip link show dev eth0 | grep 'eth0:.* xdp '")?;
    }
    let active = agents.active()?;
    answers(lab)?;

    lab.node(active)?.run("ha-agent failover")?;
    let now = agents.active()?;
    ensure!(now == active.peer(), "the role was to move from {active}, and {now} has it");
    answers(lab)?;
    say(format_args!("pair: the role was moved from {active} to {now}"));

    let killed = Instant::now();
    lab.node(now)?.kill();
    agents.wait_phase(active, "active", TAKES)?;
    say(format_args!(
        "pair: {now} was killed, {active} is active {:.1} s later",
        killed.elapsed().as_secs_f64()
    ));
    answers(lab)?;

    lab.node(now)?.boot()?;
    agents.start(now)?;
    agents.settled()?;
    ensure!(agents.active()? == active, "the role has moved to the node that came back");
    Ok(())
}

/// Waits until the client gets an answer from the virtual address.
fn answers(lab: &Lab) -> Result<()> {
    let ping = format!("ping -c 1 -W 1 {}", agents::ADDRESS);
    lab.guest(Who::Client)?.until(&ping, TAKES)?;
    Ok(())
}

/// Far above what a takeover takes in guests that get little time.
const TAKES: Duration = Duration::from_mins(1);
