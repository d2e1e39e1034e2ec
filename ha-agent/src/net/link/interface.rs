//! What is known of an interface.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ha_common::wire::ethernet::Mac;
use ipnet::IpNet;

use crate::core::Sources;

/// An interface as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The kernel's number for it: the same after it was renamed, another one once it was deleted and made again.
    pub index: u32,
    /// Its name now.
    pub name: String,
    /// Its other names, as `ip link property add altname` gives them.
    pub altnames: Vec<String>,
    /// What it is.
    pub kind: Kind,
    /// Index of the bond, bridge, team or VRF that it belongs to.
    pub controller: Option<u32>,
    /// Its hardware address; zero for one that has none.
    pub hardware: Mac,
    /// The longest packet that it takes, in bytes.
    pub mtu: u32,
    /// Whether it is set up.
    pub up: bool,
    /// Whether it has a carrier.
    pub running: bool,
    /// The XDP program that it runs.
    pub program: Option<u32>,
    /// Its alias, a text for people.
    pub alias: Option<String>,
    /// Its usable addresses, the better source first: of IPv4 those that lead their subnet, of IPv6 the
    /// link-local ones (CARP specification §1.2). An IPv6 address whose duplicate detection runs or failed is
    /// not usable.
    pub addresses: Vec<IpNet>,
}

/// What an interface is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A network card, one end of a veth, or anything else that stands for itself.
    Plain,
    /// The frames of another interface that carry a tag.
    Vlan {
        /// Index of the interface that carries them; `None` if it is in another network namespace.
        parent: Option<u32>,
        /// VLAN, 0 to 4094.
        id: u16,
        /// The kind of tag.
        tag: Tag,
    },
    /// Several interfaces as one.
    Bond,
    /// Several interfaces as one, driven from user space.
    Team,
    /// A bridge.
    Bridge,
    /// Another hardware address of an interface.
    Macvlan {
        /// Index of that interface; `None` if it is in another network namespace.
        parent: Option<u32>,
    },
}

/// The kind of a VLAN tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    /// 802.1Q, `EtherType` 0x8100.
    Dot1Q,
    /// 802.1ad, `EtherType` 0x88a8.
    Dot1Ad,
}

impl Interface {
    /// The addresses that advertisements to the groups, or else to these unicast peers, leave from. Virtual
    /// addresses are none: they are elsewhere tomorrow.
    ///
    /// To the groups: the first of each family, and for IPv6 only a link-local one. To peers: one that shares
    /// a subnet with the family's first peer, else one of the same scope, else any.
    #[must_use]
    pub fn sources(&self, virtual_addresses: &BTreeSet<IpAddr>, unicast: &[IpAddr]) -> Sources {
        let real = || self.addresses.iter().filter(|net| !virtual_addresses.contains(&net.addr()));
        let best = |peer: &IpAddr| {
            let same_family = || real().filter(|net| net.addr().is_ipv4() == peer.is_ipv4());
            let same_scope = |net: &&IpNet| is_link_local(net.addr()) == is_link_local(*peer);
            same_family()
                .filter(same_scope)
                .find(|net| net.contains(peer))
                .or_else(|| same_family().find(same_scope))
                .or_else(|| same_family().next())
                .map(IpNet::addr)
        };
        let mut sources = Sources::UNSPECIFIED;
        let first_v4 = || real().map(IpNet::addr).find(IpAddr::is_ipv4);
        let first_v6 = || real().map(IpNet::addr).find(|ip| ip.is_ipv6() && is_link_local(*ip));
        let v4 = unicast.iter().find(|peer| peer.is_ipv4()).map_or_else(first_v4, best);
        let v6 = unicast.iter().find(|peer| peer.is_ipv6()).map_or_else(first_v6, best);
        if let Some(IpAddr::V4(source)) = v4 {
            sources.v4 = source;
        }
        if let Some(IpAddr::V6(source)) = v6 {
            sources.v6 = source;
        }
        sources
    }

    /// Its usable addresses without their subnets.
    pub fn ips(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.addresses.iter().map(IpNet::addr)
    }
}

/// All interfaces of this network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interfaces(BTreeMap<u32, Interface>);

impl Interfaces {
    /// The interface of this name, or else of this alternative name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Interface> {
        let by_altname = || self.iter().find(|interface| interface.altnames.iter().any(|alt| alt == name));
        self.iter().find(|interface| interface.name == name).or_else(by_altname)
    }

    /// The interface of this index, whatever its name is now.
    #[must_use]
    pub fn by_index(&self, index: u32) -> Option<&Interface> {
        self.0.get(&index)
    }

    /// The slaves of a bond, or the ports of a bridge or team, by its index.
    pub fn ports_of(&self, index: u32) -> impl Iterator<Item = &Interface> {
        self.iter().filter(move |interface| interface.controller == Some(index))
    }

    /// All of them, by index.
    pub fn iter(&self) -> impl Iterator<Item = &Interface> {
        self.0.values()
    }

    pub(super) fn by_index_mut(&mut self, index: u32) -> Option<&mut Interface> {
        self.0.get_mut(&index)
    }
}

impl FromIterator<Interface> for Interfaces {
    fn from_iter<T: IntoIterator<Item = Interface>>(interfaces: T) -> Self {
        Self(interfaces.into_iter().map(|interface| (interface.index, interface)).collect())
    }
}

pub(super) fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}
