//! The echo between two nodes: the kernel of one answers the other, whoever floods it.

use std::net::{IpAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use frames::echo::{Answer, KEYS_OF_ANSWERS, KEYS_OF_PROBES, NAMES, PORT, Probe};
use frames::{Hook, Kernel};
use ha_common::abi::{Address, Oneself, Path, PathKey, Record, family_of};
use ha_common::auth::Seal;
use ha_common::echo::{NO_PATH, Refusal};
use lab::pair::{A, B};
use lab::pauses::undisturbed;
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
                asker.ask(&mut scene.asker)?.with_context(|| format!("{label}: no answer from {to}"))?;
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
    let Some(mut scene) = Scene::new("echo-flood", Hook::Xdp)? else { return Ok(()) };
    let [[from, to], _] = paths(&scene.asking);
    let mut asker = Asker::new(&scene.asking, from, to)?;
    asker.ask(&mut scene.asker)?.context("no answer before the flood")?;
    let last = asker.nonce;
    let forged = Probe { key: [9; 20], ..Probe::between(from, to, u64::MAX) };
    let repeated = Probe::between(from, to, last);
    let stranger = Probe { from: IpAddr::from([10, 77, 0, 200]), ..Probe::between(from, to, u64::MAX) };
    let to_it = |probe: Probe| {
        let mut frame = probe.frame(&[]);
        frame[..6].copy_from_slice(&scene.asked.hardware);
        frame
    };
    let frames = [forged, repeated, stranger].map(to_it);
    let before = scene.kernel.echo().counted(0)?;
    let processor = processors()?.pop().context("no processor")?;
    let flood = Sender::start(&scene.lan, &scene.asked.node, frames.to_vec(), processor)?;
    let (began, mut asked_for, mut tries) = (Instant::now(), 0_u32, 0);
    while asked_for < ASKED || scene.kernel.echo().counted(0)?.refused(Refusal::BadAuth) < FORGED {
        tries += 1;
        // What waits in a full cable may be lost, as anything else is then.
        asked_for += u32::from(asker.ask(&mut scene.asker)?.is_some());
        ensure!(tries < 2 * asked_for + 10, "{asked_for} answers for {tries} probes");
        ensure!(began.elapsed() < 20 * PATIENCE, "only {:?}", scene.kernel.echo().counted(0)?);
    }
    let (sent, took) = (flood.sent(), began.elapsed());
    drop(flood);
    let now = scene.kernel.echo().counted(0)?;
    let of = |reason| now.refused(reason) - before.refused(reason);
    println!(
        "{asked_for} answers for {tries} probes in {took:?}, beside {sent} others: {} forged, {} repeated",
        of(Refusal::BadAuth),
        of(Refusal::Replay)
    );
    ensure!(of(Refusal::Replay) > FORGED / 2, "{now:?}");
    ensure!(scene.kernel.echo().counted(NO_PATH)?.refused(Refusal::BadSource) > 1000, "from a stranger");
    ensure!(now.accepted - before.accepted <= u64::from(tries), "something else was answered: {now:?}");
    Ok(())
}

#[test]
fn whose_answers_stop_is_told_when_the_oldest_is_too_late_and_not_before() -> Result<()> {
    undisturbed(|| {
        for (label, hook) in [("unanswered", Hook::Xdp), ("unanswered-tc", Hook::Tc)] {
            let Some(mut scene) = Scene::new(label, hook)? else { return Ok(()) };
            let [[from, to], _] = paths(&scene.asking);
            let mut asker = Asker::new(&scene.asking, from, to)?;
            for _ in 0..50 {
                asker.ask(&mut scene.asker)?.context("no answer")?;
            }
            // Nothing is on its way: nobody is missed.
            ensure!(scene.asker.wait_for_record(5 * DEAD).is_none(), "nobody was asked");
            for _ in 0..3 {
                scene.lan.cut(&scene.asked.node)?;
                asker.send()?;
                asker.send()?;
                let Some(Record::Unanswered(told)) = scene.asker.wait_for_record(PATIENCE) else {
                    bail!("nothing was told")
                };
                let [late, dead] = [told.fired_ns - told.deadline_ns, told.deadline_ns - told.last_ns];
                println!("{label}: told {:?} after its departure", Duration::from_nanos(late + dead));
                ensure!(dead == u64::try_from(DEAD.as_nanos())? && late < LATE_NS, "{told:?}");
                // Once: who asks on is told nothing more.
                asker.send()?;
                ensure!(scene.asker.wait_for_record(5 * DEAD).is_none(), "told twice");
                scene.lan.mend(&scene.asked.node)?;
                scene.lan.wait_until_forwarding(&scene.asked.node)?;
                asker.ask(&mut scene.asker)?.context("no answer after it")?;
            }
            let counted = scene.asker.echo().counted(0)?;
            ensure!(counted.accepted == 53, "{counted:?}");
        }
        Ok(())
    })
}

