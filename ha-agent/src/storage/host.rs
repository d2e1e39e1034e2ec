//! The machine: its programs, and its files.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::resource::{Cause, CommandError, Failure, Finding, Invocation, Output, Run, System, Within};

/// The machine that this runs on, or one that a test has made.
#[derive(Clone, Debug)]
pub struct Host {
    run: Arc<dyn Run>,
    root: PathBuf,
}

impl Host {
    /// This machine.
    #[must_use]
    pub fn system() -> Self {
        Self::new(Arc::new(System), "/")
    }

    /// One whose programs are run by `run`, and whose `/proc`, `/sys`, `/dev`, `/etc` and `/var` are below `root`.
    pub fn new(run: Arc<dyn Run>, root: impl Into<PathBuf>) -> Self {
        Self { run, root: root.into() }
    }

    /// Where this absolute path is.
    pub fn path(&self, absolute: impl AsRef<Path>) -> PathBuf {
        let absolute = absolute.as_ref();
        self.root.join(absolute.strip_prefix("/").unwrap_or(absolute))
    }

    /// A path of this machine as its own programs see it: the opposite of [`path`](Self::path).
    #[must_use]
    pub fn seen(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.root).map_or_else(|_| path.to_owned(), |below| Path::new("/").join(below))
    }

    /// What a small file says, without the white space around it.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn read(&self, absolute: impl AsRef<Path>) -> io::Result<String> {
        fs::read(self.path(absolute)).map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    /// Writes into a file that is there: an attribute of the kernel.
    ///
    /// # Errors
    ///
    /// The system's, with the path.
    pub fn write(&self, absolute: impl AsRef<Path>, text: &str) -> Result<(), Failure> {
        let absolute = absolute.as_ref();
        let file = fs::OpenOptions::new().write(true).truncate(true).open(self.path(absolute));
        file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|error| {
            Failure::system(&format!("{text:?} can't be written to {}", absolute.display()), &error)
        })
    }

    /// The names in a directory, sorted; none if there is no such directory.
    pub fn names(&self, absolute: impl AsRef<Path>) -> Vec<String> {
        let entries = fs::read_dir(self.path(absolute)).into_iter().flatten().flatten();
        let mut names: Vec<_> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort_unstable();
        names
    }

    /// Follows all links.
    ///
    /// # Errors
    ///
    /// If it, or what it points to, is not there.
    pub fn canonical(&self, absolute: impl AsRef<Path>) -> io::Result<PathBuf> {
        fs::canonicalize(self.path(absolute)).map(|path| self.seen(&path))
    }

    /// Runs a program to its end, whatever that is.
    ///
    /// # Errors
    ///
    /// If it did not run to its end.
    pub fn run(&self, invocation: &Invocation, within: &Within) -> Result<Output, CommandError> {
        self.run.run(invocation, within)
    }

    /// Runs a program that must succeed.
    ///
    /// # Errors
    ///
    /// If it did not, as this cause with this remedy.
    pub fn must<A: Into<OsString>>(
        &self,
        line: (&str, impl IntoIterator<Item = A>),
        within: &Within,
        (cause, remedy): (Cause, &str),
    ) -> Result<Output, Failure> {
        let invocation = Invocation::new(line.0, line.1);
        self.run(&invocation, within)?.success(&invocation, cause, remedy)
    }

    /// Waits until `done`, asking every 50 ms. Returns whether it is.
    pub fn wait_for(&self, within: &Within, mut done: impl FnMut() -> bool) -> bool {
        loop {
            if done() {
                return true;
            }
            if !within.pause(STEP) {
                return false;
            }
        }
    }

    /// Which of these programs are installed.
    #[must_use]
    pub fn examine_tools(&self, names: &[&str]) -> Vec<Finding> {
        let missing: Vec<_> = names.iter().copied().filter(|name| !self.has_tool(name)).collect();
        if missing.is_empty() {
            return vec![Finding::Good(format!("{} installed", names.join(", ")))];
        }
        let lacking = |name| Failure::new(Cause::NoTool, format!("there is no program {name}"), "install it");
        missing.into_iter().map(|name| Finding::Bad(lacking(name))).collect()
    }

    /// Whether the root file system has room left: programs that can't write there fail in strange ways.
    #[must_use]
    pub fn examine_room(&self) -> Finding {
        let Ok(space) = rustix::fs::statvfs(&self.root) else {
            return Finding::Weak(Failure::new(
                Cause::Other,
                "the root file system can't be asked",
                "look at it",
            ));
        };
        let left = space.f_bavail.saturating_mul(space.f_frsize);
        if left >= ROOM {
            return Finding::Good(format!("{} MiB free in the root file system", left >> 20));
        }
        let what = format!("the root file system has {} KiB left", left >> 10);
        Finding::Bad(Failure::new(Cause::NoSpace, what, "make room"))
    }

    fn has_tool(&self, name: &str) -> bool {
        let executable = |path: PathBuf| {
            fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
        };
        if name.starts_with('/') {
            return executable(self.path(name));
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|directory| executable(self.path(directory).join(name)))
    }
}

/// Between two looks at something that is to happen.
const STEP: Duration = Duration::from_millis(50);
/// How much room programs need in the root file system, in bytes.
const ROOM: u64 = 16 << 20;
