//! What happened, as it is read afterwards: `ha-agent events`, `history` and `status`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::introduction::Linked;
use lab::paired::{paired, settled, wait_for_phase};
use lab::{Agent, AgentConfig, Pair, Process};
use serde_json::Value;

#[test]
fn a_takeover_is_told_with_its_phases_and_kept_over_a_kill() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let pair = Pair::new("events")?;
    let standby = AgentConfig { advskew: 100, ..AgentConfig::default() };
    let (mut a, mut b) = pair.start(&AgentConfig::default(), &standby)?;
    let follower = follow(&b)?;
    let mark = b.mark();
    a.kill()?;
    b.wait_for_state(mark, "MASTER")?;
    let told = until(&b, "state_changed", 2)?;
    let change = &told.last().context("none")?["change"];
    ensure!(change["to"] == "MASTER" && change["cause"] == "silence", "{change:#}");
    for moment in ["last_heard_ns", "deadline_ns", "advertised_ns", "address_up_ns", "announced_ns"] {
        ensure!(change[moment].is_u64(), "{moment}: {change:#}");
    }
    let failover = history(&b)?.pop().context("no failover")?;
    ensure!(failover["kind"] == "carp" && failover["part"] == "took", "{failover:#}");
    let nobody = failover["nobody_ms"].as_f64().context("for how long")?;
    // The dead time of the standby is 33.9 ms.
    ensure!((33.0..200.0).contains(&nobody), "nobody for {nobody} ms");
    let names: Vec<_> =
        failover["phases"].as_array().into_iter().flatten().map(|it| it["name"].clone()).collect();
    ensure!(
        names == ["last_heard", "deadline", "decided", "advertised", "address_up", "announced"],
        "{names:?}"
    );
    let text = text(&b, &["history"])?;
    ensure!(text.contains("nobody for") && text.contains("░ deadline 33."), "{text}");
    let status = self::text(&b, &["status"])?;
    ensure!(status.contains("\nlast ") && status.contains("active    b, this node"), "{status}");

    // Long enough ago to be in the file.
    thread::sleep(Duration::from_secs(1));
    let before = events(&b, &[])?;
    b.kill()?;
    thread::sleep(Duration::from_millis(300));
    b.forget();
    b.restart(&pair.b)?;
    let again = until(&b, "agent_started", 2)?;
    ensure!(again.len() == 2, "{again:#?}");
    let after = events(&b, &[])?;
    ensure!(after.starts_with(&before), "not all is kept: {before:#?}\n{after:#?}");
    let numbers: Vec<_> = after.iter().filter_map(|event| event["number"].as_u64()).collect();
    ensure!(numbers.len() == after.len() && numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
    ensure!(history(&b)?.first() == Some(&failover), "the failover is not kept");

    // Whoever follows got each of them once.
    let last = after.last().context("none")?["number"].to_string();
    follower.wait_for_line(0, &format!(r#""number":{last}"#), PATIENCE)?;
    let got: Vec<u64> =
        lines(&follower.lines().join("\n")).iter().filter_map(|it| it["number"].as_u64()).collect();
    ensure!(got.is_sorted_by(|one, next| one < next), "{got:?}");
    let seen = numbers.iter().filter(|number| got.contains(number)).count();
    ensure!(seen == numbers.len(), "{seen} of {} were followed", numbers.len());

    let since = events(&b, &["--since", "0s"])?;
    ensure!(since.is_empty(), "{since:#?}");
    ensure!(events(&b, &["--since", "1h"])?.len() >= after.len());
    ensure!(events(&b, &["-n", "2"])?.len() == 2);
    Ok(())
}

#[test]
fn a_switchover_of_a_pair_is_one_entry_on_each_node() -> Result<()> {
    let Some(mut lab) = paired("events-pair")? else { return Ok(()) };
    let Linked { a, b, .. } = &mut lab;
    let (a, b): (&mut Agent, &Agent) = (a, b);
    let moved = a.command("failover")?;
    ensure!(moved.status.success(), "{moved:?}");
    wait_for_phase(b, "active")?;
    settled(a, b)?;
    until(b, "serving", 1)?;
    until(a, "switchover_ended", 1)?;
    for (agent, part, last) in [(&*a, "gave", "confirmed"), (b, "took", "serving")] {
        let entry = history(agent)?.pop().context("none")?;
        ensure!(
            entry["kind"] == "switchover" && entry["part"] == part && entry["failed"].is_null(),
            "{entry:#}"
        );
        let phases = entry["phases"].as_array().context("no phases")?;
        ensure!(phases.last().is_some_and(|phase| phase["name"] == last), "{entry:#}");
        let text = text(agent, &["history"])?;
        ensure!(text.contains("switchover  a -> b"), "{text}");
    }
    let (first, told) = (text(a, &["history"])?, text(a, &["events"])?);
    ensure!(first.contains("took the role  a: nobody had it"), "{first}");
    ensure!(told.contains("switchover to b: the operator wants it"), "{told}");
    b.tell("hold")?;
    let maintenance = |event: &Value| event["about"] == "LOC_MAINTENANCE";
    until_told(b, 1, |event| event["event"] == "reason_began" && maintenance(event))?;
    b.tell("resume")?;
    until_told(b, 1, |event| event["event"] == "reason_over" && maintenance(event))?;
    let told = events(b, &[])?;
    let is_told = |name: &str| told.iter().any(|event| event["event"] == name);
    for name in ["agent_started", "peer_link_up", "role_changed", "switchover_step", "wished", "reason_began"]
    {
        ensure!(is_told(name), "no {name} in {told:#?}");
    }
    let text = text(b, &["events"])?;
    ensure!(text.lines().any(|line| line.contains("LOC_MAINTENANCE") && line.contains("warning")), "{text}");
    ensure!(!text.contains('\x1b'), "colours in a pipe");
    b.tell("reload")?;
    until(b, "reloaded", 1)?;
    a.process.signal(nix::sys::signal::Signal::SIGTERM)?;
    a.process.wait(PATIENCE)?;
    let file = fs::read_to_string(a.state_directory().join("events.jsonl"))?;
    ensure!(lines(&file).iter().any(|event| event["event"] == "agent_ended"), "{file}");
    Ok(())
}

#[test]
fn where_nothing_can_be_kept_it_warns_once_and_serves() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let pair = Pair::new("unkept")?;
    let (a, _b) =
        pair.start(&AgentConfig::default(), &AgentConfig { advskew: 100, ..AgentConfig::default() })?;
    // Begun anew where a directory is in the place of the file.
    let mut a = a;
    let file = a.state_directory().join("events.jsonl");
    a.kill()?;
    a.forget();
    fs::remove_file(&file)?;
    fs::create_dir(&file)?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o500))?;
    a.restart(&pair.a)?;
    a.tell("hold")?;
    a.tell("resume")?;
    until(&a, "demotion_over", 1)?;
    let warned = a.process.lines().join("\n").matches("can't be kept").count();
    ensure!(warned == 1, "warned {warned} times");
    let told = a.command_with(&["events", "--json"])?;
    let why = String::from_utf8_lossy(&told.stderr).into_owned();
    ensure!(told.status.success() && why.contains("in memory only"), "{told:?}");
    Ok(())
}

