//! The `[[vhost]]` tables, each by itself and against those before it.

use std::collections::HashMap;
use std::fmt::Display;
use std::net::Ipv4Addr;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};
use toml::Spanned;

use super::error::ConfigError;
use super::mistake::Mistake;
use super::quote::Excerpt;
use super::table::{Document, Table};
use super::{FamilyRule, MacChoice, PaceConfig, Refused, VhostConfig, schema, value};

/// The virtual hosts read so far, and what each of them holds alone.
pub(super) struct Vhosts<'a> {
    document: &'a Document<'a>,
    done: Vec<VhostConfig>,
    /// The byte offset of each one's table.
    starts: Vec<usize>,
    warnings: Vec<String>,
    // Who has it, as an index into `done`.
    names: HashMap<String, usize>,
    vhids: HashMap<(String, u8), usize>,
    addresses: HashMap<Ipv4Addr, usize>,
}

impl<'a> Vhosts<'a> {
    pub(super) fn new(document: &'a Document<'a>) -> Self {
        Self {
            document,
            done: Vec::new(),
            starts: Vec::new(),
            warnings: Vec::new(),
            names: HashMap::new(),
            vhids: HashMap::new(),
            addresses: HashMap::new(),
        }
    }

    /// The virtual hosts in the order of the file, and the warnings about them.
    pub(super) fn finish(self) -> (Vec<VhostConfig>, Vec<String>) {
        (self.done, self.warnings)
    }

    /// Reads one more.
    pub(super) fn read(&mut self, table: &Table<'_>) -> Result<(), ConfigError> {
        let name = self.name(table)?;
        let interface = table.text(&schema::INTERFACE, value::interface)?.into_inner();
        let vhid = self.vhid(table, &interface)?;
        let addresses = self.addresses(table, &name)?;
        let advbase = table.number(&schema::ADVBASE, "advbase", 0..=ADV_MAX)?;
        let advbase = advbase.map_or(DEFAULT_ADVBASE, Spanned::into_inner);
        let advskew = table.number(&schema::ADVSKEW, "advskew", 0..=ADV_MAX)?;
        let advskew = advskew.map_or(DEFAULT_ADVSKEW, Spanned::into_inner);
        let pace = self.pace(table, advbase, advskew)?;
        let preempt = table.optional(&schema::PREEMPT)?.is_some_and(Spanned::into_inner);
        self.done.push(VhostConfig {
            name,
            interface,
            vhid,
            addresses: addresses.into_iter().map(IpNet::V4).collect(),
            advbase,
            advskew,
            pace,
            preempt,
            peers: Vec::new(),
            unicast: Vec::new(),
            refused: Refused::default(),
            mac: MacChoice::default(),
            advertise_from: MacChoice::default(),
            families: FamilyRule::default(),
            announce_every: None,
        });
        self.starts.push(table.start);
        Ok(())
    }

    fn name(&mut self, table: &Table<'_>) -> Result<String, ConfigError> {
        let name = table.text(&schema::NAME, |text| value::name("name", text))?;
        let (at, name) = (name.span().start, name.into_inner());
        if let Some(other) = self.names.insert(name.clone(), self.done.len()) {
            let mistake = Mistake::NameTaken { line: self.line_of(other), name };
            return Err(self.document.error(at, mistake));
        }
        Ok(name)
    }

    fn vhid(&mut self, table: &Table<'_>, interface: &str) -> Result<u8, ConfigError> {
        let vhid = table.number(&schema::VHID, "a vhid", 1..=u8::MAX)?;
        let vhid = vhid.ok_or_else(|| table.missing(&schema::VHID))?;
        let (at, vhid) = (vhid.span().start, vhid.into_inner());
        if let Some(other) = self.vhids.insert((interface.into(), vhid), self.done.len()) {
            let (owner, line) = (self.done[other].name.clone(), self.line_of(other));
            let mistake = Mistake::VhidTaken { vhid, interface: Excerpt::new(interface), owner, line };
            return Err(self.document.error(at, mistake));
        }
        Ok(vhid)
    }

