//! The configuration: one TOML file and the passphrase files that it names.
//!
//! ```toml
//! node = "controller-a"
//!
//! [auth]
//! passphrase_file = ["new.key", "old.key"]  # or one, "carp.key": the first signs, all verify; relative to this file,
//!                                    # or "%d/carp.key": of the service manager's credentials
//! mode = "strict"                    # only between our own nodes; default "compat"
//! clock_difference = "2s"            # 100ms to 60s, default 2s, only with strict: between the nodes
//!
//! [realtime]                         # optional, as each of its keys: what keeps the fast thread on time
//! priority = 50                      # 1 to 99 of SCHED_FIFO, or "off"; default 50
//! lock_memory = true                 # default true
//! cpu_dma_latency = "leave"          # default, or 0us to 10ms: how soon an idle processor must be awake
//!
//! [lease]                            # optional, as each of its keys: when this node goes quiet by itself
//! length = "2s"                      # default, 200ms to 60s, or "off"
//! drop = "all"                       # default; or "requests": then what is sent to virtual addresses is not dropped
//!
//! [peer]                             # optional: the link to the peer's agent
//! listen = ["10.0.0.1:7780", "10.77.0.1:7780"]   # 1 to 8
//! connect = ["10.0.0.2:7780", "10.77.0.2:7780"]  # 1 to 8, best first
//! heartbeat = "200ms"                # default, 50ms to 10s
//! dead_after = 2                     # default, 2 to 255: heartbeats without an answer
//! directory = "/var/lib/ha-agent/peer"  # default; relative to this file
//! # shared = "shared.json"           # optional: what is shared with the peer stands there instead; see below
//!
//! [witness]                          # optional, needs [peer]: a third opinion
//! etcd = ["https://10.0.0.9:2379"]   # 1 to 8 members, in the order in which they are tried
//! key = "ha-agent/pair-1"            # default: made of the numbers of both nodes
//! ca_file = "etcd-ca.pem"            # only with https; so are the next two, which belong together
//! cert_file = "etcd-client.pem"
//! key_file = "etcd-client.key"
//! lease = "3s"                       # default, 2s to 60s
//! # gateway = "10.77.0.254"          # instead of etcd and of what belongs to it
//!
//! [web]                              # optional: a page for browsers, and numbers for monitoring
//! listen = ["127.0.0.1:7781"]        # default, 1 to 8
//! token_file = "web.token"           # 16 to 256 characters; needed beyond loopback; "%d/web.token" as above
//! trust_header = "X-Remote-User"     # optional: a reverse proxy on this node, or one of these, says who it is
//! trusted_proxies = ["10.77.0.8"]    # 1 to 8, only with trust_header
//! hosts = ["ha.example.org"]         # 1 to 8, optional: names by which loopback is reached
//! actions = false                    # default; true needs token_file or trust_header
//!
//! [[vhost]]
//! name = "data"
//! interface = "eth0"
//! receive = "auto"                   # default, or "native", "generic", "tcx" or "packet": where frames are read
//! vhid = 10                          # 1 to 255
//! addresses = ["10.77.0.100/24", "2001:db8::100/64"]  # 1 to 64 of either family
//! advbase = 1                        # 0 to 254, default 1: priority on the wire, lower wins
//! advskew = 0                        # 0 to 254, default 0
//! interval = "10ms"                  # 1ms to 60s, optional: send more often than advbase/advskew say
//! detect = 3                         # 1 to 255, default 3, only with interval: how many may be missed
//! preempt = false                    # default false
//! peers = ["10.77.0.2", "fe80::2"]   # 1 to 64, optional: only these may be heard
//! # unicast = ["10.77.0.2"]          # 1 to 64, optional, instead of peers: send to these, and hear only these
//! refused = "drop"                   # default, or "pass": what becomes of frames that are refused
//! mac = "virtual"                    # 00:00:5e:00:01:VHID, or "interface", the default
//! advertise_from = "virtual"         # or "interface": source MAC of advertisements, default as mac
//! families = "either"                # default, or "both": which families must be heard
//! announce_every = "60s"             # 1s to 1h, optional: announce the addresses of a master again
//! group = "clients"                  # optional: in a pair, one link of a group is enough for it
//! critical = true                    # default: in a pair, whether its group depends on it
//!
//! [fence]                            # with [[pool]] or [[mount]]: how the other node is kept from writing
//! pair = 4711                        # 1 to 2147483647, the same on both nodes
//! levels = ["reservation", "command"]  # tried in this order; default ["reservation"]
//! strangers = "refuse"               # default, or "preempt"
//! command = ["fence_ipmilan"]        # only with the level "command"
//! options_file = "fence.options"     # what it reads, only with command
//! disk_heartbeat = "200ms"           # default, 50ms to 10s
//! watchdog = "if-present"            # default, "required" or "off"
//! watchdog_device = "/dev/watchdog"  # default
//! self_fence = "reset"               # default, or "exit"
//!
//! [[pool]]                           # all of these only with [peer]
//! name = "tank"
//! guid = "5312087265214137852"
//! directories = ["/dev/disk/by-id"]  # default
//! disks = ["/dev/disk/by-id/wwn-0x5000c500a1b2c3d4"]  # default: what the labels name
//! missing_log = false                # default
//! keys = "/etc/ha-agent/pool-keys"   # optional: a file for each encrypted dataset, ":" in its name for "/"
//! busy = "wait"                      # default, or "kill"
//! needs = ["scratch"]                # default: nothing, for a service all pools and mounts
//! take = "60s"                       # 1s to 1h, default 60s for a pool, 30s for others
//! release = "30s"                    # default, 1s to 1h
//! on_failure = "undo"                # default, "go-on" or "self-fence"
//!
//! [[mount]]
//! name = "scratch"
//! device = "/dev/disk/by-id/wwn-0x5000c500a1b2c3d6-part1"
//! at = "/srv/scratch"
//! type = "ext4"
//! options = "noatime"                # optional
//! uuid = "0b1c2d3e-4f50-6172-8394-a5b6c7d8e9f0"  # optional
//! disks = ["/dev/disk/by-id/wwn-0x5000c500a1b2c3d6"]  # needed for the level "reservation"
//!
//! [[service]]                        # each of one kind: units, start, nfs_state or iscsi_targets
//! name = "web"
//! units = ["nginx.service"]
//!
//! [[service]]
//! name = "reports"
//! start = ["/usr/local/sbin/reports", "start"]
//! stop = ["/usr/local/sbin/reports", "stop"]
//! check = ["/usr/local/sbin/reports", "status"]  # 0: it runs, 3: it does not, else: it is not well
//! rest = true                        # after the addresses; default false
//!
//! [[service]]
//! name = "nfs"
//! nfs_state = "/tank/.nfs"
//! nfs_scope = "pair-1"
//!
//! [[service]]
//! name = "iscsi"
//! iscsi_targets = "targets.json"
//! iscsi_state = "/tank/.iscsi"       # optional
//!
//! [[notify]]                         # up to 8: what is run when something happens
//! command = ["/usr/local/sbin/tell"] # a program and its arguments
//! on = ["role_changed", "serving"]   # default: role_changed, state_changed, serving
//! ```
//!
//! A passphrase is the first line of its file, 1 to 19 bytes. Durations have the unit us, ms, s, min or h.
//! The whole, explained for operators, is in `docs/ha-agent.toml`.
//!
//! With `shared`, the nodes of a pair have `mode` and `clock_difference` and their virtual hosts in common, all but
//! `interface`, `advskew`, `peers` and `unicast`: that part is a document of its own ([`shared`]), merged by the virtual
//! hosts' names with what stands here.
//!
//! What is wrong is said in one line, with file, line, cause and remedy.
//!
//! ```text
//! load ── file        one bounded read of a regular file
//!      ├─ document    the text, and where what stands in it
//!      ├─ shared      the part that the peer has, too: merged with the text
//!      ├─ parse       the whole, against the keys in schema
//!      │  ├─ table    typed access to TOML that knows lines
//!      │  ├─ auth     [auth], and the passphrase files that it names
//!      │  ├─ realtime [realtime]
//!      │  ├─ lease    [lease]
//!      │  ├─ peer     [peer]
//!      │  ├─ witness  [witness]
//!      │  ├─ web      [web], and the token file that it names
//!      │  ├─ charge   [fence], [[pool]], [[mount]], [[service]]
//!      │  ├─ notify   [[notify]]
//!      │  └─ vhost    one [[vhost]], and what must be unique among them
//!      │     └─ value, address, choice: strings with a meaning
//!      └─ passphrase  one of the files that the text names
//! ```
//!
//! What comes of it is in `settings`. A running agent takes a new configuration through [`Config::changes_to`].
//!
//! Every sentence about a mistake stands in mistake.

