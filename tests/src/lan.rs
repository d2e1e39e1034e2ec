//! A bridge with nodes on it.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;

use crate::foreign;
use crate::frame::Hardware;
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
    /// Its own address on `eth0` that only this link knows.
    pub link_local: Ipv6Addr,
    /// Its own address on `eth0`, in a /64.
    pub global: Ipv6Addr,
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
        // A switch says nothing itself.
        netns.run(|| fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1"))??;
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
        let [.., host] = address.octets();
        let host = host.into();
        let node = Node {
            netns,
            name: name.to_owned(),
            address,
            link_local: Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, host),
            global: Ipv6Addr::new(0x2001, 0xdb8, 0x77, 0, 0, 0, 0, host),
        };
        self.cable(&node)?;
        Ok(node)
    }

    /// Makes the node's `eth0`, cables it to the bridge, and gives it its addresses. For a node whose
    /// interface was deleted.
    ///
    /// # Errors
    ///
    /// If there is one already.
    pub fn cable(&self, node: &Node) -> Result<()> {
        let Node { netns, address, link_local, global, .. } = node;
        self.cable_as(node, "eth0")?;
        netns.ip(&format!("addr add {address}/24 dev eth0"))?;
        // Usable at once: nobody else has them.
        netns.ip(&format!("addr add {link_local}/64 dev eth0 nodad"))?;
        netns.ip(&format!("addr add {global}/64 dev eth0 nodad"))
    }

    /// Makes another interface of a node and cables it to the bridge, without an address. A LAN has one cable
    /// to a node: this is for a node of another LAN.
    ///
    /// # Errors
    ///
    /// If there is one of that name already, or a cable.
    pub fn cable_as(&self, node: &Node, interface: &str) -> Result<()> {
        let Node { netns, name, .. } = node;
        let port = port(name);
        netns.ip(&format!("link add {interface} type veth peer name {port} netns {}", self.netns.name()))?;
        self.netns.ip(&format!("link set {port} master br0 up"))?;
        // No address that the kernel makes up, and asks for on the wire.
        netns.ip(&format!("link set {interface} addrgenmode none up"))
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

    /// Waits until the bridge forwards what comes through a node's cable: that may be later than its carrier.
    ///
    /// # Errors
    ///
    /// If it does not within 10 s.
    pub fn wait_until_forwarding(&self, node: &Node) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while self.netns.ip_json(&format!("-details link show dev {}", port(&node.name)))?[0]["linkinfo"]["info_slave_data"]
            ["state"]
            != "forwarding"
        {
            ensure!(Instant::now() < deadline, "the bridge forwards nothing from {}", node.name);
            thread::sleep(LOOK);
        }
        Ok(())
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

    /// Has the bridge forward nothing to a node, nor from it; its carrier stays, and so does what the bridge has
    /// learned.
    ///
    /// # Errors
    ///
    /// If it has no cable.
    pub fn block(&self, node: &Node) -> Result<()> {
        self.set_port(node, "disabled")
    }

    /// Has it forward everything again.
    ///
    /// # Errors
    ///
    /// If it has no cable.
    pub fn unblock(&self, node: &Node) -> Result<()> {
        self.set_port(node, "forwarding")
    }

    fn set_port(&self, node: &Node, state: &str) -> Result<()> {
        let arguments = format!("-n {} link set dev {} state {state}", self.netns.name(), port(&node.name));
        netns::run("bridge", &arguments).map(drop)
    }

    /// Lets the bridge drop the frames that match a rule of `nft` in the family `bridge`, like
    /// `iifname "to-a" ether type ip6`, until [`Lan::drop_nothing`].
    ///
    /// # Errors
    ///
    /// If `nft` is missing or does not understand it.
    pub fn drop_frames(&self, rule: &str) -> Result<()> {
        self.drop_frames_of(&[rule])
    }

    /// The same for any of several rules, all at once.
    ///
    /// # Errors
    ///
    /// The same.
    pub fn drop_frames_of(&self, rules: &[&str]) -> Result<()> {
        let rules = rules.iter().map(|rule| format!(" ; add rule bridge lab forward {rule} drop"));
        self.nft(&format!(
            "add table bridge lab ; add chain bridge lab forward {{ type filter hook forward priority 0 ; }}{}",
            rules.collect::<String>()
        ))
    }

    /// Lets the bridge forward everything again.
    ///
    /// # Errors
    ///
    /// If it drops nothing.
    pub fn drop_nothing(&self) -> Result<()> {
        self.nft("delete table bridge lab")
    }

    fn nft(&self, command: &str) -> Result<()> {
        netns::run("ip", &format!("netns exec {} nft {command}", self.netns.name())).map(drop)
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

    /// Lets a node's driver send back what it receives (`XDP_TX`): a cable carries that only to an end that polls, as one
    /// with a program does.
    ///
    /// # Errors
    ///
    /// If there is a program already.
    pub fn take_returns(&self, node: &Node) -> Result<()> {
        foreign::attach_to(&self.netns, &port(&node.name))
    }

    /// Has the bridge forward everything to everybody, like a hub, so that a witness hears what two nodes say to
    /// each other.
    ///
    /// # Errors
    ///
    /// Without `ip`.
    pub fn hub(&self) -> Result<()> {
        self.netns.ip("link set br0 type bridge ageing_time 0")
    }

    /// Frames that a node's cable has carried to it, and those that it has lost.
    ///
    /// # Errors
    ///
    /// Without `ip`.
    pub fn carried(&self, node: &Node) -> Result<(u64, u64)> {
        let links = self.netns.ip_json(&format!("-statistics link show dev {}", port(&node.name)))?;
        let count = |name: &str| links[0]["stats64"]["tx"][name].as_u64();
        count("packets").zip(count("dropped")).context("the statistics of a cable")
    }

    /// The bridge's namespace.
    #[must_use]
    pub fn netns(&self) -> &Netns {
        &self.netns
    }
}

impl Node {
    /// Whether an interface of the node has an address now.
    ///
    /// # Errors
    ///
    /// Without `ip`.
    pub fn has_address(&self, address: impl Into<IpAddr>) -> Result<bool> {
        Ok(self.address(address)?.is_some())
    }

    /// What `ip` says of an address of the node, if it has it now: `prefixlen`, `scope`, `tentative` and so on.
    ///
    /// # Errors
    ///
    /// Without `ip`.
    pub fn address(&self, address: impl Into<IpAddr>) -> Result<Option<Value>> {
        let address = Value::from(address.into().to_string());
        let links = self.netns.ip_json("address show")?;
        let links = links.as_array().into_iter().flatten();
        let mut addresses =
            links.filter_map(|link| link.get("addr_info")?.as_array()).flatten().filter(|it| it.is_object());
        Ok(addresses.find(|found| found.get("local") == Some(&address)).cloned())
    }

    /// The hardware address of an interface.
    ///
    /// # Errors
    ///
    /// If it is not there.
    pub fn hardware(&self, interface: &str) -> Result<Hardware> {
        let links = self.netns.ip_json(&format!("link show dev {interface}"))?;
        let text = links.pointer("/0/address").and_then(Value::as_str).context("no hardware address")?;
        let bytes: Vec<u8> =
            text.split(':').map(|byte| u8::from_str_radix(byte, 16)).collect::<Result<_, _>>()?;
        bytes.try_into().map_err(|_| anyhow!("a hardware address of another kind: {text}"))
    }
}

/// The bridge's end of a node's cable.
fn port(name: &str) -> String {
    format!("to-{name}")
}

/// Frames: more than the buffer of one sending socket holds.
const QUEUE: u32 = 1000;

const PATIENCE: Duration = Duration::from_secs(10);
/// How often the bridge is asked.
const LOOK: Duration = Duration::from_millis(1);
