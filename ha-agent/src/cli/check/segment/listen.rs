//! Listening for a moment, and asking who has the virtual addresses.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use ha_common::wire::ethernet::Mac;

use super::ask::ask;
use crate::agent::hosts;
use crate::cli::check::Scene;
use crate::config::VhostConfig;
use crate::net::link::Interface;
use crate::sniff::keys::Keys;
use crate::sniff::live::Tap;
use crate::sniff::{Sighting, Sniffer};

/// What was heard on an interface.
pub(super) struct Heard {
    /// Everything on protocol 112.
    pub(super) sightings: Vec<Sighting>,
    /// Who answers for virtual addresses that nobody was heard to advertise.
    pub(super) holders: BTreeMap<IpAddr, Mac>,
    /// For how long.
    pub(super) lasted: Duration,
}

/// Listens for three advertisements of the slowest virtual host there, and a little over a second at least: VRRP routers and
/// others speak once a second. Then asks for the addresses that nobody serves.
pub(super) async fn listen(scene: Scene<'_>, interface: &Interface) -> io::Result<Heard> {
    let keys = Keys::default().with_config(scene.config, |vhost| scene.on(interface).any(|it| it == vhost));
    let tap = Tap::open(interface.index)?;
    let mut sniffer = Sniffer::new(keys);
    let mut sightings: Vec<Sighting> = Vec::new();
    let wait = scene.on(interface).map(wait).max().unwrap_or_default().clamp(SHORTEST, LONGEST);
    let began = Instant::now();
    let hear = tap.hear_for(wait, |received| {
        if sightings.len() < ENOUGH {
            sightings.extend(sniffer.see(received));
        }
    });
    hear.await?;
    let lasted = began.elapsed();
    let is_served = |vhost: &&VhostConfig| sightings.iter().any(|seen| seen.vhid == Some(vhost.vhid));
    let lonely = scene.on(interface).filter(|vhost| scene.agent().is_none() && !is_served(vhost));
    let asked: Vec<IpAddr> =
        lonely.flat_map(|vhost| vhost.addresses.iter().map(ipnet::IpNet::addr)).collect();
    let holders = if asked.is_empty() { BTreeMap::new() } else { ask(&tap, interface, &asked).await? };
    Ok(Heard { sightings, holders, lasted })
}

/// A quarter more than three intervals, so that the third advertisement is in it.
fn wait(vhost: &VhostConfig) -> Duration {
    hosts::settings(vhost).advertisement_interval() * 13 / 4
}

const SHORTEST: Duration = Duration::from_millis(1200);
const LONGEST: Duration = Duration::from_secs(5);
/// Sightings that are kept: more than there are but in a flood.
const ENOUGH: usize = 20_000;
