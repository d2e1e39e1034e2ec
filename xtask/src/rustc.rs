//! A Rust compiler that can build for BPF: its cargo, its LLVM, its library source.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::process;

/// A compiler with the source of its library next to it: `-Z build-std` needs that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Compiler {
    /// The compiler itself.
    pub rustc: PathBuf,
    /// The cargo of the same directory.
    pub cargo: PathBuf,
    /// The major version of the LLVM that writes its bitcode.
    pub llvm: u32,
    /// Its version, for people.
    pub release: String,
}

impl Compiler {
    /// Asks the compiler at `rustc`.
    ///
    /// # Errors
    ///
    /// It does not run, has no cargo beside it, or lacks the library's source.
    pub(crate) fn inspect(rustc: &Path) -> Result<Self> {
        let version = process::output(clean(&mut Command::new(rustc)).arg("-vV"))?;
        let (release, llvm) = parse_version(&version)
            .with_context(|| format!("`{} -vV` does not name its LLVM", rustc.display()))?;
        let cargo = rustc.with_file_name("cargo");
        if !cargo.exists() {
            bail!("there is no cargo beside {}", rustc.display());
        }
        let sysroot = process::output(clean(&mut Command::new(rustc)).args(["--print", "sysroot"]))?;
        let source = Path::new(sysroot.trim_end()).join(LIBRARY_SOURCE);
        if !source.exists() {
            bail!("{} has no library source ({}): install rust-src", rustc.display(), source.display());
        }
        Ok(Self { rustc: rustc.to_owned(), cargo, llvm, release })
    }

    /// This compiler's cargo, free of what the cargo and rustup that run us left in the environment.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = Command::new(&self.cargo);
        clean(&mut command).env("RUSTC", &self.rustc);
        command
    }
}

/// The major version after `LLVM version` in what rustc or LLVM say of themselves.
pub(crate) fn llvm_version(text: &str) -> Option<u32> {
    let (_, rest) = text.split_once("LLVM version")?;
    let digits = rest.trim_start_matches([':', ' ']);
    digits.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// The release and the LLVM major in the output of `rustc -vV`.
fn parse_version(text: &str) -> Option<(String, u32)> {
    let release = text.lines().find_map(|line| line.strip_prefix("release: "))?;
    Some((release.trim().to_owned(), llvm_version(text)?))
}

/// Removes from `command`'s environment what steers another toolchain or another build.
fn clean(command: &mut Command) -> &mut Command {
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(misleads) {
            command.env_remove(name);
        }
    }
    command
}

fn misleads(name: &str) -> bool {
    MISLEADING.contains(&name) || MISLEADING_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

const LIBRARY_SOURCE: &str = "lib/rustlib/src/rust/library/core/src/lib.rs";

/// `cargo run` puts its toolchain's libraries into `LD_LIBRARY_PATH`, rustup its choice into `RUSTUP_TOOLCHAIN`.
const MISLEADING: [&str; 10] = [
    "CARGO",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_INCREMENTAL",
    "LD_LIBRARY_PATH",
    "RUSTC",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTDOCFLAGS",
    "RUSTFLAGS",
    "RUSTUP_TOOLCHAIN",
];
const MISLEADING_PREFIXES: [&str; 4] = ["CARGO_BUILD_", "CARGO_PROFILE_", "CARGO_TARGET_", "CARGO_UNSTABLE_"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_names_release_and_llvm() {
        let debian = "rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)\nbinary: rustc\n\
             commit-hash: ac68faa20c58cbccd01ee7208bf3b6e93a7d7f96\ncommit-date: 2026-05-25\n\
             host: x86_64-unknown-linux-gnu\nrelease: 1.96.0\nLLVM version: 22.1.8\n";
        let nightly = "rustc 1.97.0-nightly (e50aa6fba 2026-05-19)\nbinary: rustc\n\
             host: aarch64-unknown-linux-gnu\nrelease: 1.97.0-nightly\nLLVM version: 23.1.0-rust-1.97.0-nightly\n";
        let table = [
            (debian, Some(("1.96.0", 22))),
            (nightly, Some(("1.97.0-nightly", 23))),
            ("release: 1.50.0\nLLVM version: 11\n", Some(("1.50.0", 11))),
            ("release: 1.96.0\n", None),
            ("release: 1.96.0\nLLVM version: unknown\n", None),
            ("LLVM version: 22.1.8\n", None),
            ("", None),
        ];
        for (text, expected) in table {
            let expected = expected.map(|(release, llvm)| (release.to_owned(), llvm));
            assert_eq!(parse_version(text), expected, "{text:?}");
        }
    }

    #[test]
    fn llvm_names_its_version() {
        let table = [
            ("Debian LLVM version 22.1.8\n  Optimized build.\n", Some(22)),
            ("LLVM (http://llvm.org/):\n  LLVM version 21.1.0-rust-1.91.0-stable\n", Some(21)),
            ("bpf-linker 0.13.0\n", None),
        ];
        for (text, expected) in table {
            assert_eq!(llvm_version(text), expected, "{text:?}");
        }
    }

    #[test]
    fn only_what_steers_another_toolchain_is_removed() {
        let removed =
            ["CARGO", "RUSTUP_TOOLCHAIN", "CARGO_TARGET_DIR", "CARGO_BUILD_RUSTFLAGS", "RUSTC_WRAPPER"];
        let kept = ["CARGO_HOME", "CARGO_HTTP_CAINFO", "CARGO_NET_OFFLINE", "RUSTUP_HOME", "PATH", "HOME"];
        assert_eq!(removed.into_iter().filter(|name| !misleads(name)).collect::<Vec<_>>(), [""; 0]);
        assert_eq!(kept.into_iter().filter(|name| misleads(name)).collect::<Vec<_>>(), [""; 0]);
    }
}
