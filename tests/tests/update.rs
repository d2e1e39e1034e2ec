//! The agents of a pair are replaced one after the other: under a client's requests, by packages that are none, by agents that
//! do not start or hang, and beside an agent of the release before.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::RwLock;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::capture::now_ns;
use lab::client::{Client, Echo};
use lab::introduction::{Linked, introduce};
use lab::{Agent, AgentConfig};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

#[test]
fn both_agents_are_replaced_with_two_short_switchovers_and_no_other_gap() -> Result<()> {
    // What it measures must not be disturbed.
    let _alone = MACHINE.write();
    let Some(lab) = Paired::start("update")? else { return Ok(()) };
    let Linked { a, b, pair, .. } = &lab.linked;
    let package = lab.package("package", b"a newer one")?;
    let before = [identity(a, "this")?, identity(a, "peer")?];
    let marks = [a.mark(), b.mark()];
    let _echoes = [Echo::start(&pair.a.netns, ADDRESS)?, Echo::start(&pair.b.netns, ADDRESS)?];
    let client = Client::start(&pair.witness.netns, ADDRESS)?;
    until("an answer", || Ok(!client.answers().is_empty()))?;
    let began = now_ns();
    let output = a.command_with(&["update", "--return", "--package", &text(&package)])?;
    let printed = said(&output);
    println!("{printed}");
    ensure!(output.status.code() == Some(0), "{output:?}");
    until("answers after it", || Ok(client.answers().last().is_some_and(|at| *at > now_ns() - 5_000_000)))?;
    let ended = now_ns();
    for (old, whose) in before.iter().zip(["this", "peer"]) {
        let new = identity(a, whose)?;
        ensure!(new["digest"] == digest(&package)?.as_str(), "{new:#}");
        ensure!(
            new["life"] != old["life"] && new["boot"] == old["boot"] && new["pid"] == old["pid"],
            "{new:#}"
        );
        ensure!(new["on_trial"] == false, "{new:#}");
    }
    for program in &lab.programs {
        ensure!(fs::read(program)? == fs::read(&package)?, "{} is not the package", program.display());
        ensure!(
            fs::read(beside(program, ".previous"))? == fs::read(&lab.original)?,
            "the one before is lost"
        );
        ensure!(!beside(program, ".new").exists(), "something was left");
    }
    ensure!(phase(a)? == "active" && phase(b)? == "standby", "the role was not given back");
    for (agent, mark) in [a, b].into_iter().zip(marks) {
        ensure!(takes(agent, mark) == 1, "{}", agent.process.lines().join("\n"));
    }
    let gaps = gaps(&client, began, ended);
    println!("without an answer, longest first: {:?}", &gaps[..gaps.len().min(6)]);
    // Two that belong to the switchovers, and no third one that a machine at rest would not have, too.
    ensure!(gaps.get(1).is_none_or(|gap| *gap <= SWITCHOVER), "{gaps:?}");
    ensure!(gaps.get(2).is_none_or(|gap| *gap <= PAUSE), "{gaps:?}");
    // Once more there is nothing to do, and what was replaced can be replaced: from the standby, without giving the role back.
    let again = b.command_with(&["update", "--package", &text(&package)])?;
    ensure!(
        again.status.success() && said(&again).matches("runs the package already").count() == 2,
        "{again:?}"
    );
    let newer = lab.package("newer", b"the next")?;
    let output = b.command_with(&["update", "--json", "--package", &text(&newer)])?;
    ensure!(output.status.success(), "{output:?}");
    let lines: Vec<Value> = said(&output).lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let kept = lines.iter().filter(|line| line["step"] == "keeps it").map(|line| &line["node"]);
    ensure!(kept.eq(["b", "a"]), "{lines:#?}");
    ensure!(phase(a)? == "standby" && phase(b)? == "active", "the role");
    Ok(())
}

#[test]
fn an_agent_that_does_not_start_halts_it_and_the_one_before_goes_on() -> Result<()> {
    let _other = MACHINE.read();
    let Some(lab) = Paired::start("broken")? else { return Ok(()) };
    let Linked { a, b, .. } = &lab.linked;
    let before = [identity(a, "this")?, identity(a, "peer")?];
    let marks = [a.mark(), b.mark()];
    let output = a.command_with(&["update", "--package", &text(&lab.broken("broken", b'e')?)])?;
    println!("{}", said(&output));
    // First: it is not ours, and must not outlive the test.
    let after = identity(a, "peer")?;
    let _guarded = Guarded::new(&after)?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(6), "{output:?}");
    ensure!(errors.contains("node b: the new agent ended; the one before is back"), "{errors}");
    untouched(&before[0], &identity(a, "this")?)?;
    ensure!(takes(a, marks[0]) + takes(b, marks[1]) == 0, "the role moved");
    ensure!(after["digest"] == before[1]["digest"] && after["life"] != before[1]["life"], "{after:#}");
    ensure!(after["failed"] == digest(&lab.directory.path().join("broken"))?.as_str(), "{after:#}");
    // What came back is whole: it takes the role.
    quiet_pair(a, b)?;
    let moved = a.command("failover")?;
    ensure!(moved.status.success(), "{moved:?}");
    Ok(())
}

