//! The serving node is frozen, and goes on when another one has taken over: it cannot write one byte to the disks.

use std::time::Instant;

use anyhow::{Result, ensure};

use super::{
    super::{
        evidence,
        guest::PATIENCE,
        served,
        who::{Disk, Node},
    },
    Lab, Story, Turn, Who,
};
use crate::process::say;

pub(super) const STORY: Story = Story {
    name: "frozen",
    about: "a node that was frozen goes on after a takeover by a script, and cannot write to the disks",
    guests: &[Who::Target, Who::A, Who::B],
    tell,
};

fn tell(lab: &Lab, _: Turn) -> Result<()> {
    let [a, b] = Node::ALL.map(|node| lab.node(node));
    let (a, b) = (a?, b?);
    served::create(lab, Node::A)?;
    a.run("zfs create -V 64M tank/disk && udevadm settle && lab-serve start a1")?;
    a.run("rm -f /var/tmp/acknowledged; systemd-run --quiet --unit=busy records write /tank/data/records /var/tmp/acknowledged")?;
    a.until("test $(wc -l </var/tmp/acknowledged) -gt 50", PATIENCE)?;

    let since = Instant::now();
    a.freeze()?;
    a.wait_event("STOP", since, PATIENCE)?;
    b.run("lab-serve take b2 a1")?;
    let size = b.run("stat --format=%s /tank/data/records")?;
    // From here on, nobody should write.
    b.run("lab-serve stop")?;
    let before = digests(lab)?;

    a.thaw()?;
    a.until("dmesg | grep --quiet 'reservation conflict'", PATIENCE)?;
    a.until("zpool list -H -o health tank | grep --quiet SUSPENDED", PATIENCE)?;
    ensure!(digests(lab)? == before, "the disks have changed");
    let (conflicts, numbers) = (evidence::conflicts(lab, Node::A)?, a.get("/var/tmp/acknowledged")?);
    let acknowledged = numbers.split(|&byte| byte == b'\n').count() - 1;
    let records = size.trim().parse::<usize>()? / RECORD;
    ensure!(acknowledged <= records, "a counts {acknowledged} writes, {records} are there");
    say(format_args!(
        "frozen: a knew of {acknowledged} records, {records} are there; then {conflicts} requests were refused"
    ));
    say("frozen: its pool is suspended, and the disks are the same");

    // Nothing less gets rid of such a pool.
    a.reset()?;
    a.wait_event("RESET", since, PATIENCE)?;
    a.wait()?;
    b.run("lab-serve free b2")?;
    Ok(())
}

fn digests(lab: &Lab) -> Result<Vec<String>> {
    Disk::ALL.into_iter().map(|disk| evidence::digest(lab, disk)).collect()
}

/// Bytes.
const RECORD: usize = 512;
