//! On a live segment.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use lab::pair::{A, B, VIRTUAL};
use lab::{Agent, AgentConfig, Node, Pair, Ucarp, UcarpConfig};
use serde_json::Value;

use crate::{sightings, sniff};

/// ucarp as master, then ours, in strict mode to boot: every frame is decoded, and each digest is right with the passphrase and
/// wrong with another.
#[test]
fn a_live_segment_is_read() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let pair = Pair::new("sniff")?;
    let directory = tempfile::tempdir()?;
    let (key, other) = (directory.path().join("key"), directory.path().join("other"));
    for (file, passphrase) in [(&key, "secret\n"), (&other, "another\n")] {
        fs::write(file, passphrase)?;
        fs::set_permissions(file, Permissions::from_mode(0o600))?;
    }
    let ours = AgentConfig { advskew: 100, interval: None, detect: None, ..AgentConfig::default() };

    let mut ucarp = Ucarp::start(&pair.b, &UcarpConfig::default())?;
    ucarp.wait_for_state(0, "MASTER")?;
    let agent = Agent::start(&pair.a, &ours)?;
    agent.wait_for_state(0, "BACKUP")?;
    for (file, right) in [(&key, true), (&other, false)] {
        for seen in heard(&pair.witness, file, 3)? {
            ensure!(seen["source"] == B.to_string() && seen["vhid"] == 10, "{seen:#}");
            ensure!(seen["authentic"] == right && seen["outgoing"] == false, "{seen:#}");
            ensure!(seen["carp"]["strict"].is_null() && seen["carp"]["advbase"] == 1, "{seen:#}");
        }
    }
    // From what it sends itself, it is seen, too, and marked.
    for seen in heard(&pair.b, &key, 2)? {
        ensure!(seen["outgoing"] == true && seen["authentic"] == true, "{seen:#}");
    }
    let listening = spawn(&pair.witness, &key, None)?;
    listening.wait_for_line(0, "listening on eth0", PATIENCE)?;
    ucarp.process.kill()?;
    agent.wait_for_state(0, "MASTER")?;
    pair.only_master(A, 2)?;
    agent.leave()?;
    let at = listening.wait_for_line(0, "bow-out", PATIENCE)?;
    let lines = listening.lines();
    ensure!(lines[at].contains(&format!(" in  {A} > 224.0.0.18: CARP vhid 10, bow-out")), "{}", lines[at]);
    ensure!(lines[1..=at].iter().all(|line| line.contains("digest right")), "{lines:#?}");
    let mut listening = listening;
    listening.signal(nix::sys::signal::Signal::SIGINT)?;
    ensure!(listening.wait(PATIENCE)?.success(), "{:#?}", listening.lines());
    let lines = listening.lines();
    ensure!(
        lines.last().is_some_and(|line| line.contains("and wrong in 0; 0 others on protocol 112")),
        "{lines:#?}"
    );

    // In strict mode, the counter tells when, by whose clock.
    let agent = Agent::start(&pair.a, &AgentConfig::strict())?;
    agent.wait_for_state(0, "MASTER")?;
    for seen in heard(&pair.witness, &key, 20)? {
        let ahead = seen["carp"]["strict"]["ahead_ms"].as_i64();
        ensure!(ahead.is_some_and(|ms| ms.abs() < 1000) && seen["authentic"] == true, "{seen:#}");
    }
    Ok(())
}

#[test]
fn without_rights_or_interface_it_says_so() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let pair = Pair::new("sniff-no")?;
    let directory = tempfile::tempdir()?;
    let copy = directory.path().join("ha-agent");
    fs::copy(lab::agent_binary()?, &copy)?;
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755))?;
    let mut nobody = Command::new("setpriv");
    nobody.args(["--reuid=65534", "--clear-groups", "--inh-caps=-all", "--"]).arg(&copy);
    nobody.args(["sniff", "--interface", "eth0"]);
    let mut missing = sniff()?;
    missing.args(["--interface", "eth7"]);
    for (mut command, code, word) in
        [(nobody, 77, "CAP_NET_RAW missing; run as root"), (missing, 69, "eth7 does not exist; ")]
    {
        let output = pair.witness.netns.run(move || command.output())??;
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(code) && errors.contains(word), "{output:?}");
    }
    Ok(())
}

fn live(key: &Path) -> Result<Command> {
    let mut command = sniff()?;
    command.args(["--interface", "eth0", "--address", &VIRTUAL.to_string(), "--passphrase-file"]).arg(key);
    Ok(command)
}

/// Listens until so many frames were heard.
fn heard(node: &Node, key: &Path, count: usize) -> Result<Vec<Value>> {
    let mut command = live(key)?;
    command.args(["--json", "--count", &count.to_string()]);
    let output = node.netns.run(move || command.output())??;
    let seen = sightings(&output)?;
    ensure!(output.status.success() && seen.len() == count, "{output:?}");
    Ok(seen)
}

fn spawn(node: &Node, key: &Path, count: Option<usize>) -> Result<lab::Process> {
    let mut command = live(key)?;
    command.args(count.map(|count| format!("--count={count}")));
    node.netns.spawn(&command)
}

const PATIENCE: Duration = Duration::from_secs(15);
