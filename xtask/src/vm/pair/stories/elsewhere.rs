//! The pool is imported on a machine that is not one of the pair, and the fence, which only turns the peer off, does not keep
//! that from writing: the pool says so itself (`multihost`), and nothing is done by halves.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::{
    super::{
        agents::{ADDRESS, Agents},
        served,
        who::Node,
    },
    Lab, Story, Turn, Who,
};
use crate::process::say;

pub(super) const STORY: Story = Story {
    name: "elsewhere",
    about: "a machine that is not of the pair has imported the pool: it is not taken over, until that gives it back",
    guests: &[Who::Target, Who::A, Who::B],
    tell,
};

fn tell(lab: &Lab, turn: Turn) -> Result<()> {
    let agents = Agents::new(lab);
    if turn.round == 1 {
        served::begin(lab, &agents, [""; 2])?;
    }
    agents.settled()?;
    let active = agents.active()?;
    let (guest, stranger) = (lab.node(active)?, lab.node(active.peer())?);
    for guest in [stranger, guest] {
        guest.run("systemctl stop ha-agent && ! zpool list tank && zgenhostid -f")?;
    }
    // From here on, the other machine is anybody's.
    stranger.run("zpool import -o cachefile=none -d /dev/disk/by-id tank && zpool set multihost=on tank")?;
    guest.put("/root/turned-off", FENCE.as_bytes())?;
    guest.run(&format!("chmod +x /root/turned-off && sed -i '{BY_COMMAND}' {CONFIG}"))?;

    let began = Instant::now();
    served::start(lab, &agents, active)?;
    let said = guest.until(&format!("{SAID} | grep --max-count=1 POOL_ELSEWHERE"), PATIENCE)?;
    let took = began.elapsed().as_secs_f64();
    say(format_args!("elsewhere: {active} says {took:.1} s after its start: {}", said.trim()));
    ensure!(agents.phase(active)? != "active", "{active} is active");
    guest.run(&format!("! zpool list tank && ! ip -brief address | grep --quiet {ADDRESS}"))?;
    guest.run("! systemctl is-active --quiet nfs-server")?;
    stranger.run("touch /tank/data/alive && zpool sync tank && zpool status -x tank | grep 'is healthy'")?;

    let given = Instant::now();
    stranger.run("zpool set multihost=off tank && zpool export tank")?;
    agents.wait_phase(active, "active", PATIENCE).context("after the pool was given back")?;
    let took = given.elapsed().as_secs_f64();
    say(format_args!("elsewhere: {active} is active {took:.1} s after it was given back"));
    guest.run("test -e /tank/data/alive")?;

    guest.run(&format!("systemctl stop ha-agent && sed -i '{BY_RESERVATION}' {CONFIG}"))?;
    Node::ALL.into_iter().try_for_each(|node| served::start(lab, &agents, node))?;
    agents.settled().context("as a pair again")
}

/// Says that it has turned the other node off.
const FENCE: &str = "#!/bin/sh\nwhile read line; do test \"$line\" != action=status || exit 2; done\n";
const CONFIG: &str = "/etc/ha-agent/ha-agent.toml";
const BY_COMMAND: &str = "s|^levels = .*|levels = [\"command\"]\\ncommand = [\"/root/turned-off\"]|";
const BY_RESERVATION: &str = "s|^levels = .*|levels = [\"reservation\"]|; /^command = /d";
/// What the agent has said since it was started last.
const SAID: &str = "journalctl --quiet --output=cat _SYSTEMD_INVOCATION_ID=$(systemctl show --value \
                    --property=InvocationID ha-agent)";
const PATIENCE: Duration = Duration::from_mins(2);