#[test]
fn an_agent_that_hangs_is_ended_by_its_guard() -> Result<()> {
    let Some(lab) = Paired::start("hangs")? else { return Ok(()) };
    let Linked { a, .. } = &lab.linked;
    let before = [identity(a, "this")?, identity(a, "peer")?];
    let output = a.command_with(&["update", "--package", &text(&lab.broken("hanging", b'h')?)])?;
    println!("{}", said(&output));
    let after = identity(a, "peer")?;
    let _guarded = Guarded::new(&after)?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(6) && errors.contains("the agent before is back"), "{output:?}");
    untouched(&before[0], &identity(a, "this")?)?;
    ensure!(after["digest"] == before[1]["digest"] && after["phase"] == "standby", "{after:#}");
    Ok(())
}

#[test]
fn a_second_agent_that_is_turned_away_ends_no_trial() -> Result<()> {
    let _other = MACHINE.read();
    let Some(lab) = Paired::start("second")? else { return Ok(()) };
    let Linked { b, pair, .. } = &lab.linked;
    let trial = b.state_directory().join("trial.json");
    fs::write(&trial, json!({"digest": "0".repeat(64), "staged": "/new", "installed": "/old"}).to_string())?;
    let mut command = Command::new(&lab.original);
    command.arg("run").arg("--config").arg(b.config()).arg("--control").arg(b.socket());
    command.arg("--state").arg(b.state_directory()).arg("--pins").arg(b.pins());
    let mut second = pair.b.netns.spawn(&command)?;
    ensure!(second.wait(PATIENCE)?.code() == Some(69), "{}", second.lines().join("\n"));
    ensure!(trial.exists(), "the trial of the agent that runs was ended");
    Ok(())
}

#[test]
fn what_is_no_package_changes_nothing() -> Result<()> {
    let _other = MACHINE.read();
    let Some(lab) = Paired::start("refused")? else { return Ok(()) };
    let Linked { a, b, interlink, pair } = &lab.linked;
    let before = [identity(a, "this")?, identity(a, "peer")?];
    let marks = [a.mark(), b.mark()];
    let path = |name: &str| lab.directory.path().join(name);
    fs::write(path("text"), "#!/bin/sh\n")?;
    fs::write(path("empty"), "")?;
    let mut head = fs::read(&lab.original)?;
    head[18] ^= 1;
    fs::write(path("foreign"), head)?;
    fs::copy("/bin/true", path("true"))?;
    for (package, exit, expected) in [
        ("none", 65, "No such file"),
        ("empty", 65, "not 0 bytes"),
        (".", 65, "executable of an ha-agent"),
        ("text", 6, "not an executable file"),
        ("foreign", 6, "another kind of machine"),
        ("true", 6, "not an ha-agent"),
    ] {
        let output = a.command_with(&["update", "--package", &text(&path(package))])?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(exit) && errors.contains(expected), "{package}: {output:?}");
    }
    // Somebody who is not the agent's user, and may reach its socket.
    let package = lab.package("good", b"good")?;
    let request = json!({"request": {"update": {"of": "this", "order": "identify"}}});
    let refused = as_nobody(a, &request)?;
    ensure!(refused.contains("run it as the agent's user"), "{refused}");
    // A pair that is not whole.
    interlink.cut(&pair.b)?;
    until("the cut", || Ok(a.status()?["peer_link"]["state"] != "up"))?;
    let output = a.command_with(&["update", "--package", &text(&package)])?;
    ensure!(!output.status.success() && said(&output).contains("nothing was changed"), "{output:?}");
    interlink.mend(&pair.b)?;
    until("the pair", || Ok(identity(a, "peer").is_ok_and(|peer| peer["settled"] == true)))?;
    for (before, whose) in before.iter().zip(["this", "peer"]) {
        untouched(before, &identity(a, whose)?)?;
    }
    ensure!(!beside(&lab.programs[0], ".new").exists() && !beside(&lab.programs[1], ".new").exists(), "left");
    ensure!(takes(a, marks[0]) + takes(b, marks[1]) == 0, "the role moved");
    Ok(())
}

