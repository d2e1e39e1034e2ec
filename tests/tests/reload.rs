//! A running agent takes up another configuration: what changes does so at once, and everything else goes on.

use std::net::Ipv4Addr;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::pair::{A, VIRTUAL, at_once};
use lab::{Agent, AgentConfig, Pair};
use serde_json::Value;

#[test]
fn reloads() -> Result<()> {
    at_once(&[
        ("addresses", |pair| addresses_change(pair, &AgentConfig::default())),
        ("virtual", |pair| {
            addresses_change(pair, &AgentConfig { mac: Some("virtual".to_owned()), ..AgentConfig::default() })
        }),
        ("strict", |pair| addresses_change(pair, &AgentConfig::strict())),
        ("hosts", |pair| hosts_come_and_go(pair, &AgentConfig::default())),
        ("hostsmac", |pair| {
            hosts_come_and_go(
                pair,
                &AgentConfig { mac: Some("virtual".to_owned()), ..AgentConfig::default() },
            )
        }),
        ("hostsstrict", |pair| hosts_come_and_go(pair, &AgentConfig::strict())),
        ("interfaces", interfaces_are_taken_up_and_given_up),
        ("recording", a_recording_knows_who_it_began_with),
    ])
}

/// In any order, and with any time between the two nodes that an operator takes.
fn addresses_change(pair: &Pair, like: &AgentConfig) -> Result<()> {
    let with = |advskew, addresses: &[Ipv4Addr]| {
        let addresses = addresses.iter().map(|ip| format!("{ip}/24")).collect();
        AgentConfig { advskew, addresses, interval: Some("20ms".to_owned()), detect: Some(5), ..like.clone() }
    };
    let (a, b) = pair.start(&with(0, &[VIRTUAL]), &with(100, &[VIRTUAL]))?;
    let marks = [a.mark(), b.mark()];
    // Until a new master announces no more.
    thread::sleep(ANNOUNCED);
    // The master first, then the backup first.
    let rounds: [(&[Ipv4Addr], bool); 3] =
        [(&[VIRTUAL, MORE], true), (&[MORE, OTHER], false), (&[OTHER], true)];
    for (addresses, a_first) in rounds {
        let mark = pair.capture.mark();
        let mut both = [(&a, &pair.a, 0), (&b, &pair.b, 100)];
        if !a_first {
            both.reverse();
        }
        for (agent, node, advskew) in both {
            agent.rewrite(node, &with(advskew, addresses))?;
            agent.tell("reload")?;
            thread::sleep(Duration::from_millis(500));
        }
        for address in [VIRTUAL, MORE, OTHER] {
            let wanted = addresses.contains(&address);
            ensure!(pair.a.has_address(address)? == wanted, "{address} on a: not {wanted}");
            ensure!(!pair.b.has_address(address)?, "{address} on b");
        }
        let new = addresses.last().copied().unwrap_or(OTHER);
        let announced = |address| pair.announcements(mark, address).len();
        ensure!((announced(new) > 0) == (new != OTHER || addresses.len() > 1), "{new}: {}", announced(new));
    }
    // Until the last change is over, and the keys before it are used no more.
    thread::sleep(HANDOVER);
    pair.only_master(A, 20)?;
    for (agent, mark) in [(&a, marks[0]), (&b, marks[1])] {
        ensure!(agent.changes(mark).is_empty(), "{:#?}", agent.changes(mark));
        ensure!(agent.refused(&["badauth"])? == 0, "{:#}", agent.vhost()?);
    }
    ensure!(b.vhost()?["peer"]["passphrase"] == 1, "{:#}", b.vhost()?);
    Ok(())
}

fn hosts_come_and_go(pair: &Pair, like: &AgentConfig) -> Result<()> {
    let mac = like.mac.clone().unwrap_or_else(|| "interface".to_owned());
    let vhost = |name: &str, vhid: u8, address: Ipv4Addr, advskew: u8| {
        format!(
            "[[vhost]]\nname = \"{name}\"\ninterface = \"eth0\"\nvhid = {vhid}\naddresses = [\"{address}/24\"]\n\
             advskew = {advskew}\ninterval = \"20ms\"\ndetect = 5\nmac = \"{mac}\"\n"
        )
    };
    let with = |advskew, more: String| {
        let interval = Some("20ms".to_owned());
        AgentConfig { advskew, interval, detect: Some(5), more, ..like.clone() }
    };
    let (a, b) = pair.start(&with(0, String::new()), &with(100, String::new()))?;
    let marks = [a.mark(), b.mark()];
    let reload = |agent: &Agent, advskew, more: String| {
        let node = if advskew == 0 { &pair.a } else { &pair.b };
        agent.rewrite(node, &with(advskew, more))?;
        agent.tell("reload")
    };

    let mark = a.mark();
    reload(&a, 0, vhost("more", 11, MORE, 0))?;
    a.process.wait_for_line(mark, "-> MASTER", PATIENCE)?;
    ensure!(pair.a.has_address(MORE)?);
    let mark = b.mark();
    reload(&b, 100, vhost("more", 11, MORE, 100))?;
    b.process.wait_for_line(mark, "-> BACKUP", PATIENCE)?;
    let heard = |agent: &Agent| shown(agent, "more", |more| (!more["peer"].is_null()).then_some(()));
    heard(&b)?;

    // Who goes says so, and the other one does not wait for its silence.
    let mark = b.mark();
    reload(&a, 0, vhost("other", 12, OTHER, 0))?;
    ensure!(!pair.a.has_address(MORE)?, "still there");
    let at = b.process.wait_for_line(mark, "-> MASTER", PATIENCE)?;
    let told = b.process.lines().swap_remove(at);
    ensure!(told.contains("said goodbye") && told.contains("more"), "{told}");
    shown(&a, "other", |other| (other["state"] == "MASTER").then_some(()))?;
    // The state comes before the addresses.
    a.until(PATIENCE, |_| pair.a.has_address(OTHER).ok()?.then_some(()))?;
    b.until(PATIENCE, |_| pair.b.has_address(MORE).ok()?.then_some(()))?;

    // One that comes back is a new one; another one may have its place.
    reload(&a, 0, vhost("more", 11, MORE, 0) + &vhost("other", 12, OTHER, 0))?;
    let more = shown(&a, "more", |more| (more["state"] == "BACKUP").then(|| more.clone()))?;
    heard(&a)?;
    ensure!(more["history"].as_array().is_some_and(|history| history.len() == 1), "{more:#}");
    ensure!(more["refused"]["badauth"] == 0 && more["refused"]["replay"] == 0, "{more:#}");
    reload(&a, 0, String::new())?;
    ensure!(!pair.a.has_address(OTHER)? && pair.a.has_address(VIRTUAL)?);

    for (agent, mark) in [(&a, marks[0]), (&b, marks[1])] {
        let mut changes = agent.changes(mark);
        changes.retain(|line| line.contains("data"));
        ensure!(changes.is_empty(), "{changes:#?}");
    }
    let mark = b.mark();
    a.leave()?;
    b.process.wait_for_line(mark, "data", PATIENCE).map(drop)
}

