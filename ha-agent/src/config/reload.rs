//! From a running configuration to a new one: what can be applied without a restart.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt::{self, Display};
use std::hash::Hash;
use std::time::Duration;

use ha_common::abi::MAX_HOSTS;
use ipnet::IpNet;
use thiserror::Error;

use super::quote::OneLine;
use super::{Auth, Config, Mode, PaceConfig, Refused, VhostConfig, address};

mod node;

/// A new configuration that can be applied to a running agent.
#[derive(Debug)]
pub struct Reload {
    /// The new configuration. Whoever is in both has the same [`VhostConfig::index`].
    pub config: Config,
    /// What is new in it, each once; empty if nothing is.
    pub changes: Vec<Change>,
}

/// What can change in a running agent. Displayed, it is a sentence for the log, without the passphrases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The passphrases or their order.
    Passphrases,
    /// The mode. Until the other nodes follow, a strict one takes one in compat mode for silent.
    Mode(Mode),
    /// How far clocks may be apart, in strict mode.
    ClockDifference(Duration),
    /// Whom a virtual host hears.
    Peers {
        /// Which one, by its index and its name.
        index: usize,
        /// See `index`.
        vhost: String,
    },
    /// The addresses of a virtual host. Until the other nodes follow, they don't know its advertisements with the new ones.
    Addresses {
        /// Which one, by its index and its name.
        index: usize,
        /// See `index`.
        vhost: String,
        /// Those that it did not have.
        added: Vec<IpNet>,
        /// Those that it has no longer.
        removed: Vec<IpNet>,
    },
    /// A virtual host that did not run.
    Added {
        /// Which one, by its index and its name.
        index: usize,
        /// See `index`.
        vhost: String,
    },
    /// A virtual host that runs, and is not in the new configuration.
    Removed {
        /// Which one, by its index and its name.
        index: usize,
        /// See `index`.
        vhost: String,
    },
    /// What is run when something happens.
    Notify,
    /// What becomes of frames that a virtual host refuses.
    Refused {
        /// Which one, by its index and its name.
        index: usize,
        /// See `index`.
        vhost: String,
        /// What now becomes of them.
        refused: Refused,
    },
}

impl Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passphrases => f.write_str("the passphrases changed"),
            Self::Mode(Mode::Compat) => f.write_str("mode changed to compat"),
            Self::Mode(Mode::Strict) => f.write_str(
                "mode changed to strict: from now on, what nodes in compat mode send is refused; change the \
                     passphrase, too, for what was recorded in compat mode may pass for new one day",
            ),
            Self::ClockDifference(difference) => write!(f, "clock_difference changed to {difference:?}"),
            Self::Peers { vhost, .. } => write!(f, "peers of virtual host '{vhost}' changed"),
            Self::Addresses { vhost, added, removed, .. } => {
                let signed = added.iter().map(|net| ('+', net)).chain(removed.iter().map(|net| ('-', net)));
                let list: Vec<_> = signed.map(|(sign, net)| format!("{sign}{net}")).collect();
                let list = list.join(" ");
                write!(f, "addresses of virtual host '{vhost}' changed ({list}): reload its other nodes, too")
            }
            Self::Notify => f.write_str("what is run on events changed"),
            Self::Added { vhost, .. } => write!(f, "virtual host '{vhost}' was added"),
            Self::Removed { vhost, .. } => write!(f, "virtual host '{vhost}' was removed"),
            Self::Refused { vhost, refused, .. } => {
                write!(f, "refused of virtual host '{vhost}' changed to {refused}")
            }
        }
    }
}

