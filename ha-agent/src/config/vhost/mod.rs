//! The `[[vhost]]` tables, each by itself and against those before it.

mod mac;
mod pace;
mod peers;

use std::collections::HashMap;
use std::fmt::Display;
use std::net::IpAddr;

use ipnet::IpNet;
use toml::Spanned;

use self::peers::{Foreign, Peers};
use super::document::{Document, Line};
use super::error::ConfigError;
use super::mistake::Mistake;
use super::quote::Excerpt;
use super::table::Table;
use super::{MacChoice, Mode, PaceConfig, Receive, Refused, VhostConfig, address, schema, value};

/// The virtual hosts read so far, and what each of them holds alone.
pub(super) struct Vhosts<'a> {
    document: &'a Document<'a>,
    mode: Mode,
    done: Vec<VhostConfig>,
    /// The byte offset of each one's table, where its addresses are.
    starts: Vec<usize>,
    /// The same where its interface is.
    own_starts: Vec<usize>,
    warnings: Vec<String>,
    // Who has it, as an index into `done`.
    names: HashMap<String, usize>,
    vhids: HashMap<(String, u8), usize>,
    addresses: HashMap<Place, usize>,
    /// Addresses of others, to be compared with those of all virtual hosts.
    foreign: Vec<Foreign>,
}

/// An address where it means something: everywhere, or on one interface.
#[derive(PartialEq, Eq, Hash)]
struct Place {
    address: IpAddr,
    interface: Option<String>,
}

impl Place {
    fn new(address: IpAddr, interface: &str) -> Self {
        Self { address, interface: address::is_link_local(address).then(|| interface.into()) }
    }
}

impl<'a> Vhosts<'a> {
    pub(super) fn new(document: &'a Document<'a>, mode: Mode) -> Self {
        Self {
            document,
            mode,
            done: Vec::new(),
            starts: Vec::new(),
            own_starts: Vec::new(),
            warnings: Vec::new(),
            names: HashMap::new(),
            vhids: HashMap::new(),
            addresses: HashMap::new(),
            foreign: Vec::new(),
        }
    }

    /// The virtual hosts in the order of the file, and the warnings about them.
    pub(super) fn finish(self) -> Result<(Vec<VhostConfig>, Vec<String>), ConfigError> {
        self.check_foreign()?;
        Ok((self.done, self.warnings))
    }

    /// Reads one more.
    pub(super) fn read(&mut self, table: &Table<'_>) -> Result<(), ConfigError> {
        let name = self.name(table)?;
        let interface = table.text(&schema::INTERFACE, value::interface)?.into_inner();
        let vhid = self.vhid(table, &interface)?;
        let addresses = self.addresses(table, &name, &interface)?;
        let receive = self.receive(table, &interface)?;
        let advbase = table.number(&schema::ADVBASE, "advbase", 0..=ADV_MAX)?;
        let advskew = table.number(&schema::ADVSKEW, "advskew", 0..=ADV_MAX)?;
        let preempt = table.optional(&schema::PREEMPT)?;
        let refused = table.choice(&schema::REFUSED)?;
        let families = self.families(table, &addresses)?;
        let announce_every = table.duration(&schema::ANNOUNCE_EVERY, &value::ANNOUNCE_EVERY)?;
        let group = table.optional_text(&schema::GROUP, |text| value::name("group", text))?;
        let critical = table.optional(&schema::CRITICAL)?;
        let mut vhost = VhostConfig {
            name,
            interface,
            receive,
            vhid,
            addresses,
            advbase: advbase.map_or(DEFAULT_ADVBASE, Spanned::into_inner),
            advskew: advskew.map_or(DEFAULT_ADVSKEW, Spanned::into_inner),
            pace: PaceConfig::Classic,
            preempt: preempt.is_some_and(Spanned::into_inner),
            peers: Vec::new(),
            unicast: Vec::new(),
            refused: refused.map_or(Refused::default(), Spanned::into_inner),
            mac: MacChoice::default(),
            advertise_from: MacChoice::default(),
            families,
            announce_every: announce_every.map(Spanned::into_inner),
            group: group.map(Spanned::into_inner),
            critical: critical.is_none_or(Spanned::into_inner),
            index: self.done.len(),
        };
        // These are judged by the others.
        vhost.pace = self.pace(table, &vhost)?;
        Peers { peers: vhost.peers, unicast: vhost.unicast } = self.peers(table, &vhost)?;
        (vhost.mac, vhost.advertise_from) = self.macs(table, &vhost)?;
        self.done.push(vhost);
        self.starts.push(table.shared_start());
        self.own_starts.push(table.start);
        Ok(())
    }

    fn name(&mut self, table: &Table<'_>) -> Result<String, ConfigError> {
        let name = table.text(&schema::NAME, |text| value::name("name", text))?;
        let (at, name) = (name.span().start, name.into_inner());
        if let Some(other) = self.names.insert(name.clone(), self.done.len()) {
            let mistake = Mistake::NameTaken { line: self.line_of(other, at), name };
            return Err(self.document.error(at, mistake));
        }
        Ok(name)
    }

