//! The text of a configuration.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::ask::Asked;

/// The configuration of this node, or of the other one.
pub(super) struct Text<'a> {
    pub(super) asked: &'a Asked,
    /// Whether the clock of this node is kept right.
    pub(super) synchronised: bool,
    pub(super) other: bool,
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Asked { vhid, addresses, advskew, passphrase_file, interval, peer, .. } = self.asked;
        let (node, interface, advskew) = if self.other {
            // Never the same: of two with one priority, neither gives in.
            let advskew = if *advskew < BEHIND { BEHIND } else { 0 };
            (&self.asked.other_node, &self.asked.other_interface, advskew)
        } else {
            (&self.asked.node, &self.asked.interface, *advskew)
        };
        let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        let passphrase_file = passphrase_file.to_string_lossy();
        writeln!(
            f,
            "# Made by `ha-agent init`. Every key is explained in docs/ha-agent.toml; `ha-agent check` judges it.\n"
        )?;
        writeln!(f, "# This node's name, in logs and status.\nnode = {node:?}\n")?;
        writeln!(
            f,
            "[auth]\n# The same on both nodes: its first line, at most 19 bytes. Only root may read it."
        )?;
        writeln!(f, "passphrase_file = {passphrase_file:?}")?;
        self.fmt_mode(f)?;
        writeln!(f, "\n[[vhost]]\nname = \"data\"")?;
        writeln!(f, "# The interface that the clients are on.\ninterface = {interface:?}")?;
        writeln!(
            f,
            "# The same on both nodes, and nobody else's on this network, no VRRP router's either.\nvhid = {vhid}"
        )?;
        writeln!(f, "# The same on both nodes: the digest covers them.\naddresses = {addresses:?}")?;
        writeln!(
            f,
            "# The priority on the wire: the lower one wins, first advbase, then advskew. Never the same on both nodes."
        )?;
        writeln!(f, "advbase = 1\nadvskew = {advskew}")?;
        match interval {
            Some(interval) => {
                writeln!(
                    f,
                    "# The same on both nodes: how often is advertised, and how many may be missed."
                )?;
                writeln!(f, "interval = {interval:?}\ndetect = 3")?;
            }
            None => writeln!(
                f,
                "# The classic pace: advertised every advbase s and advskew/256 s, missed for three times that."
            )?,
        }
        writeln!(f, "# Whether to take the role back from a node with a worse priority.\npreempt = false")?;
        match peer {
            Some((own, peer)) => self.fmt_link(f, *own, *peer),
            None => writeln!(
                f,
                "\n# The link between the two agents, which makes them a pair: docs/peer-link.md.\n# [peer]\n\
                 # listen = [\"10.77.0.1:{PORT}\"]\n# connect = [\"10.77.0.2:{PORT}\"]"
            ),
        }
    }
}

impl Text<'_> {
    fn fmt_mode(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.asked.interval.is_some(), self.synchronised) {
            (true, true) => writeln!(
                f,
                "# Both nodes are ha-agents: what was recorded and sent again is refused. Needs clocks that are alike.\n\
                 mode = \"strict\""
            ),
            (true, false) => writeln!(
                f,
                "# \"strict\" refuses what was recorded and sent again; it needs clocks that are alike, and this one is not\n\
                 # synchronised yet. On both nodes together.\nmode = \"compat\""
            ),
            (false, _) => writeln!(f, "# As other implementations have it.\nmode = \"compat\""),
        }
    }

    fn fmt_link(&self, f: &mut fmt::Formatter<'_>, own: IpAddr, peer: IpAddr) -> fmt::Result {
        let (own, peer) = if self.other { (peer, own) } else { (own, peer) };
        let [listen, connect] = [own, peer].map(|address| SocketAddr::new(address, PORT).to_string());
        writeln!(
            f,
            "\n# The link between the two agents; `ha-agent pair init` and `pair join` introduce them, once."
        )?;
        writeln!(f, "[peer]\nlisten = [{listen:?}]\nconnect = [{connect:?}]")
    }
}

/// The usual port of the link.
const PORT: u16 = 7780;
/// The priority of the node that is to stand by.
const BEHIND: u8 = 100;