mod address;
pub(crate) mod answer;
mod auth;
mod charge;
mod choice;
mod document;
mod error;
pub(crate) mod file;
mod lease;
mod mistake;
mod notify;
mod parse;
mod passphrase;
mod peer;
pub(crate) mod quote;
mod realtime;
mod reload;
mod schema;
mod settings;
pub mod shared;
mod table;
mod token;
mod value;
mod vhost;
mod web;
mod witness;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use self::document::Document;
use self::error::Cause;
use self::file::Contents;
use self::parse::Parsed;
use self::shared::Shared;

pub use self::charge::{
    ChargeConfig, FenceConfig, PlaceConfig, ServiceConfig, ServiceKind, VolumeConfig, VolumeKind,
};
pub use self::choice::{
    BusyChoice, FamilyRule, FenceLevel, LeaseDrop, MacChoice, Mode, OnFailure, Receive, Refused,
    SelfFenceChoice, Strangers, WatchdogUse,
};
pub use self::error::ConfigError;
pub use self::passphrase::Passphrase;
pub use self::reload::{Change, Reload, RestartNeeded};
pub use self::settings::{
    Auth, Config, LeaseConfig, NotifyConfig, PaceConfig, PeerConfig, RealtimeConfig, TlsFiles, Trust, Url,
    VhostConfig, WebConfig, WitnessConfig, WitnessKind,
};
pub use self::token::Token;

