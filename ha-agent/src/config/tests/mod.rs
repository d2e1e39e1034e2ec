//! The configuration as an operator meets it: files in, one line out.

mod accepted;
mod files;
mod random;
mod refused;

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
    /// With this configuration, and a good passphrase file.
    fn new(config: impl AsRef<[u8]>) -> Self {
        let site = Self { directory: tempfile::tempdir().expect("a directory") };
        // Open to all, as /etc is, whatever the umask: who may read what is decided by the files.
        site.chmod("", 0o755);
        site.write(CONFIG, config);
        site.write(KEY, format!("{SECRET}\n"));
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
    assert_eq!(GOOD.matches(from).count(), 1, "{from:?} is not there exactly once");
    GOOD.replace(from, to)
}

/// So many different addresses, as an array.
fn addresses(count: usize) -> String {
    let addresses: Vec<_> = (0..count).map(|i| format!("\"10.79.0.{i}/32\"")).collect();
    format!("[{}]", addresses.join(", "))
}

const CONFIG: &str = "ha-agent.toml";
const KEY: &str = "carp.key";
const SECRET: &str = "what-no-one-sees";

/// Every key once, and a second virtual host with only what it needs.
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
