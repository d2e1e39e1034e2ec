//! What is configured, as the agent has it.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::shared::Shared;
use super::{ChargeConfig, FamilyRule, LeaseDrop, MacChoice, Mode, Passphrase, Receive, Refused, Token};
use crate::journal::events::Kind;

/// A whole configuration, checked: what is in here makes sense, though an interface may not exist.
#[derive(Clone, Debug)]
pub struct Config {
    /// This node's name in logs and status: 1 to 64 printable ASCII characters, no space.
    pub node: String,
    /// How advertisements are authenticated, for all virtual hosts.
    pub auth: Auth,
    /// What keeps the fast thread on time.
    pub realtime: RealtimeConfig,
    /// When this node goes quiet by itself.
    pub lease: LeaseConfig,
    /// The link to the peer's agent; `None`: there is none.
    pub peer: Option<PeerConfig>,
    /// The third opinion; `None`: there is none. Only where there is a peer.
    pub witness: Option<WitnessConfig>,
    /// The page for browsers; `None`: nothing listens.
    pub web: Option<WebConfig>,
    /// What is taken over beside addresses; nothing but where there is a peer.
    pub charge: ChargeConfig,
    /// What is run when something happens: 0 to 8.
    pub notify: Vec<NotifyConfig>,
    /// At least one; names, addresses and pairs of interface and vhid are unique.
    pub vhosts: Vec<VhostConfig>,
    /// What it shares with the peer, as one document; `None` if it shares nothing. What that says is in the others.
    pub shared: Option<Shared>,
    /// What works but is probably not meant: one line each, with file and line. To be logged at start.
    pub warnings: Vec<String>,
}

/// What is run when something happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotifyConfig {
    /// A program and its arguments, run without a shell.
    pub command: Vec<String>,
    /// At what events.
    pub on: Vec<Kind>,
}

/// How advertisements are authenticated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// One or two, which differ: the first signs, all verify.
    pub passphrases: Vec<Passphrase>,
    /// What an advertisement must show besides its digest.
    pub mode: Mode,
    /// How far the clocks of the nodes may be apart, 100 ms to 60 s. Without meaning in [`Mode::Compat`].
    pub clock_difference: Duration,
}

/// What keeps the fast thread on time. Each is asked of the system, which may refuse it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RealtimeConfig {
    /// Its priority in `SCHED_FIFO`, 1 to 99; `None`: it is scheduled like any other thread.
    pub priority: Option<u8>,
    /// Whether all memory stays where it is.
    pub lock_memory: bool,
    /// How long an idle processor may take to wake up, 0 to 10 ms; `None`: as the system has it.
    pub cpu_dma_latency: Option<Duration>,
}

/// When this node goes quiet by itself, because its agent does not vouch for it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseConfig {
    /// After how long, 200 ms to 60 s; `None`: never.
    pub length: Option<Duration>,
    /// Which frames are dropped then.
    pub drop: LeaseDrop,
}

/// The link to the peer's agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerConfig {
    /// Where this node listens: 1 to 8 addresses, each once.
    pub listen: Vec<SocketAddr>,
    /// Where the peer listens, best first: 1 to 8 addresses, each once.
    pub connect: Vec<SocketAddr>,
    /// From one heartbeat to the next, 50 ms to 10 s.
    pub heartbeat: Duration,
    /// After how many heartbeats without an answer the peer does not answer, 2 to 255.
    pub dead_after: u8,
    /// Where keys and certificates are.
    pub directory: PathBuf,
    /// Where the part of the configuration is that is shared with the peer; `None`: nothing is shared.
    pub shared: Option<PathBuf>,
}

/// Where browsers and monitoring systems are answered, and who may look.
///
/// With neither token nor trust, whoever reaches it may look: it is on loopback only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebConfig {
    /// Where it listens, 1 to 8 addresses; those beyond loopback only with a token.
    pub listen: Vec<SocketAddr>,
    /// By what whoever looks is known.
    pub token: Option<Token>,
    /// Who else may say that somebody is known.
    pub trust: Option<Trust>,
    /// Names by which loopback is reached, in small letters.
    pub hosts: Vec<String>,
    /// Whether those who are known may act.
    pub actions: bool,
}

/// A reverse proxy that knows its users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    /// The header in which it says who it is.
    pub header: String,
    /// Where it may be, beside loopback.
    pub proxies: Vec<IpAddr>,
}

