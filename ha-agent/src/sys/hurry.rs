//! Starting and ending before everything of usual priority: on a busy machine a restart would take longer than the peers wait.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::unistd::gettid;

use super::realtime::schedule;

/// Threads that come before those of usual priority, as long as there is a hurry: while nobody vouches for this node.
/// Clones are of the same hurry. Where no priority may be had, there is none.
#[derive(Clone, Debug)]
pub struct Hurry(Arc<Mutex<Hurrying>>);

#[derive(Debug)]
struct Hurrying {
    now: bool,
    threads: Vec<libc::pid_t>,
}

impl Hurry {
    /// There is one now, if `allowed`. The calling thread is the first of its threads.
    #[must_use]
    pub fn begin(allowed: bool) -> Self {
        let hurry = Self(Arc::new(Mutex::new(Hurrying { now: allowed, threads: Vec::new() })));
        hurry.join();
        hurry
    }

    /// The calling thread is one of them from now on.
    pub fn join(&self) {
        let mut hurrying = self.lock();
        hurrying.threads.push(gettid().as_raw());
        // As it was started, it may have a priority from the program before it.
        let _ = schedule(0, hurrying.now.then_some(LEAST));
    }

    /// The calling thread ends.
    pub fn leave(&self) {
        self.lock().threads.retain(|thread| *thread != gettid().as_raw());
    }

    /// There is one again, or no more.
    pub fn set(&self, now: bool) {
        let mut hurrying = self.lock();
        hurrying.now = now;
        for thread in &hurrying.threads {
            let _ = schedule(*thread, now.then_some(LEAST));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Hurrying> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Before all threads of usual priority, after those that keep time.
const LEAST: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    /// The calling thread's priority in `SCHED_FIFO`.
    fn priority() -> Option<u8> {
        let mut parameters = libc::sched_param { sched_priority: 0 };
        // SAFETY: the calls write to the parameters only.
        let policy = unsafe {
            libc::sched_getparam(0, &raw mut parameters);
            libc::sched_getscheduler(0)
        };
        let is_fifo = policy & !libc::SCHED_RESET_ON_FORK == libc::SCHED_FIFO;
        is_fifo.then(|| u8::try_from(parameters.sched_priority).expect("at most 99"))
    }

    #[test]
    fn all_its_threads_hurry_until_it_is_over() {
        if schedule(0, Some(LEAST)).is_err() {
            return println!("skipped, because no process may have a real-time priority here");
        }
        let hurry = Hurry::begin(true);
        assert_eq!(priority(), Some(LEAST));
        let (joined, to_go) = (Arc::new(std::sync::Barrier::new(2)), Arc::new(std::sync::Barrier::new(2)));
        let (its, its_joined, its_to_go) = (hurry.clone(), Arc::clone(&joined), Arc::clone(&to_go));
        let thread = std::thread::spawn(move || {
            let before = priority();
            its.join();
            let during = priority();
            its_joined.wait();
            its_to_go.wait();
            (before, during, priority(), its.leave())
        });
        joined.wait();
        hurry.set(false);
        to_go.wait();
        assert_eq!(thread.join().expect("no panic"), (None, Some(LEAST), None, ()));
        assert_eq!(priority(), None);
        hurry.set(true);
        assert_eq!(priority(), Some(LEAST));
        // As a program finds itself whose predecessor was in a hurry.
        drop(Hurry::begin(false));
        assert_eq!(priority(), None);
    }
}
