//! `ha-agent init`: what it writes passes `check`, and the two nodes of it are master and backup.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Result, ensure};
use lab::pair::{A, B, VIRTUAL};
use lab::{Agent, AgentConfig, Lan, Node, Terminal};
use nix::sys::signal::Signal;

#[test]
fn two_nodes_of_it_are_master_and_backup() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let lan = Lan::new("init")?;
    let (a, b) = (lan.node("a", A)?, lan.node("b", B)?);
    let directory = tempfile::tempdir()?;
    let (own, other) = (directory.path().join("one/ha-agent.toml"), directory.path().join("one/other.toml"));
    let address = format!("{VIRTUAL}/24");
    let line = ["--node", "controller-a", "--address", &address, "--other", text(&other)];
    let output = init(&a, &own, &line)?;
    ensure!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    for word in ["ha-agent.toml is written", "has a new passphrase", "for the other node", "ha-agent check"] {
        ensure!(said.contains(word), "no '{word}' in:\n{said}");
    }
    let key = directory.path().join("one/carp.key");
    ensure!(fs::metadata(&key)?.permissions().mode() & 0o777 == 0o600, "others may read the key");
    ensure!((2..=20).contains(&fs::read(&key)?.len()), "the key is too long");
    let (first, second) = (fs::read_to_string(&own)?, fs::read_to_string(&other)?);
    for (text, node, advskew) in [(&first, "controller-a", 0), (&second, "controller-b", 100)] {
        ensure!(text.contains(&format!("node = \"{node}\"")), "{text}");
        ensure!(text.contains(&format!("advskew = {advskew}")), "{text}");
        ensure!(text.contains("vhid = 10") && text.contains("interface = \"eth0\""), "{text}");
        ensure!(text.matches("\n# ").count() >= 8, "it is not explained:\n{text}");
    }

    // Nothing is written over, unless that is asked for; and never the passphrase.
    let secret = fs::read(&key)?;
    let again = init(&a, &own, &line)?;
    ensure!(again.status.code() == Some(73), "{again:?}");
    ensure!(String::from_utf8_lossy(&again.stderr).contains("--force writes over it"), "{again:?}");
    ensure!(fs::read_to_string(&own)? == first, "it was written over");
    let forced = init(&a, &own, &[&line[..], &["--force"]].concat())?;
    ensure!(forced.status.success() && fs::read(&key)? == secret, "{forced:?}");

    // As they are told: the key, and its configuration, on the other node.
    fs::create_dir(directory.path().join("two"))?;
    let moved = directory.path().join("two/ha-agent.toml");
    fs::copy(&other, &moved)?;
    fs::copy(&key, directory.path().join("two/carp.key"))?;
    for (node, config) in [(&a, &own), (&b, &moved)] {
        let output = run(node, "check", config, &[])?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let bad: Vec<_> = said
            .lines()
            .filter(|line| !line.starts_with("ok ") && !line.starts_with("warning  machine: "))
            .collect();
        ensure!(bad.is_empty() && matches!(output.status.code(), Some(0 | 3)), "{bad:#?}");
    }
    let mut first = start(&a, &own)?;
    first.wait_for_line(0, "-> MASTER:", PATIENCE)?;
    let mut second = start(&b, &moved)?;
    second.wait_for_line(0, "-> BACKUP:", PATIENCE)?;
    first.signal(Signal::SIGTERM)?;
    ensure!(first.wait(PATIENCE)?.success(), "{:?}", first.lines());
    second.wait_for_line(0, "-> MASTER:", PATIENCE)?;
    second.signal(Signal::SIGTERM)?;
    ensure!(second.wait(PATIENCE)?.success(), "{:?}", second.lines());
    Ok(())
}

