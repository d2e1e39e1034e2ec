//! What the system grants of `[realtime]`, and what not.

use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::config::RealtimeConfig;
use crate::sys::realtime::{self, Refusal};

/// What the process was granted.
#[derive(Debug)]
pub struct Granted {
    memory_locked: AtomicBool,
    /// How long an idle processor may take to wake up, if that was asked for.
    pub dma_latency: Option<Duration>,
    refusals: Mutex<Vec<String>>,
    /// Open for as long as it is to hold.
    _dma_latency: Option<File>,
}

/// How the fast thread is scheduled.
#[derive(Clone, Debug, Default)]
pub struct Scheduling {
    /// Its priority in `SCHED_FIFO`, 1 to 99, if it is.
    pub priority: Option<u8>,
    /// Why it is not, though that was asked for.
    pub refusal: Option<String>,
}

impl Granted {
    /// Asks for everything that the process is to have. What is refused is logged.
    pub(super) fn ask(config: &RealtimeConfig) -> Self {
        let mut refusals = Vec::new();
        let memory = config.lock_memory.then(realtime::lock_memory);
        let memory_locked = memory.and_then(|locked| note(locked, &mut refusals)).is_some().into();
        let file = config.cpu_dma_latency.map(realtime::hold_dma_latency);
        let file = file.and_then(|held| note(held, &mut refusals));
        let dma_latency = config.cpu_dma_latency.filter(|_| file.is_some());
        Self { memory_locked, refusals: Mutex::new(refusals), dma_latency, _dma_latency: file }
    }

    /// Whether its memory stays where it is.
    pub fn memory_locked(&self) -> bool {
        self.memory_locked.load(Ordering::Relaxed)
    }

    /// What was refused, in sentences.
    pub fn refusals(&self) -> Vec<String> {
        self.lock_refusals().clone()
    }

    /// The start is over: what it has used is not kept. A refusal is logged.
    pub(super) fn settle(&self) {
        if self.memory_locked() && note(realtime::settle(), &mut self.lock_refusals()).is_none() {
            self.memory_locked.store(false, Ordering::Relaxed);
        }
    }

    fn lock_refusals(&self) -> MutexGuard<'_, Vec<String>> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Scheduling {
    /// Asks for the calling thread's priority, `None` for none. A refusal is logged.
    pub(super) fn ask(priority: Option<u8>) -> Self {
        let mut refusals = Vec::new();
        let asked = priority.map(|priority| realtime::set_priority(priority).map(|()| priority));
        let priority = asked.and_then(|granted| note(granted, &mut refusals));
        Self { priority, refusal: refusals.pop() }
    }
}

fn note<T>(result: Result<T, Refusal>, refusals: &mut Vec<String>) -> Option<T> {
    let refusal = match result {
        Ok(granted) => return Some(granted),
        Err(refusal) => refusal.to_string(),
    };
    tracing::warn!("{refusal}");
    refusals.push(refusal);
    None
}
