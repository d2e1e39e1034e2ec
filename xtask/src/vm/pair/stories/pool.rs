//! A pool goes from one node to the other, in order, with all that is in it.

use anyhow::{Result, ensure};

use super::{
    super::who::{Disk, Node},
    Lab, Story, Who,
};
use crate::process::say;

pub(super) const STORY: Story = Story {
    name: "pool",
    about: "a pool with mirror, log and cache goes from a to b by export and import",
    guests: &[Who::Target, Who::A, Who::B],
    tell,
};

fn tell(lab: &Lab, _round: u32) -> Result<()> {
    let [a, b] = Node::ALL.map(|node| lab.node(node));
    let (a, b) = (a?, b?);
    create(lab, Node::A)?;
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

/// Makes the pool `tank`, mounted at `/tank`, on `node`; the other one sees its partitions, and has `OpenZFS` loaded, as a
/// standby does.
///
/// # Errors
///
/// It cannot be made.
pub(super) fn create(lab: &Lab, node: Node) -> Result<()> {
    let [data0, data1, log, cache] = [Disk::Data0, Disk::Data1, Disk::Log, Disk::Cache].map(Disk::device);
    let guest = lab.node(node)?;
    guest.run(&format!("wipefs --all --quiet {data0} {data1} {log} {cache} && udevadm settle"))?;
    guest.run(&format!(
        "zpool create -f -o cachefile=none -O compression=off -m /tank tank \
         mirror {data0} {data1} log {log} cache {cache}"
    ))?;
    lab.node(node.peer())?.run(&format!("modprobe zfs; {RESCAN}"))?;
    Ok(())
}

/// Has a node see the partitions that the other one made.
const RESCAN: &str = "for disk in /dev/sd?; do blockdev --rereadpt $disk; done; \
                      udevadm trigger --settle --subsystem-match=block";
