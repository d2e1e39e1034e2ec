//! What `ha-agent status` tells: as JSON, as text, and to a reader that goes away.

use std::io::Read;
use std::net::Ipv6Addr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ha_agent::core::{Advertisement, Priority, Sources};
use ha_agent::net::advertise::Frames;
use ha_agent::sys::packet_socket::PacketSocket;
use ha_common::auth::{Mac, Message, key};
use lab::pair::{A, B, VIRTUAL};
use lab::{Agent, AgentConfig, Pair};
use serde_json::Value;

#[test]
fn json_and_text_tell_the_same_facts() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let pair = Pair::new("facts")?;
    let (mut a, b) = pair.start(&AgentConfig::default(), &standby())?;
    let mark = b.mark();
    a.kill()?;
    b.wait_for_state(mark, "MASTER")?;
    let refused = send_with_wrong_key(&pair)?;
    let status = until_refused(&b, refused)?;

    let vhost = &status["vhosts"][0];
    let expected = [
        (&status["node"], Value::from("b")),
        (&vhost["name"], Value::from("data")),
        (&vhost["interface"], Value::from("eth0")),
        (&vhost["vhid"], Value::from(10)),
        (&vhost["addresses"][0], Value::from(format!("{VIRTUAL}/24"))),
        (&vhost["state"], Value::from("MASTER")),
        (&vhost["last_change"]["from"], Value::from("BACKUP")),
        (&vhost["last_change"]["to"], Value::from("MASTER")),
        (&vhost["last_change"]["cause"], Value::from("silence")),
        (&vhost["peer"]["address"], Value::from(A.to_string())),
        (&vhost["peer"]["advbase"], Value::from(1)),
        (&vhost["peer"]["advskew"], Value::from(0)),
        (&vhost["refused"]["badauth"], Value::from(refused)),
        (&vhost["fault"], Value::Null),
    ];
    for (found, expected) in expected {
        ensure!(*found == expected, "{found} instead of {expected} in {status:#}");
    }
    ensure!(vhost["since"] == vhost["last_change"]["at"], "since the last change: {vhost:#}");
    for positive in ["since_s", "sent", "accepted"] {
        ensure!(vhost[positive].as_f64().is_some_and(|number| number > 0.0), "{positive}: {vhost:#}");
    }
    // The takeover came after 33.9 ms of silence, and later there was nothing more to hear.
    let age = vhost["peer"]["age_ms"].as_f64().context("the peer has no age")?;
    let since = vhost["since_s"].as_f64().context("the state has no age")? * 1e3;
    ensure!(age > since + 30.0, "heard {age} ms ago, master for {since} ms");
    for reason in ["badvhid", "badttl", "badsum", "looped", "ringfull"] {
        ensure!(vhost["refused"][reason].is_u64(), "no counter {reason}: {vhost:#}");
    }

    let (text, errors) = ask(&b.socket(), &["--all"])?;
    ensure!(errors.is_empty(), "{errors}");
    let facts = [
        "node b",
        "data",
        "eth0",
        "vhid 10",
        "10.77.0.100/24",
        "MASTER",
        "BACKUP -> MASTER",
        "silent",
        "10.77.0.1",
        "priority 1/0",
        "badauth",
        vhost["receive"].as_str().context("it receives")?,
    ];
    for fact in facts {
        ensure!(text.contains(fact), "'{fact}' is not in:\n{text}");
    }
    Ok(())
}

#[test]
fn both_nodes_know_one_another() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let pair = Pair::new("peers")?;
    let (a, b) = pair.start(&AgentConfig::default(), &standby())?;
    let (of_a, of_b) = (json(&a.socket())?, json(&b.socket())?);
    ensure!(of_a["vhosts"][0]["peer"].is_null(), "the backup never spoke: {of_a:#}");
    ensure!(of_b["vhosts"][0]["peer"]["address"] == A.to_string(), "{of_b:#}");
    let mark = b.mark();
    a.leave()?;
    b.wait_for_state(mark, "MASTER")?;
    let a = Agent::start(&pair.a, &standby())?;
    a.wait_for_state(0, "BACKUP")?;
    pair.only_master(B, 5)?;
    let of_a = json(&a.socket())?;
    ensure!(of_a["vhosts"][0]["peer"]["address"] == B.to_string(), "{of_a:#}");
    ensure!(of_a["vhosts"][0]["peer"]["advskew"] == 100, "{of_a:#}");
    Ok(())
}

/// What stands in the way of a failover is told with its name, as text and as JSON, and by the exit code.
#[test]
fn it_exits_by_the_worst_reason() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let pair = Pair::new("worst")?;
    let (a, b) = pair.start(&AgentConfig::default(), &standby())?;
    // A standby says nothing, so nobody else is known to the active one.
    expect(&a, 0, "SINGLE", &[])?;
    expect(&b, 0, "BACKUP", &[])?;
    b.tell("hold")?;
    expect(&b, 3, "BACKUP, in maintenance", &["LOC_MAINTENANCE"])?;
    let mark = b.mark();
    pair.b.netns.ip("link set eth0 down")?;
    b.wait_for_state(mark, "INIT")?;
    expect(&b, 4, "ERROR, in maintenance", &["NO_LINK", "LOC_ERROR", "LOC_MAINTENANCE"])?;
    b.tell("resume")?;
    expect(&b, 4, "ERROR", &["NO_LINK", "LOC_ERROR"])?;
    let mark = b.mark();
    pair.b.netns.ip("link set eth0 up")?;
    b.wait_for_state(mark, "BACKUP")?;
    pair.only_master(A, 5)?;
    expect(&b, 0, "BACKUP", &[])
}

