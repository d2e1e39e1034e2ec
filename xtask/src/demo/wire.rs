//! What a failover looks like to the client's network interface. Moments are in ns of `CLOCK_MONOTONIC`.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result};
use lab::{
    Captured,
    capture::{Answer, Seen},
};

/// The traffic around one failover.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wire {
    /// All advertisements, in order.
    pub(crate) advertisements: Vec<Sent>,
    /// All answers to the client, in order.
    pub(crate) answers: Vec<Sent>,
    /// The last advertisement of the old master; its bow-out does not count.
    pub(crate) last: u64,
    /// The old master's bow-out.
    pub(crate) bow_out: Option<u64>,
    /// The first advertisement of the new master.
    pub(crate) first: u64,
    /// The first gratuitous ARP of the new master.
    pub(crate) first_arp: u64,
    /// The last answer of the old master.
    pub(crate) last_answer: u64,
    /// The first answer of the new master.
    pub(crate) first_answer: u64,
    /// The longest time without an answer: the answer before and the answer after it.
    pub(crate) gap: (u64, u64),
}

/// A frame that one of the controllers sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    /// When.
    pub(crate) at: u64,
    /// Whether by the old master.
    pub(crate) by_old: bool,
}

/// Who and what to look for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Roles {
    /// Address of the old master.
    pub(crate) old: Ipv4Addr,
    /// Address of the new master.
    pub(crate) new: Ipv4Addr,
    /// The virtual address.
    pub(crate) address: Ipv4Addr,
    /// When the fault began.
    pub(crate) fault: u64,
}

impl Wire {
    /// Reads it off the frames that the client received, from well before the fault, when only the old master
    /// advertised, until some time after the first answer of the new master.
    ///
    /// `None` if the new master advertised before the fault, or while the old one still did.
    ///
    /// # Errors
    ///
    /// Something is missing.
    pub(crate) fn read(mut frames: Vec<Captured>, roles: Roles) -> Result<Option<Self>> {
        // Two processors stamp frames before these are queued one behind the other.
        frames.sort_by_key(|frame| frame.at_ns);
        let Roles { old, new, address, fault } = roles;
        let advertisement = |frame: &Captured| Some((frame.advertisement()?, frame.hardware()?));
        let seen: Vec<_> = frames.iter().filter_map(advertisement).collect();
        let ordinary = |seen: &Seen| !seen.is_bow_out();
        let (last, old_hardware) = seen
            .iter()
            .rfind(|(seen, _)| seen.source == old && ordinary(seen))
            .context("no advertisement of the old master")?;
        let (first, new_hardware) = seen
            .iter()
            .find(|(seen, _)| seen.source == new && ordinary(seen))
            .context("no advertisement of the new master")?;
        if first.at_ns <= last.at_ns.max(fault) {
            return Ok(None);
        }
        let first_arp = frames
            .iter()
            .find(|frame| {
                frame.at_ns >= first.at_ns
                    && frame.hardware() == Some(*new_hardware)
                    && frame.announces() == Some(address)
            })
            .context("the new master did not announce the address")?;
        let answers: Vec<Answer> = frames.iter().filter_map(Captured::answer).collect();
        let first_answer = answers
            .iter()
            .find(|answer| answer.hardware == *new_hardware)
            .context("the new master did not answer the client")?;
        let last_answer = answers
            .iter()
            .rfind(|answer| answer.hardware == *old_hardware)
            .context("the old master did not answer the client")?;
        Ok(Some(Self {
            advertisements: seen
                .iter()
                .filter(|(seen, _)| ordinary(seen))
                .map(|(seen, _)| Sent { at: seen.at_ns, by_old: seen.source == old })
                .collect(),
            last: last.at_ns,
            bow_out: seen
                .iter()
                .find(|(seen, _)| seen.source == old && seen.is_bow_out() && seen.at_ns > fault)
                .map(|(seen, _)| seen.at_ns),
            first: first.at_ns,
            first_arp: first_arp.at_ns,
            last_answer: last_answer.at_ns,
            first_answer: first_answer.at_ns,
            gap: longest_gap(&answers, last.at_ns.min(fault), first_answer.at_ns + AFTERMATH)
                .context("the client had no answers before")?,
            answers: answers
                .iter()
                .map(|answer| Sent { at: answer.at_ns, by_old: answer.hardware == *old_hardware })
                .collect(),
        }))
    }
}

/// The longest time without an answer that ends between two moments.
fn longest_gap(answers: &[Answer], from: u64, to: u64) -> Option<(u64, u64)> {
    let pairs = answers.windows(2).filter_map(|pair| match pair {
        [before, after] => Some((before.at_ns, after.at_ns)),
        _ => None,
    });
    pairs.filter(|(_, after)| (from..=to).contains(after)).max_by_key(|(before, after)| after - before)
}

/// How long after the new master's first answer a gap still belongs to the failover.
const AFTERMATH: u64 = 20_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(at: &[u64]) -> Vec<Answer> {
        let answer = |&at_ns| Answer { at_ns, address: Ipv4Addr::LOCALHOST.into(), hardware: [2; 6] };
        at.iter().map(answer).collect()
    }

    #[test]
    fn the_gap_is_the_longest_within_the_time() {
        let table: [(&[u64], _, _); 7] = [
            (&[], (0, 9), None),
            (&[5], (0, 9), None),
            (&[1, 2, 3, 30, 31, 32], (2, 40), Some((3, 30))),
            // A gap that is over when the time begins, one that is not when it ends.
            (&[0, 50, 51, 60, 61, 200], (51, 100), Some((51, 60))),
            // It began before the time and ends in it.
            (&[1, 40, 41], (10, 50), Some((1, 40))),
            (&[1, 2, 3], (10, 50), None),
            (&[10, 20, 31], (10, 31), Some((20, 31))),
        ];
        for (at, (from, to), expected) in table {
            assert_eq!(longest_gap(&answers(at), from, to), expected, "{at:?} from {from} to {to}");
        }
    }
}
