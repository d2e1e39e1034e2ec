//! Interfaces that go and come back under a running agent.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::capture::now_ns;
use lab::pair::{A, B, VIRTUAL};
use lab::pauses::undisturbed;
use lab::{Agent, AgentConfig, Node, Pair};

#[test]
fn an_interface_that_is_deleted_and_made_again_is_served_again() -> Result<()> {
    scenario("gone", |pair| {
        let (mut a, b) = pair.start(&config(0), &config(100))?;
        // The backup's first: the master goes on.
        lose(&pair.b, &b, |node| node.netns.ip("link del eth0"))?;
        ensure!(b.vhost()?["receive"].is_null(), "it can't receive: {:#}", b.vhost()?);
        let mark = b.mark();
        pair.lan.cable(&pair.b)?;
        b.wait_for_state(mark, "BACKUP")?;
        pair.only_master(A, 20)?;
        expect(&pair.b, &b, "BACKUP")?;
        ensure!(b.vhost()?["receive"].is_string(), "it should receive: {:#}", b.vhost()?);

        // Then the master's.
        let mark = b.mark();
        lose(&pair.a, &a, |node| node.netns.ip("link del eth0"))?;
        b.wait_for_state(mark, "MASTER")?;
        let mark = a.mark();
        pair.lan.cable(&pair.a)?;
        a.wait_for_state(mark, "BACKUP")?;
        pair.only_master(B, 20)?;
        expect(&pair.a, &a, "BACKUP")?;

        // What came back does what it did before: hear silence, take the address, advertise.
        drop(b);
        a.wait_for_state(mark, "MASTER")?;
        pair.only_master(A, 20)?;
        expect(&pair.a, &a, "MASTER")?;
        a.kill()
    })
}

#[test]
fn a_node_whose_interface_does_not_work_is_in_init() -> Result<()> {
    let faults: [(&str, Change, Change); 2] = [
        ("carrier", |pair, node| pair.lan.cut(node), |pair, node| pair.lan.mend(node)),
        ("down", |_, node| node.netns.ip("link set eth0 down"), |_, node| node.netns.ip("link set eth0 up")),
    ];
    for (label, fault, repair) in faults {
        scenario(label, |pair| {
            let (a, b) = pair.start(&config(0), &config(100))?;
            lose(&pair.b, &b, |node| fault(pair, node))?;
            let mark = b.mark();
            repair(pair, &pair.b)?;
            b.wait_for_state(mark, "BACKUP")?;
            pair.only_master(A, 20)?;

            let mark = b.mark();
            lose(&pair.a, &a, |node| fault(pair, node))?;
            b.wait_for_state(mark, "MASTER")?;
            let mark = a.mark();
            repair(pair, &pair.a)?;
            a.wait_for_state(mark, "BACKUP")?;
            pair.only_master(B, 20)?;
            expect(&pair.a, &a, "BACKUP")?;
            expect(&pair.b, &b, "MASTER")
        })?;
    }
    Ok(())
}

#[test]
fn an_interface_that_is_renamed_and_named_again_is_served_again() -> Result<()> {
    scenario("name", |pair| {
        let (a, mut b) = pair.start(&config(0), &config(100))?;
        let rename = |from: &str, to: &str| {
            pair.a.netns.ip(&format!("link set {from} down"))?;
            pair.a.netns.ip(&format!("link set {from} name {to}"))?;
            pair.a.netns.ip(&format!("link set {to} up"))
        };
        // It was down in between. By its new name it is either another interface, or still the same.
        let mark = b.mark();
        rename("eth0", "lan0")?;
        b.wait_for_state(mark, "MASTER")?;
        pair.only_master(B, 20)?;
        ensure!(a.vhost()?["state"] != "MASTER", "{:#}", a.vhost()?);
        ensure!(!pair.a.has_address(VIRTUAL)?, "it has the address by its new name");
        rename("lan0", "eth0")?;
        a.until(PATIENCE, |vhost| {
            (vhost["state"] == "BACKUP" && vhost["receive"].is_string()).then_some(())
        })?;
        pair.only_master(B, 20)?;
        expect(&pair.a, &a, "BACKUP")?;

        // What came back does what it did before.
        let mark = a.mark();
        b.kill()?;
        a.wait_for_state(mark, "MASTER")?;
        pair.only_master(A, 20)?;
        expect(&pair.a, &a, "MASTER")
    })
}

