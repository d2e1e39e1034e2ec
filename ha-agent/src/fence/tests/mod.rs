mod beats;
mod faults;
mod levels;
mod two;

use std::sync::Arc;
use std::time::Duration;

use super::emulated::{Disk as Emulated, Features};
use super::scsi::ScsiDisk;
use super::*;
use crate::core::pair::Node;
use crate::resource::Stop;

/// Nodes connect by these numbers.
const A: u32 = 1;
const B: u32 = 2;
const STRANGER: u32 = 9;

fn identity(nexus: u32) -> Identity {
    Identity::new(77, if nexus % 10 == A { Node::A } else { Node::B })
}

fn emulated(serial: &str) -> Emulated {
    Emulated::new(serial, Features::default())
}

/// The disk as a node sees it.
fn disk(disk: &Emulated, nexus: u32) -> Arc<Disk> {
    Arc::new(Disk::new(Box::new(disk.connect(nexus)), identity(nexus)))
}

/// The same, spoken to in SCSI.
fn scsi_disk(disk: &Emulated, nexus: u32) -> Arc<Disk> {
    let scsi = ScsiDisk::new("scsi", Box::new(disk.connect(nexus)));
    Arc::new(Disk::new(Box::new(scsi), identity(nexus)))
}

/// The disks as a node sees them.
fn level(disks: &[Emulated], nexus: u32, enough: Enough) -> Reservation {
    let disks = disks.iter().map(|it| disk(it, nexus)).collect();
    Reservation::new("disks", disks, enough, Duration::from_secs(5))
}

fn within(time: Duration) -> Within {
    Within::new(time, Stop::new().expect("descriptors"))
}

fn long() -> Within {
    within(Duration::from_mins(1))
}

fn key(raw: u64) -> Key {
    Key::new(raw).expect("not zero")
}

/// Whether the node has a key there.
fn is_registered(disk: &Emulated, nexus: u32) -> bool {
    disk.registrations().keys.iter().any(|key| identity(nexus).whose(*key) == Whose::Own)
}
