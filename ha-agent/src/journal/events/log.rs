//! Where events are told, and where they are read while they are in memory.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};

use super::file::{self, File};
use super::{Event, What, line};
use crate::control::status::Clocks;
use crate::core::Instant;
use crate::sys::clock;

/// Where events are told, and the last of them.
#[derive(Clone, Debug)]
pub struct Events {
    told: mpsc::Sender<Told>,
    shared: Arc<Shared>,
    newest: watch::Receiver<u64>,
}

/// Why events are not kept over a restart.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("events can't be kept in {}: {cause}; they are in memory only: name another directory with --state", .path.display())]
pub struct Unkept {
    /// The file.
    pub path: PathBuf,
    /// What the system says.
    pub cause: String,
}

#[derive(Debug)]
struct Shared {
    directory: PathBuf,
    /// The last, oldest first. Locked for a copy only.
    last: Mutex<VecDeque<Arc<Event>>>,
    /// Told, and there was no room.
    lost: AtomicU64,
    unkept: Mutex<Option<Unkept>>,
    /// The number of the last event of the agents before this one.
    before: AtomicU64,
}

/// What the scribe is told.
#[derive(Debug)]
enum Told {
    Event(Clocks, Instant, Option<String>, What),
    /// Answer once all that was told before is written.
    Finish(oneshot::Sender<()>),
}

impl Events {
    /// Begins to keep events: in memory, and in a directory, which is made if it is not there. Must be called on a runtime.
    #[must_use]
    pub fn start(directory: &Path) -> Self {
        let (told, queue) = mpsc::channel(ROOM);
        let (shows, newest) = watch::channel(0);
        let shared = Arc::new(Shared {
            directory: directory.to_owned(),
            last: Mutex::default(),
            lost: AtomicU64::new(0),
            unkept: Mutex::default(),
            before: AtomicU64::new(0),
        });
        tokio::spawn(scribe(Arc::clone(&shared), queue, shows));
        Self { told, shared, newest }
    }

    /// Tells of something that happens now, and logs it. Never waits.
    pub fn tell(&self, about: Option<&str>, what: What) {
        self.tell_of(clock::now(), about, what);
    }

