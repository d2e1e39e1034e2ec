//! What survives a restart in strict mode: the times that were heard, and those that we gave. A file of JSON in
//! the state directory, written once a second while something changes, and at the end.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ha_common::abi::{Address, HeardKey, family_of};
use ha_common::fresh::Heard;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};

use super::detector::Input;
use super::hosts;
use crate::cli::exit::Exit;
use crate::config::{Config, Mode, VhostConfig};
use crate::dataplane::Memory;

/// Keeps the file.
#[derive(Debug)]
pub(super) struct Keeper {
    path: PathBuf,
    memory: Memory,
    names: Vec<String>,
    written: Stored,
    complained: bool,
    detector: mpsc::UnboundedSender<Input>,
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
    /// The last that we gave.
    sent_ms: Option<u64>,
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
    /// Reads what an earlier life has left, and tells the kernel. Returns with it the last times that were given,
    /// by virtual host. In compat mode it touches nothing.
    ///
    /// # Errors
    ///
    /// If the file is there and can't be read: whoever forgot could be told old things.
    pub(super) fn open(
        directory: &Path,
        config: &Config,
        memory: Memory,
        detector: mpsc::UnboundedSender<Input>,
    ) -> Result<(Self, Vec<Option<u64>>), MemoryError> {
        let path = directory.join(FILE);
        let names: Vec<_> = config.vhosts.iter().map(name).collect();
        let mut keeper = Self {
            path: path.clone(),
            memory,
            names,
            written: Stored::default(),
            complained: false,
            detector,
        };
        if config.auth.mode == Mode::Compat {
            return Ok((keeper, Vec::new()));
        }
        let failed = |verb, cause| MemoryError { path: path.clone(), verb, cause };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|cause| failed("written", cause))?;
        keeper.written = read(&path).map_err(|cause| failed("read", cause))?;
        // So that a directory that can't be written is found now.
        write(&path, &keeper.written).map_err(|cause| failed("written", cause))?;
        let mut given = Vec::new();
        for (vhost, name) in keeper.names.iter().enumerate() {
            let known = keeper.written.vhosts.get(name).cloned().unwrap_or_default();
            given.push(known.sent_ms);
            for (key, heard) in known.keys(hosts::number(vhost)) {
                let restored = keeper.memory.restore(key, heard);
                restored.map_err(|error| failed("restored", io::Error::other(error)))?;
            }
        }
        Ok((keeper, given))
    }

    /// Writes the file whenever something changed, while the mode is strict, for ever.
    pub(super) async fn run(&mut self, config: watch::Receiver<Arc<Config>>) {
        let mut round = tokio::time::interval(ROUND);
        round.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            round.tick().await;
            if config.borrow().auth.mode == Mode::Compat {
                continue;
            }
            let (reply, answer) = oneshot::channel();
            // It is gone only while the agent ends.
            let _ = self.detector.send(Input::Snapshot(reply));
            let Ok(snapshot) = answer.await else { return std::future::pending().await };
            let given: Vec<_> = snapshot.vhosts.iter().map(|vhost| vhost.sent_ms).collect();
            self.save(&given);
        }
    }

    /// Writes what was heard and given by now.
    pub(super) fn save(&mut self, given: &[Option<u64>]) {
        let stored = self.gather(given);
        if stored == self.written {
            return;
        }
        match write(&self.path, &stored) {
            Ok(()) => (self.written, self.complained) = (stored, false),
            Err(error) if !self.complained => {
                self.complained = true;
                tracing::error!(%error, "{} can't be written: after a restart, what was heard could be heard \
                     again", self.path.display());
            }
            Err(_) => {}
        }
    }

    fn gather(&self, given: &[Option<u64>]) -> Stored {
        let mut vhosts = self.written.vhosts.clone();
        for (vhost, name) in self.names.iter().enumerate() {
            let stored = vhosts.entry(name.clone()).or_default();
            stored.sent_ms = given.get(vhost).copied().flatten().or(stored.sent_ms);
        }
        for (key, heard) in self.memory.all() {
            let vhost = usize::try_from(key.host).unwrap_or(0).checked_sub(1);
            let Some(name) = vhost.and_then(|vhost| self.names.get(vhost)) else { continue };
            vhosts.entry(name.clone()).or_default().remember(&key, heard);
        }
        Stored { version: VERSION, vhosts }
    }
}

