//! The table `[web]`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use toml::Spanned;

use super::address::{self, Endpoint};
use super::auth::beside;
use super::document::Document;
use super::error::ConfigError;
use super::mistake::Mistake;
use super::schema::Key;
use super::table::Table;
use super::{Trust, VhostConfig, WebConfig, schema, token, value};

/// What the text says.
pub(super) struct WebText {
    listen: Vec<SocketAddr>,
    token_file: Option<Spanned<PathBuf>>,
    trust: Option<Trust>,
    hosts: Vec<String>,
    actions: bool,
}

impl WebText {
    /// Reads the table. No I/O.
    pub(super) fn read(
        document: &Document<'_>,
        table: &Table<'_>,
        vhosts: &[VhostConfig],
    ) -> Result<Self, ConfigError> {
        let token_file =
            table.optional_text(&schema::TOKEN_FILE, |text| value::named_file(&schema::TOKEN_FILE, text))?;
        let trust = trust(document, table)?;
        let listen = listen(document, table, token_file.is_some(), vhosts)?;
        let hosts = few(document, table, &schema::HOSTS, value::host)?.unwrap_or_default();
        let actions = table.optional::<bool>(&schema::ACTIONS)?;
        match actions {
            Some(actions) if *actions.get_ref() && token_file.is_none() && trust.is_none() => {
                Err(document.error(actions.span().start, Mistake::ActionsForAll))
            }
            actions => {
                let actions = actions.is_some_and(Spanned::into_inner);
                Ok(Self { listen, token_file, trust, hosts, actions })
            }
        }
    }

    /// Reads the token, whose file is relative to the configuration in `path`. Returns a warning too.
    pub(super) fn load(
        self,
        path: &Path,
        document: &Document<'_>,
    ) -> Result<(WebConfig, Option<String>), ConfigError> {
        let Self { listen, token_file, trust, hosts, actions } = self;
        let (token, warning) = match token_file {
            Some(file) => {
                let at = file.span().start;
                let key = schema::TOKEN_FILE.name;
                let found =
                    beside(path, file.get_ref(), key).map_err(|mistake| document.error(at, mistake))?;
                let (token, warning) = token::read(&found).map_err(|cause| document.error(at, cause))?;
                (Some(token), warning.map(|warning| document.warning(at, warning)))
            }
            None => (None, None),
        };
        Ok((WebConfig { listen, token, trust, hosts, actions }, warning))
    }
}

fn listen(
    document: &Document<'_>,
    table: &Table<'_>,
    has_token: bool,
    vhosts: &[VhostConfig],
) -> Result<Vec<SocketAddr>, ConfigError> {
    let read = |text: &str| {
        let address = address::endpoint(text, Endpoint::Web)?;
        // Whoever holds it is not always the same node.
        let is_in = |vhost: &&VhostConfig| vhost.addresses.iter().any(|own| own.addr() == address.ip());
        if let Some(vhost) = vhosts.iter().find(is_in) {
            let (key, owner) = (schema::WEB_LISTEN.name, vhost.name.clone());
            return Err(Mistake::VirtualEndpoint { key, address: address.ip(), owner });
        }
        if !address.ip().is_loopback() && !has_token {
            return Err(Mistake::OpenToAll(address));
        }
        Ok(address)
    };
    let listen = few(document, table, &schema::WEB_LISTEN, read)?;
    Ok(listen.unwrap_or_else(|| vec![DEFAULT_LISTEN]))
}

fn trust(document: &Document<'_>, table: &Table<'_>) -> Result<Option<Trust>, ConfigError> {
    let header = table.optional_text(&schema::TRUST_HEADER, value::header)?;
    let proxies = table.one_or_more(&schema::TRUSTED_PROXIES)?;
    let Some(header) = header else {
        return match proxies {
            Some(proxies) => Err(document.error(proxies.span().start, Mistake::ProxiesAlone)),
            None => Ok(None),
        };
    };
    let read = |text: &str| address::peer(text, &address::PROXY);
    let proxies: Vec<IpAddr> = few(document, table, &schema::TRUSTED_PROXIES, read)?.unwrap_or_default();
    Ok(Some(Trust { header: header.into_inner(), proxies }))
}

/// A list of at most [`LIMIT`].
fn few<T>(
    document: &Document<'_>,
    table: &Table<'_>,
    key: &'static Key,
    meaning: impl Fn(&str) -> Result<T, Mistake>,
) -> Result<Option<Vec<T>>, ConfigError> {
    match table.one_or_more(key)? {
        Some(texts) if texts.get_ref().len() > LIMIT => {
            let count = texts.get_ref().len();
            Err(document.error(texts.span().start, Mistake::TooManyForWeb { key: key.name, count }))
        }
        Some(_) | None => table.list(key, meaning),
    }
}

/// Elements of each list.
pub(super) const LIMIT: usize = 8;
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7781);
