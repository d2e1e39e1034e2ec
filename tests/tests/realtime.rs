//! What keeps the fast thread on time: its priority, its memory, and what it tells of its own lateness.

#[path = "support/seccomp.rs"]
mod seccomp;

use std::fmt::Write;
use std::fs;
use std::io::Read;
use std::net::Ipv4Addr;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::pair::{A, Pair};
use lab::refusal::Files;
use lab::{Agent, AgentConfig, Lan, Node, Process};
use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use seccomp::refuse;
use seccompiler::{SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};
use serde_json::Value;

#[test]
fn it_has_its_priority_and_its_memory_is_locked() -> Result<()> {
    let Some((_lan, node)) = lab("granted")? else { return Ok(()) };
    if !may_be_real_time()? {
        return Ok(());
    }
    let agent = Agent::start(&node, &AgentConfig::default())?;
    agent.wait_for_state(0, "MASTER")?;
    let pid = agent.process.pid();
    ensure!(scheduled(pid, "ha-detector")? == (libc::SCHED_FIFO, 50), "{:?}", scheduled(pid, "ha-detector")?);
    ensure!(scheduled(pid, "ha-executor")? == (libc::SCHED_FIFO, 49), "{:?}", scheduled(pid, "ha-executor")?);
    // Nobody else has one: not those who may work long.
    ensure!(scheduled(pid, "tokio-rt-worker")?.0 == libc::SCHED_OTHER, "a worker has a priority");
    ensure!(memory(pid, "VmLck")? >= memory(pid, "VmRSS")?, "not all of its memory is locked");
    let realtime = realtime(&agent)?;
    let expected =
        [("priority", Value::from(50)), ("memory_locked", true.into()), ("cpu_dma_latency_us", Value::Null)];
    for (key, value) in expected {
        ensure!(realtime[key] == value, "{key}: {realtime:#}");
    }
    ensure!(realtime["refused"] == Value::Array(Vec::new()), "{realtime:#}");
    ensure!(refusals(&agent.process).is_empty(), "{:?}", refusals(&agent.process));
    Ok(())
}

#[test]
fn what_the_system_does_not_let_go_of_stays_locked() -> Result<()> {
    let advice = u64::from(libc::MADV_DONTNEED.unsigned_abs());
    let lets_go = SeccompCondition::new(2, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, advice)?;
    let refused = (libc::SYS_madvise, vec![SeccompRule::new(vec![lets_go])?]);
    let Some((agent, _lab)) = agent_without("kept", refused)? else { return Ok(()) };
    ensure!(realtime(&agent)?["memory_locked"] == true, "{:#}", realtime(&agent)?);
    let unlocked = unlocked(agent.process.pid())?;
    ensure!(unlocked.is_empty(), "{unlocked:#?}");
    Ok(())
}

#[test]
fn what_is_not_locked_again_is_told() -> Result<()> {
    let refused = (libc::SYS_mlock2, Vec::new());
    let Some((agent, _lab)) = agent_without("lost", refused)? else { return Ok(()) };
    ensure!(!unlocked(agent.process.pid())?.is_empty(), "it locks in another way");
    let realtime = realtime(&agent)?;
    ensure!(realtime["memory_locked"] == false, "{realtime:#}");
    let said = realtime["refused"].to_string();
    ensure!(said.contains("LimitMEMLOCK"), "{said}");
    ensure!(refusals(&agent.process).len() == 1, "{:?}", refusals(&agent.process));
    Ok(())
}

#[test]
fn it_has_neither_where_that_is_not_asked_for() -> Result<()> {
    let Some((_lan, node)) = lab("off")? else { return Ok(()) };
    let toml = AgentConfig::default().toml("a") + "[realtime]\npriority = \"off\"\nlock_memory = false\n";
    let agent = Agent::launch(&node, &toml, "secret")?;
    agent.wait_for_state(0, "MASTER")?;
    let pid = agent.process.pid();
    for thread in ["ha-detector", "ha-executor"] {
        ensure!(scheduled(pid, thread)?.0 == libc::SCHED_OTHER, "{thread}: {:?}", scheduled(pid, thread)?);
    }
    ensure!(memory(pid, "VmLck")? == 0, "{} kB are locked", memory(pid, "VmLck")?);
    let realtime = realtime(&agent)?;
    ensure!(realtime["priority"].is_null() && realtime["memory_locked"] == false, "{realtime:#}");
    ensure!(realtime["refused"] == Value::Array(Vec::new()), "{realtime:#}");
    ensure!(refusals(&agent.process).is_empty(), "{:?}", refusals(&agent.process));
    Ok(())
}

