//! Debian's kernels for virtual machines, and their modules.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::debian;

/// A kernel in the cache.
pub(super) struct Kernel {
    /// As in `uname -r`.
    pub(super) release: String,
    /// What is booted.
    pub(super) image: PathBuf,
    /// All its modules, in directories below.
    pub(super) modules: PathBuf,
}

/// A module as the guest loads it.
pub(super) struct Module {
    pub(super) name: String,
    pub(super) contents: Vec<u8>,
}

/// What stands on the command line for [`all`].
pub(super) const ALL: &str = "all";

/// What may stand on the command line: numbers and dots, or [`ALL`].
///
/// # Errors
///
/// There is anything else: it becomes a file's name, and the beginning of a package's.
pub(super) fn version(text: &str) -> Result<String> {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if text != ALL && !text.split('.').all(is_number) {
        bail!("a version is like 6.12 or 6.1, or `{ALL}`");
    }
    Ok(text.to_owned())
}

/// The kernel of `version` that the cache has, else the newest that Debian has.
///
/// # Errors
///
/// Debian has none, or it cannot be fetched.
pub(super) fn kernel(version: &str) -> Result<Kernel> {
    let root = debian::unpacked(&format!("linux-{version}"), &debian::DEBIAN_11_TO_13, |archive| {
        let names = archive.names("linux-")?;
        let Some(release) = newest(&names, version) else {
            bail!("Debian 11 to 13 have no kernel {version} for virtual machines");
        };
        // Newer ones are in parts.
        let parts = ["image", "binary", "modules", "base"].map(|part| format!("linux-{part}-{release}"));
        let parts: Vec<_> = parts.iter().filter(|part| names.contains(part)).map(String::as_str).collect();
        archive.download(&parts)
    })?;
    // Since Debian 13, they are below /usr.
    let modules = ["usr/lib/modules", "lib/modules"].map(|dir| root.join(dir)).into_iter();
    let modules = modules.filter_map(|dir| fs::read_dir(dir).ok()).flatten().flatten().next();
    let modules = modules.with_context(|| format!("no modules in {}", root.display()))?;
    let release = modules.file_name().to_string_lossy().into_owned();
    let modules = modules.path();
    // Where there are parts, it is beside its modules.
    let images = [root.join(format!("boot/vmlinuz-{release}")), modules.join("vmlinuz")];
    let image = images.into_iter().find(|image| image.is_file());
    let image = image.with_context(|| format!("no kernel in {}", root.display()))?;
    Ok(Kernel { release, image, modules })
}

/// The beginnings of the versions of all kernels that Debian has, `MAJOR.MINOR`, oldest first.
///
/// # Errors
///
/// Debian cannot be asked.
pub(super) fn all() -> Result<Vec<String>> {
    Ok(series(&debian::names(&debian::DEBIAN_11_TO_13, "linux-")?))
}

impl Kernel {
    /// The modules `wanted` and those that they need, in an order in which they can be loaded. What is built into
    /// the kernel is left out.
    ///
    /// # Errors
    ///
    /// The kernel does not have one of them, or it cannot be read.
    pub(super) fn modules(&self, wanted: &[&str]) -> Result<Vec<Module>> {
        let list = self.modules.join("modules.builtin");
        let list = fs::read_to_string(&list).with_context(|| format!("cannot read {}", list.display()))?;
        let builtin = list.lines().filter_map(|line| module_name(Path::new(line))).collect();
        let mut files = BTreeMap::new();
        find_modules(&self.modules, &mut files)?;
        let mut modules = Vec::new();
        for name in wanted {
            self.add(name, &builtin, &files, &mut modules)?;
        }
        Ok(modules)
    }

    fn add(
        &self,
        name: &str,
        builtin: &BTreeSet<String>,
        files: &BTreeMap<String, PathBuf>,
        modules: &mut Vec<Module>,
    ) -> Result<()> {
        if builtin.contains(name) || modules.iter().any(|module| module.name == name) {
            return Ok(());
        }
        let file = files.get(name).with_context(|| format!("Linux {} has no module {name}", self.release))?;
        let contents = module_contents(file)?;
        for needed in dependencies(&contents) {
            self.add(&needed, builtin, files, modules)?;
        }
        modules.push(Module { name: name.to_owned(), contents });
        Ok(())
    }
}

/// The newest release of `version`.
fn newest<'a>(packages: &'a [String], version: &str) -> Option<&'a str> {
    // Not 6.12 for 6.1.
    let is_wanted =
        |release: &&str| release.strip_prefix(version).is_some_and(|rest| rest.starts_with(['.', '-', '+']));
    releases(packages).filter(is_wanted).max_by_key(|release| numbers(release))
}

/// Each `MAJOR.MINOR` among the packages once, in order.
fn series(packages: &[String]) -> Vec<String> {
    let two = |release| match numbers(release)[..] {
        [major, minor, ..] => Some((major, minor)),
        [] | [_] => None,
    };
    let found: BTreeSet<_> = releases(packages).filter_map(two).collect();
    found.into_iter().map(|(major, minor)| format!("{major}.{minor}")).collect()
}

