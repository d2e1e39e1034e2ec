//! What builds the BPF program: a Rust compiler with its library's source, and a bpf-linker that reads its bitcode.
//!
//! Candidates, in order: the compiler that `HA_BPF_RUSTC` names; a rustup nightly that has everything already; the
//! distribution's compiler, from Debian packages if need be; a rustup nightly, installed if need be.
//!
//! Setting up is a loop: look at the machine, choose the next step, take it, look again.

use std::{env, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::{
    linker, packages, paths,
    process::{self, logged, output, say},
    rustc::Compiler,
};

/// A compiler and a linker that fit together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Toolchain {
    /// The compiler.
    pub compiler: Compiler,
    /// The linker, which reads the compiler's bitcode.
    pub linker: PathBuf,
}

/// Finds the toolchain, and installs what is missing.
///
/// # Errors
///
/// Something is missing that cannot be installed: the message says what, and what to do.
pub(crate) fn ensure() -> Result<Toolchain> {
    let mut taken = Vec::new();
    loop {
        let step = match choose(&ThisMachine)? {
            Choice::Ready(toolchain) => return Ok(toolchain),
            Choice::Do(step) => step,
        };
        if taken.contains(&step) {
            bail!("{} ended well, and yet it is still needed", step.name());
        }
        step.take()?;
        taken.push(step);
    }
}

/// What the choice depends on.
trait Machine {
    /// The compiler that the user named, if any.
    fn named(&self) -> Result<Option<Compiler>>;
    /// The rustup nightlies that have the library's source.
    fn nightlies(&self) -> Vec<Compiler>;
    /// The distribution's compiler, if it is installed with the library's source.
    fn distribution(&self) -> Option<Compiler>;
    /// A linker that reads bitcode of this LLVM.
    fn linker(&self, llvm: u32) -> Option<PathBuf>;
    /// Whether a linker for this LLVM can be built.
    fn can_build_linker(&self, llvm: u32) -> bool;
    /// The LLVM of the distribution's compiler that apt would install.
    fn offered_llvm(&self) -> Result<Option<u32>>;
    /// Whether apt can install all of these.
    fn offers(&self, packages: &[&str]) -> Result<bool>;
    /// Whether rustup is here.
    fn has_rustup(&self) -> bool;
}

#[derive(Debug, PartialEq, Eq)]
enum Choice {
    Ready(Toolchain),
    Do(Step),
}

#[derive(Debug, PartialEq, Eq)]
enum Step {
    InstallPackages(Vec<String>),
    InstallNightly,
    BuildLinker(Compiler),
}

impl Step {
    fn name(&self) -> String {
        match self {
            Self::InstallPackages(packages) => format!("installing {}", packages.join(", ")),
            Self::InstallNightly => "installing a rustup nightly with rust-src".to_owned(),
            Self::BuildLinker(compiler) => format!("building bpf-linker for LLVM {}", compiler.llvm),
        }
    }

    fn take(&self) -> Result<()> {
        match self {
            Self::InstallPackages(packages) => {
                let packages: Vec<_> = packages.iter().map(String::as_str).collect();
                packages::install(&packages, "about 1 minute")
            }
            Self::InstallNightly => install_nightly(),
            Self::BuildLinker(compiler) => linker::build(compiler),
        }
    }
}

fn choose(machine: &impl Machine) -> Result<Choice> {
    if let Some(compiler) = machine.named()? {
        return complete(machine, &compiler)?.with_context(|| no_linker(&compiler));
    }
    let nightlies = machine.nightlies();
    if let Some(toolchain) = nightlies.iter().find_map(|nightly| ready(machine, nightly)) {
        return Ok(Choice::Ready(toolchain));
    }
    if let Some(compiler) = machine.distribution()
        && let Some(choice) = complete(machine, &compiler)?
    {
        return Ok(choice);
    }
    if let Some(llvm) = machine.offered_llvm()?
        && linker::SUPPORTED_LLVM.contains(&llvm)
    {
        let library = linker::llvm_package(llvm);
        let packages = [&DISTRIBUTION_COMPILER[..], &[&library]].concat();
        if machine.offers(&packages)? {
            return Ok(Choice::Do(Step::InstallPackages(packages.into_iter().map(str::to_owned).collect())));
        }
    }
    for nightly in &nightlies {
        if let Some(choice) = complete(machine, nightly)? {
            return Ok(choice);
        }
    }
    match nightlies.first() {
        Some(nightly) => bail!(no_linker(nightly)),
        None if machine.has_rustup() => Ok(Choice::Do(Step::InstallNightly)),
        None => bail!(
            "nothing here can build for BPF: install rustup (https://rustup.rs), or name a rustc that has the library \
             source in HA_BPF_RUSTC"
        ),
    }
}

