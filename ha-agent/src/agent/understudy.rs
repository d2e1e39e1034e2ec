//! Whoever sends an advertisement where the detector does not come to it.
//!
//! A processor can stand still by itself: the host of a virtual machine has given it to another one, the firmware or an
//! interrupt has it. Then nothing runs on it, at whatever priority. So the next advertisement of a fast master lies
//! ready, and a second thread on another processor sends it if the detector has not, a moment after it was due.
//!
//! It decides nothing, and speaks for nobody who is gone: each advertisement was prepared by the detector, there are two
//! at most for each virtual host, and none is sent that is late by an interval; so a node whose detector hangs is silent
//! two intervals later than without, and one less where only two may be missed.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, TryLockError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ha_common::abi::MAX_HOSTS;
use nix::sched::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
use nix::unistd::Pid;

use crate::agent::realtime::Scheduling;
use crate::core::{Advertisement, Instant};
use crate::net::advertise::{Prepared, Sent};
use crate::sys::clock;
use crate::sys::realtime::touch_stack;

/// The detector's end. Dropped, it ends the thread.
#[derive(Debug)]
pub struct Understudy {
    stage: Arc<Stage>,
    thread: Option<JoinHandle<()>>,
}

/// An advertisement that lies ready.
#[derive(Debug)]
pub struct Part {
    /// When it is due.
    pub due: Instant,
    /// From one advertisement to the next.
    pub interval: Duration,
    /// What it says.
    pub advertisement: Advertisement,
    /// Its frames.
    pub prepared: Prepared,
    /// The frames of the same, said once more an interval later.
    pub spare: Option<Prepared>,
}

/// What the detector gets back.
#[derive(Debug)]
pub enum Taken {
    /// There was nothing.
    Nothing,
    /// Not sent: the detector was in time.
    Unsent(Box<Part>),
    /// It is being sent at this moment.
    Leaving,
    /// Sent in its place.
    Sent {
        /// When it was due.
        due: Instant,
        /// When the one after it is due.
        next: Instant,
        /// When it had left.
        left: Instant,
        /// What it said.
        advertisement: Advertisement,
        /// What became of it.
        sent: Sent,
        /// How many left, with the one before.
        times: u64,
        /// What is to be sent next.
        spare: Option<Box<Part>>,
    },
}

impl Understudy {
    /// Starts the thread, with the detector's priority. `None` where it would be of no use: without a real-time priority, or
    /// with one processor.
    ///
    /// # Errors
    ///
    /// If the thread can't be started.
    pub fn start(priority: Option<u8>) -> io::Result<Option<Self>> {
        let Some(priority) = priority else { return Ok(None) };
        let allowed = sched_getaffinity(THIS_THREAD)?;
        if processors(&allowed).nth(1).is_none() {
            return Ok(None);
        }
        let stage = Arc::new(Stage::default());
        let shared = Arc::clone(&stage);
        let thread = thread::Builder::new().name("ha-understudy".to_owned()).spawn(move || {
            touch_stack();
            Scheduling::ask(Some(priority));
            shared.run(&allowed);
        })?;
        Ok(Some(Self { stage, thread: Some(thread) }))
    }

    /// Makes room for a virtual host.
    pub fn seat(&self, vhost: usize) {
        self.stage.seat(vhost);
    }

    /// Lays an advertisement ready, of a virtual host that there is room for.
    pub fn give(&self, vhost: usize, part: Part) {
        self.stage.processor.store(sched_getcpu().unwrap_or_default(), Ordering::Relaxed);
        self.stage.give(vhost, part);
        if self.stage.idle.load(Ordering::SeqCst)
            && let Some(thread) = &self.thread
        {
            thread.thread().unpark();
        }
    }

    /// Takes back what lies ready, or what became of it. From then on, it is not sent.
    #[must_use]
    pub fn take(&self, vhost: usize) -> Taken {
        self.stage.take(vhost)
    }
}

impl Drop for Understudy {
    fn drop(&mut self) {
        self.stage.over.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic of its own has been told.
            let _ = thread.join();
        }
    }
}

