//! Pools of ZFS, by its own programs.
//!
//! A pool is imported by its GUID from directories that are named, never from a cache file, which tells of another time. Only
//! after our own fence has taken the disks is it imported although another host had it last: see [`Pool::set_forced`].
//! Whether it is imported here, the kernel's own statistics tell, without taking any lock.

mod datasets;
mod import;
mod label;
mod layout;
mod release;
mod status;
mod survey;

#[cfg(test)]
mod label_tests;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use self::datasets::Key;
pub use self::layout::Layout;
use self::status::Status;
use self::survey::Survey;
use super::disk::DiskId;
use super::host::Host;
use super::unmount::Busy;
use crate::resource::{Cause, Failure, Finding, Invocation, Output, Resource, Taken, Within};

/// Which pool, and how it is taken and released.
#[derive(Clone, Debug)]
pub struct PoolSettings {
    /// What the pool is called. It is not renamed: one that is called otherwise is another one.
    pub name: String,
    /// Its GUID, as `zpool get guid` says: not zero.
    pub guid: u64,
    /// Where its disks are looked for: absolute paths, one at least. `/dev/disk/by-id` by default.
    pub directories: Vec<PathBuf>,
    /// All its disks, cache and spare disks included: absolute paths that are the same on both nodes. Empty (the default):
    /// those whose labels say so; cache and spare disks are not known then before the pool is imported.
    pub disks: Vec<PathBuf>,
    /// How long an import waits for disks that are not seen, before it is tried without them. 3 s by default; 0 to 60 s.
    pub settle: Duration,
    /// Whether the pool is imported without its log device, if that is missing. No by default: what was acknowledged last may
    /// be on it.
    pub missing_log: bool,
    /// Keys of encrypted data sets. None by default.
    pub keys: Vec<Key>,
    /// Whether data sets with `sharenfs` or `sharesmb` are shared. Yes by default.
    pub share: bool,
    /// What is done with whoever does not let go of its file systems and volumes. To wait, by default.
    pub busy: Busy,
    /// Whether `zpool export -f` is tried when all else has failed. No by default.
    pub force_export: bool,
}

/// A pool that is imported on the active node, with all that is in it.
#[derive(Debug)]
pub struct Pool {
    name: String,
    settings: PoolSettings,
    host: Host,
    forced: AtomicBool,
    survey: Mutex<Survey>,
    /// When the last survey began. Held while there is one: each costs a program for each disk.
    surveyed: Mutex<Option<Instant>>,
}

impl Pool {
    /// As the settings say.
    #[must_use]
    pub fn new(settings: PoolSettings, host: Host) -> Self {
        let name = format!("pool {}", settings.name);
        Self {
            name,
            settings,
            host,
            forced: AtomicBool::new(false),
            survey: Mutex::default(),
            surveyed: Mutex::default(),
        }
    }

    /// Says whether our fence has taken the disks, until the pool is released. If it has, the next import is done although the
    /// other host's mark is on the pool: a host that was fenced has not exported it. Without a fence, that mark is the last
    /// thing that protects the pool from two writers. `multihost` protects it all the same: this does not override it, and the
    /// import takes the seconds that it needs to see whether anybody writes.
    pub fn set_forced(&self, fenced: bool) {
        self.forced.store(fenced, Ordering::Relaxed);
    }

    /// Reads the labels of the disks, so that [`disks`](Self::disks) and [`layout`](Self::layout) know them.
    /// [`examine`](Resource::examine) does that too.
    ///
    /// # Errors
    ///
    /// If `zdb` can't be run.
    pub fn survey(&self, within: &Within) -> Result<(), Failure> {
        self.survey_if_older(Duration::ZERO, within)
    }

    /// The same, unless the last survey is younger than `age`, or one that is under way proves to be.
    ///
    /// # Errors
    ///
    /// If `zdb` can't be run.
    pub fn survey_if_older(&self, age: Duration, within: &Within) -> Result<(), Failure> {
        let asked = Instant::now();
        // Whoever has it keeps to limits of its own.
        let mut surveyed = self.surveyed.lock().unwrap_or_else(PoisonError::into_inner);
        if surveyed.is_some_and(|began| began + age > asked) {
            return Ok(());
        }
        *surveyed = None;
        let began = Instant::now();
        // Others who want to know what is known are not made to wait for the disks.
        let mut survey = self.known().clone();
        survey.look(&self.settings, &self.host, within)?;
        *self.known() = survey;
        *surveyed = Some(began);
        Ok(())
    }

    /// The disks of the pool that are seen here, for comparing and for reserving, as of the last survey.
    #[must_use]
    pub fn disks(&self) -> Vec<DiskId> {
        self.known().disks().to_vec()
    }

