//! Introducing two agents to each other, as an operator does it.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::agent::Agent;
use crate::config::{AgentConfig, PeerLink};
use crate::lan::{Lan, Node};
use crate::pair::Pair;
use crate::process::Process;

/// `ha-agent pair init`, which waits for the other node.
#[derive(Debug)]
pub struct Host {
    /// The process.
    pub process: Process,
    /// Where it waits.
    pub address: String,
    /// The code that it shows.
    pub code: String,
}

impl Host {
    /// Starts it, and reads what it says.
    ///
    /// # Errors
    ///
    /// If it does not start.
    pub fn start(node: &Node, agent: &Agent, arguments: &[&str]) -> Result<Self> {
        let process = node.netns.spawn(command(agent, "init")?.args(arguments))?;
        let line = process.wait_for_line(0, "on the other node", PATIENCE)?;
        let line = process.lines().get(line).cloned().unwrap_or_default();
        let mut words = line.split_whitespace().skip_while(|word| *word != "join").skip(1);
        let address = words.next().context("no address")?.to_owned();
        let code = words.nth(1).context("no code")?.to_owned();
        Ok(Self { process, address, code })
    }
}

/// Two agents that may be linked, not introduced to each other yet, and a network between their nodes alone.
#[derive(Debug)]
pub struct Linked {
    /// The master.
    pub a: Agent,
    /// Its standby.
    pub b: Agent,
    /// 10.99.0.0/24.
    pub interlink: Lan,
    /// The nodes, and the network of the clients.
    pub pair: Pair,
}

impl Linked {
    /// Starts them, with a path of the link in each of these networks `10.N.0.0/24`, best first: 99 is the interlink's,
    /// 77 the clients'.
    ///
    /// # Errors
    ///
    /// If they do not start.
    pub fn start(label: &str, networks: &[u8]) -> Result<Self> {
        Self::start_with(label, networks, Self::configs())
    }

    /// The same, configured with all that does not follow from where they are.
    ///
    /// # Errors
    ///
    /// If they do not start.
    pub fn start_with(label: &str, networks: &[u8], configs: [AgentConfig; 2]) -> Result<Self> {
        Self::start_on(Pair::new(label)?, label, networks, configs)
    }

    /// The same on a pair that is there already.
    ///
    /// # Errors
    ///
    /// If they do not start.
    pub fn start_on(pair: Pair, label: &str, networks: &[u8], configs: [AgentConfig; 2]) -> Result<Self> {
        let interlink = Lan::new(&format!("{label}-x"))?;
        for (node, host) in [(&pair.a, 1), (&pair.b, 2)] {
            interlink.cable_as(node, "link0")?;
            node.netns.ip(&format!("addr add 10.99.0.{host}/24 dev link0"))?;
        }
        let at = |host: u8| networks.iter().map(|net| format!("10.{net}.0.{host}:7780")).collect();
        let on = |own: u8, peer: u8, config| {
            let peer_link = Some(PeerLink { listen: at(own), connect: at(peer) });
            AgentConfig { peer_link, ..config }
        };
        let [of_a, of_b] = configs;
        let (a, b) = pair.start(&on(1, 2, of_a), &on(2, 1, of_b))?;
        Ok(Self { a, b, interlink, pair })
    }

    /// What they are configured with if nothing else is said: `a` has the better priority.
    #[must_use]
    pub fn configs() -> [AgentConfig; 2] {
        [0, 100].map(|advskew| AgentConfig { advskew, ..AgentConfig::default() })
    }
}

/// Runs `ha-agent pair` with a subcommand in an agent's node; to be given more arguments.
///
/// # Errors
///
/// If there is no ha-agent.
pub fn command(agent: &Agent, subcommand: &str) -> Result<Command> {
    let mut command = Command::new(crate::agent_binary()?);
    command.args(["pair", subcommand, "--config"]).arg(agent.config());
    Ok(command)
}

/// Runs it to its end, which must be a good one. Returns what it printed.
///
/// # Errors
///
/// If it fails, with what it printed.
pub fn run(node: &Node, command: &Command) -> Result<String> {
    let mut process = node.netns.spawn(command)?;
    let status = process.wait(PATIENCE)?;
    let printed = process.lines().join("\n");
    ensure!(status.success(), "{command:?}: {status}: {printed}");
    Ok(printed)
}

/// Introduces the agents of two nodes to each other.
///
/// # Errors
///
/// If that fails.
pub fn introduce(a: (&Node, &Agent), b: (&Node, &Agent)) -> Result<()> {
    let mut host = Host::start(a.0, a.1, &[])?;
    run(b.0, command(b.1, "join")?.args([&host.address, "--code", &host.code]))?;
    let status = host.process.wait(PATIENCE)?;
    ensure!(status.success(), "{status}: {}", host.process.lines().join("\n"));
    Ok(())
}

const PATIENCE: Duration = Duration::from_secs(40);
