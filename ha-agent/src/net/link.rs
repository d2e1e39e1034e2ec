//! Watching interfaces and their addresses by netlink.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr};

use futures_util::{StreamExt, TryStreamExt};
use ha_common::wire::ethernet::Mac;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags};
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage, LinkXdp};
use rtnetlink::{Handle, MulticastGroup};
use tokio::sync::mpsc;

/// An interface as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The kernel's number for it; another one once it was deleted and made again.
    pub index: u32,
    /// Its hardware address; zero for one that has none.
    pub hardware: Mac,
    /// Whether it is set up.
    pub up: bool,
    /// Whether it has a carrier.
    pub running: bool,
    /// The XDP program that it runs.
    pub program: Option<u32>,
    /// Its IPv4 addresses: those that lead their subnet first.
    pub addresses: Vec<Ipv4Addr>,
}

impl Interface {
    /// The address that advertisements leave from: the first that is not virtual, else `0.0.0.0`
    /// (CARP specification §1.1).
    #[must_use]
    pub fn source(&self, virtual_addresses: &BTreeSet<Ipv4Addr>) -> Ipv4Addr {
        let real = self.addresses.iter().find(|address| !virtual_addresses.contains(address));
        real.copied().unwrap_or(Ipv4Addr::UNSPECIFIED)
    }
}

/// All interfaces of this network namespace, by name.
pub type Interfaces = BTreeMap<String, Interface>;

/// Asks the kernel for the interfaces, and says when they may have changed.
#[derive(Debug)]
pub struct Monitor {
    netlink: Handle,
    changes: mpsc::Receiver<()>,
}

impl Monitor {
    /// Begins to watch. Must be called on a tokio runtime with I/O.
    ///
    /// # Errors
    ///
    /// If a netlink socket can't be had.
    pub fn open() -> io::Result<Self> {
        let groups = [MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr];
        let (connection, netlink, mut messages) = rtnetlink::new_multicast_connection(&groups)?;
        tokio::spawn(connection);
        // One pending change says as much as many: the whole state is read afterwards.
        let (notify, changes) = mpsc::channel(1);
        tokio::spawn(async move {
            while messages.next().await.is_some() {
                if matches!(notify.try_send(()), Err(mpsc::error::TrySendError::Closed(()))) {
                    break;
                }
            }
        });
        Ok(Self { netlink, changes })
    }

    /// Waits for the next change. Cancel-safe. Returns `false` if netlink was closed.
    pub async fn changed(&mut self) -> bool {
        self.changes.recv().await.is_some()
    }

    /// Reads the interfaces.
    ///
    /// # Errors
    ///
    /// If the kernel does not answer.
    pub async fn interfaces(&self) -> Result<Interfaces, rtnetlink::Error> {
        let links: Vec<LinkMessage> = self.netlink.link().get().execute().try_collect().await?;
        let mut names = BTreeMap::new();
        let mut interfaces = Interfaces::new();
        for link in links {
            if let Some((name, interface)) = interface(&link) {
                names.insert(interface.index, name.clone());
                interfaces.insert(name, interface);
            }
        }
        let mut addresses = self.netlink.address().get().execute();
        let mut secondary = Vec::new();
        while let Some(message) = addresses.try_next().await? {
            let local = message.attributes.iter().find_map(|attribute| match attribute {
                AddressAttribute::Local(IpAddr::V4(address)) => Some(*address),
                _ => None,
            });
            let flags = message.attributes.iter().find_map(|attribute| match attribute {
                AddressAttribute::Flags(flags) => Some(*flags),
                _ => None,
            });
            let interface = names.get(&message.header.index).and_then(|name| interfaces.get_mut(name));
            if let (Some(local), Some(interface)) = (local, interface) {
                if flags.is_some_and(|flags| flags.contains(AddressFlags::Secondary)) {
                    secondary.push((message.header.index, local));
                } else {
                    interface.addresses.push(local);
                }
            }
        }
        for (index, address) in secondary {
            if let Some(interface) = names.get(&index).and_then(|name| interfaces.get_mut(name)) {
                interface.addresses.push(address);
            }
        }
        Ok(interfaces)
    }

    /// The same connection, for requests.
    #[must_use]
    pub fn netlink(&self) -> Handle {
        self.netlink.clone()
    }
}

fn interface(link: &LinkMessage) -> Option<(String, Interface)> {
    let mut name = None;
    let mut interface = Interface {
        index: link.header.index,
        hardware: [0; 6],
        up: link.header.flags.contains(LinkFlags::Up),
        running: link.header.flags.contains(LinkFlags::Running | LinkFlags::LowerUp),
        program: None,
        addresses: Vec::new(),
    };
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::IfName(text) => name = Some(text.clone()),
            LinkAttribute::Address(bytes) => {
                interface.hardware = bytes.as_slice().try_into().unwrap_or_default();
            }
            LinkAttribute::Xdp(attributes) => {
                interface.program = attributes.iter().find_map(|attribute| match attribute {
                    LinkXdp::ProgId(id) => Some(*id),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    Some((name?, interface))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_first_real_address_as_source() {
        let address = |last| Ipv4Addr::new(10, 0, 0, last);
        let interface = Interface {
            index: 1,
            hardware: [0; 6],
            up: true,
            running: true,
            program: None,
            addresses: vec![address(100), address(1), address(2)],
        };
        assert_eq!(interface.source(&BTreeSet::from([address(100)])), address(1));
        assert_eq!(interface.source(&BTreeSet::new()), address(100));
        let all = BTreeSet::from([address(100), address(1), address(2)]);
        assert_eq!(interface.source(&all), Ipv4Addr::UNSPECIFIED);
    }

    #[tokio::test]
    async fn sees_the_loopback_interface() {
        let interfaces = Monitor::open().unwrap().interfaces().await.unwrap();
        assert_eq!(interfaces.get("lo").map(|lo| lo.index), Some(1));
    }
}
