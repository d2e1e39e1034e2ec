use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rtnetlink::packet_core::{Emitable, Parseable};
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use rtnetlink::packet_route::link::{
    InfoBond, InfoBridge, InfoData, InfoKind, InfoMacVlan, InfoPortKind, InfoVlan, LinkAttribute, LinkFlags,
    LinkInfo, LinkMessage, MacVlanMode, Prop, VlanProtocol,
};

use super::*;
use crate::core::Sources;

fn link(index: u32, name: &str, attributes: Vec<LinkAttribute>) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.header.flags = LinkFlags::Up | LinkFlags::Running | LinkFlags::LowerUp;
    message.attributes = vec![
        LinkAttribute::IfName(name.to_owned()),
        LinkAttribute::Address(vec![2, 0, 0, 0, 0, u8::try_from(index).unwrap()]),
    ];
    message.attributes.extend(attributes);
    message
}

fn info(kind: InfoKind, data: Option<InfoData>) -> LinkAttribute {
    LinkAttribute::LinkInfo(
        [Some(LinkInfo::Kind(kind)), data.map(LinkInfo::Data)].into_iter().flatten().collect(),
    )
}

/// Reads a message after a way through its bytes, as from the kernel.
fn read(message: &LinkMessage) -> Interface {
    let mut bytes = vec![0; message.buffer_len()];
    message.emit(&mut bytes);
    interface_of(&LinkMessage::parse(&bytes).unwrap()).unwrap()
}

#[test]
fn tells_what_an_interface_is() {
    let vlan = |id, protocol| {
        info(InfoKind::Vlan, Some(InfoData::Vlan(vec![InfoVlan::Id(id), InfoVlan::Protocol(protocol)])))
    };
    let bond = info(InfoKind::Bond, Some(InfoData::Bond(vec![InfoBond::MiiMon(100)])));
    let bridge = info(InfoKind::Bridge, Some(InfoData::Bridge(vec![InfoBridge::VlanFiltering(false)])));
    let macvlan =
        info(InfoKind::MacVlan, Some(InfoData::MacVlan(vec![InfoMacVlan::Mode(MacVlanMode::Private)])));
    let on = LinkAttribute::Link(2);
    let elsewhere = LinkAttribute::LinkNetNsId(0);
    let table = [
        (vec![], Kind::Plain),
        // The other end of a veth is no parent.
        (vec![on.clone(), info(InfoKind::Veth, None)], Kind::Plain),
        (
            vec![on.clone(), vlan(5, VlanProtocol::Ieee8021Q)],
            Kind::Vlan { parent: Some(2), id: 5, tag: Tag::Dot1Q },
        ),
        (
            vec![vlan(4094, VlanProtocol::Ieee8021Ad), on.clone()],
            Kind::Vlan { parent: Some(2), id: 4094, tag: Tag::Dot1Ad },
        ),
        (
            vec![on.clone(), vlan(5, VlanProtocol::Ieee8021Q), elsewhere.clone()],
            Kind::Vlan { parent: None, id: 5, tag: Tag::Dot1Q },
        ),
        (vec![bond], Kind::Bond),
        (vec![info(InfoKind::Team, None)], Kind::Team),
        (vec![bridge], Kind::Bridge),
        (vec![on.clone(), macvlan.clone()], Kind::Macvlan { parent: Some(2) }),
        (vec![elsewhere, on, macvlan], Kind::Macvlan { parent: None }),
    ];
    for (attributes, expected) in table {
        let message = link(7, "x", attributes);
        assert_eq!(read(&message).kind, expected, "{message:?}");
    }
}

#[test]
fn reads_what_does_not_depend_on_the_kind() {
    let interface = read(&link(
        3,
        "eth1",
        vec![
            LinkAttribute::PropList(vec![
                Prop::AltIfName("enp3s0".to_owned()),
                Prop::AltIfName("storage".to_owned()),
            ]),
            LinkAttribute::IfAlias("to the disks".to_owned()),
            LinkAttribute::Mtu(9000),
            LinkAttribute::Controller(9),
            LinkAttribute::LinkInfo(vec![LinkInfo::PortKind(InfoPortKind::Bond)]),
        ],
    ));
    assert_eq!((interface.index, interface.name.as_str()), (3, "eth1"));
    assert_eq!(interface.altnames, ["enp3s0", "storage"]);
    assert_eq!(interface.alias.as_deref(), Some("to the disks"));
    assert_eq!((interface.controller, interface.kind, interface.mtu), (Some(9), Kind::Plain, 9000));
    assert_eq!(interface.hardware, [2, 0, 0, 0, 0, 3]);
    assert!(interface.up && interface.running);

    let mut message = link(3, "eth1", vec![LinkAttribute::Controller(0)]);
    message.header.flags = LinkFlags::Up;
    let interface = read(&message);
    assert_eq!((interface.up, interface.running, interface.controller), (true, false, None));
}

#[test]
fn finds_interfaces_by_name_other_name_and_index() {
    let altname = |name: &str| LinkAttribute::PropList(vec![Prop::AltIfName(name.to_owned())]);
    let slave = |index, name| link(index, name, vec![LinkAttribute::Controller(4)]);
    let messages = [
        link(2, "eth0", vec![altname("lan")]),
        link(3, "lan0", vec![altname("eth0-old")]),
        link(4, "bond0", vec![info(InfoKind::Bond, None)]),
        slave(5, "eth1"),
        slave(6, "eth2"),
    ];
    let interfaces: Interfaces = messages.iter().map(read).collect();
    let index = |name: &str| interfaces.get(name).map(|interface| interface.index);
    assert_eq!(
        (index("eth0"), index("lan"), index("lan0"), index("eth0-old")),
        (Some(2), Some(2), Some(3), Some(3))
    );
    assert_eq!(index("eth9"), None);
    assert_eq!(interfaces.by_index(6).map(|interface| interface.name.as_str()), Some("eth2"));
    let slaves: Vec<_> = interfaces.ports_of(4).map(|slave| slave.index).collect();
    assert_eq!(slaves, [5, 6]);
}

