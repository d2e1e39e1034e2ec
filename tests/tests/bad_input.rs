//! What the agent does where it can't run: one line with cause and remedy, a fitting exit code, nothing left
//! behind.

#[path = "support/seccomp.rs"]
mod seccomp;

use std::fs::{self, Permissions};
use std::net::Ipv4Addr;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::pair::VIRTUAL;
use lab::refusal::{self, Files};
use lab::{Agent, AgentConfig, Lan, Node, foreign};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use seccomp::refuse;

#[test]
fn configurations_that_are_none() -> Result<()> {
    let Some(lab) = Lab::new("config")? else { return Ok(()) };
    let good = AgentConfig::default().toml("a");
    let table: [(&str, Spoil, &[&str]); 13] = [
        ("missing", |path| Ok(fs::remove_file(path)?), &["does not exist", "--config FILE"]),
        ("empty", |path| Ok(fs::write(path, "")?), &["is empty", "[[vhost]]"]),
        (
            "huge",
            |path| Ok(fs::write(path, "#".repeat(2 << 20))?),
            &["larger than 1048576 bytes", "--config"],
        ),
        (
            "binary",
            |path| Ok(fs::write(path, [b'a', 0xff, 0, 7])?),
            &["byte 1 is not UTF-8", "--config FILE"],
        ),
        ("NUL", |path| Ok(fs::write(path, "node\0 = 1")?), &["byte 4 is not", "--config FILE"]),
        (
            "no TOML",
            |path| Ok(fs::write(path, "node = \"a\"\n[auth\n")?),
            &[":2:", "not valid TOML", "toml.io"],
        ),
        ("unknown key", |path| append(path, "detekt = 3\n"), &[":14:", "'detekt'", "did you mean 'detect'?"]),
        ("wrong type", |path| append(path, "[[vhost]]\nname = 7\n"), &["name", "must be", "write "]),
        ("bad value", |path| replace(path, "vhid = 10", "vhid = 256"), &[":7:", "vhid", "256", "1 to 255"]),
        (
            "directory",
            |path| {
                fs::remove_file(path)?;
                Ok(fs::create_dir(path)?)
            },
            &["is a directory", "--config"],
        ),
        (
            "FIFO",
            |path| {
                fs::remove_file(path)?;
                Ok(nix::unistd::mkfifo(path, Mode::S_IRUSR)?)
            },
            &["is a FIFO", "--config"],
        ),
        (
            "device",
            |path| {
                fs::remove_file(path)?;
                Ok(symlink("/dev/zero", path)?)
            },
            &["is a device", "--config"],
        ),
        (
            "dangling",
            |path| {
                fs::remove_file(path)?;
                Ok(symlink("/nonexistent", path)?)
            },
            &["does not exist", "--config"],
        ),
    ];
    for (what, spoil, words) in table {
        let files = Files::new()?;
        ensure!(fs::read_to_string(files.config())? == good, "the table is about this file");
        spoil(&files.config())?;
        let words = [words, &["ha-agent.toml"]].concat();
        lab.refused(&files, 78, &words).with_context(|| format!("configuration: {what}"))?;
    }
    Ok(())
}

#[test]
fn passphrases_that_are_none() -> Result<()> {
    let Some(lab) = Lab::new("key")? else { return Ok(()) };
    let table: [(&str, Spoil, &[&str]); 7] = [
        ("missing", |path| Ok(fs::remove_file(path)?), &["does not exist", "make one"]),
        ("empty", |path| Ok(fs::write(path, "")?), &["is empty", "make one"]),
        ("empty line", |path| Ok(fs::write(path, "\nsecret\n")?), &["is empty", "make one"]),
        (
            "too long",
            |path| Ok(fs::write(path, "12345678901234567890\n")?),
            &["20 bytes", "at most 19", "shorten"],
        ),
        ("NUL", |path| Ok(fs::write(path, "sec\0ret\n")?), &["NUL", "make one"]),
        ("huge", |path| Ok(fs::write(path, "x".repeat(1 << 20))?), &["larger than 4096 bytes", "first line"]),
        (
            "directory",
            |path| {
                fs::remove_file(path)?;
                Ok(fs::create_dir(path)?)
            },
            &["is a directory", "passphrase_file"],
        ),
    ];
    for (what, spoil, words) in table {
        let files = Files::new()?;
        spoil(&files.key())?;
        let words = [words, &["carp.key"]].concat();
        lab.refused(&files, 78, &words).with_context(|| format!("passphrase file: {what}"))?;
    }
    Ok(())
}

