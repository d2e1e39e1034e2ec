//! Two nodes with a disk between them: a loop device, which each mounts in a mount namespace of its own, and a power board
//! that ends whatever runs in one of them.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::agent::Agent;
use crate::introduction::{Linked, introduce};
use crate::netns::{FILES, run};
use crate::paired;
use crate::{AgentConfig, Process};

/// A loop device with a file system; given back when dropped.
#[derive(Debug)]
pub struct SharedDisk {
    /// `/dev/loop0`
    pub device: PathBuf,
    /// The UUID of the file system.
    pub uuid: String,
    /// Where it is mounted: the same directory on both nodes.
    pub at: PathBuf,
    directory: TempDir,
}

/// Two agents that share it, the first of them active.
#[derive(Debug)]
pub struct Sharing {
    /// The agents and their nodes.
    pub linked: Linked,
    /// What they share.
    pub disk: SharedDisk,
}

impl SharedDisk {
    /// Makes one of this type: `ext4` or `btrfs`.
    ///
    /// # Errors
    ///
    /// Without loop devices or the type's tools.
    pub fn new(kind: &str) -> Result<Self> {
        let directory =
            tempfile::Builder::new().prefix(&format!("{FILES}{}-", std::process::id())).tempdir()?;
        let image = directory.path().join("image");
        fs::File::create(&image)?.set_len(IMAGE)?;
        let quiet = if kind == "ext4" { "-qF" } else { "-qf" };
        run(&format!("mkfs.{kind}"), &format!("{quiet} {}", image.display()))?;
        let uuid = run("blkid", &format!("-p -s UUID -o value {}", image.display()))?.trim().to_owned();
        let device = run("losetup", &format!("-f --show {}", image.display()))?.trim().into();
        let at = directory.path().join("at");
        fs::create_dir(&at)?;
        Ok(Self { device, uuid, at, directory })
    }

    /// A file of the lab's own, on no shared disk.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The tables of a node's configuration: the disk, and a service on it; further lines of `[[mount]]`, and of the
    /// `[[service]]`.
    #[must_use]
    pub fn tables(&self, node: &str, mount: &str, service: &str) -> String {
        let text = |path: &Path| path.display().to_string();
        let (device, at) = (text(&self.device), text(&self.at));
        let (script, board) = (text(&self.file("service")), text(&self.file("board")));
        format!(
            "[fence]\npair = 7\nlevels = \"command\"\ncommand = [{board:?}, {node:?}]\nwatchdog = \"off\"\n\
             self_fence = \"exit\"\n\
             [[mount]]\nname = \"data\"\ndevice = {device:?}\nat = {at:?}\ntype = \"ext4\"\n{mount}\n\
             [[service]]\nname = \"writer\"\nstart = [{script:?}, \"start\"]\nstop = [{script:?}, \"stop\"]\n\
             check = [{script:?}, \"check\"]\n{service}\n"
        )
    }