    /// How the pool is built, as of the last survey. The fence asks it which disks are enough.
    #[must_use]
    pub fn layout(&self) -> Option<Layout> {
        self.known().layout().cloned()
    }

    fn known(&self) -> MutexGuard<'_, Survey> {
        self.survey.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn statistics(&self) -> PathBuf {
        Path::new("/proc/spl/kstat/zfs").join(&self.settings.name)
    }

    /// Whether the kernel has it.
    fn is_imported(&self) -> bool {
        self.host.path(self.statistics()).exists()
    }

    /// Waits until all its disks are seen: an import of half a pool says that the pool is destroyed.
    fn await_disks(&self, within: &Within) {
        let settle = within.at_most(self.settings.settle);
        let named = |disk: &PathBuf| self.host.path(disk).exists();
        let known: Vec<_> = self.known().disks().iter().map(|disk| disk.device.clone()).collect();
        self.host.wait_for(&settle, || self.settings.disks.iter().chain(&known).all(named));
    }

    fn import(&self, within: &Within) -> Result<(), Failure> {
        let mut first = true;
        loop {
            self.await_disks(within);
            let invocation = self.import_line(&["-N", "-o", "cachefile=none"], Some(self.settings.guid));
            let output = self.host.run(&invocation, within)?;
            if output.status.success() {
                return self.is_the_one();
            }
            let (failure, again) = import::refused(&self.settings.name, &output);
            if !again || within.left() < LAST || !within.pause(AGAIN) {
                return Err(self.explained(failure, within));
            }
            if first {
                tracing::info!(pool = self.settings.name, %failure, "The import is tried again.");
            }
            first = false;
        }
    }

    fn import_line(&self, options: &[&str], guid: Option<u64>) -> Invocation {
        let mut line = vec!["import".into()];
        for directory in &self.settings.directories {
            line.extend(["-d".into(), self.host.path(directory).into_os_string()]);
        }
        line.extend(options.iter().map(Into::into));
        if let Some(guid) = guid {
            let forced = self.forced.load(Ordering::Relaxed).then(|| "-f".into());
            let missing_log = self.settings.missing_log.then(|| "-m".into());
            line.extend(forced.into_iter().chain(missing_log));
            line.push(guid.to_string().into());
        }
        Invocation::new("zpool", line)
    }

    /// A pool of this GUID that is called otherwise has come under its own name.
    fn is_the_one(&self) -> Result<(), Failure> {
        if self.is_imported() {
            return Ok(());
        }
        let what = format!("the pool with GUID {} is not called {}", self.settings.guid, self.settings.name);
        Err(Failure::new(Cause::DiskForeign, what, "name the pool as it is called"))
    }

    /// The failure, with the disks that are to blame, if there is time to ask for them.
    fn explained(&self, failure: Failure, within: &Within) -> Failure {
        let listing = self.host.run(&self.import_line(&[], None), within).map(|output| output.stdout);
        let mut ill =
            listing.map_or_else(|_| Vec::new(), |listing| import::ill_disks(&listing, self.settings.guid));
        let missing = self.known().missing(&self.settings, &self.host);
        ill.extend(missing.into_iter().map(|disk| format!("{disk} is not seen")));
        if ill.is_empty() {
            return failure;
        }
        Failure { what: format!("{} ({})", failure.what, ill.join(", ")), ..failure }
    }

    /// What is to be said of a pool that was imported. That it can't be found out is said too.
    fn remarks(&self, within: &Within) -> Vec<String> {
        let name = &self.settings.name;
        let invocation = Invocation::new("zpool", ["status", "-j", name]);
        let output = self.host.run(&invocation, within);
        let status = output.as_ref().ok().and_then(|output: &Output| Status::parse(&output.stdout, name));
        status.map_or_else(
            || vec![format!("`{invocation}` does not tell how {} is: it takes ZFS 2.3", self.name)],
            |status| status.remarks(name),
        )
    }

    fn state(&self) -> Result<String, Failure> {
        let state = self.host.read(self.statistics().join("state"));
        state.map_err(|_| Failure::gone(&self.name))
    }
}

impl Resource for Pool {
    fn name(&self) -> &str {
        &self.name
    }

    fn take(&self, within: &Within) -> Result<Taken, Failure> {
        within.go_on(&self.name)?;
        if !self.is_imported() {
            self.import(within)?;
        }
        let (host, PoolSettings { name, keys, share, .. }) = (&self.host, &self.settings);
        match self.check(within) {
            Err(failure) if failure.cause != Cause::PoolDegraded => return Err(failure),
            Ok(()) | Err(_) => {}
        }
        datasets::load_keys(host, name, keys, within)?;
        datasets::mount(host, name, *share, within)?;
        Ok(Taken { remarks: self.remarks(within) })
    }

