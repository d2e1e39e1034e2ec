//! What changes under a running pair: keys, by reload, and clocks.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::capture::now_ns;
use lab::pair::{A, B};
use lab::pauses::undisturbed;
use lab::{Agent, AgentConfig, Attacker, Clock, Node, Pair};
use nix::sys::signal::Signal;

#[test]
fn a_key_is_rotated_on_a_live_pair() -> Result<()> {
    let ways: [(&str, AgentConfig, Reload); 3] = [
        ("command", AgentConfig::default(), by_command),
        ("signal", AgentConfig::default(), by_signal),
        ("strict", AgentConfig::strict(), by_command),
    ];
    for (label, config, reload) in ways {
        scenario(label, |pair| {
            let with = |keys: &[&str], advskew| {
                let passphrases = keys.iter().map(|&key| key.to_owned()).collect();
                AgentConfig { passphrases, advskew, ..config.clone() }
            };
            let (a, b) = pair.start(&with(&["old"], 0), &with(&["old"], 100))?;
            let attacker = Attacker::new(&pair.lan)?;
            let recorded = attacker.record(A)?;
            let marks = (a.mark(), b.mark());
            for keys in [["old", "new"].as_slice(), &["new", "old"], &["new"]] {
                // The master first, and then the backup first: either order does.
                let mut both = [(&a, &pair.a, 0), (&b, &pair.b, 100)];
                if keys.len() == 1 {
                    both.reverse();
                }
                for (agent, node, advskew) in both {
                    agent.rewrite(node, &with(keys, advskew))?;
                    reload(agent).with_context(|| format!("{keys:?} on {}", node.name))?;
                    pair.only_master(A, 20)?;
                }
            }
            for (agent, mark) in [(&a, marks.0), (&b, marks.1)] {
                ensure!(agent.changes(mark).is_empty(), "{:?}", agent.changes(mark));
                ensure!(agent.refused(&["badauth"])? == 0, "a frame was refused: {:#}", agent.vhost()?);
            }

            // The old key is worth nothing any more.
            attacker.send(&recorded.with_source(pair.witness.address))?;
            let refused = |vhost: &serde_json::Value| (vhost["refused"]["badauth"] == 1).then_some(());
            b.until(PATIENCE, refused).context("the old key is still good")?;

            // And what they say to one another with the new one is heard.
            let mark = b.mark();
            a.leave()?;
            b.wait_for_state(mark, "MASTER")?;
            ensure!(b.vhost()?["last_change"]["cause"] == "bow_out", "{:#}", b.vhost()?);
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn a_reload_of_files_that_are_wrong_changes_nothing_and_says_why() -> Result<()> {
    scenario("wrong", |pair| {
        let config = |advskew| AgentConfig { advskew, ..AgentConfig::default() };
        let (a, b) = pair.start(&config(0), &config(100))?;
        let (on_a, on_b) = (a.mark(), b.mark());
        let with_passphrase = |text: &str| AgentConfig { passphrases: vec![text.to_owned()], ..config(0) };
        let wrong: [(&str, AgentConfig, &[&str]); 5] = [
            ("too long a passphrase", with_passphrase(&"x".repeat(20)), &["carp.key", "19"]),
            ("an empty passphrase", with_passphrase(""), &["carp.key"]),
            (
                "a mode that is none",
                AgentConfig { mode: Some("lax".to_owned()), ..config(0) },
                &["mode", "lax"],
            ),
            (
                "another interval",
                AgentConfig { interval: Some("20ms".to_owned()), ..config(0) },
                &["interval"],
            ),
            ("another priority", config(1), &["advskew"]),
        ];
        for (what, wrong, words) in wrong {
            a.rewrite(&pair.a, &wrong)?;
            let output = a.command("reload")?;
            let errors = String::from_utf8_lossy(&output.stderr);
            ensure!(!output.status.success(), "{what}: it was taken");
            ensure!(errors.trim().lines().count() == 1 && errors.contains("; "), "{what}: {errors}");
            for word in words {
                ensure!(errors.contains(word), "{what}: no '{word}' in: {errors}");
            }
            // Told by a signal, it can answer in its log only.
            let mark = a.mark();
            a.process.signal(Signal::SIGHUP)?;
            let line = a.process.wait_for_line(mark, words[0], PATIENCE).context(what)?;
            let line = a.process.lines().swap_remove(line);
            ensure!(line.contains("WARN") || line.contains("ERROR"), "{what}: {line}");
            pair.only_master(A, 20).context(what)?;
        }
        for (agent, mark) in [(&a, on_a), (&b, on_b)] {
            ensure!(agent.changes(mark).is_empty(), "{:?}", agent.changes(mark));
            ensure!(agent.refused(&["badauth"])? == 0, "{:#}", agent.vhost()?);
        }
        // What is right again is taken again.
        a.rewrite(&pair.a, &config(0))?;
        a.tell("reload")
    })
}

#[test]
fn peers_can_change_under_a_running_agent() -> Result<()> {
    scenario("peers", |pair| {
        let config = |peers, advskew| AgentConfig { peers, advskew, ..AgentConfig::default() };
        let (a, b) = pair.start(&config(vec![], 0), &config(vec![A.into()], 100))?;
        let mark = b.mark();
        // Whoever may not be heard is not there.
        b.rewrite(&pair.b, &config(vec![pair.witness.address.into()], 100))?;
        b.tell("reload")?;
        b.wait_for_state(mark, "MASTER")?;
        ensure!(b.refused(&["badsource"])? > 0, "{:#}", b.vhost()?);
        let mark = b.mark();
        b.rewrite(&pair.b, &config(vec![A.into()], 100))?;
        b.tell("reload")?;
        b.wait_for_state(mark, "BACKUP")?;
        pair.only_master(A, 20)?;
        drop(a);
        Ok(())
    })
}

#[test]
fn a_clock_that_steps_changes_nothing_in_strict_mode() -> Result<()> {
    // Less than the clocks may differ, and much more.
    let table = [
        ("ahead", 1_000, true),
        ("behind", -1_000, true),
        ("day", DAY_MS, false),
        ("yesterday", -DAY_MS, false),
    ];
    for (label, step, for_ever) in table {
        for on_master in [true, false] {
            scenario(&format!("{label}-{on_master}"), |pair| {
                let config = |advskew| AgentConfig { advskew, ..AgentConfig::strict() };
                let clock = Clock::new()?;
                let start = |node: &Node, advskew, steps| {
                    let environment = if steps { clock.environment() } else { Vec::new() };
                    Agent::start_with(node, &config(advskew), &environment)
                };
                let mut a = start(&pair.a, 0, on_master)?;
                a.wait_for_state(0, "MASTER")?;
                let b = start(&pair.b, 100, !on_master)?;
                b.wait_for_state(0, "BACKUP")?;
                pair.only_master(A, 20)?;
                let (on_a, on_b) = (a.mark(), b.mark());
                let before = b.refused(&FRESHNESS)?;
                clock.set(step)?;
                // A clock that stays wrong by more than is allowed is found out sooner or later.
                let until = now_ns() + 1_000_000_000;
                pair.advertisement(0, |seen| seen.source == A && seen.at_ns > until)?;
                for (agent, mark) in [(&a, on_a), (&b, on_b)] {
                    ensure!(agent.changes(mark).is_empty(), "{:?}", agent.changes(mark));
                }
                ensure!(b.refused(&FRESHNESS)? == before, "frames were refused: {:#}", b.vhost()?);
                if for_ever {
                    // Neither does a restart in between.
                    a.kill()?;
                    b.wait_for_state(on_b, "MASTER")?;
                    a.restart(&pair.a)?;
                    a.wait_for_state(0, "BACKUP")?;
                    pair.only_master(B, 20)?;
                }
                Ok(())
            })?;
        }
    }
    Ok(())
}

type Reload = fn(&Agent) -> Result<()>;

fn by_command(agent: &Agent) -> Result<()> {
    agent.tell("reload")
}

fn by_signal(agent: &Agent) -> Result<()> {
    let mark = agent.mark();
    agent.process.signal(Signal::SIGHUP)?;
    agent.process.wait_for_line(mark, "passphrases changed", PATIENCE).map(drop)
}

/// Runs a scenario on a new pair; one at a time, because they judge milliseconds.
fn scenario(label: &str, run: impl Fn(&Pair) -> Result<()>) -> Result<()> {
    static TURN: Mutex<()> = Mutex::new(());
    if !lab::available() {
        return Ok(());
    }
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    undisturbed(|| run(&Pair::new(label)?))
}

/// Why a frame with a right digest is refused.
const FRESHNESS: [&str; 4] = ["replay", "stale", "rewritten", "looped"];
const DAY_MS: i64 = 86_400_000;
const PATIENCE: Duration = Duration::from_secs(10);