/// Why a new configuration cannot be applied to a running agent. Displayed, it is one line with the remedy.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum RestartNeeded {
    /// The node has another name.
    #[error("node changed from {from} to {to}; {REMEDY}")]
    Node {
        /// In the running configuration.
        from: String,
        /// In the new one.
        to: String,
    },
    /// A key of `[realtime]`, `[lease]` or `[web]`.
    #[error("{key} in [{table}] changed from {from} to {to}; {REMEDY}")]
    Local {
        /// The table.
        table: &'static str,
        /// The key.
        key: &'static str,
        /// In the running configuration.
        from: String,
        /// In the new one.
        to: String,
    },
    /// `[peer]` as a whole.
    #[error("[peer] was {0}; {REMEDY}")]
    Peer(&'static str),
    /// A key of `[peer]`.
    #[error("{key} in [peer] changed from {from} to {to}; {REMEDY}")]
    PeerSetting {
        /// The key.
        key: &'static str,
        /// In the running configuration.
        from: String,
        /// In the new one.
        to: String,
    },
    /// `[witness]` as a whole.
    #[error("[witness] was {0}; {REMEDY}")]
    Witness(&'static str),
    /// `[web]` as a whole.
    #[error("[web] was {0}; {REMEDY}")]
    Web(&'static str),
    /// A key of `[witness]`.
    #[error("{key} in [witness] changed from {from} to {to}; {REMEDY}")]
    WitnessSetting {
        /// The key.
        key: &'static str,
        /// In the running configuration.
        from: String,
        /// In the new one.
        to: String,
    },
    /// Something of what is taken over beside addresses.
    #[error("{0} changed; {REMEDY}")]
    Charge(String),
    /// A virtual host has addresses of other families.
    #[error("virtual host '{vhost}' had addresses of {from}, and now has of {to}; {REMEDY}")]
    Families {
        /// Its name.
        vhost: String,
        /// In the running configuration.
        from: &'static str,
        /// In the new one.
        to: &'static str,
    },
    /// There is no room for the keys of two passphrases with the addresses before and after.
    #[error(
        "addresses of virtual host '{0}' changed while there are two passphrases; with link-local addresses, first reload \
         with one passphrase, then with other addresses"
    )]
    TooManyKeys(String),
    /// A key of a virtual host.
    #[error("{key} of virtual host '{vhost}' changed from {from} to {to}; {REMEDY}")]
    Setting {
        /// The key.
        key: &'static str,
        /// The name of the virtual host.
        vhost: String,
        /// In the running configuration.
        from: String,
        /// In the new one.
        to: String,
    },
    /// An element of `unicast` that is only in the new configuration.
    #[error("{element} was added to {key} of virtual host '{vhost}'; {REMEDY}")]
    Added {
        /// The key.
        key: &'static str,
        /// The name of the virtual host.
        vhost: String,
        /// The address.
        element: String,
    },
    /// An element of `unicast` that is only in the running configuration.
    #[error("{element} was removed from {key} of virtual host '{vhost}'; {REMEDY}")]
    Removed {
        /// The key.
        key: &'static str,
        /// The name of the virtual host.
        vhost: String,
        /// The address.
        element: String,
    },
}

impl Config {
    /// What is new in `new`, if all of it can be applied while running with `self`: passphrases, mode and clock
    /// difference; a virtual host's `addresses`, `peers` and `refused`; and whole virtual hosts.
    ///
    /// Virtual hosts are the same if their names are. The order of virtual hosts, and of addresses in a list, means
    /// nothing.
    ///
    /// # Errors
    ///
    /// The first difference that needs a restart; nothing of `new` should be applied then.
    pub fn changes_to(&self, mut new: Self) -> Result<Reload, RestartNeeded> {
        node::require_same(self, &new)?;
        number(&self.vhosts, &mut new.vhosts);
        let mut changes = Vec::new();
        auth_changes(&self.auth, &new.auth, &mut changes);
        if self.notify != new.notify {
            changes.push(Change::Notify);
        }
        for gone in self.vhosts.iter().filter(|vhost| new.vhost(&vhost.name).is_none()) {
            changes.push(Change::Removed { index: gone.index, vhost: gone.name.clone() });
        }
        for to in &new.vhosts {
            match self.vhost(&to.name) {
                Some(from) => vhost_changes(&self.auth, &new.auth, from, to, &mut changes)?,
                None => changes.push(Change::Added { index: to.index, vhost: to.name.clone() }),
            }
        }
        Ok(Reload { config: new, changes })
    }

    fn vhost(&self, name: &str) -> Option<&VhostConfig> {
        self.vhosts.iter().find(|vhost| vhost.name == name)
    }
}

/// Gives those that run the numbers that they have, and the others the first that are free; those that were freed just now
/// only where there are no others.
fn number(running: &[VhostConfig], new: &mut [VhostConfig]) {
    let known: HashMap<_, _> = running.iter().map(|vhost| (vhost.name.as_str(), vhost.index)).collect();
    let used: BTreeSet<_> = known.values().copied().collect();
    let stay: BTreeSet<_> = new.iter().filter_map(|vhost| known.get(vhost.name.as_str()).copied()).collect();
    let fresh = (0..MAX_HOSTS).filter(|index| !used.contains(index));
    // More than there is room for are refused elsewhere.
    let mut free = fresh.chain(used.difference(&stay).copied()).chain(MAX_HOSTS..);
    for vhost in &mut *new {
        let index = known.get(vhost.name.as_str()).copied().or_else(|| free.next());
        vhost.index = index.unwrap_or(usize::MAX);
    }
}

fn auth_changes(from: &Auth, to: &Auth, changes: &mut Vec<Change>) {
    // Without `..`, so that no setting is forgotten.
    let Auth { passphrases, mode, clock_difference } = to;
    if from.passphrases != *passphrases {
        changes.push(Change::Passphrases);
    }
    if from.mode != *mode {
        changes.push(Change::Mode(*mode));
    }
    // In compat mode it has no meaning.
    if *mode == Mode::Strict && from.clock_difference != *clock_difference {
        changes.push(Change::ClockDifference(*clock_difference));
    }
}