    /// An interface has one receiver: all virtual hosts on it say the same.
    fn receive(&self, table: &Table<'_>, interface: &str) -> Result<Receive, ConfigError> {
        let receive = table.choice(&schema::RECEIVE)?;
        let at = receive.as_ref().map_or(table.start, |receive| receive.span().start);
        let receive = receive.map_or(Receive::default(), Spanned::into_inner);
        let other = self.done.iter().position(|vhost| vhost.interface == interface);
        match other.and_then(|index| Some((index, self.done.get(index)?))) {
            Some((index, vhost)) if vhost.receive != receive => {
                let (owner, line) = (vhost.name.clone(), self.document.line(self.own_starts[index], at));
                let interface = Excerpt::new(interface);
                let mistake =
                    Mistake::ReceiveDiffers { receive, other: vhost.receive, interface, owner, line };
                Err(self.document.error(at, mistake))
            }
            Some(_) | None => Ok(receive),
        }
    }

    fn vhid(&mut self, table: &Table<'_>, interface: &str) -> Result<u8, ConfigError> {
        let vhid = table.number(&schema::VHID, "a vhid", 1..=u8::MAX)?;
        let vhid = vhid.ok_or_else(|| table.missing(&schema::VHID))?;
        let (at, vhid) = (vhid.span().start, vhid.into_inner());
        if let Some(other) = self.vhids.insert((interface.into(), vhid), self.done.len()) {
            let (owner, line) = (self.done[other].name.clone(), self.line_of(other, at));
            let mistake = Mistake::VhidTaken { vhid, interface: Excerpt::new(interface), owner, line };
            return Err(self.document.error(at, mistake));
        }
        Ok(vhid)
    }

    fn addresses(
        &mut self,
        table: &Table<'_>,
        name: &str,
        interface: &str,
    ) -> Result<Vec<IpNet>, ConfigError> {
        let texts = table.elements::<&str>(&schema::ADDRESSES)?;
        let texts = texts.ok_or_else(|| table.missing(&schema::ADDRESSES))?;
        let (at, texts) = (texts.span().start, texts.into_inner());
        let mut addresses = Vec::with_capacity(texts.len());
        for text in &texts {
            addresses.extend(self.address(text, name, interface)?);
        }
        match addresses.len() {
            0 => Err(self.document.error(at, Mistake::NoAddress)),
            1..=ADDRESS_LIMIT => Ok(addresses),
            count => Err(self.document.error(at, Mistake::TooManyAddresses { count })),
        }
    }

    /// `None` for one that the same virtual host has already: the digest covers it once (CARP specification §3.2).
    fn address(
        &mut self,
        text: &Spanned<&str>,
        name: &str,
        interface: &str,
    ) -> Result<Option<IpNet>, ConfigError> {
        let at = text.span().start;
        let network = address::virtual_address(text.get_ref());
        let network = network.map_err(|mistake| self.document.error(at, mistake))?;
        let address = network.addr();
        match self.addresses.insert(Place::new(address, interface), self.done.len()) {
            None => {
                if is_reserved(network) {
                    self.warn(
                        at,
                        format_args!("address {network} is its network's own, not a host's; is it meant?"),
                    );
                }
                Ok(Some(network))
            }
            Some(other) if other == self.done.len() => {
                self.warn(
                    at,
                    format_args!(
                        "address {address} is listed twice in vhost '{name}'; remove one of the two"
                    ),
                );
                Ok(None)
            }
            Some(other) => {
                let (owner, line) = (self.done[other].name.clone(), self.line_of(other, at));
                Err(self.document.error(at, Mistake::AddressTaken { address, owner, line }))
            }
        }
    }

    fn warn(&mut self, at: usize, warning: impl Display) {
        self.warnings.push(self.document.warning(at, warning));
    }

    /// Where one is, for a mistake at `at`.
    fn line_of(&self, index: usize, at: usize) -> Line {
        self.document.line(self.starts[index], at)
    }
}

/// Whether the address is one that its network keeps for itself: its number, IPv4's broadcast, IPv6's anycast
/// address of all routers.
fn is_reserved(network: IpNet) -> bool {
    // Networks of one or two addresses reserve none.
    network.prefix_len() + 1 < network.max_prefix_len()
        && match network {
            IpNet::V4(network) => [network.network(), network.broadcast()].contains(&network.addr()),
            IpNet::V6(network) => network.network() == network.addr(),
        }
}

/// Addresses of one virtual host, each of which the digest covers.
pub(super) const ADDRESS_LIMIT: usize = 64;

/// Addresses in `peers` or `unicast`.
pub(super) const PEER_LIMIT: usize = 64;

/// 255 in either field is a bow-out (CARP specification §5.3).
const ADV_MAX: u8 = 254;

const DEFAULT_ADVBASE: u8 = 1;
const DEFAULT_ADVSKEW: u8 = 0;
