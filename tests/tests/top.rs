//! What is seen in a terminal: `ha-agent top` and `ha-agent status --watch`.

use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use lab::introduction::Linked;
use lab::paired::{paired, wait_for_phase};
use lab::shared::Sharing;
use lab::{Agent, AgentConfig, Pair, Terminal};
use nix::sys::signal::Signal;

#[test]
fn a_failover_is_ordered_by_keys_and_seen_step_by_step() -> Result<()> {
    let Some(lab) = paired("top-keys")? else { return Ok(()) };
    let Linked { a, b, .. } = &lab;
    let mut top = view(b, &["top"])?;
    top.wait_for("ready: this node takes over", PATIENCE)?;
    top.wait_for("MASTER  told", PATIENCE)?;
    for words in
        ["b (this node)", "BACKUP", "a, ha-agent", "MASTER", "peer link to a", "data eth0", "last failovers"]
    {
        top.wait_for(words, PATIENCE)?;
    }
    top.press("?")?;
    top.wait_for("planned failover: asks before it begins", PATIENCE)?;
    top.press("x")?;
    top.press("f")?;
    top.wait_for("Move the role to the other one?", PATIENCE)?;
    top.press("n")?;
    ensure!(a.status()?["pair"]["phase"] == "active", "it moved without a yes");
    top.press("f")?;
    top.wait_for("Move the role to the other one?", PATIENCE)?;
    top.press("y")?;
    top.wait_for("the role has moved", PATIENCE)?;
    top.wait_for("active    b, this node", PATIENCE)?;
    wait_for_phase(b, "active")?;
    wait_for_phase(a, "standby")?;
    top.press("\x1b")?;
    top.wait_for("switchover  a -> b", PATIENCE)?;
    top.press("/nothing\r")?;
    top.wait_for("/nothing", PATIENCE)?;
    ensure!(!top.text().contains("data eth0"), "{}", top.text());
    top.press("q")?;
    ensure!(top.end(PATIENCE)?.success());
    Ok(())
}

#[test]
fn a_change_is_seen_at_once_and_what_is_old_is_said_to_be() -> Result<()> {
    let Some(mut lab) = paired("top-change")? else { return Ok(()) };
    let Linked { a, b, .. } = &mut lab;
    let top = view(b, &["top"])?;
    let watch = view(b, &["status", "--watch"])?;
    top.wait_for("ready: this node takes over", PATIENCE)?;
    watch.wait_for("ready: this node takes over", PATIENCE)?;
    a.kill()?;
    top.wait_for("active    b, this node", PATIENCE)?;
    let seen = SystemTime::now().duration_since(UNIX_EPOCH)?;
    watch.wait_for("active    b, this node", PATIENCE)?;
    // When the role was told of, by the same clock.
    let events = b.command_with(&["events", "--json"])?;
    let events = String::from_utf8(events.stdout)?;
    let serving = events.lines().rfind(|line| line.contains(r#""event":"serving""#)).context("it serves")?;
    let serving: serde_json::Value = serde_json::from_str(serving)?;
    let at: Timestamp = serving["at"].as_str().context("no time")?.parse()?;
    let late = seen.saturating_sub(Duration::from_nanos(u64::try_from(at.as_nanosecond())?));
    println!("seen {late:?} after the node served");
    ensure!(late < SOON, "seen only after {late:?}");

    b.kill()?;
    for terminal in [&top, &watch] {
        terminal.wait_for("STALE", PATIENCE)?;
    }
    // Ended by a signal, each gives the terminal back as it was.
    for (terminal, signal) in [(top, Signal::SIGTERM), (watch, Signal::SIGINT)] {
        terminal.signal(signal)?;
        terminal.end(PATIENCE)?;
    }
    Ok(())
}

#[test]
fn whatever_signal_ends_it_the_terminal_is_as_it_was() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let pair = Pair::new("top-signal")?;
    let agent = Agent::start(&pair.a, &AgentConfig::default())?;
    agent.wait_for_state(0, "MASTER")?;
    for arguments in [&["top"][..], &["status", "--watch"]] {
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
            let terminal = view(&agent, arguments)?;
            terminal.wait_for("active    a, this node", PATIENCE)?;
            terminal.signal(signal)?;
            let status = terminal.end(PATIENCE).with_context(|| format!("{arguments:?} {signal}"))?;
            ensure!(status.success(), "{arguments:?} {signal}: {status}");
        }
    }
    Ok(())
}

#[test]
fn a_takeover_of_storage_is_seen_while_it_goes_on() -> Result<()> {
    let Some(mut sharing) = Sharing::start("top-disk", [""; 2], [""; 2])? else { return Ok(()) };
    let top = view(&sharing.linked.b, &["top"])?;
    top.wait_for("ready: this node takes over", PATIENCE)?;
    sharing.fate("b", "start", "wait")?;
    sharing.linked.a.kill()?;
    for words in ["taking storage and services", "done     file system", "running  service writer"] {
        top.wait_for(words, PATIENCE)?;
    }
    sharing.fate("b", "start", "")?;
    top.wait_for("active    b, this node", PATIENCE)?;
    top.wait_for("last failovers", PATIENCE)?;
    top.wait_for("steps: ", PATIENCE)?;
    Ok(())
}

#[test]
fn without_a_terminal_or_an_agent_it_says_so() -> Result<()> {
    let Some(mut lab) = paired("top-none")? else { return Ok(()) };
    let b = &mut lab.b;
    let piped = b.command("top")?;
    let why = String::from_utf8_lossy(&piped.stderr).into_owned();
    ensure!(piped.status.code() == Some(2) && why.contains("needs a terminal"), "{piped:?}");
    b.kill()?;
    for arguments in [&["top"][..], &["status", "--watch"]] {
        let terminal = view(b, arguments)?;
        terminal.wait_for("no ha-agent answers", PATIENCE)?;
        ensure!(terminal.end(PATIENCE)?.code() == Some(69));
    }
    Ok(())
}

/// Looks at an agent in a terminal of the usual size.
fn view(agent: &Agent, arguments: &[&str]) -> Result<Terminal> {
    let mut command = Command::new(lab::agent_binary()?);
    command.args(arguments).arg("--control").arg(agent.socket());
    Terminal::start(command, 24, 80)
}

const PATIENCE: Duration = Duration::from_secs(10);
/// So soon is seen what happens.
const SOON: Duration = Duration::from_millis(250);