#[derive(Debug)]
struct Stage {
    /// Of all virtual hosts, some at a time: as many as there is room for, from the first on.
    lines: [OnceLock<Box<[Line]>>; MAX_HOSTS / ROW],
    /// Where the detector ran last.
    processor: AtomicUsize,
    /// The least [`Part::wait`] so far, in ns.
    wait_ns: AtomicU64,
    idle: AtomicBool,
    over: AtomicBool,
}

/// What there is to say for one virtual host.
#[derive(Debug)]
struct Line {
    /// When the understudy looks at it, in ns of `CLOCK_MONOTONIC`; [`NEVER`] if nothing lies there. Only a hint.
    cue_ns: AtomicU64,
    /// Whoever finds it locked has come second.
    act: Mutex<Taken>,
}

impl Default for Stage {
    fn default() -> Self {
        Self {
            lines: [const { OnceLock::new() }; MAX_HOSTS / ROW],
            processor: AtomicUsize::new(0),
            wait_ns: AtomicU64::new(NEVER),
            idle: AtomicBool::new(false),
            over: AtomicBool::new(false),
        }
    }
}

impl Stage {
    fn seat(&self, vhost: usize) {
        let line = || Line { cue_ns: AtomicU64::new(NEVER), act: Mutex::new(Taken::Nothing) };
        for row in self.lines.iter().take(vhost / ROW + 1) {
            row.get_or_init(|| std::iter::repeat_with(line).take(ROW).collect());
        }
    }

    fn line(&self, vhost: usize) -> Option<&Line> {
        self.lines.get(vhost / ROW)?.get()?.get(vhost % ROW)
    }

    fn lines(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter().map_while(OnceLock::get).flatten()
    }

    fn give(&self, vhost: usize, part: Part) {
        let Some(line) = self.line(vhost) else { return };
        let Some(mut act) = line.lock() else { return };
        let cue = part.cue();
        let wait_ns = u64::try_from(part.wait().as_nanos()).unwrap_or(NEVER);
        *act = Taken::Unsent(Box::new(part));
        drop(act);
        self.wait_ns.fetch_min(wait_ns, Ordering::Relaxed);
        line.cue_ns.store(cue.as_nanos(), Ordering::SeqCst);
    }

    fn take(&self, vhost: usize) -> Taken {
        let Some(line) = self.line(vhost) else { return Taken::Nothing };
        line.cue_ns.store(NEVER, Ordering::Relaxed);
        // To send takes less than that. Whose processor stands still meanwhile, nobody waits for.
        let until = clock::now() + LONGEST_SENDING;
        loop {
            if let Some(mut act) = line.lock() {
                return std::mem::replace(&mut *act, Taken::Nothing);
            }
            if clock::now() >= until {
                return Taken::Leaving;
            }
            std::hint::spin_loop();
        }
    }

    fn run(&self, allowed: &CpuSet) {
        while !self.over.load(Ordering::SeqCst) {
            self.avoid_the_detector(allowed);
            let now = clock::now();
            for line in self.lines() {
                line.play(now);
            }
            match self.next_cue() {
                // Until then, or until it is over.
                Some(cue) => thread::park_timeout(cue.saturating_since(clock::now())),
                None => self.rest(),
            }
        }
    }

    /// When something is to be looked at next. That of many virtual hosts, whose cues come one after the other, is
    /// looked at together: half of a wait is soon enough.
    fn next_cue(&self) -> Option<Instant> {
        let cues = self.lines().map(|line| line.cue_ns.load(Ordering::SeqCst));
        let next = cues.min().filter(|cue| *cue != NEVER)?;
        let least = Duration::from_nanos(self.wait_ns.load(Ordering::Relaxed) / 2);
        Some(Instant::from_nanos(next).max(clock::now() + least))
    }

    /// Until something lies ready.
    fn rest(&self) {
        self.idle.store(true, Ordering::SeqCst);
        // What came just before is not announced.
        if self.next_cue().is_none() && !self.over.load(Ordering::SeqCst) {
            thread::park();
        }
        self.idle.store(false, Ordering::SeqCst);
    }

