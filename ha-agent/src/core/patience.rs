//! Whom a backup has heard, and from when it counts its patience.

use std::net::IpAddr;
use std::time::Duration;

use super::command::{Advert, Silence};
use super::family::Family;
use super::time::Instant;

/// Where a backup listens: in all families at once, or in each for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ear {
    /// Everything; in IPv4, where the families are apart.
    First,
    /// IPv6, where the families are apart.
    Second,
}

/// The memory of a backup. Frames count by their stamps, in whatever order they are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Patience {
    since: Instant,
    /// The newest stamp, by [`Ear`].
    heard: [Option<Instant>; 2],
    /// Whom we follow, by [`Family`].
    masters: [Option<Word>; 2],
    /// A bow-out after which nobody has advertised.
    bowed_out: Option<Word>,
    /// Who tells that it has ended, by [`Ear`].
    guards: [Guard; 2],
}

/// Who tells that patience has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guard {
    /// We ourselves, by a timer of our own.
    Own,
    /// The kernel, by a [`Silence`].
    Kernel,
    /// The kernel has told. What is left, because our patience is longer than it knew, is a matter of our own
    /// timer.
    Told {
        /// For when its timer was armed.
        deadline: Instant,
        /// When it fired.
        fired: Instant,
    },
}

/// Somebody said something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word {
    /// Who.
    pub(super) source: IpAddr,
    /// When it arrived.
    pub(super) stamp: Instant,
    /// Whether the kernel has armed its timer at this.
    pub(super) watched: bool,
}

impl Word {
    pub(super) fn of(Advert { source, stamp, watched, .. }: Advert) -> Self {
        Self { source, stamp, watched }
    }
}

impl Patience {
    /// Nothing heard yet; patience counts from here.
    pub(super) fn new(since: Instant) -> Self {
        Self { since, heard: [None; 2], masters: [None; 2], bowed_out: None, guards: [Guard::Own; 2] }
    }

    /// Takes in the advertisement of a living master: it takes back a bow-out that is not newer.
    pub(super) fn hear(&mut self, ear: Ear, word: Word) {
        if self.is_newest(word.stamp) {
            self.bowed_out = None;
            self.masters[Family::of(word.source) as usize] = Some(word);
        }
        self.note(ear, word);
    }

    /// Takes in a bow-out, unless somebody has advertised since. Of several, the first counts: to repeat it
    /// does not put off our turn.
    pub(super) fn hear_bow_out(&mut self, ear: Ear, word: Word) {
        if self.is_newest(word.stamp) {
            self.bowed_out.get_or_insert(word);
            self.masters = [None; 2];
        }
        self.note(ear, word);
    }

    /// Takes in that the kernel's timer fired. One that was armed by an older frame than the newest tells nothing,
    /// and neither does one that we do not rely on.
    pub(super) fn hear_silence(&mut self, ear: Ear, Silence { last_heard, deadline, fired, .. }: Silence) {
        let newest = &mut self.heard[ear as usize];
        if self.guards[ear as usize] == Guard::Kernel && *newest <= Some(last_heard) {
            // Newer, if the record of the frame was lost.
            *newest = Some(last_heard);
            self.guards[ear as usize] = Guard::Told { deadline, fired };
        }
    }

    /// The kernel's timer has been armed by something else than what we have taken in: our own has to do.
    pub(super) fn distrust(&mut self, ear: Ear) {
        self.guards[ear as usize] = Guard::Own;
    }

    /// Who tells that the patience of `ear` has ended.
    pub(super) fn guard(&self, ear: Ear) -> Guard {
        self.guards[ear as usize]
    }

    /// Whether this is not the word of the master that we follow, who was heard less than `down` before.
    pub(super) fn follows_another(&self, word: Word, down: Duration) -> bool {
        let master = self.masters[Family::of(word.source) as usize];
        master.is_some_and(|master| master.source != word.source && word.stamp < master.stamp + down)
    }

    /// The newest advertisement heard by `ear`, by its stamp.
    pub(super) fn last_heard(&self, ear: Ear) -> Option<Instant> {
        self.heard[ear as usize]
    }

    /// From when the patience of `ear` counts: the newest advertisement, but not before we began to listen.
    pub(super) fn since(&self, ear: Ear) -> Instant {
        self.last_heard(ear).map_or(self.since, |heard| heard.max(self.since))
    }

    /// The bow-out after which nobody has advertised.
    pub(super) fn bowed_out(&self) -> Option<Word> {
        self.bowed_out
    }

    fn is_newest(&self, stamp: Instant) -> bool {
        self.heard.into_iter().flatten().all(|heard| heard <= stamp)
    }

    fn note(&mut self, ear: Ear, Word { stamp, watched, .. }: Word) {
        // `None` is less than any `Some`.
        let newest = &mut self.heard[ear as usize];
        if *newest <= Some(stamp) {
            *newest = Some(stamp);
            self.guards[ear as usize] = if watched { Guard::Kernel } else { Guard::Own };
        }
    }
}