/// It takes a number that is not heard, links the two if it is told where the other one is, and keeps the classic pace.
#[test]
fn it_looks_and_does_as_it_is_told() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let lan = Lan::new("init-2")?;
    let (a, b) = (lan.node("a", A)?, lan.node("b", B)?);
    let running = Agent::start(&b, &AgentConfig::default())?;
    running.wait_for_state(0, "MASTER")?;
    let directory = tempfile::tempdir()?;
    let (own, other) = (directory.path().join("ha-agent.toml"), directory.path().join("other.toml"));
    let peer = B.to_string();
    let line = [
        "--node=node1",
        "--interface=eth0",
        "--address=10.77.0.200/24",
        "--address=2001:db8:77::200/64",
        "--interval=classic",
        "--peer",
        &peer,
        "--other",
        text(&other),
        "--advskew=7",
        "--yes",
    ];
    let output = init(&a, &own, &line)?;
    ensure!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(said.contains("10.77.0.2 advertises 10 by CARP") && said.contains("pair init"), "{said}");
    let (first, second) = (fs::read_to_string(&own)?, fs::read_to_string(&other)?);
    for word in [
        "vhid = 11",
        "advskew = 7",
        "mode = \"compat\"",
        "listen = [\"10.77.0.1:7780\"]",
        "connect = [\"10.77.0.2:7780\"]",
    ] {
        ensure!(first.contains(word) && !first.contains("\ninterval = "), "no '{word}' in:\n{first}");
    }
    for word in [
        "node = \"node2\"",
        "advskew = 100",
        "listen = [\"10.77.0.2:7780\"]",
        "connect = [\"10.77.0.1:7780\"]",
    ] {
        ensure!(second.contains(word), "no '{word}' in:\n{second}");
    }
    let output = run(&a, "check", &own, &["--no-listen"])?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let bad: Vec<_> =
        said.lines().filter(|line| !line.starts_with("ok ") && !line.contains("peer link: ")).collect();
    ensure!(bad.is_empty(), "{bad:#?}");
    Ok(())
}

#[test]
fn without_a_terminal_it_names_what_is_missing() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let lan = Lan::new("init-3")?;
    let a = lan.node("a", A)?;
    a.netns.ip("link add eth1 type veth peer name far1")?;
    a.netns.ip("link set far1 up")?;
    a.netns.ip("addr add 192.0.2.1/24 dev eth1")?;
    a.netns.ip("link set eth1 up")?;
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("ha-agent.toml");
    let table: [(&[&str], i32, &[&str]); 4] = [
        (
            &[],
            2,
            &["--interface (", "eth0 10.77.0.1/24", "eth1 192.0.2.1/24", "--address", "give these options"],
        ),
        (&["--interface=eth0"], 2, &["not enough is known: --address; "]),
        (
            &["--interface=eth0", "--address=10.77.0.200/24", "--interval=7parsecs"],
            78,
            &["makes no configuration", "interval"],
        ),
        (
            &["--interface=eth0", "--address=10.77.0.200/24", "--peer=fd00::2", "--node=a b"],
            78,
            &["makes no configuration", "node 'a b' is not valid"],
        ),
    ];
    for (line, code, words) in table {
        let output = init(&a, &file, line)?;
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(code), "{line:?}: {output:?}");
        for word in words {
            ensure!(errors.contains(word), "no '{word}' in: {errors}");
        }
        ensure!(fs::read_dir(directory.path())?.next().is_none(), "{line:?} left something");
    }
    Ok(())
}

