//! The stage: two controllers and a client on a bridge. Everything on it is gone when it is dropped.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use lab::{
    Agent, AgentConfig, Capture, Captured, Client, Echo, Lan, Node,
    capture::{Seen, now_ns},
    pauses::Pauses,
};
use nix::sys::signal::Signal;
use serde::de::DeserializeOwned;

use super::{
    failover::{Change, Failover, Fault},
    wire::{Roles, Wire},
};
use crate::process::say;

/// Two controllers that run, and a client that talks to them. What needs something stands before it: fields are
/// dropped in their order.
pub(crate) struct Stage {
    pauses: Pauses,
    _client: Client,
    capture: Capture,
    controllers: [Controller; 2],
    _client_node: Node,
    lan: Lan,
}

struct Controller {
    agent: Agent,
    _echo: Echo,
    node: Node,
}

/// One controller is active, the other stands by, and the client is answered.
struct Calm {
    /// Index of the active one.
    active: usize,
    /// From this frame on, only the active one has been heard.
    mark: usize,
}

impl Stage {
    /// Makes the network and starts everything on it.
    ///
    /// # Errors
    ///
    /// Something is missing on this machine, or an agent does not run.
    pub(crate) fn set() -> Result<Self> {
        let lan = Lan::new("demo")?;
        let client_node = lan.node("client", CLIENT)?;
        let capture = Capture::start(&client_node.netns)?;
        let controllers = [Controller::start(&lan, "a", A, 0)?, Controller::start(&lan, "b", B, 10)?];
        let client = Client::start(&client_node.netns, ADDRESS)?;
        let pauses = Pauses::longer_than(TOLERATED)?;
        Ok(Self { pauses, _client: client, capture, controllers, _client_node: client_node, lan })
    }

    /// Lets the fault happen to the active controller, waits until the other one has taken over, measures that,
    /// and brings everything in order again.
    ///
    /// # Errors
    ///
    /// The failover did not happen, or the controllers do not come to order again.
    pub(crate) fn fail(&mut self, round: u32, fault: Fault) -> Result<Failover> {
        for _ in 0..ATTEMPTS {
            let Calm { active, mark } = self.calm()?;
            let (old, new) = self.roles(active);
            let (old_lines, new_lines) = (old.agent.mark(), new.agent.mark());
            let began = now_ns();
            self.inflict(fault, old)?;
            let done = now_ns();
            if fault == Fault::Link {
                old.agent.wait_for_state(old_lines, "INIT")?;
            }
            new.agent.wait_for_state(new_lines, "MASTER")?;
            self.wait_for_service(mark, began, new)?;
            let roles =
                Roles { old: old.node.address, new: new.node.address, address: ADDRESS, fault: began };
            let failover = match Wire::read(self.capture.frames(mark), roles)? {
                Some(wire) => {
                    let change = new.last_change()?;
                    ensure!(change.to == "MASTER", "{} took over and is {} again", new.node.name, change.to);
                    let names = (old.node.name.as_str(), new.node.name.as_str());
                    let failover = Failover::new((round, fault), names, done, wire, change, &self.pauses);
                    Some(failover.context("the new master does not say when it did what")?)
                }
                None => None,
            };
            self.restore(fault, active)?;
            if let Some(failover) = failover {
                return Ok(failover);
            }
            say(format_args!(
                "the standby took over before the fault: once more ({})",
                self.pauses.summary()
            ));
        }
        bail!(
            "{ATTEMPTS} times the standby took over before the fault; this machine may be too busy for the demo"
        );
    }

    /// Waits until one controller is master, the other one is backup, and the client is answered.
    fn calm(&self) -> Result<Calm> {
        for _ in 0..ATTEMPTS {
            let mark = self.capture.mark();
            let (source, hardware) = self.only_master(mark)?;
            let active = usize::from(source != A);
            let (old, new) = self.roles(active);
            if old.state()? == "MASTER" && new.state()? == "BACKUP" {
                let answered =
                    |frame: &Captured| frame.answer().filter(|answer| Some(answer.hardware) == hardware);
                let mark_of_answer = self.capture.mark();
                self.capture
                    .wait_for(mark_of_answer, PATIENCE, answered)
                    .context("the client is not answered")?;
                return Ok(Calm { active, mark });
            }
        }
        let states = self.controllers.iter().map(Controller::state).collect::<Result<Vec<_>>>()?;
        bail!(
            "one controller should be master and the other one backup, but they are {}",
            states.join(" and ")
        );
    }

