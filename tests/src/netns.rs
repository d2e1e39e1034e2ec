//! A network namespace with a thread that lives in it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Once, mpsc};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, anyhow, ensure};
use nix::sched::{CloneFlags, setns};
use serde_json::Value;

use crate::process::Process;

/// A named network namespace; deleted when dropped.
///
/// The name carries the number of the process that made it, so that [`sweep`] can tell what was left behind.
#[derive(Debug)]
pub struct Netns {
    name: String,
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

type Job = Box<dyn FnOnce() + Send>;

impl Netns {
    /// Makes a namespace whose name ends with `suffix`, its loopback interface up.
    ///
    /// # Errors
    ///
    /// Without root, or without `ip`.
    pub fn new(suffix: &str) -> Result<Self> {
        let name = format!("{PREFIX}{}-{suffix}", std::process::id());
        run("ip", &format!("netns add {name}"))?;
        let (jobs, queue) = mpsc::channel::<Job>();
        let mut netns = Self { name, jobs: Some(jobs), thread: None };
        let file = File::open(format!("/run/netns/{}", netns.name)).context("the new namespace")?;
        let (ready, entered) = mpsc::channel();
        let thread = thread::Builder::new().name(format!("in-{suffix}")).spawn(move || {
            let inside = setns(file, CloneFlags::CLONE_NEWNET);
            let stay = inside.is_ok();
            if ready.send(inside).is_ok() && stay {
                for job in &queue {
                    job();
                }
            }
        })?;
        netns.thread = Some(thread);
        entered.recv()?.context("entering the namespace")?;
        netns.ip("link set lo up")?;
        Ok(netns)
    }

    /// The name, as `ip netns` prints it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs something inside the namespace, on its thread.
    ///
    /// # Errors
    ///
    /// If it panicked.
    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let (reply, answer) = mpsc::channel();
        let job = Box::new(move || {
            // Nobody waits any more: nothing to be told.
            let _ = reply.send(job());
        });
        let jobs = self.jobs.as_ref().ok_or_else(|| anyhow!("the namespace {} is closed", self.name))?;
        jobs.send(job).map_err(|_| anyhow!("the thread in {} is gone", self.name))?;
        answer.recv().with_context(|| format!("a job in {} panicked", self.name))
    }

    /// Starts a process inside the namespace. It does not outlive this program, however that ends.
    ///
    /// # Errors
    ///
    /// If it can't be started.
    pub fn spawn(&self, command: &Command) -> Result<Process> {
        let command = Process::tied(command);
        self.run(move || Process::start(command))?
    }

    /// Runs `ip` in the namespace; `arguments` are split at spaces.
    ///
    /// # Errors
    ///
    /// With what it printed, if it fails.
    pub fn ip(&self, arguments: &str) -> Result<()> {
        run("ip", &format!("-n {} {arguments}", self.name)).map(drop)
    }

    /// Asks `ip` for something in the namespace, in JSON; `arguments` are split at spaces.
    ///
    /// # Errors
    ///
    /// With what it printed, if it fails.
    pub fn ip_json(&self, arguments: &str) -> Result<Value> {
        let text = run("ip", &format!("-n {} -json {arguments}", self.name))?;
        serde_json::from_str(&text).with_context(|| format!("ip {arguments} printed {text:?}"))
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            eprintln!("a job in {} panicked", self.name);
        }
        if let Err(error) = run("ip", &format!("netns del {}", self.name)) {
            eprintln!("{} was not deleted: {error:#}", self.name);
        }
    }
}

/// Deletes the namespaces and the files of runs that were killed: those whose process is no more.
pub fn sweep() {
    let report = |path: &Path, error: &dyn std::fmt::Display| {
        eprintln!("{} was left behind and could not be deleted: {error:#}", path.display());
    };
    for path in left_behind(Path::new("/run/netns"), PREFIX) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if let Err(error) = run("ip", &format!("netns del {name}")) {
            report(&path, &error);
        }
    }
    let files = [std::env::temp_dir(), BPFFS.into()];
    for path in files.iter().flat_map(|directory| left_behind(directory, FILES)) {
        if let Err(error) = fs::remove_dir_all(&path) {
            report(&path, &error);
        }
    }
}

/// Mounts the file system for what outlives the agents, where no service manager has.
pub(crate) fn mount_bpffs() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let kind = nix::sys::statfs::statfs(BPFFS).map(|found| found.filesystem_type());
        if kind != Ok(nix::sys::statfs::BPF_FS_MAGIC) {
            let mounted = nix::mount::mount(
                Some("bpf"),
                BPFFS,
                Some("bpf"),
                nix::mount::MsFlags::empty(),
                None::<&str>,
            );
            if let Err(error) = mounted {
                eprintln!("agents leave nothing in the kernel: no bpffs can be mounted at {BPFFS}: {error}");
            }
        }
    });
}

/// What stands in a directory under a name that is `prefix`, the number of a process that is no more, and more.
fn left_behind(directory: &Path, prefix: &str) -> Vec<PathBuf> {
    let owner = |path: &Path| {
        path.file_name()?.to_str()?.strip_prefix(prefix)?.split_once('-')?.0.parse::<u32>().ok()
    };
    let is_gone =
        |path: &PathBuf| owner(path).is_some_and(|pid| !fs::exists(format!("/proc/{pid}")).unwrap_or(true));
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(is_gone).collect()
}

/// Runs a command whose arguments are split at spaces, and returns what it printed.
///
/// # Errors
///
/// With what it printed, if it fails.
pub fn run(program: &str, arguments: &str) -> Result<String> {
    let output = Command::new(program)
        .args(arguments.split_whitespace())
        .output()
        .with_context(|| format!("{program} could not be started; is its package installed?"))?;
    ensure!(
        output.status.success(),
        "{program} {arguments}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

const PREFIX: &str = "ha-";
/// What the names of directories with an agent's files begin with; the number of our process follows.
/// Where the agents keep what outlives them.
pub(crate) const BPFFS: &str = "/sys/fs/bpf";
pub(crate) const FILES: &str = "ha-agent-";
