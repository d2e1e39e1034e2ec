//! What befalls the active node one after the other, and who is active then.

use std::time::{Duration, Instant};

use ::lab::pass;
use anyhow::{Context as _, Result, ensure};

use super::{
    super::{
        agents::Agents,
        fault::Fault,
        guest::PATIENCE,
        who::{Disk, Net},
    },
    Lab, Story, Turn, Who,
};
use crate::process::say;

pub(super) const STORY: Story = Story {
    name: "faults",
    about: "faults befall the active node one after the other, and one node is active each time",
    guests: &[Who::Target, Who::A, Who::B],
    tell,
};

fn tell(lab: &Lab, turn: Turn) -> Result<()> {
    let agents = Agents::new(lab);
    if turn.round == 1 {
        agents.introduce(Default::default())?;
    }
    for (fault, then) in FAULTS {
        agents.settled()?;
        befall(lab, &agents, fault, then).with_context(|| fault.to_string())?;
    }
    agents.settled()
}

/// Who is active while a fault lasts.
#[derive(Clone, Copy)]
enum Then {
    /// Still the node that it has befallen.
    Same,
    /// The other one.
    Other,
    /// Either: a standby that hears nothing asks the peer, and emulated nodes don't answer in the 10 ms that there are.
    Either,
    /// Both, each in its part of the network: there is no witness, and nothing to fence the other one by.
    Both,
}

fn befall(lab: &Lab, agents: &Agents<'_>, fault: Fault, then: Then) -> Result<()> {
    let active = agents.active()?;
    let peer = active.peer();
    let began = Instant::now();
    fault.begin(lab, active)?;
    match then {
        Then::Same => {
            pass(DEAD)?;
            ensure!(agents.active()? == active, "{peer} is active, though {active} can serve");
            say(format_args!("{fault}: {active} stays active"));
        }
        Then::Either => {
            pass(DEAD)?;
            say(format_args!("{fault}: {} is active", agents.active()?));
        }
        Then::Other | Then::Both => {
            agents.wait_phase(peer, "active", PATIENCE)?;
            say(format_args!("{fault}: {peer} is active {:.1} s later", began.elapsed().as_secs_f64()));
        }
    }
    if matches!(then, Then::Both) {
        ensure!(agents.phase(active)? == "active", "{active} is not active any more");
    }
    fault.end(lab, active)?;
    if fault.boots() {
        agents.start(active)?;
    }
    Ok(())
}

/// Nothing but an address is served, so disks do not matter.
const FAULTS: [(Fault, Then); 10] = [
    (Fault::Kill, Then::Other),
    (Fault::Freeze, Then::Other),
    (Fault::Cable(Net::Service), Then::Other),
    (Fault::Cable(Net::Interlink), Then::Same),
    (Fault::Silence(Net::Service), Then::Either),
    (Fault::Silence(Net::Interlink), Then::Same),
    (Fault::Partition, Then::Both),
    (Fault::Path(Disk::Data0), Then::Same),
    (Fault::Paths, Then::Same),
    (Fault::Reset, Then::Other),
];
/// Several times what a silent node has before it counts as dead.
const DEAD: Duration = Duration::from_secs(5);
