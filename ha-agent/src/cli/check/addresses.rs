//! Where the virtual addresses are, and who would answer for them.

use std::net::{IpAddr, Ipv4Addr};

use super::Scene;
use super::finding::{Code, Finding};
use crate::config::{MacChoice, VhostConfig};
use crate::net::link::{Interface, Kind};
use crate::sys::sysctl::{self, Family};

/// What is to be said of the addresses of each virtual host whose interface is there.
pub(super) fn check(scene: Scene<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for interface in scene.there() {
        for vhost in scene.on(interface) {
            let about = format!("virtual host {}", vhost.name);
            let mut found = elsewhere(scene, vhost, interface, &about);
            found.extend(here(scene, vhost, &about));
            found.extend(beside(scene, vhost, interface, &about));
            found.extend(silent(vhost, interface, &about));
            if found.is_empty() {
                found.push(Finding::good(
                    about,
                    "its addresses are free, and in the networks of its interface",
                ));
            }
            findings.extend(found);
        }
    }
    findings
}

/// Addresses in no network of the interface.
fn elsewhere(scene: Scene<'_>, vhost: &VhostConfig, interface: &Interface, about: &str) -> Vec<Finding> {
    let is_virtual = |address: IpAddr| {
        scene.config.vhosts.iter().flat_map(|vhost| &vhost.addresses).any(|net| net.addr() == address)
    };
    let real = || interface.addresses.iter().filter(|net| !is_virtual(net.addr()));
    let outside = vhost.addresses.iter().filter(|net| !real().any(|own| own.contains(&net.addr())));
    outside
        .map(|net| {
            let sentence = format!("{} lies in no network of {}", net.addr(), interface.name);
            Finding::new(Code::ElsewhereNetwork, about, sentence)
        })
        .collect()
}

/// Addresses that this node has, though no agent runs that could have given them to it.
fn here(scene: Scene<'_>, vhost: &VhostConfig, about: &str) -> Vec<Finding> {
    if scene.agent().is_some() {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for interface in scene.interfaces.iter() {
        for net in interface
            .addresses
            .iter()
            .filter(|net| vhost.addresses.iter().any(|own| own.addr() == net.addr()))
        {
            let sentence = format!("{} is on {} already, though no agent runs", net.addr(), interface.name);
            let finding = Finding::new(Code::AddressHere, about, sentence);
            findings.push(finding.naming("ADDRESS", &net.to_string()).naming("INTERFACE", &interface.name));
        }
    }
    findings
}

/// Another interface in the network of an address: which of the two gets what is sent there, and which one answers?
fn beside(scene: Scene<'_>, vhost: &VhostConfig, interface: &Interface, about: &str) -> Vec<Finding> {
    let Some(address) = vhost.ipv4().map(|net| net.addr()).next() else { return Vec::new() };
    let is_other = |other: &&Interface| {
        let lies_on_it = match other.kind {
            Kind::Macvlan { parent } => parent == Some(interface.index),
            Kind::Plain | Kind::Vlan { .. } | Kind::Bond | Kind::Team | Kind::Bridge => false,
        };
        let holds = |net: &ipnet::IpNet| {
            net.prefix_len() < net.max_prefix_len() && net.contains(&IpAddr::from(address))
        };
        other.index != interface.index && other.up && !lies_on_it && other.addresses.iter().any(holds)
    };
    let mut findings = Vec::new();
    for other in scene.interfaces.iter().filter(is_other) {
        findings.extend(strict_filter(interface, other, address, about));
        if sysctl::effective(Family::V4, other.index, "arp_ignore").is_ok_and(|value| value == 0) {
            let sentence = format!(
                "{} is in the network of {address}, too, and answers for it with its own hardware address (arp_ignore is 0)",
                other.name
            );
            findings.push(Finding::new(Code::ArpFlux, about, sentence).naming("INTERFACE", &other.name));
        }
        // 1 keeps from it only what is of another network.
        if sysctl::effective(Family::V4, other.index, "arp_announce").is_ok_and(|value| value < 2) {
            let sentence = format!(
                "{} is in the network of {address}, too, and asks others in its name with its own hardware address (arp_announce is \
                 not 2)",
                other.name
            );
            findings.push(Finding::new(Code::ArpAnnounce, about, sentence).naming("INTERFACE", &other.name));
        }
    }
    findings
}

fn strict_filter(
    interface: &Interface,
    other: &Interface,
    address: Ipv4Addr,
    about: &str,
) -> Option<Finding> {
    let is_strict = |interface: &&Interface| {
        sysctl::effective(Family::V4, interface.index, "rp_filter").is_ok_and(|value| value == 1)
    };
    let strict = [interface, other].into_iter().find(is_strict)?;
    let sentence = format!(
        "{} and {} are both in the network of {address}, and the reverse-path filter of {} is strict (rp_filter is 1)",
        interface.name, other.name, strict.name
    );
    Some(Finding::new(Code::ReversePath, about, sentence).naming("INTERFACE", &strict.name))
}

/// An interface that answers no ARP. A macvlan has its own setting.
fn silent(vhost: &VhostConfig, interface: &Interface, about: &str) -> Option<Finding> {
    let wanted = vhost.mac == MacChoice::Interface && vhost.ipv4().next().is_some();
    let value = sysctl::effective(Family::V4, interface.index, "arp_ignore").ok()?;
    (wanted && value == 8).then(|| {
        let sentence = format!("{} answers no ARP (arp_ignore is 8)", interface.name);
        Finding::new(Code::ArpSilent, about, sentence).naming("INTERFACE", &interface.name)
    })
}
