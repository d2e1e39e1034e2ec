//! `cargo xtask vm`: tests in a guest with a kernel of its own, for what this machine's kernel may not have: VLAN
//! interfaces, bonds, other kernel versions.
//!
//! ```text
//! run ── debian    packages, fetched and unpacked into the cache, not installed
//!     ├─ kernel    which kernel, and the modules that the tests need
//!     ├─ image     the guest's root: an initramfs out of this machine's programs
//!     │  └─ cpio   its format
//!     ├─ machine   QEMU, which emulates the processor: neither KVM nor root is needed
//!     ├─ verdict   what the guest reported
//!     └─ pair      with `--pair` instead: two nodes with the same disks
//! ```
//!
//! What runs in the guest is in `tests/guest`: one shell script a test, and `lib`, which they share.

mod cpio;
mod debian;
mod image;
mod kernel;
mod machine;
mod pair;
mod verdict;

use std::{collections::BTreeSet, env, fs, path::PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::{
    agent, packages, paths,
    process::{say, timed},
};

/// What runs, and on which kernel.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The kernel: the beginning of a version that Debian 12 or 13 has
    #[arg(long, default_value = "6.12", value_name = "VERSION", value_parser = kernel::version)]
    kernel: String,
    /// The tests, by name; all of them if none is named. With `--pair`: the stories
    #[arg(value_name = "TEST")]
    tests: Vec<String>,
    /// Two nodes with the same disks, a target that serves those, and a client: a guest each (as root)
    #[arg(long)]
    pair: bool,
    /// How often each story is told
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), requires = "pair")]
    rounds: u32,
    /// The seed of what stories leave to chance, to have it again; another one each time if it is not given
    #[arg(long, value_name = "N", requires = "pair")]
    seed: Option<u64>,
    /// Keep the guests when a story has ended, and do what is typed
    #[arg(long, requires = "pair")]
    keep: bool,
    /// Take this agent instead of building one
    #[arg(long, value_name = "FILE", requires = "pair")]
    agent: Option<PathBuf>,
}

/// Builds the agent, boots the guest, and shows what the tests print.
///
/// # Errors
///
/// Something cannot be built or fetched, the guest does not come to its end, or a test fails.
pub(crate) fn run(args: &Args) -> Result<()> {
    if env::consts::ARCH != "x86_64" {
        bail!("the guest is an x86-64 machine made of this one's programs, which are {}", env::consts::ARCH);
    }
    if args.pair {
        return pair::run(&pair::Settings {
            kernel: &args.kernel,
            stories: &args.tests,
            rounds: args.rounds,
            seed: args.seed.unwrap_or_else(|| u64::from(std::process::id())),
            keep: args.keep,
            agent: args.agent.as_deref(),
        });
    }
    let tests = chosen(&available()?, &args.tests)?;
    packages::ensure(&PACKAGES)?;
    let agent = agent::build_agent()?;
    let qemu = machine::qemu()?;
    let kernel = kernel::kernel(&args.kernel)?;
    let busybox =
        debian::unpacked("busybox", &debian::DEBIAN_12, |archive| archive.download(&["busybox-static"]))?;

    // A directory of its own: others may run theirs at the same time.
    let dir = paths::target_dir()?.join(format!("vm/{}", std::process::id()));
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let image = dir.join("initramfs");
    image::write(
        &image,
        &image::Contents { agent: &agent, busybox: &busybox, kernel: &kernel, tests: &tests },
    )?;
    say(format_args!("booting Linux {} for: {}", kernel.release, tests.join(", ")));
    let guest = machine::Guest {
        qemu: &qemu,
        kernel: &kernel.image,
        initramfs: &image,
        dir: &dir,
        tests: tests.len(),
    };
    let report = timed("guest", || guest.run());
    // What cannot be removed is in nobody's way; the console's log stays if something failed.
    let _ = fs::remove_file(&image);
    verdict::judge(&report?, &tests)?;
    let _ = fs::remove_dir_all(&dir);
    Ok(())
}

/// The names of all tests.
fn available() -> Result<BTreeSet<String>> {
    let dir = guest_dir();
    let entries = fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))?;
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    Ok(names.filter_map(|name| name.strip_suffix(".sh").map(str::to_owned)).collect())
}

/// Those that were asked for, in that order, or all.
fn chosen(available: &BTreeSet<String>, wanted: &[String]) -> Result<Vec<String>> {
    if let Some(unknown) = wanted.iter().find(|name| !available.contains(*name)) {
        let names: Vec<_> = available.iter().map(String::as_str).collect();
        bail!("there is no test '{unknown}' for the guest; there are {}", names.join(", "));
    }
    Ok(if wanted.is_empty() { available.iter().cloned().collect() } else { wanted.to_vec() })
}

/// What is run in the guest.
fn guest_dir() -> PathBuf {
    paths::root().join("tests/guest")
}

/// Where the programs come from that the guest is made of.
const PACKAGES: [&str; 8] =
    ["bash", "bpftool", "coreutils", "ethtool", "iproute2", "libc-bin", "tcpdump", "xz-utils"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_chosen_by_name() {
        let available: BTreeSet<String> = ["bond", "vlan"].map(str::to_owned).into();
        let table: [(&[&str], Option<&[&str]>); 4] = [
            (&[], Some(&["bond", "vlan"])),
            (&["vlan"], Some(&["vlan"])),
            (&["vlan", "bond"], Some(&["vlan", "bond"])),
            (&["vlan", "vlam"], None),
        ];
        for (wanted, expected) in table {
            let wanted: Vec<_> = wanted.iter().map(|&name| name.to_owned()).collect();
            let found = chosen(&available, &wanted).ok();
            assert_eq!(found, expected.map(|names| names.iter().map(|&name| name.to_owned()).collect()));
        }
    }
}
