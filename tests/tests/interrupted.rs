//! Switchovers that are interrupted, at any moment and at each step: each ends with exactly one active node, which has the address, and with a
//! journal that says how it ended.

#[path = "interrupted/steps.rs"]
mod steps;

use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::introduction::{Linked, introduce};
use lab::{Agent, Node, Random};
use nix::sys::signal::Signal;

#[test]
fn whatever_happens_in_a_switchover_one_node_is_active_afterwards() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let seed = number("HA_SEED", 1);
    let rounds = number("HA_INTERRUPTED", 14);
    let mut random = Random::new(seed);
    let mut lab = Linked::start("interrupt", &[99])?;
    introduce((&lab.pair.a, &lab.a), (&lab.pair.b, &lab.b))?;
    let mut took = Vec::new();
    settle(&lab).context("at the beginning")?;
    for round in 0..rounds {
        let fault = Fault::ALL[usize::try_from(round)? % Fault::ALL.len()];
        let delay = Duration::from_micros(random.number() % 9_000);
        let lasts = Duration::from_millis(100 + random.number() % 900);
        let what = format!("seed {seed}, round {round}: {fault:?} after {delay:?}, for {lasts:?}");
        let mut marks = [lab.a.mark(), lab.b.mark()];
        let active_is_a = phase(&lab.a)? == "active";
        let order = order(if active_is_a { &lab.a } else { &lab.b })?;
        let began = Instant::now();
        while began.elapsed() < delay {
            std::hint::spin_loop();
        }
        strike(&mut lab, fault, active_is_a).with_context(|| what.clone())?;
        thread::sleep(lasts);
        mend(&mut lab, fault, active_is_a).with_context(|| what.clone())?;
        forget_life(&mut marks, fault, active_is_a);
        let began = Instant::now();
        let settled = settle(&lab);
        let lines = [&lab.a, &lab.b].map(|agent| agent.process.lines());
        let told = |node: usize| lines[node].get(marks[node]..).unwrap_or_default().join("\n");
        settled.with_context(|| format!("{what}\nA:\n{}\nB:\n{}", told(0), told(1)))?;
        took.push(began.elapsed());
        let said = order.wait_with_output()?;
        ensure!(!said.stdout.is_empty() || !said.stderr.is_empty(), "{what}: the operator was told nothing");
        tells_the_story(&told(0)).and(tells_the_story(&told(1))).with_context(|| what.clone())?;
    }
    took.sort_unstable();
    let (median, most) = (took[took.len() / 2], took[took.len() - 1]);
    println!(
        "{rounds} interrupted switchovers: one active again {median:?} after the fault (median), {most:?} at most"
    );
    Ok(())
}

/// What befalls a switchover.
#[derive(Clone, Copy, Debug)]
enum Fault {
    ActiveKilled,
    StandbyKilled,
    ActiveStopped,
    StandbyStopped,
    InterlinkCut,
    NetworkCut,
    BothCut,
}

impl Fault {
    const ALL: [Self; 7] = [
        Self::ActiveKilled,
        Self::StandbyKilled,
        Self::ActiveStopped,
        Self::StandbyStopped,
        Self::InterlinkCut,
        Self::NetworkCut,
        Self::BothCut,
    ];
}

fn strike(lab: &mut Linked, fault: Fault, active_is_a: bool) -> Result<()> {
    let Linked { a, b, interlink, pair } = lab;
    let (active, standby) = if active_is_a { (a, b) } else { (b, a) };
    match fault {
        Fault::ActiveKilled => active.kill(),
        Fault::StandbyKilled => standby.kill(),
        Fault::ActiveStopped => active.process.signal(Signal::SIGSTOP),
        Fault::StandbyStopped => standby.process.signal(Signal::SIGSTOP),
        Fault::InterlinkCut => interlink.cut(&pair.b),
        Fault::NetworkCut => pair.lan.isolate(&pair.b),
        Fault::BothCut => interlink.cut(&pair.b).and_then(|()| pair.lan.isolate(&pair.b)),
    }
}

