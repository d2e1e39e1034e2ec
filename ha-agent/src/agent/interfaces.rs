//! Follows the interfaces: attaches the program where virtual hosts live, and tells the detector and the
//! executors when an interface comes, changes or goes.
//!
//! An interface is found by its name and then followed by its number, so that it may be renamed. Once it was
//! deleted, its name is waited for again.

mod reload;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use ha_common::wire::ethernet::Mac;
use rtnetlink::Handle;
use tokio::sync::mpsc;

use super::attachments::Attachments;
use super::detector::Input;
use super::follow_error::FollowError;
use super::hosts;
use super::reception::Reception;
use super::rules::Rules;
use crate::config::{MacChoice, Receive, VhostConfig};
use crate::control::status::Receiving;
use crate::core::{Family, Link, LinkDown};
use crate::dataplane::Dataplane;
use crate::exec::{Order, Orders, Target};
use crate::net::address::Addresses;
use crate::net::advertise::Path;
use crate::net::announce::Announcer;
use crate::net::link::{Interface, Interfaces};
use crate::net::macvlan::{self, Macvlan, Parents, virtual_mac};
use crate::net::membership::Membership;
use crate::net::place::{self, Place, Spot, Stripped};
use crate::sys::ethtool;
use crate::sys::packet_socket::PacketSocket;

/// How each interface of the configuration receives; for the status.
pub type Modes = Arc<Mutex<BTreeMap<String, Receiving>>>;

/// Everything that depends on an interface's being there.
#[derive(Debug)]
pub(super) struct Follower {
    attachments: Attachments,
    rules: Rules,
    netlink: Handle,
    reception: Reception,
    /// By index.
    vhosts: BTreeMap<usize, Member>,
    virtual_addresses: BTreeSet<IpAddr>,
    followed: BTreeMap<String, Option<Followed>>,
    parents: Parents,
    modes: Modes,
    detector: mpsc::UnboundedSender<Input>,
}

/// Who is told of the interfaces.
#[derive(Debug)]
pub(super) struct Told {
    /// Whoever shows the status.
    pub(super) modes: Modes,
    /// Whoever decides.
    pub(super) detector: mpsc::UnboundedSender<Input>,
}

/// A virtual host on its interface.
#[derive(Debug)]
pub(super) struct Member {
    /// From the configuration.
    pub(super) config: VhostConfig,
    /// Where its orders go.
    pub(super) orders: Orders,
    /// Its own interface, if it has the virtual hardware address.
    pub(super) macvlan: Option<Arc<Macvlan>>,
    /// Whether an agent before this one may have left the addresses there, for this one to go on with.
    pub(super) resumes: bool,
    /// The interface's hardware address when executor and detector were given what they act through.
    pub(super) equipped: Option<Mac>,
}

/// What stays of this agent for the one after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stays {
    /// Nothing: there may be none.
    Nothing,
    /// The program on the interfaces; the addresses go.
    Attachments,
    /// The addresses, too: the one after it goes on with them.
    All,
}

/// An interface that virtual hosts live on.
#[derive(Debug)]
struct Followed {
    index: u32,
    name: String,
    spot: Spot,
    /// What each of its virtual hosts was told last.
    links: Vec<(usize, Link)>,
    /// Keeps the interface in the groups for as long as it lives.
    membership: Membership,
}

impl Follower {
    /// Follows the interfaces of these virtual hosts, of which none is attached yet.
    pub(super) fn new(
        dataplane: Dataplane,
        rules: Rules,
        netlink: Handle,
        reception: Reception,
        vhosts: BTreeMap<usize, Member>,
        Told { modes, detector }: Told,
    ) -> Self {
        let addresses = vhosts.values().flat_map(|member| &member.config.addresses);
        let virtual_addresses = addresses.map(ipnet::IpNet::addr).collect();
        let followed = vhosts.values().map(|member| (member.config.interface.clone(), None)).collect();
        Self {
            attachments: Attachments::new(dataplane),
            rules,
            netlink,
            reception,
            vhosts,
            virtual_addresses,
            followed,
            parents: Parents::default(),
            modes,
            detector,
        }
    }

    /// Brings everything in line with the interfaces as they are now.
    ///
    /// Returns what is wrong, interface by interface; each one is left alone, unattached, and may be tried
    /// again.
    pub(super) async fn apply(&mut self, interfaces: &Interfaces) -> Vec<FollowError> {
        let names: Vec<String> = self.followed.keys().cloned().collect();
        let mut errors = Vec::new();
        for name in names {
            errors.extend(self.follow(&name, interfaces).await.err());
        }
        errors
    }

    /// Tells the program the time of day.
    pub(super) fn set_clock(&mut self) {
        if let Err(error) = self.rules.set_clock() {
            tracing::error!(%error, "the kernel program was not told the time");
        }
    }

