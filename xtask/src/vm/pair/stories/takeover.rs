//! The active node's power is cut while a client writes over NFS and iSCSI: the other one fences it, imports the pool and
//! serves. The client has a file locked all the time.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result};

use super::{
    super::{
        agents::Agents,
        client::{Writers, one_line},
        evidence,
        served::{self, DISKS},
    },
    Lab, Story, Turn, Who,
};
use crate::process::say;

pub(super) const STORY: Story = Story {
    name: "takeover",
    about: "the active node's power is cut while a client writes; the agent fences it, imports the pool and serves",
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
    let active = agents.active()?;
    let standby = active.peer();
    let writers = Writers::start(lab.guest(Who::Client)?)?;
    served::locked(lab, active)?;

    let (at, killed) = (SystemTime::now(), Instant::now());
    lab.node(active)?.kill();
    agents.wait_phase(standby, "active", PATIENCE)?;
    let served = killed.elapsed();
    writers.go_on(20)?;
    let took = killed.elapsed();

    served::locked(lab, standby)?;

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
    say(format_args!("takeover: the client: {}", writers.check()?));
    evidence::one_importer(lab, standby, "tank")?;
    for disk in DISKS {
        say(format_args!("takeover: {disk}: {}", one_line(&evidence::reservation(lab, disk)?)));
    }

    lab.node(active)?.boot()?;
    served::start(lab, &agents, active)?;
    agents.settled().context("after the killed node has come back")
}

const PATIENCE: Duration = Duration::from_mins(2);
