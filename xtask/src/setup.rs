//! `cargo xtask setup`: makes the machine able to build the BPF program.

use anyhow::Result;

use crate::{process::say, toolchain};

/// Installs what is missing, and says what is used.
///
/// # Errors
///
/// See [`toolchain::ensure`].
pub(crate) fn run() -> Result<()> {
    let found = toolchain::ensure()?;
    say(format_args!(
        "ready: rustc {} ({}, LLVM {}), {}",
        found.compiler.release,
        found.compiler.rustc.display(),
        found.compiler.llvm,
        found.linker.display()
    ));
    Ok(())
}
