//! The virtual hardware address `00:00:5e:00:01:VHID`: an interface of its own, a macvlan, on the real one.
//!
//! It is up while we are the master, and has the virtual addresses; else it is down, and nothing answers. So
//! neighbours need not learn anything when the master changes, only switches do (CARP specification §6).
//!
//! - *Mode bridge*, not private: so containers and guests that have macvlans on the same interface reach the
//!   virtual addresses too. Between interface and macvlan nothing passes in either mode, and need not: both are
//!   ours.
//! - *ARP*: each of the two answers for its own addresses only (`arp_ignore`), and asks in its own name only
//!   (`arp_announce`); else the interface would claim the virtual addresses for its own hardware address. IPv6
//!   does so by itself.
//! - *Routes*: what comes in by the macvlan goes out by the interface, as long as that has a route to the
//!   subnet: the macvlan's own have a bad [metric](METRIC). This is why its `rp_filter` must be loose. So
//!   ordinary traffic leaves with the interface's hardware address, as on FreeBSD, and only answers to ARP and
//!   neighbour discovery, announcements and advertisements with the virtual one.
//! - *IPv6*: it has no addresses but the virtual ones, no link-local one, and none by router advertisements.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::TryStreamExt;
use ha_common::wire::ethernet::Mac;
use ipnet::IpNet;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::link::MacVlanMode;
use rtnetlink::{Handle, LinkMacVlan, LinkUnspec};

use super::link::{Interface, Kind, interface_of};
use super::netlink::Netlink;
use crate::sys::sysctl::{self, Family};

/// The virtual hardware address of a virtual host (CARP specification §1.1).
#[must_use]
pub fn virtual_mac(vhid: u8) -> Mac {
    [0x00, 0x00, 0x5e, 0x00, 0x01, vhid]
}

/// One virtual host's own interface.
///
/// It outlives its value; [`Macvlan::remove`] takes it away. What a dead agent left behind is replaced. With the
/// last value, the interface under it gets its settings back.
#[derive(Debug)]
pub struct Macvlan {
    netlink: Handle,
    name: String,
    index: u32,
    hardware: Mac,
    v6: bool,
    share: Share,
}

/// The interfaces that macvlans lie on, and how they were before. To be shared by all macvlans of one agent.
#[derive(Clone, Debug, Default)]
pub struct Parents(Arc<Mutex<BTreeMap<u32, Held>>>);

/// An interface whose settings are changed as long as macvlans lie on it.
#[derive(Clone, Copy, Debug)]
struct Held {
    macvlans: usize,
    before: Before,
}

/// One macvlan's share in the changed settings of the interface under it. With the last one they are set back.
#[derive(Debug)]
struct Share {
    parents: Parents,
    parent: u32,
    /// Whether it is counted.
    held: bool,
}

/// The settings of an interface before they were changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Before {
    arp_ignore: i32,
    arp_announce: i32,
}

/// Why the virtual hardware address can't be had.
#[derive(Debug, thiserror::Error)]
pub enum MacvlanError {
    /// Something else has the name.
    #[error("interface {0} is there already and not ours; delete it with `ip link delete {0}`, or rename it")]
    NotOurs(String),
    /// The kernel refused.
    #[error("interface {name} could not be {verb}: {cause}{}", remedy(cause))]
    Netlink {
        /// The macvlan.
        name: String,
        /// What should have been done.
        verb: &'static str,
        /// Its error.
        cause: io::Error,
    },
    /// A setting could not be read or changed.
    #[error("{setting} of interface {name} could not be set: {cause}; can /proc/sys be written here?")]
    Setting {
        /// The macvlan.
        name: String,
        /// The setting.
        setting: &'static str,
        /// The system's error.
        cause: io::Error,
    },
}

impl Macvlan {
    /// Makes the interface, down. One that a dead agent left behind goes first, with whatever is on it.
    ///
    /// `v6` says whether it will have IPv6 addresses.
    ///
    /// # Errors
    ///
    /// See [`MacvlanError`]. Then nothing is left of it.
    pub async fn create(
        netlink: Handle,
        parents: Parents,
        parent: &Interface,
        vhid: u8,
        v6: bool,
    ) -> Result<Self, MacvlanError> {
        let mut macvlan = Self::new(netlink, parents, parent, vhid, v6);
        let left_behind = macvlan.sweep().await?;
        let before = macvlan.share.hold(left_behind);
        let before = before.map_err(|(setting, cause)| macvlan.setting(setting, cause))?;
        match macvlan.build(before).await {
            Ok(()) => Ok(macvlan),
            Err(error) => {
                // The first error is the one to be told of.
                let _ = macvlan.sweep().await;
                Err(error)
            }
        }
    }

