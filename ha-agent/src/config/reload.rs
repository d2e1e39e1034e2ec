//! From a running configuration to a new one: what can be applied without a restart.

use std::collections::HashSet;
use std::fmt::{self, Display};
use std::hash::Hash;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use super::quote::OneLine;
use super::{
    Auth, ChargeConfig, Config, LeaseConfig, Mode, PaceConfig, PeerConfig, PlaceConfig, RealtimeConfig,
    Refused, TlsFiles, Url, VhostConfig, WitnessConfig, WitnessKind,
};

/// A new configuration that can be applied to a running agent.
#[derive(Debug)]
pub struct Reload {
    /// The new configuration, its virtual hosts in the order of the running one: an index means the same in both.
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
    /// A key of `[realtime]` or `[lease]`.
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
    /// A virtual host that does not run.
    #[error("virtual host '{0}' was added; {REMEDY}")]
    VhostAdded(String),
    /// A virtual host that runs, and is not in the new configuration.
    #[error("virtual host '{0}' was removed; {REMEDY}")]
    VhostRemoved(String),
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
    /// An element of `addresses` or `unicast` that is only in the new configuration.
    #[error("{element} was added to {key} of virtual host '{vhost}'; {REMEDY}")]
    Added {
        /// The key.
        key: &'static str,
        /// The name of the virtual host.
        vhost: String,
        /// The address.
        element: String,
    },
    /// An element of `addresses` or `unicast` that is only in the running configuration.
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
    /// difference, and a virtual host's `peers` and `refused`.
    ///
    /// Virtual hosts are the same if their names are. The order of virtual hosts, and of addresses in a list, means
    /// nothing.
    ///
    /// # Errors
    ///
    /// The first difference that needs a restart; nothing of `new` should be applied then.
    pub fn changes_to(&self, mut new: Self) -> Result<Reload, RestartNeeded> {
        require_same_realtime(&self.realtime, &new.realtime)?;
        require_same_lease(self.lease, new.lease)?;
        require_same_peer(self.peer.as_ref(), new.peer.as_ref())?;
        require_same_witness(self.witness.as_ref(), new.witness.as_ref())?;
        require_same_charge(&self.charge, &new.charge)?;
        require_same_vhosts(self, &new)?;
        new.vhosts
            .sort_by_cached_key(|vhost| self.vhosts.iter().position(|running| running.name == vhost.name));
        let mut changes = Vec::new();
        auth_changes(&self.auth, &new.auth, &mut changes);
        for (index, (from, to)) in self.vhosts.iter().zip(&new.vhosts).enumerate() {
            vhost_changes(index, from, to, &mut changes)?;
        }
        Ok(Reload { config: new, changes })
    }
}

fn require_same_charge(running: &ChargeConfig, new: &ChargeConfig) -> Result<(), RestartNeeded> {
    if running.fence != new.fence {
        return Err(RestartNeeded::Charge("[fence]".to_owned()));
    }
    let changed = |place: Option<&PlaceConfig>| {
        let name = place.map(|place| OneLine(&place.name).to_string()).unwrap_or_default();
        Err(RestartNeeded::Charge(format!("what is to be taken over ('{name}')")))
    };
    if running.volumes.len() + running.services.len() != new.volumes.len() + new.services.len() {
        let names: Vec<_> = running.places().map(|place| &place.name).collect();
        let added = new.places().find(|place| !names.contains(&&place.name));
        return changed(added.or_else(|| running.places().last()));
    }
    let volume = running.volumes.iter().zip(&new.volumes).find(|(from, to)| from != to);
    let service = running.services.iter().zip(&new.services).find(|(from, to)| from != to);
    let place = volume.map(|(volume, _)| &volume.place);
    match place.or_else(|| service.map(|(service, _)| &service.place)) {
        None => Ok(()),
        place @ Some(_) => changed(place),
    }
}

fn require_same_realtime(running: &RealtimeConfig, new: &RealtimeConfig) -> Result<(), RestartNeeded> {
    let written = |config: &RealtimeConfig| {
        // Without `..`, so that no setting is forgotten.
        let RealtimeConfig { priority, lock_memory, cpu_dma_latency } = config;
        [
            ("priority", priority.map_or("off".to_owned(), |priority| priority.to_string())),
            ("lock_memory", lock_memory.to_string()),
            ("cpu_dma_latency", cpu_dma_latency.map_or("leave".to_owned(), |latency| format!("{latency:?}"))),
        ]
    };
    let changed = written(running).into_iter().zip(written(new)).find(|(from, to)| from != to);
    let needed = |((key, from), (_, to))| RestartNeeded::Local { table: "realtime", key, from, to };
    changed.map(needed).map_or(Ok(()), Err)
}

