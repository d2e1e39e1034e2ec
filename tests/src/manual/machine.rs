//! A machine of the manual: a network namespace with an `/etc`, `/root`, `/run`, `/usr/local`, `/var` and BPF file system of its own.

use std::cell::RefCell;
use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::lan::Node;
use crate::process::Process;

/// A machine; all that runs on it is killed when dropped.
#[derive(Debug)]
pub struct Machine {
    name: String,
    /// Has the files of the machine for itself.
    root: Process,
    netns: PathBuf,
    /// What ends a name of a mount namespace: all processes that have it are this machine's.
    mounts: PathBuf,
    /// What goes on.
    background: RefCell<Vec<Process>>,
}

impl Machine {
    /// Makes a machine of a node, with a directory for its files that outlives it.
    ///
    /// # Errors
    ///
    /// If the system does not let it.
    pub fn new(node: &Node, name: &str, directory: &Path) -> Result<Self> {
        let own = directory.join(name);
        for layer in LAYERS {
            for part in ["upper", "work"] {
                fs::create_dir_all(own.join(part).join(layer))?;
            }
        }
        let bin = own.join("upper/usr/local/bin");
        fs::create_dir_all(&bin)?;
        fs::copy(crate::agent_binary()?, bin.join("ha-agent"))?;
        for (tool, script) in [("scp", SCP), ("systemctl", SYSTEMCTL)] {
            let script = script.replace("MACHINES", &directory.display().to_string());
            fs::write(bin.join(tool), script)?;
            fs::set_permissions(bin.join(tool), Permissions::from_mode(0o755))?;
        }
        let overlays: Vec<_> = LAYERS
            .iter()
            .map(|layer| {
                let (upper, work) = (own.join("upper").join(layer), own.join("work").join(layer));
                let options =
                    format!("lowerdir=/{layer},upperdir={},workdir={}", upper.display(), work.display());
                format!("mount -t overlay overlay -o {options} /{layer}")
            })
            .collect();
        let script = format!(
            "set -e; {}; mount -t tmpfs tmpfs /run; mount -t bpf bpf /sys/fs/bpf; echo $$ >{}; echo ready; exec sleep infinity",
            overlays.join("; "),
            directory.join(name).join("pid").display()
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", &script]);
        let root = node.netns.spawn(&command)?;
        root.wait_for_line(0, "ready", PATIENCE)?;
        let mounts = fs::read_link(format!("/proc/{}/ns/mnt", root.pid()))?;
        Ok(Self {
            name: name.to_owned(),
            netns: Path::new("/run/netns").join(node.netns.name()),
            root,
            mounts,
            background: RefCell::default(),
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs a command to its end. Returns its exit code and what it said.
    ///
    /// # Errors
    ///
    /// If it can't be started, or does not end.
    pub fn run(&self, command: &str) -> Result<(i32, String)> {
        let mut process = self.start(command)?;
        let status = process.wait(PATIENCE).with_context(|| format!("{:?}", process.lines()))?;
        Ok((status.code().unwrap_or(-1), process.lines().join("\n")))
    }

    /// Starts a simple command that goes on, and waits until it has said enough.
    ///
    /// # Errors
    ///
    /// If it does not.
    pub fn begin(&self, command: &str, is_enough: impl Fn(&str) -> bool) -> Result<String> {
        // In the place of the shell, so that a signal finds it.
        let process = self.start(&format!("exec {command}"))?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let said = process.lines().join("\n");
            if is_enough(&said) {
                self.background.borrow_mut().push(process);
                return Ok(said);
            }
            ensure!(Instant::now() < deadline, "it only says\n{said}");
            thread::sleep(LOOK);
        }
    }

    /// Ends what goes on, as Ctrl-C does.
    ///
    /// # Errors
    ///
    /// If there is nothing, or it does not end in order.
    pub fn interrupt(&self) -> Result<()> {
        let ended = self.background.take();
        ensure!(!ended.is_empty(), "nothing goes on there");
        for mut process in ended {
            process.signal(Signal::SIGINT)?;
            let status = process.wait(PATIENCE)?;
            ensure!(status.success(), "{status}: {:?}", process.lines());
        }
        Ok(())
    }

    /// Writes a file, or its end.
    ///
    /// # Errors
    ///
    /// If it can't be written.
    pub fn write(&self, path: &Path, append: bool, text: &str) -> Result<()> {
        let path = format!("/proc/{}/root{}", self.root.pid(), path.display());
        let mut options = File::options();
        let file = if append { options.append(true) } else { options.write(true).truncate(true) };
        Ok(file.create(true).open(path)?.write_all(text.as_bytes())?)
    }

    fn start(&self, command: &str) -> Result<Process> {
        let mut shell = Command::new("nsenter");
        shell.arg(format!("--mount=/proc/{}/ns/mnt", self.root.pid()));
        shell.arg(format!("--net={}", self.netns.display()));
        shell.args(["sh", "-c", &format!("exec 2>&1; cd /root; {command}")]);
        shell.env("PATH", "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin").env_remove("HA_AGENT_LOG");
        Process::start(Process::tied(&shell))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let all = fs::read_dir("/proc").into_iter().flatten().flatten();
        for process in all.filter_map(|entry| entry.file_name().to_str()?.parse().ok()) {
            if fs::read_link(format!("/proc/{process}/ns/mnt")).is_ok_and(|mounts| mounts == self.mounts) {
                // It may have ended meanwhile.
                let _ = kill(Pid::from_raw(process), Signal::SIGKILL);
            }
        }
    }
}

/// What each machine has for itself, on top of what this one has.
const LAYERS: [&str; 4] = ["etc", "root", "usr/local", "var"];
/// For who has no network to other machines: copies into the files of the one that is named.
const SCP: &str = r#"#!/bin/sh
set -e
for last; do :; done
root=/proc/$(cat "MACHINES/${last%%:*}/pid")/root
while [ $# -gt 1 ]; do cp -p "$1" "$root${last#*:}"; shift; done
"#;
/// For who has no systemd: starts and ends the agent as its unit does, and is done when it runs.
const SYSTEMCTL: &str = r#"#!/bin/sh
set -e
end() {
    pid=$(cat /run/ha-agent.pid 2>/dev/null) || return 0
    kill -"$1" "$pid" 2>/dev/null || return 0
    while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
}
case "$1" in
enable | start | restart)
    [ "$1" != restart ] || end TERM
    mkdir -p /var/lib/ha-agent
    setsid ha-agent run >>/run/ha-agent.log 2>&1 </dev/null &
    echo $! >/run/ha-agent.pid
    until ha-agent status >/dev/null 2>&1 || [ $? != 69 ]; do
        kill -0 "$(cat /run/ha-agent.pid)" || { cat /run/ha-agent.log; exit 1; }
        sleep 0.05
    done ;;
stop) end TERM ;;
kill) end KILL ;;
reload) ha-agent reload ;;
*) echo "what is $1?"; exit 1 ;;
esac
"#;
const PATIENCE: Duration = Duration::from_mins(1);
/// How often is looked what was said.
const LOOK: Duration = Duration::from_millis(50);