#[test]
fn an_agent_of_the_release_before_and_this_one_are_a_pair() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let Some(previous) = std::env::var_os("HA_PREVIOUS_BIN").map(PathBuf::from) else {
        eprintln!(
            "skipped, because HA_PREVIOUS_BIN names no agent of the release before: `cargo xtask test` builds it"
        );
        return Ok(());
    };
    let _other = MACHINE.read();
    for older_is_active in [true, false] {
        let programs =
            if older_is_active { [Some(previous.clone()), None] } else { [None, Some(previous.clone())] };
        let mut linked = Linked::start_with("before", &[99], running(programs))?;
        introduce((&linked.pair.a, &linked.a), (&linked.pair.b, &linked.b))?;
        let Linked { a, b, pair, .. } = &mut linked;
        quiet_pair(a, b)?;
        let versions = [a.status()?["version"].clone(), b.status()?["version"].clone()];
        ensure!(versions[0] != versions[1], "the same release: {versions:?}");
        // Back and forth, ordered at either of them.
        for at in [0, 1, 0, 1] {
            let moved = [&*a, &*b][at].command("failover")?;
            ensure!(moved.status.success(), "{moved:?}");
            quiet_pair(a, b)?;
        }
        let (newer, older) = if older_is_active { (&*b, &*a) } else { (&*a, &*b) };
        let refused = newer.command_with(&["update", "--package", &text(&lab::agent_binary()?)])?;
        let errors = String::from_utf8_lossy(&refused.stderr);
        ensure!(!refused.status.success() && errors.contains("too old for this"), "{refused:?}");
        ensure!(said(&refused).contains("nothing was changed"), "{refused:?}");
        ensure!(older.status()?["pair"]["phase"].is_string(), "the older one");
        // The active one dies, and the other one serves.
        let mark = b.mark();
        a.kill()?;
        b.process.wait_for_line(mark, "pair: active", PATIENCE)?;
        // Updated by hand, as a standby: then both are of this release.
        if older_is_active {
            a.use_program(None);
            a.restart(&pair.a)?;
            quiet_pair(a, b)?;
            let peer = identity(b, "peer")?;
            ensure!(peer["version"] == versions[1] && peer["phase"] == "standby", "{peer:#}");
        }
    }
    Ok(())
}

/// Waits until one is active, the other one stands by, each knows it of the other one, and nothing is wrong.
fn quiet_pair(a: &Agent, b: &Agent) -> Result<()> {
    until("a pair without a reason", || {
        let (a, b) = (a.status()?, b.status()?);
        // Whoever has just come back has facts already, but can't be asked yet.
        let is_quiet = |status: &Value| {
            status["peer"].is_object() && status["pair"]["peer"].is_string() && status["reasons"] == json!([])
        };
        let mut phases = [a["pair"]["phase"].as_str(), b["pair"]["phase"].as_str()];
        phases.sort_unstable();
        Ok(is_quiet(&a) && is_quiet(&b) && phases == [Some("active"), Some("standby")])
    })
}

/// Two agents, each with an executable of its own, so that it can be replaced.
struct Paired {
    linked: Linked,
    /// Of each node.
    programs: [PathBuf; 2],
    /// What both of them were.
    original: PathBuf,
    directory: TempDir,
}

impl Paired {
    /// `None` where it can't be.
    fn start(label: &str) -> Result<Option<Self>> {
        if !lab::available() {
            return Ok(None);
        }
        let directory = tempfile::tempdir()?;
        let original = directory.path().join("original");
        // What a debugger needs is many times the rest.
        let stripped = Command::new("strip").arg("-o").arg(&original).arg(lab::agent_binary()?).status()?;
        ensure!(stripped.success(), "strip: {stripped}");
        let programs = ["a", "b"].map(|node| directory.path().join(node).join("ha-agent"));
        for program in &programs {
            fs::create_dir(program.parent().context("no directory")?)?;
            fs::copy(&original, program)?;
        }
        let linked = Linked::start_with(label, &[99], running(programs.clone().map(Some)))?;
        introduce((&linked.pair.a, &linked.a), (&linked.pair.b, &linked.b))?;
        let paired = Self { linked, programs, original, directory };
        for whose in ["this", "peer"] {
            until("the pair", || {
                Ok(identity(&paired.linked.a, whose).is_ok_and(|node| node["settled"] == true))
            })?;
        }
        Ok(Some(paired))
    }

    /// An agent that does the same, and is another one.
    fn package(&self, name: &str, with: &[u8]) -> Result<PathBuf> {
        let path = self.directory.path().join(name);
        fs::copy(&self.original, &path)?;
        OpenOptions::new().append(true).open(&path)?.write_all(with)?;
        Ok(path)
    }

