//! What the other tests take for granted of the lab itself.

use std::net::IpAddr;
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use lab::capture::Captured;
use lab::frame::{Advertisement, GROUP, GROUP6, duplicate_detection};
use lab::pair::{VIRTUAL, VIRTUAL6};
use lab::pauses::{Pause, together};
use lab::{Attacker, Client, Clock, Echo, Pair, Spread};

#[test]
fn a_client_is_answered_in_both_families_until_the_bridge_drops_it() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let pair = Pair::new("answer")?;
    let hardware = pair.a.hardware("eth0")?;
    for (address, prefix, ethertype) in
        [(IpAddr::from(VIRTUAL), 24, "ip"), (IpAddr::from(VIRTUAL6), 64, "ip6")]
    {
        ensure!(!pair.a.has_address(address)?, "{address} is there already");
        pair.a.netns.ip(&format!("address add {address}/{prefix} dev eth0 nodad"))?;
        ensure!(pair.a.has_address(address)?, "{address} is not there");
        let echo = Echo::start(&pair.a.netns, address)?;
        let client = Client::start(&pair.witness.netns, address)?;
        let answered = |frame: &Captured| frame.answer().filter(|it| it.address == address);
        let answer = pair.capture.wait_for(0, PATIENCE, answered)?;
        ensure!(answer.hardware == hardware, "{answer:x?}");

        pair.lan.drop_frames(&format!("iifname to-witness oifname to-a ether type {ethertype}"))?;
        let last = pair.capture.mark();
        ensure!(
            pair.capture.wait_for(last, PATIENCE / 20, answered).is_err() || {
                // One may have been under way.
                let last = pair.capture.mark();
                pair.capture.wait_for(last, PATIENCE / 20, answered).is_err()
            }
        );
        let before = (echo.answered(), client.answers().len());
        pair.lan.drop_nothing()?;
        pair.capture.wait_for(pair.capture.mark(), PATIENCE, answered)?;
        ensure!(echo.answered() > before.0, "nobody answered");
        ensure!(client.longest_gap(0, u64::MAX).is_some_and(|(from, to)| to - from > 100_000_000));
    }
    let asked: Vec<_> =
        pair.capture.frames(0).iter().filter_map(|it| duplicate_detection(&it.frame)).collect();
    ensure!(asked.is_empty(), "the lab's own addresses are looked for: {asked:?}");
    Ok(())
}

#[test]
fn an_attackers_frames_arrive_as_they_were_made() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let pair = Pair::new("frames")?;
    let attacker = Attacker::new(&pair.lan)?;
    let mut carp = [0x5a; 36];
    carp[..6].copy_from_slice(&[0x21, 10, 3, 7, 2, 1]);
    for source in [IpAddr::from(attacker.node.address), attacker.node.link_local.into()] {
        let made = Advertisement { to: [0; 6], from: [0; 6], source, destination: source, ttl: 255, carp };
        let made = made.with_source(source);
        let mark = pair.capture.mark();
        attacker.send(&made.with_priority(1, 77).with_demotion(9))?;
        let seen = pair.capture.wait_for(mark, PATIENCE, Captured::advertisement)?;
        ensure!(seen.source == source && seen.ttl == 255, "{seen:?}");
        ensure!([GROUP.into(), GROUP6.into()].contains(&seen.destination), "{seen:?}");
        ensure!((seen.vhid, seen.advbase, seen.advskew, seen.demotion) == (10, 1, 77, 9), "{seen:?}");
        let barrage = attacker.repeat(&made, Duration::from_millis(1))?;
        for _ in 0..3 {
            let mark = pair.capture.mark();
            pair.capture.wait_for(mark, PATIENCE, Captured::advertisement).context("it stopped")?;
        }
        ensure!(barrage.stop() >= 3);
    }
    Ok(())
}

#[test]
fn neighbours_are_announced_as_the_kernel_does_it() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let pair = Pair::new("kernel")?;
    let hardware = pair.a.hardware("eth0")?;
    // It announces an address to all nodes after it has looked for duplicates.
    pair.a.netns.run(|| std::fs::write("/proc/sys/net/ipv6/conf/eth0/ndisc_notify", "1"))??;
    pair.a.netns.ip(&format!("address add {VIRTUAL6}/64 dev eth0"))?;
    let asked = pair.capture.wait_for(0, PATIENCE, |frame| duplicate_detection(&frame.frame))?;
    ensure!(asked == VIRTUAL6, "{asked}");
    let neighbour =
        pair.capture.wait_for(0, PATIENCE, |frame| frame.neighbour().filter(|it| it.target == VIRTUAL6));
    let neighbour = neighbour.context("no neighbour advertisement")?;
    ensure!(neighbour.hardware == hardware && neighbour.is_override, "{neighbour:x?}");
    Ok(())
}

#[test]
fn a_clock_of_its_own_can_be_stepped() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let clock = Clock::new()?;
    let ahead = || -> Result<f64> {
        let output = Command::new("date").arg("+%s.%N").envs(clock.environment()).output()?;
        let shown: f64 = String::from_utf8(output.stdout)?.trim().parse()?;
        Ok(shown - SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs_f64())
    };
    for (step, expected) in [(0, 0.0), (3_600_000, 3600.0), (-1_500, -1.5), (-700, -0.7)] {
        clock.set(step)?;
        let ahead = ahead()?;
        ensure!((ahead - expected).abs() < 0.1, "{ahead} s ahead instead of {expected}");
    }
    Ok(())
}

#[test]
fn processors_pause_together_only_where_all_of_them_do() {
    let pause = |processor, due_ns, late| Pause { processor, due_ns, late: Duration::from_nanos(late) };
    let table = [
        (vec![], 2, vec![]),
        (vec![pause(0, 10, 5)], 1, vec![(10, 15)]),
        (vec![pause(0, 10, 5)], 2, vec![]),
        (vec![pause(0, 10, 5), pause(1, 12, 9)], 2, vec![(12, 15)]),
        (vec![pause(1, 12, 9), pause(0, 10, 4), pause(0, 20, 9)], 2, vec![(12, 14), (20, 21)]),
        (vec![pause(0, 10, 5), pause(1, 15, 5), pause(2, 10, 10)], 3, vec![]),
    ];
    for (found, processors, expected) in table {
        assert_eq!(together(&found, processors), expected, "{found:?} of {processors}");
    }
}

#[test]
fn a_spread_takes_the_least_figure_that_a_share_does_not_exceed() {
    let table: [(&[f64], [Option<f64>; 5]); 3] = [
        (&[], [None; 5]),
        (&[3.0], [Some(3.0); 5]),
        (&[4.0, 1.0, 2.0], [Some(1.0), Some(2.0), Some(4.0), Some(4.0), Some(4.0)]),
    ];
    for (figures, [min, p50, p99, p999, max]) in table {
        let expected = Spread { min, p50, p99, p999, max };
        assert_eq!(Spread::of(figures.iter().copied()), expected, "{figures:?}");
    }
    let many = Spread::of((1..=2000).map(f64::from));
    let [min, p50, p99, p999, max] = [1.0, 1000.0, 1980.0, 1998.0, 2000.0].map(Some);
    assert_eq!(many, Spread { min, p50, p99, p999, max });
}

const PATIENCE: Duration = Duration::from_secs(10);
