//! The virtual hardware address, with a real kernel: who answers for what, by which address, and when.

#[path = "support/inside.rs"]
mod inside;

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ha_agent::net::address::Addresses;
use ha_agent::net::announce::Announcer;
use ha_agent::net::link::Monitor;
use ha_agent::net::macvlan::{METRIC, Macvlan, MacvlanError, Parents, virtual_mac};
use ha_agent::net::netlink::Netlink;
use ha_agent::sys::packet_socket::PacketSocket;
use ha_agent::sys::sysctl::{self, Family};
use inside::Inside;
use lab::{Capture, Lan, Netns, Node};

#[test]
fn the_virtual_address_answers_from_the_virtual_hardware_address() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let (_lan, a, b, client) = network("virtual")?;
    // The strictest that is found in the field: what does not come the way it would go is dropped.
    for node in [&a, &b] {
        node.netns.run(|| std::fs::write("/proc/sys/net/ipv4/conf/all/rp_filter", "1"))??;
    }
    let (on_a, on_b) = (Holder::new(&a)?, Holder::new(&b)?);
    let seen = Capture::start(&client.netns)?;

    for address in VIRTUAL {
        nobody_answers(&client.netns, address)?;
    }
    on_a.take()?;
    for address in VIRTUAL {
        exchange(&a.netns, &client.netns, address)?;
        ensure!(neighbour(&client.netns, address)? == text(virtual_mac(VHID)), "{address}");
    }
    // Each answers for its own addresses only.
    for address in [IpAddr::V4(a.address), OWN_V6.parse()?] {
        exchange(&a.netns, &client.netns, address)?;
        ensure!(neighbour(&client.netns, address)? == text(on_a.hardware()?), "{address}");
    }
    client.netns.ip("neigh flush all")?;
    for address in VIRTUAL {
        exchange(&a.netns, &client.netns, address)?;
        ensure!(neighbour(&client.netns, address)? == text(virtual_mac(VHID)), "{address} after a flush");
    }
    // What it says of itself, it says as the virtual address, or as nobody.
    let frames = seen.frames(0);
    let spoken: Vec<_> = frames.iter().filter(|frame| frame.hardware() == Some(virtual_mac(VHID))).collect();
    ensure!(!spoken.is_empty());
    let source = |frame: &[u8]| match frame.get(12..14)? {
        [0x08, 0x06] => Some(IpAddr::from(<[u8; 4]>::try_from(frame.get(28..32)?).ok()?)),
        [0x86, 0xdd] => Some(IpAddr::from(<[u8; 16]>::try_from(frame.get(22..38)?).ok()?)),
        _ => None,
    };
    let mut sources = spoken.iter().filter_map(|frame| source(&frame.frame));
    let strange = sources.find(|source| !VIRTUAL.contains(source) && !source.is_unspecified());
    ensure!(strange.is_none(), "it speaks as {strange:?}");

    // The other node: the client need not learn anything.
    on_a.drop_it()?;
    on_b.take()?;
    for address in VIRTUAL {
        exchange(&b.netns, &client.netns, address)?;
        ensure!(neighbour(&client.netns, address)? == text(virtual_mac(VHID)), "{address} at the other node");
    }

    // Down, it answers nothing, even if an address was left on it; and its interface does not either.
    let macvlan = Arc::clone(&on_b.macvlan);
    b.netns.run(move || anyhow::Ok(macvlan.lower(&mut Netlink::open()?)?))??;
    ensure!(b.netns.ip_json("address show")?.to_string().contains(&VIRTUAL[0].to_string()), "no test");
    client.netns.ip("neigh flush all")?;
    for address in VIRTUAL {
        nobody_answers(&client.netns, address)?;
    }
    exchange(&b.netns, &client.netns, b.address.into())?;

    on_a.remove()?;
    on_b.remove()
}

#[test]
fn a_subnet_of_its_own_is_reached_by_the_macvlan() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let (_lan, a, _b, client) = network("subnet")?;
    // The interface has no address in the virtual one's subnet, so the only way out is the macvlan.
    a.netns.ip("address del 10.77.0.1/24 dev eth0")?;
    a.netns.ip(&format!("address del {OWN_V6}/64 dev eth0"))?;
    let holder = Holder::new(&a)?;
    holder.take()?;
    for address in VIRTUAL {
        exchange(&a.netns, &client.netns, address)?;
        ensure!(neighbour(&client.netns, address)? == text(virtual_mac(VHID)), "{address}");
    }
    holder.remove()
}

