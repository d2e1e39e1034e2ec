//! Addresses, announcements, groups, advertisements and places, with a real kernel.

#[path = "support/inside.rs"]
mod inside;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ha_agent::core::{Advertisement, Priority, Sources};
use ha_agent::net::address::{Addresses, Taken};
use ha_agent::net::advertise::{Advertiser, Frames, Path, SendError};
use ha_agent::net::announce::Announcer;
use ha_agent::net::link::{Interfaces, Kind, Monitor};
use ha_agent::net::membership::Membership;
use ha_agent::net::netlink::Netlink;
use ha_agent::net::place::{PlaceError, Stage, place};
use ha_agent::sys::ethtool::strips_vlan_tags;
use ha_agent::sys::packet_socket::PacketSocket;
use ha_common::auth::{Mac, Message, key};
use ha_common::wire::{carp, ethernet, ipv4, ipv6};
use inside::Inside;
use lab::{Capture, Lan, Netns, Node};
use serde_json::Value;

const V4: &str = "10.77.0.100";
const V6: &str = "2001:db8::100";
const LINK_LOCAL: &str = "fe80::100";
const PATIENCE: Duration = Duration::from_secs(5);
/// How many advertisements are sent to peers that are looked for, and as many once they were given up.
const ROUNDS: usize = 40;

#[test]
fn taken_addresses_are_usable_at_once_whoever_else_has_them() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let (_lan, a, b) = pair("taken")?;
    // Somebody else has them, and says so: duplicate detection would fail.
    for address in [V6, LINK_LOCAL] {
        b.netns.ip(&format!("addr add {address}/64 dev eth0 nodad"))?;
    }
    let inside = Inside::new(&a.netns)?;
    let index = inside.interface("eth0")?.index;
    let nets = [format!("{V4}/24"), format!("{V6}/64"), format!("{LINK_LOCAL}/64")];
    let all: Vec<_> = nets.iter().map(|net| net.parse()).collect::<Result<_, _>>()?;
    let addresses = Addresses::new(index, all);
    let take = || take(&a.netns, &addresses);
    let drop = || {
        let addresses = addresses.clone();
        a.netns.run(move || anyhow::Ok(addresses.drop(&mut Netlink::open()?)?))?
    };
    ensure!(!addresses.all_in(&inside.interface("eth0")?.ips().collect::<Vec<_>>()));
    ensure!(take()?.added == 3);
    ensure!(take()?.added == 0, "the second time they were there");

    let present: Vec<IpAddr> = inside.interface("eth0")?.ips().collect();
    ensure!(addresses.all_in(&present), "{present:?}");
    for missing in [V4, V6, LINK_LOCAL] {
        let others: Vec<_> = present.iter().filter(|ip| ip.to_string() != missing).copied().collect();
        ensure!(!addresses.all_in(&others), "all but {missing}");
    }
    for address in [V4, V6] {
        let to = SocketAddr::new(address.parse()?, 0);
        a.netns.run(move || UdpSocket::bind(to))?.with_context(|| format!("{address} is not usable"))?;
    }
    let tentative = a.netns.ip_json("-6 address show dev eth0 tentative")?;
    ensure!(!tentative.to_string().contains(V6), "{tentative}");

    drop()?;
    drop().context("the second time, nothing was there")?;
    let present: Vec<IpAddr> = inside.interface("eth0")?.ips().collect();
    ensure!(
        !present.iter().any(|ip| nets.iter().any(|net| net.starts_with(&format!("{ip}/")))),
        "{present:?}"
    );
    Ok(())
}

#[test]
fn an_address_that_lost_duplicate_detection_is_put_on_anew() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let (_lan, a, b) = pair("dad")?;
    b.netns.ip(&format!("addr add {V6}/64 dev eth0 nodad"))?;
    a.netns.ip(&format!("addr add {V6}/64 dev eth0"))?;
    let inside = Inside::new(&a.netns)?;
    let v6: IpAddr = V6.parse()?;
    let has = move |interfaces: &Interfaces| {
        interfaces.get("eth0").is_some_and(|eth0| eth0.ips().any(|ip| ip == v6))
    };
    let deadline = Instant::now() + PATIENCE;
    while !a.netns.ip_json("-6 address show dev eth0 dadfailed")?.to_string().contains(V6) {
        ensure!(Instant::now() < deadline, "duplicate detection does not fail");
    }
    ensure!(!has(&inside.interfaces()?), "it is no address that could be used");
    let addresses = Addresses::new(inside.interface("eth0")?.index, vec![format!("{V6}/64").parse()?]);
    ensure!(take(&a.netns, &addresses)?.added == 1);
    ensure!(has(&inside.interfaces()?));
    Ok(())
}

