//! Two agents that know each other, and waiting for what they say of it.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::agent::Agent;
use crate::config::AgentConfig;
use crate::introduction::{Linked, introduce};

/// Two agents that know each other, the first of them active; `None` where there is no lab.
///
/// # Errors
///
/// If they do not become that.
pub fn paired(label: &str) -> Result<Option<Linked>> {
    paired_with(label, [0, 100])
}

/// The same with priorities, as `advskew`.
///
/// # Errors
///
/// If they do not become that.
pub fn paired_with(label: &str, advskews: [u8; 2]) -> Result<Option<Linked>> {
    if !crate::available() {
        return Ok(None);
    }
    let configs = advskews.map(|advskew| AgentConfig { advskew, ..AgentConfig::default() });
    let lab = Linked::start_with(label, &[99], configs)?;
    introduce((&lab.pair.a, &lab.a), (&lab.pair.b, &lab.b))?;
    settled(&lab.a, &lab.b)?;
    ensure!(phase(&lab.a)? == "active", "the one that served");
    Ok(Some(lab))
}

/// Waits until one is active, the other one stands by, and nothing is wrong.
///
/// # Errors
///
/// If that is not so within [`PATIENCE`].
pub fn settled(a: &Agent, b: &Agent) -> Result<()> {
    for agent in [a, b] {
        quiet(agent)?;
    }
    until("one active", || {
        let mut phases = [phase(a)?, phase(b)?];
        phases.sort_unstable();
        Ok(phases == ["active", "standby"])
    })
}

/// What an agent does in its pair.
///
/// # Errors
///
/// If it does not answer.
pub fn phase(agent: &Agent) -> Result<String> {
    Ok(agent.status()?["pair"]["phase"].as_str().unwrap_or_default().to_owned())
}

/// Waits until an agent does that.
///
/// # Errors
///
/// If it does not within [`PATIENCE`].
pub fn wait_for_phase(agent: &Agent, phase: &str) -> Result<()> {
    wait(agent, PATIENCE, |status| status["pair"]["phase"] == phase)
}

/// The names of the reasons in a status.
#[must_use]
pub fn reasons(status: &Value) -> Vec<String> {
    let all = status["reasons"].as_array().into_iter().flatten();
    all.filter_map(|reason| reason["name"].as_str()).map(str::to_owned).collect()
}

/// Waits until an agent knows its peer, and nothing is wrong.
///
/// # Errors
///
/// If that is not so within [`PATIENCE`].
pub fn quiet(agent: &Agent) -> Result<()> {
    wait(agent, PATIENCE, |status| status["peer"].is_object() && reasons(status).is_empty())
}

/// Waits until an agent names a reason, within [`NAMED`] from now.
///
/// # Errors
///
/// If it does not.
pub fn named(agent: &Agent, name: &str) -> Result<()> {
    wait(agent, NAMED, |status| reasons(status).iter().any(|reason| reason == name))
}

/// Waits until both name a reason, within [`NAMED`] from now.
///
/// # Errors
///
/// If they do not.
pub fn named_soon(agents: [&Agent; 2], name: &str) -> Result<()> {
    named_within(agents, name, NAMED)
}

/// The same within `patience`.
///
/// # Errors
///
/// If they do not.
pub fn named_within(agents: [&Agent; 2], name: &str, patience: Duration) -> Result<()> {
    let began = Instant::now();
    for agent in agents {
        let left = patience.saturating_sub(began.elapsed());
        wait(agent, left, |status| reasons(status).iter().any(|reason| reason == name))?;
    }
    println!("{name} is named on both after {:?}", began.elapsed());
    Ok(())
}

/// How often it has begun to take over, in what it printed from the `from`th line on.
#[must_use]
pub fn takes(agent: &Agent, from: usize) -> usize {
    let lines = agent.process.lines();
    lines.iter().skip(from).filter(|line| line.contains("pair: taking over")).count()
}

/// Asks until the status is as wanted.
///
/// # Errors
///
/// If it is not within `patience`.
pub fn wait(agent: &Agent, patience: Duration, wanted: impl Fn(&Value) -> bool) -> Result<()> {
    let began = Instant::now();
    loop {
        let status = agent.status()?;
        if wanted(&status) {
            return Ok(());
        }
        let shown = || {
            let (pair, witness) = (&status["pair"], &status["witness"]);
            format!("{pair:#} {witness:#} {:?}\n{}", reasons(&status), agent.process.lines().join("\n"))
        };
        ensure!(began.elapsed() < patience, "not within {patience:?}: {}", shown());
        thread::sleep(Duration::from_millis(10));
    }
}

/// Looks until it is so.
///
/// # Errors
///
/// If it is not within [`PATIENCE`].
pub fn until(what: &str, mut look: impl FnMut() -> Result<bool>) -> Result<()> {
    let began = Instant::now();
    while !look()? {
        ensure!(began.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// How long the lab waits for what is to come.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// Within so long, both nodes name what they are both in.
pub const NAMED: Duration = Duration::from_secs(2);
/// Before, nothing shows that a peer is dead (docs/switchover.md, Times): two of the link's dead times.
pub const SETTLES: Duration = Duration::from_millis(800);
