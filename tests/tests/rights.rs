//! Which rights an agent has while it runs, and that those of the unit suffice.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::pair::{Pair, VIRTUAL};
use lab::{Agent, AgentConfig, Client, Echo};
use nix::unistd::Pid;

#[test]
fn started_by_root_it_gives_up_what_it_does_not_need() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let kept = kept()?;
    let pair = Pair::new("rights")?;
    let config = AgentConfig { interval: Some("100ms".to_owned()), ..AgentConfig::default() };
    let a = Agent::start(&pair.a, &config)?;
    a.wait_for_state(0, "MASTER")?;
    only(a.process.pid(), kept)?;
    // Nor does the next program in its process have more.
    let from = a.mark();
    a.tell("restart")?;
    a.process.wait_for_line(from, "INIT -> MASTER: the agent before", PATIENCE)?;
    only(a.process.pid(), kept)?;
    a.leave()
}

#[test]
fn with_the_rights_of_the_unit_and_without_root_it_serves() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let listed = listed()?;
    let pair = Pair::new("user")?;
    let _echoes = [Echo::start(&pair.a.netns, VIRTUAL)?, Echo::start(&pair.b.netns, VIRTUAL)?];
    let programs = tempfile::tempdir()?;
    for mac in ["interface", "virtual"] {
        let config = AgentConfig {
            interval: Some("100ms".to_owned()),
            mac: Some(mac.to_owned()),
            program: Some(as_user(programs.path())?),
            // The limits of the unit can't be had everywhere.
            more: "[realtime]\npriority = \"off\"\nlock_memory = false\n".to_owned(),
            ..AgentConfig::default()
        };
        let (a, b) = pair.start(&config, &AgentConfig { advskew: 100, ..config.clone() })?;
        for agent in [&a, &b] {
            only(agent.process.pid(), listed)?;
            let status = fs::read_to_string(format!("/proc/{}/status", agent.process.pid()))?;
            ensure!(status.contains(&format!("\nUid:\t{USER}\t{USER}\t{USER}\t{USER}\n")), "{status}");
            ensure!(agent.pins().exists(), "nothing of it outlives it");
        }
        let client = Client::start(&pair.witness.netns, VIRTUAL)?;
        let (on_a, on_b) = (a.mark(), b.mark());
        a.tell("reload")?;
        a.tell("restart")?;
        a.process.wait_for_line(on_a, "INIT -> MASTER: the agent before", PATIENCE)?;
        pair.advertisement(pair.capture.mark(), |_| true)?;
        ensure!(b.changes(on_b).is_empty() && client.lost() == 0, "{mac}: the restart was noticed");
        let complaints = |agent: &Agent| {
            agent.process.lines().into_iter().filter(|line| line.contains("WARN") || line.contains("ERROR"))
        };
        let complaints: Vec<_> = complaints(&a).chain(complaints(&b)).collect();
        ensure!(complaints.is_empty(), "{mac}: {complaints:#?}");
        a.leave()?;
        b.wait_for_state(on_b, "MASTER")?;
        b.leave()?;
    }
    Ok(())
}

/// The rights that root's agent keeps, as in `/proc`: those of the unit, and two more where limits stand for them that can't
/// be raised here.
fn kept() -> Result<u64> {
    let raised =
        Command::new("prlimit").args(["--rtprio=99:99", "--memlock=unlimited:unlimited", "true"]).output()?;
    Ok(listed()? | if raised.status.success() { 0 } else { 1 << CAP_IPC_LOCK | 1 << CAP_SYS_NICE })
}

/// The rights that the unit grants.
fn listed() -> Result<u64> {
    let granted = unit("AmbientCapabilities=")?;
    ensure!(granted == unit("CapabilityBoundingSet=")?, "what is granted is not what may be had");
    let bit = |name: &str| CAPABILITIES.iter().find(|(known, _)| *known == name).map(|(_, bit)| 1 << bit);
    granted.split_whitespace().map(|name| bit(name).with_context(|| format!("{name}?"))).sum()
}

/// What the unit says after a key.
fn unit(key: &str) -> Result<String> {
    let unit =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../ha-agent/dist/ha-agent.service"))?;
    let value = unit.lines().find_map(|line| line.strip_prefix(key)).with_context(|| format!("no {key}"))?;
    Ok(value.to_owned())
}

/// Demands that all threads of a process have these rights and can't get others.
fn only(pid: Pid, rights: u64) -> Result<()> {
    let tasks: Vec<_> = fs::read_dir(format!("/proc/{pid}/task"))?.collect::<std::io::Result<_>>()?;
    ensure!(tasks.len() > 3, "{} threads", tasks.len());
    for task in tasks {
        let status = fs::read_to_string(task.path().join("status"))?;
        for key in ["CapPrm", "CapEff", "CapBnd"] {
            let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(":\t"));
            let held = u64::from_str_radix(line.with_context(|| format!("no {key}"))?, 16)?;
            ensure!(held == rights, "{key} of {}: {held:#x} instead of {rights:#x}", task.path().display());
        }
    }
    Ok(())
}

/// An executable that is the agent as the unit runs it: another user, with its rights. What the unit's sandbox hides is
/// not hidden.
fn as_user(directory: &Path) -> Result<PathBuf> {
    let rights = unit("AmbientCapabilities=")?.to_lowercase().replace("cap_", "+").replace(' ', ",");
    let (agent, script) = (directory.join("ha-agent"), directory.join("as-user"));
    // The original may lie where only root can go.
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755))?;
    fs::copy(lab::agent_binary()?, &agent)?;
    let text = format!(
        "#!/bin/sh\n\
         set -e\n\
         for pins; do :; done\n\
         if [ -e \"$3\" ]; then\n\
         \tchown -R {USER} \"$(dirname \"$3\")\"\n\
         \tmkdir -p \"$pins\"\n\
         \tchown {USER} \"$pins\"\n\
         \tchmod a+x \"$(dirname \"$pins\")\"\n\
         fi\n\
         exec setpriv --reuid={USER} --regid={USER} \
         --clear-groups --inh-caps=-all,{rights} --ambient-caps=-all,{rights} --bounding-set=-all,{rights} -- \
         {} \"$@\"\n",
        agent.display(),
    );
    fs::write(&script, text)?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    ensure!(Command::new(&script).arg("--version").output()?.status.success(), "can't become another user");
    Ok(script)
}

/// `linux/capability.h`
const CAPABILITIES: [(&str, u32); 4] =
    [("CAP_NET_ADMIN", 12), ("CAP_NET_RAW", 13), ("CAP_PERFMON", 38), ("CAP_BPF", 39)];
const CAP_IPC_LOCK: u32 = 14;
const CAP_SYS_NICE: u32 = 23;
/// Nobody.
const USER: u32 = 65534;
const PATIENCE: Duration = Duration::from_secs(10);
