//! `ha-agent update`: a new agent on both nodes of a pair, the standby first. It stops at the first thing that is not as it
//! should be, and says how both nodes are then.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::exit::Exit;
use super::{ControlArg, fail, say};
use crate::control::client::{self, ClientError};
use crate::control::order::Failover;
use crate::core::pair::report::End;
use crate::update::{Answer, Digest, Identity, Order, Request, TRIAL, Whose, staging};

/// Arguments of `update`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    control: ControlArg,
    /// The executable of the new ha-agent, on this node. It is sent to the other one.
    #[arg(long, value_name = "FILE")]
    package: PathBuf,
    /// Give the active role back to the node that had it.
    #[arg(long = "return")]
    give_back: bool,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Exit {
    let package = match Package::open(&args.package) {
        Ok(package) => package,
        Err(error) => return fail(&error, Exit::Data),
    };
    let update = Update { socket: &args.control.control, package, began: Instant::now(), json: args.json };
    match update.run(args.give_back) {
        Ok(()) => Exit::Ok,
        Err(Halt::NotBegun(error, exit)) => {
            update.tell(None, "nothing was changed", "");
            fail(&error, exit)
        }
        Err(Halt::Halted(error)) => {
            for whose in [Whose::This, Whose::Peer] {
                match update.identify(whose) {
                    Ok(node) => update.tell(Some(&node.node), "is left as it is", &describe(&node)),
                    Err(error) => update.tell(None, "is left, and can't be asked", &error.to_string()),
                }
            }
            fail(&format!("the update was halted: {error}"), Exit::Halted)
        }
    }
}

struct Package {
    path: PathBuf,
    digest: Digest,
}

impl Package {
    fn open(path: &Path) -> Result<Self, String> {
        staging::open(path).map_err(|error| error.to_string())?;
        let named = |error| format!("the package {}: {error}", path.display());
        Ok(Self { path: path.canonicalize().map_err(named)?, digest: Digest::of(path).map_err(named)? })
    }
}

/// Why it does not go on.
enum Halt {
    /// Both nodes are as they were.
    NotBegun(String, Exit),
    /// One of them may not be.
    Halted(String),
}

struct Update<'a> {
    socket: &'a Path,
    package: Package,
    began: Instant,
    json: bool,
}

/// A line of what is told.
#[derive(Serialize)]
struct Line<'a> {
    after_ms: f64,
    node: Option<&'a str>,
    step: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    detail: &'a str,
}

