//! The lab: guests, networks and paths to disks that belong together, and what can be done to them.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use ::lab::is_interrupted;
use anyhow::{Context as _, Result, bail};

use super::{
    super::{debian, kernel, machine},
    boot::{self, Boot},
    guest::{Guest, Machine, socket},
    hub::Hub,
    initramfs::{self, Put},
    inside::Output,
    ledger::Ledger,
    relay::{Ends, Flow, Relay},
    root,
    who::{Disk, Net, Node, Who},
};
use crate::{
    paths,
    process::{logged, timed},
};

/// What a lab is made of, in the cache.
pub(super) struct Parts {
    pub(super) qemu: PathBuf,
    pub(super) busybox: PathBuf,
    pub(super) kernel: kernel::Kernel,
    pub(super) root: PathBuf,
}

/// Who takes part, and what they have.
pub(super) struct Options<'a> {
    /// The target is there anyway where a node is.
    pub(super) guests: &'a [Who],
    /// Put upon every guest's root at each boot.
    pub(super) files: &'a [Put],
}

/// Guests that run. Dropped, they are killed and nothing is left of them.
pub(super) struct Lab {
    // In the order in which they are dropped.
    guests: BTreeMap<Who, Guest>,
    hubs: Vec<(Net, Hub)>,
    relays: BTreeMap<(Node, Disk), Relay>,
    ledger: Arc<Ledger>,
    dir: Dir,
}

impl Parts {
    /// Fetches or builds whatever the cache does not have yet; `version` is the kernel's.
    ///
    /// # Errors
    ///
    /// Something cannot be fetched or built.
    pub(super) fn ready(version: &str) -> Result<Self> {
        let qemu = machine::qemu()?;
        let kernel = kernel::kernel(version)?;
        let busybox =
            debian::unpacked("busybox", &debian::DEBIAN_12, |archive| archive.download(&["busybox-static"]))?;
        let root = root::image(&kernel)?;
        Ok(Self { qemu, busybox, kernel, root })
    }
}

impl Lab {
    /// Boots the guests: first the target, because QEMU wants its disks when it starts.
    ///
    /// # Errors
    ///
    /// Something cannot be made, or a guest does not boot.
    pub(super) fn up(parts: &Parts, options: &Options<'_>) -> Result<Self> {
        let dir = Dir::new()?;
        let initramfs = dir.path.join("initramfs");
        initramfs::write(&initramfs, &parts.kernel, &parts.busybox, options.files)?;
        let port = free_port()?;
        let target = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let ledger = Arc::new(Ledger::default());
        let mut relays = BTreeMap::new();
        for node in Node::ALL {
            for disk in Disk::ALL {
                let ends = Ends { node, target, isid: disk.isid(), ledger: Arc::clone(&ledger) };
                relays.insert((node, disk), Relay::new(ends)?);
            }
        }
        let mut hubs = Vec::new();
        for net in Net::ALL {
            let connected = Who::ALL.into_iter().filter(|who| who.nets().contains(&net));
            let sockets: Vec<_> = connected.map(|who| boot::port(&dir.path, net, who)).collect();
            hubs.push((net, Hub::new(&sockets)?));
        }
        let mut lab = Self { guests: BTreeMap::new(), hubs, relays, ledger, dir };
        for who in Who::ALL {
            let nodes = options.guests.iter().any(|guest| matches!(guest, Who::A | Who::B));
            if options.guests.contains(&who) || (who == Who::Target && nodes) {
                lab.add(parts, &initramfs, who, port)?;
            }
        }
        let booted = timed("boot", || lab.boot());
        if booted.is_err() && !is_interrupted() {
            lab.dir.keep_logs.store(true, Ordering::Relaxed);
        }
        booted.map(|()| lab)
    }

    /// The guest `who`.
    ///
    /// # Errors
    ///
    /// It does not take part.
    pub(super) fn guest(&self, who: Who) -> Result<&Guest> {
        self.guests.get(&who).with_context(|| format!("{who} does not take part"))
    }

    /// One of the two nodes.
    ///
    /// # Errors
    ///
    /// It does not take part.
    pub(super) fn node(&self, node: Node) -> Result<&Guest> {
        self.guest(node.who())
    }

    /// All guests that take part.
    pub(super) fn guests(&self) -> impl Iterator<Item = &Guest> {
        self.guests.values()
    }

    /// Changes what passes from `node` to `disk`.
    pub(super) fn path(&self, node: Node, disk: Disk, flow: Flow) {
        if let Some(relay) = self.relays.get(&(node, disk)) {
            relay.set(flow);
        }
    }

    /// Changes what passes from `node` to any disk.
    pub(super) fn paths(&self, node: Node, flow: Flow) {
        for disk in Disk::ALL {
            self.path(node, disk, flow);
        }
    }

