//! Who may look, who may act, and whether a browser was led here by somebody else's page.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::http::header::{AUTHORIZATION, COOKIE, HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderValue};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as URL_SAFE_NO_PAD;
use hmac::digest::KeyInit;
use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::Visitor;
use crate::config::{Token, Trust, WebConfig};

/// The rules.
#[derive(Debug)]
pub(super) struct Access {
    config: WebConfig,
}

/// Somebody who may look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Guest {
    /// Whoever reaches loopback, where nothing is asked for.
    Anybody,
    /// Who said the token with the request.
    Bearer,
    /// Who has logged in with it.
    Session,
    /// Whom the reverse proxy knows, by this name.
    Proxied(String),
}

impl Access {
    pub(super) fn new(config: WebConfig) -> Self {
        Self { config }
    }

    /// Whether a planned failover can be begun from here.
    pub(super) fn has_actions(&self) -> bool {
        self.config.actions
    }

    /// Whether one can log in.
    pub(super) fn has_login(&self) -> bool {
        self.config.token.is_some()
    }

    /// Who asks; `None` if nobody knows.
    pub(super) fn guest(&self, visitor: Visitor, headers: &HeaderMap) -> Option<Guest> {
        let Some(token) = &self.config.token else {
            return match &self.config.trust {
                Some(trust) => self.proxied(trust, visitor, headers),
                None => Some(Guest::Anybody),
            };
        };
        let trusted = self.config.trust.as_ref().and_then(|trust| self.proxied(trust, visitor, headers));
        trusted
            .or_else(|| bearer(headers).filter(|said| is_token(token, said)).map(|_| Guest::Bearer))
            .or_else(|| session(headers).filter(|session| is_session(token, session)).map(|_| Guest::Session))
    }

    /// The session of somebody who says the token, as a cookie; `None` if it is another.
    pub(super) fn log_in(&self, said: &[u8], visitor: Visitor, headers: &HeaderMap) -> Option<HeaderValue> {
        let token = self.config.token.as_ref().filter(|token| is_token(token, said))?;
        let until = now() + SESSION.as_secs();
        let mac = signed(token, &until.to_string())?.finalize().into_bytes();
        let value = format!("{until}.{}", URL_SAFE_NO_PAD.encode(mac));
        self.cookie(&value, SESSION.as_secs(), visitor, headers)
    }

    /// The end of a session.
    pub(super) fn log_out(&self, visitor: Visitor, headers: &HeaderMap) -> Option<HeaderValue> {
        self.cookie("", 0, visitor, headers)
    }

    /// Whether a request is for us: a page elsewhere may lead a browser to loopback by a name of its own.
    pub(super) fn is_for_us(&self, visitor: Visitor, headers: &HeaderMap) -> bool {
        if !visitor.to.ip().to_canonical().is_loopback() {
            // What is asked for there is known to our page only.
            return true;
        }
        let Some(host) = headers.get(HOST).and_then(|host| host.to_str().ok()) else { return false };
        let name = host_name(host);
        let is_address = name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
        is_address || name == "localhost" || self.config.hosts.contains(&name)
    }

    /// Whether a request that changes something was made by our own page, or by no browser at all.
    pub(super) fn is_own(guest: &Guest, headers: &HeaderMap) -> bool {
        if let Some(site) = headers.get("sec-fetch-site") {
            return site == "same-origin";
        }
        let Some(origin) = headers.get(ORIGIN) else {
            // No browser says the token by itself.
            return *guest == Guest::Bearer;
        };
        let text = |value: &HeaderValue| value.to_str().map(str::to_ascii_lowercase).ok();
        match (text(origin), headers.get(HOST).and_then(text)) {
            (Some(origin), Some(host)) => origin.split_once("://").is_some_and(|(_, it)| it == host),
            (None, _) | (_, None) => false,
        }
    }