impl StoredVhost {
    fn remember(&mut self, key: &HeardKey, heard: Heard) {
        let stored = StoredHeard { newest_ms: heard.newest_ms, seen: heard.seen };
        if key.kind == HeardKey::FIELDS {
            let [advskew, advbase, demote, ..] = key.name.0;
            self.fields.insert(format!("{advskew}/{advbase}/{demote}"), stored);
        } else {
            self.senders.insert(key.name.ip(key.kind), stored);
        }
    }

    /// The same as the kernel has it.
    fn keys(&self, host: u32) -> Vec<(HeardKey, Heard)> {
        let senders = self
            .senders
            .iter()
            .map(|(sender, stored)| (HeardKey::sender(host, family_of(*sender), (*sender).into()), stored));
        let fields = self.fields.iter().filter_map(|(fields, stored)| {
            let mut numbers = fields.split('/').map(str::parse::<u8>);
            let mut next = || numbers.next()?.ok();
            let name = Address::v4([next()?, next()?, next()?, 0]);
            Some((HeardKey { host, kind: HeardKey::FIELDS, reserved: [0; 3], name }, stored))
        });
        // When they arrived means nothing on the clock of another boot.
        let heard =
            |stored: &StoredHeard| Heard { newest_ms: stored.newest_ms, seen: stored.seen, arrived_ns: 0 };
        senders.chain(fields).map(|(key, stored)| (key, heard(stored))).collect()
    }
}

fn name(config: &VhostConfig) -> String {
    format!("{} vhid {}", config.interface, config.vhid)
}

/// Nothing, where there is no file.
fn read(path: &Path) -> io::Result<Stored> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Stored::default()),
        Err(error) => return Err(error),
    };
    serde_json::from_slice(&bytes).map_err(io::Error::from)
}

/// In one step: a reader finds the old file or the new one.
fn write(path: &Path, stored: &Stored) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file =
        fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&beside)?;
    file.write_all(&serde_json::to_vec(stored)?)?;
    fs::rename(&beside, path)
}

const FILE: &str = "heard.json";
const VERSION: u32 = 1;
const ROUND: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_comes_back_as_it_was() {
        let heard = Heard { newest_ms: 5_000, seen: 0b1011, arrived_ns: 0 };
        let keys = [
            HeardKey::sender(3, 4, "10.0.0.1".parse::<IpAddr>().unwrap().into()),
            HeardKey::sender(3, 6, "fe80::1".parse::<IpAddr>().unwrap().into()),
            HeardKey::fields(3, ha_common::fresh::Stamp { ms: 0, advskew: 100, advbase: 1, demote: 2 }),
        ];
        let mut vhost = StoredVhost { sent_ms: Some(7), ..StoredVhost::default() };
        for key in &keys {
            vhost.remember(key, heard);
        }
        let stored = Stored { version: VERSION, vhosts: [("eth0 vhid 10".to_owned(), vhost)].into() };

        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        write(&path, &stored).unwrap();
        let again = read(&path).unwrap();
        assert_eq!(again, stored);
        let mut back = again.vhosts["eth0 vhid 10"].keys(3);
        back.sort_by_key(|(key, _)| *key);
        let mut expected = keys.map(|key| (key, heard));
        expected.sort_by_key(|(key, _)| *key);
        assert_eq!(back, expected);
    }

    #[test]
    fn a_file_that_is_none_is_an_error_and_none_at_all_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        assert_eq!(read(&path).unwrap(), Stored::default());
        fs::write(&path, "{\"version\": 1, \"vhosts\": {").unwrap();
        assert!(read(&path).is_err());
    }
}
