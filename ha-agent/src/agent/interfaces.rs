//! Follows the interfaces: attaches the program where virtual hosts live, and tells the detector and the
//! executors when an interface comes, changes or goes.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};

use ha_common::abi::{Address, FAMILY_IPV4, Watch, WatchKey};
use ha_common::wire::{carp, ethernet::Mac};
use rtnetlink::Handle;
use socket2::{InterfaceIndexOrAddress, SockRef};
use tokio::sync::mpsc;

use super::detector::Input;
use crate::config::VhostConfig;
use crate::core::{Link, LinkDown};
use crate::dataplane::{AttachError, Dataplane, LoadError, Mode, Tables};
use crate::exec::{Order, Target};
use crate::net::address::Addresses;
use crate::net::announce::Announcer;
use crate::net::link::{self, Interfaces};
use crate::sys::packet_socket::PacketSocket;

/// Where the program runs on each interface that it is attached to; for the status.
pub type Modes = Arc<Mutex<BTreeMap<String, Mode>>>;

/// Everything that depends on an interface's being there.
#[derive(Debug)]
pub struct Follower {
    dataplane: Dataplane,
    tables: Tables,
    netlink: Handle,
    vhosts: Vec<Member>,
    virtual_addresses: BTreeSet<Ipv4Addr>,
    followed: BTreeMap<String, Option<Attached>>,
    modes: Modes,
    detector: mpsc::UnboundedSender<Input>,
}

/// A virtual host on its interface.
#[derive(Debug)]
pub struct Member {
    /// From the configuration.
    pub config: VhostConfig,
    /// Where its orders go.
    pub orders: mpsc::UnboundedSender<Order>,
}

/// Why an interface can't be used.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// It is not there.
    #[error("interface {0} does not exist; `ip link` lists those that do")]
    NoInterface(String),
    /// It is no Ethernet.
    #[error("interface {0} has no Ethernet address: CARP needs Ethernet; choose another interface")]
    NoEthernet(String),
    /// The program can't be attached.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// A watch can't be set.
    #[error(transparent)]
    Watch(#[from] LoadError),
    /// A socket can't be opened.
    #[error(
        "a socket on interface {interface} could not be opened: {cause}; CAP_NET_RAW is needed, and the interface"
    )]
    Socket {
        /// The interface.
        interface: String,
        /// The system call's error.
        cause: io::Error,
    },
}

/// An interface that we receive on.
#[derive(Debug)]
struct Attached {
    index: u32,
    hardware: Mac,
    link: Option<Link>,
    /// Keeps the interface in the group for as long as it lives.
    _membership: UdpSocket,
}

impl Follower {
    /// Follows the interfaces of these virtual hosts, of which none is attached yet.
    pub fn new(
        dataplane: Dataplane,
        tables: Tables,
        netlink: Handle,
        vhosts: Vec<Member>,
        modes: Modes,
        detector: mpsc::UnboundedSender<Input>,
    ) -> Self {
        let addresses = vhosts.iter().flat_map(|member| member.config.ipv4());
        let virtual_addresses = addresses.map(|network| network.addr()).collect();
        let followed = vhosts.iter().map(|member| (member.config.interface.clone(), None)).collect();
        Self { dataplane, tables, netlink, vhosts, virtual_addresses, followed, modes, detector }
    }

    /// Brings everything in line with the interfaces as they are now.
    ///
    /// Returns what is wrong, interface by interface; each one is left alone, unattached, and may be tried
    /// again.
    pub fn apply(&mut self, interfaces: &Interfaces) -> Vec<FollowError> {
        let names: Vec<String> = self.followed.keys().cloned().collect();
        names.into_iter().filter_map(|name| self.follow(&name, interfaces.get(&name)).err()).collect()
    }

    /// Takes all addresses off and detaches from all interfaces, for good.
    pub fn release(self) {
        for member in &self.vhosts {
            // It is gone only if it failed.
            let _ = member.orders.send(Order::Drop);
        }
    }

    fn follow(&mut self, name: &str, interface: Option<&link::Interface>) -> Result<(), FollowError> {
        let attached = self.followed.get(name).and_then(Option::as_ref);
        if attached.is_some_and(|attached| interface.is_none_or(|now| now.index != attached.index)) {
            self.detach(name);
        }
        let Some(interface) = interface else { return Err(FollowError::NoInterface(name.to_owned())) };
        let attached = self.followed.get(name).and_then(Option::as_ref);
        match attached {
            None => {
                self.attach(name, interface).inspect_err(|_| self.detach_failed(name, interface.index))?;
            }
            Some(attached) if attached.hardware != interface.hardware => self.equip(name, interface)?,
            Some(_) => {}
        }
        self.tell_link(name, interface);
        for member in self.vhosts.iter().filter(|member| member.config.interface == name) {
            // It is gone only while the agent ends.
            let _ = member.orders.send(Order::Keep(interface.addresses.clone()));
        }
        Ok(())
    }