#[test]
fn a_world_readable_passphrase_is_warned_of() -> Result<()> {
    let Some(lab) = Lab::new("warn")? else { return Ok(()) };
    let files = Files::new()?;
    fs::set_permissions(files.key(), Permissions::from_mode(0o644))?;
    let mut agent = lab.node.netns.spawn(&files.run()?)?;
    agent.wait_for_line(0, "running", PATIENCE)?;
    let warnings: Vec<_> = agent.lines().into_iter().filter(|line| line.contains(" WARN ")).collect();
    let [warning] = warnings.as_slice() else { anyhow::bail!("not one warning: {:?}", agent.lines()) };
    for word in ["carp.key", "world-readable", "chmod 600"] {
        ensure!(warning.contains(word), "no '{word}' in: {warning}");
    }
    agent.signal(Signal::SIGTERM)?;
    ensure!(agent.wait(PATIENCE)?.success(), "{:?}", agent.lines());
    lab.nothing_left(&files)
}

#[test]
fn interfaces_that_can_t_be_used() -> Result<()> {
    let Some(lab) = Lab::new("iface")? else { return Ok(()) };
    let table: [(&str, &[&str]); 3] = [
        ("nope0", &["nope0", "does not exist", "`ip link`"]),
        ("lo", &["lo", "no Ethernet address", "choose another interface"]),
        ("eth0 ", &["'eth0 '", "not valid", "1 to 15 bytes"]),
    ];
    for (name, words) in table {
        let files = Files::new()?;
        replace(&files.config(), "\"eth0\"", &format!("\"{name}\""))?;
        let code = if name == "eth0 " { 78 } else { 69 };
        lab.refused(&files, code, words).with_context(|| format!("interface '{name}'"))?;
    }
    // The good one is not attached to when another one is bad.
    let files = Files::new()?;
    append(
        &files.config(),
        "[[vhost]]\nname = \"b\"\ninterface = \"nope0\"\nvhid = 2\naddresses = [\"10.7.0.1/24\"]\n",
    )?;
    lab.refused(&files, 69, &["nope0", "does not exist"])
}

#[test]
fn without_rights() -> Result<()> {
    let Some(lab) = Lab::new("rights")? else { return Ok(()) };
    let files = Files::new()?;
    // The original may lie where only root can go.
    let agent = files.config().with_file_name("ha-agent");
    fs::copy(lab::agent_binary()?, &agent)?;
    let as_nobody = |command: &Command| {
        let mut unprivileged = Command::new("setpriv");
        unprivileged.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"]);
        unprivileged.args(["--bounding-set=-all", "--"]).arg(&agent).args(command.get_args());
        unprivileged
    };
    for (readable, denied) in [(files.config(), files.key()), (files.key(), files.config())] {
        chmod(&readable, 0o644)?;
        chmod(&denied, 0o600)?;
        let name = denied.to_str().context("no text")?;
        for command in [files.run()?, files.check()?] {
            let words = [name, "may not be read by this user", "run as root", "owner or mode"];
            refusal::expect(&lab.node, &as_nobody(&command), 77, &words)?;
        }
    }
    chmod(&files.config(), 0o644)?;
    chmod(&files.key(), 0o600)?;
    chown(files.key(), Some(65534), None)?;
    for command in [files.run()?, files.check()?] {
        let words = ["no right to run", "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_BPF", "run as root"];
        refusal::expect(&lab.node, &as_nobody(&command), 77, &words).context("no right to run")?;
    }
    lab.nothing_left(&files)
}

