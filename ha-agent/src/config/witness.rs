//! The table `[witness]`.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;

use super::document::Document;
use super::error::ConfigError;
use super::mistake::Mistake;
use super::schema::Key;
use super::table::Table;
use super::{TlsFiles, Url, VhostConfig, WitnessConfig, WitnessKind, address, schema, value};

/// What the table says.
pub(super) fn read(
    document: &Document<'_>,
    table: &Table<'_>,
    vhosts: &[VhostConfig],
) -> Result<WitnessConfig, ConfigError> {
    let urls = urls(document, table, vhosts)?;
    let gateway = table.optional_text(&schema::GATEWAY, address::gateway)?;
    let key = table.optional_text(&schema::ETCD_KEY, value::etcd_key)?;
    let file = |key: &'static Key| table.optional_text(key, |text| value::named_file(key, text));
    let (ca, cert, cert_key) = (file(&schema::CA_FILE)?, file(&schema::CERT_FILE)?, file(&schema::KEY_FILE)?);
    let lease = table.duration(&schema::LEASE, &value::LEASE)?.map_or(DEFAULT_LEASE, Spanned::into_inner);
    let kind = match (urls, gateway) {
        (None, None) => return Err(document.error(table.start(), Mistake::NoWitness)),
        (Some(_), Some(gateway)) => {
            return Err(document.error(gateway.span().start, Mistake::TwoWitnesses));
        }
        (None, Some(gateway)) => {
            let files =
                [(&schema::CA_FILE, &ca), (&schema::CERT_FILE, &cert), (&schema::KEY_FILE, &cert_key)];
            let file =
                files.into_iter().find_map(|(key, file)| Some((key.name, file.as_ref()?.span().start)));
            let alone = key.as_ref().map(|key| (schema::ETCD_KEY.name, key.span().start)).or(file);
            if let Some((key, at)) = alone {
                return Err(document.error(at, Mistake::OnlyWithEtcd { key }));
            }
            let address = *gateway.get_ref();
            require_real(document, gateway.span().start, schema::GATEWAY.name, address, vhosts)?;
            WitnessKind::Gateway(address)
        }
        (Some(urls), None) => {
            let tls = tls(document, &urls, ca, cert, cert_key)?;
            let urls = urls.into_iter().map(Spanned::into_inner).collect();
            WitnessKind::Etcd { urls, key: key.map(Spanned::into_inner), tls }
        }
    };
    Ok(WitnessConfig { kind, lease })
}

/// The same, with its files relative to the configuration in `path`.
pub(super) fn place(path: &Path, config: WitnessConfig) -> WitnessConfig {
    let directory = path.parent().unwrap_or(Path::new(""));
    let kind = match config.kind {
        WitnessKind::Etcd { urls, key, tls } => {
            let place = |TlsFiles { ca, own }| TlsFiles {
                ca: directory.join(ca),
                own: own.map(|(cert, key)| (directory.join(cert), directory.join(key))),
            };
            WitnessKind::Etcd { urls, key, tls: tls.map(place) }
        }
        kind @ WitnessKind::Gateway(_) => kind,
    };
    WitnessConfig { kind, ..config }
}

fn urls(
    document: &Document<'_>,
    table: &Table<'_>,
    vhosts: &[VhostConfig],
) -> Result<Option<Vec<Spanned<Url>>>, ConfigError> {
    let Some(texts) = table.one_or_more(&schema::ETCD)? else { return Ok(None) };
    let at = texts.span().start;
    let mut urls: Vec<Spanned<Url>> = Vec::new();
    for text in texts.into_inner() {
        let at = text.span().start;
        let url = address::url(text.get_ref()).map_err(|mistake| document.error(at, mistake))?;
        require_real(document, at, schema::ETCD.name, url.address.ip(), vhosts)?;
        if urls.iter().any(|other| other.get_ref().address == url.address) {
            return Err(document.error(at, Mistake::UrlTwice(url.address)));
        }
        urls.push(Spanned::new(text.span(), url));
    }
    match urls.len() {
        0 => Err(document.error(at, Mistake::NoUrl)),
        1..=URL_LIMIT => Ok(Some(urls)),
        count => Err(document.error(at, Mistake::TooManyUrls { count })),
    }
}

/// What moves with the role can't tell who has it.
fn require_real(
    document: &Document<'_>,
    at: usize,
    key: &'static str,
    address: IpAddr,
    vhosts: &[VhostConfig],
) -> Result<(), ConfigError> {
    let owner = vhosts.iter().find(|vhost| vhost.addresses.iter().any(|own| own.addr() == address));
    owner.map_or(Ok(()), |vhost| {
        let owner = vhost.name.clone();
        Err(document.error(at, Mistake::VirtualWitness { key, address, owner }))
    })
}

fn tls(
    document: &Document<'_>,
    urls: &[Spanned<Url>],
    ca: Option<Spanned<PathBuf>>,
    cert: Option<Spanned<PathBuf>>,
    key: Option<Spanned<PathBuf>>,
) -> Result<Option<TlsFiles>, ConfigError> {
    let secured = urls.iter().find(|url| url.get_ref().tls);
    let first = [(&schema::CA_FILE, &ca), (&schema::CERT_FILE, &cert), (&schema::KEY_FILE, &key)];
    let first = first.into_iter().find_map(|(key, file)| Some((key.name, file.as_ref()?.span().start)));
    let own = match (cert, key) {
        (Some(cert), Some(key)) => Some((cert.into_inner(), key.into_inner())),
        (None, None) => None,
        (Some(alone), None) => {
            let (key, missing) = (schema::CERT_FILE.name, schema::KEY_FILE.name);
            return Err(document.error(alone.span().start, Mistake::HalfIdentity { key, missing }));
        }
        (None, Some(alone)) => {
            let (key, missing) = (schema::KEY_FILE.name, schema::CERT_FILE.name);
            return Err(document.error(alone.span().start, Mistake::HalfIdentity { key, missing }));
        }
    };
    match (secured, ca, first) {
        (Some(_), Some(ca), _) => Ok(Some(TlsFiles { ca: ca.into_inner(), own })),
        (Some(url), None, _) => Err(document.error(url.span().start, Mistake::NoCa)),
        (None, _, Some((key, at))) => Err(document.error(at, Mistake::WithoutTls { key })),
        (None, _, None) => Ok(None),
    }
}

/// As it is written in the configuration.
impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.address)
    }
}

impl Url {
    pub(super) fn new(tls: bool, address: SocketAddr) -> Self {
        Self { tls, address }
    }
}

/// URLs in `etcd`.
pub(super) const URL_LIMIT: usize = 8;

const DEFAULT_LEASE: Duration = Duration::from_secs(3);
