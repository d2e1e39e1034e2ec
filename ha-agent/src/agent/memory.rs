//! What survives a restart in strict mode: the times that were heard, and those that we gave. A file of JSON in
//! the state directory, written once a second while something changes, and at the end.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ha_common::abi::{Address, HeardKey, family_of};
use ha_common::fresh::{Heard, Stamp};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};

use super::detector::{Input, Snapshot};
use super::hosts;
use crate::cli::exit::Exit;
use crate::config::{Config, Mode, VhostConfig};
use crate::dataplane::Memory;
use crate::sys::clock;

/// Keeps the file.
#[derive(Debug)]
pub(super) struct Keeper {
    path: PathBuf,
    mind: Mind,
    written: Stored,
    complained: bool,
    detector: mpsc::UnboundedSender<Input>,
}

/// What is known of all virtual hosts. Nobody who looks at it waits for a disk.
#[derive(Clone, Debug)]
pub(super) struct Mind(Arc<Mutex<Known>>);

#[derive(Debug)]
struct Known {
    memory: Memory,
    /// What makes each of them, by index.
    names: BTreeMap<usize, String>,
    /// Of others as well: they may come back.
    stored: Stored,
    /// Whether the file was read.
    begun: bool,
}

/// Why there is no memory.
#[derive(Debug, thiserror::Error)]
#[error(
    "the state in {} can't be {verb}: {cause}; strict mode remembers there what it has heard: name another \
     directory with --state, or remove the file",
    .path.display()
)]
pub struct MemoryError {
    path: PathBuf,
    verb: &'static str,
    cause: io::Error,
}

/// The file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Stored {
    version: u32,
    /// By interface and vhid, which is what makes a virtual host.
    vhosts: BTreeMap<String, StoredVhost>,
}

/// What is stored of one virtual host; times in ms since 2025.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct StoredVhost {
    /// The last that we gave, by advskew, advbase and demote.
    given: BTreeMap<String, u64>,
    /// By sender.
    senders: BTreeMap<IpAddr, StoredHeard>,
    /// By advskew, advbase and demote.
    fields: BTreeMap<String, StoredHeard>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct StoredHeard {
    newest_ms: u64,
    seen: u64,
}

impl MemoryError {
    /// The exit code that fits.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self.cause.kind() {
            io::ErrorKind::PermissionDenied => Exit::NoPermission,
            _ => Exit::Os,
        }
    }
}

impl Keeper {
    /// Reads what an earlier life has left; in compat mode it touches nothing. No virtual host has begun yet.
    ///
    /// # Errors
    ///
    /// If the file is there and can't be read, or can't be written: whoever forgets could be told old things.
    pub(super) fn open(
        directory: &Path,
        mode: Mode,
        memory: Memory,
        detector: mpsc::UnboundedSender<Input>,
    ) -> Result<Self, MemoryError> {
        let known = Known { memory, names: BTreeMap::new(), stored: Stored::default(), begun: false };
        let mind = Mind(Arc::new(Mutex::new(known)));
        let path = directory.join(FILE);
        let mut keeper = Self { path, mind, written: Stored::default(), complained: false, detector };
        match mode {
            Mode::Compat => {}
            Mode::Strict => keeper.begin()?,
        }
        Ok(keeper)
    }

    /// What it knows, for whoever adds virtual hosts and removes them.
    pub(super) fn mind(&self) -> Mind {
        self.mind.clone()
    }

    /// Reads the file, and tells the kernel.
    fn begin(&mut self) -> Result<(), MemoryError> {
        let failed = |verb, cause| MemoryError { path: self.path.clone(), verb, cause };
        if let Some(directory) = self.path.parent() {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
            made.map_err(|cause| failed("written", cause))?;
        }
        self.written = match read(&self.path).map_err(|cause| failed("read", cause))? {
            Content::Stored(stored) => stored,
            Content::Unknown(why) => {
                let aside = self.path.with_extension("unreadable");
                fs::rename(&self.path, &aside).map_err(|cause| failed("moved aside", cause))?;
                tracing::error!(
                    "{} can't be understood ({why}) and was moved to {}: what was heard before is not known",
                    self.path.display(),
                    aside.display()
                );
                Stored::default()
            }
        };
        // So that a directory that can't be written is found now.
        write(&self.path, &self.written).map_err(|cause| failed("written", cause))?;
        let mut known = self.mind.lock();
        (known.stored, known.begun) = (self.written.clone(), true);
        for (vhost, name) in known.names.clone() {
            known.remember(vhost, &name);
        }
        Ok(())
    }

