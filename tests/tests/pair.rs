//! Two agents: who is master, how the other one takes over, and what the wire sees of it.

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::capture::Captured;
use lab::pair::{A, B, VIRTUAL};
use lab::pauses::undisturbed;
use lab::refusal::Files;
use lab::{Agent, AgentConfig, Pair};
use nix::sys::signal::Signal;

#[test]
fn of_two_that_start_together_one_is_master() -> Result<()> {
    scenario("start", |pair| {
        let config = |advskew| AgentConfig { advskew, ..AgentConfig::default() };
        let a = Agent::launch(&pair.a, &config(0).toml("a"), "secret")?;
        let b = Agent::launch(&pair.b, &config(100).toml("b"), "secret")?;
        a.wait_for_state(0, "BACKUP")?;
        b.wait_for_state(0, "BACKUP")?;
        let master = pair.next_advertisements(50)?.last().context("no advertisement")?.source;
        pair.only_master(master, 50)?;
        let (on_a, on_b) = if master == A { ("MASTER", "BACKUP") } else { ("BACKUP", "MASTER") };
        expect(pair, &a, on_a, &b, on_b)
    })
}

#[test]
fn the_standby_takes_over_from_a_master_that_is_killed() -> Result<()> {
    scenario("kill", |pair| {
        let (mut a, b) = pair.start(&master(), &standby())?;
        let mark = b.mark();
        a.kill()?;
        b.wait_for_state(mark, "MASTER")?;
        expect_takeover_in_time(pair)?;
        let vhost = b.vhost()?;
        ensure!(vhost["last_change"]["cause"] == "silence", "{vhost}");
        ensure!(pair.b.has_address(VIRTUAL)?, "the new master has no address");
        pair.only_master(B, 50)
    })
}

#[test]
fn the_standby_takes_over_from_a_master_that_is_cut_off() -> Result<()> {
    scenario("cut", |pair| {
        let (a, b) = pair.start(&master(), &standby())?;
        let (on_a, on_b) = (a.mark(), b.mark());
        pair.lan.cut(&pair.a)?;
        a.wait_for_state(on_a, "INIT")?;
        b.wait_for_state(on_b, "MASTER")?;
        expect_takeover_in_time(pair)?;
        ensure!(a.vhost()?["last_change"]["cause"] == "link_down", "{}", a.vhost()?);
        expect(pair, &a, "INIT", &b, "MASTER")?;

        let on_a = a.mark();
        pair.lan.mend(&pair.a)?;
        a.wait_for_state(on_a, "BACKUP")?;
        pair.only_master(B, 50)?;
        expect(pair, &a, "BACKUP", &b, "MASTER")
    })
}

