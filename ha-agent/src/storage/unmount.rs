//! Unmounting, also of what is in use.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::holders::{self, holders};
use super::host::Host;
use super::mountinfo::{MountPoint, mounts};
use crate::resource::{Cause, Failure, Invocation, Within};

/// What is done with whoever does not let go.
///
/// There is no lazy unmounting: it hides a file system that is written to still.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Busy {
    /// It is waited for, until the step's deadline.
    #[default]
    Wait,
    /// It is killed after this time. A few seconds, and well within the step's deadline.
    Kill(Duration),
}

/// Unmounts all mounts for which `is_it`, and what is mounted below them, the last one first, and verifies it.
///
/// # Errors
///
/// [`Cause::Busy`] with the names of those who hold it, or what else stands in the way.
pub fn unmount_all(
    host: &Host,
    is_it: impl Fn(&MountPoint) -> bool,
    busy: Busy,
    within: &Within,
) -> Result<(), Failure> {
    let patience = Patience::new(busy);
    loop {
        let all =
            mounts(host, "self").map_err(|error| Failure::system("the mounts can't be listed", &error))?;
        let Some(first) = all.iter().find(|mount| is_it(mount)) else { return Ok(()) };
        // Whatever was mounted last at or below any of them.
        let below = |mount: &&MountPoint| all.iter().any(|it| is_it(it) && mount.at.starts_with(&it.at));
        let at = all.iter().rev().find(below).unwrap_or(first).at.clone();
        let invocation = Invocation::new("umount", [at.as_os_str()]);
        let output = host.run(&invocation, within)?;
        if output.status.success() {
            continue;
        }
        if !output.stderr.contains("busy") {
            let remedy = "see the kernel's log, and unmount it by hand";
            output.success(&invocation, Cause::Other, remedy)?;
        }
        patience.with(host, &at.display().to_string(), &[at], within)?;
    }
}

/// Patience with those who hold something.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    busy: Busy,
    since: Instant,
}

impl Patience {
    pub(super) fn new(busy: Busy) -> Self {
        Self { busy, since: Instant::now() }
    }

    /// Waits a little for them, or kills them; when there is no time left, names them.
    pub(super) fn with(
        self,
        host: &Host,
        what: &str,
        paths: &[PathBuf],
        within: &Within,
    ) -> Result<(), Failure> {
        match self.busy {
            Busy::Kill(after) if self.since.elapsed() >= after => {
                holders::kill(host, paths).map_err(|error| {
                    Failure::system(&format!("those who hold {what} can't be killed"), &error)
                })?;
            }
            Busy::Kill(_) | Busy::Wait => {}
        }
        if within.left() > LAST && within.pause(STEP) {
            return Ok(());
        }
        if within.stop().is_given() {
            return within.go_on(&format!("letting go of {what}"));
        }
        let what = format!("{what} is in use by {}", holders::named(&holders(host, paths)));
        Err(Failure::new(Cause::Busy, what, "end it, or let those who hold it be killed"))
    }
}

/// Between two attempts.
const STEP: Duration = Duration::from_millis(100);
/// So much before the deadline, those who hold it are named instead: the next attempt would only be killed.
const LAST: Duration = Duration::from_millis(300);
