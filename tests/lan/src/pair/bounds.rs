//! For how long at most it may be wrong between two nodes, and why no longer.
//!
//! All bounds are sums of the settings' times and of a few others:
//!
//! - *dead*: how long the link may go without an answer, and at least what the virtual hosts wait for a silent master;
//! - *met*: from when both run and the link works until each knows how the other is: a beat and its echo, and another that
//!   tells it, and the first message: three beats and as many ways;
//! - *order*: what the executor takes, where it does not hang;
//! - *boot*: from a hard end until the agent runs again.

use std::time::Duration;

use super::node::{INTERVAL, LINK_DEAD};
use super::wire::WAY;
use super::world::{BEAT, BOOT, ORDER, STORE};
use crate::core::pair::Settings;

/// The bounds for nodes of these settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    settings: Settings,
}

impl Bounds {
    /// The bounds for nodes of these settings.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }

    /// See the head of the file.
    #[must_use]
    pub fn met(&self) -> Duration {
        (BEAT + WAY) * 3
    }

    /// How long both may hold the services, from when both run and at least one of link and network works: until they have
    /// *met*, or the virtual hosts of one have lost (two intervals) and a *turn* has passed; then that one releases. One
    /// that was about to take back what it could not release decides first (*answer*).
    #[must_use]
    pub fn together(&self) -> Duration {
        let Settings { turn, release, answer, .. } = self.settings;
        let known = self.met().max((INTERVAL + WAY) * 2 + turn);
        LINK_DEAD + known + answer + release
    }

    /// From the first step of a switchover until each node that is busy with it, and runs, has named its end.
    ///
    /// The one that gives: it asks, stores, releases, waits for the other (which may take, undo, and say so), claims,
    /// takes, and undoes. The one that takes keeps its promise for a release and two answers after the last word.
    #[must_use]
    pub fn ended(&self) -> Duration {
        let Settings { answer, release, take, .. } = self.settings;
        answer * 6 + release * 4 + take * 2 + LINK_DEAD
    }

    /// From the end of the last fault until exactly one node is active and serves, and the other one holds nothing.
    ///
    /// What hangs is given up, and undone, or ends hard (*take + release + boot*, or *release* and what is waited for an
    /// answer); the nodes *meet*, and the rest of one that failed passes; whose turn it is claims (four *turns* where they
    /// can't talk, of which one is counted here because the link works), stores, is answered, and takes.
    #[must_use]
    pub fn settled(&self) -> Duration {
        let Settings { answer, release, take, rest, turn, .. } = self.settings;
        LINK_DEAD
            + self.met()
            + take
            + release * 2
            + BOOT
            + rest
            + turn
            + answer * 4
            + (ORDER + STORE + WAY) * 2
    }

    /// How long nobody serves in a switchover that nothing disturbs: the release, the way of the word, the takeover, and
    /// until the virtual hosts have followed, which speak once an interval.
    #[must_use]
    pub fn gap(&self) -> Duration {
        ORDER * 2 + (INTERVAL + WAY) * 2
    }
}
