//! bpf-linker: finding one that reads a compiler's bitcode, and building one into the user's cache.

use std::{
    env, fs,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{
    paths, process,
    process::{logged, say},
    rustc::{self, Compiler},
};

/// A linker that reads bitcode of LLVM `llvm`: ours in the cache, else one on `PATH`. LLVM reads the bitcode of
/// older releases, never that of newer ones.
pub(crate) fn find(llvm: u32) -> Option<PathBuf> {
    let cached = cached(llvm).into_iter();
    let path = env::var_os("PATH").unwrap_or_default();
    let dirs = env::split_paths(&path).filter(|dir| dir.is_absolute());
    let on_path = dirs.map(|dir| dir.join("bpf-linker"));
    cached.chain(on_path).find(|linker| llvm_of(linker).is_some_and(|own| own >= llvm))
}

/// Whether we can build a linker for LLVM `llvm` here: supported by [`VERSION`], and its library is installed.
pub(crate) fn can_build(llvm: u32) -> bool {
    SUPPORTED_LLVM.contains(&llvm) && prefix(llvm).join("lib/libLLVM.so").exists()
}

/// Builds a linker for `compiler` into the user's cache.
///
/// # Errors
///
/// The cache cannot be written, or the build fails: then the end of its output is shown.
pub(crate) fn build(compiler: &Compiler) -> Result<()> {
    let llvm = compiler.llvm;
    let _lock = paths::lock("bpf-linker")?;
    let linker = cached(llvm)?;
    if llvm_of(&linker).is_some() {
        // Another xtask built it while we waited for the lock.
        return Ok(());
    }
    say(format_args!("building bpf-linker {VERSION} against LLVM {llvm} (once per user, about 2 minutes)"));

    // Built beside its place and moved there at the end: what is in place is whole. What an interrupted build left
    // goes first, as far as its last processes let it.
    let unfinished = linker.with_file_name("unfinished");
    let _ = fs::remove_dir_all(&unfinished);
    let built = install(compiler, &unfinished.join(std::process::id().to_string()), &linker);
    let _ = fs::remove_dir_all(&unfinished);
    built
}

/// The Debian package with the LLVM library and what linking against it needs.
pub(crate) fn llvm_package(llvm: u32) -> String {
    format!("llvm-{llvm}-dev")
}

/// Builds in `dir`, and moves the result to `place`.
fn install(compiler: &Compiler, dir: &Path, place: &Path) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let mut cargo = compiler.cargo();
    cargo
        .args(["install", "bpf-linker", "--version", VERSION, "--locked"])
        .args(["--no-default-features", "--features", &format!("llvm-{}", compiler.llvm)])
        .arg("--root")
        .arg(dir)
        .arg("--target-dir")
        .arg(dir.join("target"))
        .current_dir(dir)
        .env("LLVM_PREFIX", prefix(compiler.llvm));
    logged(&mut cargo, &paths::log_file("bpf-linker")?)?;
    fs::rename(dir.join("bin/bpf-linker"), place)
        .with_context(|| format!("cannot move bpf-linker to {}", place.display()))
}

/// The LLVM major of the linker at `path`; `None` if it is not there or does not run.
fn llvm_of(path: &Path) -> Option<u32> {
    if !path.is_file() {
        return None;
    }
    // LLVM itself answers this, before anything is linked. The output could not be created in any case.
    let mut command = Command::new(path);
    command.args(["--llvm-args=--version", "--output", "/dev/null/none", "/dev/null"]);
    rustc::llvm_version(&process::output(&mut command).ok()?)
}

/// Where the linker that we build for LLVM `llvm` is kept.
fn cached(llvm: u32) -> Result<PathBuf> {
    Ok(paths::cache_dir()?.join(format!("bpf-linker-{VERSION}-llvm-{llvm}")))
}

/// Where Debian, Ubuntu and apt.llvm.org put LLVM `llvm`.
fn prefix(llvm: u32) -> PathBuf {
    PathBuf::from(format!("/usr/lib/llvm-{llvm}"))
}

/// The LLVM releases that bpf-linker [`VERSION`] can be built against.
pub(crate) const SUPPORTED_LLVM: RangeInclusive<u32> = 21..=23;

/// The bpf-linker that we build.
pub(crate) const VERSION: &str = "0.13.0";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_linker_has_no_llvm() {
        for path in ["/nonexistent", "/", "/dev/null", "/bin/false", "/bin/true"] {
            assert_eq!(llvm_of(Path::new(path)), None, "{path}");
        }
    }
}
