//! The log, where it goes to the journal: field by field.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use lab::{Agent, AgentConfig, Lan};

#[test]
fn the_journal_gets_fields_and_stderr_nothing() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let directory = tempfile::tempdir()?;
    let journal = Journal::open(directory.path())?;
    let lan = Lan::new("journal")?;
    let node = lan.node("a", [10, 77, 0, 1].into())?;
    let program = wrapper(directory.path(), "$(stat --dereference --format=%d:%i /dev/stderr)")?;
    let mut agent = Agent::begin(&node, &AgentConfig { program: Some(program), ..AgentConfig::default() })?;

    let running = journal.entry(|entry| entry["MESSAGE"] == "running")?;
    for (field, value) in
        [("PRIORITY", "6"), ("SYSLOG_IDENTIFIER", "ha-agent"), ("HA_NODE", node.name.as_str())]
    {
        ensure!(running.get(field).is_some_and(|it| it == value), "{field} in {running:#?}");
    }
    let change = journal.entry(|entry| entry["MESSAGE"].starts_with("BACKUP -> MASTER: "))?;
    ensure!(change.get("HA_VHOST").is_some_and(|name| name == "data"), "{change:#?}");

    agent.process.signal(nix::sys::signal::Signal::SIGTERM)?;
    let status = agent.process.wait(PATIENCE)?;
    ensure!(status.success(), "{status}");
    let said = agent.process.lines();
    ensure!(said.is_empty(), "stderr got something as well: {said:?}");
    Ok(())
}

#[test]
fn where_stderr_goes_elsewhere_the_journal_gets_nothing() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let directory = tempfile::tempdir()?;
    let journal = Journal::open(directory.path())?;
    let lan = Lan::new("nojournal")?;
    let node = lan.node("a", [10, 77, 0, 1].into())?;
    // As it is for what a unit starts with its output somewhere else.
    let program = wrapper(directory.path(), "1:1")?;
    let agent = Agent::start(&node, &AgentConfig { program: Some(program), ..AgentConfig::default() })?;
    agent.wait_for_state(0, "MASTER")?;
    agent.leave()?;
    ensure!(journal.is_empty()?, "the journal got something");
    Ok(())
}

/// What `systemd-journald` has for those who speak to it.
struct Journal(UnixDatagram);

type Entry = BTreeMap<String, String>;

impl Journal {
    /// In a directory that is to be `/run/systemd`.
    fn open(directory: &Path) -> Result<Self> {
        fs::create_dir(directory.join("journal"))?;
        let socket = UnixDatagram::bind(directory.join("journal/socket"))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(socket))
    }

    /// The next entry like that.
    fn entry(&self, wanted: impl Fn(&Entry) -> bool) -> Result<Entry> {
        loop {
            let mut datagram = vec![0; 65536];
            let length = self.0.recv(&mut datagram).context("the journal does not get it")?;
            // An empty one only asks whether there is a journal.
            let entry = parse(&datagram[..length])?;
            if entry.contains_key("MESSAGE") && wanted(&entry) {
                return Ok(entry);
            }
        }
    }

    fn is_empty(&self) -> Result<bool> {
        self.0.set_nonblocking(true)?;
        match self.0.recv(&mut [0; 16]) {
            Ok(_) => Ok(false),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(true),
            Err(error) => bail!(error),
        }
    }
}

/// The journal's native protocol: `NAME=value`, or the name, the length in 64 bits, and the value.
fn parse(mut rest: &[u8]) -> Result<Entry> {
    let mut entry = Entry::new();
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let line = String::from_utf8(rest[..end].to_vec())?;
        rest = &rest[end + 1..];
        let (name, value) = if let Some((name, value)) = line.split_once('=') {
            (name.to_owned(), value.to_owned())
        } else {
            let (length, after) = rest.split_first_chunk().context("no length")?;
            let length = usize::try_from(u64::from_le_bytes(*length))?;
            let value = after.get(..length).context("too short")?;
            rest = after.get(length + 1..).context("no end")?;
            (line, String::from_utf8(value.to_vec())?)
        };
        entry.insert(name, value);
    }
    Ok(entry)
}

/// Starts the agent where that directory is `/run/systemd`, and says which stream goes to the journal.
fn wrapper(directory: &Path, stream: &str) -> Result<PathBuf> {
    let path = directory.join("ha-agent");
    let inner = format!(
        "mount -t tmpfs tmpfs /run && mkdir /run/systemd && mount --bind {} /run/systemd && \
         JOURNAL_STREAM=\"{stream}\" exec {} \"$@\"",
        directory.display(),
        lab::agent_binary()?.display()
    );
    fs::write(&path, format!("#!/bin/sh\nexec unshare --mount sh -c '{inner}' sh \"$@\"\n"))?;
    fs::set_permissions(&path, Permissions::from_mode(0o755))?;
    Ok(path)
}

const PATIENCE: Duration = Duration::from_secs(10);