/// The third opinion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessConfig {
    /// Who it is.
    pub kind: WitnessKind,
    /// For how long it vouches for a node that it hears no more of, 2 s to 60 s.
    pub lease: Duration,
}

/// Who is the witness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WitnessKind {
    /// A lease in etcd.
    Etcd {
        /// Where its members are, 1 to 8, each once, in the order in which they are tried.
        urls: Vec<Url>,
        /// The key; `None`: made of the numbers of both nodes. 1 to 256 printable ASCII characters, no space.
        key: Option<String>,
        /// What the connection is secured with. Always where a URL is `https`.
        tls: Option<TlsFiles>,
    },
    /// An address that answers an echo request.
    Gateway(IpAddr),
}

/// Where a member of etcd is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Url {
    /// Whether it is `https`.
    pub tls: bool,
    /// Its address.
    pub address: SocketAddr,
}

/// The files for TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificates of those who vouch for etcd's.
    pub ca: PathBuf,
    /// This node's certificate and its key, if etcd wants them.
    pub own: Option<(PathBuf, PathBuf)>,
}

/// One `[[vhost]]`: a set of addresses that one node of several holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VhostConfig {
    /// The operator's name for it: 1 to 64 printable ASCII characters, no space.
    pub name: String,
    /// The network interface: 1 to 15 bytes, a name that the kernel would accept.
    pub interface: String,
    /// Where on their way advertisements are read; the same for all virtual hosts on one interface.
    pub receive: Receive,
    /// The virtual host identifier, 1 to 255 (CARP specification §2).
    pub vhid: u8,
    /// 1 to 64 addresses with their host bits, each once, of either family, in the order of the file.
    pub addresses: Vec<IpNet>,
    /// 0 to 254 s; the upper half of the priority, lower wins (CARP specification §2).
    pub advbase: u8,
    /// 0 to 254, in 1/256 s; the lower half of the priority.
    pub advskew: u8,
    /// How often we advertise, and how soon we miss an advertisement.
    pub pace: PaceConfig,
    /// Whether to take over from a living master with a worse priority.
    pub preempt: bool,
    /// Only these may be heard; empty: all. At most 64, each once, of families that `addresses` have.
    pub peers: Vec<IpAddr>,
    /// Advertise to these instead of the group, and hear only these; empty: the group. At most 64, each once, of
    /// families that `addresses` have.
    pub unicast: Vec<IpAddr>,
    /// What becomes of a frame that is refused.
    pub refused: Refused,
    /// The MAC address at which the virtual addresses are.
    pub mac: MacChoice,
    /// The source MAC address of advertisements.
    pub advertise_from: MacChoice,
    /// Which families must be heard. [`FamilyRule::Both`] only where `addresses` have both.
    pub families: FamilyRule,
    /// How often a master announces its addresses again, 1 s to 1 h.
    pub announce_every: Option<Duration>,
    /// Those of one group stand for one another in a pair: 1 to 64 printable ASCII characters, no space. `None`: it stands
    /// alone.
    pub group: Option<String>,
    /// Whether its group depends on it.
    pub critical: bool,
    /// Its number in this agent, from 0, which is its own for as long as it is configured; when the agent starts, its place
    /// in the file.
    pub index: usize,
}

impl VhostConfig {
    /// The name of its group: its own, where it stands alone.
    #[must_use]
    pub fn group(&self) -> &str {
        self.group.as_deref().unwrap_or(&self.name)
    }

    /// The IPv4 ones of the addresses, in the order of the file.
    pub fn ipv4(&self) -> impl Iterator<Item = Ipv4Net> + '_ {
        self.addresses.iter().filter_map(|network| match network {
            IpNet::V4(network) => Some(*network),
            IpNet::V6(_) => None,
        })
    }

    /// The IPv6 ones of the addresses, in the order of the file.
    pub fn ipv6(&self) -> impl Iterator<Item = Ipv6Net> + '_ {
        self.addresses.iter().filter_map(|network| match network {
            IpNet::V4(_) => None,
            IpNet::V6(network) => Some(*network),
        })
    }
}

/// How often to advertise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaceConfig {
    /// As advbase and advskew say (CARP specification §5.1).
    Classic,
    /// More often than they say; priority stays with them.
    Fast {
        /// Between two advertisements, 1 ms to 60 s, whole microseconds.
        interval: Duration,
        /// How many intervals without an advertisement make silence, 1 to 255.
        detect: u8,
    },
}
