//! Virtual addresses on and off an interface, by netlink.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures_util::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage};
use rtnetlink::{AddressMessageBuilder, Handle};

use crate::sys::interface_name;

/// Puts addresses on one interface and takes them off.
#[derive(Clone, Debug)]
pub struct Addresses {
    netlink: Handle,
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
    cause: Box<rtnetlink::Error>,
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
    pub fn new(netlink: Handle, ifindex: u32, addresses: Vec<IpNet>) -> Self {
        Self { netlink, ifindex, all: addresses, metric: None }
    }

    /// The same, for an interface that is no way to their subnets as long as there is another: the routes that
    /// come with the addresses get this metric, higher is worse.
    #[must_use]
    pub fn with_metric(self, metric: u32) -> Self {
        Self { metric: Some(metric), ..self }
    }

    /// Puts all of them on, usable at once: nobody is asked whether an IPv6 address is in use, for we know that
    /// it was. One that is there already is fine; when one fails, the others are tried all the same.
    pub async fn take(&self) -> Taken {
        let mut taken = Taken::default();
        for &address in &self.all {
            match self.add(address).await {
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

    /// Takes all of them off. One that is not there is fine, and so is an interface that is gone.
    ///
    /// # Errors
    ///
    /// The first that failed; the others are tried all the same.
    pub async fn drop(&self) -> Result<(), AddressError> {
        let mut result = Ok(());
        for &address in &self.all {
            let done = self.remove(address).await;
            result = result.and(done.map_err(|cause| self.error(address, "could not be removed", cause)));
        }
        result
    }

    fn error(&self, address: IpNet, verb: &'static str, cause: rtnetlink::Error) -> AddressError {
        let interface = interface_name::of(self.ifindex).unwrap_or_else(|_| "all".to_owned());
        AddressError { address, interface, verb, cause: Box::new(cause) }
    }

    /// Returns whether it was not there.
    async fn add(&self, address: IpNet) -> Result<bool, rtnetlink::Error> {
        match self.request(address).await {
            Ok(()) => Ok(true),
            Err(error) if is(&error, libc::EEXIST) => {
                if self.is_usable(address.addr()).await? {
                    return Ok(false);
                }
                // Somebody else put it on, and duplicate detection runs or failed: that way nobody uses it.
                self.remove(address).await?;
                self.request(address).await.map(|()| true)
            }
            Err(error) => Err(error),
        }
    }

    async fn request(&self, address: IpNet) -> Result<(), rtnetlink::Error> {
        let mut request = self.netlink.address().add(self.ifindex, address.addr(), address.prefix_len());
        let message = request.message_mut();
        if address.addr().is_ipv6() {
            message.header.flags |= AddressHeaderFlags::Nodad;
        }
        message.attributes.extend(self.metric.map(AddressAttribute::RoutePriority));
        request.execute().await
    }

    async fn is_usable(&self, ip: IpAddr) -> Result<bool, rtnetlink::Error> {
        if ip.is_ipv4() {
            return Ok(true);
        }
        let request = self.netlink.address().get().set_link_index_filter(self.ifindex);
        let found: Vec<AddressMessage> = request.set_address_filter(ip).execute().try_collect().await?;
        let unusable = AddressFlags::Tentative | AddressFlags::Dadfailed;
        let mut attributes = found.iter().flat_map(|message| &message.attributes);
        Ok(!attributes.any(
            |attribute| matches!(attribute, AddressAttribute::Flags(flags) if flags.intersects(unusable)),
        ))
    }

    async fn remove(&self, address: IpNet) -> Result<(), rtnetlink::Error> {
        let message = match address {
            IpNet::V4(net) => AddressMessageBuilder::<Ipv4Addr>::new()
                .index(self.ifindex)
                .address(net.addr(), net.prefix_len())
                .build(),
            IpNet::V6(net) => AddressMessageBuilder::<Ipv6Addr>::new()
                .index(self.ifindex)
                .address(net.addr(), net.prefix_len())
                .build(),
        };
        match self.netlink.address().del(message).execute().await {
            Err(error) if is(&error, libc::EADDRNOTAVAIL) || is(&error, libc::ENODEV) => Ok(()),
            other => other,
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
fn is(error: &rtnetlink::Error, code: i32) -> bool {
    matches!(error, rtnetlink::Error::NetlinkError(message) if message.raw_code() == -code)
}