    fn addresses(&mut self, table: &Table<'_>, name: &str) -> Result<Vec<Ipv4Net>, ConfigError> {
        let texts = table.elements::<&str>(&schema::ADDRESSES)?;
        let texts = texts.ok_or_else(|| table.missing(&schema::ADDRESSES))?;
        let (at, texts) = (texts.span().start, texts.into_inner());
        let mut addresses = Vec::with_capacity(texts.len());
        for text in &texts {
            addresses.extend(self.address(text, name)?);
        }
        match addresses.len() {
            0 => Err(self.document.error(at, Mistake::NoAddress)),
            1..=value::ADDRESS_LIMIT => Ok(addresses),
            count => Err(self.document.error(at, Mistake::TooManyAddresses { count })),
        }
    }

    /// `None` for one that the same virtual host has already: the digest covers it once (CARP specification §3.2).
    fn address(&mut self, text: &Spanned<&str>, name: &str) -> Result<Option<Ipv4Net>, ConfigError> {
        let at = text.span().start;
        let network = value::address(text.get_ref()).map_err(|mistake| self.document.error(at, mistake))?;
        let address = network.addr();
        match self.addresses.insert(address, self.done.len()) {
            None => {
                let reserved = [network.network(), network.broadcast()].contains(&address);
                // Networks of one or two addresses reserve none.
                if reserved && network.prefix_len() < 31 {
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
                let (owner, line) = (self.done[other].name.clone(), self.line_of(other));
                Err(self.document.error(at, Mistake::AddressTaken { address, owner, line }))
            }
        }
    }

    fn pace(&mut self, table: &Table<'_>, advbase: u8, advskew: u8) -> Result<PaceConfig, ConfigError> {
        let detect = table.number(&schema::DETECT, "detect", 1..=u8::MAX)?;
        if table.optional::<&str>(&schema::INTERVAL)?.is_none() {
            return match detect {
                None => Ok(PaceConfig::Classic),
                Some(detect) => Err(self.document.error(detect.span().start, Mistake::DetectAlone)),
            };
        }
        let interval = table.text(&schema::INTERVAL, value::interval)?;
        let (at, interval) = (interval.span().start, interval.into_inner());
        let classic = classic_interval(advbase, advskew);
        // Others wait for 3 × their own advbase; with 0 only OpenBSD would be listening (CARP specification §5.2).
        if advbase > 0 && interval > classic {
            self.warn(
                at,
                format_args!(
                    "interval {interval:?} is longer than the {classic:?} of advbase and advskew; other CARP \
                     implementations may take this node for dead, so make interval shorter or advbase larger"
                ),
            );
        }
        if let Some(detect) = detect.as_ref().filter(|detect| *detect.get_ref() == 1) {
            let warning = "detect 1 takes over after a single lost or late advertisement; 2 or more is safer";
            self.warn(detect.span().start, warning);
        }
        Ok(PaceConfig::Fast { interval, detect: detect.map_or(DEFAULT_DETECT, Spanned::into_inner) })
    }

    fn warn(&mut self, at: usize, warning: impl Display) {
        self.warnings.push(self.document.warning(at, warning));
    }

    fn line_of(&self, index: usize) -> usize {
        self.document.line(self.starts[index])
    }
}

/// What advbase and advskew say (CARP specification §2).
fn classic_interval(advbase: u8, advskew: u8) -> Duration {
    Duration::from_secs(advbase.into()) + Duration::from_secs(advskew.into()) / 256
}

/// 255 in either field is a bow-out (CARP specification §5.3).
const ADV_MAX: u8 = 254;

const DEFAULT_ADVBASE: u8 = 1;
const DEFAULT_ADVSKEW: u8 = 0;
const DEFAULT_DETECT: u8 = 3;
