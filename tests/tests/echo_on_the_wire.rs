//! The echo between two nodes: the kernel of one answers the other, whoever floods it.

use std::net::{IpAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use frames::echo::{Answer, KEYS_OF_ANSWERS, KEYS_OF_PROBES, PORT, Probe};
use frames::{Hook, Kernel};
use ha_common::abi::{Address, Oneself, Path, PathKey, family_of};
use ha_common::auth::Seal;
use ha_common::echo::{NO_PATH, Refusal};
use lab::pair::{A, B};
use lab::sender::{Sender, processors};
use lab::{Lan, Node, Site};
use nix::sys::socket::{setsockopt, sockopt};

#[test]
fn a_kernel_answers_its_peer_in_both_families_from_either_hook() -> Result<()> {
    for (label, hook) in [("echo", Hook::Xdp), ("echo-tc", Hook::Tc)] {
        let Some(mut scene) = Scene::new(label, hook)? else { return Ok(()) };
        for [from, to] in paths(&scene.asking) {
            let mut asker = Asker::new(&scene.asking, from, to)?;
            for _ in 0..100 {
                asker.ask(PATIENCE)?.with_context(|| format!("{label}: no answer from {to}"))?;
            }
        }
        for slot in 0..2 {
            let counted = scene.kernel.echo().counted(slot)?;
            ensure!(counted.accepted == 100 && counted.received == 100, "{label}: {counted:?}");
        }
    }
    Ok(())
}

#[test]
fn a_flood_of_forged_and_of_repeated_probes_keeps_no_true_one_from_its_answer() -> Result<()> {
    let Some(Scene { lan, asking, asked, mut kernel }) = Scene::new("echo-flood", Hook::Xdp)? else {
        return Ok(());
    };
    let [[from, to], _] = paths(&asking);
    let mut asker = Asker::new(&asking, from, to)?;
    asker.ask(PATIENCE)?.context("no answer before the flood")?;
    let last = asker.nonce;
    let forged = Probe { key: [9; 20], ..Probe::between(from, to, u64::MAX) };
    let repeated = Probe::between(from, to, last);
    let stranger = Probe { from: IpAddr::from([10, 77, 0, 200]), ..Probe::between(from, to, u64::MAX) };
    let to_it = |probe: Probe| {
        let mut frame = probe.frame(&[]);
        frame[..6].copy_from_slice(&asked.hardware);
        frame
    };
    let frames = [forged, repeated, stranger].map(to_it);
    let before = kernel.echo().counted(0)?;
    let processor = processors()?.pop().context("no processor")?;
    let flood = Sender::start(&lan, &asked.node, frames.to_vec(), processor)?;
    let (began, mut asked_for, mut tries) = (Instant::now(), 0_u32, 0);
    while asked_for < ASKED || kernel.echo().counted(0)?.refused(Refusal::BadAuth) < FORGED {
        tries += 1;
        // What waits in a full cable may be lost, as anything else is then.
        asked_for += u32::from(asker.ask(PATIENCE)?.is_some());
        ensure!(tries < 2 * asked_for + 10, "{asked_for} answers for {tries} probes");
        ensure!(began.elapsed() < 20 * PATIENCE, "only {:?}", kernel.echo().counted(0)?);
    }
    let (sent, took) = (flood.sent(), began.elapsed());
    drop(flood);
    let now = kernel.echo().counted(0)?;
    let of = |reason| now.refused(reason) - before.refused(reason);
    println!(
        "{asked_for} answers for {tries} probes in {took:?}, beside {sent} others: {} forged, {} repeated",
        of(Refusal::BadAuth),
        of(Refusal::Replay)
    );
    ensure!(of(Refusal::Replay) > FORGED / 2, "{now:?}");
    ensure!(kernel.echo().counted(NO_PATH)?.refused(Refusal::BadSource) > 1000, "from a stranger");
    ensure!(now.accepted - before.accepted <= u64::from(tries), "something else was answered: {now:?}");
    Ok(())
}

/// Two nodes, of which one is asked.
struct Scene {
    /// First to go: it is attached to what goes after it.
    kernel: Kernel,
    asking: Node,
    asked: Asked,
    lan: Lan,
}

struct Asked {
    node: Node,
    hardware: [u8; 6],
}

impl Scene {
    fn new(label: &str, hook: Hook) -> Result<Option<Self>> {
        if !lab::available() {
            return Ok(None);
        }
        let lan = Lan::new(label)?;
        let (node, asking) = (lan.node("asked", A)?, lan.node("asking", B)?);
        lan.take_returns(&node)?;
        let known: Vec<_> = paths(&asking).into_iter().zip(0..).collect();
        let (kernel, hardware) = node.netns.run(move || {
            let index = nix::net::if_::if_nametoindex("eth0")?;
            let address = std::fs::read_to_string("/sys/class/net/eth0/address")?;
            let Some(mut kernel) = Kernel::load_at(hook, &Site::default()) else {
                return Ok((None, address));
            };
            kernel.echo().tell(Oneself {
                boot: 1,
                generation: 1,
                pace_ns: 1000,
                port: PORT.into(),
                node: 0,
            })?;
            for ([peer, own], slot) in known {
                let family = family_of(peer).into();
                let key = PathKey { ifindex: index, outer_vlan: 0, vlan: 0, family, address: peer.into() };
                let seals = |keys: [[u8; 20]; 2]| keys.each_ref().map(Seal::new);
                let own = Address::from(own);
                let path = Path {
                    slot,
                    peer: 1,
                    own,
                    probes: seals(KEYS_OF_PROBES),
                    answers: seals(KEYS_OF_ANSWERS),
                };
                kernel.echo().know(key, &path)?;
            }
            kernel.attach("eth0", index);
            anyhow::Ok((Some(kernel), address))
        })??;
        let Some(kernel) = kernel else { return Ok(None) };
        let mut bytes = hardware.trim().split(':').map(|byte| u8::from_str_radix(byte, 16));
        let mut next = || bytes.next().context("an address of six bytes")?.context(hardware.clone());
        let hardware = [next()?, next()?, next()?, next()?, next()?, next()?];
        Ok(Some(Self { kernel, asking, asked: Asked { node, hardware }, lan }))
    }
}

/// From the one who asks to the one who is asked, in both families.
fn paths(asking: &Node) -> [[IpAddr; 2]; 2] {
    let [_, _, _, host] = A.octets();
    let mut asked = asking.global.octets();
    asked[15] = host;
    [[B.into(), A.into()], [asking.global.into(), asked.into()]]
}

struct Asker {
    socket: UdpSocket,
    from: IpAddr,
    to: IpAddr,
    nonce: u64,
}

impl Asker {
    fn new(node: &Node, from: IpAddr, to: IpAddr) -> Result<Self> {
        let socket = node.netns.run(move || UdpSocket::bind((from, PORT)))??;
        match to {
            IpAddr::V4(_) => setsockopt(&socket.as_fd(), sockopt::Ipv4Ttl, &255)?,
            IpAddr::V6(_) => setsockopt(&socket.as_fd(), sockopt::Ipv6Ttl, &255)?,
        }
        socket.connect((to, PORT))?;
        Ok(Self { socket, from, to, nonce: 0 })
    }

    /// Sends a probe and waits for its answer; `None` if none comes in time.
    fn ask(&mut self, patience: Duration) -> Result<Option<Answer>> {
        self.nonce += 1;
        let probe = Probe::between(self.from, self.to, self.nonce);
        let message = probe.message();
        ensure!(self.socket.send(&message)? == message.len(), "cut off");
        let deadline = Instant::now() + patience;
        let mut buffer = [0; 1500];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.socket.set_read_timeout(Some(left))?;
            let Ok(length) = self.socket.recv(&mut buffer) else { return Ok(None) };
            ensure!(length <= message.len(), "longer than its probe");
            let answer = Answer::read(&buffer[..length]);
            // One to an earlier probe, which came late.
            if answer.nonce == self.nonce {
                return Ok(Some(answer));
            }
        }
    }
}

/// So many true ones at least, and so many forged ones beside them.
const ASKED: u32 = 500;
const FORGED: u64 = 50_000;
const PATIENCE: Duration = Duration::from_secs(1);
