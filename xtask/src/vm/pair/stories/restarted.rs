//! The agent of the active node is killed and started again, with disks in its charge: it goes on, and nothing moves.

use std::time::Instant;

use anyhow::{Result, ensure};

use super::{
    super::{agents::Agents, client::Writers, evidence, served, who::Node},
    Lab, Story, Turn, Who,
};
use crate::process::say;

pub(super) const STORY: Story = Story {
    name: "restarted",
    about: "the active node's agent is killed and started again while a client writes; nothing moves",
    guests: &Who::ALL,
    tell,
};

fn tell(lab: &Lab, turn: Turn) -> Result<()> {
    let agents = Agents::new(lab);
    if turn.round == 1 {
        served::begin(lab, &agents, [""; 2])?;
        served::mount(lab)?;
    }
    agents.settled()?;
    let (active, began) = (agents.active()?, Instant::now());
    let writers = Writers::start(lab.guest(Who::Client)?)?;
    let earlier = lab.ledger().runs()?.len();
    writers.go_on(20)?;
    lab.node(active)?.run(
        "systemctl kill --signal=KILL ha-agent; systemctl reset-failed ha-agent; systemctl start ha-agent",
    )?;
    agents.settled()?;
    writers.go_on(20)?;
    let after = agents.active()?;
    ensure!(after == active, "the role moved from {active} to {after}");
    ensure!(lab.ledger().runs()?.len() == earlier, "another one writes");
    evidence::one_importer(lab, active, "tank")?;
    served::locked(lab, active)?;
    for node in Node::ALL {
        let events = lab.node(node)?.events();
        let reset = events.into_iter().any(|event| event.name == "RESET" && event.at > began);
        ensure!(!reset, "{node} was reset");
    }
    say(format_args!(
        "restarted: the agent of {active}, at rest {:.1} s after it began; {}",
        began.elapsed().as_secs_f64(),
        writers.check()?
    ));
    Ok(())
}