    /// Detaches what an earlier agent has left on other interfaces.
    pub(super) fn forget_others(&self) {
        self.attachments.forget_others();
    }

    /// Gives up all addresses and attachments for good, but for what `stays`. Returns what is to be removed once the
    /// executors have ended.
    pub(super) fn release(self, stays: Stays) -> Vec<Arc<Macvlan>> {
        match stays {
            Stays::All => {
                self.parents.leave();
                self.attachments.leave();
                return Vec::new();
            }
            Stays::Attachments => self.attachments.leave(),
            Stays::Nothing => {}
        }
        for member in self.vhosts.values() {
            member.orders.give(Order::Drop);
        }
        self.vhosts.into_values().filter_map(|member| member.macvlan).collect()
    }

    async fn follow(&mut self, name: &str, interfaces: &Interfaces) -> Result<(), FollowError> {
        let followed = self.followed.get(name).and_then(Option::as_ref);
        let known = followed.map(|followed| followed.index);
        if known.is_some_and(|index| interfaces.by_index(index).is_none()) {
            self.lose(name);
        }
        let known = self.followed.get(name).and_then(Option::as_ref).map(|followed| followed.index);
        let interface = known.map_or_else(|| interfaces.get(name), |index| interfaces.by_index(index));
        let Some(interface) = interface else { return Err(FollowError::NoInterface(name.to_owned())) };
        if known.is_none() {
            let place = place::place(interfaces, &interface.name)?;
            let begun = self.begin(name, interface, &place, &[], interfaces);
            begun.inspect_err(|_| self.fail(name))?;
        }
        // A link that is lost is told first of all; one that is there, once everything is prepared for it. Either
        // one, whatever else goes wrong.
        if !is_up(interface) {
            self.tell_link(name, interface);
        }
        let prepared = self.prepare(name, interface, interfaces).await;
        self.tell_link(name, interface);
        self.keep(name, interface, interfaces);
        prepared
    }

    /// Brings an attached interface in line. Each part is tried, whatever became of the others; the first error
    /// is returned.
    async fn prepare(
        &mut self,
        name: &str,
        interface: &Interface,
        interfaces: &Interfaces,
    ) -> Result<(), FollowError> {
        let adjusted = self.adjust(name, interface, interfaces);
        let owned = self.own(name, interface);
        let equipped = self.equip(name, interface, interfaces).await;
        adjusted.and(owned).and(equipped)
    }

    /// Attaches for the first time, for the virtual hosts there and for those that are `added`.
    fn begin(
        &mut self,
        name: &str,
        interface: &Interface,
        place: &Place,
        added: &[&VhostConfig],
        interfaces: &Interfaces,
    ) -> Result<(), FollowError> {
        if interface.hardware == [0; 6] {
            return Err(FollowError::NoEthernet(name.to_owned()));
        }
        let membership = self.join(name, interface.index, added)?;
        let (spot, stripped) = choose(place, self.receive(name));
        self.attach(name, &spot, stripped, interfaces)?;
        let followed = Followed {
            index: interface.index,
            name: interface.name.clone(),
            spot: spot.clone(),
            links: Vec::new(),
            membership,
        };
        self.followed.insert(name.to_owned(), Some(followed));
        self.watch(name, &spot)
    }

    /// Joins the groups that the virtual hosts there need, and those that are `added`.
    fn join(&self, name: &str, ifindex: u32, added: &[&VhostConfig]) -> Result<Membership, FollowError> {
        let all = self.vhosts.values().map(|member| &member.config).chain(added.iter().copied());
        let here: Vec<_> = all.filter(|config| config.interface == name).collect();
        let joins =
            |wanted| here.iter().any(|config| hosts::each_family(config).any(|family| family == wanted));
        // What lives on a macvlan is asked for there.
        let asked = here.iter().filter(|config| !hosts::has_macvlan(config));
        let asked: Vec<_> = asked.flat_map(|config| &config.addresses).map(ipnet::IpNet::addr).collect();
        Membership::join(ifindex, joins(Family::V4), joins(Family::V6), &asked)
            .map_err(|cause| FollowError::Membership { interface: name.to_owned(), cause })
    }

    /// Follows what changed about an interface that is attached: its name, what it lies on, or whether that takes
    /// VLAN tags off.
    fn adjust(
        &mut self,
        name: &str,
        interface: &Interface,
        interfaces: &Interfaces,
    ) -> Result<(), FollowError> {
        let Some(Some(followed)) = self.followed.get_mut(name) else { return Ok(()) };
        if followed.name != interface.name {
            tracing::warn!(
                interface = name,
                "renamed from {} to {}: followed",
                followed.name,
                interface.name
            );
            followed.name.clone_from(&interface.name);
        }
        let place = place::place(interfaces, &interface.name)?;
        let (spot, stripped) = choose(&place, self.receive(name));
        let Some(Some(followed)) = self.followed.get(name) else { return Ok(()) };
        if followed.spot == spot {
            return Ok(());
        }
        let old = followed.spot.index;
        self.attach(name, &spot, stripped, interfaces)?;
        self.watch(name, &spot).inspect_err(|_| self.attachments.detach(spot.index))?;
        self.attachments.detach(old);
        if let Some(Some(followed)) = self.followed.get_mut(name) {
            followed.spot = spot;
        }
        Ok(())
    }