    fn attach(&mut self, name: &str, interface: &link::Interface) -> Result<(), FollowError> {
        if interface.hardware == [0; 6] {
            return Err(FollowError::NoEthernet(name.to_owned()));
        }
        let membership = join(interface.index)
            .map_err(|cause| FollowError::Socket { interface: name.to_owned(), cause })?;
        let mode = self.dataplane.attach(name, interface.index, interface.program)?;
        match mode {
            Mode::Native => tracing::info!(interface = name, "attached in the driver (native XDP)"),
            Mode::Generic => tracing::warn!(
                interface = name,
                "the driver has no XDP: attached in the generic path; frames are stamped later, after the \
                 kernel copied them"
            ),
        }
        self.lock_modes().insert(name.to_owned(), mode);
        for (vhost, member) in self.vhosts.iter().enumerate() {
            if member.config.interface != name {
                continue;
            }
            let watch = Watch {
                slot: super::slot(vhost),
                host: super::number(vhost),
                keys: super::key_set(vhost),
                flags: 0,
                tolerance_ms: 0,
                reserved: 0,
                group: Address::v4(carp::GROUP),
            };
            self.tables.watch(key(interface.index, member.config.vhid), watch)?;
        }
        self.equip(name, interface)?;
        let attached = Attached {
            index: interface.index,
            hardware: interface.hardware,
            link: None,
            _membership: membership,
        };
        self.followed.insert(name.to_owned(), Some(attached));
        Ok(())
    }

    /// Gives executors and detector what they act through.
    fn equip(&mut self, name: &str, interface: &link::Interface) -> Result<(), FollowError> {
        let open = || {
            PacketSocket::open(interface.index)
                .map_err(|cause| FollowError::Socket { interface: name.to_owned(), cause })
        };
        for (vhost, member) in self.vhosts.iter().enumerate() {
            if member.config.interface != name {
                continue;
            }
            let ips = member.config.ipv4().map(|network| network.addr());
            let target = Target {
                addresses: Addresses::new(
                    self.netlink.clone(),
                    interface.index,
                    member.config.ipv4().collect(),
                ),
                announcer: Announcer::new(open()?, interface.hardware, ips),
            };
            let attach = Input::Attach {
                vhost,
                key: key(interface.index, member.config.vhid),
                socket: open()?,
                hardware: interface.hardware,
            };
            // The target first: orders that follow from the input act on it.
            let _ = member.orders.send(Order::Use(target));
            let _ = self.detector.send(attach);
        }
        if let Some(Some(attached)) = self.followed.get_mut(name) {
            attached.hardware = interface.hardware;
        }
        Ok(())
    }

    /// Tells the detector how the link is, if that is new.
    fn tell_link(&mut self, name: &str, interface: &link::Interface) {
        let link = match (interface.up, interface.running) {
            (false, _) => Link::Down(LinkDown::AdminDown),
            (true, false) => Link::Down(LinkDown::Carrier),
            (true, true) => Link::Up { source: interface.source(&self.virtual_addresses) },
        };
        if let Some(Some(attached)) = self.followed.get_mut(name)
            && attached.link.replace(link) != Some(link)
        {
            self.tell(name, link);
        }
    }

    fn detach(&mut self, name: &str) {
        if let Some(attached) = self.followed.get_mut(name).and_then(Option::take) {
            self.forget(name, attached.index);
            tracing::warn!(interface = name, "the interface is gone; waiting for it to come back");
            self.tell(name, Link::Down(LinkDown::Removed));
        }
    }

    fn detach_failed(&mut self, name: &str, index: u32) {
        self.forget(name, index);
        self.tell(name, Link::Down(LinkDown::DataPlane));
    }

    fn forget(&mut self, name: &str, index: u32) {
        for member in self.vhosts.iter().filter(|member| member.config.interface == name) {
            self.tables.unwatch(&key(index, member.config.vhid));
        }
        self.dataplane.detach(index);
        self.lock_modes().remove(name);
    }

    fn tell(&self, name: &str, link: Link) {
        for (vhost, member) in self.vhosts.iter().enumerate() {
            if member.config.interface == name {
                // It is gone only while the agent ends.
                let _ = self.detector.send(Input::Link { vhost, link });
            }
        }
    }

    fn lock_modes(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Mode>> {
        self.modes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(ifindex: u32, vhid: u8) -> WatchKey {
    WatchKey { ifindex, outer_vlan: 0, vlan: 0, vhid, family: FAMILY_IPV4, reserved: [0; 2] }
}

/// Joins the group, so that the interface's filter and the switches let advertisements through.
fn join(ifindex: u32) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let group = Ipv4Addr::from(carp::GROUP);
    SockRef::from(&socket).join_multicast_v4_n(&group, &InterfaceIndexOrAddress::Index(ifindex))?;
    Ok(socket)
}

impl FollowError {
    /// The exit code that fits.
    #[must_use]
    pub fn exit(&self) -> crate::cli::exit::Exit {
        use crate::cli::exit::Exit;
        match self {
            Self::Attach(error) => error.exit(),
            Self::Watch(error) => error.exit(),
            Self::Socket { cause, .. } if cause.kind() == io::ErrorKind::PermissionDenied => {
                Exit::NoPermission
            }
            Self::NoInterface(_) | Self::NoEthernet(_) | Self::Socket { .. } => Exit::Unavailable,
        }
    }
}
