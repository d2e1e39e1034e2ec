//! What faults are planted with.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use ha_common::auth::{Mac, Message, key};
use ha_common::fresh::{EPOCH_S, Stamp};
use ha_common::wire::{carp, ethernet, ipv4};
use lab::capture::sending_socket;
use lab::pair::B;
use lab::{Agent, AgentConfig, PeerLink};
use nix::sys::socket::{MsgFlags, send};

use crate::stage::Stage;

pub(crate) fn vhost(name: &str, interface: &str, vhid: u8, address: &str) -> String {
    format!(
        "[[vhost]]\nname = \"{name}\"\ninterface = \"{interface}\"\nvhid = {vhid}\naddresses = [\"{address}\"]\n"
    )
}

pub(crate) fn mount(device: &str, disk: &str) -> String {
    format!(
        "[fence]\npair = 7\nwatchdog = \"off\"\n[[mount]]\nname = \"scratch\"\ndevice = \"{device}\"\nat = \"/srv/none\"\n\
         type = \"ext4\"\ndisks = [\"{disk}\"]\n"
    )
}

pub(crate) fn link(stage: &mut Stage, listen: &str) {
    stage.config.peer_link =
        Some(PeerLink { listen: vec![listen.to_owned()], connect: vec!["10.77.0.2:7780".to_owned()] });
}

pub(crate) fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

pub(crate) fn worse() -> AgentConfig {
    AgentConfig { advskew: 100, ..AgentConfig::default() }
}

/// An agent on the other node, as master.
pub(crate) fn peer(stage: &mut Stage, config: &AgentConfig) -> Result<()> {
    stage.listens = true;
    let agent = Agent::start(&stage.b, config)?;
    agent.wait_for_state(0, "MASTER")?;
    stage.kept.push(Box::new(agent));
    Ok(())
}

/// A second interface in the same network.
pub(crate) fn second_interface(stage: &Stage) -> Result<()> {
    stage.a.netns.ip("link add eth1 type veth peer name far1")?;
    stage.a.netns.ip("link set far1 up")?;
    stage.a.netns.ip("addr add 10.77.0.11/24 dev eth1")?;
    stage.a.netns.ip("link set eth1 up")?;
    for interface in ["all", "eth0", "eth1"] {
        sysctl(stage, interface, "rp_filter", "0")?;
    }
    sysctl(stage, "eth1", "arp_announce", "2")
}

pub(crate) fn sysctl(stage: &Stage, interface: &str, setting: &str, value: &'static str) -> Result<()> {
    let path = format!("/proc/sys/net/ipv4/conf/{interface}/{setting}");
    Ok(stage.a.netns.run(move || fs::write(path, value))??)
}

/// A file over another one, for the program only.
pub(crate) fn mounted(stage: &mut Stage, text: &str, over: &str) -> Result<()> {
    let file = stage.file("mounted", text)?;
    let script = format!("mount --bind {} {over} && exec \"$@\"", file.display());
    stage.wrapper = ["unshare", "-m", "sh", "-c", script.as_str(), "sh"].map(str::to_owned).to_vec();
    Ok(())
}

/// Lets the other node advertise in strict mode, with a clock that is so many ms ahead.
pub(crate) fn advertise(stage: &mut Stage, ahead_ms: i64) -> Result<()> {
    stage.listens = true;
    let socket = stage.b.netns.run(|| sending_socket("eth0"))??;
    let hardware = stage.b.hardware("eth0")?;
    let message = Message { vhid: 10, ipv4: &[[10, 77, 0, 100]], ipv6: &[], link_local: true, lladdr: None };
    let mac = Mac::new(&key(b"secret"), &message);
    let end = Instant::now() + Duration::from_secs(8);
    thread::spawn(move || {
        while Instant::now() < end {
            let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_millis();
            let ms = u64::try_from(now).unwrap_or_default().saturating_add_signed(ahead_ms) - EPOCH_S * 1000;
            let counter = Stamp { ms, advskew: 100, advbase: 1, demote: 0 }.to_counter();
            let said = carp::Repr {
                vhid: 10,
                advbase: 1,
                advskew: 100,
                demote: 0,
                counter,
                digest: mac.digest(counter),
            };
            let header = ethernet::Repr {
                destination: ethernet::multicast(carp::GROUP),
                source: hardware,
                ethertype: ethernet::IPV4,
            };
            let packet = ipv4::Repr { source: B.octets(), destination: carp::GROUP, payload_len: 36 };
            let frame = [&header.emit()[..], &packet.emit(), &said.emit()].concat();
            if send(std::os::fd::AsRawFd::as_raw_fd(&socket), &frame, MsgFlags::empty()).is_err() {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
    });
    Ok(())
}
