//! What two agents know of each other by their link: both nodes' status, and the reasons of both.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lab::Agent;
use lab::introduction::{Linked, introduce};
use nix::sys::signal::Signal;
use serde_json::Value;

#[test]
fn each_shows_the_other_and_names_what_stands_in_the_way() -> Result<()> {
    let Some(Linked { a, b, interlink, pair }) = linked("both")? else { return Ok(()) };
    until(&a, |status| reasons(status) == ["NO_PEER"])?;
    introduce((&pair.a, &a), (&pair.b, &b))?;
    for (agent, other, role) in [(&a, "b", "BACKUP"), (&b, "a", "MASTER")] {
        until(agent, |status| status["peer"]["node"] == other && status["peer"]["role"] == role)?;
        until(agent, |status| reasons(status).is_empty())?;
        let peer = agent.status()?["peer"].clone();
        ensure!(peer["interfaces"]["eth0"] == true, "{peer:#}");
        ensure!(peer["age_ms"].as_f64().is_some_and(|age| age < 1000.0), "{peer:#}");
        let text = agent.command_with(&["status", "--all"])?;
        ensure!(text.status.code() == Some(0), "{text:?}");
        let line = format!("peer      {other} {role}");
        ensure!(String::from_utf8(text.stdout)?.lines().any(|found| found.starts_with(&line)), "no {line}");
    }

    // What an operator wants of one, both show; and it is over on both.
    let lines = b.process.lines().len();
    b.tell("hold")?;
    until(&b, |status| reasons(status) == ["LOC_MAINTENANCE"])?;
    until(&a, |status| reasons(status) == ["REM_MAINTENANCE"] && status["peer"]["maintenance"] == true)?;
    ensure!(a.command("status")?.status.code() == Some(3), "a warning");
    b.tell("resume")?;
    for agent in [&a, &b] {
        until(agent, |status| reasons(status).is_empty())?;
    }
    b.process.wait_for_line(lines, "LOC_MAINTENANCE is over", PATIENCE)?;

    let mark = b.mark();
    // The interlink cut: CARP goes on, nobody takes over, and both say why they could not agree on anything.
    interlink.cut(&pair.b)?;
    for agent in [&a, &b] {
        until(agent, |status| reasons(status).contains(&"NO_PONG".to_owned()))?;
    }
    // As far as it can see, it serves alone.
    until(&a, |status| status["role"] == "SINGLE")?;
    ensure!(b.status()?["role"] == "BACKUP" && b.changes(mark).is_empty(), "the role moved");
    until(&b, |status| reasons(status).contains(&"PARTITIONED".to_owned()))?;
    interlink.mend(&pair.b)?;
    for agent in [&a, &b] {
        until(agent, |status| reasons(status).is_empty())?;
    }

    // A peer that is stopped tells nothing any more: what is known of it gets old.
    a.process.signal(Signal::SIGSTOP)?;
    let aged = until(&b, |status| status["peer"]["age_ms"].as_f64().is_some_and(|age| age > 1000.0));
    a.process.signal(Signal::SIGCONT)?;
    aged
}

#[test]
fn the_same_state_on_both_is_named_on_both_within_two_seconds() -> Result<()> {
    let Some(Linked { a, b, interlink: _interlink, pair }) = linked("same")? else { return Ok(()) };
    introduce((&pair.a, &a), (&pair.b, &b))?;
    for agent in [&a, &b] {
        until(agent, |status| status["peer"].is_object() && reasons(status).is_empty())?;
    }
    // The clients' network in pieces, so that CARP makes both masters; the link between the agents stays.
    let mark = b.mark();
    pair.lan.isolate(&pair.b)?;
    b.wait_for_state(mark, "MASTER")?;
    let began = Instant::now();
    for agent in [&a, &b] {
        until(agent, |status| reasons(status).contains(&"SAME_STATE_MASTER".to_owned()))?;
    }
    let took = began.elapsed();
    ensure!(took < Duration::from_secs(2), "named after {took:?}");
    // To clients, only the active one of the pair is master.
    for (agent, role, of_peer) in [(&a, "MASTER", "BACKUP"), (&b, "BACKUP", "MASTER")] {
        let status = agent.status()?;
        ensure!(agent.vhost()?["state"] == "MASTER", "{:#}", agent.vhost()?);
        ensure!(status["role"] == role && status["peer"]["role"] == of_peer, "{status:#}");
    }
    ensure!(a.command("status")?.status.code() == Some(4), "critical");
    pair.lan.rejoin(&pair.b)?;
    for agent in [&a, &b] {
        until(agent, |status| !reasons(status).iter().any(|name| name.starts_with("SAME_STATE")))?;
    }
    Ok(())
}

/// Two agents that reach each other on the interlink only, not introduced yet.
fn linked(label: &str) -> Result<Option<Linked>> {
    lab::available().then(|| Linked::start(label, &[99])).transpose()
}

fn reasons(status: &Value) -> Vec<String> {
    let all = status["reasons"].as_array().into_iter().flatten();
    all.filter_map(|reason| Some(reason["name"].as_str()?.to_owned())).collect()
}

/// Asks until the status is as wanted.
fn until(agent: &Agent, wanted: impl Fn(&Value) -> bool) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = agent.status()?;
        if wanted(&status) {
            return Ok(());
        }
        let shown = || format!("{:#} {:#} {:#}", status["role"], status["peer"], status["reasons"]);
        ensure!(Instant::now() < deadline, "not within {PATIENCE:?}: {}", shown());
        thread::sleep(Duration::from_millis(20));
    }
}

const PATIENCE: Duration = Duration::from_secs(10);
