//! The configuration: one TOML file and the passphrase file that it names.
//!
//! ```toml
//! node = "controller-a"
//!
//! [auth]
//! passphrase_file = "carp.key"       # first line, 1 to 19 bytes; relative to this file
//!
//! [[vhost]]
//! name = "data"
//! interface = "eth0"
//! vhid = 10                          # 1 to 255
//! addresses = ["10.77.0.100/24"]     # 1 to 64
//! advbase = 1                        # 0 to 254, default 1: priority on the wire, lower wins
//! advskew = 0                        # 0 to 254, default 0
//! interval = "10ms"                  # 1ms to 60s, optional: send more often than advbase/advskew say
//! detect = 3                         # 1 to 255, default 3, only with interval: how many may be missed
//! preempt = false                    # default false
//! ```
//!
//! What is wrong is said in one line, with file, line, cause and remedy.
//!
//! ```text
//! load ── file        one bounded read of a regular file
//!      ├─ parse       the whole text, against the keys in schema
//!      │  ├─ table    typed access to TOML that knows lines
//!      │  └─ vhost    one [[vhost]], and what must be unique among them
//!      │     └─ value strings with a meaning: names, addresses, durations
//!      └─ passphrase  the file that the text names
//! ```
//!
//! Every sentence about a mistake stands in mistake.

mod error;
mod file;
mod mistake;
mod parse;
mod passphrase;
mod quote;
mod schema;
mod table;
mod value;
mod vhost;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::time::Duration;

use ipnet::Ipv4Net;

use self::error::Cause;
use self::parse::Parsed;
use self::passphrase::KeyFile;
use self::table::Document;

pub use self::error::ConfigError;
pub use self::passphrase::Passphrase;

/// Reads the configuration in `path`, and the passphrase file that it names.
///
/// # Errors
///
/// Any file that cannot be read, and the first mistake in the text. The text is judged before the passphrase
/// file is opened. [`ConfigError::exit`] has the exit code: 78, 77 without permission, 71 if the system failed.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let contents = file::read(path, FILE_LIMIT)
        .map_err(|problem| ConfigError::new(path, None, Cause::File { problem }))?;
    let document = Document::new(path, &contents.bytes)?;
    let Parsed { node, passphrase_file, vhosts, mut warnings } = parse::parse(&document)?;

    let at = passphrase_file.span().start;
    let key_path = path.parent().unwrap_or(Path::new("")).join(passphrase_file.get_ref());
    let KeyFile { passphrase, warning } = passphrase::read(&key_path)
        .map_err(|cause| ConfigError::new(path, Some(document.position(at)), cause))?;
    warnings.extend(warning.map(|warning| document.warning(at, warning)));
    Ok(Config { node, passphrase, vhosts, warnings })
}

/// A whole configuration, checked: what is in here makes sense, though an interface may not exist.
#[derive(Debug)]
pub struct Config {
    /// This node's name in logs and status: 1 to 64 printable ASCII characters, no space.
    pub node: String,
    /// The CARP passphrase, for all virtual hosts.
    pub passphrase: Passphrase,
    /// At least one; names, addresses and pairs of interface and vhid are unique.
    pub vhosts: Vec<VhostConfig>,
    /// What works but is probably not meant: one line each, with file and line. To be logged at start.
    pub warnings: Vec<String>,
}

/// One `[[vhost]]`: a set of addresses that one node of several holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VhostConfig {
    /// The operator's name for it: 1 to 64 printable ASCII characters, no space.
    pub name: String,
    /// The network interface: 1 to 15 bytes, a name that the kernel would accept.
    pub interface: String,
    /// The virtual host identifier, 1 to 255 (CARP specification §2).
    pub vhid: u8,
    /// 1 to 64 addresses with their host bits, each once, in the order of the file.
    pub addresses: Vec<Ipv4Net>,
    /// 0 to 254 s; the upper half of the priority, lower wins (CARP specification §2).
    pub advbase: u8,
    /// 0 to 254, in 1/256 s; the lower half of the priority.
    pub advskew: u8,
    /// How often we advertise, and how soon we miss an advertisement.
    pub pace: PaceConfig,
    /// Whether to take over from a living master with a worse priority.
    pub preempt: bool,
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

/// Bytes that a configuration may have: far more than any real one, little enough to read at once.
const FILE_LIMIT: usize = 1 << 20;