#[test]
fn a_command_is_told_of_what_happens_and_one_that_hangs_or_fails_hinders_nobody() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let pair = Pair::new("hooks")?;
    let directory = tempfile::tempdir()?;
    let told = directory.path().join("told");
    let script = directory.path().join("tell");
    fs::write(
        &script,
        "#!/bin/sh\n{ env | grep ^HA_ | sort; cat; } >>\"$1.new\" && mv \"$1.new\" \"$1.$HA_EVENT\"\n",
    )?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    let notify = |command: &str, on: &str| format!("[[notify]]\ncommand = {command}\non = [{on}]\n");
    let more = [
        notify(&format!("[{script:?}, {told:?}]"), "\"state_changed\", \"demoted\""),
        notify("[\"sleep\", \"60\"]", "\"agent_started\""),
        notify("[\"/nonexistent\"]", "\"demoted\""),
        notify("[\"sh\", \"-c\", \"echo it went wrong >&2; exit 7\"]", "\"demoted\""),
    ];
    let config = AgentConfig { more: more.concat(), ..AgentConfig::default() };
    let agent = Agent::start(&pair.a, &config)?;
    agent.wait_for_state(0, "MASTER")?;
    agent.tell("hold")?;
    let file = |event: &str| directory.path().join(format!("told.{event}"));
    let deadline = Instant::now() + PATIENCE;
    while !file("demoted").exists() {
        ensure!(Instant::now() < deadline, "it is not told: {:?}", agent.process.lines());
        thread::sleep(Duration::from_millis(20));
    }
    let changed = fs::read_to_string(file("state_changed"))?;
    for fact in
        ["HA_ABOUT=data", "HA_CHANGE_TO=MASTER", "HA_EVENT=state_changed", "HA_NODE=a", "\"change\":{"]
    {
        ensure!(changed.contains(fact), "no {fact} in {changed}");
    }
    ensure!(lines(&changed).last().is_some_and(|event| event["change"]["to"] == "MASTER"), "{changed}");
    for complaint in ["/nonexistent on demoted", "exit status: 7 it went wrong"] {
        agent.process.wait_for_line(0, complaint, PATIENCE)?;
    }
    // The one that sleeps goes on, and the agent does not wait for it.
    let began = Instant::now();
    agent.leave()?;
    ensure!(began.elapsed() < Duration::from_secs(4), "it ended only after {:?}", began.elapsed());
    Ok(())
}

/// Follows what happens on an agent.
fn follow(agent: &Agent) -> Result<Process> {
    let mut command = Command::new(lab::agent_binary()?);
    command.args(["events", "--follow", "--json", "--since", "1h", "--control"]).arg(agent.socket());
    Process::start(command)
}

/// Waits until an event of a name was told so often; returns these.
fn until(agent: &Agent, name: &str, times: usize) -> Result<Vec<Value>> {
    until_told(agent, times, |event| event["event"] == name).with_context(|| format!("no {name}"))
}

fn until_told(agent: &Agent, times: usize, is_it: impl Fn(&Value) -> bool) -> Result<Vec<Value>> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let all = events(agent, &[])?;
        let found: Vec<_> = all.iter().filter(|event| is_it(event)).cloned().collect();
        if found.len() >= times {
            return Ok(found);
        }
        ensure!(Instant::now() < deadline, "told {} times in {all:#?}", found.len());
        thread::sleep(Duration::from_millis(20));
    }
}

/// What is complained of is judged elsewhere.
fn events(agent: &Agent, arguments: &[&str]) -> Result<Vec<Value>> {
    let output = agent.command_with(&[&["events", "--json"], arguments].concat())?;
    ensure!(output.status.success(), "{output:?}");
    Ok(lines(&String::from_utf8(output.stdout)?))
}

fn history(agent: &Agent) -> Result<Vec<Value>> {
    Ok(serde_json::from_str(&text(agent, &["history", "--json"])?)?)
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn text(agent: &Agent, arguments: &[&str]) -> Result<String> {
    let output = agent.command_with(arguments)?;
    ensure!(output.stderr.is_empty(), "{arguments:?}: {output:?}");
    Ok(String::from_utf8(output.stdout)?)
}

const PATIENCE: Duration = Duration::from_secs(10);