#[test]
fn ipv6_that_is_switched_off_is_told_with_a_remedy() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let (_lan, a, _b) = pair("off")?;
    let inside = Inside::new(&a.netns)?;
    let index = inside.interface("eth0")?.index;
    let off = "/proc/sys/net/ipv6/conf/eth0/disable_ipv6";
    a.netns.run(move || std::fs::write(off, "1"))??;
    let addresses = Addresses::new(index, vec![format!("{V6}/64").parse()?]);
    let error = take(&a.netns, &addresses)?.error.context("it was taken")?;
    ensure!(error.to_string().contains("net.ipv6.conf.eth0.disable_ipv6 to 0"), "{error}");
    Ok(())
}

fn take(netns: &Netns, addresses: &Addresses) -> Result<Taken> {
    let addresses = addresses.clone();
    netns.run(move || Ok(addresses.take(&mut Netlink::open()?)))?
}

#[test]
fn announcements_move_what_neighbours_believe() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let (_lan, a, b) = pair("announce")?;
    let capture = Capture::start(&b.netns)?;
    let eth0 = Inside::new(&a.netns)?.interface("eth0")?;
    let (index, hardware) = (eth0.index, eth0.hardware);
    let addresses: Vec<IpAddr> = vec![V4.parse()?, V6.parse()?];
    for (forwarding, is_router) in [("0", false), ("1", true)] {
        let setting = "/proc/sys/net/ipv6/conf/eth0/forwarding";
        a.netns.run(move || std::fs::write(setting, forwarding))??;
        for address in &addresses {
            b.netns
                .ip(&format!("neigh replace {address} lladdr 02:00:00:00:00:99 nud reachable dev eth0"))?;
        }
        let mark = capture.mark();
        let announced = addresses.clone();
        a.netns.run(move || {
            Announcer::new(PacketSocket::open(index)?, index, hardware, announced.into_iter()).announce()
        })??;
        capture.wait_for(mark, PATIENCE, |frame| frame.announces().filter(|ip| ip.to_string() == V4))?;
        for address in &addresses {
            let neighbour = wait_for_neighbour(&b.netns, *address, hardware)?;
            if address.is_ipv6() {
                ensure!(
                    neighbour.get("router").is_some() == is_router,
                    "forwarding {forwarding}: {neighbour}"
                );
            }
        }
    }
    Ok(())
}

#[test]
fn the_groups_are_joined_and_left() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let (_lan, a, _b) = pair("groups")?;
    let index = Inside::new(&a.netns)?.interface("eth0")?.index;
    let groups = ["224.0.0.18", "ff02::12", "ff02::1:ff00:100"];
    let virtual_addresses = [V4.parse()?, V6.parse()?];
    let joined = || {
        let shown = a.netns.ip_json("maddress show dev eth0")?.to_string();
        anyhow::Ok(groups.map(|group| shown.contains(&format!("\"{group}\""))))
    };
    for (v4, v6) in [(true, false), (false, true), (true, true), (false, false)] {
        let membership = a.netns.run(move || Membership::join(index, v4, v6, &virtual_addresses))??;
        ensure!(joined()? == [v4, v6, v6], "{:?} instead of {:?}", joined()?, [v4, v6, v6]);
        drop(membership);
        ensure!(joined()? == [false; 3]);
    }
    let error = a.netns.run(|| Membership::join(9999, true, false, &[]))?.err().context("joined nowhere")?;
    ensure!(error.to_string().contains("224.0.0.18"), "{error}");
    Ok(())
}

