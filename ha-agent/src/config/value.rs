//! Strings of the configuration that mean something: names, addresses, durations.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::Ipv4Net;

use super::mistake::Mistake;
use super::quote::Excerpt;

/// A node's or a virtual host's name, fit for a log line and for a shell.
pub(super) fn name(key: &'static str, text: &str) -> Result<String, Mistake> {
    let valid = (1..=NAME_LIMIT).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    if valid { Ok(text.into()) } else { Err(Mistake::Name { key, name: Excerpt::new(text) }) }
}

/// An interface name by the kernel's rules, and without control characters.
pub(super) fn interface(text: &str) -> Result<String, Mistake> {
    let forbidden = |c: char| matches!(c, '/' | ':') || c.is_whitespace() || c.is_control();
    let valid = (1..=INTERFACE_LIMIT).contains(&text.len())
        && !matches!(text, "." | "..")
        && !text.contains(forbidden);
    if valid { Ok(text.into()) } else { Err(Mistake::Interface(Excerpt::new(text))) }
}

/// A path to a file; whether there is one shows when it is read.
pub(super) fn file_path(text: &str) -> Result<PathBuf, Mistake> {
    let valid = !text.is_empty() && !text.contains('\0');
    if valid { Ok(text.into()) } else { Err(Mistake::PassphrasePath(Excerpt::new(text))) }
}

/// An address that a client may be told, with the prefix length of its network.
pub(super) fn address(text: &str) -> Result<Ipv4Net, Mistake> {
    let (host, prefix) = text.split_once('/').map_or((text, None), |(host, prefix)| (host, Some(prefix)));
    let Ok(address) = host.parse::<Ipv4Addr>() else {
        let unscoped = host.split_once('%').map_or(host, |(address, _)| address);
        return Err(match unscoped.parse::<Ipv6Addr>() {
            Ok(_) => Mistake::Ipv6(Excerpt::new(text)),
            Err(_) => Mistake::AddressSyntax(Excerpt::new(text)),
        });
    };
    if let Some(kind) = unusable(address) {
        return Err(Mistake::AddressKind { address, kind });
    }
    let prefix = prefix.ok_or(Mistake::NoPrefix(address))?;
    let length = decimal(prefix).ok_or_else(|| Mistake::AddressSyntax(Excerpt::new(text)))?;
    u8::try_from(length)
        .ok()
        // A length of 0 would send the traffic of the whole internet to this interface.
        .filter(|length| *length != 0)
        .and_then(|length| Ipv4Net::new(address, length).ok())
        .ok_or_else(|| Mistake::PrefixRange(Excerpt::new(text)))
}

/// An integer with its unit: `us`, `ms` or `s`; 1 ms to 60 s.
pub(super) fn interval(text: &str) -> Result<Duration, Mistake> {
    let syntax = || Mistake::IntervalSyntax(Excerpt::new(text));
    let unit_start = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(syntax)?;
    let (number, unit) = text.split_at(unit_start);
    let microseconds_each = match unit {
        "us" => 1,
        "ms" => 1_000,
        "s" => 1_000_000,
        _ => return Err(syntax()),
    };
    let number = decimal(number).ok_or_else(syntax)?;
    let interval = Duration::from_micros(number.saturating_mul(microseconds_each));
    if INTERVAL_RANGE.contains(&interval) {
        Ok(interval)
    } else {
        Err(Mistake::IntervalRange(Excerpt::new(text)))
    }
}

/// Digits only; a number too large for 64 bits is as good as the largest.
fn decimal(digits: &str) -> Option<u64> {
    let valid = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    valid.then(|| digits.parse().unwrap_or(u64::MAX))
}

fn unusable(address: Ipv4Addr) -> Option<&'static str> {
    if address.is_unspecified() {
        Some("the unspecified address")
    } else if address.is_loopback() {
        Some("a loopback address")
    } else if address.is_multicast() {
        Some("a multicast address")
    } else if address.is_broadcast() {
        Some("the broadcast address")
    } else {
        None
    }
}

/// Characters in a name.
pub(super) const NAME_LIMIT: usize = 64;

/// Addresses of one virtual host: how many the digest is computed over.
pub(super) const ADDRESS_LIMIT: usize = 64;

/// The kernel's `IFNAMSIZ` without the NUL.
const INTERFACE_LIMIT: usize = 15;

const INTERVAL_RANGE: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_mins(1);
