//! Reservations and heartbeat against a real target, power-off by a real fence agent.

use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ha_agent::core::liveness::DiskKeys;
use ha_agent::core::pair::Node;
use ha_agent::fence::command::{Agent, PowerOff};
use ha_agent::fence::heartbeat::{Heartbeat, Lost, Proof, Rhythm, Watcher};
use ha_agent::fence::scsi::{Data, Ended, ScsiDisk, Sense, Transport};
use ha_agent::fence::{Device, DeviceError, Disk, Fence, Identity, Old, Reservation, all};
use ha_agent::resource::{Cause, Finding, Resource, Stop, System, Within};
use lab::iscsi::{self, Initiator};
use lab::tgt::Tgt;

#[test]
fn the_standby_fences_the_active_one_on_a_real_target() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let tgt = Tgt::start("tgt", "SERIAL7")?;
    let (a, b) = (Host::new(&tgt, Node::A)?, Host::new(&tgt, Node::B)?);
    let within = within(60)?;

    let findings = a.fence.examine(&within);
    ensure!(findings.iter().all(|it| matches!(it, Finding::Good(_))), "{findings:?}");
    ensure!(a.device.read(&within)?.keys.is_empty(), "to look has registered");
    let taken = a.fence.take(&within)?;
    ensure!(taken.remarks.is_empty(), "{taken:?}");
    a.fence.check(&within)?;
    ensure!(a.write(b'a')? == GOOD && b.write(b'b')? == CONFLICT && b.read()? == GOOD, "who may write");
    ensure!(b.disk.look(&within)? == "SERIAL7");

    // The heartbeat of the active one, as the standby sees it.
    let (lost, losses) = lost();
    let heartbeat = Heartbeat::start(&[Arc::clone(&a.disk)], RHYTHM, &lost, &Proof::default())?;
    let watcher = Watcher::start(&[Arc::clone(&b.disk)], RHYTHM)?;
    until("keys move", || watcher.word().keys == DiskKeys::Moving)?;
    ensure!(a.write(b'a')? == GOOD, "a key that moves still writes");
    a.fence.check(&within)?;

    // The standby takes over from a living one, whose key moves meanwhile.
    let began = Instant::now();
    let taken = b.fence.take(&within)?;
    println!("fenced within {:?}: {:?}", began.elapsed(), taken.remarks);
    ensure!(taken.remarks.iter().any(|remark| remark.contains("PREEMPT AND ABORT")), "{taken:?}");
    ensure!(a.write(b'A')? == CONFLICT && b.write(b'b')? == GOOD, "who may write");
    ensure!(tgt.contents(0, 2)? == b"bb", "{:?}", tgt.contents(0, 2)?);
    until("the loss is noticed", || losses.lock().is_ok_and(|losses| *losses == [Cause::Fenced]))?;
    ensure!(a.fence.check(&within).is_err_and(|failure| failure.cause == Cause::Fenced));
    drop(heartbeat);
    until("its keys are gone", || watcher.word().keys == DiskKeys::Absent)?;

    // The one that was fenced has nothing to release, and does no harm by it.
    a.fence.release(&within)?;
    b.fence.check(&within)?;
    b.fence.release(&within)?;
    b.fence.release(&within)?;
    let left = a.device.read(&within)?;
    ensure!(left.keys.is_empty() && left.holder.is_none(), "{left:?}");
    Ok(())
}

#[test]
fn what_a_killed_agent_left_on_a_real_target_is_swept() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let tgt = Tgt::start("tgt-kill", "SERIAL8")?;
    let within = within(60)?;
    let before = Host::new(&tgt, Node::A)?;
    before.fence.take(&within)?;
    drop(before);
    // The machine has started again, and logged in anew. Whether the target keeps the key is its own affair.
    let after = Host::named(&tgt, Node::A, "a-again")?;
    println!("left behind: {:?}", after.device.read(&within)?);
    after.fence.release(&within)?;
    ensure!(after.device.read(&within)?.keys.is_empty());

    // And if it is taken again without that.
    Host::new(&tgt, Node::A)?.fence.take(&within)?;
    after.fence.take(&within)?;
    ensure!(after.device.read(&within)?.keys.len() == 1);
    let b = Host::new(&tgt, Node::B)?;
    ensure!(after.write(b'a')? == GOOD && b.write(b'b')? == CONFLICT);

    // A stranger's key stops both.
    after.fence.release(&within)?;
    let stranger = ScsiDisk::new("stranger", Box::new(Wire(Arc::new(tgt.connect("stranger")?))));
    let key = ha_agent::fence::Key::new(0x1234).context("not zero")?;
    stranger.register(Old::Nothing, Some(key), &within)?;
    let refused = b.fence.take(&within).err().context("it was taken")?;
    ensure!(refused.cause == Cause::KeyForeign, "{refused}");
    ensure!(stranger.read(&within)?.keys == [key]);
    Ok(())
}

