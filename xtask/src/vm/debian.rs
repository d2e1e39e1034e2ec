//! Debian packages that are fetched and unpacked, not installed: no root, and nothing on this machine changes.
//!
//! apt does it with package lists of our own, so that a package can come from another release than this machine's.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    paths,
    process::{logged, output, say},
};

/// Debian 12 with its backports: what runs on this machine, if it is one.
pub(super) const DEBIAN_12: [&str; 2] = ["bookworm", "bookworm-backports"];
/// All releases with kernels that the agent could meet, and their backports: what runs nowhere but in the guest.
pub(super) const DEBIAN_11_TO_13: [&str; 5] =
    ["bullseye", "bookworm", "bookworm-backports", "trixie", "trixie-backports"];

/// The directory `name` in the cache, with the packages that `fetch` fetches from `suites` unpacked in it. That is
/// done once; delete the directory to have it done again.
///
/// # Errors
///
/// apt fails, or the directory cannot be written.
pub(super) fn unpacked(
    name: &str,
    suites: &[&str],
    fetch: impl FnOnce(&Archive) -> Result<()>,
) -> Result<PathBuf> {
    let cache = paths::cache_dir()?.join("vm");
    let finished = cache.join(name);
    if finished.exists() {
        return Ok(finished);
    }
    let _lock = paths::lock("vm")?;
    // Another xtask may have done it while we waited for the lock.
    if finished.exists() {
        return Ok(finished);
    }
    say(format_args!("fetching {name} for the guest (once per user, about 10 seconds)"));
    let staging = cache.join(format!("{name}.new"));
    if staging.exists() {
        fs::remove_dir_all(&staging).with_context(|| format!("cannot remove {}", staging.display()))?;
    }
    let archive = Archive::open(&staging.join("apt"), suites)?;
    fetch(&archive)?;
    let root = staging.join("root");
    for package in archive.fetched()? {
        output(Command::new("dpkg-deb").arg("--extract").arg(&package).arg(&root))?;
    }
    let moved = fs::rename(&root, &finished).and_then(|()| fs::remove_dir_all(&staging));
    moved.with_context(|| format!("cannot write {}", finished.display()))?;
    Ok(finished)
}

/// Names in the lists of `suites` that begin with `beginning`.
///
/// # Errors
///
/// apt fails, or the cache cannot be written.
pub(super) fn names(suites: &[&str], beginning: &str) -> Result<Vec<String>> {
    let _lock = paths::lock("vm")?;
    Archive::open(&paths::cache_dir()?.join("vm/names"), suites)?.names(beginning)
}

/// apt with lists of its own.
pub(super) struct Archive {
    dir: PathBuf,
    /// Where the lists are kept, for the next one.
    lists: PathBuf,
}

impl Archive {
    /// Names in the lists that begin with `beginning`.
    ///
    /// # Errors
    ///
    /// apt fails.
    pub(super) fn names(&self, beginning: &str) -> Result<Vec<String>> {
        let text = output(self.apt("apt-cache").args(["pkgnames", beginning]))?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Fetches `packages`, without what they depend on; `NAME/SUITE` is one of that release.
    ///
    /// # Errors
    ///
    /// apt fails.
    pub(super) fn download(&self, packages: &[&str]) -> Result<()> {
        let mut command = self.apt("apt-get");
        command.arg("download").args(packages).current_dir(self.packages());
        logged(&mut command, &paths::log_file("vm-apt")?)
    }

    /// Fetches `package` of the release `suite`, with all that it depends on and that this machine does not have.
    ///
    /// # Errors
    ///
    /// apt fails.
    pub(super) fn download_all(&self, package: &str, suite: &str) -> Result<()> {
        let mut command = self.apt("apt-get");
        command.args(["install", "--yes", "--download-only", "--reinstall", "--no-install-recommends"]);
        command.args(["--no-remove", "--target-release", suite, package]);
        logged(&mut command, &paths::log_file("vm-apt")?)
    }

    fn open(dir: &Path, suites: &[&str]) -> Result<Self> {
        let archive = Self { dir: dir.to_owned(), lists: paths::cache_dir()?.join("vm/lists") };
        for needed in [archive.packages().join("partial"), archive.lists.join("partial")] {
            fs::create_dir_all(&needed).with_context(|| format!("cannot create {}", needed.display()))?;
        }
        if !Path::new(KEYRING).exists() {
            bail!("{KEYRING} is not there: install debian-archive-keyring, or run on Debian");
        }
        let sources = dir.join("sources.list");
        fs::write(&sources, source_list(suites))
            .with_context(|| format!("cannot write {}", sources.display()))?;
        logged(archive.apt("apt-get").arg("update"), &paths::log_file("vm-apt-update")?)?;
        Ok(archive)
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let at = |option: &str, path: &Path| format!("{option}={}", path.display());
        let places = [
            at("Dir::Etc::SourceList", &self.dir.join("sources.list")),
            at("Dir::State::Lists", &self.lists),
            at("Dir::Cache", &self.dir),
        ];
        for option in places.iter().map(String::as_str).chain(APT_OPTIONS) {
            command.args(["-o", option]);
        }
        command.env("DEBIAN_FRONTEND", "noninteractive").env("LC_ALL", "C");
        command
    }

    fn packages(&self) -> PathBuf {
        self.dir.join("archives")
    }

    fn fetched(&self) -> Result<Vec<PathBuf>> {
        let dir = self.packages();
        let entries = fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))?;
        let paths = entries.flatten().map(|entry| entry.path());
        let packages: Vec<_> =
            paths.filter(|path| path.extension().is_some_and(|end| end == "deb")).collect();
        if packages.is_empty() {
            bail!(
                "apt fetched nothing into {}; its output: {}",
                dir.display(),
                paths::log_file("vm-apt")?.display()
            );
        }
        Ok(packages)
    }
}

fn source_list(suites: &[&str]) -> String {
    let line = |suite: &&str| format!("deb [signed-by={KEYRING}] {MIRROR} {suite} main\n");
    suites.iter().map(line).collect::<Vec<_>>().concat()
}

/// Where all packages come from.
pub(super) const MIRROR: &str = "http://deb.debian.org/debian";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const APT_OPTIONS: [&str; 6] = [
    // Nothing of this machine's own lists.
    "Dir::Etc::SourceParts=/dev/null",
    // Lists of other suites stay for whoever asks for those.
    "APT::Get::List-Cleanup=false",
    // Only the lists of packages.
    "Acquire::Languages=none",
    "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
    // apt's own user cannot write into our cache.
    "APT::Sandbox::User=root",
    // What is locked is dpkg's database, which stays as it is.
    "Debug::NoLocking=1",
];
