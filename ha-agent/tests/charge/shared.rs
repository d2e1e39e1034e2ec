//! What two nodes share: a loop device with a file system, and the emulated disks whose reservations stand for its own.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, ensure};
use ha_agent::fence::emulated::{Disk, Features};
use ha_agent::fence::{Key, Registrations};
use rustix::process::geteuid;
use tempfile::TempDir;

/// A loop device with a file system, and two disks; the device is given back when this is dropped.
pub(crate) struct Shared {
    directory: TempDir,
    /// `ext4` or `btrfs`.
    pub(crate) kind: &'static str,
    /// `/dev/loop0`
    pub(crate) device: PathBuf,
    /// Of the file system.
    pub(crate) uuid: String,
    /// Their connections have the numbers of the nodes.
    pub(crate) disks: [Disk; 2],
}

impl Shared {
    /// Whether this machine has what it takes; else the tests are skipped, and say so.
    pub(crate) fn is_possible(kind: &str) -> bool {
        let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
        let possible = geteuid().is_root()
            && Path::new("/dev/loop-control").exists()
            && known.split_whitespace().any(|it| it == kind)
            && Command::new(format!("mkfs.{kind}")).arg("-V").output().is_ok();
        if !possible {
            eprintln!("skipped: {kind} on a loop device takes root, the devices, and mkfs.{kind}");
        }
        possible
    }

    pub(crate) fn new(kind: &'static str) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("ha-charge-").tempdir()?;
        let image = directory.path().join("image");
        File::create(&image)?.set_len(if kind == "ext4" { 16 << 20 } else { 120 << 20 })?;
        fs::create_dir(directory.path().join("srv"))?;
        run(&[&format!("mkfs.{kind}"), "-q", &image.display().to_string()])?;
        let image = image.display().to_string();
        let uuid = run(&["blkid", "-p", "-s", "UUID", "-o", "value", &image])?;
        let device = run(&["losetup", "--find", "--show", &image])?.into();
        let disks = ["S0", "S1"].map(|serial| Disk::new(serial, Features::default()));
        Ok(Self { directory, kind, device, uuid, disks })
    }

    /// A path of this test's own, on no shared disk.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Where it is mounted, on both nodes.
    pub(crate) fn at(&self) -> PathBuf {
        self.path("srv/data")
    }

    /// What stands on the disks.
    pub(crate) fn registrations(&self) -> [Registrations; 2] {
        [0, 1].map(|at| self.disks[at].registrations())
    }

    /// All keys that stand on them.
    pub(crate) fn keys(&self) -> Vec<Key> {
        self.registrations().into_iter().flat_map(|it| it.keys).collect()
    }

    /// Whether any of the disks takes writes of this node.
    pub(crate) fn may_write(&self, node: u32) -> bool {
        self.disks.iter().any(|disk| disk.may_write(node))
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Whoever still has it mounted is about to go, and the device with it.
        if let Err(error) = run(&["losetup", "--detach", &self.device.display().to_string()]) {
            eprintln!("{} was not given back: {error:#}", self.device.display());
        }
    }
}

/// Looks all the time whether both nodes can write, until it is dropped.
pub(crate) struct Lookout {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<BTreeSet<&'static str>>>,
}

impl Lookout {
    /// Begins to look at the two processes in whose mount namespaces the nodes live.
    pub(crate) fn start(shared: &Shared, nodes: [(u32, u32); 2]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (given, disks, at) = (Arc::clone(&stop), shared.disks.clone(), shared.at());
        let look = move || {
            let mut seen = BTreeSet::new();
            while !given.load(Ordering::Relaxed) {
                // Who may write changes only together with the registrations: what is seen between two equal ones was the
                // case at one moment, for a node mounts only after it has registered, and unmounts before it lets go.
                let before = disks.each_ref().map(Disk::registrations);
                let may = |node: u32| disks.each_ref().map(|disk| disk.may_write(node));
                let [first, second] = nodes.map(|(node, _)| may(node));
                let both = first.into_iter().zip(second).any(|(first, second)| first && second);
                if both && nodes.iter().all(|(_, process)| is_mounted(*process, &at)) {
                    let after = disks.each_ref().map(Disk::registrations);
                    seen.extend((before == after).then_some("both nodes could write"));
                }
                thread::sleep(LOOK);
            }
            seen
        };
        Self { stop, thread: Some(thread::spawn(look)) }
    }

    /// Ends it: they never both could.
    pub(crate) fn end(mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let seen = self.thread.take().map(JoinHandle::join).context("it has ended")?;
        let seen = seen.map_err(|_| anyhow::anyhow!("the lookout broke down"))?;
        ensure!(seen.is_empty(), "{seen:?}");
        Ok(())
    }
}

impl Drop for Lookout {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Whether something is mounted there for a process.
pub(crate) fn is_mounted(process: u32, at: &Path) -> bool {
    let mounts = fs::read_to_string(format!("/proc/{process}/mountinfo")).unwrap_or_default();
    mounts.lines().any(|line| line.split(' ').nth(4).is_some_and(|it| Path::new(it) == at))
}

/// What a program says, which must succeed.
pub(crate) fn run(line: &[&str]) -> Result<String> {
    let (program, arguments) = line.split_first().context("nothing to run")?;
    let output = Command::new(program).args(arguments).output().with_context(|| format!("{line:?}"))?;
    ensure!(output.status.success(), "{line:?}: {output:?}");
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

const LOOK: std::time::Duration = std::time::Duration::from_millis(1);
