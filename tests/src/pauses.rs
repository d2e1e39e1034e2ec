//! Notices when the machine itself stood still, so that nobody else is blamed for it.
//!
//! On a machine that is shared or busy, every process may go without a processor for longer than a standby
//! waits. A test that judges times in milliseconds has to tell that from a fault. A bench that makes the machine
//! busy has to tell apart further: what it did itself, and what nobody could have run through.

use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Result, bail};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, ClockNanosleepFlags, clock_nanosleep};
use nix::unistd::{Pid, gettid};

use crate::capture::now_ns;
use crate::netns;
use crate::sender::processors;

/// A thread on each processor that wakes up at least every millisecond and writes down when it woke up too late,
/// until this is dropped.
#[derive(Debug)]
pub struct Pauses {
    stop: Arc<AtomicBool>,
    found: Arc<Mutex<Vec<Pause>>>,
    tolerated: Duration,
    real_time: bool,
    threads: Vec<JoinHandle<()>>,
}

/// A wake-up that came too late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    /// Of which processor.
    pub processor: usize,
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

    /// Begins to watch for pauses of more than `tolerated`, with threads of usual priority: they miss the
    /// processor whenever others like them have it.
    ///
    /// # Errors
    ///
    /// If a thread can't be started.
    pub fn longer_than(tolerated: Duration) -> Result<Self> {
        Self::start(tolerated, false)
    }

    /// Begins to watch for pauses of more than `tolerated` that no process could have run through: its threads
    /// go before all others (`SCHED_FIFO`, 99). If they may not, they are of usual priority, and
    /// [`Pauses::is_real_time`] says so.
    ///
    /// # Errors
    ///
    /// If a thread can't be started.
    pub fn of_machine(tolerated: Duration) -> Result<Self> {
        Self::start(tolerated, true)
    }

    fn start(tolerated: Duration, real_time: bool) -> Result<Self> {
        let (stop, found) = (Arc::default(), Arc::default());
        let mut pauses = Self { stop, found, tolerated, real_time, threads: Vec::new() };
        for processor in processors()? {
            let mut own = CpuSet::new();
            own.set(processor)?;
            let (stop, found) = (Arc::clone(&pauses.stop), Arc::clone(&pauses.found));
            let (tell, told) = std::sync::mpsc::channel();
            let thread = thread::Builder::new().name(format!("pauses-{processor}"));
            pauses.threads.push(thread.spawn(move || {
                // If it may not choose, it still sees something.
                let _ = sched_setaffinity(Pid::from_raw(0), &own);
                let first = real_time && go_before_others(99).is_ok();
                // Nobody waits any more: nothing to be told.
                let _ = tell.send(first);
                watch(processor, &stop, &found, tolerated);
            })?);
            pauses.real_time &= told.recv()?;
        }
        Ok(pauses)
    }

    /// Whether its threads go before all others.
    #[must_use]
    pub fn is_real_time(&self) -> bool {
        self.real_time
    }

    /// How long what is not written down may be.
    #[must_use]
    pub fn tolerated(&self) -> Duration {
        self.tolerated
    }

    /// The pauses so far.
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

    /// The longest time within two moments during which no processor at all ran anything.
    #[must_use]
    pub fn of_all(&self, from_ns: u64, to_ns: u64) -> Duration {
        let found = self.between(from_ns, to_ns);
        together(&found, self.threads.len())
            .into_iter()
            .map(|(from, to)| Duration::from_nanos(to.min(to_ns).saturating_sub(from.max(from_ns))))
            .max()
            .unwrap_or_default()
    }

    /// One sentence about them.
    #[must_use]
    pub fn summary(&self) -> String {
        let found = self.found();
        let mut text = format!("the machine paused {} times for more than {:?}", found.len(), self.tolerated);
        for Pause { due_ns, late, .. } in found.iter().take(SHOWN) {
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

fn watch(processor: usize, stop: &AtomicBool, found: &Mutex<Vec<Pause>>, tolerated: Duration) {
    // Of a pause it misses as much as it sleeps.
    let period = PERIOD.min(tolerated / 2);
    while !stop.load(Ordering::Relaxed) {
        let due_ns = now_ns() + u64::try_from(period.as_nanos()).unwrap_or(u64::MAX);
        let due = TimeSpec::from_duration(Duration::from_nanos(due_ns));
        // Interrupted: then it is not late.
        let _ = clock_nanosleep(ClockId::CLOCK_MONOTONIC, ClockNanosleepFlags::TIMER_ABSTIME, &due);
        let late = Duration::from_nanos(now_ns().saturating_sub(due_ns));
        if late > tolerated {
            let pause = Pause { processor, due_ns, late };
            found.lock().unwrap_or_else(PoisonError::into_inner).push(pause);
        }
    }
}

/// Gives this thread a real-time priority, 1 to 99.
///
/// # Errors
///
/// If it may not have one.
pub fn go_before_others(priority: u8) -> Result<()> {
    netns::run("chrt", &format!("--fifo --pid {priority} {}", gettid())).map(drop)
}

/// When all of so many processors paused at once: beginnings and ends, in ns of `CLOCK_MONOTONIC`.
#[must_use]
pub fn together(found: &[Pause], processors: usize) -> Vec<(u64, u64)> {
    let ends = found.iter().flat_map(|pause| [(pause.due_ns, 1), (pause.end_ns(), -1)]);
    let mut ends: Vec<(u64, isize)> = ends.collect();
    ends.sort_unstable();
    let (mut paused, mut since, mut common) = (0, None, Vec::new());
    for (at, change) in ends {
        paused += change;
        if paused.unsigned_abs() == processors {
            since = Some(at);
        } else if let Some(from) = since.take() {
            common.push((from, at));
        }
    }
    common
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

/// Between two looks, at most.
const PERIOD: Duration = Duration::from_millis(1);
const TOLERATED: Duration = Duration::from_millis(10);
const ATTEMPTS: u32 = 4;
/// Pauses that a summary lists.
const SHOWN: usize = 10;
