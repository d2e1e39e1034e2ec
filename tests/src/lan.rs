//! A bridge with nodes on it.

use std::net::Ipv4Addr;

use anyhow::Result;
use serde_json::Value;

use crate::netns::{self, Netns};

/// A bridge in a namespace of its own.
#[derive(Debug)]
pub struct Lan {
    netns: Netns,
    label: String,
}

/// A namespace with one interface, `eth0`, on the bridge.
#[derive(Debug)]
pub struct Node {
    /// The namespace.
    pub netns: Netns,
    /// Its short name.
    pub name: String,
    /// Its own address on `eth0`, in a /24.
    pub address: Ipv4Addr,
}

impl Lan {
    /// Makes the bridge. `label` tells the labs of one program apart.
    ///
    /// # Errors
    ///
    /// Without root, or without `ip`.
    pub fn new(label: &str) -> Result<Self> {
        netns::sweep();
        let netns = Netns::new(&format!("{label}-lan"))?;
        netns.ip("link add br0 type bridge mcast_snooping 0")?;
        netns.ip("link set br0 up")?;
        Ok(Self { netns, label: label.to_owned() })
    }

    /// Makes a node and cables it to the bridge. `name` has at most 12 characters.
    ///
    /// # Errors
    ///
    /// Without root, or without `ip`.
    pub fn node(&self, name: &str, address: Ipv4Addr) -> Result<Node> {
        let netns = Netns::new(&format!("{}-{name}", self.label))?;
        // No address of its own that speaks up by itself on the wire.
        let node = Node { netns, name: name.to_owned(), address };
        self.cable(&node)?;
        Ok(node)
    }

    /// Makes the node's `eth0`, cables it to the bridge, and gives it its address. For a node whose
    /// interface was deleted.
    ///
    /// # Errors
    ///
    /// If there is one already.
    pub fn cable(&self, node: &Node) -> Result<()> {
        let Node { netns, name, address } = node;
        netns.ip(&format!("link add eth0 type veth peer name {} netns {}", port(name), self.netns.name()))?;
        self.netns.ip(&format!("link set {} master br0 up", port(name)))?;
        netns.ip("link set eth0 up")?;
        netns.ip(&format!("addr add {address}/24 dev eth0"))
    }

    /// Pulls a node's cable.
    ///
    /// # Errors
    ///
    /// If it has none.
    pub fn cut(&self, node: &Node) -> Result<()> {
        self.netns.ip(&format!("link set {} down", port(&node.name)))
    }

    /// Plugs a node's cable in again.
    ///
    /// # Errors
    ///
    /// If it has none.
    pub fn mend(&self, node: &Node) -> Result<()> {
        self.netns.ip(&format!("link set {} up", port(&node.name)))
    }

    /// Parts a node from the others without its noticing: its carrier stays.
    ///
    /// # Errors
    ///
    /// If it has no cable.
    pub fn isolate(&self, node: &Node) -> Result<()> {
        self.netns.ip(&format!("link set {} nomaster", port(&node.name)))
    }

    /// Brings a node together with the others again.
    ///
    /// # Errors
    ///
    /// If it has no cable.
    pub fn rejoin(&self, node: &Node) -> Result<()> {
        self.netns.ip(&format!("link set {} master br0", port(&node.name)))
    }

    /// The bridge's end of a node's cable: what is sent there arrives at that node only.
    #[must_use]
    pub fn port(&self, node: &Node) -> String {
        port(&node.name)
    }

    /// Lets frames for a node wait while its cable is full, and whoever sends them with them. Without this they
    /// are lost, ours and others': a cable holds only 256 frames, whatever the node could bear.
    ///
    /// # Errors
    ///
    /// If there is such a queue already.
    pub fn queue(&self, node: &Node) -> Result<()> {
        // Before kernel 6.16 a cable does not say that it is full.
        let arguments = format!("-n {} qdisc add dev {} root pfifo", self.netns.name(), port(&node.name));
        netns::run("tc", &format!("{arguments} limit {QUEUE}")).map(drop)
    }

    /// The bridge's namespace.
    #[must_use]
    pub fn netns(&self) -> &Netns {
        &self.netns
    }
}

impl Node {
    /// Whether `eth0` has an address now.
    ///
    /// # Errors
    ///
    /// If there is no `eth0`.
    pub fn has_address(&self, address: Ipv4Addr) -> Result<bool> {
        let links = self.netns.ip_json("address show dev eth0")?;
        let mut addresses = links.pointer("/0/addr_info").and_then(Value::as_array).into_iter().flatten();
        Ok(addresses.any(|found| found.get("local").and_then(Value::as_str) == Some(&address.to_string())))
    }
}

/// The bridge's end of a node's cable.
fn port(name: &str) -> String {
    format!("to-{name}")
}

/// Frames: more than the buffer of one sending socket holds.
const QUEUE: u32 = 1000;