#[test]
fn it_keeps_processors_awake_while_it_runs() -> Result<()> {
    let Some((_lan, node)) = lab("awake")? else { return Ok(()) };
    let before = match dma_latency() {
        Ok(before) => before,
        Err(error) => {
            eprintln!("skipped, because this machine has no {DMA_LATENCY}: {error}");
            return Ok(());
        }
    };
    let toml = AgentConfig::default().toml("a") + "[realtime]\ncpu_dma_latency = \"20us\"\n";
    let agent = Agent::launch(&node, &toml, "secret")?;
    agent.wait_for_state(0, "MASTER")?;
    ensure!(realtime(&agent)?["cpu_dma_latency_us"] == 20, "{:#}", realtime(&agent)?);
    ensure!(dma_latency()? <= 20, "{} µs", dma_latency()?);
    agent.leave()?;
    ensure!(dma_latency()? == before, "{} µs instead of {before}", dma_latency()?);
    Ok(())
}

#[test]
fn without_the_rights_it_runs_and_says_what_would_help() -> Result<()> {
    let Some((_lan, node)) = lab("refused")? else { return Ok(()) };
    let files = Files::new()?;
    let mut agent = node.netns.spawn(&without_rights(&files.run()?))?;
    agent.wait_for_line(0, "-> MASTER:", PATIENCE)?;
    ensure!(scheduled(agent.pid(), "ha-detector")?.0 == libc::SCHED_OTHER, "it has a priority");
    ensure!(memory(agent.pid(), "VmLck")? == 0, "its memory is locked");
    let remedies = [
        ["CAP_SYS_NICE", "LimitRTPRIO", "priority = \"off\""],
        ["CAP_IPC_LOCK", "LimitMEMLOCK", "lock_memory = false"],
    ];
    // Told once each: in the log, by status, by check.
    let status = output(
        Command::new(lab::agent_binary()?).args(["status", "--all", "--control"]).arg(files.socket()),
    )?;
    let check = output(&without_rights(&files.check()?))?;
    let log = refusals(&agent).join("\n");
    for (told, where_) in [(&log, "the log"), (&status, "status"), (&check, "check")] {
        for remedy in &remedies {
            let lines = told.lines().filter(|line| remedy.iter().all(|word| line.contains(word)));
            ensure!(lines.count() == 1, "{remedy:?} is not told once by {where_}:\n{told}");
        }
    }
    ensure!(status.contains("no real-time priority, memory not locked"), "{status}");
    agent.signal(Signal::SIGTERM)?;
    ensure!(agent.wait(PATIENCE)?.success(), "{:?}", agent.lines());
    Ok(())
}

