//! The same at a named step: whoever ordered the switchover is told of each as it begins, and strikes at once.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::introduction::{Linked, introduce};
use lab::{Agent, Lan, Node};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::{BOUND, Fault, forget_life, mend, number, phase, settle, strike, tells_the_story};

#[test]
fn whatever_happens_at_a_step_of_a_switchover_one_node_is_active_afterwards() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let mut lab = Linked::start("steps", &[99])?;
    introduce((&lab.pair.a, &lab.a), (&lab.pair.b, &lab.b))?;
    settle(&lab).context("at the beginning")?;
    let mut table = String::new();
    for _ in 0..number("HA_STEPS", 1) {
        for step in STEPS {
            for fault in Fault::ALL {
                let row = interrupt(&mut lab, step, fault);
                let row = row.with_context(|| format!("{fault:?} at {:?}\n{table}", step.name))?;
                writeln!(table, "{row}")?;
            }
        }
    }
    println!("step     fault           struck after  one active  ended\n{table}");
    Ok(())
}

/// A step, and which node is told of it.
#[derive(Clone, Copy)]
struct Step {
    name: &'static str,
    at_active: bool,
}

/// All, in the order in which they begin. Each node is told of its own.
const STEPS: [Step; 7] = [
    Step { name: "ask", at_active: false },
    Step { name: "prepare", at_active: true },
    Step { name: "promise", at_active: false },
    Step { name: "grant", at_active: true },
    Step { name: "release", at_active: true },
    Step { name: "confirm", at_active: true },
    Step { name: "take", at_active: false },
];

/// One case. Returns its row.
fn interrupt(lab: &mut Linked, step: Step, fault: Fault) -> Result<String> {
    // What happened until now is not to count.
    for agent in [&lab.a, &lab.b] {
        agent.tell("resume")?;
    }
    let mut marks = [lab.a.mark(), lab.b.mark()];
    let mut knives = Knives::sharpen(lab)?;
    let (order, reached, active_is_a) = reach(lab, step)?;
    match fault {
        // At once; that it has ended is waited for below.
        Fault::ActiveKilled => agent(lab, active_is_a).process.signal(Signal::SIGKILL)?,
        Fault::StandbyKilled => agent(lab, !active_is_a).process.signal(Signal::SIGKILL)?,
        Fault::ActiveStopped | Fault::StandbyStopped => strike(lab, fault, active_is_a)?,
        Fault::InterlinkCut => knives.interlink.cut()?,
        Fault::NetworkCut => knives.network.cut()?,
        Fault::BothCut => knives.interlink.cut().and_then(|()| knives.network.cut())?,
    }
    let struck = reached.elapsed();
    if let Fault::ActiveKilled | Fault::StandbyKilled = fault {
        strike(lab, fault, active_is_a)?;
    }
    thread::sleep(LASTS);
    mend(lab, fault, active_is_a)?;
    let mended = Instant::now();
    forget_life(&mut marks, fault, active_is_a);
    let told = |node: usize| {
        let lines = [&lab.a, &lab.b][node].process.lines();
        lines.get(marks[node]..).unwrap_or_default().join("\n")
    };
    let story = || format!("A:\n{}\nB:\n{}", told(0), told(1));
    let one = settle(lab).with_context(story)?.saturating_duration_since(mended);
    ensure!(one < BOUND, "{one:?}");
    // Who has asked and is not answered says so later.
    while let Err(error) = tells_the_story(&told(0)).and(tells_the_story(&told(1))) {
        ensure!(mended.elapsed() < BOUND, "{error:#}\n{}", story());
        thread::sleep(Duration::from_millis(20));
    }
    let end = order.join().map_err(|_| anyhow::anyhow!("the reader panicked"))?;
    let (name, fault) = (step.name, format!("{fault:?}"));
    Ok(format!("{name:<8} {fault:<14} {:>10.2} ms {:>8.0} ms  {end}", ms(struck), ms(one)))
}

fn agent(lab: &Linked, is_a: bool) -> &Agent {
    if is_a { &lab.a } else { &lab.b }
}

/// Orders a switchover until one comes to the step, and tells whether `a` was active. What comes after that is read in the
/// background: the last that was told.
fn reach(lab: &Linked, step: Step) -> Result<(JoinHandle<String>, Instant, bool)> {
    let began = Instant::now();
    loop {
        let active_is_a = phase(&lab.a)? == "active";
        let mut stream = UnixStream::connect(agent(lab, step.at_active == active_is_a).socket())?;
        stream.set_read_timeout(Some(BOUND))?;
        // A node that rests after a failure is not ready otherwise.
        stream.write_all(b"{\"request\":{\"failover\":{\"force\":true}}}\n")?;
        let mut lines = BufReader::new(stream).lines();
        let mut said = Vec::new();
        for line in &mut lines {
            let line = line?;
            let reply: Value = serde_json::from_str(&line)?;
            let progress = &reply["progress"];
            if progress["step"] == step.name && progress["standing"] == "running" {
                let reached = Instant::now();
                return Ok((thread::spawn(move || last(lines)), reached, active_is_a));
            }
            said.push(line);
        }
        ensure!(began.elapsed() < BOUND, "it does not come to {:?}: {said:?}", step.name);
        // Refused, or ordered at the other one: something of the last round was not over yet, such as a word that was under
        // way when all was cut, and came when TCP said it again.
        thread::sleep(Duration::from_millis(20));
    }
}

/// How it ended, as the operator is told.
fn last(lines: impl Iterator<Item = std::io::Result<String>>) -> String {
    let mut end = None;
    for line in lines.map_while(Result::ok) {
        let reply: Value = serde_json::from_str(&line).unwrap_or_default();
        let sentence = reply["ended"]["sentence"].as_str().or(reply["error"].as_str());
        end = sentence.map(str::to_owned).or(end);
    }
    end.unwrap_or_else(|| "(its agent was killed)".to_owned())
}

/// What cuts a node's cables without having to be started first.
struct Knives {
    interlink: Knife,
    network: Knife,
}

struct Knife {
    process: Child,
    order: String,
}

impl Knives {
    fn sharpen(lab: &Linked) -> Result<Self> {
        let Linked { interlink, pair, .. } = lab;
        Ok(Self {
            interlink: Knife::new(interlink, &pair.b, "down")?,
            network: Knife::new(&pair.lan, &pair.b, "nomaster")?,
        })
    }
}

impl Knife {
    fn new(lan: &Lan, node: &Node, how: &str) -> Result<Self> {
        let mut command = Command::new("ip");
        command.args(["-n", lan.netns().name(), "-batch", "-"]).stdin(Stdio::piped());
        Ok(Self { process: command.spawn()?, order: format!("link set {} {how}\n", lan.port(node)) })
    }

    fn cut(&mut self) -> Result<()> {
        let input = self.process.stdin.as_mut().context("no input")?;
        input.write_all(self.order.as_bytes())?;
        Ok(input.flush()?)
    }
}

impl Drop for Knife {
    fn drop(&mut self) {
        // It ends with its input.
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Longer than the link's dead time.
const LASTS: Duration = Duration::from_millis(500);
