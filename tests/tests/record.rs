//! What a live pair records replays to the same decisions, byte for byte; and what three pairs recorded once still
//! does.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::pair::A;
use lab::refusal::{self, Files};
use lab::{Agent, AgentConfig, Pair};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

#[test]
fn a_cut_link_and_its_healing() -> Result<()> {
    live("cut", |pair, records| {
        let (a, b) = pair.start(&master(records.file("a")), &standby(records.file("b")))?;
        // Its carrier is gone: the master knows.
        let (on_a, on_b) = (a.mark(), b.mark());
        pair.lan.cut(&pair.a)?;
        b.wait_for_state(on_b, "MASTER")?;
        pair.lan.mend(&pair.a)?;
        a.wait_for_state(on_a, "MASTER")?;
        b.wait_for_state(on_b, "BACKUP")?;
        pair.next_advertisements(20)?;
        // A partition: neither knows.
        let on_b = b.mark();
        pair.lan.isolate(&pair.b)?;
        b.wait_for_state(on_b, "MASTER")?;
        pair.lan.rejoin(&pair.b)?;
        b.wait_for_state(on_b, "BACKUP")?;
        pair.next_advertisements(20)?;
        records.end("b", b)?;
        records.end("a", a)
    })
}

#[test]
fn a_killed_master_and_its_return() -> Result<()> {
    live("kill", |pair, records| {
        let both = |config| AgentConfig { addresses: BOTH_FAMILIES.map(str::to_owned).to_vec(), ..config };
        let (mut a, b) =
            pair.start(&both(master(records.file("killed"))), &both(standby(records.file("b"))))?;
        let on_b = b.mark();
        a.kill()?;
        b.wait_for_state(on_b, "MASTER")?;
        records.demand("killed", &a, &["the recording", "the agent was killed, or could not write"])?;

        a.record_into(Some(records.file("a")));
        a.restart(&pair.a)?;
        a.wait_for_state(0, "MASTER")?;
        b.wait_for_state(on_b, "BACKUP")?;
        pair.next_advertisements(20)?;
        records.end("b", b)?;
        records.end("a", a)
    })
}

#[test]
fn a_leave_stops_and_a_hold() -> Result<()> {
    live("stops", |pair, records| {
        let (a, b) = pair.start(&master(records.file("a")), &standby(records.file("b")))?;
        let (on_a, on_b) = (a.mark(), b.mark());
        a.tell("hold")?;
        b.wait_for_state(on_b, "MASTER")?;
        a.wait_for_state(on_a, "BACKUP")?;
        a.tell("resume")?;
        a.wait_for_state(on_a, "MASTER")?;
        b.wait_for_state(on_b, "BACKUP")?;

        // A standby that stands still misses nothing.
        let on_b = b.mark();
        b.process.signal(Signal::SIGSTOP)?;
        pair.next_advertisements(20)?;
        b.process.signal(Signal::SIGCONT)?;
        pair.only_master(A, 20)?;
        ensure!(b.changes(on_b).is_empty(), "it took over: {:?}", b.changes(on_b));

        // A master that stands still is replaced, and comes back.
        let (on_a, on_b) = (a.mark(), b.mark());
        a.process.signal(Signal::SIGSTOP)?;
        b.wait_for_state(on_b, "MASTER")?;
        pair.next_advertisements(10)?;
        a.process.signal(Signal::SIGCONT)?;
        a.wait_for_state(on_a, "BACKUP")?;
        a.wait_for_state(on_a, "MASTER")?;
        b.wait_for_state(on_b, "BACKUP")?;
        pair.next_advertisements(20)?;

        let on_b = b.mark();
        records.end("a", a)?;
        b.wait_for_state(on_b, "MASTER")?;
        pair.next_advertisements(10)?;
        records.end("b", b)
    })
}

/// What was recorded once decides the same for ever, or whoever changes that knows it.
#[test]
fn the_traces_replay_to_what_was_printed() -> Result<()> {
    let traces: Vec<_> = fs::read_dir(TRACES)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    let traces: Vec<_> =
        traces.into_iter().filter(|path| path.extension().is_some_and(|it| it == "jsonl")).collect();
    ensure!(traces.len() == 7, "there are {}", traces.len());
    for trace in traces {
        let printed = replay(&trace)?;
        let expected = fs::read_to_string(trace.with_extension("txt"))?;
        ensure!(rare(&printed) == expected, "{}: it prints\n{}", trace.display(), rare(&printed));
    }
    Ok(())
}