fn mend(lab: &mut Linked, fault: Fault, active_is_a: bool) -> Result<()> {
    let Linked { a, b, interlink, pair } = lab;
    let (active, standby) =
        if active_is_a { ((a, &pair.a), (b, &pair.b)) } else { ((b, &pair.b), (a, &pair.a)) };
    match fault {
        Fault::ActiveKilled => active.0.restart(active.1),
        Fault::StandbyKilled => standby.0.restart(standby.1),
        Fault::ActiveStopped => active.0.process.signal(Signal::SIGCONT),
        Fault::StandbyStopped => standby.0.process.signal(Signal::SIGCONT),
        Fault::InterlinkCut => interlink.mend(&pair.b),
        Fault::NetworkCut => pair.lan.rejoin(&pair.b),
        Fault::BothCut => interlink.mend(&pair.b).and_then(|()| pair.lan.rejoin(&pair.b)),
    }
}

/// What a new life of an agent says is read from its beginning.
fn forget_life(marks: &mut [usize; 2], fault: Fault, active_is_a: bool) {
    let [of_a, of_b] = marks;
    let (active, standby) = if active_is_a { (of_a, of_b) } else { (of_b, of_a) };
    match fault {
        Fault::ActiveKilled => *active = 0,
        Fault::StandbyKilled => *standby = 0,
        Fault::ActiveStopped
        | Fault::StandbyStopped
        | Fault::InterlinkCut
        | Fault::NetworkCut
        | Fault::BothCut => {}
    }
}

/// An operator's order at the active node, whose answers come while it goes on.
fn order(agent: &Agent) -> Result<Child> {
    let mut command = Command::new(lab::agent_binary()?);
    command.args(["failover", "--control"]).arg(agent.socket());
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(command.spawn()?)
}

/// One is active and has the address, the other one stands by and does not have it, and both stay so. Returns since when.
fn settle(lab: &Linked) -> Result<Instant> {
    let nodes: [(&Agent, &Node); 2] = [(&lab.a, &lab.pair.a), (&lab.b, &lab.pair.b)];
    let began = Instant::now();
    let mut since = None;
    loop {
        let mut seen = Vec::new();
        for (agent, node) in nodes {
            seen.push((phase(agent)?, node.has_address(ADDRESS)?));
        }
        let mut sorted = seen.clone();
        sorted.sort();
        let well = sorted == [("active".to_owned(), true), ("standby".to_owned(), false)];
        match since {
            Some((at, ref before)) if well && *before == seen => {
                if Instant::duration_since(&Instant::now(), at) > STAYS {
                    return Ok(at);
                }
            }
            _ => since = well.then(|| (Instant::now(), seen.clone())),
        }
        ensure!(began.elapsed() < BOUND, "not within {BOUND:?}: {seen:?}");
        thread::sleep(Duration::from_millis(10));
    }
}

fn phase(agent: &Agent) -> Result<String> {
    Ok(agent.status()?["pair"]["phase"].as_str().unwrap_or_default().to_owned())
}

/// Whatever a life of the agent began, it has ended; or the next life says that it was interrupted.
fn tells_the_story(told: &str) -> Result<()> {
    let mut open = None;
    for line in told.lines() {
        let begins = line.contains("pair: switchover to");
        if begins || line.contains("pair: ready to take over") {
            // Who asked for it gets ready in the same one.
            let asked = open.is_some_and(|open: &str| !begins && open.contains("pair: switchover to"));
            ensure!(open.is_none() || asked, "a second one begins before the first has ended:\n{told}");
            open = Some(line);
        } else if line.contains("pair: switchover ended") {
            open = None;
        }
    }
    ensure!(open.is_none(), "without an end: {open:?}\n{told}");
    Ok(())
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

const ADDRESS: std::net::Ipv4Addr = std::net::Ipv4Addr::new(10, 77, 0, 100);
/// For so long it has to stay.
const STAYS: Duration = Duration::from_millis(300);
/// docs/switchover.md: dead + met + take + release × 2 + boot + rest + turn + answer × 4, where nothing hangs that is carried
/// out: 0.4 + 0.6 + 5 + 0.3 + 4 s, and what a start of the agent takes.
const BOUND: Duration = Duration::from_secs(15);
