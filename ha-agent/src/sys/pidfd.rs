//! A process that is watched without mistaking another one for it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// A process, whatever becomes of its number. Linux 5.3.
#[derive(Debug)]
pub struct Pidfd(OwnedFd);

impl Pidfd {
    /// The process that has this number now; `None` if there is none.
    ///
    /// # Errors
    ///
    /// If the system has no descriptors left, or is older than Linux 5.3.
    pub fn open(pid: u32) -> io::Result<Option<Self>> {
        let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(fd) => Ok(Some(Self(fd))),
            Err(rustix::io::Errno::SRCH) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until it has ended, `patience` at most. Returns whether it has.
    ///
    /// # Errors
    ///
    /// If the system can't wait.
    pub fn wait(&self, patience: Duration) -> io::Result<bool> {
        let deadline = Instant::now() + patience;
        loop {
            let left = Timespec::try_from(deadline.saturating_duration_since(Instant::now()));
            let left = left.map_err(io::Error::other)?;
            match poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&left)) {
                Ok(0) => return Ok(false),
                Ok(_) => return Ok(true),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Kills it.
    ///
    /// # Errors
    ///
    /// If it may not be killed. That it has ended already is none.
    pub fn kill(&self) -> io::Result<()> {
        match pidfd_send_signal(&self.0, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Readable once it has ended.
impl AsFd for Pidfd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_end_of_a_process_is_awaited() -> io::Result<()> {
        let mut child = Command::new("sleep").arg("60").spawn()?;
        let watched = Pidfd::open(child.id())?.ok_or(io::ErrorKind::NotFound)?;
        assert!(!watched.wait(Duration::from_millis(20))?);
        watched.kill()?;
        assert!(watched.wait(Duration::from_secs(10))?);
        child.wait()?;
        watched.kill()?;
        assert!(
            Pidfd::open(child.id())?.is_none()
                && Pidfd::open(0)?.is_none()
                && Pidfd::open(u32::MAX)?.is_none()
        );
        Ok(())
    }
}
