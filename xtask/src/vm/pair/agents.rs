//! The agents on the two nodes: configured, introduced to each other, asked.

use std::time::{Duration, Instant};

use ::lab::pass;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{
    guest::PATIENCE,
    lab::Lab,
    who::{Net, Node},
};

/// The agents of a lab.
pub(super) struct Agents<'a> {
    lab: &'a Lab,
}

impl<'a> Agents<'a> {
    /// Those of `lab`, which need not run.
    pub(super) fn new(lab: &'a Lab) -> Self {
        Self { lab }
    }

    /// Configures both, introduces them to each other as an operator does, and starts them. `more` is put at the end of
    /// their configurations, of a and of b.
    ///
    /// # Errors
    ///
    /// A command fails.
    pub(super) fn introduce(&self, more: [String; 2]) -> Result<()> {
        for (node, more) in Node::ALL.into_iter().zip(more) {
            let guest = self.lab.node(node)?;
            guest.run("mkdir -p /etc/ha-agent /run/ha-agent /var/lib/ha-agent && chmod 700 /etc/ha-agent")?;
            guest.put("/etc/ha-agent/carp.key", b"of the lab\n")?;
            guest.put("/etc/ha-agent/ha-agent.toml", format!("{}{more}", configuration(node)).as_bytes())?;
            guest.run("chmod 600 /etc/ha-agent/*")?;
        }
        let (a, b) = (self.lab.node(Node::A)?, self.lab.node(Node::B)?);
        a.run(
            "systemd-run --quiet --unit=introduction sh -c 'exec ha-agent pair init >/run/introduction 2>&1'",
        )?;
        let line = a.until("grep 'pair join' /run/introduction", PATIENCE)?;
        let join = line.split_once("ha-agent ").map(|(_, join)| join.trim());
        b.run(&format!("ha-agent {}", join.with_context(|| format!("no command in: {line}"))?))?;
        for node in Node::ALL {
            self.start(node)?;
        }
        Ok(())
    }

    /// Starts the agent of `node`.
    ///
    /// # Errors
    ///
    /// It cannot be started.
    pub(super) fn start(&self, node: Node) -> Result<()> {
        self.lab.node(node)?.run("systemctl start ha-agent")?;
        Ok(())
    }

    /// What the agent of `node` says of itself.
    ///
    /// # Errors
    ///
    /// It does not run.
    pub(super) fn status(&self, node: Node) -> Result<Value> {
        // Its exit code tells how bad things are.
        let output = self.lab.node(node)?.try_run("ha-agent status --json", PATIENCE)?;
        serde_json::from_str(&output.out)
            .with_context(|| format!("{node}'s agent says: {}{}", output.out, output.errors))
    }

    /// What the agent of `node` does in the pair: `active`, `standby` and the like.
    ///
    /// # Errors
    ///
    /// It does not run.
    pub(super) fn phase(&self, node: Node) -> Result<String> {
        Ok(self.status(node)?["pair"]["phase"].as_str().unwrap_or_default().to_owned())
    }

    /// Waits until one is active, the other stands by, and neither names a reason against a failover.
    ///
    /// # Errors
    ///
    /// That is not so within two minutes.
    pub(super) fn settled(&self) -> Result<()> {
        let began = Instant::now();
        while let Err(why) = self.is_settled() {
            ensure!(began.elapsed() < PATIENCE, "the pair does not settle: {why}");
            pass(LOOK)?;
        }
        Ok(())
    }

    /// Whether that is so now.
    ///
    /// # Errors
    ///
    /// What is not.
    pub(super) fn is_settled(&self) -> Result<(), String> {
        let statuses = [self.status(Node::A), self.status(Node::B)];
        let mut phases = statuses.each_ref().map(|status| match status {
            Ok(status) => status["pair"]["phase"].as_str().unwrap_or_default(),
            Err(_) => "",
        });
        phases.sort_unstable();
        let quiet = |status: &Result<Value>| {
            status.as_ref().is_ok_and(|status| status["reasons"].as_array().is_some_and(Vec::is_empty))
        };
        if phases == ["active", "standby"] && statuses.iter().all(quiet) {
            return Ok(());
        }
        let [a, b] = statuses.each_ref().map(|status| match status {
            Ok(status) => format!("{} {}", status["pair"]["phase"], status["reasons"]),
            Err(error) => format!("{error:#}"),
        });
        Err(format!("a {a}, b {b}"))
    }

    /// The one that is active.
    ///
    /// # Errors
    ///
    /// None is, or both.
    pub(super) fn active(&self) -> Result<Node> {
        let active = Node::ALL.map(|node| self.phase(node).is_ok_and(|phase| phase == "active"));
        match active {
            [true, false] => Ok(Node::A),
            [false, true] => Ok(Node::B),
            [false, false] => anyhow::bail!("neither is active"),
            [true, true] => anyhow::bail!("both are active"),
        }
    }

    /// Waits until the agent of `node` is in `phase`.
    ///
    /// # Errors
    ///
    /// It is not within `patience`.
    pub(super) fn wait_phase(&self, node: Node, phase: &str, patience: Duration) -> Result<()> {
        let began = Instant::now();
        loop {
            let found = self.phase(node)?;
            if found == phase {
                return Ok(());
            }
            ensure!(began.elapsed() < patience, "{node} is {found} and not {phase} after {patience:?}");
            pass(LOOK)?;
        }
    }
}

/// Every address where the clients find what the pair serves.
pub(super) const ADDRESS: &str = "10.77.0.100";

/// Times are as slow guests need them.
fn configuration(node: Node) -> String {
    let at = |node: Node| Net::ALL.map(|net| format!("{}:7780", net.address(node.who())));
    let [[service, interlink], [peer_service, peer_interlink]] = [at(node), at(node.peer())];
    let skew = match node {
        Node::A => 0,
        Node::B => 100,
    };
    format!(
        r#"node = "{node}"

[auth]
passphrase_file = "carp.key"
mode = "strict"

[peer]
listen = ["{interlink}", "{service}"]
connect = ["{peer_interlink}", "{peer_service}"]
dead_after = 5

[[vhost]]
name = "data"
interface = "eth0"
vhid = 10
addresses = ["{ADDRESS}/24"]
advskew = {skew}
interval = "100ms"
detect = 5
"#
    )
}

const LOOK: Duration = Duration::from_millis(200);
