//! A timer with the clock's own resolution: tokio's has steps of a millisecond.

use std::io;
use std::time::Duration;

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use tokio::io::unix::AsyncFd;

use super::readable::{Readable, readable};
use crate::core::Instant;

/// Wakes its task at a moment on `CLOCK_MONOTONIC`.
#[derive(Debug)]
pub struct Timer {
    fd: AsyncFd<Readable<TimerFd>>,
    armed: Option<Instant>,
}

impl Timer {
    /// Makes a timer that is not armed.
    ///
    /// # Errors
    ///
    /// If the process has no file descriptor left. Must be called on a tokio runtime with I/O.
    pub fn new() -> io::Result<Self> {
        let timer =
            TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
        Ok(Self { fd: readable(timer)?, armed: None })
    }

    /// Arms the timer for a moment, which may be past, or disarms it.
    ///
    /// # Errors
    ///
    /// Never for a valid moment.
    pub fn set(&mut self, moment: Option<Instant>) -> io::Result<()> {
        if self.armed == moment {
            return Ok(());
        }
        match moment {
            // Zero would disarm it.
            Some(moment) => self.fd.get_ref().0.set(
                Expiration::OneShot(TimeSpec::from_duration(Duration::from_nanos(moment.as_nanos().max(1)))),
                TimerSetTimeFlags::TFD_TIMER_ABSTIME,
            )?,
            None => self.fd.get_ref().0.unset()?,
        }
        self.armed = moment;
        Ok(())
    }

    /// Waits until the moment has come. Cancel-safe: a moment that came is seen by the next call.
    ///
    /// # Errors
    ///
    /// If the descriptor fails.
    pub async fn expired(&mut self) -> io::Result<()> {
        let mut guard = self.fd.readable().await?;
        // Reading takes the expiration back; there is none if the timer was set again in between.
        match nix::unistd::read(&self.fd.get_ref().0, &mut [0; 8]) {
            Ok(_) | Err(nix::errno::Errno::EAGAIN) => {}
            Err(error) => return Err(error.into()),
        }
        guard.clear_ready();
        self.armed = None;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::clock;

    #[tokio::test]
    async fn wakes_at_the_moment_and_not_before() {
        let mut timer = Timer::new().unwrap();
        let moment = clock::now() + Duration::from_micros(2_500);
        timer.set(Some(moment)).unwrap();
        timer.expired().await.unwrap();
        assert!(clock::now() >= moment);
        // A moment that is past wakes at once, also when it is the same again.
        timer.set(Some(moment)).unwrap();
        timer.expired().await.unwrap();
    }

    #[tokio::test]
    async fn does_not_wake_when_it_is_disarmed() {
        let mut timer = Timer::new().unwrap();
        timer.set(Some(clock::now() + Duration::from_millis(1))).unwrap();
        timer.set(None).unwrap();
        let woke = tokio::time::timeout(Duration::from_millis(20), timer.expired()).await;
        assert!(woke.is_err());
    }
}
