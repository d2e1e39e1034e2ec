//! The same against two real ucarps: it works, as in the captures T9a, T9b and T9c.

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::attacker::ATTACKER;
use lab::capture::now_ns;
use lab::pair::{A, at_once};
use lab::{Attacker, Pair, Ucarp, UcarpConfig};

/// They show that the attacks are real; all at once, because each of them mostly waits.
#[test]
fn each_attack_works_against_ucarp() -> Result<()> {
    at_once(&[
        ("t9a", a_ucarp_is_deposed),
        ("t9b", a_ucarp_is_made_a_second_master),
        ("t9c", a_ucarp_is_starved),
    ])
}

fn a_ucarp_is_deposed(pair: &Pair) -> Result<()> {
    let (a, b) = ucarps(pair)?;
    let attacker = Attacker::new(&pair.lan)?;
    let forged = attacker.record(A)?.with_priority(0, 0).with_source(ATTACKER);
    let (on_a, on_b) = (a.mark(), b.mark());
    let _barrage = attacker.repeat(&forged, Duration::from_millis(200))?;
    a.wait_for_state(on_a, "BACKUP")?;
    a.wait_for_script(on_a, "down")?;
    // Longer than the other one's patience of 3.39 s, and the second that it may hear late. Before it yields,
    // the loser says a last word.
    let from = now_ns() + 500_000_000;
    pair.advertisement(0, |seen| seen.source == ATTACKER && seen.at_ns > from + 5_000_000_000)?;
    let seen = pair.capture.advertisements(0);
    let other = seen.iter().find(|seen| seen.at_ns > from && seen.source != ATTACKER);
    ensure!(other.is_none(), "there is still a master: {other:?}");
    let took_over = b.process.lines().split_off(on_b).iter().any(|line| line.contains("state: MASTER"));
    ensure!(!took_over, "the standby took over");
    Ok(())
}

fn a_ucarp_is_made_a_second_master(pair: &Pair) -> Result<()> {
    let (a, b) = ucarps(pair)?;
    let attacker = Attacker::new(&pair.lan)?;
    let forged = attacker.record(A)?.with_priority(255, 255).with_source(ATTACKER);
    let on_a = a.mark();
    // With each repeat: one frame is enough.
    for _ in 0..2 {
        let on_b = b.mark();
        attacker.send(&forged)?;
        b.wait_for_state(on_b, "MASTER")?;
        b.wait_for_state(on_b, "BACKUP")?;
    }
    let yielded = a.process.lines().split_off(on_a).iter().any(|line| line.contains("state: BACKUP"));
    ensure!(!yielded, "the first master yielded, so there were never two");
    Ok(())
}

fn a_ucarp_is_starved(pair: &Pair) -> Result<()> {
    let (mut a, b) = ucarps(pair)?;
    let attacker = Attacker::new(&pair.lan)?;
    let mark = b.mark();
    let recorded = attacker.record(A)?;
    a.process.kill()?;
    let barrage = attacker.repeat(&recorded, Duration::from_millis(200))?;
    // Longer than its patience, and the second that it may hear late.
    let until = now_ns() + 6_000_000_000;
    pair.advertisement(0, |seen| seen.at_ns > until)?;
    let lines = b.process.lines().split_off(mark);
    ensure!(!lines.iter().any(|line| line.contains("state: MASTER")), "it took over: {lines:?}");
    let _ = barrage.stop();
    b.wait_for_state(mark, "MASTER").map(drop)
}

/// The master on `a`, its standby on `b`, which has had time to hear it.
fn ucarps(pair: &Pair) -> Result<(Ucarp, Ucarp)> {
    let a = Ucarp::start(&pair.a, &UcarpConfig::default())?;
    a.wait_for_state(0, "MASTER")?;
    let b = Ucarp::start(&pair.b, &UcarpConfig { advskew: 100, ..UcarpConfig::default() })?;
    // More than its 3.39 s of patience: it would be master by now, had it heard nothing.
    pair.only_master(A, 5)?;
    Ok((a, b))
}
