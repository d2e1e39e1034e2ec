//! Who has written to the disks: what their paths have heard them answer.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use anyhow::{Result, ensure};

use super::{
    units::{HEADER, Units},
    who::Node,
};

/// All that was written since the lab is there. Only what a disk has accepted counts, at the time of its answer.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pages: Mutex<Pages>,
}

/// Writes of one node, to any disk, with none of the other one in between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) node: Node,
    /// When the first one was accepted, and the last one.
    pub(super) from: Instant,
    pub(super) to: Instant,
    /// How many were.
    pub(super) writes: u64,
}

/// One connection of a node to a disk.
pub(super) struct Conversation {
    ledger: Arc<Ledger>,
    node: Node,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct Pages {
    runs: Vec<Run>,
    refused: BTreeMap<Node, u64>,
    /// Something was said that is not understood.
    is_torn: bool,
}

#[derive(Default)]
struct State {
    requests: Units,
    answers: Units,
    /// The tags of the writes that are not answered yet.
    writes: HashSet<[u8; 4]>,
}

impl Ledger {
    /// Who has written, in the order of time.
    ///
    /// # Errors
    ///
    /// Something was said that is not understood: there may have been more.
    pub(super) fn runs(&self) -> Result<Vec<Run>> {
        let pages = self.pages();
        ensure!(!pages.is_torn, "the paths to the disks heard what is no iSCSI");
        Ok(pages.runs.clone())
    }

    /// How many writes of `node` were refused because of a reservation.
    pub(super) fn refused(&self, node: Node) -> u64 {
        self.pages().refused.get(&node).copied().unwrap_or_default()
    }

    fn accepted(&self, node: Node, now: Instant) {
        let mut pages = self.pages();
        match pages.runs.last_mut() {
            Some(run) if run.node == node => (run.to, run.writes) = (now, run.writes + 1),
            Some(_) | None => pages.runs.push(Run { node, from: now, to: now, writes: 1 }),
        }
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Conversation {
    /// A new connection of `node`.
    pub(super) fn new(ledger: Arc<Ledger>, node: Node) -> Self {
        Self { ledger, node, state: Mutex::default() }
    }

    /// The node says something, from the first unit after its login on.
    pub(super) fn request(&self, bytes: &[u8]) {
        let mut state = self.state();
        let State { requests, writes, .. } = &mut *state;
        requests.take(bytes, |unit| {
            if unit[0] & OPCODE == COMMAND && WRITES.contains(&unit[CDB]) {
                writes.insert(tag(unit));
            }
        });
    }

    /// The disk says something, from the first byte on.
    pub(super) fn answer(&self, bytes: &[u8]) {
        let now = Instant::now();
        let mut state = self.state();
        let State { answers, writes, .. } = &mut *state;
        answers.take(bytes, |unit| {
            if !ANSWERS.contains(&unit[0]) {
                self.ledger.pages().is_torn = true;
            }
            if unit[0] == RESPONSE && writes.remove(&tag(unit)) {
                match unit[STATUS] {
                    GOOD => self.ledger.accepted(self.node, now),
                    CONFLICT => *self.ledger.pages().refused.entry(self.node).or_default() += 1,
                    _ => {}
                }
            }
        });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The tag by which a request and its answer know each other.
fn tag(unit: &[u8; HEADER]) -> [u8; 4] {
    [unit[16], unit[17], unit[18], unit[19]]
}

/// RFC 7143, 11.2.1.2, 11.3, 11.4.
const OPCODE: u8 = 0x3f;
const COMMAND: u8 = 0x01;
const CDB: usize = 32;
const RESPONSE: u8 = 0x21;
const STATUS: usize = 3;
/// All that a target says.
const ANSWERS: [u8; 10] = [0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x31, 0x32, 0x3f];
/// SAM-5, 5.3.1.
const GOOD: u8 = 0x00;
const CONFLICT: u8 = 0x18;
/// SBC-4: all that changes what is on a disk. WRITE (6, 10, 12, 16), AND VERIFY, SAME, UNMAP, COMPARE AND WRITE.
const WRITES: [u8; 11] = [0x0a, 0x2a, 0xaa, 0x8a, 0x2e, 0xae, 0x8e, 0x41, 0x93, 0x42, 0x89];

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(opcode: u8, tag: u8, at: (usize, u8), data: u8) -> Vec<u8> {
        let mut unit = vec![0; HEADER + usize::from(data).next_multiple_of(4)];
        (unit[0], unit[7], unit[19]) = (opcode, data, tag);
        unit[at.0] = at.1;
        unit
    }

    #[test]
    fn what_the_disks_accept_is_counted_for_whom_it_was() {
        let ledger = Arc::new(Ledger::default());
        let talks = Node::ALL.map(|node| Conversation::new(Arc::clone(&ledger), node));
        let said = |node: usize, parts: [Vec<u8>; 3], size: usize| {
            let [request, data, answer] = parts;
            [request, data].concat().chunks(size).for_each(|bytes| talks[node].request(bytes));
            answer.chunks(size).for_each(|bytes| talks[node].answer(bytes));
        };
        let data = || unit(0x05, 1, (20, 0), 7);
        for (size, opcode) in [(1, 0x2a), (7, 0x8a), (4096, 0x42)] {
            said(0, [unit(0x41, 1, (CDB, opcode), 0), data(), unit(RESPONSE, 1, (STATUS, GOOD), 0)], size);
            // A read, whose answer has data; and a write that is refused, with sense data.
            said(1, [unit(0x01, 2, (CDB, 0x28), 0), vec![], unit(0x25, 2, (STATUS, GOOD), 9)], size);
            said(1, [unit(0x01, 3, (CDB, 0x2a), 5), data(), unit(RESPONSE, 3, (STATUS, CONFLICT), 6)], size);
        }
        said(1, [unit(0x01, 4, (CDB, 0x93), 0), vec![], unit(RESPONSE, 4, (STATUS, GOOD), 0)], 48);
        let runs = ledger.runs().unwrap();
        let seen: Vec<_> = runs.iter().map(|run| (run.node, run.writes)).collect();
        assert_eq!(seen, [(Node::A, 3), (Node::B, 1)]);
        assert_eq!((ledger.refused(Node::A), ledger.refused(Node::B)), (0, 3));
        assert!(runs[0].from <= runs[0].to && runs[0].to <= runs[1].from);

        talks[0].answer(&unit(0x07, 0, (1, 0), 0));
        assert!(ledger.runs().is_err(), "what is no iSCSI was believed");
    }
}