fn vhost_changes(
    auth: &Auth,
    new_auth: &Auth,
    from: &VhostConfig,
    to: &VhostConfig,
    changes: &mut Vec<Change>,
) -> Result<(), RestartNeeded> {
    // Without `..`, so that no setting is forgotten.
    let VhostConfig {
        name,
        interface,
        receive,
        vhid,
        addresses,
        advbase,
        advskew,
        pace,
        preempt,
        peers,
        unicast,
        refused,
        mac,
        advertise_from,
        families,
        announce_every,
        group: _,
        critical,
        index: _,
    } = to;
    let index = from.index;
    require_same(name, "interface", &OneLine(&from.interface), &OneLine(interface))?;
    require_same(name, "receive", &from.receive, receive)?;
    require_same(name, "vhid", &from.vhid, vhid)?;
    require_same(name, "advbase", &from.advbase, advbase)?;
    require_same(name, "advskew", &from.advskew, advskew)?;
    let (from_interval, from_detect) = written(from.pace);
    let (interval, detect) = written(*pace);
    require_same(name, "interval", &from_interval, &interval)?;
    require_same(name, "detect", &from_detect, &detect)?;
    require_same(name, "preempt", &from.preempt, preempt)?;
    require_same_elements(name, "unicast", &from.unicast, unicast)?;
    require_same(name, "mac", &from.mac, mac)?;
    require_same(name, "advertise_from", &from.advertise_from, advertise_from)?;
    require_same(name, "families", &from.families, families)?;
    let period = |period: Option<Duration>| OrNone(period.map(|period| format!("{period:?}")));
    require_same(name, "announce_every", &period(from.announce_every), &period(*announce_every))?;
    require_same(name, "group", &from.group(), &to.group())?;
    require_same(name, "critical", &from.critical, critical)?;

    let added = not_in(&from.addresses, addresses);
    let removed = not_in(addresses, &from.addresses);
    if !(added.is_empty() && removed.is_empty()) {
        let [before, after] = [&from.addresses, addresses].map(|addresses| address_families(addresses));
        if before != after {
            return Err(RestartNeeded::Families { vhost: name.clone(), from: before, to: after });
        }
        let local = from.addresses.iter().chain(addresses).any(|net| address::is_link_local(net.addr()));
        if local && auth.passphrases.len().max(new_auth.passphrases.len()) > 1 {
            return Err(RestartNeeded::TooManyKeys(name.clone()));
        }
        changes.push(Change::Addresses { index, vhost: name.clone(), added, removed });
    }
    if first_not_in(peers, &from.peers).is_some() || first_not_in(&from.peers, peers).is_some() {
        changes.push(Change::Peers { index, vhost: name.clone() });
    }
    if from.refused != *refused {
        changes.push(Change::Refused { index, vhost: name.clone(), refused: *refused });
    }
    Ok(())
}

fn require_same<T: Display + PartialEq>(
    vhost: &str,
    key: &'static str,
    from: &T,
    to: &T,
) -> Result<(), RestartNeeded> {
    if from == to {
        return Ok(());
    }
    let (from, to) = (from.to_string(), to.to_string());
    Err(RestartNeeded::Setting { key, vhost: vhost.into(), from, to })
}

/// The order means nothing.
fn require_same_elements<T: Display + Eq + Hash>(
    vhost: &str,
    key: &'static str,
    from: &[T],
    to: &[T],
) -> Result<(), RestartNeeded> {
    let vhost = || vhost.to_owned();
    if let Some(element) = first_not_in(to, from) {
        return Err(RestartNeeded::Removed { key, vhost: vhost(), element: element.to_string() });
    }
    if let Some(element) = first_not_in(from, to) {
        return Err(RestartNeeded::Added { key, vhost: vhost(), element: element.to_string() });
    }
    Ok(())
}

/// Those of `elements` that are not in `others`.
fn not_in<T: Eq + Hash + Copy>(others: &[T], elements: &[T]) -> Vec<T> {
    let others: HashSet<_> = others.iter().collect();
    elements.iter().filter(|element| !others.contains(element)).copied().collect()
}

/// The families of addresses, in words.
fn address_families(addresses: &[IpNet]) -> &'static str {
    let has = |v6| addresses.iter().any(|net| net.addr().is_ipv6() == v6);
    match (has(false), has(true)) {
        (true, true) => "both families",
        (true, false) => "IPv4 only",
        (false, _) => "IPv6 only",
    }
}

/// The first of `elements` that is not in `others`.
fn first_not_in<'a, T: Eq + Hash>(others: &[T], elements: &'a [T]) -> Option<&'a T> {
    let others: HashSet<_> = others.iter().collect();
    elements.iter().find(|element| !others.contains(element))
}

/// Interval and detect, as they are written.
fn written(pace: PaceConfig) -> (OrNone<String>, OrNone<u8>) {
    match pace {
        PaceConfig::Classic => (OrNone(None), OrNone(None)),
        PaceConfig::Fast { interval, detect } => {
            (OrNone(Some(format!("{interval:?}"))), OrNone(Some(detect)))
        }
    }
}

/// A setting that may be left out.
#[derive(PartialEq)]
struct OrNone<T>(Option<T>);

impl<T: Display> Display for OrNone<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(setting) => setting.fmt(f),
            None => f.write_str("none"),
        }
    }
}

const REMEDY: &str = "`ha-agent restart` applies it, the running configuration stays";
