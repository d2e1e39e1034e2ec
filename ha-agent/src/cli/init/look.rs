//! A look at the machine: interfaces with addresses, and who advertises there.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use super::InitError;
use super::ask::Questions;
use crate::cli::machine;
use crate::config::quote::OneLine;
use crate::net::link::{Interface, Interfaces, Kind};
use crate::sniff::Sniffer;
use crate::sniff::keys::Keys;
use crate::sniff::live::Tap;
use crate::sys::clock;

/// What was seen.
pub(super) struct Looked {
    /// The one that is wanted.
    pub(super) interface: String,
    found: Option<Interface>,
    /// Those that are heard on it.
    vhids: BTreeSet<u8>,
    /// Whether the clock of this node is kept right.
    pub(super) synchronised: bool,
    /// What an operator should know of it.
    pub(super) notes: Vec<String>,
}

impl Looked {
    /// Chooses the interface, if none is named, and listens there.
    ///
    /// # Errors
    ///
    /// If the kernel does not tell of interfaces.
    pub(super) fn at(named: Option<&str>, questions: &mut Questions) -> Result<Self, InitError> {
        let (runtime, interfaces) = machine::interfaces()?;
        let candidates: Vec<_> = interfaces.iter().filter(|interface| is_candidate(interface)).collect();
        let usual = match candidates.as_slice() {
            [only] => Some(only.name.clone()),
            _ => None,
        };
        let choice: Vec<_> = candidates.iter().map(|interface| describe(interface)).collect();
        let question = format!("the interface that the clients are on ({})", choice.join(", "));
        let option = format!("--interface ({})", choice.join(", "));
        let read = |text: &str| match interfaces.get(text) {
            Some(_) => Ok(text.to_owned()),
            None => Err(format!("there is no interface {}", OneLine(text))),
        };
        let interface = questions.ask(&question, &option, named.map(str::to_owned), usual.as_deref(), read);
        let interface = interface.unwrap_or_default();
        let mut looked = Self {
            found: interfaces.get(&interface).cloned(),
            interface,
            vhids: BTreeSet::new(),
            synchronised: clock::is_synchronised() == Some(true),
            notes: Vec::new(),
        };
        looked.listen(&interfaces, &runtime);
        Ok(looked)
    }

    fn listen(&mut self, interfaces: &Interfaces, runtime: &tokio::runtime::Runtime) {
        if self.interface.is_empty() {
            return;
        }
        let Some(interface) = interfaces.get(&self.interface) else {
            self.notes.push(format!("there is no interface {} now", self.interface));
            return;
        };
        let mut speakers = BTreeSet::new();
        let heard = runtime.block_on(async {
            let (tap, mut sniffer) = (Tap::open(interface.index)?, Sniffer::new(Keys::default()));
            let hear = tap.hear_for(LISTENS, |received| {
                let Some(seen) = sniffer.see(received).filter(|seen| seen.vlan == 0) else { return };
                if let Some(vhid) = seen.vhid {
                    speakers.insert((vhid, seen.source, "CARP"));
                }
                if let Some(vrrp) = seen.vrrp {
                    speakers.insert((vrrp.router, seen.source, "VRRP"));
                }
            });
            hear.await
        });
        if let Err(error) = heard {
            self.notes.push(format!("nobody could be listened to on {}: {error}", self.interface));
        }
        for (vhid, source, protocol) in speakers {
            self.vhids.insert(vhid);
            self.notes.push(format!("heard on {}: {source} advertises {vhid} by {protocol}", self.interface));
        }
    }

    /// The lowest number from 10 on that was not heard.
    pub(super) fn free_vhid(&self) -> Option<u8> {
        (FIRST..=u8::MAX).chain(1..FIRST).find(|vhid| !self.vhids.contains(vhid))
    }

    /// This node's address on the interface that is in a network with another one; else one of the same family.
    pub(super) fn address_toward(&self, peer: IpAddr) -> Option<IpAddr> {
        let own = &self.found.as_ref()?.addresses;
        let near = own.iter().find(|net| net.contains(&peer));
        let any = || own.iter().find(|net| net.addr().is_ipv4() == peer.is_ipv4());
        near.or_else(any).map(ipnet::IpNet::addr)
    }
}

/// Ethernet that is up and has an address, and is no part of another interface.
fn is_candidate(interface: &Interface) -> bool {
    let stands_alone = match interface.kind {
        Kind::Plain | Kind::Vlan { .. } | Kind::Bond | Kind::Team | Kind::Bridge => true,
        Kind::Macvlan { .. } => false,
    };
    stands_alone && interface.up && interface.hardware != [0; 6] && !interface.addresses.is_empty()
}

fn describe(interface: &Interface) -> String {
    match interface.addresses.first() {
        Some(first) => format!("{} {first}", interface.name),
        None => interface.name.clone(),
    }
}

/// As long as three advertisements of those who speak once a second.
const LISTENS: Duration = Duration::from_secs(3);
const FIRST: u8 = 10;