/// The kernels for virtual machines among the packages, as in `uname -r`. Not the packages that only name the newest.
fn releases(packages: &[String]) -> impl Iterator<Item = &str> {
    let names = packages.iter().filter_map(|package| package.strip_prefix("linux-image-"));
    names.filter(|name| {
        let release = name.strip_suffix("-cloud-amd64");
        let has = |part: &str| packages.contains(&format!("linux-{part}-{name}"));
        release.is_some_and(|release| release.matches(['.', '-']).count() > 1)
            // Of newer ones that are in parts, the archive does not keep all.
            && (has("modules") || !has("binary"))
    })
}

/// What counts when releases are compared.
pub(super) fn numbers(release: &str) -> Vec<u32> {
    release.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

fn find_modules(dir: &Path, found: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    let entries = fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    for entry in entries.flatten() {
        let path = entry.path();
        // Not through links: one leads to the kernel's sources.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            find_modules(&path, found)?;
        } else if let Some(name) = module_name(&path) {
            found.insert(name, path);
        }
    }
    Ok(())
}

/// The name of the module in the file `path`, as `lsmod` shows it.
fn module_name(path: &Path) -> Option<String> {
    let (name, ending) = path.file_name()?.to_str()?.split_once(".ko")?;
    ["", ".xz"].contains(&ending).then(|| name.replace('-', "_"))
}

/// Unpacked here, where that is fast.
fn module_contents(file: &Path) -> Result<Vec<u8>> {
    if file.extension().is_none_or(|ending| ending != "xz") {
        return fs::read(file).with_context(|| format!("cannot read {}", file.display()));
    }
    let output = Command::new("xz").args(["--decompress", "--stdout"]).arg(file).output();
    let output = output.context("cannot run xz")?;
    if !output.status.success() {
        bail!("cannot unpack {}: {}", file.display(), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output.stdout)
}

/// What a module says of itself: it has a list of strings, one of which is `depends=A,B`.
fn dependencies(module: &[u8]) -> Vec<String> {
    let mut strings = module.split(|&byte| byte == 0);
    let list = strings.find_map(|text| text.strip_prefix(b"depends=")).unwrap_or_default();
    let list = String::from_utf8_lossy(list);
    list.split(',').filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_kernel_of_a_version_is_taken() {
        let packages = [
            "linux-image-6.12.94+deb12-cloud-amd64",
            "linux-image-6.12.107+deb13-cloud-amd64",
            "linux-image-6.12.117+deb13-cloud-amd64-unsigned",
            "linux-image-6.12.117+deb13-amd64",
            "linux-image-6.1.0-9-cloud-amd64",
            "linux-image-6.1.0-50-cloud-amd64",
            "linux-image-6.1-cloud-amd64",
            "linux-image-cloud-amd64",
            "linux-image-6.12.107+deb13-cloud-arm64",
            "linux-image-7.2.12+deb13-cloud-amd64",
            "linux-binary-7.2.12+deb13-cloud-amd64",
            "linux-modules-7.2.12+deb13-cloud-amd64",
            "linux-image-7.2.13+deb13-cloud-amd64",
            "linux-binary-7.2.13+deb13-cloud-amd64",
            "linux-image-7.1.8+deb13-cloud-amd64",
            "linux-binary-7.1.8+deb13-cloud-amd64",
        ]
        .map(str::to_owned);
        let table = [
            ("6.12", Some("6.12.107+deb13-cloud-amd64")),
            ("6.12.94", Some("6.12.94+deb12-cloud-amd64")),
            ("6.1", Some("6.1.0-50-cloud-amd64")),
            ("6", Some("6.12.107+deb13-cloud-amd64")),
            ("7", Some("7.2.12+deb13-cloud-amd64")),
            ("7.1", None),
            ("6.2", None),
            ("12", None),
        ];
        for (version, expected) in table {
            assert_eq!(newest(&packages, version), expected, "{version}");
        }
        assert_eq!(newest(&[], "6.12"), None);
        assert_eq!(series(&packages), ["6.1", "6.12", "7.2"]);
        assert_eq!(series(&[]), [""; 0]);
    }

    #[test]
    fn a_version_is_numbers_and_dots() {
        for good in ["6", "6.1", "6.12.107", ALL] {
            assert_eq!(version(good).unwrap(), good);
        }
        for bad in ["", ".", "6.", "6..1", "../x", "6.1-cloud", "latest"] {
            assert!(version(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn modules_are_known_by_their_files() {
        let table = [
            ("kernel/net/8021q/8021q.ko.xz", Some("8021q")),
            ("kernel/drivers/net/veth.ko", Some("veth")),
            ("kernel/net/netfilter/nf-log.ko.xz", Some("nf_log")),
            ("modules.order", None),
            ("kernel/x.ko.zst", None),
            ("", None),
        ];
        for (path, expected) in table {
            assert_eq!(module_name(Path::new(path)).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn a_module_says_what_it_needs() {
        let table: [(&[u8], &[&str]); 5] = [
            (b"\x7fELF\0license=GPL\0depends=garp,mrp\0name=8021q\0", &["garp", "mrp"]),
            (b"\0depends=nf-log\0", &["nf_log"]),
            (b"\0depends=\0", &[]),
            (b"\0softdepends=x\0", &[]),
            (b"", &[]),
        ];
        for (module, expected) in table {
            assert_eq!(dependencies(module), expected, "{module:?}");
        }
    }
}