/// Reads the configuration in `path`, and the passphrase file that it names.
///
/// # Errors
///
/// Any file that cannot be read, and the first mistake in the text. The text is judged before the passphrase
/// file is opened. [`ConfigError::exit`] has the exit code: 78, 77 without permission, 71 if the system failed.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let contents = read(path)?;
    let file = Document::new(path, &contents.bytes).and_then(|own| shared::file(path, &own))?;
    match file {
        Some(file) => {
            let shared = shared::read(&file).map_err(|error| ConfigError::new(path, None, error))?;
            finish(path, &contents, Some((&file, shared)))
        }
        None => finish(path, &contents, None),
    }
}

/// Reads the configuration in `path` as it would be with another shared part, which is called `name` in mistakes.
///
/// # Errors
///
/// As [`load`]; and if it shares nothing.
pub fn load_with(path: &Path, name: &Path, shared: Shared) -> Result<Config, ConfigError> {
    let contents = read(path)?;
    finish(path, &contents, Some((name, shared)))
}

/// Where the shared part of the configuration in `path` is; `None` if it shares nothing.
///
/// # Errors
///
/// If the file can't be read, or its first mistake is before that.
pub fn shared_file(path: &Path) -> Result<Option<PathBuf>, ConfigError> {
    let contents = read(path)?;
    shared::file(path, &Document::new(path, &contents.bytes)?)
}

/// Reads the first line of a passphrase file, and returns a warning if others may read it.
///
/// # Errors
///
/// If it can't be read, or is no passphrase.
pub fn passphrase(path: &Path) -> Result<(Passphrase, Option<String>), ConfigError> {
    let key = passphrase::read(path).map_err(|cause| ConfigError::new(path, None, cause))?;
    Ok((key.passphrase, key.warning))
}

fn read(path: &Path) -> Result<Contents, ConfigError> {
    file::read(path, FILE_LIMIT).map_err(|problem| ConfigError::new(path, None, Cause::File { problem }))
}

/// From what was read to what it means; `shared` with its name.
fn finish(path: &Path, contents: &Contents, shared: Option<(&Path, Shared)>) -> Result<Config, ConfigError> {
    let mut document = Document::new(path, &contents.bytes)?;
    let mut tree = document.parse()?;
    if let Some((name, shared)) = &shared {
        shared::merge(&mut document, tree.get_mut(), name, &shared.text)?;
    }
    let Parsed { node, auth, realtime, lease, peer, witness, web, charge, notify, vhosts, mut warnings } =
        parse::parse(&document, &tree)?;
    let (auth, auth_warnings) = auth.load(path, &document)?;
    warnings.extend(auth_warnings);
    let peer = peer.map(|peer| peer::located(peer, path));
    let witness = witness.map(|witness| witness::place(path, witness));
    let web = web.map(|web| web.load(path, &document)).transpose()?;
    let web = web.map(|(web, warning)| {
        warnings.extend(warning);
        web
    });
    let shared = shared.map(|(_, shared)| shared);
    let charge = charge::placed(charge, path);
    Ok(Config { node, auth, realtime, lease, peer, witness, web, charge, notify, vhosts, shared, warnings })
}

/// Bytes that a configuration may have: far more than any real one, little enough to read at once.
const FILE_LIMIT: usize = 1 << 20;
