//! The kernel's NFS server, so that clients of `NFSv4` find the same server again on the other node.
//!
//! What makes it the same:
//!
//! - the list of clients that hold state lives on shared storage: the directory of `nfsdcld` is mounted from there, and both
//!   are stopped before and started after;
//! - the server's scope, which it tells its clients, is the same on both nodes: it is set in `/etc/nfs.conf`, and compared;
//! - clients reclaim their locks within the grace time. That is ended as early as it can be by the kernel itself: at once if
//!   `nfsdcld` knows of no client, else when all it knows of have said that they are through (`RECLAIM_COMPLETE`, since
//!   `NFSv4.1`). Nothing is written to `v4_end_grace`: to end it before would lose the locks of those who are late. One client
//!   of `NFSv4.0`, or one that does not come back, makes it last its full time; that is why it is short.

use std::fs;
use std::path::{Path, PathBuf};

use super::systemd::{State, start, stop};
use super::unit;
use crate::resource::{Cause, Failure, Finding, Invocation, Resource, Taken, Within};
use crate::storage::{Busy, Host, mounts, unmount_all};

/// How NFS is served.
#[derive(Clone, Debug)]
pub struct NfsSettings {
    /// Where its state is kept: a directory on shared storage that this comes after, an absolute path. It is made if it is
    /// not there.
    pub state: PathBuf,
    /// The scope that it tells its clients, the same on both nodes: `scope` in the section `nfsd` of `/etc/nfs.conf`, which
    /// takes nfs-utils 2.6.3. 1 to 64 letters, digits, hyphens and dots.
    pub scope: String,
    /// How long a client keeps its locks without a word, in seconds. 15 by default; 10 to 3600.
    pub lease: u32,
    /// How long clients may reclaim locks, in seconds. 15 by default; 10 to 3600, and not less than `lease`.
    pub grace: u32,
    /// What is exported besides what `/etc/exports` and ZFS say. None by default.
    pub exports: Vec<Export>,
}

/// What is exported to whom: exports(5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// An absolute path.
    pub path: PathBuf,
    /// A host, a net or `*`.
    pub client: String,
    /// Such as `rw,no_root_squash,fsid=7`. `fsid` must be the same on both nodes where the device's number may differ.
    pub options: String,
}

/// The kernel's NFS server.
#[derive(Debug)]
pub struct Nfs {
    settings: NfsSettings,
    host: Host,
}

impl Nfs {
    /// As the settings say.
    #[must_use]
    pub fn new(settings: NfsSettings, host: Host) -> Self {
        Self { settings, host }
    }

    /// How many threads of the kernel serve.
    fn threads(&self) -> u32 {
        self.host.read("/proc/fs/nfsd/threads").ok().and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    fn has_state(&self) -> Result<bool, Failure> {
        let mounts = mounts(&self.host, "self");
        let mounts = mounts.map_err(|error| Failure::system("the mounts can't be listed", &error))?;
        Ok(mounts.iter().any(|mount| mount.at == Path::new(STATE)))
    }

    /// Mounts the shared state where `nfsdcld` looks for it.
    fn bring_state(&self, within: &Within) -> Result<(), Failure> {
        for directory in [&self.settings.state, Path::new(STATE)] {
            fs::create_dir_all(self.host.path(directory)).map_err(|error| {
                Failure::system(&format!("{} can't be made", directory.display()), &error)
            })?;
        }
        let line = ["--bind".as_ref(), self.settings.state.as_os_str(), STATE.as_ref()];
        self.host.must(("mount", line), within, (Cause::Other, "see the kernel's log"))?;
        Ok(())
    }

    /// These can be set only while it does not serve. The grace time ends with the lease time at the earliest.
    fn set_times(&self) -> Result<(), Failure> {
        self.host.write("/proc/fs/nfsd/nfsv4leasetime", &self.settings.lease.to_string())?;
        self.host.write("/proc/fs/nfsd/nfsv4gracetime", &self.settings.grace.to_string())
    }

    fn check_scope(&self, within: &Within) -> Result<(), Failure> {
        let invocation = Invocation::new("nfsconf", ["--get", "nfsd", "scope"]);
        let output = self.host.run(&invocation, within)?;
        let found = output.stdout.trim();
        if found == self.settings.scope {
            return Ok(());
        }
        let found = if found.is_empty() { "not set" } else { found };
        let what =
            format!("the scope of the NFS server is {found} here, and should be {}", self.settings.scope);
        let remedy = "set it in the section nfsd of /etc/nfs.conf, or clients lose their locks";
        Err(Failure::new(Cause::Misconfigured, what, remedy))
    }

    fn export(&self, within: &Within) -> Result<(), Failure> {
        for export in &self.settings.exports {
            let what = export.target();
            let line = ["-i", "-o", &export.options, &what];
            let remedy = "see exports(5) for the options, and that the directory is there";
            self.host.must(("exportfs", line), within, (Cause::Misconfigured, remedy))?;
        }
        Ok(())
    }

    /// Takes back the exports, so that the file systems can be unmounted. What is not exported is no failure.
    fn unexport(&self, within: &Within) -> Result<(), Failure> {
        for export in &self.settings.exports {
            self.host.run(&Invocation::new("exportfs", ["-u", &export.target()]), within)?;
        }
        // What the kernel still holds of them goes too.
        self.host.run(&Invocation::new("exportfs", ["-f"]), within)?;
        Ok(())
    }
}

impl Export {
    fn target(&self) -> String {
        // An address of IPv6 needs brackets.
        let client = &self.client;
        let client =
            if client.contains(':') && !client.starts_with('[') { &format!("[{client}]") } else { client };
        format!("{client}:{}", self.path.display())
    }
}

impl Resource for Nfs {
    fn name(&self) -> &'static str {
        "NFS server"
    }

