//! The kernel's iSCSI target, by its own directories in configfs.
//!
//! Both nodes serve the same document, so clients see the same disks with the same serial numbers. While it moves, they are
//! told to wait. Persistent reservations of clients are kept on shared storage and given back.

mod build;
mod configfs;
mod document;

#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use self::configfs::{Configfs, Kernel, ROOT};
use self::document::{Backstore, Document};
use crate::resource::{Cause, Failure, Finding, Invocation, Resource, Taken, Within};
use crate::storage::{Busy, Host, mounts, unmount_all};

/// What is served.
#[derive(Clone, Debug)]
pub struct IscsiSettings {
    /// What `targetcli saveconfig FILE` has written: an absolute path, the same document on both nodes, not on shared storage.
    /// Backstores are `block` and `fileio`; portals are best `0.0.0.0` or `[::0]`, since the addresses come last.
    pub document: PathBuf,
    /// Where persistent reservations of clients are kept: a directory on shared storage that this comes after, an absolute
    /// path. It is made if it is not there. `None` (the default): they are lost when it moves.
    pub reservations: Option<PathBuf>,
}

/// The kernel's iSCSI target.
#[derive(Debug)]
pub struct Iscsi {
    settings: IscsiSettings,
    host: Host,
    tree: Arc<dyn Configfs>,
    /// What was taken: it is released even if the document changes or vanishes.
    taken: Mutex<Option<Document>>,
}

impl Iscsi {
    /// As the settings say.
    #[must_use]
    pub fn new(settings: IscsiSettings, host: Host) -> Self {
        let tree = Arc::new(Kernel(host.clone()));
        Self::with(settings, host, tree)
    }

    fn with(settings: IscsiSettings, host: Host, tree: Arc<dyn Configfs>) -> Self {
        Self { settings, host, tree, taken: Mutex::default() }
    }

    fn read(&self) -> Result<Document, Failure> {
        let path = &self.settings.document;
        let text = self.host.read(path);
        let text =
            text.map_err(|error| Failure::system(&format!("{} can't be read", path.display()), &error))?;
        Document::parse(&text)
    }

    /// What was taken, else what would be.
    fn document(&self) -> Result<Document, Failure> {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner).clone();
        taken.map_or_else(|| self.read(), Ok)
    }

    fn load_modules(&self, within: &Within) -> Result<(), Failure> {
        if self.tree.exists("core") {
            return Ok(());
        }
        let line = ["--all", "target_core_mod", "target_core_iblock", "target_core_file", "iscsi_target_mod"];
        self.host.must(
            ("modprobe", line),
            within,
            (Cause::NoTool, "install a kernel with the SCSI target"),
        )?;
        if self.tree.exists("core") {
            return Ok(());
        }
        Err(Failure::new(
            Cause::Misconfigured,
            format!("there is no {ROOT}"),
            "mount configfs on /sys/kernel/config",
        ))
    }

    /// Where the kernel writes down reservations, as it says itself.
    fn ledger(&self) -> PathBuf {
        Path::new(&self.tree.read("dbroot").unwrap_or_else(|_| "/var/target".to_owned())).join("pr")
    }

    fn has_ledger(&self) -> Result<bool, Failure> {
        let mounts = mounts(&self.host, "self");
        let mounts = mounts.map_err(|error| Failure::system("the mounts can't be listed", &error))?;
        let at = self.ledger();
        Ok(self.settings.reservations.is_some() && mounts.iter().any(|mount| mount.at == at))
    }

    /// Mounts the shared directory where the kernel writes down reservations.
    fn bring_ledger(&self, within: &Within) -> Result<(), Failure> {
        let Some(shared) = self.settings.reservations.as_ref() else { return Ok(()) };
        if self.has_ledger()? {
            return Ok(());
        }
        let at = self.ledger();
        for directory in [shared, &at] {
            fs::create_dir_all(self.host.path(directory)).map_err(|error| {
                Failure::system(&format!("{} can't be made", directory.display()), &error)
            })?;
        }
        let line = ["--bind".as_ref(), shared.as_os_str(), at.as_os_str()];
        self.host.must(("mount", line), within, (Cause::Other, "see the kernel's log"))?;
        Ok(())
    }

    /// udev makes the links of a pool's volumes a little after the import.
    fn wait_for_devices(&self, document: &Document, within: &Within) -> Result<(), Failure> {
        for store in &document.storage_objects {
            if !self.host.wait_for(within, || self.host.path(&store.dev).exists()) {
                return Err(Failure::new(
                    Cause::DiskMissing,
                    format!("{} of backstore {} does not come", store.dev.display(), store.name),
                    "see whether the pool or file system that this needs has it",
                ));
            }
        }
        Ok(())
    }

    /// What was written down for the unit with this serial number; nothing, if it is new.
    fn reservations(&self, serial: &str) -> Option<String> {
        let shared = self.settings.reservations.as_ref()?;
        Some(self.host.read(shared.join(format!("aptpl_{serial}"))).unwrap_or_default())
    }

    /// A volume of ZFS acknowledges what is only in this node's memory, unless it is told not to. The client does not know that
    /// this was lost.
    fn unsafe_cache(&self, store: &Backstore, within: &Within) -> Option<String> {
        let volume = store.dev.strip_prefix("/dev/zvol").ok()?.to_str()?;
        let line = ["get", "-H", "-o", "value", "sync", volume];
        let output = self.host.run(&Invocation::new("zfs", line), within).ok()?;
        let sync = output.stdout.trim();
        (sync != "always").then(|| {
            format!("a failover may lose what clients wrote to {volume} and did not flush: `zfs set sync=always {volume}`")
        })
    }
}