    /// One that does not run.
    fn broken(&self, name: &str, how: u8) -> Result<PathBuf> {
        let path = self.directory.path().join(name);
        fs::copy(env!("CARGO_BIN_EXE_broken_agent"), &path)?;
        OpenOptions::new().append(true).open(&path)?.write_all(&[how])?;
        Ok(path)
    }
}

/// Its SHA-256.
fn digest(path: &Path) -> Result<String> {
    let printed = lab::netns::run("sha256sum", &text(path))?;
    Ok(printed.split_whitespace().next().context("no digest")?.to_owned())
}

/// An agent that a guard has started: nobody's child.
struct Guarded(Pid);

impl Guarded {
    fn new(identity: &Value) -> Result<Self> {
        let pid = identity["pid"].as_i64().context("no process")?;
        Ok(Self(Pid::from_raw(i32::try_from(pid)?)))
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if let Err(error) = kill(self.0, Signal::SIGKILL) {
            eprintln!("the agent {} was not ended: {error}", self.0);
        }
    }
}

/// That the same agent runs there and does the same; what it knows of the other one may have changed meanwhile.
fn untouched(before: &Value, after: &Value) -> Result<()> {
    for key in ["node", "digest", "life", "boot", "pid", "phase", "on_trial", "failed"] {
        ensure!(before[key] == after[key], "{key}: {before:#} {after:#}");
    }
    Ok(())
}

/// The usual configurations, with other executables.
fn running(programs: [Option<PathBuf>; 2]) -> [AgentConfig; 2] {
    let ([a, b], [on_a, on_b]) = (Linked::configs(), programs);
    [AgentConfig { program: on_a, ..a }, AgentConfig { program: on_b, ..b }]
}

/// What runs on a node, asked at an agent: `this` or `peer`.
fn identity(at: &Agent, of: &str) -> Result<Value> {
    let answer = ask(at, &json!({"request": {"update": {"of": of, "order": "identify"}}}))?;
    answer.pointer("/update/identity").cloned().with_context(|| format!("no identity: {answer}"))
}

fn ask(at: &Agent, request: &Value) -> Result<Value> {
    let mut stream = std::os::unix::net::UnixStream::connect(at.socket())?;
    stream.set_read_timeout(Some(PATIENCE))?;
    writeln!(stream, "{request}")?;
    let answer = std::io::read_to_string(&stream)?;
    Ok(serde_json::from_str(answer.lines().last().unwrap_or_default())?)
}

/// Asks as somebody without rights whom the socket lets in.
fn as_nobody(at: &Agent, request: &Value) -> Result<String> {
    let script = format!(
        "use Socket; $( = $) = 65534; $< = $> = 65534; socket(S, PF_UNIX, SOCK_STREAM, 0) or die; \
         connect(S, sockaddr_un('{}')) or die $!; syswrite(S, qq({request}\\n)) or die; print <S>",
        at.socket().display()
    );
    fs::set_permissions(at.socket(), std::os::unix::fs::PermissionsExt::from_mode(0o666))?;
    let directory = at.socket().parent().context("no directory")?.to_owned();
    fs::set_permissions(directory, std::os::unix::fs::PermissionsExt::from_mode(0o711))?;
    let output = Command::new("perl").args(["-e", &script]).output()?;
    ensure!(output.status.success(), "{output:?}");
    Ok(said(&output))
}

/// Times without an answer between two moments, longest first.
fn gaps(client: &Client, from: u64, to: u64) -> Vec<Duration> {
    let within: Vec<u64> = client.answers().into_iter().filter(|at| (from..=to).contains(at)).collect();
    let mut gaps: Vec<_> = within.windows(2).map(|pair| Duration::from_nanos(pair[1] - pair[0])).collect();
    gaps.sort_unstable_by(|a, b| b.cmp(a));
    gaps
}

fn phase(agent: &Agent) -> Result<String> {
    Ok(agent.status()?["pair"]["phase"].as_str().unwrap_or_default().to_owned())
}

/// How often it has begun to take over, in what it printed from the `from`th line on.
fn takes(agent: &Agent, from: usize) -> usize {
    agent.process.lines().iter().skip(from).filter(|line| line.contains("pair: taking over")).count()
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn until(what: &str, mut look: impl FnMut() -> Result<bool>) -> Result<()> {
    let began = Instant::now();
    while !look()? {
        ensure!(began.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Who uses it to the full. The one that waits for a guard does not.
static MACHINE: RwLock<()> = RwLock::new(());
const ADDRESS: std::net::Ipv4Addr = std::net::Ipv4Addr::new(10, 77, 0, 100);
/// A switchover on a machine that others keep busy.
const SWITCHOVER: Duration = Duration::from_millis(40);
/// What a busy machine does to a client that is answered.
const PAUSE: Duration = Duration::from_millis(25);
const PATIENCE: Duration = Duration::from_secs(20);