    fn take(&self, within: &Within) -> Result<Taken, Failure> {
        within.go_on(self.name())?;
        if !(self.threads() > 0 && self.has_state()?) {
            self.check_scope(within)?;
            // One that runs on a state of its own would give away what clients of the other one hold.
            stop(&self.host, SERVER, within)?;
            stop(&self.host, TRACKER, within)?;
            if !self.has_state()? {
                self.bring_state(within)?;
            }
            start(&self.host, FILES, within)?;
            self.set_times()?;
            start(&self.host, TRACKER, within)?;
            start(&self.host, SERVER, within)?;
        }
        self.export(within)?;
        self.check(within)?;
        let grace = self.host.read("/proc/fs/nfsd/v4_end_grace").is_ok_and(|ended| ended == "N");
        let grace = grace
            .then(|| format!("clients of NFSv4 reclaim their locks, for about {} s", self.settings.grace));
        Ok(Taken { remarks: grace.into_iter().collect() })
    }

    fn release(&self, within: &Within) -> Result<(), Failure> {
        if !self.is_here(within)? {
            return Ok(());
        }
        let unexported = self.unexport(within);
        stop(&self.host, SERVER, within)?;
        stop(&self.host, TRACKER, within)?;
        unmount_all(&self.host, |mount| mount.at == Path::new(STATE), Busy::Wait, within)?;
        if self.threads() > 0 {
            let what = "the NFS server was stopped, and serves still";
            return Err(Failure::new(Cause::Busy, what, "end it with `rpc.nfsd 0`"));
        }
        // With no server, the kernel has no exports.
        if let Err(failure) = unexported {
            tracing::warn!(%failure, "The exports were not taken back as they should be, but nothing serves them.");
        }
        Ok(())
    }

    fn is_here(&self, _: &Within) -> Result<bool, Failure> {
        Ok(self.threads() > 0 || self.has_state()?)
    }

    fn check(&self, within: &Within) -> Result<(), Failure> {
        if self.threads() == 0 || !self.has_state()? {
            return Err(Failure::gone(self.name()));
        }
        let tracker = State::of(&self.host, TRACKER, within)?;
        if tracker.is_active() {
            return Ok(());
        }
        let what = format!("{TRACKER} is {}, so clients could not reclaim their locks", tracker.active);
        Err(Failure::new(Cause::ServiceDead, what, format!("see `journalctl -u {TRACKER}`")))
    }

    fn examine(&self, within: &Within) -> Vec<Finding> {
        let mut findings = self.host.examine_tools(&["exportfs", "nfsconf", "systemctl", "mount", "umount"]);
        findings.extend([SERVER, TRACKER].map(|unit| unit::examine(&self.host, unit, within)));
        findings.push(match self.check_scope(within) {
            Ok(()) => Finding::Good(format!("the scope of the NFS server is {}", self.settings.scope)),
            Err(failure) => Finding::Bad(failure),
        });
        findings
    }
}

/// Where `nfsdcld` keeps its list.
const STATE: &str = "/var/lib/nfs/nfsdcld";
const SERVER: &str = "nfs-server.service";
const TRACKER: &str = "nfsdcld.service";
/// The files by which the kernel's server is set up.
const FILES: &str = "proc-fs-nfsd.mount";