fn address(ip: &str, prefix_len: u8, flags: AddressFlags) -> AddressMessage {
    let ip: IpAddr = ip.parse().unwrap();
    let mut message = AddressMessage::default();
    message.header.index = 2;
    message.header.prefix_len = prefix_len;
    message.header.family = if ip.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    // As the kernel does: of IPv6 it tells the local address only if there is a far end.
    message.attributes = vec![AddressAttribute::Address(ip)];
    message.attributes.extend(ip.is_ipv4().then_some(AddressAttribute::Local(ip)));
    message.attributes.push(AddressAttribute::Flags(flags));
    message
}

#[test]
fn ranks_addresses_and_leaves_unusable_ones_out() {
    let none = AddressFlags::empty();
    let table = [
        ("10.0.0.1", none, Some(0)),
        ("10.0.0.2", AddressFlags::Secondary, Some(1)),
        ("fe80::1", none, Some(0)),
        ("fe80::2", AddressFlags::Tentative, None),
        ("fe80::3", AddressFlags::Tentative | AddressFlags::Optimistic, Some(0)),
        ("fe80::4", AddressFlags::Dadfailed | AddressFlags::Tentative, None),
        ("fe80::5", AddressFlags::Dadfailed, None),
        ("2001:db8::1", AddressFlags::Nodad, Some(2)),
        ("2001:db8::2", AddressFlags::Secondary, Some(3)),
        ("2001:db8::3", AddressFlags::Deprecated, Some(3)),
    ];
    for (ip, flags, expected) in table {
        let found = parse::address(&address(ip, 24, flags));
        assert_eq!(
            found.map(|(net, rank)| (net.addr().to_string(), rank)),
            expected.map(|rank| (ip.to_owned(), rank))
        );
    }
    // The far end's address is not ours.
    let mut tunnel = address("10.0.0.9", 32, none);
    tunnel.attributes.push(AddressAttribute::Local("10.0.0.1".parse().unwrap()));
    tunnel.attributes.remove(1);
    assert_eq!(parse::address(&tunnel).map(|(net, _)| net.to_string()), Some("10.0.0.1/32".to_owned()));
    // Nonsense is no reason to panic.
    assert_eq!(parse::address(&address("10.0.0.1", 33, none)), None);
    assert_eq!(parse::address(&AddressMessage::default()), None);
}

#[test]
fn sources_are_real_addresses_of_the_right_scope() {
    let mut interface = read(&link(2, "eth0", vec![]));
    interface.addresses =
        ["10.0.0.100/24", "10.0.0.1/24", "10.1.0.1/24", "fe80::100/64", "fe80::1/64", "2001:db8::1/64"]
            .map(|net| net.parse().unwrap())
            .to_vec();
    let virtual_addresses: BTreeSet<IpAddr> =
        ["10.0.0.100", "fe80::100", "2001:db8::100"].map(|ip| ip.parse().unwrap()).into();
    let table: [(&[&str], &str, &str); 9] = [
        (&[], "10.0.0.1", "fe80::1"),
        (&["10.0.0.2"], "10.0.0.1", "fe80::1"),
        (&["10.1.0.2"], "10.1.0.1", "fe80::1"),
        // In no subnet of ours: still some address.
        (&["192.0.2.1"], "10.0.0.1", "fe80::1"),
        (&["fe80::2"], "10.0.0.1", "fe80::1"),
        (&["2001:db8::2"], "10.0.0.1", "2001:db8::1"),
        (&["2001:db8:1::2"], "10.0.0.1", "2001:db8::1"),
        // The first peer of a family counts.
        (&["10.1.0.2", "10.0.0.2"], "10.1.0.1", "fe80::1"),
        (&["2001:db8::2", "10.1.0.2"], "10.1.0.1", "2001:db8::1"),
    ];
    for (unicast, v4, v6) in table {
        let peers: Vec<IpAddr> = unicast.iter().map(|ip| ip.parse().unwrap()).collect();
        let expected = Sources { v4: v4.parse().unwrap(), v6: v6.parse().unwrap() };
        assert_eq!(interface.sources(&virtual_addresses, &peers), expected, "to {unicast:?}");
    }

    let nothing = Sources { v4: Ipv4Addr::UNSPECIFIED, v6: Ipv6Addr::UNSPECIFIED };
    // To the group, no other IPv6 source will do.
    interface.addresses = vec!["2001:db8::1/64".parse().unwrap(), "10.0.0.100/24".parse().unwrap()];
    assert_eq!(interface.sources(&virtual_addresses, &[]), nothing);
    let any = Sources { v6: "2001:db8::1".parse().unwrap(), ..nothing };
    assert_eq!(interface.sources(&virtual_addresses, &["fe80::2".parse().unwrap()]), any);
}

#[tokio::test]
async fn sees_the_loopback_interface() {
    let interfaces = Monitor::open().unwrap().interfaces().await.unwrap();
    let lo = interfaces.get("lo").unwrap();
    assert_eq!((lo.index, lo.kind), (1, Kind::Plain));
}
