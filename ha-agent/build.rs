//! Takes the BPF object that `cargo xtask build-ebpf` made, else tries `aya-build` with a nightly toolchain.
//!
//! Where neither works, the agent is built without: `cargo check`, the tests of the pure parts and the
//! documentation need no BPF toolchain. Such a binary says so as soon as it is run.

use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-env-changed=HA_EBPF_OBJECT");
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("ha_carp.o");
    let object = env::var_os("HA_EBPF_OBJECT").map(PathBuf::from);
    if let Some(object) = &object {
        println!("cargo::rerun-if-changed={}", object.display());
    }
    let bytes = object
        .filter(|object| object.is_file())
        .map_or_else(|| build_with_nightly(&out), |object| read(&object));
    let bytes = bytes.unwrap_or_else(|cause| {
        println!("cargo::warning=built without its BPF program ({cause}): `cargo xtask build-ebpf` makes it");
        Vec::new()
    });
    if let Err(error) = fs::write(&out, bytes) {
        println!("cargo::error={}: {error}", out.display());
    }
}

/// The ecosystem's usual way: needs `rustup`, a nightly with `rust-src`, and `bpf-linker`.
fn build_with_nightly(out: &Path) -> Result<Vec<u8>, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ha-ebpf");
    let package = aya_build::Package {
        name: "ha-ebpf",
        root_dir: root.to_str().ok_or("a path that is not UTF-8")?,
        ..Default::default()
    };
    aya_build::build_ebpf([package], aya_build::Toolchain::default())
        .map_err(|error| error.to_string().lines().next().unwrap_or_default().to_owned())?;
    read(&out.with_file_name("ha_carp"))
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}