#[test]
fn advertisements_to_the_group_leave_in_both_families() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let (_lan, a, b) = pair("group")?;
    let capture = Capture::start(&b.netns)?;
    let inside = Inside::new(&a.netns)?;
    let sources = sources(&inside, &[])?;
    let index = inside.interface("eth0")?.index;
    let hardware = [0, 0, 0x5e, 0, 1, 10];
    let mut advertiser = Advertiser::new(
        a.netns.run(move || Path::to_group(index, true, true))??,
        Frames { hardware, sources, vhid: 10, mac: mac() },
    );
    let mut counter = 41;
    let mut next = || {
        counter += 1;
        counter
    };
    let mark = capture.mark();
    let sent = advertiser.prepare(ADVERTISEMENT, &mut next).send();
    ensure!(sent.frames == 2 && sent.error.is_none(), "{sent:?}");
    for (expected, start) in [
        (advertiser_frame(&advertiser, 42), [1, 0, 0x5e, 0, 0, 0x12]),
        (advertiser_frame_v6(&advertiser, 43), [0x33, 0x33, 0, 0, 0, 0x12]),
    ] {
        ensure!(expected[..12] == [start, hardware].concat());
        capture.wait_for(mark, PATIENCE, |frame| (frame.frame == expected).then_some(()))?;
    }

    // Without addresses IPv4 goes on; IPv6 can't, and says so.
    advertiser.set_sources(Sources { v4: Ipv4Addr::UNSPECIFIED, v6: Ipv6Addr::UNSPECIFIED });
    let mark = capture.mark();
    let sent = advertiser.prepare(ADVERTISEMENT, &mut next).send();
    ensure!(sent.frames == 1 && matches!(sent.error, Some(SendError::NoSource)), "{sent:?}");
    let seen = capture.wait_for(mark, PATIENCE, lab::Captured::advertisement)?;
    ensure!(seen.source.is_unspecified(), "{seen:?}");

    a.netns.ip("link set eth0 down")?;
    let sent = advertiser.prepare(ADVERTISEMENT, &mut next).send();
    let Some(SendError::Os { cause, .. }) = sent.error else { anyhow::bail!("sent while down: {sent:?}") };
    ensure!(cause.raw_os_error() == Some(nix::errno::Errno::ENETDOWN as i32), "{cause}");
    Ok(())
}

#[test]
fn unicast_reaches_living_peers_and_does_not_stumble_over_dead_ones() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let (lan, a, b) = pair("unicast")?;
    // A third node sees what is not meant for it.
    let witness = lan.node("w", Ipv4Addr::new(10, 77, 0, 9))?;
    for (node, address) in [(&a, "2001:db8::1"), (&b, "2001:db8::2")] {
        node.netns.ip(&format!("addr add {address}/64 dev eth0 nodad"))?;
    }
    let (capture, others) = (Capture::start(&b.netns)?, Capture::start(&witness.netns)?);
    let inside = Inside::new(&a.netns)?;
    let there = Inside::new(&b.netns)?;
    let link_local = sources(&there, &[])?.v6;
    let eth0 = inside.interface("eth0")?;
    let to: SocketAddr = (b.address, 0).into();
    for peers in [
        // The dead ones first: what waits for them must not keep anything from the living ones.
        vec!["10.77.0.77".parse()?, to.ip(), "fe80::77".parse()?, link_local.into()],
        vec!["2001:db8::77".parse()?, "2001:db8::2".parse()?],
    ] {
        let sources = sources(&inside, &peers)?;
        let (index, to) = (eth0.index, peers.clone());
        let advertiser = Advertiser::new(
            a.netns.run(move || Path::to_peers(index, &to))??,
            Frames { hardware: eth0.hardware, sources, vhid: 10, mac: mac() },
        );
        let mut counter = 0;
        let (living, dead): (Vec<IpAddr>, Vec<IpAddr>) =
            peers.into_iter().partition(|peer| !peer.to_string().ends_with("77"));
        for peer in &living {
            a.netns.ip(&format!("neigh replace {peer} lladdr {} dev eth0", hardware_text(&there)?))?;
        }
        let mark = capture.mark();
        // While the kernel looks for the dead ones, and once it has given them up.
        for _ in 0..2 {
            for _ in 0..ROUNDS {
                let next = &mut || {
                    counter += 1;
                    counter
                };
                let sent = advertiser.prepare(ADVERTISEMENT, next).send();
                ensure!(sent.error.is_none() && sent.frames >= living.len(), "{sent:?}");
            }
            for peer in &dead {
                wait_for_failure(&a.netns, *peer)?;
            }
        }
        for peer in living {
            let from = source_of(sources, peer);
            let mut arrived = 0;
            let all = capture.wait_for(mark, PATIENCE, |frame| {
                let found = unicast(&frame.frame)?;
                arrived += usize::from(found.to == peer && found.from == from);
                (arrived == 2 * ROUNDS).then_some(())
            });
            all.with_context(|| format!("{arrived} of {} came to {peer}", 2 * ROUNDS))?;
        }
    }
    // Without an address of ours, the kernel fills in one.
    let (index, peer) = (eth0.index, to.ip());
    let nowhere = Sources { v4: Ipv4Addr::UNSPECIFIED, v6: Ipv6Addr::UNSPECIFIED };
    let advertiser = Advertiser::new(
        a.netns.run(move || Path::to_peers(index, &[peer]))??,
        Frames { hardware: eth0.hardware, sources: nowhere, vhid: 10, mac: mac() },
    );
    let mark = capture.mark();
    let sent = advertiser.prepare(ADVERTISEMENT, &mut || 1).send();
    ensure!(sent.frames == 1 && sent.error.is_none(), "{sent:?}");
    let from = capture.wait_for(mark, PATIENCE, |frame| Some(unicast(&frame.frame)?.from))?;
    ensure!(from == IpAddr::V4(a.address), "{from}");
    let stray = others.frames(0).iter().filter_map(|frame| unicast(&frame.frame)).count();
    ensure!(stray <= 1, "{stray} unicast packets went to everybody");
    Ok(())
}