/// Two nodes, each with its kernel program, of which one is asked.
struct Scene {
    /// First to go: they are attached to what goes after them.
    kernel: Kernel,
    /// Of the one who asks.
    asker: Kernel,
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
        let known = paths(&asking);
        lan.take_returns(&node)?;
        let Some((kernel, hardware)) = program(&node, hook, 0, known.map(|[asking, asked]| [asked, asking]))?
        else {
            return Ok(None);
        };
        let Some((asker, _)) = program(&asking, hook, 1, known)? else { return Ok(None) };
        let mut bytes = hardware.trim().split(':').map(|byte| u8::from_str_radix(byte, 16));
        let mut next = || bytes.next().context("an address of six bytes")?.context(hardware.clone());
        let hardware = [next()?, next()?, next()?, next()?, next()?, next()?];
        Ok(Some(Self { kernel, asker, asking, asked: Asked { node, hardware }, lan }))
    }
}

/// Attaches a program to a node's interface, which knows the paths from itself to the other one.
fn program(
    node: &Node,
    hook: Hook,
    number: u32,
    paths: [[IpAddr; 2]; 2],
) -> Result<Option<(Kernel, String)>> {
    node.netns.run(move || {
        let index = nix::net::if_::if_nametoindex("eth0")?;
        let address = std::fs::read_to_string("/sys/class/net/eth0/address")?;
        let Some(mut kernel) = Kernel::load_at(hook, &Site::default()) else { return Ok(None) };
        kernel.echo().tell(Oneself {
            boot: 1 + u64::from(number),
            generation: 1,
            pace_ns: 1000,
            port: PORT.into(),
            node: number,
        })?;
        let mut keys = [KEYS_OF_PROBES, KEYS_OF_ANSWERS].map(|keys| keys.each_ref().map(Seal::new));
        if number == 1 {
            keys = [[Seal::UNUSED; 2], keys[1]];
        }
        for ([own, peer], slot) in paths.into_iter().zip(0..) {
            let family = family_of(peer).into();
            let key = PathKey { ifindex: index, outer_vlan: 0, vlan: 0, family, address: peer.into() };
            let [[probe, next_probe], [answer, next_answer]] = keys;
            let path = Path {
                slot,
                peer: 1 - number,
                own: Address::from(own),
                dead_ns: DEAD.as_nanos().try_into()?,
                interval_ns: INTERVAL.as_nanos().try_into()?,
                names: NAMES.map(u32::from),
                theirs: [probe, next_probe, answer, next_answer],
                answers: [answer, next_answer],
            };
            kernel.echo().know(key, &path)?;
        }
        kernel.attach("eth0", index);
        kernel.attach_out("eth0", index);
        anyhow::Ok(Some((kernel, address)))
    })?
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

    fn send(&mut self) -> Result<()> {
        self.nonce += 1;
        let message = Probe::between(self.from, self.to, self.nonce).message();
        ensure!(self.socket.send(&message)? == message.len(), "cut off");
        Ok(())
    }

    /// Sends a probe and waits for the record of its answer; `None` if none comes in time.
    fn ask(&mut self, kernel: &mut Kernel) -> Result<Option<(Answer, Duration)>> {
        self.send()?;
        loop {
            match kernel.wait_for_record(PATIENCE) {
                None => return Ok(None),
                Some(Record::Answer(record)) => {
                    let answer = Answer::read(&record.message);
                    // One to an earlier probe may have come late.
                    if answer.nonce == self.nonce {
                        let took = Duration::from_nanos(record.stamp_ns - record.departed_ns);
                        return Ok(Some((answer, took)));
                    }
                }
                // Where the machine stood still.
                Some(Record::Unanswered(_)) => {}
                Some(other) => bail!("{other:?}"),
            }
        }
    }
}

/// So fast is asked, and so long is waited.
const INTERVAL: Duration = Duration::from_millis(1);
const DEAD: Duration = Duration::from_millis(3);
/// So many true ones at least, and so many forged ones beside them.
const ASKED: u32 = 500;
const FORGED: u64 = 50_000;
/// A timer may be so late on a machine that does other things.
const LATE_NS: u64 = 2_000_000;
const PATIENCE: Duration = Duration::from_secs(1);
