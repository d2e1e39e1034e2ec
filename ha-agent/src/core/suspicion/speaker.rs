//! What is known of one sender.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use super::counters::Counters;
pub(super) use super::counters::Used;
use super::kind::Kind;
use crate::core::command::Advertisement;
use crate::core::pace::Pace;
use crate::core::time::Instant;

/// A sender of advertisements that were new.
#[derive(Clone, Debug)]
pub(super) struct Speaker {
    /// Its address; `None` is ourselves.
    pub(super) who: Option<IpAddr>,
    heard: Instant,
    counters: Counters,
    /// Of the last advertisement.
    digest: [u8; 20],
    habit: Habit,
    /// Where the counter stood, some times in the last [`LATE`].
    marks: VecDeque<(Instant, u64)>,
    /// What it advertises, and the best that it ever did; no bow-outs.
    current: Option<Advertisement>,
    best: Option<Advertisement>,
    /// Since when it advertises better than that, unproven.
    better_since: Option<Instant>,
    /// When it bowed out, unproven.
    farewell: Option<Instant>,
    /// Whether it has left: its last one was a bow-out, proven.
    left: bool,
    /// When its counter was elsewhere, though it counts.
    strayed: Option<Instant>,
    /// Whether it counts on from a constant counter, or from who does: others may use its counters again.
    pub(super) in_wake: bool,
}

/// Whether the same counter again is normal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Habit {
    /// One counter so far, or since it changed; heard once.
    Unknown,
    /// One counter, heard again and again.
    Constant,
    /// No counter twice.
    Changing,
}

impl Speaker {
    pub(super) fn new(who: Option<IpAddr>, now: Instant) -> Self {
        Self {
            who,
            heard: now,
            counters: Counters::default(),
            digest: [0; 20],
            habit: Habit::Unknown,
            marks: VecDeque::new(),
            current: None,
            best: None,
            better_since: None,
            farewell: None,
            left: false,
            strayed: None,
            in_wake: false,
        }
    }

    pub(super) fn heard(&self) -> Instant {
        self.heard
    }

    pub(super) fn last(&self) -> Option<u64> {
        self.counters.last()
    }

    pub(super) fn digest(&self) -> [u8; 20] {
        self.digest
    }

    /// Whether it never uses a counter twice in a row.
    pub(super) fn changes(&self) -> bool {
        self.habit == Habit::Changing
    }

    pub(super) fn used(&self, counter: u64) -> Option<Used> {
        self.counters.used(counter)
    }

    pub(super) fn is_followed_by(&self, counter: u64, gap: u64) -> bool {
        self.counters.are_followed_by(counter, gap)
    }

    /// Whether a frame of the same node in the other family may have this counter: it is the last one, and
    /// constant or just sent, or overtook it.
    pub(super) fn shares(&self, now: Instant, counter: u64) -> bool {
        let same_tick = now.saturating_since(self.heard) <= ONE_TICK;
        self.last().is_some_and(|last| match last.wrapping_sub(counter) {
            0 => !self.changes() || same_tick,
            1 => same_tick,
            _ => false,
        })
    }

    /// Whether it used this counter within the last [`LATE`] or among the last [`MISSED`], while it counted.
    pub(super) fn used_lately(&self, now: Instant, counter: u64) -> bool {
        let since = |counter| self.counters.counted_since(counter);
        let mark = self.marks.iter().find(|(at, _)| now.saturating_since(*at) <= LATE);
        let reach = mark.and_then(|(_, mark)| since(*mark)).unwrap_or(0).max(MISSED);
        since(counter).is_some_and(|back| back <= reach)
    }

    /// Whether `other` would take over from what it advertises.
    pub(super) fn loses_to(&self, other: Advertisement) -> bool {
        self.current.is_some_and(|current| other.beats(current))
    }

    /// Whether it would take over from `other`.
    pub(super) fn beats(&self, other: Advertisement) -> bool {
        self.current.is_some_and(|current| current.beats(other))
    }

    /// Whether anything that it advertised was believed.
    pub(super) fn is_trusted(&self) -> bool {
        self.best.is_some()
    }

    /// Whether it counts, and has not left: then it goes nowhere else.
    pub(super) fn stays(&self) -> bool {
        self.counters.count() && !self.left
    }