#[test]
fn a_changed_trace_is_refused() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("changed.jsonl");
    let text = fs::read_to_string(Path::new(TRACES).join("cut-b.jsonl"))?;
    let changes: [(&str, &str, i32, &str); 4] = [
        (r#"["drop_addresses","#, "[", 1, "decided otherwise by data"),
        (r#""interval":10000000"#, r#""interval":20000000"#, 1, "decided otherwise by data"),
        (r#""event":"#, r#""evert":"#, 65, "missing field `event`"),
        (r#""version":1"#, r#""version":2"#, 65, "replay it with the ha-agent that recorded it"),
    ];
    for (from, to, code, expected) in changes {
        ensure!(text.contains(from), "{from} is not in it");
        fs::write(&path, text.replacen(from, to, 1))?;
        let output = Command::new(lab::agent_binary()?).arg("replay").arg(&path).output()?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(code), "{from}: {}: {errors}", output.status);
        ensure!(errors.lines().count() == 1 && errors.contains(expected), "{from}: {errors}");
        ensure!(errors.contains("changed.jsonl: line "), "{from}: {errors}");
    }
    let missing = Command::new(lab::agent_binary()?).args(["replay", "/nonexistent"]).output()?;
    ensure!(missing.status.code() == Some(69), "{missing:?}");
    Ok(())
}

#[test]
fn a_file_that_exists_is_not_written_over() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let pair = Pair::new("rec-exists")?;
    let files = Files::new()?;
    let file = files.config().with_file_name("mine");
    fs::write(&file, "mine")?;
    let mut command = files.run()?;
    command.arg("--record").arg(&file);
    refusal::expect(&pair.a, &command, 73, &["mine exists already", "name a new file", "remove it"])?;
    ensure!(fs::read_to_string(&file)? == "mine", "it was written over");

    let mut command = files.run()?;
    command.arg("--record").arg("/nonexistent/trace");
    refusal::expect(&pair.a, &command, 73, &["/nonexistent/trace can't be made", "--record"])?;

    // What did not begin leaves nothing that would be in the way of the next try.
    let file = file.with_file_name("new");
    let config = fs::read_to_string(files.config())?;
    fs::write(files.config(), config.replace("\"eth0\"", "\"nope0\""))?;
    let mut command = files.run()?;
    command.arg("--record").arg(&file);
    refusal::expect(&pair.a, &command, 69, &["nope0", "does not exist"])?;
    ensure!(!file.exists(), "an empty recording was left");
    Ok(())
}

#[test]
fn a_full_disk_ends_the_recording_and_nothing_else() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let disk = Disk::new("16k")?;
    let file = disk.0.path().join("trace.jsonl");
    let pair = Pair::new("rec-full")?;
    let (a, b) =
        pair.start(&master(file.clone()), &AgentConfig { advskew: 100, ..AgentConfig::default() })?;
    let line = a.process.wait_for_line(0, "nothing more is recorded", PATIENCE)?;
    let (on_a, on_b) = (a.mark(), b.mark());
    pair.only_master(A, 100)?;
    ensure!(a.changes(on_a).is_empty() && b.changes(on_b).is_empty(), "it disturbed somebody");
    let said = a.process.lines();
    let said: Vec<_> = said.iter().filter(|line| line.contains("recorded")).collect();
    ensure!(
        said.len() == 1 && said[0].contains(" ERROR ") && said[0].contains("No space"),
        "{said:?}, {line}"
    );
    a.leave()?;

    let printed = replay(&file)?;
    let end = printed.lines().last().unwrap_or_default();
    ensure!(end.contains("the agent was killed, or could not write"), "{end}");
    Ok(())
}

/// Runs a story on a live pair, whose recordings replay to what was logged meanwhile. With `HA_KEEP_TRACES` in the
/// environment, they take the place of those in `tests/data/traces`.
fn live(name: &'static str, story: impl Fn(&Pair, &Records) -> Result<()>) -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let records = Records { name, directory: tempfile::tempdir()? };
    story(&Pair::new(&format!("rec-{name}"))?, &records)
}

/// Where the agents of a story record.
struct Records {
    name: &'static str,
    directory: TempDir,
}

impl Records {
    fn file(&self, agent: &str) -> PathBuf {
        self.directory.path().join(format!("{}-{agent}.jsonl", self.name))
    }

