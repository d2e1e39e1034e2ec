//! The guest's root: this machine's programs with their libraries, those that were built for it, the tests.

use std::{
    collections::BTreeMap,
    env,
    fs::{self, File},
    io::BufWriter,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::{cpio::Archive, guest_dir, kernel::Kernel};
use crate::process::output;

/// What goes into it.
pub(super) struct Contents<'a> {
    /// Programs beside this machine's own: name and file.
    pub(super) programs: &'a [(&'a str, PathBuf)],
    /// Where the package busybox-static is unpacked.
    pub(super) busybox: &'a Path,
    pub(super) kernel: &'a Kernel,
    /// Names.
    pub(super) tests: &'a [String],
}

/// Writes it to `path`.
///
/// # Errors
///
/// A program is missing here, or something cannot be read or written.
pub(super) fn write(path: &Path, contents: &Contents<'_>) -> Result<()> {
    let files = files(contents)?;
    let written = File::create(path).and_then(|file| {
        let mut archive = Archive::new(BufWriter::new(file));
        for (name, contents) in &files {
            archive.file(name, contents)?;
        }
        for name in EMPTY {
            archive.directory(name)?;
        }
        archive.finish()
    });
    written.with_context(|| format!("cannot write {}", path.display()))?;
    Ok(())
}

/// All files, by their place in the guest.
fn files(contents: &Contents<'_>) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    files.insert("bin/busybox".to_owned(), read(&contents.busybox.join("bin/busybox"))?);
    let mut programs = contents.programs.to_owned();
    for name in PROGRAMS {
        programs.push((name, in_path(name).with_context(|| format!("{name} is not there: install it"))?));
    }
    for (name, program) in programs {
        files.insert(format!("usr/bin/{name}"), read(&program)?);
        for library in libraries(&output(Command::new("ldd").arg(&program))?)? {
            files.insert(library.clone(), read(Path::new(&library))?);
        }
    }

    let modules = contents.kernel.modules(&MODULES)?;
    let order: Vec<_> = modules.iter().map(|module| format!("{}\n", module.name)).collect();
    files.insert("modules/order".to_owned(), order.concat().into_bytes());
    for module in modules {
        files.insert(format!("modules/{}.ko", module.name), module.contents);
    }

    let dir = guest_dir();
    files.insert("init".to_owned(), read(&dir.join("lib/init"))?);
    let shared = fs::read_dir(dir.join("lib")).context("cannot read what the guest's tests share")?;
    for file in shared.flatten() {
        files.insert(format!("tests/lib/{}", file.file_name().display()), read(&file.path())?);
    }
    for test in contents.tests {
        let name = format!("{test}.sh");
        files.insert(format!("tests/{name}"), read(&dir.join(&name))?);
    }
    files.insert("tests/order".to_owned(), contents.tests.join("\n").into_bytes());
    Ok(files)
}

/// The contents of the file `path`.
pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The program that a shell would find; also where only root looks.
fn in_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let places = env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    places.map(|place| place.join(name)).find(|file| file.is_file())
}

/// The libraries in the output of `ldd`, the loader among them.
fn libraries(ldd: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for line in ldd.lines().map(str::trim) {
        let (name, place) = line.split_once(" => ").unwrap_or((line, line));
        if place.starts_with("not found") {
            bail!("the library {name} is not there: install it");
        }
        // The others are the kernel's own, and the remark that there are none.
        if place.starts_with('/') {
            found.push(place.split(" (").next().unwrap_or(place).to_owned());
        }
    }
    Ok(found)
}

/// Beside busybox, whose own `ip` and `grep` know less.
const PROGRAMS: [&str; 9] =
    ["bash", "bpftool", "bridge", "ethtool", "grep", "ip", "tc", "tcpdump", "timeout"];
/// Each with what it needs. Packet sockets and network namespaces are built into Debian's kernels.
const MODULES: [&str; 5] = ["8021q", "bonding", "bridge", "macvlan", "veth"];
/// What the guest mounts something on.
const EMPTY: [&str; 6] = ["dev", "proc", "run", "sys", "tmp", "var/lib"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_found_by_their_places() {
        let ldd = "\
\tlinux-vdso.so.1 (0x00007ffd)
\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f9)
\t/lib64/ld-linux-x86-64.so.2 (0x00007fa)
";
        assert_eq!(
            libraries(ldd).unwrap(),
            ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"]
        );
        assert_eq!(libraries("\tstatically linked\n").unwrap(), [""; 0]);
        let error = libraries("\tlibfdt.so.1 => not found\n").unwrap_err().to_string();
        assert!(error.contains("libfdt.so.1"), "{error}");
    }
}