#[test]
fn it_has_no_addresses_but_the_virtual_ones() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let (_lan, a, ..) = network("bare")?;
    let holder = Holder::new(&a)?;
    let name = holder.macvlan.name().to_owned();
    let shown = holder.inside.interface(&name)?;
    ensure!(!shown.up && shown.hardware == virtual_mac(VHID) && shown.addresses.is_empty(), "{shown:?}");
    holder.take()?;
    let shown = holder.inside.interface(&name)?;
    let addresses: Vec<_> = shown.ips().collect();
    ensure!(shown.up && addresses == VIRTUAL, "{shown:?}");
    // Nor one whose duplicate detection still runs.
    let shown = a.netns.ip_json(&format!("address show dev {name}"))?;
    let count = shown.pointer("/0/addr_info").and_then(|addresses| addresses.as_array()).map(Vec::len);
    ensure!(count == Some(VIRTUAL.len()), "{shown}");
    // Nor does the node's own traffic leave by it, even if the interface's routes came later than its own.
    a.netns.ip("address del 10.77.0.1/24 dev eth0")?;
    a.netns.ip("address add 10.77.0.1/24 dev eth0")?;
    for destination in ["10.77.0.3", "2001:db8::3"] {
        let route = a.netns.ip_json(&format!("route get {destination}"))?;
        ensure!(route.pointer("/0/dev").is_some_and(|device| device == "eth0"), "{route}");
    }
    let index = holder.macvlan.index();
    let setting = |family, setting| a.netns.run(move || sysctl::read(family, index, setting));
    for (family, name, value) in [
        (Family::V4, "arp_ignore", 1),
        (Family::V4, "arp_announce", 2),
        (Family::V4, "rp_filter", 2),
        (Family::V6, "accept_ra", 0),
        (Family::V6, "autoconf", 0),
        (Family::V6, "addr_gen_mode", 1),
    ] {
        ensure!(setting(family, name)?? == value, "{name}");
    }
    holder.remove()?;
    ensure!(Inside::new(&a.netns)?.interfaces()?.get(&name).is_none());
    Ok(())
}

#[test]
fn the_interface_gets_its_settings_back_with_the_last_one() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let (_lan, a, ..) = network("back")?;
    let inside = Inside::new(&a.netns)?;
    let eth0 = inside.interface("eth0")?;
    let index = eth0.index;
    let settings = || {
        let read = move |setting| sysctl::read(Family::V4, index, setting);
        Ok::<_, anyhow::Error>(
            a.netns.run(move || Ok::<_, std::io::Error>((read("arp_ignore")?, read("arp_announce")?)))??,
        )
    };
    ensure!(settings()? == (0, 0));
    let netlink = monitor(&inside)?.netlink();
    let create = |parents: &Parents, vhid| {
        let (netlink, parents, parent) = (netlink.clone(), parents.clone(), eth0.clone());
        inside.run(async move { Macvlan::create(netlink, parents, &parent, vhid, false).await })
    };
    let parents = Parents::default();
    let (first, second) = (create(&parents, 1)??, create(&parents, 2)??);
    ensure!(settings()? == (1, 2));
    inside.run(first.remove())??;
    ensure!(settings()? == (1, 2), "the second one still needs it");

    // The agent dies; the next one finds everything as it was left, replaces it, and knows how it was before.
    let left = second.index();
    let name = second.name().to_owned();
    a.netns.run(move || anyhow::Ok(second.raise(&mut Netlink::open()?)?))??;
    a.netns.ip(&format!("address add 10.77.0.100/24 dev {name}"))?;
    let parents = Parents::default();
    let again = create(&parents, 2)??;
    let shown = inside.interface(&name)?;
    ensure!(again.index() != left && !shown.up && shown.addresses.is_empty(), "{shown:?}");
    // Replaced while the agent runs: the old one counts no longer.
    let replacement = create(&parents, 2)??;
    inside.run(async move { drop(again) })?;
    ensure!(settings()? == (1, 2), "the new one needs it");
    inside.run(replacement.remove())??;
    ensure!(settings()? == (0, 0));

    // What somebody else changes meanwhile, stays.
    let third = create(&parents, 3)??;
    a.netns.run(move || sysctl::write(Family::V4, index, "arp_ignore", 2))??;
    inside.run(third.remove())??;
    ensure!(settings()? == (2, 0));

    // With the interface, it is gone too: nothing to complain of.
    let fourth = Arc::new(create(&parents, 4)??);
    a.netns.ip("link del eth0")?;
    let lowered = Arc::clone(&fourth);
    a.netns.run(move || anyhow::Ok(lowered.lower(&mut Netlink::open()?)?))??;
    inside.run(Arc::into_inner(fourth).context("shared")?.remove())??;
    Ok(())
}

