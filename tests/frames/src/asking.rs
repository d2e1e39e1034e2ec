//! Two nodes of which one asks the other's kernel.

use std::net::{IpAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use ha_common::abi::{Address, Oneself, Path, PathKey, Patience, Record, family_of};
use ha_common::auth::Seal;
use lab::pair::{A, B};
use lab::{Lan, Node, Site};
use nix::sys::socket::{setsockopt, sockopt};

use crate::echo::{Answer, KEYS_OF_ANSWERS, KEYS_OF_PROBES, NAMES, PORT, Probe};
use crate::{Hook, Kernel};

/// Two nodes, each with its kernel program, of which one is asked.
pub struct Scene {
    /// Of the one who is asked. First to go: they are attached to what goes after them.
    pub kernel: Kernel,
    /// Of the one who asks.
    pub own: Kernel,
    /// Who asks: [`B`].
    pub asking: Node,
    /// Who is asked: [`A`].
    pub asked: Node,
    /// The hardware address of that one.
    pub hardware: [u8; 6],
    /// What connects them.
    pub lan: Lan,
}

impl Scene {
    /// Makes them; `None` where that is not possible, with the reason printed. `label` tells the labs of one program apart.
    ///
    /// # Errors
    ///
    /// If something can't be made.
    pub fn new(label: &str, hook: Hook) -> Result<Option<Self>> {
        if !lab::available() {
            return Ok(None);
        }
        let lan = Lan::new(label)?;
        let (asked, asking) = (lan.node("asked", A)?, lan.node("asking", B)?);
        let known = paths(&asking);
        lan.take_returns(&asked)?;
        let Some((kernel, hardware)) =
            program(&asked, hook, 0, known.map(|[asking, asked]| [asked, asking]))?
        else {
            return Ok(None);
        };
        let Some((own, _)) = program(&asking, hook, 1, known)? else { return Ok(None) };
        let mut bytes = hardware.trim().split(':').map(|byte| u8::from_str_radix(byte, 16));
        let mut next = || bytes.next().context("an address of six bytes")?.context(hardware.clone());
        let hardware = [next()?, next()?, next()?, next()?, next()?, next()?];
        Ok(Some(Self { kernel, own, asking, asked, hardware, lan }))
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
                patience: Patience {
                    dead_ns: DEAD.as_nanos().try_into()?,
                    interval_ns: INTERVAL.as_nanos().try_into()?,
                },
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
#[must_use]
pub fn paths(asking: &Node) -> [[IpAddr; 2]; 2] {
    let [_, _, _, host] = A.octets();
    let mut asked = asking.global.octets();
    asked[15] = host;
    [[B.into(), A.into()], [asking.global.into(), asked.into()]]
}

/// Who sends probes on one path.
#[derive(Debug)]
pub struct Asker {
    socket: UdpSocket,
    from: IpAddr,
    to: IpAddr,
    /// Of the last probe.
    pub nonce: u64,
}

impl Asker {
    /// One that has sent nothing yet.
    ///
    /// # Errors
    ///
    /// If the port is taken.
    pub fn new(node: &Node, from: IpAddr, to: IpAddr) -> Result<Self> {
        let socket = node.netns.run(move || UdpSocket::bind((from, PORT)))??;
        match to {
            IpAddr::V4(_) => setsockopt(&socket.as_fd(), sockopt::Ipv4Ttl, &255)?,
            IpAddr::V6(_) => setsockopt(&socket.as_fd(), sockopt::Ipv6Ttl, &255)?,
        }
        socket.connect((to, PORT))?;
        Ok(Self { socket, from, to, nonce: 0 })
    }

    /// Sends a probe.
    ///
    /// # Errors
    ///
    /// If it can't be sent.
    pub fn send(&mut self) -> Result<()> {
        self.nonce += 1;
        let message = Probe::between(self.from, self.to, self.nonce).message();
        ensure!(self.socket.send(&message)? == message.len(), "cut off");
        Ok(())
    }

    /// Sends a probe and waits for the record of its answer in the asking node's ring; `None` if none comes within a second.
    /// Returns how long it took, from the probe's departure to the answer's arrival.
    ///
    /// # Errors
    ///
    /// If something else comes.
    ///
    /// # Panics
    ///
    /// If what comes is no answer.
    pub fn ask(&mut self, kernel: &mut Kernel) -> Result<Option<(Answer, Duration)>> {
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

/// So fast is asked,
const INTERVAL: Duration = Duration::from_millis(1);
/// and so long is waited before the other one is missed.
pub const DEAD: Duration = Duration::from_millis(3);
const PATIENCE: Duration = Duration::from_secs(1);
