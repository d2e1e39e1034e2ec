//! The limits of a call.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::failure::{Cause, Failure};

/// Within what a call is to end.
#[derive(Clone, Debug)]
pub struct Within {
    until: Instant,
    stop: Stop,
    handed: bool,
}

/// A sign to stop, for all who have a copy of it. It stays.
#[derive(Clone, Debug)]
pub struct Stop(Arc<OwnedFd>);

impl Within {
    /// So much time from now on, and until told to stop.
    #[must_use]
    pub fn new(time: Duration, stop: Stop) -> Self {
        // Half of a `Duration`'s range is further than the clock goes.
        let now = Instant::now();
        Self { until: now.checked_add(time).unwrap_or(now + YEAR), stop, handed: false }
    }

    /// The same, but for `time` at most.
    #[must_use]
    pub fn at_most(&self, time: Duration) -> Self {
        let other = Self::new(time, self.stop.clone());
        Self { until: other.until.min(self.until), handed: self.handed, ..other }
    }

    /// The same, where the other node has released what is taken, and says so: nobody has to be turned off.
    #[must_use]
    pub fn handed_over(self) -> Self {
        Self { handed: true, ..self }
    }

    /// Whether the other node has released what is taken.
    #[must_use]
    pub fn is_handed_over(&self) -> bool {
        self.handed
    }

    /// How much time is left; zero if none is, or if it is to stop.
    #[must_use]
    pub fn left(&self) -> Duration {
        if self.stop.is_given() {
            return Duration::ZERO;
        }
        self.until.saturating_duration_since(Instant::now())
    }

    /// Waits for `time`, or until nothing is left. Returns whether something is.
    #[must_use]
    pub fn pause(&self, time: Duration) -> bool {
        let until = Instant::now() + time.min(self.left());
        while let left = until.saturating_duration_since(Instant::now())
            && !left.is_zero()
            && !self.stop.is_given()
        {
            // Too early is too early only.
            let _ = wait(&mut [self.stop.poll()], left);
        }
        !self.left().is_zero()
    }

    /// Goes on only if something is left.
    ///
    /// # Errors
    ///
    /// [`Cause::Stopped`] or [`Cause::TimedOut`]: `what` was not done.
    pub fn go_on(&self, what: &str) -> Result<(), Failure> {
        if self.stop.is_given() {
            let remedy = "something more urgent came between";
            return Err(Failure::new(Cause::Stopped, format!("{what} was broken off"), remedy));
        }
        if self.left().is_zero() {
            let remedy = "find out what it waits for, or allow it more time";
            return Err(Failure::new(Cause::TimedOut, format!("{what} took too long"), remedy));
        }
        Ok(())
    }

    /// The sign to stop.
    #[must_use]
    pub fn stop(&self) -> &Stop {
        &self.stop
    }
}

impl Stop {
    /// One that is not given yet.
    ///
    /// # Errors
    ///
    /// If the system has no descriptors left.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)))
    }

    /// Gives it.
    pub fn give(&self) {
        // That it can't count further says that it was given.
        let _ = rustix::io::write(&*self.0, &1_u64.to_ne_bytes());
    }

    /// Whether it was given.
    #[must_use]
    pub fn is_given(&self) -> bool {
        wait(&mut [self.poll()], Duration::ZERO).is_ok_and(|ready| ready > 0)
    }

    fn poll(&self) -> PollFd<'_> {
        PollFd::new(&*self.0, PollFlags::IN)
    }
}

/// Readable once it was given.
impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Waits until one of these is ready, and says how many are.
pub(super) fn wait(fds: &mut [PollFd<'_>], time: Duration) -> io::Result<usize> {
    let time = Timespec::try_from(time.min(YEAR)).map_err(io::Error::other)?;
    match poll(fds, Some(&time)) {
        Err(rustix::io::Errno::INTR) => Ok(0),
        ready => Ok(ready?),
    }
}

const YEAR: Duration = Duration::from_hours(365 * 24);

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_sign_to_stop_ends_a_pause_at_once() -> anyhow::Result<()> {
        let within = Within::new(Duration::from_mins(1), Stop::new()?);
        assert!(within.pause(Duration::from_millis(1)));
        within.go_on("nothing")?;
        let stop = within.stop().clone();
        let began = Instant::now();
        let other = thread::spawn(move || stop.give());
        assert!(!within.pause(Duration::from_secs(50)));
        assert!(began.elapsed() < Duration::from_secs(40));
        assert_eq!(within.go_on("it").expect_err("over").cause, Cause::Stopped);
        other.join().expect("gives");
        Ok(())
    }

    #[test]
    fn time_runs_out() -> anyhow::Result<()> {
        let within = Within::new(Duration::from_mins(1), Stop::new()?).at_most(Duration::ZERO);
        assert!(!within.pause(Duration::from_secs(50)));
        assert_eq!(within.go_on("it").expect_err("over").cause, Cause::TimedOut);
        assert!(!Within::new(Duration::MAX, Stop::new()?).left().is_zero());
        Ok(())
    }
}
