//! What the kernel program is told: whom to watch for, by which keys, from whom.
//!
//! The digest covers the addresses. So when those of a virtual host change, this node hears whoever signs with the ones
//! before as well, until its passphrases change; and for [`HANDOVER`] it signs with them itself, so that the other nodes
//! can be reloaded in any order. Meanwhile they may change again, as far as there is room for their keys.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ha_common::abi::{MACS, Role, WatchKey};
use ha_common::auth::Mac;
use ipnet::IpNet;

use super::hosts;
use crate::config::{Auth, Config, VhostConfig};
use crate::core::{Family, Instant};
use crate::dataplane::{Counters, LoadError, Tables};
use crate::net::place::Spot;
use crate::sys::clock;

/// The rules in force, and the maps that hold them.
#[derive(Debug)]
pub(super) struct Rules {
    tables: Tables,
    counters: Arc<Counters>,
    auth: Auth,
    hosts: BTreeMap<usize, Host>,
}

#[derive(Debug)]
struct Host {
    config: VhostConfig,
    /// The addresses that it had, the last first.
    before: Vec<Vec<IpNet>>,
    /// Until when the last of them sign.
    signs: Option<Instant>,
    /// Which of its two places holds the keys in use.
    second_keys: bool,
    watched: BTreeMap<WatchKey, Family>,
    own: Vec<IpAddr>,
}

impl Rules {
    /// Writes keys and peers of all virtual hosts. None is watched for yet.
    pub(super) fn new(tables: Tables, counters: Arc<Counters>, config: &Config) -> Result<Self, LoadError> {
        let mut rules = Self { tables, counters, auth: config.auth.clone(), hosts: BTreeMap::new() };
        rules.set_clock()?;
        rules.guard(config)?;
        config.vhosts.iter().try_for_each(|vhost| rules.add(vhost))?;
        Ok(rules)
    }

    /// Says for which addresses this node may answer only as long as somebody vouches for it.
    pub(super) fn guard(&mut self, config: &Config) -> Result<(), LoadError> {
        let addresses: Vec<_> =
            config.vhosts.iter().flat_map(|vhost| &vhost.addresses).map(IpNet::addr).collect();
        self.tables.guard(&addresses)
    }

    /// Writes keys and peers of one more virtual host, of which nothing was counted yet.
    pub(super) fn add(&mut self, config: &VhostConfig) -> Result<(), LoadError> {
        let vhost = config.index;
        for family in Family::ALL {
            self.counters.restart(hosts::slot(vhost, family))?;
        }
        let keys = hosts::keys(config, &self.auth.passphrases, &[]);
        self.tables.set_keys(hosts::key_set(vhost, false), &keys)?;
        self.tables.list(hosts::number(vhost), Role::PEER, hosts::heard(config))?;
        let (config, watched, own) = (config.clone(), BTreeMap::new(), Vec::new());
        let host = Host { config, before: Vec::new(), signs: None, second_keys: false, watched, own };
        self.hosts.insert(vhost, host);
        Ok(())
    }

    /// Forgets one, which is watched no longer.
    pub(super) fn remove(&mut self, vhost: usize) {
        self.unwatch(vhost);
        self.hosts.remove(&vhost);
        for role in [Role::PEER, Role::OWN] {
            if let Err(error) = self.tables.list(hosts::number(vhost), role, &[]) {
                tracing::debug!(%error, "a list of a virtual host that is gone could not be emptied");
            }
        }
    }

    /// Watches for a virtual host's advertisements at a place, and no longer at another. Returns the keys that its
    /// records will have.
    pub(super) fn watch(&mut self, vhost: usize, spot: &Spot) -> Result<Vec<WatchKey>, LoadError> {
        let Some(host) = self.hosts.get_mut(&vhost) else { return Ok(Vec::new()) };
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
        Ok(self.hosts.get(&vhost).map(|host| host.watched.keys().copied().collect()).unwrap_or_default())
    }

