//! Virtual addresses on and off an interface, by netlink.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use rtnetlink::AddressMessageBuilder;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage};

use super::netlink::Netlink;
use crate::sys::interface_name;

/// Puts addresses on one interface and takes them off.
#[derive(Clone, Debug)]
pub struct Addresses {
    ifindex: u32,
    all: Vec<IpNet>,
    metric: Option<u32>,
}

/// Why an address could not be moved.
#[derive(Debug, thiserror::Error)]
#[error("{address} {verb}: {cause}{}", self.remedy())]
pub struct AddressError {
    address: IpNet,
    /// Its name; `all` if it is gone by now.
    interface: String,
    verb: &'static str,
    cause: io::Error,
}

/// What became of addresses that were to be put on.
#[derive(Debug, Default)]
#[must_use]
pub struct Taken {
    /// Those that are there now.
    pub up: Vec<IpAddr>,
    /// How many of them were not there before.
    pub added: usize,
    /// Why the first of the others is not.
    pub error: Option<AddressError>,
}

impl Addresses {
    /// Addresses of the interface with this index.
    #[must_use]
    pub fn new(ifindex: u32, addresses: Vec<IpNet>) -> Self {
        Self { ifindex, all: addresses, metric: None }
    }

    /// The same, for an interface that is no way to their subnets as long as there is another: the routes that
    /// come with the addresses get this metric, higher is worse.
    #[must_use]
    pub fn with_metric(self, metric: u32) -> Self {
        Self { metric: Some(metric), ..self }
    }

    /// Is about these addresses from now on. Returns the others.
    #[must_use]
    pub fn readdress(&mut self, addresses: Vec<IpNet>) -> Self {
        let all = std::mem::replace(&mut self.all, addresses);
        let gone = all.into_iter().filter(|address| !self.all.contains(address)).collect();
        Self { ifindex: self.ifindex, all: gone, metric: self.metric }
    }

    /// Puts all of them on, usable at once: nobody is asked whether an IPv6 address is in use, for we know that
    /// it was. One that is there already is fine; when one fails, the others are tried all the same.
    pub fn take(&self, netlink: &mut Netlink) -> Taken {
        let mut taken = Taken::default();
        for &address in &self.all {
            match self.add(netlink, address) {
                Ok(added) => {
                    taken.up.push(address.addr());
                    taken.added += usize::from(added);
                }
                Err(cause) => {
                    taken.error.get_or_insert(self.error(address, "could not be added", cause));
                }
            }
        }
        taken
    }

    /// The index of the interface.
    #[must_use]
    pub fn ifindex(&self) -> u32 {
        self.ifindex
    }

    /// Whether all of them are among those that the interface has.
    #[must_use]
    pub fn all_in(&self, present: &[IpAddr]) -> bool {
        self.all.iter().all(|address| present.contains(&address.addr()))
    }

    /// Whether any of them is among those that the interface has.
    #[must_use]
    pub fn any_in(&self, present: &[IpAddr]) -> bool {
        self.all.iter().any(|address| present.contains(&address.addr()))
    }

    /// Takes all of them off. One that is not there is fine, and so is an interface that is gone. Returns whether
    /// any was there.
    ///
    /// # Errors
    ///
    /// The first that failed; the others are tried all the same.
    pub fn drop(&self, netlink: &mut Netlink) -> Result<bool, AddressError> {
        let mut result = Ok(false);
        for &address in &self.all {
            let removed = self.remove(netlink, address);
            let removed = removed.map_err(|cause| self.error(address, "could not be removed", cause));
            result = result.and_then(|before| removed.map(|removed| before || removed));
        }
        result
    }

    fn error(&self, address: IpNet, verb: &'static str, cause: io::Error) -> AddressError {
        let interface = interface_name::of(self.ifindex).unwrap_or_else(|_| "all".to_owned());
        AddressError { address, interface, verb, cause }
    }

    /// Returns whether it was not there.
    fn add(&self, netlink: &mut Netlink, address: IpNet) -> io::Result<bool> {
        match self.request(netlink, address) {
            Ok(()) => Ok(true),
            Err(error) if is(&error, libc::EEXIST) => {
                if self.is_usable(netlink, address.addr())? {
                    return Ok(false);
                }
                // Somebody else put it on, and duplicate detection runs or failed: that way nobody uses it.
                self.remove(netlink, address)?;
                self.request(netlink, address).map(|()| true)
            }
            Err(error) => Err(error),
        }
    }

    fn request(&self, netlink: &mut Netlink, address: IpNet) -> io::Result<()> {
        let mut message = self.message(address);
        if address.addr().is_ipv6() {
            message.header.flags |= AddressHeaderFlags::Nodad;
        }
        message.attributes.extend(self.metric.map(AddressAttribute::RoutePriority));
        netlink.order(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL)
    }

    fn is_usable(&self, netlink: &mut Netlink, ip: IpAddr) -> io::Result<bool> {
        if ip.is_ipv4() {
            return Ok(true);
        }
        let found = netlink.list(RouteNetlinkMessage::GetAddress(AddressMessage::default()))?;
        let unusable = AddressFlags::Tentative | AddressFlags::Dadfailed;
        let is_unusable = |attribute: &AddressAttribute| matches!(attribute, AddressAttribute::Flags(flags) if flags.intersects(unusable));
        Ok(!found.iter().any(|message| match message {
            RouteNetlinkMessage::NewAddress(AddressMessage { header, attributes, .. }) => {
                header.index == self.ifindex
                    && attributes.contains(&AddressAttribute::Address(ip))
                    && attributes.iter().any(is_unusable)
            }
            _ => false,
        }))
    }

    /// Returns whether it was there.
    fn remove(&self, netlink: &mut Netlink, address: IpNet) -> io::Result<bool> {
        match netlink.order(RouteNetlinkMessage::DelAddress(self.message(address)), 0) {
            Err(error) if is(&error, libc::EADDRNOTAVAIL) || is(&error, libc::ENODEV) => Ok(false),
            other => other.map(|()| true),
        }
    }

    fn message(&self, address: IpNet) -> AddressMessage {
        match address {
            IpNet::V4(net) => AddressMessageBuilder::<Ipv4Addr>::new()
                .index(self.ifindex)
                .address(net.addr(), net.prefix_len())
                .build(),
            IpNet::V6(net) => AddressMessageBuilder::<Ipv6Addr>::new()
                .index(self.ifindex)
                .address(net.addr(), net.prefix_len())
                .build(),
        }
    }
}

impl AddressError {
    fn remedy(&self) -> String {
        if self.address.addr().is_ipv6() && is(&self.cause, libc::EACCES) {
            let name = &self.interface;
            format!("; IPv6 is switched off on the interface: set net.ipv6.conf.{name}.disable_ipv6 to 0")
        } else {
            String::new()
        }
    }
}

/// Whether the kernel answered with this error.
fn is(error: &io::Error, code: i32) -> bool {
    error.raw_os_error() == Some(code)
}
