//! What `zpool status -j` says of an imported pool: ZFS 2.3.

use std::collections::BTreeMap;

use serde::Deserialize;

/// A pool that is imported here.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Status {
    /// `ONLINE`, `DEGRADED`, `SUSPENDED`, …
    state: String,
    /// What is the matter, in words.
    #[serde(rename = "status")]
    matter: Option<String>,
    #[serde(default)]
    vdevs: BTreeMap<String, Device>,
    #[serde(default)]
    logs: BTreeMap<String, Device>,
    #[serde(default)]
    l2cache: BTreeMap<String, Device>,
    #[serde(default)]
    spares: BTreeMap<String, Device>,
    #[serde(default)]
    special: BTreeMap<String, Device>,
}

#[derive(Clone, Debug, Deserialize)]
struct Device {
    name: String,
    /// `ONLINE`; also called `HEALTHY`. A spare is `AVAIL` or `INUSE`.
    #[serde(default)]
    state: String,
    #[serde(default)]
    vdevs: BTreeMap<String, Device>,
}

#[derive(Deserialize)]
struct Document {
    pools: BTreeMap<String, Status>,
}

impl Status {
    /// What the program has printed of this pool.
    pub(super) fn parse(text: &str, pool: &str) -> Option<Self> {
        serde_json::from_str::<Document>(text).ok()?.pools.remove(pool)
    }

    /// What an operator should know of it, in sentences.
    pub(super) fn remarks(&self, pool: &str) -> Vec<String> {
        let mut remarks = Vec::new();
        if self.state != "ONLINE" {
            let why =
                self.matter.as_deref().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
            remarks.push(format!("pool {pool} is {}: {why}", self.state));
        }
        for (class, devices) in [
            ("disk", &self.vdevs),
            ("log device", &self.logs),
            ("cache device", &self.l2cache),
            ("spare", &self.spares),
            ("special device", &self.special),
        ] {
            let mut ill = Vec::new();
            for device in devices.values() {
                device.ill_leaves(&mut ill);
            }
            remarks
                .extend(ill.iter().map(|it| format!("{class} {} of pool {pool} is {}", it.name, it.state)));
        }
        let there = |devices: &BTreeMap<_, _>, one, many| match devices.len() {
            0 => None,
            1 => Some(format!("1 {one}")),
            number => Some(format!("{number} {many}")),
        };
        let with: Vec<_> = [
            there(&self.logs, "log device", "log devices"),
            there(&self.l2cache, "cache device", "cache devices"),
        ]
        .into_iter()
        .flatten()
        .collect();
        if !with.is_empty() {
            remarks.push(format!("pool {pool} came with {}", with.join(" and ")));
        }
        remarks
    }
}

impl Device {
    fn ill_leaves<'d>(&'d self, into: &mut Vec<&'d Self>) {
        if self.vdevs.is_empty()
            && !["ONLINE", "HEALTHY", "AVAIL", "INUSE", ""].contains(&self.state.as_str())
        {
            into.push(self);
        }
        for device in self.vdevs.values() {
            device.ill_leaves(into);
        }
    }
}
