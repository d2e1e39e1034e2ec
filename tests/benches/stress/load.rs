//! What the machine, or a standby, has to bear.

use std::fmt::{self, Display, Formatter};

use anyhow::Result;
use ha_common::wire::{ethernet, ipv4};
use lab::load::Load;
use lab::pair::B;
use lab::peer::Contest;
use lab::sender::{Sender, processors};

/// A load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Two processes a processor that only compute.
    Cpu,
    /// Every standby is stopped (`SIGSTOP`) for 0.3 s of every 2 s, all at the same time.
    Stop,
    /// Most of the free memory is filled and given back, and files are written and read.
    Memory,
    /// Two processes a processor that start processes.
    Fork,
    /// Small UDP frames to every standby, as fast as they can be sent.
    Softirq,
}

/// One that lasts until it is dropped.
#[derive(Debug)]
pub(crate) enum Active {
    /// It is up to the run.
    Stop,
    Processes {
        _load: Load,
    },
    Senders(Vec<Sender>),
}

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Self; 5] = [Self::Cpu, Self::Stop, Self::Memory, Self::Fork, Self::Softirq];

    /// Begins it; `memory` is how much may be filled, in bytes.
    pub(crate) fn begin(self, contests: &[Contest], memory: u64) -> Result<Active> {
        let processors = processors()?;
        Ok(match self {
            Self::Cpu => Active::Processes { _load: Load::cpu(2 * processors.len())? },
            Self::Stop => Active::Stop,
            Self::Memory => Active::Processes { _load: Load::memory(memory)? },
            Self::Fork => Active::Processes { _load: Load::forks(2 * processors.len())? },
            Self::Softirq => {
                let start = |(contest, &processor): (&Contest, &usize)| {
                    let pair = &contest.pair;
                    let frames = vec![datagram(pair.b.hardware("eth0")?); BATCH];
                    Sender::start(&pair.lan, &pair.b, frames, processor)
                };
                let senders = contests.iter().zip(processors.iter().cycle()).map(start);
                Active::Senders(senders.collect::<Result<_>>()?)
            }
        })
    }
}

impl Active {
    /// How many frames were sent so far, if it is made of them.
    pub(crate) fn sent(&self) -> Option<u64> {
        match self {
            Self::Stop | Self::Processes { .. } => None,
            Self::Senders(senders) => Some(senders.iter().map(Sender::sent).sum()),
        }
    }
}

impl Display for Kind {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Cpu => "cpu",
            Self::Stop => "stop",
            Self::Memory => "memory",
            Self::Fork => "fork",
            Self::Softirq => "softirq",
        })
    }
}

/// The smallest frame with UDP in it, for one node. Its IP address is that of all nodes, so that nobody answers it.
fn datagram(to: ethernet::Mac) -> Vec<u8> {
    let ethernet =
        ethernet::Repr { destination: to, source: [2, 0, 0, 0, 0, 200], ethertype: ethernet::IPV4 };
    // Ports 9 and 9, without a checksum.
    let udp = [0, 9, 0, 9, 0, 26, 0, 0];
    let payload = [udp.as_slice(), &[0; 18]].concat();
    let [net @ .., _] = B.octets();
    let [a, b, c] = net;
    let mut packet =
        ipv4::Repr { source: [a, b, c, 200], destination: [a, b, c, 255], payload_len: 26 }.emit();
    // It is made for protocol 112.
    packet[9] = UDP;
    packet[10..12].fill(0);
    let sum = ha_common::wire::checksum::checksum(&packet);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    [ethernet.emit().as_slice(), &packet, &payload].concat()
}

const UDP: u8 = 17;
const BATCH: usize = 64;
