//! A value that threads change and others wait on; and how every wait is given up.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{SigSet, Signal};

/// Gives up whatever waits in the lab, now and from now on: each wait fails within 50 ms. For programs that
/// are told to end and must first give back what they have made.
pub fn interrupt() {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

/// Has the signals that end a program [`interrupt`] the lab instead, so that it is given back.
///
/// They are blocked for every thread from here on, so that none dies of them; and for the programs that are
/// started to clean up, so that a second Ctrl-C does not stop them.
///
/// # Errors
///
/// If signals can't be blocked, or a thread can't be started.
pub fn interrupt_on_signals() -> Result<()> {
    let signals = SigSet::from_iter([Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM]);
    signals.thread_block().context("blocking signals")?;
    let wait = move || {
        if let Ok(signal) = signals.wait() {
            eprintln!("{signal}: cleaning up");
            interrupt();
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(wait).context("the thread for signals")?;
    Ok(())
}

/// Whether [`interrupt`] was called.
#[must_use]
pub fn is_interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Lets time pass.
///
/// # Errors
///
/// When [`interrupt`]ed.
pub fn pass(time: Duration) -> Result<()> {
    let deadline = Instant::now() + time;
    while let Some(left) = deadline.checked_duration_since(Instant::now()) {
        ensure!(!is_interrupted(), "interrupted");
        thread::sleep(left.min(LOOK));
    }
    Ok(())
}

/// What came of a wait: that it was only too late is no error, that it was given up is.
///
/// # Errors
///
/// When [`interrupt`]ed.
pub fn unless_interrupted<T>(waited: Result<T>) -> Result<Option<T>> {
    match waited {
        Err(error) if is_interrupted() => Err(error),
        waited => Ok(waited.ok()),
    }
}

/// A value whose changes can be awaited.
#[derive(Debug, Default)]
pub(crate) struct Watched<T> {
    value: Mutex<T>,
    changed: Condvar,
}

impl<T> Watched<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { value: Mutex::new(value), changed: Condvar::new() }
    }

    /// Looks at the value.
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the value, and wakes whoever waits.
    pub(crate) fn update(&self, change: impl FnOnce(&mut T)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// Waits until `look` finds something.
    ///
    /// # Errors
    ///
    /// After `patience`, or when [`interrupt`]ed.
    pub(crate) fn wait<R>(&self, patience: Duration, mut look: impl FnMut(&T) -> Option<R>) -> Result<R> {
        let deadline = Instant::now() + patience;
        let mut value = self.lock();
        loop {
            if let Some(found) = look(&value) {
                return Ok(found);
            }
            ensure!(!is_interrupted(), "interrupted");
            let left = deadline.checked_duration_since(Instant::now());
            let left = left.with_context(|| format!("not within {patience:?}"))?.min(LOOK);
            value = self.changed.wait_timeout(value, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// How often a wait looks whether it is given up.
const LOOK: Duration = Duration::from_millis(50);
