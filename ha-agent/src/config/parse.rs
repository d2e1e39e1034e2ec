//! From text to a configuration that makes sense. No I/O.

use toml::Spanned;
use toml::de::DeTable;

use super::auth::AuthText;
use super::charge::{self, ChargeConfig};
use super::document::Document;
use super::error::ConfigError;
use super::lease;
use super::mistake::Mistake;
use super::notify;
use super::peer;
use super::realtime;
use super::table::Table;
use super::vhost::Vhosts;
use super::web::WebText;
use super::{
    LeaseConfig, NotifyConfig, PeerConfig, RealtimeConfig, VhostConfig, WitnessConfig, schema, value, witness,
};

/// Everything that the text says.
pub(super) struct Parsed {
    pub(super) node: String,
    pub(super) auth: AuthText,
    pub(super) realtime: RealtimeConfig,
    pub(super) lease: LeaseConfig,
    pub(super) peer: Option<PeerConfig>,
    pub(super) witness: Option<WitnessConfig>,
    pub(super) web: Option<WebText>,
    pub(super) charge: ChargeConfig,
    pub(super) notify: Vec<NotifyConfig>,
    pub(super) vhosts: Vec<VhostConfig>,
    pub(super) warnings: Vec<String>,
}

/// Reads the tree of a whole text, and stops at the first mistake.
pub(super) fn parse(document: &Document<'_>, tree: &Spanned<DeTable<'_>>) -> Result<Parsed, ConfigError> {
    // All tables before any value, because a misspelled or misplaced key explains one that is missing.
    let root = Table::new(document, &schema::ROOT, &Spanned::new(tree.span(), tree.get_ref()))?;
    let auth = root.optional(&schema::AUTH)?;
    let auth = auth.map(|auth| Table::new(document, &schema::AUTH_TABLE, &auth)).transpose()?;
    let realtime = root.optional(&schema::REALTIME)?;
    let realtime =
        realtime.map(|realtime| Table::new(document, &schema::REALTIME_TABLE, &realtime)).transpose()?;
    let lease = root.optional(&schema::LEASE_TABLE_KEY)?;
    let lease = lease.map(|lease| Table::new(document, &schema::LEASE_TABLE, &lease)).transpose()?;
    let peer = root.optional(&schema::PEER)?;
    let peer = peer.map(|peer| Table::new(document, &schema::PEER_TABLE, &peer)).transpose()?;
    let witness = root.optional(&schema::WITNESS)?;
    let witness =
        witness.map(|witness| Table::new(document, &schema::WITNESS_TABLE, &witness)).transpose()?;
    let web = root.optional(&schema::WEB)?;
    let web = web.map(|web| Table::new(document, &schema::WEB_TABLE, &web)).transpose()?;
    let charge = charge::Tables::new(document, &root)?;
    let notify = root.elements(&schema::NOTIFY)?.map(Spanned::into_inner).unwrap_or_default();
    let notify = notify.iter().map(|table| Table::new(document, &schema::NOTIFY_TABLE, table));
    let notify = notify.collect::<Result<Vec<_>, _>>()?;
    let vhosts = root.elements(&schema::VHOST)?.map(Spanned::into_inner).unwrap_or_default();
    let vhosts = vhosts.iter().map(|vhost| Table::new(document, &schema::VHOST_TABLE, vhost));
    let vhosts = vhosts.collect::<Result<Vec<_>, _>>()?;

    let node = root.text(&schema::NODE, |text| value::name("node", text))?.into_inner();
    let auth = auth.ok_or_else(|| document.error(0, Mistake::NoAuth))?;
    let auth = AuthText::read(document, &auth)?;
    let realtime = realtime.map_or(Ok(RealtimeConfig::default()), |table| realtime::read(&table))?;
    let lease = lease.map_or(Ok(LeaseConfig::default()), |table| lease::read(&table))?;
    if vhosts.is_empty() {
        return Err(document.error(0, Mistake::NoVhost));
    }
    let mut reader = Vhosts::new(document, auth.mode);
    for vhost in &vhosts {
        reader.read(vhost)?;
    }
    let (vhosts, warnings) = reader.finish()?;
    let peer = peer.map(|table| peer::read(document, &table, &vhosts)).transpose()?;
    if let (Some(table), None) = (&witness, &peer) {
        return Err(document.error(table.start(), Mistake::WitnessWithoutPeer));
    }
    let witness = witness.map(|table| witness::read(document, &table, &vhosts)).transpose()?;
    let web = web.map(|table| WebText::read(document, &table, &vhosts)).transpose()?;
    let charge = charge.read(document, peer.is_some())?;
    if let Some(table) = notify.get(NOTIFY_LIMIT) {
        return Err(document.error(table.start(), Mistake::TooManyNotify));
    }
    let notify = notify.iter().map(|table| notify::read(table)).collect::<Result<_, _>>()?;
    Ok(Parsed { node, auth, realtime, lease, peer, witness, web, charge, notify, vhosts, warnings })
}

/// How many commands may be told: each has a thread of its own.
pub(super) const NOTIFY_LIMIT: usize = 8;