impl Update<'_> {
    fn run(&self, give_back: bool) -> Result<(), Halt> {
        let (standby, active) = self.nodes()?;
        let first = active.1.node.clone();
        for (whose, before) in [standby, active] {
            if before.digest == self.package.digest {
                self.tell(Some(&before.node), "runs the package already", &before.version);
                continue;
            }
            let version = self.prepare(whose, &before)?;
            // Whatever happened up to here, and on the other node: this one is not to be active when it is replaced.
            if self.identify(whose).map_err(halted)?.phase.as_deref() != Some(STANDBY) {
                self.switch(None)?;
                self.until(whose, "to stand by", |node| node.settled && is_standby(node))
                    .map_err(Halt::Halted)?;
            }
            self.replace(whose, &before, &version)?;
        }
        if give_back {
            self.switch(Some(first))?;
        }
        for whose in [Whose::This, Whose::Peer] {
            let node = self.identify(whose).map_err(halted)?;
            self.tell(Some(&node.node), "updated", &describe(&node));
        }
        Ok(())
    }

    /// The standby and the active one, as they are now.
    fn nodes(&self) -> Result<(Named, Named), Halt> {
        let ask = |whose| {
            let identity = self.identify(whose);
            identity.map(|it| (whose, it)).map_err(|error| Halt::NotBegun(error.to_string(), error.exit()))
        };
        let nodes = [ask(Whose::This)?, ask(Whose::Peer)?];
        for (_, node) in &nodes {
            self.tell(Some(&node.node), "runs", &describe(node));
            if let Some(trouble) = trouble(node) {
                return Err(Halt::NotBegun(format!("node {}: {trouble}", node.node), Exit::Halted));
            }
        }
        match nodes {
            [a, b] if is_standby(&a.1) && is_active(&b.1) => Ok((a, b)),
            [a, b] if is_active(&a.1) && is_standby(&b.1) => Ok((b, a)),
            _ => {
                let why = "not one node is active and the other one standing by; see `ha-agent status`";
                Err(Halt::NotBegun(why.to_owned(), Exit::Halted))
            }
        }
    }

    /// Puts the package on a node, and has it looked at. Returns its version.
    fn prepare(&self, whose: Whose, node: &Identity) -> Result<String, Halt> {
        self.stage(whose, node).inspect_err(|_| {
            // What is not used does not stay; whatever comes of that, the first error counts.
            let _ = self.order(whose, Order::Revert);
        })
    }

    fn stage(&self, whose: Whose, node: &Identity) -> Result<String, Halt> {
        let digest = self.package.digest;
        self.order(whose, Order::Stage { path: self.package.path.clone(), digest }).map_err(halted)?;
        self.tell(Some(&node.node), "has the package", &format!("SHA-256 {digest}"));
        match self.order(whose, Order::Check { digest }).map_err(halted)? {
            Answer::Fits { version } => {
                self.tell(Some(&node.node), "can run it", &format!("version {version}"));
                Ok(version)
            }
            Answer::Identity(_) | Answer::Done => Err(Halt::Halted(UNEXPECTED.to_owned())),
        }
    }

    /// Lets a standby become the new agent.
    fn replace(&self, whose: Whose, before: &Identity, version: &str) -> Result<(), Halt> {
        let (digest, name) = (self.package.digest, &before.node);
        match self.order(whose, Order::Try { digest }) {
            // If the answer was lost, what follows shows it.
            Ok(_) | Err(ClientError::Io { .. }) => self.tell(Some(name), "goes on as the new agent", ""),
            Err(error) => return Err(halted(error)),
        }
        let is_back = |node: &Identity| node.life != before.life && node.digest != digest;
        let proven = |node: &Identity| {
            let is_new = node.digest == digest && node.version == version && node.life != before.life;
            is_new && node.boot == before.boot && node.settled && is_standby(node)
        };
        match self.until(whose, "to prove itself", |node| proven(node) || is_back(node)) {
            Ok(node) if proven(&node) => {
                self.tell(Some(name), "has proven itself", &describe(&node));
            }
            Ok(_) => {
                return Err(Halt::Halted(format!(
                    "node {name}: the new agent ended; the one before is back"
                )));
            }
            Err(error) => return Err(self.take_back(whose, before, &error)),
        }
        if let Err(error) = self.order(whose, Order::Keep { digest }) {
            return Err(self.take_back(whose, before, &error.to_string()));
        }
        self.tell(Some(name), "keeps it", "");
        Ok(())
    }

    /// The new agent is not what it should be: the one before is to go on.
    fn take_back(&self, whose: Whose, before: &Identity, why: &str) -> Halt {
        let name = &before.node;
        self.tell(Some(name), "takes the agent before", why);
        // If it does not answer, its guard ends it.
        let _ = self.order(whose, Order::Revert);
        let is_back = |node: &Identity| node.digest == before.digest && !node.on_trial;
        let back = self.until_within(TRIAL + PROVING, whose, "to run the agent before", is_back);
        Halt::Halted(match back {
            Ok(_) => format!("node {name}: {why}; the agent before is back"),
            Err(error) => format!("node {name}: {why}; {error}; look at its log"),
        })
    }

    /// Moves the active role, to a node of this name or to the other one.
    fn switch(&self, to: Option<String>) -> Result<(), Halt> {
        let order = Failover { to, force: false, force_after_ms: None };
        let deadline = Instant::now() + PROVING;
        let ended = loop {
            match client::failover(self.socket, order.clone(), |_| {}) {
                // What stood against it while an agent was away is told for a moment longer.
                Err(ClientError::Refused(_)) if Instant::now() < deadline => thread::sleep(LOOK),
                ended => break ended.map_err(halted)?,
            }
        };
        if ended.end != End::Moved {
            return Err(Halt::Halted(format!("the active role did not move: {}", ended.sentence)));
        }
        self.tell(None, "the active role has moved", &format!("in {:.1} ms", ended.after_ms));
        Ok(())
    }

    /// Asks a node what it runs until it is as it should be.
    fn until(
        &self,
        whose: Whose,
        what: &str,
        wanted: impl Fn(&Identity) -> bool,
    ) -> Result<Identity, String> {
        self.until_within(PROVING, whose, what, wanted)
    }

    fn until_within(
        &self,
        patience: Duration,
        whose: Whose,
        what: &str,
        wanted: impl Fn(&Identity) -> bool,
    ) -> Result<Identity, String> {
        let deadline = Instant::now() + patience;
        loop {
            let found = self.identify(whose);
            match found {
                Ok(node) if wanted(&node) => return Ok(node),
                _ if Instant::now() < deadline => thread::sleep(LOOK),
                Ok(node) => {
                    return Err(format!(
                        "it took longer than {patience:?} {what}: it is {}",
                        describe(&node)
                    ));
                }
                Err(error) => return Err(format!("it took longer than {patience:?} {what}: {error}")),
            }
        }
    }

    fn identify(&self, whose: Whose) -> Result<Identity, ClientError> {
        match self.order(whose, Order::Identify)? {
            Answer::Identity(identity) => Ok(*identity),
            Answer::Fits { .. } | Answer::Done => {
                Err(ClientError::Reply { path: self.socket.to_owned(), cause: UNEXPECTED.to_owned() })
            }
        }
    }

    fn order(&self, of: Whose, order: Order) -> Result<Answer, ClientError> {
        client::update(self.socket, Request { of, order })
    }

    fn tell(&self, node: Option<&str>, step: &str, detail: &str) {
        let after_ms = self.began.elapsed().as_secs_f64() * 1e3;
        if self.json {
            if let Ok(line) = serde_json::to_string(&Line { after_ms, node, step, detail }) {
                say(line);
            }
            return;
        }
        let (node, space) = (node.unwrap_or("pair"), if detail.is_empty() { "" } else { ": " });
        say(format_args!("{after_ms:>9.0} ms  {node}: {step}{space}{detail}"));
    }
}

