//! Which disks of the pool are seen here. On the node that stands by, this is asked again and again, so that what is known is
//! fresh when it is needed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::PoolSettings;
use super::label::{self, Label, State};
use super::layout::Layout;
use crate::resource::{Cause, CommandError, Failure, Invocation, Output, Within};
use crate::storage::Host;
use crate::storage::disk::{DiskId, identify};

/// What the labels of the disks say.
#[derive(Clone, Debug, Default)]
pub(super) struct Survey {
    /// The devices that were ever looked at, by their paths without links, with the label that was found.
    labels: BTreeMap<PathBuf, Option<Label>>,
    /// Those that gave no answer in time when they were looked at last.
    unread: BTreeSet<PathBuf>,
    layout: Option<Layout>,
    disks: Vec<DiskId>,
}

impl Survey {
    /// Looks at the disks of the pool, and at what is new.
    pub(super) fn look(
        &mut self,
        settings: &PoolSettings,
        host: &Host,
        within: &Within,
    ) -> Result<(), Failure> {
        let devices = devices(settings, host);
        self.labels.retain(|device, _| devices.contains(device));
        let is_other = |label: &Option<Label>| label.as_ref().is_none_or(|label| label.pool != settings.guid);
        // Of what is not ours, a label is no news.
        let is_known =
            |device: &PathBuf| settings.disks.is_empty() && self.labels.get(device).is_some_and(is_other);
        let asked: Vec<PathBuf> = devices.into_iter().filter(|device| !is_known(device)).collect();
        self.unread.clear();
        for (device, output) in read(host, asked, within) {
            match output {
                Ok(output) => drop(self.labels.insert(device, label::parse(&output.stdout))),
                // A disk that does not answer must not hide the others; what it said before still stands.
                Err(CommandError::Over { stopped: false, .. } | CommandError::Stuck { .. }) => {
                    self.unread.insert(device);
                }
                Err(error) => return Err(error.into()),
            }
        }
        let all_seen = !settings.disks.is_empty()
            && settings.disks.iter().all(|disk| {
                labelled(host, disk).is_some_and(|disk| self.labels.get(&disk).is_some_and(Option::is_some))
            });
        // What was known of the pool's shape is not forgotten with its disks.
        let labels = self.labels.values().flatten();
        self.layout = Layout::new(settings.guid, labels, all_seen).or(self.layout.take());
        let leaves: BTreeSet<_> =
            self.layout.iter().flat_map(Layout::all_leaves).map(|leaf| leaf.guid).collect();
        let is_ours = |label: &Label| match label.state {
            // One that was detached keeps its label.
            State::Active | State::Exported | State::Destroyed => {
                label.pool == settings.guid && leaves.contains(&label.guid)
            }
            State::Cache | State::Spare => !settings.disks.is_empty(),
        };
        let ours = self.labels.iter().filter_map(|(device, label)| {
            let label = label.as_ref().filter(|label| is_ours(label))?;
            identify(host, device, Some(label.guid))
        });
        self.disks = ours.collect();
        Ok(())
    }

    pub(super) fn layout(&self) -> Option<&Layout> {
        self.layout.as_ref()
    }

    pub(super) fn disks(&self) -> &[DiskId] {
        &self.disks
    }

    /// The disks that belong to the pool, as far as is known, and are not seen.
    pub(super) fn missing(&self, settings: &PoolSettings, host: &Host) -> Vec<String> {
        let named = settings.disks.iter().filter(|disk| !host.path(disk).exists());
        let named = named.map(|disk| disk.display().to_string());
        let leaves = self.layout.iter().flat_map(Layout::all_leaves);
        let unseen = leaves.filter(|leaf| !leaf.is_out && !self.has(leaf.guid)).map(|leaf| leaf.path.clone());
        named.chain(unseen).collect::<BTreeSet<_>>().into_iter().collect()
    }