/// What gets `compiler` its linker, if anything does.
fn complete(machine: &impl Machine, compiler: &Compiler) -> Result<Option<Choice>> {
    if let Some(toolchain) = ready(machine, compiler) {
        return Ok(Some(Choice::Ready(toolchain)));
    }
    if !linker::SUPPORTED_LLVM.contains(&compiler.llvm) {
        return Ok(None);
    }
    if machine.can_build_linker(compiler.llvm) {
        return Ok(Some(Choice::Do(Step::BuildLinker(compiler.clone()))));
    }
    let library = linker::llvm_package(compiler.llvm);
    Ok(machine.offers(&[&library])?.then(|| Choice::Do(Step::InstallPackages(vec![library]))))
}

fn ready(machine: &impl Machine, compiler: &Compiler) -> Option<Toolchain> {
    let linker = machine.linker(compiler.llvm)?;
    Some(Toolchain { compiler: compiler.clone(), linker })
}

fn no_linker(compiler: &Compiler) -> String {
    let Compiler { rustc, llvm, release, .. } = compiler;
    format!(
        "no bpf-linker reads the bitcode of rustc {release} ({}): put one with LLVM {llvm} or newer on PATH, or \
         install LLVM {llvm} into /usr/lib/llvm-{llvm} (https://apt.llvm.org)",
        rustc.display()
    )
}

fn install_nightly() -> Result<()> {
    say("installing a nightly toolchain with rust-src by rustup (once per user, about 1 minute)");
    let mut rustup = Command::new("rustup");
    rustup.args(["toolchain", "install", "nightly", "--no-self-update"]);
    rustup.args(["--profile", "minimal", "--component", "rust-src"]);
    logged(&mut rustup, &paths::log_file("rustup")?)
}

struct ThisMachine;

impl Machine for ThisMachine {
    fn named(&self) -> Result<Option<Compiler>> {
        let Some(rustc) = env::var_os("HA_BPF_RUSTC") else { return Ok(None) };
        let inspect = || Compiler::inspect(&std::path::absolute(rustc)?);
        inspect().map(Some).context("HA_BPF_RUSTC does not help")
    }

    fn nightlies(&self) -> Vec<Compiler> {
        // Only lists: asking for a toolchain by its name could install it.
        let list = output(Command::new("rustup").args(["toolchain", "list", "--verbose"]));
        let compilers = nightly_dirs(&list.unwrap_or_default()).into_iter().map(|dir| dir.join("bin/rustc"));
        compilers.filter_map(|rustc| Compiler::inspect(&rustc).ok()).collect()
    }

    fn distribution(&self) -> Option<Compiler> {
        Compiler::inspect("/usr/bin/rustc".as_ref()).ok()
    }

    fn linker(&self, llvm: u32) -> Option<PathBuf> {
        linker::find(llvm)
    }

    fn can_build_linker(&self, llvm: u32) -> bool {
        linker::can_build(llvm)
    }

    fn offered_llvm(&self) -> Result<Option<u32>> {
        let ask = || llvm_among(&packages::dependencies(DISTRIBUTION_COMPILER[0]));
        match ask() {
            Some(llvm) if linker::SUPPORTED_LLVM.contains(&llvm) => Ok(Some(llvm)),
            // Unknown, or too old: the package lists may be.
            Some(_) | None => {
                packages::refresh()?;
                Ok(ask())
            }
        }
    }

    fn offers(&self, packages: &[&str]) -> Result<bool> {
        packages::offered(packages)
    }

    fn has_rustup(&self) -> bool {
        process::succeeds(Command::new("rustup").arg("--version"))
    }
}

/// The directories of the nightlies in the output of `rustup toolchain list --verbose`.
fn nightly_dirs(list: &str) -> Vec<PathBuf> {
    let nightlies = list.lines().filter(|line| line.starts_with("nightly"));
    nightlies.filter_map(|line| Some(PathBuf::from(&line[line.find(" /")? + 1..]))).collect()
}

/// The LLVM major among Debian package names: `libllvm22` has 22.
fn llvm_among(packages: &[String]) -> Option<u32> {
    packages.iter().find_map(|name| name.strip_prefix("libllvm")?.parse().ok())
}

/// Debian's newest Rust, kept current for browsers, with its cargo and its library's source.
const DISTRIBUTION_COMPILER: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];

#[cfg(test)]
mod tests;
