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
//!     ├─ table     the same of several kernels, for the documentation
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
mod table;
mod verdict;

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    agent, packages, paths,
    process::{output, say, timed},
};
use kernel::Kernel;
use table::Row;

/// What runs, and on which kernels.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The kernel: the beginning of a version that Debian 11 to 13 or their backports have, or `all` of them; may be repeated
    #[arg(long = "kernel", default_value = "6.12", value_name = "VERSION", value_parser = kernel::version)]
    kernels: Vec<String>,
    /// The tests, by name; if none is named, all of them, and on several kernels those of the table. With `--pair`: the stories
    #[arg(value_name = "TEST")]
    tests: Vec<String>,
    /// Write what the tests found out into docs/kernels.md, a row for each kernel on which none failed
    #[arg(long, conflicts_with_all = ["tests", "pair"])]
    write_table: bool,
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
    #[arg(long, value_name = "FILE")]
    agent: Option<PathBuf>,
}

/// Builds the agent, boots the guests, one after the other, and shows what the tests print.
///
/// # Errors
///
/// Something cannot be built or fetched, a guest does not come to its end, or a test fails.
pub(crate) fn run(args: &Args) -> Result<()> {
    if env::consts::ARCH != "x86_64" {
        bail!("the guest is an x86-64 machine made of this one's programs, which are {}", env::consts::ARCH);
    }
    if args.pair {
        let [kernel] = args.kernels.as_slice() else { bail!("with --pair, all guests have the same kernel") };
        return pair::run(&pair::Settings {
            kernel,
            stories: &args.tests,
            rounds: args.rounds,
            seed: args.seed.unwrap_or_else(|| u64::from(std::process::id())),
            keep: args.keep,
            agent: args.agent.as_deref(),
        });
    }
    let all = args.kernels.iter().any(|kernel| kernel == kernel::ALL);
    let several = all || args.kernels.len() > 1 || args.write_table;
    let available = available()?;
    let usual = if several { table::TESTS.to_vec() } else { available.iter().map(String::as_str).collect() };
    let tests = chosen(&available, &args.tests, &usual)?;
    packages::ensure(&PACKAGES)?;
    let kernels = if all { kernel::all()? } else { args.kernels.clone() };

    // A directory of its own: others may run theirs at the same time.
    let dir = paths::target_dir()?.join(format!("vm/{}", std::process::id()));
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let parts = Parts::ready(&dir, args.agent.as_deref(), &tests)?;
    let mut failed = Vec::new();
    for version in &kernels {
        let ended = timed(&format!("Linux {version}"), || {
            let kernel = kernel::kernel(version)?;
            let facts = parts.boot(&kernel)?;
            if args.write_table { table::write(Row::new(&kernel, &facts)?) } else { Ok(()) }
        });
        if let Err(error) = ended {
            say(format_args!("Linux {version}: {error:#}"));
            failed.push(version.as_str());
        }
    }
    if !failed.is_empty() {
        bail!("did not end well on Linux {}", failed.join(", "));
    }
    // What cannot be removed is in nobody's way.
    let _ = fs::remove_dir_all(&dir);
    Ok(())
}

/// All that guests are made of but their kernel.
struct Parts<'a> {
    /// Of this run alone.
    dir: &'a Path,
    qemu: PathBuf,
    busybox: PathBuf,
    programs: [(&'a str, PathBuf); 2],
    /// Names.
    tests: &'a [String],
}

impl<'a> Parts<'a> {
    /// Builds and fetches what is not there.
    fn ready(dir: &'a Path, agent: Option<&Path>, tests: &'a [String]) -> Result<Self> {
        let agent = match agent {
            Some(path) => path.to_owned(),
            None => agent::build_agent()?,
        };
        Ok(Self {
            dir,
            qemu: machine::qemu()?,
            busybox: debian::unpacked("busybox", &debian::DEBIAN_12, |archive| {
                archive.download(&["busybox-static"])
            })?,
            programs: [
                ("ha-agent", stripped(&agent, dir.join("ha-agent"))?),
                ("packets", stripped(&agent::build_tests("packets")?, dir.join("packets"))?),
            ],
            tests,
        })
    }

    /// Runs the tests on `kernel`. Returns what they found out.
    fn boot(&self, kernel: &Kernel) -> Result<BTreeMap<String, String>> {
        let Self { dir, qemu, busybox, programs, tests } = self;
        let dir = dir.join(&kernel.release);
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let image = dir.join("initramfs");
        image::write(&image, &image::Contents { programs, busybox, kernel, tests })?;
        say(format_args!("booting Linux {} for: {}", kernel.release, tests.join(", ")));
        let guest =
            machine::Guest { qemu, kernel: &kernel.image, initramfs: &image, dir: &dir, tests: tests.len() };
        let report = guest.run();
        // The console's log stays.
        let _ = fs::remove_file(&image);
        let report = report?;
        verdict::judge(&report, tests)?;
        Ok(verdict::facts(&report))
    }
}

/// A copy of `program` without what a debugger would need, which the guest has no room for.
fn stripped(program: &Path, to: PathBuf) -> Result<PathBuf> {
    output(Command::new("strip").arg("-o").arg(&to).arg(program))?;
    Ok(to)
}

/// The names of all tests.
fn available() -> Result<BTreeSet<String>> {
    let dir = guest_dir();
    let entries = fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))?;
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    Ok(names.filter_map(|name| name.strip_suffix(".sh").map(str::to_owned)).collect())
}

/// Those that were asked for, in that order, or the usual ones.
fn chosen(available: &BTreeSet<String>, wanted: &[String], usual: &[&str]) -> Result<Vec<String>> {
    if let Some(unknown) = wanted.iter().find(|name| !available.contains(*name)) {
        let names: Vec<_> = available.iter().map(String::as_str).collect();
        bail!("there is no test '{unknown}' for the guest; there are {}", names.join(", "));
    }
    let usual = || usual.iter().map(|&name| name.to_owned()).collect();
    Ok(if wanted.is_empty() { usual() } else { wanted.to_vec() })
}

/// What is run in the guest.
fn guest_dir() -> PathBuf {
    paths::root().join("tests/guest")
}

/// Where the programs come from that the guest is made of.
const PACKAGES: [&str; 10] = [
    "bash",
    "binutils",
    "bpftool",
    "coreutils",
    "ethtool",
    "grep",
    "iproute2",
    "libc-bin",
    "tcpdump",
    "xz-utils",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_chosen_by_name() {
        let available: BTreeSet<String> = ["bond", "vlan"].map(str::to_owned).into();
        let table: [(&[&str], Option<&[&str]>); 4] = [
            (&[], Some(&["vlan"])),
            (&["vlan"], Some(&["vlan"])),
            (&["vlan", "bond"], Some(&["vlan", "bond"])),
            (&["vlan", "vlam"], None),
        ];
        for (wanted, expected) in table {
            let wanted: Vec<_> = wanted.iter().map(|&name| name.to_owned()).collect();
            let found = chosen(&available, &wanted, &["vlan"]).ok();
            assert_eq!(found, expected.map(|names| names.iter().map(|&name| name.to_owned()).collect()));
        }
    }
}
