//! `cargo xtask build-ebpf`: builds the BPF program for this machine's kernel.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    paths,
    process::{output, say, shown},
    toolchain::{self, Toolchain},
};

/// What is built.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Build it a second time, of a copy of the sources in another place, and demand the same bytes
    #[arg(long)]
    twice: bool,
}

/// Builds the BPF program and says where it is.
///
/// # Errors
///
/// See [`build`] and [`again`].
pub(crate) fn run(args: &Args) -> Result<()> {
    let object = build()?;
    say(format_args!("built {}", object.display()));
    if args.twice { again(&object) } else { Ok(()) }
}

/// Builds the program once more, of a copy of the sources in another place.
///
/// # Errors
///
/// It does not become the same as `object`, byte by byte.
pub(crate) fn again(object: &Path) -> Result<()> {
    let place = paths::cache_dir()?.join(format!("again-{}", std::process::id()));
    let same = copy_sources(&place.join("source"))
        .and_then(|()| build_in(&place.join("source"), &place.join("bpf")))
        .and_then(|copy| Ok(fs::read(copy)? == fs::read(object)?));
    let _ = fs::remove_dir_all(&place);
    ensure!(same?, "the program is not reproducible: built of a copy in another place, it has other bytes");
    say("built again in another place: the same bytes");
    Ok(())
}

/// Copies whatever git knows, as it is now.
fn copy_sources(to: &Path) -> Result<()> {
    let listed = output(Command::new("git").args(["ls-files"]).current_dir(paths::root()))?;
    for name in listed.lines() {
        let (from, to) = (paths::root().join(name), to.join(name));
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
        }
        // One that was deleted is not needed.
        if from.is_file() {
            fs::copy(&from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
        }
    }
    Ok(())
}

/// Builds the BPF program, after setting up what that needs. Returns the path of the object, which is touched only
/// if it changed: ha-agent, which embeds it, is then not built again.
///
/// # Errors
///
/// The toolchain cannot be had, or the program does not compile.
pub(crate) fn build() -> Result<PathBuf> {
    build_in(paths::root(), &paths::bpf_dir())
}

/// The same for the workspace in `root`, into `dir`.
///
/// # Errors
///
/// See [`build`].
pub(crate) fn build_in(root: &Path, dir: &Path) -> Result<PathBuf> {
    let Toolchain { compiler, linker } = toolchain::ensure()?;
    say("building the BPF program (the first time about 40 seconds, then 1)");
    let flags = [
        format!("-Clinker={}", linker.display()),
        // Types of maps and programs come to the kernel, and so to bpftool, by debug information turned into BTF.
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
        // aya-ebpf takes the kernel's structures of this architecture.
        format!("--cfg=bpf_target_arch=\"{}\"", env::consts::ARCH),
        // The same bytes wherever it is built. The last that fits counts.
        format!("--remap-path-prefix={}=/cargo", cargo_home().display()),
        format!("--remap-path-prefix={}=/ha-agent", root.display()),
        format!("--remap-path-prefix={}=/target", dir.display()),
    ];
    let mut cargo = compiler.cargo();
    cargo
        // Quiet: warnings and errors are shown, and nothing else.
        .args(["build", "--quiet", "--release", "--locked", "--package", "ha-ebpf"])
        // What the program is made of is small for the agent's sake only.
        .args(["--config", "profile.release.package.\"*\".opt-level=3"])
        .args(["-Z", "build-std=core", "--target", TARGET, "--target-dir"])
        .arg(dir)
        .current_dir(root)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        // build-std and the BPF target are unstable, also in the compilers that distributions ship.
        .env("RUSTC_BOOTSTRAP", "1");
    shown(&mut cargo)?;

    let object = dir.join("ha_carp.o");
    replace_if_different(&dir.join(TARGET).join("release/ha_carp"), &object)?;
    Ok(object)
}

/// Makes `to` a copy of `from`, in one step, unless it is one already. Returns whether it was not.
fn replace_if_different(from: &Path, to: &Path) -> Result<bool> {
    let new = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    if fs::read(to).is_ok_and(|old| old == new) {
        return Ok(false);
    }
    let beside = to.with_extension(format!("{}.new", std::process::id()));
    let written = fs::write(&beside, new).and_then(|()| fs::rename(&beside, to));
    written.with_context(|| format!("cannot write {}", to.display()))?;
    Ok(true)
}

/// Where cargo keeps the sources of crates.
fn cargo_home() -> PathBuf {
    let home = env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    env::var_os("CARGO_HOME").map_or_else(|| home.join(".cargo"), PathBuf::from)
}

/// The BPF program has the byte order of the kernel that it runs in.
const TARGET: &str = if cfg!(target_endian = "big") { "bpfeb-unknown-none" } else { "bpfel-unknown-none" };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_changed_object_is_replaced() {
        let dir = env::temp_dir().join(format!("xtask-ebpf-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let (from, to) = (dir.join("from"), dir.join("to.o"));
        let steps: [(&[u8], bool); 4] = [(b"one", true), (b"one", false), (b"two", true), (b"", true)];
        for (bytes, replaced) in steps {
            fs::write(&from, bytes).unwrap();
            assert_eq!(replace_if_different(&from, &to).unwrap(), replaced, "{bytes:?}");
            assert_eq!(fs::read(&to).unwrap(), bytes);
        }
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 2, "nothing is left beside");
        fs::remove_dir_all(&dir).unwrap();
        assert!(replace_if_different(&from, &to).is_err());
    }
}
