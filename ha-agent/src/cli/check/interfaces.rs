//! What is known of an interface.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

use super::finding::{Code, Finding};
use super::{Scene, machine, slack};
use crate::agent::{FollowError, hosts};
use crate::cli::exit::Exit;
use crate::config::Receive;
use crate::core::Sources;
use crate::dataplane::{AttachError, Mode as Receiver, Owner};
use crate::net::link::{Interface, Interfaces, Kind};
use crate::net::place::{self, Place, Spot};
use crate::sys::{claim, ethtool};

/// What is to be said of an interface by its name.
pub(super) fn check(scene: Scene<'_>, name: &str) -> Vec<Finding> {
    let about = format!("interface {name}");
    let Some(interface) = scene.interfaces.get(name) else {
        let error = FollowError::NoInterface(name.to_owned());
        return vec![Finding::told(Code::NoInterface, about, &error).ending(error.exit())];
    };
    if interface.hardware == [0; 6] {
        let error = FollowError::NoEthernet(name.to_owned());
        return vec![Finding::told(Code::NoEthernet, about, &error).ending(error.exit())];
    }
    let place = match place::place(scene.interfaces, name) {
        Ok(place) => place,
        Err(error) => return vec![Finding::told(Code::WrongPlace, about, &error).ending(Exit::Config)],
    };
    let strips = |interface: &str| ethtool::strips_vlan_tags(interface).unwrap_or(false);
    let stripped = place.stripped(strips);
    let spot = place.instead.as_ref().filter(|_| stripped.is_some()).unwrap_or(&place.at);
    let mut findings = link(scene, interface, &about);
    findings.extend(occupied(scene, interface, spot, &about));
    findings.push(Finding::good(&about, describe_place(&place, stripped.is_some())));
    let card = card(scene.interfaces, interface);
    findings.push(machine::coalescing(
        &about,
        &card.name,
        ethtool::coalescing(&card.name),
        slack(scene.config),
    ));
    findings.extend(stripped.map(|stripped| Finding::told(Code::TagsTakenOff, &about, &stripped)));
    findings.extend(mixed_up(scene, interface, strips).map(|finding| Finding { about, ..finding }));
    findings
}

/// Its state, and from where it advertises.
fn link(scene: Scene<'_>, interface: &Interface, about: &str) -> Vec<Finding> {
    let name = &interface.name;
    let virtual_addresses: BTreeSet<_> =
        scene.config.vhosts.iter().flat_map(|vhost| &vhost.addresses).map(IpNet::addr).collect();
    let (mut v4, mut v6, mut sources) = (false, false, Sources::UNSPECIFIED);
    let mut to_group = false;
    for vhost in scene.on(interface) {
        let families = hosts::families(vhost);
        (v4, v6) = (v4 | families.v4, v6 | families.v6);
        to_group |= vhost.unicast.is_empty();
        sources = interface.sources(&virtual_addresses, &vhost.unicast);
    }
    let mut findings = Vec::new();
    let state = match (interface.up, interface.running) {
        (false, _) => {
            findings
                .push(Finding::new(Code::InterfaceDown, about, "it is set down").naming("INTERFACE", name));
            "set down"
        }
        (true, false) => {
            findings.push(Finding::new(Code::NoCarrier, about, "it has no carrier"));
            "up, without carrier"
        }
        (true, true) => "up",
    };
    if v6 && sources.v6.is_unspecified() {
        let finding = if interface.mtu < SMALLEST_MTU {
            let sentence = format!("it takes {} bytes at once, and IPv6 needs {SMALLEST_MTU}", interface.mtu);
            Finding::new(Code::SmallMtu, about, sentence)
        } else {
            let sentence = "no IPv6 address: it needs a link-local one to advertise from";
            Finding::new(Code::NoIpv6Source, about, sentence)
        };
        // One that is down has none in any case.
        findings.extend(interface.up.then(|| finding.naming("INTERFACE", name)));
    }
    if to_group && is_for_multicast(name) == Some(false) {
        let sentence = "it is not for multicast, by which advertisements are sent";
        findings.push(Finding::new(Code::NoMulticast, about, sentence).naming("INTERFACE", name));
    }
    let from: Vec<_> = [(v4, IpAddr::from(sources.v4)), (v6, IpAddr::from(sources.v6))]
        .into_iter()
        .filter(|(used, source)| *used && !(source.is_ipv6() && source.is_unspecified()))
        .map(|(_, source)| source.to_string())
        .collect();
    if !from.is_empty() {
        findings.insert(0, Finding::good(about, format!("{state}, advertises from {}", from.join(" and "))));
    }
    findings
}