    /// What the service and the power board have written down, in the order of time: `start a`, `off a`.
    ///
    /// # Errors
    ///
    /// If that can't be read.
    pub fn log(&self) -> Result<Vec<String>> {
        let text = fs::read_to_string(self.file("log")).unwrap_or_default();
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Writes the service and the power board. The service does what the file `fate-NODE-ACTION` says: `fail`, `hang`, or
    /// `wait` for as long as it says so.
    fn write_scripts(&self, program: &Path) -> Result<()> {
        let [log, at] = [self.file("log"), self.at.clone()].map(|path| path.display().to_string());
        let directory = self.directory.path().display().to_string();
        let service = format!(
            "#!/bin/sh\naction=$1\nhere={directory}/here-$HA_NODE\n\
             [ $action = check ] && [ ! -e $here ] && exit 3\n\
             case $(cat {directory}/fate-$HA_NODE-$action 2>/dev/null) in\n\
             fail) echo 'told to fail' >&2; exit 1;;\nhang) sleep 600;;\n\
             wait) while [ \"$(cat {directory}/fate-$HA_NODE-$action)\" = wait ]; do sleep 0.02; done;;\nesac\n\
             case $action in\n\
             start) [ -e $here ] || {{ grep -q ' {at} ' /proc/self/mountinfo || exit 1\n\
             echo \"$HA_NODE\" >> {at}/served || exit 1\necho \"start $HA_NODE\" >> {log}; : > $here; }};;\n\
             stop) [ -e $here ] && {{ echo \"stop $HA_NODE\" >> {log}; rm $here; }}; exit 0;;\n\
             esac\n"
        );
        // Whoever lives in that mount namespace is on that node; what a node leaves in files dies with it.
        let board = format!(
            "#!/bin/sh\nnode=$1\nwhile read -r line; do case $line in action=*) action=${{line#action=}};; esac; done\n\
             victim=$(cat {directory}/power-$node)\n\
             living() {{ for it in /proc/[0-9]*; do [ \"$(readlink $it/ns/mnt)\" = \"$victim\" ] && echo ${{it#/proc/}}; done; }}\n\
             case $action in\n\
             off) [ \"$(cat {directory}/fate-board 2>/dev/null)\" = fail ] && {{ echo broken >&2; exit 1; }}\n\
             echo \"off $node\" >> {log}; kill -9 $(living) 2>/dev/null; rm -f {directory}/here-$node; exit 0;;\n\
             status) [ -n \"$(living)\" ] && exit 0; exit 2;;\nesac\n"
        );
        // The agent's number stays: it takes the place of the script.
        let node = format!(
            "#!/bin/sh\nexec unshare -m --propagation private {} \"$@\"\n",
            crate::agent_binary()?.display()
        );
        for (path, text) in
            [(self.file("service"), service), (self.file("board"), board), (program.into(), node)]
        {
            fs::write(&path, text)?;
            fs::set_permissions(&path, Permissions::from_mode(0o755))?;
        }
        Ok(())
    }

    /// Tells the power board which mount namespace is this node's.
    fn plug(&self, name: &str, agent: &Agent) -> Result<()> {
        let own = fs::read_link("/proc/self/ns/mnt")?;
        let link = format!("/proc/{}/ns/mnt", agent.process.pid());
        let began = Instant::now();
        loop {
            let namespace = fs::read_link(&link)?;
            if namespace != own {
                fs::write(self.file(&format!("power-{name}")), namespace.display().to_string())?;
                return Ok(());
            }
            ensure!(began.elapsed() < paired::PATIENCE, "it has no mounts of its own");
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for SharedDisk {
    fn drop(&mut self) {
        if let Err(error) = run("losetup", &format!("-d {}", self.device.display())) {
            eprintln!("{} was not given back: {error:#}", self.device.display());
        }
    }
}

impl Sharing {
    /// Starts two agents that share an ext4; each with further lines of its `[[mount]]` and its `[[service]]`.
    ///
    /// # Errors
    ///
    /// If they do not become active and standby.
    pub fn start(label: &str, mount: [&str; 2], service: [&str; 2]) -> Result<Option<Self>> {
        let Some(sharing) = Self::introduced(label, mount, service)? else { return Ok(None) };
        sharing.begin()?;
        Ok(Some(sharing))
    }

    /// The same with a page each, with these lines of `[web]`.
    ///
    /// # Errors
    ///
    /// If they do not become active and standby.
    pub fn shown(label: &str, web: &str) -> Result<Option<Self>> {
        let Some(sharing) = Self::configured(label, [""; 2], [""; 2], Some(web))? else { return Ok(None) };
        sharing.begin()?;
        Ok(Some(sharing))
    }

    /// The same, but whether they become that is left to what they are told.
    ///
    /// # Errors
    ///
    /// If they can't be started.
    pub fn introduced(label: &str, mount: [&str; 2], service: [&str; 2]) -> Result<Option<Self>> {
        Self::configured(label, mount, service, None)
    }

    fn configured(
        label: &str,
        mount: [&str; 2],
        service: [&str; 2],
        web: Option<&str>,
    ) -> Result<Option<Self>> {
        if !crate::available() {
            return Ok(None);
        }
        let disk = SharedDisk::new("ext4")?;
        let program = disk.file("node");
        disk.write_scripts(&program)?;
        let config = |at: usize| AgentConfig {
            advskew: [0, 100][at],
            more: disk.tables(["b", "a"][at], mount[at], service[at]),
            program: Some(program.clone()),
            web: web.map(str::to_owned),
            ..AgentConfig::default()
        };
        let linked = Linked::start_with(label, &[99], [config(0), config(1)])?;
        disk.plug("a", &linked.a)?;
        disk.plug("b", &linked.b)?;
        introduce((&linked.pair.a, &linked.a), (&linked.pair.b, &linked.b))?;
        Ok(Some(Self { linked, disk }))
    }

    /// Waits until one serves, and has that be the first one. Returns what the log says until then, and begins
    /// it anew.
    ///
    /// # Errors
    ///
    /// If that does not come.
    pub fn begin(&self) -> Result<Vec<String>> {
        self.settled()?;
        let Linked { a, b, .. } = &self.linked;
        if self.serves(b)? {
            let output = b.command("failover")?;
            ensure!(output.status.success(), "{output:?}");
            self.settled()?;
        }
        let served = format!("/proc/{}/root{}/served", a.process.pid(), self.disk.at.display());
        fs::write(served, "a\n")?;
        let log = self.disk.log()?;
        fs::write(self.disk.file("log"), "start a\n")?;
        Ok(log)
    }

    /// Waits until one of them serves, the other one stands by, and nothing is wrong.
    ///
    /// # Errors
    ///
    /// If that does not come.
    pub fn settled(&self) -> Result<()> {
        paired::settled(&self.linked.a, &self.linked.b)?;
        paired::until("one serves", || Ok(self.serves(&self.linked.a)? != self.serves(&self.linked.b)?))
    }

    /// Whether an agent serves what is shared.
    ///
    /// # Errors
    ///
    /// If it does not answer.
    pub fn serves(&self, agent: &Agent) -> Result<bool> {
        Ok(agent.status()?["charge"]["doing"] == "serving")
    }

    /// Whether the disk is mounted on an agent's node.
    #[must_use]
    pub fn has_mounted(&self, process: &Process) -> bool {
        let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", process.pid())).unwrap_or_default();
        mounts.lines().any(|line| line.contains(&format!(" {} ", self.disk.at.display())))
    }

    /// What the service has written onto the disk, as it is seen on a node that has it.
    ///
    /// # Errors
    ///
    /// If it is not there.
    pub fn served(&self, agent: &Agent) -> Result<Vec<String>> {
        let path = format!("/proc/{}/root{}/served", agent.process.pid(), self.disk.at.display());
        let text = fs::read_to_string(&path).with_context(|| format!("{path} can't be read"))?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Runs a program among the mounts of a node, until it is dropped.
    ///
    /// # Errors
    ///
    /// If it can't be started.
    pub fn on(&self, agent: &Agent, script: &str) -> Result<Process> {
        let mut command = Command::new("nsenter");
        command.args(["-m", "-t", &agent.process.pid().to_string(), "sh", "-c", script]);
        Process::start(Process::tied(&command))
    }

    /// Lets what comes next on a node fail, hang, wait, or go well: the service's `start`, `stop` or `check`.
    ///
    /// # Errors
    ///
    /// If that can't be written down.
    pub fn fate(&self, node: &str, action: &str, fate: &str) -> Result<()> {
        Ok(fs::write(self.disk.file(&format!("fate-{node}-{action}")), fate)?)
    }

    /// Starts an agent again that was switched off.
    ///
    /// # Errors
    ///
    /// If it does not run.
    pub fn restart(&mut self, name: &str) -> Result<()> {
        let Linked { a, b, pair, .. } = &mut self.linked;
        let (agent, node) = if name == "a" { (a, &pair.a) } else { (b, &pair.b) };
        agent.restart(node)?;
        self.disk.plug(name, agent)
    }
}

/// Looks all the time whether the disk is mounted on both nodes at once, until it is dropped.
#[derive(Debug)]
pub struct Lookout {
    stop: std::sync::Arc<std::sync::atomic::AtomicBool>,
    thread: Option<thread::JoinHandle<(u64, BTreeSet<Vec<i32>>)>>,
}

impl Lookout {
    /// Begins to look at these processes.
    #[must_use]
    pub fn start(at: &Path, processes: [&Process; 2]) -> Self {
        let pids = processes.map(|process| process.pid().as_raw());
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let (given, needle) = (std::sync::Arc::clone(&stop), format!(" {} ", at.display()));
        let look = move || {
            let (mut looks, mut seen) = (0, BTreeSet::new());
            while !given.load(std::sync::atomic::Ordering::Relaxed) {
                let has = |pid: &i32| {
                    fs::read_to_string(format!("/proc/{pid}/mountinfo")).is_ok_and(|it| it.contains(&needle))
                };
                seen.insert(pids.into_iter().filter(has).collect());
                looks += 1;
            }
            (looks, seen)
        };
        Self { stop, thread: Some(thread::spawn(look)) }
    }

    /// Ends it: it was never mounted on both. Returns how often it looked.
    ///
    /// # Errors
    ///
    /// If it was.
    pub fn end(mut self) -> Result<u64> {
        self.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let thread = self.thread.take().context("it has ended")?;
        let (looks, seen) = thread.join().map_err(|_| anyhow::anyhow!("the lookout panicked"))?;
        ensure!(seen.iter().all(|having| having.len() < 2), "it was mounted on both nodes: {seen:?}");
        Ok(looks)
    }
}

impl Drop for Lookout {
    fn drop(&mut self) {
        self.stop.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

const IMAGE: u64 = 64 << 20;
