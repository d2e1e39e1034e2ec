//! The tables that a node has once: none of them changes while it runs.

use std::path::PathBuf;

use super::RestartNeeded;
use crate::config::quote::OneLine;
use crate::config::{
    ChargeConfig, Config, LeaseConfig, PeerConfig, PlaceConfig, RealtimeConfig, TlsFiles, Trust, Url,
    WebConfig, WitnessConfig, WitnessKind,
};

/// The first difference in them.
pub(super) fn require_same(running: &Config, new: &Config) -> Result<(), RestartNeeded> {
    if running.node != new.node {
        return Err(RestartNeeded::Node { from: running.node.clone(), to: new.node.clone() });
    }
    require_same_realtime(&running.realtime, &new.realtime)?;
    require_same_lease(running.lease, new.lease)?;
    require_same_peer(running.peer.as_ref(), new.peer.as_ref())?;
    require_same_witness(running.witness.as_ref(), new.witness.as_ref())?;
    require_same_web(running.web.as_ref(), new.web.as_ref())?;
    require_same_charge(&running.charge, &new.charge)
}

fn require_same_web(running: Option<&WebConfig>, new: Option<&WebConfig>) -> Result<(), RestartNeeded> {
    let (running, new) = match (running, new) {
        (None, None) => return Ok(()),
        (None, Some(_)) => return Err(RestartNeeded::Web("added")),
        (Some(_), None) => return Err(RestartNeeded::Web("removed")),
        (Some(running), Some(new)) => (running, new),
    };
    if running.token.is_some() && new.token.is_some() && running.token != new.token {
        let [from, to] = ["one token", "another"].map(str::to_owned);
        return Err(RestartNeeded::Local { table: "web", key: "token_file", from, to });
    }
    let written = |config: &WebConfig| {
        // Without `..`, so that no setting is forgotten.
        let WebConfig { listen, token, trust, hosts, actions } = config;
        let (header, proxies) = trust.as_ref().map(|Trust { header, proxies }| (header, proxies)).unzip();
        [
            ("listen", list(listen)),
            ("token_file", token.as_ref().map_or("none", |_| "a token").to_owned()),
            ("trust_header", header.cloned().unwrap_or_else(|| "none".to_owned())),
            ("trusted_proxies", list(proxies.map_or(&[], Vec::as_slice))),
            ("hosts", list(hosts)),
            ("actions", actions.to_string()),
        ]
    };
    let changed = written(running).into_iter().zip(written(new)).find(|(from, to)| from != to);
    let needed = |((key, from), (_, to))| RestartNeeded::Local { table: "web", key, from, to };
    changed.map(needed).map_or(Ok(()), Err)
}

fn list<T: ToString>(elements: &[T]) -> String {
    let elements: Vec<_> = elements.iter().map(ToString::to_string).collect();
    if elements.is_empty() { "none".to_owned() } else { elements.join(", ") }
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
