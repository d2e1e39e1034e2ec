//! Any text as configuration.

use std::fs;
use std::path::Path;

use ha_agent::config;
use tempfile::TempDir;

/// Loads a configuration, beside which a passphrase lies, and demands that a mistake is told in one line that does
/// not have the passphrase.
///
/// # Panics
///
/// If it is not, or the directory can't be written.
pub fn config(text: &[u8]) {
    thread_local!(static DIRECTORY: TempDir = directory());
    if text.windows(PASSPHRASE.len()).any(|part| part == PASSPHRASE.as_bytes()) {
        return;
    }
    DIRECTORY.with(|directory| {
        let path = directory.path().join("ha-agent.toml");
        fs::write(&path, text).expect("room for a small file");
        match config::load(&path) {
            Ok(config) => {
                assert!(!config.vhosts.is_empty(), "no virtual host");
                config.warnings.iter().for_each(|warning| demand_line(warning));
                demand_line(&format!("{config:?}"));
            }
            Err(error) => demand_line(&error.to_string()),
        }
    });
}

fn demand_line(line: &str) {
    assert!(!line.is_empty() && !line.contains(char::is_control), "{line:?}");
    assert!(!line.contains(PASSPHRASE), "{line:?}");
}

/// In memory, where that is possible: it is written thousands of times a second.
fn directory() -> TempDir {
    let memory = Path::new("/dev/shm");
    let within = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let directory = TempDir::with_prefix_in("ha-agent-fuzz-", within).expect("a directory");
    fs::write(directory.path().join("carp.key"), PASSPHRASE).expect("room for a small file");
    fs::write(directory.path().join("old.key"), "another").expect("room for a small file");
    directory
}

const PASSPHRASE: &str = "kq7#nobody-says-so";
