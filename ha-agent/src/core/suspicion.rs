//! What looks like an attack where nothing can be refused.
//!
//! In compat mode a recorded advertisement is as good as a new one, and its priority can be rewritten (CARP
//! specification §8.1). But whoever has no key cannot make a new counter, and most senders never use one twice
//! (§4):
//!
//! | sender | its counters |
//! |---|---|
//! | our own | count on from a random start |
//! | FreeBSD, NetBSD, ucarp, alone | each is random |
//! | the same, once they heard another | count on from the counter heard last |
//! | OpenBSD and its kin | one, until they restart |
//!
//! So a counter is remembered with who used it, and an advertisement is one of three: *proven* new, for it
//! counts on; *used* before, so recorded by somebody; or neither (constant, random, restarted). Where nothing is
//! proven, a better priority than ever is all that can be noticed. It may be a change at the peer, then it comes
//! up for a minute. A constant counter repeated in its owner's name is beyond telling.

use std::net::IpAddr;

use self::ledger::Ledger;
use self::speaker::{Speaker, Used};
use super::command::Advertisement;
use super::election::Priority;
use super::family::Family;
use super::time::Instant;

mod counters;
mod kind;
mod ledger;
mod speaker;

#[cfg(test)]
mod tests;

pub use kind::{Kind, Suspicion};

/// An authentic advertisement, with what is told apart here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The source address of the packet.
    pub source: IpAddr,
    /// The counter.
    pub counter: u64,
    /// The digest.
    pub digest: [u8; 20],
    /// The priority that it advertises.
    pub priority: Priority,
    /// The demotion level that it advertises.
    pub demote: u8,
}

impl Heard {
    fn advertisement(&self) -> Advertisement {
        Advertisement { priority: self.priority, demote: self.demote }
    }
}

/// What is suspicious about one virtual host. Bounded: it remembers 64 sources, and lists 64 suspicions.
#[derive(Clone, Debug, Default)]
pub struct Suspicions {
    /// Ourselves, once we have advertised, and all others.
    speakers: Vec<Speaker>,
    ledger: Ledger,
}

/// What the counter of an advertisement shows.
enum Origin {
    /// It is new, and counts on.
    Proven,
    /// It may be new.
    Unproven,
    /// This one used it before.
    Used { by: usize, kind: Kind },
}

impl Suspicions {
    /// Takes in an advertisement of our own: others may repeat it.
    pub fn sent(&mut self, now: Instant, counter: u64, advertisement: Advertisement) {
        let ours = self.find(None).unwrap_or_else(|| self.add(now, None));
        let ours = &mut self.speakers[ours];
        ours.learn(now, counter, [0; 20]);
        ours.trust(advertisement);
    }

    /// Takes in an advertisement of another; returns what is suspicious about it.
    ///
    /// What was used before is not learned from: it cannot change what is known of anybody.
    pub fn hear(&mut self, now: Instant, heard: &Heard) -> Vec<Suspicion> {
        let mut kinds = Vec::new();
        match self.origin(now, heard) {
            Origin::Used { by, kind } => {
                let known = self.find(Some(heard.source)).unwrap_or(by);
                kinds.push(kind);
                kinds.extend(self.speakers[known].rewritten(heard.advertisement()));
            }
            Origin::Proven => {
                let speaker = self.learn(now, heard);
                kinds.extend(speaker.outlive_farewell(now, heard.advertisement()));
                speaker.trust(heard.advertisement());
            }
            Origin::Unproven => {
                let speaker = self.learn(now, heard);
                kinds.extend(speaker.outlive_farewell(now, heard.advertisement()));
                kinds.extend(speaker.doubt(now, heard.advertisement()));
            }
        }
        kinds.into_iter().map(|kind| self.report(now, kind, heard.source)).collect()
    }

    /// Counts a suspicion that somebody else has, as the kernel.
    pub fn report(&mut self, now: Instant, kind: Kind, source: IpAddr) -> Suspicion {
        self.ledger.record(now, kind, source)
    }

    /// All that was suspicious, one entry a name and source.
    pub fn list(&self) -> impl Iterator<Item = &Suspicion> {
        self.ledger.list()
    }

    /// How often something was suspicious that found no place in the [`list`](Self::list).
    #[must_use]
    pub fn unlisted(&self) -> u64 {
        self.ledger.unlisted()
    }

