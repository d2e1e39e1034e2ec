//! When a master tells its neighbours where the addresses are.
//!
//! At once when it becomes master, then again after [`SOON`], one and a half intervals, 100 ms, 1 s and 3 s: neighbours
//! may have missed the first one, and a switch may have been learning (CARP specification §9.3, point 15).
//!
//! *Another master that loses to us* may have been believed meanwhile, and may be until its addresses are gone.
//! Whether it gives in is not known until it is silent; so each of its frames begins the repeats anew, the first of
//! them half an interval after its next frame would have come. One that does not give in, because it does not hear
//! us, announces the addresses itself: while it is heard, we announce often enough that no client is lost to it for
//! a dead time.
//!
//! *The bound*: against one that speaks at our pace and never gives in, an announcement every dead time less an
//! interval for [`CONTEST`], then one a second, however long it lasts. Against one that speaks more seldom, a few for
//! each of its frames.

use std::time::Duration;

use super::time::Instant;

/// The memory of a master that announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Announcements {
    /// The first repeat.
    soon: Instant,
    /// The others count from here.
    since: Instant,
    contest: Option<Contest>,
    /// So long after the last frame of a loser it has probably given in.
    quiet: Duration,
    /// So long after it a new one begins another contest.
    dead: Duration,
    /// Between two announcements while a loser is heard.
    pause: Duration,
}

/// Another master is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Contest {
    began: Instant,
    heard: Instant,
    answered: Instant,
}

impl Announcements {
    /// Announced for the first time just now, by a master that advertises every `interval`, and whom others like it
    /// count as down after `dead`.
    pub(super) fn begin(now: Instant, interval: Duration, dead: Duration) -> Self {
        Self {
            soon: now + SOON,
            since: now,
            contest: None,
            dead,
            quiet: (interval.saturating_mul(3) / 2).max(SHORTEST),
            pause: dead.saturating_sub(interval).clamp(SHORTEST, LONGEST),
        }
    }

    /// Takes in that another master was heard which loses to us. Returns whether that is to be answered at once.
    #[must_use]
    pub(super) fn contest(&mut self, now: Instant) -> bool {
        self.since = now;
        let Some(contest) = self.contest.as_mut().filter(|contest| now < contest.heard + self.dead) else {
            self.contest = Some(Contest { began: now, heard: now, answered: now });
            return true;
        };
        contest.heard = now;
        let pause = if now < contest.began + CONTEST { self.pause } else { LONGEST };
        let at_once = now >= contest.answered + pause;
        if at_once {
            contest.answered = now;
        }
        at_once
    }

    /// When to announce next; after the last repeat, as often as `every` says.
    pub(super) fn next(&self, now: Instant, every: Option<Duration>) -> Option<Instant> {
        let repeats = AGAIN.into_iter().chain([self.quiet]).map(|wait| self.since + wait);
        let next = repeats.chain([self.soon]).filter(|at| *at > now).min();
        next.or(every.map(|every| now + every.max(LONGEST)))
    }
}

/// Whoever asked while the addresses were on their way asks again only after a second. In IPv6 they are on their way for
/// longer than we know: the kernel joins the group that is asked a moment after it has put an address on.
const SOON: Duration = Duration::from_millis(3);

const AGAIN: [Duration; 3] = [Duration::from_millis(100), Duration::from_secs(1), Duration::from_secs(3)];

/// How long we answer another master often: longer than one like us repeats what it announces.
const CONTEST: Duration = Duration::from_secs(4);

/// The longest pause in a contest, and the shortest period without one.
const LONGEST: Duration = Duration::from_secs(1);

/// At intervals below this, there is more time than one of them.
const SHORTEST: Duration = Duration::from_millis(5);