    /// Whom a reverse proxy names.
    fn proxied(&self, trust: &Trust, visitor: Visitor, headers: &HeaderMap) -> Option<Guest> {
        let mut values = headers.get_all(&trust.header).iter();
        let name = values.next()?.to_str().ok().map(str::trim)?;
        // Two would be one of the proxy's and one of somebody else's.
        let is_one = values.next().is_none() && !name.is_empty() && name.len() <= NAME;
        (is_one && self.is_trusted(visitor)).then(|| Guest::Proxied(name.to_owned()))
    }

    fn is_trusted(&self, visitor: Visitor) -> bool {
        let from = visitor.from.ip().to_canonical();
        let proxies = self.config.trust.as_ref().map_or(&[][..], |trust| &trust.proxies);
        from.is_loopback() || proxies.contains(&from)
    }

    fn cookie(
        &self,
        value: &str,
        seconds: u64,
        visitor: Visitor,
        headers: &HeaderMap,
    ) -> Option<HeaderValue> {
        let is_https = headers.get("x-forwarded-proto").is_some_and(|scheme| scheme == "https");
        let (name, secure) = if is_https && self.is_trusted(visitor) {
            (SECURE_COOKIE, " Secure;")
        } else {
            (PLAIN_COOKIE, "")
        };
        let cookie = format!("{name}={value}; Path=/; Max-Age={seconds};{secure} HttpOnly; SameSite=Strict");
        HeaderValue::try_from(cookie).ok()
    }
}

impl Guest {
    /// How it is called in the log.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Anybody => "anybody",
            Self::Bearer | Self::Session => "who has the token",
            Self::Proxied(name) => name,
        }
    }

    /// Whether it is known who it is.
    pub(super) fn is_known(&self) -> bool {
        match self {
            Self::Anybody => false,
            Self::Bearer | Self::Session | Self::Proxied(_) => true,
        }
    }
}

impl Default for Visitor {
    fn default() -> Self {
        let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        Self { from: nowhere, to: nowhere }
    }
}

/// Without its port, in small letters.
fn host_name(host: &str) -> String {
    let end = match host.rfind(']') {
        Some(end) => end + 1,
        None => host.rfind(':').unwrap_or(host.len()),
    };
    host.get(..end).unwrap_or(host).trim_end_matches('.').to_ascii_lowercase()
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked(b"bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"bearer ").then_some(token.trim_ascii())
}

fn session(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| [SECURE_COOKIE, PLAIN_COOKIE].contains(name)).map(|(_, value)| value)
}

/// In a time that tells nothing of where they differ: both are keys for the same text.
fn is_token(token: &Token, said: &[u8]) -> bool {
    let mac = |key: &[u8]| Hmac::<Sha256>::new_from_slice(key).ok().map(|mac| mac.chain_update(b"token"));
    let is_same = || mac(token.as_bytes())?.verify(&mac(said)?.finalize().into_bytes()).ok();
    is_same().is_some()
}

fn is_session(token: &Token, session: &str) -> bool {
    let Some((until, mac)) = session.split_once('.') else { return false };
    let is_still = until.parse::<u64>().is_ok_and(|until| until > now());
    let is_signed = || signed(token, until)?.verify_slice(&URL_SAFE_NO_PAD.decode(mac).ok()?).ok();
    is_still && is_signed().is_some()
}

fn signed(token: &Token, until: &str) -> Option<Hmac<Sha256>> {
    let mac = Hmac::<Sha256>::new_from_slice(token.as_bytes()).ok()?;
    Some(mac.chain_update(format!("session until {until}")))
}

/// In s since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// Only over HTTPS, and only from this host: browsers see to that by its name.
const SECURE_COOKIE: &str = "__Host-ha-agent";
const PLAIN_COOKIE: &str = "ha-agent";
/// How long somebody stays logged in.
const SESSION: Duration = Duration::from_hours(12);
/// Characters of a name that a reverse proxy says.
const NAME: usize = 128;
