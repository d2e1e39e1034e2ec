//! Every mistake that a configuration can have, with the sentence that the operator reads.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use super::Receive;
use super::address::Family;
use super::document::Line;
use super::parse::NOTIFY_LIMIT;
use super::passphrase::{MakeOne, PASSPHRASE_LIMIT};
use super::peer::ENDPOINT_LIMIT;
use super::quote::{Excerpt, ShellPath};
use super::shared::TEXT_LIMIT;
use super::token::MakeToken;
use super::value::{ETCD_KEY_LIMIT, NAME_LIMIT, Timing};
use super::vhost::{ADDRESS_LIMIT, PEER_LIMIT};
use super::witness::URL_LIMIT;

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
    OutOfRange { key: &'static str, value: Excerpt, subject: &'static str, min: u32, max: u32 },
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
    #[error(
        "address '{0}' is not an IP address with a prefix length; write for example '10.77.0.100/24' or \
         '2001:db8::100/64'"
    )]
    AddressSyntax(Excerpt),
    #[error(
        "address '{address}' has no prefix length; write '{address}/{max}', or the prefix length of its network"
    )]
    NoPrefix { address: IpAddr, max: u8 },
    #[error("address '{text}': the prefix length is out of range; a prefix length is 1 to {max}")]
    PrefixRange { text: Excerpt, max: u8 },
    #[error("{noun} '{address}' is {kind}; give {instead}")]
    AddressKind { noun: &'static str, address: IpAddr, kind: &'static str, instead: &'static str },
    #[error("{noun} '{text}' is an IPv4-mapped address; write it as IPv4, '{ipv4}'")]
    Mapped { noun: &'static str, text: Excerpt, ipv4: Ipv4Addr },
    #[error("{noun} '{text}' has a zone; leave '%{zone}' out, the interface of the [[vhost]] is meant")]
    Zone { noun: &'static str, text: Excerpt, zone: Excerpt },
    #[error(
        "families \"both\" needs addresses of both families, but there is no {missing} one; add one or remove families"
    )]
    FamiliesOfOne { missing: Family },

    // Peers.
    #[error("{key} is empty; list the addresses of the peers, or remove {key}")]
    NoPeer { key: &'static str },
    #[error("{key} has {count} addresses, at most {PEER_LIMIT} are allowed; list fewer, or remove {key}")]
    TooManyPeers { key: &'static str, count: usize },
    #[error("{noun} '{text}' is not an IP address; write for example '10.77.0.2' or 'fe80::2'")]
    PeerSyntax { noun: &'static str, text: Excerpt },
    #[error("{noun} '{text}' has a prefix length; a peer is one address, write '{address}'")]
    PeerPrefix { noun: &'static str, text: Excerpt, address: IpAddr },
    #[error(
        "{noun} '{address}' is {family}, but the [[vhost]] has no {family} address; remove it or add one"
    )]
    PeerFamily { noun: &'static str, address: IpAddr, family: Family },
    #[error(
        "{noun} '{address}' is a virtual address of vhost '{owner}' at {line}; give the peer's own address"
    )]
    VirtualPeer { noun: &'static str, address: IpAddr, owner: String, line: Line },
    #[error(
        "families \"both\" needs peers of both families, but {key} has no {missing} one; add one or remove families"
    )]
    UnheardFamily { key: &'static str, missing: Family },
    #[error(
        "peers and unicast exclude each other, because with unicast only its addresses are heard; remove peers"
    )]
    PeersWithUnicast,

    // [peer].
    #[error(
        "{noun} '{text}' is not an address with a port; write for example '10.0.0.1:7780' or '[2001:db8::1]:7780'"
    )]
    EndpointSyntax { noun: &'static str, text: Excerpt },
    #[error("{key} is empty; list addresses with their ports, the interlink first")]
    NoEndpoint { key: &'static str },
    #[error("{key} has {count} addresses, at most {ENDPOINT_LIMIT} are allowed; list fewer")]
    TooManyEndpoints { key: &'static str, count: usize },
    #[error(
        "{key} has the address '{address}' twice, but an address is one path, whatever the port; remove one of the two"
    )]
    EndpointTwice { key: &'static str, address: IpAddr },
    #[error("connect '{0}' is where this node itself listens; give the peer's own address")]
    OwnEndpoint(SocketAddr),
    #[error(
        "{key} '{address}' is a virtual address of vhost '{owner}', which moves; give the node's own address"
    )]
    VirtualEndpoint { key: &'static str, address: IpAddr, owner: String },
    #[error("directory '{0}' is not a path; write directory = \"/var/lib/ha-agent/peer\"")]
    DirectoryPath(Excerpt),

    // [[notify]].
    #[error("more than {NOTIFY_LIMIT} [[notify]]; let one command do the work of two")]
    TooManyNotify,

    // [witness].
    #[error("[witness] needs [peer], because it decides between two nodes; add [peer] or remove [witness]")]
    WitnessWithoutPeer,
    #[error("[witness] names none; add etcd = [\"https://10.0.0.9:2379\"] or gateway = \"10.77.0.254\"")]
    NoWitness,
    #[error("etcd and gateway exclude each other, because one of them has to decide; remove gateway")]
    TwoWitnesses,
    #[error("{key} belongs to etcd, not to gateway; remove {key}")]
    OnlyWithEtcd { key: &'static str },
    #[error(
        "etcd '{0}' is not a URL with an address and a port; write for example 'https://10.0.0.9:2379' (not a name: \
         whoever resolves it may not answer when it matters)"
    )]
    UrlSyntax(Excerpt),
    #[error("etcd is empty; list the URLs of its members")]
    NoUrl,
    #[error("etcd has {count} URLs, at most {URL_LIMIT} are allowed; list fewer")]
    TooManyUrls { count: usize },
    #[error("etcd has the address '{0}' twice; remove one of the two")]
    UrlTwice(SocketAddr),
    #[error(
        "{key} '{address}' is a virtual address of vhost '{owner}', which moves with the role; give one that does not"
    )]
    VirtualWitness { key: &'static str, address: IpAddr, owner: String },
    #[error("key '{0}' is not valid; use 1 to {ETCD_KEY_LIMIT} printable ASCII characters, no space")]
    EtcdKey(Excerpt),
    #[error("{key} '{text}' is not a file name; write {example}")]
    FilePath { key: &'static str, text: Excerpt, example: &'static str },
    #[error("https needs ca_file, the certificate of who vouches for etcd; add ca_file = \"etcd-ca.pem\"")]
    NoCa,
    #[error("{key} needs an https:// URL in etcd; write https:// there, or remove {key}")]
    WithoutTls { key: &'static str },
    #[error(
        "{key} needs {missing}, too, because a certificate is worth nothing without its key; add {missing}"
    )]
    HalfIdentity { key: &'static str, missing: &'static str },

    // What is taken over beside addresses.
    #[error("{table} needs [peer], because one of two nodes has it at a time; add [peer], or remove {table}")]
    ChargeWithoutPeer { table: &'static str },
    #[error(
        "{table} needs [fence], because the other node must be kept from writing to it; add [fence] with pair = 4711"
    )]
    NoFence { table: &'static str },
    #[error("the level \"command\" needs command; add command = [\"fence_ipmilan\"]")]
    LevelWithoutCommand,
    #[error("{key} is given, but levels has no \"command\"; add it there, or remove {key}")]
    CommandWithoutLevel { key: &'static str },
    #[error("guid '{0}' is not a pool's number; `zpool get -H -o value guid NAME` prints it")]
    Guid(Excerpt),
    #[error("{key} '{text}' is not an absolute path; write {example}")]
    AbsolutePath { key: &'static str, text: Excerpt, example: &'static str },
    #[error("{key} is empty; write {example}")]
    EmptyList { key: &'static str, example: &'static str },
    #[error("{key} '{text}' is not valid; use printable ASCII characters, no space, at most {limit}")]
    Word { key: &'static str, text: Excerpt, limit: usize },
    #[error(
        "the level \"reservation\" needs the disks that '{name}' is on; add disks = [\"/dev/disk/by-id/…\"]"
    )]
    NoDisks { name: String },
    #[error("the name '{name}' is taken at {line}; give each its own name")]
    ChargeNameTaken { name: String, line: Line },
    #[error("needs '{need}' is none of the names of [[pool]], [[mount]] and [[service]]; known are {known}")]
    UnknownNeed { need: Excerpt, known: String },
    #[error("'{name}' needs something that needs '{name}' itself; remove one of the two from needs")]
    NeedsItself { name: String },
    #[error(
        "[[service]] '{name}' says {found}; it takes one of units, start (with stop), nfs_state and iscsi_targets"
    )]
    ServiceKind { name: String, found: &'static str },
    #[error("{key} belongs to {with}; add {with}, or remove {key}")]
    ServicePart { key: &'static str, with: &'static str },

    // [web].
    #[error(
        "listen '{0}' is not a loopback address, and without a token anybody there could look; add token_file = \
         \"web.token\", or listen at 127.0.0.1:7781 behind a reverse proxy"
    )]
    OpenToAll(SocketAddr),
    #[error(
        "actions = true lets whoever can look act; add token_file = \"web.token\", or trust_header of a reverse proxy that \
         knows its users"
    )]
    ActionsForAll,
    #[error(
        "trusted_proxies belong to trust_header, the header that they set; add trust_header = \"X-Remote-User\""
    )]
    ProxiesAlone,
    #[error("{key} has {count} elements, at most {} are allowed; list fewer", super::web::LIMIT)]
    TooManyForWeb { key: &'static str, count: usize },
    #[error("trust_header '{0}' is not the name of a header; write trust_header = \"X-Remote-User\"")]
    Header(Excerpt),
    #[error("hosts '{0}' is not a host name; write hosts = [\"ha.example.org\"], without a port")]
    Host(Excerpt),
    #[error(
        "the first line of token file {} is not {} to {} printable ASCII characters without a space; {}",
        ShellPath(.0), super::token::LEAST, super::token::MOST, MakeToken(.0)
    )]
    Token(PathBuf),

    // What is shared with the peer.
    #[error("shared '{0}' is not a file name; write shared = \"shared.json\"")]
    SharedPath(Excerpt),
    #[error(
        "the shared configuration has {length} bytes, at most {TEXT_LIMIT} are allowed, so that it can be sent as one; \
         shorten it"
    )]
    SharedTooLarge { length: usize },
    #[error(
        "{key} {place} is shared with the peer, and stands at {line}, too; remove it here, and change it there with \
         `ha-agent config apply`"
    )]
    InBoth { key: Excerpt, place: &'static str, line: Line },
    #[error(
        "{key} {place} is to be shared with the peer; move it into the shared configuration with `ha-agent config apply`"
    )]
    ToBeShared { key: Excerpt, place: &'static str },
    #[error(
        "{key} {place} can't be shared, because each node has its own; write it {home} of each node's own file"
    )]
    NotToBeShared { key: Excerpt, place: &'static str, home: &'static str },
    #[error(
        "vhost '{name}' is not in the shared configuration; add it there with `ha-agent config apply`, or remove it here"
    )]
    NotInShared { name: String },
    #[error(
        "vhost '{name}' has no [[vhost]] in {own}; add one there with name = \"{name}\" and its interface, or remove it \
         here"
    )]
    OnlyInShared { name: String, own: String },

    // What must be unique.
    #[error("the name '{name}' is taken by the [[vhost]] at {line}; give each its own name")]
    NameTaken { name: String, line: Line },
    #[error("vhid {vhid} on '{interface}' is taken by vhost '{owner}' at {line}; use another vhid")]
    VhidTaken { vhid: u8, interface: Excerpt, owner: String, line: Line },
    #[error(
        "receive \"{receive}\" on '{interface}' is not what vhost '{owner}' at {line} has, \"{other}\"; an interface has one \
         receiver, so give both the same"
    )]
    ReceiveDiffers { receive: Receive, other: Receive, interface: Excerpt, owner: String, line: Line },
    #[error(
        "address '{address}' is taken by vhost '{owner}' at {line}; an address belongs to one virtual host"
    )]
    AddressTaken { address: IpAddr, owner: String, line: Line },

    // The pace.
    #[error("{} '{text}' is not a duration; write for example {}", timing.key, timing.examples)]
    DurationSyntax { timing: &'static Timing, text: Excerpt },
    #[error("{} '{text}' is out of range; {} is {:?} to {:?}", timing.key, timing.subject, timing.min, timing.max)]
    DurationRange { timing: &'static Timing, text: Excerpt },
    #[error(
        "interval {0:?} is too short for strict mode with addresses of both families: two advertisements each time \
         would let the counter run ahead of the clock; make it 2ms or longer"
    )]
    IntervalStrict(Duration),
    #[error(
        "detect needs interval; without it CARP's classic 3 × advbase holds, so add interval or remove detect"
    )]
    DetectAlone,

    // [auth].
    #[error("passphrase_file is empty; write passphrase_file = \"carp.key\"")]
    NoPassphraseFile,
    #[error(
        "{key} begins with %d, which are credentials, and this process was given none (CREDENTIALS_DIRECTORY); add \
         LoadCredential= to the unit, or name the file itself"
    )]
    NoCredentials { key: &'static str },
    #[error(
        "passphrase_file lists {count} files; it takes one or two, the first signs and all verify, so remove the \
         others"
    )]
    TooManyPassphraseFiles { count: usize },
    #[error(
        "clock_difference needs mode = \"strict\", because only then the counter tells the time; add it or remove \
         clock_difference"
    )]
    ClockDifferenceAlone,

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