#[test]
fn a_link_that_is_lost_is_told_at_once() -> Result<()> {
    scenario("told", |pair| {
        let (a, _b) = pair.start(&config(0), &config(100))?;
        let mark = a.mark();
        let began = Instant::now();
        pair.lan.cut(&pair.a)?;
        // The command that pulls the cable takes most of it.
        a.wait_for_state(mark, "INIT")?;
        ensure!(began.elapsed() < Duration::from_millis(200), "it was told after {:?}", began.elapsed());
        let last = &a.vhost()?["last_change"];
        ensure!(last["to"] == "INIT" && last["cause"] == "link_down", "{last:#}");
        Ok(())
    })
}

#[test]
fn a_node_whose_link_comes_back_listens_first() -> Result<()> {
    scenario("listen", |pair| {
        // The better one, which takes over from a worse master: but first it must have heard one.
        let slow =
            |advskew| AgentConfig { interval: Some("100ms".to_owned()), preempt: true, ..config(advskew) };
        let a = Agent::start(&pair.a, &slow(0))?;
        a.wait_for_state(0, "MASTER")?;
        let mark = a.mark();
        pair.lan.cut(&pair.a)?;
        a.wait_for_state(mark, "INIT")?;
        let (mark, back) = (pair.capture.mark(), now_ns());
        pair.lan.mend(&pair.a)?;
        let first = pair.advertisement(mark, |seen| seen.source == A)?;
        let listened = Duration::from_nanos(first.at_ns - back);
        ensure!(listened >= Duration::from_millis(500), "it listened for {listened:?} only");
        ensure!(listened < Duration::from_secs(1), "it listened for {listened:?}");
        Ok(())
    })
}

#[test]
fn a_new_hardware_address_is_used_at_once() -> Result<()> {
    scenario("mac", |pair| {
        let (a, b) = pair.start(&config(0), &config(100))?;
        let (on_a, on_b) = (a.mark(), b.mark());
        let mark = pair.capture.mark();
        pair.a.netns.ip("link set eth0 address 02:00:00:00:00:77")?;
        pair.capture
            .wait_for(mark, Duration::from_secs(2), |frame| {
                frame.advertisement()?;
                (frame.frame.get(6..12)? == [2, 0, 0, 0, 0, 0x77]).then_some(())
            })
            .context("no advertisement with the new hardware address")?;
        // The switches and the neighbours learn it, too.
        pair.capture
            .wait_for(mark, Duration::from_secs(2), |frame| {
                let new = frame.frame.get(6..12)? == [2, 0, 0, 0, 0, 0x77];
                frame.announces().filter(|ip| new && *ip == VIRTUAL)
            })
            .context("the address is not announced with the new hardware address")?;
        pair.only_master(A, 20)?;
        for (agent, mark) in [(&a, on_a), (&b, on_b)] {
            let changes: Vec<_> = agent.process.lines().into_iter().skip(mark).collect();
            ensure!(!changes.iter().any(|line| line.contains(" -> ")), "a change: {changes:?}");
        }
        Ok(())
    })
}

#[test]
fn a_backup_takes_off_what_it_should_not_have() -> Result<()> {
    scenario("stray", |pair| {
        let (a, b) = pair.start(&config(0), &config(100))?;
        pair.b.netns.ip(&format!("address add {VIRTUAL}/24 dev eth0"))?;
        b.until(PATIENCE, |_| (!pair.b.has_address(VIRTUAL).ok()?).then_some(()))?;
        pair.only_master(A, 20)?;
        expect(&pair.a, &a, "MASTER")?;
        expect(&pair.b, &b, "BACKUP")
    })
}