    /// Has the network `net` carry what `who` sends and receives, or lose it. Unlike a cable that was pulled, the guest
    /// keeps its carrier.
    pub(super) fn carry(&self, net: Net, who: Who, carry: bool) {
        let port = boot::port(&self.dir.path, net, who);
        for (_, hub) in self.hubs.iter().filter(|(hub, _)| *hub == net) {
            hub.let_pass(&port, carry);
        }
    }

    /// Who has written to the disks.
    pub(super) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// What `disk` has, as a file of this machine: behind the target's back, so it is to be read only.
    pub(super) fn image(&self, disk: Disk) -> PathBuf {
        boot::disk(&self.dir.path, disk)
    }

    /// Where the sockets and logs are.
    pub(super) fn dir(&self) -> &Path {
        &self.dir.path
    }

    /// Keeps the logs when the lab is dropped, with the journal of each guest that still answers.
    pub(super) fn keep_logs(&self) {
        self.dir.keep_logs.store(true, Ordering::Relaxed);
        for guest in self.guests() {
            let journal = guest.try_run("journalctl --quiet --boot --output=short-monotonic", SHORT);
            if let Ok(Output { out, .. }) = journal {
                // It is a help, and no more.
                let _ = fs::write(self.dir.path.join(format!("{}.journal.log", guest.who)), out);
            }
        }
    }

    fn add(&mut self, parts: &Parts, initramfs: &Path, who: Who, port: u16) -> Result<()> {
        let layer = self.dir.path.join(format!("{who}.qcow2"));
        let mut command = machine::program(&parts.qemu, "qemu-img");
        command.args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"]).arg(&parts.root).arg(&layer);
        logged(&mut command, &paths::log_file("vm-layer")?)?;
        let mut disks = BTreeMap::new();
        match who {
            Who::Target => {
                for disk in Disk::ALL {
                    let path = boot::disk(&self.dir.path, disk);
                    // With nothing in it yet, it takes no space.
                    let made = File::create(&path).and_then(|file| file.set_len(disk.size()));
                    made.with_context(|| format!("cannot write {}", path.display()))?;
                }
            }
            Who::A | Who::B => {
                for (&(node, disk), relay) in &self.relays {
                    if node.who() == who {
                        disks.insert(disk, relay.address);
                    }
                }
            }
            Who::Client => {}
        }
        let boot = Boot {
            who,
            qemu: parts.qemu.clone(),
            kernel: parts.kernel.image.clone(),
            initramfs: initramfs.to_owned(),
            layer,
            dir: self.dir.path.clone(),
            target: port,
            disks,
        };
        let machine = Machine { command: Box::new(move || boot.command()), dir: self.dir.path.clone() };
        self.guests.insert(who, Guest::new(who, machine));
        Ok(())
    }

    fn boot(&self) -> Result<()> {
        let (first, then): (Vec<_>, Vec<_>) =
            self.guests().partition(|guest| matches!(guest.who, Who::Target | Who::Client));
        for guest in &first {
            guest.start()?;
        }
        if let Some(target) = self.guests.get(&Who::Target) {
            target.wait()?;
            let initiators = Node::ALL.map(Node::initiator).join(" ");
            let serials = Disk::ALL.map(Disk::serial).join(" ");
            let devices = Disk::ALL.map(|disk| format!("/dev/disk/by-id/virtio-{disk}")).join(" ");
            target.run(&format!("lab-target disks '{initiators}' '{serials}' '{devices}'"))?;
        }
        for guest in &then {
            guest.start()?;
        }
        self.guests().filter(|guest| guest.who != Who::Target).try_for_each(Guest::wait)
    }
}

/// The lab's directory.
struct Dir {
    path: PathBuf,
    keep_logs: AtomicBool,
}

impl Dir {
    fn new() -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = paths::target_dir()?.join(format!("vm/pair-{}-{number}", std::process::id()));
        if socket(&path, Who::Client, "console").as_os_str().len() > SOCKET_NAME {
            bail!(
                "{} is too long a name for sockets in it: set CARGO_TARGET_DIR to a shorter one",
                path.display()
            );
        }
        fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self { path, keep_logs: AtomicBool::new(false) })
    }
}

impl Drop for Dir {
    /// What cannot be removed is in nobody's way.
    fn drop(&mut self) {
        if !self.keep_logs.load(Ordering::Relaxed) {
            let _ = fs::remove_dir_all(&self.path);
            return;
        }
        for entry in fs::read_dir(&self.path).into_iter().flatten().flatten() {
            if entry.path().extension().is_none_or(|ending| ending != "log") {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// A TCP port that is free now; QEMU listens there soon.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("looking for a free port")?;
    Ok(listener.local_addr().context("looking for a free port")?.port())
}

/// For what is not worth waiting for.
const SHORT: Duration = Duration::from_secs(20);
/// Bytes that the name of a socket may have.
const SOCKET_NAME: usize = 107;
