//! What somebody on the LAN can do with one recorded frame and no key (CARP specification §8.1): nothing in
//! strict mode, nothing unnoticed in compat mode, and everything against ucarp.
//!
//! The digest covers neither the priority nor the sender: a recorded frame can be changed there, and sent from
//! anywhere, by anybody.

#[path = "attacks/ucarp.rs"]
mod ucarp;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::attacker::ATTACKER;
use lab::capture::{Captured, now_ns};
use lab::frame::Advertisement;
use lab::pair::{A, A6, B, VIRTUAL, VIRTUAL6};
use lab::pauses::undisturbed;
use lab::{Agent, AgentConfig, Attacker, Pair};
use nix::sys::signal::Signal;
use serde_json::Value;

#[test]
fn in_strict_mode_no_recorded_frame_changes_anything() -> Result<()> {
    scenario("strict", |pair| {
        let (a, b) = pair.start(&strict(0), &strict(100))?;
        let attacker = Attacker::new(&pair.lan)?;
        for (attack, change) in FORGERIES {
            for source in SOURCES {
                let forged = change(attacker.record(A)?).with_source(source);
                expect_refused([&a, &b], || {
                    let barrage = attacker.repeat(&forged, EVERY)?;
                    pair.next_advertisements(20)?;
                    Ok(barrage.stop())
                })
                .with_context(|| format!("{attack} from {source}"))?;
            }
        }
        Ok(())
    })
}

#[test]
fn in_strict_mode_live_frames_from_elsewhere_change_nothing() -> Result<()> {
    scenario("reflect", |pair| {
        let (a, b) = pair.start(&strict(0), &strict(100))?;
        let attacker = Attacker::new(&pair.lan)?;
        for (attack, change) in FORGERIES {
            for source in SOURCES {
                expect_refused([&a, &b], || {
                    let barrage = attacker
                        .echo(move |heard| (heard.source == A).then(|| change(heard).with_source(source)))?;
                    pair.next_advertisements(40)?;
                    Ok(barrage.stop())
                })
                .with_context(|| format!("{attack} from {source}"))?;
            }
        }
        // What A says, in B's name: to A it is its own, and must not pass for something that B has said.
        expect_refused([&a, &b], || {
            let barrage = attacker.echo(|heard| (heard.source == A).then(|| heard.with_source(B)))?;
            pair.next_advertisements(40)?;
            Ok(barrage.stop())
        })
        .context("A's own in B's name")
    })
}

