//! The control socket: whatever comes in through it, the agent goes on and answers the next request.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::{Agent, AgentConfig, Lan, Node};
use serde_json::Value;

#[test]
fn nonsense_is_answered_and_forgotten() -> Result<()> {
    let Some((_lan, _node, agent)) = lab("nonsense")? else { return Ok(()) };
    let mark = agent.mark();
    let long = "x".repeat(1 << 20);
    let nested = "[".repeat(4000) + "\n";
    let table: [(&str, &[u8]); 9] = [
        ("nothing", b""),
        ("an empty line", b"\n"),
        ("words", b"what is the matter?\n"),
        ("bytes", b"\0\xff\xfe\x80\n"),
        ("half a request", b"{\"request\":"),
        ("an unknown request", b"{\"request\":\"stop\"}\n"),
        ("a request with more than is known", b"{\"request\":\"status\",\"more\":1}\n"),
        ("nested", nested.as_bytes()),
        ("a line that is too long", long.as_bytes()),
    ];
    for (what, bytes) in table {
        let answer = say(&agent, bytes).context(what)?;
        let answer: Value = serde_json::from_str(&answer).with_context(|| format!("{what}: {answer:?}"))?;
        ensure!(answer["error"].is_string(), "{what}: {answer}");
        expect_master(&agent).context(what)?;
    }
    expect_unmoved(&agent, mark)
}

#[test]
fn silent_clients_are_sent_away() -> Result<()> {
    let Some((_lan, _node, agent)) = lab("silent")? else { return Ok(()) };
    let mark = agent.mark();
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(UnixStream::connect(agent.socket())?);
    }
    expect_master(&agent)?;
    // None of them is kept for ever.
    let mut first = silent.swap_remove(0);
    first.set_read_timeout(Some(Duration::from_secs(5)))?;
    ensure!(first.read(&mut [0; 64])? == 0, "a client that says nothing got an answer");
    expect_unmoved(&agent, mark)
}

#[test]
fn a_client_that_does_not_read_hinders_nobody() -> Result<()> {
    let Some((_lan, _node, agent)) = lab("deaf")? else { return Ok(()) };
    let mark = agent.mark();
    let mut deaf = Vec::new();
    for _ in 0..50 {
        let mut stream = UnixStream::connect(agent.socket())?;
        stream.write_all(b"{\"request\":\"status\"}\n")?;
        deaf.push(stream);
    }
    expect_master(&agent)?;
    drop(deaf);
    expect_master(&agent)?;
    expect_unmoved(&agent, mark)
}

#[test]
fn other_users_are_refused() -> Result<()> {
    let Some((_lan, _node, agent)) = lab("users")? else { return Ok(()) };
    let mark = agent.mark();
    let (directory, programs) =
        (agent.socket().parent().context("no directory")?.to_owned(), tempfile::tempdir()?);
    let program = programs.path().join("ha-agent");
    fs::copy(lab::agent_binary()?, &program)?;
    // The way there is free.
    for path in [directory.as_path(), programs.path()] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    }
    for request in ["status", "reload", "hold", "restart"] {
        let mut other = Command::new("setpriv");
        other.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(&program);
        let output = other.args([request, "--control"]).arg(agent.socket()).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(77), "{request}: {}: {said}", output.status);
        ensure!(said.contains("control.sock"), "{request}: {said}");
    }
    expect_master(&agent)?;
    expect_unmoved(&agent, mark)
}

/// A node with an agent that is master.
fn lab(label: &str) -> Result<Option<(Lan, Node, Agent)>> {
    if !lab::available() {
        return Ok(None);
    }
    let lan = Lan::new(label)?;
    let node = lan.node("a", [10, 77, 0, 1].into())?;
    let agent = Agent::start(&node, &AgentConfig::default())?;
    agent.wait_for_state(0, "MASTER")?;
    // The last that it has to say by itself.
    agent.process.wait_for_line(0, "role: SINGLE", Duration::from_secs(5))?;
    Ok(Some((lan, node, agent)))
}

/// Says something, ends, and returns the answer.
fn say(agent: &Agent, bytes: &[u8]) -> Result<String> {
    let mut stream = UnixStream::connect(agent.socket())?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    match stream.write_all(bytes) {
        // It need not listen to the end.
        Err(error) if [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset].contains(&error.kind()) => {}
        result => result?,
    }
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(length) => answer.extend(chunk.iter().take(length)),
            // What it did not read is held against us, after its answer.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(String::from_utf8(answer)?)
}

fn expect_master(agent: &Agent) -> Result<()> {
    let asked = Instant::now();
    let vhost = agent.vhost()?;
    ensure!(asked.elapsed() < Duration::from_secs(1), "it answered after {:?}", asked.elapsed());
    ensure!(vhost["state"] == "MASTER", "{vhost:#}");
    Ok(())
}

/// Checks that the agent has neither changed its state nor logged anything.
fn expect_unmoved(agent: &Agent, mark: usize) -> Result<()> {
    let lines = agent.process.lines().split_off(mark);
    ensure!(lines.is_empty(), "it said: {lines:?}");
    Ok(())
}