impl Resource for Iscsi {
    fn name(&self) -> &'static str {
        "iSCSI target"
    }

    fn take(&self, within: &Within) -> Result<Taken, Failure> {
        within.go_on(self.name())?;
        let document = self.document()?;
        *self.taken.lock().unwrap_or_else(PoisonError::into_inner) = Some(document.clone());
        self.load_modules(within)?;
        self.bring_ledger(within)?;
        self.wait_for_devices(&document, within)?;
        let mut remarks = build::build(&*self.tree, &document, |serial| self.reservations(serial), within)?;
        build::check(&*self.tree, &document)?;
        remarks.extend(document.storage_objects.iter().filter_map(|store| self.unsafe_cache(store, within)));
        Ok(Taken { remarks })
    }

    fn release(&self, within: &Within) -> Result<(), Failure> {
        let document = self.document()?;
        build::dismantle(&*self.tree, &document, within)?;
        if build::is_there(&*self.tree, &document) {
            let what = "a part of the iSCSI target was removed, and is here still";
            return Err(Failure::new(Cause::Busy, what, "find out who has made it again"));
        }
        if self.has_ledger()? {
            let at = self.ledger();
            unmount_all(&self.host, |mount| mount.at == at, Busy::Wait, within)?;
        }
        *self.taken.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(())
    }

    fn is_here(&self, _: &Within) -> Result<bool, Failure> {
        Ok(build::is_there(&*self.tree, &self.document()?) || self.has_ledger()?)
    }

    fn check(&self, _: &Within) -> Result<(), Failure> {
        build::check(&*self.tree, &self.document()?)
    }

    fn examine(&self, _: &Within) -> Vec<Finding> {
        let mut findings = self.host.examine_tools(&["modprobe", "mount", "umount"]);
        match self.read() {
            Err(failure) => findings.push(Finding::Bad(failure)),
            Ok(document) if build::is_there(&*self.tree, &document) => {
                let what = "a part of the iSCSI target is here though this node has not taken over";
                let remedy = "`systemctl disable target`, and remove it with `targetcli clearconfig`";
                findings.push(Finding::Weak(Failure::new(Cause::Misconfigured, what, remedy)));
            }
            Ok(document) => {
                let (targets, stores) = (document.targets.len(), document.storage_objects.len());
                findings.push(Finding::Good(format!(
                    "{targets} iSCSI targets with {stores} backstores can be served"
                )));
            }
        }
        if !self.tree.exists("core") {
            let what = "the kernel's SCSI target is not loaded, and loading it takes time";
            let remedy = "load target_core_mod and iscsi_target_mod when the system starts";
            findings.push(Finding::Weak(Failure::new(Cause::NoTool, what, remedy)));
        }
        findings
    }
}