#[test]
fn a_reader_that_goes_away_is_no_reason_to_panic() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let pair = Pair::new("pipe")?;
    let agent = Agent::start(&pair.a, &AgentConfig::default())?;
    for arguments in [&["--json"][..], &[]] {
        let mut command = status_command(&agent.socket(), arguments)?;
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        drop(child.stdout.take());
        let output = child.wait_with_output()?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(!errors.contains("panicked"), "{arguments:?}: {errors}");
        ensure!(output.status.code() != Some(101), "{arguments:?}: {}", output.status);
    }
    Ok(())
}

#[test]
fn without_an_agent_it_says_so() -> Result<()> {
    let output = status_command(Path::new("/nonexistent/control.sock"), &[])?.output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(69), "{}: {errors}", output.status);
    ensure!(errors.lines().count() == 1 && errors.contains("/nonexistent/control.sock"), "{errors}");
    ensure!(errors.contains("ha-agent run"), "no remedy: {errors}");
    Ok(())
}

/// Demands this exit code, role and these reasons, in this order.
fn expect(agent: &Agent, code: i32, role: &str, names: &[&str]) -> Result<()> {
    let [text, json] = ["--all", "--json"].map(|form| -> Result<String> {
        let output = status_command(&agent.socket(), &[form])?.output()?;
        ensure!(output.status.code() == Some(code), "{} instead of {code}: {output:?}", output.status);
        Ok(String::from_utf8(output.stdout)?)
    });
    let (text, json): (String, Value) = (text?, serde_json::from_str(&json?)?);
    ensure!(text.lines().any(|line| line == format!("role      {role}")), "not {role}:\n{text}");
    let reasons = json["reasons"].as_array().context("no reasons")?;
    let found: Vec<_> = reasons.iter().filter_map(|reason| reason["name"].as_str()).collect();
    ensure!(found == names, "{found:?} instead of {names:?}");
    for reason in reasons {
        let line = format!(
            "{:<8}  {}",
            reason["severity"].as_str().context("no severity")?,
            reason["sentence"].as_str().context("no sentence")?
        );
        ensure!(text.lines().any(|known| known == line), "{line:?} is not in:\n{text}");
        ensure!(reason["blocks"].as_array().is_some_and(|blocks| !blocks.is_empty()), "{reason:#}");
    }
    let (role, maintenance) = role.split_once(", ").map_or((role, false), |(role, _)| (role, true));
    ensure!(json["role"] == role && json["maintenance"] == maintenance, "{json:#}");
    Ok(())
}

fn standby() -> AgentConfig {
    AgentConfig { advskew: 100, ..AgentConfig::default() }
}

/// Sends a few advertisements that nobody can believe, and returns how many.
fn send_with_wrong_key(pair: &Pair) -> Result<u64> {
    let links = pair.witness.netns.ip_json("link show dev eth0")?;
    let index = u32::try_from(links[0]["ifindex"].as_u64().context("no index")?)?;
    let socket = pair.witness.netns.run(move || PacketSocket::open(index))??;
    let message = Message { vhid: 10, ipv4: &[VIRTUAL.octets()], ipv6: &[], link_local: true, lladdr: None };
    let frames = Frames {
        hardware: [2, 0, 0, 0, 0, 3],
        sources: Sources { v4: pair.witness.address, v6: Ipv6Addr::UNSPECIFIED },
        vhid: 10,
        mac: Mac::new(&key(b"another"), &message),
    };
    let advertisement = Advertisement { priority: Priority { advbase: 0, advskew: 0 }, demote: 0 };
    for _ in 0..3 {
        socket.send(&frames.emit_v4([224, 0, 0, 18].into(), advertisement, 1))?;
    }
    Ok(3)
}

/// Asks until so many frames were refused: they take their way through the kernel first.
fn until_refused(agent: &Agent, count: u64) -> Result<Value> {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let status = json(&agent.socket())?;
        if status["vhosts"][0]["refused"]["badauth"].as_u64() >= Some(count) {
            return Ok(status);
        }
        ensure!(Instant::now() < deadline, "{count} frames should have been refused: {status:#}");
    }
}

fn json(socket: &Path) -> Result<Value> {
    let (text, errors) = ask(socket, &["--json"])?;
    ensure!(errors.is_empty(), "{errors}");
    serde_json::from_str(&text).with_context(|| format!("no JSON: {text}"))
}

/// What the command prints, and its errors.
fn ask(socket: &Path, arguments: &[&str]) -> Result<(String, String)> {
    let mut child =
        status_command(socket, arguments)?.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (mut text, mut errors) = (String::new(), String::new());
    child.stdout.take().context("no output")?.read_to_string(&mut text)?;
    child.stderr.take().context("no errors")?.read_to_string(&mut errors)?;
    let status = child.wait()?;
    ensure!(status.success(), "{status}: {errors}");
    Ok((text, errors))
}

fn status_command(socket: &Path, arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(lab::agent_binary()?);
    command.arg("status").arg("--control").arg(socket).args(arguments);
    Ok(command)
}