#[test]
fn what_is_not_ours_is_left_alone() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let (_lan, a, ..) = network("theirs")?;
    let inside = Inside::new(&a.netns)?;
    let eth0 = inside.interface("eth0")?;
    let name = format!("ha-5.{:x}", eth0.index);
    a.netns.ip(&format!("link add {name} type veth peer name other"))?;
    let (netlink, parent) = (monitor(&inside)?.netlink(), eth0.clone());
    let made =
        inside.run(async move { Macvlan::create(netlink, Parents::default(), &parent, 5, true).await })?;
    let error = made.err().context("it was made")?;
    ensure!(matches!(&error, MacvlanError::NotOurs(taken) if *taken == name), "{error}");
    ensure!(inside.interfaces()?.get(&name).is_some());

    // Another program has this hardware address on the same interface, and is up.
    a.netns.ip("link add vrrp link eth0 address 00:00:5e:00:01:06 type macvlan mode bridge")?;
    a.netns.ip("link set vrrp up")?;
    let (netlink, parent) = (monitor(&inside)?.netlink(), eth0.clone());
    let raised: Result<()> = inside.run(async move {
        let macvlan = Macvlan::create(netlink, Parents::default(), &parent, 6, true).await?;
        let raised = macvlan.raise(&mut Netlink::open()?);
        macvlan.remove().await?;
        Ok(raised?)
    })?;
    let error = raised.err().context("two have the same hardware address")?;
    ensure!(error.to_string().contains("another agent or VRRP daemon"), "{error}");
    let index = eth0.index;
    ensure!(a.netns.run(move || sysctl::read(Family::V4, index, "arp_ignore"))?? == 0, "left behind");
    Ok(())
}

/// One node's part of a virtual host with a virtual hardware address.
struct Holder<'a> {
    node: &'a Node,
    inside: Inside<'a>,
    macvlan: Arc<Macvlan>,
    addresses: Addresses,
}

impl<'a> Holder<'a> {
    fn new(node: &'a Node) -> Result<Self> {
        let inside = Inside::new(&node.netns)?;
        let (netlink, parent) = (monitor(&inside)?.netlink(), inside.interface("eth0")?);
        let made = async move { Macvlan::create(netlink, Parents::default(), &parent, VHID, true).await };
        let macvlan = Arc::new(inside.run(made)??);
        let nets = vec![format!("{}/24", VIRTUAL[0]).parse()?, format!("{}/64", VIRTUAL[1]).parse()?];
        let addresses = Addresses::new(macvlan.index(), nets).with_metric(METRIC);
        Ok(Self { node, inside, macvlan, addresses })
    }

    /// What becoming master does.
    fn take(&self) -> Result<()> {
        let (macvlan, addresses) = (Arc::clone(&self.macvlan), self.addresses.clone());
        let taken = self.node.netns.run(move || {
            let netlink = &mut Netlink::open()?;
            macvlan.raise(netlink)?;
            let taken = addresses.take(netlink);
            let socket = PacketSocket::open(macvlan.index())?;
            Announcer::new(socket, macvlan.index(), macvlan.hardware(), VIRTUAL.into_iter()).announce()?;
            taken.error.map_or(Ok(taken.added), |error| Err(anyhow::Error::from(error)))
        })??;
        ensure!(taken == VIRTUAL.len());
        Ok(())
    }