    fn origin(&self, now: Instant, heard: &Heard) -> Origin {
        let me = self.find(Some(heard.source));
        let own = me.map(|me| &self.speakers[me]);
        if let (Some(by), Some(own)) = (me, own)
            && own.last() == Some(heard.counter)
        {
            // Another digest for the same counter: made with a key, and not repeated.
            let again = own.changes() && own.digest() == heard.digest && !self.adopts(heard.counter, me);
            return if again { Origin::Used { by, kind: Kind::Repeated } } else { Origin::Unproven };
        }
        let before = self.user(now, heard, me);
        // A gap in what nobody used is a loss of frames; in what somebody used, it may be the gap between two
        // recorded ones.
        let gap = if before.is_some() { FEW } else { u64::from(u32::MAX) };
        let counts_on = own.is_some_and(|own| own.is_followed_by(heard.counter, gap));
        let follows = counts_on || self.adopts(heard.counter, me);
        match before {
            None if follows => Origin::Proven,
            None => Origin::Unproven,
            Some(_) if follows => Origin::Unproven,
            Some((by, _)) if Some(by) != me && self.reads_late(now, heard, by) => Origin::Unproven,
            Some((by, used)) => {
                let kind = match (Some(by) == me, used) {
                    (true, Used::Counting) => Kind::Regressed,
                    (true, Used::Once) => Kind::Repeated,
                    (false, _) => Kind::TwoSources { other: self.speakers[by].who },
                };
                Origin::Used { by, kind }
            }
        }
    }

    /// Who used this counter before; `me` rather than others.
    fn user(&self, now: Instant, heard: &Heard, me: Option<usize>) -> Option<(usize, Used)> {
        let others = (0..self.speakers.len()).filter(|by| Some(*by) != me);
        me.into_iter().chain(others).find_map(|by| {
            let speaker = &self.speakers[by];
            // A node with both families sends the same counter in both.
            let twin = speaker.who.is_some_and(|who| Family::of(who) != Family::of(heard.source))
                && speaker.shares(now, heard.counter);
            let used = speaker.used(heard.counter)?;
            (!twin).then_some((by, used))
        })
    }

    /// Whether it counts on from what was heard of somebody else, later than what was heard of this one.
    fn adopts(&self, counter: u64, me: Option<usize>) -> bool {
        let newest = self.speakers.iter().map(Speaker::heard).max();
        let since = me.map(|me| self.speakers[me].heard()).or(newest);
        self.speakers
            .iter()
            .enumerate()
            .filter(|(by, speaker)| Some(*by) != me && Some(speaker.heard()) >= since)
            .any(|(_, speaker)| speaker.is_followed_by(counter, FEW))
    }

    /// A better one that takes over, and counts on from a frame that is not the master's last: ucarp reads up to
    /// 1 s late (CARP specification §5.1). It does not advertise with `advbase` 0, and will count on.
    fn reads_late(&self, now: Instant, heard: &Heard, by: usize) -> bool {
        heard.priority.advbase > 0
            && self.speakers[by].used_lately(now, heard.counter)
            && self.speakers[by].loses_to(heard.advertisement())
    }

    fn learn(&mut self, now: Instant, heard: &Heard) -> &mut Speaker {
        let speaker = self.find(Some(heard.source)).unwrap_or_else(|| {
            let follows = self.user(now, heard, None).is_some() || self.adopts(heard.counter, None);
            let me = self.add(now, Some(heard.source));
            // Who takes up another's counter will count.
            self.speakers[me].expect_change(follows);
            me
        });
        let speaker = &mut self.speakers[speaker];
        speaker.learn(now, heard.counter, heard.digest);
        speaker
    }

    fn find(&self, who: Option<IpAddr>) -> Option<usize> {
        self.speakers.iter().position(|speaker| speaker.who == who)
    }

    /// In place of the one not heard for longest, if there is no room.
    fn add(&mut self, now: Instant, who: Option<IpAddr>) -> usize {
        if self.speakers.len() > MOST_SOURCES {
            let others = self.speakers.iter().enumerate().filter(|(_, speaker)| speaker.who.is_some());
            if let Some((oldest, _)) = others.min_by_key(|(_, speaker)| speaker.heard()) {
                self.speakers.swap_remove(oldest);
            }
        }
        self.speakers.push(Speaker::new(who, now));
        self.speakers.len() - 1
    }
}

/// Sources that are remembered beside ourselves.
const MOST_SOURCES: usize = 64;

/// How many frames may be lost between two that follow each other.
const FEW: u64 = 16;
