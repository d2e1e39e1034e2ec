//! `cargo xtask test`: formatting, lints, documentation, every test, those too that need root, some fuzzing, and the BPF
//! program built again: the same bytes.

use std::{ffi::OsString, process::Command};

use anyhow::{Result, bail};
use nix::unistd::geteuid;

use crate::{
    agent, ebpf, fuzz, package, packages, paths, previous,
    process::{say, shown, succeeds, timed},
};

/// What goes on to `cargo test`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Arguments for `cargo test`: a filter, `--test NAME`, and after another `--` those for the tests themselves
    #[arg(last = true, value_name = "ARGS")]
    cargo_test: Vec<OsString>,
}

/// Runs it all, and stops at the first check that fails; of the tests, all run.
///
/// # Errors
///
/// We are not root, something cannot be set up, or a check or a test fails.
pub(crate) fn run(args: &Args) -> Result<()> {
    if !geteuid().is_root() {
        bail!(
            "the tests make network namespaces and load BPF programs: run `cargo xtask test` as root \
             (without root: `cargo test`)"
        );
    }
    if has("rustfmt", "cargo-fmt") {
        timed("fmt", || shown(agent::cargo()?.args(["fmt", "--all", "--check"])))?;
    }
    timed("packages", || packages::ensure(&PACKAGES))?;
    let agent = timed("agent", agent::build_agent)?;
    if has("clippy", "cargo-clippy") {
        let warnings = ["--", "-D", "warnings"];
        timed("clippy", || {
            shown(agent::cargo()?.args(["clippy", "--quiet", "--all-targets"]).args(ALL).args(warnings))
        })?;
    }
    if has("rustdoc", "rustdoc") {
        let warnings = ("RUSTDOCFLAGS", "-D warnings");
        timed("doc", || {
            shown(agent::cargo()?.args(["doc", "--quiet", "--no-deps"]).args(ALL).env(warnings.0, warnings.1))
        })?;
    }
    let previous = timed("previous", previous::build_agent)?;
    let into = paths::target_dir()?.join("package");
    let make = |version| package::build(&agent, &into, version);
    let [first, next] = timed("package", || Ok([make(None)?, make(Some("9999"))?]))?;
    timed("tests", || {
        let mut cargo = agent::cargo()?;
        cargo.args(["test", "--no-fail-fast"]).args(ALL).args(&args.cargo_test);
        if let Some(previous) = &previous {
            cargo.env("HA_PREVIOUS_BIN", previous);
        }
        cargo.env("HA_PACKAGE", &first).env("HA_NEXT_PACKAGE", &next);
        shown(cargo.env("HA_AGENT_BIN", &agent).env("HA_TEST_ROOT", "1"))
    })?;
    if args.cargo_test.is_empty() {
        timed("fuzz", fuzz::run_briefly)?;
        timed("the same bytes", || ebpf::again(&ebpf::build()?))?;
    }
    Ok(())
}

/// Whether the toolchain has `component`, which is what brings `program`; says so if not.
fn has(component: &str, program: &str) -> bool {
    let found = succeeds(Command::new(program).arg("--version"));
    if !found {
        say(format_args!("{component}: skipped, because the toolchain does not have it"));
    }
    found
}

/// All but the BPF program, which is no program of this system.
const ALL: [&str; 4] = ["--workspace", "--exclude", "ha-ebpf", "--locked"];
const PACKAGES: [&str; 22] = [
    "iproute2",
    "bpftool",
    "ucarp",
    "keepalived",
    "frr",
    "tcpdump",
    "curl",
    "procps",
    "util-linux",
    "nftables",
    "perl-base",
    "python3-prometheus-client",
    "etcd-server",
    "etcd-client",
    "openssl",
    "tgt",
    "fence-agents",
    "systemd",
    "prometheus",
    "chromium",
    "chromium-driver",
    "nginx-light",
];
