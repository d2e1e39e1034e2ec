//! For how long at most it may be wrong, and why no longer.
//!
//! All bounds are sums of the same few times. With `interval` and `detect` as configured, equal on all nodes:
//!
//! - *down*: the longest that any of the nodes waits for a silent master, `detect × interval + (advskew/256) × interval`;
//! - *way*: the longest way of a frame;
//! - *slack*: how late a timer of the kernel fires;
//! - *handled*: from the moment that something can be read, or a deadline comes, until the fast thread has acted on it: a
//!   round that has just looked at the clock goes first, then it wakes late, then it reads. Three times the lateness of one
//!   step;
//! - *order*: what it takes the executor at most to take the addresses, drop them or announce them.

use std::time::Duration;

use crate::core::Settings;
use crate::lan::Slack;

/// The bounds for a group of nodes of one pace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// From one advertisement to the next.
    pub interval: Duration,
    /// The shortest silence after which somebody takes over.
    pub dead: Duration,
    /// See the head of the file.
    pub down: Duration,
    /// See the head of the file.
    pub handled: Duration,
    way: Duration,
    slack: Duration,
    order: Duration,
}

impl Bounds {
    /// The bounds of these nodes.
    #[must_use]
    pub fn new(settings: &[Settings], slack: Slack) -> Self {
        let pace = |settings: &Settings| (settings.pace, settings.priority);
        let longest =
            |time: &dyn Fn(&Settings) -> Duration| settings.iter().map(time).max().unwrap_or_default();
        let shortest =
            |time: &dyn Fn(&Settings) -> Duration| settings.iter().map(time).min().unwrap_or_default();
        Self {
            interval: longest(&|settings| {
                let (pace, own) = pace(settings);
                pace.advertisement_interval(own)
            }),
            dead: shortest(&|settings| {
                let (pace, own) = pace(settings);
                pace.dead_time(own)
            }),
            down: longest(&|settings| {
                let (pace, own) = pace(settings);
                pace.master_down_time(own).max(pace.master_down_time(own.demoted(1)))
            }),
            handled: slack.round * 3,
            way: slack.delay.1,
            slack: slack.timer,
            order: slack.order.1,
        }
    }

    /// While two are master and hear each other, until the better one's next advertisement has reached the other, and
    /// that one has yielded: *interval + handled* (the advertisement leaves late) *+ way + handled*.
    #[must_use]
    pub fn heard(&self) -> Duration {
        self.interval + self.way + self.handled * 2
    }

    /// How long a master that has slept listens before it speaks: *interval + handled*.
    #[must_use]
    pub fn doubt(&self) -> Duration {
        self.interval + self.handled
    }

    /// How long two may be master at once, from when both run and all frames come through: *doubt + heard*, because the
    /// better one may have slept, and speaks again only when it has listened.
    #[must_use]
    pub fn two_masters(&self) -> Duration {
        self.doubt() + self.heard()
    }

    /// How long a backup that runs may see no master and not take over, from the last frame that it heard, or from when it
    /// began to run: *down + slack + handled*. A timer that was not believed because the backup's own machine had slept
    /// is armed for two intervals from its waking, which count where *down* is shorter.
    #[must_use]
    pub fn no_master(&self) -> Duration {
        self.down.max(self.interval * 2) + self.slack + self.handled
    }

    /// The same where the last that it heard was the master's farewell: less than an *interval*, by which the backups let
    /// each other go first, *+ handled*.
    #[must_use]
    pub fn no_master_after_farewell(&self) -> Duration {
        self.interval + self.handled
    }

    /// From the end of the last fault until there is exactly one master, who stays.
    ///
    /// The frames that are under way arrive (*way*), and if there is no master, one takes over (*no master*); one that had
    /// slept makes up its mind (*doubt*). Then whoever is better hears a worse one, and takes over or lets it yield, and
    /// those that moved at once hear each other: twice *heard*.
    #[must_use]
    pub fn settled(&self) -> Duration {
        self.way + self.no_master() + self.doubt() + self.heard() * 2
    }
    /// How long it takes from then on until the addresses are where they belong and everybody knows.
    ///
    /// A loser may have orders before it to take, announce and drop them: three and one *order*. It says so (*handled*), if
    /// it was started anew when it has heard whom (*heard*); the master hears that (*way + handled*), and announces at
    /// the latest when an *interval* and a half, at least 5 ms, have passed without another word (*handled + order*).
    #[must_use]
    pub fn told(&self) -> Duration {
        let quiet = (self.interval * 3 / 2).max(Duration::from_millis(5));
        self.heard() + self.way + quiet + self.handled * 3 + self.order * 5
    }
}