#[test]
fn an_address_that_can_not_be_had_spoils_nothing_for_the_others() -> Result<()> {
    scenario("bad", |pair| {
        let set = |value: &'static str| {
            pair.a.netns.run(move || std::fs::write("/proc/sys/net/ipv6/conf/eth0/disable_ipv6", value))
        };
        set("1")??;
        let addresses = vec!["2001:db8::100/64".to_owned(), format!("{VIRTUAL}/24")];
        // The bad one first; advertised in IPv4.
        let config = AgentConfig { addresses, unicast: vec![B.into()], ..config(0) };
        let mark = pair.capture.mark();
        let a = Agent::start(&pair.a, &config)?;
        a.wait_for_state(0, "MASTER")?;
        pair.capture
            .wait_for(mark, PATIENCE, |frame| frame.announces().filter(|ip| *ip == VIRTUAL))
            .context("the good address is not announced")?;
        expect(&pair.a, &a, "MASTER")?;
        let fault = a.until(PATIENCE, |vhost| vhost["fault"].as_str().map(str::to_owned))?;
        ensure!(fault.contains("net.ipv6.conf.eth0.disable_ipv6"), "{fault}");

        // Once it can be had, it is there, and the fault is no more, however long the usual retries are over.
        std::thread::sleep(Duration::from_secs(3));
        set("0")??;
        a.until(PATIENCE, |vhost| vhost["fault"].is_null().then_some(()))?;
        let shown = pair.a.netns.ip_json("-6 address show dev eth0")?.to_string();
        ensure!(shown.contains("2001:db8::100"), "{shown}");
        Ok(())
    })
}

#[test]
fn a_master_that_became_the_port_of_a_bridge_still_notices_that_its_link_is_lost() -> Result<()> {
    scenario("port", |pair| {
        let (a, b) = pair.start(&config(0), &config(100))?;
        let mark = a.mark();
        pair.a.netns.ip("link add br0 type bridge")?;
        pair.a.netns.ip("link set eth0 master br0")?;
        a.process.wait_for_line(mark, "is a part of br0", PATIENCE)?;
        let on_b = b.mark();
        pair.lan.cut(&pair.a)?;
        a.wait_for_state(mark, "INIT")?;
        b.wait_for_state(on_b, "MASTER").map(drop)
    })
}

type Change = fn(&Pair, &Node) -> Result<()>;

fn scenario(label: &str, run: impl Fn(&Pair) -> Result<()>) -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    undisturbed(|| run(&Pair::new(label)?))
}

fn config(advskew: u8) -> AgentConfig {
    AgentConfig { advskew, detect: Some(5), ..AgentConfig::default() }
}

/// Lets a node lose its interface, and waits until its agent says so.
fn lose(node: &Node, agent: &Agent, fault: impl Fn(&Node) -> Result<()>) -> Result<()> {
    let mark = agent.mark();
    fault(node)?;
    agent.wait_for_state(mark, "INIT")?;
    let vhost = agent.vhost()?;
    ensure!(vhost["state"] == "INIT", "{vhost:#}");
    ensure!(vhost["last_change"]["cause"] == "link_down", "{vhost:#}");
    let links = node.netns.ip_json("address show")?.to_string();
    ensure!(!links.contains(&VIRTUAL.to_string()), "without a link, with the address: {links}");
    Ok(())
}

fn expect(node: &Node, agent: &Agent, state: &str) -> Result<()> {
    let vhost = agent.vhost()?;
    ensure!(vhost["state"] == state, "it should be {state}: {vhost:#}");
    let has_address = node.has_address(VIRTUAL)?;
    ensure!(has_address == (state == "MASTER"), "{state}, address: {has_address}");
    Ok(())
}

const PATIENCE: Duration = Duration::from_secs(10);