fn require_same_lease(running: LeaseConfig, new: LeaseConfig) -> Result<(), RestartNeeded> {
    let written = |LeaseConfig { length, drop }: LeaseConfig| {
        let length = length.map_or("off".to_owned(), |length| format!("{length:?}"));
        [("length", length), ("drop", drop.to_string())]
    };
    let changed = written(running).into_iter().zip(written(new)).find(|(from, to)| from != to);
    let needed = |((key, from), (_, to))| RestartNeeded::Local { table: "lease", key, from, to };
    changed.map(needed).map_or(Ok(()), Err)
}

fn require_same_peer(running: Option<&PeerConfig>, new: Option<&PeerConfig>) -> Result<(), RestartNeeded> {
    let (running, new) = match (running, new) {
        (None, None) => return Ok(()),
        (None, Some(_)) => return Err(RestartNeeded::Peer("added")),
        (Some(_), None) => return Err(RestartNeeded::Peer("removed")),
        (Some(running), Some(new)) => (running, new),
    };
    let written = |config: &PeerConfig| {
        // Without `..`, so that no setting is forgotten.
        let PeerConfig { listen, connect, heartbeat, dead_after, directory, shared } = config;
        let list = |addresses: &[SocketAddr]| {
            addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        };
        [
            ("listen", list(listen)),
            ("connect", list(connect)),
            ("heartbeat", format!("{heartbeat:?}")),
            ("dead_after", dead_after.to_string()),
            ("directory", OneLine(&directory.to_string_lossy()).to_string()),
            (
                "shared",
                shared
                    .as_ref()
                    .map_or("none".to_owned(), |file| OneLine(&file.to_string_lossy()).to_string()),
            ),
        ]
    };
    let changed = written(running).into_iter().zip(written(new)).find(|(from, to)| from != to);
    changed.map_or(Ok(()), |((key, from), (_, to))| Err(RestartNeeded::PeerSetting { key, from, to }))
}

fn require_same_witness(
    running: Option<&WitnessConfig>,
    new: Option<&WitnessConfig>,
) -> Result<(), RestartNeeded> {
    let (running, new) = match (running, new) {
        (None, None) => return Ok(()),
        (None, Some(_)) => return Err(RestartNeeded::Witness("added")),
        (Some(_), None) => return Err(RestartNeeded::Witness("removed")),
        (Some(running), Some(new)) => (running, new),
    };
    let written = |config: &WitnessConfig| {
        // Without `..`, so that no setting is forgotten.
        let WitnessConfig { kind, lease } = config;
        let none = || "none".to_owned();
        let (etcd, key, tls, gateway) = match kind {
            WitnessKind::Etcd { urls, key, tls } => {
                let urls = urls.iter().map(Url::to_string).collect::<Vec<_>>().join(", ");
                (urls, key.clone(), tls.as_ref(), none())
            }
            WitnessKind::Gateway(address) => (none(), None, None, address.to_string()),
        };
        let file = |path: Option<&PathBuf>| {
            path.map_or_else(none, |path| OneLine(&path.to_string_lossy()).to_string())
        };
        let own = tls.and_then(|TlsFiles { ca: _, own }| own.as_ref());
        [
            ("etcd", etcd),
            ("gateway", gateway),
            ("key", key.unwrap_or_else(none)),
            ("ca_file", file(tls.map(|TlsFiles { ca, own: _ }| ca))),
            ("cert_file", file(own.map(|(cert, _)| cert))),
            ("key_file", file(own.map(|(_, key)| key))),
            ("lease", format!("{lease:?}")),
        ]
    };
    let changed = written(running).into_iter().zip(written(new)).find(|(from, to)| from != to);
    changed.map_or(Ok(()), |((key, from), (_, to))| Err(RestartNeeded::WitnessSetting { key, from, to }))
}

fn require_same_vhosts(running: &Config, new: &Config) -> Result<(), RestartNeeded> {
    if running.node != new.node {
        return Err(RestartNeeded::Node { from: running.node.clone(), to: new.node.clone() });
    }
    let absent = |from: &Config, to: &Config| {
        let names: HashSet<_> = to.vhosts.iter().map(|vhost| &vhost.name).collect();
        from.vhosts.iter().map(|vhost| &vhost.name).find(|name| !names.contains(name)).cloned()
    };
    if let Some(removed) = absent(running, new) {
        return Err(RestartNeeded::VhostRemoved(removed));
    }
    absent(new, running).map_or(Ok(()), |added| Err(RestartNeeded::VhostAdded(added)))
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
    index: usize,
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
    } = to;
    require_same(name, "interface", &OneLine(&from.interface), &OneLine(interface))?;
    require_same(name, "receive", &from.receive, receive)?;
    require_same(name, "vhid", &from.vhid, vhid)?;
    require_same_elements(name, "addresses", &from.addresses, addresses)?;
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

const REMEDY: &str = "restart ha-agent to apply it, the running configuration stays";
