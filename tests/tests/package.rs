//! The Debian package on a machine of its own: this one's files, with all changes beside them, in a network namespace. What is
//! not tested: what systemd does with the unit, which does not run there.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::pair::{Pair, VIRTUAL};
use lab::{Agent, AgentConfig, Client, Echo, Node, Process};

#[test]
fn it_is_installed_upgraded_while_it_serves_and_removed() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let Some([first, next]) = packages() else {
        eprintln!("skipped, because nobody has made the packages; `cargo xtask test` does");
        return Ok(());
    };
    let pair = Pair::new("package")?;
    let _echoes = [Echo::start(&pair.a.netns, VIRTUAL)?, Echo::start(&pair.b.netns, VIRTUAL)?];
    let machine = Machine::new()?;
    machine.dpkg(&pair.a, &["--install"], Some(&first))?;
    for file in ["lib/systemd/system/ha-agent.service", "usr/share/man/man8/ha-agent-status.8.gz"] {
        ensure!(machine.path(file).exists(), "no {file}");
    }

    let config = AgentConfig { interval: Some("100ms".to_owned()), ..AgentConfig::default() };
    fs::write(machine.path("etc/ha-agent/ha-agent.toml"), config.toml("a"))?;
    config.write_keys(&machine.path("etc/ha-agent"))?;
    let mut agent = machine.spawn(&pair.a, &["/usr/sbin/ha-agent", "run"])?;
    agent.wait_for_line(0, "-> MASTER", PATIENCE)?;
    let b = Agent::start(&pair.b, &AgentConfig { advskew: 100, ..config })?;
    b.wait_for_state(0, "BACKUP")?;
    let client = Client::start(&pair.witness.netns, VIRTUAL)?;

    let (on_a, on_b) = (agent.lines().len(), b.mark());
    machine.dpkg(&pair.a, &["--install"], Some(&next))?;
    agent.wait_for_line(on_a, "INIT -> MASTER: the agent before", PATIENCE)?;
    ensure!(b.changes(on_b).is_empty(), "{:?}", b.changes(on_b));
    ensure!(client.lost() == 0, "{} requests were lost", client.lost());
    eprintln!("upgraded while it serves: {} requests, none lost", client.answers().len());

    machine.dpkg(&pair.a, &["--purge", "ha-agent"], None)?;
    ensure!(agent.wait(PATIENCE)?.success(), "{}", agent.lines().join("\n"));
    b.wait_for_state(on_b, "MASTER")?;
    ensure!(!pair.a.has_address(VIRTUAL)?, "the address is there still");
    for gone in ["usr/sbin/ha-agent", "var/lib/ha-agent", "run/ha-agent", "sys/fs/bpf/ha-agent"] {
        ensure!(!machine.path(gone).exists(), "{gone} is there still");
    }
    b.leave()
}

/// The package of the agent that is tested, and one that is called newer.
fn packages() -> Option<[PathBuf; 2]> {
    let named = |name| std::env::var_os(name).map(PathBuf::from);
    Some([named("HA_PACKAGE")?, named("HA_NEXT_PACKAGE")?])
}

/// The files of this machine, as they would be; its changes go with it.
struct Machine {
    directory: tempfile::TempDir,
}

impl Machine {
    fn new() -> Result<Self> {
        let machine = Self { directory: tempfile::tempdir()? };
        let at = |name: &str| machine.directory.path().join(name).display().to_string();
        for name in ["upper", "work", ROOT] {
            fs::create_dir(machine.directory.path().join(name))?;
        }
        let layers = format!("lowerdir=/,upperdir={},workdir={}", at("upper"), at("work"));
        mount(&["-t", "overlay", "overlay", "-o", &layers, &at(ROOT)])?;
        for name in ["proc", "sys", "dev"] {
            mount(&[
                "--rbind",
                "--make-rslave",
                &format!("/{name}"),
                &machine.path(name).display().to_string(),
            ])?;
        }
        // Of another boot, without systemd.
        mount(&["-t", "tmpfs", "tmpfs", &machine.path("run").display().to_string()])?;
        Ok(machine)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(ROOT).join(path)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("chroot");
        command.arg(self.path("")).args(arguments);
        command
    }

    fn spawn(&self, node: &Node, arguments: &[&str]) -> Result<Process> {
        node.netns.spawn(&self.command(arguments))
    }

    /// Runs `dpkg`, with a package of this machine.
    fn dpkg(&self, node: &Node, arguments: &[&str], package: Option<&Path>) -> Result<()> {
        let mut command = self.command(&["dpkg", "--force-confold"]);
        command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        if let Some(package) = package {
            let name: OsString = package.file_name().context("no name")?.into();
            fs::copy(package, self.path("tmp").join(&name))?;
            command.arg(Path::new("/tmp").join(name));
        }
        let output: Output = node.netns.run(move || command.output())??;
        let said = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
        ensure!(output.status.success(), "dpkg {arguments:?}: {}", said.concat());
        Ok(())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").args(["--recursive", "--lazy"]).arg(self.path("")).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} is mounted still, and stays", self.path("").display());
            // What is mounted there is this machine's own.
            self.directory.disable_cleanup(true);
        }
    }
}

fn mount(arguments: &[&str]) -> Result<()> {
    let output = Command::new("mount").args(arguments).output()?;
    ensure!(output.status.success(), "mount {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

const ROOT: &str = "root";
const PATIENCE: Duration = Duration::from_secs(20);