#[test]
fn a_kernel_that_does_not_give_bpf() -> Result<()> {
    let Some(lab) = Lab::new("nobpf")? else { return Ok(()) };
    let table: [(Errno, i32, &[&str]); 2] = [
        (Errno::ENOSYS, 69, &["this kernel has no BPF", "CONFIG_BPF_SYSCALL"]),
        (Errno::EPERM, 77, &["no right to load BPF programs", "run as root", "CAP_BPF"]),
    ];
    for (errno, code, words) in table {
        let files = Files::new()?;
        for command in [files.run()?, files.check()?] {
            refusal::expect_prepared(&lab.node, &command, code, words, move || {
                refuse(nix::libc::SYS_bpf, Vec::new(), errno)
            })
            .with_context(|| format!("bpf(2) answers {errno}"))?;
        }
        lab.nothing_left(&files)?;
    }
    Ok(())
}

#[test]
fn a_second_agent_leaves_the_first_one_alone() -> Result<()> {
    let Some(lab) = Lab::new("second")? else { return Ok(()) };
    let first = Agent::start(&lab.node, &AgentConfig::default())?;
    first.wait_for_state(0, "MASTER")?;
    let (mark, program) = (first.mark(), refusal::program(&lab.node)?);

    let files = Files::new()?;
    let error = refusal::refusal(&lab.node, &files.run()?, 69, || Ok(()))?;
    let pid = first.process.pid().to_string();
    for word in ["another ha-agent", "eth0", &format!("process {pid} (ha-agent)"), "stop it first"] {
        ensure!(error.contains(word), "no '{word}' in: {error}");
    }
    ensure!(!files.socket().exists(), "its control socket was left");
    ensure!(program.is_some() && refusal::program(&lab.node)? == program, "the first one's program is gone");
    ensure!(lab.node.has_address(VIRTUAL)?, "the first one's address is gone");
    let vhost = first.vhost()?;
    ensure!(vhost["state"] == "MASTER", "{vhost:#}");
    let lines = first.process.lines().split_off(mark);
    ensure!(lines.is_empty(), "the first one noticed: {lines:?}");
    first.leave()?;
    lab.nothing_left(&files)
}

#[test]
fn somebody_else_s_program_is_not_replaced() -> Result<()> {
    let Some(lab) = Lab::new("foreign")? else { return Ok(()) };
    foreign::attach(&lab.node)?;
    let program = refusal::program(&lab.node)?;
    ensure!(program.is_some(), "the other program is not attached");
    let files = Files::new()?;
    let config = AgentConfig { receive: Some("native".to_owned()), ..AgentConfig::default() };
    fs::write(files.config(), config.toml("a"))?;
    // To see its name takes rights that the agent gives up.
    for (command, whose) in [(files.run()?, "bpftool prog show id"), (files.check()?, "foreign (program ")] {
        let error = refusal::refusal(&lab.node, &command, 69, || Ok(()))?;
        for word in ["another XDP program", "eth0", whose, "xdp off"] {
            ensure!(error.contains(word), "no '{word}' in: {error}");
        }
        ensure!(refusal::program(&lab.node)? == program, "the other program is gone");
    }
    ensure!(!files.socket().exists(), "its control socket was left");
    lab.node.netns.ip("link set dev eth0 xdp off")?;
    lab.nothing_left(&files)
}