    /// Writes the file whenever something changed, while the mode is strict, and a last time when it is told how
    /// everything ended. On a task of its own: a disk may hang.
    pub(super) async fn run(
        mut self,
        config: watch::Receiver<Arc<Config>>,
        mut end: oneshot::Receiver<Option<Snapshot>>,
    ) {
        let mut round = tokio::time::interval(ROUND);
        round.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = round.tick() => {}
                last = &mut end => {
                    if let (Ok(Some(last)), true) = (last, self.has_begun()) {
                        self.save(&last);
                    }
                    return;
                }
            }
            if config.borrow().auth.mode == Mode::Compat {
                continue;
            }
            if !self.has_begun() {
                // The mode has changed since the start.
                let begun = tokio::task::block_in_place(|| self.begin());
                if let Err(error) = begun {
                    self.complain(&error);
                    continue;
                }
            }
            let (reply, answer) = oneshot::channel();
            // It is gone only while the agent ends.
            let _ = self.detector.send(Input::Snapshot(reply));
            // Else the agent ends.
            if let Ok(snapshot) = answer.await {
                self.save(&snapshot);
            }
        }
    }

    /// Writes what was heard and given by now.
    fn save(&mut self, snapshot: &Snapshot) {
        let stored = self.mind.lock().gather(snapshot);
        if stored == self.written {
            return;
        }
        match tokio::task::block_in_place(|| write(&self.path, &stored)) {
            Ok(()) => (self.written, self.complained) = (stored, false),
            Err(cause) => self.complain(&MemoryError { path: self.path.clone(), verb: "written", cause }),
        }
    }

    /// Once, until it is well again.
    fn complain(&mut self, error: &MemoryError) {
        if !self.complained {
            self.complained = true;
            tracing::error!("{error}; until then, what was heard could be heard again after a restart");
        }
    }

    fn has_begun(&self) -> bool {
        self.mind.lock().begun
    }
}

impl Mind {
    /// Here is one more virtual host. In strict mode, tells the kernel what it had heard in an earlier life, and returns the
    /// last time that it gave.
    pub(super) fn begin(&self, config: &VhostConfig) -> Option<u64> {
        let mut known = self.lock();
        let name = name(config);
        known.names.insert(config.index, name.clone());
        if known.begun { known.remember(config.index, &name) } else { None }
    }

    /// There is no such virtual host any more; it had given these times last. What it has heard is kept for another life.
    pub(super) fn end(&self, vhost: usize, given: &[Stamp]) {
        let mut known = self.lock();
        known.gather_all([(vhost, given)]);
        known.names.remove(&vhost);
        let number = hosts::number(vhost);
        for (key, _) in known.memory.all() {
            if key.host == number {
                known.memory.forget(&key);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Tells the kernel what is stored of a virtual host. Returns the last time that it gave.
    fn remember(&mut self, vhost: usize, name: &str) -> Option<u64> {
        let given = self.newest_given(name);
        if given.is_some_and(|ms| Duration::from_millis(ms) > clock::wall() + AHEAD) {
            tracing::warn!(
                "{name}: this node has advertised with a clock that was ahead of today's; until then, peers that \
                 don't know it will take its advertisements for stale"
            );
        }
        let keys = self.stored.vhosts.get(name).map(|stored| stored.keys(hosts::number(vhost)));
        for (key, heard) in keys.into_iter().flatten() {
            if let Err(error) = self.memory.restore(key, heard) {
                tracing::warn!(%error, "not everything that was heard before could be remembered");
                break;
            }
        }
        given
    }

    fn newest_given(&self, name: &str) -> Option<u64> {
        self.stored.vhosts.get(name).and_then(StoredVhost::newest_given)
    }

    fn gather(&mut self, snapshot: &Snapshot) -> Stored {
        self.gather_all(snapshot.vhosts.iter().map(|(vhost, shown)| (*vhost, shown.given.as_slice())));
        self.stored.clone()
    }

    /// Takes in what the kernel has heard, and what these virtual hosts have given.
    fn gather_all<'a>(&mut self, given: impl IntoIterator<Item = (usize, &'a [Stamp])>) {
        let Self { memory, names, stored, .. } = self;
        stored.version = VERSION;
        for name in names.values() {
            stored.vhosts.entry(name.clone()).or_default();
        }
        for (vhost, given) in given {
            let Some(stored) = names.get(&vhost).and_then(|name| stored.vhosts.get_mut(name)) else {
                continue;
            };
            for stamp in given {
                stored.given.insert(fields(stamp.advskew, stamp.advbase, stamp.demote), stamp.ms);
            }
        }
        for (key, heard) in memory.all() {
            let vhost = usize::try_from(key.host).unwrap_or(0).checked_sub(1);
            let name = vhost.and_then(|vhost| names.get(&vhost));
            if let Some(stored) = name.and_then(|name| stored.vhosts.get_mut(name)) {
                stored.remember(&key, heard);
            }
        }
    }
}

impl StoredVhost {
    fn remember(&mut self, key: &HeardKey, heard: Heard) {
        let stored = StoredHeard { newest_ms: heard.newest_ms, seen: heard.seen };
        if key.kind == HeardKey::FIELDS {
            let [advskew, advbase, demote, ..] = key.name.0;
            self.fields.insert(fields(advskew, advbase, demote), stored);
        } else {
            self.senders.insert(key.name.ip(key.kind), stored);
        }
    }