#[test]
fn in_strict_mode_a_takeover_is_on_time_whatever_is_replayed() -> Result<()> {
    for (label, source) in [("starve-a", A), ("starve-x", ATTACKER)] {
        scenario(label, |pair| {
            let (a, b) = pair.start(&strict(0), &strict(100))?;
            let attacker = Attacker::new(&pair.lan)?;
            let hardware = (pair.a.hardware("eth0")?, pair.b.hardware("eth0")?);
            let recorded = attacker.record(A)?;
            let mark = b.mark();
            // What has just been heard, too, as soon as it was.
            let _live = attacker.echo(move |heard| (heard.source == A).then(|| heard.with_source(source)))?;
            let _old = attacker.repeat(&recorded.with_source(source), EVERY)?;
            pair.lan.cut(&pair.a)?;
            let last = attacker.last(A)?.with_source(source);
            let _last = attacker.repeat(&last, EVERY)?;
            b.wait_for_state(mark, "MASTER")?;
            pair.advertisement(pair.capture.mark(), |seen| seen.source == B)?;
            expect_takeover_in_time(pair, hardware)?;
            ensure!(b.vhost()?["last_change"]["cause"] == "silence", "{:#}", b.vhost()?);
            drop(a);
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn in_strict_mode_its_own_frames_do_not_keep_a_node_from_taking_over() -> Result<()> {
    scenario("own", |pair| {
        let (a, b) = pair.start(&strict(0), &strict(100))?;
        let attacker = Attacker::new(&pair.lan)?;
        let (on_a, on_b) = (a.mark(), b.mark());
        a.tell("hold")?;
        a.wait_for_state(on_a, "BACKUP")?;
        b.wait_for_state(on_b, "MASTER")?;
        pair.only_master(B, 20)?;
        // Not so old that the clock decides.
        let barrage = attacker.repeat(&attacker.last(A)?.with_source(ATTACKER), EVERY)?;
        pair.next_advertisements(20)?;
        let (mark, began) = (a.mark(), Instant::now());
        pair.lan.cut(&pair.b)?;
        a.wait_for_state(mark, "MASTER")?;
        ensure!(began.elapsed() < Duration::from_millis(500), "it took over after {:?}", began.elapsed());
        ensure!(barrage.stop() > 0, "no attack");
        Ok(())
    })
}

#[test]
fn in_strict_mode_a_restarted_agent_knows_what_it_has_heard() -> Result<()> {
    scenario("restart", |pair| {
        // Long enough that the clock does not decide.
        let config = |advskew| AgentConfig { clock_difference: Some("60s".to_owned()), ..strict(advskew) };
        let (mut a, mut b) = pair.start(&config(0), &config(100))?;
        let attacker = Attacker::new(&pair.lan)?;
        let recorded = attacker.record(A)?;
        pair.only_master(A, 10)?;
        b.process.signal(Signal::SIGTERM)?;
        b.process.wait(PATIENCE)?;
        a.kill()?;
        let barrage = attacker.repeat(&recorded, EVERY)?;
        let began = Instant::now();
        b.restart(&pair.b)?;
        // It was heard before, so nobody is there.
        b.wait_for_state(0, "MASTER").context("a replay kept it from taking over")?;
        ensure!(began.elapsed() < Duration::from_secs(1), "it took over after {:?}", began.elapsed());
        ensure!(barrage.stop() > 0, "no attack");
        ensure!(b.refused(&["replay"])? > 0, "not refused as a replay: {:#}", b.vhost()?);
        Ok(())
    })
}

#[test]
fn in_strict_mode_an_old_frame_is_stale_for_an_agent_that_knows_nothing() -> Result<()> {
    scenario("stale", |pair| {
        let config = |advskew| AgentConfig { clock_difference: Some("100ms".to_owned()), ..strict(advskew) };
        let mut a = Agent::start(&pair.a, &config(0))?;
        a.wait_for_state(0, "MASTER")?;
        let attacker = Attacker::new(&pair.lan)?;
        let recorded = attacker.record(A)?;
        a.kill()?;
        let old = now_ns() + 150_000_000;
        let barrage = attacker.repeat(&recorded, EVERY)?;
        pair.advertisement(0, |seen| seen.at_ns > old)?;
        let began = Instant::now();
        let b = Agent::start(&pair.b, &config(100))?;
        b.wait_for_state(0, "MASTER").context("an old frame kept it from becoming master")?;
        ensure!(began.elapsed() < Duration::from_secs(1), "it became master after {:?}", began.elapsed());
        // He may have said that he has the address: as long as he is heard, it is said again who has it.
        let announced = || {
            let mark = pair.capture.mark();
            thread::sleep(Duration::from_secs(2));
            pair.capture.frames(mark).iter().filter(|frame| frame.announces() == Some(VIRTUAL)).count()
        };
        let _first = announced();
        let again = announced();
        ensure!(barrage.stop() > 0, "no attack");
        ensure!(b.refused(&["stale"])? > 0, "not refused as stale: {:#}", b.vhost()?);
        let _last = announced();
        let after = announced();
        ensure!(again >= 4 && after == 0, "announced {again} times, and {after} times when nobody was heard");
        Ok(())
    })
}

#[test]
fn in_strict_mode_what_is_refused_is_reported_by_name() -> Result<()> {
    scenario("named", |pair| {
        let (a, b) = pair.start(&strict(0), &strict(100))?;
        let attacker = Attacker::new(&pair.lan)?;
        for (forgery, names) in
            [(FORGERIES[0], ["rewritten"].as_slice()), (FORGERIES[3], &["replayed", "looped"])]
        {
            expect_report(&[&b], names, || {
                attacker.repeat(&forgery.1(attacker.record(A)?).with_source(ATTACKER), EVERY)
            })
            .context(forgery.0)?;
        }
        drop(a);
        Ok(())
    })
}

#[test]
fn in_strict_mode_a_frame_counts_in_its_own_family_only() -> Result<()> {
    scenario("wrap", |pair| {
        let config = |advskew| AgentConfig {
            addresses: vec!["10.77.0.100/24".to_owned(), format!("{VIRTUAL6}/64")],
            ..strict(advskew)
        };
        let (a, b) = pair.start(&config(0), &config(100))?;
        pair.advertisement(pair.capture.mark(), |seen| seen.source == A6)?;
        let attacker = Attacker::new(&pair.lan)?;
        let stranger = attacker.node.link_local;
        let wrappings: [(IpAddr, IpAddr); 4] = [
            (A.into(), A6.into()),
            (A.into(), stranger.into()),
            (A6.into(), A.into()),
            (A6.into(), ATTACKER.into()),
        ];
        for (heard_from, source) in wrappings {
            expect_refused([&a, &b], || {
                let barrage = attacker
                    .echo(move |heard| (heard.source == heard_from).then(|| heard.with_source(source)))?;
                pair.next_advertisements(40)?;
                Ok(barrage.stop())
            })
            .with_context(|| format!("from {heard_from} wrapped as from {source}"))?;
        }
        Ok(())
    })
}

/// All but the starving, in which the master must die.
#[test]
fn in_compat_mode_each_forgery_is_reported_by_name_within_a_second() -> Result<()> {
    // One frame with another's counter can be a late reader's; the second time it is a repetition.
    let from_elsewhere = ["two_sources", "sudden_priority", "repeated"].as_slice();
    let from_the_master = ["sudden_priority", "repeated", "regressed"].as_slice();
    for (label, (_, change), source, names) in [
        ("depose-x", FORGERIES[0], ATTACKER, from_elsewhere),
        ("depose-a", FORGERIES[0], A, from_the_master),
        ("bow-x", FORGERIES[1], ATTACKER, from_elsewhere),
        ("bow-a", FORGERIES[1], A, from_the_master),
        ("demote-x", FORGERIES[2], ATTACKER, from_elsewhere),
        ("demote-a", FORGERIES[2], A, from_the_master),
        ("same-x", FORGERIES[3], ATTACKER, from_elsewhere),
        ("same-a", FORGERIES[3], A, from_the_master),
    ] {
        scenario(label, |pair| {
            let (a, b) = pair.start(&compat(0), &compat(100))?;
            let attacker = Attacker::new(&pair.lan)?;
            pair.only_master(A, 20)?;
            expect_report(&[&a, &b], names, || {
                attacker.repeat(&change(attacker.record(A)?).with_source(source), EVERY)
            })
        })?;
    }
    Ok(())
}

#[test]
fn in_compat_mode_starving_is_reported_by_name_within_a_second() -> Result<()> {
    let table: [(&str, _, &[&str]); 2] =
        [("starve-a", A, &["repeated", "regressed"]), ("starve-x", ATTACKER, &["two_sources", "repeated"])];
    for (label, source, names) in table {
        scenario(label, |pair| {
            let (mut a, b) = pair.start(&compat(0), &compat(100))?;
            let attacker = Attacker::new(&pair.lan)?;
            pair.only_master(A, 20)?;
            a.kill()?;
            expect_report(&[&b], names, || attacker.repeat(&attacker.last(A)?.with_source(source), EVERY))
        })?;
    }
    Ok(())
}

#[test]
fn two_masters_that_do_not_believe_one_another_say_why() -> Result<()> {
    let other_key = AgentConfig { passphrases: vec!["another".to_owned()], ..compat(100) };
    let other_list = AgentConfig { addresses: vec!["10.77.0.101/24".to_owned()], ..compat(100) };
    for (label, other) in [("key", other_key), ("list", other_list)] {
        scenario(label, |pair| {
            let a = Agent::start(&pair.a, &compat(0))?;
            a.wait_for_state(0, "MASTER")?;
            expect_report(&[&a], &["bad_digests"], || {
                let b = Agent::start(&pair.b, &other)?;
                b.wait_for_state(0, "MASTER")?;
                Ok(b)
            })?;
            let vhost = a.vhost()?;
            let suspicion = &vhost["suspicions"][0];
            ensure!(suspicion["source"] == B.to_string(), "whose? {vhost:#}");
            ensure!(
                suspicion["sentence"].as_str().is_some_and(|it| it.contains(&B.to_string())),
                "{vhost:#}"
            );
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn with_peers_listed_nothing_from_elsewhere_is_heard() -> Result<()> {
    scenario("peers", |pair| {
        let config = |advskew| AgentConfig { peers: vec![A.into(), B.into()], ..compat(advskew) };
        let (a, b) = pair.start(&config(0), &config(100))?;
        let attacker = Attacker::new(&pair.lan)?;
        for (attack, change) in FORGERIES {
            let before = (a.refused(&["badsource"])?, b.refused(&["badsource"])?);
            let marks = (a.mark(), b.mark());
            let barrage = attacker.repeat(&change(attacker.record(A)?).with_source(ATTACKER), EVERY)?;
            pair.next_advertisements(20)?;
            let sent = barrage.stop();
            for (agent, before, mark) in [(&a, before.0, marks.0), (&b, before.1, marks.1)] {
                let count =
                    |vhost: &Value| vhost["refused"]["badsource"].as_u64().filter(|it| *it >= before + sent);
                let counted = agent.until(Duration::from_secs(1), count).context(attack)?;
                ensure!(
                    counted == before + sent,
                    "{attack}: {counted} counted of {sent} sent after {before}"
                );
                ensure!(agent.changes(mark).is_empty(), "{attack}: {:?}", agent.changes(mark));
            }
        }
        let hardware = (pair.a.hardware("eth0")?, pair.b.hardware("eth0")?);
        let mark = b.mark();
        let _live = attacker.echo(|heard| (heard.source == A).then(|| heard.with_source(ATTACKER)))?;
        let _old = attacker.repeat(&attacker.record(A)?.with_source(ATTACKER), EVERY)?;
        pair.lan.cut(&pair.a)?;
        b.wait_for_state(mark, "MASTER")?;
        pair.advertisement(pair.capture.mark(), |seen| seen.source == B)?;
        expect_takeover_in_time(pair, hardware)
    })
}

/// Nothing here needs the lab.
#[test]
fn the_forgeries_are_those_that_were_captured() -> Result<()> {
    for (file, (_, change)) in [("t9a_depose_master", FORGERIES[0]), ("t9b_bowout_spoof", FORGERIES[1])] {
        let all = captured(file)?;
        let (forged, genuine): (Vec<&Advertisement>, Vec<&Advertisement>) =
            all.iter().partition(|it| it.source == FORGER);
        ensure!(!forged.is_empty(), "{file}: nobody attacks");
        for forged in forged {
            let original =
                genuine.iter().find(|it| it.counter() == forged.counter()).context("no original")?;
            let made = change(**original).with_source(FORGER).frame();
            let made = Advertisement::parse(&made).context("not a frame")?;
            ensure!(made == Advertisement { from: made.from, ..*forged }, "{made:x?} instead of {forged:x?}");
        }
    }
    let wrapped = captured("t9a_depose_master")?[0].with_source(Ipv6Addr::LOCALHOST);
    ensure!(Advertisement::parse(&wrapped.frame()) == Some(wrapped), "{wrapped:x?}");
    Ok(())
}

type Forgery = (&'static str, fn(Advertisement) -> Advertisement);

/// Runs a scenario on a new pair; one at a time, because they judge milliseconds.
fn scenario(label: &str, run: impl Fn(&Pair) -> Result<()>) -> Result<()> {
    static TURN: Mutex<()> = Mutex::new(());
    if !lab::available() {
        return Ok(());
    }
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    undisturbed(|| run(&Pair::new(label)?))
}

fn strict(advskew: u8) -> AgentConfig {
    AgentConfig { advskew, ..AgentConfig::strict() }
}

fn compat(advskew: u8) -> AgentConfig {
    AgentConfig { advskew, ..AgentConfig::default() }
}

/// Runs an attack, which returns how many frames it sent, and checks that both agents refused each of them as
/// not made just now by one of us, and that nothing changed.
fn expect_refused(agents: [&Agent; 2], attack: impl Fn() -> Result<u64>) -> Result<()> {
    let mut before = Vec::new();
    for agent in agents {
        before.push((
            agent.refused(&FRESHNESS)?,
            agent.mark(),
            agent.vhost()?["last_change"]["at_ns"].clone(),
        ));
    }
    let sent = attack()?;
    ensure!(sent > 0, "nothing was sent");
    for (agent, (refused, mark, last_change)) in agents.into_iter().zip(before) {
        let sum = |vhost: &Value| {
            FRESHNESS.iter().filter_map(|reason| vhost["refused"][*reason].as_u64()).sum::<u64>()
        };
        let counted =
            agent.until(Duration::from_secs(1), |vhost| Some(sum(vhost)).filter(|it| *it >= refused + sent));
        let counted = counted.with_context(|| format!("{sent} frames sent, {refused} refused before"))?;
        ensure!(counted == refused + sent, "{counted} refused, of {sent} sent after {refused}");
        ensure!(agent.changes(mark).is_empty(), "it changed: {:?}", agent.changes(mark));
        let vhost = agent.vhost()?;
        ensure!(vhost["last_change"]["at_ns"] == last_change, "it changed: {vhost:#}");
    }
    Ok(())
}

/// Begins an attack, and checks that one of the agents reports it within a second, by one of these names: in its
/// status and in its log.
fn expect_report<T>(agents: &[&Agent], names: &[&str], attack: impl FnOnce() -> Result<T>) -> Result<()> {
    let marks: Vec<_> = agents.iter().map(|agent| agent.mark()).collect();
    let _attack = attack()?;
    let began = Instant::now();
    loop {
        let mut found = Vec::new();
        for (agent, mark) in agents.iter().zip(&marks) {
            let vhost = agent.vhost()?;
            let suspicions = vhost["suspicions"].as_array().context("no suspicions in the status")?;
            let lines = agent.process.lines().split_off(*mark);
            let is_told = |name: &&str| {
                lines
                    .iter()
                    .any(|line| line.contains("WARN") && line.contains("suspicious") && line.contains(*name))
                    && suspicions.iter().any(|it| it["name"] == *name && it["count"].as_u64() > Some(0))
            };
            if names.iter().any(is_told) {
                return Ok(());
            }
            found.push(format!("{suspicions:?}; it said: {lines:#?}"));
        }
        ensure!(
            began.elapsed() < Duration::from_secs(1),
            "none of {names:?} is reported: {}",
            found.join("\n")
        );
        thread::sleep(EVERY);
    }
}

/// Checks that B followed A after `detect` intervals and its own skew. Only the hardware address tells A's frames
/// from those that bear its name.
fn expect_takeover_in_time(pair: &Pair, (a, b): ([u8; 6], [u8; 6])) -> Result<()> {
    let frames = pair.capture.frames(0);
    let of = |hardware| {
        move |frame: &&Captured| frame.hardware() == Some(hardware) && frame.advertisement().is_some()
    };
    let last = frames.iter().rfind(of(a)).context("A never advertised")?.at_ns;
    let first =
        frames.iter().filter(of(b)).find(|frame| frame.at_ns > last).context("B did not follow")?.at_ns;
    let gap = Duration::from_nanos(first - last);
    let expected = 3 * INTERVAL + SKEW;
    // Each advertisement is stamped twice, by the standby and by the witness.
    ensure!(gap + INTERVAL / 10 > expected, "{gap:?} is too early: {expected:?}");
    ensure!(gap < expected + TOLERANCE, "{gap:?} is too late: {expected:?}");
    Ok(())
}

/// The advertisements in a capture file of the classic kind, with Ethernet frames.
fn captured(file: &str) -> Result<Vec<Advertisement>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("data/{file}.pcap"));
    let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
    let mut rest = bytes.get(24..).context("no header")?;
    let mut found = Vec::new();
    while let Some((header, packets)) = rest.split_at_checked(16) {
        let length = u32::from_le_bytes(header[8..12].try_into()?);
        let (frame, others) = packets.split_at_checked(usize::try_from(length)?).context("cut off")?;
        found.extend(Advertisement::parse(frame));
        rest = others;
    }
    Ok(found)
}

/// What the digest does not cover, and the whole as it is.
const FORGERIES: [Forgery; 4] = [
    ("deposing", |recorded| recorded.with_priority(0, 0).with_demotion(0)),
    ("a false bow-out", |recorded| recorded.with_priority(255, 255)),
    ("a false demotion", |recorded| recorded.with_demotion(255)),
    ("a replay", |recorded| recorded),
];
/// Where forged frames come from: elsewhere; elsewhere, with an address that wins every tie and is legal; from the
/// master; from the standby.
const SOURCES: [Ipv4Addr; 4] = [ATTACKER, Ipv4Addr::UNSPECIFIED, A, B];
/// Who attacks in the captures.
const FORGER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 3);
/// Why a frame with a right digest is refused.
const FRESHNESS: [&str; 4] = ["replay", "stale", "rewritten", "looped"];

const EVERY: Duration = Duration::from_millis(5);
const INTERVAL: Duration = Duration::from_millis(10);
/// What `advskew` 100 adds at this interval.
const SKEW: Duration = Duration::from_nanos(10_000_000 * 100 / 256);
/// What a wake-up and a system call may take.
const TOLERANCE: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_secs(10);
