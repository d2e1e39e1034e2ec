//! A pool goes from one node to the other, in order, with all that is in it.

use anyhow::{Result, ensure};

use super::{
    super::{served, who::Node},
    Lab, Story, Turn, Who,
};
use crate::process::say;

pub(super) const STORY: Story = Story {
    name: "pool",
    about: "a pool with mirror, log and cache goes from a to b by export and import",
    guests: &[Who::Target, Who::A, Who::B],
    tell,
};

fn tell(lab: &Lab, _: Turn) -> Result<()> {
    let [a, b] = Node::ALL.map(|node| lab.node(node));
    let (a, b) = (a?, b?);
    served::create(lab, Node::A)?;
    a.run("dd if=/dev/urandom of=/tank/data bs=64k count=256 conv=fsync 2>&1")?;
    let written = a.run("sha256sum </tank/data")?;
    a.run("zpool export tank")?;

    b.run("zpool import -d /dev/disk/by-id tank")?;
    let read = b.run("sha256sum </tank/data")?;
    ensure!(read == written, "b reads {read}, a wrote {written}");
    let status = b.run("zpool status tank")?;
    ensure!(status.contains("No known data errors"), "{status}");
    let online = status.lines().filter(|line| line.contains("wwn-0x") && line.contains("ONLINE")).count();
    ensure!(online == 4, "not all devices are there: {status}");
    say("pool: b has imported mirror, log and cache, and reads what a wrote");
    b.run("zpool destroy tank")?;
    Ok(())
}
