//! With what digests are checked: passphrases, and the addresses that they cover.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use ha_common::auth::{self, DIGEST_LEN, KEY_LEN, Mac, Message};
use zeroize::Zeroizing;

use crate::config::{Config, Mode, VhostConfig};

/// Passphrases and lists of addresses. What it is asked for often, it remembers.
#[derive(Debug, Default)]
pub struct Keys {
    passphrases: Vec<Zeroizing<[u8; KEY_LEN]>>,
    /// For every virtual host.
    common: Option<Vec<IpAddr>>,
    /// For one of them, by its vhid: several may have the same, on several interfaces.
    lists: BTreeMap<u8, Vec<Vec<IpAddr>>>,
    /// How far the clocks may differ, where the configuration says that a virtual host is in strict mode.
    strict: BTreeMap<u8, Duration>,
    macs: BTreeMap<u8, Vec<Mac>>,
}

/// What lacks to check a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// A passphrase.
    Passphrase,
    /// The addresses of that virtual host.
    Addresses,
}

impl Keys {
    /// One more passphrase, of any length; bytes past the 20th are not used.
    #[must_use]
    pub fn with_passphrase(mut self, passphrase: &[u8]) -> Self {
        self.passphrases.push(Zeroizing::new(auth::key(passphrase)));
        self
    }

    /// The addresses of whatever virtual host is heard, in any order.
    #[must_use]
    pub fn with_addresses(mut self, addresses: &[IpAddr]) -> Self {
        self.common = Some(addresses.to_vec());
        self
    }

    /// The addresses of a configuration's virtual hosts, its mode, and its passphrases if there are no others. `on` chooses
    /// virtual hosts.
    #[must_use]
    pub fn with_config(mut self, config: &Config, on: impl Fn(&VhostConfig) -> bool) -> Self {
        if self.passphrases.is_empty() {
            for passphrase in &config.auth.passphrases {
                self.passphrases.push(Zeroizing::new(auth::key(passphrase.as_bytes())));
            }
        }
        for vhost in config.vhosts.iter().filter(|vhost| on(vhost)) {
            let addresses = vhost.addresses.iter().map(ipnet::IpNet::addr).collect();
            self.lists.entry(vhost.vhid).or_default().push(addresses);
            if config.auth.mode == Mode::Strict {
                self.strict.insert(vhost.vhid, config.auth.clock_difference);
            }
        }
        self
    }

    /// Whether a digest was made with one of the passphrases, for the addresses of a virtual host.
    ///
    /// # Errors
    ///
    /// What lacks to know it.
    pub fn authentic(&mut self, vhid: u8, counter: u64, digest: &[u8; DIGEST_LEN]) -> Result<bool, Missing> {
        if self.passphrases.is_empty() {
            return Err(Missing::Passphrase);
        }
        if self.common.is_none() && !self.lists.contains_key(&vhid) {
            return Err(Missing::Addresses);
        }
        let Self { passphrases, common, lists, macs, .. } = self;
        let macs = macs.entry(vhid).or_insert_with(|| {
            let lists = common.iter().chain(lists.get(&vhid).into_iter().flatten());
            lists.flat_map(|list| passphrases.iter().flat_map(|key| forms(key, vhid, list))).collect()
        });
        Ok(macs.iter().any(|mac| mac.verify(counter, digest)))
    }

    /// How far clocks may differ for a virtual host in strict mode; `None` if it is not known to be in it.
    pub(super) fn strict(&self, vhid: u8) -> Option<Duration> {
        self.strict.get(&vhid).copied()
    }
}

/// Whether a digest was made with one of the configuration's passphrases for these addresses.
#[must_use]
pub fn is_made_for(
    config: &Config,
    vhid: u8,
    addresses: &[IpAddr],
    counter: u64,
    digest: &[u8; DIGEST_LEN],
) -> bool {
    let keys = config.auth.passphrases.iter().map(|passphrase| auth::key(passphrase.as_bytes()));
    keys.flat_map(|key| forms(&Zeroizing::new(key), vhid, addresses)).any(|mac| mac.verify(counter, digest))
}

/// What signs for a list of addresses: with link-local ones, and, as `OpenBSD` sends it, without (CARP specification §3.3).
fn forms(key: &[u8; KEY_LEN], vhid: u8, addresses: &[IpAddr]) -> [Mac; 2] {
    let (mut ipv4, mut ipv6) = (Vec::new(), Vec::new());
    for address in addresses {
        match address {
            IpAddr::V4(address) => ipv4.push(address.octets()),
            IpAddr::V6(address) => ipv6.push(address.octets()),
        }
    }
    [true, false].map(|link_local| {
        Mac::new(key, &Message { vhid, ipv4: &ipv4, ipv6: &ipv6, link_local, lladdr: None })
    })
}
