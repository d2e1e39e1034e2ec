//! Notices when the machine itself stood still, so that nobody else is blamed for it.
//!
//! On a machine that is shared or busy, every process may go without a processor for longer than a standby
//! waits. A test that judges times in milliseconds has to tell that from a fault.

use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Result, bail};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, ClockNanosleepFlags, clock_nanosleep};
use nix::unistd::Pid;

use crate::capture::now_ns;

/// A thread on each processor that wakes up every millisecond and writes down when it woke up too late, until
/// this is dropped.
#[derive(Debug)]
pub struct Pauses {
    stop: Arc<AtomicBool>,
    found: Arc<Mutex<Vec<Pause>>>,
    tolerated: Duration,
    threads: Vec<JoinHandle<()>>,
}

/// A wake-up that came too late.
#[derive(Clone, Copy, Debug)]
pub struct Pause {
    /// When it was due, in ns of `CLOCK_MONOTONIC`.
    pub due_ns: u64,
    /// How late it came.
    pub late: Duration,
}

impl Pauses {
    /// Begins to watch for pauses of more than 10 ms.
    ///
    /// # Errors
    ///
    /// If a thread can't be started.
    pub fn watch() -> Result<Self> {
        Self::longer_than(TOLERATED)
    }

    /// Begins to watch for pauses of more than `tolerated`.
    ///
    /// # Errors
    ///
    /// If a thread can't be started.
    pub fn longer_than(tolerated: Duration) -> Result<Self> {
        let mut pauses = Self { stop: Arc::default(), found: Arc::default(), tolerated, threads: Vec::new() };
        let processors = sched_getaffinity(Pid::from_raw(0))?;
        for processor in 0..CpuSet::count() {
            if !processors.is_set(processor)? {
                continue;
            }
            let mut own = CpuSet::new();
            own.set(processor)?;
            let (stop, found) = (Arc::clone(&pauses.stop), Arc::clone(&pauses.found));
            let thread = thread::Builder::new().name(format!("pauses-{processor}"));
            pauses.threads.push(thread.spawn(move || {
                // If it may not choose, it still sees something.
                let _ = sched_setaffinity(Pid::from_raw(0), &own);
                watch(&stop, &found, tolerated);
            })?);
        }
        Ok(pauses)
    }

    /// The pauses so far, oldest first.
    #[must_use]
    pub fn found(&self) -> Vec<Pause> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Those that overlap the time between two moments, in ns of `CLOCK_MONOTONIC`.
    #[must_use]
    pub fn between(&self, from_ns: u64, to_ns: u64) -> Vec<Pause> {
        let mut found = self.found();
        found.retain(|pause| pause.due_ns <= to_ns && from_ns <= pause.end_ns());
        found
    }

    /// One sentence about them.
    #[must_use]
    pub fn summary(&self) -> String {
        let found = self.found();
        let mut text = format!("the machine paused {} times for more than {:?}", found.len(), self.tolerated);
        for Pause { due_ns, late } in found.iter().take(SHOWN) {
            // Writing into a string does not fail.
            let _ = write!(text, "; {late:.1?} at {:.3} s", Duration::from_nanos(*due_ns).as_secs_f64());
        }
        text
    }
}

impl Pause {
    /// When the thread did wake up, in ns of `CLOCK_MONOTONIC`.
    #[must_use]
    pub fn end_ns(&self) -> u64 {
        self.due_ns.saturating_add(u64::try_from(self.late.as_nanos()).unwrap_or(u64::MAX))
    }
}

impl Drop for Pauses {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if self.threads.drain(..).any(|thread| thread.join().is_err()) {
            eprintln!("the watch for pauses panicked");
        }
    }
}

fn watch(stop: &AtomicBool, found: &Mutex<Vec<Pause>>, tolerated: Duration) {
    while !stop.load(Ordering::Relaxed) {
        let due_ns = now_ns() + PERIOD_NS;
        let due = TimeSpec::from_duration(Duration::from_nanos(due_ns));
        // Interrupted: then it is not late.
        let _ = clock_nanosleep(ClockId::CLOCK_MONOTONIC, ClockNanosleepFlags::TIMER_ABSTIME, &due);
        let late = Duration::from_nanos(now_ns().saturating_sub(due_ns));
        if late > tolerated {
            found.lock().unwrap_or_else(PoisonError::into_inner).push(Pause { due_ns, late });
        }
    }
}

/// Runs a scenario whose times are judged. If it fails while the machine paused, it is run again, a few
/// times at most; if it fails on a machine that did not pause, it has failed.
///
/// # Errors
///
/// The scenario's last, with the pauses.
pub fn undisturbed(scenario: impl Fn() -> Result<()>) -> Result<()> {
    for attempt in 1.. {
        let pauses = Pauses::watch()?;
        let Err(error) = scenario() else { break };
        if attempt == ATTEMPTS || pauses.found().is_empty() {
            bail!("{error:#}\nattempt {attempt}: {}", pauses.summary());
        }
        eprintln!("attempt {attempt} is not judged: {}\n{error:#}", pauses.summary());
    }
    Ok(())
}

const PERIOD_NS: u64 = 1_000_000;
const TOLERATED: Duration = Duration::from_millis(10);
const ATTEMPTS: u32 = 4;
/// Pauses that a summary lists.
const SHOWN: usize = 10;
