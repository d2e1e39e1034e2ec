//! The serving node is frozen, and goes on when the agent of the other one has taken over: it cannot write one byte to the
//! disks, notices that, and resets itself.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::{
    super::{
        agents::Agents,
        client::Writers,
        evidence,
        served::{self, DISKS},
    },
    Lab, Story, Turn, Who,
};
use crate::process::say;

pub(super) const STORY: Story = Story {
    name: "fenced",
    about: "a node that was frozen goes on after a takeover by the agent, cannot write, and resets itself",
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
    let (frozen, other) = (lab.node(active)?, lab.node(standby)?);
    let writers = Writers::start(lab.guest(Who::Client)?)?;
    // A writer of its own, that would write on.
    frozen.run("systemd-run --quiet --collect --unit=busy records write /tank/data/own /var/tmp/own")?;
    frozen.until("test $(wc -l </var/tmp/own) -gt 50", PATIENCE)?;

    let began = Instant::now();
    frozen.freeze()?;
    agents.wait_phase(standby, "active", PATIENCE)?;
    writers.go_on(20)?;
    say(format_args!(
        "fenced: {}; the client writes {:.1} s after {active} was frozen",
        served::steps(&agents, standby)?,
        began.elapsed().as_secs_f64()
    ));
    let thawed = Instant::now();
    let before = lab.ledger().refused(active);
    frozen.thaw()?;
    let reset = frozen.wait_event("RESET", thawed, PATIENCE)?;
    let after = reset.at.duration_since(thawed);
    frozen.wait()?;

    let refused = lab.ledger().refused(active) - before;
    ensure!(refused > 0, "{active} did not even try to write");
    say(format_args!(
        "fenced: {active} was reset {:.2} s after it went on; the disks refused {refused} of its writes, and took none",
        after.as_secs_f64()
    ));
    // The new one reads all that is there, and finds that only it has written.
    other.run("zpool scrub -w tank")?;
    let status = other.run("zpool status tank")?;
    ensure!(status.contains("No known data errors"), "{status}");
    evidence::one_importer(lab, standby, "tank").context("who wrote")?;
    say("fenced: the new one has scrubbed the pool, without an error");
    for disk in DISKS {
        let reservation = evidence::reservation(lab, disk)?;
        ensure!(!reservation.contains(&active.initiator()), "{disk} still has its key: {reservation}");
    }
    say(format_args!("fenced: the client: {}", writers.check()?));
    served::start(lab, &agents, active)?;
    agents.settled().context("after the frozen node has come back")
}

const PATIENCE: Duration = Duration::from_mins(2);