    /// Watches no longer.
    pub(super) fn unwatch(&mut self, vhost: usize) {
        if let Some(host) = self.hosts.get_mut(&vhost) {
            for key in std::mem::take(&mut host.watched).keys() {
                self.tables.unwatch(key);
            }
        }
    }

    /// Says which addresses are this node's own where a virtual host lives.
    pub(super) fn set_own(&mut self, vhost: usize, own: Vec<IpAddr>) -> Result<(), LoadError> {
        match self.hosts.get_mut(&vhost) {
            Some(host) if host.own != own => {
                self.tables.list(hosts::number(vhost), Role::OWN, &own)?;
                host.own = own;
                Ok(())
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Goes over to a new configuration of those virtual hosts that are in both. Each one's frames are judged by the old
    /// rules or by the new ones, never by none.
    pub(super) fn reload(&mut self, config: &Config) -> Result<(), LoadError> {
        let rekeyed = self.auth.passphrases != config.auth.passphrases;
        self.auth = config.auth.clone();
        for new in &config.vhosts {
            let vhost = new.index;
            let Some(host) = self.hosts.get_mut(&vhost) else { continue };
            host.change(new, rekeyed);
            self.write_keys(vhost)?;
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

    /// What signs a virtual host's advertisements now.
    pub(super) fn signer(&self, vhost: usize) -> Option<Mac> {
        let host = self.hosts.get(&vhost)?;
        let before = host.before.first().filter(|_| host.signs.is_some());
        let addresses = before.unwrap_or(&host.config.addresses);
        Some(hosts::signer(host.config.vhid, addresses, &self.auth))
    }

    /// Those that are to sign with the addresses that they have from now on. A node that was not reloaded yet is heard still.
    pub(super) fn switch(&mut self) -> Result<Vec<usize>, LoadError> {
        let now = clock::now();
        let mut switched = Vec::new();
        for (vhost, host) in &mut self.hosts {
            if host.signs.take_if(|until| *until <= now).is_some() {
                host.before.truncate(1);
                switched.push(*vhost);
            }
        }
        for vhost in &switched {
            self.write_keys(*vhost)?;
            self.publish(*vhost)?;
        }
        Ok(switched)
    }

    /// Tells the program the time of day.
    pub(super) fn set_clock(&mut self) -> Result<(), LoadError> {
        let (now, wall) = (clock::now(), clock::wall());
        let wall_ns = u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX);
        self.tables.set_clock(wall_ns.wrapping_sub(now.as_nanos()))
    }

    /// Writes who may sign, to be published.
    fn write_keys(&mut self, vhost: usize) -> Result<(), LoadError> {
        let Some(host) = self.hosts.get_mut(&vhost) else { return Ok(()) };
        let second_keys = !host.second_keys;
        let keys = hosts::keys(&host.config, &self.auth.passphrases, &host.before);
        self.tables.set_keys(hosts::key_set(vhost, second_keys), &keys)?;
        // Not before they are there: else the next reload would write over those in use.
        host.second_keys = second_keys;
        Ok(())
    }

    fn publish(&mut self, vhost: usize) -> Result<(), LoadError> {
        let Some(host) = self.hosts.get(&vhost) else { return Ok(()) };
        for (key, family) in &host.watched {
            let watch = hosts::watch(vhost, *family, &host.config, &self.auth, host.second_keys);
            self.tables.watch(*key, watch)?;
        }
        Ok(())
    }
}

impl Host {
    fn change(&mut self, new: &VhostConfig, rekeyed: bool) {
        let old = std::mem::replace(&mut self.config, new.clone());
        let [was, is] =
            [&old.addresses, &new.addresses].map(|addresses| addresses.iter().collect::<BTreeSet<_>>());
        if rekeyed {
            (self.before, self.signs) = (Vec::new(), None);
        }
        if was != is {
            self.before.insert(0, old.addresses);
            self.before.truncate(MACS);
            self.signs = Some(clock::now() + HANDOVER);
        }
    }
}

/// For how long the addresses before go on signing.
const HANDOVER: Duration = Duration::from_secs(30);