    /// Attaches the program for one interface at this spot, which may be where something takes tags off before.
    fn attach(
        &mut self,
        name: &str,
        spot: &Spot,
        stripped: Option<Stripped>,
        interfaces: &Interfaces,
    ) -> Result<(), FollowError> {
        if let Some(stripped) = stripped {
            tracing::warn!(interface = name, "{stripped}; until then it receives in the generic path");
        }
        let mode = self.attachments.attach(spot, self.receive(name), interfaces)?;
        if let Some(packets) = self.attachments.take_packets() {
            // It is gone only while the agent ends.
            let _ = self.detector.send(Input::Hear(Box::new(packets)));
        }
        let by =
            if spot.interface == name { mode.to_string() } else { format!("{mode} on {}", spot.interface) };
        self.lock_modes().insert(name.to_owned(), Receiving { by, lost: mode.lost() });
        Ok(())
    }

    /// How it is to be received there: all virtual hosts on one interface say the same.
    fn receive(&self, name: &str) -> Receive {
        let mut there = self.vhosts.values().filter(|member| member.config.interface == name);
        there.next().map(|member| member.config.receive).unwrap_or_default()
    }

    fn watch(&mut self, name: &str, spot: &Spot) -> Result<(), FollowError> {
        for vhost in self.on(name) {
            let keys = self.rules.watch(vhost, spot)?;
            // It is gone only while the agent ends.
            let _ = self.detector.send(Input::Watch { vhost, keys });
        }
        Ok(())
    }

    /// Says which addresses are our own there.
    fn own(&mut self, name: &str, interface: &Interface) -> Result<(), FollowError> {
        let own: Vec<_> = interface.ips().filter(|ip| !self.virtual_addresses.contains(ip)).collect();
        for vhost in self.on(name) {
            self.rules.set_own(vhost, own.clone())?;
        }
        Ok(())
    }

    /// Gives executors and detector what they act through, if that is new. Each virtual host by itself: the first
    /// error is returned, the others are equipped all the same.
    async fn equip(
        &mut self,
        name: &str,
        interface: &Interface,
        interfaces: &Interfaces,
    ) -> Result<(), FollowError> {
        let mut result = Ok(());
        for vhost in self.on(name) {
            let Some(member) = self.vhosts.get(&vhost) else { continue };
            let moved = member.equipped != Some(interface.hardware);
            let lost = member.macvlan.as_ref().is_some_and(|own| interfaces.by_index(own.index()).is_none());
            if moved || lost {
                result = result.and(self.equip_one(vhost, name, interface).await);
            }
        }
        result
    }

    async fn equip_one(
        &mut self,
        vhost: usize,
        name: &str,
        interface: &Interface,
    ) -> Result<(), FollowError> {
        let socket = |cause| FollowError::Socket { interface: name.to_owned(), cause };
        let Some(member) = self.vhosts.get_mut(&vhost) else { return Ok(()) };
        // Once: what this agent has made is not left by another.
        let resumes = std::mem::take(&mut member.resumes);
        let config = &member.config;
        let mut addresses = Addresses::new(interface.index, config.addresses.clone());
        let mut hardware = interface.hardware;
        if hosts::has_macvlan(config) {
            let (netlink, parents) = (self.netlink.clone(), self.parents.clone());
            let v6 = hosts::has_v6(config);
            let left = if resumes {
                let (netlink, parents) = (netlink.clone(), parents.clone());
                Macvlan::adopt(netlink, parents, interface, config.vhid, v6, &config.addresses).await?
            } else {
                None
            };
            let own = match left {
                Some(own) => own,
                None => Macvlan::create(netlink, parents, interface, config.vhid, v6).await?,
            };
            addresses = Addresses::new(own.index(), config.addresses.clone()).with_metric(macvlan::METRIC);
            hardware = own.hardware();
            member.macvlan = Some(Arc::new(own));
        }
        // Through the real interface in any case: a macvlan that is down sends nothing.
        let announced = PacketSocket::open(interface.index).map_err(socket)?;
        let ips = config.addresses.iter().map(ipnet::IpNet::addr);
        let target = Target {
            addresses,
            announcer: Announcer::new(announced, interface.index, hardware, ips),
            macvlan: member.macvlan.clone(),
            left: resumes,
        };
        let path = if config.unicast.is_empty() {
            let families = hosts::families(config);
            Path::to_group(interface.index, families.v4, families.v6)
        } else {
            Path::to_peers(interface.index, &config.unicast)
        };
        let hardware = match config.advertise_from {
            MacChoice::Virtual => virtual_mac(config.vhid),
            MacChoice::Interface => interface.hardware,
        };
        // The target first: orders that follow from the input act on it.
        member.orders.give(Order::Use(target));
        let _ = self.detector.send(Input::Equip {
            vhost,
            ifindex: interface.index,
            path: path.map_err(socket)?,
            hardware,
        });
        member.equipped = Some(interface.hardware);
        Ok(())
    }

