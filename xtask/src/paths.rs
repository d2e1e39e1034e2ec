//! Where things are: the workspace, its build output, the user's cache.

use std::{
    env,
    ffi::OsString,
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::process::say;

/// The workspace's root.
pub(crate) fn root() -> &'static Path {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest)
}

/// Where cargo puts what it builds: the user's `CARGO_TARGET_DIR`, else `target` in the workspace. Absolute.
pub(crate) fn target_dir() -> Result<PathBuf> {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(dir) if !dir.is_empty() => {
            std::path::absolute(&dir).with_context(|| format!("CARGO_TARGET_DIR is {}", dir.display()))
        }
        Some(_) | None => Ok(root().join("target")),
    }
}

/// Where the BPF program is built. `.cargo/config.toml` names the object in it, for ha-agent's build script:
/// so it does not follow `CARGO_TARGET_DIR`.
pub(crate) fn bpf_dir() -> PathBuf {
    root().join("target/bpf")
}

/// This project's place in the user's cache, shared by all clones.
pub(crate) fn cache_dir() -> Result<PathBuf> {
    cache_under(env::var_os("XDG_CACHE_HOME"), env::var_os("HOME"))
        .context("neither XDG_CACHE_HOME nor HOME says where the cache is: set one of them")
}

/// Where the output of the step `name` is kept.
pub(crate) fn log_file(name: &str) -> Result<PathBuf> {
    let dir = cache_dir()?.join("log");
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    Ok(dir.join(name).with_extension("log"))
}

/// Lets one process at a time do `what`, until the returned file is dropped.
pub(crate) fn lock(what: &str) -> Result<File> {
    let dir = cache_dir()?;
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let path = dir.join(what).with_extension("lock");
    let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(TryLockError::WouldBlock) => say(format_args!("waiting for another xtask ({what})")),
        Err(TryLockError::Error(error)) => {
            return Err(error).with_context(|| format!("cannot lock {}", path.display()));
        }
    }
    file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(file)
}

/// The XDG rule: a relative `XDG_CACHE_HOME` does not count.
fn cache_under(xdg: Option<OsString>, home: Option<OsString>) -> Option<PathBuf> {
    let xdg = xdg.map(PathBuf::from).filter(|path| path.is_absolute());
    let home = home.map(PathBuf::from).filter(|path| path.is_absolute());
    Some(xdg.or_else(|| Some(home?.join(".cache")))?.join("ha-agent"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_follows_the_xdg_rule() {
        let table = [
            (Some("/x"), Some("/home/u"), Some("/x/ha-agent")),
            (None, Some("/home/u"), Some("/home/u/.cache/ha-agent")),
            (Some("x"), Some("/home/u"), Some("/home/u/.cache/ha-agent")),
            (Some(""), Some("/home/u"), Some("/home/u/.cache/ha-agent")),
            (Some("/x"), None, Some("/x/ha-agent")),
            (None, Some(""), None),
            (None, None, None),
        ];
        for (xdg, home, expected) in table {
            let found = cache_under(xdg.map(OsString::from), home.map(OsString::from));
            assert_eq!(found, expected.map(PathBuf::from), "XDG_CACHE_HOME={xdg:?} HOME={home:?}");
        }
    }
}