#[test]
fn control_sockets_that_can_t_be_made() -> Result<()> {
    let Some(lab) = Lab::new("socket")? else { return Ok(()) };
    let files = Files::new()?;
    let directory = files.config().parent().context("no directory")?.to_owned();
    fs::write(directory.join("file"), "mine")?;
    fs::create_dir(directory.join("directory"))?;
    let table: [(PathBuf, &[&str]); 5] = [
        (directory.join("file"), &["is no socket", "remove it"]),
        (directory.join("directory"), &["is no socket", "remove it"]),
        (directory.join("file/control.sock"), &["could not be made", "--control"]),
        ("/proc/nonexistent/control.sock".into(), &["could not be made", "--control"]),
        (directory.join("x".repeat(108)), &["could not be made", "--control"]),
    ];
    for (path, words) in table {
        let mut command = Command::new(lab::agent_binary()?);
        command.arg("run").arg("--config").arg(files.config()).arg("--control").arg(&path);
        command.arg("--pins").arg(directory.join("pins"));
        let words = [words, &[path.to_str().context("no text")?]].concat();
        refusal::expect(&lab.node, &command, 69, &words)?;
    }
    ensure!(fs::read_to_string(directory.join("file"))? == "mine", "it changed a file that is not its own");
    ensure!(fs::read_dir(directory.join("directory"))?.next().is_none(), "it wrote into a directory");
    Ok(())
}

#[test]
fn a_control_socket_belongs_to_one_agent() -> Result<()> {
    let Some(lab) = Lab::new("shared")? else { return Ok(()) };
    let other = lab.lan.node("b", Ipv4Addr::new(10, 77, 0, 2))?;
    let files = Files::new()?;
    let mut first = lab.node.netns.spawn(&files.run()?)?;
    first.wait_for_line(0, "-> MASTER:", PATIENCE)?;
    let mark = first.lines().len();

    let socket = files.socket();
    let words = ["another ha-agent answers", socket.to_str().context("no text")?, "--control"];
    refusal::expect(&other, &files.run()?, 69, &words)?;
    ensure!(socket.exists(), "the first one's socket is gone");
    ensure!(first.lines().len() == mark, "the first one noticed: {:?}", first.lines());

    // What a killed one leaves behind is in nobody's way.
    first.kill()?;
    ensure!(socket.exists(), "a killed agent can't have removed its socket");
    let mut second = lab.node.netns.spawn(&files.run()?)?;
    second.wait_for_line(0, "-> MASTER:", PATIENCE)?;
    second.signal(Signal::SIGTERM)?;
    ensure!(second.wait(PATIENCE)?.success(), "{:?}", second.lines());
    lab.nothing_left(&files)
}

/// A bridge with one node.
struct Lab {
    node: Node,
    lan: Lan,
}

/// Spoils a file, or the files of a directory.
type Spoil = fn(&Path) -> Result<()>;

impl Lab {
    /// `None` where the lab can't work.
    fn new(label: &str) -> Result<Option<Self>> {
        if !lab::available() {
            return Ok(None);
        }
        let lan = Lan::new(label)?;
        let node = lan.node("a", Ipv4Addr::new(10, 77, 0, 1))?;
        Ok(Some(Self { node, lan }))
    }

    /// Neither `run` nor `check` accepts these files.
    fn refused(&self, files: &Files, code: i32, words: &[&str]) -> Result<()> {
        refusal::expect(&self.node, &files.run()?, code, words).context("run")?;
        refusal::expect(&self.node, &files.check()?, code, words).context("check")?;
        self.nothing_left(files)
    }

    fn nothing_left(&self, files: &Files) -> Result<()> {
        ensure!(!files.socket().exists(), "a control socket was left");
        refusal::nothing_attached(&self.node)
    }
}

fn append(path: &Path, text: &str) -> Result<()> {
    Ok(fs::write(path, fs::read_to_string(path)? + text)?)
}

fn replace(path: &Path, from: &str, to: &str) -> Result<()> {
    Ok(fs::write(path, fs::read_to_string(path)?.replace(from, to))?)
}

fn chmod(path: &Path, mode: u32) -> Result<()> {
    Ok(fs::set_permissions(path, Permissions::from_mode(mode))?)
}

const PATIENCE: Duration = Duration::from_secs(10);