#[test]
fn places_on_real_interfaces() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let netns = Netns::new("place")?;
    netns.ip("link add eth0 type veth peer name far")?;
    netns.ip("link add br0 type bridge")?;
    netns.ip("link set far master br0")?;
    netns.ip("link add mac0 link eth0 type macvlan mode bridge")?;
    netns.ip("link property add dev eth0 altname storage-network-with-a-long-name")?;
    let inside = Inside::new(&netns)?;
    let interfaces = inside.interfaces()?;
    let found = |name: &str| interfaces.get(name).context("not found");
    let eth0 = found("storage-network-with-a-long-name")?;
    ensure!((eth0.name.as_str(), eth0.kind) == ("eth0", Kind::Plain), "{eth0:?}");
    ensure!(found("br0")?.kind == Kind::Bridge);
    ensure!(found("mac0")?.kind == Kind::Macvlan { parent: Some(eth0.index) });
    let ports: Vec<_> = interfaces.ports_of(found("br0")?.index).map(|port| port.name.as_str()).collect();
    ensure!(ports == ["far"], "{ports:?}");
    for (name, stage) in [("eth0", Stage::Any), ("br0", Stage::Generic), ("mac0", Stage::Generic)] {
        let place = place(&interfaces, name)?;
        ensure!((place.at.interface.as_str(), place.at.stage) == (name, stage), "{place:?}");
        ensure!(place.at.index == found(name)?.index);
    }
    let refused = place(&interfaces, "far");
    ensure!(
        matches!(&refused, Err(PlaceError::Port { controller, .. }) if controller == "br0"),
        "{refused:?}"
    );
    // Whatever it answers: it answers.
    netns.run(|| strips_vlan_tags("eth0"))??;

    // A new name, the same interface.
    let index = eth0.index;
    netns.ip("link set eth0 name wan0")?;
    let interfaces = wait_for(&inside, |interfaces| interfaces.get("wan0").is_some())?;
    ensure!(interfaces.by_index(index).map(|interface| interface.name.as_str()) == Some("wan0"));
    ensure!(interfaces.get("eth0").is_none());

    // From another namespace, what a macvlan lies on can't be seen.
    let other = Netns::new("place-other")?;
    netns.ip(&format!("link set mac0 netns {}", other.name()))?;
    ensure!(Inside::new(&other)?.interface("mac0")?.kind == Kind::Macvlan { parent: None });
    Ok(())
}

fn pair(label: &str) -> Result<(Lan, Node, Node)> {
    let lan = Lan::new(label)?;
    let a = lan.node("a", Ipv4Addr::new(10, 77, 0, 1))?;
    let b = lan.node("b", Ipv4Addr::new(10, 77, 0, 2))?;
    Ok((lan, a, b))
}

/// The sources of a node, once it has some of both families.
fn sources(inside: &Inside<'_>, unicast: &[IpAddr]) -> Result<Sources> {
    let none = BTreeSet::new();
    let settled = |interfaces: &Interfaces| {
        let sources = interfaces.get("eth0").map(|eth0| eth0.sources(&BTreeSet::new(), &[]));
        sources.is_some_and(|sources| !sources.v4.is_unspecified() && !sources.v6.is_unspecified())
    };
    let interfaces = wait_for(inside, settled)?;
    Ok(interfaces.get("eth0").context("no eth0")?.sources(&none, unicast))
}

