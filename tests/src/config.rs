//! What an agent of the lab is configured with.

use std::fmt::Write;
use std::fs::{self, Permissions};
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Result;

/// What is configured: one virtual host. What is `None` or empty is not in the file.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// The node's name, where it is not that of the lab.
    pub node: Option<String>,
    /// Passphrases: the first signs, all verify. Each has a file of its own.
    pub passphrases: Vec<String>,
    /// `compat` or `strict`.
    pub mode: Option<String>,
    /// How far the clocks of two nodes may differ, in strict mode.
    pub clock_difference: Option<String>,
    /// Name of the interface.
    pub interface: String,
    /// Where on their way frames are read: `auto`, `native`, `generic`, `tcx` or `packet`.
    pub receive: Option<String>,
    /// Virtual host.
    pub vhid: u8,
    /// Addresses with prefix length.
    pub addresses: Vec<String>,
    /// Priority: seconds.
    pub advbase: u8,
    /// Priority: 1/256 seconds.
    pub advskew: u8,
    /// Faster than the priority says.
    pub interval: Option<String>,
    /// How many may be missed.
    pub detect: Option<u8>,
    /// Whether it takes over from a worse master.
    pub preempt: bool,
    /// Only these may be heard.
    pub peers: Vec<IpAddr>,
    /// Where advertisements go instead of the group.
    pub unicast: Vec<IpAddr>,
    /// `interface` or `virtual`: whose hardware address the virtual addresses have.
    pub mac: Option<String>,
    /// `interface` or `virtual`: what advertisements come from.
    pub advertise_from: Option<String>,
    /// `either` or `both`: which families a master must be heard by.
    pub families: Option<String>,
    /// How often a master announces its addresses.
    pub announce_every: Option<String>,
    /// With which other virtual hosts it stands for the same clients.
    pub group: Option<String>,
    /// The link to the peer's agent.
    pub peer_link: Option<PeerLink>,
    /// The lines of `[witness]`.
    pub witness: Option<String>,
    /// The lines of `[web]`. There is a file with a token beside the configuration, `web.token`, with [`AgentConfig::TOKEN`].
    pub web: Option<String>,
    /// More lines at the end: further virtual hosts.
    pub more: String,
    /// What it shares with the peer when it starts for the first time: all that can be is then in there, not in its file.
    pub shared: Option<String>,
    /// Not in the file: where the agent records.
    pub record: Option<PathBuf>,
    /// Not in the file: the agent's executable, where it is not the one that is tested.
    pub program: Option<PathBuf>,
}

/// The link to the peer's agent; its files are beside the configuration.
#[derive(Clone, Debug)]
pub struct PeerLink {
    /// Where to listen, with ports.
    pub listen: Vec<String>,
    /// Where the peer listens, with ports, best first.
    pub connect: Vec<String>,
}

impl Default for AgentConfig {
    fn default() -> Self {
        Self {
            node: None,
            passphrases: vec!["secret".to_owned()],
            mode: None,
            clock_difference: None,
            interface: "eth0".to_owned(),
            receive: None,
            vhid: 10,
            addresses: vec!["10.77.0.100/24".to_owned()],
            advbase: 1,
            advskew: 0,
            interval: Some("10ms".to_owned()),
            detect: Some(3),
            preempt: false,
            peers: Vec::new(),
            unicast: Vec::new(),
            mac: None,
            advertise_from: None,
            families: None,
            announce_every: None,
            group: None,
            peer_link: None,
            witness: None,
            web: None,
            more: String::new(),
            shared: None,
            record: None,
            program: None,
        }
    }
}

impl AgentConfig {
    /// Who knows it may look at the agent's page, where that asks for one.
    pub const TOKEN: &str = "a-token-of-the-lab";

    /// The default, between our own nodes only.
    #[must_use]
    pub fn strict() -> Self {
        Self { mode: Some("strict".to_owned()), ..Self::default() }
    }

