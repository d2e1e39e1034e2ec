//! The peer link, and the witness.

use std::io::ErrorKind;
use std::iter;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::TcpMaxSeg;
use tokio::runtime::Runtime;

use super::Scene;
use super::finding::{Code, Finding};
use crate::cli::exit::Exit;
use crate::config::{PeerConfig, Url, WitnessConfig, WitnessKind};
use crate::peer::store::{Part, Store, StoreError};
use crate::witness::{Keeper, Terms, gateway};

/// Whether this node can speak with its peer and with the witness.
pub(super) fn check(scene: Scene<'_>, runtime: &Runtime) -> Vec<Finding> {
    let Some(peer) = &scene.config.peer else { return Vec::new() };
    let mut findings = vec![paired(peer)];
    findings.extend(listens(scene, peer));
    if let Some(process) = scene.agent() {
        // It has these ports, and a connection.
        let sentence = format!("{process} keeps it: `ha-agent status` says how it is");
        findings.push(Finding::good(LINK, sentence));
    } else {
        findings.extend(peer.listen.iter().filter_map(|address| taken(*address)));
        findings.extend(reaches(scene, peer));
    }
    if let Some(witness) = &scene.config.witness {
        findings.push(match Keeper::new(witness, Terms::new(witness, peer)) {
            Ok(_) => answers(witness, runtime),
            Err(error) => Finding::told(Code::WitnessFiles, WITNESS, &error).ending(error.exit()),
        });
    }
    findings
}

/// Whether the two have been introduced to each other.
fn paired(peer: &PeerConfig) -> Finding {
    let store = Store::at(&peer.directory);
    let own = store.identity(Part::Node);
    let other = own.as_ref().is_ok_and(Option::is_some).then(|| store.certificate(Part::Peer));
    match (own, other) {
        (Ok(Some(own)), Some(Ok(Some(other)))) => {
            let (own, other) = (own.certificate().name().to_owned(), other.name().to_owned());
            Finding::good(LINK, format!("{own} is paired with {other}"))
        }
        (Err(StoreError::NoDirectory(_)) | Ok(_), None | Some(Ok(None))) => {
            Finding::new(Code::NotPaired, LINK, "this node is not paired yet")
        }
        (Err(error), _) | (_, Some(Err(error))) => {
            Finding::told(Code::PeerFiles, LINK, &error).ending(error.exit())
        }
        // Whoever has no directory has nothing in it.
        (_, Some(Ok(_))) => Finding::new(Code::NotPaired, LINK, "this node is not paired yet"),
    }
}

/// Addresses of `listen` that this node does not have.
fn listens(scene: Scene<'_>, peer: &PeerConfig) -> Vec<Finding> {
    let has = |wanted: IpAddr| {
        wanted.is_unspecified()
            || wanted.is_loopback()
            || scene.interfaces.iter().any(|interface| interface.ips().any(|ip| ip == wanted))
    };
    let missing = peer.listen.iter().filter(|address| !has(address.ip()));
    missing
        .map(|address| {
            Finding::new(Code::ListenElsewhere, LINK, format!("{} is not on this node", address.ip()))
        })
        .collect()
}

/// Whether another program listens there.
fn taken(address: SocketAddr) -> Option<Finding> {
    match TcpListener::bind(address) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            let sentence = format!("another program listens on {address}");
            Some(Finding::new(Code::PortTaken, LINK, sentence).ending(Exit::Unavailable))
        }
        // Where the address is missing, that was said.
        Ok(_) | Err(_) => None,
    }
}

/// Whether the peer's agent listens.
fn reaches(scene: Scene<'_>, peer: &PeerConfig) -> Vec<Finding> {
    let (connected, failed) = connect(&peer.connect);
    if connected.is_empty() {
        let sentence = format!("the peer can't be reached: {}", failed.join(", "));
        return vec![Finding::new(Code::PeerUnreachable, LINK, sentence)];
    }
    let shorter = connected.iter().filter_map(|stream| shorter(scene, stream));
    let good = Finding::good(LINK, "the peer's agent can be reached");
    iter::once(good).chain(shorter).collect()
}

/// A peer that takes shorter packets than the interface by which it was reached: it has said so when it was connected.
fn shorter(scene: Scene<'_>, stream: &TcpStream) -> Option<Finding> {
    let (own, other) = (stream.local_addr().ok()?.ip(), stream.peer_addr().ok()?.ip());
    let interface = scene.interfaces.iter().find(|interface| interface.ips().any(|ip| ip == own))?;
    let headers = if own.is_ipv4() { 40 } else { 60 };
    let taken = getsockopt(stream, TcpMaxSeg).ok()? + headers + TIMESTAMPS;
    (taken < interface.mtu).then(|| {
        let sentence =
            format!("{other} takes {taken} bytes at once, and {} {}", interface.name, interface.mtu);
        Finding::new(Code::OtherMtu, LINK, sentence)
            .naming("INTERFACE", &interface.name)
            .naming("BYTES", &interface.mtu.to_string())
    })
}

/// Whether the witness answers.
fn answers(witness: &WitnessConfig, runtime: &Runtime) -> Finding {
    let lease = witness.lease;
    let unreachable = |cause: String| Finding::new(Code::WitnessUnreachable, WITNESS, cause);
    match &witness.kind {
        WitnessKind::Etcd { urls, .. } => {
            let addresses: Vec<_> = urls.iter().map(|url| url.address).collect();
            let (connected, failed) = connect(&addresses);
            let urls = urls.iter().map(Url::to_string).collect::<Vec<_>>().join(", ");
            if connected.is_empty() {
                return unreachable(format!("etcd can't be reached: {}", failed.join(", ")));
            }
            Finding::good(WITNESS, format!("a lease of {lease:?} in etcd at {urls}"))
        }
        WitnessKind::Gateway(address) => match runtime.block_on(gateway::ask(*address, PATIENCE)) {
            Ok(()) => Finding::good(
                WITNESS,
                format!(
                    "gateway {address}, for {lease:?} after each answer: where both nodes reach it and not each other, both \
                     become active"
                ),
            ),
            Err(error) => unreachable(format!("{address}: {error}")),
        },
    }
}

/// Tries all at once, and returns the connections, and which addresses can't be reached and why.
fn connect(addresses: &[SocketAddr]) -> (Vec<TcpStream>, Vec<String>) {
    let (mut connected, mut failed) = (Vec::new(), Vec::new());
    thread::scope(|scope| {
        let attempt = |address: &SocketAddr| {
            let address = *address;
            scope.spawn(move || {
                TcpStream::connect_timeout(&address, PATIENCE).map_err(|error| format!("{address}: {error}"))
            })
        };
        let attempts: Vec<_> = addresses.iter().map(attempt).collect();
        for result in attempts.into_iter().filter_map(|thread| thread.join().ok()) {
            match result {
                Ok(stream) => connected.push(stream),
                Err(error) => failed.push(error),
            }
        }
    });
    (connected, failed)
}

const LINK: &str = "peer link";
const WITNESS: &str = "witness";
/// What TCP takes of each packet for timestamps, where it does.
const TIMESTAMPS: u32 = 12;
const PATIENCE: Duration = Duration::from_secs(1);