    /// What becoming backup does.
    fn drop_it(&self) -> Result<()> {
        let (macvlan, addresses) = (Arc::clone(&self.macvlan), self.addresses.clone());
        self.node.netns.run(move || {
            let netlink = &mut Netlink::open()?;
            addresses.drop(netlink)?;
            macvlan.lower(netlink)?;
            anyhow::Ok(())
        })?
    }

    fn hardware(&self) -> Result<[u8; 6]> {
        Ok(self.inside.interface("eth0")?.hardware)
    }

    fn remove(self) -> Result<()> {
        let macvlan = Arc::into_inner(self.macvlan).context("it is still used")?;
        self.inside.run(macvlan.remove())??;
        let links = self.node.netns.ip_json("link show")?.to_string();
        ensure!(!links.contains("00:00:5e"), "{links}");
        Ok(())
    }
}

/// Has a connection for requests.
fn monitor(inside: &Inside<'_>) -> Result<Monitor> {
    Ok(inside.run(async { Monitor::open() })??)
}

fn network(label: &str) -> Result<(Lan, Node, Node, Node)> {
    let lan = Lan::new(label)?;
    let node = |name, last, v6: &str| {
        let node = lan.node(name, Ipv4Addr::new(10, 77, 0, last))?;
        node.netns.ip(&format!("address add {v6}/64 dev eth0 nodad"))?;
        anyhow::Ok(node)
    };
    let (a, b) = (node("a", 1, OWN_V6)?, node("b", 2, "2001:db8::2")?);
    let client = node("c", 3, "2001:db8::3")?;
    Ok((lan, a, b, client))
}

/// Talks by UDP and TCP, in both directions.
fn exchange(server: &Netns, client: &Netns, address: IpAddr) -> Result<()> {
    let at = SocketAddr::new(address, PORT);
    let (tcp, udp) =
        server.run(move || Ok::<_, std::io::Error>((TcpListener::bind(at)?, UdpSocket::bind(at)?)))??;
    let answering = std::thread::spawn(move || -> std::io::Result<()> {
        udp.set_read_timeout(Some(PATIENCE))?;
        let mut buffer = [0; 4];
        let (length, from) = udp.recv_from(&mut buffer)?;
        udp.send_to(&buffer[..length], from)?;
        let mut stream = tcp.accept()?.0;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.read_exact(&mut buffer)?;
        stream.write_all(&buffer)
    });
    let asked = client.run(move || -> std::io::Result<()> {
        let any: IpAddr = if at.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
        let mut buffer = [0; 4];
        let socket = UdpSocket::bind((any, 0))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.connect(at)?;
        socket.send(b"ping")?;
        socket.recv(&mut buffer)?;
        let mut stream = TcpStream::connect_timeout(&at, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"ping")?;
        stream.read_exact(&mut buffer)
    })?;
    asked.with_context(|| format!("talking to {address}"))?;
    match answering.join() {
        Ok(answered) => answered.with_context(|| format!("answering at {address}")),
        Err(_) => anyhow::bail!("the answering side panicked"),
    }
}

/// Waits until the client's kernel gives up: no neighbour has the address.
fn nobody_answers(client: &Netns, address: IpAddr) -> Result<()> {
    let at = SocketAddr::new(address, PORT);
    let connected = client.run(move || TcpStream::connect_timeout(&at, Duration::from_secs(10)))?;
    match connected {
        Err(error) if error.kind() == ErrorKind::HostUnreachable => Ok(()),
        other => anyhow::bail!("{address} should not answer: {other:?}"),
    }
}

/// The hardware address that a namespace has for an address.
fn neighbour(netns: &Netns, address: IpAddr) -> Result<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = netns.ip_json(&format!("neigh show {address} dev eth0"))?;
        if let Some(lladdr) = found.pointer("/0/lladdr").and_then(|lladdr| lladdr.as_str()) {
            return Ok(lladdr.to_owned());
        }
        ensure!(Instant::now() < deadline, "no neighbour {address}: {found}");
    }
}

fn text(hardware: [u8; 6]) -> String {
    hardware.map(|byte| format!("{byte:02x}")).join(":")
}

const VHID: u8 = 10;
const VIRTUAL: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(10, 77, 0, 100)),
    IpAddr::V6(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x100)),
];
const OWN_V6: &str = "2001:db8::1";
const PORT: u16 = 7777;
const PATIENCE: Duration = Duration::from_secs(5);