/// A wrong answer is asked for again, and each of the right ones is in the file.
#[test]
fn at_a_terminal_it_asks() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let lan = Lan::new("init-ask")?;
    let a = lan.node("a", A)?;
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("ha-agent.toml");
    let mut terminal = ask(&a, &file)?;
    for (question, wrong, mistake, right) in [
        (
            "the interface that the clients are on (eth0 10.77.0.1/24) [eth0]: ",
            "eth9",
            "there is no interface eth9",
            "",
        ),
        ("the name of this node [", "a host", "node 'a host' is not valid", "controller-a"),
        ("the vhid, 1 to 255, that no other pair has there [10]: ", "256", "'256' is no vhid", "77"),
        ("the virtual addresses, such as 10.77.0.100/24: ", "", "there is no usual one", "10.77.0.200/24"),
        ("or classic if the other node is no ha-agent [10ms]: ", "7parsecs", "interval", ""),
    ] {
        terminal.wait_for(question, PATIENCE)?;
        terminal.press(&format!("{wrong}\r"))?;
        terminal.wait_for(&format!("\n  {mistake}"), PATIENCE)?;
        terminal.press(&format!("{right}\r"))?;
    }
    terminal.wait_for("ha-agent status says how the two are", PATIENCE)?;
    ensure!(terminal.wait(PATIENCE)?.success(), "{}", terminal.text());
    let asked = terminal.text();
    ensure!(asked.matches("the vhid, 1 to 255").count() == 2, "{asked}");
    let written = fs::read_to_string(&file)?;
    for word in [
        "node = \"controller-a\"",
        "interface = \"eth0\"",
        "vhid = 77",
        "10.77.0.200/24",
        "interval = \"10ms\"",
    ] {
        ensure!(written.contains(word), "no '{word}' in:\n{written}");
    }

    // What is there stays, and nothing is asked in vain.
    let mut again = ask(&a, &file)?;
    again.wait_for("--force writes over it", PATIENCE)?;
    ensure!(
        again.wait(PATIENCE)?.code() == Some(73) && !again.text().contains("the name"),
        "{}",
        again.text()
    );
    ensure!(fs::read_to_string(&file)? == written, "it was written over");
    Ok(())
}

#[test]
fn whoever_breaks_off_finds_nothing_written() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let lan = Lan::new("init-off")?;
    let a = lan.node("a", A)?;
    for (key, signal, code) in [("\x03", Some(Signal::SIGINT as i32), None), ("\x04", None, Some(2))] {
        let directory = tempfile::tempdir()?;
        let mut terminal = ask(&a, &directory.path().join("made/ha-agent.toml"))?;
        terminal.wait_for("the interface that", PATIENCE)?;
        terminal.press("\r")?;
        terminal.wait_for("the name of this node", PATIENCE)?;
        terminal.press("controller-a\r")?;
        terminal.wait_for("the vhid", PATIENCE)?;
        terminal.press(key)?;
        let status = terminal.wait(PATIENCE)?;
        ensure!((status.signal(), status.code()) == (signal, code), "{status}: {}", terminal.text());
        ensure!(fs::read_dir(directory.path())?.next().is_none(), "{key:?} left something");
    }
    Ok(())
}

/// In a terminal that is wide enough for each question.
fn ask(node: &Node, config: &Path) -> Result<Terminal> {
    let mut command = Command::new(lab::agent_binary()?);
    command.args(["init", "--config"]).arg(config);
    Terminal::start_in(&node.netns, &command, 40, 160)
}

fn init(node: &Node, config: &Path, arguments: &[&str]) -> Result<Output> {
    run(node, "init", config, arguments)
}

fn run(node: &Node, subcommand: &str, config: &Path, arguments: &[&str]) -> Result<Output> {
    let mut command = Command::new(lab::agent_binary()?);
    command.arg(subcommand).arg("--config").arg(config).args(arguments).stdin(std::process::Stdio::null());
    node.netns.run(move || Ok(command.output()?))?
}

fn start(node: &Node, config: &Path) -> Result<lab::Process> {
    let mut command = Command::new(lab::agent_binary()?);
    let beside = |name: &str| config.with_file_name(name);
    command.args(["run", "--config"]).arg(config).arg("--control").arg(beside("control.sock"));
    command.arg("--state").arg(beside("state"));
    // On no bpffs: nothing is left behind.
    command.arg("--pins").arg(beside("pins"));
    node.netns.spawn(&command)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}

const PATIENCE: Duration = Duration::from_secs(15);
