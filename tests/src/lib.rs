//! The lab: network namespaces on a bridge, agents and other implementations in them, a client, a capture.
//!
//! Everything is given back when its value is dropped: processes by their own number, namespaces by their
//! own name. What a killed run could not give back, the next [`Lan`] sweeps away.

pub mod addresses;
pub mod agent;
pub mod attacker;
pub mod bench;
pub mod browser;
pub mod capture;
pub mod client;
pub mod clock;
mod config;
pub mod etcd;
pub mod flap;
pub mod foreign;
pub mod frame;
pub mod frr;
pub mod http;
pub mod introduction;
pub mod iscsi;
pub mod keepalived;
pub mod lan;
pub mod load;
pub mod manual;
pub mod netns;
pub mod pair;
pub mod paired;
pub mod pauses;
pub mod peer;
pub mod process;
pub mod random;
pub mod refusal;
pub mod sender;
pub mod shared;
pub mod spread;
pub mod terminal;
pub mod tgt;
pub mod ucarp;
mod watched;
pub mod world;

pub use agent::Agent;
pub use attacker::Attacker;
pub use capture::{Capture, Captured};
pub use client::{Client, Echo};
pub use clock::Clock;
pub use config::{AgentConfig, PeerLink};
pub use frr::{BfddConfig, Frr, VrrpdConfig};
pub use keepalived::{Keepalived, KeepalivedConfig};
pub use lan::{Lan, Node};
pub use netns::Netns;
pub use pair::Pair;
pub use peer::Peer;
pub use process::Process;
pub use random::Random;
pub use spread::Spread;
pub use terminal::Terminal;
pub use ucarp::{Ucarp, UcarpConfig};
pub use watched::{interrupt, interrupt_on_signals, is_interrupted, pass, unless_interrupted};
pub use world::Site;

use std::path::PathBuf;
use std::sync::OnceLock;

use anyhow::{Result, ensure};

/// Whether the lab can work here: as root, with network namespaces.
///
/// A test that needs the lab begins with it and returns when the answer is `false`; the reason was printed.
#[must_use]
pub fn available() -> bool {
    if nix::unistd::Uid::effective().is_root() {
        netns::mount_bpffs();
        return true;
    }
    eprintln!("skipped, because network namespaces need root");
    false
}

/// Names the agent's binary, in a program that has built it itself. The first name counts.
pub fn use_agent_binary(path: PathBuf) {
    let _ = AGENT.set(path);
}

/// The agent's binary: the one that this program or `cargo xtask test` names, else the one beside the tests.
///
/// # Errors
///
/// If it is not there.
pub fn agent_binary() -> Result<PathBuf> {
    let named = AGENT.get().cloned().or_else(|| std::env::var_os("HA_AGENT_BIN").map(PathBuf::from));
    let beside = || Some(std::env::current_exe().ok()?.parent()?.parent()?.join("ha-agent"));
    let binary = named.or_else(beside).unwrap_or_default();
    ensure!(
        binary.is_file(),
        "no ha-agent at {}: `cargo xtask test` builds it and names it",
        binary.display()
    );
    Ok(binary)
}

static AGENT: OnceLock<PathBuf> = OnceLock::new();
