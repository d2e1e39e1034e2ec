//! Virtual hosts that stand for one another in a pair, and those whose link does not matter.

use anyhow::{Result, ensure};
use lab::introduction::{Linked, introduce};
use lab::paired::{PATIENCE, named, phase, reasons, settled, takes, until, wait, wait_for_phase};
use lab::{AgentConfig, Lan, Pair};

#[test]
fn the_role_moves_when_a_group_has_no_link_left_and_not_before() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let pair = Pair::new("groups")?;
    let (second, aside) = (Lan::new("groups-2")?, Lan::new("groups-3")?);
    for (node, host) in [(&pair.a, 1), (&pair.b, 2)] {
        for (lan, interface, net) in [(&second, "eth1", 78), (&aside, "eth2", 79)] {
            lan.cable_as(node, interface)?;
            node.netns.ip(&format!("addr add 10.{net}.0.{host}/24 dev {interface}"))?;
        }
    }
    let configs = Linked::configs().map(|config| {
        let advskew = config.advskew;
        let vhost = |name: &str, interface: &str, vhid: u8, net: u8, more: &str| {
            format!(
                "[[vhost]]\nname = \"{name}\"\ninterface = \"{interface}\"\nvhid = {vhid}\nadvskew = {advskew}\n\
                 addresses = [\"10.{net}.0.100/24\"]\ninterval = \"10ms\"\n{more}\n"
            )
        };
        let more = vhost("data2", "eth1", 11, 78, "group = \"clients\"")
            + &vhost("admin", "eth2", 12, 79, "critical = false");
        AgentConfig { group: Some("clients".to_owned()), more, ..config }
    });
    let lab = Linked::start_on(pair, "groups", &[99], configs)?;
    introduce((&lab.pair.a, &lab.a), (&lab.pair.b, &lab.b))?;
    let Linked { a, b, pair, .. } = &lab;
    settled(a, b)?;
    ensure!(phase(a)? == "active", "the one that served");
    let marks = [a.mark(), b.mark()];
    let moved = || takes(a, marks[0]) + takes(b, marks[1]);
    // One whose link does not matter.
    aside.cut(&pair.a)?;
    wait(a, PATIENCE, |status| status["vhosts"][2]["state"] == "INIT")?;
    // One of two.
    second.cut(&pair.a)?;
    named(a, "GROUP_REDUCED")?;
    named(b, "REM_GROUP_REDUCED")?;
    ensure!(phase(a)? == "active" && moved() == 0, "the role moved");
    // Both: in order, for the other one lives.
    pair.lan.cut(&pair.a)?;
    wait_for_phase(b, "active")?;
    named(a, "NO_LINK")?;
    ensure!(phase(a)? == "standby" && moved() == 1, "{} moves", moved());
    ensure!(pair.b.has_address([10, 78, 0, 100])?, "the second one's address");
    // What comes back does not take the role back.
    for lan in [&aside, &second, &pair.lan] {
        lan.mend(&pair.a)?;
    }
    until("nothing is wrong", || Ok(reasons(&a.status()?).is_empty() && reasons(&b.status()?).is_empty()))?;
    ensure!(phase(b)? == "active" && moved() == 1, "{} moves", moved());
    Ok(())
}
