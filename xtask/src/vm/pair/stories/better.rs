//! A disk is lost on the active node only: the pool there is degraded, and the role goes to the node that sees it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::{
    super::{agents::Agents, client::Writers, evidence, served, who::Disk},
    Lab, Story, Turn, Who,
};
use crate::process::say;

pub(super) const STORY: Story = Story {
    name: "better",
    about: "the active node loses the way to a disk that the other one sees: the pool moves there",
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
    let (from, to) = (lab.node(active)?, lab.node(active.peer())?);
    let writers = Writers::start(lab.guest(Who::Client)?)?;

    let began = Instant::now();
    from.run(&format!(
        "echo 1 >/sys/block/$(basename $(readlink -f {}))/device/delete",
        Disk::Data1.device()
    ))?;
    agents.wait_phase(active.peer(), "active", PATIENCE).context("the other one sees all disks")?;
    let took = began.elapsed().as_secs_f64();
    writers.go_on(20)?;
    served::locked(lab, active.peer())?;
    to.run("zpool wait -t resilver tank && zpool list -H -o health tank | grep --line-regexp ONLINE")?;
    say(format_args!(
        "better: {} is active {took:.1} s after {active} lost a disk, and the pool is whole; {}",
        active.peer(),
        writers.check()?
    ));
    evidence::one_importer(lab, active.peer(), "tank")?;

    from.run("for host in /sys/class/scsi_host/*; do echo '- - -' >$host/scan; done; udevadm settle")?;
    agents.settled().context("once it is seen again")
}

const PATIENCE: Duration = Duration::from_mins(2);