    /// Goes on with the interface that an agent before this one has left with these addresses, as it is; other addresses go.
    /// `None` if there is none, or not as it should be.
    ///
    /// # Errors
    ///
    /// See [`MacvlanError`].
    pub async fn adopt(
        netlink: Handle,
        parents: Parents,
        parent: &Interface,
        vhid: u8,
        v6: bool,
        addresses: &[IpNet],
    ) -> Result<Option<Self>, MacvlanError> {
        let mut macvlan = Self::new(netlink, parents, parent, vhid, v6);
        let Some(found) = macvlan.find().await? else { return Ok(None) };
        let before = found.alias.as_deref().and_then(Before::parse);
        let lies_here = found.kind == Kind::Macvlan { parent: Some(parent.index) };
        let Some(before) = before.filter(|_| lies_here && found.hardware == macvlan.hardware) else {
            return Ok(None);
        };
        let held = macvlan.share.hold(Some(before));
        held.map_err(|(setting, cause)| macvlan.setting(setting, cause))?;
        macvlan.index = found.index;
        macvlan.forget_others(addresses).await?;
        macvlan.settle()?;
        Ok(Some(macvlan))
    }

    fn new(netlink: Handle, parents: Parents, parent: &Interface, vhid: u8, v6: bool) -> Self {
        let share = Share { parents, parent: parent.index, held: false };
        Self { netlink, name: name(vhid, parent.index), index: 0, hardware: virtual_mac(vhid), v6, share }
    }

    /// Its index: where the virtual addresses go.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The virtual hardware address.
    #[must_use]
    pub fn hardware(&self) -> Mac {
        self.hardware
    }

    /// Sets it up: from now on it answers. First of all when becoming master: an interface that is down keeps no
    /// IPv6 addresses.
    ///
    /// # Errors
    ///
    /// See [`MacvlanError`].
    pub fn raise(&self, netlink: &mut Netlink) -> Result<(), MacvlanError> {
        // Once more: whoever applies sysctl.conf to new interfaces may have been later than we.
        self.settle()?;
        let message = LinkUnspec::new_with_index(self.index).up().build();
        let raised = netlink.order(RouteNetlinkMessage::SetLink(message), 0);
        raised.map_err(|cause| self.refused("set up", cause))
    }

    /// Sets it down: from now on nothing answers. One that is gone is fine.
    ///
    /// # Errors
    ///
    /// See [`MacvlanError`].
    pub fn lower(&self, netlink: &mut Netlink) -> Result<(), MacvlanError> {
        let message = LinkUnspec::new_with_index(self.index).down().build();
        match netlink.order(RouteNetlinkMessage::SetLink(message), 0) {
            Err(cause) if is(&cause, libc::ENODEV) => Ok(()),
            other => other.map_err(|cause| self.refused("set down", cause)),
        }
    }

    /// Takes it away, and gives the interface under it its settings back if no other macvlan of ours is left
    /// there. One that is gone is fine.
    ///
    /// # Errors
    ///
    /// See [`MacvlanError`].
    pub async fn remove(self) -> Result<(), MacvlanError> {
        self.delete(self.index).await
    }

    /// Deletes what a dead agent left behind. Returns how the interface was before that agent changed it.
    async fn sweep(&self) -> Result<Option<Before>, MacvlanError> {
        let Some(found) = self.find().await? else { return Ok(None) };
        if !matches!(found.kind, Kind::Macvlan { .. }) || found.hardware != self.hardware {
            return Err(MacvlanError::NotOurs(self.name.clone()));
        }
        self.delete(found.index).await?;
        Ok(found.alias.as_deref().and_then(Before::parse))
    }

    /// Takes all addresses off that are not among these.
    async fn forget_others(&self, addresses: &[IpNet]) -> Result<(), MacvlanError> {
        let refused = |error| self.refused("cleaned of old addresses", cause(error));
        let mut found = self.netlink.address().get().set_link_index_filter(self.index).execute();
        while let Some(message) = found.try_next().await.map_err(refused)? {
            let is_wanted = |attribute: &AddressAttribute| match attribute {
                AddressAttribute::Local(ip) | AddressAttribute::Address(ip) => {
                    addresses.iter().any(|address| address.addr() == *ip)
                }
                _ => false,
            };
            if !message.attributes.iter().any(is_wanted) {
                self.netlink.address().del(message).execute().await.map_err(refused)?;
            }
        }
        Ok(())
    }

