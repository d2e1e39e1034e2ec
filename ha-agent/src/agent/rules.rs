//! What the kernel program is told: whom to watch for, by which keys, from whom.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ha_common::abi::{Role, WatchKey};
use ipnet::IpNet;

use super::hosts;
use crate::config::{Auth, Config, VhostConfig};
use crate::core::Family;
use crate::dataplane::{LoadError, Tables};
use crate::net::place::Spot;
use crate::sys::clock;

/// The rules in force, and the maps that hold them.
#[derive(Debug)]
pub(super) struct Rules {
    tables: Tables,
    auth: Auth,
    hosts: Vec<Host>,
}

#[derive(Debug)]
struct Host {
    config: VhostConfig,
    /// Which of its two places holds the keys in use.
    second_keys: bool,
    watched: BTreeMap<WatchKey, Family>,
    own: Vec<IpAddr>,
}

impl Rules {
    /// Writes keys and peers of all virtual hosts. None is watched for yet.
    pub(super) fn new(tables: Tables, config: &Config) -> Result<Self, LoadError> {
        let host = |config: &VhostConfig| Host {
            config: config.clone(),
            second_keys: false,
            watched: BTreeMap::new(),
            own: Vec::new(),
        };
        let mut rules =
            Self { tables, auth: config.auth.clone(), hosts: config.vhosts.iter().map(host).collect() };
        rules.set_clock()?;
        rules.tables.guard(&addresses(config))?;
        for (vhost, host) in rules.hosts.iter().enumerate() {
            let keys = hosts::keys(&host.config, &rules.auth.passphrases);
            rules.tables.set_keys(hosts::key_set(vhost, host.second_keys), &keys)?;
            rules.tables.list(hosts::number(vhost), Role::PEER, hosts::heard(&host.config))?;
        }
        Ok(rules)
    }

    /// Watches for a virtual host's advertisements at a place, and no longer at another. Returns the keys that its
    /// records will have.
    pub(super) fn watch(&mut self, vhost: usize, spot: &Spot) -> Result<Vec<WatchKey>, LoadError> {
        let Some(host) = self.hosts.get_mut(vhost) else { return Ok(Vec::new()) };
        let vhid = host.config.vhid;
        let key = |family| WatchKey {
            ifindex: spot.index,
            outer_vlan: spot.outer_vlan,
            vlan: spot.vlan,
            vhid,
            family: hosts::family_number(family),
            reserved: [0; 2],
        };
        let keys: BTreeMap<_, _> =
            hosts::each_family(&host.config).map(|family| (key(family), family)).collect();
        let gone: Vec<_> = host.watched.keys().filter(|key| !keys.contains_key(key)).copied().collect();
        host.watched = keys;
        self.publish(vhost)?;
        for key in gone {
            self.tables.unwatch(&key);
        }
        Ok(self.hosts.get(vhost).map(|host| host.watched.keys().copied().collect()).unwrap_or_default())
    }

    /// Watches no longer.
    pub(super) fn unwatch(&mut self, vhost: usize) {
        if let Some(host) = self.hosts.get_mut(vhost) {
            for key in std::mem::take(&mut host.watched).keys() {
                self.tables.unwatch(key);
            }
        }
    }

    /// Says which addresses are this node's own where a virtual host lives.
    pub(super) fn set_own(&mut self, vhost: usize, own: Vec<IpAddr>) -> Result<(), LoadError> {
        match self.hosts.get_mut(vhost) {
            Some(host) if host.own != own => {
                self.tables.list(hosts::number(vhost), Role::OWN, &own)?;
                host.own = own;
                Ok(())
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Goes over to a new configuration with the same virtual hosts. Each one's frames are judged by the old rules
    /// or by the new ones, never by none.
    pub(super) fn reload(&mut self, config: &Config) -> Result<(), LoadError> {
        self.auth = config.auth.clone();
        self.tables.guard(&addresses(config))?;
        for (vhost, new) in config.vhosts.iter().enumerate() {
            let Some(host) = self.hosts.get_mut(vhost) else { continue };
            host.config = new.clone();
            let second_keys = !host.second_keys;
            let keys = hosts::keys(new, &self.auth.passphrases);
            self.tables.set_keys(hosts::key_set(vhost, second_keys), &keys)?;
            // Not before they are there: else the next reload would write over those in use.
            host.second_keys = second_keys;
            let peers = hosts::heard(new);
            if peers.is_empty() {
                // First the watch that does not ask for them, then they.
                self.publish(vhost)?;
                self.tables.list(hosts::number(vhost), Role::PEER, peers)?;
            } else {
                self.tables.list(hosts::number(vhost), Role::PEER, peers)?;
                self.publish(vhost)?;
            }
        }
        Ok(())
    }

    /// Tells the program the time of day.
    pub(super) fn set_clock(&mut self) -> Result<(), LoadError> {
        let (now, wall) = (clock::now(), clock::wall());
        let wall_ns = u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX);
        self.tables.set_clock(wall_ns.wrapping_sub(now.as_nanos()))
    }

    fn publish(&mut self, vhost: usize) -> Result<(), LoadError> {
        let Some(host) = self.hosts.get(vhost) else { return Ok(()) };
        for (key, family) in &host.watched {
            let watch = hosts::watch(vhost, *family, &host.config, &self.auth, host.second_keys);
            self.tables.watch(*key, watch)?;
        }
        Ok(())
    }
}

/// The virtual addresses.
fn addresses(config: &Config) -> Vec<IpAddr> {
    config.vhosts.iter().flat_map(|vhost| &vhost.addresses).map(IpNet::addr).collect()
}
