//! The configuration as an operator meets it: files in, one line out.

mod accepted;
mod charge;
mod files;
mod notify;
mod peers;
mod random;
mod refused;
mod reload;
mod sample;
mod shared;
mod web;
mod witness;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{Config, ConfigError, load};
use crate::cli::exit::Exit;

/// A directory with a configuration and its passphrase file.
struct Site {
    directory: TempDir,
}

impl Site {
    /// With this configuration, two good passphrase files, and a token.
    fn new(config: impl AsRef<[u8]>) -> Self {
        let site = Self { directory: tempfile::tempdir().expect("a directory") };
        // Open to all, as /etc is, whatever the umask: who may read what is decided by the files.
        site.chmod("", 0o755);
        site.write(CONFIG, config);
        site.write(KEY, format!("{SECRET}\n"));
        site.write(OLD_KEY, format!("{OLD_SECRET}\n"));
        site.write(TOKEN, "x".repeat(20));
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file that only its owner can read.
    fn write(&self, name: &str, contents: impl AsRef<[u8]>) {
        fs::write(self.path(name), contents).expect("a file");
        self.chmod(name, 0o600);
    }

    fn chmod(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), Permissions::from_mode(mode)).expect("its mode");
    }

    fn load(&self) -> Result<Config, ConfigError> {
        load(&self.path(CONFIG))
    }

    /// The error line with `DIR` for the directory, and the exit code.
    fn refusal(&self) -> (String, Exit) {
        self.refusal_of(&self.path(CONFIG))
    }

    fn refusal_of(&self, path: &Path) -> (String, Exit) {
        let error = load(path).expect_err("a refusal");
        (self.anonymous(&error.to_string()), error.exit())
    }

    fn warnings(&self) -> Vec<String> {
        let config = self.load().expect("a configuration");
        config.warnings.iter().map(|warning| self.anonymous(warning)).collect()
    }

    fn anonymous(&self, line: &str) -> String {
        line.replace(self.directory.path().to_str().expect("UTF-8"), "DIR")
    }
}

/// `GOOD`, with the one occurrence of `from` replaced.
fn changed(from: &str, to: &str) -> String {
    changed_in(GOOD, from, to)
}

/// `text`, with the one occurrence of `from` replaced.
fn changed_in(text: &str, from: &str, to: &str) -> String {
    assert_eq!(text.matches(from).count(), 1, "{from:?} is not there exactly once");
    text.replace(from, to)
}

/// Asserts what follows the file's name in the error.
fn assert_refused(text: &str, expected: &str) {
    let expected = format!("DIR/ha-agent.toml:{expected}");
    assert_eq!(Site::new(text).refusal(), (expected, Exit::Config), "in this file:\n{text}");
}

/// So many different addresses, as an array.
fn addresses(count: usize) -> String {
    let addresses: Vec<_> = (0..count).map(|i| format!("\"10.79.0.{i}/32\"")).collect();
    format!("[{}]", addresses.join(", "))
}

/// So many different peers, as an array.
fn peers(count: usize) -> String {
    let peers: Vec<_> = (0..count).map(|i| format!("\"10.80.0.{i}\"")).collect();
    format!("[{}]", peers.join(", "))
}

const CONFIG: &str = "ha-agent.toml";
const SHARED: &str = "shared.json";
const KEY: &str = "carp.key";
/// The file with a token, in the same directory.
const TOKEN: &str = "web.token";
const OLD_KEY: &str = "old.key";
const SECRET: &str = "what-no-one-sees";
const OLD_SECRET: &str = "nor-this-one";

/// Every key that is not about families, strict mode or peers, and a second virtual host with only what it needs.
const GOOD: &str = r#"node = "controller-a"

[auth]
passphrase_file = "carp.key"

[[vhost]]
name = "data"
interface = "eth0"
vhid = 10
addresses = ["10.77.0.100/24"]
advbase = 2
advskew = 100
interval = "10ms"
detect = 4
preempt = true

[[vhost]]
name = "admin"
interface = "eth1"
vhid = 11
addresses = ["10.78.0.1/24", "10.78.0.2/32"]
"#;

/// Every key that `GOOD` does not have, and the same vhid and link-local address on another interface.
const FULL: &str = r#"node = "controller-a"

[auth]
passphrase_file = ["carp.key", "old.key"]
mode = "strict"
clock_difference = "500ms"

[[vhost]]
name = "data"
interface = "eth0"
vhid = 10
addresses = ["10.77.0.100/24", "fe80::100/64"]
interval = "2ms"
peers = ["10.77.0.2", "fe80::2"]
refused = "pass"
mac = "virtual"
advertise_from = "interface"
families = "both"
announce_every = "60s"
group = "clients"
critical = false

[[vhost]]
name = "admin"
interface = "eth1"
vhid = 10
addresses = ["2001:db8::1/64", "fe80::100/64"]
unicast = ["fe80::2"]
receive = "tcx"

[realtime]
priority = 10
lock_memory = false
cpu_dma_latency = "20us"

[lease]
length = "700ms"
drop = "requests"

[peer]
listen = ["10.77.0.1:7780", "[2001:db8:7::1]:7780"]
connect = "10.77.0.2:7780"
heartbeat = "100ms"
dead_after = 3
directory = "/srv/link"
"#;