#[test]
fn it_knows_how_late_it_was() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let pair = Pair::new("late")?;
    let standby = AgentConfig { advskew: 100, ..AgentConfig::default() };
    let (a, b) = pair.start(&AgentConfig::default(), &standby)?;
    let mark = b.mark();
    b.process.signal(Signal::SIGSTOP)?;
    pair.next_advertisements(SLEPT.into())?;
    b.process.signal(Signal::SIGCONT)?;
    let detector = until(&b, |detector| detector["lateness"]["late"].as_u64() >= Some(1))?;
    let lateness = &detector["lateness"];
    // It was to get up before the next silence, up to a dead time after it was stopped.
    ensure!(lateness["max_ms"].as_f64() >= Some(10.0 * (f64::from(SLEPT) - 6.0)), "{lateness:#}");
    // All that had come meanwhile was read before its silence was judged, so there was none.
    ensure!(lateness["late_records"].as_u64() >= Some(u64::from(SLEPT) - 2), "{lateness:#}");
    pair.only_master(A, 5)?;
    ensure!(b.changes(mark).is_empty(), "{:?}", b.changes(mark));
    ensure!(detector["received"].as_u64() >= Some(u64::from(SLEPT)), "{detector:#}");

    let detector = until(&a, |detector| detector["jitter"]["count"].as_u64() >= Some(u64::from(SLEPT)))?;
    for (name, key) in [("lateness", "late"), ("jitter", "missed")] {
        let histogram = &detector[name];
        let counts = histogram["buckets"].as_array().context("no buckets")?.iter();
        let sum: u64 = counts.filter_map(|bucket| bucket["count"].as_u64()).sum();
        ensure!(histogram["count"] == sum, "{histogram:#}");
        ensure!(histogram[key].is_u64(), "{histogram:#}");
    }
    let each = detector["cpu_us_per_advertisement"].as_f64();
    ensure!(each.is_some_and(|us| us > 0.0 && us < 100_000.0), "{detector:#}");

    for (format, ends) in [("openmetrics", true), ("prometheus", false)] {
        let mut metrics = Command::new(lab::agent_binary()?);
        metrics.args(["metrics", "--format", format, "--control"]).arg(b.socket());
        let metrics = output(&metrics)?;
        let late = metrics.lines().find_map(|line| line.strip_prefix("ha_agent_detector_late_total "));
        ensure!(late.is_some_and(|late| late.parse().is_ok_and(|late: f64| late >= 1.0)), "{metrics}");
        ensure!(metrics.ends_with("\n# EOF\n") == ends, "{metrics}");
    }
    Ok(())
}

#[test]
fn it_needs_little_memory() -> Result<()> {
    let Some((_lan, node)) = lab("memory")? else { return Ok(()) };
    if lab::agent_binary()?.components().any(|part| part.as_os_str() == "debug") {
        eprintln!("skipped, because a debug build is larger");
        return Ok(());
    }
    for (hosts, most_kib) in [(1, 12 * 1024), (255, 24 * 1024)] {
        let agent = Agent::launch(&node, &many(hosts), "secret")?;
        agent.process.wait_for_line(0, "running", PATIENCE)?;
        wait_until(|| {
            let status = agent.status()?;
            let vhosts = status["vhosts"].as_array().context("no virtual hosts")?;
            Ok(vhosts.iter().all(|vhost| vhost["last_change"]["announced_ns"].is_u64()))
        })?;
        let resident = memory(agent.process.pid(), "VmRSS")?;
        ensure!(resident <= most_kib, "{resident} KiB with {hosts} virtual hosts");
        eprintln!("{hosts} virtual hosts: {resident} KiB");
        agent.leave()?;
    }
    Ok(())
}

fn lab(label: &str) -> Result<Option<(Lan, Node)>> {
    if !lab::available() {
        return Ok(None);
    }
    let lan = Lan::new(label)?;
    let node = lan.node("a", A)?;
    Ok(Some((lan, node)))
}

/// An agent that is master, and to which a system call is refused.
fn agent_without(
    label: &str,
    (call, rules): (i64, Vec<SeccompRule>),
) -> Result<Option<(Agent, (Lan, Node))>> {
    if !lab::available() || !may_be_real_time()? {
        return Ok(None);
    }
    // First: the threads that belong to a namespace begin with it.
    refuse(call, rules, Errno::EPERM)?;
    let Some(lab) = lab(label)? else { return Ok(None) };
    let agent = Agent::start(&lab.1, &AgentConfig::default())?;
    agent.wait_for_state(0, "MASTER")?;
    Ok(Some((agent, lab)))
}

/// Whether a process may have a real-time priority here. In some containers none may.
fn may_be_real_time() -> Result<bool> {
    let granted = Command::new("chrt").args(["-f", "50", "true"]).output()?.status.success();
    if !granted {
        eprintln!("skipped, because no process may have a real-time priority here");
    }
    Ok(granted)
}