    /// Moves to another processor than the detector's.
    fn avoid_the_detector(&self, allowed: &CpuSet) {
        let its = self.processor.load(Ordering::Relaxed);
        if sched_getcpu().is_ok_and(|own| own == its) {
            let mut others = CpuSet::new();
            for other in processors(allowed).filter(|processor| *processor != its) {
                // Within the set's size, as it comes from one.
                let _ = others.set(other);
            }
            // Where that is refused, it stays: better than nobody.
            let _ = sched_setaffinity(THIS_THREAD, &others);
        }
    }
}

impl Line {
    /// Sends what lies ready, if the detector is late with it and this thread is not.
    fn play(&self, now: Instant) {
        if self.cue_ns.load(Ordering::SeqCst) > now.as_nanos() {
            return;
        }
        let Some(mut act) = self.lock() else { return };
        self.cue_ns.store(NEVER, Ordering::Relaxed);
        *act = match std::mem::replace(&mut *act, Taken::Nothing) {
            Taken::Unsent(part) if part.is_on(now) => part.send(0),
            Taken::Sent { spare: Some(part), times, .. } if part.is_on(now) => part.send(times),
            other @ (Taken::Nothing | Taken::Unsent(_) | Taken::Leaving | Taken::Sent { .. }) => other,
        };
        if let Taken::Sent { spare: Some(spare), .. } = &*act {
            self.cue_ns.store(spare.cue().as_nanos(), Ordering::SeqCst);
        }
    }