#[test]
fn a_master_that_leaves_says_so_and_the_standby_takes_over_at_once() -> Result<()> {
    for (label, signal) in [("term", Signal::SIGTERM), ("int", Signal::SIGINT)] {
        scenario(label, |pair| {
            let (mut a, b) = pair.start(&master(), &standby())?;
            let (mark, on_b) = (pair.capture.mark(), b.mark());
            a.process.signal(signal)?;
            let status = a.process.wait(PATIENCE)?;
            ensure!(status.success(), "{signal}: it ended with {status}");
            b.wait_for_state(on_b, "MASTER")?;
            pair.advertisement(mark, |seen| seen.source == B)?;

            let seen = pair.capture.advertisements(mark);
            let of_a: Vec<_> = seen.iter().filter(|seen| seen.source == A).collect();
            let goodbyes = of_a.iter().filter(|seen| seen.is_bow_out()).count();
            let goodbye = of_a.last().filter(|seen| seen.is_bow_out() && goodbyes == 1);
            let goodbye = goodbye.with_context(|| format!("one bow-out should come last: {of_a:?}"))?;
            let first = seen.iter().find(|seen| seen.source == B).context("B is silent")?;
            let wait = Duration::from_nanos(first.at_ns.saturating_sub(goodbye.at_ns));
            ensure!(first.at_ns > goodbye.at_ns, "B advertised before the bow-out");
            ensure!(wait < SKEW + TOLERANCE, "{wait:?} from the bow-out to the first advertisement");
            ensure!(b.vhost()?["last_change"]["cause"] == "bow_out", "{}", b.vhost()?);
            ensure!(!pair.a.has_address(VIRTUAL)?, "it left its address behind");
            ensure!(pair.b.has_address(VIRTUAL)?, "the new master has no address");
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn a_standby_that_leaves_says_nothing() -> Result<()> {
    scenario("quiet", |pair| {
        let (a, b) = pair.start(&master(), &standby())?;
        let (mark, on_a) = (pair.capture.mark(), a.mark());
        b.leave()?;
        pair.only_master(A, 20)?;
        let of_b = pair.capture.advertisements(mark).into_iter().find(|seen| seen.source == B);
        ensure!(of_b.is_none(), "it said {of_b:?}");
        ensure!(changes(&a, on_a).is_empty(), "the master changed: {:?}", changes(&a, on_a));
        Ok(())
    })
}

#[test]
fn a_better_node_that_returns_takes_the_role_back_only_with_preempt() -> Result<()> {
    for preempt in [true, false] {
        scenario(if preempt { "back" } else { "stay" }, |pair| {
            let (mut a, b) = pair.start(&AgentConfig { preempt, ..master() }, &standby())?;
            let mark = b.mark();
            a.kill()?;
            b.wait_for_state(mark, "MASTER")?;
            let (mark, returning) = (b.mark(), pair.capture.mark());
            a.restart(&pair.a)?;
            if preempt {
                a.wait_for_state(0, "MASTER")?;
                b.wait_for_state(mark, "BACKUP")?;
                ensure!(a.vhost()?["last_change"]["cause"] == "preempt", "{}", a.vhost()?);
                ensure!(b.vhost()?["last_change"]["cause"] == "superior", "{}", b.vhost()?);
                pair.only_master(A, 50)?;
                expect(pair, &a, "MASTER", &b, "BACKUP")
            } else {
                a.wait_for_state(0, "BACKUP")?;
                // It had left its address behind, and says that it is gone; worse than the master by the least.
                let word = pair.advertisement(returning, |seen| seen.source == A)?;
                ensure!((word.advbase, word.advskew) == (1, 101), "that does not lose: {word:?}");
                pair.only_master(B, 50)?;
                expect(pair, &a, "BACKUP", &b, "MASTER")
            }
        })?;
    }
    Ok(())
}

#[test]
fn of_two_equal_masters_the_lower_address_stays() -> Result<()> {
    scenario("tie", |pair| {
        let (a, b) = pair.start(&master(), &master())?;
        let (on_a, on_b) = (a.mark(), b.mark());
        pair.lan.isolate(&pair.b)?;
        b.wait_for_state(on_b, "MASTER")?;
        ensure!(a.vhost()?["state"] == "MASTER", "both sides of a partition have a master");

        let on_b = b.mark();
        pair.lan.rejoin(&pair.b)?;
        b.wait_for_state(on_b, "BACKUP")?;
        ensure!(b.vhost()?["last_change"]["cause"] == "tie", "{}", b.vhost()?);
        pair.only_master(A, 50)?;
        ensure!(changes(&a, on_a).is_empty(), "the winner changed: {:?}", changes(&a, on_a));
        expect(pair, &a, "MASTER", &b, "BACKUP")
    })
}

#[test]
fn the_master_announces_again_when_another_one_yields_to_it() -> Result<()> {
    patient_scenario("again", |pair| {
        let (_a, b) = pair.start(&master(), &standby())?;
        let on_b = b.mark();
        pair.lan.isolate(&pair.b)?;
        b.wait_for_state(on_b, "MASTER")?;
        // The announcements that belong to the start must be over.
        let first = pair.advertisement(0, |seen| seen.source == A)?;
        let end = first.at_ns + nanos(Duration::from_millis(3_100));
        pair.advertisement(0, |seen| seen.at_ns > end)?;

        let mark = pair.capture.mark();
        pair.lan.rejoin(&pair.b)?;
        b.wait_for_state(on_b, "BACKUP")?;
        // Neighbours that believed the loser must learn where the address is.
        let from_a = hardware(&pair.capture.frames(0), A)?;
        pair.capture
            .wait_for(mark, Duration::from_secs(1), |frame| {
                (frame.announces() == Some(VIRTUAL) && frame.frame.get(6..12) == Some(&from_a)).then_some(())
            })
            .context("the winner of a healed partition did not announce its address again")
    })
}

#[test]
fn an_address_that_a_killed_master_left_is_taken_off_when_it_starts_again() -> Result<()> {
    scenario("stale", |pair| {
        let (mut a, b) = pair.start(&master(), &standby())?;
        let mark = b.mark();
        a.kill()?;
        ensure!(pair.a.has_address(VIRTUAL)?, "a killed agent can't have taken its address off");
        b.wait_for_state(mark, "MASTER")?;
        let mark = pair.capture.mark();
        a.restart(&pair.a)?;
        a.wait_for_state(0, "BACKUP")?;
        // And who believed it learns where the address is.
        let of_b = hardware(&pair.capture.frames(0), B)?;
        pair.capture.wait_for(mark, Duration::from_secs(1), |frame| {
            (frame.announces() == Some(VIRTUAL) && frame.hardware() == Some(of_b)).then_some(())
        })?;
        expect(pair, &a, "BACKUP", &b, "MASTER")
    })
}

#[test]
fn a_new_master_announces_its_address_several_times() -> Result<()> {
    patient_scenario("arp", |pair| {
        let _a = Agent::start(&pair.a, &master())?;
        let first = pair.advertisement(0, |seen| seen.source == A)?;
        let end = first.at_ns + nanos(Duration::from_millis(3_500));
        pair.advertisement(0, |seen| seen.at_ns > end)?;

        let hardware = hardware(&pair.capture.frames(0), A)?;
        let announcements = pair.announcements(0, VIRTUAL);
        let mut missing = ANNOUNCED.to_vec();
        for Captured { at_ns, frame } in &announcements {
            let after = Duration::from_nanos(at_ns.saturating_sub(first.at_ns));
            let due = ANNOUNCED.iter().find(|due| after.abs_diff(**due) < Duration::from_millis(50));
            let due = due.with_context(|| format!("an announcement after {after:?}"))?;
            missing.retain(|other| other != due);
            ensure!(frame[..6] == [0xff; 6], "it is no broadcast: {frame:x?}");
            ensure!(frame[6..12] == hardware && frame[22..28] == hardware, "whose is it: {frame:x?}");
        }
        ensure!(missing.is_empty(), "no announcement after {missing:?}, of {}", announcements.len());
        Ok(())
    })
}

#[test]
fn two_virtual_hosts_on_one_interface_have_masters_of_their_own() -> Result<()> {
    scenario("two", |pair| {
        let toml = |node: &str, first: u8, second: u8| {
            let config = AgentConfig { advskew: first, preempt: true, ..AgentConfig::default() };
            let other = format!(
                "[[vhost]]\nname = \"web\"\ninterface = \"eth0\"\nvhid = 11\naddresses = [\"{OTHER}/24\"]\n\
                 advskew = {second}\npreempt = true\ninterval = \"10ms\"\ndetect = 3\n"
            );
            config.toml(node) + &other
        };
        let mut a = Agent::launch(&pair.a, &toml("a", 0, 100), "secret")?;
        a.process.wait_for_line(0, "running", PATIENCE)?;
        pair.advertisement(0, |seen| seen.source == A && seen.vhid == 11)?;
        let b = Agent::launch(&pair.b, &toml("b", 100, 0), "secret")?;
        b.wait_for_state(0, "MASTER")?;
        // Until A has heard it: it advertised once or twice more.
        let mark = a.mark();
        if changes(&a, 0).iter().all(|line| !line.contains("MASTER -> BACKUP")) {
            a.wait_for_state(mark, "BACKUP")?;
        }
        // And until it has had its last word.
        pair.next_advertisements(4)?;

        let seen = pair.next_advertisements(100)?;
        let wrong = seen.iter().find(|seen| seen.source != if seen.vhid == 10 { A } else { B });
        ensure!(wrong.is_none(), "the other node is master: {wrong:?}");
        for (node, virtual_address, expected) in [
            (&pair.a, VIRTUAL, true),
            (&pair.a, OTHER, false),
            (&pair.b, VIRTUAL, false),
            (&pair.b, OTHER, true),
        ] {
            let found = node.has_address(virtual_address)?;
            ensure!(found == expected, "{virtual_address} on {}: {found}", node.name);
        }

        let mark = b.mark();
        a.kill()?;
        b.wait_for_state(mark, "MASTER")?;
        ensure!(pair.b.has_address(VIRTUAL)? && pair.b.has_address(OTHER)?, "B should have both");
        Ok(())
    })
}

#[test]
fn an_address_that_somebody_takes_off_the_master_is_put_on_again() -> Result<()> {
    scenario("off", |pair| {
        let (a, _b) = pair.start(&master(), &standby())?;
        let (line, mark) = (a.mark(), pair.capture.mark());
        pair.a.netns.ip(&format!("address del {VIRTUAL}/24 dev eth0"))?;
        a.process.wait_for_line(line, "put on again", PATIENCE)?;
        ensure!(pair.a.has_address(VIRTUAL)?, "it is not there");
        pair.capture.wait_for(mark, PATIENCE, |frame| frame.announces().filter(|it| *it == VIRTUAL))?;
        pair.only_master(A, 20)?;
        ensure!(a.vhost()?["fault"].is_null(), "{:#}", a.vhost()?);
        Ok(())
    })
}

#[test]
fn an_agent_whose_log_cannot_be_written_works_all_the_same() -> Result<()> {
    scenario("mute", |pair| {
        let files = Files::new()?;
        let agent = files.run()?;
        let mut mute = Command::new("sh");
        mute.args(["-c", "exec \"$@\" 2>/dev/full", "sh"]).arg(agent.get_program()).args(agent.get_args());
        let mut mute = pair.a.netns.spawn(&mute)?;
        pair.advertisement(0, |seen| seen.source == A).context("it does not start")?;

        // A change that it would log: from MASTER to INIT and back.
        pair.lan.cut(&pair.a)?;
        let mark = pair.capture.mark();
        pair.lan.mend(&pair.a)?;
        pair.advertisement(mark, |seen| seen.source == A).context("it did not come back")?;

        let mark = pair.capture.mark();
        mute.signal(Signal::SIGTERM)?;
        let status = mute.wait(PATIENCE)?;
        ensure!(status.success(), "it ended with {status}");
        pair.advertisement(mark, |seen| seen.source == A && seen.is_bow_out())?;
        ensure!(!pair.a.has_address(VIRTUAL)?, "it left its address behind");
        Ok(())
    })
}

#[test]
fn at_the_classic_pace_a_failover_takes_three_seconds() -> Result<()> {
    patient_scenario("classic", |pair| {
        let classic = |config| AgentConfig { interval: None, detect: None, ..config };
        let (mut a, b) = pair.start(&classic(master()), &classic(standby()))?;
        let mark = b.mark();
        a.kill()?;
        b.wait_for_state(mark, "MASTER")?;
        let gap = pair.gap(A, B)?;
        // 3 · advbase + 100/256 s.
        let expected = Duration::from_micros(3_390_625);
        ensure!(gap.abs_diff(expected) < Duration::from_millis(50), "{gap:?} instead of {expected:?}");
        Ok(())
    })
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

/// Runs a scenario that mostly waits, and judges no more than tenths of a second: beside others.
fn patient_scenario(label: &str, run: impl Fn(&Pair) -> Result<()>) -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    undisturbed(|| run(&Pair::new(label)?))
}

fn master() -> AgentConfig {
    AgentConfig::default()
}

fn standby() -> AgentConfig {
    AgentConfig { advskew: 100, ..AgentConfig::default() }
}

/// Checks the states, and that the address is where the master is and nowhere else.
fn expect(pair: &Pair, a: &Agent, on_a: &str, b: &Agent, on_b: &str) -> Result<()> {
    for (node, agent, expected) in [(&pair.a, a, on_a), (&pair.b, b, on_b)] {
        let vhost = agent.vhost()?;
        ensure!(vhost["state"] == expected, "{} should be {expected}: {vhost:#}", node.name);
        let has_address = node.has_address(VIRTUAL)?;
        ensure!(has_address == (expected == "MASTER"), "{expected}, address on {}: {has_address}", node.name);
    }
    Ok(())
}

/// Checks that B followed A after `detect` intervals and its own skew.
fn expect_takeover_in_time(pair: &Pair) -> Result<()> {
    let gap = pair.gap(A, B)?;
    let expected = 3 * INTERVAL + SKEW;
    // Each advertisement is stamped twice, by the standby and by the witness.
    ensure!(gap + INTERVAL / 10 > expected, "{gap:?} is too early: {expected:?}");
    ensure!(gap < expected + TOLERANCE, "{gap:?} is too late: {expected:?}");
    Ok(())
}

/// The changes of state that an agent has printed.
fn changes(agent: &Agent, from: usize) -> Vec<String> {
    let lines = agent.process.lines();
    lines.into_iter().skip(from).filter(|line| line.contains(" -> ")).collect()
}

/// The hardware address that a node's advertisements come from.
fn hardware(frames: &[Captured], source: Ipv4Addr) -> Result<[u8; 6]> {
    let mut of_source =
        frames.iter().filter(|frame| frame.advertisement().is_some_and(|seen| seen.source == source));
    let frame = &of_source.next().with_context(|| format!("{source} never advertised"))?.frame;
    frame.get(6..12).and_then(|bytes| bytes.try_into().ok()).context("a frame without addresses")
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

const INTERVAL: Duration = Duration::from_millis(10);
/// What `advskew` 100 adds at this interval.
const SKEW: Duration = Duration::from_nanos(10_000_000 * 100 / 256);
/// What a wake-up and a system call may take.
const TOLERANCE: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_secs(10);
/// When a new master announces its addresses, from its first advertisement on.
const ANNOUNCED: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(100), Duration::from_secs(1), Duration::from_secs(3)];
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 101);
