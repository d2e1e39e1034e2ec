//! Our agent beside the real ucarp, at the classic pace: who is master, and how the other one takes over.
//!
//! ucarp receives once a second (CARP specification §5.1), so whatever it decides comes up to a second late.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::pair::{A, B, VIRTUAL, at_once};
use lab::{Agent, AgentConfig, Pair, Ucarp, UcarpConfig};

/// All at once, because each of them mostly waits.
#[test]
fn ours_and_ucarp_follow_one_another() -> Result<()> {
    at_once(&[
        ("u-dies", ours_takes_over_from_ucarp),
        ("o-dies", ucarp_takes_over_from_ours_when_it_is_killed),
        ("o-leaves", ucarp_takes_over_sooner_when_ours_leaves),
        ("o-yields", ours_yields_to_a_better_ucarp),
        ("u-yields", ucarp_yields_to_a_better_one_of_ours),
        ("wrong", ours_never_yields_to_a_ucarp_with_another_passphrase),
    ])
}

fn ours_takes_over_from_ucarp(pair: &Pair) -> Result<()> {
    let mut ucarp = Ucarp::start(&pair.b, &ucarp(0))?;
    ucarp.wait_for_state(0, "MASTER")?;
    let ours = Agent::start(&pair.a, &ours(100))?;
    ours.wait_for_state(0, "BACKUP")?;
    pair.advertisement(pair.capture.mark(), |seen| seen.source == B)?;
    pair.advertisement(pair.capture.mark(), |seen| seen.source == B)?;
    let vhost = ours.vhost()?;
    ensure!(vhost["state"] == "BACKUP", "{vhost:#}");
    ensure!(vhost["peer"]["address"] == B.to_string(), "{vhost:#}");

    let mark = ours.mark();
    ucarp.process.kill()?;
    ours.wait_for_state(mark, "MASTER")?;
    let gap = pair.gap(B, A)?;
    // 3 · advbase + 100/256 s after its last advertisement.
    let expected = Duration::from_micros(3_390_625);
    ensure!(gap.abs_diff(expected) < Duration::from_millis(100), "{gap:?} instead of {expected:?}");
    ensure!(ours.vhost()?["last_change"]["cause"] == "silence", "{:#}", ours.vhost()?);
    ensure!(pair.a.has_address(VIRTUAL)?, "it has no address");
    Ok(())
}

fn ucarp_takes_over_from_ours_when_it_is_killed(pair: &Pair) -> Result<()> {
    let (mut ours, ucarp) = ours_over_ucarp(pair)?;
    let mark = ucarp.mark();
    ours.kill()?;
    ucarp.wait_for_state(mark, "MASTER")?;
    ucarp.wait_for_script(mark, "up")?;
    pair.advertisement(0, |seen| seen.source == B)?;
    let gap = pair.gap(A, B)?;
    eprintln!("ucarp took over {gap:?} after the last advertisement");
    ensure!(gap < Duration::from_secs(8), "ucarp took {gap:?}");
    ensure!(pair.b.has_address(VIRTUAL)?, "it has no address");
    Ok(())
}

fn ucarp_takes_over_sooner_when_ours_leaves(pair: &Pair) -> Result<()> {
    let (ours, ucarp) = ours_over_ucarp(pair)?;
    let (mark, on_ucarp) = (pair.capture.mark(), ucarp.mark());
    ours.leave()?;
    let goodbye = pair.advertisement(mark, |seen| seen.source == A && seen.is_bow_out())?;
    ucarp.wait_for_state(on_ucarp, "MASTER")?;
    ucarp.wait_for_script(on_ucarp, "up")?;
    let first = pair.advertisement(mark, |seen| seen.source == B)?;
    let wait = Duration::from_nanos(first.at_ns.saturating_sub(goodbye.at_ns));
    eprintln!("ucarp took over {wait:?} after the bow-out");
    // It believes the bow-out as soon as it reads it, long before its 3.39 s of patience end.
    ensure!(wait < Duration::from_secs(2), "ucarp took {wait:?} after the bow-out");
    ensure!(pair.b.has_address(VIRTUAL)?, "ucarp has no address");
    ensure!(!pair.a.has_address(VIRTUAL)?, "ours left its address behind");
    Ok(())
}

