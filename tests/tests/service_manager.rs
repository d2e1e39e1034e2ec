//! What the agent tells a service manager, and the unit that it is run by.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::pair::Pair;
use lab::{Agent, AgentConfig};
use nix::sys::signal::Signal;

#[test]
fn a_service_manager_is_told_how_it_is() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let pair = Pair::new("manager")?;
    let manager = Manager::new()?;
    let agent = Agent::start_with(&pair.a, &AgentConfig::default(), &manager.environment())?;
    manager.hears("READY=1")?;
    let began = Instant::now();
    for _ in 0..8 {
        manager.hears("WATCHDOG=1")?;
    }
    ensure!(began.elapsed() < PATIENCE, "it proves itself too seldom: {:?}", began.elapsed());
    agent.tell("reload")?;
    manager.hears("RELOADING=1")?;
    manager.hears("READY=1")?;

    // Who does not run proves nothing.
    agent.process.signal(Signal::SIGSTOP)?;
    while manager.next(WATCHDOG)?.is_some() {}
    ensure!(manager.next(WATCHDOG * 2)?.is_none(), "it proves itself while it is stopped");
    agent.process.signal(Signal::SIGCONT)?;
    manager.hears("WATCHDOG=1")?;

    // The next one in the same process says so itself; nothing has stopped.
    let from = agent.mark();
    agent.tell("restart")?;
    agent.process.wait_for_line(from, "running", PATIENCE)?;
    manager.hears("READY=1")?;
    agent.leave()?;
    manager.hears("STOPPING=1")
}

#[test]
fn the_key_may_be_a_credential() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let (config, key) = (directory.path().join("ha-agent.toml"), directory.path().join("carp.key"));
    fs::write(&config, AgentConfig::default().toml("a").replace("\"carp.key\"", "\"%d/carp.key\""))?;
    let check = |credentials: Option<&Path>| {
        let mut command = Command::new(lab::agent_binary()?);
        command.args(["check", "--config"]).arg(&config).env_remove(CREDENTIALS);
        let output = command.envs(credentials.map(|path| (CREDENTIALS, path))).output()?;
        Ok::<_, anyhow::Error>(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let credentials = tempfile::tempdir()?;
    fs::write(credentials.path().join("carp.key"), "secret\n")?;
    let table = [
        (None, "this process was given none (CREDENTIALS_DIRECTORY); add LoadCredential= to the unit"),
        (Some(directory.path()), "carp.key does not exist"),
        (Some(credentials.path()), "ha-agent.toml: correct"),
    ];
    for (given, expected) in table {
        let said = check(given)?;
        ensure!(said.contains(expected), "{given:?}: {said}");
    }
    ensure!(!key.exists(), "the file beside the configuration is not looked at");
    Ok(())
}

/// By systemd itself, which does not run: that it knows each line, also of what is added on nodes with storage.
#[test]
fn systemd_understands_the_unit() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let (copy, added) =
        (directory.path().join("ha-agent.service"), directory.path().join("ha-agent.service.d"));
    // It need not be installed here.
    fs::write(&copy, fs::read_to_string(unit())?.replace("/usr/sbin/ha-agent", "/bin/true"))?;
    fs::create_dir(&added)?;
    fs::copy(unit().with_file_name("storage.conf"), added.join("storage.conf"))?;
    let verify = || Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&copy).output();
    let said = verify()?;
    ensure!(said.status.success() && said.stderr.is_empty(), "{}", String::from_utf8_lossy(&said.stderr));
    // It would tell.
    fs::write(added.join("wrong.conf"), "[Service]\nPrivateTmp=maybe\n")?;
    ensure!(String::from_utf8_lossy(&verify()?.stderr).contains("maybe"), "it is not looked at");
    Ok(())
}

/// By systemd itself: how much of the machine lies open to the agent, from 0 to 10.
#[test]
fn the_unit_leaves_little_of_the_machine_open() -> Result<()> {
    let analyze = |arguments: &[&str]| Command::new("systemd-analyze").args(arguments).arg(unit()).output();
    let output = analyze(&["security", "--offline=yes", "--threshold=20"]).context("systemd-analyze")?;
    let printed = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
    eprintln!("{}", printed.trim().lines().last().unwrap_or_default());
    Ok(())
}

/// Whoever listens at `NOTIFY_SOCKET`.
struct Manager {
    socket: UnixDatagram,
    directory: tempfile::TempDir,
}

impl Manager {
    fn new() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let socket = UnixDatagram::bind(directory.path().join("notify"))?;
        Ok(Self { socket, directory })
    }

    fn environment(&self) -> Vec<(String, String)> {
        let socket = self.directory.path().join("notify").display().to_string();
        vec![
            ("NOTIFY_SOCKET".to_owned(), socket),
            ("WATCHDOG_USEC".to_owned(), WATCHDOG.as_micros().to_string()),
        ]
    }

    /// The next message, if one comes in time.
    fn next(&self, patience: Duration) -> Result<Option<String>> {
        self.socket.set_read_timeout(Some(patience))?;
        let mut message = [0; 256];
        match self.socket.recv(&mut message) {
            Ok(length) => Ok(Some(String::from_utf8_lossy(&message[..length]).into_owned())),
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits for a message with this line.
    fn hears(&self, wanted: &str) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let mut heard = Vec::new();
        while Instant::now() < deadline {
            if let Some(message) = self.next(PATIENCE)? {
                if message.lines().any(|line| line == wanted) {
                    return Ok(());
                }
                heard.push(message);
            }
        }
        anyhow::bail!("no {wanted}, but {heard:?}")
    }
}

fn unit() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../ha-agent/dist/ha-agent.service")
}

/// By which systemd tells where they are.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";
const WATCHDOG: Duration = Duration::from_millis(400);
const PATIENCE: Duration = Duration::from_secs(10);