    pub(super) fn has(&self, guid: u64) -> bool {
        self.disks.iter().any(|disk| disk.guid == Some(guid))
    }

    /// The devices that gave no answer in time.
    pub(super) fn unread(&self) -> Vec<String> {
        self.unread.iter().map(|device| device.display().to_string()).collect()
    }

    /// The disks that the settings name, and that are of another pool or of none; and those that are there twice.
    pub(super) fn foreign(&self, settings: &PoolSettings, host: &Host) -> Vec<Failure> {
        let mut failures = Vec::new();
        for disk in &settings.disks {
            let Some(device) = labelled(host, disk) else { continue };
            let what = match self.labels.get(&device).map(Option::as_ref) {
                // It was not asked, or has not answered: that says nothing of whose it is.
                None => continue,
                Some(Some(label)) if label.pool == 0 || self.has(label.guid) => continue,
                Some(Some(label)) if label.pool == settings.guid => {
                    format!("{} was taken out of pool {}", disk.display(), settings.name)
                }
                Some(Some(label)) => format!("{} is a disk of pool {}", disk.display(), label.pool_name),
                Some(None) => format!("{} has no label of ZFS that can be read", disk.display()),
            };
            failures.push(Failure::new(Cause::DiskForeign, what, "name the right disks of the pool"));
        }
        let mut first = BTreeMap::new();
        for disk in &self.disks {
            let other = first.entry(disk.guid).or_insert(disk);
            if other.serial.is_some() && disk.serial.is_some() && other.serial != disk.serial {
                let (one, two) = (other.device.display(), disk.device.display());
                let what = format!("{one} and {two} say that they are the same disk of the pool");
                failures.push(Failure::new(
                    Cause::DiskForeign,
                    what,
                    "one is a copy of the other: take it away",
                ));
            }
        }
        failures
    }
}

/// What `zdb` says of each of these devices, of several at a time.
fn read(host: &Host, devices: Vec<PathBuf>, within: &Within) -> Vec<(PathBuf, Result<Output, CommandError>)> {
    let (waiting, done) = (Mutex::new(devices.into_iter()), Mutex::new(Vec::new()));
    let hold = |waiting: &Mutex<std::vec::IntoIter<PathBuf>>| {
        waiting.lock().unwrap_or_else(PoisonError::into_inner).next()
    };
    let work = || {
        while let Some(device) = hold(&waiting) {
            let invocation = Invocation::new("zdb", ["-l".as_ref(), host.path(&device).as_os_str()]);
            let output = host.run(&invocation, within);
            done.lock().unwrap_or_else(PoisonError::into_inner).push((device, output));
        }
    };
    thread::scope(|scope| {
        for _ in 1..WIDTH {
            // Where there is no thread to be had, this one does it all.
            let _ = thread::Builder::new().name("label".to_owned()).spawn_scoped(scope, work);
        }
        work();
    });
    done.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// The block devices in question, without links.
fn devices(settings: &PoolSettings, host: &Host) -> BTreeSet<PathBuf> {
    let in_directory = |directory: &PathBuf| {
        let names = host.names(directory).into_iter();
        names.filter_map(|name| host.canonical(directory.join(name)).ok()).collect::<Vec<_>>()
    };
    if settings.disks.is_empty() {
        settings.directories.iter().flat_map(in_directory).filter(|device| is_device(host, device)).collect()
    } else {
        settings.disks.iter().filter_map(|disk| labelled(host, disk)).collect()
    }
}

/// Where the label of this disk is, without links: a whole disk that was given to ZFS has it in its first partition.
fn labelled(host: &Host, disk: &Path) -> Option<PathBuf> {
    let mut first = disk.as_os_str().to_owned();
    first.push("-part1");
    host.canonical(Path::new(&first)).or_else(|_| host.canonical(disk)).ok()
}

fn is_device(host: &Host, path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    host.path("/sys/class/block").join(name).exists()
}

/// Labels read at a time.
const WIDTH: usize = 8;