    /// Lets an agent leave, and demands that its recording is whole and replays to what it has logged.
    fn end(&self, name: &str, mut agent: Agent) -> Result<()> {
        agent.process.signal(Signal::SIGTERM)?;
        let status = agent.process.wait(PATIENCE)?;
        ensure!(status.success(), "it ended with {status}: {}", agent.process.lines().join("\n"));
        self.demand(name, &agent, &["the same as recorded"])
    }

    /// Demands that the recording of an agent that has ended replays to what it has logged, and what the last line
    /// says.
    fn demand(&self, name: &str, agent: &Agent, words: &[&str]) -> Result<()> {
        let file = self.file(name);
        ensure!(fs::metadata(&file)?.permissions().mode() & 0o777 == 0o600, "others may read it");
        let printed = replay(&file)?;
        let last = printed.lines().last().unwrap_or_default();
        ensure!(words.iter().all(|word| last.contains(word)), "{name}: no {words:?} in: {last}");

        let (logged, replayed) = (changes(&agent.process.lines()), changes(&lines(&printed)));
        // Whoever is killed has no time to write the last ones down.
        let whole = last.contains("the same as recorded");
        let same = if whole { logged == replayed } else { logged.starts_with(&replayed) };
        ensure!(same && !replayed.is_empty(), "{name}: logged {logged:#?}, replayed {replayed:#?}");
        demand_all_decisions(&file)?;
        if std::env::var_os("HA_KEEP_TRACES").is_some() {
            let kept = Path::new(TRACES).join(file.file_name().context("no name")?);
            fs::write(&kept, fs::read(&file)?)?;
            fs::write(kept.with_extension("txt"), rare(&printed))?;
        }
        Ok(())
    }
}

/// Demands that what is printed as JSON are the decisions of the file, all of them, byte for byte.
fn demand_all_decisions(file: &Path) -> Result<()> {
    let output = Command::new(lab::agent_binary()?).arg("replay").arg("--json").arg(file).output()?;
    ensure!(output.status.success(), "{output:?}");
    let values = |text: &str| -> Vec<Value> {
        // The last line may be cut off.
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    };
    let printed = values(&String::from_utf8(output.stdout)?);
    let printed: Vec<_> = printed.iter().filter_map(|line| line.get("command")).collect();
    let recorded = values(&fs::read_to_string(file)?);
    let recorded = recorded.iter().filter_map(|line| line.pointer("/step/commands")?.as_array()).flatten();
    ensure!(!printed.is_empty() && printed == recorded.collect::<Vec<_>>(), "{}", file.display());
    Ok(())
}

/// What `replay` prints, which must find that it is the same.
fn replay(file: &Path) -> Result<String> {
    let output = Command::new(lab::agent_binary()?).arg("replay").arg(file).output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {}: {errors}", file.display(), output.status);
    let printed = String::from_utf8(output.stdout)?;
    ensure!(printed.contains("decisions: the same as recorded"), "{printed}");
    Ok(printed)
}

/// The changes of state in a log or in what `replay` prints, with their causes.
fn changes(lines: &[String]) -> Vec<String> {
    let changes = lines.iter().filter_map(|line| {
        let (before, after) = line.split_once(" -> ")?;
        let from = before.split_whitespace().last()?;
        let to = after.split(" vhost=").next()?;
        Some(format!("{from} -> {to}"))
    });
    changes.collect()
}

/// Without the advertisements that come with every interval.
fn rare(printed: &str) -> String {
    printed.split_inclusive('\n').filter(|line| !line.ends_with(": an advertisement was due\n")).collect()
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

/// A small disk; gone when dropped.
struct Disk(TempDir);

impl Disk {
    fn new(size: &str) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let options = format!("size={size}");
        mount(Some("tmpfs"), directory.path(), Some("tmpfs"), MsFlags::empty(), Some(&*options))?;
        Ok(Self(directory))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Err(error) = umount2(self.0.path(), MntFlags::MNT_DETACH) {
            eprintln!("{} is still mounted: {error}", self.0.path().display());
        }
    }
}

fn master(record: PathBuf) -> AgentConfig {
    AgentConfig { preempt: true, record: Some(record), ..AgentConfig::default() }
}

fn standby(record: PathBuf) -> AgentConfig {
    AgentConfig { advskew: 100, record: Some(record), ..AgentConfig::default() }
}

const BOTH_FAMILIES: [&str; 2] = ["10.77.0.100/24", "2001:db8:77::100/64"];
const TRACES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/traces");
const PATIENCE: Duration = Duration::from_secs(10);