/// Who is where the program is to be.
fn occupied(scene: Scene<'_>, interface: &Interface, spot: &Spot, about: &str) -> Option<Finding> {
    if let Some(process) = claim::holder(spot.index).or_else(|| claim::holder(interface.index)) {
        return Some(Finding::good(about, format!("served by a running agent: {process}")));
    }
    let occupant = scene.interfaces.by_index(spot.index).and_then(|interface| interface.program);
    let owner = Owner::of(occupant?);
    if owner.is_agent() {
        return Some(Finding::good(about, format!("served by an agent, or left by one: {owner}")));
    }
    let receive = scene.on(interface).next().map(|vhost| vhost.receive).unwrap_or_default();
    if Receiver::allowed(receive, spot.stage).iter().all(|mode| mode.is_xdp()) {
        let error = AttachError::Foreign { interface: spot.interface.clone(), owner: Some(owner) };
        return Some(Finding::told(Code::NoReceiver, about, &error).ending(error.exit()));
    }
    (receive == Receive::Auto).then(|| {
        let sentence = format!("another XDP program is there, {owner}: receives by tcx, behind it");
        Finding::new(Code::ForeignProgram, about, sentence).naming("INTERFACE", &spot.interface)
    })
}

/// Whether it has the flag; `None` if the system does not tell.
fn is_for_multicast(name: &str) -> Option<bool> {
    let flags = getifaddrs().ok()?.find(|found| found.interface_name == name)?.flags;
    Some(flags.contains(InterfaceFlags::IFF_MULTICAST))
}

fn describe_place(place: &Place, stripped: bool) -> String {
    match &place.instead {
        Some(instead) if stripped => {
            format!("attaches to {} itself, in the generic path, because {}", instead.interface, TAGS_OFF)
        }
        Some(_) | None => place.to_string(),
    }
}

/// An interface that takes tags off, and whose VLANs have a virtual host of the same number: their frames would
/// be taken for its own.
fn mixed_up(scene: Scene<'_>, interface: &Interface, strips: impl Fn(&str) -> bool) -> Option<Finding> {
    let hides = match interface.kind {
        Kind::Plain => strips(&interface.name),
        Kind::Bond | Kind::Team | Kind::Bridge => true,
        Kind::Vlan { .. } | Kind::Macvlan { .. } => false,
    };
    let lies_on_it = |name: &str| {
        let kind = scene.interfaces.get(name).map(|interface| interface.kind);
        matches!(kind, Some(Kind::Vlan { parent, .. }) if parent == Some(interface.index))
    };
    let mut others = scene.config.vhosts.iter().filter(|vhost| lies_on_it(&vhost.interface));
    let twin = others.find(|other| scene.on(interface).any(|vhost| vhost.vhid == other.vhid))?;
    hides.then(|| {
        let sentence = format!(
            "vhid {} is also used on {}, and {} takes VLAN tags off before frames are read: they can't be told apart",
            twin.vhid, twin.interface, interface.name
        );
        Finding::new(Code::SameVhid, "", sentence).remedied("use another vhid")
    })
}

/// The interface under VLANs and macvlans: they hold nothing back themselves.
fn card<'a>(interfaces: &'a Interfaces, interface: &'a Interface) -> &'a Interface {
    let parent = match interface.kind {
        Kind::Vlan { parent, .. } | Kind::Macvlan { parent } => parent,
        Kind::Plain | Kind::Bond | Kind::Team | Kind::Bridge => None,
    };
    // Each was made before what lies on it, so this ends.
    parent.and_then(|parent| interfaces.by_index(parent)).map_or(interface, |parent| card(interfaces, parent))
}

const TAGS_OFF: &str = "the interface under it takes the tags off";
/// Of an interface that has IPv6 (RFC 8200 §5), in bytes.
const SMALLEST_MTU: u32 = 1280;