    fn lock(&self) -> Option<MutexGuard<'_, Taken>> {
        match self.act.try_lock() {
            Ok(act) => Some(act),
            Err(TryLockError::Poisoned(act)) => Some(act.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

impl Part {
    /// When the detector is late.
    fn cue(&self) -> Instant {
        self.due + self.wait()
    }

    /// How long it may be late: an eighth of an interval, at most half a millisecond.
    fn wait(&self) -> Duration {
        (self.interval / 8).min(LONGEST_WAIT)
    }

    /// Whether it is to be sent now: the detector is late, and this thread is not.
    fn is_on(&self, now: Instant) -> bool {
        self.cue() <= now && now < self.due + self.interval
    }

    fn send(self, times: u64) -> Taken {
        let Self { due, interval, advertisement, prepared, spare } = self;
        let next = due + interval;
        let spare = spare.map(|prepared| Self { due: next, interval, advertisement, prepared, spare: None });
        let sent = prepared.send();
        let times = times + u64::from(sent.frames > 0);
        let (left, spare) = (clock::now(), spare.map(Box::new));
        Taken::Sent { due, next, left, advertisement, sent, times, spare }
    }
}

fn processors(set: &CpuSet) -> impl Iterator<Item = usize> {
    (0..CpuSet::count()).filter(|processor| set.is_set(*processor) == Ok(true))
}

const THIS_THREAD: Pid = Pid::from_raw(0);
/// How many lines there is room for at a time.
const ROW: usize = 16;
const NEVER: u64 = u64::MAX;
const LONGEST_WAIT: Duration = Duration::from_micros(500);
const LONGEST_SENDING: Duration = Duration::from_micros(100);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{Priority, Sources};
    use crate::net::advertise::{Advertiser, Frames, Path};
    use ha_common::auth::{Mac, Message, key};

    const ADVERTISEMENT: Advertisement =
        Advertisement { priority: Priority { advbase: 1, advskew: 0 }, demote: 0 };

    /// To nobody.
    fn part(due: Instant, interval: Duration) -> Part {
        let message = Message { vhid: 10, ipv4: &[], ipv6: &[], link_local: true, lladdr: None };
        let mac = Mac::new(&key(b"secret"), &message);
        let frames = Frames { hardware: [0; 6], sources: Sources::UNSPECIFIED, vhid: 10, mac };
        let path = Path::to_peers(1, &[]).expect("nothing is opened");
        let prepared = Advertiser::new(path, frames).prepare(ADVERTISEMENT, &mut || 0);
        Part { due, interval, advertisement: ADVERTISEMENT, prepared, spare: None }
    }

    fn ms(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn plays_what_is_late_and_only_while_it_is_not_late_itself() {
        let interval = Duration::from_millis(10);
        let cue = Duration::from_micros(500);
        let table = [
            (ms(100), false),
            (ms(100) + cue / 2, false),
            (ms(100) + cue, true),
            (ms(109), true),
            (ms(110), false),
            (ms(500), false),
        ];
        for (now, plays) in table {
            let stage = Stage::default();
            stage.seat(0);
            stage.give(1, part(ms(100), interval));
            stage.line(1).expect("a seat").play(now);
            let taken = stage.take(1);
            assert_eq!(matches!(taken, Taken::Sent { due, .. } if due == ms(100)), plays, "{now:?}");
            assert_eq!(matches!(taken, Taken::Unsent(_)), !plays, "{now:?}");
            assert!(matches!(stage.take(1), Taken::Nothing), "once");
            assert!(matches!(stage.take(ROW), Taken::Nothing), "of none");
        }
    }

    #[test]
    fn a_spare_follows_an_interval_later_if_the_detector_is_late_still() {
        let interval = Duration::from_millis(10);
        let stage = Stage::default();
        stage.seat(0);
        let spare = Some(part(ms(110), interval).prepared);
        stage.give(0, Part { spare, ..part(ms(100), interval) });
        for (now, due) in [(ms(101), 100), (ms(110), 100), (ms(111), 110), (ms(121), 110)] {
            stage.line(0).expect("a seat").play(now);
            let act = stage.line(0).expect("a seat").lock().expect("nobody else");
            assert!(matches!(*act, Taken::Sent { due: its, .. } if its == ms(due)), "{now:?}: {act:?}");
        }
    }

    #[test]
    fn what_was_taken_back_is_not_played() {
        let stage = Stage::default();
        stage.seat(0);
        stage.give(0, part(ms(100), Duration::from_millis(1)));
        assert!(matches!(stage.take(0), Taken::Unsent(_)));
        stage.line(0).expect("a seat").play(ms(100) + Duration::from_micros(200));
        assert!(matches!(stage.take(0), Taken::Nothing));
    }

    #[test]
    fn nobody_waits_long_for_the_other() {
        let stage = Stage::default();
        stage.seat(0);
        stage.give(0, part(ms(100), Duration::from_millis(1)));
        let playing = stage.line(0).expect("a seat").act.lock();
        assert!(matches!(stage.take(0), Taken::Leaving));
        // What can't be laid ready is not missed.
        stage.give(0, part(ms(200), Duration::from_millis(1)));
        drop(playing);
        assert!(matches!(stage.take(0), Taken::Unsent(part) if part.due == ms(100)));
    }

    #[test]
    fn nobody_waits_for_what_is_not_due_when_it_ends() {
        let Some(understudy) = Understudy::start(Some(1)).expect("a thread") else {
            return println!("skipped, because there is one processor");
        };
        let began = clock::now();
        understudy.give(0, part(began + Duration::from_mins(1), Duration::from_secs(20)));
        // It has seen that.
        while understudy.stage.idle.load(Ordering::SeqCst) {
            thread::yield_now();
        }
        drop(understudy);
        assert!(clock::now() < began + Duration::from_secs(10));
    }

    #[test]
    fn the_thread_plays_in_time_and_ends() {
        let Some(understudy) = Understudy::start(Some(1)).expect("a thread") else {
            return println!("skipped, because there is one processor");
        };
        understudy.seat(0);
        for _ in 0..3 {
            let interval = Duration::from_secs(2);
            let due = clock::now() + Duration::from_millis(2);
            understudy.give(0, part(due, interval));
            let cue = due + LONGEST_WAIT;
            while clock::now() < cue + interval / 2 {
                match understudy.take(0) {
                    Taken::Sent { left, .. } => {
                        assert!(left >= cue, "{left:?}, {cue:?}");
                        break;
                    }
                    // To look is to take it.
                    Taken::Unsent(part) => understudy.give(0, *part),
                    Taken::Nothing | Taken::Leaving => {}
                }
                thread::sleep(Duration::from_millis(1));
            }
            assert!(clock::now() < cue + interval / 2, "it never played");
        }
    }
}