    /// Tells of something that happened a moment ago, and logs it. Never waits.
    pub fn tell_of(&self, moment: Instant, about: Option<&str>, what: What) {
        line::write(about, &what);
        let clocks = Clocks { wall: Timestamp::now(), monotonic: clock::now() };
        let told = Told::Event(clocks, moment, about.map(str::to_owned), what);
        if self.told.try_send(told).is_err() {
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Those in memory with greater numbers, the oldest first.
    #[must_use]
    pub fn after(&self, number: u64) -> Vec<Arc<Event>> {
        let last = self.shared.last();
        let begin = last.partition_point(|event| event.number <= number);
        last.range(begin..).cloned().collect()
    }

    /// The number of the last that an agent before this one told of; 0 if there is none, or it is not known yet.
    #[must_use]
    pub fn before(&self) -> u64 {
        self.shared.before.load(Ordering::Relaxed)
    }

    /// The number of the newest, whenever there is a new one.
    #[must_use]
    pub fn newest(&self) -> watch::Receiver<u64> {
        self.newest.clone()
    }

    /// Where they are kept, in two files.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.shared.directory
    }

    /// Why they are in memory only, if so.
    #[must_use]
    pub fn unkept(&self) -> Option<Unkept> {
        self.shared.unkept().clone()
    }

    /// Waits until all that was told is written, or that has taken so long.
    pub async fn finish(&self, patience: Duration) {
        let (reply, written) = oneshot::channel();
        if self.told.try_send(Told::Finish(reply)).is_ok() {
            let _ = tokio::time::timeout(patience, written).await;
        }
    }
}

impl Shared {
    fn last(&self) -> MutexGuard<'_, VecDeque<Arc<Event>>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unkept(&self) -> MutexGuard<'_, Option<Unkept>> {
        self.unkept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in one; the oldest goes when there are too many.
    fn remember(&self, event: Arc<Event>) {
        let mut last = self.last();
        if last.len() == CAPACITY {
            last.pop_front();
        }
        last.push_back(event);
    }

    /// Whether events can be kept: said once, until it changes.
    fn judge(&self, result: Result<(), Unkept>) {
        let mut unkept = self.unkept();
        match (&*unkept, result) {
            (None, Err(error)) => {
                tracing::warn!("{error}");
                *unkept = Some(error);
            }
            (Some(_), Ok(())) => {
                tracing::info!("events are kept again");
                *unkept = None;
            }
            (None, Ok(())) | (Some(_), Err(_)) => {}
        }
    }
}

/// Numbers the events, and hands them on.
async fn scribe(shared: Arc<Shared>, mut queue: mpsc::Receiver<Told>, newest: watch::Sender<u64>) {
    let (lines, written) = std::sync::mpsc::sync_channel(ROOM);
    let (found, begun) = oneshot::channel();
    let (directory, judge) = (shared.directory.clone(), Arc::clone(&shared));
    let writer = move || keep(&directory, found, &written, |result| judge.judge(result));
    if let Err(error) = std::thread::Builder::new().name("ha-events".to_owned()).spawn(writer) {
        let path = file::path(&shared.directory);
        shared.judge(Err(Unkept { path, cause: error.to_string() }));
    }
    // A disk that does not answer is not waited for.
    if let Ok(Ok(found)) = tokio::time::timeout(PATIENCE, begun).await {
        for event in found {
            shared.remember(Arc::new(event));
        }
    }
    let last = shared.last().back().map_or(0, |event| event.number);
    shared.before.store(last, Ordering::Relaxed);
    let mut number = u64::try_from(Timestamp::now().as_microsecond()).unwrap_or_default().max(last + 1);
    while let Some(next) = queue.recv().await {
        let (clocks, moment, about, what) = match next {
            Told::Event(clocks, moment, about, what) => (clocks, moment, about, what),
            Told::Finish(reply) => {
                // Dropped where it can't be done, which answers too.
                let _ = lines.try_send(Line::Finish(reply));
                continue;
            }
        };
        let count = shared.lost.swap(0, Ordering::Relaxed);
        let missing = (count > 0).then_some((None::<String>, What::EventsLost { count }));
        if let Some((about, what)) = &missing {
            line::write(about.as_deref(), what);
        }
        for (about, what) in missing.into_iter().chain([(about, what)]) {
            let event = Arc::new(Event {
                number,
                at: clocks.wall(moment),
                at_ns: moment.as_nanos(),
                severity: what.severity(),
                about,
                sentence: what.to_string(),
                what,
            });
            number += 1;
            shared.remember(Arc::clone(&event));
            newest.send_replace(event.number);
            if lines.try_send(Line::Event(event)).is_err() {
                let cause = "the disk does not keep up".to_owned();
                shared.judge(Err(Unkept { path: file::path(&shared.directory), cause }));
            }
        }
    }
}

/// What is to be written.
#[derive(Debug)]
enum Line {
    Event(Arc<Event>),
    Finish(oneshot::Sender<()>),
}

/// Reads what there is, then writes what comes, as long as anything does.
fn keep(
    directory: &Path,
    found: oneshot::Sender<Vec<Event>>,
    lines: &std::sync::mpsc::Receiver<Line>,
    judge: impl Fn(Result<(), Unkept>),
) {
    // It may be that nobody waits any more.
    let _ = found.send(file::newest(directory, CAPACITY));
    let path = file::path(directory);
    let failed = |cause: std::io::Error| Unkept { path: path.clone(), cause: cause.to_string() };
    let mut file = File::new(directory);
    judge(file.open().map_err(failed));
    loop {
        // What is written in a hurry is put on the disk itself a second later, all at once.
        let first = if let Some(since) = file.unsynced() {
            match lines.recv_timeout(SYNC.saturating_sub(since.elapsed())) {
                Ok(first) => first,
                Err(RecvTimeoutError::Timeout) => {
                    judge(file.sync().map_err(failed));
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        } else {
            match lines.recv() {
                Ok(first) => first,
                Err(_) => return,
            }
        };
        let (mut text, mut replies) = (Vec::new(), Vec::new());
        for line in std::iter::once(first).chain(lines.try_iter()) {
            match line {
                Line::Event(event) => file::write_line(&mut text, &event),
                Line::Finish(reply) => replies.push(reply),
            }
        }
        if !text.is_empty() {
            judge(file.append(&text).map_err(failed));
        }
        for reply in replies {
            // It may be that nobody waits any more.
            let _ = reply.send(());
        }
    }
}

/// So many are in memory.
const CAPACITY: usize = 256;
/// So many may wait to be numbered, and to be written.
const ROOM: usize = 1024;
/// What is written and not on the disk itself waits so long, and a machine without power forgets it.
const SYNC: Duration = Duration::from_secs(1);
/// How long a disk may take before nobody waits for it.
const PATIENCE: Duration = Duration::from_secs(2);
