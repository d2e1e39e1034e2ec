//! Virtual addresses on and off an interface, by netlink.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;
use rtnetlink::{AddressMessageBuilder, Handle};

/// Puts addresses on one interface and takes them off.
#[derive(Clone, Debug)]
pub struct Addresses {
    netlink: Handle,
    ifindex: u32,
    all: Vec<Ipv4Net>,
}

/// Why an address could not be moved.
#[derive(Debug, thiserror::Error)]
#[error("{address} {verb}: {cause}")]
pub struct AddressError {
    address: Ipv4Net,
    verb: &'static str,
    cause: rtnetlink::Error,
}

impl Addresses {
    /// Addresses of the interface with this index.
    #[must_use]
    pub fn new(netlink: Handle, ifindex: u32, addresses: Vec<Ipv4Net>) -> Self {
        Self { netlink, ifindex, all: addresses }
    }

    /// Puts all of them on. One that is there already is fine. Returns how many were not.
    ///
    /// # Errors
    ///
    /// The first that failed; the others are tried all the same.
    pub async fn take(&self) -> Result<usize, AddressError> {
        let mut result = Ok(0);
        for &address in &self.all {
            let ip = IpAddr::V4(address.addr());
            let request = self.netlink.address().add(self.ifindex, ip, address.prefix_len());
            let added = match request.execute().await {
                Ok(()) => Ok(1),
                other => tolerate(other, &[libc::EEXIST]).map(|()| 0),
            };
            let added = added.map_err(|cause| AddressError { address, verb: "could not be added", cause });
            result = result.and_then(|sum| Ok(sum + added?));
        }
        result
    }

    /// Whether all of them are among those that the interface has.
    #[must_use]
    pub fn all_in(&self, present: &[Ipv4Addr]) -> bool {
        self.all.iter().all(|address| present.contains(&address.addr()))
    }

    /// Takes all of them off. One that is not there is fine, and so is an interface that is gone.
    ///
    /// # Errors
    ///
    /// The first that failed; the others are tried all the same.
    pub async fn drop(&self) -> Result<(), AddressError> {
        let mut result = Ok(());
        for &address in &self.all {
            let message = AddressMessageBuilder::<Ipv4Addr>::new()
                .index(self.ifindex)
                .address(address.addr(), address.prefix_len())
                .build();
            let request = self.netlink.address().del(message);
            let done = tolerate(request.execute().await, &[libc::EADDRNOTAVAIL, libc::ENODEV]);
            result = result.and(done.map_err(|cause| AddressError {
                address,
                verb: "could not be removed",
                cause,
            }));
        }
        result
    }
}

/// Takes some of the kernel's answers for success.
fn tolerate(result: Result<(), rtnetlink::Error>, fine: &[i32]) -> Result<(), rtnetlink::Error> {
    match result {
        Err(rtnetlink::Error::NetlinkError(message)) if fine.contains(&-message.raw_code()) => Ok(()),
        other => other,
    }
}
