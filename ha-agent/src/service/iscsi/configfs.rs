//! The directories by which the kernel's SCSI target is set up. What is made there acts at once.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::resource::{Cause, Failure};
use crate::storage::Host;

/// `/sys/kernel/config/target`; paths are below it.
pub(super) trait Configfs: fmt::Debug + Send + Sync {
    /// Makes an object. With it come its attributes and the groups below it.
    fn make(&self, path: &str) -> io::Result<()>;
    /// Removes an object, with what came with it.
    fn remove(&self, path: &str) -> io::Result<()>;
    /// Links `path` to the object `to`.
    fn link(&self, path: &str, to: &str) -> io::Result<()>;
    fn unlink(&self, path: &str) -> io::Result<()>;
    fn write(&self, path: &str, value: &str) -> io::Result<()>;
    fn read(&self, path: &str) -> io::Result<String>;
    fn exists(&self, path: &str) -> bool;
    /// The objects and groups in a group, sorted.
    fn groups(&self, path: &str) -> Vec<String>;
    /// The links in an object, sorted.
    fn links(&self, path: &str) -> Vec<String>;
}

/// The kernel's.
#[derive(Debug)]
pub(super) struct Kernel(pub(super) Host);

impl Kernel {
    fn at(&self, path: &str) -> PathBuf {
        self.0.path(ROOT).join(path)
    }

    fn entries(&self, path: &str, wanted: impl Fn(fs::FileType) -> bool) -> Vec<String> {
        let entries = fs::read_dir(self.at(path)).into_iter().flatten().flatten();
        let wanted = entries.filter(|entry| entry.file_type().is_ok_and(&wanted));
        let mut names: Vec<_> = wanted.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort_unstable();
        names
    }
}

impl Configfs for Kernel {
    fn make(&self, path: &str) -> io::Result<()> {
        fs::create_dir(self.at(path))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        fs::remove_dir(self.at(path))
    }

    fn link(&self, path: &str, to: &str) -> io::Result<()> {
        symlink(self.at(to), self.at(path))
    }

    fn unlink(&self, path: &str) -> io::Result<()> {
        fs::remove_file(self.at(path))
    }

    fn write(&self, path: &str, value: &str) -> io::Result<()> {
        // In one piece: each write is an order of its own.
        io::Write::write_all(&mut fs::OpenOptions::new().write(true).open(self.at(path))?, value.as_bytes())
    }

    fn read(&self, path: &str) -> io::Result<String> {
        Ok(fs::read_to_string(self.at(path))?.trim().to_owned())
    }

    fn exists(&self, path: &str) -> bool {
        self.at(path).exists()
    }

    fn groups(&self, path: &str) -> Vec<String> {
        self.entries(path, |kind| kind.is_dir())
    }

    fn links(&self, path: &str) -> Vec<String> {
        self.entries(path, |kind| kind.is_symlink())
    }
}

/// What is done again and again, with its failures in words.
impl dyn Configfs + '_ {
    /// Makes it, unless it is there.
    pub(super) fn ensure(&self, path: &str) -> Result<(), Failure> {
        if self.exists(path) {
            return Ok(());
        }
        self.make(path).map_err(|error| match error.kind() {
            io::ErrorKind::AddrNotAvailable => {
                let what = format!("the portal {path} has an address that is not here yet");
                let remedy = "use 0.0.0.0 or [::0] for it, or set the sysctl net.ipv4.ip_nonlocal_bind";
                Failure::new(Cause::Misconfigured, what, remedy)
            }
            _ => failed("be made", path, &error),
        })
    }

    /// Links `object` to `to`, unless it is linked.
    pub(super) fn ensure_link(&self, object: &str, to: &str) -> Result<(), Failure> {
        if !self.links(object).is_empty() {
            return Ok(());
        }
        let path = format!("{object}/{LINK}");
        self.link(&path, to).map_err(|error| failed("be linked", &path, &error))
    }

    /// Writes it, unless it is so already. The error is without the value, which may be secret.
    pub(super) fn set(&self, path: &str, value: &str) -> Result<(), Failure> {
        if self.read(path).is_ok_and(|is| is == value) {
            return Ok(());
        }
        self.write(path, value).map_err(|error| failed("be set", path, &error))
    }

    /// Removes all links of an object, and then itself; that it is not there is none of the errors.
    pub(super) fn dissolve(&self, path: &str) -> Result<(), Failure> {
        if !self.exists(path) {
            return Ok(());
        }
        for link in self.links(path) {
            let path = format!("{path}/{link}");
            self.unlink(&path).map_err(|error| failed("be unlinked", &path, &error))?;
        }
        self.remove(path).map_err(|error| failed("be removed", path, &error))
    }
}

pub(super) fn failed(what: &str, path: &str, error: &io::Error) -> Failure {
    Failure::system(&format!("{} can't {what}", Path::new(ROOT).join(path).display()), error)
}

/// Where it is.
pub(super) const ROOT: &str = "/sys/kernel/config/target";
/// What our links are called; any name would do.
const LINK: &str = "ha-agent";