fn interfaces_are_taken_up_and_given_up(pair: &Pair) -> Result<()> {
    let netns = &pair.a.netns;
    for arguments in ["link add eth1 type veth peer name end1", "link set eth1 up", "link set end1 up"] {
        netns.ip(arguments)?;
    }
    let on = |interface: &str| {
        let more = format!(
            "[[vhost]]\nname = \"more\"\ninterface = \"{interface}\"\nvhid = 11\naddresses = [\"{MORE}/24\"]\n\
             interval = \"20ms\"\n"
        );
        AgentConfig { more, ..AgentConfig::default() }
    };
    let a = Agent::start(&pair.a, &AgentConfig::default())?;
    a.wait_for_state(0, "MASTER")?;
    let attached = |interface: &str| -> Result<bool> {
        let links = netns.ip_json(&format!("link show dev {interface}"))?;
        Ok(!links[0]["xdp"].is_null())
    };
    a.rewrite(&pair.a, &on("eth7"))?;
    let output = a.command("reload")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    let why = "not reloaded, the running configuration stays: interface eth7 does not exist; ";
    ensure!(!output.status.success() && errors.contains(why), "{errors}");
    ensure!(a.status()?["vhosts"].as_array().is_some_and(|all| all.len() == 1));

    a.rewrite(&pair.a, &on("eth1"))?;
    a.tell("reload")?;
    ensure!(attached("eth1")?, "not attached");
    shown(&a, "more", |more| (more["state"] == "MASTER").then_some(()))?;
    ensure!(pair.a.has_address(MORE)?);
    // A cable that is pulled there demotes the node, until the virtual host is no more.
    netns.ip("link set end1 down")?;
    let level = |wanted: bool| {
        a.until(PATIENCE, |_| {
            let level = a.status().ok()?["demotion"]["level"].as_u64()?;
            ((level > 0) == wanted).then_some(())
        })
    };
    level(true)?;
    a.rewrite(&pair.a, &AgentConfig::default())?;
    a.tell("reload")?;
    level(false)?;
    ensure!(!attached("eth1")? && attached("eth0")?, "not detached");
    Ok(())
}

fn a_recording_knows_who_it_began_with(pair: &Pair) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let config = AgentConfig { record: Some(directory.path().join("trace")), ..AgentConfig::default() };
    let a = Agent::start(&pair.a, &config)?;
    let more =
        format!("[[vhost]]\nname = \"more\"\ninterface = \"eth0\"\nvhid = 11\naddresses = [\"{MORE}/24\"]\n");
    a.rewrite(&pair.a, &AgentConfig { more, ..config.clone() })?;
    let output = a.command("reload")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success() && errors.contains("--record"), "{errors}");
    let addresses = vec![format!("{VIRTUAL}/24"), format!("{MORE}/24")];
    a.rewrite(&pair.a, &AgentConfig { addresses, ..config })?;
    a.tell("reload")
}

/// Waits until something is to be seen of a virtual host.
fn shown<T>(agent: &Agent, name: &str, look: impl Fn(&Value) -> Option<T>) -> Result<T> {
    agent
        .until(PATIENCE, |_| {
            let status = agent.status().ok()?;
            look(status["vhosts"].as_array()?.iter().find(|vhost| vhost["name"] == name)?)
        })
        .with_context(|| format!("virtual host {name}: {:#}", agent.status().unwrap_or_default()["vhosts"]))
}

const MORE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 101);
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 102);
/// A little longer than a new master announces its addresses.
const ANNOUNCED: Duration = Duration::from_millis(3300);
/// A little longer than addresses that were changed go on signing.
const HANDOVER: Duration = Duration::from_secs(32);
const PATIENCE: Duration = Duration::from_secs(10);