    /// Takes in that its counter is elsewhere, though it [`stays`](Self::stays).
    pub(super) fn stray(&mut self, now: Instant) {
        self.strayed = Some(now);
    }

    /// Whether it may be a recording of an earlier life, for a minute.
    pub(super) fn strayed(&self, now: Instant) -> bool {
        self.strayed.is_some_and(|at| now.saturating_since(at) <= MINUTE)
    }

    pub(super) fn expect_change(&mut self, expected: bool) {
        if expected {
            self.habit = Habit::Changing;
        }
    }

    /// Takes in a counter that nobody repeated.
    pub(super) fn learn(&mut self, now: Instant, counter: u64, digest: [u8; 20]) {
        let last = self.last();
        let counts_on = self.counters.push(counter);
        self.habit = match (self.habit, last) {
            (_, _) if counts_on => Habit::Changing,
            (habit, None) => habit,
            (Habit::Unknown | Habit::Constant, Some(last)) if last == counter => Habit::Constant,
            // One that starts anew draws a new constant.
            (Habit::Constant, Some(_)) => Habit::Unknown,
            (Habit::Unknown | Habit::Changing, Some(_)) => Habit::Changing,
        };
        self.heard = now;
        self.left = false;
        self.digest = digest;
        while self.marks.front().is_some_and(|(at, _)| now.saturating_since(*at) > LATE) {
            self.marks.pop_front();
        }
        if self.marks.back().is_none_or(|(at, _)| now.saturating_since(*at) >= LATE / MARKS) {
            self.marks.push_back((now, counter));
        }
    }

    /// Takes in an advertisement that is proven.
    pub(super) fn trust(&mut self, advertisement: Advertisement) {
        self.left = advertisement.priority.is_bow_out();
        if !self.left {
            self.current = Some(advertisement);
            self.better_since = None;
            if self.is_best(advertisement) {
                self.best = Some(advertisement);
            }
        }
    }

    /// Takes in one that is not. What stays better for a minute is no attack that anybody fights.
    pub(super) fn doubt(&mut self, now: Instant, advertisement: Advertisement) -> Option<Kind> {
        if advertisement.priority.is_bow_out() {
            // To leave is normal; to leave twice is not.
            let again =
                self.farewell.replace(now).is_some_and(|before| now.saturating_since(before) <= MINUTE);
            return (again || self.strayed(now))
                .then_some(Kind::SuddenPriority { priority: advertisement.priority });
        }
        if self.best.is_none() || !self.is_best(advertisement) {
            self.trust(advertisement);
            return None;
        }
        let since = *self.better_since.get_or_insert(now);
        if now.saturating_since(since) >= MINUTE {
            self.trust(advertisement);
            return None;
        }
        Some(Kind::SuddenPriority { priority: advertisement.priority })
    }

    /// Whether it bowed out and goes on as if it had not: the others would still wait for it.
    pub(super) fn outlive_farewell(&mut self, now: Instant, advertisement: Advertisement) -> Option<Kind> {
        if advertisement.priority.is_bow_out() {
            return None;
        }
        let stays = Pace::Classic.advertisement_interval(advertisement.priority) * 2;
        let farewell = self.farewell.take()?;
        (now.saturating_since(farewell) <= stays)
            .then_some(Kind::SuddenPriority { priority: crate::core::Priority::BOW_OUT })
    }

    /// Whether one of its advertisements, repeated as `advertisement`, was made a goodbye or better than any.
    pub(super) fn rewritten(&self, advertisement: Advertisement) -> Option<Kind> {
        let Advertisement { priority, .. } = advertisement;
        let better = self.best.is_some_and(|best| advertisement.beats(best));
        (priority.is_bow_out() || better).then_some(Kind::SuddenPriority { priority })
    }

    /// Whether it is better than any so far.
    fn is_best(&self, advertisement: Advertisement) -> bool {
        self.best.is_none_or(|best| advertisement.beats(best))
    }
}

/// How late a frame may have been read that another one counts on from.
pub(super) const LATE: Duration = Duration::from_secs(2);

/// How many frames a master sends before another takes over that does not hear it.
const MISSED: u64 = 4;

/// How many marks are set in that time.
const MARKS: u32 = 4;

/// How far apart the two frames of one node may arrive.
const ONE_TICK: Duration = Duration::from_millis(100);

const MINUTE: Duration = Duration::from_mins(1);
