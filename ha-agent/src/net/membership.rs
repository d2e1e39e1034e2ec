//! Being in the groups that advertisements go to, and questions for the virtual addresses.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use ha_common::wire::{carp, ipv6};
use socket2::{InterfaceIndexOrAddress, SockRef};

/// Keeps an interface in the groups for as long as it lives, so that the interface's filter and the switches let
/// through what is sent there. It is read elsewhere.
#[derive(Debug)]
pub struct Membership {
    _v4: Option<UdpSocket>,
    _v6: Option<UdpSocket>,
}

/// Why an interface could not join a group.
#[derive(Debug, thiserror::Error)]
pub enum MembershipError {
    /// 224.0.0.18.
    #[error("the group 224.0.0.18 could not be joined: {0}; is the interface there, and IPv4 on it?")]
    V4(#[source] io::Error),
    /// `ff02::12`.
    #[error(
        "the group ff02::12 could not be joined: {0}; is IPv6 on, and its sysctl disable_ipv6 0 on the interface?"
    )]
    V6(#[source] io::Error),
}

impl Membership {
    /// Joins the groups of the wanted families on the interface with this index; and in IPv6 those in which neighbours
    /// ask for these addresses, which the kernel joins only some time after they have been put on. Who has not got
    /// them does not answer there.
    ///
    /// # Errors
    ///
    /// See [`MembershipError`].
    pub fn join(ifindex: u32, v4: bool, v6: bool, addresses: &[IpAddr]) -> Result<Self, MembershipError> {
        let v4 = v4.then(|| join_v4(ifindex)).transpose().map_err(MembershipError::V4)?;
        let v6 = v6.then(|| join_v6(ifindex)).transpose().map_err(MembershipError::V6)?;
        let asked: BTreeSet<_> = addresses.iter().filter_map(solicited_node).collect();
        for (socket, group) in v6.iter().flat_map(|socket| asked.iter().map(move |group| (socket, group))) {
            // Then it is up to the kernel.
            let _ = socket.join_multicast_v6(group, ifindex);
        }
        Ok(Self { _v4: v4, _v6: v6 })
    }
}

/// The solicited-node group of an address (RFC 4291 §2.7.1).
fn solicited_node(address: &IpAddr) -> Option<Ipv6Addr> {
    let IpAddr::V6(address) = address else { return None };
    let [.., a, b, c] = address.octets();
    Some(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, u16::from_be_bytes([0xff, a]), u16::from_be_bytes([b, c])))
}

fn join_v4(ifindex: u32) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let group = Ipv4Addr::from(carp::GROUP);
    SockRef::from(&socket).join_multicast_v4_n(&group, &InterfaceIndexOrAddress::Index(ifindex))?;
    Ok(socket)
}

fn join_v6(ifindex: u32) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?;
    socket.join_multicast_v6(&Ipv6Addr::from(ipv6::GROUP), ifindex)?;
    Ok(socket)
}