#[test]
fn a_target_that_is_killed_is_a_named_failure() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let mut tgt = Tgt::start("tgt-dead", "SERIAL9")?;
    let within = within(60)?;
    let a = Host::new(&tgt, Node::A)?;
    a.fence.take(&within)?;
    tgt.process.kill()?;
    let failure = a.fence.check(&within).err().context("it is well")?;
    ensure!(failure.cause == Cause::DiskMissing, "{failure}");
    // What is not there can't be written to.
    a.fence.release(&within)?;
    ensure!(a.disk.release(&within).is_err_and(|failure| failure.cause == Cause::DiskMissing));
    Ok(())
}

#[test]
fn a_real_fence_agent_switches_a_dummy_off() -> Result<()> {
    if Command::new("fence_dummy").arg("--version").output().is_err() {
        println!("skipped, because the package fence-agents is not installed");
        return Ok(());
    }
    let (file, within) = (tempfile::NamedTempFile::new()?, within(120)?);
    let path = file.path().to_str().context("a strange path")?.to_owned();
    std::fs::write(&path, "on")?;
    // Made for its owner only.
    let options = tempfile::NamedTempFile::new()?;
    std::fs::write(options.path(), format!("type=file\nstatus_file={path}\n"))?;
    let options_file = Some(options.path().to_owned());
    let agent = Agent { program: "fence_dummy".to_owned(), arguments: Vec::new(), options_file };
    let off = PowerOff::new(agent.clone(), Arc::new(System));
    let findings = off.examine(&within);
    ensure!(matches!(findings[..], [Finding::Good(_)]), "{findings:?}");
    ensure!(std::fs::read_to_string(&path)?.trim() == "on", "to look has switched it off");
    off.take(&within)?;
    ensure!(std::fs::read_to_string(&path)?.trim() == "off" && off.is_here(&within)?);
    off.release(&within)?;

    std::fs::write(options.path(), "type=fail\npower_timeout=1\n")?;
    let wrong = PowerOff::new(agent, Arc::new(System));
    let failure = wrong.take(&within).err().context("nothing was switched off")?;
    println!("{failure}");
    ensure!(failure.what.contains("fence_dummy"), "{failure}");
    Ok(())
}

/// A node, with one connection to the disk.
struct Host {
    fence: Fence,
    disk: Arc<Disk>,
    /// The same, to see what is there.
    device: ScsiDisk,
    wire: Wire,
}

impl Host {
    fn new(tgt: &Tgt, node: Node) -> Result<Self> {
        Self::named(tgt, node, &node.to_string().to_lowercase())
    }

    fn named(tgt: &Tgt, node: Node, name: &str) -> Result<Self> {
        let wire = Wire(Arc::new(tgt.connect(name)?));
        let device = |name: &str| ScsiDisk::new(name, Box::new(wire.clone()));
        let disk = Arc::new(Disk::new(Box::new(device("the disk")), Identity::new(99, node)));
        let level = Reservation::new("disks", vec![Arc::clone(&disk)], all(), Duration::from_secs(20));
        let device = device("raw");
        Ok(Self { fence: Fence::new("fence", vec![Box::new(level)]), disk, device, wire })
    }

    /// Fills the first block; returns the status.
    fn write(&self, byte: u8) -> Result<u8> {
        for _ in 0..5 {
            let block = iscsi::Data::Out(&[byte; 512]);
            let status = self.wire.0.execute(&[0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0], block)?.status;
            // It may be told first that its registration is gone.
            if status != CHECK_CONDITION {
                return Ok(status);
            }
        }
        Ok(CHECK_CONDITION)
    }

    /// Reads the first block; returns the status.
    fn read(&self) -> Result<u8> {
        let mut room = [0; 512];
        self.wire
            .0
            .execute(&[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0], iscsi::Data::In(&mut room))
            .map(|answer| answer.status)
    }
}

/// The lab's initiator, as the agent wants one.
#[derive(Clone, Debug)]
struct Wire(Arc<Initiator>);

impl Transport for Wire {
    fn execute(&self, command: &[u8], data: Data<'_>, _: Duration) -> Result<Ended, DeviceError> {
        let data = match data {
            Data::In(room) => iscsi::Data::In(room),
            Data::Out(bytes) => iscsi::Data::Out(bytes),
        };
        let answer = self.0.execute(command, data).map_err(|_| DeviceError::Gone)?;
        Ok(Ended { status: answer.status, sense: Sense::parse(&answer.sense) })
    }
}

fn lost() -> (Lost, Arc<Mutex<Vec<Cause>>>) {
    let losses = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&losses);
    (Arc::new(move |failure| told.lock().expect("not poisoned").push(failure.cause)), losses)
}

fn within(seconds: u64) -> Result<Within> {
    Ok(Within::new(Duration::from_secs(seconds), Stop::new()?))
}

fn until(what: &str, condition: impl Fn() -> bool) -> Result<()> {
    let began = Instant::now();
    while !condition() {
        ensure!(began.elapsed() < Duration::from_secs(30), "waiting in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

const RHYTHM: Rhythm = Rhythm { interval: Duration::from_millis(50), patience: 3 };
// SCSI status.
const GOOD: u8 = 0;
const CHECK_CONDITION: u8 = 2;
const CONFLICT: u8 = 0x18;
