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
//!
//! Two masters count on from the same while a network is parted, and when it is whole again one seems to repeat
//! the other. That is over within a few frames, so a few a minute are let pass, whoever sends them; an echo goes on.

use std::net::IpAddr;
use std::time::Duration;

use self::ledger::Ledger;
use self::speaker::{LATE, Speaker, Used};
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
    grace: Grace,
}

/// How many frames were let pass that may be honest, since when; for a minute. All sources share it: whoever
/// forges sources has no more.
#[derive(Clone, Debug, Default)]
struct Grace {
    since: Option<Instant>,
    frames: u32,
}

/// What the counter of an advertisement shows.
enum Origin {
    /// It is new, and counts on.
    Proven,
    /// It may be new.
    Unproven,
    /// It may be new, but its source counted elsewhere.
    Strayed,
    /// This one used it before; `excuse`: it may be honest, if it does not last.
    Used { by: usize, kind: Kind, excuse: bool },
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
            Origin::Used { excuse: true, kind, .. } if self.grace.spend(now) => {
                let speaker = self.learn(now, heard);
                if kind == Kind::Regressed {
                    speaker.stray(now);
                }
                // A priority that nothing else vouches for is not believed.
                if speaker.is_trusted() {
                    kinds.extend(speaker.outlive_farewell(now, heard.advertisement()));
                    kinds.extend(speaker.doubt(now, heard.advertisement()));
                }
            }
            Origin::Used { by, kind, excuse: _ } => {
                let own = self.find(Some(heard.source)).filter(|own| self.speakers[*own].is_trusted());
                kinds.push(kind);
                kinds.extend(self.speakers[own.unwrap_or(by)].rewritten(heard.advertisement()));
            }
            Origin::Proven => {
                let speaker = self.learn(now, heard);
                kinds.extend(speaker.outlive_farewell(now, heard.advertisement()));
                speaker.trust(heard.advertisement());
            }
            origin @ (Origin::Unproven | Origin::Strayed) => {
                let speaker = self.learn(now, heard);
                if matches!(origin, Origin::Strayed) {
                    speaker.stray(now);
                }
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
            let again = own.changes()
                && own.digest() == heard.digest
                && !self.adopts(heard.counter, me, Duration::ZERO);
            let kind = Kind::Repeated;
            return if again { Origin::Used { by, kind, excuse: false } } else { Origin::Unproven };
        }
        let before = self.user(now, heard, me);
        let counts_on = |gap| own.is_some_and(|own| own.is_followed_by(heard.counter, gap));
        let adopts = self.adopts(heard.counter, me, Duration::ZERO);
        let stays = own.is_some_and(Speaker::stays);
        match before {
            // A gap in what nobody used is a loss of frames.
            None if counts_on(ANY) || adopts => {
                let strayed = own.is_some_and(|own| own.strayed(now));
                if strayed { Origin::Unproven } else { Origin::Proven }
            }
            None if stays => Origin::Strayed,
            None => Origin::Unproven,
            Some((by, used)) if Some(by) == me => match used {
                // In its own, it may be the gap between two recorded ones.
                _ if counts_on(FEW) => Origin::Unproven,
                _ if adopts => {
                    if stays {
                        Origin::Strayed
                    } else {
                        Origin::Unproven
                    }
                }
                Used::Counting => {
                    let excuse = !heard.priority.is_bow_out() && self.adopts(heard.counter, me, LATE);
                    Origin::Used { by, kind: Kind::Regressed, excuse }
                }
                Used::Once => Origin::Used { by, kind: Kind::Repeated, excuse: false },
            },
            Some(_) if self.in_wake(heard.counter, me) => Origin::Unproven,
            Some((by, used)) => {
                // In another's, both counted on while they did not hear each other.
                let goes_on = counts_on(ANY) || adopts;
                let behind = used == Used::Counting && self.speakers[by].beats(heard.advertisement());
                // Nobody who leaves is needed any more.
                let excuse =
                    !heard.priority.is_bow_out() && (goes_on || behind || self.reads_late(now, heard, by));
                Origin::Used { by, kind: Kind::TwoSources { other: self.speakers[by].who }, excuse }
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

    /// Whether it counts on from what was heard of somebody else, later than what was heard of this one, or so
    /// much earlier.
    fn adopts(&self, counter: u64, me: Option<usize>, earlier: Duration) -> bool {
        let newest = self.speakers.iter().map(Speaker::heard).max();
        let since = me.map(|me| self.speakers[me].heard()).or(newest);
        self.speakers
            .iter()
            .enumerate()
            .filter(|(by, speaker)| Some(*by) != me && Some(speaker.heard() + earlier) >= since)
            .any(|(_, speaker)| speaker.is_followed_by(counter, FEW))
    }

    /// Whether it counts on from a constant counter, as all do that take over from its owner, one after the other.
    fn in_wake(&self, counter: u64, me: Option<usize>) -> bool {
        self.speakers.iter().enumerate().any(|(by, speaker)| {
            let constant = Some(by) != me && !speaker.changes();
            (constant || speaker.in_wake) && speaker.is_followed_by(counter, FEW)
        })
    }

    /// A better one that takes over, and counts on from a frame that is not the master's last: it did not hear
    /// that, or ucarp reads up to 1 s late (CARP specification §5.1). It does not advertise with `advbase` 0, and will count on.
    fn reads_late(&self, now: Instant, heard: &Heard, by: usize) -> bool {
        heard.priority.advbase > 0
            && self.speakers[by].used_lately(now, heard.counter)
            && self.speakers[by].loses_to(heard.advertisement())
    }

    fn learn(&mut self, now: Instant, heard: &Heard) -> &mut Speaker {
        let speaker = self.find(Some(heard.source)).unwrap_or_else(|| {
            let follows =
                self.user(now, heard, None).is_some() || self.adopts(heard.counter, None, Duration::ZERO);
            let me = self.add(now, Some(heard.source));
            // Who takes up another's counter will count.
            self.speakers[me].expect_change(follows);
            me
        });
        let again = self.speakers[speaker].last() == Some(heard.counter);
        let in_wake = again && self.speakers[speaker].in_wake || self.in_wake(heard.counter, Some(speaker));
        let speaker = &mut self.speakers[speaker];
        speaker.in_wake = in_wake;
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

impl Grace {
    fn spend(&mut self, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        if now.saturating_since(since) >= Duration::from_mins(1) {
            *self = Self { since: Some(now), frames: 0 };
        }
        self.frames = self.frames.saturating_add(1);
        self.frames <= MOST_EXCUSED
    }
}

/// Sources that are remembered beside ourselves.
const MOST_SOURCES: usize = 64;

/// Frames that are let pass in a minute: a third of a second of an echo at 10 ms.
const MOST_EXCUSED: u32 = 32;

/// How many frames may be lost of one that counts, if nobody used what is between.
const ANY: u64 = u32::MAX as u64;

/// How many frames may be lost between two that follow each other.
const FEW: u64 = 16;
