//! Networks that are no plain LAN: those that eat multicast, and those whose clients remember hardware addresses.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::capture::{Captured, now_ns};
use lab::frame::duplicate_detection;
use lab::pair::{A, A6, B, B6, VIRTUAL, VIRTUAL6};
use lab::pauses::undisturbed;
use lab::{Agent, AgentConfig, Capture, Client, Echo, Node, Pair};
use serde_json::Value;

#[test]
fn a_pair_takes_over_where_the_group_is_eaten() -> Result<()> {
    let table: [(&str, String, IpAddr, IpAddr); 2] = [
        ("uni-4", format!("{VIRTUAL}/24"), A.into(), B.into()),
        ("uni-6", format!("{VIRTUAL6}/64"), A6.into(), B6.into()),
    ];
    for (label, address, on_a, on_b) in table {
        scenario(label, |pair| {
            let config = |advskew, peer: IpAddr| AgentConfig {
                addresses: vec![address.clone()],
                unicast: vec![peer],
                advskew,
                ..AgentConfig::default()
            };
            for group in ["01:00:5e:00:00:12", "33:33:00:00:00:12"] {
                pair.lan.drop_frames(&format!("ether daddr {group}"))?;
            }
            // What one says to the other, the witness does not hear.
            let wire = Capture::on(pair.lan.netns(), "to-b")?;
            let mut a = Agent::start(&pair.a, &config(0, on_b))?;
            a.wait_for_state(0, "MASTER")?;
            let b = Agent::start(&pair.b, &config(100, on_a))?;
            b.wait_for_state(0, "BACKUP")?;
            b.until(PATIENCE, |vhost| (vhost["accepted"].as_u64() > Some(20)).then_some(()))?;
            ensure!(b.vhost()?["state"] == "BACKUP", "{:#}", b.vhost()?);

            let mark = b.mark();
            a.kill()?;
            b.wait_for_state(mark, "MASTER")?;
            ensure!(b.vhost()?["last_change"]["cause"] == "silence", "{:#}", b.vhost()?);
            wire.wait_for(0, PATIENCE, |frame| frame.advertisement().filter(|seen| seen.source == on_b))?;
            let seen = wire.advertisements(0);
            for seen in &seen {
                let peer = if seen.source == on_a { on_b } else { on_a };
                ensure!(seen.destination == peer && seen.ttl == 255, "{seen:?}");
            }
            let last = seen.iter().rfind(|seen| seen.source == on_a).context("A never advertised")?;
            let first = seen.iter().find(|seen| seen.source == on_b).context("B never advertised")?;
            let gap = Duration::from_nanos(first.at_ns.saturating_sub(last.at_ns));
            let expected = 3 * INTERVAL + SKEW;
            ensure!(gap + INTERVAL / 10 > expected, "{gap:?} is too early: {expected:?}");
            ensure!(gap < expected + TOLERANCE, "{gap:?} is too late: {expected:?}");

            a.restart(&pair.a)?;
            a.wait_for_state(0, "BACKUP")?;
            a.until(PATIENCE, |vhost| (vhost["accepted"].as_u64() > Some(20)).then_some(()))?;
            ensure!(a.vhost()?["state"] == "BACKUP", "{:#}", a.vhost()?);
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn a_peer_that_is_not_there_is_no_fault() -> Result<()> {
    scenario("nobody", |pair| {
        let config =
            |advskew, peer: IpAddr| AgentConfig { unicast: vec![peer], advskew, ..AgentConfig::default() };
        pair.lan.isolate(&pair.b)?;
        let a = Agent::start(&pair.a, &config(0, B.into()))?;
        a.wait_for_state(0, "MASTER")?;
        let mark = a.mark();
        // Longer than the kernel looks for a neighbour until it gives up.
        let until = now_ns() + 4_500_000_000;
        let attempts = |frame: &Captured| (frame.at_ns > until).then_some(());
        let _client = Client::start(&pair.witness.netns, VIRTUAL)?;
        pair.capture.wait_for(0, PATIENCE, attempts)?;
        let status = a.status()?;
        ensure!(
            status["vhosts"][0]["state"] == "MASTER" && status["vhosts"][0]["fault"].is_null(),
            "{status:#}"
        );
        ensure!(status["demotion"]["level"] == 0, "{status:#}");
        let lines = a.process.lines().split_off(mark);
        ensure!(!lines.iter().any(|line| line.contains("WARN") || line.contains("ERROR")), "{lines:#?}");

        // Once it is there, it is found.
        pair.lan.rejoin(&pair.b)?;
        let b = Agent::start(&pair.b, &config(100, A.into()))?;
        let heard = |vhost: &Value| {
            (vhost["accepted"].as_u64() > Some(20) && vhost["state"] == "BACKUP").then_some(())
        };
        b.until(PATIENCE, heard)?;
        ensure!(a.vhost()?["state"] == "MASTER", "{:#}", a.vhost()?);
        Ok(())
    })
}

#[test]
fn with_a_virtual_mac_clients_notice_no_takeover() -> Result<()> {
    scenario("mac", |pair| {
        let config = |advskew| AgentConfig {
            addresses: vec![format!("{VIRTUAL}/24"), format!("{VIRTUAL6}/64")],
            mac: Some("virtual".to_owned()),
            advskew,
            ..AgentConfig::default()
        };
        let echoes = [echoes(&pair.a)?, echoes(&pair.b)?];
        let (a, b) = pair.start(&config(0), &config(100))?;
        let _clients =
            [Client::start(&pair.witness.netns, VIRTUAL)?, Client::start(&pair.witness.netns, VIRTUAL6)?];
        let families = [IpAddr::from(VIRTUAL), VIRTUAL6.into()];
        for (address, echo) in families.into_iter().zip(&echoes[0]) {
            expect_answer(pair, address, echo)?;
            ensure!(neighbour(pair, address)? == VIRTUAL_MAC_TEXT, "{:?}", neighbour(pair, address)?);
        }
        let sender = sender(pair)?;
        ensure!(sender == VIRTUAL_MAC, "it advertises from {sender:x?}");

        let mark = b.mark();
        pair.lan.cut(&pair.a)?;
        b.wait_for_state(mark, "MASTER")?;
        for (address, echo) in families.into_iter().zip(&echoes[1]) {
            expect_answer(pair, address, echo).context("after the takeover")?;
            ensure!(neighbour(pair, address)? == VIRTUAL_MAC_TEXT, "{:?}", neighbour(pair, address)?);
        }
        // Whoever is back does not answer.
        let mark = a.mark();
        pair.lan.mend(&pair.a)?;
        a.wait_for_state(mark, "BACKUP")?;
        let seen = pair.next_advertisements(20)?;
        let other = seen.iter().find(|seen| ![B.into(), B6.into()].contains(&seen.source));
        ensure!(other.is_none(), "only B should advertise, but there is {other:?}");
        let before = echoes[0].each_ref().map(Echo::answered);
        for (address, echo) in families.into_iter().zip(&echoes[1]) {
            expect_answer(pair, address, echo)?;
            ensure!(!pair.a.has_address(address)?, "A still has {address}");
        }
        ensure!(echoes[0].each_ref().map(Echo::answered) == before, "A still answers");

        // Nothing that two nodes have the same of is looked for by either.
        let frames = pair.capture.frames(0);
        let asked: Vec<_> = frames.iter().filter_map(|frame| duplicate_detection(&frame.frame)).collect();
        ensure!(asked.is_empty(), "somebody looked for duplicates of {asked:?}");
        Ok(())
    })
}

#[test]
fn advertisements_can_come_from_the_other_hardware_address() -> Result<()> {
    for (label, mac, from, expected) in [
        ("from-nic", "virtual", "interface", None),
        ("from-virtual", "interface", "virtual", Some(VIRTUAL_MAC)),
    ] {
        scenario(label, |pair| {
            let config = |advskew| AgentConfig {
                mac: Some(mac.to_owned()),
                advertise_from: Some(from.to_owned()),
                advskew,
                ..AgentConfig::default()
            };
            let (mut a, b) = pair.start(&config(0), &config(100))?;
            let own = pair.a.hardware("eth0")?;
            let sender = sender(pair)?;
            ensure!(sender == expected.unwrap_or(own), "mac {mac}: it advertises from {sender:x?}");
            let announced = pair
                .capture
                .wait_for(0, PATIENCE, |frame| (frame.announces()? == VIRTUAL).then(|| frame.hardware()))?;
            let expected = if mac == "virtual" { VIRTUAL_MAC } else { own };
            ensure!(announced == Some(expected), "mac {mac}: it announces {announced:x?}");
            let mark = b.mark();
            a.kill()?;
            b.wait_for_state(mark, "MASTER")?;
            pair.only_master(B, 20)
        })?;
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

fn echoes(node: &Node) -> Result<[Echo; 2]> {
    Ok([Echo::start(&node.netns, VIRTUAL)?, Echo::start(&node.netns, VIRTUAL6)?])
}

/// Waits until the client is answered by a node. From which hardware address is the node's own business.
fn expect_answer(pair: &Pair, address: IpAddr, echo: &Echo) -> Result<()> {
    let before = echo.answered();
    let answered =
        |frame: &Captured| frame.answer().filter(|it| it.address == address && echo.answered() > before);
    let answer = pair.capture.wait_for(pair.capture.mark(), Duration::from_secs(2), answered);
    answer.with_context(|| format!("the client is not answered by {address}")).map(drop)
}

/// The hardware address that the client knows for an address.
fn neighbour(pair: &Pair, address: IpAddr) -> Result<String> {
    let known = pair.witness.netns.ip_json(&format!("neigh show {address}"))?;
    Ok(known.pointer("/0/lladdr").and_then(Value::as_str).context("the client knows none")?.to_owned())
}

/// The hardware address that A's next advertisement comes from.
fn sender(pair: &Pair) -> Result<[u8; 6]> {
    pair.capture.wait_for(pair.capture.mark(), PATIENCE, |frame| {
        frame.advertisement().filter(|seen| seen.source == A)?;
        frame.hardware()
    })
}

/// That of virtual host 10.
const VIRTUAL_MAC: [u8; 6] = [0, 0, 0x5e, 0, 1, 10];
const VIRTUAL_MAC_TEXT: &str = "00:00:5e:00:01:0a";
const INTERVAL: Duration = Duration::from_millis(10);
/// What `advskew` 100 adds at this interval.
const SKEW: Duration = Duration::from_nanos(10_000_000 * 100 / 256);
/// What a wake-up and a system call may take.
const TOLERANCE: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_secs(10);