/// The same command, with neither the rights nor limits that allow what is asked for.
fn without_rights(command: &Command) -> Command {
    let mut without = Command::new("prlimit");
    without.args(["--rtprio=0:0", "--memlock=8388608:8388608", "--"]);
    without.args(["setpriv", "--bounding-set=-sys_nice,-ipc_lock", "--inh-caps=-sys_nice,-ipc_lock", "--"]);
    without.arg(command.get_program()).args(command.get_args());
    without
}

/// So many virtual hosts, all of the fastest kind that the default has.
fn many(hosts: u8) -> String {
    let mut toml = "node = \"a\"\n[auth]\npassphrase_file = \"carp.key\"\n".to_owned();
    for vhid in 1..=hosts {
        let address = Ipv4Addr::new(10, 78, 0, vhid);
        // Writing into a string does not fail.
        let _ = write!(
            toml,
            "[[vhost]]\nname = \"v{vhid}\"\ninterface = \"eth0\"\nvhid = {vhid}\naddresses = [\"{address}/32\"]\n\
             interval = \"10ms\"\n"
        );
    }
    toml
}

/// Policy and priority of the thread with this name.
fn scheduled(pid: Pid, name: &str) -> Result<(i32, i32)> {
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let task = task?.path();
        if fs::read_to_string(task.join("comm"))?.trim() == name {
            let stat = fs::read_to_string(task.join("stat"))?;
            // After the name, which may contain anything, come the fields from the third on.
            let fields: Vec<_> = stat.rsplit_once(')').context("no name")?.1.split_whitespace().collect();
            return Ok((fields[38].parse()?, fields[37].parse()?));
        }
    }
    anyhow::bail!("no thread is called {name}")
}

/// Which parts of files that it only reads are not locked.
fn unlocked(pid: Pid) -> Result<Vec<String>> {
    let maps = fs::read_to_string(format!("/proc/{pid}/smaps"))?;
    let (mut part, mut found) = ("", Vec::new());
    for line in maps.lines() {
        let flags = line.strip_prefix("VmFlags:");
        if flags.is_some_and(|flags| !flags.split_whitespace().any(|flag| flag == "lo")) {
            found.push(part.to_owned());
        } else if line.split_whitespace().next().is_some_and(|word| !word.ends_with(':')) {
            part = line;
        }
    }
    found.retain(|part| part.contains('/') && (part.contains(" r--p ") || part.contains(" r-xp ")));
    Ok(found)
}

/// A line of the process's status, in KiB.
fn memory(pid: Pid, key: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let value = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    let value = value.with_context(|| format!("no {key}"))?;
    Ok(value.trim().trim_end_matches(" kB").parse()?)
}

/// What the kernel keeps to at the moment, in µs.
fn dma_latency() -> Result<i32> {
    let mut bytes = [0; 4];
    fs::File::open(DMA_LATENCY)?.read_exact(&mut bytes)?;
    Ok(i32::from_ne_bytes(bytes))
}

fn realtime(agent: &Agent) -> Result<Value> {
    let status = agent.status()?;
    status.pointer("/detector/realtime").cloned().with_context(|| format!("{status:#}"))
}

/// What it says that it was refused. On a busy machine it may have more to say.
fn refusals(process: &Process) -> Vec<String> {
    process.lines().into_iter().filter(|line| line.contains(" in [realtime]")).collect()
}

/// What a command prints; it must succeed.
fn output(command: &Command) -> Result<String> {
    let mut again = Command::new(command.get_program());
    let output = again.args(command.get_args()).output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    // 3 is what `status` and `check` warn with.
    ensure!(matches!(output.status.code(), Some(0 | 3)), "{command:?}: {}: {errors}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

/// Asks for the detector's status until it is as wanted.
fn until(agent: &Agent, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
    let mut last = Value::Null;
    wait_until(|| {
        last = agent.status()?["detector"].clone();
        Ok(wanted(&last))
    })
    .with_context(|| format!("{last:#}"))?;
    Ok(last)
}

fn wait_until(mut happened: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !happened()? {
        ensure!(Instant::now() < deadline, "not within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

const DMA_LATENCY: &str = "/dev/cpu_dma_latency";
const PATIENCE: Duration = Duration::from_secs(10);
/// For how many advertisements a standby sleeps.
const SLEPT: u16 = 30;
