//! What the kernel does on each node: stamps the frames, watches for silence, and tells both in one ordered ring.
//!
//! The same rules as the BPF program's, written apart. What it refuses for good reason in any case (other protocols,
//! forged digests) never gets here.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use ha_common::fresh::Heard;

use crate::core::{Advert, Advertisement, Families, Family, Instant, Silence, Stall};

/// One advertisement in one family, on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The node that sent it.
    pub from: usize,
    /// The source address of the packet.
    pub source: IpAddr,
    /// What it says.
    pub advertisement: Advertisement,
    /// In which role it was said: for the judges, nobody on the LAN looks at it.
    pub role: Role,
    /// Strict mode: when the sender says that it was made, in ms since 2025.
    pub ms: Option<u64>,
}

/// What a node is when it speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A master, or one that becomes it.
    Master,
    /// A master that says goodbye.
    Leaving,
    /// Somebody who was master, and says that its addresses are gone.
    Loser,
}

/// What the ring holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// An authentic advertisement.
    Advert {
        /// Who sent it really: for the judges, the agent does not look at it.
        from: usize,
        /// As the core takes it.
        advert: Advert,
    },
    /// A timer fired in time.
    Silence(Silence),
    /// A timer fired too late.
    Stall(Stall),
}

impl Record {
    /// When the kernel wrote it.
    #[must_use]
    pub fn at(&self) -> Instant {
        match self {
            Self::Advert { advert, .. } => advert.stamp,
            Self::Silence(Silence { fired, .. }) | Self::Stall(Stall { fired, .. }) => *fired,
        }
    }
}

/// How long the timers wait, as the agent wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// From a frame to the silence.
    pub dead: Duration,
    /// Between two advertisements of a master.
    pub interval: Duration,
}

/// The kernel's part of a node.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// The families that the virtual host listens in.
    families: Families,
    patience: Option<Patience>,
    /// By [`Family`].
    countdowns: [Option<Countdown>; 2],
    ring: VecDeque<Record>,
    /// Strict mode: which times were heard, by sender and by open fields.
    heard: BTreeMap<Known, Heard>,
}

/// A timer that runs.
#[derive(Clone, Copy, Debug)]
struct Countdown {
    last_heard: Instant,
    deadline: Instant,
    /// When it is to judge: half an interval before the deadline, then at it.
    due: Instant,
    /// When it fires, if this machine is awake: no timer is exact.
    fires: Instant,
    /// How often in a row it was not believed.
    stalls: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Known {
    Sender(IpAddr),
    Fields(u8, u8, u8),
}

impl Kernel {
    /// Nothing was heard, and nobody listens.
    #[must_use]
    pub fn new(families: Families) -> Self {
        Self {
            families,
            patience: None,
            countdowns: [None; 2],
            ring: VecDeque::new(),
            heard: BTreeMap::new(),
        }
    }

    /// An agent has started: it reads what comes from now on. Which times were heard stays known, since one agent leaves
    /// that to the next.
    pub fn restart(&mut self) {
        self.ring.clear();
        self.patience = None;
        self.countdowns = [None; 2];
    }

    /// The agent says how long to wait after the frames to come; `None` for no watch at all.
    pub fn set_patience(&mut self, patience: Option<Patience>) {
        self.patience = patience;
    }

    /// What the agent said last.
    #[must_use]
    pub fn patience(&self) -> Option<Patience> {
        self.patience
    }

    /// A frame is at its turn at `now`, when the wall clock says `wall_ms`; `late` is by how much the timer that it arms
    /// will miss its deadline. Returns whether it was taken.
    pub fn receive(&mut self, now: Instant, wall_ms: u64, frame: Frame, late: Duration) -> bool {
        let Frame { from, source, advertisement: Advertisement { priority, demote }, ms, role: _ } = frame;
        let family = Family::of(source);
        let listens = match family {
            Family::V4 => self.families.v4,
            Family::V6 => self.families.v6,
        };
        if !listens || !ms.is_none_or(|ms| self.is_fresh(ms, now, wall_ms, frame)) {
            return false;
        }
        let watched = self.patience.is_some();
        if let Some(Patience { dead, interval }) = self.patience {
            let due = now + dead.saturating_sub(interval / 2);
            self.countdowns[family as usize] =
                Some(Countdown { last_heard: now, deadline: now + dead, due, fires: due + late, stalls: 0 });
        }
        self.ring.push_back(Record::Advert {
            from,
            advert: Advert { stamp: now, source, priority, demote, watched },
        });
        true
    }

    /// As [`ha_common::judge`] has it: new for its sender and for its fields, and made just now or in step with what is
    /// known.
    fn is_fresh(&mut self, ms: u64, now: Instant, wall_ms: u64, frame: Frame) -> bool {
        let Advertisement { priority, demote } = frame.advertisement;
        let (sender, fields) =
            (Known::Sender(frame.source), Known::Fields(priority.advskew, priority.advbase, demote));
        let known = self.heard.get(&sender);
        if known.is_some_and(|known| known.has(ms)) {
            return false;
        }
        let in_time = wall_ms.abs_diff(ms) <= TOLERANCE_MS
            || known.is_some_and(|known| known.continues(ms, now.as_nanos(), TOLERANCE_MS));
        in_time
            && [fields, sender].into_iter().all(|key| {
                let heard = self.heard.entry(key).or_default();
                let new = !heard.has(ms);
                if new {
                    heard.record(ms, now.as_nanos());
                }
                new
            })
    }

    /// When the next timer fires, and of which family.
    #[must_use]
    pub fn next_timer(&self) -> Option<(Instant, Family)> {
        let fires = |family: Family| Some((self.countdowns[family as usize]?.fires, family));
        Family::ALL.into_iter().filter_map(fires).min()
    }

    /// A timer fires at `now`; `late` is by how much the next one will, if it is armed again.
    ///
    /// Late by more than a quarter of an interval it says more about this machine than about the peer: frames may be
    /// waiting at the card. But a machine that never runs in time must not wait for ever.
    pub fn fire(&mut self, now: Instant, family: Family, late: Duration) {
        let interval = self.patience.map_or(Duration::ZERO, |patience| patience.interval);
        let Some(countdown) = self.countdowns[family as usize].take() else { return };
        let Countdown { last_heard, deadline, due, stalls, .. } = countdown;
        if now.saturating_since(due) > interval / 4 && stalls < MOST_STALLS {
            let due_again = now + interval * 3 / 2;
            self.countdowns[family as usize] = Some(Countdown {
                last_heard,
                deadline: now + interval * 2,
                due: due_again,
                fires: due_again + late,
                stalls: stalls + 1,
            });
            self.ring.push_back(Record::Stall(Stall { family, deadline: due, fired: now }));
        } else if due < deadline {
            self.countdowns[family as usize] =
                Some(Countdown { due: deadline, fires: deadline + late, ..countdown });
        } else {
            self.ring.push_back(Record::Silence(Silence { family, last_heard, deadline, fired: now }));
        }
    }

    /// When the oldest unread record was written.
    #[must_use]
    pub fn unread_since(&self) -> Option<Instant> {
        self.ring.front().map(Record::at)
    }

    /// Reads a record.
    pub fn read(&mut self) -> Option<Record> {
        self.ring.pop_front()
    }
}

/// How far the wall clocks of two nodes may be apart, as configured by default.
pub const TOLERANCE_MS: u64 = 2_000;
/// How often in a row a timer is armed again.
const MOST_STALLS: u8 = 5;
