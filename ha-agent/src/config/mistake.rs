//! Every mistake that a configuration can have, with the sentence that the operator reads.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use thiserror::Error;

use super::passphrase::{MakeOne, PASSPHRASE_LIMIT};
use super::quote::{Excerpt, ShellPath};
use super::value::{ADDRESS_LIMIT, NAME_LIMIT};

/// A cause and its remedy, on one line. Where it is stands in front of it.
#[derive(Debug, Error)]
pub(super) enum Mistake {
    // The text.
    #[error("the file is empty; write node, [auth] and at least one [[vhost]] into it")]
    Empty,
    #[error("byte {offset} is not UTF-8 text; is it a configuration? name another with --config FILE")]
    NotText { offset: usize },
    #[error("not valid TOML: {message}; see https://toml.io")]
    Syntax { message: String },

    // Keys and types.
    #[error("unknown key '{key}' {place}; did you mean '{nearest}'?")]
    MisspelledKey { key: Excerpt, place: &'static str, nearest: &'static str },
    #[error("unknown key '{key}' {place}; it belongs {home}")]
    MisplacedKey { key: Excerpt, place: &'static str, home: &'static str },
    #[error("unknown key '{key}' {place}; known keys are {known}")]
    UnknownKey { key: Excerpt, place: &'static str, known: String },
    #[error("missing key '{key}' {place}; add {example}")]
    MissingKey { key: &'static str, place: &'static str, example: &'static str },
    #[error("no [auth] in this file; add [auth] with passphrase_file = \"carp.key\"")]
    NoAuth,
    #[error("no [[vhost]] in this file; add one with name, interface, vhid and addresses")]
    NoVhost,
    #[error("{subject} must be {expected}, not {found}; write {example}")]
    WrongType { subject: String, expected: &'static str, found: String, example: &'static str },
    #[error("{key} {value} is out of range; {subject} is {min} to {max}")]
    OutOfRange { key: &'static str, value: Excerpt, subject: &'static str, min: u8, max: u8 },
    #[error("{key} '{word}' is unknown; did you mean \"{nearest}\"? It is {known}")]
    MisspelledWord { key: &'static str, word: Excerpt, known: String, nearest: &'static str },
    #[error("{key} '{word}' is unknown; write {known}")]
    UnknownWord { key: &'static str, word: Excerpt, known: String },

    // Names.
    #[error("{key} '{name}' is not valid; use 1 to {NAME_LIMIT} printable ASCII characters, no space")]
    Name { key: &'static str, name: Excerpt },
    #[error("interface '{0}' is not valid; an interface name has 1 to 15 bytes, no '/', ':' or white space")]
    Interface(Excerpt),
    #[error("passphrase_file '{0}' is not a file name; write passphrase_file = \"carp.key\"")]
    PassphrasePath(Excerpt),

    // Addresses.
    #[error("addresses is empty; write addresses = [\"10.77.0.100/24\"]")]
    NoAddress,
    #[error(
        "{count} addresses are too many for one [[vhost]]; it has at most {ADDRESS_LIMIT}, so add another"
    )]
    TooManyAddresses { count: usize },
    #[error("address '{0}' is not an IPv4 address with a prefix length; write for example '10.77.0.100/24'")]
    AddressSyntax(Excerpt),
    #[error("address '{0}' is IPv6; IPv6 addresses are not supported by this version, give an IPv4 address")]
    Ipv6(Excerpt),
    #[error("address '{0}' has no prefix length; write '{0}/32', or the prefix length of its network")]
    NoPrefix(Ipv4Addr),
    #[error("address '{0}': the prefix length is out of range; a prefix length is 1 to 32")]
    PrefixRange(Excerpt),
    #[error("address '{address}' is {kind}; give an address that clients can talk to")]
    AddressKind { address: Ipv4Addr, kind: &'static str },

    // What must be unique.
    #[error("the name '{name}' is taken by the [[vhost]] at line {line}; give each its own name")]
    NameTaken { name: String, line: usize },
    #[error("vhid {vhid} on '{interface}' is taken by vhost '{owner}' at line {line}; use another vhid")]
    VhidTaken { vhid: u8, interface: Excerpt, owner: String, line: usize },
    #[error(
        "address '{address}' is taken by vhost '{owner}' at line {line}; an address belongs to one virtual host"
    )]
    AddressTaken { address: Ipv4Addr, owner: String, line: usize },

    // The pace.
    #[error("interval '{0}' is not a duration; write for example '10ms', '1500us' or '1s'")]
    IntervalSyntax(Excerpt),
    #[error("interval '{0}' is out of range; an interval is 1ms to 60s")]
    IntervalRange(Excerpt),
    #[error(
        "detect needs interval; without it CARP's classic 3 × advbase holds, so add interval or remove detect"
    )]
    DetectAlone,

    // The passphrase. Only its length is ever told.
    #[error("the first line of passphrase file {} is empty; {}", ShellPath(.0), MakeOne(.0))]
    PassphraseEmpty(PathBuf),
    #[error(
        "the passphrase in {} has {length} bytes, at most {PASSPHRASE_LIMIT} are allowed because CARP peers would \
         cut it off silently; shorten it on every node",
        ShellPath(.path)
    )]
    PassphraseTooLong { path: PathBuf, length: usize },
    #[error(
        "the passphrase in {} contains a NUL byte, where other implementations end it; {}",
        ShellPath(.0),
        MakeOne(.0)
    )]
    PassphraseNul(PathBuf),
}
