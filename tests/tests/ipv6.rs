//! Virtual hosts with IPv6 addresses, alone and beside IPv4 ones.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::capture::now_ns;
use lab::frame::{GROUP, GROUP6, duplicate_detection};
use lab::pair::{A, A6, B, B6, VIRTUAL, VIRTUAL6};
use lab::pauses::undisturbed;
use lab::{Agent, AgentConfig, Capture, Captured, Client, Echo, Node, Pair};
use nix::sys::signal::Signal;

#[test]
fn the_standby_takes_over_from_a_master_that_is_killed() -> Result<()> {
    for (label, addresses) in FAMILIES {
        scenario(label, |pair| {
            let (mut a, b) = pair.start(&config(0, addresses), &config(100, addresses))?;
            let mark = b.mark();
            a.kill()?;
            b.wait_for_state(mark, "MASTER")?;
            expect_takeover(pair, addresses)?;
            ensure!(b.vhost()?["last_change"]["cause"] == "silence", "{:#}", b.vhost()?);
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn the_standby_takes_over_from_a_master_that_is_cut_off() -> Result<()> {
    for (label, addresses) in FAMILIES {
        scenario(label, |pair| {
            let (a, b) = pair.start(&config(0, addresses), &config(100, addresses))?;
            let (on_a, on_b) = (a.mark(), b.mark());
            pair.lan.cut(&pair.a)?;
            a.wait_for_state(on_a, "INIT")?;
            b.wait_for_state(on_b, "MASTER")?;
            expect_takeover(pair, addresses)?;
            let on_a = a.mark();
            pair.lan.mend(&pair.a)?;
            a.wait_for_state(on_a, "BACKUP")?;
            for source in sources(addresses, B, B6) {
                pair.advertisement(pair.capture.mark(), |seen| seen.source == source)?;
            }
            expect(&pair.a, &a, "BACKUP", addresses)?;
            expect(&pair.b, &b, "MASTER", addresses)
        })?;
    }
    Ok(())
}

#[test]
fn a_master_that_leaves_says_so_in_each_family() -> Result<()> {
    for (label, addresses) in FAMILIES {
        scenario(label, |pair| {
            let (mut a, b) = pair.start(&config(0, addresses), &config(100, addresses))?;
            let (mark, on_b) = (pair.capture.mark(), b.mark());
            a.process.signal(Signal::SIGTERM)?;
            let status = a.process.wait(PATIENCE)?;
            ensure!(status.success(), "it ended with {status}");
            b.wait_for_state(on_b, "MASTER")?;
            ensure!(b.vhost()?["last_change"]["cause"] == "bow_out", "{:#}", b.vhost()?);
            let (own, others) = (sources(addresses, A, A6), sources(addresses, B, B6));
            for source in others {
                pair.advertisement(mark, |seen| seen.source == source)?;
            }
            let seen = pair.capture.advertisements(mark);
            for source in own {
                let of_a: Vec<_> = seen.iter().filter(|seen| seen.source == source).collect();
                ensure!(
                    of_a.last().is_some_and(|seen| seen.is_bow_out()),
                    "no bow-out from {source}: {of_a:?}"
                );
            }
            expect(&pair.b, &b, "MASTER", addresses)?;
            for address in addresses {
                ensure!(!pair.a.has_address(host(address)?)?, "it left {address} behind");
            }
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn the_address_works_at_once_and_is_announced() -> Result<()> {
    scenario("announce", |pair| {
        let addresses = FAMILIES[0].1;
        // Before anything runs: whatever the nodes say is heard here.
        let mark = pair.capture.mark();
        let _echoes = [Echo::start(&pair.a.netns, VIRTUAL6)?, Echo::start(&pair.b.netns, VIRTUAL6)?];
        let (mut a, b) = pair.start(&config(0, addresses), &config(100, addresses))?;
        let (on_a, on_b) = (pair.a.hardware("eth0")?, pair.b.hardware("eth0")?);
        let _client = Client::start(&pair.witness.netns, VIRTUAL6)?;
        expect_answer(&pair.capture, on_a)?;

        let on_agent = b.mark();
        let moved = pair.capture.mark();
        a.kill()?;
        pair.lan.cut(&pair.a)?;
        b.wait_for_state(on_agent, "MASTER")?;
        let announced = pair.capture.wait_for(moved, PATIENCE, |frame| {
            frame.neighbour().filter(|it| it.target == VIRTUAL6).map(|it| (it, frame.hardware()))
        });
        let (neighbour, sender) = announced.context("no unsolicited neighbour advertisement")?;
        ensure!(neighbour.is_override, "it does not replace what is known: {neighbour:?}");
        ensure!(neighbour.hardware == on_b && sender == Some(on_b), "whose is it? {neighbour:x?}");
        expect_answer(&pair.capture, on_b)?;

        let asked: Vec<_> =
            pair.capture.frames(mark).iter().filter_map(|frame| duplicate_detection(&frame.frame)).collect();
        ensure!(asked.is_empty(), "somebody looked for duplicates of {asked:?}");
        let found = pair.b.address(VIRTUAL6)?.context("the new master has no address")?;
        for flag in ["tentative", "dadfailed"] {
            ensure!(found[flag].is_null(), "{found}");
        }
        ensure!(found["prefixlen"] == 64, "{found}");
        Ok(())
    })
}

#[test]
fn addresses_are_announced_on_a_period_if_asked() -> Result<()> {
    patient_scenario("period", |pair| {
        let addresses = FAMILIES[1].1;
        let a = Agent::start(
            &pair.a,
            &AgentConfig { announce_every: Some("1s".to_owned()), ..config(0, addresses) },
        )?;
        a.wait_for_state(0, "MASTER")?;
        // Later than the announcements that belong to the start.
        let first = pair.advertisement(0, |seen| seen.source == A)?.at_ns;
        pair.advertisement(0, |seen| seen.at_ns > first + 3_500_000_000)?;
        let (mark, from) = (pair.capture.mark(), now_ns());
        pair.advertisement(mark, |seen| seen.at_ns > from + 2_500_000_000)?;
        let frames = pair.capture.frames(mark);
        let by_arp = frames.iter().filter(|frame| frame.announces() == Some(VIRTUAL)).count();
        let neighbours = frames.iter().filter_map(Captured::neighbour);
        let by_neighbour = neighbours.filter(|it| it.target == VIRTUAL6 && it.is_override).count();
        ensure!((2..=3).contains(&by_arp), "{by_arp} gratuitous ARPs in 2.5 s");
        ensure!((2..=3).contains(&by_neighbour), "{by_neighbour} neighbour advertisements in 2.5 s");
        Ok(())
    })
}

#[test]
fn a_link_local_address_can_be_virtual() -> Result<()> {
    scenario("local", |pair| {
        let addresses: &[&str] = &["fe80::100/64", "2001:db8:77::100/64"];
        let (mut a, b) = pair.start(&config(0, addresses), &config(100, addresses))?;
        let mark = b.mark();
        a.kill()?;
        b.wait_for_state(mark, "MASTER")?;
        // It is not what advertisements come from.
        expect_takeover(pair, addresses)?;
        expect(&pair.b, &b, "MASTER", addresses)
    })
}

#[test]
fn advertisements_are_as_others_send_them() -> Result<()> {
    scenario("wire", |pair| {
        let addresses = FAMILIES[1].1;
        let _running = pair.start(&config(7, addresses), &config(100, addresses))?;
        for (source, group) in [(IpAddr::from(A), IpAddr::from(GROUP)), (A6.into(), GROUP6.into())] {
            let seen = pair.advertisement(pair.capture.mark(), |seen| seen.source == source)?;
            ensure!(seen.destination == group && seen.ttl == 255, "{seen:?}");
            ensure!((seen.vhid, seen.advbase, seen.advskew, seen.demotion) == (10, 1, 7, 0), "{seen:?}");
        }
        Ok(())
    })
}

#[test]
fn either_family_keeps_the_master_unless_both_are_asked_for() -> Result<()> {
    let addresses = FAMILIES[1].1;
    for (label, lost) in [("lose-4", "ether type ip"), ("lose-6", "ether type ip6")] {
        for families in ["either", "both"] {
            scenario(&format!("{label}-{families}"), |pair| {
                let with = |advskew| AgentConfig {
                    families: Some(families.to_owned()),
                    ..config(advskew, addresses)
                };
                let (a, b) = pair.start(&with(0), &with(100))?;
                for source in [IpAddr::from(A), A6.into()] {
                    pair.advertisement(pair.capture.mark(), |seen| seen.source == source)?;
                }
                let (on_a, on_b) = (a.mark(), b.mark());
                pair.lan.drop_frames(&format!("iifname to-a oifname to-b {lost}"))?;
                if families == "both" {
                    return b.wait_for_state(on_b, "MASTER").map(drop);
                }
                // Ten times what it would wait for a master that is dead.
                let until = now_ns() + nanos(10 * DEAD);
                pair.advertisement(0, |seen| seen.at_ns > until)?;
                ensure!(b.changes(on_b).is_empty(), "{:?}", b.changes(on_b));
                ensure!(a.changes(on_a).is_empty(), "{:?}", a.changes(on_a));

                // And the other family as well: then it is dead.
                pair.lan.drop_frames("iifname to-a oifname to-b")?;
                b.wait_for_state(on_b, "MASTER").map(drop)
            })?;
        }
    }
    Ok(())
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

fn config(advskew: u8, addresses: &[&str]) -> AgentConfig {
    let addresses = addresses.iter().map(|&address| address.to_owned()).collect();
    AgentConfig { advskew, addresses, ..AgentConfig::default() }
}

/// What a node's advertisements come from, in the families of these addresses.
fn sources(addresses: &[&str], v4: impl Into<IpAddr>, v6: impl Into<IpAddr>) -> Vec<IpAddr> {
    let mut sources = vec![v6.into()];
    if addresses.iter().any(|address| !address.contains(':')) {
        sources.push(v4.into());
    }
    sources
}

fn host(address: &str) -> Result<IpAddr> {
    Ok(address.split('/').next().unwrap_or_default().parse()?)
}

/// Checks the state, and that the addresses are there or not, as it says, and can be used.
fn expect(node: &Node, agent: &Agent, state: &str, addresses: &[&str]) -> Result<()> {
    let vhost = agent.vhost()?;
    ensure!(vhost["state"] == state, "{} should be {state}: {vhost:#}", node.name);
    for address in addresses {
        let found = node.address(host(address)?)?;
        ensure!(found.is_some() == (state == "MASTER"), "{state}, {address} on {}: {found:?}", node.name);
        ensure!(
            found.is_none_or(|found| found["tentative"].is_null()),
            "{address} on {} can't be used",
            node.name
        );
    }
    Ok(())
}

/// Checks that B followed A in each family after `detect` intervals and its own skew, and has the addresses.
fn expect_takeover(pair: &Pair, addresses: &[&str]) -> Result<()> {
    for to in sources(addresses, B, B6) {
        pair.advertisement(0, |seen| seen.source == to)?;
        // Either family keeps the master, and it may have ended between the two.
        let gaps = sources(addresses, A, A6).into_iter().map(|from| pair.gap(from, to));
        let gap = gaps.collect::<Result<Vec<_>>>()?.into_iter().min().unwrap_or_default();
        let expected = DEAD + SKEW;
        // Each advertisement is stamped twice, by the standby and by the witness; the last one may be of the other
        // family.
        ensure!(gap + INTERVAL / 10 > expected, "{to} after {gap:?} is too early: {expected:?}");
        ensure!(gap < expected + TOLERANCE, "{to} after {gap:?} is too late: {expected:?}");
    }
    for address in addresses {
        let found = pair.b.address(host(address)?)?;
        let found = found.with_context(|| format!("the new master does not have {address}"))?;
        ensure!(found["tentative"].is_null(), "{found}");
    }
    Ok(())
}

/// Waits until the client is answered from a hardware address.
fn expect_answer(capture: &Capture, hardware: [u8; 6]) -> Result<()> {
    let answered =
        |frame: &Captured| frame.answer().filter(|it| it.hardware == hardware && it.address == VIRTUAL6);
    capture
        .wait_for(capture.mark(), Duration::from_secs(2), answered)
        .context("the client is not answered")
        .map(drop)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// IPv6 alone, and both families.
const FAMILIES: [(&str, &[&str]); 2] =
    [("six", &["2001:db8:77::100/64"]), ("dual", &["10.77.0.100/24", "2001:db8:77::100/64"])];
const INTERVAL: Duration = Duration::from_millis(10);
/// Three intervals.
const DEAD: Duration = Duration::from_millis(30);
/// What `advskew` 100 adds at this interval.
const SKEW: Duration = Duration::from_nanos(10_000_000 * 100 / 256);
/// What a wake-up and a system call may take.
const TOLERANCE: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_secs(10);
