//! Both nodes see the same disks, and reservations hold.

use anyhow::{Context as _, Result, ensure};

use super::{
    super::{
        evidence,
        guest::{Guest, PATIENCE},
        who::{Disk, Node},
    },
    Lab, Story, Turn, Who,
};
use crate::process::say;

pub(super) const STORY: Story = Story {
    name: "disks",
    about: "both nodes see the same disks, and who is fenced cannot write",
    guests: &[Who::Target, Who::A, Who::B],
    tell,
};

fn tell(lab: &Lab, turn: Turn) -> Result<()> {
    let [a, b] = Node::ALL.map(|node| lab.node(node));
    let (a, b) = (a?, b?);
    for guest in [a, b] {
        for disk in Disk::ALL {
            let serial =
                guest.run(&format!("lsblk --nodeps --noheadings --output SERIAL {}", disk.device()))?;
            ensure!(serial.trim() == disk.serial(), "{} sees {serial} as {disk}", guest.who);
        }
    }

    let spare = Disk::Spare.device();
    let write = |guest: &Guest, byte: u32, block: u32| {
        let bytes = format!("head --bytes=4096 /dev/zero | tr '\\0' '\\{byte:03o}'");
        let copy = format!("dd of={spare} bs=4096 seek={block} oflag=direct conv=notrunc");
        guest.try_run(&format!("{bytes} | {copy} 2>&1"), PATIENCE)
    };
    // Another one each time.
    let pattern = 1 + turn.round % 64;
    reserve(a, "--register-ignore --param-sark=0xa1")?;
    reserve(a, "--reserve --param-rk=0xa1 --prout-type=5")?;
    write(a, pattern, 0)?.ok().context("the holder's write")?;
    let output = write(b, pattern + 1, 0)?;
    ensure!(output.code != 0, "b writes without a key");

    reserve(b, "--register-ignore --param-sark=0xb2")?;
    write(b, pattern, 1)?.ok().context("a registrant's write")?;
    reserve(b, "--preempt-abort --param-rk=0xb2 --param-sark=0xa1 --prout-type=5")?;
    let keys = b.run(&format!("sg_persist --no-inquiry --in --read-keys $(lab-sg {spare})"))?;
    ensure!(keys.contains("0xb2") && !keys.contains("0xa1"), "the keys are: {keys}");

    let output = write(a, pattern + 2, 0)?;
    ensure!(output.code != 0, "a writes though it is fenced");
    say(format_args!(
        "disks: a is fenced; its kernel tells of {} conflicts",
        evidence::conflicts(lab, Node::A)?
    ));
    let found =
        b.run(&format!("dd if={spare} bs=4096 count=1 iflag=direct 2>/dev/null | od -An -tu1 -N1"))?;
    ensure!(found.trim() == pattern.to_string(), "the disk has {found} where a wrote {pattern}");
    reserve(b, "--clear --param-rk=0xb2")
}

fn reserve(guest: &Guest, what: &str) -> Result<()> {
    guest.run(&format!("sg_persist --no-inquiry --out {what} $(lab-sg {})", Disk::Spare.device()))?;
    Ok(())
}
