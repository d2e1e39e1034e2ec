//! What a takeover costs by hand: the active node is killed while a client writes, and shell commands take over at once.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{
    super::{
        agents::ADDRESS,
        client::{self, Writer, one_line},
        evidence,
        served::{self, VOLUME},
        who::{Disk, Node},
    },
    Lab, Story, Turn, Who,
};
use crate::process::say;

pub(super) const STORY: Story = Story {
    name: "floor",
    about: "the serving node is killed while a client writes over NFS and iSCSI, and a script takes over at once",
    guests: &Who::ALL,
    tell,
};

fn tell(lab: &Lab, turn: Turn) -> Result<()> {
    // The roles change with each round.
    let (active, standby) = if turn.round % 2 == 1 { (Node::A, Node::B) } else { (Node::B, Node::A) };
    let (own, peer) = (key(active), key(standby));
    let client = lab.guest(Who::Client)?;
    if turn.round == 1 {
        served::create(lab, active)?;
        lab.node(active)?.run("zfs create -V 64M tank/disk && udevadm settle")?;
        let steps = lab.node(active)?.run(&format!("lab-serve start {own}"))?;
        say(format_args!("floor: {active} serves: {}", one_line(&steps)));
        client::mount(client, ADDRESS, "/tank/data")?;
        client::log_in(client, ADDRESS, VOLUME)?;
    }
    let writers = [
        Writer::start(client, "nfs", "/mnt/records")?,
        Writer::start(client, "iscsi", &client::disk(ADDRESS, VOLUME))?,
    ];
    for writer in &writers {
        writer.further(50, PATIENCE)?;
    }

    let killed = Instant::now();
    lab.node(active)?.kill();
    let steps = lab.node(standby)?.run(&format!("lab-serve take {peer} {own}"))?;
    let took = killed.elapsed();
    say(format_args!(
        "floor: {standby} serves {:.1} s after {active} was killed: {}",
        took.as_secs_f64(),
        one_line(&steps)
    ));
    for writer in writers {
        writer.further(writer.acknowledged()? + 20, PATIENCE)?;
        say(format_args!("floor: the client, {}", one_line(&writer.check()?)));
    }
    evidence::one_importer(lab, standby, "tank")?;
    say(format_args!("floor: {}", one_line(&evidence::reservation(lab, Disk::Data0)?)));

    lab.node(active)?.boot()?;
    lab.node(active)?.run("modprobe zfs")?;
    Ok(())
}

fn key(node: Node) -> &'static str {
    match node {
        Node::A => "a1",
        Node::B => "b2",
    }
}

const PATIENCE: Duration = Duration::from_mins(2);