    fn release(&self, within: &Within) -> Result<(), Failure> {
        release::release(self, within)?;
        // By the next time, somebody else may have had it.
        self.set_forced(false);
        Ok(())
    }

    fn is_here(&self, _: &Within) -> Result<bool, Failure> {
        Ok(self.is_imported() || release::pending_import(self).is_some())
    }

    fn check(&self, _: &Within) -> Result<(), Failure> {
        let state = self.state()?;
        let (cause, remedy) = match state.as_str() {
            "ONLINE" => return Ok(()),
            "DEGRADED" => (Cause::PoolDegraded, "replace the disk that `zpool status` names"),
            "SUSPENDED" => (Cause::PoolSuspended, "this node has lost its disks, or was fenced: reset it"),
            _ => (Cause::PoolBroken, "see `zpool status`"),
        };
        Err(Failure::new(cause, format!("{} is {state}", self.name), remedy))
    }

    fn examine(&self, within: &Within) -> Vec<Finding> {
        let (host, settings) = (&self.host, &self.settings);
        let mut findings = host.examine_tools(&["zpool", "zfs", "zdb", "umount"]);
        findings.push(host.examine_room());
        if !host.path("/sys/module/zfs").exists() {
            let what = "the kernel module zfs is not loaded, and loading it takes time";
            findings.push(Finding::Weak(Failure::new(Cause::NoTool, what, "load it when the system starts")));
        }
        if host.read("/etc/hostid").is_err() {
            let what = "this node has no host id, so nobody sees from a pool that it is imported here";
            findings.push(Finding::Weak(Failure::new(
                Cause::Misconfigured,
                what,
                "make one with `zgenhostid`",
            )));
        }
        for key in settings.keys.iter().filter(|key| !host.path(&key.file).is_file()) {
            let what = format!("there is no key file {} for {}", key.file.display(), key.data_set);
            findings.push(Finding::Bad(Failure::new(
                Cause::Misconfigured,
                what,
                "put it there, on both nodes",
            )));
        }
        match self.survey(within) {
            Ok(()) => findings.extend(self.examine_disks()),
            Err(failure) => findings.push(Finding::Bad(failure)),
        }
        findings
    }
}

impl Pool {
    fn examine_disks(&self) -> Vec<Finding> {
        let (host, settings, survey) = (&self.host, &self.settings, self.known());
        let missing = survey.missing(settings, host);
        let unread = survey.unread();
        let mut findings: Vec<_> = survey.foreign(settings, host).into_iter().map(Finding::Bad).collect();
        if !unread.is_empty() {
            let what = format!("these disks did not tell in time whose they are: {}", unread.join(", "));
            let remedy = "check them and the way to them, or wait until this node has less to do";
            findings.push(Finding::Weak(Failure::new(Cause::TimedOut, what, remedy)));
        }
        let Some(layout) = survey.layout() else {
            let what = format!("no disk of {} is seen", self.name);
            let remedy = "look at the disks, at their cables, and at the directories that are named for them";
            findings.push(Finding::Bad(Failure::new(Cause::DiskMissing, what, remedy)));
            return findings;
        };
        if layout.pool_name() != settings.name {
            let what = format!("the pool with GUID {} is called {}", settings.guid, layout.pool_name());
            findings.push(Finding::Bad(Failure::new(
                Cause::DiskForeign,
                what,
                "name the pool as it is called",
            )));
        }
        if let Err(failure) = layout.can_run(|guid| survey.has(guid)) {
            findings.push(Finding::Bad(failure));
        } else if !missing.is_empty() {
            let what = format!("of {} these disks are not seen here: {}", self.name, missing.join(", "));
            let failure = Failure::new(Cause::DiskMissing, what, "look at these disks and their cables");
            findings.push(Finding::Weak(failure));
        } else {
            findings.push(Finding::Good(format!("all {} disks of {} seen", survey.disks().len(), self.name)));
        }
        for leaf in layout.all_leaves().into_iter().filter(|leaf| leaf.is_out) {
            let what = format!("disk {} of {} is out of order", leaf.path, self.name);
            findings.push(Finding::Weak(Failure::new(Cause::PoolDegraded, what, "replace it")));
        }
        findings
    }
}

/// Between two attempts to import.
const AGAIN: Duration = Duration::from_millis(300);
/// So much before the deadline no import is begun any more: there must be time to say why.
const LAST: Duration = Duration::from_secs(1);
