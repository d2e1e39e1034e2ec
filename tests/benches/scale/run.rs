//! One size: two agents come to order, and are looked at for a while.

use std::fmt::Write;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use lab::bench::Paused;
use lab::capture::{Tap, now_ns};
use lab::pauses::Pauses;
use lab::peer::milliseconds;
use lab::process::{Memory, cpu_time, memory, wakes};
use lab::{Agent, Lan, Node};

use super::floor;
use super::report::{AgentRow, Row};
use super::witness::{Sight, Silence};

/// Measures it.
///
/// # Errors
///
/// If the agents do not come to order, or the lab is interrupted.
pub(crate) fn measure(hosts: u8, time: Duration) -> Result<Row> {
    let lan = Lan::new("scale")?;
    let node = |name, host| lan.node(name, Ipv4Addr::new(10, 77, 0, host));
    let (a, b, witness) = (node("a", 1)?, node("b", 2)?, node("witness", 3)?);
    let half = |better| move |vhid| if vhid % 2 == better { 0 } else { SKEW };
    let agents = [start(&a, hosts, half(0))?, start(&b, hosts, half(1))?];
    settle(&agents, hosts)?;

    let pauses = Pauses::of_machine(TOLERATED)?;
    let tap = Tap::start(&witness.netns, Sight::default(), |sight, frame| sight.look(frame, LATE_NS))?;
    let used = || agents.iter().map(Used::of).collect::<Result<Vec<_>>>();
    let (began, began_ns, before) = (Instant::now(), now_ns(), used()?);
    lab::pass(time)?;
    let (seconds, ended_ns, after) = (began.elapsed().as_secs_f64(), now_ns(), used()?);
    let (sight, unseen) = tap.end()?;
    let floor = floor::per_frame(&witness)?;

    let expected = 2 * usize::from(hosts);
    if sight.voices() < expected {
        bail!("only {} of {expected} were heard", sight.voices());
    }
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let per_second = |count: u64| count as f64 / seconds;
    let mut rows = Vec::new();
    for (index, (agent, node)) in agents.iter().zip([&a, &b]).enumerate() {
        let Memory { resident, peak } = memory(agent.process.pid())?;
        rows.push(AgentRow {
            node: node.name.clone(),
            cpu_fraction: after[index].time.saturating_sub(before[index].time).as_secs_f64() / seconds,
            wakes_per_s: per_second(after[index].wakes - before[index].wakes),
            rss_mib: mebibytes(resident),
            peak_rss_mib: mebibytes(peak),
        });
    }
    let in_pause = |silence: &&Silence| {
        let found = pauses.between(silence.from_ns, silence.to_ns);
        found.iter().any(|pause| pause.late >= INTERVAL)
    };
    let of_all = |silence: &&Silence| pauses.of_all(silence.from_ns, silence.to_ns) >= INTERVAL;
    let frames_per_s = per_second(sight.frames);
    Ok(Row {
        peer: "ha-agent",
        load: "idle",
        hosts,
        interval_ms: INTERVAL.as_secs_f64() * 1e3,
        frames_per_s,
        cpu_fraction: rows.iter().map(|row| row.cpu_fraction).fold(0.0, f64::max),
        floor_ns_a_frame: floor.as_nanos(),
        floor_cpu_fraction: frames_per_s / 2.0 * floor.as_secs_f64(),
        rss_mib: rows.iter().map(|row| row.rss_mib).fold(0.0, f64::max),
        peak_rss_mib: rows.iter().map(|row| row.peak_rss_mib).fold(0.0, f64::max),
        wakes_per_s: rows.iter().map(|row| row.wakes_per_s).fold(0.0, f64::max),
        agents: rows,
        missed_deadlines: sight.silences.len(),
        missed_in_processor_pauses: sight.silences.iter().filter(in_pause).count(),
        missed_in_machine_pauses: sight.silences.iter().filter(of_all).count(),
        longest_ms: milliseconds(sight.longest_ns, 0),
        false_failovers: sight.changes,
        unseen,
        seconds,
        pauses: Paused::between(&pauses, began_ns, ended_ns),
    })
}

/// What an agent has used so far.
struct Used {
    time: Duration,
    /// How often its fast thread was woken.
    wakes: u64,
}

impl Used {
    fn of(agent: &Agent) -> Result<Self> {
        let pid = agent.process.pid();
        Ok(Self { time: cpu_time(pid)?, wakes: wakes(pid, "ha-detector")? })
    }
}

/// Starts an agent on a node, with a priority for each virtual host.
pub(crate) fn start(node: &Node, hosts: u8, advskew: impl Fn(u8) -> u8) -> Result<Agent> {
    let mut toml = format!("node = \"{}\"\n[auth]\npassphrase_file = \"carp.key\"\n", node.name);
    for vhid in 1..=hosts {
        let advskew = advskew(vhid);
        // Writing into a string does not fail.
        let _ = write!(
            toml,
            "[[vhost]]\nname = \"v{vhid}\"\ninterface = \"eth0\"\nvhid = {vhid}\nadvskew = {advskew}\n\
             addresses = [\"10.77.1.{vhid}/32\", \"2001:db8:77:1::{vhid:x}/128\"]\n\
             interval = \"10ms\"\ndetect = 3\npreempt = true\n"
        );
    }
    let agent = Agent::launch(node, &toml, "secret")?;
    agent.process.wait_for_line(0, "running", START)?;
    Ok(agent)
}

/// Waits until each is the master of those for which it is the better one.
fn settle(agents: &[Agent; 2], hosts: u8) -> Result<()> {
    let began = Instant::now();
    loop {
        let mut settled = true;
        for (agent, better) in agents.iter().zip([0, 1]) {
            let status = agent.status()?;
            let state = |vhid: u8| status["vhosts"][usize::from(vhid) - 1]["state"].as_str();
            let wanted = |vhid: u8| if vhid % 2 == better { "MASTER" } else { "BACKUP" };
            settled &= (1..=hosts).all(|vhid| state(vhid) == Some(wanted(vhid)));
        }
        if settled {
            // What follows a start is over.
            return lab::pass(AFTER_START);
        }
        if began.elapsed() > START {
            let states = |agent: &Agent| -> Result<usize> {
                let status = agent.status()?;
                let vhosts = status["vhosts"].as_array().context("no virtual hosts in the status")?;
                Ok(vhosts.iter().filter(|vhost| vhost["state"] == "MASTER").count())
            };
            bail!(
                "they do not come to order: {} and {} are master",
                states(&agents[0])?,
                states(&agents[1])?
            );
        }
        lab::pass(LOOK)?;
    }
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52 bytes")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

const INTERVAL: Duration = Duration::from_millis(10);
/// Between two advertisements: one was missed.
const LATE_NS: u64 = 20_000_000;
const SKEW: u8 = 10;
/// How long the agents may take to come to order.
const START: Duration = Duration::from_secs(30);
/// Announcements are repeated for three seconds.
const AFTER_START: Duration = Duration::from_secs(4);
const LOOK: Duration = Duration::from_millis(200);
/// A longer pause is written down.
const TOLERATED: Duration = Duration::from_millis(1);