    /// The same as the kernel has it, and with it what we gave ourselves: that counts as heard, so that nobody can
    /// send it back to us. In this life the kernel is told of each; of an earlier one, only how far it had come.
    fn keys(&self, host: u32) -> Vec<(HeardKey, Heard)> {
        let mut all = BTreeMap::new();
        for (sender, stored) in &self.senders {
            all.insert(HeardKey::sender(host, family_of(*sender), (*sender).into()), *stored);
        }
        let key = |fields: &str| {
            let mut numbers = fields.split('/').map(str::parse::<u8>);
            let mut next = || numbers.next()?.ok();
            let name = Address::v4([next()?, next()?, next()?, 0]);
            Some(HeardKey { host, kind: HeardKey::FIELDS, reserved: [0; 3], name })
        };
        for (fields, stored) in &self.fields {
            all.extend(key(fields).map(|key| (key, *stored)));
        }
        for (fields, newest_ms) in &self.given {
            let own = StoredHeard { newest_ms: *newest_ms, seen: u64::MAX };
            if let Some(key) = key(fields)
                && all.get(&key).is_none_or(|heard| heard.newest_ms < own.newest_ms)
            {
                all.insert(key, own);
            }
        }
        // When they arrived means nothing on the clock of another boot.
        let heard =
            |stored: StoredHeard| Heard { newest_ms: stored.newest_ms, seen: stored.seen, arrived_ns: 0 };
        all.into_iter().map(|(key, stored)| (key, heard(stored))).collect()
    }

    /// The last time that we gave.
    fn newest_given(&self) -> Option<u64> {
        self.given.values().max().copied()
    }
}

fn name(config: &VhostConfig) -> String {
    format!("{} vhid {}", config.interface, config.vhid)
}

/// What is in the file.
#[derive(Debug, PartialEq)]
enum Content {
    /// What was stored; nothing, where there is no file.
    Stored(Stored),
    /// Something else, and why: a crash of the machine may have cut it off.
    Unknown(String),
}

fn read(path: &Path) -> io::Result<Content> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Content::Stored(Stored::default()));
        }
        Err(error) => return Err(error),
    };
    Ok(match serde_json::from_slice::<Stored>(&bytes) {
        Ok(stored) if stored.version <= VERSION => Content::Stored(stored),
        Ok(stored) => Content::Unknown(format!("it is of version {}, not {VERSION}", stored.version)),
        Err(error) => Content::Unknown(error.to_string()),
    })
}

/// The name of a set of open fields.
fn fields(advskew: u8, advbase: u8, demote: u8) -> String {
    format!("{advskew}/{advbase}/{demote}")
}

/// In one step: a reader finds the old file or the new one.
fn write(path: &Path, stored: &Stored) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file =
        fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&beside)?;
    file.write_all(&serde_json::to_vec(stored)?)?;
    file.sync_data()?;
    fs::rename(&beside, path)
}

const FILE: &str = "heard.json";
const VERSION: u32 = 1;
const ROUND: Duration = Duration::from_secs(1);
/// How far a stored time may be ahead of the clock before it is worth a word.
const AHEAD: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_comes_back_as_it_was() {
        let heard = Heard { newest_ms: 5_000, seen: 0b1011, arrived_ns: 0 };
        let keys = [
            HeardKey::sender(3, 4, "10.0.0.1".parse::<IpAddr>().unwrap().into()),
            HeardKey::sender(3, 6, "fe80::1".parse::<IpAddr>().unwrap().into()),
            HeardKey::fields(3, Stamp { ms: 0, advskew: 100, advbase: 1, demote: 2 }),
        ];
        let mut vhost = StoredVhost::default();
        for key in &keys {
            vhost.remember(key, heard);
        }
        let stored = Stored { version: VERSION, vhosts: [("eth0 vhid 10".to_owned(), vhost)].into() };

        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        write(&path, &stored).unwrap();
        let Content::Stored(again) = read(&path).unwrap() else { panic!("not understood") };
        assert_eq!(again, stored);
        let mut back = again.vhosts["eth0 vhid 10"].keys(3);
        back.sort_by_key(|(key, _)| *key);
        let mut expected = keys.map(|key| (key, heard));
        expected.sort_by_key(|(key, _)| *key);
        assert_eq!(back, expected);
    }

    #[test]
    fn what_we_gave_counts_as_heard_unless_more_was() {
        let own = |heard, given| {
            let mut vhost = StoredVhost::default();
            vhost.given.insert(fields(255, 255, 0), given);
            vhost.fields.insert(fields(255, 255, 0), StoredHeard { newest_ms: heard, seen: 1 });
            vhost.keys(1)[0].1
        };
        assert_eq!(own(10, 20), Heard { newest_ms: 20, seen: u64::MAX, arrived_ns: 0 });
        assert_eq!(own(20, 10), Heard { newest_ms: 20, seen: 1, arrived_ns: 0 });
    }

    #[test]
    fn a_file_that_is_not_ours_is_told_from_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        assert_eq!(read(&path).unwrap(), Content::Stored(Stored::default()));
        for text in ["", "{\"version\": 1, \"vhosts\": {", "{\"version\": 2, \"vhosts\": {}}"] {
            fs::write(&path, text).unwrap();
            assert!(matches!(read(&path).unwrap(), Content::Unknown(_)), "{text}");
        }
    }
}
