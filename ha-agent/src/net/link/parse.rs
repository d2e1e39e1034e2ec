//! From netlink's messages to interfaces.

use std::net::IpAddr;

use ipnet::IpNet;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use rtnetlink::packet_route::link::{
    InfoData, InfoKind, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, LinkXdp, Prop,
    VlanProtocol,
};

use super::interface::{Interface, Kind, Tag, is_link_local};

/// The interface that a message describes, still without addresses.
pub(in super::super) fn interface_of(link: &LinkMessage) -> Option<Interface> {
    let mut interface = Interface {
        index: link.header.index,
        name: String::new(),
        altnames: Vec::new(),
        kind: Kind::Plain,
        controller: None,
        hardware: [0; 6],
        mtu: 0,
        up: link.header.flags.contains(LinkFlags::Up),
        running: link.header.flags.contains(LinkFlags::Running | LinkFlags::LowerUp),
        program: None,
        alias: None,
        addresses: Vec::new(),
    };
    let mut parent = None;
    let mut parent_is_elsewhere = false;
    let mut info: &[LinkInfo] = &[];
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::IfName(text) => interface.name.clone_from(text),
            LinkAttribute::PropList(properties) => {
                interface.altnames.extend(properties.iter().filter_map(altname));
            }
            LinkAttribute::IfAlias(text) => interface.alias = Some(text.clone()),
            LinkAttribute::Address(bytes) => {
                interface.hardware = bytes.as_slice().try_into().unwrap_or_default();
            }
            LinkAttribute::Mtu(mtu) => interface.mtu = *mtu,
            LinkAttribute::Controller(index) => interface.controller = (*index != 0).then_some(*index),
            LinkAttribute::Link(index) => parent = (*index != 0).then_some(*index),
            LinkAttribute::LinkNetNsId(_) => parent_is_elsewhere = true,
            LinkAttribute::LinkInfo(attributes) => info = attributes,
            LinkAttribute::Xdp(attributes) => {
                interface.program = attributes.iter().find_map(|attribute| match attribute {
                    LinkXdp::ProgId(id) => Some(*id),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    // There the same index names something else.
    interface.kind = kind(info, parent.filter(|_| !parent_is_elsewhere));
    (!interface.name.is_empty()).then_some(interface)
}

/// A usable address, and its rank among the interface's: the lower, the better as source.
pub(super) fn address(message: &AddressMessage) -> Option<(IpNet, Rank)> {
    let (mut local, mut address, mut flags) = (None, None, AddressFlags::empty());
    for attribute in &message.attributes {
        match attribute {
            // Where both are there, the other one is the far end's.
            AddressAttribute::Local(ip) => local = Some(*ip),
            AddressAttribute::Address(ip) => address = Some(*ip),
            AddressAttribute::Flags(bits) => flags = *bits,
            _ => {}
        }
    }
    let detecting = flags.contains(AddressFlags::Tentative) && !flags.contains(AddressFlags::Optimistic);
    if detecting || flags.contains(AddressFlags::Dadfailed) {
        return None;
    }
    let ip = local.or(address)?;
    let rank = match ip {
        // Of the same subnet as another that leads it. IPv6 has the same bit for temporary addresses.
        IpAddr::V4(_) => u8::from(flags.contains(AddressFlags::Secondary)),
        IpAddr::V6(_) => {
            let worse = flags.intersects(AddressFlags::Secondary | AddressFlags::Deprecated);
            2 * u8::from(!is_link_local(ip)) + u8::from(worse)
        }
    };
    Some((IpNet::new(ip, message.header.prefix_len).ok()?, rank))
}

pub(super) type Rank = u8;

fn altname(property: &Prop) -> Option<String> {
    match property {
        Prop::AltIfName(name) => Some(name.clone()),
        _ => None,
    }
}

fn kind(info: &[LinkInfo], parent: Option<u32>) -> Kind {
    let kind = info.iter().find_map(|info| match info {
        LinkInfo::Kind(kind) => Some(kind),
        _ => None,
    });
    match kind {
        Some(InfoKind::Vlan) => vlan(info, parent),
        Some(InfoKind::Bond) => Kind::Bond,
        Some(InfoKind::Team) => Kind::Team,
        Some(InfoKind::Bridge) => Kind::Bridge,
        Some(InfoKind::MacVlan) => Kind::Macvlan { parent },
        _ => Kind::Plain,
    }
}

fn vlan(info: &[LinkInfo], parent: Option<u32>) -> Kind {
    let attributes = info.iter().find_map(|info| match info {
        LinkInfo::Data(InfoData::Vlan(attributes)) => Some(attributes.as_slice()),
        _ => None,
    });
    let (mut id, mut tag) = (0, Tag::Dot1Q);
    for attribute in attributes.unwrap_or_default() {
        match attribute {
            InfoVlan::Id(number) => id = *number,
            InfoVlan::Protocol(VlanProtocol::Ieee8021Ad) => tag = Tag::Dot1Ad,
            _ => {}
        }
    }
    Kind::Vlan { parent, id, tag }
}