/// Waits until the interfaces are as wanted, and returns them.
fn wait_for(
    inside: &Inside<'_>,
    wanted: impl Fn(&Interfaces) -> bool + Send + 'static,
) -> Result<Interfaces> {
    let reached = async move {
        let mut monitor = Monitor::open()?;
        loop {
            let interfaces = monitor.interfaces().await?;
            if wanted(&interfaces) {
                return anyhow::Ok(interfaces);
            }
            monitor.changed().await;
        }
    };
    let reached = async move { tokio::time::timeout(PATIENCE, reached).await };
    inside.run(reached)?.context("the interfaces did not become as wanted")?
}

fn hardware_text(there: &Inside<'_>) -> Result<String> {
    Ok(there.interface("eth0")?.hardware.map(|byte| format!("{byte:02x}")).join(":"))
}

fn source_of(sources: Sources, peer: IpAddr) -> IpAddr {
    if peer.is_ipv4() { sources.v4.into() } else { sources.v6.into() }
}

fn mac() -> Mac {
    let message = Message { vhid: 10, ipv4: &[[10, 77, 0, 100]], ipv6: &[], link_local: true, lladdr: None };
    Mac::new(&key(b"secret"), &message)
}

/// The frames that the advertiser should send to the group.
fn advertiser_frame(advertiser: &Advertiser, counter: u64) -> Vec<u8> {
    group_frames(advertiser).emit_v4(carp::GROUP.into(), ADVERTISEMENT, counter).to_vec()
}

fn advertiser_frame_v6(advertiser: &Advertiser, counter: u64) -> Vec<u8> {
    group_frames(advertiser).emit_v6(ipv6::GROUP.into(), ADVERTISEMENT, counter).to_vec()
}

fn group_frames(advertiser: &Advertiser) -> Frames {
    Frames { hardware: [0, 0, 0x5e, 0, 1, 10], sources: advertiser.sources(), vhid: 10, mac: mac() }
}

/// A unicast advertisement.
struct Unicast {
    from: IpAddr,
    to: IpAddr,
}

/// Reads an advertisement that is not for a group, if everything about it is right.
fn unicast(frame: &[u8]) -> Option<Unicast> {
    let (ethernet, rest) = frame.split_first_chunk()?;
    // The lowest bit of the first byte stands for a group.
    if frame.first()? & 1 != 0 {
        return None;
    }
    let (from, to, rest) = match ethernet::Header(ethernet).ethertype() {
        ethernet::IPV4 => {
            let (header, rest) = rest.split_first_chunk()?;
            let header = ipv4::Header(header);
            let right = header.protocol() == 112 && header.ttl() == 255 && header.checksum_ok();
            right.then_some((IpAddr::from(header.source()), IpAddr::from(header.destination()), rest))?
        }
        ethernet::IPV6 => {
            let (header, rest) = rest.split_first_chunk()?;
            let header = ipv6::Header(header);
            let right = header.next_header() == 112 && header.hop_limit() == 255;
            right.then_some((IpAddr::from(*header.source()), IpAddr::from(*header.destination()), rest))?
        }
        _ => return None,
    };
    let carp = carp::Header(rest.try_into().ok()?);
    let right = carp.checksum_ok() && mac().verify(carp.counter(), carp.digest());
    right.then_some(Unicast { from, to })
}

/// Waits until a namespace has given up to look for an address.
fn wait_for_failure(netns: &Netns, address: IpAddr) -> Result<()> {
    let deadline = Instant::now() + 2 * PATIENCE;
    loop {
        let found = netns.ip_json(&format!("neigh show {address} dev eth0"))?.to_string();
        if found.contains("FAILED") {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{address} is never given up: {found}");
    }
}

/// Waits until a namespace believes that an address is at a hardware address.
fn wait_for_neighbour(netns: &Netns, address: IpAddr, hardware: ethernet::Mac) -> Result<Value> {
    let wanted = hardware.map(|byte| format!("{byte:02x}")).join(":");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = netns.ip_json(&format!("neigh show {address} dev eth0"))?;
        if let Some(neighbour) =
            found.pointer("/0").filter(|neighbour| neighbour["lladdr"] == wanted.as_str())
        {
            return Ok(neighbour.clone());
        }
        ensure!(Instant::now() < deadline, "{address} should be at {wanted}: {found}");
    }
}

const ADVERTISEMENT: Advertisement =
    Advertisement { priority: Priority { advbase: 1, advskew: 100 }, demote: 2 };