    /// Tells the detector how the link is, if that is new; of each virtual host that can act on it.
    fn tell_link(&mut self, name: &str, interface: &Interface) {
        let mut news = Vec::new();
        for vhost in self.on(name) {
            let Some(member) = self.vhosts.get(&vhost).filter(|member| member.equipped.is_some()) else {
                continue;
            };
            let link = match (interface.up, interface.running) {
                (false, _) => Link::Down(LinkDown::AdminDown),
                (true, false) => Link::Down(LinkDown::Carrier),
                (true, true) => {
                    Link::Up { sources: interface.sources(&self.virtual_addresses, &member.config.unicast) }
                }
            };
            news.push((vhost, link));
        }
        let Some(Some(followed)) = self.followed.get_mut(name) else { return };
        let told = std::mem::replace(&mut followed.links, news.clone());
        for (vhost, link) in news.into_iter().filter(|new| !told.contains(new)) {
            // It is gone only while the agent ends.
            let _ = self.detector.send(Input::Link { vhost, link });
        }
    }

    /// Tells the executors which addresses are there.
    fn keep(&self, name: &str, interface: &Interface, interfaces: &Interfaces) {
        // One list for all: with many virtual hosts it is long.
        let there: Arc<[IpAddr]> = interface.ips().collect();
        for member in self.vhosts.values().filter(|member| member.config.interface == name) {
            let present = match &member.macvlan {
                Some(own) => interfaces.by_index(own.index()).into_iter().flat_map(Interface::ips).collect(),
                None => Arc::clone(&there),
            };
            member.orders.give(Order::Keep { present, up: is_up(interface) });
        }
    }

    /// The interface was deleted.
    fn lose(&mut self, name: &str) {
        tracing::warn!(interface = name, "the interface is gone; waiting for it to come back");
        self.forget(name);
        self.tell(name, Link::Down(LinkDown::Removed));
    }

    /// The program could not be attached.
    fn fail(&mut self, name: &str) {
        self.forget(name);
        self.tell(name, Link::Down(LinkDown::DataPlane));
    }

    fn forget(&mut self, name: &str) {
        for vhost in self.on(name) {
            self.rules.unwatch(vhost);
            let _ = self.detector.send(Input::Watch { vhost, keys: Vec::new() });
            if let Some(member) = self.vhosts.get_mut(&vhost) {
                // It went with its interface, or is replaced when that is back.
                member.macvlan = None;
                member.equipped = None;
            }
        }
        if let Some(followed) = self.followed.get_mut(name).and_then(Option::take) {
            self.attachments.detach(followed.spot.index);
        }
        self.lock_modes().remove(name);
    }

    fn tell(&self, name: &str, link: Link) {
        for vhost in self.on(name) {
            // It is gone only while the agent ends.
            let _ = self.detector.send(Input::Link { vhost, link });
        }
    }

    /// The virtual hosts on an interface.
    fn on(&self, name: &str) -> Vec<usize> {
        let members = self.vhosts.iter().filter(|(_, member)| member.config.interface == name);
        members.map(|(vhost, _)| *vhost).collect()
    }

    fn lock_modes(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Receiving>> {
        self.modes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where to attach, and what takes VLAN tags off elsewhere, if that is why.
fn choose(place: &Place, receive: Receive) -> (Spot, Option<Stripped>) {
    match receive {
        Receive::Auto | Receive::Native | Receive::Generic => {}
        // What was taken off is known there.
        Receive::Tcx | Receive::Packet => return (place.at.clone(), None),
    }
    let strips = |interface: &str| {
        ethtool::strips_vlan_tags(interface).unwrap_or_else(|error| {
            tracing::debug!(interface, %error, "whether it takes VLAN tags off is not known");
            false
        })
    };
    match (place.stripped(strips), &place.instead) {
        (Some(stripped), Some(instead)) => (instead.clone(), Some(stripped)),
        (Some(_) | None, _) => (place.at.clone(), None),
    }
}

fn is_up(interface: &Interface) -> bool {
    interface.up && interface.running
}
