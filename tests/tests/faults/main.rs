//! `ha-agent check` finds each fault that is planted, names its remedy, and ends with the code that is documented; where all is
//! well, it finds nothing.

mod planted;
#[path = "../support/seccomp.rs"]
mod seccomp;
mod stage;
mod tools;

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::thread;

use anyhow::{Result, ensure};
use ha_agent::cli::check::{Code, Level};
use lab::{Agent, AgentConfig, Lan};
use serde_json::Value;

use planted::FAULTS;
use stage::{Stage, findings};

#[test]
fn each_planted_fault_is_found() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let wanted = std::env::var("HA_FAULT").ok();
    let chosen = |name: &str| wanted.as_ref().is_none_or(|wanted| name.contains(wanted.as_str()));
    let queue = Mutex::new(FAULTS.iter().enumerate().filter(|(_, fault)| chosen(fault.name)));
    let failed = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((index, fault)) = queue.lock().ok().and_then(|mut queue| queue.next()) {
                    if let Err(error) = find(index, fault) {
                        failed.lock().expect("no panic").push(format!("{}: {error:#}", fault.name));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner()?;
    ensure!(failed.is_empty(), "{} of {}:\n{}", failed.len(), FAULTS.len(), failed.join("\n"));
    let codes: BTreeSet<_> = FAULTS.iter().map(|fault| fault.code.name()).collect();
    println!("{} faults of {} kinds", FAULTS.len(), codes.len());
    ensure!(codes.len() >= 25, "{codes:?}");
    Ok(())
}

/// Plants one, and looks for it.
fn find(index: usize, fault: &planted::Fault) -> Result<()> {
    let mut stage = Stage::new(&format!("f{index}"))?;
    match (fault.plant)(&mut stage) {
        Err(error) if format!("{error:#}").contains("Unknown device type") => {
            println!("{}: skipped, because this kernel has no such interfaces", fault.name);
            return Ok(());
        }
        planted => planted?,
    }
    let output = stage.check()?;
    let found = findings(&output)?;
    let text = || found.iter().map(Value::to_string).collect::<Vec<_>>().join("\n");
    let named: Vec<_> = found.iter().filter(|finding| finding["code"] == fault.code.name()).collect();
    let [finding, ..] = named.as_slice() else {
        anyhow::bail!("{} is not found: {:?}\n{}", fault.code.name(), output.status, text());
    };
    let level = fault.code.level();
    ensure!(finding["level"] == level.to_string(), "{finding}");
    let remedy = finding["remedy"].as_str().unwrap_or_default();
    for word in fault.remedy {
        ensure!(remedy.contains(word), "no '{word}' in the remedy: {finding}");
    }
    let worst = found.iter().filter_map(|finding| finding["level"].as_str()).max_by_key(|level| rank(level));
    let code = output.status.code();
    match worst {
        Some("error") => ensure!(code.is_some_and(|code| code >= 64), "{code:?}\n{}", text()),
        _ => ensure!(code == Some(3), "{code:?}\n{}", text()),
    }
    // One fault does not make others up.
    let others =
        found.iter().filter(|finding| finding["level"] != "ok" && finding["code"] != fault.code.name());
    let others: Vec<_> = others
        .filter(|finding| {
            !is_of_the_host(finding) && !fault.also.iter().any(|code| finding["code"] == code.name())
        })
        .collect();
    ensure!(others.is_empty(), "beside it: {others:#?}");
    Ok(())
}

#[test]
fn where_all_is_well_nothing_is_found() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    for (label, strict) in [("well", false), ("well-s", true)] {
        let lan = Lan::new(label)?;
        let (a, b) = (lan.node("a", lab::pair::A)?, lan.node("b", lab::pair::B)?);
        let config = AgentConfig { mode: strict.then(|| "strict".to_owned()), ..AgentConfig::default() };
        let worse = AgentConfig { advskew: 100, ..config.clone() };
        // Nobody there; then a master beside a node that is not started; then both.
        well(&stage::check_of(&a, &config, None)?)?;
        let master = Agent::start(&a, &config)?;
        master.wait_for_state(0, "MASTER")?;
        well(&stage::check_of(&b, &worse, None)?)?;
        let backup = Agent::start(&b, &worse)?;
        backup.wait_for_state(0, "BACKUP")?;
        for (node, agent, config) in [(&a, &master, &config), (&b, &backup, &worse)] {
            well(&stage::check_of(node, config, Some(agent))?)?;
        }
        ensure!(
            master.vhost()?["state"] == "MASTER" && backup.vhost()?["state"] == "BACKUP",
            "check moved something"
        );
    }
    Ok(())
}

fn well(output: &std::process::Output) -> Result<()> {
    let found = findings(output)?;
    let bad: Vec<_> =
        found.iter().filter(|finding| finding["level"] != "ok" && !is_of_the_host(finding)).collect();
    ensure!(bad.is_empty() && found.len() > 8, "{bad:#?} of {}", found.len());
    ensure!(matches!(output.status.code(), Some(0 | 3)), "{output:?}");
    let warned = found.iter().any(|finding| finding["level"] != "ok");
    ensure!(output.status.success() != warned, "{output:?}");
    Ok(())
}

/// What is of the machine that the test runs on.
fn is_of_the_host(finding: &Value) -> bool {
    let host = [Code::DeepSleep, Code::SlowProcessors, Code::SlowClock, Code::NotSynchronised];
    host.iter().any(|code| finding["code"] == code.name())
}

fn rank(level: &str) -> usize {
    [Level::Ok, Level::Warning, Level::Error]
        .iter()
        .position(|known| known.to_string() == level)
        .unwrap_or_default()
}

/// Each mostly waits.
const AT_ONCE: usize = 6;