    /// The file's text.
    #[must_use]
    pub fn toml(&self, node: &str) -> String {
        if self.shared.is_some() {
            let own = Self { shared: None, ..self.clone() }.toml(node);
            let is_shared = |line: &&str| SHARED.iter().any(|key| line.starts_with(&format!("{key} = ")));
            let own: Vec<_> = own.lines().filter(|line| !is_shared(line)).collect();
            return format!("{}\nshared = \"shared.json\"\n", own.join("\n"));
        }
        let files: Vec<_> = (0..self.passphrases.len()).map(key_file).collect();
        let files = if let [file] = files.as_slice() { format!("{file:?}") } else { format!("{files:?}") };
        let node = self.node.as_deref().unwrap_or(node);
        let mut text = format!("node = \"{node}\"\n[auth]\npassphrase_file = {files}\n");
        let mut add = |key: &str, value: Option<String>| {
            // Writing into a string does not fail.
            let _ = value.map(|value| writeln!(text, "{key} = {value}"));
        };
        let quoted = |text: &Option<String>| text.as_ref().map(|text| format!("{text:?}"));
        let list = |list: &[IpAddr]| {
            let texts: Vec<_> = list.iter().map(IpAddr::to_string).collect();
            (!texts.is_empty()).then(|| format!("{texts:?}"))
        };
        add("mode", quoted(&self.mode));
        add("clock_difference", quoted(&self.clock_difference));
        add("[[vhost]]\nname", Some("\"data\"".to_owned()));
        add("interface", Some(format!("{:?}", self.interface)));
        add("receive", quoted(&self.receive));
        add("vhid", Some(self.vhid.to_string()));
        add("addresses", Some(format!("{:?}", self.addresses)));
        add("advbase", Some(self.advbase.to_string()));
        add("advskew", Some(self.advskew.to_string()));
        add("interval", quoted(&self.interval));
        add("detect", self.detect.map(|count| count.to_string()));
        add("preempt", Some(self.preempt.to_string()));
        add("peers", list(&self.peers));
        add("unicast", list(&self.unicast));
        add("mac", quoted(&self.mac));
        add("advertise_from", quoted(&self.advertise_from));
        add("families", quoted(&self.families));
        add("announce_every", quoted(&self.announce_every));
        add("group", quoted(&self.group));
        if let Some(PeerLink { listen, connect }) = &self.peer_link {
            // Writing into a string does not fail.
            let _ =
                write!(text, "[peer]\nlisten = {listen:?}\nconnect = {connect:?}\ndirectory = \"peer\"\n");
        }
        if let Some(witness) = &self.witness {
            // Writing into a string does not fail.
            let _ = write!(text, "[witness]\n{witness}");
        }
        if let Some(web) = &self.web {
            // Writing into a string does not fail.
            let _ = write!(text, "[web]\n{web}");
        }
        text.push_str(&self.more);
        text
    }

    /// Writes the passphrase files, and that with the token, each at once as a whole, so that a running agent may read them.
    ///
    /// # Errors
    ///
    /// If they can't be written.
    pub fn write_keys(&self, directory: &Path) -> Result<()> {
        for (index, passphrase) in self.passphrases.iter().enumerate() {
            replace(&directory.join(key_file(index)), &format!("{passphrase}\n"))?;
        }
        match self.web {
            Some(_) => replace(&directory.join("web.token"), Self::TOKEN),
            None => Ok(()),
        }
    }
}

/// Writes a file that nobody ever sees half, and only its owner may read.
pub(crate) fn replace(path: &Path, text: &str) -> Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, text)?;
    fs::set_permissions(&new, Permissions::from_mode(0o600))?;
    Ok(fs::rename(&new, path)?)
}

/// The keys that can be shared.
const SHARED: [&str; 14] = [
    "mode",
    "clock_difference",
    "vhid",
    "addresses",
    "advbase",
    "interval",
    "detect",
    "preempt",
    "refused",
    "mac",
    "advertise_from",
    "families",
    "announce_every",
    "group",
];

fn key_file(index: usize) -> String {
    if index == 0 { "carp.key".to_owned() } else { format!("carp-{}.key", index + 1) }
}
