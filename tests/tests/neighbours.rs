//! What the kernel is made to forget of its neighbours, and what not.

use std::net::{IpAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ha_agent::net::neighbour::forget_unanswered;
use ha_agent::net::netlink::Netlink;
use lab::{Lan, Netns};

#[test]
fn only_who_has_not_answered_yet_is_forgotten_and_only_there() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let lan = Lan::new("neighbours")?;
    let a = lan.node("a", [10, 77, 0, 1].into())?;
    let b = lan.node("b", [10, 77, 0, 2].into())?;
    a.netns.ip("link add eth1 type veth peer name eth1-end")?;
    a.netns.ip("link set eth1-end up")?;
    a.netns.ip("link set eth1 up")?;
    a.netns.ip("addr add 10.78.0.1/24 dev eth1")?;

    let absent: [IpAddr; 2] = ["10.77.0.50".parse()?, "2001:db8:77::50".parse()?];
    let elsewhere: IpAddr = "10.78.0.50".parse()?;
    for address in absent.into_iter().chain([elsewhere, b.address.into(), b.global.into()]) {
        call(&a.netns, address)?;
    }
    for address in absent.into_iter().chain([elsewhere]) {
        wait_for(&a.netns, address, |state| state == "INCOMPLETE")?;
    }
    for address in [IpAddr::from(b.address), b.global.into()] {
        wait_for(&a.netns, address, |state| state != "INCOMPLETE")?;
    }

    let index = a.netns.run(|| nix::net::if_::if_nametoindex("eth0"))??;
    a.netns.run(move || forget_unanswered(&mut Netlink::open()?, index))??;
    for address in absent {
        let state = state(&a.netns, address)?;
        ensure!(state.as_deref().is_none_or(|state| state == "FAILED"), "{address} is {state:?}");
    }
    for address in [elsewhere, b.address.into(), b.global.into()] {
        ensure!(state(&a.netns, address)?.is_some(), "{address} is forgotten, too");
    }

    // The next packet asks at once.
    call(&a.netns, absent[0])?;
    wait_for(&a.netns, absent[0], |state| state == "INCOMPLETE")
}

/// Sends something there.
fn call(netns: &Netns, to: IpAddr) -> Result<()> {
    let own: IpAddr = if to.is_ipv4() { "0.0.0.0".parse()? } else { "::".parse()? };
    netns.run(move || UdpSocket::bind((own, 0))?.send_to(b"?", (to, 9)).map(drop))?.context("sending")
}

/// What `ip` says of a neighbour.
fn state(netns: &Netns, address: IpAddr) -> Result<Option<String>> {
    let all = netns.ip_json("neigh show nud all")?;
    let mut all = all.as_array().into_iter().flatten();
    let found = all.find(|it| it["dst"] == address.to_string());
    Ok(found.and_then(|it| it["state"][0].as_str()).map(str::to_owned))
}

fn wait_for(netns: &Netns, address: IpAddr, wanted: impl Fn(&str) -> bool) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let state = state(netns, address)?;
        if state.as_deref().is_some_and(&wanted) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{address} is {state:?}");
        thread::sleep(LOOK);
    }
}

const PATIENCE: Duration = Duration::from_millis(800);
/// How often the kernel is asked.
const LOOK: Duration = Duration::from_millis(5);
