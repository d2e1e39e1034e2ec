//! The log, where it goes to the journal: field by field.

use std::cell::RefCell;
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
    for (field, value) in [
        ("PRIORITY", "6"),
        ("SYSLOG_IDENTIFIER", "ha-agent"),
        ("HA_NODE", node.name.as_str()),
        ("HA_EVENT", "agent_started"),
    ] {
        ensure!(running.get(field).is_some_and(|it| it == value), "{field} in {running:#?}");
    }
    let change = journal.entry(|entry| entry["MESSAGE"].starts_with("BACKUP -> MASTER: "))?;
    for (field, value) in [("PRIORITY", "6"), ("HA_VHOST", "data"), ("HA_EVENT", "state_changed")] {
        ensure!(change.get(field).is_some_and(|it| it == value), "{field} in {change:#?}");
    }

    agent.process.signal(nix::sys::signal::Signal::SIGTERM)?;
    let status = agent.process.wait(PATIENCE)?;
    ensure!(status.success(), "{status}");
    let said = agent.process.lines();
    ensure!(said.is_empty(), "stderr got something as well: {said:?}");
    Ok(())
}

#[test]
fn each_event_is_one_line_with_its_name() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let directory = tempfile::tempdir()?;
    let journal = Journal::open(directory.path())?;
    let lan = Lan::new("story")?;
    let node = lan.node("a", [10, 77, 0, 1].into())?;
    let program = wrapper(directory.path(), "$(stat --dereference --format=%d:%i /dev/stderr)")?;
    let mut agent = Agent::begin(&node, &AgentConfig { program: Some(program), ..AgentConfig::default() })?;
    let up = journal.entry(|entry| entry.get("HA_EVENT").is_some_and(|event| event == "addresses_up"))?;
    let mut lines = journal.taken.take();
    ensure!(up["HA_VHOST"] == "data", "{up:#?}");
    lan.cut(&node)?;
    let lost = journal.entry(|entry| entry["MESSAGE"].starts_with("MASTER -> INIT: "))?;
    ensure!(lost["HA_EVENT"] == "state_changed", "{lost:#?}");
    let reason = journal.entry(|entry| entry.contains_key("HA_REASON"))?;
    ensure!(reason["HA_EVENT"] == "reason_began" && reason["PRIORITY"] != "6", "{reason:#?}");
    agent.process.signal(nix::sys::signal::Signal::SIGTERM)?;
    agent.process.wait(PATIENCE)?;
    journal.rest()?;
    lines.extend(journal.taken.take());

    let mut told = Vec::new();
    for line in fs::read_to_string(agent.state_directory().join("events.jsonl"))?.lines() {
        let event: serde_json::Value = serde_json::from_str(line)?;
        told.push(event["event"].as_str().context("no name")?.to_owned());
    }
    ensure!(told.len() >= 8, "{told:#?}");
    let mut logged: Vec<_> = lines.iter().filter_map(|line| line.get("HA_EVENT").cloned()).collect();
    told.sort();
    logged.sort();
    ensure!(told == logged, "told: {told:#?}\nlogged: {logged:#?}");
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
struct Journal {
    socket: UnixDatagram,
    /// What was read of it.
    taken: RefCell<Vec<Entry>>,
}

type Entry = BTreeMap<String, String>;

impl Journal {
    /// In a directory that is to be `/run/systemd`.
    fn open(directory: &Path) -> Result<Self> {
        fs::create_dir(directory.join("journal"))?;
        let socket = UnixDatagram::bind(directory.join("journal/socket"))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { socket, taken: RefCell::default() })
    }

    /// The next entry like that.
    fn entry(&self, wanted: impl Fn(&Entry) -> bool) -> Result<Entry> {
        loop {
            let entry = self.receive().context("the journal does not get it")?;
            if entry.contains_key("MESSAGE") && wanted(&entry) {
                return Ok(entry);
            }
        }
    }

    fn receive(&self) -> Result<Entry> {
        let mut datagram = vec![0; 65536];
        let length = self.socket.recv(&mut datagram)?;
        // An empty one only asks whether there is a journal.
        let entry = parse(&datagram[..length])?;
        self.taken.borrow_mut().push(entry.clone());
        Ok(entry)
    }

    /// Takes what is there already.
    fn rest(&self) -> Result<()> {
        self.socket.set_nonblocking(true)?;
        while self.receive().is_ok() {}
        Ok(())
    }

    fn is_empty(&self) -> Result<bool> {
        self.socket.set_nonblocking(true)?;
        match self.socket.recv(&mut [0; 16]) {
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