type Named = (Whose, Identity);

#[expect(clippy::needless_pass_by_value, reason = "it is handed to `map_err`")]
fn halted(error: ClientError) -> Halt {
    Halt::Halted(error.to_string())
}

fn is_active(node: &Identity) -> bool {
    node.phase.as_deref() == Some("active")
}

fn is_standby(node: &Identity) -> bool {
    node.phase.as_deref() == Some(STANDBY)
}

/// Why no update can begin.
fn trouble(node: &Identity) -> Option<&'static str> {
    if node.phase.is_none() {
        Some("it is not one of a pair; alone, replace the executable and start it again")
    } else if node.on_trial {
        Some("an agent is on trial there: another update is under way")
    } else if !node.settled {
        Some(
            "it is busy, or a virtual host has no link, or the nodes do not hear each other; see `ha-agent status`",
        )
    } else {
        None
    }
}

fn describe(node: &Identity) -> String {
    let Identity { version, digest, phase, pid, on_trial, failed, .. } = node;
    let phase = phase.as_deref().unwrap_or("alone");
    let trial = match failed {
        Some(failed) => format!(", after {} did not prove itself", failed.short()),
        None if *on_trial => ", on trial".to_owned(),
        None => String::new(),
    };
    format!("{phase}, version {version}, SHA-256 {}, process {pid}{trial}", digest.short())
}

/// How long a node may take to be as it should be.
const PROVING: Duration = Duration::from_secs(20);
/// How often it is asked; there is nothing that could be awaited while its agent is away.
const LOOK: Duration = Duration::from_millis(50);
const STANDBY: &str = "standby";
const UNEXPECTED: &str = "something else than was asked for; use the ha-agent of the agent's version";