    async fn build(&mut self, before: Before) -> Result<(), MacvlanError> {
        let message = LinkMacVlan::new(&self.name, self.share.parent, MacVlanMode::Bridge)
            .address(self.hardware.to_vec())
            .build();
        let made = self.netlink.link().add(message).execute().await;
        made.map_err(|error| self.refused("made", cause(error)))?;
        let gone = || self.refused("found", io::Error::from_raw_os_error(libc::ENODEV));
        self.index = self.find().await?.ok_or_else(gone)?.index;
        // Before anything is changed: if we die now, the next agent knows how it was.
        let message = LinkUnspec::new_with_index(self.index).alias(before.to_string()).build();
        let described = self.netlink.link().set(message).execute().await;
        described.map_err(|error| self.refused("described", cause(error)))?;
        self.settle()
    }

    /// Sets whatever it and the interface under it need.
    fn settle(&self) -> Result<(), MacvlanError> {
        let set = |family, setting, value| {
            settle(family, self.index, setting, value).map_err(|cause| self.setting(setting, cause))
        };
        settle_parent(self.share.parent).map_err(|(setting, cause)| self.setting(setting, cause))?;
        set(Family::V4, ARP_IGNORE, OWN_ADDRESSES_ONLY)?;
        set(Family::V4, ARP_ANNOUNCE, BEST_OWN_ADDRESS)?;
        // The greater one counts, this or that of `all`: 2 is loose in any case.
        set(Family::V4, "rp_filter", 2)?;
        // One address may go while the others stay.
        set(Family::V4, "promote_secondaries", 1)?;
        self.copy_forwarding(Family::V4)?;
        if self.v6 {
            set(Family::V6, "addr_gen_mode", 1)?;
            set(Family::V6, "accept_ra", 0)?;
            set(Family::V6, "autoconf", 0)?;
            set(Family::V6, "disable_ipv6", 0)?;
            return self.copy_forwarding(Family::V6);
        }
        match set(Family::V6, "disable_ipv6", 1) {
            // A kernel without IPv6.
            Err(MacvlanError::Setting { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// What arrives here is forwarded if what arrives at the interface under it is.
    fn copy_forwarding(&self, family: Family) -> Result<(), MacvlanError> {
        sysctl::read(family, self.share.parent, FORWARDING)
            .and_then(|value| settle(family, self.index, FORWARDING, value))
            .map_err(|cause| self.setting(FORWARDING, cause))
    }

    async fn find(&self) -> Result<Option<Interface>, MacvlanError> {
        let mut found = self.netlink.link().get().match_name(self.name.clone()).execute();
        match found.try_next().await.map_err(cause) {
            Ok(message) => Ok(message.as_ref().and_then(interface_of)),
            Err(cause) if is(&cause, libc::ENODEV) => Ok(None),
            Err(cause) => Err(self.refused("looked for", cause)),
        }
    }

    async fn delete(&self, index: u32) -> Result<(), MacvlanError> {
        match self.netlink.link().del(index).execute().await.map_err(cause) {
            Err(cause) if is(&cause, libc::ENODEV) => Ok(()),
            other => other.map_err(|cause| self.refused("deleted", cause)),
        }
    }

    fn refused(&self, verb: &'static str, cause: io::Error) -> MacvlanError {
        MacvlanError::Netlink { name: self.name.clone(), verb, cause }
    }

    fn setting(&self, setting: &'static str, cause: io::Error) -> MacvlanError {
        MacvlanError::Setting { name: self.name.clone(), setting, cause }
    }
}

impl Share {
    /// Counts it. Returns how the interface was before the first.
    fn hold(&mut self, left_behind: Option<Before>) -> Result<Before, (&'static str, io::Error)> {
        let before = self.parents.hold(self.parent, left_behind)?;
        self.held = true;
        Ok(before)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if self.held {
            self.parents.release(self.parent);
        }
    }
}

impl Parents {
    /// One macvlan more. Returns how the interface was before the first: what we know, or else what a dead agent
    /// wrote down, or else how it is now.
    fn hold(&self, parent: u32, left_behind: Option<Before>) -> Result<Before, (&'static str, io::Error)> {
        let mut held = self.lock();
        if let Some(held) = held.get_mut(&parent) {
            held.macvlans += 1;
            return Ok(held.before);
        }
        let read = |setting| sysctl::read(Family::V4, parent, setting).map_err(|cause| (setting, cause));
        let before = match left_behind {
            Some(before) => before,
            None => Before { arp_ignore: read(ARP_IGNORE)?, arp_announce: read(ARP_ANNOUNCE)? },
        };
        held.insert(parent, Held { macvlans: 1, before });
        Ok(before)
    }

    /// One macvlan less.
    fn release(&self, parent: u32) {
        let mut held = self.lock();
        let Some(Held { macvlans, before }) = held.get_mut(&parent) else { return };
        *macvlans -= 1;
        if *macvlans > 0 {
            return;
        }
        for (setting, ours, value) in [
            (ARP_IGNORE, OWN_ADDRESSES_ONLY, before.arp_ignore),
            (ARP_ANNOUNCE, BEST_OWN_ADDRESS, before.arp_announce),
        ] {
            // What somebody else has changed in the meantime is theirs; and the interface may be gone.
            if sysctl::read(Family::V4, parent, setting).is_ok_and(|now| now == ours && now != value)
                && let Err(error) = sysctl::write(Family::V4, parent, setting, value)
            {
                tracing::warn!(%error, "{setting} of interface {parent} could not be set back to {value}");
            }
        }
        held.remove(&parent);
    }

    /// Leaves all settings as they are, for the agent after this one.
    pub fn leave(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, Held>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How it is written down in the macvlan's alias.
impl std::fmt::Display for Before {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{ALIAS}{} {}", self.arp_ignore, self.arp_announce)
    }
}

impl Before {
    fn parse(alias: &str) -> Option<Self> {
        let (arp_ignore, arp_announce) = alias.strip_prefix(ALIAS)?.split_once(' ')?;
        Some(Self { arp_ignore: arp_ignore.parse().ok()?, arp_announce: arp_announce.parse().ok()? })
    }
}

/// At most the 15 bytes that a name may have.
fn name(vhid: u8, parent: u32) -> String {
    format!("ha-{vhid}.{parent:x}")
}

/// Lets the interface under a macvlan speak for itself only.
fn settle_parent(parent: u32) -> Result<(), (&'static str, io::Error)> {
    let set = |setting, value| settle(Family::V4, parent, setting, value).map_err(|cause| (setting, cause));
    // Whoever answers for less than that answers for no virtual address either.
    let is_quiet = sysctl::read(Family::V4, parent, ARP_IGNORE).is_ok_and(|value| matches!(value, 2 | 8));
    if !is_quiet {
        set(ARP_IGNORE, OWN_ADDRESSES_ONLY)?;
    }
    set(ARP_ANNOUNCE, BEST_OWN_ADDRESS)
}

/// Changes a setting unless it is so already.
fn settle(family: Family, index: u32, setting: &str, value: i32) -> io::Result<()> {
    if sysctl::read(family, index, setting)? == value {
        return Ok(());
    }
    sysctl::write(family, index, setting, value)
}

fn is(error: &io::Error, code: i32) -> bool {
    error.raw_os_error() == Some(code)
}

fn cause(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other),
    }
}

fn remedy(error: &io::Error) -> &'static str {
    if is(error, libc::EOPNOTSUPP) {
        "; does the kernel have macvlan (`modprobe macvlan`)? Without it, use mac = \"interface\""
    } else if is(error, libc::EADDRINUSE) {
        "; another interface there has the same hardware address: is another agent or VRRP daemon running?"
    } else {
        ""
    }
}

/// The metric of routes that come with addresses on a macvlan: worse than what network managers give.
pub const METRIC: u32 = 0x8000;

const ARP_IGNORE: &str = "arp_ignore";
const ARP_ANNOUNCE: &str = "arp_announce";
const FORWARDING: &str = "forwarding";
const OWN_ADDRESSES_ONLY: i32 = 1;
const BEST_OWN_ADDRESS: i32 = 2;
const ALIAS: &str = "ha-agent; arp_ignore and arp_announce of the interface under it were ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_unique() {
        assert_eq!(name(10, 2), "ha-10.2");
        assert_eq!(name(255, i32::MAX.cast_unsigned()), "ha-255.7fffffff");
        assert!(name(255, i32::MAX.cast_unsigned()).len() <= 15);
        assert_ne!(name(1, 0x12), name(11, 0x2));
    }

    #[test]
    fn reads_what_it_writes_down() {
        let before = Before { arp_ignore: 0, arp_announce: 2 };
        assert_eq!(Before::parse(&before.to_string()), Some(before));
        for foreign in ["", "somebody's", "ha-agent; ", "ha-agent; arp_ignore=0"] {
            assert_eq!(Before::parse(foreign), None, "{foreign:?}");
        }
        // An alias may have 255 bytes.
        let longest = Before { arp_ignore: i32::MIN, arp_announce: i32::MIN }.to_string();
        assert!(longest.len() < 256, "{longest}");
    }
}