fn ours_yields_to_a_better_ucarp(pair: &Pair) -> Result<()> {
    let ours = Agent::start(&pair.a, &ours(100))?;
    ours.wait_for_state(0, "MASTER")?;
    let mark = ours.mark();
    let ucarp = Ucarp::start(&pair.b, &UcarpConfig { preempt: true, ..ucarp(0) })?;
    ucarp.wait_for_state(0, "MASTER")?;
    ucarp.wait_for_script(0, "up")?;
    ours.wait_for_state(mark, "BACKUP")?;
    let vhost = ours.vhost()?;
    ensure!(vhost["last_change"]["cause"] == "superior", "{vhost:#}");
    ensure!(!pair.a.has_address(VIRTUAL)?, "ours still has the address");
    ensure!(pair.b.has_address(VIRTUAL)?, "ucarp has no address");
    pair.only_master(B, 3)?;
    ensure!(ours.vhost()?["state"] == "BACKUP", "{:#}", ours.vhost()?);
    Ok(())
}

fn ucarp_yields_to_a_better_one_of_ours(pair: &Pair) -> Result<()> {
    let ucarp = Ucarp::start(&pair.b, &ucarp(100))?;
    ucarp.wait_for_state(0, "MASTER")?;
    let mark = ucarp.mark();
    let ours = Agent::start(&pair.a, &AgentConfig { preempt: true, ..ours(0) })?;
    ours.wait_for_state(0, "MASTER")?;
    ensure!(ours.vhost()?["last_change"]["cause"] == "preempt", "{:#}", ours.vhost()?);
    ucarp.wait_for_state(mark, "BACKUP")?;
    ucarp.wait_for_script(mark, "down")?;
    ensure!(pair.a.has_address(VIRTUAL)?, "ours has no address");
    ensure!(!pair.b.has_address(VIRTUAL)?, "ucarp still has the address");
    pair.only_master(A, 3)?;
    ensure!(ours.vhost()?["state"] == "MASTER", "{:#}", ours.vhost()?);
    Ok(())
}

fn ours_never_yields_to_a_ucarp_with_another_passphrase(pair: &Pair) -> Result<()> {
    let ours = Agent::start(&pair.a, &ours(100))?;
    ours.wait_for_state(0, "MASTER")?;
    let mark = ours.mark();
    let other = UcarpConfig { passphrase: "another".to_owned(), preempt: true, ..ucarp(0) };
    let ucarp = Ucarp::start(&pair.b, &other)?;
    ucarp.wait_for_state(0, "MASTER")?;
    // It speaks with the better priority, and is not believed.
    for _ in 0..3 {
        pair.advertisement(pair.capture.mark(), |seen| seen.source == B)?;
    }
    pair.advertisement(pair.capture.mark(), |seen| seen.source == A)?;
    let vhost = ours.vhost()?;
    ensure!(vhost["state"] == "MASTER" && vhost["peer"].is_null(), "{vhost:#}");
    let refused = vhost["refused"]["badauth"].as_u64().context("no counter badauth")?;
    ensure!(refused >= 3, "{refused} refused: {vhost:#}");
    let changes = ours.process.lines().split_off(mark);
    ensure!(!changes.iter().any(|line| line.contains(" -> ")), "it changed: {changes:?}");
    Ok(())
}

fn ours(advskew: u8) -> AgentConfig {
    AgentConfig { advskew, interval: None, detect: None, ..AgentConfig::default() }
}

fn ucarp(advskew: u8) -> UcarpConfig {
    UcarpConfig { advskew, ..UcarpConfig::default() }
}

/// Ours as master on `a`, ucarp as its backup on `b`, which has had time to hear it.
fn ours_over_ucarp(pair: &Pair) -> Result<(Agent, Ucarp)> {
    let ours = Agent::start(&pair.a, &ours(0))?;
    ours.wait_for_state(0, "MASTER")?;
    let ucarp = Ucarp::start(&pair.b, &ucarp(100))?;
    // More than its 3.39 s of patience: it would be master by now, had it heard nothing.
    pair.only_master(A, 5)?;
    Ok((ours, ucarp))
}
