//! Whom a virtual host talks to: families, and the lists `peers` and `unicast`.

use std::collections::HashSet;
use std::net::IpAddr;

use ipnet::IpNet;
use toml::Spanned;

use super::super::address::{self, Family, Role};
use super::super::error::ConfigError;
use super::super::mistake::Mistake;
use super::super::schema::Key;
use super::super::table::Table;
use super::super::{FamilyRule, VhostConfig, schema};
use super::{PEER_LIMIT, Place, Vhosts};

/// The lists of one virtual host, of which at most one is not empty.
#[derive(Default)]
pub(super) struct Peers {
    pub(super) peers: Vec<IpAddr>,
    pub(super) unicast: Vec<IpAddr>,
}

/// An address that somebody else must have.
pub(super) struct Foreign {
    at: usize,
    noun: &'static str,
    address: IpAddr,
    place: Place,
}

impl Vhosts<'_> {
    pub(super) fn families(&self, table: &Table<'_>, addresses: &[IpNet]) -> Result<FamilyRule, ConfigError> {
        let Some(families) = table.choice(&schema::FAMILIES)? else { return Ok(FamilyRule::default()) };
        let own: Vec<IpAddr> = addresses.iter().map(IpNet::addr).collect();
        match (families.get_ref(), Family::missing(&own)) {
            (FamilyRule::Both, Some(missing)) => {
                Err(self.document.error(families.span().start, Mistake::FamiliesOfOne { missing }))
            }
            (FamilyRule::Both, None) | (FamilyRule::Either, _) => Ok(families.into_inner()),
        }
    }

    /// The lists of a virtual host, of which the interface, the addresses and `families` are known.
    pub(super) fn peers(&mut self, table: &Table<'_>, vhost: &VhostConfig) -> Result<Peers, ConfigError> {
        let peers = self.list(table, &schema::PEERS, &address::PEER, vhost)?;
        let unicast = self.list(table, &schema::UNICAST, &address::UNICAST, vhost)?;
        match (peers, unicast) {
            (None, None) => Ok(Peers::default()),
            (Some(peers), Some(_)) => Err(self.document.error(peers.span().start, Mistake::PeersWithUnicast)),
            (Some(peers), None) => {
                if let Some(missing) = self.unheard(&peers, &schema::PEERS, vhost)? {
                    self.warn(
                        peers.span().start,
                        format_args!(
                            "peers has no {missing} address, so no {missing} advertisement is heard; add those of \
                             the peers{}",
                            // CARP specification §1.2.
                            if missing == Family::Ipv6 { ", normally link-local" } else { "" }
                        ),
                    );
                }
                Ok(Peers { peers: peers.into_inner(), ..Peers::default() })
            }
            (None, Some(unicast)) => {
                // Unlike with `peers`, a family that is not listed is not sent either: nothing to warn of.
                self.unheard(&unicast, &schema::UNICAST, vhost)?;
                Ok(Peers { unicast: unicast.into_inner(), ..Peers::default() })
            }
        }
    }

    /// No list may contain a virtual address: whoever is master has it, perhaps we.
    pub(super) fn check_foreign(&self) -> Result<(), ConfigError> {
        for Foreign { at, noun, address, place } in &self.foreign {
            if let Some(&owner) = self.addresses.get(place) {
                let (owner, line) = (self.done[owner].name.clone(), self.line_of(owner, *at));
                let (noun, address) = (*noun, *address);
                return Err(self.document.error(*at, Mistake::VirtualPeer { noun, address, owner, line }));
            }
        }
        Ok(())
    }

    fn list(
        &mut self,
        table: &Table<'_>,
        key: &'static Key,
        role: &'static Role,
        vhost: &VhostConfig,
    ) -> Result<Option<Spanned<Vec<IpAddr>>>, ConfigError> {
        let Some(texts) = table.elements::<&str>(key)? else { return Ok(None) };
        let (span, texts) = (texts.span(), texts.into_inner());
        let mut peers = Vec::new();
        let mut seen = HashSet::new();
        for text in &texts {
            let at = text.span().start;
            let peer = self.peer(text, role, vhost)?;
            if seen.insert(peer) {
                peers.push(peer);
                let place = Place::new(peer, &vhost.interface);
                self.foreign.push(Foreign { at, noun: role.noun, address: peer, place });
            } else {
                let (noun, name) = (role.noun, &vhost.name);
                self.warn(
                    at,
                    format_args!("{noun} {peer} is listed twice in vhost '{name}'; remove one of the two"),
                );
            }
        }
        let key = key.name;
        match peers.len() {
            0 => Err(self.document.error(span.start, Mistake::NoPeer { key })),
            1..=PEER_LIMIT => Ok(Some(Spanned::new(span, peers))),
            count => Err(self.document.error(span.start, Mistake::TooManyPeers { key, count })),
        }
    }

    fn peer(
        &self,
        text: &Spanned<&str>,
        role: &'static Role,
        vhost: &VhostConfig,
    ) -> Result<IpAddr, ConfigError> {
        let peer = address::peer(text.get_ref(), role).and_then(|peer| {
            let (noun, family) = (role.noun, Family::of(peer));
            // Its advertisements would be of a family that the virtual host neither sends nor hears.
            let known = vhost.addresses.iter().any(|own| Family::of(own.addr()) == family);
            if known { Ok(peer) } else { Err(Mistake::PeerFamily { noun, address: peer, family }) }
        });
        peer.map_err(|mistake| self.document.error(text.span().start, mistake))
    }

    /// The family that the virtual host has and the list has not; a mistake if both must be heard.
    fn unheard(
        &self,
        list: &Spanned<Vec<IpAddr>>,
        key: &'static Key,
        vhost: &VhostConfig,
    ) -> Result<Option<Family>, ConfigError> {
        let missing = Family::missing(list.get_ref());
        let own = |family: &Family| vhost.addresses.iter().any(|own| Family::of(own.addr()) == *family);
        match (missing.filter(own), vhost.families) {
            (Some(missing), FamilyRule::Both) => {
                Err(self.document.error(list.span().start, Mistake::UnheardFamily { key: key.name, missing }))
            }
            (missing, FamilyRule::Either | FamilyRule::Both) => Ok(missing),
        }
    }
}
