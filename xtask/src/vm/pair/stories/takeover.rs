//! The active node's power is cut while a client writes over NFS: the other one fences it, imports the pool and serves.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result};

use super::{
    super::{
        agents::Agents,
        client::Writer,
        evidence,
        served::{self, DISKS},
    },
    Lab, Story, Who,
};
use crate::process::say;

pub(super) const STORY: Story = Story {
    name: "takeover",
    about: "the active node's power is cut while a client writes; the agent fences it, imports the pool and serves",
    guests: &Who::ALL,
    tell,
};

fn tell(lab: &Lab, round: u32) -> Result<()> {
    let agents = Agents::new(lab);
    if round == 1 {
        served::begin(lab, &agents, [""; 2])?;
        served::mount(lab)?;
    }
    agents.settled()?;
    let client = lab.guest(Who::Client)?;
    let active = agents.active()?;
    let standby = active.peer();
    let writer = Writer::start(client, "nfs", "/mnt/records")?;
    writer.further(50, PATIENCE)?;

    let (at, killed) = (SystemTime::now(), Instant::now());
    lab.node(active)?.kill();
    agents.wait_phase(standby, "active", PATIENCE)?;
    let served = killed.elapsed();
    writer.further(writer.acknowledged()? + 20, PATIENCE)?;
    let took = killed.elapsed();

    let since = |time: SystemTime| time.duration_since(at).unwrap_or_default().as_secs_f64();
    let claimed = served::said(lab.node(standby)?, "taking over in generation", at).map(since)?;
    let done = served::said(lab.node(standby)?, "takeover done", at).map(since)?;
    let steps = served::steps(&agents, standby)?;
    say(format_args!(
        "takeover: {standby} said that {active} is dead after {claimed:.2} s, was done after {done:.2} s"
    ));
    say(format_args!(
        "takeover: {steps}; it is active after {:.1} s, the client writes after {:.1} s",
        served.as_secs_f64(),
        took.as_secs_f64()
    ));
    say(format_args!("takeover: the client: {}", writer.check()?.trim().replace('\n', ", ")));
    evidence::one_importer(lab.node(standby)?, "tank")?;
    for disk in DISKS {
        say(format_args!(
            "takeover: {disk}: {}",
            evidence::reservation(lab, disk)?.trim().replace('\n', ", ")
        ));
    }

    lab.node(active)?.boot()?;
    served::start(lab, &agents, active)?;
    agents.settled().context("after the killed node has come back")
}

const PATIENCE: Duration = Duration::from_mins(2);
