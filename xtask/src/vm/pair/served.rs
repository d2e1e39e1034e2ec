//! What the agents have in charge in a lab: a pool with mirror, log and cache, which they serve by NFS and iSCSI at the
//! address.

use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::{
    agents::{ADDRESS, Agents},
    client,
    guest::Guest,
    lab::Lab,
    who::{Disk, Node, Who},
};

/// The pool's disks: as the agents reserve them.
pub(super) const DISKS: [Disk; 4] = [Disk::Data0, Disk::Data1, Disk::Log, Disk::Cache];

/// What is served by NFS.
pub(super) const DATA: &str = "/tank/data";
/// What the iSCSI target is called.
pub(super) const VOLUME: &str = "iqn.2026-11.test.lab:tank";

/// Makes the pool `tank`, mounted at `/tank`, on `node`; the other one sees its partitions, and has `OpenZFS` loaded, as a
/// standby does.
///
/// # Errors
///
/// It cannot be made.
pub(super) fn create(lab: &Lab, node: Node) -> Result<()> {
    let [data0, data1, log, cache] = [Disk::Data0, Disk::Data1, Disk::Log, Disk::Cache].map(Disk::device);
    let guest = lab.node(node)?;
    guest.run(&format!("wipefs --all --quiet {data0} {data1} {log} {cache} && udevadm settle"))?;
    guest.run(&format!(
        "zpool create -f -o cachefile=none -O compression=off -m /tank tank \
         mirror {data0} {data1} log {log} cache {cache}"
    ))?;
    lab.node(node.peer())?.run(&format!("{MODULES}; {RESCAN}"))?;
    Ok(())
}

/// Makes the pool, and starts the agents with it in their charge. `more` is put at the end of the pool's configuration, of
/// a and of b.
///
/// # Errors
///
/// Something cannot be made.
pub(super) fn begin(lab: &Lab, agents: &Agents<'_>, more: [&str; 2]) -> Result<()> {
    create(lab, Node::A)?;
    let a = lab.node(Node::A)?;
    a.run(&format!(
        "zfs create tank/data && chmod 777 {DATA} && zfs create -V 64M -o sync=always tank/disk"
    ))?;
    let guid = a.run("zpool get -H -o value guid tank && zpool export tank")?;
    for node in Node::ALL {
        lab.node(node)?.run(SET_UP)?;
        lab.node(node)?.put("/etc/ha-agent/targets.json", targets().as_bytes())?;
    }
    agents.introduce(more.map(|more| configuration(guid.trim(), more)))?;
    agents.settled()?;
    // What was configured outlives a power cut.
    Node::ALL.into_iter().try_for_each(|node| lab.node(node)?.run("sync").map(drop))
}

/// Has the client mount and log in to what is served.
///
/// # Errors
///
/// It cannot.
pub(super) fn mount(lab: &Lab) -> Result<()> {
    let client = lab.guest(Who::Client)?;
    client::mount(client, ADDRESS, DATA)?;
    client::log_in(client, ADDRESS, VOLUME)
}

/// Checks that the file to which the client writes by NFS is still locked for it, as `node` serves it.
///
/// # Errors
///
/// It is not.
pub(super) fn locked(lab: &Lab, node: Node) -> Result<()> {
    lab.node(node)?.run(&format!("records locked {DATA}/records")).map(drop)
}

/// Starts the agent of a node that has booted.
///
/// # Errors
///
/// It cannot be started.
pub(super) fn start(lab: &Lab, agents: &Agents<'_>, node: Node) -> Result<()> {
    lab.node(node)?.run(MODULES)?;
    agents.start(node)
}

/// The last takeover of a node, step by step: when each began, and how long it took, in seconds.
///
/// # Errors
///
/// The agent does not run, or has not taken over.
pub(super) fn steps(agents: &Agents<'_>, node: Node) -> Result<String> {
    let status = agents.status(node)?;
    let steps = status["charge"]["last_takeover"].as_array().context("no takeover")?;
    ensure!(!steps.is_empty(), "{node} has taken nothing over");
    let second = |value: &Value| value.as_f64().unwrap_or_default() / 1e3;
    let step = |step: &Value| {
        let name = step["name"].as_str().unwrap_or_default();
        format!("{name} {:.2}+{:.2}", second(&step["began_ms"]), second(&step["took_ms"]))
    };
    Ok(steps.iter().map(step).collect::<Vec<_>>().join(", "))
}

/// When the agent of `guest` last said something with `words` in it, after `since`. The guest's clock is this machine's.
///
/// # Errors
///
/// It has not.
pub(super) fn said(guest: &Guest, words: &str, since: SystemTime) -> Result<SystemTime> {
    let from = since.duration_since(SystemTime::UNIX_EPOCH).context("this machine's clock")?;
    let lines = guest.run(&format!(
        "journalctl --quiet --unit=ha-agent --output=short-unix --since=@{} | grep -F '{words}' | tail -n 1",
        from.as_secs().saturating_sub(1)
    ))?;
    let time = lines.split_whitespace().next().and_then(|time| time.parse().ok());
    let time: f64 = time.with_context(|| format!("{} has not said: {words}", guest.who))?;
    Ok(SystemTime::UNIX_EPOCH + Duration::from_secs_f64(time))
}

/// No watchdog: where others compile, a guest may not run for as long as that would wait. The keys move as slowly as slow
/// guests can bear.
fn configuration(guid: &str, more: &str) -> String {
    let disks = DISKS.map(|disk| format!("\"{}\"", disk.device())).join(", ");
    format!(
        r#"
[fence]
pair = 4711
levels = ["reservation"]
disk_heartbeat = "500ms"
watchdog = "off"

[[pool]]
name = "tank"
guid = "{guid}"
disks = [{disks}]
{more}
[[service]]
name = "nfs"
nfs_state = "/tank/.nfs"
nfs_scope = "lab"
needs = ["tank"]

[[service]]
name = "iscsi"
iscsi_targets = "targets.json"
iscsi_state = "/tank/.iscsi"
needs = ["tank"]
"#
    )
}

/// As `targetcli saveconfig` writes it, but for what has a default.
fn targets() -> String {
    let targets = json!({
        "storage_objects": [{
            "name": "disk", "plugin": "block", "dev": "/dev/zvol/tank/disk", "wwn": "7a2c0000001", "readonly": false,
        }],
        "targets": [{ "fabric": "iscsi", "wwn": VOLUME, "tpgs": [{
            "tag": 1, "enable": true,
            "attributes": { "authentication": 0, "generate_node_acls": 0 },
            "luns": [{ "index": 0, "storage_object": "/backstores/block/disk" }],
            "node_acls": [{
                "node_wwn": client::INITIATOR,
                "mapped_luns": [{ "index": 0, "tpg_lun": 0, "write_protect": false }],
            }],
            "portals": [{ "ip_address": "0.0.0.0", "port": 3260 }],
        }] }],
    });
    targets.to_string()
}

/// What a standby has loaded.
const MODULES: &str = "modprobe --all zfs target_core_iblock target_core_file iscsi_target_mod";

/// What an administrator has done on both nodes.
const SET_UP: &str = "mkdir -p /etc/ha-agent /etc/nfs.conf.d /etc/exports.d && \
                      printf '[nfsd]\\nscope=lab\\n' >/etc/nfs.conf.d/lab.conf && \
                      echo '/tank/data *(rw,no_root_squash,fsid=1)' >/etc/exports.d/lab.exports";
/// Has a node see the partitions that the other one made.
const RESCAN: &str = "for disk in /dev/sd?; do blockdev --rereadpt $disk; done; \
                      udevadm trigger --settle --subsystem-match=block";
