//! The table `[peer]`.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use toml::Spanned;

use super::address::{self, Endpoint};
use super::document::Document;
use super::error::ConfigError;
use super::mistake::Mistake;
use super::schema::Key;
use super::table::Table;
use super::{PeerConfig, VhostConfig, schema, value};

/// What the table says.
pub(super) fn read(
    document: &Document<'_>,
    table: &Table<'_>,
    vhosts: &[VhostConfig],
) -> Result<PeerConfig, ConfigError> {
    let listen = endpoints(document, table, &schema::LISTEN, Endpoint::Listen, vhosts)?;
    let connect = endpoints(document, table, &schema::CONNECT, Endpoint::Connect, vhosts)?;
    if let Some(own) =
        connect.iter().find(|address| listen.iter().any(|it| it.get_ref() == address.get_ref()))
    {
        return Err(document.error(own.span().start, Mistake::OwnEndpoint(*own.get_ref())));
    }
    let heartbeat = table.duration(&schema::HEARTBEAT, &value::HEARTBEAT)?;
    let dead_after = table.number(&schema::DEAD_AFTER, "dead_after", 2..=u8::MAX)?;
    let directory = table.optional_text(&schema::DIRECTORY, value::directory)?;
    let shared = table.optional_text(&schema::SHARED, value::shared)?;
    let plain =
        |addresses: Vec<Spanned<SocketAddr>>| addresses.into_iter().map(Spanned::into_inner).collect();
    Ok(PeerConfig {
        listen: plain(listen),
        connect: plain(connect),
        heartbeat: heartbeat.map_or(DEFAULT_HEARTBEAT, Spanned::into_inner),
        dead_after: dead_after.map_or(DEFAULT_DEAD_AFTER, Spanned::into_inner),
        directory: directory.map_or_else(|| crate::peer::DEFAULT_DIRECTORY.into(), Spanned::into_inner),
        shared: shared.map(Spanned::into_inner),
    })
}

/// What the table says, with paths that are relative to the configuration in `path`.
pub(super) fn located(peer: PeerConfig, path: &Path) -> PeerConfig {
    let beside = path.parent().unwrap_or(Path::new(""));
    let shared = peer.shared.as_ref().map(|file| beside.join(file));
    PeerConfig { directory: beside.join(&peer.directory), shared, ..peer }
}

fn endpoints(
    document: &Document<'_>,
    table: &Table<'_>,
    key: &'static Key,
    kind: Endpoint,
    vhosts: &[VhostConfig],
) -> Result<Vec<Spanned<SocketAddr>>, ConfigError> {
    let texts = table.one_or_more(key)?.ok_or_else(|| table.missing(key))?;
    let at = texts.span().start;
    let mut endpoints: Vec<Spanned<SocketAddr>> = Vec::new();
    for text in texts.into_inner() {
        let at = text.span().start;
        let refused = |mistake| document.error(at, mistake);
        let endpoint = address::endpoint(text.get_ref(), kind).map_err(refused)?;
        // Whoever holds it is not always the same node.
        let is_in = |vhost: &&VhostConfig| vhost.addresses.iter().any(|own| own.addr() == endpoint.ip());
        if let Some(vhost) = vhosts.iter().find(is_in) {
            let (key, address, owner) = (key.name, endpoint.ip(), vhost.name.clone());
            return Err(refused(Mistake::VirtualEndpoint { key, address, owner }));
        }
        if endpoints.iter().any(|other| other.get_ref().ip() == endpoint.ip()) {
            return Err(refused(Mistake::EndpointTwice { key: key.name, address: endpoint.ip() }));
        }
        endpoints.push(Spanned::new(text.span(), endpoint));
    }
    let key = key.name;
    match endpoints.len() {
        0 => Err(document.error(at, Mistake::NoEndpoint { key })),
        1..=ENDPOINT_LIMIT => Ok(endpoints),
        count => Err(document.error(at, Mistake::TooManyEndpoints { key, count })),
    }
}

/// Addresses in `listen` or `connect`.
pub(super) const ENDPOINT_LIMIT: usize = 8;

const DEFAULT_HEARTBEAT: Duration = Duration::from_millis(200);
const DEFAULT_DEAD_AFTER: u8 = 2;