    /// Waits until one controller has advertised for some time while the other one has not: its addresses.
    fn only_master(&self, mark: usize) -> Result<(IpAddr, Option<[u8; 6]>)> {
        let mut master = None;
        let mut count = 0;
        let look = |frame: &Captured| {
            let Seen { source, .. } = frame.advertisement()?;
            let sender = (source, frame.hardware());
            count = if master == Some(sender) { count + 1 } else { 1 };
            master = Some(sender);
            (count == CALM).then_some(sender)
        };
        self.capture.wait_for(mark, PATIENCE, look).context("no controller advertises steadily")
    }

    /// Waits until the new master advertises, the client has an answer from it, and a little longer.
    fn wait_for_service(&self, mark: usize, began: u64, new: &Controller) -> Result<()> {
        let mut hardware = None;
        let mut answered = false;
        let mut left = AFTERMATH;
        let look = |frame: &Captured| {
            if frame.at_ns <= began {
                return None;
            }
            if frame.advertisement().is_some_and(|seen| seen.source == new.node.address) {
                hardware = frame.hardware();
                left -= u32::from(answered);
            }
            answered |= frame.answer().is_some_and(|answer| Some(answer.hardware) == hardware);
            (left == 0).then_some(())
        };
        let waited = self.capture.wait_for(mark, PATIENCE, look);
        waited.with_context(|| format!("{} took over, but the client is not answered", new.node.name))
    }

    fn inflict(&self, fault: Fault, victim: &Controller) -> Result<()> {
        match fault {
            Fault::Link => self.lan.cut(&victim.node),
            Fault::Kill => victim.agent.process.signal(Signal::SIGKILL),
            Fault::Leave => victim.agent.process.signal(Signal::SIGTERM),
        }
    }

    fn restore(&mut self, fault: Fault, victim: usize) -> Result<()> {
        let Self { controllers, lan, .. } = self;
        let Some(Controller { agent, node, .. }) = controllers.get_mut(victim) else { return Ok(()) };
        let lines = match fault {
            Fault::Link => {
                let lines = agent.mark();
                // An answer that was under way may have left the kernel asking for the client's hardware address:
                // it asks again after a second, and the next fault comes before that.
                node.netns.ip("neigh flush dev eth0")?;
                lan.mend(node)?;
                lines
            }
            Fault::Kill | Fault::Leave => {
                let status = agent.process.wait(PATIENCE)?;
                ensure!(
                    fault == Fault::Kill || status.success(),
                    "the agent that left ended with {status}:\n{}",
                    agent.process.lines().join("\n")
                );
                agent.restart(node)?;
                0
            }
        };
        agent.wait_for_state(lines, "BACKUP").map(drop)
    }

    /// The active controller, and the other one.
    fn roles(&self, active: usize) -> (&Controller, &Controller) {
        let [a, b] = &self.controllers;
        if active == 0 { (a, b) } else { (b, a) }
    }
}

impl Controller {
    fn start(lan: &Lan, name: &str, address: Ipv4Addr, advskew: u8) -> Result<Self> {
        let node = lan.node(name, address)?;
        let config = AgentConfig {
            addresses: vec![format!("{ADDRESS}/24")],
            advskew,
            interval: Some(format!("{INTERVAL_MS}ms")),
            detect: Some(DETECT),
            preempt: false,
            ..AgentConfig::default()
        };
        let echo = Echo::start(&node.netns, ADDRESS)?;
        let agent = Agent::start(&node, &config)?;
        Ok(Self { agent, _echo: echo, node })
    }

    fn state(&self) -> Result<String> {
        self.ask("state")
    }

    fn last_change(&self) -> Result<Change> {
        self.ask("last_change")
    }

    /// Reads one field of the virtual host's status.
    fn ask<T: DeserializeOwned>(&self, field: &str) -> Result<T> {
        let name = &self.node.name;
        let status = self.agent.vhost().with_context(|| format!("the agent of {name} does not answer"))?;
        let value = status.get(field).cloned().unwrap_or_default();
        serde_json::from_value(value).with_context(|| format!("{field} in the status of {name}"))
    }
}

/// From one advertisement to the next.
pub(crate) const INTERVAL_MS: u8 = 10;
/// How many of them may be missed.
pub(crate) const DETECT: u8 = 3;

const A: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const B: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 3);
/// The virtual address.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 100);

const PATIENCE: Duration = Duration::from_secs(10);
/// How late a thread may wake up without its being written down.
const TOLERATED: Duration = Duration::from_millis(5);
/// So many advertisements of one controller in a row make a calm stage.
const CALM: u32 = 10;
/// So many advertisements after the first answer are waited for.
const AFTERMATH: u32 = 8;
const ATTEMPTS: u32 = 5;
